package commit

import (
	"bytes"
	"context"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode/store"
	"github.com/concordat-db/concordat/streams/change"
)

// review is a look at some entries of one of the shard's own lanes, for changes that a member of the lane must not have any more.
type review struct {
	table   globaltable.TableID // whose version is being carried out
	version globaltable.Version
	lane    globaltable.LaneID
	seqs    []uint64 // to be looked at, ascending

	done   int // of seqs
	voids  []change.Header
	freed  []int // bytes of their bodies
	relogs []relog
}

// relog is a change that is logged again, in the lane where its item is now: with dot, context, floor and transaction as they were, under the version of the catalog in force.
type relog struct {
	of     uint64 // the entry
	place  placed
	change conflict.Change // its views are the group's to read until it is built
}

const (
	opReview = "review log"
	// maxReviewRead bounds the bodies that are read of a lane at once, and maxReviewLog what one batch logs again, one large entry aside.
	maxReviewRead = 1 << 20
	maxReviewLog  = 1 << 20
)

// Reviewed is what one step of Review did.
type Reviewed struct {
	Next   uint64 // the step after it begins after this entry
	Done   bool   // it is the end of the log as it was
	Voided int    // entries
}

// Review goes over the shard's own log of a lane, from the entry after the one given, a page at a time, while that version of the table is being carried out: an entry with a change of any table that a locality policy keeps out of some member of
// the lane, this region included, is voided. Its header stays. What this region's records still have of each of its changes that the region may have itself is logged again in the same batch, with dot, context, floor and transaction as they were,
// in the lane of its item's placement now: what has come after the change and was collected may be forgotten everywhere, and could not take it back.
// What this region may not have stays in its records, until another one takes it over. It returns when that is durable. An error of kind InUse says that another version is in force.
func (s *Shard) Review(ctx context.Context, table globaltable.TableID, version globaltable.Version, lane globaltable.LaneID, after uint64) (Reviewed, error) {
	r, out, err := s.prepareReview(table, version, lane, after)
	if err != nil || r == nil {
		return out, err
	}
	for len(r.seqs) > 0 {
		if err := s.reviewSome(ctx, r); err != nil {
			return Reviewed{}, err
		}
		out.Voided += len(r.voids)
		r.seqs = r.seqs[r.done:]
	}
	return out, nil
}

func (s *Shard) reviewSome(ctx context.Context, r *review) error {
	sub := s.newSubmission(kindReview)
	sub.review, sub.bytes = r, maxReviewLog
	_, err := s.submit(ctx, sub)
	return err
}

// prepareReview finds the entries that are to be looked at closely: what is read here may have changed by then, what has no such change gets none. r is nil when there are none.
func (s *Shard) prepareReview(table globaltable.TableID, version globaltable.Version, lane globaltable.LaneID, after uint64) (r *review, out Reviewed, err error) {
	head, ok := s.Head(lane)
	after = max(after, head.Trimmed)
	out = Reviewed{Next: after, Done: !ok || after >= head.Seq}
	if out.Done || lane == globaltable.CatalogLane {
		out.Done = true
		return nil, out, nil
	}
	r = &review{table: table, version: version, lane: lane}
	entries, err := s.ReadLog(lane, after+1, maxReviewRead)
	if err == change.ErrTrimmed { // meanwhile
		return nil, out, nil
	}
	if err != nil {
		return nil, Reviewed{}, err
	}
	for i := range entries {
		e := &entries[i]
		out.Next = e.Seq
		if e.Void {
			continue
		}
		bad, err := excluded(s.cfg.Catalog, head.Placement, e.Body)
		if err != nil {
			return nil, Reviewed{}, err
		}
		if bad {
			r.seqs = append(r.seqs, e.Seq)
		}
	}
	out.Done = out.Next >= head.Seq
	if len(r.seqs) == 0 {
		return nil, out, nil
	}
	return r, out, nil
}

// excluded reports whether a body has a change that a policy keeps out of one of the members.
func excluded(catalog Catalog, members globaltable.Placement, body []byte) (is bool, err error) {
	err = change.EachChange(body, func(c *conflict.Change) error {
		for _, o := range members {
			if catalog.Excludes(globaltable.TableID(c.Table), c.Key, o) {
				is = true
				return errStop
			}
		}
		return nil
	})
	if err == errStop {
		err = nil
	}
	return is, err
}

// decideReview reads the entries again, under the catalog in force, as many as a batch has room for.
func (c *core) decideReview(sub *submission) error {
	r := sub.review
	if err := c.carriesOut(r.table, r.version); err != nil {
		return err
	}
	r.done, r.voids, r.freed, r.relogs = 0, r.voids[:0], r.freed[:0], r.relogs[:0]
	l := c.lanes[r.lane]
	if l == nil {
		return fault(globaltable.Internal, opReview, "the lane is not there", nil)
	}
	for _, seq := range r.seqs {
		if sub.logs >= maxReviewLog {
			break
		}
		logs, err := c.decideEntry(r, l, seq)
		if err != nil {
			return err
		}
		if r.done > 0 && sub.logs+logs > maxReviewLog {
			r.dropEntry(seq)
			break
		}
		sub.logs += logs
		r.done++
	}
	return nil
}

// dropEntry takes back what was decided about an entry for which the batch has no room.
func (r *review) dropEntry(seq uint64) {
	n := len(r.voids)
	if n == 0 || r.voids[n-1].Seq != seq {
		return
	}
	r.voids, r.freed = r.voids[:n-1], r.freed[:n-1]
	for n := len(r.relogs); n > 0 && r.relogs[n-1].of == seq; n-- {
		r.relogs = r.relogs[:n-1]
	}
}

// decideEntry decides about one entry. It returns how much it logs again.
func (c *core) decideEntry(r *review, l *lane, seq uint64) (logs int, err error) {
	var e change.Entry
	found := false
	c.scratch = store.AppendLogKey(c.scratch[:0], r.lane, seq)
	err = getValue(c.engine, c.scratch, func(value []byte) (err error) {
		found = true
		e, err = change.DecodeEntry(bytes.Clone(value))
		return err
	})
	if err != nil {
		return 0, errCorruptStore("log entry", err)
	}
	if !found || e.Void { // trimmed meanwhile
		return 0, nil
	}
	bad, err := excluded(c.catalog, l.Placement, e.Body)
	if err != nil || !bad {
		return 0, err
	}
	err = change.EachChange(e.Body, func(x *conflict.Change) error {
		again := relog{of: seq, change: *x}
		var ok bool
		if again.place.placement, again.place.lane, again.place.version, ok = c.relog(globaltable.TableID(x.Table), x.Key); !ok {
			return c.mayVoid(x)
		}
		if again.change.Ops, err = c.left(x); err != nil || len(again.change.Ops) == 0 {
			return err
		}
		again.change.CatalogVersion = uint64(again.place.version)
		logs += lengthInBody(&again.change)
		r.relogs = append(r.relogs, again)
		return nil
	})
	r.voids, r.freed = append(r.voids, e.Header), append(r.freed, len(e.Body))
	return logs, err
}

// left is what this region's record has of a change, as operations of their own bytes. There may be members that have not got the change yet, and there may be some that have collected, since all have it, what has taken it back. The record
// is right for both: it has nothing of what was taken back, whether it knows that still or has collected it too. What has come after the change in its place is in other entries, here or of others.
func (c *core) left(x *conflict.Change) (ops []conflict.Op, err error) {
	if plantedRelog {
		return append(ops, x.Ops...), nil
	}
	var changes []conflict.Change
	err = getValue(c.engine, store.AppendRecordKey(nil, globaltable.TableID(x.Table), x.Key), func(record []byte) (err error) {
		changes, err = conflict.ChangesOf(bytes.Clone(record))
		return err
	})
	if err != nil {
		return nil, errCorruptStore("record", err)
	}
	for i := range changes {
		if changes[i].Dot == x.Dot {
			ops = append(ops, changes[i].Ops...)
		}
	}
	return ops, nil
}

// mayVoid returns an error if a change that this region cannot log again is not safe in its record. One that policies keep out of here is, until it is handed over. One of a replica that goes is not: when its log is confirmed, its records are
// dropped.
func (c *core) mayVoid(x *conflict.Change) error {
	table := globaltable.TableID(x.Table)
	if c.catalog.Excludes(table, x.Key, c.origin) {
		return nil
	}
	found := false
	err := getValue(c.engine, store.AppendRecordKey(nil, table, x.Key), func([]byte) error {
		found = true
		return nil
	})
	if err != nil {
		return fault(globaltable.Internal, opReview, "", err)
	}
	if found {
		return fault(globaltable.Unavailable, opReview, "a replica of a table here has to go first", nil)
	}
	return nil
}

// commitReview fills the batch.
func (c *core) commitReview(g *group, sub *submission) error {
	r := sub.review
	if len(r.voids) == 0 {
		return nil
	}
	c.keepSent(g, c.lanes[r.lane]) // how long the bodies were
	if c.voiding != nil {
		c.voiding(r.lane, r.voids[len(r.voids)-1].Seq)
	}
	for i := range r.voids {
		h := r.voids[i]
		h.Void = true
		key := store.AppendLogKey(c.scratch[:0], r.lane, h.Seq)
		c.scratch = change.AppendEntry(key, &change.Entry{Header: h})
		g.batch.Set(c.scratch[:len(key)], c.scratch[len(key):])
		seq, freed, id := h.Seq, r.freed[i], r.lane
		g.settled = append(g.settled, func(v *view) { v.lane(id).size.free(seq, freed) })
	}
	for i := range r.relogs {
		if plantedVoid {
			break
		}
		if err := c.logChange(g, r.relogs[i].place, &r.relogs[i].change); err != nil {
			return err
		}
	}
	return c.placings.count(g, r.table, &globaltable.Placed{Voided: int64(len(r.voids)), Relogged: int64(len(r.relogs))})
}
