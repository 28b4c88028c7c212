package naive

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// shape is the declared form of a parameter, as DynamoDB's API model has it: its kind and its constraints.
type shape struct {
	kind   string // "text", "boolean", "integer", "long", "structure", "list", "map" or "value": an AttributeValue
	class  string // of a structure, list or map: the Java class that messages name
	fields []field
	of     *shape // of a list or map: the elements
	keys   *shape // of a map: the constraints of its keys; nil: none

	enum     string // the values allowed, as messages list them
	pattern  string
	min, max *int64 // of a number its value, of a text its length, of a list or map its size
}

// field is a member of a structure.
type field struct {
	name     string
	required bool
	shape    *shape
}

func required(name string, s *shape) field { return field{name, true, s} }
func optional(name string, s *shape) field { return field{name, false, s} }

func structure(class string, fields ...field) *shape {
	return &shape{kind: "structure", class: "class com.amazonaws.dynamodb.v20120810." + class, fields: fields}
}

func listOf(of *shape) *shape { return &shape{kind: "list", of: of} }

func mapOf(of *shape) *shape {
	return &shape{kind: "map", class: "java.util.Map<java.lang.String, com.amazonaws.dynamodb.v20120810.AttributeValue>", of: of}
}

func enum(values string) *shape { return &shape{kind: "text", enum: values} }

// within returns s with bounds; a negative one is none.
func within(least, most int64, s *shape) *shape {
	c := *s
	if least >= 0 {
		c.min = &least
	}
	if most >= 0 {
		c.max = &most
	}
	return &c
}

// checker goes through a request and gathers what is misshapen, and the violated constraints.
type checker struct {
	misshapen []error
	list      []string
}

// verdict returns the fault of what is misshapen, or that of all violated constraints.
func (c *checker) verdict() error {
	if len(c.misshapen) > 0 {
		return oneOf(c.misshapen)
	}
	switch n := len(c.list); n {
	case 0:
		return nil
	case 1:
		return invalid("1 validation error detected: %s", c.list[0])
	default:
		return invalid("%d validation errors detected: %s", n, strings.Join(c.list, "; "))
	}
}

func (c *checker) violated(value any, path, constraint string) {
	c.list = append(c.list, fmt.Sprintf("Value %s at '%s' failed to satisfy constraint: %s", printed(value), path, constraint))
}

// printed is a value as messages quote it.
func printed(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case string:
		return "'" + v + "'"
	case json.Number:
		return "'" + v.String() + "'"
	case []any:
		return fmt.Sprintf("'[%d members]'", len(v))
	}
	return "'{…}'"
}

// check returns v without its null members. What it is worth shows only when all has been checked.
func (c *checker) check(s *shape, v any, path string) any {
	switch s.kind {
	case "text":
		if t, ok := v.(string); ok {
			c.text(s, t, path)
			return t
		}
		c.mismatch(scalarFault(v, "String"))
	case "boolean":
		if b, ok := v.(bool); ok {
			return b
		}
		c.mismatch(scalarFault(v, "Boolean"))
	case "integer", "long":
		if n, ok := v.(json.Number); ok {
			return c.number(s, n, path)
		}
		c.mismatch(scalarFault(v, map[string]string{"integer": "Integer", "long": "Long"}[s.kind]))
	case "structure":
		return c.structure(s, v, path)
	case "list":
		return c.elements(s, v, path)
	case "map":
		return c.entries(s, v, path)
	case "value":
		c.mismatch(valueShape(v))
	}
	return v
}

// mismatch notes that JSON is of a wrong kind. Which of several such faults is reported is left open.
func (c *checker) mismatch(err error) {
	if err != nil {
		c.misshapen = append(c.misshapen, err)
	}
}

func (c *checker) text(s *shape, t, path string) {
	if s.enum != "" && !slices.Contains(strings.Split(s.enum, ", "), t) {
		c.violated(t, path, "Member must satisfy enum value set: ["+s.enum+"]")
	}
	if s.pattern != "" && !regexp.MustCompile("^"+s.pattern+"$").MatchString(t) {
		c.violated(t, path, "Member must satisfy regular expression pattern: "+s.pattern)
	}
	c.length(s, t, len(t), path)
}

func (c *checker) length(s *shape, v any, n int, path string) {
	if s.min != nil && int64(n) < *s.min {
		c.violated(v, path, fmt.Sprintf("Member must have length greater than or equal to %d", *s.min))
	}
	if s.max != nil && int64(n) > *s.max {
		c.violated(v, path, fmt.Sprintf("Member must have length less than or equal to %d", *s.max))
	}
}

// number returns the whole part of n, as DynamoDB reads it.
func (c *checker) number(s *shape, n json.Number, path string) int64 {
	i, err := n.Int64()
	if err != nil {
		f, _ := n.Float64()
		i = int64(f)
	}
	whole := json.Number(strconv.FormatInt(i, 10))
	if s.min != nil && i < *s.min {
		c.violated(whole, path, fmt.Sprintf("Member must have value greater than or equal to %d", *s.min))
	}
	if s.max != nil && i > *s.max {
		c.violated(whole, path, fmt.Sprintf("Member must have value less than or equal to %d", *s.max))
	}
	return i
}

func (c *checker) structure(s *shape, v any, path string) any {
	o, ok := v.(object)
	if !ok {
		c.mismatch(collectionFault(v, s.class))
		return nil
	}
	out := object{}
	for _, f := range s.fields {
		at := strings.ToLower(f.name[:1]) + f.name[1:]
		if path != "" {
			at = path + "." + at
		}
		member := o[f.name]
		if member == nil {
			if f.required {
				c.violated(nil, at, "Member must not be null")
			}
			continue
		}
		out[f.name] = c.check(f.shape, member, at)
	}
	return out
}

func (c *checker) elements(s *shape, v any, path string) any {
	list, ok := v.([]any)
	if !ok {
		c.mismatch(listFault(v))
		return nil
	}
	c.length(s, list, len(list), path)
	out := make([]any, 0, len(list))
	for i, e := range list {
		at := fmt.Sprintf("%s.%d.member", path, i+1)
		if e == nil {
			c.violated(nil, at, "Member must not be null")
			continue
		}
		out = append(out, c.check(s.of, e, at))
	}
	return out
}

func (c *checker) entries(s *shape, v any, path string) any {
	o, ok := v.(object)
	if !ok {
		c.mismatch(collectionFault(v, s.class))
		return nil
	}
	c.length(s, o, len(o), path)
	out := object{}
	c.mapKeys(s, o, path)
	c.mapValues(s, o, path)
	for _, name := range slices.Sorted(maps.Keys(o)) {
		at := path + "." + name + ".member"
		if o[name] == nil {
			c.violated(nil, at, "Member must not be null")
			continue
		}
		of := *s.of
		if of.kind == "list" {
			of.min, of.max = nil, nil // looked at by mapValues
		}
		out[name] = c.check(&of, o[name], at)
	}
	return out
}

// mapKeys checks the constraints of a map's keys, which are reported together, once for the map.
func (c *checker) mapKeys(s *shape, o object, path string) {
	if s.keys == nil {
		return
	}
	for name := range o {
		var one checker
		one.text(s.keys, name, "")
		if len(one.list) > 0 {
			c.violated(o, path, fmt.Sprintf("Map keys must satisfy constraint: [Member must have length less than or equal to %d, "+
				"Member must have length greater than or equal to %d, Member must satisfy regular expression pattern: %s]", *s.keys.max, *s.keys.min, s.keys.pattern))
			return
		}
	}
}

// mapValues checks the lengths of lists that are a map's values in the same way.
func (c *checker) mapValues(s *shape, o object, path string) {
	if s.of.kind != "list" || s.of.max == nil {
		return
	}
	for _, v := range o {
		if list, ok := v.([]any); ok && (int64(len(list)) > *s.of.max || int64(len(list)) < *s.of.min) {
			c.violated(o, path, fmt.Sprintf("Map value must satisfy constraint: [Member must have length less than or equal to %d, "+
				"Member must have length greater than or equal to %d]", *s.of.max, *s.of.min))
			return
		}
	}
}

// scalarFault is what DynamoDB says to JSON that is no scalar of the Java type given.
func scalarFault(v any, java string) error {
	switch v := v.(type) {
	case string:
		if java == "Boolean" {
			return misshapen("Unexpected token received from parser")
		}
		return misshapen("STRING_VALUE cannot be converted to %s", java)
	case bool:
		if java == "Integer" || java == "Long" {
			return misshapen("Unexpected token received from parser")
		}
		return misshapen("%s_VALUE cannot be converted to %s", strings.ToUpper(strconv.FormatBool(v)), java)
	case json.Number:
		kind := "NUMBER"
		if strings.ContainsAny(v.String(), ".eE") {
			kind = "DECIMAL"
		}
		return misshapen("%s_VALUE cannot be converted to %s", kind, java)
	case []any:
		return misshapen("Unrecognized collection type class java.lang.%s", java)
	}
	return misshapen("Start of structure or map found where not expected.")
}

func listFault(v any) error {
	if _, ok := v.(object); ok {
		return misshapen("Start of structure or map found where not expected.")
	}
	return misshapen("Unexpected field type")
}

func collectionFault(v any, class string) error {
	if _, ok := v.([]any); ok {
		return misshapen("Unrecognized collection type %s", class)
	}
	return misshapen("Unexpected field type")
}

// valueShape checks the JSON of an AttributeValue, without a look at what it means. Members that are null or unknown do not count.
func valueShape(v any) error {
	o, ok := v.(object)
	if !ok {
		if _, isList := v.([]any); isList {
			return misshapen("Unrecognized collection type class com.amazonaws.dynamodb.v20120810.AttributeValue")
		}
		return misshapen("Unexpected value type in payload")
	}
	for _, kind := range slices.Sorted(maps.Keys(o)) {
		if o[kind] == nil {
			continue
		}
		if err := contentShape(kind, o[kind]); err != nil {
			return err
		}
	}
	return nil
}

func contentShape(kind string, v any) error {
	switch kind {
	case "S", "N":
		if _, ok := v.(string); !ok {
			return scalarFault(v, "String")
		}
	case "B":
		return blobShape(v)
	case "BOOL", "NULL":
		if _, ok := v.(bool); !ok {
			return scalarFault(v, "Boolean")
		}
	case "SS", "NS", "BS", "L":
		list, ok := v.([]any)
		if !ok {
			return listFault(v)
		}
		for _, e := range list {
			if err := elementShape(kind, e); err != nil {
				return err
			}
		}
	case "M":
		return attributesShape(v)
	}
	return nil
}

func elementShape(kind string, e any) error {
	if kind == "L" {
		return valueShape(e)
	}
	return contentShape(kind[:1], e)
}

func attributesShape(v any) error {
	o, ok := v.(object)
	if !ok {
		return collectionFault(v, mapOf(nil).class)
	}
	for _, name := range slices.Sorted(maps.Keys(o)) {
		if o[name] == nil {
			continue
		}
		if err := valueShape(o[name]); err != nil {
			return err
		}
	}
	return nil
}

func blobShape(v any) error {
	text, ok := v.(string)
	if !ok {
		if _, isList := v.([]any); isList {
			return misshapen("Unrecognized collection type class java.nio.ByteBuffer")
		}
		return misshapen("only base-64-encoded strings are convertible to bytes")
	}
	if len(text)%4 != 0 {
		return misshapen("Base64 encoded length is expected a multiple of 4 bytes but found: %d", len(text))
	}
	if _, err := base64.StdEncoding.Strict().DecodeString(text); err != nil {
		return misshapen("Invalid last non-pad Base64 character dectected")
	}
	return nil
}
