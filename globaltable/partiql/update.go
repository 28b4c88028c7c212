package partiql

import (
	"bytes"
	"slices"

	"github.com/concordat-db/concordat/globaltable/expr"
	"github.com/concordat-db/concordat/globaltable/item"
)

// update parses what follows UPDATE.
func (p *parser) update() (*Statement, error) {
	s := &Statement{Update: &Update{}}
	var err error
	if s.Table, err = p.name(); err != nil {
		return nil, err
	}
	var b expr.Builder
	actions := 0
	for {
		var act func(*expr.Builder) error
		switch {
		case p.acceptWord("SET"):
			act = p.set
		case p.acceptWord("REMOVE"):
			act = p.remove
		}
		if act == nil {
			break
		}
		for {
			if err := act(&b); err != nil {
				return nil, err
			}
			actions++
			if !p.accept(",") {
				break
			}
		}
	}
	if actions == 0 {
		return nil, p.unexpected()
	}
	if s.Update.Where, err = p.where(expr.ConditionParameter); err != nil {
		return nil, err
	}
	if s.Update.Returning, err = p.returning(); err != nil {
		return nil, err
	}
	s.Update.Update, err = b.Update()
	return s, err
}

func (p *parser) remove(b *expr.Builder) error {
	path, err := p.path()
	if err == nil {
		b.Remove(path)
	}
	return err
}

// set parses path = data. Adding to the set that stands at the path, or deleting from it, is an action of its own.
func (p *parser) set(b *expr.Builder) error {
	path, err := p.path()
	if err != nil {
		return err
	}
	if err := p.expect("="); err != nil {
		return err
	}
	if p.cur.kind == tokenWord && p.next.symbol("(") {
		switch function := upper(p.cur.text); function {
		case "SET_ADD", "SET_DELETE":
			return p.setOf(b, path, function)
		case "LIST_APPEND":
		default:
			return unsupported("Function " + function)
		}
	}
	value, err := p.data(b)
	if err == nil {
		b.Set(path, value)
	}
	return err
}

// setOf parses set_add( path , value ) or set_delete( path , value ).
func (p *parser) setOf(b *expr.Builder, path []expr.Step, function string) error {
	p.advance()
	p.advance()
	of, err := p.path()
	if err != nil {
		return err
	}
	if !slices.EqualFunc(path, of, func(s, t expr.Step) bool { return bytes.Equal(s.Name, t.Name) && s.Index == t.Index }) {
		return unsupported(function + " must be on the path that it is assigned to")
	}
	if err := p.expect(","); err != nil {
		return err
	}
	v, err := p.value(1)
	if err != nil {
		return err
	}
	if function == "SET_ADD" {
		if v.Type() == item.N {
			return unsupported("SET_ADD of a number")
		}
		b.Add(path, b.Value(v))
	} else {
		b.Delete(path, b.Value(v))
	}
	return p.expect(")")
}

// data parses operand [ ( + | - ) operand ].
func (p *parser) data(b *expr.Builder) (expr.Node, error) {
	left, err := p.assigned(b)
	if err != nil {
		return expr.Node{}, err
	}
	o := expr.OpPlus
	switch {
	case p.cur.symbol("-"):
		o = expr.OpMinus
	case !p.cur.symbol("+"):
		return left, nil
	}
	p.advance()
	right, err := p.assigned(b)
	if err != nil {
		return expr.Node{}, err
	}
	return b.Node(o, left, right), nil
}

// assigned parses an operand of a SET: a path, a value, list_append or a parenthesis.
func (p *parser) assigned(b *expr.Builder) (expr.Node, error) {
	if err := p.enter(); err != nil {
		return expr.Node{}, err
	}
	defer p.leave()
	switch {
	case p.accept("("):
		n, err := p.data(b)
		if err != nil {
			return expr.Node{}, err
		}
		return n, p.expect(")")
	case p.cur.is("LIST_APPEND") && p.next.symbol("("):
		p.advance()
		p.advance()
		x, err := p.assigned(b)
		if err != nil {
			return expr.Node{}, err
		}
		if err := p.expect(","); err != nil {
			return expr.Node{}, err
		}
		y, err := p.assigned(b)
		if err != nil {
			return expr.Node{}, err
		}
		return b.Node(expr.OpListAppend, x, y), p.expect(")")
	case p.startsPath():
		path, err := p.path()
		if err != nil {
			return expr.Node{}, err
		}
		return b.Path(path...), nil
	}
	v, err := p.value(1)
	if err != nil {
		return expr.Node{}, err
	}
	return b.Value(v), nil
}
