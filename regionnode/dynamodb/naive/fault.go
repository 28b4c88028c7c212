package naive

import (
	"fmt"
	"slices"
)

// fault is an answer that is an error.
type fault struct {
	kind    string // the exception's name
	message string
	or      []string // other messages that DynamoDB may choose as well
	members object   // what the body has beside type and message
	others  []*fault // of other kinds, of which DynamoDB may choose one as well
}

func (f *fault) Error() string { return f.kind + ": " + f.message }

// AnyOf stands in an answer where one of several texts may be.
type AnyOf []string

// messages returns the message and those that may be instead.
func (f *fault) messages() AnyOf { return append(AnyOf{f.message}, f.or...) }

func invalid(format string, args ...any) error {
	return &fault{kind: "ValidationException", message: fmt.Sprintf(format, args...)}
}

const wrong = "One or more parameter values were invalid: "

// wrongValue is the fault of parameters that are wrong in themselves.
func wrongValue(format string, args ...any) error { return invalid(wrong+format, args...) }

func misshapen(format string, args ...any) error {
	return &fault{kind: "SerializationException", message: fmt.Sprintf(format, args...)}
}

func notFound(format string, args ...any) error {
	return &fault{kind: "ResourceNotFoundException", message: fmt.Sprintf(format, args...)}
}

func inUse(format string, args ...any) error {
	return &fault{kind: "ResourceInUseException", message: fmt.Sprintf(format, args...)}
}

// messageOf returns the message of a fault.
func messageOf(err error) string { return err.(*fault).message }

// prefixed returns the fault with a prefix before all its messages.
func prefixed(prefix string, err error) error {
	f := *err.(*fault)
	f.message = prefix + f.message
	f.or = append([]string(nil), f.or...)
	for i := range f.or {
		f.or[i] = prefix + f.or[i]
	}
	return &f
}

// inTurn takes steps until one fails.
func inTurn(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// oneOf returns the fault that one of several is reported, left open which; nil if there are none.
func oneOf(faults []error) error {
	if len(faults) == 0 {
		return nil
	}
	f := *faults[0].(*fault)
	f.or, f.others = slices.Clone(f.or), slices.Clone(f.others)
	for _, err := range faults[1:] {
		if other := err.(*fault); other.kind == f.kind {
			f.or = append(f.or, other.messages()...)
		} else {
			f.others = append(f.others, other)
		}
	}
	return &f
}
