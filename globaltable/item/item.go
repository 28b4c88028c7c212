package item

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

// String returns DynamoDB's descriptor of the type, for example "S".
func (t Type) String() string { panic("unfinished") }

// IsSet reports whether t is SS, NS or BS.
func (t Type) IsSet() bool { return t >= SS && t <= BS }

// Elem returns the type of the elements of a set type; zero for any other.
func (t Type) Elem() Type { panic("unfinished") }

// ParseType is the inverse of String.
func ParseType(s string) (Type, bool) { panic("unfinished") }

// Value is one encoded attribute value.
type Value []byte

// Type returns the type of v; zero if v is empty.
func (v Value) Type() Type { panic("unfinished") }

// Bytes returns the payload of an S or B: a view of v. It is nil for any other type.
func (v Value) Bytes() []byte { panic("unfinished") }

// Bool returns the truth of a BOOL; false for any other type.
func (v Value) Bool() bool { panic("unfinished") }

// Number returns the number of an N: a view of v. It is nil for any other type.
func (v Value) Number() Number { panic("unfinished") }

// Len returns the number of bytes of an S or B, of entries of an M, of elements of an L or a set; 0 for any other type.
func (v Value) Len() int { panic("unfinished") }

// Get returns the value of an entry of an M: a view of v.
func (v Value) Get(name []byte) (Value, bool) { panic("unfinished") }

// Each calls f for each entry of an M, in the order of names, until f returns false. It gives views of v.
func (v Value) Each(f func(name []byte, v Value) bool) { panic("unfinished") }

// Elements calls f for each element of an L, in its order, or of a set, ascending, until f returns false. It gives views of v.
func (v Value) Elements(f func(v Value) bool) { panic("unfinished") }

// At returns element i of an L or a set: a view of v. ok is false when i is out of range.
func (v Value) At(i int) (e Value, ok bool) { panic("unfinished") }

// Size returns DynamoDB's size of v in bytes.
func (v Value) Size() int { panic("unfinished") }

// Item is one encoded item.
type Item []byte

// Len returns the number of attributes.
func (it Item) Len() int { panic("unfinished") }

// Get returns the value of the attribute: a view of it.
func (it Item) Get(name []byte) (Value, bool) { panic("unfinished") }

// GetString is Get for a name that is a string.
func (it Item) GetString(name string) (Value, bool) { panic("unfinished") }

// Each calls f for each attribute, in the order of names, until f returns false. It gives views of it.
func (it Item) Each(f func(name []byte, v Value) bool) { panic("unfinished") }

// Size returns DynamoDB's size of the item in bytes: names and values.
func (it Item) Size() int { panic("unfinished") }

// CheckItem reports whether b is exactly one item as this package encodes it: structure, order, canonical form, UTF-8,
// nesting. It is for bytes from peers and from disk. The error is an *Error of class Corrupt. It never panics.
func CheckItem(b []byte) error { panic("unfinished") }

// CheckValue is CheckItem for one value.
func CheckValue(b []byte) error { panic("unfinished") }

// SplitValue returns the value at the start of b and what follows it. It checks only that the value lies within b;
// CheckValue checks the rest.
func SplitValue(b []byte) (v Value, rest []byte, err error) { panic("unfinished") }
