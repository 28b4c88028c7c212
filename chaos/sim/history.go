package sim

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/concordat-db/concordat/chaos/check"
	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/commit"
	"github.com/concordat-db/concordat/streams/change"
	"github.com/concordat-db/concordat/streams/inbox"
)

// operation is a client's call, as the history has it and as the region gets it.
type operation struct {
	check.Operation
	keys     []commit.Key
	ops      [][]conflict.Op       // parallel to keys and Writes
	requests []*request            // of typed tables, parallel to keys; nil: ops says what it does
	due      []uint64              // when what it was planned on expires, for each key; nil: nothing of it does
	saw      map[check.Lane]uint64 // what its region had applied when it was planned
}

// client makes one call to one region; now and then one to each, at the same moment, for the same key.
func (w *world) client() {
	if w.rng.Float64() >= w.plan.clashes {
		w.call(w.anyRegion(), nil)
		return
	}
	t := &w.plan.tables[w.rng.IntN(len(w.plan.tables))]
	key := commit.Key{Table: t.id, Bytes: keyOf(w.rng.IntN(t.keys))}
	for _, r := range w.regions {
		w.call(r, &key)
	}
}

// call makes one call to a region, for the key given or for any.
func (w *world) call(r *region, key *commit.Key) {
	if !r.up {
		return
	}
	if len(r.excluded) > 0 {
		w.cover("a client was refused")
		return
	}
	r.begin(w.newOperation(r, key))
}

// begin has the region carry out an operation.
func (r *region) begin(op *operation) {
	w := r.world
	w.operations = append(w.operations, op)
	r.pending = append(r.pending, op)
	r.note("%d operation %d: %s", r.origin, op.ID, op)
	transaction := len(op.keys) > 1
	if transaction {
		r.cover("a transaction")
	}
	life := r.life
	r.manual.Write(&commit.Write{Keys: op.keys, Transaction: transaction, Plan: func(current []commit.Current) ([][]conflict.Op, error) {
		op.planned(r)
		for i := range op.requests {
			if op.requests[i] != nil {
				if err := op.planTyped(r, i, current[i]); err != nil {
					return nil, err
				}
			}
		}
		return op.ops, nil
	}},
		func(err error) {
			if r.life == life && r.up {
				r.answered(op, err)
			}
		})
	r.work()
}

func (op *operation) String() string {
	var b strings.Builder
	for i, w := range op.Writes {
		what := [...]string{"", "put", "delete", "update"}[w.Kind]
		if op.requests != nil && op.requests[i] != nil {
			what = op.requests[i].text
		}
		fmt.Fprintf(&b, "%s %x/%x ", what, w.Key.Table, op.keys[i].Bytes[:2])
	}
	return b.String()
}

// answered is the client's answer.
func (r *region) answered(op *operation, err error) {
	r.pending = slices.DeleteFunc(r.pending, func(p *operation) bool { return p == op })
	op.Returned = int64(r.now)
	switch {
	case err == nil:
		op.Outcome = check.OK
		op.dropIdle()
		r.cover("an operation was acknowledged")
	case globaltable.KindOf(err) == globaltable.Unknown:
		op.Outcome = check.Unknown
	default:
		op.Outcome = check.Failed
		r.cover("an operation was refused")
		if slices.ContainsFunc(op.keys, func(k commit.Key) bool {
			return r.catalog.View().Serves(k.Table) && !r.holds(check.Key{Table: uint64(k.Table), Bytes: string(k.Bytes)})
		}) {
			r.cover("an operation was refused where the item may not be")
		}
	}
	r.note("%d operation %d: %s", r.origin, op.ID, op.Outcome)
}

func (w *world) newOperation(r *region, fixed *commit.Key) *operation {
	op := &operation{Operation: check.Operation{ID: uint64(len(w.operations) + 1), Region: uint16(r.origin), Invoked: int64(w.now)}}
	if fixed != nil {
		op.add(w, *fixed, true)
		return op
	}
	n := 1
	if w.rng.Float64() < w.plan.transacts {
		n = 2 + w.rng.IntN(3)
	}
	for range n {
		t := &w.plan.tables[w.rng.IntN(len(w.plan.tables))]
		if _, _, _, ok := r.catalog.Place(t.id, nil); n > 1 && !ok {
			continue
		}
		key := commit.Key{Table: t.id, Bytes: keyOf(w.rng.IntN(t.keys))}
		if slices.ContainsFunc(op.keys, func(k commit.Key) bool { return k.Table == key.Table && string(k.Bytes) == string(key.Bytes) }) {
			continue
		}
		// Two deletes of a key look the same in the log. A transaction that is refused, because a replica went meanwhile or an item is somewhere else, must not be taken for another one.
		op.add(w, key, n == 1 || w.plan.reshape+w.plan.repin == 0)
	}
	if len(op.keys) == 0 {
		op.add(w, commit.Key{Table: w.plan.tables[0].id, Bytes: keyOf(0)}, true)
	}
	return op
}

// add makes the operation's write to a key.
func (op *operation) add(w *world, key commit.Key, mayDelete bool) {
	t := w.table(key.Table)
	if t.typed {
		op.requests = append(op.requests, w.newRequest(op.ID, t, key.Bytes, mayDelete))
		op.keys, op.ops = append(op.keys, key), append(op.ops, nil)
		op.Writes = append(op.Writes, check.Write{Kind: check.Update, Key: check.Key{Table: uint64(key.Table), Bytes: string(key.Bytes)}})
		return
	}
	write, ops := w.newWrite(op.ID, t, mayDelete)
	op.requests = append(op.requests, nil)
	write.Key = check.Key{Table: uint64(key.Table), Bytes: string(key.Bytes)}
	op.keys, op.ops, op.Writes = append(op.keys, key), append(op.ops, ops), append(op.Writes, write)
}

// keyAttribute is the attribute that the tables' key is of. The clients' puts do not have it; a region shows it where it puts an item together.
const keyAttribute = "pk"

func keyOf(n int) item.Key {
	key, err := item.AppendKey(nil, item.Value(item.AppendString(nil, fmt.Sprintf("k%d", n))), nil)
	if err != nil {
		panic(err)
	}
	return key
}

// newWrite makes a put, a delete or an update that carries the operation's id in every value, as the table's mode records it.
func (w *world) newWrite(id uint64, t *table, mayDelete bool) (check.Write, []conflict.Op) {
	roll := w.rng.Float64()
	switch {
	case roll < w.plan.deletes && mayDelete:
		return check.Write{Kind: check.Delete}, conflict.RecordDelete(nil)
	case roll < w.plan.deletes+w.plan.updates && t.mode == conflict.Attribute:
		return w.newUpdate(id, t)
	}
	write := check.Write{Kind: check.Put, Set: map[string]string{}}
	var b item.Builder
	w.mortalize(t, write.Set, func(name string, v item.Value) { b.Add([]byte(name), v) })
	for _, name := range []string{"a", "b", "c", "id"} {
		if name != "id" && w.rng.IntN(2) == 0 {
			continue
		}
		v := w.value(id)
		write.Set[name] = string(v)
		b.Add([]byte(name), v)
	}
	it, err := b.AppendItem(nil)
	if err != nil {
		panic(err)
	}
	return write, conflict.RecordPut(nil, it)
}

func (w *world) newUpdate(id uint64, t *table) (check.Write, []conflict.Op) {
	write := check.Write{Kind: check.Update, Set: map[string]string{}}
	var cells []conflict.Op
	for _, name := range []string{"a", "b", "c"} {
		switch w.rng.IntN(4) {
		case 0:
			v := w.value(id)
			write.Set[name] = string(v)
			cells = append(cells, conflict.Op{Kind: conflict.OpSetCell, Name: []byte(name), Value: v})
		case 1:
			write.Remove = append(write.Remove, name)
			cells = append(cells, conflict.Op{Kind: conflict.OpRemoveCell, Name: []byte(name)})
		}
	}
	cells = w.mortalizeUpdate(t, &write, cells)
	if len(cells) == 0 {
		v := w.value(id)
		write.Set["d"] = string(v)
		cells = append(cells, conflict.Op{Kind: conflict.OpSetCell, Name: []byte("d"), Value: v})
	}
	return write, t.mode.RecordUpdate(nil, nil, cells)
}

// value is the operation's id, and something around it: repeated, so that it compresses, or not.
func (w *world) value(id uint64) item.Value {
	text := fmt.Appendf(nil, "op-%d", id)
	if n := w.rng.IntN(w.plan.padding); w.rng.IntN(2) == 0 {
		text = append(text, strings.Repeat(".", n)...)
	} else {
		for range n {
			text = append(text, byte('a'+w.rng.IntN(26)))
		}
	}
	return item.Value(item.AppendString(nil, string(text)))
}

// record takes into evidence an entry that has become durable in the region's own log.
func (r *region) record(lane globaltable.LaneID, e *change.Entry) {
	if e.Seq != r.seen[lane]+1 {
		r.found("I20", "entry %d of lane %s became durable after %d", e.Seq, lane, r.seen[lane])
	}
	r.seen[lane] = e.Seq
	if e.Void { // what it said is logged again, or was handed over
		return
	}
	err := change.EachChange(e.Body, func(c *conflict.Change) error {
		if lane == globaltable.CatalogLane {
			r.readings = append(r.readings, r.reading(c.Dot.Time))
			return nil
		}
		r.recordChange(lane, e.Seq, c)
		return nil
	})
	if err != nil {
		panic(err)
	}
}

// recordChange finds the operation that the change is of: the oldest one that waits for just this, since a key's writes enter the log in the order of their calls.
func (r *region) recordChange(lane globaltable.LaneID, seq uint64, c *conflict.Change) {
	if r.logsAgain(lane, seq, c) {
		return
	}
	r.readings = append(r.readings, r.reading(c.Dot.Time))
	if purge := r.purged[c.Table]; uint64(c.Dot.Time) <= purge && r.standing(r) == globaltable.MemberActive { // nobody hears another one
		r.found("I8", "wrote %s in lane %s at or below a purge frontier of the table that somebody had reached, %s", c.Dot.Time, lane, hlc.Timestamp(purge))
	}
	if c.Ops[0].Kind == conflict.OpReset && len(c.Ops[0].Value) == 0 && !r.catalog.View().Settled(globaltable.TableID(c.Table)) {
		r.cover("a delete raced a join")
	}
	stamp := stampOf(c.Dot)
	at := moment{check.Key{Table: c.Table, Bytes: string(c.Key)}, c.Dot.Time}
	if _, taken := r.moments[at]; taken {
		r.cover("a tie happened")
	}
	r.moments[at] = struct{}{}
	if !globaltable.TableID(c.Table).IsFeed() {
		r.items[at.key] = struct{}{}
	}
	if globaltable.TableID(c.Table).IsFeed() && c.Ops[0].Kind != conflict.OpReset {
		r.recordListing(lane, seq, c)
		return
	}
	for _, op := range r.pending {
		for i := range op.Writes {
			w := &op.Writes[i]
			if w.Key.Table != c.Table || w.Key.Bytes != string(c.Key) || !w.Stamp.IsZero() {
				continue
			}
			took, is := op.logged(i, c)
			if !is {
				continue
			}
			r.judgeLogged(op, i, c)
			*w = took
			w.Stamp, w.Floor = stamp, uint64(c.Floor)
			r.mortalWrite(w)
			r.sees(w, op.saw)
			r.evidence.found = append(r.evidence.found, r.ledger.Add(check.Logged{Write: *w, By: uint16(r.origin), Incarnation: uint64(r.shard.Incarnation()),
				Lane: uint64(lane), Seq: seq, Catalog: c.CatalogVersion})...)
			return
		}
	}
	if r.dropsAgain(lane, seq, c) {
		return
	}
	r.found("I20", "entry %d of lane %s has a change that nobody asked for", seq, lane)
}

func (r *region) reading(t hlc.Timestamp) check.Reading {
	return check.Reading{Region: uint16(r.origin), Life: r.life, Time: uint64(t), Physical: r.latest.Load()}
}

// logsAgain takes a change into evidence that was logged before: by a store that is not there any more, in a lane of which a member may not have it any more, or by a region that has handed it over.
func (r *region) logsAgain(lane globaltable.LaneID, seq uint64, c *conflict.Change) bool {
	key := check.Key{Table: c.Table, Bytes: string(c.Key)}
	if _, known := r.ledger.Find(key, stampOf(c.Dot)); !known {
		return false
	}
	if r.store == 0 {
		r.cover("a change was logged again")
	}
	w := writeOf(c)
	w.Key, w.Stamp, w.Floor = key, stampOf(c.Dot), uint64(c.Floor)
	r.mortalWrite(&w) // its item expires as it did in the store before
	if r.store > 0 {
		r.comesLate(key, c)
	}
	r.evidence.found = append(r.evidence.found, r.ledger.Add(check.Logged{Write: w, By: uint16(r.origin), Incarnation: uint64(r.shard.Incarnation()),
		Lane: uint64(lane), Seq: seq, Catalog: c.CatalogVersion, Again: r.store > 0 || r.pinned})...)
	return true
}

// comesLate notes of a write that is logged again how far the others have collected, and in which runs its increments are now: what they had of the region's run may have expired and be gone.
func (w *world) comesLate(key check.Key, c *conflict.Change) {
	for _, op := range w.operations {
		for i := range op.Writes {
			if x := &op.Writes[i]; x.Key == key && x.Stamp == stampOf(c.Dot) {
				x.Late = w.purged[key.Table]
				if x.Typed != nil {
					x.Typed = x.Typed.Anew(runsOf(c))
				}
			}
		}
	}
}

// writeOf is a change in the checkers' terms. What is left of a put that was partly overwritten is a put of the rest.
func writeOf(c *conflict.Change) check.Write {
	w := check.Write{Kind: check.Update, Set: map[string]string{}}
	for i := range c.Ops {
		switch op := &c.Ops[i]; {
		case op.Kind == conflict.OpReset && len(op.Value) == 0:
			w.Kind = check.Delete
		case op.Kind == conflict.OpReset:
			w.Kind = check.Put
			item.Item(op.Value).Each(func(name []byte, v item.Value) bool {
				w.Set[string(name)] = string(v)
				return true
			})
		case op.Kind == conflict.OpSetCell && op.Type == conflict.TypeRegister && len(op.Name) > 0:
			w.Set[string(op.Name)] = string(op.Value)
			w.Remove = slices.DeleteFunc(w.Remove, func(name string) bool { return name == string(op.Name) })
		case op.Kind == conflict.OpRemoveCell:
			w.Remove = append(w.Remove, string(op.Name))
			delete(w.Set, string(op.Name))
		}
	}
	delete(w.Set, insideAttribute)
	w.Remove = slices.DeleteFunc(w.Remove, func(name string) bool { return name == insideAttribute })
	if w.Kind == check.Delete && slices.ContainsFunc(c.Ops, func(op conflict.Op) bool { return op.Kind != conflict.OpReset && op.Kind != conflict.OpObserve }) {
		w.Kind = check.Put
	}
	return w
}

// moment is a key and a time at which it was written.
type moment struct {
	key  check.Key
	time hlc.Timestamp
}

// endGroup takes the group's readings over: lanes come one after another, stamps were given across them.
func (r *region) endGroup() {
	slices.SortFunc(r.readings, func(a, b check.Reading) int { return int(int64(a.Time) - int64(b.Time)) })
	r.evidence.readings = append(r.evidence.readings, r.readings...)
	r.readings = r.readings[:0]
}

func (r *region) found(invariant, format string, args ...any) {
	r.evidence.found = append(r.evidence.found, check.Violation{Invariant: invariant, Region: uint16(r.origin), Detail: fmt.Sprintf(format, args...)})
}

func sameOps(a, b []conflict.Op) bool {
	return slices.EqualFunc(a, b, func(x, y conflict.Op) bool {
		return x.Kind == y.Kind && x.Type == y.Type && string(x.Name) == string(y.Name) && string(x.Value) == string(y.Value)
	})
}

func stampOf(s hlc.Stamp) check.Stamp {
	return check.Stamp{Time: uint64(s.Time), Origin: uint16(s.Origin)}
}

// applyRemote is what regionnode's applier does: it gives the batch to the shard, and says what its error means for the lane.
func (s *session) applyRemote(r *commit.Remote, done func(inbox.Stop)) {
	arrivals := s.arriving(r)
	s.empties(r)
	refuses := s.refuses(r)
	life := s.life
	s.manual.ApplyRemote(r, func(result commit.RemoteResult, err error) {
		if !s.up || s.life != life {
			return
		}
		s.evidence.arrivals = append(s.evidence.arrivals, arrivals(err == nil)...)
		s.count(result)
		if result.Voided > 0 {
			refuses()
		}
		if s.watched != 0 && err == nil {
			s.tell("%s has applied entry %d of %s: %s", s.name(), r.Position.Seq, s.from.name(), s.watch())
		}
		// In production this comes from another goroutine: never while the core is being asked.
		s.region.after(0, func() { done(stopReason(err, r.Position)) })
	})
	s.work()
}

// empties notes which entries of a batch have lost their bodies. Whether they are applied shows when their lane's position does.
func (s *session) empties(r *commit.Remote) {
	l := s.lane(r.Source.Origin, r.Source.Incarnation, r.Source.Lane)
	for i := range r.Entries {
		if e := &r.Entries[i]; e.Void && e.Seq > s.took[l] {
			if s.hollow[l] == nil {
				s.hollow[l] = map[uint64]bool{}
			}
			s.hollow[l][e.Seq] = true
			s.cover("an entry came that was voided")
		}
	}
}

// refusal names a change of a followed lane.
type refusal struct {
	lane check.Lane
	seq  uint64
	key  check.Key
}

// refuses returns what notes which changes of a batch were voided, once some were: those that may not be here by the catalog of now, or by that of then. Which of the two decided is not told.
func (s *session) refuses(r *commit.Remote) (note func()) {
	l := s.lane(r.Source.Origin, r.Source.Incarnation, r.Source.Lane)
	refused := map[refusal]bool{}
	look := func() {
		for i := range r.Entries {
			e := &r.Entries[i]
			if e.Void {
				continue
			}
			err := change.EachChange(e.Body, func(c *conflict.Change) error {
				if !s.catalog.Admits(globaltable.TableID(c.Table), c.Key, globaltable.Version(c.CatalogVersion)) {
					refused[refusal{l, e.Seq, check.Key{Table: c.Table, Bytes: string(c.Key)}}] = true
				}
				return nil
			})
			if err != nil {
				panic(err)
			}
		}
	}
	look()
	return func() {
		look()
		maps.Copy(s.refused, refused)
	}
}

func (s *session) count(result commit.RemoteResult) {
	if result.Lost > 0 {
		s.cover("a concurrent write lost")
	}
	if result.Duplicate > 0 {
		s.cover("a change came that was known")
	}
	if result.Voided > 0 {
		s.cover("a change was voided")
	}
}

// arriving notes what is too far ahead in a batch, and the clock before and after.
func (s *session) arriving(r *commit.Remote) func(taken bool) []check.Arrival {
	var out []check.Arrival
	physical := s.physical()
	for i := range r.Entries {
		if last := r.Entries[i].Last; !r.Entries[i].Void && last.Millis()-physical > maxOffset.Milliseconds() {
			out = append(out, check.Arrival{Region: uint16(s.origin), Stamp: check.Stamp{Time: uint64(last), Origin: uint16(s.from.origin)},
				Physical: physical, Before: uint64(s.clock.Last())})
		}
	}
	return func(taken bool) []check.Arrival {
		for i := range out {
			out[i].Taken = taken
			out[i].After = uint64(s.clock.Last())
		}
		return out
	}
}

// stopReason is regionnode's.
func stopReason(err error, p globaltable.Position) inbox.Stop {
	var ahead *hlc.AheadError
	var position *commit.PositionError
	switch {
	case err == nil:
		return inbox.Running
	case errors.Is(err, commit.ErrCatalogBehind):
		return inbox.CatalogBehind
	case errors.As(err, &ahead):
		return inbox.ClockAhead
	case errors.As(err, &position):
		switch {
		case position.Stored == p:
			return inbox.Running
		case position.Reason == commit.ChainDiffers:
			return inbox.Diverged
		case position.Reason == commit.Revoked:
			return inbox.Superseded
		}
		return inbox.ApplyFailed
	case errors.Is(err, conflict.ErrUnsupported), globaltable.KindOf(err) == globaltable.Corrupt:
		return inbox.Refused
	}
	return inbox.ApplyFailed
}
