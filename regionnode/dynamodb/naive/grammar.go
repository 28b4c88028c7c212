package naive

import (
	"strconv"
	"strings"
)

// node is a part of a parsed expression.
type node struct {
	// op is a comparison ("=", "<>", "<", "<=", ">", ">="), "BETWEEN", "IN", "AND", "OR", "NOT", "+", "-"; "path", "value"; "call"; or "()": parentheses,
	// which are kept until they have been looked at.
	op    string
	args  []*node
	name  string // of a call the function, of a value its placeholder
	steps []step // of a path
	value value  // of a value, once it is bound
}

// step is a part of a path: an attribute's name or the index of an element.
type step struct {
	name  string // a name, or a placeholder until it is bound; empty for an index
	index int
}

func (p *parser) isKeyword(t token) bool {
	for _, k := range p.keywords {
		if t.kind == "word" && strings.EqualFold(t.text, k) {
			return true
		}
	}
	return false
}

// parseCondition parses a whole condition.
//
//	condition = and { OR and }
//	and       = not { AND not }
//	not       = NOT not | comparison
//	comparison = operand comparator operand | operand BETWEEN operand AND operand | operand IN ( operand, … ) | call | ( condition )
//	operand   = path | :value | call | ( operand )
func parseCondition(text string) (*node, error) {
	p := &parser{text: text, tokens: tokenize(text), keywords: []string{"AND", "OR", "NOT", "BETWEEN", "IN"}}
	n, err := p.or()
	if err != nil {
		return nil, err
	}
	return n, p.expect("end")
}

func (p *parser) or() (*node, error) {
	left, err := p.and()
	for err == nil && p.acceptWord("OR") {
		var right *node
		right, err = p.and()
		left = &node{op: "OR", args: []*node{left, right}}
	}
	return left, err
}

func (p *parser) and() (*node, error) {
	left, err := p.not()
	for err == nil && p.acceptWord("AND") {
		var right *node
		right, err = p.not()
		left = &node{op: "AND", args: []*node{left, right}}
	}
	return left, err
}

func (p *parser) not() (*node, error) {
	if p.acceptWord("NOT") {
		arg, err := p.not()
		return &node{op: "NOT", args: []*node{arg}}, err
	}
	return p.comparison()
}

// isCondition reports whether n is true or false, rather than a value. A call may be both.
func isCondition(n *node) bool {
	switch n.op {
	case "path", "value":
		return false
	case "()":
		return isCondition(n.args[0])
	}
	return true
}

// isOperand reports whether n may be compared.
func isOperand(n *node) bool {
	switch n.op {
	case "path", "value", "call":
		return true
	case "()":
		return isOperand(n.args[0])
	}
	return false
}

func (p *parser) comparison() (*node, error) {
	left, err := p.primary()
	if err != nil {
		return nil, err
	}
	if !isOperand(left) {
		return left, nil
	}
	for _, op := range []string{"=", "<>", "<=", ">=", "<", ">"} {
		if p.accept(op) {
			right, err := p.operand()
			return &node{op: op, args: []*node{left, right}}, err
		}
	}
	switch {
	case p.acceptWord("BETWEEN"):
		return p.between(left)
	case p.acceptWord("IN"):
		return p.in(left)
	case !isCondition(left):
		return nil, p.fault()
	}
	return left, nil
}

func (p *parser) between(left *node) (*node, error) {
	low, err := p.operand()
	if err != nil {
		return nil, err
	}
	if !p.acceptWord("AND") {
		return nil, p.fault()
	}
	high, err := p.operand()
	return &node{op: "BETWEEN", args: []*node{left, low, high}}, err
}

func (p *parser) in(left *node) (*node, error) {
	if err := p.expect("("); err != nil {
		return nil, err
	}
	n := &node{op: "IN", args: []*node{left}}
	for {
		arg, err := p.operand()
		if err != nil {
			return nil, err
		}
		n.args = append(n.args, arg)
		if p.accept(")") {
			return n, nil
		}
		if err := p.expect(","); err != nil {
			return nil, err
		}
	}
}

// primary parses an operand, or a condition in parentheses: which of them shows only inside.
func (p *parser) primary() (*node, error) {
	if !p.accept("(") {
		return p.operand()
	}
	// An operand in parentheses may go on as a comparison, a condition may not.
	inner, err := p.parenthesised()
	if err != nil {
		return nil, err
	}
	return &node{op: "()", args: []*node{inner}}, p.expect(")")
}

// parenthesised parses what stands in parentheses, a condition or an operand alone.
func (p *parser) parenthesised() (*node, error) {
	begin := p.at
	condition, err := p.or()
	if err == nil {
		return condition, nil
	}
	end := p.at
	p.at = begin
	operand, operandErr := p.operand()
	if operandErr == nil && p.next().kind == ")" {
		return operand, nil
	}
	p.at = end
	return nil, err
}

func (p *parser) operand() (*node, error) {
	t := p.next()
	switch {
	case p.accept("value"):
		return &node{op: "value", name: t.text}, nil
	case p.accept("("):
		inner, err := p.operand()
		if err != nil {
			return nil, err
		}
		return &node{op: "()", args: []*node{inner}}, p.expect(")")
	case t.kind == "word" && !p.isKeyword(t) && p.tokens[p.at+1].kind == "(":
		return p.call()
	}
	return p.path()
}

func (p *parser) call() (*node, error) {
	n := &node{op: "call", name: p.next().text}
	p.at += 2
	for {
		arg, err := p.operand()
		if err != nil {
			return nil, err
		}
		n.args = append(n.args, arg)
		if p.accept(")") {
			return n, nil
		}
		if err := p.expect(","); err != nil {
			return nil, err
		}
	}
}

// path parses a document path: a.b[0].#c.
func (p *parser) path() (*node, error) {
	n := &node{op: "path"}
	if err := p.pathName(n); err != nil {
		return nil, err
	}
	for {
		switch {
		case p.accept("."):
			if err := p.pathName(n); err != nil {
				return nil, err
			}
		case p.accept("["):
			t := p.next()
			if err := p.expect("number"); err != nil {
				return nil, err
			}
			index, err := strconv.Atoi(t.text)
			if err != nil || index > 1<<31-1 {
				return nil, invalid("List index is not within the allowable range; index: [%s]", t.text)
			}
			n.steps = append(n.steps, step{index: index})
			if err := p.expect("]"); err != nil {
				return nil, err
			}
		default:
			return n, nil
		}
	}
}

func (p *parser) pathName(n *node) error {
	t := p.next()
	if p.isKeyword(t) || t.kind != "word" && t.kind != "name" {
		return p.fault()
	}
	p.at++
	n.steps = append(n.steps, step{name: t.text})
	return nil
}

// parseProjection parses paths with commas between them.
func parseProjection(text string) ([]*node, error) {
	p := &parser{text: text, tokens: tokenize(text)}
	list, err := p.paths()
	if err != nil {
		return nil, err
	}
	return list, p.expect("end")
}

func (p *parser) paths() ([]*node, error) {
	var out []*node
	for {
		n, err := p.path()
		if err != nil {
			return nil, err
		}
		out = append(out, n)
		if !p.accept(",") {
			return out, nil
		}
	}
}
