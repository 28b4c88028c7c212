package commit

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/store"
	"github.com/concordat-db/concordat/streams/change"
)

var counter = keyOf(tableA, "counter")

func addTo(name string, n int64) []conflict.Op {
	return []conflict.Op{{Kind: conflict.OpAddNumber, Type: conflict.TypeCounter, Name: []byte(name), Value: item.AppendInt(nil, n)}}
}

func elementsOf(kind conflict.OpKind, elements ...string) []conflict.Op {
	var values []item.Value
	for _, e := range elements {
		values = append(values, item.AppendString(nil, e))
	}
	set, err := item.AppendSet(nil, item.SS, values)
	if err != nil {
		panic(err)
	}
	return []conflict.Op{{Kind: kind, Type: conflict.TypeSet, Name: []byte("labels"), Value: set}}
}

func setNumber(name string, n int64) []conflict.Op {
	return []conflict.Op{{Kind: conflict.OpSetCell, Name: []byte(name), Value: item.AppendInt(nil, n)}}
}

// does writes on the counter's item, and returns the record that results.
func (f *fixture) does(ops ...[]conflict.Op) (record []byte) {
	f.t.Helper()
	for _, o := range ops {
		f.must(f.Write(background, always(o, counter)))
	}
	f.must(f.Get(background, counter, func(c Current) error {
		record = bytes.Clone(c.Record)
		return nil
	}))
	return record
}

// shows is the counter's item.
func (f *fixture) shows() (out string) {
	f.t.Helper()
	f.must(f.Get(background, counter, func(c Current) error {
		if c.Item != nil {
			out = string(c.Item.AppendJSON(nil))
		}
		return nil
	}))
	return out
}

// other is what the other regions have of a record.
type other struct {
	f      *fixture
	record []byte
	now    hlc.Timestamp
}

// others begins with what has reached them of this region. This region's clock goes past theirs.
func (f *fixture) others(record []byte) *other {
	newest, err := conflict.NewestOf(record)
	f.must(err)
	o := &other{f, record, newest.Time}
	f.must(f.cfg.Clock.Observe(o.now + 100))
	return o
}

func (o *other) does(ops ...[]conflict.Op) *other {
	for _, ops := range ops {
		o.now++
		c := conflict.Change{Table: uint64(counter.Table), Key: counter.Bytes, Dot: hlc.Stamp{Time: o.now, Origin: peer}, Ops: ops}
		var err error
		if c.Context, err = conflict.ContextOf(o.record, peer, 0); err == nil {
			o.record, _, err = conflict.ApplyLocal(nil, o.record, &c)
		}
		o.f.must(err)
	}
	return o
}

// collect has the others' purge frontier pass all that they have.
func (o *other) collect() *other {
	o.now++
	next, gone, changed, err := conflict.Collect(nil, o.record, o.now)
	o.f.must(err)
	if gone {
		o.record = nil
	} else if changed {
		o.record = next
	}
	return o
}

// rebuilt saves and empties the store, has it take what the others have, and replays.
func (f *fixture) rebuilt(o *other) (*fixture, ReplayResult) {
	f.t.Helper()
	next := f.emptied()
	if o.record != nil {
		next.must(next.MergeRecords(background, []RecordAt{{counter, o.record}}))
	}
	result, err := next.Replay(background, next.savedItems(), o.now, false)
	next.must(err)
	checkStore(f.t, next.engine, someRecords)
	return next, result
}

// takenOver saves and empties the store, and has another region, which has what the others have, take over what was saved. It returns that one.
func (f *fixture) takenOver(o *other) (*fixture, ReplayResult) {
	f.t.Helper()
	f = f.emptied()
	taker := start(f.t, store.NewMemory(), relogs, func(c *Config) { c.Origin, c.Clock = peer, f.cfg.Clock })
	if o.record != nil {
		taker.must(taker.MergeRecords(background, []RecordAt{{counter, o.record}}))
	}
	var total ReplayResult
	for _, p := range f.savedParts(tableA) {
		result, err := taker.TakeOverSaved(background, self, f.Incarnation(), taker.catalog.Version(tableA), o.now, []RecordAt{{p.Key, p.Bytes}})
		taker.must(err)
		total.Add(result)
	}
	checkStore(f.t, taker.engine, someRecords)
	return taker, total
}

// savedParts are those of a table, each by a walk that begins after the one before.
func (f *fixture) savedParts(table globaltable.TableID) (out []SavedPart) {
	f.t.Helper()
	var key item.Key
	var upto hlc.Stamp
	for {
		n := len(out)
		f.must(f.SavedParts(table, key, upto, func(p SavedPart) bool {
			out = append(out, p)
			if key, upto = p.Key.Bytes, (hlc.Stamp{}); p.More {
				upto = p.Upto
			}
			return false
		}))
		if len(out) == n {
			return out
		}
	}
}

// emptied saves and empties the store, and opens it again.
func (f *fixture) emptied() *fixture {
	f.t.Helper()
	_, err := f.ChangeRebuild(background, func(r Rebuild) Rebuild {
		r.Step, r.Reason, r.Cursor = RebuildSaving, Fenced, nil
		return r
	})
	f.must(err)
	f.must(f.stop())
	r := reopened(f.t, f.engine)
	for done := false; !done; {
		if done, err = r.Save(); err != nil {
			f.t.Fatal(err)
		}
	}
	f.must(r.Empty())
	passed := time.Until(f.cfg.Clock.Last().Time()) + time.Minute // after a start the clock begins further ahead than what is listed may be
	return start(f.t, f.engine.(*store.Memory).Crash(nil), relogs, func(c *Config) {
		c.Clock = hlc.NewClock(func() time.Time { return time.Now().Add(passed) }, 0)
	})
}

// savedItems are the saved records of the counter's table, without its conflict feed.
func (f *fixture) savedItems() []SavedRecord {
	return slices.DeleteFunc(f.saved(), func(r SavedRecord) bool { return r.Table != tableA })
}

// confirm has the peer confirm all of the lane.
func (f *fixture) confirm() {
	f.t.Helper()
	heads, err := f.Heads(background)
	f.must(err)
	for _, l := range heads.Lanes {
		if l.ID == withPeer.Lane() {
			f.ConfirmPeer(peer, 1, l.ID, l.Seq)
		}
	}
	f.must(f.Write(background, put(tableB, "k", "v"))) // it is stored with the next group
}

// TestReplayOfContributions: the region is cut off and writes, the others write and collect; or it was restored from an old copy and has another history than they have from it. What it shows when it has come back is exact; so is what another region shows that has taken over what was saved.
func TestReplayOfContributions(t *testing.T) {
	for name, tc := range map[string]struct {
		before   [][]conflict.Op // everybody has it
		lost     [][]conflict.Op // this region's; the others have it, and it is not in the copy from which the region was restored
		theirs   [][]conflict.Op
		collects bool
		apart    [][]conflict.Op // this region's, which the others do not have
		want     string
		result   ReplayResult
	}{
		"they have set and collected it": {[][]conflict.Op{addTo("n", 5)}, nil, [][]conflict.Op{setNumber("n", 100)}, true, [][]conflict.Op{addTo("n", 2), addTo("n", 3)},
			`{"n":{"N":"105"}}`, ReplayResult{Logged: 2}},
		"they have set it, and not collected": {[][]conflict.Op{addTo("n", 5)}, nil, [][]conflict.Op{setNumber("n", 100)}, false, [][]conflict.Op{addTo("n", 2), addTo("n", 3)},
			`{"n":{"N":"105"}}`, ReplayResult{Logged: 2}},
		"they have deleted and collected it": {[][]conflict.Op{addTo("n", 5)}, nil, [][]conflict.Op{conflict.RecordDelete(nil)}, true, [][]conflict.Op{addTo("n", 2)},
			`{"n":{"N":"2"},"pk":{"S":"counter"}}`, ReplayResult{Logged: 1}},
		"another history": {[][]conflict.Op{addTo("n", 5)}, [][]conflict.Op{addTo("n", 7)}, nil, false, [][]conflict.Op{addTo("n", 2), addTo("n", 3)},
			`{"n":{"N":"17"},"pk":{"S":"counter"}}`, ReplayResult{Logged: 2}},
		"another history, of which they have seen a part": {[][]conflict.Op{addTo("n", 5)}, [][]conflict.Op{addTo("n", 7)}, [][]conflict.Op{setNumber("n", 100)}, true, [][]conflict.Op{addTo("n", 2)},
			`{"n":{"N":"102"}}`, ReplayResult{Logged: 1}},
		"another history ends with a write of it all": {[][]conflict.Op{addTo("n", 5)}, [][]conflict.Op{addTo("n", 7)}, [][]conflict.Op{addTo("n", 1000)}, false, [][]conflict.Op{addTo("n", 2), setNumber("n", 1), addTo("n", 3)},
			`{"n":{"N":"1004"}}`, ReplayResult{Logged: 3}},
		"elements": {[][]conflict.Op{elementsOf(conflict.OpAddElements, "a", "b")}, nil, [][]conflict.Op{elementsOf(conflict.OpDeleteElements, "a")}, true,
			[][]conflict.Op{elementsOf(conflict.OpAddElements, "c"), elementsOf(conflict.OpDeleteElements, "b")}, `{"labels":{"SS":["c"]}}`, ReplayResult{Logged: 2, Kept: 1}},
		"elements of another history": {[][]conflict.Op{elementsOf(conflict.OpAddElements, "a")}, [][]conflict.Op{elementsOf(conflict.OpAddElements, "b")}, [][]conflict.Op{elementsOf(conflict.OpAddElements, "x")}, false,
			[][]conflict.Op{elementsOf(conflict.OpAddElements, "c"), elementsOf(conflict.OpDeleteElements, "a", "b")}, `{"labels":{"SS":["c","x"]}}`, ReplayResult{Logged: 2}},
	} {
		for way, comeBack := range map[string]func(*fixture, *other) (*fixture, ReplayResult){"replayed": (*fixture).rebuilt, "taken over": (*fixture).takenOver} {
			t.Run(name+", "+way, func(t *testing.T) {
				engine := store.NewMemory()
				f := start(t, engine)
				record := f.does(tc.before...)
				f.confirm()
				if len(tc.lost) > 0 {
					f.must(f.stop())
					old := f.engine.(*store.Memory).Copy()
					f = start(t, f.engine)
					record = f.does(tc.lost...)
					f.must(f.stop())
					f = start(t, old)
				}
				o := f.others(record).does(tc.theirs...)
				if tc.collects {
					o.collect()
				}
				f.does(tc.apart...)
				f, result := comeBack(f, o)
				if result.Known = 0; result != tc.result { // what is known depends on how much the log still had
					t.Errorf("%+v, want %+v", result, tc.result)
				}
				if got := f.shows(); got != tc.want && got != tc.want[:len(tc.want)-1]+`,"pk":{"S":"counter"}}` {
					t.Errorf("%s, want %s", got, tc.want)
				}
			})
		}
	}
}

// TestDoubtedIncrementStays: what is at or below the others' frontier and not known is not added, not then and not when the region has come back another time, though its run goes on beyond it.
func TestDoubtedIncrementStays(t *testing.T) {
	f := start(t, store.NewMemory())
	record := f.does(addTo("n", 5))
	f.does(addTo("n", 7))
	o := f.others(f.does()).collect()
	o.record = record
	f.does(addTo("n", 2))
	f, result := f.rebuilt(o)
	if want := (ReplayResult{Known: 1, Logged: 1, Kept: 1}); result != want {
		t.Errorf("%+v, want %+v", result, want)
	}
	const want = `{"n":{"N":"7"},"pk":{"S":"counter"}}`
	if got := f.shows(); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	o = f.others(f.does(addTo("n", 100)))
	f.does(addTo("n", 1000))
	f, result = f.rebuilt(o)
	if result.Kept != 1 || result.Logged != 1 {
		t.Errorf("again: %+v", result)
	}
	if got, want := f.shows(), `{"n":{"N":"1107"},"pk":{"S":"counter"}}`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	left := func() (n int) {
		f.must(eachOwnWrite(f.engine, counter, hlc.Stamp{}, func(_, value []byte) error {
			n++
			if w, err := decodeOwnWrite(value); err != nil || !w.Kept {
				t.Errorf("%+v, %v", w, err)
			}
			return nil
		}))
		return n
	}
	if n := left(); n != 1 || len(f.savedItems()) != 1 {
		t.Errorf("%d writes are saved, %d records", n, len(f.savedItems()))
	}
	f.must(f.DropSaved(background, counter))
	if n := left(); n != 0 || len(f.savedItems()) != 0 {
		t.Errorf("%d writes are left, %d records", n, len(f.savedItems()))
	}
}

// TestReplayOfALongLog: more increments than a batch has, in another history; each counts once, and none of the saved space is left.
func TestReplayOfALongLog(t *testing.T) {
	const n = 12000
	f := start(t, store.NewMemory())
	f.does(addTo("n", 1))
	f.must(f.stop())
	old := f.engine.(*store.Memory).Copy()
	f = start(t, f.engine)
	record := f.does(addTo("n", 1000000))
	f.must(f.stop())
	f = start(t, old)
	o := f.others(record)
	writes := make(chan error)
	for range 8 { // so that groups are shared
		go func() {
			var err error
			for i := range n / 8 {
				if err == nil {
					err = f.Write(background, always(addTo("n", int64(i%2+1)), counter))
				}
			}
			writes <- err
		}()
	}
	for range 8 {
		f.must(<-writes)
	}
	f, result := f.rebuilt(o)
	if result.Logged != n || result.Kept != 0 {
		t.Errorf("%+v", result)
	}
	if got, want := f.shows(), fmt.Sprintf(`{"n":{"N":"%d"},"pk":{"S":"counter"}}`, 1000001+n*3/2); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	heads, err := f.Heads(background)
	f.must(err)
	if seq := heads.Lanes[0].Seq; seq < 2 || seq > 10 {
		t.Errorf("it was logged in %d batches", seq)
	}
	lower, upper := store.SpaceRange(store.SpaceReplay)
	f.must(store.Each(f.engine, lower, upper, func(key, _ []byte) error { return fmt.Errorf("%x is left", key) }))
	if left := f.saved(); len(left) != 0 {
		t.Errorf("%d records are left", len(left))
	}
	f.must(f.stop())
	for _, e := range f.log {
		if len(e.Body) > change.MaxBody/2 {
			t.Errorf("a batch of %d bytes", len(e.Body))
		}
	}
}

// TestLogWithAHoleIsNotSaved: of a lane whose log was trimmed beyond what anybody has, the records say more than what is left of the log.
func TestLogWithAHoleIsNotSaved(t *testing.T) {
	f := start(t, store.NewMemory())
	record := f.does(addTo("n", 5))
	f.confirm()
	o := f.others(record)
	f.does(addTo("n", 7), addTo("n", 2))
	heads, err := f.Heads(background)
	f.must(err)
	for _, l := range heads.Lanes {
		if l.ID == withPeer.Lane() {
			f.must(f.Trim(background, l.ID, l.Seq-1))
		}
	}
	f, result := f.rebuilt(o)
	if result.Kept != 0 || result.Logged != 1 {
		t.Errorf("%+v", result)
	}
	if got, want := f.shows(), `{"n":{"N":"14"},"pk":{"S":"counter"}}`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestReplayAloneIsByTheRecord: nobody else has the table, and a part of the run is not in the log any more.
func TestReplayAloneIsByTheRecord(t *testing.T) {
	f := start(t, store.NewMemory())
	f.does(addTo("n", 5))
	f.confirm()
	f.does(addTo("n", 7))
	_, err := f.ChangeRebuild(background, func(r Rebuild) Rebuild {
		r.Step, r.Reason = RebuildSaving, Fenced
		return r
	})
	f.must(err)
	f.must(f.stop())
	r := reopened(t, f.engine)
	if done, err := r.Save(); err != nil || !done {
		t.Fatal(done, err)
	}
	f.must(r.Empty())
	f = start(t, f.engine, relogs)
	result, err := f.Replay(background, f.saved(), 0, true)
	f.must(err)
	if got, want := f.shows(), `{"n":{"N":"12"},"pk":{"S":"counter"}}`; got != want || result.Kept != 0 {
		t.Errorf("%s, want %s: %+v", got, want, result)
	}
	f.must(eachOwnWrite(f.engine, counter, hlc.Stamp{}, func(key, _ []byte) error { return fmt.Errorf("%x is left", key) }))
}

// TestOwnWriteGolden pins the stored form.
func TestOwnWriteGolden(t *testing.T) {
	c := conflict.Change{Table: 7, Key: []byte("key"), Dot: hlc.Stamp{Time: 0x50000, Origin: 3}, Ops: elementsOf(conflict.OpAddElements, "a")}
	const golden = "0100" + "0100" + "00000000000500000003" + "0000000000000007" + "036b6579" + "00" + "01" + "0502" + "066c6162656c73"
	got := hex.EncodeToString(appendOwnWrite(nil, &c))
	if len(got) < len(golden) || got[:len(golden)] != golden {
		t.Errorf("stored as %s", got)
	}
	b, _ := hex.DecodeString(got)
	w, err := decodeOwnWrite(b)
	if err != nil || !w.Logged || w.Kept || w.Dot != c.Dot || !bytes.Equal(w.Append(nil), c.Append(nil)) {
		t.Errorf("%+v, %v", w, err)
	}
	b[1] = 1
	if w, err := decodeOwnWrite(b); err != nil || !w.Kept {
		t.Errorf("%+v, %v", w, err)
	}
	for _, wrong := range [][]byte{nil, {1}, {1, 0}, append([]byte{2, 0}, b[2:]...), append([]byte{1, 2}, b[2:]...), b[:len(b)-1]} {
		if _, err := decodeOwnWrite(wrong); globaltable.KindOf(err) != globaltable.Corrupt {
			t.Errorf("%x: %v", wrong, err)
		}
	}
}
