package item

import (
	"bytes"

	"github.com/valyala/fastjson"
)

// kinds has what DynamoDB says to each kind of JSON that it does not want at some place.
type kinds struct {
	scalar string // to a number, string or truth value; if empty, the text is made with target
	target string // the Java class that a scalar cannot be converted to
	list   string // to a list, where a list is not what is wanted
}

var (
	stringKinds = kinds{target: "String", list: "Unrecognized collection type class java.lang.String"}
	boolKinds   = kinds{target: "Boolean", list: "Unrecognized collection type class java.lang.Boolean"}
	blobKinds   = kinds{scalar: "only base-64-encoded strings are convertible to bytes", list: "Unrecognized collection type class java.nio.ByteBuffer"}
	listKinds   = kinds{scalar: "Unexpected field type"}
	mapKinds    = kinds{scalar: "Unexpected field type",
		list: "Unrecognized collection type java.util.Map<java.lang.String, com.amazonaws.dynamodb.v20120810.AttributeValue>"}
	valueKinds = kinds{scalar: "Unexpected value type in payload",
		list: "Unrecognized collection type class com.amazonaws.dynamodb.v20120810.AttributeValue"}
)

// kindFault is the fault of JSON of the wrong kind.
func kindFault(v *fastjson.Value, k kinds) error {
	var token string
	switch v.Type() {
	case fastjson.TypeArray:
		return serialization(k.list)
	case fastjson.TypeObject:
		return serialization("Start of structure or map found where not expected.")
	case fastjson.TypeTrue:
		token = "TRUE_VALUE"
	case fastjson.TypeFalse:
		token = "FALSE_VALUE"
	case fastjson.TypeNumber:
		token = "NUMBER_VALUE"
		if bytes.ContainsAny(v.MarshalTo(nil), ".eE") {
			token = "DECIMAL_VALUE"
		}
	}
	switch {
	case k.scalar != "":
		return serialization(k.scalar)
	case token == "":
		return serialization("Unexpected token received from parser")
	}
	return serialization(token + " cannot be converted to " + k.target)
}
