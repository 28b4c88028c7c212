package conflict

import (
	"bytes"
	"errors"
	"testing"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable/item"
)

// site is a region with one record.
type site struct {
	t      testing.TB
	origin hlc.Origin
	now    *uint64 // the same for all
	record []byte
}

func sites(t testing.TB) (a, b, c *site) {
	now := new(uint64)
	*now = 100
	return &site{t, 1, now, nil}, &site{t, 2, now, nil}, &site{t, 3, now, nil}
}

// write makes a write, and returns the change that its log gets.
func (s *site) write(ops ...Op) *Change {
	s.t.Helper()
	*s.now++
	c := &Change{Key: []byte("k"), Dot: stamp(*s.now, s.origin), Ops: ops}
	var err error
	if c.Context, err = ContextOf(s.record, s.origin, 0); err != nil {
		s.t.Fatal(err)
	}
	if s.record, _, err = ApplyLocal(nil, s.record, c); err != nil {
		s.t.Fatal(err)
	}
	return c
}

// hear merges changes, each through its encoding.
func (s *site) hear(changes ...*Change) (last Result) {
	s.t.Helper()
	for _, c := range changes {
		var got Change
		err := DecodeChange(c.Append(nil), &got)
		if err == nil {
			err = got.Check()
		}
		if err == nil {
			s.record, last, err = Apply(nil, s.record, &got)
		}
		if err != nil {
			s.t.Fatal(err)
		}
	}
	return last
}

// shows compares with an item as DynamoDB writes it; "" is none.
func (s *site) shows(want string) {
	s.t.Helper()
	it, live, err := ItemOf(s.record, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	got := ""
	if live {
		got = string(it.AppendJSON(nil))
	}
	if got != want {
		s.t.Errorf("region %d shows %s, want %s", s.origin, got, want)
	}
}

func addOp(t testing.TB, n string) Op {
	return Op{Kind: OpAddNumber, Type: TypeCounter, Name: []byte("n"), Value: number(t, n)}
}
func setOp(name string, v item.Value) Op {
	return Op{Kind: OpSetCell, Name: []byte(name), Value: v}
}
func removeOp(name string) Op { return Op{Kind: OpRemoveCell, Name: []byte(name)} }
func maxOp(t testing.TB, n string) Op {
	return Op{Kind: OpSetCell, Type: TypeMax, Name: []byte("n"), Value: number(t, n)}
}
func insertOp(t testing.TB, elements ...string) Op {
	return Op{Kind: OpAddElements, Type: TypeSet, Name: []byte("s"), Value: stringSet(t, elements...)}
}
func dropOp(t testing.TB, elements ...string) Op {
	return Op{Kind: OpDeleteElements, Type: TypeSet, Name: []byte("s"), Value: stringSet(t, elements...)}
}
func inOp(v item.Value, names ...string) Op {
	return Op{Kind: OpSetPath, Type: TypeMap, Name: pathOf(names...), Value: v}
}

func TestCounterStories(t *testing.T) {
	t.Run("both count", func(t *testing.T) {
		a, b, _ := sites(t)
		first := a.write(setOp("n", number(t, "10")))
		b.hear(first)
		x, y := a.write(addOp(t, "1")), b.write(addOp(t, "0.5"))
		a.hear(y, y)
		b.hear(x, first, x)
		a.shows(`{"n":{"N":"11.5"}}`)
		b.shows(`{"n":{"N":"11.5"}}`)
	})
	t.Run("what a SET has seen is in it, what not is added", func(t *testing.T) {
		a, b, _ := sites(t)
		one := a.write(addOp(t, "1"))
		b.hear(one)
		two, set := a.write(addOp(t, "2")), b.write(setOp("n", number(t, "100")))
		three := a.write(addOp(t, "4"))
		a.hear(set)
		b.hear(two, three)
		a.shows(`{"n":{"N":"106"}}`)
		b.shows(`{"n":{"N":"106"}}`)
	})
	t.Run("a deletion takes what it has seen, though it loses", func(t *testing.T) {
		a, b, _ := sites(t)
		one := a.write(addOp(t, "1"))
		b.hear(one)
		deletion, put := b.write(RecordDelete(nil)...), a.write(setOp("x", item.AppendNull(nil)))
		two := a.write(addOp(t, "2"))
		a.hear(deletion)
		b.hear(put, two)
		a.shows(`{"n":{"N":"2"},"x":{"NULL":true}}`)
		b.shows(`{"n":{"N":"2"},"x":{"NULL":true}}`)
	})
	t.Run("an increment that a deletion had not seen keeps the item", func(t *testing.T) {
		a, b, _ := sites(t)
		b.hear(a.write(setOp("x", item.AppendNull(nil))))
		add, deletion := a.write(addOp(t, "1")), b.write(RecordDelete(nil)...)
		a.hear(deletion)
		b.hear(add)
		a.shows(`{"n":{"N":"1"}}`)
		b.shows(`{"n":{"N":"1"}}`)
	})
	t.Run("a sum of nothing is there", func(t *testing.T) {
		a, b, _ := sites(t)
		b.hear(a.write(addOp(t, "1")), a.write(addOp(t, "-1")))
		b.shows(`{"n":{"N":"0"}}`)
	})
	t.Run("below what is no number the rest waits", func(t *testing.T) {
		a, b, _ := sites(t)
		add, set := a.write(addOp(t, "1")), b.write(setOp("n", item.AppendString(nil, "text")))
		a.hear(set)
		a.shows(`{"n":{"S":"text"}}`)
		b.hear(add, a.write(removeOp("n")))
		b.shows(`{}`)
	})
}

func TestSetStories(t *testing.T) {
	t.Run("an element that is added again elsewhere stays", func(t *testing.T) {
		a, b, _ := sites(t)
		b.hear(a.write(insertOp(t, "x", "y")))
		drop, again := a.write(dropOp(t, "x", "y")), b.write(insertOp(t, "x"))
		a.hear(again)
		b.hear(drop)
		a.shows(`{"s":{"SS":["x"]}}`)
		b.shows(`{"s":{"SS":["x"]}}`)
	})
	t.Run("elements of a set that was written whole", func(t *testing.T) {
		a, b, _ := sites(t)
		b.hear(a.write(setOp("s", stringSet(t, "x", "y"))))
		drop, add := a.write(dropOp(t, "x")), b.write(insertOp(t, "z"))
		a.hear(add)
		b.hear(drop)
		a.shows(`{"s":{"SS":["y","z"]}}`)
		b.shows(`{"s":{"SS":["y","z"]}}`)
		b.hear(a.write(dropOp(t, "y", "z")))
		b.shows(`{}`)
	})
	t.Run("of sets of two types that of the later", func(t *testing.T) {
		a, b, _ := sites(t)
		numbers, err := item.AppendSet(nil, item.NS, []item.Value{number(t, "1")})
		if err != nil {
			t.Fatal(err)
		}
		x := a.write(insertOp(t, "x"))
		b.hear(x)
		y := b.write(Op{Kind: OpAddElements, Type: TypeSet, Name: []byte("s"), Value: numbers})
		a.hear(y)
		a.shows(`{"s":{"NS":["1"]}}`)
	})
}

func TestBidStories(t *testing.T) {
	a, b, c := sites(t)
	five, seven := a.write(maxOp(t, "5")), b.write(maxOp(t, "7"))
	a.hear(seven)
	b.hear(five)
	c.hear(five, seven)
	for _, s := range []*site{a, b, c} {
		s.shows(`{"n":{"N":"7"}}`)
	}
	// Who has seen the greater one may replace it.
	three, six := c.write(maxOp(t, "3")), a.write(maxOp(t, "6"))
	a.shows(`{"n":{"N":"6"}}`)
	a.hear(three)
	b.hear(six, three)
	c.hear(six)
	for _, s := range []*site{a, b, c} {
		s.shows(`{"n":{"N":"6"}}`)
	}
	// A bid hides a cell that it has seen.
	four := a.write(setOp("n", number(t, "40")))
	b.hear(four)
	two := b.write(maxOp(t, "2"))
	a.hear(two)
	a.shows(`{"n":{"N":"2"}}`)
	fifty := c.write(setOp("n", number(t, "50")))
	c.hear(four, two)
	a.hear(fifty)
	c.shows(`{"n":{"N":"50"}}`)
	a.shows(`{"n":{"N":"50"}}`)
}

func TestMapStories(t *testing.T) {
	a, b, _ := sites(t)
	text := func(s string) item.Value { return item.AppendString(nil, s) }
	whole := item.AppendMap(nil, makeItem(t, "x", "1", "y", "2"))
	put := a.write(RecordPut(nil, itemWith(t, "m", whole))...)
	if b.hear(put); b.record[1]&recordGeneral != 0 {
		t.Error("a put is not of the uniform form")
	}
	x, y := a.write(inOp(text("3"), "m", "x")), b.write(inOp(text("4"), "m", "z"), inOp(text("deep"), "m", "w", "v"))
	a.hear(y)
	b.hear(x)
	const both = `{"m":{"M":{"w":{"M":{"v":{"S":"deep"}}},"x":{"S":"3"},"y":{"S":"2"},"z":{"S":"4"}}}}`
	a.shows(both)
	b.shows(both)
	if !bytes.Equal(a.record, b.record) {
		t.Error("two replicas have other bytes")
	}
	// A write of the whole resets what is older in it, and no more.
	set, later := a.write(setOp("m", whole)), b.write(inOp(text("5"), "m", "y"))
	if r := b.hear(set); r.Lost {
		t.Error("the map is lost")
	}
	if r := a.hear(later); r.Lost || r.Class != Concurrent {
		t.Errorf("%+v", r)
	}
	a.shows(`{"m":{"M":{"x":{"S":"1"},"y":{"S":"5"}}}}`)
	b.shows(`{"m":{"M":{"x":{"S":"1"},"y":{"S":"5"}}}}`)
	early := b.write(inOp(text("6"), "m", "x"))
	a.write(removeOp("m"))
	if r := a.hear(early); !r.Lost {
		t.Error("an entry that is older than the removal of the map is not lost")
	}
	a.shows(`{}`)
	// Without anything else a map that was taken apart is one value again.
	a.write(setOp("m", whole))
	again, err := DecodeRecord(a.record)
	if err != nil || len(again.Nested) > 0 {
		t.Errorf("%d entries of one write, %v", len(again.Nested), err)
	}
}

func itemWith(t testing.TB, name string, v item.Value) item.Item {
	t.Helper()
	var b item.Builder
	b.Add([]byte(name), v)
	it, err := b.AppendItem(nil)
	if err != nil {
		t.Fatal(err)
	}
	return it
}

// A mode that has gone leaves contributions behind: puts observe them, and at the purge frontier the record is as if they had never been.
func TestContributionsGo(t *testing.T) {
	a, b, _ := sites(t)
	b.hear(a.write(addOp(t, "1"), insertOp(t, "x"), setOp("x", number(t, "1"))))
	bid := a.write(maxOp(t, "4")) // observes the increment
	b.hear(bid)
	put := b.write(RecordPut(nil, makeItem(t, "n", "new"))...)
	a.hear(put)
	a.shows(`{"n":{"S":"new"}}`)
	for _, s := range []*site{a, b} {
		if at, ok, err := Garbage(s.record); err != nil || !ok || at != bid.Dot.Time {
			t.Errorf("garbage at %d, %v, %v; the bid is of %d", at, ok, err, bid.Dot.Time)
		}
		left := collected(t, s.record, put.Dot.Time)
		if h, err := readHead(left); err != nil || !h.uniform {
			t.Errorf("what is left is not of the uniform form: %v", err)
		}
	}
}

func TestItemOfFillsInTheKey(t *testing.T) {
	a, _, _ := sites(t)
	key := makeItem(t, "pk", "p", "sk", "s")
	asked := 0
	of := func() (item.Item, error) { asked++; return key, nil }
	shows := func(want string) {
		t.Helper()
		it, _, err := ItemOf(a.record, of)
		if err != nil || string(it.AppendJSON(nil)) != want {
			t.Errorf("%s, %v; want %s", it.AppendJSON(nil), err, want)
		}
	}
	a.write(RecordPut(nil, makeItem(t, "pk", "p", "sk", "s", "x", "1"))...)
	if shows(`{"pk":{"S":"p"},"sk":{"S":"s"},"x":{"S":"1"}}`); asked > 0 {
		t.Error("the key of an item in uniform form was asked for")
	}
	a.write(setOp("x", number(t, "2")))
	shows(`{"pk":{"S":"p"},"sk":{"S":"s"},"x":{"N":"2"}}`)
	a.write(RecordDelete(nil)...)
	if it, live, err := ItemOf(a.record, of); it != nil || live || err != nil {
		t.Errorf("%x, %v, %v of what is deleted", it, live, err)
	}
	a.write(addOp(t, "1"))
	shows(`{"n":{"N":"1"},"pk":{"S":"p"},"sk":{"S":"s"}}`)
	failed := errors.New("no key")
	if _, _, err := ItemOf(a.record, func() (item.Item, error) { return nil, failed }); err != failed {
		t.Errorf("%v", err)
	}
}

func TestCanonicalBytesOfContributions(t *testing.T) {
	for name, r := range goldenTyped(t) {
		golden(t, "canonical-"+name, canonicalOf(t, AppendRecord(nil, &r)))
	}
}
