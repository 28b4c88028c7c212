package partiql

import (
	"strconv"

	"github.com/concordat-db/concordat/globaltable/expr"
	"github.com/concordat-db/concordat/globaltable/item"
)

// startsPath reports whether a path begins here, rather than a value.
func (p *parser) startsPath() bool {
	return p.cur.kind == tokenQuoted || p.cur.kind == tokenWord && !keywords[upper(p.cur.text)]
}

// path parses name { . name | [ index ] | [ 'name' ] }.
func (p *parser) path() ([]expr.Step, error) {
	name, err := p.name()
	if err != nil {
		return nil, err
	}
	path := []expr.Step{{Name: []byte(name)}}
	for {
		switch {
		case p.accept("."):
			if name, err = p.name(); err != nil {
				return nil, err
			}
			path = append(path, expr.Step{Name: []byte(name)})
		case p.accept("["):
			step := expr.Step{}
			switch p.cur.kind {
			case tokenNumber:
				index, err := strconv.ParseInt(p.cur.text, 10, 32)
				if err != nil {
					return nil, malformed("Unexpected path component")
				}
				step.Index = int(index)
			case tokenString:
				if p.cur.text == "" {
					return nil, malformed("Unexpected path component")
				}
				step.Name = []byte(p.cur.text)
			default:
				return nil, malformed("Unexpected path component")
			}
			p.advance()
			path = append(path, step)
			if err := p.expect("]"); err != nil {
				return nil, err
			}
		default:
			if len(path) > item.MaxNesting {
				return nil, errDepth
			}
			return path, nil
		}
	}
}

// value parses a value that stands for itself, or a parameter. level is its level in the item: 1 for an attribute's, 0 for the item
// itself.
func (p *parser) value(level int) (item.Value, error) {
	if level > item.MaxNesting {
		return nil, errDepth
	}
	switch t := p.cur; {
	case t.kind == tokenString:
		p.advance()
		return item.AppendString(nil, t.text), nil
	case t.kind == tokenNumber:
		p.advance()
		return item.AppendNumberText(nil, t.text)
	case (t.symbol("-") || t.symbol("+")) && p.next.kind == tokenNumber:
		text := t.text + p.next.text
		p.advance()
		p.advance()
		return item.AppendNumberText(nil, text)
	case p.acceptWord("TRUE"):
		return item.AppendBool(nil, true), nil
	case p.acceptWord("FALSE"):
		return item.AppendBool(nil, false), nil
	case p.acceptWord("NULL"):
		return item.AppendNull(nil), nil
	case p.accept("?"):
		return p.parameter(level)
	case p.accept("["):
		elems, err := p.values("]", level)
		return item.AppendList(nil, elems), err
	case p.accept("<<"):
		return p.setValue(level)
	case p.accept("{"):
		return p.tuple(level)
	}
	return nil, p.unexpected()
}

// parameter returns the value of the question mark that was taken.
func (p *parser) parameter(level int) (item.Value, error) {
	p.used++
	if p.used > len(p.parameters) {
		return nil, errParameters
	}
	v := p.parameters[p.used-1]
	if level > 1 {
		return v, item.CheckNesting(v, level)
	}
	return v, nil
}

// values parses values up to the end.
func (p *parser) values(end string, level int) (elems []item.Value, err error) {
	if p.accept(end) {
		return nil, nil
	}
	for {
		v, err := p.value(level + 1)
		if err != nil {
			return nil, err
		}
		elems = append(elems, v)
		if !p.accept(",") {
			return elems, p.expect(end)
		}
	}
}

// setValue parses the rest of << value , … >>. The type of its elements makes the type of the set.
func (p *parser) setValue(level int) (item.Value, error) {
	elems, err := p.values(">>", level)
	if err != nil {
		return nil, err
	}
	t := item.SS
	if len(elems) > 0 {
		switch elems[0].Type() {
		case item.N:
			t = item.NS
		case item.B:
			t = item.BS
		}
	}
	return item.AppendSet(nil, t, elems)
}

// tuple parses the rest of { 'name' : value , … }.
func (p *parser) tuple(level int) (item.Value, error) {
	var b item.Builder
	if p.accept("}") {
		return b.AppendMap(nil)
	}
	for {
		if p.cur.kind != tokenString && p.cur.kind != tokenQuoted {
			return nil, p.unexpected()
		}
		name := []byte(p.cur.text)
		p.advance()
		if err := p.expect(":"); err != nil {
			return nil, err
		}
		v, err := p.value(level + 1)
		if err != nil {
			return nil, err
		}
		b.Add(name, v)
		if p.accept(",") {
			continue
		}
		if err := p.expect("}"); err != nil {
			return nil, err
		}
		return b.AppendMap(nil)
	}
}
