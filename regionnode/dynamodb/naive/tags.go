package naive

import (
	"maps"
	"slices"
	"strings"
)

var (
	resource         = within(1, 1283, text)
	tagResourceInput = structure("TagResourceInput", required("ResourceArn", resource), required("Tags", listOf(tag)))

	untagResourceInput = structure("UntagResourceInput", required("ResourceArn", resource), required("TagKeys", listOf(within(1, 128, text))))
	listTagsInput      = structure("ListTagsOfResourceInput", required("ResourceArn", resource), optional("NextToken", text))
)

// tagged returns the table that an ARN names.
func (db *DB) tagged(p object) (*table, error) {
	arn := p["ResourceArn"].(string)
	prefix := "arn:aws:dynamodb:" + db.config.Region + ":" + db.config.Account + ":table/"
	name, ok := strings.CutPrefix(arn, prefix)
	if !ok {
		return nil, invalid("Invalid TableArn: Invalid ResourceArn provided as input %s", arn)
	}
	t := db.tables[name]
	if t == nil {
		return nil, notFound("Requested resource not found: ResourcArn: %s not found", arn)
	}
	return t, nil
}

const maxTags = 50

// setTags adds tags to those that the table has.
func (t *table) setTags(list []any) error {
	fresh := map[string]string{}
	for _, e := range list {
		key, v := e.(object)["Key"].(string), e.(object)["Value"].(string)
		if _, twice := fresh[key]; twice {
			return wrongValue("Duplicate tag key: %s", key)
		}
		fresh[key] = v
	}
	merged := maps.Clone(t.tags)
	maps.Copy(merged, fresh)
	if len(merged) > maxTags {
		return wrongValue("Too many tags: %d, at most %d", len(merged), maxTags)
	}
	t.tags = merged
	return nil
}

func (db *DB) tagResource(p object) (object, error) {
	t, err := db.tagged(p)
	if err != nil {
		return nil, err
	}
	return nil, t.setTags(p["Tags"].([]any))
}

func (db *DB) untagResource(p object) (object, error) {
	t, err := db.tagged(p)
	if err != nil {
		return nil, err
	}
	for _, key := range p["TagKeys"].([]any) {
		delete(t.tags, key.(string))
	}
	return nil, nil
}

func (db *DB) listTagsOfResource(p object) (object, error) {
	t, err := db.tagged(p)
	if err != nil {
		return nil, err
	}
	list := []any{}
	for _, key := range slices.Sorted(maps.Keys(t.tags)) {
		list = append(list, object{"Key": key, "Value": t.tags[key]})
	}
	return object{"Tags": list}, nil
}
