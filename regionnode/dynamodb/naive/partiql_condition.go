package naive

import (
	"slices"
	"strings"
)

// A condition of PartiQL has the operators and functions of a condition expression in other words, and is checked and evaluated as one. In which words it is
// refused is left open.

// checked returns a comparison or a call if its operands may have an order where they need one, and are texts where they need to be.
func checked(n *node) (*node, error) {
	var b bindings
	switch {
	case n.name == "begins_with":
		b.wantKinds(n, n.args[0], "S", "B")
		b.wantKinds(n, n.args[1], "S", "B")
	case n.op != "call":
		b.comparison(n)
	}
	if b.verdict() != nil {
		return nil, errNotSupported
	}
	return n, nil
}

func (p *statementParser) disjunction() (*node, error) {
	left, err := p.conjunction()
	for err == nil && p.acceptWord("OR") {
		var right *node
		right, err = p.conjunction()
		left = &node{op: "OR", args: []*node{left, right}}
	}
	return left, err
}

func (p *statementParser) conjunction() (*node, error) {
	left, err := p.negation()
	for err == nil && p.acceptWord("AND") {
		var right *node
		right, err = p.negation()
		left = &node{op: "AND", args: []*node{left, right}}
	}
	return left, err
}

func (p *statementParser) negation() (*node, error) {
	if p.acceptWord("NOT") {
		arg, err := p.negation()
		return &node{op: "NOT", args: []*node{arg}}, err
	}
	if p.accept("(") {
		inner, err := p.disjunction()
		if err != nil {
			return nil, err
		}
		return inner, p.expect(")")
	}
	return p.comparison()
}

func (p *statementParser) comparison() (*node, error) {
	if n, err := p.predicate(); n != nil || err != nil {
		return n, err
	}
	left, err := p.operand()
	if err != nil {
		return nil, err
	}
	for _, op := range []string{"=", "<>", "!=", "<=", ">=", "<", ">"} {
		if !p.accept(op) {
			continue
		}
		right, err := p.operand()
		if err != nil {
			return nil, err
		}
		if op == "!=" {
			op = "<>"
		}
		return checked(&node{op: op, args: []*node{left, right}})
	}
	if p.acceptWord("IS") {
		return p.is(left)
	}
	negated := p.acceptWord("NOT")
	var n *node
	switch {
	case p.acceptWord("BETWEEN"):
		n, err = p.between(left)
	case p.acceptWord("IN"):
		n, err = p.in(left)
	default:
		return nil, errMalformed
	}
	if negated {
		n = &node{op: "NOT", args: []*node{n}}
	}
	return n, err
}

// predicate parses a function that is a condition; nil if there is none here.
func (p *statementParser) predicate() (*node, error) {
	name := strings.ToLower(p.next().text)
	if p.next().kind != "word" || !slices.Contains([]string{"attribute_type", "begins_with", "contains"}, name) {
		return nil, nil
	}
	p.at++
	if err := p.expect("("); err != nil {
		return nil, err
	}
	left, err := p.operand()
	if err != nil {
		return nil, err
	}
	if err := p.expect(","); err != nil {
		return nil, err
	}
	right, err := p.operand()
	if err != nil {
		return nil, err
	}
	if err := p.expect(")"); err != nil {
		return nil, err
	}
	return checked(&node{op: "call", name: name, args: []*node{left, right}})
}

// operand parses a path, a value or size( path ).
func (p *statementParser) operand() (*node, error) {
	if !p.isWord("size") || p.tokens[p.at+1].kind != "(" {
		if p.next().kind == "word" && p.tokens[p.at+1].kind == "(" && p.startsPath() {
			return nil, errNotSupported // a function that there is not
		}
		return p.plain()
	}
	p.at += 2
	arg, err := p.operand()
	if err != nil {
		return nil, err
	}
	return &node{op: "call", name: "size", args: []*node{arg}}, p.expect(")")
}

// is parses [ NOT ] ( MISSING | NULL ).
func (p *statementParser) is(left *node) (*node, error) {
	negated := p.acceptWord("NOT")
	n := &node{op: "call", name: "attribute_not_exists", args: []*node{left}}
	if !p.acceptWord("MISSING") {
		if err := p.expectWord("NULL"); err != nil {
			return nil, err
		}
		n = &node{op: "call", name: "attribute_type", args: []*node{left, {op: "value", value: value{kind: "S", text: "NULL"}}}}
	}
	if negated {
		n = &node{op: "NOT", args: []*node{n}}
	}
	return n, nil
}

func (p *statementParser) between(left *node) (*node, error) {
	low, err := p.operand()
	if err != nil {
		return nil, err
	}
	if err := p.expectWord("AND"); err != nil {
		return nil, err
	}
	high, err := p.operand()
	if err != nil {
		return nil, err
	}
	return checked(&node{op: "BETWEEN", args: []*node{left, low, high}})
}

func (p *statementParser) in(left *node) (*node, error) {
	end := "]"
	if !p.accept("[") {
		end = ")"
		if err := p.expect("("); err != nil {
			return nil, err
		}
	}
	n := &node{op: "IN", args: []*node{left}}
	for {
		arg, err := p.operand()
		if err != nil {
			return nil, err
		}
		n.args = append(n.args, arg)
		if !p.accept(",") {
			return n, p.expect(end)
		}
	}
}

// literal parses a value that an attribute can have:
//
//	'text' | number | TRUE | FALSE | NULL | ? | [ value, … ] | { 'name': value, … } | << value, … >>
func (p *statementParser) literal() (value, error) {
	v, err := p.anyLiteral()
	if err == nil && v.depth() > maxNesting {
		return v, errNotSupported
	}
	return v, err
}

func (p *statementParser) anyLiteral() (value, error) {
	t := p.next()
	sign := ""
	if (t.kind == "-" || t.kind == "+") && p.tokens[p.at+1].kind == "number" {
		sign = t.kind
		p.at++
		t = p.next()
	}
	switch {
	case p.accept("string"):
		return value{kind: "S", text: t.text}, nil
	case p.accept("number"):
		n, err := parseNumber(sign + t.text)
		return value{kind: "N", number: n}, err
	case p.acceptWord("TRUE"):
		return value{kind: "BOOL", truth: true}, nil
	case p.acceptWord("FALSE"):
		return value{kind: "BOOL"}, nil
	case p.acceptWord("NULL"):
		return value{kind: "NULL"}, nil
	case p.accept("?"):
		if p.used++; p.used > len(p.parameters) {
			return value{}, errCount
		}
		return p.parameters[p.used-1], nil
	case p.accept("["):
		list, err := p.elements("]")
		return value{kind: "L", list: list}, err
	case p.accept("<<"):
		list, err := p.elements(">>")
		if err != nil {
			return value{}, err
		}
		return setOf(list)
	case p.accept("{"):
		return p.tuple()
	}
	return value{}, errMalformed
}

func (p *statementParser) elements(end string) ([]value, error) {
	list := []value{}
	if p.accept(end) {
		return list, nil
	}
	for {
		v, err := p.literal()
		if err != nil {
			return nil, err
		}
		list = append(list, v)
		if !p.accept(",") {
			return list, p.expect(end)
		}
	}
}

// setOf makes a set of its elements, which are of one kind, each once. How a fault is told is left open.
func setOf(list []value) (value, error) {
	list = slices.Clone(list)
	for _, v := range list {
		if !ordered(v.kind) || v.kind != list[0].kind {
			return value{}, errNotSupported
		}
	}
	slices.SortFunc(list, compare)
	for i := range list {
		if i > 0 && compare(list[i-1], list[i]) == 0 {
			return value{}, errNotSupported
		}
	}
	if len(list) == 0 {
		return value{}, errNotSupported
	}
	return value{kind: list[0].kind + "S", list: list}, nil
}

func (p *statementParser) tuple() (value, error) {
	out := value{kind: "M", entries: map[string]value{}}
	if p.accept("}") {
		return out, nil
	}
	for {
		name := p.next()
		if err := p.expect("string"); err != nil {
			return out, err
		}
		if err := p.expect(":"); err != nil {
			return out, err
		}
		v, err := p.literal()
		if err != nil {
			return out, err
		}
		out.entries[name.text] = v
		if !p.accept(",") {
			return out, p.expect("}")
		}
	}
}
