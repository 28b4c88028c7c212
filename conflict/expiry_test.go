package conflict

import (
	"bytes"
	"fmt"
	"math/big"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable/item"
)

const second = hlc.Timestamp(1000 << 16)

// numberItem is an item with one attribute, a number, and one more.
func numberItem(t testing.TB, name, number string) []byte {
	t.Helper()
	v, err := item.ParseNumber(number)
	if err != nil {
		t.Fatal(err)
	}
	var b item.Builder
	b.Add([]byte(name), append([]byte{byte(item.N), byte(len(v))}, v...))
	b.Add([]byte("other"), item.AppendNull(nil))
	out, err := b.AppendItem(nil)
	if err == nil {
		err = item.CheckItem(out)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestDue(t *testing.T) {
	const year = 365 * 24 * 3600
	const written = 1_700_000_000 * second
	always := Expiry{{Attribute: "t", From: 1}}
	none := hlc.Timestamp(0)
	for _, c := range []struct {
		name   string
		x      Expiry
		number string
		want   hlc.Timestamp
	}{
		{"later", always, "1700000010", 1_700_000_010 * second},
		{"at the write", always, "1700000000", written + 1},
		{"before the write", always, "1699999999", written + 1},
		{"a fraction", always, "1700000010.999", 1_700_000_010 * second},
		{"zero", always, "0", none},
		{"negative", always, "-1700000010", none},
		{"not long enough ago", always, "1542320000", written + 1},
		{"five years before the write", always, fmt.Sprint(1_700_000_000 - 5*year), written + 1},
		{"more than that", always, fmt.Sprint(1_700_000_000 - 5*year - 1), none},
		{"the last second of a timestamp", always, "281474976709", 281_474_976_709 * second},
		{"beyond it", always, "281474976710", none},
		{"milliseconds taken for seconds, beyond it", always, "1700000000000", none},
		{"huge", always, "1e100", none},
		{"no history", nil, "1700000010", none},
		{"another attribute", Expiry{{Attribute: "u", From: 1}}, "1700000010", none},
		{"enabled afterwards", Expiry{{Attribute: "t", From: 1_800_000_000 * second}}, "1700000010", 1_800_000_000 * second},
		{"enabled more than five years afterwards", Expiry{{Attribute: "t", From: (1_700_000_011 + 5*year) * second}}, "1700000010", none},
		{"disabled before", Expiry{{Attribute: "t", From: 1, To: 1_700_000_010 * second}}, "1700000010", none},
		{"disabled after", Expiry{{Attribute: "t", From: 1, To: 1_700_000_010*second + 1}}, "1700000010", 1_700_000_010 * second},
		{"disabled and enabled again", Expiry{{Attribute: "t", From: 1, To: 1_700_000_005 * second}, {Attribute: "t", From: 1_700_000_020 * second}}, "1700000010", 1_700_000_020 * second},
		{"enabled for another one first", Expiry{{Attribute: "z", From: 1, To: 1_700_000_005 * second}, {Attribute: "t", From: 1_700_000_006 * second}}, "1700000010", 1_700_000_010 * second},
	} {
		t.Run(c.name, func(t *testing.T) {
			put := Change{Key: []byte("k"), Dot: hlc.Stamp{Time: written, Origin: 1}, Ops: []Op{{Kind: OpReset, Value: numberItem(t, "t", c.number)}}}
			uniform, _, err := Apply(nil, nil, &put)
			if err != nil {
				t.Fatal(err)
			}
			// The same with the value written later than the rest: in general form.
			cells := Change{Key: []byte("k"), Dot: hlc.Stamp{Time: written - second, Origin: 1}, Ops: []Op{{Kind: OpReset, Value: numberItem(t, "z", "1")}}}
			general, _, err := Apply(nil, nil, &cells)
			if err != nil {
				t.Fatal(err)
			}
			v, _ := item.Item(numberItem(t, "t", c.number)).GetString("t")
			cells = Change{Key: []byte("k"), Dot: put.Dot, Ops: []Op{{Kind: OpSetCell, Name: []byte("t"), Value: v}}}
			if general, _, err = Apply(nil, general, &cells); err != nil {
				t.Fatal(err)
			}
			for form, rec := range map[string][]byte{"uniform": uniform, "general": general} {
				at, ok, err := c.x.Due(rec)
				if err != nil || ok != (c.want != none) || at != c.want {
					t.Errorf("%s: due at %s, %v, %v; want %s", form, at, ok, err, c.want)
				}
				garbage, what, err := c.x.Garbage(rec)
				if err != nil || (what == Expires) != ok || garbage != at {
					t.Errorf("%s: garbage at %s: %d, %v", form, garbage, what, err)
				}
			}
		})
	}
}

func TestOtherTypesNeverExpire(t *testing.T) {
	x := Expiry{{Attribute: "t", From: 1}}
	for _, v := range [][]byte{item.AppendNull(nil), item.AppendString(nil, "1700000010")} {
		var b item.Builder
		b.Add([]byte("t"), v)
		it, err := b.AppendItem(nil)
		if err != nil {
			t.Fatal(err)
		}
		c := Change{Key: []byte("k"), Dot: hlc.Stamp{Time: 1_600_000_000 * second, Origin: 1}, Ops: []Op{{Kind: OpReset, Value: it}}}
		rec, _, err := Apply(nil, nil, &c)
		if err != nil {
			t.Fatal(err)
		}
		if at, ok, err := x.Due(rec); ok || err != nil {
			t.Errorf("%s is due at %s, %v", item.Value(v).Type(), at, err)
		}
	}
}

func TestHistoryAsItWas(t *testing.T) {
	x := Expiry{{Attribute: "a", From: 10, To: 20}, {Attribute: "b", From: 30, To: 40}, {Attribute: "a", From: 40}}
	for _, c := range []struct {
		until, newest hlc.Timestamp
		want          string
	}{
		{9, 0, "[]"}, {10, 10, "[{a 10 0}]"}, {19, 10, "[{a 10 0}]"}, {20, 20, "[{a 10 20}]"}, {30, 30, "[{a 10 20} {b 30 0}]"}, {50, 40, "[{a 10 20} {b 30 40} {a 40 0}]"},
	} {
		got := x.Until(c.until)
		text := "["
		for i, p := range got {
			if i > 0 {
				text += " "
			}
			text += fmt.Sprintf("{%s %d %d}", p.Attribute, uint64(p.From), uint64(p.To))
		}
		if text += "]"; text != c.want || got.Newest() != c.newest {
			t.Errorf("until %d: %s, newest %d", uint64(c.until), text, uint64(got.Newest()))
		}
	}
}

// What follows is a world of a few regions in miniature, for the laws of expiry: each region writes one key by its own clock and history, hears of the others' writes in any order, takes whole records, and collects at
// purge frontiers that follow from what has arrived. In the end each must show, at any moment, what a naive reading of all writes gives.

type miniature struct {
	t       *rapid.T
	now     hlc.Timestamp
	history Expiry // all that was ever issued
	regions []*miniRegion
	writes  []Change
	purge   hlc.Timestamp // the greatest that any region may have
}

type miniRegion struct {
	origin hlc.Origin
	record []byte
	known  hlc.Timestamp   // it has the history up to here
	inbox  []Change        // not yet heard
	issues []hlc.Timestamp // times of the history not yet heard
	purge  hlc.Timestamp
}

func (r *miniRegion) history(m *miniature) Expiry { return m.history.Until(r.known) }

// tick moves time on, sometimes into the middle of a second.
func (m *miniature) tick() hlc.Timestamp {
	m.now += hlc.Timestamp(rapid.SampledFrom([]uint64{1, 1, uint64(second / 2), uint64(second)}).Draw(m.t, "tick"))
	return m.now
}

func (m *miniature) value(name string) []byte {
	if name == "a" {
		return item.AppendInt(nil, int64(rapid.IntRange(0, 2).Draw(m.t, "a")))
	}
	return item.AppendInt(nil, int64(m.now/second)+int64(rapid.IntRange(-3, 6).Draw(m.t, "seconds")))
}

// write is one of region r's own: planned on what it sees, as commit does.
func (m *miniature) write(r *miniRegion) {
	at := m.tick()
	seen, expired, err := r.history(m).Expire(nil, r.record, at)
	m.must(err)
	if !expired {
		seen = r.record
	}
	left, live, err := ItemOf(seen, nil)
	m.must(err)
	var ops []Op
	switch kind := rapid.IntRange(0, 3).Draw(m.t, "kind"); {
	case kind == 0:
		ops = RecordDelete(nil)
	case kind == 1 || !live:
		var b item.Builder
		for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "t", "u"}), 1, 3, rapid.ID).Draw(m.t, "names") {
			b.Add([]byte(name), m.value(name))
		}
		it, err := b.AppendItem(nil)
		m.must(err)
		ops = RecordPut(nil, it)
		if kind > 1 { // an update of what is not there: as operations on attributes
			ops = nil
			for name, v := range item.Item(it).Each {
				ops = append(ops, Op{Kind: OpSetCell, Name: name, Value: v})
			}
		}
	default:
		for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "t", "u"}), 1, 2, rapid.ID).Draw(m.t, "names") {
			if rapid.IntRange(0, 3).Draw(m.t, "remove") == 0 {
				ops = append(ops, Op{Kind: OpRemoveCell, Name: []byte(name)})
				continue
			}
			ops = append(ops, Op{Kind: OpSetCell, Name: []byte(name), Value: m.value(name)})
		}
	}
	if expired && ops[0].Kind != OpReset {
		ops = append(RecordPut(nil, left), ops...)
	}
	c := Change{Key: []byte("k"), Dot: hlc.Stamp{Time: at, Origin: r.origin}, Floor: r.purge, Ops: ops}
	c.Context, err = ContextOf(r.record, r.origin, r.purge)
	m.must(err)
	r.record, _, err = ApplyLocal(nil, r.record, &c)
	m.must(err)
	m.writes = append(m.writes, c)
	for _, o := range m.regions {
		if o != r {
			o.inbox = append(o.inbox, c)
		}
	}
}

// before is what a region does with a record before it joins it with another.
func (m *miniature) before(r *miniRegion, record []byte) []byte {
	next, expired, err := r.history(m).Expire(nil, record, r.purge)
	m.must(err)
	if expired {
		return next
	}
	return record
}

func (m *miniature) hear(r *miniRegion, i int) {
	c := r.inbox[i]
	r.inbox = append(r.inbox[:i:i], r.inbox[i+1:]...)
	// The writer's frontier, first: what it may have collected, and therefore did not reset, is gone here too.
	r.purge = max(r.purge, c.Floor)
	next, _, err := Apply(nil, m.before(r, r.record), &c)
	m.must(err)
	r.record = m.before(r, next)
}

// exchange has r take what o holds, and o's frontier before it.
func (m *miniature) exchange(r, o *miniRegion) {
	gone, err := o.history(m).Collectable(o.record, o.purge)
	m.must(err)
	r.learn(o.known) // the same version of the document
	r.purge = max(r.purge, o.purge)
	if gone {
		return
	}
	next, err := JoinEncoded(nil, m.before(r, r.record), m.before(r, o.record))
	m.must(err)
	r.record = next
}

func (r *miniRegion) learn(at hlc.Timestamp) {
	r.known = max(r.known, at)
	for len(r.issues) > 0 && r.issues[0] <= r.known {
		r.issues = r.issues[1:]
	}
}

// issue changes the setting, from a moment on that is after the change itself.
func (m *miniature) issue() {
	at := m.tick() + second/4
	if n := len(m.history); n > 0 && m.history[n-1].To == 0 {
		m.history[n-1].To = at
	} else {
		m.history = append(m.history, Period{Attribute: rapid.SampledFrom([]string{"t", "u"}).Draw(m.t, "attribute"), From: at})
	}
	m.now = max(m.now, at-rapid.SampledFrom([]hlc.Timestamp{0, second / 8}).Draw(m.t, "lead")-1)
	m.regions[0].known = at
	for _, r := range m.regions[1:] {
		r.issues = append(r.issues, at)
	}
}

// rest is a moment at which everybody has heard everything: the frontier may rise to it.
func (m *miniature) rest() {
	for _, r := range m.regions {
		for len(r.inbox) > 0 {
			m.hear(r, rapid.IntRange(0, len(r.inbox)-1).Draw(m.t, "heard"))
		}
		for len(r.issues) > 0 {
			r.learn(r.issues[0])
		}
	}
	m.purge = m.tick()
}

func (m *miniature) collect(r *miniRegion) {
	next, did, err := r.history(m).Collect(nil, r.record, r.purge)
	m.must(err)
	at, what, err := r.history(m).Garbage(r.record)
	m.must(err)
	if (did.Gone || did.Changed) && (what == NoWaste || at > r.purge) {
		m.t.Fatalf("collected at %s, and there was no garbage before %s", r.purge, at)
	}
	switch {
	case did.Gone:
		r.record = nil
	case did.Changed:
		r.record = next
	}
	if len(r.record) > 0 {
		mustDecode(m.t, r.record)
	}
}

func (m *miniature) must(err error) {
	if err != nil {
		m.t.Fatal(err)
	}
}

// shows is what a reading of all writes, one by one, gives at a moment. What a writer's frontier had passed when it wrote, and had expired by then, is gone whatever that write did. It shares no code with what it checks.
func (m *miniature) shows(at hlc.Timestamp) []byte {
	gone := hlc.Timestamp(0)
	for _, w := range m.writes {
		var below []Change
		for _, o := range m.writes {
			if o.Dot.Time <= w.Floor {
				below = append(below, o)
			}
		}
		gone = m.naiveExpire(refFold(below), w.Floor, gone)
	}
	st := refFold(m.writes)
	m.naiveExpire(st, at, gone)
	return st.canonical()
}

// naiveExpire drops from st what was written before gone, and what expires up to the moment given; it returns before which moment all is gone then.
func (m *miniature) naiveExpire(st refState, at, gone hlc.Timestamp) hlc.Timestamp {
	for {
		for name, f := range st.cells {
			if f.at.Time < gone {
				delete(st.cells, name)
			}
		}
		when, ok := m.naiveDue(st)
		if !ok || when > at {
			return gone
		}
		gone = max(gone, when)
	}
}

func (m *miniature) naiveDue(st refState) (when hlc.Timestamp, ok bool) {
	if p, found := st.cells[""]; !found || p.removed {
		return 0, false
	}
	for _, p := range m.history {
		f, found := st.cells[p.Attribute]
		if !found || f.removed {
			continue
		}
		seconds, ok := new(big.Int).SetString(item.Value(f.value).Number().String(), 10)
		if !ok {
			continue
		}
		begin := new(big.Int).Mul(seconds, big.NewInt(1000<<16))
		for _, least := range []uint64{uint64(f.at.Time) + 1, uint64(p.From)} {
			if b := new(big.Int).SetUint64(least); b.Cmp(begin) > 0 {
				begin = b
			}
		}
		if when = hlc.Timestamp(begin.Uint64()); p.To == 0 || when < p.To {
			return when, true
		}
	}
	return 0, false
}

func TestExpiryIsItsReference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &miniature{t: t, now: 1_700_000_000 * second}
		for o := range hlc.Origin(3) {
			m.regions = append(m.regions, &miniRegion{origin: o + 1})
		}
		one := func(label string) *miniRegion { return m.regions[rapid.IntRange(0, 2).Draw(t, label)] }
		if rapid.Bool().Draw(t, "enabled at first") {
			m.issue()
		}
		for range rapid.IntRange(1, 25).Draw(t, "steps") {
			switch rapid.IntRange(0, 10).Draw(t, "step") {
			case 0, 1, 2, 3:
				m.write(one("writer"))
			case 4, 5:
				if r := one("hearer"); len(r.inbox) > 0 {
					m.hear(r, rapid.IntRange(0, len(r.inbox)-1).Draw(t, "heard"))
				}
			case 6:
				if r, o := one("taker"), one("giver"); r != o {
					m.exchange(r, o)
				}
			case 7:
				m.issue()
			case 8:
				if r := one("learner"); len(r.issues) > 0 {
					r.learn(r.issues[0])
				}
			case 9:
				r := one("collector")
				r.purge = max(r.purge, m.purge)
				m.collect(r)
			case 10:
				m.rest()
			}
		}
		m.rest()
		for _, later := range []time.Duration{0, time.Second, 3 * time.Second, time.Minute} {
			at := m.now.Add(later)
			want := m.shows(at)
			for _, r := range m.regions {
				got := r.record
				if next, expired, err := r.history(m).Expire(nil, got, at); err != nil {
					t.Fatal(err)
				} else if expired {
					got = next
				}
				if canonical := canonicalOf(t, got); !bytes.Equal(canonical, want) {
					t.Fatalf("region %d shows, after %s,\n%x, and all writes say\n%x\nhistory %v\nwrites %+v", r.origin, later, canonical, want, m.history, m.writes)
				}
			}
		}
	})
}
