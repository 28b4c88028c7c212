package plan

import (
	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/globaltable/expr"
	"github.com/concordat-db/concordat/globaltable/item"
)

// recordCells makes m.cells of an update as mode attribute records it: each attribute that the update names by what it leaves of it.
func (m *Memory) recordCells(cells []expr.Cell) {
	for i := range cells {
		m.recordCell(&cells[i], conflict.TypeRegister)
	}
	m.recordPresence()
}

// recordTyped makes m.cells of an update of current as mode vector records it.
//
// What several regions may do at once without asking each other is recorded as what each of them did: how much was added, which elements came or went, which entry of a map was set. Everything
// else is recorded by its result. Without a declared type only ADD and DELETE say by themselves what they are; a SET may be meant either way and stays a SET.
func (m *Memory) recordTyped(w *Write, current item.Item, cells []expr.Cell) {
	for i := range cells {
		c := &cells[i]
		typ, declared := w.Table.TypeOf(c.Name)
		switch {
		case c.Kind == expr.AddNumber && (!declared || typ == conflict.TypeCounter):
			m.add(conflict.OpAddNumber, conflict.TypeCounter, c.Name, c.Operand)
		case c.Kind == expr.AddElements && (!declared || typ == conflict.TypeSet):
			m.add(conflict.OpAddElements, conflict.TypeSet, c.Name, c.Operand)
		case c.Kind == expr.DeleteElements && (!declared || typ == conflict.TypeSet):
			m.add(conflict.OpDeleteElements, conflict.TypeSet, c.Name, c.Operand)
		case declared && typ == conflict.TypeCounter:
			m.recordCounter(w.Update, c, current)
		case declared && typ == conflict.TypeMap:
			m.recordEntries(w.Update, c)
		case declared && (typ == conflict.TypeMax || typ == conflict.TypeMin):
			m.recordCell(c, typ)
		default:
			m.recordCell(c, conflict.TypeRegister)
		}
	}
	m.recordPresence()
}

// recordCounter records what is no ADD of a number to an attribute that is a counter: SET a = a + x is one in other words.
func (m *Memory) recordCounter(u *expr.Update, c *expr.Cell, current item.Item) {
	amount, from, ok := u.Increment(c, current)
	if !ok {
		m.recordCell(c, conflict.TypeRegister)
		return
	}
	if from != nil {
		// Regions that begin with the same value at the same time agree about it, and what each has added counts.
		m.add(conflict.OpSetCell, conflict.TypeRegister, c.Name, from)
	}
	m.add(conflict.OpAddNumber, conflict.TypeCounter, c.Name, amount)
}

// recordEntries records an attribute that is a map by the entries that have changed, or whole where the update names it whole.
func (m *Memory) recordEntries(u *expr.Update, c *expr.Cell) {
	u.Entries(c, func(path []expr.Step, v item.Value) {
		if len(path) == 1 {
			m.recordCell(c, conflict.TypeRegister)
			return
		}
		name := m.free()
		for _, s := range path {
			name = conflict.AppendPath(name, s.Name)
		}
		m.take(name)
		kind := conflict.OpSetPath
		if v == nil {
			kind = conflict.OpRemovePath
		}
		m.add(kind, conflict.TypeMap, name, v)
	})
}

// recordCell records an attribute by what the update leaves of it.
func (m *Memory) recordCell(c *expr.Cell, typ conflict.TypeTag) {
	if c.Value == nil {
		m.add(conflict.OpRemoveCell, conflict.TypeRegister, c.Name, nil)
		return
	}
	m.add(conflict.OpSetCell, typ, c.Name, c.Value)
}

// recordPresence makes the item exist where nothing else does.
func (m *Memory) recordPresence() {
	if len(m.cells) == 0 {
		m.add(conflict.OpSetCell, conflict.TypeRegister, nil, nil)
	}
}

func (m *Memory) add(kind conflict.OpKind, typ conflict.TypeTag, name, value []byte) {
	m.cells = append(m.cells, conflict.Op{Kind: kind, Type: typ, Name: name, Value: value})
}
