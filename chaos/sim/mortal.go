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
)

// Expiry: tables whose items have times at which they expire, soon; a time to live that is switched on, off, and to another attribute; and checker I10. What an item's time means, the simulation works out by itself, from the numbers
// that it wrote.

// mortalAttributes are those that a table's items may expire by.
var mortalAttributes = []string{"t", "u"}

// mortal chooses the tables whose items expire, with randomness of their own.
func (p *plan) mortal(seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 0x6d6f7274616c))
	for i := range p.tables {
		p.tables[i].mortal = rng.IntN(3) == 0
	}
	p.enabled = rng.IntN(3) > 0
	p.timeToLive = sometimes(rng, 0.7, 200*time.Millisecond, 2*time.Second)
}

// second is about now, in seconds since 1970, by nobody's clock in particular.
func (w *world) second() int64 { return (epoch + w.now.Milliseconds()) / 1000 }

// mortalValue is a time at which an item expires: mostly soon, or just past.
func (w *world) mortalValue() item.Value {
	n := w.second() + int64(w.rng.IntN(7)) - 2
	v := item.Value(item.AppendInt(nil, n))
	w.seconds[string(v)] = uint64(n)
	return v
}

// mortalize gives a put of a table whose items expire such times.
func (w *world) mortalize(t *table, set map[string]string, add func(name string, v item.Value)) {
	if !t.mortal {
		return
	}
	for _, name := range mortalAttributes {
		if w.rng.IntN(3) > 0 {
			v := w.mortalValue()
			set[name] = string(v)
			add(name, v)
		}
	}
}

// mortalizeUpdate has an update set such times, or remove them.
func (w *world) mortalizeUpdate(t *table, write *check.Write, cells []conflict.Op) []conflict.Op {
	if !t.mortal {
		return cells
	}
	for _, name := range mortalAttributes {
		switch w.rng.IntN(4) {
		case 0:
			v := w.mortalValue()
			write.Set[name] = string(v)
			cells = append(cells, conflict.Op{Kind: conflict.OpSetCell, Name: []byte(name), Value: v})
		case 1:
			write.Remove = append(write.Remove, name)
			cells = append(cells, conflict.Op{Kind: conflict.OpRemoveCell, Name: []byte(name)})
		}
	}
	return cells
}

// dueBy says when an item expires whose attribute has a value, written at a time, by a history: in milliseconds and what is below them, without the code that it checks.
func (w *world) dueBy(x conflict.Expiry, attribute, value string, written uint64) uint64 {
	seconds, known := w.seconds[value]
	if !known {
		return 0
	}
	for _, p := range x {
		if p.Attribute != attribute {
			continue
		}
		at := seconds * 1000 << 16
		for _, least := range []uint64{written + 1, uint64(p.From)} {
			if at < least {
				at = least
			}
		}
		if p.To == 0 || at < uint64(p.To) {
			return at
		}
	}
	return 0
}

// history is the newest of a table's time to live, anywhere.
func (w *world) history(id globaltable.TableID) conflict.Expiry {
	if doc := w.document(id); doc != nil {
		return doc.Expiry
	}
	return nil
}

// mortalWrite has a write say when its values let items expire, or conflicts be over. Whatever logs the write, first or again, says so by this.
func (w *world) mortalWrite(write *check.Write) {
	id := globaltable.TableID(write.Key.Table)
	if t := w.table(id); !id.IsFeed() && (t == nil || !t.mortal) {
		return
	}
	set, stamp := write.Set, write.Stamp
	write.Due = func(attribute string) uint64 { return w.dueBy(w.history(id), attribute, set[attribute], stamp.Time) }
}

// enableTimeToLive has items of the mortal tables expire from the beginning.
func (w *world) enableTimeToLive() {
	for i := range w.plan.tables {
		if t := &w.plan.tables[i]; t.mortal && w.plan.enabled {
			w.setTimeToLive(w.region(t.members[0]), t)
		}
	}
}

// changeTimeToLive has some region change some table's time to live.
func (w *world) changeTimeToLive() {
	t := &w.plan.tables[w.rng.IntN(len(w.plan.tables))]
	if r := w.anyRegion(); t.mortal && r.up {
		w.setTimeToLive(r, t)
	}
}

func (w *world) setTimeToLive(r *region, t *table) {
	doc, known := r.named(t)
	if !known {
		return
	}
	set := &catalog.TimeToLive{Attribute: mortalAttributes[w.rng.IntN(len(mortalAttributes))], Enabled: true}
	if doc.Expiring() != "" {
		set = &catalog.TimeToLive{}
	}
	plane := r.plane
	w.changes++
	r.spawn(fmt.Sprintf("change %d", w.changes), func(ctx context.Context) {
		next, err := plane.UpdateTable(ctx, t.name, catalog.Change{TimeToLive: set})
		_ = r.await(ctx, "note", func(func(error)) {
			if err != nil {
				r.note("%d could not change the time to live of %s: %v", r.origin, t.name, err)
				return
			}
			r.note("%d has changed the time to live of %s: %v", r.origin, t.name, next.Expiry)
			r.cover("a time to live was changed")
		})
	}, nil)
}

// recordBefore is a stored record of the region, as it is when a write is planned, with when its item expires by the history in force there.
func (r *region) recordBefore(key commit.Key) (before check.Record, due uint64) {
	value, release, ok, err := r.disk.Get(store.AppendRecordKey(nil, key.Table, key.Bytes))
	if err != nil {
		panic(err)
	}
	if !ok {
		return check.Record{}, 0
	}
	defer release.Close()
	before = recordOf(value)
	x := r.catalog.Expiry(key.Table)
	return before, before.Due(func(name string, c check.Cell) uint64 { return r.dueBy(x, name, c.Value, c.Stamp.Time) })
}

// planned notes what a region had seen when it planned an operation, and what it had of mortal items.
func (op *operation) planned(r *region) {
	op.saw = withoutStore(r.positions())
	for i, key := range op.keys {
		if t := r.table(key.Table); t != nil && t.mortal {
			if op.due == nil {
				op.due = make([]uint64, len(op.keys))
			}
			_, op.due[i] = r.recordBefore(key)
		}
	}
}

// logged matches an operation's write with the operations that were logged for it. On a record of which something had expired an update replaces all: what the log says was there, and itself.
func (op *operation) logged(i int, c *conflict.Change) (check.Write, bool) {
	if op.requests != nil && op.requests[i] != nil {
		return op.loggedTyped(i, c)
	}
	w := op.Writes[i]
	if sameOps(op.ops[i], c.Ops) {
		return w, true
	}
	if op.due == nil || w.Kind != check.Update || len(c.Ops) < 2 || c.Ops[0].Kind != conflict.OpReset || !sameOps(op.ops[i], c.Ops[1:]) {
		return w, false
	}
	w.Kind = check.Put
	set := map[string]string{}
	item.Item(c.Ops[0].Value).Each(func(name []byte, v item.Value) bool {
		set[string(name)] = string(v)
		return true
	})
	for _, name := range w.Remove {
		delete(set, name)
	}
	maps.Copy(set, w.Set)
	w.Set = set
	return w, true
}

// judgeLogged checks I10 for a write: it is stamped at or after the time at which what it was planned on expired exactly if it replaces that.
func (r *region) judgeLogged(op *operation, i int, c *conflict.Change) {
	if op.due == nil {
		return
	}
	due, stamp := op.due[i], uint64(c.Dot.Time)
	expired := due > 0 && due <= stamp
	if expired {
		r.cover("a write on what had expired")
	}
	if op.Writes[i].Kind != check.Update {
		return
	}
	switch replaces := c.Ops[0].Kind == conflict.OpReset; {
	case expired && !replaces:
		r.found("I10", "a write at %s on an item that expired at %s keeps the rest of it", c.Dot.Time, hlc.Timestamp(due))
	case !expired && replaces:
		r.found("I10", "a write at %s replaces an item that expires at %s", c.Dot.Time, hlc.Timestamp(due))
	}
}

// glanceMortal checks I10 for a read: a region shows of an item what its record, and the history in force there, say of this moment.
func (w *world) glanceMortal() {
	r := w.anyRegion()
	t := &w.plan.tables[w.rng.IntN(len(w.plan.tables))]
	if !r.up || !t.mortal || t.typed { // of typed tables check.Merged says what is shown
		return
	}
	r.flush()
	if !r.up {
		return
	}
	key := commit.Key{Table: t.id, Bytes: keyOf(w.rng.IntN(t.keys))}
	before, due := r.recordBefore(key)
	at := uint64(r.clock.Last())
	var shown []string
	if err := r.shard.Get(context.Background(), key, func(c commit.Current) error {
		at = max(at, uint64(r.clock.Last()))
		c.Item.Each(func(name []byte, _ item.Value) bool {
			shown = append(shown, string(name))
			return true
		})
		return nil
	}); err != nil {
		return
	}
	want := before
	if due > 0 {
		x := r.catalog.Expiry(key.Table)
		dated := check.Record{Reset: before.Reset, Cells: map[string]check.Cell{}}
		for name, c := range before.Cells {
			c.Due = w.dueBy(x, name, c.Value, c.Stamp.Time)
			dated.Cells[name] = c
		}
		want = check.Expired(dated, at)
		if due <= at {
			w.cover("a read of what had expired")
		}
	}
	// The key's attribute is shown whether or not the record has it.
	ofKey := func(name string) bool { return name == keyAttribute }
	names := slices.DeleteFunc(want.Names(), ofKey)
	if shown = slices.DeleteFunc(shown, ofKey); !slices.Equal(names, shown) {
		r.found("I10", "at %s an item that expires at %s shows attributes %v, not %v", hlc.Timestamp(at), hlc.Timestamp(due), shown, names)
	}
}

// followTimeToLive brings the keys by which a table is collected to its time to live.
func (r *region) followTimeToLive(table globaltable.TableID) {
	newest := r.catalog.Expiry(table).Newest()
	if newest == 0 {
		return
	}
	r.manual.FollowExpiry(table, 1+r.rng.IntN(8), func(over bool, err error) {
		switch {
		case !r.up || err != nil:
		case over:
			r.indexed[table] = newest
		default:
			r.cover("keys followed a time to live")
			r.after(0, func() { r.followTimeToLive(table) })
		}
	})
	r.work()
}

// unexpired says which table's items still wait for their time, or to be erased; "" when none do.
func (r *region) unexpired(table globaltable.TableID) string {
	if newest := r.catalog.Expiry(table).Newest(); r.indexed[table] < newest && !table.IsFeed() { // a feed's never changes
		return fmt.Sprintf("region %d has not followed the time to live of table %s", r.origin, table)
	}
	if n := r.shard.Expiring(table); n > 0 && !r.lasting(table) {
		return fmt.Sprintf("region %d has %d items of table %s that expire", r.origin, n, table)
	}
	return ""
}
