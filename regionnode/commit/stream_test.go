package commit

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/store"
	"github.com/concordat-db/concordat/streams/cdc"
)

const streamSince = 1000

var streamA = cdc.Stream{Table: tableA, Since: streamSince}

// streaming opens a shard whose tables have streams.
func streaming(t testing.TB, engine store.Engine, x conflict.Expiry) (*fixture, *wall) {
	f, w := expiring(t, engine, x)
	f.catalog.stream.Store(streamSince)
	return f, w
}

// told returns the stream's records after a position. They are the caller's.
func (f *fixture) told(after hlc.Timestamp) (out []cdc.Record) {
	f.t.Helper()
	_, err := f.ReadStream(StreamRange{Stream: streamA, After: after}, func(r *cdc.Record) bool {
		c := *r
		c.Key, c.Old, c.New = slices.Clone(r.Key), slices.Clone(r.Old), slices.Clone(r.New)
		out = append(out, c)
		return true
	})
	f.must(err)
	return out
}

// tale is what the stream says, in words.
func (f *fixture) tale(after hlc.Timestamp) (out []string) {
	f.t.Helper()
	for _, r := range f.told(after) {
		pk, _, _ := r.Key.Parts()
		out = append(out, fmt.Sprintf("%s %s of %d %s: %s → %s (%s)", r.Event, pk.Bytes, r.Dot.Origin, r.Kind, valueOf(r.Old), valueOf(r.New), r.Outcome))
	}
	return out
}

func (f *fixture) expectTale(after hlc.Timestamp, want ...string) {
	f.t.Helper()
	if got := f.tale(after); !slices.Equal(got, want) {
		f.t.Fatalf("the stream tells\n%q, want\n%q", got, want)
	}
}

func TestStreamTellsEachChangeOnce(t *testing.T) {
	f, w := streaming(t, store.NewMemory(), nil)
	f.run()
	o := newOrigin(peer, withPeer.Lane())
	o.clock = hlc.FromTime(w.now())
	f.must(f.Write(background, put(tableA, "a", "1")))
	f.must(f.Write(background, put(tableA, "a", "1"))) // changes nothing that is seen
	f.must(f.Write(background, put(tableA, "a", "2")))
	f.must(f.Write(background, remove(tableA, "b"))) // there is none
	f.must(f.Write(background, remove(tableA, "a")))
	tx := always(putOps(value("t", "both")), keyOf(tableA, "t"), keyOf(tableB, "t"))
	tx.Transaction = true
	f.must(f.Write(background, tx))
	w.move(time.Second)
	o.clock = hlc.FromTime(w.now())
	late := o.changeOf(tableA, "r", "old")
	first, second := o.changeOf(tableA, "r", "1"), o.changeOf(tableA, "r", "2")
	apply := func(groups ...[]conflict.Change) {
		t.Helper()
		_, err := f.ApplyRemote(background, o.remote(groups...))
		f.must(err)
	}
	apply([]conflict.Change{first}, []conflict.Change{second}) // in one batch, and told one by one
	apply([]conflict.Change{second})                           // a duplicate
	apply([]conflict.Change{late})                             // loses
	f.expectTale(0,
		"INSERT a of 1 write:  → 1 (applied)", "MODIFY a of 1 write: 1 → 2 (applied)", "REMOVE a of 1 write: 2 →  (applied)", "INSERT t of 1 write:  → both (applied)",
		"INSERT r of 2 write:  → 1 (applied)", "MODIFY r of 2 write: 1 → 2 (applied)")
	told := f.told(0)
	if tr := told[3]; tr.Transaction != tr.Dot.Time || told[0].Transaction != 0 || told[5].Newest != second.Dot || told[5].Lane != withPeer.Lane() {
		t.Errorf("%+v", told)
	}
	for i := range told {
		if told[i].Position <= told[i].Dot.Time || i > 0 && told[i].Position <= told[i-1].Position || told[i].Position > f.StreamMark() {
			t.Errorf("record %d is at %s, its change at %s, the mark at %s", i, told[i].Position, told[i].Dot, f.StreamMark())
		}
	}
	if s := f.Stream(streamA); s.Records != 6 || s.Last != told[5].Position || s.View != globaltable.ViewNewAndOldImages || s.Trimmed != hlc.Timestamp(f.Incarnation()) {
		t.Errorf("%+v", s)
	}
	f.must(f.stop())
	again := open(t, f.engine, func(c *Config) { c.Clock = hlc.NewClock(w.now, 0); c.Catalog = f.catalog })
	again.expectTale(told[4].Position, "MODIFY r of 2 write: 1 → 2 (applied)")
	if s := again.Stream(streamA); s.Records != 6 || again.StreamMark() != s.Last {
		t.Errorf("opened again: %+v, mark %s", s, again.StreamMark())
	}
}

func TestStreamTellsExpiriesOnce(t *testing.T) {
	f, w := streaming(t, store.NewMemory(), fromTheFirst)
	f.run()
	mortalA := func(pk, v string, second int) *Write { return always(putOps(mortal(pk, v, second)), keyOf(tableA, pk)) }
	f.must(f.Write(background, mortalA("swept", "1", 10)))
	f.must(f.Write(background, mortalA("written", "1", 10)))
	f.must(f.Write(background, mortalA("deleted", "1", 10)))
	f.must(f.Write(background, mortalA("renewed", "1", 10)))
	f.must(f.Write(background, mortalA("renewed", "1", 100)))
	mark := f.StreamMark()
	w.move(20 * time.Second)
	f.must(f.Write(background, put(tableA, "written", "2")))
	f.must(f.Write(background, remove(tableA, "deleted"))) // of nothing, for who deletes; but its expiry is known then
	f.expectTale(mark, "REMOVE written of 1 expiry: 1 →  (applied)", "INSERT written of 1 write:  → 2 (applied)", "REMOVE deleted of 1 expiry: 1 →  (applied)")
	mark = f.StreamMark()
	f.follow(tableA, 10)
	f.raisePurge(tableA, 7, at(15))
	_, err := f.Collect(background, tableA, nil, 100)
	f.must(err)
	f.expectTale(mark, "REMOVE swept of 1 expiry: 1 →  (applied)")
	if r := f.told(mark)[0]; r.Dot != (hlc.Stamp{Time: at(10), Origin: self}) {
		t.Errorf("it went at %s", r.Dot)
	}
	mark = f.StreamMark()
	f.raisePurge(tableA, 7, at(19))
	_, err = f.Collect(background, tableA, nil, 100)
	f.must(err)
	f.expectTale(mark)
}

func TestStreamOfARemoteWriteOnWhatHasExpired(t *testing.T) {
	f, w := streaming(t, store.NewMemory(), fromTheFirst)
	f.run()
	o := newOrigin(peer, withPeer.Lane())
	f.must(f.Write(background, always(putOps(mortal("a", "1", 10)), keyOf(tableA, "a"))))
	f.must(f.Write(background, always(putOps(mortal("b", "1", 10)), keyOf(tableA, "b"))))
	mark := f.StreamMark()
	w.move(20 * time.Second)
	o.clock = at(5) // before it expired
	before := o.changeOf(tableA, "a", "renewed")
	o.clock = at(15)
	after := o.changeOf(tableA, "b", "anew")
	_, err := f.ApplyRemote(background, o.remote([]conflict.Change{before, after}))
	f.must(err)
	f.expectTale(mark, "MODIFY a of 2 write: 1 → renewed (merged)", "REMOVE b of 1 expiry: 1 →  (applied)", "INSERT b of 2 write:  → anew (merged)")
}

// A replica that comes back, in its store or in another one, has missed changes while it joined: who has read in its stream learns so, from wherever it was.
func TestStreamGoesOnAfterAJoin(t *testing.T) {
	f, _ := streaming(t, store.NewMemory(), nil)
	f.catalog.next.Store(streamSince)
	f.run()
	f.must(f.Write(background, put(tableA, "a", "1")))
	f.catalog.stream.Store(0)
	f.adopt(marked(t, document(tableA, withPeer), "anew"))
	if s := f.Stream(streamA); len(f.told(0)) != 0 || s.Records != 0 || s.Trimmed < f.StreamMark() {
		t.Errorf("the replica is another one: %+v, mark %s", s, f.StreamMark())
	}
	f.must(f.Write(background, put(tableA, "a", "2"))) // as what comes from the others
	mark, err := f.StreamMarkNow(background)
	f.must(err)
	f.adopt(marked(t, document(tableA, withPeer), "tells"))
	if s := f.Stream(streamA); s.Trimmed <= mark {
		t.Errorf("a reader at %s cannot tell that something is missing: %+v", mark, s)
	}
	f.catalog.stream.Store(streamSince)
	f.adopt(marked(t, document(tableA, withPeer), "tells")) // it went on before: nothing is cut
	f.must(f.Write(background, put(tableA, "a", "3")))
	f.adopt(marked(t, document(tableA, withPeer), "tells"))
	f.expectTale(f.Stream(streamA).Trimmed, "MODIFY a of 1 write: 2 → 3 (applied)")
}

// Nobody has read in the stream of a replica that joins for the first time: nothing is missing.
func TestStreamOfAFirstJoin(t *testing.T) {
	f, w := streaming(t, store.NewMemory(), nil)
	since := w.now().Add(time.Hour).UnixMilli()
	f.catalog.stream.Store(0)
	f.catalog.next.Store(since)
	f.run()
	f.adopt(marked(t, document(tableA, withPeer), "anew"))
	f.must(f.Write(background, put(tableA, "a", "1")))
	f.adopt(marked(t, document(tableA, withPeer), "tells"))
	if s := f.Stream(cdc.Stream{Table: tableA, Since: since}); s.Trimmed != 0 {
		t.Errorf("%+v", s)
	}
}

// What was collected here, and is logged again by a region that has not, is no change.
func TestStreamOfWhatIsLoggedAgain(t *testing.T) {
	f, w := streaming(t, store.NewMemory(), fromTheFirst)
	f.run()
	o := newOrigin(peer, withPeer.Lane())
	w.move(time.Second)
	o.clock = at(1)
	created, due := o.changeOf(tableA, "a", "1"), o.changeOf(tableA, "a", "1")
	due.Ops = []conflict.Op{{Kind: conflict.OpSetCell, Name: []byte("ttl"), Value: item.AppendInt(nil, wallBegins+10)}}
	apply := func(changes ...conflict.Change) {
		t.Helper()
		_, err := f.ApplyRemote(background, o.remote(changes))
		f.must(err)
	}
	apply(created, due)
	w.move(20 * time.Second)
	f.follow(tableA, 10)
	f.raisePurge(tableA, 7, at(15))
	_, err := f.Collect(background, tableA, nil, 100)
	f.must(err)
	mark := f.StreamMark()
	apply(created, due)
	f.expectTale(mark)
}

func TestStreamIsTrimmedAndErased(t *testing.T) {
	f, w := streaming(t, store.NewMemory(), nil)
	f.run()
	var marks []hlc.Timestamp
	for i := range 3000 {
		f.must(f.Write(background, put(tableA, fmt.Sprint("k", i%7), fmt.Sprint(i))))
		if i%1000 == 999 {
			marks = append(marks, f.StreamMark())
			w.move(time.Second)
		}
	}
	trim := func(upTo hlc.Timestamp, limit int64) {
		t.Helper()
		for more := true; more; {
			var err error
			more, err = f.TrimStream(background, streamA, upTo, limit)
			f.must(err)
		}
	}
	trim(marks[0], 1<<40)
	if s := f.Stream(streamA); s.Records != 2000 || s.Trimmed > marks[0] || len(f.told(0)) != 2000 {
		t.Fatalf("by age: %+v", s)
	}
	half := f.Stream(streamA).Bytes / 2
	trim(0, half)
	if s := f.Stream(streamA); s.Bytes > half || s.Records < 990 || int64(len(f.told(0))) != s.Records || f.told(0)[0].Position <= s.Trimmed {
		t.Fatalf("by size: %+v", s)
	}
	prefix := "k3"
	f.catalog.elsewhere.Store(&prefix)
	f.catalog.pin(func(globaltable.TableID, []byte) globaltable.Placement { return nil })
	for _, r := range f.told(0) {
		if pk, _, _ := r.Key.Parts(); string(pk.Bytes) == prefix {
			t.Fatal("a record is read of an item that may not be here")
		}
	}
	left := len(f.told(0))
	f.must(f.BeginPlacing(background, tableA, f.catalog.Version(tableA), 1))
	var next []byte
	for more := true; more; more = next != nil {
		var err error
		next, err = f.EraseStreams(background, tableA, f.catalog.Version(tableA), next)
		f.must(err)
	}
	f.catalog.elsewhere.Store(nil)
	if s := f.Stream(streamA); len(f.told(0)) != left || s.Records != int64(left) {
		t.Fatalf("%d records are left, want %d: %+v", len(f.told(0)), left, s)
	}
	trim(f.StreamMark(), 0)
	f.must(f.DropStream(background, streamA))
	if s := f.Streams(tableA); len(s) != 0 {
		t.Fatalf("%+v", s)
	}
}

// TestStreamWakes: a reader who waits is told when there is something, and not before.
func TestStreamWakes(t *testing.T) {
	f, _ := streaming(t, store.NewMemory(), nil)
	f.run()
	ctx, cancel := context.WithCancel(background)
	cancel()
	if f.AwaitTable(ctx, tableA, 0) {
		t.Fatal("there is nothing yet")
	}
	woken := make(chan bool)
	go func() { woken <- f.AwaitTable(background, tableA, 0) }()
	f.must(f.Write(background, put(tableB, "b", "1")))
	f.must(f.Write(background, put(tableA, "a", "1")))
	if !<-woken {
		t.Fatal("not woken")
	}
	mark, err := f.StreamMarkNow(background)
	f.must(err)
	if f.must(f.Write(background, put(tableA, "a", "2"))); f.told(mark)[0].Position <= mark {
		t.Fatal("a record came to be at or below the mark")
	}
}

// TestStreamIsAFunctionOfRecords: whatever writes, merges, exchanges, expires, is collected and crashes, in each key's tale the old image is the new image before, no two images in a row are the same, and the last one is what is seen.
func TestStreamIsAFunctionOfRecords(t *testing.T) {
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 5))
		engine := store.NewMemory()
		f, w := streaming(t, engine, fromTheFirst)
		m := NewManual(f.Shard)
		m.FollowExpiry(tableA, 10, func(bool, error) {})
		origins := []*origin{newOrigin(peer, withPeer.Lane()), newOrigin(third, withPeer.Lane())}
		origins[0].clock, origins[1].clock = at(0), at(0)
		var kept []conflict.Change
		pk := func() string { return fmt.Sprint("k", rng.IntN(5)) }
		it := func(pk string, millis int64) item.Item {
			if v := fmt.Sprint(rng.IntN(4)); rng.IntN(2) == 0 {
				return mortal(pk, v, int(millis/1000)-wallBegins+rng.IntN(12)-3)
			} else {
				return value(pk, v)
			}
		}
		done := func(err error) {
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
		last := func() int64 { return w.now().UnixMilli() }
		for range 400 {
			w.move(time.Duration(rng.IntN(3000)) * time.Millisecond)
			switch rng.IntN(10) {
			case 0, 1, 2:
				k := pk()
				ops := putOps(it(k, last()))
				switch rng.IntN(4) {
				case 0:
					ops = conflict.RecordDelete(nil)
				case 1:
					ops = []conflict.Op{{Kind: conflict.OpSetCell, Name: []byte("u"), Value: item.AppendInt(nil, int64(rng.IntN(3)))}}
				}
				m.Write(always(ops, keyOf(tableA, k)), done)
			case 3, 4, 5:
				o := origins[rng.IntN(2)]
				o.clock = max(o.clock, hlc.FromTime(w.now().Add(-time.Duration(rng.IntN(8000))*time.Millisecond)))
				var changes []conflict.Change
				for range 1 + rng.IntN(4) {
					if len(kept) > 0 && rng.IntN(4) == 0 && kept[0].Dot.Origin == o.source.Origin {
						changes = append(changes, kept[rng.IntN(len(kept))])
						continue
					}
					k := pk()
					c := o.changeOf(tableA, k, "x")
					if c.Ops = putOps(it(k, last())); rng.IntN(3) == 0 {
						c.Ops = []conflict.Op{{Kind: conflict.OpSetCell, Name: []byte("u"), Value: item.AppendInt(nil, int64(rng.IntN(3)))}}
					}
					changes = append(changes, c)
				}
				kept = changes
				m.ApplyRemote(o.remote(changes), func(_ RemoteResult, err error) { done(err) })
			case 6:
				f.raisePurge(tableA, 7, hlc.FromTime(w.now().Add(-10*time.Second)))
				m.Collect(tableA, nil, 10, func(_ Collected, err error) { done(err) })
			case 7, 8:
				m.Build()
			case 9:
				m.Sync()
			}
		}
		m.Settle()
		w.move(time.Minute)
		f.raisePurge(tableA, 7, hlc.FromTime(w.now().Add(-10*time.Second)))
		m.Collect(tableA, nil, 100, func(_ Collected, err error) { done(err) })
		m.Settle()
		checkTale(t, f, seed)
	}
}

func checkTale(t *testing.T, f *fixture, seed uint64) {
	t.Helper()
	seen := map[string]item.Item{}
	events := map[cdc.Event]int{}
	for _, r := range f.told(0) {
		events[r.Event]++
		now := seen[string(r.Key)]
		if string(r.Old) != string(now) || (r.Old == nil) != (now == nil) {
			t.Fatalf("seed %d: at %s the old image of %q is %v, what was told before %v", seed, r.Position, r.Key, r.Old, now)
		}
		if r.New != nil && string(r.New) == string(r.Old) || r.Old == nil && r.New == nil {
			t.Fatalf("seed %d: nothing is told", seed)
		}
		if want := (&cdc.Step{Old: r.Old, New: r.New}).Event(); r.Event != want {
			t.Fatalf("seed %d: %s", seed, r.Event)
		}
		seen[string(r.Key)] = r.New
	}
	for i := range 5 {
		k := keyOf(tableA, fmt.Sprint("k", i))
		f.must(f.Get(background, k, func(c Current) error {
			if now := seen[string(k.Bytes)]; string(now) != string(c.Item) {
				t.Errorf("seed %d: k%d is %v, and was told to be %v", seed, i, c.Item, now)
			}
			return nil
		}))
	}
	if events[cdc.Insert] == 0 || events[cdc.Modify] == 0 || events[cdc.Remove] == 0 {
		t.Errorf("seed %d: %v", seed, events)
	}
}
