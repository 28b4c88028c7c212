package check

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Value is a value of an attribute, or of what is inside of one, in the checkers' terms. The zero value is none.
type Value struct {
	Type     string           // as DynamoDB has it: S, N, SS, M, …
	Text     string           // of a scalar, or of what has no more to it
	Elements []string         // of a set, sorted
	Fields   map[string]Value // of a map
	Rank     string           // orders values of one type that are neither numbers nor strings: as whoever stores them has it. A map that is put together of writes inside of it has none
}

func (v Value) isSet() bool { return v.Type == "SS" || v.Type == "NS" || v.Type == "BS" }

// number is the number that v is, in millionths: the numbers that are checked are small.
func (v Value) number() int64 {
	whole, fraction, _ := strings.Cut(v.Text, ".")
	n, err := strconv.ParseInt(whole+(fraction + "000000")[:6], 10, 64)
	if err != nil {
		panic("check: number " + v.Text)
	}
	return n
}

func numberOf(n int64) Value {
	text := fmt.Sprintf("%d.%06d", max(n, -n)/1e6, max(n, -n)%1e6)
	if text = strings.TrimRight(strings.TrimRight(text, "0"), "."); n < 0 {
		text = "-" + text
	}
	return Value{Type: "N", Text: text}
}

// String is the same for values that are the same.
func (v Value) String() string {
	switch {
	case v.Type == "M":
		var fields []string
		for _, name := range slices.Sorted(maps.Keys(v.Fields)) {
			fields = append(fields, name+"="+v.Fields[name].String())
		}
		return "{" + strings.Join(fields, " ") + "}"
	case v.isSet():
		return v.Type + fmt.Sprint(v.Elements)
	}
	return v.Type + " " + v.Text
}

// EffectKind is one thing that a write does.
type EffectKind uint8

// The kinds. What is written whole replaces what is there; contributions lie beside it, until somebody who has seen them takes them back.
const (
	SetWhole    EffectKind = iota + 1 // the attribute, or the entry inside of maps, is Value
	RemoveWhole                       // it goes
	Add                               // a contribution: Value, a number, is added to the attribute
	Insert                            // a contribution: the elements of Value, a set, are added to it
	Bid                               // a contribution: Value competes for the greatest, or with Least the least
	Drop                              // the elements of Value are deleted from it: no contribution, but it has seen some
)

// Effect is one thing that a write does to an attribute, or to an entry inside of its maps.
type Effect struct {
	Kind  EffectKind
	Path  []string // the attribute, and the names inside of it
	Value Value
	Least bool
	Run   uint64 // Add: the time of the first increment of its origin since all of them had been taken back

	Apart bool // Add: it was not logged again with the rest of its write. It may be missing
	gone  bool // Add: it is missing of a run that was gone on with: see forgotten
}

// Anew is t, logged again, with its increments in other runs: by attribute, the time of the run's first one. An attribute without one was not logged again.
func (t *Typed) Anew(runs map[string]uint64) *Typed {
	out := *t
	out.Effects = slices.Clone(t.Effects)
	for i := range out.Effects {
		e := &out.Effects[i]
		if e.Kind != Add {
			continue
		}
		first, counts := runs[e.Path[0]]
		if e.Apart = !counts; counts {
			e.Run = first
		}
	}
	return &out
}

// Whole is t without what may be missing of it but for those attributes of which may says so.
func (t *Typed) Whole(may func(attribute string) bool) *Typed {
	out := *t
	out.Effects = slices.Clone(t.Effects)
	for i := range out.Effects {
		e := &out.Effects[i]
		e.Apart = e.Apart && may(e.Path[0])
	}
	return &out
}

// OnlyAdds reports whether t is an increment of the attribute, and nothing else. t may be nil.
func (t *Typed) OnlyAdds(attribute string) bool {
	return t != nil && len(t.Effects) == 1 && t.Effects[0].Kind == Add && t.Effects[0].Path[0] == attribute
}

// Seen is what a write had seen, and so takes back, of what contributes to an attribute: of each region, all up to a time.
type Seen struct {
	Runs     map[uint16]uint64            // increments
	Elements map[string]map[uint16]uint64 // by element: those who had added it, or had written a set that has it
	Bids     map[uint16]uint64            // bids, and what was written whole
}

// Typed is all that a write to an item does, where attributes may merge by types. It is beside Write.Set and Write.Remove, which have what is written whole to attributes.
type Typed struct {
	Item    map[string]Value // of a put: the item
	Effects []Effect         // of an update, in order
	Seen    map[string]Seen
}

// merging is what a set of writes to one key comes to, by definition: nothing is merged here, each question is asked of all writes anew. It is written from PROTOCOL.md section 1.
type merging struct {
	writes []Write // by stamp
	gone   uint64  // what was before this moment has expired
	floors map[uint64]uint64
}

// merge returns what everybody shows who has got all the writes of a key, with all gone that expires up to purge; nil if there is no item.
func merge(writes []Write, purge uint64) map[string]Value {
	writes = slices.Clone(writes)
	slices.SortFunc(writes, func(a, b Write) int { return a.Stamp.Compare(b.Stamp) })
	m := merging{writes: writes, floors: map[uint64]uint64{}}
	for i := range writes {
		m.gone = max(m.gone, m.goneAt(writes[i].Floor), m.goneAt(writes[i].Late))
	}
	m.expire(purge)
	if !m.exists() {
		return nil
	}
	out := map[string]Value{}
	for name := range m.names() {
		if v, _, ok := m.shows(name); ok {
			out[name] = v
		}
	}
	return out
}

// goneAt returns before which moment all is gone for everybody who has a purge frontier.
func (m *merging) goneAt(floor uint64) uint64 {
	if floor == 0 {
		return 0
	}
	if gone, known := m.floors[floor]; known {
		return gone
	}
	m.floors[floor] = 0
	below := merging{floors: m.floors}
	for _, w := range m.writes {
		if w.Stamp.Time <= floor {
			below.writes = append(below.writes, w)
			below.gone = max(below.gone, m.goneAt(w.Floor))
		}
	}
	below.expire(floor)
	m.floors[floor] = below.gone
	return below.gone
}

func (m *merging) expire(until uint64) {
	for due := m.due(); due > 0 && due <= until; due = m.due() {
		m.gone = max(m.gone, due)
	}
}

// due is when the item expires; 0: never. Items expire by what is written whole.
func (m *merging) due() (at uint64) {
	if !m.exists() {
		return 0
	}
	for name := range m.names() {
		_, stamp, w := m.whole([]string{name})
		if w == nil || w.Due == nil || stamp.Time < m.gone {
			continue
		}
		if due := w.Due(name); due > 0 && (at == 0 || due < at) {
			at = due
		}
	}
	return at
}

// names is all attributes that were ever written.
func (m *merging) names() map[string]bool {
	out := map[string]bool{}
	for i := range m.writes {
		for name := range m.writes[i].typed().Item {
			out[name] = true
		}
		for _, e := range m.writes[i].typed().Effects {
			out[e.Path[0]] = true
		}
	}
	return out
}

// exists reports whether there is an item: something was written since the last write of the whole, that one included, or a contribution counts.
func (m *merging) exists() bool {
	reset := Stamp{Time: m.gone}
	for _, w := range m.writes {
		if w.Kind != Update && w.Stamp.Compare(reset) > 0 {
			reset = w.Stamp
		}
	}
	for _, w := range m.writes {
		if w.Kind != Delete && !w.observes && w.Stamp.Compare(reset) >= 0 && w.Stamp.Time >= m.gone {
			return true
		}
	}
	for name := range m.names() {
		if _, at := m.counted(name); !at.IsZero() {
			return true
		}
		if len(m.added(name)) > 0 || len(m.bids(name)) > 0 {
			return true
		}
	}
	return false
}

// taken reports whether somebody had seen what w contributes to an attribute and took it back: of tells the time up to which a write had seen it of w's region.
func (m *merging) taken(w *Write, name string, of func(Seen) map[uint16]uint64) bool {
	for i := range m.writes {
		if of(m.writes[i].typed().Seen[name])[w.Stamp.Origin] >= w.Stamp.Time {
			return true
		}
	}
	return false
}

// contributions calls f with what was contributed to an attribute.
func (m *merging) contributions(name string, kind EffectKind, f func(w *Write, e *Effect)) {
	for i := range m.writes {
		w := &m.writes[i]
		for j := range w.typed().Effects {
			if e := &w.typed().Effects[j]; e.Kind == kind && e.Path[0] == name {
				f(w, e)
			}
		}
	}
}

// counted returns the sum of the increments that count, and the latest of them; zero if none does. A run that goes on beyond the moment before which all is gone stays whole.
func (m *merging) counted(name string) (sum int64, at Stamp) {
	type run struct {
		origin uint16
		first  uint64
	}
	last, counts := map[run]uint64{}, map[run]bool{}
	taken := func(w *Write) bool {
		return m.taken(w, name, func(s Seen) map[uint16]uint64 { return s.Runs })
	}
	m.contributions(name, Add, func(w *Write, e *Effect) {
		if r := (run{w.Stamp.Origin, e.Run}); !e.gone {
			last[r] = max(last[r], w.Stamp.Time)
			counts[r] = counts[r] || !taken(w)
		}
	})
	m.contributions(name, Add, func(w *Write, e *Effect) {
		r := run{w.Stamp.Origin, e.Run}
		switch {
		case last[r] < m.gone:
			return
		case e.gone:
			if taken(w) && counts[r] {
				sum -= e.Value.number()
			}
			return
		case taken(w):
			return
		}
		sum += e.Value.number()
		if w.Stamp.Compare(at) > 0 {
			at = w.Stamp
		}
	})
	return sum, at
}

// added returns the elements that were added and not taken back, each with the latest write that added it.
func (m *merging) added(name string) map[string]addition {
	out := map[string]addition{}
	m.contributions(name, Insert, func(w *Write, e *Effect) {
		for _, x := range e.Value.Elements {
			key := e.Value.Type + x
			if w.Stamp.Time < m.gone || m.taken(w, name, func(s Seen) map[uint16]uint64 { return s.Elements[key] }) {
				continue
			}
			if old := out[key]; w.Stamp.Compare(old.at) > 0 {
				out[key] = addition{e.Value.Type, x, w.Stamp}
			}
		}
	})
	return out
}

type addition struct {
	of, element string
	at          Stamp
}

type bid struct {
	at    Stamp
	value Value
	least bool
}

func (m *merging) bids(name string) (out []bid) {
	m.contributions(name, Bid, func(w *Write, e *Effect) {
		if w.Stamp.Time >= m.gone && !m.taken(w, name, func(s Seen) map[uint16]uint64 { return s.Bids }) {
			out = append(out, bid{w.Stamp, e.Value, e.Least})
		}
	})
	// A region's later bid takes the place of its earlier one.
	return slices.DeleteFunc(out, func(b bid) bool {
		return slices.ContainsFunc(out, func(o bid) bool { return o.at.Origin == b.at.Origin && o.at.Compare(b.at) > 0 })
	})
}

// whole returns what the last write of what is at a path, or of something around it, left there, and that write; nil if there is none. v is none if it left nothing.
func (m *merging) whole(path []string) (v Value, at Stamp, by *Write) {
	at = Stamp{Time: m.gone}
	for i := range m.writes {
		w := &m.writes[i]
		if w.Stamp.Time < m.gone || w.Stamp.Compare(at) < 0 {
			continue
		}
		if w.Kind != Update {
			v, at, by = Value{Fields: w.typed().Item}.inside(path), w.Stamp, w
		}
		for _, e := range w.typed().Effects {
			if e.Kind > RemoveWhole || len(e.Path) > len(path) || !slices.Equal(e.Path, path[:len(e.Path)]) {
				continue
			}
			v, at, by = e.Value.inside(path[len(e.Path):]), w.Stamp, w
		}
	}
	return v, at, by
}

// inside returns what is at a path inside of v.
func (v Value) inside(path []string) Value {
	for _, name := range path {
		v = v.Fields[name]
	}
	return v
}

// base returns what an attribute, or what is inside of it, has without contributions.
func (m *merging) base(path []string) (v Value, at Stamp, ok bool) {
	v, at, _ = m.whole(path)
	within, names := Stamp{}, map[string]bool{}
	for i := range m.writes {
		w := &m.writes[i]
		for _, e := range w.typed().Effects {
			if e.Kind <= RemoveWhole && len(e.Path) > len(path) && slices.Equal(e.Path[:len(path)], path) && w.Stamp.Time >= m.gone {
				if names[e.Path[len(path)]] = true; w.Stamp.Compare(within) > 0 {
					within = w.Stamp
				}
			}
		}
	}
	if within.IsZero() || within.Compare(at) < 0 {
		return v, at, v.Type != ""
	}
	for name := range v.Fields {
		names[name] = true
	}
	out := Value{Type: "M", Fields: map[string]Value{}}
	for name := range names {
		if e, _, ok := m.base(append(slices.Clone(path), name)); ok {
			out.Fields[name] = e
		}
	}
	return out, within, true
}

// hidden reports whether somebody had seen what was written whole to an attribute at a stamp, and put something beside it that takes its place.
func (m *merging) hidden(at Stamp, name string, of func(Seen) map[uint16]uint64) bool {
	return slices.ContainsFunc(m.writes, func(w Write) bool { return of(w.typed().Seen[name])[at.Origin] >= at.Time })
}

// shows returns what an attribute shows, and the latest write of what it shows.
func (m *merging) shows(name string) (v Value, at Stamp, ok bool) {
	base, at, ok := m.base([]string{name})
	if ok && m.hidden(at, name, func(s Seen) map[uint16]uint64 { return s.Bids }) {
		base, ok = Value{}, false
	}
	if bids := m.bids(name); len(bids) > 0 {
		return best(bids, base, at, ok)
	}
	switch added := m.added(name); {
	case ok && base.Type == "N" || !ok && len(added) == 0:
		sum, last := m.counted(name)
		if last.IsZero() {
			return base, at, ok
		}
		if ok {
			if sum += base.number(); at.Compare(last) > 0 {
				last = at
			}
		}
		return numberOf(sum), last, true
	case ok && !base.isSet():
		return base, at, true
	default:
		return m.set(name, base, at, ok, added)
	}
}

func (m *merging) set(name string, base Value, stamp Stamp, ok bool, added map[string]addition) (v Value, at Stamp, shown bool) {
	of, last := base.Type, Stamp{}
	for _, a := range added {
		if !ok && (a.at.Compare(last) > 0 || a.at == last && a.of > of) {
			last, of = a.at, a.of
		}
	}
	elements := map[string]bool{}
	if ok {
		at = stamp
	}
	for _, a := range added {
		if a.of != of {
			continue
		}
		if elements[a.element] = true; a.at.Compare(at) > 0 {
			at = a.at
		}
	}
	for _, x := range base.Elements {
		if !m.hidden(stamp, name, func(s Seen) map[uint16]uint64 { return s.Elements[base.Type+x] }) {
			elements[x] = true
		}
	}
	if len(elements) == 0 {
		return Value{}, Stamp{}, false
	}
	return Value{Type: of, Elements: slices.Sorted(maps.Keys(elements))}, at, true
}

// best returns the greatest of the bids and of what is there without, or the least if the latest bid asks for that.
func best(bids []bid, base Value, stamp Stamp, ok bool) (Value, Stamp, bool) {
	last := slices.MaxFunc(bids, func(a, b bid) int { return a.at.Compare(b.at) })
	at, values := last.at, []Value(nil)
	for _, b := range bids {
		values = append(values, b.value)
	}
	if ok {
		if values = append(values, base); stamp.Compare(at) > 0 {
			at = stamp
		}
	}
	order := func(a, b Value) int {
		switch {
		case a.Type == "N" && b.Type == "N":
			return int(min(max(a.number()-b.number(), -1), 1))
		case a.Type != b.Type:
			return typeOrder(a.Type) - typeOrder(b.Type)
		}
		return cmp.Or(strings.Compare(a.Text, b.Text), strings.Compare(a.Rank, b.Rank))
	}
	if last.least {
		return slices.MinFunc(values, order), at, true
	}
	return slices.MaxFunc(values, order), at, true
}

// typeOrder is the order of values of different types.
func typeOrder(t string) int {
	return slices.Index([]string{"S", "N", "B", "BOOL", "NULL", "M", "L", "SS", "NS", "BS"}, t)
}

// Shown is what a region shows: of each item, its attributes. An item that is not there is not in it.
type Shown struct {
	Region uint16
	Items  map[Key]map[string]Value
}

// Shows checks the same for one region and one item, while it goes on: writes are those that the region has, at is the moment.
func Shows(region uint16, k Key, writes []Write, at uint64, shown map[string]Value) []Violation {
	if want := merge(writes, at); showText(want) != showText(shown) {
		return []Violation{violation("I6", region, "%s shows %s, by the definitions it is %s", k, showText(shown), showText(want))}
	}
	return nil
}

// Merged checks I4, I6 and I7 where attributes merge by types: what each region shows in the end is what all accepted writes come to by the definitions. doubtful reports which writes may be there or not, typed, in which tables anything merges.
func Merged(history []Operation, shown []Shown, members Members, purged Frontiers, doubtful func(Write) bool, typed func(table uint64) bool) []Violation {
	writes, perhaps := map[Key][]Write{}, map[Key][]Write{}
	for _, w := range accepted(history) {
		switch {
		case !typed(w.Key.Table):
		case doubtful != nil && doubtful(w):
			perhaps[w.Key] = append(perhaps[w.Key], w)
		default:
			writes[w.Key] = append(writes[w.Key], w)
		}
	}
	var out []Violation
	for _, k := range sortedKeys(writes, perhaps) {
		wants := choices(writes[k], perhaps[k], purged[k.Table])
		for _, s := range shown {
			is := func(want map[string]Value) bool { return showText(want) == showText(s.Items[k]) }
			if len(wants) > 0 && slices.Contains(members(k), s.Region) && !slices.ContainsFunc(wants, is) {
				out = append(out, violation("I6", s.Region, "%s shows %s, by the definitions it is %s", k, showText(s.Items[k]), showText(wants[0])))
			}
		}
	}
	return out
}

func showText(it map[string]Value) string {
	if it == nil {
		return "nothing"
	}
	return Value{Type: "M", Fields: it}.String()
}

// typed is w.Typed; nothing if there is none, as of a delete.
func (w *Write) typed() *Typed {
	if w.Typed == nil {
		return &Typed{}
	}
	return w.Typed
}
