package globaltable

import (
	"errors"
	"strings"
)

// Kind classifies an error, so that each interface can translate it once, at its edge.
type Kind uint8

// The kinds of errors.
const (
	Internal        Kind = iota // a fault of ours or of the machine
	Invalid                     // the request is wrong and stays wrong
	NotFound                    // table, region or item is not here
	Exists                      // the name is taken
	InUse                       // the resource is in a state that does not allow it now
	ConditionFailed             // a condition of the request does not hold
	LimitExceeded               // a documented bound was reached
	Unavailable                 // not now: nothing was done, a retry may succeed
	Unknown                     // the outcome is unknown: the write may have been done or not
	Denied                      // not permitted here, or not to this caller
	Corrupt                     // stored or received bytes that cannot be right
	Fenced                      // the region is fenced or removed, or has a store that the others do not follow

	lastKind = Fenced
)

func (k Kind) String() string {
	return [...]string{"internal", "invalid", "not found", "exists", "in use", "condition failed", "limit exceeded",
		"unavailable", "unknown outcome", "denied", "corrupt", "fenced"}[k]
}

// KnownKind returns k, from the wire, or Internal if it is one that only a newer release knows.
func KnownKind(k Kind) Kind {
	if k > lastKind {
		return Internal
	}
	return k
}

// Error is an error with what was done, to what, of which kind, and why. Message, where set, is text for the user as it stands.
type Error struct {
	Op       string // what was tried, for example "update table"
	Resource string // on what: never a key or a value of an item
	Kind     Kind
	Message  string // for the user, complete; may be empty
	Err      error  // cause; may be nil
}

func (e *Error) Error() string {
	parts := make([]string, 0, 4)
	for _, s := range []string{e.Op, e.Resource} {
		if s != "" {
			parts = append(parts, s)
		}
	}
	if e.Message != "" {
		parts = append(parts, e.Message)
	} else {
		parts = append(parts, e.Kind.String())
	}
	if e.Err != nil {
		parts = append(parts, e.Err.Error())
	}
	return strings.Join(parts, ": ")
}

func (e *Error) Unwrap() error { return e.Err }

// KindOf returns the kind of the first *Error in err's chain, Internal if there is none.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return Internal
}
