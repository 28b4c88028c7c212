package item

// Class says what kind of fault an Error is, so that the API translates it once.
type Class uint8

// The classes of errors.
const (
	Validation    Class = iota + 1 // the value is wrong in DynamoDB's terms: ValidationException
	Serialization                  // the JSON has the wrong shape: SerializationException
	SizeExceeded                   // a key, name or item is too large: ValidationException, or counted against a limit
	Corrupt                        // encoded bytes that no encoder of ours makes
)

func (c Class) String() string {
	switch c {
	case Validation:
		return "validation"
	case Serialization:
		return "serialization"
	case SizeExceeded:
		return "size exceeded"
	case Corrupt:
		return "corrupt"
	}
	return "unknown"
}

// Error is a fault of a value, an item or a key.
type Error struct {
	Class Class
	// Message is the text for the client, complete, in DynamoDB's words. It may quote what the client sent: it goes into
	// the answer and nowhere else. Error returns the text without the quotation.
	Message string

	bare string // Message without what it quotes; empty when it quotes nothing
}

// Error returns a text that is safe to log: it quotes no name and no value.
func (e *Error) Error() string {
	if e.bare != "" {
		return e.bare
	}
	return e.Message
}
