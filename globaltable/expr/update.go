package expr

import (
	"bytes"

	"github.com/concordat-db/concordat/globaltable/item"
)

// Update is what an UpdateExpression, or AttributeUpdates, does to an item. It lives as long as what it was bound with.
type Update struct {
	actions []action
	bound   bound
	rewrite rewrite   // to the item as it will be
	legacy  bool      // of AttributeUpdates: its errors have other texts
	cells   []Cell    // those of the last Apply
	it      item.Item // what right-hand sides read, while an Apply runs
}

const updateParameter = "UpdateExpression"

// CellKind is what an update does to a top-level attribute.
type CellKind uint8

// The kinds.
const (
	SetCell        CellKind = iota + 1 // the attribute gets a whole new value
	RemoveCell                         // the attribute goes
	AddNumber                          // a number is added to it
	AddElements                        // elements are added to the set that it is
	DeleteElements                     // elements are deleted from the set that it is
)

// Cell is what an update does to one top-level attribute.
type Cell struct {
	Kind CellKind
	Name []byte
	// Value is the attribute's whole value after the update: a view of Updated.After; nil if it is not there then.
	Value item.Value
	// Operand is the contribution of AddNumber (an N), AddElements and DeleteElements (a set): a view of what was bound.
	Operand item.Value
}

// Updated is what an update has come to, twice.
type Updated struct {
	After item.Item // the whole item
	Cells []Cell    // the same as operations on the top-level attributes that the update names, ascending by name; until the next Apply
}

// newUpdate checks the operands of an update. targets[i].place is the index of an action; there is one for each. They are sorted.
func newUpdate(actions []action, b bound, targets []target) (*Update, error) {
	c := checker{updateParameter, b}
	for i := range actions {
		if err := c.action(&actions[i]); err != nil {
			return nil, err
		}
	}
	if err := sortTargets(updateParameter, targets); err != nil {
		return nil, err
	}
	u := &Update{actions: actions, bound: b}
	u.rewrite = rewrite{targets: targets, at: u, others: true, strict: true}
	return u, nil
}

// typeNames are DynamoDB's long names of the types, which some messages have.
var typeNames = [...]string{
	item.S: "STRING", item.N: "NUMBER", item.B: "BINARY", item.BOOL: "BOOLEAN", item.NULL: "NULL", item.M: "MAP", item.L: "LIST",
	item.SS: "STRING_SET", item.NS: "NUMBER_SET", item.BS: "BINARY_SET",
}

// action checks the operands of an action.
func (c checker) action(a *action) error {
	switch a.clause {
	case clauseSet:
		return c.check(a.value)
	case clauseAdd, clauseDelete:
		if t := c.typeOf(a.value); !t.IsSet() && (t != item.N || a.clause == clauseDelete) {
			return invalid(c.parameter, "Incorrect operand type for operator or function", "; operator: "+a.clause.String()+
				", operand type: "+typeNames[t]+", typeSet: ALLOWED_FOR_"+a.clause.String()+"_OPERAND")
		}
	}
	return nil
}

// Names calls f for the name of each top-level attribute that the update changes, perhaps more than once, until f returns false.
func (u *Update) Names(f func(name []byte) bool) { topNames(u.rewrite.targets, f) }

// OnlyRemoves reports whether the update has nothing but REMOVE and DELETE: then an item that does not exist is not made.
func (u *Update) OnlyRemoves() bool {
	for i := range u.actions {
		if c := u.actions[i].clause; c != clauseRemove && c != clauseDelete {
			return false
		}
	}
	return true
}

// Apply encodes the item that the update makes of current over dst[:0], which may be nil and does not overlap current. An item that does
// not exist yet is current with its key attributes alone. All that the update reads it reads from current. The error is an *item.Error of
// class Validation, or SizeExceeded when the item becomes larger than item.MaxItemSize; what dst has is undefined then.
func (u *Update) Apply(dst []byte, current item.Item) (Updated, error) {
	u.it = current
	dst, err := u.rewrite.item(dst[:0], current)
	u.it = nil
	if err != nil {
		return Updated{}, err
	}
	if item.CheckSize(dst) != nil {
		return Updated{}, errUpdateSize
	}
	u.note(dst)
	return Updated{dst, u.cells}, nil
}

// note makes the cells of the update that made after. Both are ascending by name.
func (u *Update) note(after item.Item) {
	u.cells = u.cells[:0]
	for i := range u.rewrite.targets {
		t := &u.rewrite.targets[i]
		if n := len(u.cells); n == 0 || !bytes.Equal(u.cells[n-1].Name, t.path[0].Name) {
			u.cells = append(u.cells, u.cell(t))
		}
	}
	i := 0
	for name, v := range after.Each {
		for i < len(u.cells) && bytes.Compare(u.cells[i].Name, name) < 0 {
			i++
		}
		if i == len(u.cells) {
			return
		}
		if bytes.Equal(u.cells[i].Name, name) {
			u.cells[i].Value = v
		}
	}
}

// cell returns what the update does to the attribute that t begins with, without the value.
func (u *Update) cell(t *target) Cell {
	c := Cell{Kind: SetCell, Name: t.path[0].Name}
	if len(t.path) > 1 {
		return c
	}
	switch a := &u.actions[t.place]; a.clause {
	case clauseRemove:
		c.Kind = RemoveCell
	case clauseAdd, clauseDelete:
		operand := u.bound.value(a.value)
		if c.Kind = contribution(a.clause, operand.Type()); c.Kind != SetCell {
			c.Operand = operand
		}
	}
	return c
}

// AppendOld appends what the update names, as it is in current: for ReturnValues UPDATED_OLD. Nested paths are within the maps and lists
// that hold them, as in a projection.
func (u *Update) AppendOld(dst []byte, current item.Item) []byte {
	r := rewrite{targets: u.rewrite.targets, at: copier{}}
	dst, _ = r.item(dst, current) // copying does not fail
	return dst
}

// AppendNew appends what the update names, as Apply makes it of current: for ReturnValues UPDATED_NEW. The error is that of Apply.
func (u *Update) AppendNew(dst []byte, current item.Item) ([]byte, error) {
	u.it = current
	r := u.rewrite
	r.others = false
	dst, err := r.item(dst, current)
	u.it = nil
	return dst, err
}
