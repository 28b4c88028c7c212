package conflict

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/conflict/vector"
)

// genRecord makes a record that some changes lead to.
func genRecord(t *rapid.T, label string) []byte { return applied(t, genChanges(t, label)) }

func TestLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := genRecord(t, "a"), genRecord(t, "b"), genRecord(t, "c")
		if x, y := mustJoin(t, a, b), mustJoin(t, b, a); !bytes.Equal(x, y) {
			t.Fatalf("not commutative:\n%x\n%x", x, y)
		}
		if x, y := mustJoin(t, mustJoin(t, a, b), c), mustJoin(t, a, mustJoin(t, b, c)); !bytes.Equal(x, y) {
			t.Fatalf("not associative:\n%x\n%x", x, y)
		}
		if x := mustJoin(t, a, a); !bytes.Equal(x, a) {
			t.Fatalf("not idempotent:\n%x\n%x", x, a)
		}
		ab := mustJoin(t, a, b)
		if x := mustJoin(t, ab, b); !bytes.Equal(x, ab) {
			t.Fatalf("a join is not above its operand:\n%x\n%x", x, ab)
		}
		r, s := mustDecode(t, a), mustDecode(t, a)
		if x := Join(r, s); !bytes.Equal(AppendRecord(nil, &x), a) {
			t.Fatal("Join of a record with itself is another one")
		}
	})
}

// The trap: an order in which a < b < c < a. It shows up only with three records, and only where stamps tie.
func TestLawsOnTies(t *testing.T) {
	one := hlc.Stamp{Time: 5, Origin: 1}
	genTied := rapid.Custom(func(t *rapid.T) []byte {
		c := genChangeAt(t, one, true)
		c.Context = vector.Vector(nil)
		if at := hlc.Timestamp(rapid.Uint64Range(2, 4).Draw(t, "context")); at > c.Floor {
			c.Context = c.Context.With(hlc.Stamp{Time: at, Origin: 2})
		}
		return mustApply(t, nil, &c)
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := genTied.Draw(t, "a"), genTied.Draw(t, "b"), genTied.Draw(t, "c")
		ab, bc, ca := mustJoin(t, a, b), mustJoin(t, b, c), mustJoin(t, c, a)
		want := mustJoin(t, ab, c)
		for _, got := range [][]byte{mustJoin(t, bc, a), mustJoin(t, ca, b), mustJoin(t, c, mustJoin(t, b, a))} {
			if !bytes.Equal(got, want) {
				t.Fatalf("ties depend on the order:\n%x\n%x", got, want)
			}
		}
	})
}

func TestCellOrderIsTotal(t *testing.T) {
	genCell := rapid.Custom(func(t *rapid.T) Cell {
		c := Cell{Name: []byte("a"), Write: Write{Stamp: hlc.Stamp{Time: hlc.Timestamp(rapid.Uint64Range(1, 2).Draw(t, "time")), Origin: 1}}}
		c.Floor = hlc.Timestamp(rapid.Uint64Range(0, 1).Draw(t, "floor"))
		if rapid.Bool().Draw(t, "context") {
			c.Context = vector.Vector{{Time: 2, Origin: 2}}
		}
		if c.Removed = rapid.Bool().Draw(t, "removed"); !c.Removed {
			c.Value = genValue(t)
		}
		return c
	})
	same := func(a, b Cell) bool {
		return a.Stamp == b.Stamp && a.Removed == b.Removed && bytes.Equal(a.Value, b.Value) && a.Context.Equal(b.Context) && a.Floor == b.Floor
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := genCell.Draw(t, "a"), genCell.Draw(t, "b"), genCell.Draw(t, "c")
		if (compareCells(&a, &b) == 0) != same(a, b) {
			t.Fatal("different cells are equal, or equal ones different")
		}
		if compareCells(&a, &b) != -compareCells(&b, &a) {
			t.Fatal("not antisymmetric")
		}
		if compareCells(&a, &b) <= 0 && compareCells(&b, &c) <= 0 && compareCells(&a, &c) > 0 {
			t.Fatal("not transitive")
		}
	})
}

func TestAgainstReference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		changes := genPlainChanges(t, "changes")
		rec := applied(t, changes)
		st := refFold(changes)
		if d := st.diff(mustDecode(t, rec)); d != "" {
			t.Fatal(d)
		}
		got, err := AppendCanonical([]byte("before"), rec)
		if err != nil || !bytes.Equal(got, append([]byte("before"), st.canonical()...)) {
			t.Fatalf("canonical bytes %x (%v), want %x", got, err, st.canonical())
		}
		if err := CheckRecord(rec); err != nil {
			t.Fatalf("check: %v", err)
		}
	})
}

// shuffled returns the changes in another order, some twice.
func shuffled(t *rapid.T, changes []Change, label string) []Change {
	out := changes[:0:0]
	for _, c := range rapid.Permutation(append(changes[:len(changes):len(changes)], changes...)).Draw(t, label) {
		if rapid.Bool().Draw(t, "twice") || !contains(out, c) {
			out = append(out, c)
		}
	}
	return out
}

func contains(cs []Change, c Change) bool {
	for i := range cs {
		if bytes.Equal(cs[i].Append(nil), c.Append(nil)) {
			return true
		}
	}
	return false
}

// The same changes in any order, any number of times, some of them by way of whole records: the same bytes.
func TestAnyOrderAnyDuplication(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		changes := genChanges(t, "changes")
		want := applied(t, changes)
		if got := applied(t, shuffled(t, changes, "order")); !bytes.Equal(got, want) {
			t.Fatalf("order or duplication matters:\n%x\n%x", got, want)
		}
		var parts [3][]byte
		for _, c := range shuffled(t, changes, "exchange") {
			i := rapid.IntRange(0, 2).Draw(t, "replica")
			parts[i] = mustApply(t, parts[i], &c)
		}
		if got := mustJoin(t, parts[2], mustJoin(t, parts[1], parts[0])); !bytes.Equal(got, want) {
			t.Fatalf("exchange and stream differ:\n%x\n%x", got, want)
		}
	})
}

// What local writes drop is bookkeeping: whichever applications are local, and in whatever order, logical state is the same.
func TestSettlingKeepsLogicalState(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		changes := genChanges(t, "changes")
		want, err := AppendCanonical(nil, applied(t, changes))
		if err != nil {
			t.Fatal(err)
		}
		var rec []byte
		for _, c := range shuffled(t, changes, "order") {
			local := rapid.Bool().Draw(t, "local")
			if local {
				c.Floor = hlc.Timestamp(rapid.Uint64Range(0, 9).Draw(t, "purge frontier"))
				c.Context = c.Context.Above(c.Floor)
			}
			if rec, _, err = apply(nil, rec, &c, local); err != nil {
				t.Fatal(err)
			}
			mustDecode(t, rec)
		}
		if got, err := AppendCanonical(nil, rec); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%v: canonical bytes\n%x\n%x", err, got, want)
		}
	})
}
