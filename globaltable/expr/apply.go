package expr

import (
	"github.com/concordat-db/concordat/globaltable/item"
)

// maxGrowth bounds the bytes that an update may have made when it stops before it looks at the whole item. No encoding is longer than
// four times the size that DynamoDB counts, but for the bytes of few empty values.
const maxGrowth = 4*item.MaxItemSize + 4096

// contribution returns the kind of cell of an ADD or DELETE.
func contribution(c clause, t item.Type) CellKind {
	switch {
	case c == clauseDelete:
		return DeleteElements
	case t == item.N:
		return AddNumber
	case t.IsSet():
		return AddElements
	}
	return SetCell // elements are added to a list: AttributeUpdates can do that
}

// place does the action of a target: see placer.
func (u *Update) place(dst []byte, t *target, old item.Value) (out []byte, ok bool, err error) {
	a := &u.actions[t.place]
	start := len(dst)
	switch a.clause {
	case clauseSet:
		out, err = u.appendValue(dst, a.value)
	case clauseRemove:
		return dst, false, nil
	case clauseAdd:
		out, err = u.appendAdded(dst, old, u.bound.value(a.value))
	case clauseDelete:
		if old == nil {
			return dst, false, nil
		}
		operand := u.bound.value(a.value)
		if old.Type() != operand.Type() {
			return dst, false, u.mismatch()
		}
		out, ok = item.AppendWithout(dst, old, operand)
		return out, ok, nil
	}
	if err == nil && len(t.path) > 1 {
		err = item.CheckNesting(item.Value(out[start:]), len(t.path))
	}
	if err == nil && len(out) > maxGrowth {
		err = errUpdateSize
	}
	if err != nil {
		return dst, false, err
	}
	return out, true, nil
}

// mismatch is the fault of an attribute whose type is not that of the operand.
func (u *Update) mismatch() error {
	if u.legacy {
		return errTypeMismatch
	}
	return errOperandType
}

// appendAdded appends what ADD makes of old, nil if there is nothing.
func (u *Update) appendAdded(dst []byte, old, operand item.Value) ([]byte, error) {
	switch {
	case old == nil:
		return append(dst, operand...), nil
	case old.Type() != operand.Type():
		return dst, u.mismatch()
	case operand.Type() == item.N:
		return appendArithmetic(dst, OpPlus, old, operand)
	case operand.Type() == item.L:
		return appendJoined(dst, old, operand)
	}
	return item.AppendUnion(dst, old, operand), nil
}

// appendValue appends the value of an operand. It reads the item as it was.
func (u *Update) appendValue(dst []byte, n *node) ([]byte, error) {
	switch n.op {
	case OpPlus, OpMinus, OpListAppend:
		x, err := u.value(n.args[0])
		if err != nil {
			return dst, err
		}
		y, err := u.value(n.args[1])
		if err != nil {
			return dst, err
		}
		if n.op == OpListAppend {
			return appendJoined(dst, x, y)
		}
		return appendArithmetic(dst, n.op, x, y)
	}
	v, err := u.value(n)
	if err != nil {
		return dst, err
	}
	return append(dst, v...), nil
}

// value returns the value of an operand: a view if it is there already.
func (u *Update) value(n *node) (item.Value, error) {
	switch n.op {
	case opValue:
		return u.bound.value(n), nil
	case opPath:
		v, ok := u.bound.get(u.it, n.path)
		if !ok {
			return nil, errNoSuchAttribute
		}
		return v, nil
	case OpIfNotExists:
		if v, ok := u.bound.get(u.it, n.args[0].path); ok {
			return v, nil
		}
		return u.value(n.args[1])
	}
	return u.appendValue(nil, n)
}

func appendArithmetic(dst []byte, o Op, x, y item.Value) ([]byte, error) {
	if x.Type() != item.N || y.Type() != item.N {
		return dst, errOperandType
	}
	var (
		buf [32]byte
		n   item.Number
		err error
	)
	if o == OpMinus {
		n, err = item.AppendDifference(buf[:0], x.Number(), y.Number())
	} else {
		n, err = item.AppendSum(buf[:0], x.Number(), y.Number())
	}
	if err != nil {
		return dst, err
	}
	return item.AppendNumber(dst, n), nil
}

// appendJoined appends the list of the elements of x and y.
func appendJoined(dst []byte, x, y item.Value) ([]byte, error) {
	if x.Type() != item.L || y.Type() != item.L {
		return dst, errOperandType
	}
	if len(x)+len(y) > maxGrowth {
		return dst, errUpdateSize
	}
	dst, open := item.OpenValue(dst, item.L)
	for e := range x.Elements {
		dst = append(dst, e...)
	}
	for e := range y.Elements {
		dst = append(dst, e...)
	}
	return open.Close(dst, x.Len()+y.Len()), nil
}
