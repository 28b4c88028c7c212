package item

// AppendString appends an S. The caller makes sure that s is UTF-8.
func AppendString[T string | []byte](dst []byte, s T) []byte { panic("unfinished") }

// AppendBinary appends a B.
func AppendBinary[T string | []byte](dst []byte, b T) []byte { panic("unfinished") }

// AppendNumber appends an N.
func AppendNumber(dst []byte, n Number) []byte { panic("unfinished") }

// AppendNumberText appends an N parsed from text. The error is an *Error of class Validation.
func AppendNumberText[T string | []byte](dst []byte, text T) ([]byte, error) { panic("unfinished") }

// AppendInt appends an N that is an integer.
func AppendInt(dst []byte, n int64) []byte { panic("unfinished") }

// AppendBool appends a BOOL.
func AppendBool(dst []byte, b bool) []byte { panic("unfinished") }

// AppendNull appends a NULL.
func AppendNull(dst []byte) []byte { panic("unfinished") }

// AppendList appends an L of the elements given.
func AppendList(dst []byte, elems []Value) []byte { panic("unfinished") }

// AppendSet appends a set of type t (SS, NS or BS). It sorts elems in place. The error is an *Error of class Validation: no
// element, duplicates, or an element of another type.
func AppendSet(dst []byte, t Type, elems []Value) ([]byte, error) { panic("unfinished") }

// AppendMap appends an M with the attributes of it.
func AppendMap(dst []byte, it Item) []byte { panic("unfinished") }

// AppendItem appends an item with the entries of m, an M.
func AppendItem(dst []byte, m Value) []byte { panic("unfinished") }

// Builder collects attributes in any order and builds an item or a map of them. The zero value is ready. It keeps views of
// the names and values until Reset; it is not for use by several goroutines.
type Builder struct {
	fields []field
}

type field struct {
	name  []byte
	value Value
}

// Reset makes b empty; its memory is kept.
func (b *Builder) Reset() { panic("unfinished") }

// Add adds an attribute.
func (b *Builder) Add(name []byte, v Value) { panic("unfinished") }

// Len returns the number of attributes added.
func (b *Builder) Len() int { panic("unfinished") }

// AppendItem appends the item. The error is an *Error of class Validation: a name twice, or an empty name.
func (b *Builder) AppendItem(dst []byte) ([]byte, error) { panic("unfinished") }

// AppendMap is AppendItem for an M.
func (b *Builder) AppendMap(dst []byte) ([]byte, error) { panic("unfinished") }
