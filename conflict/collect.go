package conflict

import (
	"slices"

	"github.com/concordat-db/concordat/conflict/hlc"
)

// Garbage returns the least purge frontier P at which something of an encoded record goes (see Collect). ok is false when nothing of it ever does: it is a live
// item without a removed attribute, or no record at all. For a live item in uniform form, which is what most writes leave, it looks at two bytes.
func Garbage(encoded []byte) (at hlc.Timestamp, ok bool, err error) {
	if len(encoded) == 0 || len(encoded) > 1 && encoded[0] == recordVersion && encoded[1]&(recordGeneral|recordLive) == recordLive {
		return 0, false, nil
	}
	h, err := readHead(encoded)
	if err != nil {
		return 0, false, err
	}
	if h.uniform {
		return h.write.Stamp.Time, true, nil
	}
	return h.garbage()
}

// garbage is Garbage for the general form. It builds no cells, unless there are sections.
func (h *head) garbage() (at hlc.Timestamp, ok bool, err error) {
	if h.more != nil {
		r, err := decodeGeneral(*h)
		if err != nil {
			return 0, false, err
		}
		at, ok = r.garbage()
		return at, ok, nil
	}
	r := reader{b: h.body}
	used := make([]bool, len(h.writes))
	if i := r.uvarint(); i > 0 && i <= uint64(len(h.writes)) {
		at = h.writes[i-1].Stamp.Time // of a tombstone without a cell
	}
	live := false
	for range r.count(minCellLen) {
		c := r.cell(h.writes, used, isItem)
		if r.kind != nil {
			return 0, false, r.err("read record")
		}
		switch {
		case !c.Removed:
			live = true
		case !ok || c.Stamp.Time < at:
			at, ok = c.Stamp.Time, true
		}
	}
	if err := r.err("read record"); err != nil {
		return 0, false, err
	}
	return at, ok || !live, nil
}

// Collectable reports whether nothing is left of an encoded record that is collected at the purge frontier p. It decodes only records of deleted items.
func Collectable(encoded []byte, p hlc.Timestamp) (bool, error) {
	at, ok, err := Garbage(encoded)
	if err != nil || !ok || at > p {
		return false, err
	}
	if h, err := readHead(encoded); err != nil || h.live {
		return false, err
	}
	_, gone, _, err := Collect(nil, encoded, p)
	return gone, err
}

// Collect drops what nobody can need any more when the purge frontier of the record's table is p: nothing that has not been merged in every replica is at or below p, and
// nothing is on its way that was written by a region which had not merged all of that (PROTOCOL.md section 4).
//
//   - The removal of an attribute, or of an entry in one, goes when its stamp is at or below p: no older value of it arrives any more.
//   - Of contributions goes what a write had seen, and with it that it had, when that write is at or below p; see sift.
//   - A record of which nothing else is left goes, vector and all, when its reset is at or below p.
//   - All else stays. The reset of a live item is the stamp of its cells, or hides them; entries of the vector, contexts and floors are dropped by local
//     writes only, which tell the peers their floor.
//
// What is left has the same canonical bytes, and so has its join with whatever is above p, in whatever order replicas collect. gone is true when nothing is left. changed
// is true when next, the record with less in it, was appended to dst, which does not overlap encoded. Otherwise nothing was appended.
func Collect(dst, encoded []byte, p hlc.Timestamp) (next []byte, gone, changed bool, err error) {
	at, ok, err := Garbage(encoded)
	if err != nil || !ok || at > p {
		return dst, false, false, err
	}
	r, err := DecodeRecord(encoded)
	if err != nil {
		return dst, false, false, err
	}
	less := r.collect(p)
	if len(r.Cells)+len(r.Nested)+len(r.Typed) == 0 && r.Reset.Stamp.Time <= p {
		return dst, true, false, nil
	}
	if !less {
		return dst, false, false, nil
	}
	return AppendRecord(dst, &r), false, true, nil
}

// garbage is Garbage for a decoded record.
func (r *Record) garbage() (at hlc.Timestamp, ok bool) {
	least := func(t hlc.Timestamp) {
		if !ok || t < at {
			at, ok = t, true
		}
	}
	for _, cells := range [...][]Cell{r.Cells, r.Nested} {
		for i := range cells {
			if cells[i].Removed {
				least(cells[i].Stamp.Time)
			}
		}
	}
	for i := range r.Typed {
		r.sift(&r.Typed[i], func(t hlc.Timestamp) bool { least(t); return false })
	}
	if len(r.Cells)+len(r.Nested)+len(r.Typed) == 0 {
		return r.Reset.Stamp.Time, true
	}
	return at, ok
}

// collect drops what goes at p, but for the reset. It reports whether that was something.
func (r *Record) collect(p hlc.Timestamp) (less bool) {
	var typed []Typed
	goes := func(at hlc.Timestamp) bool {
		less = less || at <= p
		return at <= p
	}
	for i := range r.Typed {
		if t := r.sift(&r.Typed[i], goes); !t.isEmpty() {
			typed = append(typed, t)
		}
	}
	r.Typed = typed
	n := len(r.Cells) + len(r.Nested)
	r.dropRemovals(p)
	return less || len(r.Cells)+len(r.Nested) < n
}

// dropRemovals drops the removals of attributes and entries at or below p.
func (r *Record) dropRemovals(p hlc.Timestamp) {
	removed := func(c Cell) bool { return c.Removed && c.Stamp.Time <= p }
	r.Cells = slices.DeleteFunc(r.Cells, removed)
	if len(r.Nested) > 0 {
		r.Nested = slices.DeleteFunc(r.Nested, removed)
		r.wholeAgain()
	}
}

// sift returns t without what goes: for everything that can go at some purge frontier, goes is asked with the least such. That is the time of the write that had seen it:
//
//   - A run goes that was observed whole, and the observation with it; an observation of what is not there; one of an earlier run. An observation of a part stays for ever, and is never subtracted: a late copy of the run would count again.
//   - A removed dot of an element goes, and its removal, unless that is what removes the element from the cell.
//   - A bid goes that was outbid, and that it was, unless that is what hides the cell.
func (r *Record) sift(t *Typed, goes func(at hlc.Timestamp) bool) Typed {
	out := Typed{Name: t.Name, Runs: slices.Clone(t.Runs)}
	base, hasBase := r.base(t.Name)
	for i := range t.Observed {
		obs := &t.Observed[i]
		j := slices.IndexFunc(out.Runs, func(run Run) bool { return run.Last.Origin == obs.Last.Origin })
		switch {
		case !plantedPart && j >= 0 && obs.First == out.Runs[j].First && obs.Last.Time < out.Runs[j].Last.Time: // a part
			out.Observed = append(out.Observed, *obs)
		case !goes(obs.By.Time):
			out.Observed = append(out.Observed, *obs)
		case j >= 0 && obs.First >= out.Runs[j].First && (!plantedPart || obs.Last.Time >= out.Runs[j].Last.Time):
			out.Runs = slices.Delete(out.Runs, j, j+1)
		}
	}
	for i := range t.Elements {
		e := &t.Elements[i]
		inBase := hasBase && base.Value.Type().IsSet() && base.Value.Has(e.Value)
		left := Element{Value: e.Value}
		for _, dot := range e.Adds {
			if j := indexOf(e.Removals, dot.Origin); j < 0 || dot.Time > e.Removals[j].Dot.Time || !goes(e.Removals[j].By.Time) {
				left.Adds = append(left.Adds, dot)
			}
		}
		for _, seen := range e.Removals {
			if inBase && seen.Dot.Origin == base.Stamp.Origin && seen.Dot.Time >= base.Stamp.Time || !goes(seen.By.Time) {
				left.Removals = append(left.Removals, seen)
			}
		}
		if len(left.Adds)+len(left.Removals) > 0 {
			out.Elements = append(out.Elements, left)
		}
	}
	for i := range t.Bids {
		b := &t.Bids[i]
		if j := indexOf(t.Outbid, b.Dot.Origin); j < 0 || b.isLive(t) || !goes(t.Outbid[j].By.Time) {
			out.Bids = append(out.Bids, *b)
		}
	}
	for _, seen := range t.Outbid {
		if hasBase && seen.Dot.Origin == base.Stamp.Origin && seen.Dot.Time >= base.Stamp.Time || !goes(seen.By.Time) {
			out.Outbid = append(out.Outbid, seen)
		}
	}
	return out
}

// indexOf returns the index of the dot of origin o; -1 if there is none.
func indexOf(seen []Observed, o hlc.Origin) int {
	return slices.IndexFunc(seen, func(s Observed) bool { return s.Dot.Origin == o })
}
