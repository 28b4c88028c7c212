package check

import (
	"cmp"
	"slices"
)

// Logged is one write in the log of its origin.
type Logged struct {
	Write
	Lane    uint64
	Seq     uint64
	Catalog uint64 // version of the table's document under which it was made
}

// Snapshot is all that one region's store has after a start, or at the end.
type Snapshot struct {
	Replica
	Log       []Logged                // what its own log has
	Trimmed   map[uint64]uint64       // own lane → the log begins after it
	Positions map[Lane]uint64         // how far it has applied the lanes of others; Lane.Region is this region
	Indexes   []Index                 // of all tables of which it knows indexes
	Holds     Members                 // under the catalog in force there: what it may not hold, or not all of, is not looked at
	Joined    func(table uint64) bool // something of the table may have come by an exchange, which moves no position
}

func (s *Snapshot) holds(k Key) bool { return slices.Contains(s.Holds(k.Table), s.Region) }

// Atomicity checks I20: what one batch holds is there wholly or not at all. Records ⇔ entries of the own log, or positions in the lanes of others;
// records ⇔ digests. ledger has every write that was ever durable in its origin's log, by its stamp and key.
// What is gone at or below a purge frontier may be.
func Atomicity(s Snapshot, ledger *Ledger, purged Frontiers) []Violation {
	var out []Violation
	inLog := map[dot]bool{}
	for _, l := range s.Log {
		inLog[dot{l.Stamp, l.Key}] = true
		if !s.holds(l.Key) {
			continue
		}
		if lost := lostPart(s.Records[l.Key], l.Write); lost != "" && !purged.gone(l.Write, ledger.plain()) {
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
		position, follows := s.Positions[Lane{Region: s.Region, Origin: l.Stamp.Origin, Lane: l.Lane}]
		if !follows || l.Seq > position || !s.holds(l.Key) {
			continue
		}
		if lost := lostPart(s.Records[l.Key], l.Write); lost != "" && !purged.gone(l.Write, ledger.plain()) {
			out = append(out, violation("I20", s.Region, "position %d covers entry %d of region %d, and %s of %s is not in the records", position, l.Seq, l.Stamp.Origin, lost, l.Key))
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
func uncovered(s Snapshot, ledger *Ledger, d dot, inLog map[dot]bool) string {
	l, known := ledger.byDot[d]
	switch {
	case d.stamp.Origin == s.Region && inLog[d], known && s.Joined != nil && s.Joined(d.key.Table):
		return ""
	case !known:
		return "no log has it"
	case d.stamp.Origin == s.Region && l.Seq > s.Trimmed[l.Lane]:
		return "its log entry is gone, though not trimmed"
	case d.stamp.Origin != s.Region && l.Seq > s.Positions[Lane{Region: s.Region, Origin: d.stamp.Origin, Lane: l.Lane}]:
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
	return slices.DeleteFunc(out, Stamp.IsZero)
}

// dot is a write's identity: transactions write several keys.
type dot struct {
	stamp Stamp
	key   Key
}

// Ledger has every write that was ever durable in its origin's log. The zero value is not ready; see NewLedger.
type Ledger struct {
	byDot  map[dot]Logged
	writes []Logged // in the order in which they were added
}

// NewLedger returns an empty ledger.
func NewLedger() *Ledger { return &Ledger{byDot: map[dot]Logged{}} }

// Add adds a write. It returns a violation when another entry has the same identity, or the same write was logged elsewhere.
func (l *Ledger) Add(w Logged) []Violation {
	d := dot{w.Stamp, w.Key}
	if old, there := l.byDot[d]; there {
		if cmp.Compare(old.Seq, w.Seq) != 0 || old.Lane != w.Lane {
			return []Violation{violation("I20", w.Stamp.Origin, "%s at %s is in entry %d of lane %x and in entry %d of lane %x", w.Key, w.Stamp, old.Seq, old.Lane, w.Seq, w.Lane)}
		}
		return nil
	}
	l.byDot[d] = w
	l.writes = append(l.writes, w)
	return nil
}

// Find returns the write of the key at the stamp.
func (l *Ledger) Find(k Key, s Stamp) (w Logged, known bool) {
	w, known = l.byDot[dot{s, k}]
	return w, known
}

// Newest returns the time of the newest write of a table, zero if there is none.
func (l *Ledger) Newest(table uint64) (newest uint64) {
	for _, w := range l.writes {
		if w.Key.Table == table {
			newest = max(newest, w.Stamp.Time)
		}
	}
	return newest
}

func (l *Ledger) plain() []Write {
	out := make([]Write, 0, len(l.writes))
	for _, w := range l.writes {
		out = append(out, w.Write)
	}
	return out
}

// Len returns the number of writes.
func (l *Ledger) Len() int { return len(l.writes) }
