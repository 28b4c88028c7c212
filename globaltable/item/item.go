package item

import "bytes"

// Type is the type of an attribute value. Its numbers are the tag bytes of the encoding; zero is no type.
type Type byte

// The ten types.
const (
	S    Type = 1  // string: UTF-8
	N    Type = 2  // number: see Number
	B    Type = 3  // binary
	BOOL Type = 4  // true or false
	NULL Type = 5  // null
	M    Type = 6  // map
	L    Type = 7  // list
	SS   Type = 8  // string set
	NS   Type = 9  // number set
	BS   Type = 10 // binary set
)

// descriptors are DynamoDB's names of the types.
var descriptors = [...]string{S: "S", N: "N", B: "B", BOOL: "BOOL", NULL: "NULL", M: "M", L: "L", SS: "SS", NS: "NS", BS: "BS"}

// String returns DynamoDB's descriptor of the type, for example "S"; "?" for what is no type.
func (t Type) String() string {
	if t < S || t > BS {
		return "?"
	}
	return descriptors[t]
}

// IsSet reports whether t is SS, NS or BS.
func (t Type) IsSet() bool { return t >= SS && t <= BS }

// Elem returns the type of the elements of a set type; zero for any other.
func (t Type) Elem() Type {
	if !t.IsSet() {
		return 0
	}
	return t - SS + S
}

// ParseType is the inverse of String.
func ParseType[T string | []byte](descriptor T) (Type, bool) {
	switch string(descriptor) {
	case "S":
		return S, true
	case "N":
		return N, true
	case "B":
		return B, true
	case "BOOL":
		return BOOL, true
	case "NULL":
		return NULL, true
	case "M":
		return M, true
	case "L":
		return L, true
	case "SS":
		return SS, true
	case "NS":
		return NS, true
	case "BS":
		return BS, true
	}
	return 0, false
}

// Value is one encoded attribute value. Equal values are equal bytes.
type Value []byte

// Type returns the type of v; zero if v is empty.
func (v Value) Type() Type {
	if len(v) == 0 {
		return 0
	}
	return Type(v[0])
}

// body returns what follows the length of a value that has one.
func (v Value) body() []byte {
	_, w := uvarint(v[1:])
	return v[1+w:]
}

// Bytes returns the payload of an S or B: a view of v. It is nil for any other type.
func (v Value) Bytes() []byte {
	if t := v.Type(); t != S && t != B {
		return nil
	}
	return v.body()
}

// Bool returns the truth of a BOOL; false for any other type.
func (v Value) Bool() bool { return v.Type() == BOOL && v[1] == 1 }

// Number returns the number of an N: a view of v. It is nil for any other type.
func (v Value) Number() Number {
	if v.Type() != N {
		return nil
	}
	return Number(v.body())
}

// Len returns the number of bytes of an S or B, of entries of an M, of elements of an L or a set; 0 for any other type.
func (v Value) Len() int {
	switch v.Type() {
	case S, B:
		return len(v.body())
	case M, L, SS, NS, BS:
		n, _ := uvarint(v.body())
		return n
	}
	return 0
}

// Get returns the value of an entry of an M: a view of v. ok is false when v is no M or has no such entry.
func (v Value) Get(name []byte) (e Value, ok bool) {
	if v.Type() != M {
		return nil, false
	}
	return entries(v.body()).get(name)
}

// Each calls f for each entry of an M, in the order of names, until f returns false. It gives views of v. On another type it
// does nothing.
func (v Value) Each(f func(name []byte, v Value) bool) {
	if v.Type() == M {
		entries(v.body()).each(f)
	}
}

// Elements calls f for each element of an L, in its order, or of a set, ascending, until f returns false. It gives views of v,
// and can be ranged over: for e := range v.Elements. On another type it does nothing.
func (v Value) Elements(f func(v Value) bool) {
	count, rest := v.elements()
	for ; count > 0; count-- {
		var e Value
		e, rest = split(rest)
		if !f(e) {
			return
		}
	}
}

// elements returns how many elements an L or a set has, and their bytes one after the other; none for another type.
func (v Value) elements() (count int, rest []byte) {
	if t := v.Type(); t != L && !t.IsSet() {
		return 0, nil
	}
	body := v.body()
	count, w := uvarint(body)
	return count, body[w:]
}

// At returns element i of an L or a set: a view of v. ok is false when there is none. It takes time proportional to i.
func (v Value) At(i int) (e Value, ok bool) {
	count, rest := v.elements()
	if i < 0 || i >= count {
		return nil, false
	}
	for ; i >= 0; i-- {
		e, rest = split(rest)
	}
	return e, true
}

// Has reports whether an L or a set has an element equal to e. It is false for any other type.
func (v Value) Has(e Value) bool {
	count, rest := v.elements()
	for ; count > 0; count-- {
		var x Value
		if x, rest = split(rest); bytes.Equal(x, e) {
			return true
		}
	}
	return false
}

// Item is one encoded item. Equal items are equal bytes. A nil Item has no attributes.
type Item []byte

func (it Item) entries() entries { return entries(it[1:]) }

// Len returns the number of attributes.
func (it Item) Len() int {
	if len(it) == 0 {
		return 0
	}
	return it.entries().len()
}

// Get returns the value of the attribute: a view of it.
func (it Item) Get(name []byte) (Value, bool) {
	if len(it) == 0 {
		return nil, false
	}
	return it.entries().get(name)
}

// GetString is Get for a name that is a string.
func (it Item) GetString(name string) (Value, bool) {
	return it.Get([]byte(name)) // no copy: the compiler sees that it is only read
}

// Each calls f for each attribute, in the order of names, until f returns false. It gives views of it, and can be ranged
// over: for name, v := range it.Each.
func (it Item) Each(f func(name []byte, v Value) bool) {
	if len(it) > 0 {
		it.entries().each(f)
	}
}
