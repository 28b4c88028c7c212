package trigger

import _ "embed"

//go:embed schema.json
var schema []byte

// Schema returns the JSON Schema (2020-12) of triggers. The caller does not change it.
func Schema() []byte { return schema }
