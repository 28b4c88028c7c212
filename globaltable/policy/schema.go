package policy

import (
	_ "embed"
	"encoding/json"
)

//go:embed schema.json
var schema []byte

// Schema returns the JSON Schema (2020-12) of documents of a kind; of all kinds for an empty one. ok is false for a kind that is none.
func Schema(kind Kind) (b []byte, ok bool) {
	if kind == "" {
		return schema, true
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(schema, &all); err != nil {
		panic(err) // it is part of the program
	}
	var defs map[string]json.RawMessage
	if err := json.Unmarshal(all["$defs"], &defs); err != nil {
		panic(err)
	}
	if _, ok := defs[string(kind)]; !ok || kind != LocalityPolicy && kind != ReplicationPolicy {
		return nil, false
	}
	delete(all, "oneOf")
	delete(all, "title")
	delete(all, "description")
	all["$ref"], _ = json.Marshal("#/$defs/" + string(kind)) // a string
	b, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		panic(err)
	}
	return append(b, '\n'), true
}
