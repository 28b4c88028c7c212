package conflict

import "errors"

// Every error of this package is, by errors.Is, one of these two. Their texts never carry keys or values.
var (
	// ErrCorrupt: bytes that no encoder of this format makes.
	ErrCorrupt = errors.New("corrupt")
	// ErrUnsupported: well-formed, but of a newer version: a format, an operation, a type or a section that this version
	// does not merge. A receiver stops the lane there; it must not skip.
	ErrUnsupported = errors.New("not supported by this version")
)

// Error is a fault of encoded bytes or of a change.
type Error struct {
	Op      string // what was tried, for example "decode change"
	Kind    error  // ErrCorrupt or ErrUnsupported
	Message string // what is wrong, without keys and values
	Err     error  // cause; may be nil
}

func (e *Error) Error() string {
	s := e.Op + ": " + e.Kind.Error() + ": " + e.Message
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Is reports whether target is e's kind.
func (e *Error) Is(target error) bool { return target == e.Kind }

func (e *Error) Unwrap() error { return e.Err }
