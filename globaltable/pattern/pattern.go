// Package pattern matches events with event patterns: the language of Amazon EventBridge, as far as Quamina has it (its PATTERNS.md is the reference). It is pure.
//
// A pattern has the shape of the event, and for each field that matters a list of what it may be; all fields have to match, each by one of its list. Values of items are as in the DynamoDB API, so a number is matched by its text:
//
//	{"type": ["concordat.item.insert", "concordat.item.modify"], "data": {"new": {"status": {"S": ["PAID", {"prefix": "REFUND"}]}}}}
//
// Beside values there are {"exists": true|false} (of a field with a value, not of an object), {"prefix": "…"}, {"anything-but": ["…"]}, {"wildcard": "a*b"} and {"equals-ignore-case": "…"}.
package pattern

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"quamina.net/go/quamina"

	"github.com/concordat-db/concordat/globaltable"
)

// MaxLen bounds a pattern, in bytes.
const MaxLen = 16 << 10

// Pattern is a compiled pattern. It is not safe for concurrent use: see Clone.
type Pattern struct{ q *quamina.Quamina }

// Compile reads a pattern, a JSON object. An empty one, or null, matches all events. The error is of kind Invalid.
func Compile(source []byte) (*Pattern, error) {
	source = bytes.TrimSpace(source)
	if len(source) == 0 || string(source) == "null" || string(source) == "{}" {
		return &Pattern{}, nil
	}
	if len(source) > MaxLen {
		return nil, invalid(fmt.Sprintf("it has %d bytes, at most %d", len(source), MaxLen))
	}
	var shape map[string]json.RawMessage
	if err := json.Unmarshal(source, &shape); err != nil {
		return nil, invalid("it is no JSON object")
	}
	q, err := add(string(source))
	if err != nil {
		return nil, invalid(err.Error())
	}
	return &Pattern{q}, nil
}

// add makes a matcher of one pattern. The library panics on some that are none, as {"a":[{}]}.
func add(source string) (q *quamina.Quamina, err error) {
	defer func() {
		if p := recover(); p != nil {
			q, err = nil, errors.New("it is no event pattern")
		}
	}()
	if q, err = quamina.New(); err != nil {
		return nil, err
	}
	return q, q.AddPattern(true, source)
}

func invalid(message string) error {
	return &globaltable.Error{Op: "read event pattern", Kind: globaltable.Invalid, Message: message}
}

// Clone returns a pattern that another goroutine may use.
func (p *Pattern) Clone() *Pattern {
	if p.q == nil {
		return p
	}
	return &Pattern{p.q.Copy()}
}

// Match reports whether an event, a JSON object, matches.
func (p *Pattern) Match(event []byte) (bool, error) {
	if p.q == nil {
		return true, nil
	}
	found, err := p.q.MatchesForEvent(event)
	if err != nil {
		return false, fmt.Errorf("pattern: match an event: %w", err)
	}
	return len(found) > 0, nil
}
