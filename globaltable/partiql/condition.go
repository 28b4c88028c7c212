package partiql

import (
	"github.com/concordat-db/concordat/globaltable/expr"
	"github.com/concordat-db/concordat/globaltable/item"
)

// node is an operand or a condition of a WHERE clause.
type node struct {
	op    expr.Op // 0: an operand, path or value
	args  []*node
	path  []expr.Step
	value item.Value
}

// condition reports whether n holds or not, rather than having a value.
func (n *node) condition() bool { return n.op != 0 && n.op != expr.OpSize }

// build makes n a node of b.
func (n *node) build(b *expr.Builder) expr.Node {
	switch {
	case n.path != nil:
		return b.Path(n.path...)
	case n.op == 0:
		return b.Value(n.value)
	}
	args := make([]expr.Node, len(n.args))
	for i, a := range n.args {
		args[i] = a.build(b)
	}
	return b.Node(n.op, args...)
}

func not(n *node) *node { return &node{op: expr.OpNot, args: []*node{n}} }

// disjunction parses conditions joined by OR; conjunction by AND. A single one is itself.
func (p *parser) disjunction() (*node, error) { return p.chain(expr.OpOr, (*parser).conjunction) }

func (p *parser) conjunction() (*node, error) { return p.chain(expr.OpAnd, (*parser).negation) }

func (p *parser) chain(o expr.Op, each func(*parser) (*node, error)) (*node, error) {
	n, err := each(p)
	if err != nil || !p.cur.is(o.String()) {
		return n, err
	}
	joined := &node{op: o, args: []*node{n}}
	for p.cur.is(o.String()) {
		if !n.condition() {
			return nil, p.unexpected()
		}
		p.advance()
		if n, err = each(p); err != nil {
			return nil, err
		}
		joined.args = append(joined.args, n)
	}
	if !n.condition() {
		return nil, p.unexpected()
	}
	return joined, nil
}

func (p *parser) negation() (*node, error) {
	if !p.cur.is("NOT") {
		return p.comparison()
	}
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer p.leave()
	p.advance()
	n, err := p.negation()
	if err != nil {
		return nil, err
	}
	if !n.condition() {
		return nil, p.unexpected()
	}
	return not(n), nil
}

var comparators = map[string]expr.Op{
	"=": expr.OpEQ, "<>": expr.OpNE, "!=": expr.OpNE, "<": expr.OpLT, "<=": expr.OpLE, ">": expr.OpGT, ">=": expr.OpGE,
}

func (p *parser) comparison() (*node, error) {
	n, err := p.term()
	if err != nil || n.condition() {
		return n, err
	}
	negated := p.cur.is("NOT") && (p.next.is("IN") || p.next.is("BETWEEN"))
	if negated {
		p.advance()
	}
	o, compared := comparators[p.cur.text]
	var out *node
	switch {
	case compared && p.cur.kind == tokenSymbol:
		p.advance()
		out, err = p.compared(o, n)
	case p.acceptWord("BETWEEN"):
		out, err = p.between(n)
	case p.acceptWord("IN"):
		out, err = p.in(n)
	case p.acceptWord("IS"):
		out, err = p.is(n)
	case p.cur.is("LIKE"):
		return nil, unsupported("LIKE")
	case p.cur.symbol(")") && p.depth > 0: // an operand in a parenthesis
		return n, nil
	default:
		return nil, p.unexpected()
	}
	if err == nil && negated {
		out = not(out)
	}
	return out, err
}

func (p *parser) compared(o expr.Op, first *node) (*node, error) {
	second, err := p.operand()
	return &node{op: o, args: []*node{first, second}}, err
}

func (p *parser) between(n *node) (*node, error) {
	lower, err := p.operand()
	if err != nil {
		return nil, err
	}
	if err := p.expectWord("AND"); err != nil {
		return nil, err
	}
	upper, err := p.operand()
	return &node{op: expr.OpBetween, args: []*node{n, lower, upper}}, err
}

// maxOptions is how many operands IN may have.
const maxOptions = 100

// in parses ( operand , … ), [ operand , … ] or a parameter that is a list.
func (p *parser) in(n *node) (*node, error) {
	out := &node{op: expr.OpIn, args: []*node{n}}
	end := ")"
	switch {
	case p.accept("("):
	case p.accept("["):
		end = "]"
	case p.accept("?"):
		v, err := p.parameter(1)
		if err != nil {
			return nil, err
		}
		if v.Type() != item.L || v.Len() == 0 {
			return nil, errUnexpected
		}
		for e := range v.Elements {
			out.args = append(out.args, &node{value: e})
		}
		return out, out.checkOptions()
	default:
		return nil, p.unexpected()
	}
	for {
		option, err := p.operand()
		if err != nil {
			return nil, err
		}
		out.args = append(out.args, option)
		if !p.accept(",") {
			break
		}
	}
	if err := p.expect(end); err != nil {
		return nil, err
	}
	return out, out.checkOptions()
}

func (n *node) checkOptions() error {
	if len(n.args)-1 > maxOptions {
		return errOperands
	}
	return nil
}

// types are the names that IS takes, by DynamoDB's.
var types = map[string]string{
	"NULL": "NULL", "STRING": "S", "VARCHAR": "S", "SYMBOL": "S", "NUMBER": "N", "NUMERIC": "N", "DECIMAL": "N", "INT": "N", "INTEGER": "N", "FLOAT": "N",
	"BOOL": "BOOL", "BOOLEAN": "BOOL", "BLOB": "B", "BINARY": "B", "LIST": "L", "TUPLE": "M", "STRUCT": "M", "MAP": "M",
}

// is parses [ NOT ] MISSING, or [ NOT ] and a type.
func (p *parser) is(n *node) (*node, error) {
	negated := p.acceptWord("NOT")
	if n.path == nil {
		return nil, unsupported("IS needs a path")
	}
	var out *node
	if p.acceptWord("MISSING") {
		out = &node{op: expr.OpAttributeNotExists, args: []*node{n}}
	} else {
		name, ok := types[upper(p.cur.text)]
		if !ok || p.cur.kind != tokenWord {
			return nil, p.unexpected()
		}
		p.advance()
		out = &node{op: expr.OpAttributeType, args: []*node{n, {value: item.AppendString(nil, name)}}}
	}
	if negated {
		out = not(out)
	}
	return out, nil
}

// term parses an operand, a function or a parenthesis.
func (p *parser) term() (*node, error) {
	if p.cur.symbol("(") {
		if err := p.enter(); err != nil {
			return nil, err
		}
		defer p.leave()
		p.advance()
		n, err := p.disjunction()
		if err != nil {
			return nil, err
		}
		return n, p.expect(")")
	}
	return p.primary()
}

// operand is a term that has a value.
func (p *parser) operand() (*node, error) {
	n, err := p.term()
	if err == nil && n.condition() {
		return nil, p.unexpected()
	}
	return n, err
}

var functions = map[string]struct {
	op       expr.Op
	operands int
}{
	"ATTRIBUTE_TYPE": {expr.OpAttributeType, 2}, "BEGINS_WITH": {expr.OpBeginsWith, 2}, "CONTAINS": {expr.OpContains, 2}, "SIZE": {expr.OpSize, 1},
}

// primary parses a path, a value or a function.
func (p *parser) primary() (*node, error) {
	switch {
	case p.cur.is("EXISTS"):
		return nil, unsupported("EXISTS is a statement of transactions")
	case p.cur.kind == tokenWord && p.next.symbol("(") && !keywords[upper(p.cur.text)]:
		return p.function()
	case p.startsPath():
		path, err := p.path()
		return &node{path: path}, err
	}
	v, err := p.value(1)
	return &node{value: v}, err
}

func (p *parser) function() (*node, error) {
	f, ok := functions[upper(p.cur.text)]
	if !ok {
		return nil, unsupported("Function " + upper(p.cur.text))
	}
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer p.leave()
	p.advance()
	p.advance()
	n := &node{op: f.op}
	for i := range f.operands {
		if i > 0 {
			if err := p.expect(","); err != nil {
				return nil, err
			}
		}
		a, err := p.operand()
		if err != nil {
			return nil, err
		}
		n.args = append(n.args, a)
	}
	return n, p.expect(")")
}
