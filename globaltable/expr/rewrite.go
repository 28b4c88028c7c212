package expr

import "github.com/concordat-db/concordat/globaltable/item"

// A rewrite makes an item of another one by what it does at the targets' places.
//
// The targets are sorted, so they are a tree as they stand: those that begin alike are neighbours. The walk goes through an item's (or
// a map's, or a list's) parts and through the targets below it side by side, both ascending, and is done in one pass, at every level.
type rewrite struct {
	targets []target
	at      placer
	others  bool // parts that no target names are kept
	strict  bool // a path that leads through what is not there, or of another type, is an error; else there is nothing at its end
}

// placer does what is to be done at the end of a path: it appends the value that comes to stand there. old is the value that stands
// there, nil if there is none. ok is false, and dst is returned as it was, if there will be none.
type placer interface {
	place(dst []byte, t *target, old item.Value) (out []byte, ok bool, err error)
}

// item appends the item that it becomes. An absent item is nil.
func (r *rewrite) item(dst []byte, it item.Item) ([]byte, error) {
	dst, open := item.OpenItem(dst)
	m := merge{rewrite: r, dst: dst, rest: r.targets}
	for name, v := range it.Each {
		if !m.entry(name, v) {
			break
		}
	}
	m.remaining()
	return open.Close(m.dst, m.count), m.err
}

// value appends what comes to stand where the first depth steps of all targets lead. old is the value there, nil if there is none.
func (r *rewrite) value(dst []byte, targets []target, depth int, old item.Value) (out []byte, ok bool, err error) {
	if first := &targets[0]; len(first.path) == depth {
		return r.at.place(dst, first, old) // the only one: no path lies within another
	}
	t := item.M
	if targets[0].path[depth].isIndex() {
		t = item.L
	}
	if old.Type() != t {
		if r.strict {
			return dst, false, errInvalidPath
		}
		return dst, false, nil
	}
	start := len(dst)
	dst, open := item.OpenValue(dst, t)
	m := merge{rewrite: r, dst: dst, rest: targets, depth: depth}
	if t == item.M {
		for name, v := range old.Each {
			if !m.entry(name, v) {
				break
			}
		}
	} else {
		for v := range old.Elements {
			if !m.element(v) {
				break
			}
		}
	}
	m.remaining()
	if m.err != nil {
		return dst[:start], false, m.err
	}
	if m.count == 0 && !r.others {
		return m.dst[:start], false, nil
	}
	return open.Close(m.dst, m.count), true, nil
}

// merge is the walk through the parts of one item, map or list.
type merge struct {
	*rewrite
	dst   []byte
	rest  []target // those not yet reached; the first depth steps of all lead here
	depth int
	index int // of the next element of a list
	count int // of the parts appended
	err   error
}

// entry goes on to the entry that the container has next.
func (m *merge) entry(name []byte, v item.Value) bool {
	step := Step{Name: name}
	for len(m.rest) > 0 {
		c := compareSteps(m.rest[0].path[m.depth], step)
		if c > 0 {
			break
		}
		if c == 0 {
			return m.group(v)
		}
		if !m.group(nil) {
			return false
		}
	}
	if m.others {
		m.dst = append(item.AppendName(m.dst, name), v...)
		m.count++
	}
	return true
}

// element is entry for the elements of a list.
func (m *merge) element(v item.Value) bool {
	i := m.index
	m.index++
	if len(m.rest) > 0 && m.rest[0].path[m.depth].Index == i {
		return m.group(v)
	}
	if m.others {
		m.dst = append(m.dst, v...)
		m.count++
	}
	return true
}

// remaining does what is left when the container has no more parts: its names come after them, its elements are appended.
func (m *merge) remaining() {
	for m.err == nil && len(m.rest) > 0 {
		m.group(nil)
	}
}

// group does what the targets ask that have the next step in common; old is the part that it leads to. It reports whether to go on.
func (m *merge) group(old item.Value) bool {
	step := m.rest[0].path[m.depth]
	n := 1
	for n < len(m.rest) && compareSteps(m.rest[n].path[m.depth], step) == 0 {
		n++
	}
	own := m.rest[:n]
	m.rest = m.rest[n:]
	dst := m.dst
	if !step.isIndex() {
		dst = item.AppendName(dst, step.Name)
	}
	dst, ok, err := m.value(dst, own, m.depth+1, old)
	if err != nil {
		m.err = err
		return false
	}
	if ok {
		m.dst = dst
		m.count++
	}
	return true
}
