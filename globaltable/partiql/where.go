package partiql

import (
	"bytes"
	"slices"

	"github.com/concordat-db/concordat/globaltable/expr"
	"github.com/concordat-db/concordat/globaltable/item"
)

// Where is a WHERE clause: conditions of which all have to hold. What of it is about keys depends on the table or index; so it is split
// once that is known.
type Where struct {
	terms     []*node
	parameter string // as errors of conditions name it
}

// where parses WHERE condition. The condition is checked as a whole.
func (p *parser) where(parameter string) (*Where, error) {
	if !p.acceptWord("WHERE") {
		if p.cur.kind == tokenEnd || p.cur.is("RETURNING") {
			return nil, errKey
		}
		return nil, p.unexpected()
	}
	n, err := p.disjunction()
	if err != nil {
		return nil, err
	}
	if !n.condition() {
		return nil, p.unexpected()
	}
	w := &Where{parameter: parameter}
	w.add(n)
	_, err = w.condition(w.terms)
	return w, err
}

// add adds the conditions that n joins by AND.
func (w *Where) add(n *node) {
	if n.op != expr.OpAnd {
		w.terms = append(w.terms, n)
		return
	}
	for _, a := range n.args {
		w.add(a)
	}
}

// condition returns the condition that all of the terms hold; nil for none.
func (w *Where) condition(terms []*node) (*expr.Condition, error) {
	if len(terms) == 0 {
		return nil, nil
	}
	var b expr.Builder
	all := &node{op: expr.OpAnd, args: terms}
	return b.Condition(w.parameter, all.build(&b))
}

// Key returns the values of the key attributes, which are named, and the condition that is left; nil for none. It is for statements on
// one item. The error is DynamoDB's when a key attribute is not compared for equality.
func (w *Where) Key(names ...string) (values []item.Value, rest *expr.Condition, err error) {
	left := slices.Clone(w.terms)
	for _, name := range names {
		i := slices.IndexFunc(left, func(n *node) bool { _, ok := n.equality(name); return ok })
		if i < 0 {
			return nil, nil, errKey
		}
		v, _ := left[i].equality(name)
		values = append(values, v)
		left = slices.Delete(left, i, i+1)
	}
	rest, err = w.condition(left)
	return values, rest, err
}

// maxPartitions is how many partitions a SELECT may name.
const maxPartitions = 50

// Query returns what to read of a table or an index with these key attributes, and the condition that filters it; nil for none. There is
// a key condition for each partition that the clause names by = or IN (or by = joined by OR), in that order; none says that everything
// has to be read. Each has the partition attributes first, then as many of the sort attributes as can be used, in their order.
func (w *Where) Query(partition, sort []string) (ranges []expr.KeyCondition, filter *expr.Condition, err error) {
	left := slices.Clone(w.terms)
	ranges = []expr.KeyCondition{{}}
	for _, name := range partition {
		options := []item.Value(nil)
		i := slices.IndexFunc(left, func(n *node) bool { options = n.options(name); return options != nil })
		if i < 0 {
			filter, err = w.condition(w.terms)
			return nil, filter, err
		}
		left = slices.Delete(left, i, i+1)
		if len(ranges)*len(options) > maxPartitions {
			return nil, nil, errOperands
		}
		ranges = product(ranges, name, options)
	}
	for _, name := range sort {
		var term expr.KeyTerm
		i := slices.IndexFunc(left, func(n *node) bool {
			var ok bool
			term, ok = n.keyTerm(name)
			return ok
		})
		if i < 0 {
			break
		}
		left = slices.Delete(left, i, i+1)
		for j := range ranges {
			ranges[j].Terms = append(ranges[j].Terms, term)
		}
		if term.Op != expr.KeyEqual {
			break
		}
	}
	filter, err = w.condition(left)
	return ranges, filter, err
}

// product returns each of the ranges with each of the options for the attribute.
func product(ranges []expr.KeyCondition, name string, options []item.Value) []expr.KeyCondition {
	var out []expr.KeyCondition
	for _, r := range ranges {
		for _, v := range options {
			terms := append(slices.Clip(r.Terms), expr.KeyTerm{Name: []byte(name), Op: expr.KeyEqual, Values: [2]item.Value{v}})
			out = append(out, expr.KeyCondition{Terms: terms})
		}
	}
	return out
}

// names reports whether n is the attribute of the name, and nothing below it.
func (n *node) names(name string) bool { return len(n.path) == 1 && string(n.path[0].Name) == name }

// literal reports whether n is a value.
func (n *node) literal() bool { return n.op == 0 && n.path == nil }

// equality returns the value that n says the attribute is equal to.
func (n *node) equality(name string) (item.Value, bool) {
	if n.op != expr.OpEQ {
		return nil, false
	}
	x, y := n.args[0], n.args[1]
	if y.names(name) {
		x, y = y, x
	}
	if !x.names(name) || !y.literal() {
		return nil, false
	}
	return y.value, true
}

// options returns the values one of which n says the attribute is equal to, each once; nil if it does not say that.
func (n *node) options(name string) (options []item.Value) {
	add := func(v item.Value) {
		if !slices.ContainsFunc(options, func(o item.Value) bool { return bytes.Equal(o, v) }) {
			options = append(options, v)
		}
	}
	switch n.op {
	case expr.OpEQ:
		v, ok := n.equality(name)
		if !ok {
			return nil
		}
		add(v)
	case expr.OpIn:
		if !n.args[0].names(name) {
			return nil
		}
		for _, a := range n.args[1:] {
			if !a.literal() {
				return nil
			}
			add(a.value)
		}
	case expr.OpOr:
		for _, a := range n.args {
			some := a.options(name)
			if some == nil {
				return nil
			}
			for _, v := range some {
				add(v)
			}
		}
	}
	return options
}

// keyOps are the comparisons that make a range of a sort key, with their operands as they stand and changed.
var keyOps = map[expr.Op][2]expr.KeyOp{
	expr.OpEQ: {expr.KeyEqual, expr.KeyEqual}, expr.OpLT: {expr.KeyLess, expr.KeyGreater}, expr.OpLE: {expr.KeyLessOrEqual, expr.KeyGreaterOrEqual},
	expr.OpGT: {expr.KeyGreater, expr.KeyLess}, expr.OpGE: {expr.KeyGreaterOrEqual, expr.KeyLessOrEqual},
	expr.OpBetween: {expr.KeyBetween}, expr.OpBeginsWith: {expr.KeyBeginsWith},
}

// keyTerm returns n as a condition on the key attribute; ok is false if it is none.
func (n *node) keyTerm(name string) (term expr.KeyTerm, ok bool) {
	ops, ok := keyOps[n.op]
	if !ok {
		return term, false
	}
	attribute, rest, op := n.args[0], n.args[1:], ops[0]
	if !attribute.names(name) && len(n.args) == 2 {
		attribute, rest, op = n.args[1], n.args[:1], ops[1]
	}
	if !attribute.names(name) || op == 0 {
		return term, false
	}
	term = expr.KeyTerm{Name: []byte(name), Op: op}
	for i, a := range rest {
		if !a.literal() {
			return expr.KeyTerm{}, false
		}
		term.Values[i] = a.value
	}
	return term, true
}
