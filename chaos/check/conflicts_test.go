package check

import (
	"fmt"
	"strings"
	"testing"
)

// TestConflicts: three writes of one key, two of them by region 1 and 2 at the same time. Who had seen what is said by seen: pairs of the writer's time and that of what it had got.
func TestConflicts(t *testing.T) {
	const table, feed = 7, 1007
	key := Key{Table: table, Bytes: "k"}
	at := func(time uint64, origin uint16) Stamp { return Stamp{Time: time, Origin: origin} }
	put := func(s Stamp, value string) Write {
		return Write{Key: key, Kind: Put, Set: map[string]string{"a": value}, Stamp: s}
	}
	update := func(s Stamp, value string) Write {
		return Write{Key: key, Kind: Update, Set: map[string]string{"a": value}, Stamp: s}
	}
	remove := func(s Stamp, name string) Write {
		return Write{Key: key, Kind: Update, Remove: []string{name}, Stamp: s}
	}
	entry := func(s Stamp) Key { return Key{Table: feed, Bytes: "k" + s.String()} }
	listing := func(loser Stamp, whole bool, parts ...Part) Listing {
		return Listing{By: 1, Feed: entry(loser), At: at(90, 1), Key: key, Loser: loser, Lost: true, Whole: whole, Parts: parts}
	}
	a, b, c := at(10, 1), at(11, 2), at(12, 3)
	deleteSeen := Write{Key: key, Kind: Delete, Stamp: a, Typed: &Typed{Seen: map[string]Seen{"n": {Runs: map[uint16]uint64{2: 5}}}}}
	deleteMortal := deleteSeen
	deleteMortal.Due = func(string) uint64 { return 0 }
	won := Part{Name: "a", Lost: "1", Won: "2", Winner: b}
	for name, tc := range map[string]struct {
		writes []Write
		seen   [][2]uint64
		listed []Listing
		fenced bool
		gone   uint64 // the time of a write that need not have reached anybody
		want   string // part of the finding; "": there is none
	}{
		"listed":               {writes: []Write{put(a, "1"), put(b, "2")}, listed: []Listing{listing(a, true, won)}},
		"not listed":           {writes: []Write{put(a, "1"), put(b, "2")}, want: `lost attribute "a" to that at ` + b.String()},
		"an update not listed": {writes: []Write{put(a, "1"), update(b, "2")}, want: "is not listed"},
		"a removal not listed": {writes: []Write{remove(a, "a"), update(b, "2")}, want: "is not listed"},
		"a delete not listed":  {writes: []Write{{Key: key, Kind: Delete, Stamp: a}, put(b, "2")}, want: "is not listed"},
		"two deletes":          {writes: []Write{{Key: key, Kind: Delete, Stamp: a}, {Key: key, Kind: Delete, Stamp: b}}},
		"the same value":       {writes: []Write{put(a, "1"), put(b, "1")}},
		"another attribute":    {writes: []Write{put(a, "1"), remove(b, "z")}},
		"seen":                 {writes: []Write{put(a, "1"), put(b, "2")}, seen: [][2]uint64{{11, 10}}},
		"listed, and seen":     {writes: []Write{put(a, "1"), put(b, "2")}, seen: [][2]uint64{{11, 10}}, listed: []Listing{listing(a, true, won)}, want: "had seen it"},
		"seen at second hand":  {writes: []Write{put(a, "1"), update(b, "2"), update(c, "3")}, seen: [][2]uint64{{11, 10}, {12, 11}}},
		"one of two had seen":  {writes: []Write{put(a, "1"), put(b, "2"), put(c, "3")}, seen: [][2]uint64{{12, 10}}, listed: []Listing{listing(b, true, Part{Name: "a", Lost: "2", Won: "3", Winner: c})}},
		"the same region":      {writes: []Write{put(a, "1"), put(at(11, 1), "2")}},
		"nobody got it":        {writes: []Write{put(a, "1"), put(b, "2")}, gone: 10},
		"nobody got the other": {writes: []Write{put(a, "1"), put(b, "2")}, gone: 11},
		"nobody made it":       {writes: []Write{put(b, "2")}, listed: []Listing{listing(a, true, won)}, want: "nobody has made it"},
		"another value":        {writes: []Write{put(a, "1"), put(b, "2")}, listed: []Listing{listing(a, true, Part{Name: "a", Lost: "0", Won: "2", Winner: b})}, want: "another value than is listed"},
		"another winner":       {writes: []Write{put(a, "1"), put(b, "2")}, listed: []Listing{listing(a, true, Part{Name: "a", Lost: "1", Won: "3", Winner: b})}, want: "the winner gave"},
		"no such winner":       {writes: []Write{put(a, "1"), put(b, "2")}, listed: []Listing{listing(a, true, Part{Name: "a", Lost: "1", Won: "2", Winner: c})}, want: "nobody has made the write that won"},
		"the winner had seen it": {writes: []Write{update(a, "1"), update(b, "2"), update(c, "3")}, seen: [][2]uint64{{12, 10}},
			listed: []Listing{listing(a, false, Part{Name: "a", Lost: "1", Won: "3", Winner: c}), listing(b, false, Part{Name: "a", Lost: "2", Won: "3", Winner: c})}, want: "had seen it"},
		"a whole update":                         {writes: []Write{update(a, "1"), put(b, "2")}, listed: []Listing{listing(a, true, won)}, want: "did not write the whole item"},
		"given up":                               {writes: []Write{put(a, "1")}, listed: []Listing{{By: 1, Feed: entry(a), Key: key, Loser: a, Fenced: true}}, fenced: true},
		"given up, of a delete what it had seen": {writes: []Write{deleteSeen, put(b, "2")}, listed: []Listing{{By: 1, Feed: entry(a), Key: key, Loser: a, Fenced: true}}, fenced: true, gone: 11},
		"given up, of a delete with a time to live what it had seen": {writes: []Write{deleteMortal}, listed: []Listing{{By: 1, Feed: entry(a), Key: key, Loser: a, Fenced: true}}, fenced: true},
		"given up, and nothing has taken the place of the delete":    {writes: []Write{deleteSeen, update(b, "2")}, listed: []Listing{{By: 1, Feed: entry(a), Key: key, Loser: a, Fenced: true}}, fenced: true, want: "it has no attributes"},
		"given up, a delete that had seen nothing":                   {writes: []Write{{Key: key, Kind: Delete, Stamp: a}, put(b, "2")}, listed: []Listing{{By: 1, Feed: entry(a), Key: key, Loser: a, Fenced: true}}, fenced: true, gone: 11, want: "it has no attributes"},
		"a delete of which what it had seen is listed as lost":       {writes: []Write{deleteSeen, put(b, "2")}, listed: []Listing{listing(a, false)}, want: "it has no attributes"},
		"not given up": {writes: []Write{put(a, "1")}, listed: []Listing{{By: 1, Feed: entry(a), Key: key, Loser: a, Fenced: true}}, want: "no store had it"},
	} {
		ledger := NewLedger()
		for i, w := range tc.writes {
			ledger.Add(Logged{Write: w, By: w.Stamp.Origin, Incarnation: 1, Lane: 1, Seq: uint64(i + 1)})
		}
		saw := func(w, e Logged) (surely, perhaps bool) {
			for _, p := range tc.seen {
				surely = surely || p == [2]uint64{w.Stamp.Time, e.Stamp.Time}
			}
			return surely, surely
		}
		checker := NewConflicts(ledger, saw, func(k Key, s Stamp) (Key, bool) { return entry(s), k.Table == table })
		found := checker.Exact(tc.listed, func(Listing) bool { return tc.fenced }, func(w Write) bool { return w.Stamp.Time == tc.gone }, func(Key) bool { return true })
		switch text := fmt.Sprint(found); {
		case tc.want == "" && len(found) > 0:
			t.Errorf("%s: %s", name, text)
		case tc.want != "" && (len(found) != 1 || !strings.Contains(text, tc.want)):
			t.Errorf("%s: %s, want one with %q", name, text, tc.want)
		}
	}
}

// TestConflictsInOneStore: a store that has merged what took something of its own away has the listing too.
func TestConflictsInOneStore(t *testing.T) {
	const table, feed = 7, 1007
	key, entry := Key{Table: table, Bytes: "k"}, Key{Table: feed, Bytes: "entry"}
	own, other, listing := Stamp{10, 1}, Stamp{11, 2}, Stamp{12, 1}
	ledger := NewLedger()
	ledger.Add(Logged{Write: Write{Key: key, Kind: Put, Set: map[string]string{"a": "1"}, Stamp: own}, By: 1, Lane: 1, Seq: 1})
	ledger.Add(Logged{Write: Write{Key: key, Kind: Put, Set: map[string]string{"a": "2"}, Stamp: other}, By: 2, Lane: 1, Seq: 1})
	ledger.Add(Logged{Write: Write{Key: entry, Kind: Update, Set: map[string]string{"x": "y"}, Stamp: listing}, By: 1, Lane: 1, Seq: 2})
	checker := NewConflicts(ledger, func(w, e Logged) (bool, bool) { return false, false }, func(k Key, s Stamp) (Key, bool) { return entry, k.Table == table })
	listed := Record{Cells: map[string]Cell{"": {Stamp: listing}, "x": {Stamp: listing, Value: "y"}}}
	for name, tc := range map[string]struct {
		position uint64
		records  map[Key]Record
		joined   bool
		found    int
	}{
		"before it comes":          {0, nil, false, 0},
		"it has come":              {1, map[Key]Record{entry: listed}, false, 0},
		"it has come, not listed":  {1, nil, false, 1},
		"it may have come another": {1, nil, true, 0},
	} {
		s := Snapshot{Replica: Replica{Region: 1, Records: tc.records}, Positions: map[Lane]uint64{{Region: 1, Origin: 2, Lane: 1}: tc.position},
			Holds: func(Key) []uint16 { return []uint16{1} }, Joined: func(Key) bool { return tc.joined }}
		if got := checker.Atomic(s, Frontiers{}); len(got) != tc.found {
			t.Errorf("%s: %v", name, got)
		}
	}
}
