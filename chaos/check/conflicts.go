package check

import (
	"cmp"
	"maps"
	"slices"
)

// Listing is what a region wrote into a conflict feed: that a write had lost, and what of it.
type Listing struct {
	By      uint16 // the region
	Feed    Key    // of the entry
	At      Stamp  // of the entry's write
	Key     Key    // of the item
	Loser   Stamp
	Lost    bool // it lost in a merge, as somebody has listed
	Fenced  bool // this listing says that the loser comes from a store that was given up, and may be older than what nobody remembers
	Whole   bool // a put or a delete was lost
	Deleted bool // Whole: a delete
	Parts   []Part
}

// Part is one attribute in which a write lost. Values are as writes have them; "" is none.
type Part struct {
	Name      string
	Lost, Won string
	Winner    Stamp
}

// Sight is what is known of whether the region that wrote w had got e, of the same key, when it wrote: surely, and perhaps.
type Sight func(w, e Logged) (surely, perhaps bool)

// Conflicts checks I22: what is listed has lost something to a write whose writer had not seen it, and what surely did so is listed.
//
// A write is sure to be listed if something that it gave an attribute was taken away, and nobody who wrote to that attribute afterwards can have seen it. Then the region that made it has it in its record when the first of these writes comes. Nobody
// else must be relied on: a third region may have got a write that had seen it before the write itself. Whoever had got that one counts as one who has seen what it had seen (PROTOCOL.md section 1 rule 6: contexts are joined).
type Conflicts struct {
	Ledger *Ledger
	Saw    Sight
	Feed   func(item Key, loser Stamp) (entry Key, ok bool) // where a conflict is listed; ok is false if those of the item's table are not

	seen map[dot]map[Stamp]bool // by write: what its writer had seen, perhaps, at first or second hand
}

// NewConflicts returns a checker of the ledger's conflicts. It may be used again and again while the ledger grows.
func NewConflicts(ledger *Ledger, saw Sight, feed func(item Key, loser Stamp) (entry Key, ok bool)) *Conflicts {
	return &Conflicts{Ledger: ledger, Saw: saw, Feed: feed, seen: map[dot]map[Stamp]bool{}}
}

// perhaps returns what the writer of w had seen, perhaps. A write of a region comes with all that this region had written before.
func (c *Conflicts) perhaps(w Logged) map[Stamp]bool {
	of := dot{w.Stamp, w.Key}
	if out, known := c.seen[of]; known {
		return out
	}
	out := map[Stamp]bool{}
	c.seen[of] = out
	all, newest := c.Ledger.byKey[w.Key], map[uint16]Stamp{}
	var direct []Logged
	for _, f := range all {
		if _, is := c.Saw(w, f); is && f.Stamp != w.Stamp && !f.Again {
			out[f.Stamp] = true
			direct = append(direct, f)
		}
	}
	for _, f := range direct {
		for s := range c.perhaps(f) {
			out[s] = true
		}
	}
	for s := range out {
		if s.Compare(newest[s.Origin]) > 0 {
			newest[s.Origin] = s
		}
	}
	for _, f := range all {
		if f.Stamp.Compare(newest[f.Stamp.Origin]) < 0 {
			out[f.Stamp] = true
		}
	}
	return out
}

// Exact checks the listings of a whole run. fenced reports whether a listing may be that of a write which a store had that was given up; gone, whether a write need not have reached anybody; kept, whether anybody still has an item.
func (c *Conflicts) Exact(listings []Listing, fenced func(Listing) bool, gone func(Write) bool, kept func(Key) bool) []Violation {
	var out []Violation
	listed, given := map[Key]bool{}, map[Key]bool{}
	for _, l := range listings {
		listed[l.Feed] = true
		given[l.Feed] = given[l.Feed] || l.Fenced
		why := c.wrong(l, given[l.Feed])
		if why == "" && l.Fenced && !fenced(l) {
			why = "no store had it that was given up"
		}
		if why != "" {
			out = append(out, violation("I22", l.By, "listed at %s that the write of %s at %s lost: %s", l.At, l.Key, l.Loser, why))
		}
	}
	for _, k := range slices.SortedFunc(maps.Keys(c.Ledger.byKey), Key.compare) {
		if !kept(k) {
			continue
		}
		all := c.Ledger.byKey[k]
		for _, e := range all {
			entry, ok := c.Feed(k, e.Stamp)
			if !ok || e.Again || listed[entry] || gone(e.Write) {
				continue
			}
			if name, by := c.lost(e, all); slices.ContainsFunc(by, func(w Logged) bool { return !gone(w.Write) }) {
				out = append(out, violation("I22", 0, "the write of %s at %s lost attribute %q to that at %s, whose writer had not seen it, and is not listed", k, e.Stamp, name, by[0].Stamp))
			}
		}
	}
	return out
}

// Atomic checks I22 for one store: the listing of a write that was made in it is there as soon as that which took something away.
func (c *Conflicts) Atomic(s Snapshot, purged Frontiers) []Violation {
	var out []Violation
	for k, all := range c.Ledger.byKey {
		if !s.holds(k) || s.Joined(k) {
			continue
		}
		for _, e := range all {
			entry, ok := c.Feed(k, e.Stamp)
			if !ok || e.by() != s.Region || e.Again || c.Ledger.Void(e) {
				continue
			}
			name, by := c.lost(e, all)
			i := slices.IndexFunc(by, func(w Logged) bool { return s.has(w) && !c.Ledger.Void(w) })
			if i < 0 {
				continue
			}
			is := func(l Logged) bool { return s.Records[entry].Has(l.Write) || c.Ledger.collected(l.Write, purged) }
			if !slices.ContainsFunc(c.Ledger.byKey[entry], is) {
				out = append(out, violation("I22", s.Region, "has the write of %s at %s, to which its own at %s lost attribute %q, and does not list it", k, by[i].Stamp, e.Stamp, name))
			}
		}
	}
	slices.SortFunc(out, func(a, b Violation) int { return cmp.Compare(a.Detail, b.Detail) })
	return out
}

// lost returns an attribute in which e surely lost to others unseen, and the writes that took it; none if there is no such attribute. all is the key's writes.
func (c *Conflicts) lost(e Logged, all []Logged) (name string, by []Logged) {
	if e.Kind == Delete && e.Typed != nil {
		return "", nil // contributions may have kept the item
	}
	if e.Kind == Delete {
		by, ok := c.takers(e, "", all)
		if ok && len(by) > 0 {
			return "", by
		}
		return "", nil
	}
	for _, name := range attributesOf(e.Write) {
		if by, ok := c.takers(e, name, all); ok && len(by) > 0 {
			return name, by
		}
	}
	return "", nil
}

// takers returns the writes which took away what e gave an attribute, or, if e is a delete, the item; ok is false if it cannot be told that all of them are such.
func (c *Conflicts) takers(e Logged, name string, all []Logged) (by []Logged, ok bool) {
	for _, w := range all {
		if w.Again || w.Stamp.Compare(e.Stamp) <= 0 || e.Kind != Delete && !w.covers(name) {
			continue
		}
		if e.Kind == Delete && w.Kind != Put || e.Kind != Delete && w.Set[name] == e.Set[name] || w.Stamp.Origin == e.Stamp.Origin {
			return nil, false
		}
		if c.perhaps(w)[e.Stamp] {
			return nil, false
		}
		// Whoever comes back with what nobody waited for comes to regions that may have collected what they had removed, and what had expired.
		if _, sets := e.Set[name]; len(c.Ledger.Logs(w.Key, w.Stamp)) > 1 && (!sets || e.Due != nil) {
			return nil, false
		}
		by = append(by, w)
	}
	return by, true
}

// covers reports whether w leaves nothing of what an older write gave an attribute.
func (w *Write) covers(name string) bool {
	if w.Kind != Update {
		return true
	}
	_, sets := w.Set[name]
	return sets || slices.Contains(w.Remove, name)
}

// attributesOf returns the attributes that w names, sorted.
func attributesOf(w Write) []string {
	return slices.Sorted(func(yield func(string) bool) {
		for name := range w.Set {
			if !yield(name) {
				return
			}
		}
		for _, name := range w.Remove {
			if !yield(name) {
				return
			}
		}
	})
}

// wrong says what is wrong with a listing; "" if nothing is. given is true if it is one of a store that was given up, too, whose parts name who won if they can.
func (c *Conflicts) wrong(l Listing, given bool) string {
	e, known := c.Ledger.Find(l.Key, l.Loser)
	switch {
	case !known:
		return "nobody has made it"
	case l.Whole && e.Kind == Update:
		return "it did not write the whole item"
	case l.Whole && l.Deleted != (e.Kind == Delete):
		return "it is said to have deleted what it put, or the other way round"
	case !l.Whole && e.Kind == Delete && !(given && len(l.Parts) == 0 && c.leavesWhatItSaw(e)):
		return "it has no attributes"
	}
	// What is inside of maps, and contributions, Write.Set does not say.
	given = given || e.Typed != nil
	for _, p := range l.Parts {
		if e.Typed != nil {
			break
		}
		if why := wrongPart(e, l, p, given); why != "" {
			return why
		}
	}
	if !l.Lost {
		return ""
	}
	unseen := false
	for _, w := range c.Ledger.byKey[l.Key] {
		if w.Stamp.Compare(e.Stamp) > 0 && w.Stamp.Origin != e.Stamp.Origin && (e.Typed != nil || w.takes(e.Write)) {
			surely, _ := c.Saw(w, e)
			unseen = unseen || !surely
		}
	}
	if !unseen {
		return "all who wrote over it had seen it"
	}
	for _, p := range l.Parts {
		if given {
			break
		}
		if why := c.wrongWinner(e, l, p); why != "" {
			return why
		}
	}
	return ""
}

// leavesWhatItSaw reports whether what a delete had seen of contributions may be all that a store has left of it: that it deleted the item, a later write of the whole, or the expiry of a later item, has taken the place of.
func (c *Conflicts) leavesWhatItSaw(e Logged) bool {
	return len(e.typed().Seen) > 0 && (e.Due != nil || c.overwritten(e, ""))
}

// takes reports whether w can take anything away from e.
func (w *Write) takes(e Write) bool {
	if w.Kind != Update || e.Kind == Delete {
		return w.Kind != Update
	}
	return slices.ContainsFunc(attributesOf(e), w.covers)
}

// wrongPart says what is wrong with what is listed as lost.
func wrongPart(e Logged, l Listing, p Part, given bool) string {
	switch lost, has := e.Set[p.Name]; {
	case p.Lost != "" && p.Lost != lost:
		return "it gave attribute " + p.Name + " another value than is listed"
	case p.Lost == "" && has && !l.Whole && !given:
		return "it gave attribute " + p.Name + " a value, and a removal is listed"
	case p.Lost == "" && !l.Whole && !slices.Contains(e.Remove, p.Name):
		return "it did not name attribute " + p.Name
	}
	return ""
}

// overwritten reports whether somebody has written to an attribute after w.
func (c *Conflicts) overwritten(w Logged, name string) bool {
	return slices.ContainsFunc(c.Ledger.byKey[w.Key], func(r Logged) bool {
		return r.Stamp.Compare(w.Stamp) > 0 && r.covers(name)
	})
}

// wrongWinner says what is wrong with what is listed as having won.
func (c *Conflicts) wrongWinner(e Logged, l Listing, p Part) string {
	w, known := c.Ledger.Find(l.Key, p.Winner)
	switch {
	case !known:
		return "nobody has made the write that won attribute " + p.Name
	case p.Won == "" && c.overwritten(w, p.Name): // and of what was overwritten nothing was known any more
	case p.Won != w.Set[p.Name]:
		return "the winner gave attribute " + p.Name + " another value than is listed"
	}
	switch {
	case l.Whole:
		return "" // of a whole item both sides are listed, what is equal and what was written to it before and since, too
	case w.Stamp.Compare(e.Stamp) < 0:
		return "the winner of attribute " + p.Name + " is older"
	case !w.covers(p.Name):
		return "the winner did not name attribute " + p.Name
	}
	if surely, _ := c.Saw(w, e); surely {
		return "the winner of attribute " + p.Name + ", at " + w.Stamp.String() + ", had seen it"
	}
	return ""
}
