package conflict

import (
	"bytes"
	"encoding/binary"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable/item"
)

// The encoding of what attributes have beside their cells: the section of a record with the tag sectionTyped.
//
//	section       count ‖ attribute*, by name
//	attribute     name (bytes) ‖ parts ‖ [runs] ‖ [observations] ‖ [elements] ‖ [bids] ‖ [outbid]; parts has a bit for each that is there
//	runs          count ‖ run*, by origin
//	run           dot of the last ‖ time of the first, relative to the last ‖ sum (bytes)
//	observations  count ‖ (run ‖ by)*, by origin
//	elements      count ‖ (value (bytes) ‖ adds ‖ removals)*, by the bytes of the value
//	adds          count ‖ dot*, by origin
//	removals      count ‖ observed*, by origin; like outbid
//	observed      dot ‖ by
//	bids          count ‖ (dot ‖ 1 for the least, 0 for the greatest ‖ value (bytes))*, by origin
//	dot, by       uvarint origin ‖ time
//
// Times are relative to that of the record's newest write, or to 0 if it has none. Nothing is empty that is there: no list, no attribute, no element without a dot.
const (
	partRuns     = 1 << 0
	partObserved = 1 << 1
	partElements = 1 << 2
	partBids     = 1 << 3
	partOutbid   = 1 << 4
	partsKnown   = partRuns | partObserved | partElements | partBids | partOutbid

	minAttributeLen = 6
	minDotLen       = 2
	minRunLen       = minDotLen + 2
	minElementLen   = 4
	minBidLen       = minDotLen + 2
)

// dot reads a dot.
func (r *reader) dot(base hlc.Timestamp) hlc.Stamp {
	o := r.uvarint()
	s := hlc.Stamp{Time: r.time(base), Origin: hlc.Origin(o)}
	if o == 0 || o > 1<<16-1 || s.Time == 0 {
		r.fail(ErrCorrupt, "bad dot")
		return hlc.Stamp{}
	}
	return s
}

// list reads a count, which is not zero, and entries of at least size bytes, ascending by key.
func list[T any](r *reader, size int, key func(a, b *T) int, read func() T) []T {
	n := r.count(size)
	if n == 0 {
		r.fail(ErrCorrupt, "empty list")
		return nil
	}
	out := make([]T, 0, min(n, 16)) // what is in memory is some times its least encoding
	for range n {
		e := read()
		if r.kind != nil {
			return nil
		}
		if last := len(out) - 1; last >= 0 && key(&out[last], &e) >= 0 {
			r.fail(ErrCorrupt, "list out of order")
			return nil
		}
		out = append(out, e)
	}
	return out
}

func (r *reader) typed(base hlc.Timestamp) []Typed {
	return list(r, minAttributeLen, (*Typed).key, func() Typed {
		t := Typed{Name: r.bytes()}
		parts := r.byte()
		switch {
		case parts&^partsKnown != 0:
			r.fail(ErrUnsupported, "part of an attribute is not known")
		case parts == 0 || len(t.Name) == 0:
			r.fail(ErrCorrupt, "attribute without a name or without a part")
		}
		if parts&partRuns != 0 {
			t.Runs = list(r, minRunLen, (*Run).key, func() Run { return r.run(base) })
		}
		if parts&partObserved != 0 {
			t.Observed = list(r, minRunLen+minDotLen, (*Observation).key, func() Observation { return Observation{r.run(base), r.dot(base)} })
		}
		if parts&partElements != 0 {
			t.Elements = list(r, minElementLen, (*Element).key, func() Element { return r.element(base) })
		}
		if parts&partBids != 0 {
			t.Bids = list(r, minBidLen, (*Bid).key, func() Bid { return r.bid(base) })
		}
		if parts&partOutbid != 0 {
			t.Outbid = r.observed(base)
		}
		return t
	})
}

func (r *reader) run(base hlc.Timestamp) Run {
	run := Run{Last: r.dot(base)}
	if run.First = r.time(run.Last.Time); run.First == 0 || run.First > run.Last.Time {
		r.fail(ErrCorrupt, "run that ends before it begins")
	}
	run.Sum = r.sum()
	return run
}

func (r *reader) element(base hlc.Timestamp) Element {
	e := Element{Value: r.bytes()}
	if n := len(r.b); n > 0 && r.b[0] == 0 {
		r.byte()
	} else {
		e.Adds = list(r, minDotLen, compareOrigins, func() hlc.Stamp { return r.dot(base) })
	}
	if n := len(r.b); n > 0 && r.b[0] == 0 {
		r.byte()
	} else {
		e.Removals = r.observed(base)
	}
	if len(e.Value) == 0 || len(e.Adds)+len(e.Removals) == 0 {
		r.fail(ErrCorrupt, "element without a value or without a dot")
	}
	return e
}

func compareOrigins(a, b *hlc.Stamp) int { return int(a.Origin) - int(b.Origin) }

func (r *reader) observed(base hlc.Timestamp) []Observed {
	return list(r, 2*minDotLen, (*Observed).key, func() Observed { return Observed{r.dot(base), r.dot(base)} })
}

func (r *reader) bid(base hlc.Timestamp) Bid {
	b := Bid{Dot: r.dot(base)}
	least := r.byte()
	b.Min, b.Value = least == 1, r.bytes()
	if least > 1 || len(b.Value) == 0 {
		r.fail(ErrCorrupt, "bad bid")
	}
	return b
}

// checkValues checks the name and the values that the reader takes as they are.
func (t *Typed) checkValues() error {
	if err := checkName(t.Name); err != nil {
		return err
	}
	for i := range t.Elements {
		if err := checkElement(t.Elements[i].Value); err != nil {
			return err
		}
	}
	for i := range t.Bids {
		if err := item.CheckValue(t.Bids[i].Value); err != nil {
			return err
		}
	}
	return nil
}

func checkElement(v item.Value) error {
	if t := v.Type(); t != item.S && t != item.N && t != item.B {
		return &Error{Op: "check element", Kind: ErrCorrupt, Message: "not of a set"}
	}
	return item.CheckValue(v)
}

func appendDot(dst []byte, base hlc.Timestamp, s hlc.Stamp) []byte {
	return appendTime(binary.AppendUvarint(dst, uint64(s.Origin)), base, s.Time)
}

func appendTyped(dst []byte, base hlc.Timestamp, typed []Typed) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(typed)))
	for i := range typed {
		t := &typed[i]
		dst = appendBytes(dst, t.Name)
		at := len(dst)
		dst = append(dst, 0)
		part := func(bit byte, n int) bool {
			if n == 0 {
				return false
			}
			dst[at] |= bit
			dst = binary.AppendUvarint(dst, uint64(n))
			return true
		}
		part(partRuns, len(t.Runs))
		for j := range t.Runs {
			dst = appendRun(dst, base, &t.Runs[j])
		}
		part(partObserved, len(t.Observed))
		for j := range t.Observed {
			dst = appendDot(appendRun(dst, base, &t.Observed[j].Run), base, t.Observed[j].By)
		}
		part(partElements, len(t.Elements))
		for j := range t.Elements {
			e := &t.Elements[j]
			dst = appendDots(appendBytes(dst, e.Value), base, e.Adds)
			dst = appendObserved(binary.AppendUvarint(dst, uint64(len(e.Removals))), base, e.Removals)
		}
		part(partBids, len(t.Bids))
		for j := range t.Bids {
			dst = appendBid(dst, base, &t.Bids[j])
		}
		part(partOutbid, len(t.Outbid))
		dst = appendObserved(dst, base, t.Outbid)
	}
	return dst
}

func appendRun(dst []byte, base hlc.Timestamp, run *Run) []byte {
	dst = appendTime(appendDot(dst, base, run.Last), run.Last.Time, run.First)
	return appendBytes(dst, run.Sum)
}

// appendDots appends a count and dots.
func appendDots(dst []byte, base hlc.Timestamp, dots []hlc.Stamp) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(dots)))
	for _, s := range dots {
		dst = appendDot(dst, base, s)
	}
	return dst
}

func appendObserved(dst []byte, base hlc.Timestamp, seen []Observed) []byte {
	for i := range seen {
		dst = appendDot(appendDot(dst, base, seen[i].Dot), base, seen[i].By)
	}
	return dst
}

func appendBid(dst []byte, base hlc.Timestamp, b *Bid) []byte {
	least := byte(0)
	if b.Min {
		least = 1
	}
	return appendBytes(append(appendDot(dst, base, b.Dot), least), b.Value)
}

// The values of the two operations that only a log has. Times are relative to that of the change's dot.
//
//	OpIncrement  time of the run's first ‖ sum of the run with this increment (bytes) ‖ the increment, a number; nothing where it is not known any more
//	OpObserve    count ‖ run* ‖ count ‖ (element (bytes) ‖ adds)* ‖ count ‖ dot*, of bids and of the cell; each by its key, one of the counts at least not zero

// increment reads the value of an OpIncrement of the change with the dot given.
func (r *reader) increment(dot hlc.Stamp) (run Run, by item.Value) {
	run = Run{Last: dot, First: r.time(dot.Time)}
	run.Sum = r.sum()
	by, r.b = r.b, nil
	if run.First == 0 || run.First > dot.Time {
		r.fail(ErrCorrupt, "run that ends before it begins")
	}
	return run, by
}

func appendIncrement(dst []byte, run *Run, by item.Value) []byte {
	dst = appendTime(dst, run.Last.Time, run.First)
	return append(appendBytes(dst, run.Sum), by...)
}

// observation reads the value of an OpObserve of the change with the dot given, on the attribute named: as what it adds to the attribute.
func (r *reader) observation(name []byte, dot hlc.Stamp) Typed {
	t := Typed{Name: name}
	nothing := true
	some := func() bool {
		if len(r.b) > 0 && r.b[0] == 0 {
			r.byte()
			return false
		}
		nothing = false
		return true
	}
	seen := func(at hlc.Stamp) hlc.Stamp {
		if at.Time > dot.Time {
			r.fail(ErrCorrupt, "observation of what is later")
		}
		return at
	}
	if some() {
		t.Observed = list(r, minRunLen, (*Observation).key, func() Observation {
			run := r.run(dot.Time)
			seen(run.Last)
			return Observation{run, dot}
		})
	}
	if some() {
		t.Elements = list(r, minElementLen-1, (*Element).key, func() Element {
			e := Element{Value: r.bytes()}
			e.Removals = list(r, minDotLen, (*Observed).key, func() Observed { return Observed{seen(r.dot(dot.Time)), dot} })
			if len(e.Value) == 0 {
				r.fail(ErrCorrupt, "element without a value")
			}
			return e
		})
	}
	if some() {
		t.Outbid = list(r, minDotLen, (*Observed).key, func() Observed { return Observed{seen(r.dot(dot.Time)), dot} })
	}
	if nothing || len(r.b) > 0 {
		r.fail(ErrCorrupt, "observation of nothing, or bytes after the end")
	}
	return t
}

// appendObservation appends the value of an OpObserve: what t's lists of observations have. Their By is the change's dot.
func appendObservation(dst []byte, dot hlc.Stamp, t *Typed) []byte {
	base := dot.Time
	dst = binary.AppendUvarint(dst, uint64(len(t.Observed)))
	for i := range t.Observed {
		dst = appendRun(dst, base, &t.Observed[i].Run)
	}
	dst = binary.AppendUvarint(dst, uint64(len(t.Elements)))
	for i := range t.Elements {
		dst = appendSeen(appendBytes(dst, t.Elements[i].Value), base, t.Elements[i].Removals)
	}
	return appendSeen(dst, base, t.Outbid)
}

// appendSeen appends a count and the dots of observations of one write.
func appendSeen(dst []byte, base hlc.Timestamp, seen []Observed) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(seen)))
	for i := range seen {
		dst = appendDot(dst, base, seen[i].Dot)
	}
	return dst
}

// sameTyped reports whether both say the same.
func sameTyped(a, b []Typed) bool { return bytes.Equal(appendTyped(nil, 0, a), appendTyped(nil, 0, b)) }
