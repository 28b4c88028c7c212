package dynamodb

import (
	"bytes"
	"strconv"

	"github.com/valyala/fastjson"

	"github.com/concordat-db/concordat/globaltable"
)

// text is a string parameter: a view of the parsed request, nil when it was not given.
type text []byte

// given reports whether v is there: DynamoDB takes null for absent.
func given(v *fastjson.Value) bool { return v != nil && v.Type() != fastjson.TypeNull }

// wrongType is the error for a value that is no simple parameter of the Java type named, in the words of DynamoDB's parser.
func wrongType(v *fastjson.Value, java string) error {
	switch v.Type() {
	case fastjson.TypeString:
		return serialization("STRING_VALUE cannot be converted to " + java)
	case fastjson.TypeNumber:
		if _, err := v.Int64(); err != nil {
			return serialization("DECIMAL_VALUE cannot be converted to " + java)
		}
		return serialization("NUMBER_VALUE cannot be converted to " + java)
	case fastjson.TypeTrue:
		return serialization("TRUE_VALUE cannot be converted to " + java)
	case fastjson.TypeFalse:
		return serialization("FALSE_VALUE cannot be converted to " + java)
	case fastjson.TypeArray:
		return serialization("Unrecognized collection type class java.lang." + java)
	}
	return serialization("Start of structure or map found where not expected.")
}

func parseText(dst *text, v *fastjson.Value) error {
	if !given(v) {
		return nil
	}
	b, err := v.StringBytes()
	if err != nil {
		return wrongType(v, "String")
	}
	if b == nil {
		b = []byte{}
	}
	*dst = b
	return nil
}

func parseBool(dst *bool, v *fastjson.Value) error {
	if !given(v) {
		return nil
	}
	switch v.Type() {
	case fastjson.TypeTrue, fastjson.TypeFalse:
		*dst = v.Type() == fastjson.TypeTrue
		return nil
	case fastjson.TypeString:
		return serialization("Unexpected token received from parser")
	}
	return wrongType(v, "Boolean")
}

// integer is an integer parameter.
type integer struct {
	value int64
	given bool
}

// parseInteger reads a number of the Java type named, Integer or Long. DynamoDB cuts fractions off.
func parseInteger(dst *integer, v *fastjson.Value, java string) error {
	if !given(v) {
		return nil
	}
	if v.Type() != fastjson.TypeNumber {
		if v.Type() == fastjson.TypeTrue || v.Type() == fastjson.TypeFalse {
			return serialization("Unexpected token received from parser")
		}
		return wrongType(v, java)
	}
	n, err := v.Int64()
	if err != nil {
		f, _ := v.Float64()
		const limit = 1 << 62
		n = int64(max(-limit, min(limit, f)))
	}
	*dst = integer{n, true}
	return nil
}

// parseObject reads a structure or a map; class is its Java class as DynamoDB names it.
func parseObject(dst **fastjson.Object, v *fastjson.Value, class string) error {
	if !given(v) {
		return nil
	}
	o, err := v.Object()
	if err != nil {
		if v.Type() == fastjson.TypeArray {
			return serialization("Unrecognized collection type " + class)
		}
		return serialization("Unexpected field type")
	}
	*dst = o
	return nil
}

// parseList reads a list. absent tells an empty list from none.
func parseList(dst *[]*fastjson.Value, v *fastjson.Value) error {
	if !given(v) {
		return nil
	}
	a, err := v.Array()
	if err != nil {
		if v.Type() == fastjson.TypeObject {
			return serialization("Start of structure or map found where not expected.")
		}
		return serialization("Unexpected field type")
	}
	if a == nil {
		a = []*fastjson.Value{}
	}
	*dst = a
	return nil
}

// parseStructures reads a list of structures, whose Java class is named; read is called for each that is not null. An empty list is told from none.
func parseStructures[T any](dst *[]T, v *fastjson.Value, structure string, read func(t *T, o *fastjson.Object) error) error {
	var list []*fastjson.Value
	if err := parseList(&list, v); err != nil || list == nil {
		return err
	}
	*dst = make([]T, len(list))
	for i, e := range list {
		var o *fastjson.Object
		if err := parseObject(&o, e, className(structure)); err != nil {
			return err
		}
		if o == nil {
			continue
		}
		if err := read(&(*dst)[i], o); err != nil {
			return err
		}
	}
	return nil
}

// each calls f with every parameter until one fails. Of parameters that are given twice, the last counts.
func each(p *fastjson.Object, f func(name []byte, v *fastjson.Value) error) error {
	var first error
	p.Visit(func(name []byte, v *fastjson.Value) {
		if first == nil {
			first = f(name, v)
		}
	})
	return first
}

// constraints gathers the violations of single parameters' constraints, which DynamoDB reports together.
type constraints struct {
	at   string // what precedes the paths: where in the request the structure is that is being checked
	list []byte
	n    int
}

// maxReported is how many violations DynamoDB lists.
const maxReported = 10

// fail notes that the value of the parameter at path violates a constraint. value is as DynamoDB prints it: quoted, or null.
func (c *constraints) fail(value, path, constraint string) {
	if c.n++; c.n > maxReported {
		return
	}
	if c.n > 1 {
		c.list = append(c.list, "; "...)
	}
	c.list = append(c.list, "Value "...)
	c.list = append(c.list, value...)
	c.list = append(c.list, " at '"...)
	c.list = append(c.list, c.at...)
	c.list = append(c.list, path...)
	c.list = append(c.list, "' failed to satisfy constraint: "...)
	c.list = append(c.list, constraint...)
}

func (c *constraints) err() error {
	if c.n == 0 {
		return nil
	}
	n := min(c.n, maxReported)
	errors := " validation error detected: "
	if n > 1 {
		errors = " validation errors detected: "
	}
	return invalid(strconv.Itoa(n) + errors + string(c.list))
}

// quote prints a value that a client sent, cut when it is very long.
func quote[T text | []byte | string](v T) string {
	const longest = 1 << 10
	if len(v) > longest {
		v = v[:longest]
	}
	return "'" + string(v) + "'"
}

// present demands a parameter.
func (c *constraints) present(ok bool, path string) bool {
	if !ok {
		c.fail("null", path, "Member must not be null")
	}
	return ok
}

// oneOf demands one of the values of an enumeration, listed as DynamoDB lists them.
func (c *constraints) oneOf(v text, path, list string, values ...string) {
	if v == nil {
		return
	}
	for _, s := range values {
		if string(v) == s {
			return
		}
	}
	c.fail(quote(v), path, "Member must satisfy enum value set: ["+list+"]")
}

// name demands a name of a table or an index.
func (c *constraints) name(v text, path string) {
	if !c.present(v != nil, path) {
		return
	}
	c.pattern(v, path)
	if len(v) < 3 {
		c.fail(quote(v), path, "Member must have length greater than or equal to 3")
	}
	if len(v) > 255 {
		c.fail(quote(v), path, "Member must have length less than or equal to 255")
	}
}

// tableName demands a name of a table, or what may be its ARN.
func (c *constraints) tableName(v text, path string) {
	if !isARN(v) {
		c.name(v, path)
		return
	}
	c.length(v, 1, maxArnLen, path)
}

func isARN[T text | []byte](v T) bool { return bytes.HasPrefix(v, []byte("arn:")) }

// tableKeys demands that a map is by names of tables. It is reported once for the map.
func (c *constraints) tableKeys(tables *fastjson.Object) {
	bad := false
	tables.Visit(func(name []byte, _ *fastjson.Value) {
		bad = bad || !globaltable.ValidTableName(string(name)) && !(isARN(name) && len(name) <= maxArnLen)
	})
	if bad {
		c.fail("'{"+countText(tables.Len())+"}'", "requestItems", "Map keys must satisfy constraint: [Member must have length less than or equal to 255, "+
			"Member must have length greater than or equal to 3, Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+]")
	}
}

func (c *constraints) pattern(v text, path string) {
	ok := len(v) > 0
	for _, b := range v {
		ok = ok && (b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || b == '_' || b == '.' || b == '-')
	}
	if !ok {
		c.fail(quote(v), path, "Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+")
	}
}

// atLeast and atMost demand a range of an integer that is given.
func (c *constraints) atLeast(v integer, least int64, path string) {
	if v.given && v.value < least {
		c.fail(quote(strconv.FormatInt(v.value, 10)), path, "Member must have value greater than or equal to "+strconv.FormatInt(least, 10))
	}
}

func (c *constraints) atMost(v integer, most int64, path string) {
	if v.given && v.value > most {
		c.fail(quote(strconv.FormatInt(v.value, 10)), path, "Member must have value less than or equal to "+strconv.FormatInt(most, 10))
	}
}

// capacity and metrics demand what ReturnConsumedCapacity and ReturnItemCollectionMetrics may be.
func (c *constraints) capacity(v text) {
	c.oneOf(v, "returnConsumedCapacity", "INDEXES, TOTAL, NONE", capacities...)
}

func (c *constraints) metrics(v text) {
	c.oneOf(v, "returnItemCollectionMetrics", "SIZE, NONE", metrics...)
}
