package check

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

func members(regions ...uint16) Members { return func(Key) []uint16 { return regions } }

func at(t uint64, origin uint16) Stamp { return Stamp{Time: t << 16, Origin: origin} }

var key = Key{Table: 7, Bytes: "k"}

func put(id string, s Stamp) Write {
	return Write{Key: key, Kind: Put, Set: map[string]string{"id": id}, Stamp: s}
}

func set(name, value string, s Stamp) Write {
	return Write{Key: key, Kind: Update, Set: map[string]string{name: value}, Stamp: s}
}

// held folds writes in the order given.
func held(writes ...Write) Record {
	var r Record
	for _, w := range writes {
		r = Fold(r, w)
	}
	return r
}

func replica(region uint16, r Record) Replica {
	return Replica{Region: region, Records: map[Key]Record{key: r}, Canonical: map[Key]string{key: "x"}, Digests: map[uint64]string{7: "d"}, Recounted: map[uint64]string{7: "d"}}
}

func operation(id uint64, o Outcome, writes ...Write) Operation {
	return Operation{ID: id, Region: 1, Outcome: o, Writes: writes}
}

// find asserts that the findings are wanted: "" for none at all, otherwise a piece of the text of one.
func find(t *testing.T, got []Violation, want string) {
	t.Helper()
	if want == "" {
		if len(got) > 0 {
			t.Errorf("found %v where all is well", got)
		}
		return
	}
	for _, v := range got {
		if strings.Contains(v.String(), want) {
			return
		}
	}
	t.Errorf("found %v, want %q", got, want)
}

func TestFold(t *testing.T) {
	removal := Write{Key: key, Kind: Update, Remove: []string{"a"}, Stamp: at(3, 1)}
	del := Write{Key: key, Kind: Delete, Stamp: at(2, 2)}
	for _, tc := range []struct {
		name   string
		writes []Write
		want   Record
	}{
		{"the greater put wins", []Write{put("x", at(1, 1)), put("y", at(2, 1))},
			Record{at(2, 1), map[string]Cell{"": {Stamp: at(2, 1)}, "id": {Stamp: at(2, 1), Value: "y"}}}},
		{"at one time the greater origin wins", []Write{put("x", at(1, 2)), put("y", at(1, 1))},
			Record{at(1, 2), map[string]Cell{"": {Stamp: at(1, 2)}, "id": {Stamp: at(1, 2), Value: "x"}}}},
		{"a delete leaves its stamp", []Write{del, put("x", at(1, 1))}, Record{at(2, 2), map[string]Cell{}}},
		{"updates of two attributes both stay", []Write{set("a", "1", at(1, 1)), set("b", "2", at(1, 2))},
			Record{Stamp{}, map[string]Cell{"": {Stamp: at(1, 2)}, "a": {Stamp: at(1, 1), Value: "1"}, "b": {Stamp: at(1, 2), Value: "2"}}}},
		{"a removal hides what is older", []Write{removal, set("a", "1", at(2, 1))},
			Record{Stamp{}, map[string]Cell{"": {Stamp: at(3, 1)}, "a": {Stamp: at(3, 1), Removed: true}}}},
		{"a delete takes older cells", []Write{set("a", "1", at(1, 1)), del}, Record{at(2, 2), map[string]Cell{}}},
	} {
		for _, order := range [][]Write{tc.writes, {tc.writes[len(tc.writes)-1], tc.writes[0], tc.writes[0]}} {
			if got := held(order...); !got.Equal(tc.want) {
				t.Errorf("%s: got %v, want %v", tc.name, got, tc.want)
			}
		}
	}
}

func TestNoLostWriteFinds(t *testing.T) {
	older, newer := put("x", at(1, 1)), put("y", at(2, 2))
	removal := Write{Key: key, Kind: Update, Remove: []string{"id"}, Stamp: at(3, 1)}
	for _, tc := range []struct {
		name    string
		history []Operation
		state   Record
		want    string
	}{
		{"all is well", []Operation{operation(1, OK, older), operation(2, OK, newer)}, held(older, newer), ""},
		{"a put is gone", []Operation{operation(1, OK, older), operation(2, OK, newer)}, held(older), "operation 2"},
		{"another value at its stamp", []Operation{operation(1, OK, older)}, held(put("z", at(1, 1))), "attribute id"},
		{"a delete is gone", []Operation{operation(1, OK, Write{Key: key, Kind: Delete, Stamp: at(2, 1)})}, held(older), "the whole item"},
		{"an attribute is gone", []Operation{operation(1, OK, set("a", "1", at(2, 1)))}, held(set("b", "1", at(2, 1))), "attribute a"},
		{"a removal is gone", []Operation{operation(1, OK, removal)}, held(older, set("b", "1", at(3, 1))), "the removal of id"},
		{"in no log at all", []Operation{operation(1, OK, put("x", Stamp{}))}, Record{}, "no log has"},
		{"unknown ones may be gone", []Operation{operation(1, Unknown, older)}, Record{}, ""},
		{"failed ones must not count", []Operation{operation(1, Failed, older)}, Record{}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			find(t, NoLostWrite(tc.history, []Replica{replica(1, tc.state)}, members(1), nil, nil, nil), tc.want)
		})
	}
}

func TestConvergenceFinds(t *testing.T) {
	same := held(put("x", at(1, 1)))
	bytes := replica(2, same)
	bytes.Canonical = map[Key]string{key: "y"}
	digest := replica(2, same)
	digest.Digests = map[uint64]string{7: "e"}
	foreign := replica(3, same)
	for _, tc := range []struct {
		name  string
		other Replica
		want  string
	}{
		{"equal", replica(2, same), ""},
		{"another record", replica(2, held(put("x", at(2, 1)))), "in region 1 it is"},
		{"a tombstone is missing", replica(2, Record{}), "in region 1 it is"},
		{"other bytes", bytes, "the bytes of"},
		{"another digest", digest, "the digest of"},
		{"what may not be there", foreign, "may not be here"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			find(t, Convergence([]Replica{replica(1, same), tc.other}, members(1, 2), nil), tc.want)
		})
	}
}

func TestReferenceFinds(t *testing.T) {
	history := []Operation{
		operation(1, OK, put("x", at(1, 1))),
		operation(2, OK, set("a", "1", at(3, 2))),
		operation(3, Unknown, Write{Key: key, Kind: Delete, Stamp: at(2, 2)}),
		operation(4, Unknown, put("never", Stamp{})),
		operation(5, Failed, put("failed", at(9, 2))),
	}
	right := held(put("x", at(1, 1)), Write{Key: key, Kind: Delete, Stamp: at(2, 2)}, set("a", "1", at(3, 2)))
	for _, tc := range []struct {
		name  string
		state Record
		want  string
	}{
		{"right", right, ""},
		{"the delete was skipped", held(put("x", at(1, 1)), set("a", "1", at(3, 2))), "the reference says"},
		{"the failed write was made", Fold(right, put("failed", at(9, 2))), "the reference says"},
		{"nothing", Record{}, "the reference says"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(1, 2))
			find(t, Reference(history, []Replica{replica(1, tc.state), replica(2, tc.state)}, members(1, 2), nil, nil, rng), tc.want)
		})
	}
	t.Run("held outside its placement", func(t *testing.T) {
		rng := rand.New(rand.NewPCG(1, 2))
		find(t, Reference(history, []Replica{replica(1, right), replica(2, right)}, members(1), nil, nil, rng), "in region 2")
	})
}

func TestClockFinds(t *testing.T) {
	read := func(life int, t uint64, physical int64) Reading {
		return Reading{Region: 1, Life: life, Time: t << 16, Physical: physical}
	}
	for _, tc := range []struct {
		name     string
		readings []Reading
		want     string
	}{
		{"rising", []Reading{read(1, 10, 10), read(2, 11, 9), {Region: 2, Time: 5 << 16, Physical: 5}}, ""},
		{"twice the same", []Reading{read(1, 10, 10), read(1, 10, 10)}, "in life 1 after"},
		{"back after a restart", []Reading{read(1, 10, 10), read(2, 9, 9)}, "in life 2 after"},
		{"dragged along", []Reading{read(1, 9000, 10)}, "8990 ms ahead"},
	} {
		t.Run(tc.name, func(t *testing.T) { find(t, Clock(tc.readings, 500*time.Millisecond), tc.want) })
	}
}

func TestQuarantineFinds(t *testing.T) {
	arrival := Arrival{Region: 1, Stamp: at(2000, 2), Physical: 1000, Before: 1000 << 16, After: 1000 << 16}
	taken, followed, near, behind := arrival, arrival, arrival, arrival
	behind.Before, behind.After, behind.Taken = 2001<<16, 2001<<16, true
	taken.Taken = true
	followed.After = 2000<<16 + 1
	near.Stamp, near.After, near.Taken = at(1400, 2), 1400<<16, true
	for _, tc := range []struct {
		name    string
		arrival Arrival
		want    string
	}{
		{"it waits", arrival, ""}, {"near enough", near, ""}, {"behind its HLC", behind, ""}, {"applied", taken, "applied"}, {"clock moved", followed, "followed"},
	} {
		t.Run(tc.name, func(t *testing.T) { find(t, Quarantine([]Arrival{tc.arrival}, 500*time.Millisecond), tc.want) })
	}
}

func TestGapsFinds(t *testing.T) {
	lane := Lane{Region: 2, Origin: 1, Lane: 3}
	for _, tc := range []struct {
		name    string
		applied []Applied
		want    string
	}{
		{"dense", []Applied{{lane, 1, 2}, {lane, 3, 5}}, ""},
		{"skipped", []Applied{{lane, 1, 2}, {lane, 4, 5}}, "applied 4 to 5"},
		{"twice", []Applied{{lane, 1, 3}, {lane, 3, 5}}, "applied 3 to 5"},
		{"never filled", []Applied{{lane, 1, 3}}, "never read from the log"},
		{"behind", []Applied{{lane, 1, 4}}, "applied 4 of 5"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			find(t, Gaps([]Hole{{lane, 4}}, tc.applied, map[Lane]uint64{lane: 5}), tc.want)
		})
	}
}

func TestAtomicityFinds(t *testing.T) {
	own, foreign := put("x", at(1, 1)), put("y", at(2, 2))
	lane := Lane{Region: 1, Origin: 2, Lane: 5}
	ledger := NewLedger()
	find(t, ledger.Add(Logged{Write: own, Lane: 5, Seq: 1, Catalog: 1}), "")
	find(t, ledger.Add(Logged{Write: foreign, Lane: 5, Seq: 1, Catalog: 1}), "")
	find(t, ledger.Add(Logged{Write: own, Lane: 5, Seq: 1, Catalog: 1}), "")
	find(t, NewLedgerWith(own).Add(Logged{Write: own, Lane: 5, Seq: 2, Catalog: 1}), "in entry 1")
	whole := func() Snapshot {
		return Snapshot{Replica: replica(1, held(own, foreign)), Log: []Logged{{Write: own, Lane: 5, Seq: 1, Catalog: 1}}, Trimmed: map[uint64]uint64{}, Positions: map[Lane]uint64{lane: 1}, Holds: members(1, 2)}
	}
	for _, tc := range []struct {
		name string
		tear func(*Snapshot)
		want string
	}{
		{"whole", func(*Snapshot) {}, ""},
		{"log without record", func(s *Snapshot) { s.Records[key] = Record{}; s.Positions = nil }, "is in the log"},
		{"record without log", func(s *Snapshot) { s.Log, s.Records[key] = nil, held(own); s.Positions = nil }, "though not trimmed"},
		{"trimmed", func(s *Snapshot) { s.Log, s.Records[key], s.Trimmed[5] = nil, held(own), 1; s.Positions = nil }, ""},
		{"record without position", func(s *Snapshot) { s.Positions = nil }, "no position covers it"},
		{"position without record", func(s *Snapshot) { s.Records[key] = held(own) }, "position 1 covers"},
		{"position without record, its entry had lost its body", func(s *Snapshot) {
			s.Records[key], s.Hollow = held(own), func(l Lane, seq uint64) bool { return l == lane && seq == 1 }
		}, ""},
		{"position without record, another entry had lost its body", func(s *Snapshot) {
			s.Records[key], s.Hollow = held(own), func(l Lane, seq uint64) bool { return l == lane && seq == 2 }
		}, "position 1 covers"},
		{"from nowhere", func(s *Snapshot) { s.Records[key] = Fold(s.Records[key], put("z", at(3, 2))) }, "no log has it"},
		{"not held any more", func(s *Snapshot) { s.Records, s.Holds = nil, members(2) }, ""},
		{"came by an exchange", func(s *Snapshot) { s.Positions, s.Joined = nil, func(Key) bool { return true } }, ""},
		{"digest", func(s *Snapshot) { s.Recounted[7] = "e" }, "the digest of"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := whole()
			tc.tear(&s)
			find(t, Atomicity(s, ledger, nil, nil), tc.want)
		})
	}
}

func TestBootstrapFinds(t *testing.T) {
	ledger := NewLedger()
	for i, l := range []Logged{{Write: put("x", at(1, 1)), Lane: 5, Seq: 1, Catalog: 1}, {Write: put("y", at(2, 2)), Lane: 6, Seq: 1, Catalog: 2}, {Write: put("z", at(3, 2)), Lane: 7, Seq: 1, Catalog: 3}} {
		if v := ledger.Add(l); v != nil {
			t.Fatal(i, v)
		}
	}
	follows := func(l Logged) bool { return l.Lane == 6 }
	for _, tc := range []struct {
		name    string
		version uint64
		has     []Write
		want    string
	}{
		{"all", 2, []Write{put("x", at(1, 1))}, ""},
		{"nothing", 2, nil, "without the whole item"},
		{"beaten", 2, []Write{put("y", at(2, 2))}, ""},
		{"the later version too", 3, []Write{put("y", at(2, 2))}, "without the whole item"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			find(t, Bootstrap(replica(1, held(tc.has...)), key.Table, tc.version, ledger, nil, follows, nil), tc.want)
		})
	}
}

// NewLedgerWith returns a ledger with the write in entry 1 of lane 5.
func NewLedgerWith(w Write) *Ledger {
	l := NewLedger()
	l.Add(Logged{Write: w, Lane: 5, Seq: 1, Catalog: 1})
	return l
}

func TestMarksFinds(t *testing.T) {
	ledger := NewLedger()
	ledger.Add(Logged{Write: put("x", at(5, 2)), Lane: 3, Seq: 1, Catalog: 1})
	ledger.Add(Logged{Write: put("y", at(7, 2)), Lane: 3, Seq: 2, Catalog: 1})
	follows := func(region uint16, lane uint64) bool { return region == 1 && lane == 3 }
	for _, tc := range []struct {
		name string
		mark Mark
		want string
	}{
		{"covered", Mark{Region: 1, Origin: 2, Time: at(6, 2).Time, Positions: map[uint64]uint64{3: 1}}, ""},
		{"too far", Mark{Region: 1, Origin: 2, Time: at(7, 2).Time, Positions: map[uint64]uint64{3: 1}}, "entry 2"},
		{"lane unknown", Mark{Region: 1, Origin: 2, Time: at(5, 2).Time, Positions: nil}, "entry 1"},
		{"not followed", Mark{Region: 3, Origin: 2, Time: at(7, 2).Time, Positions: nil}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) { find(t, Marks([]Mark{tc.mark}, ledger, follows), tc.want) })
	}
}

// TestWritesInDoubt: what a region wrote that nobody heard any more may be missing if it is listed as saved, and is in the reference or not; the others' writes are.
func TestWritesInDoubt(t *testing.T) {
	sure, doubtful := put("x", at(1, 1)), put("y", at(2, 2))
	history := []Operation{{ID: 1, Region: 1, Outcome: OK, Writes: []Write{sure}}, {ID: 2, Region: 2, Outcome: OK, Writes: []Write{doubtful}}}
	in := func(w Write) bool { return w.Stamp == doubtful.Stamp }
	rng := rand.New(rand.NewPCG(1, 2))
	for _, tc := range []struct {
		name       string
		has        Record
		want, with string
	}{
		{"both", held(sure, doubtful), "", ""},
		{"one is saved only", held(sure), "", "is lost"},
		{"the other one is gone", Record{}, "is lost", "is lost"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			replicas := []Replica{replica(1, tc.has)}
			find(t, NoLostWrite(history, replicas, members(1), nil, in, nil), tc.want)
			find(t, NoLostWrite(history, replicas, members(1), nil, nil, nil), tc.with)
			what := ""
			if tc.want != "" {
				what = "the reference says"
			}
			find(t, Reference(history, replicas, members(1), nil, in, rng), what)
		})
	}
	find(t, Reference(history, []Replica{replica(1, held(sure))}, members(1), nil, nil, rng), "the reference says")
}

// TestLedgerOfStoresThatAreClosed: a write is logged again only where that is said, and nobody goes by the positions in the lanes of a store that is not followed any more.
func TestLedgerOfStoresThatAreClosed(t *testing.T) {
	w := put("x", at(5, 2))
	ledger := NewLedger()
	first := Logged{Write: w, By: 2, Incarnation: 10, Lane: 3, Seq: 4, Catalog: 1}
	find(t, ledger.Add(first), "")
	never := func(Logged) bool { return false }
	find(t, Frontier(1, key.Table, at(6, 1).Time, ledger, never), "entry 4")
	ledger.Close(2, 10)
	find(t, Frontier(1, key.Table, at(6, 1).Time, ledger, never), "")
	again := Logged{Write: w, By: 2, Incarnation: 11, Lane: 3, Seq: 1, Catalog: 2}
	find(t, ledger.Add(again), "in entry 4")
	again.Again = true
	find(t, ledger.Add(again), "")
	find(t, Frontier(1, key.Table, at(6, 1).Time, ledger, never), "entry 1")
	find(t, Marks([]Mark{{Region: 1, Origin: 2, Incarnation: 11, Time: at(6, 2).Time}}, ledger, func(uint16, uint64) bool { return true }), "")
}

// TestLedgerOfWhatIsLoggedAgain: it is what was logged first, or what was left of that, and lets an item expire when it did.
func TestLedgerOfWhatIsLoggedAgain(t *testing.T) {
	first := Write{Key: key, Kind: Update, Set: map[string]string{"a": "1", "t": "9"}, Remove: []string{"b"}, Stamp: at(5, 2), Due: dueAt(9, "t")}
	for _, tc := range []struct {
		name  string
		again Write
		want  string
	}{
		{"all of it", first, ""},
		{"what was left", Write{Set: map[string]string{"t": "9"}, Due: first.Due}, ""},
		{"what was left, and nothing expires by it", Write{Set: map[string]string{"a": "1"}}, ""},
		{"another value", Write{Set: map[string]string{"a": "2"}}, "another value of attribute a"},
		{"another attribute", Write{Set: map[string]string{"c": "1"}}, "another value of attribute c"},
		{"a value that it removed", Write{Set: map[string]string{"b": "1"}}, "another value of attribute b"},
		{"another removal", Write{Remove: []string{"a"}}, "removes attribute a"},
		{"never expires", Write{Set: map[string]string{"t": "9"}}, "another time by attribute t"},
		{"expires later", Write{Set: map[string]string{"t": "9"}, Due: dueAt(10, "t")}, "another time by attribute t"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ledger := NewLedger()
			find(t, ledger.Add(Logged{Write: first, By: 2, Incarnation: 10, Lane: 3, Seq: 4, Catalog: 1}), "")
			tc.again.Key, tc.again.Kind, tc.again.Stamp = key, Update, first.Stamp
			find(t, ledger.Add(Logged{Write: tc.again, By: 1, Incarnation: 20, Lane: 5, Seq: 1, Catalog: 2, Again: true}), tc.want)
		})
	}
}

// dueAt has an item expire at a time by one attribute.
func dueAt(time uint64, by string) func(string) uint64 {
	return func(attribute string) uint64 {
		if attribute != by {
			return 0
		}
		return at(time, 0).Time
	}
}

// TestCollectedWhereLoggedAgain: however often, in parts and in which order a write was logged, what it gave is gone when its item has expired and the frontier has passed that, and not before.
func TestCollectedWhereLoggedAgain(t *testing.T) {
	whole := Write{Key: key, Kind: Update, Set: map[string]string{"a": "1", "t": "9"}, Stamp: at(5, 2), Due: dueAt(9, "t")}
	left := Write{Key: key, Kind: Update, Set: map[string]string{"t": "9"}, Stamp: at(5, 2), Due: whole.Due}
	writes := []Write{left, whole}
	for range 12 {
		writes = append(writes, left)
	}
	for purge, want := range map[uint64]bool{5: false, 8: false, 9: true} {
		if got := (Frontiers{key.Table: at(purge, 0).Time}).gone(whole, writes); got != want {
			t.Errorf("at frontier %d it may be gone: %v, want %v", purge, got, want)
		}
	}
}

func TestLawsFinds(t *testing.T) {
	states := [][]byte{{1}, {2}, {3}}
	greater := func(a, b []byte) []byte {
		if string(a) > string(b) {
			return a
		}
		return b
	}
	find(t, Laws(greater, states), "")
	find(t, Laws(func(a, _ []byte) []byte { return a }, states), "not commutative")
	find(t, Laws(func(a, b []byte) []byte { return append([]byte{9}, greater(a, b)...) }, states), "not idempotent")
	cycle := func(a, b []byte) []byte { // 1 beats 3, 3 beats 2, 2 beats 1: antisymmetric, not transitive
		if (a[0]-b[0]+3)%3 == 2 {
			return b
		}
		return a
	}
	find(t, Laws(cycle, states), "not associative")
}
