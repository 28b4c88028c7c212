package sim

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/concordat-db/concordat/chaos/check"
	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/commit"
	"github.com/concordat-db/concordat/regionnode/store"
	"github.com/concordat-db/concordat/streams/cdc"
)

// Change streams: checker I12 sees each batch before a region's engine applies it, and knows from the records before and after what is to be told. What the streams tell is read now and then, and again after each crash; they are trimmed, and switched off and on, meanwhile.

// telling is what a plan chose about change streams.
type telling struct {
	switches time.Duration // between two switches of some stream, on average; zero: never
	trims    time.Duration // between two trims, on average; zero: never
	rng      *rand.Rand    // of its own, so that the rest of a run does not depend on it
}

// streams chooses the tables' change streams, with randomness of its own.
func (p *plan) streams(seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 0x73747265616d))
	p.telling.rng = rng
	for i := range p.tables {
		if rng.IntN(8) > 0 {
			p.tables[i].stream = someView(rng)
		}
	}
	p.telling.switches = sometimes(rng, 0.4, 200*time.Millisecond, 2*time.Second)
	p.telling.trims = sometimes(rng, 0.7, 20*time.Millisecond, 500*time.Millisecond)
}

func someView(rng *rand.Rand) globaltable.StreamView {
	if rng.IntN(4) > 0 {
		return globaltable.ViewNewAndOldImages
	}
	views := []globaltable.StreamView{globaltable.ViewKeysOnly, globaltable.ViewNewImage, globaltable.ViewOldImage}
	return views[rng.IntN(len(views))]
}

// readStreams lets streams be read, trimmed and switched until all is quiet.
func (w *world) readStreams() {
	rng := w.plan.telling.rng
	w.arriveBy(rng, 20*time.Millisecond, w.glanceStream)
	w.arriveBy(rng, w.plan.telling.trims, w.trimSomeStream)
	w.arriveBy(rng, w.plan.telling.switches, w.switchSomeStream)
}

// arriveBy is arrive with randomness of its own.
func (w *world) arriveBy(rng *rand.Rand, mean time.Duration, strike func()) {
	if mean == 0 {
		return
	}
	w.after(time.Duration(rng.ExpFloat64()*float64(mean)), func() {
		if !w.quiet {
			strike()
			w.arriveBy(rng, mean, strike)
		}
	})
}

// watched is a region's disk under its shard: what is written goes past the checker.
type watched struct {
	*store.Memory
	region *region
}

// written is a batch, and what it has of records and of change streams, in order.
type written struct {
	store.Batch
	records []store.KV // without a value: it goes
	told    []store.KV
	untold  [][]byte // keys of stream records that go
}

func (b *written) Set(key, value []byte) {
	b.Batch.Set(key, value)
	kv := store.KV{Key: slices.Clone(key), Value: append([]byte{}, value...)}
	switch store.Space(key[0]) {
	case store.SpaceRecord:
		b.records = append(b.records, kv)
	case store.SpaceStream:
		b.told = append(b.told, kv)
	}
}

func (b *written) Delete(key []byte) {
	b.Batch.Delete(key)
	switch store.Space(key[0]) {
	case store.SpaceRecord:
		b.records = append(b.records, store.KV{Key: slices.Clone(key)})
	case store.SpaceStream:
		b.untold = append(b.untold, slices.Clone(key))
	}
}

// NewBatch implements store.Engine.
func (d watched) NewBatch() store.Batch { return &written{Batch: d.Memory.NewBatch()} }

// Apply implements store.Engine.
func (d watched) Apply(b store.Batch) (func() error, error) {
	w := b.(*written)
	d.region.judgeTold(d.Memory, w)
	wait, err := d.Memory.Apply(w.Batch)
	if err != nil || len(w.told) == 0 {
		return wait, err
	}
	tale := d.region.tale
	return func() error {
		err := wait()
		if err == nil {
			tale.Durable(w.newest())
			d.region.fired.Durable(uint16(d.region.origin), w.newest())
		}
		return err
	}, nil
}

// newest returns the greatest position of what a batch tells.
func (b *written) newest() (newest uint64) {
	for _, kv := range b.told {
		_, _, _, at, _ := store.DecodeStreamKey(kv.Key)
		newest = max(newest, uint64(at))
	}
	return newest
}

// judgeTold checks what a batch tells of what it changes.
func (r *region) judgeTold(before store.Reader, b *written) {
	told, misplaced := r.toldIn(b)
	for _, why := range misplaced {
		r.found("I12", "%s", why)
	}
	after := map[check.Key][]byte{}
	for _, kv := range b.records {
		k := check.Key{Table: uint64(store.RecordKeyTable(kv.Key)), Bytes: string(store.RecordKeySuffix(kv.Key))}
		after[k] = kv.Value
	}
	for k := range told {
		if _, known := after[k]; !known {
			r.found("I12", "of %s something is told in a batch that does not change it", k)
		}
	}
	var changed []check.Changed
	for k, record := range after {
		table := globaltable.TableID(k.Table)
		_, view, on := r.catalog.Stream(table)
		if id, has := r.newestStream(table); !on && has {
			r.tale.Untold(streamOf(id))
		}
		if !on {
			continue
		}
		old, release, there, err := before.Get(store.AppendRecordKey(nil, table, []byte(k.Bytes)))
		if err != nil {
			panic(err)
		}
		if !there {
			old = nil
		}
		_, _, _, here := r.catalog.Place(table, []byte(k.Bytes))
		changed = append(changed, check.Changed{Key: k, Before: r.image(k, old), After: r.image(k, record), Foreign: !here, Told: told[k],
			View: check.View{Old: view == globaltable.ViewOldImage || view == globaltable.ViewNewAndOldImages, New: view == globaltable.ViewNewImage || view == globaltable.ViewNewAndOldImages}})
		if there {
			_ = release.Close()
		}
	}
	slices.SortFunc(changed, func(a, b check.Changed) int { return slices.Compare([]byte(a.Key.Bytes), []byte(b.Key.Bytes)) })
	for _, key := range b.untold {
		r.untold[string(key)] = true
		r.fired.Forget(uint16(r.origin), func(x check.Told) bool {
			table, _, _, at, _ := store.DecodeStreamKey(key)
			return x.Key.Table == uint64(table) && x.Position == uint64(at)
		})
	}
	r.evidence.found = append(r.evidence.found, r.tale.Batch(changed, r.writeToldOf)...)
}

// writeToldOf returns a write of a client, as its region logged it. What merges by types is not judged by it, nor what expires: a write that renews an item shows what others wrote.
func (r *region) writeToldOf(k check.Key, s check.Stamp) (check.Write, bool) {
	if t := r.table(globaltable.TableID(k.Table)); t == nil || t.typed || t.mortal {
		return check.Write{}, false
	}
	l, known := r.ledger.Find(k, s)
	// Puts of the simulation do not have the key's attribute; whether it is seen depends on how a record is stored.
	w := l.Write
	w.Set, w.Remove = maps.Clone(w.Set), append(slices.Clone(w.Remove), keyAttribute)
	if w.Set == nil {
		w.Set = map[string]string{}
	}
	partition, _, err := item.DecodeKey(item.Key(k.Bytes), false)
	if err != nil {
		panic(err)
	}
	w.Set[keyAttribute] = string(partition)
	return w, known
}

// toldIn returns what a batch tells, by key, and what is wrong with where it does.
func (r *region) toldIn(b *written) (told map[check.Key][]check.Told, faults []string) {
	told = map[check.Key][]check.Told{}
	for _, kv := range b.told {
		table, since, lane, at, ok := store.DecodeStreamKey(kv.Key)
		var x cdc.Record
		if !ok || x.Decode(kv.Value) != nil {
			panic("a stream record cannot be read")
		}
		x.Position, x.Lane = at, lane
		if now, _, on := r.catalog.Stream(table); !on || now != since {
			faults = append(faults, fmt.Sprintf("something is told in stream %d of table %s, which is not on", since, table))
		}
		if _, place, _, here := r.catalog.Place(table, x.Key); here && place != lane {
			faults = append(faults, fmt.Sprintf("something is told in lane %s of an item of lane %s", lane, place))
		}
		k := check.Key{Table: uint64(table), Bytes: string(x.Key)}
		told[k] = append(told[k], toldOf(k, &x))
		r.coverTold(&x)
		r.tellsTriggers(table, &x)
	}
	return told, faults
}

func (r *region) coverTold(x *cdc.Record) {
	switch {
	case x.Kind == cdc.Copied:
		r.cover("a copy was told")
	case x.Kind == cdc.Expired:
		r.cover("an expiry was told")
	case x.Dot.Origin != r.origin:
		r.cover("a change of another region was told")
	}
	if x.Outcome == cdc.Partly {
		r.cover("a change was told that lost in part")
	}
}

// toldOf is a stream record in the checkers' terms.
func toldOf(k check.Key, x *cdc.Record) check.Told {
	manner := map[cdc.Kind]check.Manner{cdc.Write: check.Wrote, cdc.Expired: check.Expiry, cdc.Copied: check.Copying}[x.Kind]
	return check.Told{Position: uint64(x.Position), Key: k, Manner: manner, Event: x.Event.String(), Dot: stampOf(x.Dot), Old: imageOf(x.Old), New: imageOf(x.New)}
}

// imageOf is an item in the checkers' terms.
func imageOf(it item.Item) check.Image {
	if it == nil {
		return nil
	}
	out := check.Image{}
	it.Each(func(name []byte, v item.Value) bool {
		out[string(name)] = string(v)
		return true
	})
	return out
}

// image is what is seen of a stored record at its newest stamp, by the time to live that this region knows.
func (r *region) image(k check.Key, record []byte) check.Image {
	if record == nil {
		return nil
	}
	x, err := keySchema.ExpiryOf(r.catalog.Expiry(globaltable.TableID(k.Table)), item.Key(k.Bytes))
	if err != nil {
		panic(err)
	}
	newest, err := conflict.NewestOf(record)
	if err != nil {
		panic(err)
	}
	next, expired, err := x.Expire(nil, record, newest.Time)
	if err != nil {
		panic(err)
	}
	if expired {
		record = next
	}
	it, _, err := keySchema.ItemOf(item.Key(k.Bytes), record)
	if err != nil {
		panic(err)
	}
	return imageOf(it)
}

// newestStream returns the stream that clients see of a table here: it tells nothing while the replica joins. ok is false if there is none.
func (r *region) newestStream(table globaltable.TableID) (id cdc.Stream, ok bool) {
	doc, known := r.catalog.View().Table(table)
	if !known {
		return cdc.Stream{}, false
	}
	s, ok := doc.StreamOn(r.origin)
	return cdc.Stream{Table: table, Since: s.Since}, ok
}

// glanceStream reads what is new in the streams of some table in some region, or a part of it. Of a replica that joins for the first time nobody has read anything yet.
func (w *world) glanceStream() {
	rng := w.plan.telling.rng
	r := w.regions[rng.IntN(len(w.regions))]
	t := &w.plan.tables[rng.IntN(len(w.plan.tables))]
	if !r.up {
		return
	}
	known := r.shard.Streams(t.id)
	for _, s := range known {
		r.readStream(s.Stream, r.readTo[s.Stream], rng.IntN(8))
	}
	if id, ok := r.newestStream(t.id); ok && r.shard.Stream(id).Trimmed > 0 && !slices.ContainsFunc(known, func(s commit.StreamState) bool { return s.Stream == id }) {
		r.readStream(id, r.readTo[id], 1)
		r.cover("a stream was read before the replica was back")
	}
}

// readStream reads a stream after a position, so many records of it, zero: all, and tells the checker.
func (r *region) readStream(id cdc.Stream, after hlc.Timestamp, most int) (got []check.Read) {
	upTo, err := r.shard.ReadStream(commit.StreamRange{Stream: id, After: after}, func(x *cdc.Record) bool {
		got = append(got, readOf(id.Table, x))
		return most == 0 || len(got) < most
	})
	if err != nil {
		panic(err)
	}
	r.evidence.found = append(r.evidence.found, r.tale.Read(streamOf(id), uint64(after), uint64(upTo), got)...)
	r.tale.Mark(uint64(upTo))
	r.readTo[id] = max(r.readTo[id], upTo)
	return got
}

func streamOf(id cdc.Stream) check.Stream {
	return check.Stream{Table: uint64(id.Table), Since: id.Since}
}

func readOf(table globaltable.TableID, x *cdc.Record) check.Read {
	return check.Read{Position: uint64(x.Position), Key: check.Key{Table: uint64(table), Bytes: string(x.Key)}, What: string(x.Append(nil)) + x.Lane.String()}
}

// inspectStreams checks what a start, or the judge, finds of change streams: all that readers got, and as much as each stream says that it has.
func (r *region) inspectStreams() {
	counted := map[cdc.Stream][2]int64{}
	lower, upper := store.SpaceRange(store.SpaceStream)
	eachKV(r.disk, lower, upper, func(key, value []byte) {
		table, since, _, _, _ := store.DecodeStreamKey(key)
		id := cdc.Stream{Table: table, Since: since}
		n := counted[id]
		counted[id] = [2]int64{n[0] + 1, n[1] + int64(len(key)+len(value))}
	})
	for _, s := range r.shard.AllStreams() {
		if n := counted[s.Stream]; n != [2]int64{s.Records, s.Bytes} {
			r.found("I12", "stream %v says that it has %d records and %d bytes, and has %v", s.Stream, s.Records, s.Bytes, n)
		}
		delete(counted, s.Stream)
		gone := func(x check.Read) bool {
			_, _, _, here := r.catalog.Place(s.Table, []byte(x.Key.Bytes))
			return !here || r.erasedTold(s.Stream, x.Position)
		}
		r.evidence.found = append(r.evidence.found, r.tale.Still(streamOf(s.Stream), r.tells(s.Stream), uint64(s.Trimmed), r.readStream(s.Stream, 0, 0), gone)...)
	}
	for id, n := range counted {
		r.found("I12", "of stream %v there is nothing but %d records", id, n[0])
	}
}

// tells reports whether the region tells what changes in a stream.
func (r *region) tells(id cdc.Stream) bool {
	since, _, on := r.catalog.Stream(id.Table)
	return on && since == id.Since
}

// erasedTold reports whether a record of a stream was erased for its item, in whatever lane it was.
func (r *region) erasedTold(id cdc.Stream, at uint64) bool {
	for key := range r.untold {
		if table, since, _, position, _ := store.DecodeStreamKey([]byte(key)); table == id.Table && since == id.Since && uint64(position) == at {
			return true
		}
	}
	return false
}

// survivedCrash takes into evidence what of the streams a crash has left.
func (r *region) survivedCrash() {
	last := map[uint64]uint64{}
	for _, s := range r.shard.AllStreams() {
		last[uint64(s.Table)] = max(last[uint64(s.Table)], uint64(s.Last))
	}
	r.tale.Survived(last)
	r.evidence.found = append(r.evidence.found, r.fired.Survived(uint16(r.origin), last)...)
	r.findsTold()
}

// trimSomeStream trims some stream of some region by age or size, and drops it if it is over and empty.
func (w *world) trimSomeStream() {
	rng := w.plan.telling.rng
	r := w.regions[rng.IntN(len(w.regions))]
	if !r.up {
		return
	}
	all := r.shard.AllStreams()
	if len(all) == 0 {
		return
	}
	s := all[rng.IntN(len(all))]
	fires := len(w.plan.firing.triggers) > 0
	if fires { // triggers read all streams of a table as one, and know what went of that only if the oldest went first, as they do in production
		s = all[slices.IndexFunc(all, func(o commit.StreamState) bool { return o.Table == s.Table && (o.Records > 0 || o.Stream == s.Stream) })]
	}
	upTo, limit := s.Trimmed+hlc.Timestamp(rng.Uint64N(uint64(max(1, int64(s.Last)-int64(s.Trimmed))))), int64(1<<40)
	if rng.IntN(2) == 0 {
		upTo, limit = 0, rng.Int64N(s.Bytes+1)
	}
	r.manual.TrimStream(s.Stream, upTo, limit, func(_ bool, err error) {
		if err == nil && r.up && r.shard.Stream(s.Stream).Records < s.Records {
			r.note("%d trims stream %v to %s", r.origin, s.Stream, r.shard.Stream(s.Stream).Trimmed)
			r.cover("a change stream was trimmed")
		}
	})
	if newest, has := r.newestStream(s.Table); s.Records == 0 && !fires && // they are kept for as long as their readers may come
		(!has || newest != s.Stream) {
		r.manual.DropStream(s.Stream, func(error) { r.cover("a change stream was dropped") })
	}
	// It is done with whatever is written next.
}

// switchSomeStream has some region switch some table's stream off, or on with some view.
func (w *world) switchSomeStream() {
	rng := w.plan.telling.rng
	r, t := w.regions[rng.IntN(len(w.regions))], &w.plan.tables[rng.IntN(len(w.plan.tables))]
	if !r.up || w.losing() {
		return
	}
	doc, known := r.named(t)
	if !known {
		return
	}
	view := someView(rng)
	if doc.Stream.View != "" {
		view = ""
	}
	plane := r.plane
	w.changes++
	r.spawn(fmt.Sprintf("change %d", w.changes), func(ctx context.Context) {
		_, err := plane.UpdateTable(ctx, t.name, catalog.Change{Stream: &view})
		_ = r.await(ctx, "note", func(func(error)) {
			if err == nil {
				r.note("%d has switched the stream of %s to %q", r.origin, t.name, view)
				r.cover("a change stream was switched")
			}
		})
	}, nil)
}

// nothingSecret is the randomness of secrets: tables may be made at the same time, and their documents are to be the same in each run.
type nothingSecret struct{}

func (nothingSecret) Read(p []byte) (int, error) { return len(p), nil }
