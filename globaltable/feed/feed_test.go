package feed

import (
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/conflict/vector"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files")

func stamp(at uint64, o hlc.Origin) hlc.Stamp { return hlc.Stamp{Time: hlc.Timestamp(at), Origin: o} }

func text(s string) item.Value { return item.AppendString(nil, s) }

func set(elements ...string) item.Value {
	values := make([]item.Value, len(elements))
	for i, e := range elements {
		values[i] = text(e)
	}
	v, err := item.AppendSet(nil, item.SS, values)
	if err != nil {
		panic(err)
	}
	return v
}

func path(names ...string) (p []byte) {
	for _, n := range names {
		p = conflict.AppendPath(p, []byte(n))
	}
	return p
}

// examples has an entry of each kind.
func examples() map[string]*Entry {
	loser := conflict.Write{Stamp: stamp(1<<20, 2), Context: vector.Vector{stamp(7<<16, 3)}, Floor: 5}
	winner := conflict.Write{Stamp: stamp(2<<20, 1)}
	at := time.Unix(1_700_000_000, 0).UTC()
	return map[string]*Entry{
		"item": {conflict.Loss{Loser: loser, Rule: conflict.RuleItem, Whole: true, Parts: []conflict.Part{
			{Name: []byte("a"), Lost: text("old"), Won: text("new"), Winner: winner}, {Name: []byte("b"), Lost: text("x"), Winner: winner}, {Name: []byte("pk"), Lost: text("k"), Won: text("k"), Winner: winner}}}, at},
		"deletion": {conflict.Loss{Loser: loser, Rule: conflict.RuleItem, Whole: true, Deleted: true, Parts: []conflict.Part{{Name: []byte("a"), Won: text("new"), Winner: winner}}}, at},
		"attributes": {conflict.Loss{Loser: loser, Rule: conflict.RuleAttribute, Parts: []conflict.Part{
			{Name: []byte("a"), Lost: text("old"), Won: text("new"), Winner: winner},
			{Name: []byte("m"), Path: path("m", "y"), Won: text("2"), Winner: winner}, {Name: []byte("m"), Path: path("m", "ü", "x"), Lost: text("1"), Winner: winner}}}, at},
		"fenced": {conflict.Loss{Loser: loser, Rule: conflict.RuleFenced, Parts: []conflict.Part{{Name: []byte("a"), Lost: text("old")}}}, at},
		"contributions": {conflict.Loss{Loser: loser, Rule: conflict.RuleFenced, Parts: []conflict.Part{
			{Name: []byte("n"), Lost: item.AppendInt(nil, 5), Won: item.AppendInt(nil, 7), Effect: conflict.Added}, {Name: []byte("t"), Lost: set("x", "y"), Effect: conflict.Taken}}}, at},
		"empty": {conflict.Loss{Loser: conflict.Write{Stamp: stamp(9, 9)}, Rule: conflict.RuleItem, Whole: true, Deleted: true}, at},
	}
}

// listed returns the item of what the operations make, each list written by another region, in that order.
func listed(t testing.TB, writes ...[]conflict.Op) item.Item {
	t.Helper()
	var record []byte
	for i, ops := range writes {
		var err error
		if record, _, err = conflict.Apply(nil, record, &conflict.Change{Key: []byte("k"), Dot: stamp(uint64(100+i), hlc.Origin(1+i)), Ops: ops}); err != nil {
			t.Fatal(err)
		}
	}
	it, live, err := conflict.ItemOf(record, nil)
	if err != nil || !live {
		t.Fatal(live, err)
	}
	return it
}

func missing(t testing.TB, e *Entry, is item.Item) []conflict.Op {
	t.Helper()
	ops, err := e.Missing(nil, is)
	if err != nil {
		t.Fatal(err)
	}
	return ops
}

func TestEntryIsReadAsWritten(t *testing.T) {
	for name, e := range examples() {
		got, err := Decode(listed(t, missing(t, e, nil)))
		if err != nil || fmt.Sprint(got) != fmt.Sprint(e) {
			t.Errorf("%s: %v, %v, want %v", name, got, err, e)
			continue
		}
		if c := got.Clone(); fmt.Sprint(c) != fmt.Sprint(e) {
			t.Errorf("%s: clone %v", name, c)
		}
		if ops := missing(t, e, listed(t, missing(t, e, nil))); len(ops) > 0 {
			t.Errorf("%s: listed, it lacks %v", name, ops)
		}
	}
}

// TestEntryGolden pins what is stored and sent of a conflict.
func TestEntryGolden(t *testing.T) {
	for name, e := range examples() {
		var b strings.Builder
		for _, op := range missing(t, e, nil) {
			fmt.Fprintf(&b, "%d %s %s\n", op.Kind, op.Name, hex.EncodeToString(op.Value))
		}
		file := "testdata/entry-" + name + ".golden"
		if *rewrite {
			if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil || string(want) != b.String() {
			t.Errorf("%s: %v\n%s", file, err, b.String())
		}
	}
}

func TestVersions(t *testing.T) {
	for name, want := range map[string]string{
		"item":          `{"a":{"S":"old"},"b":{"S":"x"},"pk":{"S":"k"}} {"a":{"S":"new"},"pk":{"S":"k"}} 1048576.2 2097152.1`,
		"deletion":      ` {"a":{"S":"new"}} 1048576.2 2097152.1`,
		"attributes":    `{"a":{"S":"old"},"m":{"M":{"ü":{"M":{"x":{"S":"1"}}}}}} {"a":{"S":"new"},"m":{"M":{"y":{"S":"2"}}}} 1048576.2 2097152.1`,
		"fenced":        `{"a":{"S":"old"}}  1048576.2 0.0`,
		"contributions": `{"n":{"N":"5"},"t":{"SS":["x","y"]}} {"n":{"N":"7"}} 1048576.2 0.0`,
		"empty":         `  9.9 0.0`,
	} {
		e := examples()[name]
		lost, won, err := e.Versions()
		if err != nil {
			t.Fatal(err)
		}
		show := func(it item.Item) string {
			if it == nil {
				return ""
			}
			return string(it.AppendJSON(nil))
		}
		w := e.Winner()
		if got := fmt.Sprintf("%s %s %d.%d %d.%d", show(lost), show(won), e.Loser.Stamp.Time, e.Loser.Stamp.Origin, w.Stamp.Time, w.Stamp.Origin); got != want {
			t.Errorf("%s: %s\nwant %s", name, got, want)
		}
	}
	if got := Text(&examples()["attributes"].Parts[2]); got != "m.ü.x" {
		t.Error(got)
	}
}

// TestFindersAreJoined: two regions find different parts of one conflict, and each lists what it lacks. Whichever order they are merged in, what is listed has the parts of both.
func TestFindersAreJoined(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := examples()["attributes"]
		all.Parts = append(all.Parts, conflict.Part{Name: []byte(strings.Repeat("n", item.MaxNameSize)), Lost: text("3")})
		some := func(label string) *Entry {
			e := all.Clone()
			e.Parts = nil
			for i, p := range all.Parts {
				if rapid.Bool().Draw(t, fmt.Sprint(label, i)) {
					e.Parts = append(e.Parts, p)
				}
			}
			return e
		}
		a, b := some("a"), some("b")
		one := conflict.Change{Key: []byte("k"), Dot: stamp(100, 1), Ops: mustMissing(t, a)}
		other := conflict.Change{Key: []byte("k"), Dot: stamp(101, 2), Ops: mustMissing(t, b)}
		join := func(changes ...*conflict.Change) string {
			var record []byte
			for _, c := range changes {
				var err error
				if record, _, err = conflict.Apply(nil, record, c); err != nil {
					t.Fatal(err)
				}
			}
			it, _, err := conflict.ItemOf(record, nil)
			if err != nil {
				t.Fatal(err)
			}
			e, err := Decode(it)
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range []*Entry{a, b} {
				if ops, err := want.Missing(nil, it); err != nil || len(ops) > 0 {
					t.Fatalf("lacks %v, %v", ops, err)
				}
			}
			return fmt.Sprint(e)
		}
		if join(&one, &other) != join(&other, &one) {
			t.Fatal("the order decides what is listed")
		}
	})
}

func mustMissing(t *rapid.T, e *Entry) []conflict.Op {
	ops, err := e.Missing(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return ops
}

func TestDecodeRefuses(t *testing.T) {
	good := examples()["attributes"]
	head, part := good.appendHead(nil), appendPart(nil, &good.Parts[0])
	rule := "r2"
	entry := func(head, part []byte) item.Item {
		var b item.Builder
		b.Add([]byte(rule), item.AppendBool(nil, true))
		b.Add([]byte(attributeHead), item.AppendBinary(nil, head))
		b.Add([]byte("p0"), item.AppendBinary(nil, part))
		it, err := b.AppendItem(nil)
		if err != nil {
			t.Fatal(err)
		}
		return it
	}
	if _, err := Decode(entry(head, part)); err != nil {
		t.Fatal(err)
	}
	with := func(b []byte, at int, v byte) []byte {
		b = append([]byte(nil), b...)
		b[at] = v
		return b
	}
	for name, it := range map[string]item.Item{
		"another version of the head": entry(with(head, 0, 2), part),
		"a head with more":            entry(append(head[:len(head):len(head)], 0), part), "half a head": entry(head[:5], part), "another version of a part": entry(head, with(part, 0, 2)),
		"a flag of a part": entry(head, with(part, 1, 16)), "a part with more": entry(head, append(part[:len(part):len(part)], 0)), "half a part": entry(head, part[:len(part)-1]),
		"a name that is no text": entry(head, with(part, 3, 0xff)), "a name as a path": entry(head, with(part, 1, part[1]|partInside)),
	} {
		if e, err := Decode(it); globaltable.KindOf(err) != globaltable.Corrupt {
			t.Errorf("%s: %v, %v", name, e, err)
		}
	}
	for _, rule = range []string{"r", "r0", "r4", "r22"} {
		if e, err := Decode(entry(head, part)); globaltable.KindOf(err) != globaltable.Corrupt {
			t.Errorf("%s: %v, %v", rule, e, err)
		}
	}
	var b item.Builder
	b.Add([]byte("p0"), item.AppendBinary(nil, part))
	if it, err := b.AppendItem(nil); err != nil {
		t.Fatal(err)
	} else if _, err := Decode(it); globaltable.KindOf(err) != globaltable.Corrupt {
		t.Errorf("no head: %v", err)
	}
}

func TestIDs(t *testing.T) {
	id := ID{Table: globaltable.NewTableID(1<<40, 3), Dot: stamp(0xabc0123, 7)}
	s := id.String()
	if got, err := ParseID(s); err != nil || got != id || s != fmt.Sprintf("%016x-000000000abc0123-0007", uint64(id.Table)) {
		t.Errorf("%s: %v %v", s, got, err)
	}
	for _, bad := range []string{"", "1-2-3", s[1:], s + "0", strings.ToUpper(s[:16]) + s[16:33] + "-000g", ID{Table: id.Table.Feed(), Dot: id.Dot}.String(), ID{Table: id.Table}.String(),
		ID{Table: id.Table, Dot: stamp(5, 0)}.String(), strings.Replace(s, "0", "+", 1), s + "-0000"} {
		if got, err := ParseID(bad); globaltable.KindOf(err) != globaltable.Invalid {
			t.Errorf("%q: %v %v", bad, got, err)
		}
	}
}

func TestKeys(t *testing.T) {
	key, dot := item.Key("an item's key"), stamp(99, 4)
	k := AppendKey(nil, key, dot)
	if got, ok := DotOf(k); string(ItemKey(k)) != string(key) || got != dot || !ok {
		t.Errorf("%q %v %v", ItemKey(k), got, ok)
	}
	if string(ItemKey(item.Key("short"))) != "short" {
		t.Error("a key that is no conflict's")
	}
	if _, ok := DotOf(item.Key("short")); ok {
		t.Error("a dot of a key that is no conflict's")
	}
	// The index has the order of the dots.
	last := ""
	for _, s := range []hlc.Stamp{stamp(1, 9), stamp(2, 1), stamp(2, 2), stamp(1<<40, 1)} {
		b, err := AppendTimeKey(nil, s)
		if err != nil || string(b) <= last {
			t.Errorf("%v: %x after %x, %v", s, b, last, err)
		}
		last = string(b)
	}
}

func TestTableOf(t *testing.T) {
	table := &globaltable.Table{ID: globaltable.NewTableID(1<<40, 3), Name: "orders", AcknowledgePeers: 2, Mode: conflict.Vector, Types: map[string]conflict.TypeTag{"a": conflict.TypeMax},
		KeySchema: globaltable.KeySchema{Partition: globaltable.KeyAttribute{Name: "pk", Type: item.S}}, Conflicts: globaltable.Retention{Seconds: 77}}
	f := TableOf(table)
	if f.ID != table.ID.Feed() || f.ID.Base() != table.ID || !f.ID.IsFeed() || table.ID.IsFeed() || f.Name != "orders/conflicts" || f.AcknowledgePeers != 0 || f.Types != nil || f.Mode != conflict.Attribute ||
		f.KeySchema.Partition.Name != "" || len(f.Indexes) != 1 || len(f.Expiry) != 1 || f.Conflicts.Seconds != 77 {
		t.Errorf("%+v", f)
	}
	if table.ID.Feed().Feed() != table.ID.Feed() || len(table.Indexes) > 0 {
		t.Error("the table has changed")
	}
}

func FuzzDecode(f *testing.F) {
	for _, e := range examples() {
		f.Add([]byte(listed(f, missing(f, e, nil))))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		it := item.Item(b)
		if item.CheckItem(it) != nil {
			return
		}
		e, err := Decode(it)
		if err != nil {
			return
		}
		if _, _, err := e.Versions(); err != nil {
			t.Fatal(err)
		}
		e.Winner()
		for i := range e.Parts {
			if Text(&e.Parts[i]) == "" {
				t.Fatal("a part without a name")
			}
		}
		// What was read is written and read again.
		if len(e.Parts) > 0 {
			again, err := Decode(listed(t, missing(t, e, nil)))
			if err != nil || again.Loser.Stamp != e.Loser.Stamp {
				t.Fatal(again, err)
			}
		}
	})
}

func FuzzParseID(f *testing.F) {
	f.Add(ID{Table: globaltable.NewTableID(1<<40, 3), Dot: stamp(0xabc0123, 7)}.String())
	f.Fuzz(func(t *testing.T, s string) {
		if id, err := ParseID(s); err == nil && !strings.EqualFold(id.String(), s) {
			t.Fatalf("%q is %v", s, id)
		}
	})
}
