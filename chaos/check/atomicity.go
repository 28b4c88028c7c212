package check

import (
	"cmp"
	"slices"
)

// Logged is one write in the log of a region: of its origin or, logged again, of one that had it and came back with a new store.
type Logged struct {
	Write
	By          uint16 // whose log; 0: the origin's
	Incarnation uint64 // of that region's store
	Lane        uint64
	Seq         uint64
	Catalog     uint64 // version of the table's document under which it was made
	Again       bool   // logged before, in a lane of a store that nobody follows any more
	Number      int    // among all that the ledger has, from 1, in the order in which it became known; Ledger.Add gives it
}

func (l Logged) by() uint16 { return cmp.Or(l.By, l.Stamp.Origin) }

// Snapshot is all that one region's store has after a start, or at the end.
type Snapshot struct {
	Replica
	Store     int                           // see Lane
	Log       []Logged                      // what its own log has
	Trimmed   map[uint64]uint64             // own lane → the log begins after it
	Positions map[Lane]uint64               // how far it has applied the lanes of others; Lane.Region is this region
	Indexes   []Index                       // of all tables of which it knows indexes
	Holds     Members                       // under the catalog in force there: what it may not hold, or not all of, is not looked at
	Joined    func(k Key) bool              // something of the item may have come by an exchange, which moves no position
	Hollow    func(l Lane, seq uint64) bool // whether it applied an entry of a lane that it follows only after its body had been erased; nil: there is none
}

// lane is the lane of a log entry as s follows it.
func (s *Snapshot) lane(l Logged) Lane {
	return Lane{Region: s.Region, Store: s.Store, Origin: l.by(), Incarnation: l.Incarnation, Lane: l.Lane}
}

func (s *Snapshot) holds(k Key) bool { return slices.Contains(s.Holds(k), s.Region) }

// has reports whether s has applied a log entry of another region, with what was in it.
func (s *Snapshot) has(l Logged) bool {
	position, follows := s.Positions[s.lane(l)]
	return follows && l.Seq <= position && (s.Hollow == nil || !s.Hollow(s.lane(l), l.Seq))
}

// Atomicity checks I20: what one batch holds is there wholly or not at all. Records ⇔ entries of the own log, or positions in the lanes of others;
// records ⇔ digests. ledger has every write that was ever durable in its origin's log, by its stamp and key.
// What is gone at or below a purge frontier may be. erased, if not nil, reports writes that may be gone though the table's documents do not say so.
func Atomicity(s Snapshot, ledger *Ledger, purged Frontiers, erased func(Write) bool) []Violation {
	var out []Violation
	may := func(w Write) bool { return ledger.collected(w, purged) || erased != nil && erased(w) }
	inLog := map[dot]bool{}
	for _, l := range s.Log {
		inLog[dot{l.Stamp, l.Key}] = true
		if !s.holds(l.Key) {
			continue
		}
		if lost := lostPart(s.Records[l.Key], l.Write); lost != "" && !may(l.Write) {
			out = append(out, violation("I20", s.Region, "entry %d of lane %x is in the log, and %s of %s at %s is not in the records", l.Seq, l.Lane, lost, l.Key, l.Stamp))
		}
	}
	for _, k := range sortedKeys(s.Records, s.Records) {
		if !s.holds(k) {
			continue
		}
		for _, stamp := range stamps(s.Records[k]) {
			if reason := uncovered(s, ledger, dot{stamp, k}, inLog); reason != "" {
				out = append(out, violation("I20", s.Region, "%s at %s is in the records, and %s", k, stamp, reason))
			}
		}
	}
	for _, l := range ledger.writes {
		if !s.has(l) || !s.holds(l.Key) || ledger.Void(l) {
			continue
		}
		if lost := lostPart(s.Records[l.Key], l.Write); lost != "" && !may(l.Write) {
			out = append(out, violation("I20", s.Region, "position %d covers entry %d of region %d, and %s of %s is not in the records", s.Positions[s.lane(l)], l.Seq, l.by(), lost, l.Key))
		}
	}
	for _, table := range tables([]Replica{s.Replica}) {
		if kept := s.Digests[table]; kept != s.Recounted[table] {
			out = append(out, violation("I20", s.Region, "the digest of table %x is not that of its records", table))
		}
	}
	return out
}

// uncovered says why a write in the records should not be there; "" when all is well.
func uncovered(s Snapshot, ledger *Ledger, d dot, inLog map[dot]bool) (reason string) {
	known := ledger.byDot[d]
	if inLog[d] || len(known) > 0 && s.Joined != nil && s.Joined(d.key) {
		return ""
	}
	reason = "no log has it"
	for _, l := range known {
		if reason = uncoveredBy(s, ledger, l); reason == "" {
			return ""
		}
	}
	return reason
}

// uncoveredBy says why one log entry does not account for its write's being in the records.
func uncoveredBy(s Snapshot, ledger *Ledger, l Logged) string {
	switch {
	case ledger.Void(l):
		return ""
	case l.by() == s.Region && l.Seq > s.Trimmed[l.Lane]:
		return "its log entry is gone, though not trimmed"
	case l.by() != s.Region && l.Seq > s.Positions[s.lane(l)]:
		return "no position covers it"
	}
	return ""
}

// stamps returns the stamps of the writes that a record is made of, sorted.
func stamps(r Record) []Stamp {
	out := []Stamp{r.Reset}
	for _, c := range r.Cells {
		out = append(out, c.Stamp)
	}
	slices.SortFunc(out, Stamp.Compare)
	out = slices.Compact(out)
	return slices.DeleteFunc(out, func(s Stamp) bool { return s.Origin == 0 }) // an expiry is nobody's write
}

// dot is a write's identity: transactions write several keys.
type dot struct {
	stamp Stamp
	key   Key
}

// Ledger has every write that was ever durable in a log. The zero value is not ready; see NewLedger.
type Ledger struct {
	byDot   map[dot][]Logged
	byKey   map[Key][]Logged
	byTable map[uint64][]Logged
	writes  []Logged // in the order in which they were added, as all of these are
	void    map[owner]bool
}

// owner is one store of a region.
type owner struct {
	region      uint16
	incarnation uint64
}

// NewLedger returns an empty ledger.
func NewLedger() *Ledger {
	return &Ledger{byDot: map[dot][]Logged{}, byKey: map[Key][]Logged{}, byTable: map[uint64][]Logged{}, void: map[owner]bool{}}
}

// Add adds a write. It returns a violation when another entry has the same identity, when the same write was logged elsewhere, unless it says so itself, and when what was logged again is not what it was.
func (l *Ledger) Add(w Logged) (out []Violation) {
	d := dot{w.Stamp, w.Key}
	for _, old := range l.byDot[d] {
		if old.by() == w.by() && old.Incarnation == w.Incarnation && old.Lane == w.Lane && old.Seq == w.Seq {
			return nil
		}
		if !w.Again {
			return []Violation{violation("I20", w.Stamp.Origin, "%s at %s is in entry %d of lane %x and in entry %d of lane %x", w.Key, w.Stamp, old.Seq, old.Lane, w.Seq, w.Lane)}
		}
	}
	if all := l.byDot[d]; len(all) > 0 {
		if why := w.beyond(&all[0].Write); why != "" {
			out = append(out, violation("I20", w.by(), "entry %d of lane %x has %s at %s again, %s", w.Seq, w.Lane, w.Key, w.Stamp, why))
		}
	}
	w.Number = len(l.writes) + 1
	l.byDot[d] = append(l.byDot[d], w)
	l.byKey[w.Key] = append(l.byKey[w.Key], w)
	l.byTable[w.Key.Table] = append(l.byTable[w.Key.Table], w)
	l.writes = append(l.writes, w)
	return out
}

// beyond says what w, logged again, does that it did not do when it was logged first; "" if it is all of that write, or what was left of it.
func (w *Write) beyond(first *Write) string {
	for _, name := range attributesOf(*w) {
		value, sets := w.Set[name]
		old, had := first.Set[name]
		switch {
		case sets && (!had || old != value):
			return "with another value of attribute " + name
		case sets && first.due(name) != w.due(name):
			return "and it expires at another time by attribute " + name
		case !sets && !slices.Contains(first.Remove, name):
			return "and it removes attribute " + name
		}
	}
	return ""
}

// Close makes void what a region's store with that incarnation has logged: it is not followed any more, was lost, or was restored and gives its sequences again. Positions in its lanes say nothing
// from then on; what is to become of its writes is judged at the end.
func (l *Ledger) Close(region uint16, incarnation uint64) { l.void[owner{region, incarnation}] = true }

// Reopen undoes Close: who had closed the store was put out himself, and what he said is void.
func (l *Ledger) Reopen(region uint16, incarnation uint64) {
	delete(l.void, owner{region, incarnation})
}

// Closed reports whether Close was called for the store.
func (l *Ledger) Closed(region uint16, incarnation uint64) bool {
	return l.void[owner{region, incarnation}]
}

// Void reports whether a log entry is of a store that is closed.
func (l *Ledger) Void(w Logged) bool { return l.void[owner{w.by(), w.Incarnation}] }

// Find returns the write of the key at the stamp, as it was logged first.
func (l *Ledger) Find(k Key, s Stamp) (w Logged, known bool) {
	if all := l.byDot[dot{s, k}]; len(all) > 0 {
		return all[0], true
	}
	return Logged{}, false
}

// Logs returns all log entries of a write.
func (l *Ledger) Logs(k Key, s Stamp) []Logged { return l.byDot[dot{s, k}] }

// Of returns all log entries of writes to a key. The caller does not change them.
func (l *Ledger) Of(k Key) []Logged { return l.byKey[k] }

// Each calls f with every log entry, in the order in which they were added.
func (l *Ledger) Each(f func(Logged)) {
	for _, w := range l.writes {
		f(w)
	}
}

// Newest returns the time of the newest write of a table, zero if there is none.
func (l *Ledger) Newest(table uint64) (newest uint64) {
	for _, w := range l.byTable[table] {
		newest = max(newest, w.Stamp.Time)
	}
	return newest
}

// collected reports whether a write may be missing since it was collected: what was written under a store that nobody follows any more may have had a part in that, or not. What is known of such a
// store's writes is what came first, since they are read in their order.
func (l *Ledger) collected(w Write, purged Frontiers) bool {
	var all, known, void []Write
	for _, o := range l.byKey[w.Key] {
		all = append(all, o.Write)
		if l.Void(o) {
			void = append(void, o.Write)
		} else {
			known = append(known, o.Write)
		}
	}
	if purged.gone(w, all) {
		return true
	}
	slices.SortFunc(void, func(a, b Write) int { return a.Stamp.Compare(b.Stamp) })
	for _, next := range void {
		if purged.gone(w, known) {
			return true
		}
		known = append(known, next)
	}
	return false
}

// Len returns the number of writes.
func (l *Ledger) Len() int { return len(l.writes) }
