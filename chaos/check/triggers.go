package check

import (
	"cmp"
	"maps"
	"slices"
)

// I13: what change streams tell is delivered to triggers at least once, by the id that it has for ever.
//
// The checker knows what each region's streams tell, as I12 does, and what was delivered by whom. Where a trigger is fired everywhere, each region owes what its own streams tell. Else regions stand in for each other, and what is told differs from one to the next: a write that lost a merge is told where it came
// before the winner only, and what an exchange brought came as a part of a copy. So an event is owed if all regions tell it that have the item, or had the table, whichever of them fires; and, where the region of the change is to fire, if that tells it.

// Trigger names one.
type Trigger struct {
	Table uint64
	Name  string
}

// Firing says which region is to deliver an event.
type Firing uint8

// The ways.
const (
	ByOrigin Firing = iota + 1 // where the change was made, or, while that is out, anybody
	ByAll                      // each
	ByOne                      // anybody
)

// Armed is a trigger that is to have delivered all that it ever will.
type Armed struct {
	Trigger
	Firing  Firing
	Begins  uint64             // nothing at or before it is owed: neither by its position nor by its stamp
	Holders func(Key) []uint16 // the regions that have an item and tell of it
	Away    func(Key) bool     // some region was not to have the item at some time: what is withheld there is not owed
	Back    func(Key) bool     // a region that came back logged what it had of the item again: when that expired may be at or before the moment up to which the others have told all expiries
}

// Delivery is that a target got an event.
type Delivery struct {
	Trigger
	Region uint16
	Run    string // in which the region delivered a feed, from one place on, in order
	ID     string
}

// happening is what an event is about. A copy is its region's own, at its position.
type happening struct {
	key      Key
	dot      Stamp
	manner   Manner
	region   uint16
	position uint64
}

// span is the positions after one, up to another.
type span struct{ after, upTo uint64 }

// inRegion is something that a trigger did in a region.
type inRegion struct {
	Trigger
	region uint16
}

// Triggers is what is known of the events of a run.
type Triggers struct {
	ids       map[happening]string
	abouts    map[string]happening
	told      map[uint16]map[string]Told     // region → id → what its streams tell, of the store that it has
	before    map[uint16]map[string][]uint64 // at which positions they told it, in whatever store
	tellers   map[uint64]map[uint16]bool     // table → regions that ever told anything of it
	durable   map[uint16]uint64              // region → up to where what it tells is durable
	delivered map[inRegion]map[string]int    // → id → how often
	missed    map[inRegion][]span
	runs      map[string]*run
}

// run is what a region delivered of a feed, from one place on.
type run struct {
	reached map[Key]uint64
	had     map[string]bool
}

// takes reports whether what was not delivered before comes after all that was, of its key; or else after what it comes.
func (r *run) takes(id string, x Told) (at uint64, ok bool) {
	at = r.reached[x.Key]
	ok = x.Position >= at || r.had[id]
	r.had[id], r.reached[x.Key] = true, max(at, x.Position)
	return at, ok
}

// NewTriggers returns a checker that knows of nothing.
func NewTriggers() *Triggers {
	return &Triggers{ids: map[happening]string{}, abouts: map[string]happening{}, told: map[uint16]map[string]Told{}, before: map[uint16]map[string][]uint64{},
		tellers: map[uint64]map[uint16]bool{}, durable: map[uint16]uint64{}, delivered: map[inRegion]map[string]int{}, missed: map[inRegion][]span{}, runs: map[string]*run{}}
}

// Told notes that a region tells something under an id. It may be noted again.
func (t *Triggers) Told(region uint16, id string, x Told) (out []Violation) {
	h := happening{key: x.Key, dot: x.Dot, manner: x.Manner}
	if x.Manner == Copying {
		h.region, h.position = region, x.Position
	}
	if before, has := t.ids[h]; has && before != id {
		out = append(out, violation("I13", region, "the change at %s of %s has id %s, and had %s", x.Dot, x.Key, id, before))
	}
	if before, has := t.abouts[id]; has && before != h {
		out = append(out, violation("I13", region, "id %s is that of %+v, and was that of %+v", id, h, before))
	}
	t.ids[h], t.abouts[id] = id, h
	if t.told[region] == nil {
		t.told[region], t.before[region] = map[string]Told{}, map[string][]uint64{}
	}
	if t.tellers[x.Key.Table] == nil {
		t.tellers[x.Key.Table] = map[uint16]bool{}
	}
	t.tellers[x.Key.Table][region] = true
	x.Old, x.New = nil, nil
	t.told[region][id] = x
	if at := t.before[region][id]; !slices.Contains(at, x.Position) {
		t.before[region][id] = append(at, x.Position)
	}
	return out
}

// Forget drops what a region tells, of those that gone says: they are owed no more.
func (t *Triggers) Forget(region uint16, gone func(Told) bool) {
	maps.DeleteFunc(t.told[region], func(_ string, x Told) bool { return gone(x) })
}

// Durable notes that all that a region told up to a position is durable.
func (t *Triggers) Durable(region uint16, position uint64) {
	t.durable[region] = max(t.durable[region], position)
}

// NewStore forgets what a region tells: it has another store.
func (t *Triggers) NewStore(region uint16) {
	t.durable[region] = 0
	clear(t.told[region])
}

// Survived notes that of what was not durable in each table's streams nothing after a position survived a crash of a region; a table that is not in last has nothing of it.
func (t *Triggers) Survived(region uint16, last map[uint64]uint64) (out []Violation) {
	lost := func(x Told) bool { return x.Position > last[x.Key.Table] && x.Position > t.durable[region] }
	for id, x := range t.told[region] {
		if !lost(x) {
			continue
		}
		for who, events := range t.delivered {
			if who.region == region && who.Table == x.Key.Table && events[id] > 0 {
				out = append(out, violation("I13", region, "%s of trigger %s was delivered at %d, which a crash took", id, who.Name, x.Position))
			}
		}
	}
	slices.SortFunc(out, func(a, b Violation) int { return cmp.Compare(a.Detail, b.Detail) })
	t.Forget(region, lost)
	for _, at := range last {
		t.Durable(region, at)
	}
	return out
}

// Deliver notes that a target got an event. again says whether it had it before, from that region or any.
func (t *Triggers) Deliver(d Delivery) (again bool, out []Violation) {
	x, told := t.told[d.Region][d.ID]
	if !told && len(t.before[d.Region][d.ID]) == 0 {
		return false, []Violation{violation("I13", d.Region, "trigger %s delivers %s, of which nothing is told", d.Name, d.ID)}
	}
	if told {
		if t.runs[d.Run] == nil {
			t.runs[d.Run] = &run{reached: map[Key]uint64{}, had: map[string]bool{}}
		}
		if at, ok := t.runs[d.Run].takes(d.ID, x); !ok {
			out = append(out, violation("I13", d.Region, "trigger %s delivers what became of %s at %d, after what became of it at %d", d.Name, x.Key, x.Position, at))
		}
	}
	again = t.deliveredBy(d.Trigger, d.ID)
	at := inRegion{d.Trigger, d.Region}
	if t.delivered[at] == nil {
		t.delivered[at] = map[string]int{}
	}
	t.delivered[at][d.ID]++
	return again, out
}

// deliveredBy reports whether any region delivered an event.
func (t *Triggers) deliveredBy(of Trigger, id string) bool {
	for who, events := range t.delivered {
		if who.Trigger == of && events[id] > 0 {
			return true
		}
	}
	return false
}

// Missed notes that a trigger says that it has missed what a region told after a position, up to another.
func (t *Triggers) Missed(of Trigger, region uint16, after, upTo uint64) {
	at := inRegion{of, region}
	t.missed[at] = append(t.missed[at], span{after, upTo})
}

// said reports whether a trigger says that it has missed an event in a region.
func (t *Triggers) said(of Trigger, region uint16, id string) bool {
	return slices.ContainsFunc(t.missed[inRegion{of, region}], func(s span) bool {
		return slices.ContainsFunc(t.before[region][id], func(at uint64) bool { return s.after < at && at <= s.upTo })
	})
}

// Judge checks that all that a trigger owes was delivered.
func (t *Triggers) Judge(a Armed) (out []Violation) {
	owed := map[string]bool{}
	for region, told := range t.told {
		for id, x := range told {
			if x.Key.Table != a.Table || !a.owes(x) || !slices.Contains(a.Holders(x.Key), region) {
				continue
			}
			switch {
			case a.Firing != ByAll:
				owed[id] = true
			case t.delivered[inRegion{a.Trigger, region}][id] == 0 && !t.said(a.Trigger, region, id):
				out = append(out, violation("I13", region, "trigger %s has not delivered %s, which is told of %s at %d", a.Name, id, x.Key, x.Position))
			}
		}
	}
	for id := range owed {
		if why := t.owed(&a, id); why != "" {
			out = append(out, violation("I13", 0, "trigger %s has not delivered %s: %s", a.Name, id, why))
		}
	}
	slices.SortFunc(out, func(a, b Violation) int { return cmp.Compare(a.Detail, b.Detail) })
	return out
}

func (a *Armed) owes(x Told) bool {
	return x.Position > a.Begins && x.Dot.Time > a.Begins && !a.Away(x.Key) && (x.Manner != Expiry || !a.Back(x.Key))
}

// owed says who tells an event that somebody owed; "" if nobody did, or somebody delivered it.
func (t *Triggers) owed(a *Armed, id string) string {
	about := t.abouts[id]
	if about.manner == Copying || t.deliveredBy(a.Trigger, id) {
		return ""
	}
	for region := range t.told {
		if t.said(a.Trigger, region, id) {
			return ""
		}
	}
	holders := a.Holders(about.key)
	if x, told := t.told[about.dot.Origin][id]; a.Firing == ByOrigin && slices.Contains(holders, about.dot.Origin) {
		if told && a.owes(x) {
			return "the region tells it in which it was made"
		}
		return ""
	}
	for region := range t.tellers[a.Table] {
		if len(t.before[region][id]) == 0 {
			return "" // it may have dealt with the change, which was nothing there
		}
	}
	for _, region := range holders {
		if x, told := t.told[region][id]; !told || !a.owes(x) {
			return ""
		}
	}
	return "all regions tell it that have the item"
}
