package conflict

import (
	"bytes"
	"maps"
	"math/big"
	"slices"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable/item"
)

// What typed merges come to, by definition and nothing else: a set of writes, each of which knows what its region had seen. Nothing is merged here; each question is asked of all writes anew. It shares no code
// with the package.

// effect is one thing that a write does.
type effect struct {
	kind     string       // put, delete; set, remove, add, insert, drop, bid of an attribute; set in, remove in of what is inside
	path     []string     // attribute, and the names below it
	value    item.Value   // of set, set in, bid, add
	item     item.Item    // of put
	elements []item.Value // of insert, drop
	least    bool         // of bid
}

// event is a write.
type event struct {
	dot     hlc.Stamp
	floor   hlc.Timestamp
	seen    map[hlc.Stamp]bool
	effects []effect // a put or a delete is the first one
}

// observes reports whether e takes back what it has seen of a contribution to an attribute: an increment, a bid, or where elem is given that element.
func (e *event) observes(attribute string, elem item.Value) bool {
	for _, f := range e.effects {
		switch f.kind {
		case "put", "delete":
			return true
		case "set", "remove", "bid":
			if f.path[0] == attribute {
				return true
			}
		case "drop":
			if f.path[0] == attribute && elem != nil && hasValue(f.elements, elem) {
				return true
			}
		}
	}
	return false
}

func hasValue(values []item.Value, v item.Value) bool {
	return slices.ContainsFunc(values, func(o item.Value) bool { return bytes.Equal(o, v) })
}

// naive is a set of writes, at a moment before which all is gone.
type naive struct {
	events  []*event // all, by dot
	history Expiry
	floors  map[hlc.Timestamp]hlc.Timestamp // what was gone at a purge frontier, as far as it was asked
}

// view is naive, seen with all gone that was before a moment.
type view struct {
	*naive
	events []*event
	gone   hlc.Timestamp
}

// taken reports whether one of the writes had seen e's contribution and took it back.
func taken(by []*event, e *event, attribute string, elem item.Value) bool {
	return slices.ContainsFunc(by, func(w *event) bool { return w.seen[e.dot] && w.observes(attribute, elem) })
}

// goneAt returns before which moment all is gone for everybody who has the purge frontier given.
func (n *naive) goneAt(floor hlc.Timestamp) hlc.Timestamp {
	if gone, known := n.floors[floor]; known {
		return gone
	}
	n.floors[floor] = 0
	var below []*event
	gone := hlc.Timestamp(0)
	for _, e := range n.events {
		if e.dot.Time <= floor {
			below = append(below, e)
			gone = max(gone, n.goneAt(e.floor))
		}
	}
	v := view{n, below, gone}
	v.expire(floor)
	n.floors[floor] = v.gone
	return v.gone
}

// expire moves gone on to the last expiry up to a moment.
func (v *view) expire(at hlc.Timestamp) {
	for {
		when, ok := v.due()
		if !ok || when > at {
			return
		}
		v.gone = max(v.gone, when)
	}
}

func (v *view) due() (when hlc.Timestamp, ok bool) {
	if !v.exists() {
		return 0, false
	}
	for _, p := range v.history {
		value, at, ok := v.shows(p.Attribute)
		if !ok || value.Type() != item.N {
			continue
		}
		seconds, ok := new(big.Rat).SetString(value.Number().String())
		if !ok || seconds.Sign() < 0 {
			continue
		}
		whole := new(big.Int).Quo(seconds.Num(), seconds.Denom())
		begin := whole.Mul(whole, big.NewInt(1000<<16))
		if begin.Cmp(big.NewInt(1<<50)) < 0 {
			continue // more than five years ago
		}
		for _, least := range []uint64{uint64(at.Time) + 1, uint64(p.From)} {
			if b := new(big.Int).SetUint64(least); b.Cmp(begin) > 0 {
				begin = b
			}
		}
		if when = hlc.Timestamp(begin.Uint64()); p.To == 0 || when < p.To {
			return when, true
		}
	}
	return 0, false
}

// runs returns an origin's increments of a counter, by run.
func (v *view) runs(attribute string, o hlc.Origin) (runs [][]*event) {
	for _, e := range v.events {
		if e.dot.Origin != o || !slices.ContainsFunc(e.effects, func(f effect) bool { return f.kind == "add" && f.path[0] == attribute }) {
			continue
		}
		if len(runs) > 0 {
			run := runs[len(runs)-1]
			last := run[len(run)-1]
			var known []*event
			for _, w := range v.events {
				if e.seen[w.dot] {
					known = append(known, w)
				}
			}
			if !e.observes(attribute, nil) && !taken(known, last, attribute, nil) && last.dot.Time >= v.goneAt(e.floor) {
				runs[len(runs)-1] = append(run, e)
				continue
			}
		}
		runs = append(runs, []*event{e})
	}
	return runs
}

func origins(events []*event) []hlc.Origin {
	set := map[hlc.Origin]bool{}
	for _, e := range events {
		set[e.dot.Origin] = true
	}
	return slices.Sorted(maps.Keys(set))
}

// counted returns the sum of the increments that count, and the latest write that counts; nil if none does.
func (v *view) counted(attribute string) (sum *big.Rat, at hlc.Stamp) {
	for _, o := range origins(v.events) {
		for _, run := range v.runs(attribute, o) {
			if run[len(run)-1].dot.Time < v.gone {
				continue
			}
			for _, e := range run {
				if taken(v.events, e, attribute, nil) {
					continue
				}
				for _, f := range e.effects {
					if f.kind != "add" || f.path[0] != attribute {
						continue
					}
					if sum == nil {
						sum = new(big.Rat)
					}
					x, _ := new(big.Rat).SetString(f.value.Number().String())
					sum.Add(sum, x)
					at = later(at, e.dot)
				}
			}
		}
	}
	return sum, at
}

func later(a, b hlc.Stamp) hlc.Stamp {
	if refLater(b, a) {
		return b
	}
	return a
}

// added returns the elements that were added and not taken back, each with the latest write that adds it.
func (v *view) added(attribute string) map[string]hlc.Stamp {
	out := map[string]hlc.Stamp{}
	for _, e := range v.events {
		if e.dot.Time < v.gone {
			continue
		}
		for _, f := range e.effects {
			if f.kind != "insert" || f.path[0] != attribute {
				continue
			}
			for _, x := range f.elements {
				if !taken(v.events, e, attribute, x) {
					out[string(x)] = later(out[string(x)], e.dot)
				}
			}
		}
	}
	return out
}

// bid is a bid that nobody had seen who took it back.
type naiveBid struct {
	at    hlc.Stamp
	value item.Value
	least bool
}

func (v *view) bids(attribute string) (out []naiveBid) {
	for _, e := range v.events {
		for _, f := range e.effects {
			if f.kind == "bid" && f.path[0] == attribute && e.dot.Time >= v.gone && !taken(v.events, e, attribute, nil) {
				out = append(out, naiveBid{e.dot, f.value, f.least})
			}
		}
	}
	return out
}

// whole returns what the last write of what is at a path, or of something around it, left there. found is false if there was none; v is empty if it left nothing.
func (v *view) whole(path []string) (value item.Value, at hlc.Stamp, found bool) {
	if v.gone > 0 {
		at = hlc.Stamp{Time: v.gone}
	}
	for _, e := range v.events {
		if e.dot.Time < v.gone {
			continue
		}
		for _, f := range e.effects {
			var left item.Value
			switch f.kind {
			case "put":
				left = item.AppendMap(nil, f.item)
			case "set", "set in":
				left = f.value
			case "delete", "remove", "remove in":
			default:
				continue
			}
			if len(f.path) > len(path) || !slices.Equal(f.path, path[:len(f.path)]) || refLater(at, e.dot) {
				continue
			}
			for _, name := range path[len(f.path):] {
				left, _ = left.Get([]byte(name))
			}
			value, at, found = left, e.dot, true
		}
	}
	return value, at, found
}

// base returns what an attribute, or what is inside of it, has without contributions.
func (v *view) base(path []string) (value item.Value, at hlc.Stamp, ok bool) {
	value, at, _ = v.whole(path)
	inside, names := hlc.Stamp{}, map[string]bool{}
	for _, e := range v.events {
		for _, f := range e.effects {
			if (f.kind == "set in" || f.kind == "remove in") && len(f.path) > len(path) && slices.Equal(f.path[:len(path)], path) && e.dot.Time >= v.gone {
				inside = later(inside, e.dot)
				names[f.path[len(path)]] = true
			}
		}
	}
	if inside.IsZero() || refLater(at, inside) {
		return value, at, len(value) > 0
	}
	for name := range value.Each {
		names[string(name)] = true
	}
	var b item.Builder
	for name := range names {
		if e, _, ok := v.base(append(slices.Clone(path), name)); ok {
			b.Add([]byte(name), e)
		}
	}
	value, err := b.AppendMap(nil)
	if err != nil {
		panic(err)
	}
	return value, inside, true
}

// shows returns what an attribute shows, and the latest write that it shows.
func (v *view) shows(attribute string) (value item.Value, at hlc.Stamp, ok bool) {
	base, at, ok := v.base([]string{attribute})
	if ok && slices.ContainsFunc(v.events, func(w *event) bool {
		return (w.seen[at] || w.dot == at) && slices.ContainsFunc(w.effects, func(f effect) bool { return f.kind == "bid" && f.path[0] == attribute })
	}) {
		base, ok = nil, false
	}
	if bids := v.bids(attribute); len(bids) > 0 {
		return bestOf(bids, base, at, ok)
	}
	switch {
	case ok && base.Type() == item.N || !ok && len(v.added(attribute)) == 0:
		sum, last := v.counted(attribute)
		if sum == nil {
			return base, at, ok
		}
		if ok {
			x, _ := new(big.Rat).SetString(base.Number().String())
			sum, last = sum.Add(sum, x), later(last, at)
		}
		value, err := item.AppendNumberText(nil, sum.FloatString(3))
		if err != nil {
			panic(err)
		}
		return value, last, true
	case ok && !base.Type().IsSet():
		return base, at, true
	}
	return v.set(attribute, base, at, ok)
}

func bestOf(bids []naiveBid, base item.Value, stamp hlc.Stamp, ok bool) (item.Value, hlc.Stamp, bool) {
	last := bids[0]
	var values []item.Value
	for _, b := range bids {
		if refLater(b.at, last.at) {
			last = b
		}
		values = append(values, b.value)
	}
	at := last.at
	if ok {
		values, at = append(values, base), later(at, stamp)
	}
	slices.SortFunc(values, func(a, b item.Value) int {
		if a.Type() == item.N && b.Type() == item.N {
			x, _ := new(big.Rat).SetString(a.Number().String())
			y, _ := new(big.Rat).SetString(b.Number().String())
			return x.Cmp(y)
		}
		if a.Type() != b.Type() {
			return int(a.Type()) - int(b.Type())
		}
		if a.Type() == item.S || a.Type() == item.B {
			return bytes.Compare(a.Bytes(), b.Bytes())
		}
		return bytes.Compare(a, b)
	})
	if last.least {
		return values[0], at, true
	}
	return values[len(values)-1], at, true
}

func (v *view) set(attribute string, base item.Value, stamp hlc.Stamp, ok bool) (item.Value, hlc.Stamp, bool) {
	at := hlc.Stamp{}
	if ok {
		at = stamp
	}
	added := v.added(attribute)
	of, last := base.Type().Elem(), hlc.Stamp{}
	for x, dot := range added {
		if t := item.Value(x).Type(); !ok && (refLater(dot, last) || dot == last && t > of) {
			last, of = dot, t
		}
	}
	elements := map[string]bool{}
	for x, dot := range added {
		if item.Value(x).Type() == of {
			elements[x], at = true, later(at, dot)
		}
	}
	for x := range base.Elements {
		dropped := slices.ContainsFunc(v.events, func(w *event) bool {
			return (w.seen[stamp] || w.dot == stamp) && slices.ContainsFunc(w.effects, func(f effect) bool {
				return f.kind == "drop" && f.path[0] == attribute && hasValue(f.elements, x)
			})
		})
		if !dropped {
			elements[string(x)] = true
		}
	}
	if len(elements) == 0 {
		return nil, hlc.Stamp{}, false
	}
	var list []item.Value
	for x := range elements {
		list = append(list, item.Value(x))
	}
	value, err := item.AppendSet(nil, of-item.S+item.SS, list)
	if err != nil {
		panic(err)
	}
	return value, at, true
}

// attributes are the names that the world writes.
var attributes = []string{"a", "b", "t", "u"}

// exists reports whether there is an item: something was written that is later than the last write of the whole, or some contribution counts.
func (v *view) exists() bool {
	_, reset, _ := v.whole(nil)
	for _, e := range v.events {
		if e.dot.Time >= v.gone && !refLater(reset, e.dot) && e.effects[len(e.effects)-1].kind != "delete" {
			return true
		}
	}
	for _, a := range attributes {
		if sum, _ := v.counted(a); sum != nil || len(v.added(a)) > 0 || len(v.bids(a)) > 0 {
			return true
		}
	}
	return false
}

// item returns the item; nil for none.
func (v *view) item() item.Item {
	if !v.exists() {
		return nil
	}
	var b item.Builder
	for _, a := range attributes {
		if value, _, ok := v.shows(a); ok {
			b.Add([]byte(a), value)
		}
	}
	it, err := b.AppendItem(nil)
	if err != nil {
		panic(err)
	}
	return it
}

// showsBid reports whether an attribute shows bids to who has seen some of the writes, and has a purge frontier.
func (n *naive) showsBid(attribute string, seen map[hlc.Stamp]bool, purge hlc.Timestamp) bool {
	v := view{n, nil, n.goneAt(purge)}
	for _, e := range n.events {
		if seen[e.dot] {
			v.events, v.gone = append(v.events, e), max(v.gone, n.goneAt(e.floor))
		}
	}
	return len(v.bids(attribute)) > 0
}

// itemAt returns what everybody sees at a moment who has all writes.
func (n *naive) itemAt(at hlc.Timestamp) item.Item {
	v := view{n, n.events, 0}
	for _, e := range n.events {
		v.gone = max(v.gone, n.goneAt(e.floor))
	}
	v.expire(at)
	return v.item()
}
