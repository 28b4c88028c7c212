// Package check has the checkers of the invariants (RELIABILITY.md section 2): pure functions over recorded histories and final
// states, apart from whatever made the faults. Each returns every violation that it found, none when all is well.
//
// The package knows nothing of the code that it judges. It has its own stamps, its own records and its own merge (Fold), and imports
// nothing of conflict: a fault in the merge cannot hide in its checker. Whoever uses it translates.
//
// A history is a list of Operations. Each write carries a unique id in the values that it stores; a delete is known by its stamp. An
// operation whose outcome its client did not learn is Unknown: it may have taken place or not, and its stamps say which, as
// the region's own log tells afterwards.
package check

import (
	"cmp"
	"fmt"
	"slices"
)

// Stamp is the time and origin of a write, its identity: greater time first, then greater origin.
type Stamp struct {
	Time   uint64
	Origin uint16
}

// IsZero reports whether s is no stamp.
func (s Stamp) IsZero() bool { return s == Stamp{} }

// Compare orders by time, then by origin.
func (s Stamp) Compare(o Stamp) int {
	if c := cmp.Compare(s.Time, o.Time); c != 0 {
		return c
	}
	return cmp.Compare(s.Origin, o.Origin)
}

func (s Stamp) String() string {
	return fmt.Sprintf("%d+%d@%d", s.Time>>16, s.Time&0xffff, s.Origin)
}

// Key names an item.
type Key struct {
	Table uint64
	Bytes string // as the store has it
}

func (k Key) compare(o Key) int {
	if c := cmp.Compare(k.Table, o.Table); c != 0 {
		return c
	}
	return cmp.Compare(k.Bytes, o.Bytes)
}

func (k Key) String() string { return fmt.Sprintf("%x/%x", k.Table, k.Bytes) }

// Kind is what a write does.
type Kind uint8

// The kinds.
const (
	Put    Kind = iota + 1 // the whole item becomes Set
	Delete                 // the whole item goes
	Update                 // the attributes of Set are set, those of Remove removed; the others stay
)

// Write is an operation's part on one key.
type Write struct {
	Key    Key
	Kind   Kind
	Set    map[string]string // attribute → value, encoded as the store has it
	Remove []string
	Stamp  Stamp  // zero: not known, or it never took place
	Floor  uint64 // the writer's purge frontier
	Late   uint64 // of one that was logged again, by a region that had been away: the greatest purge frontier of the others by then. What had expired at it without the write is gone, although the write might have changed that
	// Due returns when an item expires whose attribute has the value that this write gave it; 0: never. nil: items do not expire.
	Due   func(attribute string) uint64
	Typed *Typed // all of it where attributes merge by types; nil elsewhere

	// Forgotten says that its store was lost, or put back to a time before it, and may have gone on with what it had before anybody noticed.
	Forgotten bool

	observes bool // nothing of it is there but what it had seen, or its increments
}

// Outcome is what a client knows of its operation.
type Outcome uint8

// The outcomes.
const (
	Unknown Outcome = iota // no answer, or one that says that nobody knows
	OK
	Failed // nothing was written
)

func (o Outcome) String() string { return [...]string{"unknown", "ok", "failed"}[o] }

// Operation is one client's call. Invoked and Returned are nanoseconds of one clock; Returned is zero without an answer.
type Operation struct {
	ID                uint64
	Region            uint16
	Invoked, Returned int64
	Outcome           Outcome
	Writes            []Write // more than one: a transaction
}

// Cell is one attribute, or, under the empty name, the item's presence. The value of a presence cell has no meaning.
type Cell struct {
	Stamp   Stamp
	Removed bool
	Value   string
	Due     uint64 // when the item expires by this value; 0: never, or not known
}

// Record is the state of one key: what was last written to the whole item, and what was written to its attributes since.
type Record struct {
	Reset Stamp
	Cells map[string]Cell
}

// Replica is the state of one region.
type Replica struct {
	Region    uint16
	Records   map[Key]Record
	Canonical map[Key]string    // the bytes that digests are taken of, of what is live
	Digests   map[uint64]string // by table, as kept
	Recounted map[uint64]string // by table, computed from the records
}

// Members returns the regions that may hold the item of a key, sorted. A key without bytes stands for the table: those that may hold any of it.
type Members func(k Key) []uint16

// Violation is one finding.
type Violation struct {
	Invariant string // for example "I2"
	Region    uint16 // 0: not one region's
	Detail    string
}

func (v Violation) String() string {
	if v.Region == 0 {
		return v.Invariant + ": " + v.Detail
	}
	return fmt.Sprintf("%s in region %d: %s", v.Invariant, v.Region, v.Detail)
}

func violation(invariant string, region uint16, format string, args ...any) Violation {
	return Violation{Invariant: invariant, Region: region, Detail: fmt.Sprintf(format, args...)}
}

// sortedKeys returns the keys of both maps, sorted: findings come in the same order every time.
func sortedKeys[A, B any](a map[Key]A, b map[Key]B) []Key {
	var keys []Key
	for k := range a {
		keys = append(keys, k)
	}
	for k := range b {
		if _, both := a[k]; !both {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, Key.compare)
	return keys
}
