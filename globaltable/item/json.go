package item

import "github.com/valyala/fastjson"

// CheckJSON reports whether body is one well-formed JSON text: strict grammar, UTF-8, no lone surrogates, nesting up to what a
// request can need. Call it before a fastjson parser, which is lenient. The error is an *Error of class Serialization.
func CheckJSON(body []byte) error { panic("unfinished") }

// DecodeItemJSON encodes the attributes of v, {"name": {"S": "..."}, ...}, over dst[:0]. v must come from text that passed
// CheckJSON; it is read only, and the item keeps no view of it. The error is an *Error of class Validation or Serialization.
func DecodeItemJSON(dst []byte, v *fastjson.Value) (Item, error) { panic("unfinished") }

// DecodeValueJSON is DecodeItemJSON for one value, {"S": "..."}.
func DecodeValueJSON(dst []byte, v *fastjson.Value) (Value, error) { panic("unfinished") }

// AppendJSON appends v as wire JSON: {"S":"..."}.
func AppendJSON(dst []byte, v Value) []byte { panic("unfinished") }

// AppendJSON appends the item as wire JSON: {"name":{"S":"..."},...}.
func (it Item) AppendJSON(dst []byte) []byte { panic("unfinished") }

// AppendJSONString appends s, UTF-8, as a JSON string with its quotes.
func AppendJSONString[T string | []byte](dst []byte, s T) []byte { panic("unfinished") }
