package check

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// mortal is a put or an update of an item that expires at a time by its attribute t.
func mortal(kind Kind, name string, s Stamp, due uint64) Write {
	return Write{Key: key, Kind: kind, Set: map[string]string{name: s.String(), "t": "until"}, Stamp: s, Due: func(a string) uint64 {
		if a == "t" {
			return due
		}
		return 0
	}}
}

// TestExpired: what an expired item leaves is what a delete at that moment leaves.
func TestExpired(t *testing.T) {
	first, beside := mortal(Put, "a", at(10, 1), at(20, 0).Time), Write{Key: key, Kind: Update, Set: map[string]string{"b": "x"}, Stamp: at(25, 2)}
	both := Fold(Fold(Record{}, first), beside)
	for _, c := range []struct {
		at   uint64
		want []string
	}{{at(20, 0).Time - 1, []string{"a", "b", "t"}}, {at(20, 0).Time, []string{"b"}}, {at(99, 0).Time, []string{"b"}}} {
		if got := Expired(both, c.at).Names(); !slices.Equal(got, c.want) {
			t.Errorf("at %d: %v, want %v", c.at, got, c.want)
		}
	}
	if got := Expired(Fold(Record{}, first), at(20, 0).Time); len(got.Cells) != 0 || got.Reset != (Stamp{Time: at(20, 0).Time}) {
		t.Errorf("%+v", got)
	}
}

// TestReferenceOfExpiry finds an item that is there after its time, one that is missing before, and what a writer had collected and did not reset.
func TestReferenceOfExpiry(t *testing.T) {
	first := mortal(Put, "a", at(10, 1), at(20, 0).Time)
	renewed := mortal(Put, "b", at(15, 2), 0)
	after := Write{Key: key, Kind: Update, Set: map[string]string{"c": "x"}, Stamp: at(30, 2)}
	collected := after
	collected.Remove, collected.Floor = []string{"t"}, at(25, 0).Time
	for _, tc := range []struct {
		name   string
		writes []Write
		held   Record
		purge  uint64
		want   string
	}{
		{"expired", []Write{first}, Record{}, at(20, 0).Time, ""},
		{"still there", []Write{first}, held(first), at(20, 0).Time, "the reference says"},
		{"not expired yet", []Write{first}, held(first), at(20, 0).Time - 1, ""},
		{"gone before its time", []Write{first}, Record{}, at(20, 0).Time - 1, "the reference says"},
		{"renewed", []Write{first, renewed}, held(renewed), at(90, 0).Time, ""},
		{"renewed, and gone", []Write{first, renewed}, Record{}, at(90, 0).Time, "the reference says"},
		{"what came after it", []Write{first, after}, held(after), at(20, 0).Time, ""},
		{"what came after it, with the rest", []Write{first, after}, Fold(Fold(Record{}, first), after), at(20, 0).Time, "the reference says"},
		{"written where it had been collected", []Write{first, collected}, Fold(Record{}, collected), at(90, 0).Time, ""},
		{"and here it had not", []Write{first, collected}, Fold(Fold(Record{}, first), collected), at(90, 0).Time, "the reference says"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			history := []Operation{operation(1, OK, tc.writes...)}
			rng := rand.New(rand.NewPCG(1, 2))
			find(t, Reference(history, []Replica{replica(1, tc.held)}, members(1), Frontiers{key.Table: tc.purge}, nil, rng), tc.want)
		})
	}
	// What has expired below the frontier is not lost, and what was renewed is.
	purged := Frontiers{key.Table: at(40, 0).Time}
	find(t, NoLostWrite([]Operation{operation(1, OK, first)}, []Replica{replica(1, Record{})}, members(1), purged, nil, nil), "")
	find(t, NoLostWrite([]Operation{operation(1, OK, renewed)}, []Replica{replica(1, Record{})}, members(1), purged, nil, nil), "is lost")
	find(t, NoLostWrite([]Operation{operation(1, OK, first)}, []Replica{replica(1, Record{})}, members(1), Frontiers{key.Table: at(19, 0).Time}, nil, nil), "is lost")
}
