package expr

// parseProjection parses path { , path }.
func parseProjection(p *parser) error {
	for {
		path, err := p.path()
		if err != nil {
			return err
		}
		p.out.paths = append(p.out.paths, path)
		if !p.accept(",") {
			return nil
		}
	}
}

// parseUpdate parses
//
//	update = { SET path = value { , path = value } | REMOVE path { , path } | ADD path :value { , … } | DELETE path :value { , … } }
//	value  = operand [ + operand | - operand ] | ( value )
//
// with each keyword once, in any order.
func parseUpdate(p *parser) error {
	p.update, p.keywords = true, clauses[:]
	var seen [len(clauses)]bool
	for p.cur.kind != tokenEnd {
		c, ok := p.clause()
		if !ok {
			return p.syntax()
		}
		if seen[c] {
			p.note(faultSection, `The "`+c.String()+`" section can only be used once in an update expression;`, "")
		}
		seen[c] = true
		for {
			a, err := p.action(c)
			if err != nil {
				return err
			}
			p.out.actions = append(p.out.actions, a)
			if !p.accept(",") {
				break
			}
		}
	}
	return nil
}

// clause takes the keyword of a clause.
func (p *parser) clause() (clause, bool) {
	for c, keyword := range clauses {
		if p.acceptWord(keyword) {
			return clause(c), true
		}
	}
	return 0, false
}

func (p *parser) action(c clause) (action, error) {
	path, err := p.path()
	if err != nil {
		return action{}, err
	}
	a := action{clause: c, path: path}
	switch c {
	case clauseSet:
		if err := p.expect("="); err != nil {
			return action{}, err
		}
		a.value, err = p.assigned()
	case clauseAdd, clauseDelete:
		if p.cur.kind != tokenValue {
			return action{}, p.syntax()
		}
		a.value = &node{op: opValue, symbol: p.symbol()}
	}
	return a, err
}

// assigned parses the value of a SET.
func (p *parser) assigned() (*node, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer p.leave()
	var n *node
	var err error
	if p.accept("(") {
		if n, err = p.assigned(); err == nil {
			n, err = p.closing(n)
		}
	} else {
		n, err = p.operand()
	}
	if err != nil {
		return nil, err
	}
	o := OpPlus
	switch {
	case p.cur.symbol("-"):
		o = OpMinus
	case !p.cur.symbol("+"):
		return n, nil
	}
	if n.op == OpPlus || n.op == OpMinus {
		return nil, p.syntax()
	}
	p.operators++
	p.advance()
	right, err := p.operand()
	if err != nil {
		return nil, err
	}
	return &node{op: o, args: []*node{n, right}}, nil
}
