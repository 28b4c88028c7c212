package conflict

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	"pgregory.net/rapid"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/conflict/vector"
	"github.com/concordat-db/concordat/globaltable/item"
)

// refFact is one thing that a change says about a name: its value, or that it is removed.
type refFact struct {
	at      hlc.Stamp
	removed bool
	value   string
}

// refState is a record as the reference sees it.
type refState struct {
	reset hlc.Stamp
	cells map[string]refFact
	seen  map[hlc.Origin]hlc.Timestamp
}

// refFold says what a set of changes amounts to: it keeps all that was ever said, and only then looks for the winners. It shares
// no code with the merge.
func refFold(changes []Change) refState {
	facts := map[string][]refFact{}
	st := refState{cells: map[string]refFact{}, seen: map[hlc.Origin]hlc.Timestamp{}}
	see := func(s hlc.Stamp) { st.seen[s.Origin] = max(st.seen[s.Origin], s.Time) }
	for _, c := range changes {
		see(c.Dot)
		for _, s := range c.Context {
			see(s)
		}
		said, reset := refOne(c)
		for name, f := range said {
			facts[name] = append(facts[name], f)
		}
		if reset && refLater(c.Dot, st.reset) {
			st.reset = c.Dot
		}
	}
	for name, fs := range facts {
		slices.SortFunc(fs, func(a, b refFact) int {
			switch {
			case a.at != b.at && refLater(a.at, b.at):
				return 1
			case a.at != b.at:
				return -1
			case a.removed != b.removed && a.removed:
				return 1
			case a.removed != b.removed:
				return -1
			case a.value > b.value:
				return 1
			case a.value < b.value:
				return -1
			}
			return 0
		})
		if best := fs[len(fs)-1]; !refLater(st.reset, best.at) {
			st.cells[name] = best
		}
	}
	return st
}

// refOne says what one change says of each name, its operations done in order, and whether it resets.
func refOne(c Change) (said map[string]refFact, reset bool) {
	said = map[string]refFact{}
	for _, op := range c.Ops {
		switch op.Kind {
		case OpReset:
			reset = true
			clear(said)
			if len(op.Value) > 0 {
				said[""] = refFact{at: c.Dot}
				item.Item(op.Value).Each(func(name []byte, v item.Value) bool {
					said[string(name)] = refFact{at: c.Dot, value: string(v)}
					return true
				})
			}
		case OpSetCell:
			said[string(op.Name)] = refFact{at: c.Dot, value: string(op.Value)}
			said[""] = refFact{at: c.Dot}
		case OpRemoveCell:
			said[string(op.Name)] = refFact{at: c.Dot, removed: true}
			said[""] = refFact{at: c.Dot}
		}
	}
	return said, reset
}

func refLater(a, b hlc.Stamp) bool {
	return a.Time > b.Time || a.Time == b.Time && a.Origin > b.Origin
}

// diff says where r is not st; "" if nowhere.
func (st refState) diff(r Record) string {
	if r.Reset.Stamp != st.reset {
		return fmt.Sprintf("reset %v, want %v", r.Reset.Stamp, st.reset)
	}
	if len(r.Cells) != len(st.cells) {
		return fmt.Sprintf("%d cells, want %d", len(r.Cells), len(st.cells))
	}
	for _, c := range r.Cells {
		f, found := st.cells[string(c.Name)]
		if !found || f.at != c.Stamp || f.removed != c.Removed || f.value != string(c.Value) {
			return fmt.Sprintf("cell %q is %v %t %x, want %v", c.Name, c.Stamp, c.Removed, c.Value, f)
		}
	}
	var seen vector.Vector
	for _, o := range slices.Sorted(maps.Keys(st.seen)) {
		seen = append(seen, hlc.Stamp{Time: st.seen[o], Origin: o})
	}
	if !slices.Equal(r.Vector, seen) {
		return fmt.Sprintf("vector %v, want %v", r.Vector, seen)
	}
	return ""
}

// canonical is what AppendCanonical should give, from the reference's state.
func (st refState) canonical() []byte {
	if p, found := st.cells[""]; !found || p.removed {
		return nil
	}
	var out []byte
	n := byte(0)
	for _, name := range slices.Sorted(maps.Keys(st.cells)) {
		f := st.cells[name]
		if f.removed {
			continue
		}
		n++
		out = append(out, byte(len(name)))
		out = append(out, name...)
		for shift := 56; shift >= 0; shift -= 8 {
			out = append(out, byte(f.at.Time>>shift))
		}
		out = append(out, byte(f.at.Origin>>8), byte(f.at.Origin), byte(len(f.value)))
		out = append(out, f.value...)
	}
	return append([]byte{n}, out...)
}

// The generators make few stamps, origins, names and values, so that ties and overlaps are the rule.

func genStamp(t *rapid.T) hlc.Stamp {
	return hlc.Stamp{
		Time:   hlc.Timestamp(rapid.Uint64Range(3, 9).Draw(t, "time")),
		Origin: hlc.Origin(rapid.Uint16Range(1, 3).Draw(t, "origin")),
	}
}

func genName(t *rapid.T) []byte {
	return []byte(rapid.SampledFrom([]string{"a", "b", "bb", "c"}).Draw(t, "name"))
}

func genValue(t *rapid.T) []byte {
	switch rapid.IntRange(0, 2).Draw(t, "type") {
	case 0:
		return item.AppendInt(nil, int64(rapid.IntRange(0, 2).Draw(t, "n")))
	case 1:
		return item.AppendNull(nil)
	}
	return item.AppendString(nil, rapid.SampledFrom([]string{"", "x", "y"}).Draw(t, "s"))
}

func genItem(t *rapid.T) []byte {
	var b item.Builder
	names := rapid.SliceOfNDistinct(rapid.Custom(genName), 0, 3, func(n []byte) string { return string(n) }).Draw(t, "names")
	for _, name := range names {
		b.Add(name, genValue(t))
	}
	out, err := b.AppendItem(nil)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func genOp(t *rapid.T) Op {
	switch rapid.IntRange(0, 5).Draw(t, "op") {
	case 0:
		return Op{Kind: OpReset}
	case 1:
		return Op{Kind: OpReset, Value: genItem(t)}
	case 2:
		return Op{Kind: OpRemoveCell, Name: genName(t)}
	case 3:
		return Op{Kind: OpSetCell}
	}
	return Op{Kind: OpSetCell, Name: genName(t), Value: genValue(t)}
}

func genChanges(t *rapid.T, label string) []Change {
	return rapid.SliceOfN(rapid.Custom(genChange), 0, 8).Draw(t, label)
}

// applied returns the encoded record after the changes, one after the other.
func applied(t *rapid.T, changes []Change) []byte {
	var rec []byte
	for i := range changes {
		rec = mustApply(t, rec, &changes[i])
	}
	return rec
}

func mustApply(t *rapid.T, rec []byte, c *Change) []byte {
	next, _, err := Apply(nil, rec, c)
	if err != nil {
		t.Fatalf("apply: %v", err)
	}
	return next
}

func mustDecode(t rapid.TB, b []byte) Record {
	t.Helper()
	r, err := DecodeRecord(b)
	if err != nil {
		t.Fatalf("decode: %v", err)
	}
	if again := AppendRecord(nil, &r); !bytes.Equal(again, b) {
		t.Fatalf("decoded and encoded again:\n%x\n%x", again, b)
	}
	return r
}

func mustJoin(t *rapid.T, a, b []byte) []byte {
	out, err := JoinEncoded(nil, a, b)
	if err != nil {
		t.Fatalf("join: %v", err)
	}
	return out
}
