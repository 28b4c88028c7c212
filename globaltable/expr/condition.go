package expr

import (
	"bytes"
	"strconv"

	"github.com/concordat-db/concordat/globaltable/item"
)

// Condition is a condition or a filter. It lives as long as what it was bound with.
type Condition struct {
	root  *node
	bound bound
}

// newCondition checks the operands of a condition.
func newCondition(parameter string, root *node, b bound) (*Condition, error) {
	if err := (checker{parameter, b}).check(root); err != nil {
		return nil, err
	}
	return &Condition{root, b}, nil
}

// Holds reports whether the condition holds for the item; nil is an item that does not exist.
func (c *Condition) Holds(it item.Item) bool { return c.holds(c.root, it) }

// Names calls f for the name of each top-level attribute that the condition is about, perhaps more than once, until f returns false.
func (c *Condition) Names(f func(name []byte) bool) { c.bound.eachName(c.root, f) }

func (b bound) eachName(n *node, f func(name []byte) bool) bool {
	if n.op == opPath && !f(b[n.path[0].symbol]) {
		return false
	}
	for _, a := range n.args {
		if !b.eachName(a, f) {
			return false
		}
	}
	return true
}

func (c *Condition) holds(n *node, it item.Item) bool {
	switch n.op {
	case OpAnd:
		for _, a := range n.args {
			if !c.holds(a, it) {
				return false
			}
		}
		return true
	case OpOr:
		for _, a := range n.args {
			if c.holds(a, it) {
				return true
			}
		}
		return false
	case OpNot:
		return !c.holds(n.args[0], it)
	case OpAttributeExists, OpAttributeNotExists:
		_, exists := c.bound.get(it, n.args[0].path)
		return exists == (n.op == OpAttributeExists)
	case OpIn:
		return c.in(n, it)
	}
	var first, second sizeBuffer
	x, y := c.operand(n.args[0], it, &first), c.operand(n.args[1], it, &second)
	switch n.op {
	case OpEQ:
		return x != nil && bytes.Equal(x, y)
	case OpNE:
		return x == nil || !bytes.Equal(x, y)
	case OpAttributeType:
		return x != nil && x.Type().String() == string(y.Bytes())
	case OpBeginsWith:
		t := x.Type()
		return t == y.Type() && (t == item.S || t == item.B) && bytes.HasPrefix(x.Bytes(), y.Bytes())
	case OpContains:
		return contains(x, y)
	case OpBetween:
		var third sizeBuffer
		return inOrder(OpGE, x, y) && inOrder(OpLE, x, c.operand(n.args[2], it, &third))
	}
	return inOrder(n.op, x, y)
}

// in reports whether the first operand is equal to one of the others.
func (c *Condition) in(n *node, it item.Item) bool {
	var first sizeBuffer
	x := c.operand(n.args[0], it, &first)
	if x == nil {
		return false
	}
	for _, a := range n.args[1:] {
		var buf sizeBuffer
		if bytes.Equal(x, c.operand(a, it, &buf)) {
			return true
		}
	}
	return false
}

// inOrder reports whether x and y are of one type that has an order, and in that of o.
func inOrder(o Op, x, y item.Value) bool {
	c, ok := x.Compare(y)
	if !ok {
		return false
	}
	switch o {
	case OpLT:
		return c < 0
	case OpLE:
		return c <= 0
	case OpGT:
		return c > 0
	}
	return c >= 0
}

// contains reports whether y is a part of x: of a string or binary, or an element of a set or list.
func contains(x, y item.Value) bool {
	if t := x.Type(); t == item.S || t == item.B {
		return y.Type() == t && bytes.Contains(x.Bytes(), y.Bytes())
	}
	return x.Has(y)
}

// sizeBuffer holds the encoded result of size, which is in no item.
type sizeBuffer [24]byte

// operand returns the value of an operand: a view of the item, of what is bound, or of buf; nil if there is none.
func (c *Condition) operand(n *node, it item.Item, buf *sizeBuffer) item.Value {
	switch n.op {
	case opValue:
		return c.bound.value(n)
	case OpSize:
		size, ok := sizeOf(c.operand(n.args[0], it, buf))
		if !ok {
			return nil
		}
		return item.AppendInt(buf[:0], int64(size))
	}
	v, _ := c.bound.get(it, n.path)
	return v
}

// sizeOf returns what the function size says of v: the bytes of a string or binary, the entries or elements of what has some.
func sizeOf(v item.Value) (size int, ok bool) {
	switch v.Type() {
	case item.S, item.B, item.M, item.L, item.SS, item.NS, item.BS:
		return v.Len(), true
	}
	return 0, false
}

// checker checks operands, once their names and values are known.
type checker struct {
	parameter string
	bound     bound
}

// operandCounts are how many operands functions have.
var operandCounts = map[Op]int{
	OpSize: 1, OpIfNotExists: 2, OpListAppend: 2,
	OpAttributeExists: 1, OpAttributeNotExists: 1, OpAttributeType: 2, OpBeginsWith: 2, OpContains: 2,
}

// check checks n and what is below it, in the order of the text.
func (c checker) check(n *node) error {
	for _, a := range n.args {
		if err := c.check(a); err != nil {
			return err
		}
	}
	if want, ok := operandCounts[n.op]; ok && len(n.args) != want {
		return operandCount(c.parameter, n.op.String(), len(n.args))
	}
	switch n.op {
	case OpEQ, OpNE, OpIn:
		return c.distinct(n)
	case OpLT, OpLE, OpGT, OpGE:
		return c.ordered(n)
	case OpBetween:
		return c.between(n)
	case OpAttributeExists, OpAttributeNotExists, OpIfNotExists:
		if n.args[0].op != opPath {
			return needsPath(c.parameter, n.op.String())
		}
	case OpAttributeType:
		return c.attributeType(n)
	case OpBeginsWith:
		if err := c.types(n, n.args, item.S, item.B); err != nil {
			return err
		}
		return c.distinct(n)
	case OpContains:
		if err := c.types(n, n.args[:1], item.S, item.B, item.SS, item.NS, item.BS, item.L); err != nil {
			return err
		}
		return c.distinct(n)
	case OpSize:
		return c.types(n, n.args, item.S, item.B, item.SS, item.NS, item.BS, item.L, item.M)
	case OpPlus, OpMinus:
		return c.types(n, n.args, item.N)
	case OpListAppend:
		return c.types(n, n.args, item.L)
	}
	return nil
}

// typeOf returns the type that an operand is known to have before there is an item; zero if it has none of its own.
func (c checker) typeOf(n *node) item.Type {
	switch n.op {
	case opValue:
		return c.bound.value(n).Type()
	case OpSize, OpPlus, OpMinus:
		return item.N
	case OpListAppend:
		return item.L
	}
	return 0
}

// types checks that operands of known type have one of those allowed.
func (c checker) types(n *node, operands []*node, allowed ...item.Type) error {
operands:
	for _, a := range operands {
		t := c.typeOf(a)
		if t == 0 {
			continue
		}
		for _, u := range allowed {
			if t == u {
				continue operands
			}
		}
		return operandType(c.parameter, n.op.String(), t.String())
	}
	return nil
}

// distinct checks that the first operand is not the same path as another.
func (c checker) distinct(n *node) error {
	first := n.args[0]
	if first.op != opPath {
		return nil
	}
	for _, a := range n.args[1:] {
		if a.op == opPath && c.bound.samePath(first.path, a.path) {
			return invalid(c.parameter, "The first operand must be distinct from the remaining operands for this operator or function",
				"; operator: "+n.op.String()+", first operand: "+pathText(c.bound.appendSteps(nil, first.path)))
		}
	}
	return nil
}

// ordered checks operands of a comparison by order.
func (c checker) ordered(n *node) error {
	if err := c.types(n, n.args, item.S, item.N, item.B); err != nil {
		return err
	}
	return c.distinct(n)
}

func (c checker) between(n *node) error {
	if err := c.ordered(n); err != nil {
		return err
	}
	lower, upper := n.args[1], n.args[2]
	if lower.op != opValue || upper.op != opValue {
		return nil
	}
	lo, hi := c.bound.value(lower), c.bound.value(upper)
	order, same := lo.Compare(hi)
	what := ""
	switch {
	case !same:
		what = "The BETWEEN operator requires same data type for lower and upper bounds"
	case order > 0:
		what = "The BETWEEN operator requires upper bound to be greater than or equal to lower bound"
	default:
		return nil
	}
	return invalid(c.parameter, what, "; lower bound operand: "+attributeText(lo)+", upper bound operand: "+attributeText(hi))
}

func (c checker) attributeType(n *node) error {
	name := n.args[1]
	switch t := c.typeOf(name); {
	case t == 0:
		return operandType(c.parameter, n.op.String(), "{NS,SS,L,BS,N,M,B,BOOL,NULL,S}")
	case t != item.S:
		return operandType(c.parameter, n.op.String(), t.String())
	}
	v := c.bound.value(name)
	if _, ok := item.ParseType(v.Bytes()); !ok {
		return invalid(c.parameter, "Invalid attribute type name found",
			"; type: "+string(v.Bytes())+", valid types: {B,NULL,SS,BOOL,L,BS,N,NS,S,M}")
	}
	return nil
}

// attributeText returns an S, N or B as DynamoDB prints it in messages.
func attributeText(v item.Value) string {
	text := string(v.Bytes())
	switch v.Type() {
	case item.N:
		text = v.Number().String()
	case item.B:
		text = "java.nio.HeapByteBuffer[pos=0 lim=" + strconv.Itoa(v.Len()) + " cap=" + strconv.Itoa(v.Len()) + "]"
	}
	return "AttributeValue: {" + v.Type().String() + ":" + text + "}"
}
