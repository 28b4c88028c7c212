package expr

import (
	"bytes"
	"slices"

	"github.com/concordat-db/concordat/globaltable/item"
)

// Increment says what a cell of the update's last Apply adds to a number, where that is all that it does to the attribute a:
//
//	SET a = a + x   SET a = x + a   SET a = a - x
//
// each with if_not_exists(a, start) in place of a, too; x and start do not read a. amount is x, or the negative of it: an N, exactly as the request has it, not a difference of values
// that may have been rounded. from is what the attribute begins with: nil when it is in current, which the update was applied to, or when it begins with zero. ok is false for other cells.
func (u *Update) Increment(c *Cell, current item.Item) (amount, from item.Value, ok bool) {
	targets := u.targetsOf(c.Name)
	if c.Kind != SetCell || len(targets) != 1 || len(targets[0].path) != 1 {
		return nil, nil, false
	}
	n := u.actions[targets[0].place].value
	if n == nil || n.op != OpPlus && n.op != OpMinus {
		return nil, nil, false
	}
	of, x := n.args[0], n.args[1]
	if n.op == OpPlus && !u.isSelf(of, c.Name) {
		of, x = x, of
	}
	if !u.isSelf(of, c.Name) || u.reads(x, c.Name) {
		return nil, nil, false
	}
	u.it = current
	defer func() { u.it = nil }()
	amount, err := u.value(x)
	if err != nil || amount.Type() != item.N {
		return nil, nil, false // such an update was not applied
	}
	if n.op == OpMinus {
		if amount, err = negative(amount); err != nil {
			return nil, nil, false
		}
	}
	if _, is := current.Get(c.Name); is {
		return amount, nil, true
	}
	if from, err = u.value(of); err != nil {
		return nil, nil, false
	}
	if from.Number().Sign() == 0 {
		from = nil
	}
	return amount, from, true
}

var zero, _ = item.AppendNumberText(nil, "0")

func negative(v item.Value) (item.Value, error) { return appendArithmetic(nil, OpMinus, zero, v) }

// isSelf reports whether an operand is the attribute itself, or what it begins with if it is not there.
func (u *Update) isSelf(n *node, name []byte) bool {
	if n.op == OpIfNotExists {
		return u.isSelf(n.args[0], name) && !u.reads(n.args[1], name)
	}
	return n.op == opPath && len(n.path) == 1 && bytes.Equal(u.bound[n.path[0].symbol], name)
}

// reads reports whether an operand reads the attribute, or something in it.
func (u *Update) reads(n *node, name []byte) bool {
	if n.op == opPath {
		return bytes.Equal(u.bound[n.path[0].symbol], name)
	}
	for _, arg := range n.args {
		if u.reads(arg, name) {
			return true
		}
	}
	return false
}

// targetsOf returns what the update does within one attribute: targets are sorted, so they are neighbours.
func (u *Update) targetsOf(name []byte) []target {
	targets := u.rewrite.targets
	i, _ := slices.BinarySearchFunc(targets, name, func(t target, name []byte) int { return bytes.Compare(t.path[0].Name, name) })
	j := i
	for j < len(targets) && bytes.Equal(targets[j].path[0].Name, name) {
		j++
	}
	return targets[i:j]
}

// Entries calls f with the paths that a cell of the update's last Apply changes within its attribute, ascending, each with the value that stands there afterwards; nil if there is none. A path has
// names only, the attribute's first: it ends before the first index of a list, so it may be that of the attribute alone, and stands for the whole list then. The path is valid during the call.
func (u *Update) Entries(c *Cell, f func(path []Step, v item.Value)) {
	var last []Step
	for _, t := range u.targetsOf(c.Name) {
		n := 1
		for n < len(t.path) && !t.path[n].isIndex() {
			n++
		}
		path := t.path[:n]
		if last != nil && slices.EqualFunc(last, path, func(a, b Step) bool { return compareSteps(a, b) == 0 }) {
			continue // another element of the same list
		}
		last = path
		v := c.Value
		for _, s := range path[1:] {
			if v == nil {
				break
			}
			if next, ok := v.Get(s.Name); ok {
				v = next
			} else {
				v = nil
			}
		}
		f(path, v)
	}
}
