package expr

import "github.com/concordat-db/concordat/globaltable/item"

// Violations are violated constraints of members of parameters. DynamoDB reports them together with those of the request's other parameters, before
// anything that takes a look at more than one of them.
type Violations []Violation

// Violation is one violated constraint, in DynamoDB's words: "Value VALUE at 'PATH' failed to satisfy constraint: CONSTRAINT".
type Violation struct {
	Value      string // quoted, or null
	Path       string
	Constraint string
}

// Error returns a text that is safe to log: it quotes nothing.
func (v Violations) Error() string { return "constraints of parameters are violated" }

// verdict gathers what is wrong with a parameter that has several members, of which the gravest is reported: JSON of a wrong shape, then violated constraints,
// then what comes first.
type verdict struct {
	misshapen  error
	violations Violations
	other      error
}

func (f *verdict) add(err error) {
	switch e := err.(type) {
	case nil:
	case Violations:
		f.violations = append(f.violations, e...)
	case *item.Error:
		if e.Class != item.Serialization {
			if f.other == nil {
				f.other = err
			}
		} else if f.misshapen == nil {
			f.misshapen = err
		}
	default:
		f.misshapen = err
	}
}

func (f *verdict) err() error {
	switch {
	case f.misshapen != nil:
		return f.misshapen
	case f.violations != nil:
		return f.violations
	}
	return f.other
}
