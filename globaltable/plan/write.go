package plan

import (
	"slices"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/expr"
	"github.com/concordat-db/concordat/globaltable/item"
)

// Action is what a Write does.
type Action uint8

// The actions.
const (
	Put    Action = iota + 1 // the item becomes Write.Item
	Delete                   // the item goes
	Update                   // the item becomes what Write.Update makes of it
	Check                    // nothing: the condition is all
)

// Presence says whether there must be an item before a Write.
type Presence uint8

// The presences.
const (
	Whatever  Presence = iota
	Absent             // there must be none: the error is ErrDuplicate
	Present            // there must be one: the error is ErrCondition
	IfPresent          // if there is none, the write leaves it at that, whatever its condition
)

// Image says which image of its item a write returns, as ReturnValues does.
type Image uint8

// The images.
const (
	NoImage Image = iota
	AllOld
	AllNew
	UpdatedOld // what the update names, as it was
	UpdatedNew // what the update names, as it is now
)

// Write is one key's request.
type Write struct {
	Action    Action
	Table     *globaltable.Table
	Item      item.Item // of a Put: the whole new item; of the others: the key's attributes
	Presence  Presence
	Condition *expr.Condition // what must hold of the item before; nil: nothing
	Update    *expr.Update    // of an Update; nil: it changes nothing, but the item exists afterwards
	Returns   Image
}

// Outcome is what a Write comes to. Its bytes are views of the Write, of the item before, or of the Memory.
type Outcome struct {
	Ops   []conflict.Op // in order; none if the write leaves the item as it is
	After item.Item     // nil if there is none
	Image item.Item     // what Write.Returns asks for; nil if there is nothing of it
}

// Memory holds what plans make, until its Reset. The zero value is ready.
type Memory struct {
	ops   []conflict.Op
	cells []conflict.Op
	bytes []byte
}

// Reset ends what was made with m; its memory is kept, up to keep bytes.
func (m *Memory) Reset(keep int) {
	clear(m.ops)
	clear(m.cells)
	m.ops, m.cells, m.bytes = m.ops[:0], m.cells[:0], m.bytes[:0]
	if cap(m.bytes) > keep {
		m.bytes = nil
	}
}

// Grow makes room for n operations: those of a request are made without an allocation each.
func (m *Memory) Grow(n int) { m.ops = slices.Grow(m.ops, n) }

// ErrCondition says that the condition of a Write does not hold.
var ErrCondition error = &globaltable.Error{Op: "plan", Kind: globaltable.ConditionFailed, Message: "The conditional request failed"}

// ErrDuplicate says that there is an item where there must be none.
var ErrDuplicate error = &globaltable.Error{Op: "plan", Kind: globaltable.Exists, Message: "Duplicate primary key exists in table"}

// Plan returns what w does to current, nil when the item does not exist. Presence and condition are looked at first: the error is ErrDuplicate or ErrCondition if they do not hold. Other errors are *item.Error,
// or *globaltable.Error of kind Invalid, in DynamoDB's words.
//
// A Delete makes an operation even when the item does not exist: a write to it may be on its way from another region, and this
// delete, made later, must win over it.
func (w *Write) Plan(current item.Item, m *Memory) (Outcome, error) {
	switch {
	case w.Presence == IfPresent && current == nil:
		return Outcome{}, nil
	case w.Presence == Absent && current != nil:
		return Outcome{After: current}, ErrDuplicate
	case w.Presence == Present && current == nil, w.Condition != nil && !w.Condition.Holds(current):
		return Outcome{After: current}, ErrCondition
	}
	start := len(m.ops)
	out := Outcome{After: current}
	switch w.Action {
	case Put:
		if err := item.CheckSize(w.Item); err != nil {
			return out, err
		}
		m.ops = conflict.RecordPut(m.ops, w.Item)
		out.After = w.Item
	case Delete:
		m.ops = conflict.RecordDelete(m.ops)
		out.After = nil
	case Update:
		after, err := w.update(current, m)
		if err != nil {
			return out, err
		}
		out.After = after
	case Check:
	default:
		return out, invalid("no such action")
	}
	out.Ops = m.ops[start:len(m.ops):len(m.ops)]
	out.Image = w.image(current, out.After, m)
	return out, nil
}

// image returns what w.Returns asks for.
func (w *Write) image(before, after item.Item, m *Memory) item.Item {
	var made item.Item
	switch w.Returns {
	case AllOld:
		return before
	case AllNew:
		return after
	case UpdatedOld:
		if w.Update == nil || before == nil {
			return nil
		}
		made = w.Update.AppendOld(m.free(), before)
	case UpdatedNew:
		if w.Update == nil || after == nil {
			return nil
		}
		if before == nil {
			before = w.Item
		}
		made, _ = w.Update.AppendNew(m.free(), before) // it has worked once
	}
	if made.Len() == 0 {
		return nil
	}
	m.take(made)
	return made
}

// update appends the operations of an update to m and returns what it makes of current. The operations say nothing of the key's attributes: they never change, and who reads the record
// has them from its key.
func (w *Write) update(current item.Item, m *Memory) (item.Item, error) {
	made := current == nil
	if made {
		if w.Update != nil && w.Update.OnlyRemoves() {
			return nil, nil
		}
		// A new item has the key's attributes from the key, and an index may have shorter ones.
		if err := CheckIndexKeys(w.Table, w.Item); err != nil {
			return nil, err
		}
		current = w.Item
	}
	after := current
	var cells []expr.Cell
	if w.Update != nil {
		u, err := w.Update.Apply(m.free(), current)
		if err != nil {
			return nil, err
		}
		m.take(u.After)
		after, cells = u.After, u.Cells
	}
	if len(w.Table.Indexes) > 0 {
		if err := checkUpdated(w.Table, cells); err != nil {
			return nil, err
		}
		if made {
			if err := checkUpdated(w.Table, cellsOf(w.Item)); err != nil {
				return nil, err
			}
		}
	}
	m.cells = m.cells[:0]
	switch w.Table.Mode {
	case conflict.LWW:
	case conflict.Vector:
		m.recordTyped(w, current, cells)
	default:
		m.recordCells(cells)
	}
	m.ops = w.Table.Mode.RecordUpdate(m.ops, after, m.cells)
	return after, nil
}

// cellsOf returns the attributes of an item as an update that sets them.
func cellsOf(it item.Item) (cells []expr.Cell) {
	for name, v := range it.Each {
		cells = append(cells, expr.Cell{Kind: expr.SetCell, Name: name, Value: v})
	}
	return cells
}

// free is where something can be made: behind the bytes of m.
func (m *Memory) free() []byte { return m.bytes[len(m.bytes):] }

// take keeps what was made behind the bytes of m. If it did not fit there it has memory of its own, which is gone on with.
func (m *Memory) take(made []byte) {
	if len(made) <= cap(m.bytes)-len(m.bytes) {
		m.bytes = m.bytes[:len(m.bytes)+len(made)]
		return
	}
	m.bytes = made
}
