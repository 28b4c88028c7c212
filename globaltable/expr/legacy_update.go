package expr

import (
	"bytes"
	"slices"

	"github.com/valyala/fastjson"

	"github.com/concordat-db/concordat/globaltable/item"
)

// AttributeUpdates returns the update that AttributeUpdates says; nil if it has nothing. The error is that of Expected.
func AttributeUpdates(updates *fastjson.Object) (*Update, error) {
	var b Builder
	err := eachMember(updates, func(name []byte, v *fastjson.Value) error { return b.attributeUpdate(name, v) })
	if err != nil || len(b.actions) == 0 {
		return nil, err
	}
	u := &Update{actions: b.actions, bound: b.bound, legacy: true}
	u.rewrite = rewrite{targets: b.targets, at: u, others: true, strict: true}
	return u, sortTargets("AttributeUpdates", b.targets)
}

// attributeUpdate adds the action that a member of AttributeUpdates is: {"Action": …, "Value": …}.
func (b *Builder) attributeUpdate(name []byte, v *fastjson.Value) error {
	o, err := objectOf(v, "AttributeValueUpdate")
	if err != nil {
		return err
	}
	kind := "PUT"
	var value item.Value
	var wrong verdict
	o.Visit(func(key []byte, v *fastjson.Value) {
		if v.Type() == fastjson.TypeNull {
			return
		}
		var err error
		switch string(key) {
		case "Action":
			var text []byte
			if text, err = item.DecodeStringJSON(v); err == nil {
				if kind = string(text); kind != "PUT" && kind != "ADD" && kind != "DELETE" {
					err = notInEnum(kind, updatesMember, name, "action", "ADD, PUT, DELETE")
				}
			}
		case "Value":
			value, err = item.DecodeValueJSON(nil, v)
		}
		wrong.add(err)
	})
	if err := wrong.err(); err != nil {
		return err
	}
	path := []Step{{Name: name}}
	switch {
	case kind == "DELETE" && value == nil:
		b.Remove(path)
	case value == nil:
		return fault(invalidValues+"Only DELETE action is allowed when no attribute value is specified", "")
	case kind == "PUT":
		b.Set(path, b.Value(value))
	case kind == "ADD":
		if t := value.Type(); t != item.N && t != item.L && !t.IsSet() {
			return fault(invalidValues+"ADD action is not supported for the type "+t.String(), "")
		}
		b.Add(path, b.Value(value))
	default:
		if t := value.Type(); !t.IsSet() {
			return fault(invalidValues+"DELETE action with value is not supported for the type "+t.String(), "")
		}
		b.Delete(path, b.Value(value))
	}
	return nil
}

// AttributesToGet returns the projection that AttributesToGet says. names must stay valid and unchanged while it is used. The error is
// that of Expected.
func AttributesToGet(names []*fastjson.Value) (*Projection, error) {
	targets := make([]target, len(names))
	for i, v := range names {
		name, err := item.DecodeStringJSON(v)
		if err != nil {
			return nil, err
		}
		if len(name) == 0 {
			return nil, fault(invalidValues+"An attribute name may not be empty", "")
		}
		targets[i] = target{[]Step{{Name: name}}, i}
	}
	slices.SortFunc(targets, compareTargets)
	for i := 1; i < len(targets); i++ {
		if name := targets[i].path[0].Name; bytes.Equal(targets[i-1].path[0].Name, name) {
			return nil, fault(invalidValues+"Duplicate value in attribute name", ": "+string(name))
		}
	}
	return newProjection("AttributesToGet", targets)
}

// eachMember calls f for each member of o, nil for none, and returns the gravest of its errors. A name that is there twice is a fault.
func eachMember(o *fastjson.Object, f func(name []byte, v *fastjson.Value) error) error {
	if o == nil {
		return nil
	}
	var wrong verdict
	var names [][]byte
	o.Visit(func(name []byte, v *fastjson.Value) {
		names = append(names, name)
		wrong.add(f(name, v))
	})
	if err := wrong.err(); err != nil {
		return err
	}
	slices.SortFunc(names, bytes.Compare)
	for i := 1; i < len(names); i++ {
		if bytes.Equal(names[i-1], names[i]) {
			return duplicateMember()
		}
	}
	return nil
}

// objectOf returns v as an object; class is its class as DynamoDB's messages name it.
func objectOf(v *fastjson.Value, class string) (*fastjson.Object, error) {
	switch v.Type() {
	case fastjson.TypeObject:
		return v.GetObject(), nil
	case fastjson.TypeArray:
		return nil, serialization("Unrecognized collection type class com.amazonaws.dynamodb.v20120810." + class)
	}
	return nil, serialization("Unexpected value type in payload")
}

func duplicateMember() error { return serialization("A member name appears twice in an object") }

func serialization(message string) error {
	return item.NewError(item.Serialization, message, "")
}

// notInEnum is the fault of a member that has none of the values allowed.
func notInEnum(value, parameter string, name []byte, member, allowed string) error {
	return Violations{{"'" + value + "'", parameter + "." + string(name) + ".member." + member, "Member must satisfy enum value set: [" + allowed + "]"}}
}

// nullMember is the fault of a member that is missing.
func nullMember(parameter string, name []byte, member string) error {
	return Violations{{"null", parameter + "." + string(name) + ".member." + member, "Member must not be null"}}
}
