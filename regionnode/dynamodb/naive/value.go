package naive

import (
	"cmp"
	"encoding/base64"
	"maps"
	"math/big"
	"slices"
	"strings"
)

// value is an attribute value.
type value struct {
	kind    string // "S", "N", "B", "BOOL", "NULL", "M", "L", "SS", "NS" or "BS"
	text    string // of an S; of a B its bytes
	number  *big.Rat
	truth   bool
	entries map[string]value // of an M
	list    []value          // of an L; of a set, each of the set's kind without its second S
}

// item is a map of attributes.
type item map[string]value

const maxNesting = 32

// decodeItem decodes attributes, whose shape has been checked.
func decodeItem(v any) (item, error) {
	entries, err := decodeEntries(v.(object), 1)
	return entries, err
}

// decodeEntries decodes attributes of a level: those of an item have level 1. Of several faults, the first by name counts.
func decodeEntries(o object, level int) (map[string]value, error) {
	out := map[string]value{}
	for _, name := range slices.Sorted(maps.Keys(o)) {
		if name == "" {
			return nil, wrongValue("An attribute name may not be empty")
		}
		v, err := decodeValue(o[name], level)
		if err != nil {
			return nil, err
		}
		out[name] = v
	}
	return out, nil
}

// decodeValue decodes one value, of the level given.
func decodeValue(v any, level int) (value, error) {
	if level > maxNesting {
		return value{}, invalid("Nesting Levels have exceeded supported limits: Attributes in the item have nested levels beyond supported limit")
	}
	o, _ := v.(object)
	var kinds []string
	for _, kind := range []string{"S", "N", "B", "BOOL", "NULL", "M", "L", "SS", "NS", "BS"} {
		if o[kind] != nil {
			kinds = append(kinds, kind)
		}
	}
	switch len(kinds) {
	case 0:
		return value{}, invalid("Supplied AttributeValue is empty, must contain exactly one of the supported datatypes")
	case 1:
		return decodeContent(kinds[0], o[kinds[0]], level)
	}
	return value{}, invalid("Supplied AttributeValue has more than one datatypes set, must contain exactly one of the supported datatypes")
}

func decodeContent(kind string, v any, level int) (value, error) {
	var err error
	out := value{kind: kind}
	switch kind {
	case "S":
		out.text = v.(string)
	case "N":
		out.number, err = parseNumber(v.(string))
	case "B":
		b, _ := base64.StdEncoding.DecodeString(v.(string))
		out.text = string(b)
	case "BOOL":
		out.truth = v.(bool)
	case "NULL":
		if !v.(bool) {
			err = wrongValue("Null attribute value types must have the value of true")
		}
	case "M":
		out.entries, err = decodeEntries(v.(object), level+1)
	case "L":
		out.list = []value{}
		for _, e := range v.([]any) {
			element, err := decodeValue(e, level+1)
			if err != nil {
				return value{}, err
			}
			out.list = append(out.list, element)
		}
	default:
		out.list, err = decodeSet(kind, v.([]any))
	}
	return out, err
}

func decodeSet(kind string, elements []any) ([]value, error) {
	if len(elements) == 0 {
		return nil, wrongValue("%s", map[string]string{
			"SS": "An string set  may not be empty", "NS": "An number set  may not be empty", "BS": "Binary sets should not be empty"}[kind])
	}
	var out []value
	for _, e := range elements {
		v, err := decodeContent(kind[:1], e, 0)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	slices.SortFunc(out, compare)
	for i := 1; i < len(out); i++ {
		if compare(out[i-1], out[i]) == 0 {
			return nil, duplicates(kind, elements)
		}
	}
	return out, nil
}

func duplicates(kind string, elements []any) error {
	var texts []string
	for _, e := range elements {
		texts = append(texts, e.(string))
	}
	list := strings.Join(texts, ", ")
	switch kind {
	case "SS":
		return wrongValue("Input collection [%s] contains duplicates.", list)
	case "BS":
		return wrongValue("Input collection [%s]of type BS contains duplicates.", list)
	}
	return invalid("Input collection contains duplicates")
}

// compare orders two values of one kind, S, N or B.
func compare(a, b value) int {
	if a.kind == "N" {
		return a.number.Cmp(b.number)
	}
	return strings.Compare(a.text, b.text)
}

// ordered reports whether values of the kind have an order.
func ordered(kind string) bool { return kind == "S" || kind == "N" || kind == "B" }

func isSet(kind string) bool { return kind == "SS" || kind == "NS" || kind == "BS" }

// equal reports whether two values are the same: of the same kind, at any depth. Sets have no order.
func equal(a, b value) bool {
	if a.kind != b.kind {
		return false
	}
	switch a.kind {
	case "S", "N", "B":
		return compare(a, b) == 0
	case "BOOL":
		return a.truth == b.truth
	case "NULL":
		return true
	case "M":
		return maps.EqualFunc(a.entries, b.entries, equal)
	}
	return slices.EqualFunc(a.list, b.list, equal) // sets are sorted
}

// encode returns v as JSON has it.
func (v value) encode() any {
	switch v.kind {
	case "BOOL":
		return object{"BOOL": v.truth}
	case "NULL":
		return object{"NULL": true}
	case "M":
		return object{"M": item(v.entries).encode()}
	case "L":
		list := []any{}
		for _, e := range v.list {
			list = append(list, e.encode())
		}
		return object{"L": list}
	case "SS", "NS", "BS":
		list := []any{}
		for _, e := range v.list {
			list = append(list, e.scalar())
		}
		return object{v.kind: list}
	}
	return object{v.kind: v.scalar()}
}

// scalar returns the text of an S, N or B in JSON.
func (v value) scalar() string {
	switch v.kind {
	case "N":
		return numberText(v.number)
	case "B":
		return base64.StdEncoding.EncodeToString([]byte(v.text))
	}
	return v.text
}

func (it item) encode() object {
	out := object{}
	for name, v := range it {
		out[name] = v.encode()
	}
	return out
}

// size returns v's size as the documentation counts: "An attribute of type List or Map requires 3 bytes of overhead … Each List or Map element also
// requires 1 byte of overhead".
func (v value) size() int {
	n := 0
	switch v.kind {
	case "S", "B":
		return len(v.text)
	case "N":
		return numberSize(v.number)
	case "BOOL", "NULL":
		return 1
	case "M":
		n = 3
		for name, e := range v.entries {
			n += 1 + len(name) + e.size()
		}
	case "L":
		n = 3
		for _, e := range v.list {
			n += 1 + e.size()
		}
	default:
		for _, e := range v.list {
			n += e.size()
		}
	}
	return n
}

func (it item) size() int {
	n := 0
	for name, v := range it {
		n += len(name) + v.size()
	}
	return n
}

// depth returns the levels of nesting in v: 1 of a scalar.
func (v value) depth() int {
	deepest := 0
	for _, e := range v.entries {
		deepest = max(deepest, e.depth())
	}
	if v.kind == "L" {
		for _, e := range v.list {
			deepest = max(deepest, e.depth())
		}
	}
	return 1 + deepest
}

const maxItemSize = 400 * 1024

// clone returns a deep copy.
func (v value) clone() value {
	if v.entries != nil {
		v.entries = item(v.entries).clone()
	}
	if v.list != nil {
		list := make([]value, len(v.list))
		for i, e := range v.list {
			list[i] = e.clone()
		}
		v.list = list
	}
	return v
}

func (it item) clone() item {
	if it == nil {
		return nil
	}
	out := item{}
	for name, v := range it {
		out[name] = v.clone()
	}
	return out
}

// length reports the length that the function size tells; ok is false for kinds that have none.
func (v value) length() (n int, ok bool) {
	switch v.kind {
	case "S", "B":
		return len(v.text), true
	case "M":
		return len(v.entries), true
	case "L", "SS", "NS", "BS":
		return len(v.list), true
	}
	return 0, false
}

// compareAll orders lists of values of equal kinds by their first difference.
func compareAll(a, b []value) int {
	for i := range min(len(a), len(b)) {
		if c := compare(a[i], b[i]); c != 0 {
			return c
		}
	}
	return cmp.Compare(len(a), len(b))
}
