package dynamodb

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/valyala/fastjson"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/globaltable/item"
)

// maxArnLen is the greatest length of an ARN that the operations on tags take, in bytes.
const maxArnLen = 1283

// tagRequest has the parameters of TagResource, UntagResource and ListTagsOfResource.
type tagRequest struct {
	arn   text
	tags  []pair // nil: not given
	keys  []text // nil: not given
	token text
}

func (r *tagRequest) set(name []byte, v *fastjson.Value) error {
	switch string(name) {
	case "ResourceArn":
		return parseText(&r.arn, v)
	case "Tags":
		return parsePairs(&r.tags, v, "Key", "Value", "Tag")
	case "TagKeys":
		return parseTexts(&r.keys, v)
	case "NextToken":
		return parseText(&r.token, v)
	}
	return nil
}

// parseTexts reads a list of strings.
func parseTexts(dst *[]text, v *fastjson.Value) error {
	var list []*fastjson.Value
	if err := parseList(&list, v); err != nil || list == nil {
		return err
	}
	*dst = make([]text, len(list))
	for i, e := range list {
		if err := parseText(&(*dst)[i], e); err != nil {
			return err
		}
	}
	return nil
}

// resource checks the request's ARN, after its other parameters, and returns the table that it names.
func (r *tagRequest) resource(c *call, check *constraints) (*globaltable.Table, error) {
	if check.present(r.arn != nil, "resourceArn") {
		check.length(r.arn, 1, maxArnLen, "resourceArn")
	}
	if err := check.err(); err != nil {
		return nil, err
	}
	name, ok := tableOfARN(string(r.arn), c.server.config.Region)
	if !ok {
		return nil, invalid("Invalid TableArn: Invalid ResourceArn provided as input " + string(r.arn))
	}
	t, ok := c.server.config.View().Lookup(name)
	if !ok || t.Replica(c.server.config.Origin) == nil {
		return nil, resourceNotFound("Requested resource not found: ResourcArn: " + string(r.arn) + " not found") // spelled as DynamoDB does
	}
	return t, nil
}

// length demands a length in bytes.
func (c *constraints) length(v text, least, most int, path string) {
	if len(v) < least {
		c.fail(quote(v), path, "Member must have length greater than or equal to "+strconv.Itoa(least))
	}
	if len(v) > most {
		c.fail(quote(v), path, "Member must have length less than or equal to "+strconv.Itoa(most))
	}
}

// tags checks constraints of single tags.
func (c *constraints) tags(tags []pair) {
	for i, t := range tags {
		path := "tags." + strconv.Itoa(i+1) + ".member."
		if c.present(t.first != nil, path+"key") {
			c.tagText(t.first, 1, globaltable.MaxTagKeyLen, path+"key")
		}
		if c.present(t.second != nil, path+"value") {
			c.tagText(t.second, 0, globaltable.MaxTagValueLen, path+"value")
		}
	}
}

// tagText demands a length in characters.
func (c *constraints) tagText(v text, least, most int, path string) {
	n := utf8.RuneCount(v)
	if n < least {
		c.fail(quote(v), path, "Member must have length greater than or equal to "+strconv.Itoa(least))
	}
	if n > most {
		c.fail(quote(v), path, "Member must have length less than or equal to "+strconv.Itoa(most))
	}
}

// tagMap checks what tags mean together and returns them; nil if there are none.
func tagMap(tags []pair) (map[string]string, error) {
	if len(tags) == 0 {
		return nil, nil
	}
	if len(tags) > globaltable.MaxTags {
		return nil, invalidf("One or more parameter values were invalid: Too many tags: %d, at most %d", len(tags), globaltable.MaxTags)
	}
	out := make(map[string]string, len(tags))
	for _, t := range tags {
		key, value := string(t.first), string(t.second)
		if _, ok := out[key]; ok {
			return nil, invalidf("One or more parameter values were invalid: Duplicate tag key: %s", key)
		}
		if err := checkTagKey(key); err != nil {
			return nil, err
		}
		if strings.ContainsFunc(key+value, notOfTags) {
			return nil, invalid("One or more parameter values were invalid: A tag can have letters, white space, numbers, and the characters + - = . _ : / @")
		}
		out[key] = value
	}
	return out, nil
}

func checkTagKey(key string) error {
	if strings.HasPrefix(strings.ToLower(key), "aws:") {
		return invalid("One or more parameter values were invalid: aws: prefixed tag key names are not allowed for external use.")
	}
	return nil
}

func notOfTags(r rune) bool {
	return !unicode.IsLetter(r) && !unicode.IsSpace(r) && !unicode.IsNumber(r) && !strings.ContainsRune("+-=._:/@", r)
}

// tagResource answers with nothing at all, as DynamoDB does.
func (c *call) tagResource(p *fastjson.Object) error {
	var r tagRequest
	if err := each(p, r.set); err != nil {
		return err
	}
	var check constraints
	if check.present(r.tags != nil, "tags") {
		check.tags(r.tags)
	}
	t, err := r.resource(c, &check)
	if err != nil {
		return err
	}
	tags, err := tagMap(r.tags)
	if err != nil {
		return err
	}
	if len(tags) == 0 {
		return nil
	}
	_, err = c.server.config.Control.UpdateTable(c.server.base, t.Name, catalog.Change{Tag: tags})
	return err
}

func (c *call) untagResource(p *fastjson.Object) error {
	var r tagRequest
	if err := each(p, r.set); err != nil {
		return err
	}
	var check constraints
	if check.present(r.keys != nil, "tagKeys") {
		for i, k := range r.keys {
			path := "tagKeys." + strconv.Itoa(i+1) + ".member"
			if check.present(k != nil, path) {
				check.tagText(k, 1, globaltable.MaxTagKeyLen, path)
			}
		}
	}
	t, err := r.resource(c, &check)
	if err != nil || len(r.keys) == 0 {
		return err
	}
	keys := make([]string, 0, len(r.keys))
	for _, k := range r.keys {
		if err := checkTagKey(string(k)); err != nil {
			return err
		}
		keys = append(keys, string(k))
	}
	_, err = c.server.config.Control.UpdateTable(c.server.base, t.Name, catalog.Change{Untag: keys})
	return err
}

// listTagsOfResource answers with all tags: they are few. So no token is ever given out.
func (c *call) listTagsOfResource(p *fastjson.Object) error {
	var r tagRequest
	if err := each(p, r.set); err != nil {
		return err
	}
	t, err := r.resource(c, new(constraints))
	if err != nil {
		return err
	}
	if r.token != nil {
		return invalid("One or more parameter values were invalid: NextToken is not valid")
	}
	tags := t.TagsOf(t.Replica(c.server.config.Origin))
	c.out = append(c.out, `{"Tags":[`...)
	for i, key := range slices.Sorted(maps.Keys(tags)) {
		if i > 0 {
			c.out = append(c.out, ',')
		}
		c.out = append(c.out, `{"Key":`...)
		c.out = item.AppendJSONString(c.out, key)
		c.out = append(c.out, `,"Value":`...)
		c.out = item.AppendJSONString(c.out, tags[key])
		c.out = append(c.out, '}')
	}
	c.out = append(c.out, "]}"...)
	return nil
}
