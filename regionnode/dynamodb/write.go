package dynamodb

import (
	"errors"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/globaltable/plan"
	"github.com/concordat-db/concordat/regionnode/commit"
	"github.com/concordat-db/concordat/streams/confirm"
)

// writes is what a request writes: one item, or several in one commit or in some. It is lent to the shard together with what its slices hold.
type writes struct {
	door   *door
	write  commit.Write
	keys   []commit.Key
	list   []planned // list[i] is for keys[i]
	opsOf  [][]conflict.Op
	memory plan.Memory
	from   int // what is before it belongs to earlier commits of the request
	ready  int // what is before it has been admitted: it may be here, and the tables take it
	// measured says that the capacity is asked for.
	measured  bool
	image     item.Item // what the writes return of their items, one after the other
	onRefusal onRefusal
	// reasons has why writes were refused, one for each; nil if none was. Only where onRefusal says that they are gathered.
	reasons []reason

	// asking are the tables, of those written to, whose writes wait for peers; needs is what for.
	asking []*globaltable.Table
	needs  []confirm.Need
}

// onRefusal says what a refused write means for the others of its commit.
type onRefusal uint8

const (
	refuseAll  onRefusal = iota // nothing is written, and the refusal is the request's error
	gatherAll                   // nothing is written, and the reasons of all are told: a transaction
	refuseEach                  // the others are written
)

// planned is one write on its way.
type planned struct {
	plan.Write
	named text // the table, as the request names it
	// onFailure says that the item is to be shown if the condition does not hold.
	onFailure bool
	units     plan.Units
	image     item.Item // what it returns; nil: nothing
}

// begin prepares w for writing n items.
func (w *writes) begin(n int) {
	clear(w.list)
	clear(w.asking) // documents go when the catalog has newer ones
	w.keys, w.list, w.ready = w.keys[:0], w.list[:0], 0
	w.asking, w.needs = w.asking[:0], w.needs[:0]
	w.image, w.reasons = w.image[:0], nil
	w.write.Transaction, w.write.Token, w.measured, w.onRefusal = false, nil, false, refuseAll
	w.memory.Reset(maxKept)
	w.memory.Grow(n)
	if cap(w.opsOf) < n {
		w.opsOf = make([][]conflict.Op, n)
	}
}

// forget drops what is held of a request that is answered: a transaction's items are large.
func (w *writes) forget() {
	clear(w.list)
	clear(w.keys)
	w.write.Keys, w.write.Token, w.reasons = nil, nil, nil
}

// add adds a write. Its key and item must stay unchanged until commit returns.
func (w *writes) add(key item.Key, p planned) {
	w.keys = append(w.keys, commit.Key{Table: p.Table.ID, Bytes: key})
	w.list = append(w.list, p)
}

// admit refuses the writes up to, without to, that have not been admitted yet: together, if an item of them may not be here, or if a table takes no write of one now.
func (w *writes) admit(to int) error {
	from := w.ready
	if from >= to {
		return nil
	}
	err := w.door.admit(to-from, func(i int) (*globaltable.Table, item.Key) { return w.list[from+i].Table, w.keys[from+i].Bytes })
	for i := from; i < to && err == nil; i++ {
		if p := &w.list[i]; p.Table.AcknowledgePeers > 0 && p.Action != plan.Check {
			err = w.ask(p.Table, w.keys[i].Bytes)
		}
	}
	if err == nil {
		w.ready = to
	}
	return err
}

// commit does the writes from and up to, without to, in one commit. They are durable here then; before the answer comes acknowledged.
func (w *writes) commit(from, to int) error {
	if err := w.admit(to); err != nil {
		return err
	}
	w.from = from
	w.write.Keys = w.keys[from:to]
	err := w.door.write(&w.write)
	if errors.Is(err, commit.ErrNoTable) && w.follow(from, to) || errors.Is(err, commit.ErrNotHere) && w.renew(from, to) {
		w.ready = from
		if err = w.admit(to); err == nil {
			err = w.door.write(&w.write)
		}
	}
	if err == nil && len(w.asking) > 0 {
		w.need()
	}
	return err
}

// follow makes the writes from and up to, without to, writes to the tables that have come into the place of theirs since they were found: of replicas that have become tables of their own. It reports whether any
// has.
func (w *writes) follow(from, to int) (any bool) {
	for i := from; i < to; i++ {
		p := &w.list[i]
		t, err := w.door.table(p.named)
		if err != nil || t.ID == p.Table.ID {
			continue
		}
		if r := t.Replica(w.door.server.config.Origin); r == nil || r.Succeeds.Table != p.Table.ID {
			continue // another one, made under the same name
		}
		p.Table, w.keys[i].Table, any = t, t.ID, true
	}
	return any
}

// renew makes the writes from and up to, without to, writes by the documents of their tables that are in force now. It reports whether any is another one: policies have changed since the tables were found.
func (w *writes) renew(from, to int) (any bool) {
	for i := from; i < to; i++ {
		p := &w.list[i]
		t, err := w.door.table(p.named)
		if err == nil && t.ID == p.Table.ID && t.Version != p.Table.Version {
			p.Table, any = t, true
		}
	}
	return any
}

// plan is the commit's plan: see commit.Write. It runs while commit waits, mostly once and in this goroutine; what it leaves in w is that of the last time.
func (w *writes) plan(current []commit.Current) ([][]conflict.Op, error) {
	size := 0
	for i := range current {
		p := &w.list[w.from+i]
		p.image = nil
		if w.reasons != nil {
			w.reasons[w.from+i] = reason{}
		}
		before := current[i].Item
		out, err := p.Plan(before, &w.memory)
		if err != nil {
			if err = w.refused(w.from+i, before, err); err != nil {
				return nil, err
			}
			w.opsOf[i] = nil
			continue
		}
		w.opsOf[i] = out.Ops
		if w.write.Transaction {
			size += max(before.Size(), out.After.Size())
		}
		if w.measured {
			p.units = plan.WriteUnits(p.Table, before, out.After)
		}
		if out.Image != nil {
			at := len(w.image)
			w.image = append(w.image, out.Image...)
			p.image = w.image[at:len(w.image):len(w.image)]
		}
	}
	switch {
	case w.onRefusal == gatherAll && w.reasons != nil:
		return nil, cancelled(w.reasons)
	case size > maxTransactBytes:
		return nil, errTransactSize
	}
	return w.opsOf[:len(current)], nil
}

// refused says what becomes of a request of which write i was refused.
func (w *writes) refused(i int, before item.Item, err error) error {
	p := &w.list[i]
	shows := errors.Is(err, plan.ErrCondition) && p.onFailure && before != nil
	switch {
	case w.onRefusal != refuseAll:
		if w.reasons == nil {
			w.reasons = make([]reason, len(w.list))
		}
		w.reasons[i] = reasonOf(err)
		if shows {
			w.reasons[i].item = before.AppendJSON(nil)
		}
		return nil
	case shows:
		return conditionFailed(before)
	}
	return err
}
