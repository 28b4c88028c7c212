package item

import "strings"

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

// NewError returns a fault that quotes: message is complete, bare is the text for logs, which quotes nothing. Other packages make
// theirs with it.
func NewError(class Class, message, bare string) *Error {
	return &Error{Class: class, Message: message, bare: bare}
}

// invalidPrefix starts many of DynamoDB's texts.
const invalidPrefix = "One or more parameter values were invalid: "

// Faults without anything to quote. They are never changed.
var (
	errTooManyDigits = &Error{Class: Validation, Message: "Attempting to store more than 38 significant digits in a Number"}
	errOverflow      = &Error{Class: Validation, Message: "Number overflow. Attempting to store a number with magnitude larger than supported range"}
	errUnderflow     = &Error{Class: Validation, Message: "Number underflow. Attempting to store a number with magnitude smaller than supported range"}
	errEmptyValue    = &Error{Class: Validation, Message: "Supplied AttributeValue is empty, must contain exactly one of the supported datatypes"}
	errManyTypes     = &Error{Class: Validation, Message: "Supplied AttributeValue has more than one datatypes set, must contain exactly one of the supported datatypes"}
	errNullNotTrue   = &Error{Class: Validation, Message: invalidPrefix + "Null attribute value types must have the value of true"}
	errEmptySS       = &Error{Class: Validation, Message: invalidPrefix + "An string set  may not be empty"}
	errEmptyNS       = &Error{Class: Validation, Message: invalidPrefix + "An number set  may not be empty"}
	errEmptyBS       = &Error{Class: Validation, Message: invalidPrefix + "Binary sets should not be empty"}
	errDuplicateNS   = &Error{Class: Validation, Message: "Input collection contains duplicates"}
	errSetElement    = &Error{Class: Validation, Message: invalidPrefix + "An element of a set has another type than the set"}
	errNesting       = &Error{Class: Validation, Message: "Nesting Levels have exceeded supported limits: Attributes in the item have nested levels beyond supported limit"}
	errEmptyName     = &Error{Class: Validation, Message: invalidPrefix + "An attribute name may not be empty"}
	errDuplicateName = &Error{Class: Validation, Message: invalidPrefix + "An attribute name appears twice"}
	errNameSize      = &Error{Class: SizeExceeded, Message: invalidPrefix + "An attribute name has exceeded the size limit of 65535 bytes"}
	errItemSize      = &Error{Class: SizeExceeded, Message: "Item size has exceeded the maximum allowed size"}
	errHashKeySize   = &Error{Class: SizeExceeded, Message: invalidPrefix + "Size of hashkey has exceeded the maximum size limit of2048 bytes"}
	errRangeKeySize  = &Error{Class: SizeExceeded, Message: invalidPrefix + "Aggregated size of all range keys has exceeded the size limit of 1024 bytes"}
	errKeyType       = &Error{Class: Validation, Message: "The provided key element does not match the schema"}
	errKeyEmpty      = &Error{Class: Validation, Message: "One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an empty value"}
)

// corrupt returns the fault of encoded bytes.
func corrupt(what string) *Error { return &Error{Class: Corrupt, Message: "corrupt encoding: " + what} }

// serialization returns the fault of JSON of the wrong shape.
func serialization(message string) *Error { return &Error{Class: Serialization, Message: message} }

// maxQuote bounds what a message quotes of a request, in bytes.
const maxQuote = 256

// quoting returns a fault whose message is bare, quoted and tail, and whose text for logs is bare alone.
func quoting(class Class, bare, quoted, tail string) *Error {
	if len(quoted) > maxQuote {
		quoted = strings.ToValidUTF8(quoted[:maxQuote], "") + "..."
	}
	return &Error{Class: class, Message: bare + quoted + tail, bare: strings.TrimRight(bare, " :[")}
}

// errNotNumeric is the fault of a text that is no number.
func errNotNumeric(text string) *Error {
	const bare = "The parameter cannot be converted to a numeric value"
	if text == "" {
		return &Error{Class: Validation, Message: bare}
	}
	return quoting(Validation, bare+": ", text, "")
}
