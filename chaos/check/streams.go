package check

import (
	"maps"
	"slices"
)

// I12: what the change streams of a region tell is what became of its items.
//
// The checker sees each batch of the region's store, as it is applied: what is seen of each item before and after, and what the batch tells. So a record that is told in another batch than the change, or of nothing, or not at all, is found there; the same
// batches make what a crash leaves whole. What readers get, and what is there after a crash, is compared with that.

// Image is what is seen of an item: its attributes with their values, as the store has them; nil: there is none.
type Image map[string]string

// Manner says how an item was changed.
type Manner uint8

// The manners.
const (
	Wrote   Manner = iota + 1 // by a write, here or elsewhere
	Expiry                    // by its time to live
	Copying                   // by a whole record of another region
)

// Told is a record of a change stream.
type Told struct {
	Position uint64
	Key      Key
	Manner   Manner
	Event    string // INSERT, MODIFY or REMOVE
	Dot      Stamp
	Old, New Image // of what the stream shows
}

// View says which images a stream has.
type View struct{ Old, New bool }

// Changed is what a batch did to an item of a table that has a stream, and told of it.
type Changed struct {
	Key           Key
	Before, After Image // at the newest stamps of its records
	Foreign       bool  // the region may not have the item: it is handed over, and nothing is told
	View          View
	Told          []Told // in their order
}

// Streams is what is known of the change streams of one store of a region.
type Streams struct {
	Region  uint16
	durable uint64             // up to where what is told is
	last    uint64             // the newest position of all
	read    uint64             // up to which readers were told that nothing comes any more
	told    map[telling]uint64 // → position
	reads   map[Stream][]Read
	reached map[Stream]uint64 // how far readers of a stream are
	missed  map[Stream]uint64 // how far they were when something was not told
}

// Stream names one.
type Stream struct {
	Table uint64
	Since int64
}

// Read is what a reader got.
type Read struct {
	Position uint64
	Key      Key
	What     string // all of the record
}

// telling is what is told once. A copy stands for all that its region had missed, and may come in parts.
type telling struct {
	key    Key
	dot    Stamp
	manner Manner
}

// NewStreams returns a checker for a new store.
func NewStreams(region uint16) *Streams {
	return &Streams{Region: region, told: map[telling]uint64{}, reads: map[Stream][]Read{}, reached: map[Stream]uint64{}, missed: map[Stream]uint64{}}
}

// Batch checks what one batch changes and tells. write returns a write of another region, if it is known.
func (s *Streams) Batch(changed []Changed, write func(Key, Stamp) (Write, bool)) (out []Violation) {
	var all []Told
	for i := range changed {
		c := &changed[i]
		all = append(all, c.Told...)
		if why := c.fault(); why != "" {
			out = append(out, violation("I12", s.Region, "%s became %q from %q: %s; told is %+v", c.Key, c.After, c.Before, why, c.Told))
		}
		own := 0
		for _, t := range c.Told {
			if t.Manner == Wrote && t.Dot.Origin == s.Region {
				own++
			}
			w, known := write(t.Key, t.Dot)
			if why := t.unexplained(w, c.View); known && t.Manner == Wrote && why != "" {
				out = append(out, violation("I12", s.Region, "the write at %s of %s is told: %s; it is %+v, and told is %+v", t.Dot, t.Key, why, w, t))
			}
		}
		if own > 1 {
			out = append(out, violation("I12", s.Region, "%d writes of one batch to %s are told", own, c.Key))
		}
	}
	return append(out, s.place(all)...)
}

// place checks positions, and that nothing is told twice.
func (s *Streams) place(all []Told) (out []Violation) {
	slices.SortStableFunc(all, func(a, b Told) int { return Stamp{Time: a.Position}.Compare(Stamp{Time: b.Position}) })
	for _, t := range all {
		switch {
		case t.Position <= s.last:
			out = append(out, violation("I12", s.Region, "position %d of %s is not after %d, which was given before", t.Position, t.Key, s.last))
		case t.Position <= s.read:
			out = append(out, violation("I12", s.Region, "position %d of %s is not after %d, up to which all was read", t.Position, t.Key, s.read))
		case t.Position <= t.Dot.Time:
			out = append(out, violation("I12", s.Region, "position %d of %s is not after its change, %s", t.Position, t.Key, t.Dot))
		}
		s.last = max(s.last, t.Position)
		if t.Manner == Copying {
			continue
		}
		id := telling{t.Key, t.Dot, t.Manner}
		if before, again := s.told[id]; again {
			out = append(out, violation("I12", s.Region, "the change at %s of %s was told at %d, and again at %d", t.Dot, t.Key, before, t.Position))
		}
		s.told[id] = t.Position
	}
	return out
}

// fault says what is wrong with what is told of an item: each old image is the new image before, the first one what was seen before the batch, the last one what is seen after it. Where a stream does not show an image, events say whether there is one.
func (c *Changed) fault() string {
	if c.Foreign {
		if len(c.Told) > 0 {
			return "it is told of an item that may not be here"
		}
		return ""
	}
	now, known := c.Before, true
	for _, t := range c.Told {
		switch {
		case known && (now == nil) != (t.Event == "INSERT"), t.Event == "REMOVE" && t.New != nil, t.Event == "INSERT" && t.Old != nil:
			return "an event " + t.Event + " is told of it"
		case c.View.Old && t.Event != "INSERT" && t.Old == nil, c.View.New && t.Event != "REMOVE" && t.New == nil:
			return "an image is missing"
		case known && t.Old != nil && !maps.Equal(now, t.Old):
			return "an old image is not what was seen before"
		}
		before, knew := now, known
		if now, known = t.New, c.View.New || t.Event == "REMOVE"; knew && known && same(before, now) {
			return "nothing is told"
		}
	}
	switch {
	case known && !same(now, c.After) && len(c.Told) == 0:
		return "it is not told"
	case known && !same(now, c.After):
		return "the last new image is not what is seen then"
	case len(c.Told) == 1 && same(c.Before, c.After):
		return "it is told, and has not changed"
	}
	return ""
}

func same(a, b Image) bool { return (a == nil) == (b == nil) && maps.Equal(a, b) }

// unexplained says what of a told change the write did not do; "" when it did all of it.
func (t *Told) unexplained(w Write, shows View) string {
	if !shows.Old || !shows.New || w.Typed != nil {
		return ""
	}
	for name, v := range t.New {
		if old, had := t.Old[name]; (!had || old != v) && w.Set[name] != v {
			return "attribute " + name + " has another value"
		}
	}
	if w.Kind != Update {
		return ""
	}
	for name := range t.Old {
		if _, has := t.New[name]; !has && t.New != nil && !slices.Contains(w.Remove, name) {
			return "attribute " + name + " has gone"
		}
	}
	return ""
}

// Mark notes that a reader was told that nothing comes at or below a position any more.
func (s *Streams) Mark(mark uint64) { s.read = max(s.read, mark) }

// Read notes what a reader got: all of a stream after one position, up to and with another.
func (s *Streams) Read(of Stream, after, upTo uint64, got []Read) (out []Violation) {
	at := after
	for _, r := range got {
		if r.Position > s.durable {
			out = append(out, violation("I12", s.Region, "a reader got %s at %d before that was durable", r.Key, r.Position))
		}
		if r.Position <= at || r.Position > upTo {
			out = append(out, violation("I12", s.Region, "a reader after %d got %d, and then was told of %d", at, r.Position, upTo))
		}
		at = r.Position
	}
	if known := s.reads[of]; len(known) > 0 {
		got = slices.DeleteFunc(slices.Clone(got), func(r Read) bool { return r.Position <= known[len(known)-1].Position })
	}
	s.reads[of] = append(s.reads[of], got...)
	s.reached[of] = max(s.reached[of], upTo)
	return out
}

// Untold notes that an item was changed while its stream was not told of it: a region tells nothing while it joins. Who reads on later has to learn that something is missing.
func (s *Streams) Untold(of Stream) {
	if at, has := s.reached[of]; has {
		s.missed[of] = at
	}
}

// Still checks that all that readers got of a stream is there, but for what was trimmed, and what gone says; and, where the stream is on, that who has missed something can tell. now is all that is there.
func (s *Streams) Still(of Stream, on bool, trimmed uint64, now []Read, gone func(Read) bool) (out []Violation) {
	if at, has := s.missed[of]; on && has && trimmed <= at {
		out = append(out, violation("I12", s.Region, "a reader at %d of stream %v has missed changes, and is not told: it begins after %d", at, of, trimmed))
	}
	there := map[uint64]Read{}
	for _, r := range now {
		there[r.Position] = r
	}
	for _, r := range s.reads[of] {
		is, found := there[r.Position]
		switch {
		case found && is != r:
			out = append(out, violation("I12", s.Region, "at %d a reader got something else of %s", r.Position, r.Key))
		case !found && r.Position > trimmed && !gone(r):
			out = append(out, violation("I12", s.Region, "at %d a reader got %s, and it is not there any more", r.Position, r.Key))
		}
	}
	return out
}

// Durable notes that all that was told up to a position is durable.
func (s *Streams) Durable(position uint64) { s.durable = max(s.durable, position) }

// Survived notes that of each table's streams nothing after a position survived a crash; a table that is not in last has nothing. Positions after what was durable may be given again.
func (s *Streams) Survived(last map[uint64]uint64) {
	for _, at := range last {
		s.Durable(at)
	}
	s.last = s.durable
	maps.DeleteFunc(s.told, func(t telling, at uint64) bool { return at > last[t.key.Table] })
}
