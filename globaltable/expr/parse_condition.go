package expr

import "strconv"

// parseCondition parses
//
//	condition  = conjunct { OR conjunct }
//	conjunct   = negation { AND negation }
//	negation   = { NOT } comparison
//	comparison = term [ comparator operand | BETWEEN operand AND operand | IN ( operand { , operand } ) ]
//	term       = operand | function | ( condition )
//
// Whether a parenthesis holds a condition or an operand is known at its end only. So the rules give an operand back where the
// parenthesis ends after it, and whoever cannot use one reports it.
func parseCondition(p *parser) error {
	p.keywords = conditionKeywords
	n, err := p.or()
	if err != nil {
		return err
	}
	if !p.isCondition(n) {
		return p.syntax()
	}
	p.out.root = n
	return nil
}

var conditionKeywords = []string{"AND", "OR", "NOT", "BETWEEN", "IN"}

func (p *parser) or() (*node, error) { return p.chain(OpOr, (*parser).and) }

func (p *parser) and() (*node, error) { return p.chain(OpAnd, (*parser).not) }

// chain parses conditions joined by AND or OR. A single one is itself.
func (p *parser) chain(o Op, each func(*parser) (*node, error)) (*node, error) {
	n, err := each(p)
	if err != nil || !p.cur.is(o.String()) {
		return n, err
	}
	joined := &node{op: o, args: []*node{n}}
	for p.cur.is(o.String()) {
		if !p.isCondition(n) {
			return nil, p.syntax()
		}
		p.operators++
		p.advance()
		if n, err = each(p); err != nil {
			return nil, err
		}
		if !p.isCondition(n) {
			return nil, p.syntax()
		}
		joined.args = append(joined.args, n)
	}
	return joined, nil
}

func (p *parser) not() (*node, error) {
	if !p.cur.is("NOT") {
		return p.comparison()
	}
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer p.leave()
	p.operators++
	p.advance()
	n, err := p.not()
	if err != nil {
		return nil, err
	}
	if !p.isCondition(n) {
		return nil, p.syntax()
	}
	return &node{op: OpNot, args: []*node{n}}, nil
}

var comparators = map[string]Op{"=": OpEQ, "<>": OpNE, "<": OpLT, "<=": OpLE, ">": OpGT, ">=": OpGE}

func (p *parser) comparison() (*node, error) {
	first := p.cur
	n, err := p.term()
	if err != nil {
		return nil, err
	}
	o, compared := comparators[p.cur.text]
	switch {
	case compared && p.cur.kind == tokenSymbol:
	case p.cur.is("BETWEEN"):
		o = OpBetween
	case p.cur.is("IN"):
		o = OpIn
	default:
		return p.uncompared(n)
	}
	if n.op.condition() {
		if !first.is(n.op.String()) {
			return nil, p.syntax()
		}
		p.misplaced(n.op) // a function that is a condition, compared
	}
	p.operators++
	p.advance()
	args, err := p.compared(o, n)
	if err != nil {
		return nil, err
	}
	return &node{op: o, args: args}, nil
}

// uncompared returns a term that no comparator follows: a condition, or an operand before the end of its parenthesis.
func (p *parser) uncompared(n *node) (*node, error) {
	switch {
	case n.op.condition(), p.cur.symbol(")") && p.depth > 0:
		return n, nil
	case n.op == opPath, n.op == opValue:
		return nil, p.syntax()
	}
	p.misplaced(n.op)
	return &node{op: OpNot, args: []*node{n}}, nil // some condition: the fault is noted
}

// isCondition reports whether n may stand where a condition does. A function that has another result may, as far as the syntax goes; that is noted.
func (p *parser) isCondition(n *node) bool {
	switch {
	case n.op.condition():
		return true
	case n.op == opPath, n.op == opValue:
		return false
	}
	p.misplaced(n.op)
	return true
}

// compared parses what follows the operator o.
func (p *parser) compared(o Op, first *node) ([]*node, error) {
	args := []*node{first}
	one := func() error {
		n, err := p.operand()
		args = append(args, n)
		return err
	}
	switch o {
	case OpBetween:
		if err := one(); err != nil {
			return nil, err
		}
		if !p.acceptWord("AND") {
			return nil, p.syntax()
		}
		return args, one()
	case OpIn:
		if err := p.expect("("); err != nil {
			return nil, err
		}
		for {
			if err := one(); err != nil {
				return nil, err
			}
			if !p.accept(",") {
				break
			}
		}
		if n := len(args) - 1; n > maxOperands {
			p.note(faultLimit, "The IN operator is provided with too many operands", "; number of operands: "+strconv.Itoa(n))
		}
		return args, p.expect(")")
	}
	return args, one()
}

// term parses an operand, a function or a parenthesis with either.
func (p *parser) term() (*node, error) {
	switch {
	case p.cur.symbol("("):
		if err := p.enter(); err != nil {
			return nil, err
		}
		defer p.leave()
		p.advance()
		n, err := p.or()
		if err != nil {
			return nil, err
		}
		return p.closing(n)
	case p.calls():
		return p.function()
	}
	return p.operand()
}
