package expr

import (
	"bytes"
	"slices"

	"github.com/valyala/fastjson"

	"github.com/concordat-db/concordat/globaltable/item"
)

// maxSubstitutions is how many bytes all names, or all values, of a request may have.
const maxSubstitutions = 2 << 20

// maxPlaceholder is how long a placeholder may be in bytes.
const maxPlaceholder = 255

// Bindings are a request's ExpressionAttributeNames and ExpressionAttributeValues, and note which of them its expressions used. The
// zero value is none. It is for one goroutine; what was bound with it lives until Reset.
type Bindings struct {
	entries []binding // names, then values, each ascending by placeholder
	names   int       // how many of entries are names
	memory  []byte    // what encoded values are in; its free part is behind its length
	symbols [][]byte  // what bound expressions have as theirs
	steps   []Step    // what the paths of targets are in
	targets []target  // what projections and updates have as theirs
}

// binding is a placeholder and what it stands for: an attribute's name, or an encoded value.
type binding struct {
	placeholder []byte
	content     []byte
	used        bool
}

func compareBindings(a, b binding) int { return bytes.Compare(a.placeholder, b.placeholder) }

// The memory for values, in bytes: what the first ones get, and how much a Reset keeps.
const (
	firstMemory = 512
	keptMemory  = 64 << 10
)

// Reset makes b empty and ends what was bound with it; its memory is kept, up to a bound.
func (b *Bindings) Reset() {
	if cap(b.memory) > keptMemory {
		*b = Bindings{}
		return
	}
	clear(b.entries)
	clear(b.symbols)
	clear(b.steps)
	clear(b.targets)
	b.entries, b.names, b.memory = b.entries[:0], 0, b.memory[:0]
	b.symbols, b.steps, b.targets = b.symbols[:0], b.steps[:0], b.targets[:0]
}

// The words of DynamoDB for the two maps.
const (
	namesParameter  = "ExpressionAttributeNames"
	valuesParameter = "ExpressionAttributeValues"
)

// SetNames takes ExpressionAttributeNames, {"#name": "attribute", …}; it is called once, before SetValues. names must stay valid and
// unchanged until Reset. The error is an *item.Error of class Validation, or Serialization when the JSON has another shape.
func (b *Bindings) SetNames(names *fastjson.Object) error {
	err := b.add(namesParameter, '#', names)
	b.names = len(b.entries)
	return err
}

// SetValues takes ExpressionAttributeValues, {":value": {"S": "…"}, …}, as SetNames takes names. Of values it keeps no view but of
// their placeholders. Each value is checked as an attribute's is.
func (b *Bindings) SetValues(values *fastjson.Object) error {
	return b.add(valuesParameter, ':', values)
}

// add takes the entries of one of the maps, whose placeholders begin with mark.
func (b *Bindings) add(parameter string, mark byte, o *fastjson.Object) error {
	if o.Len() == 0 {
		return fault(parameter+" must not be empty", "")
	}
	start, size := len(b.entries), 0
	var wrong verdict
	o.Visit(func(placeholder []byte, v *fastjson.Value) {
		wrong.add(checkPlaceholder(parameter, mark, placeholder))
		content, err := b.content(mark, v)
		if err != nil {
			wrong.add(contentFault(parameter, placeholder, err))
		}
		size += len(placeholder) + len(content)
		b.entries = append(b.entries, binding{placeholder: placeholder, content: content})
	})
	if err := wrong.err(); err != nil {
		return err
	}
	if size > maxSubstitutions {
		return fault(parameter+" exceeds max size of 2097152 bytes", "")
	}
	added := b.entries[start:]
	slices.SortFunc(added, compareBindings)
	for i := 1; i < len(added); i++ {
		if bytes.Equal(added[i-1].placeholder, added[i].placeholder) {
			return duplicateMember()
		}
	}
	return nil
}

// content returns what v is for a placeholder with the mark: a name, which is a view, or a value, encoded into memory.
func (b *Bindings) content(mark byte, v *fastjson.Value) ([]byte, error) {
	if mark == '#' {
		name, err := item.DecodeStringJSON(v)
		if err == nil && len(name) == 0 {
			err = item.NewError(item.Validation, "An attribute name may not be empty", "")
		}
		return name, err
	}
	if b.memory == nil {
		b.memory = make([]byte, 0, firstMemory)
	}
	free := b.memory[len(b.memory):]
	encoded, err := item.DecodeValueJSON(free, v)
	if err != nil {
		return nil, err
	}
	if len(encoded) > cap(free) { // it is in memory of its own: go on in a piece that has room for more
		b.memory = append(make([]byte, 0, 2*(cap(b.memory)+len(encoded))), encoded...)
		return encoded, nil
	}
	b.memory = b.memory[:len(b.memory)+len(encoded)]
	return encoded[:len(encoded):len(encoded)], nil
}

// checkPlaceholder checks the form of a placeholder: mark, then letters, digits and _.
func checkPlaceholder(parameter string, mark byte, placeholder []byte) error {
	text := string(placeholder)
	if len(text) < 2 || text[0] != mark || wordLen(text[1:]) != len(text)-1 {
		return fault(parameter+" contains invalid key: Syntax error", `; key: "`+text+`"`)
	}
	if len(text) > maxPlaceholder {
		return fault(parameter+" contains invalid key: The expression attribute map contains a key that is too long", "")
	}
	return nil
}

// contentFault is the fault of what a placeholder stands for. JSON of the wrong shape is reported as it is.
func contentFault(parameter string, placeholder []byte, err error) error {
	e, ok := err.(*item.Error)
	if !ok || e.Class == item.Serialization {
		return err
	}
	prefix := parameter + " contains invalid value: "
	return item.NewError(e.Class, prefix+e.Message+" for key "+string(placeholder), prefix+e.Error())
}

// Each calls f with each placeholder and what it stands for, an attribute's name or an encoded value: names first, both in the order of placeholders. So equal bindings are the same calls.
func (b *Bindings) Each(f func(placeholder, content []byte)) {
	for i := range b.entries {
		f(b.entries[i].placeholder, b.entries[i].content)
	}
}

// CheckUsed returns DynamoDB's error if a name or a value was used by no expression. It is called once all expressions of the request
// are bound.
func (b *Bindings) CheckUsed() error {
	if err := checkUsed(namesParameter, b.entries[:b.names]); err != nil {
		return err
	}
	return checkUsed(valuesParameter, b.entries[b.names:])
}

func checkUsed(parameter string, entries []binding) error {
	var unused []byte
	for i := range entries {
		if entries[i].used {
			continue
		}
		if unused != nil {
			unused = append(unused, ", "...)
		}
		unused = append(unused, entries[i].placeholder...)
	}
	if unused == nil {
		return nil
	}
	return fault("Value provided in "+parameter+" unused in expressions", ": keys: {"+string(unused)+"}")
}

// bind looks up the symbols of a parsed expression and notes them as used.
func (b *Bindings) bind(parameter string, p *parsed) (bound, error) {
	start := len(b.symbols)
	for _, s := range p.symbols {
		content, err := b.resolve(parameter, s)
		if err != nil {
			return nil, err
		}
		b.symbols = append(b.symbols, content)
	}
	return bound(b.symbols[start:len(b.symbols):len(b.symbols)]), nil
}

func (b *Bindings) resolve(parameter string, s symbol) ([]byte, error) {
	entries := b.entries[:b.names]
	switch s.kind {
	case tokenWord:
		return s.name, nil
	case tokenValue:
		entries = b.entries[b.names:]
	}
	i, found := slices.BinarySearchFunc(entries, s.text, func(e binding, text string) int { return compareBytes(e.placeholder, text) })
	switch {
	case found:
		entries[i].used = true
		return entries[i].content, nil
	case s.kind == tokenName:
		return nil, invalid(parameter, "An expression attribute name used in the document path is not defined", "; attribute name: "+s.text)
	}
	return nil, invalid(parameter, "An expression attribute value used in expression is not defined", "; attribute value: "+s.text)
}

// compareBytes is strings.Compare for bytes on the left, without a copy of them.
func compareBytes(a []byte, b string) int {
	switch {
	case string(a) < b:
		return -1
	case string(a) > b:
		return 1
	}
	return 0
}
