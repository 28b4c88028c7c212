package naive

import "strings"

// action is a part of an update: SET path = value, REMOVE path, ADD path value, DELETE path value.
type action struct {
	verb   string
	path   *node
	value  *node // of a REMOVE nil
	legacy bool  // it was in AttributeUpdates
}

// parseUpdate parses an update expression.
//
//	update  = section { section }, each verb once
//	section = SET path = value, … | REMOVE path, … | ADD path :value, … | DELETE path :value, …
//	value   = operand [ ( + | - ) operand ]
func parseUpdate(text string) ([]action, error) {
	p := &parser{text: text, tokens: tokenize(text), keywords: verbs}
	var out []action
	seen := map[string]bool{}
	var twice error
	for {
		verb, ok := p.verb()
		if !ok {
			return nil, p.fault()
		}
		if seen[verb] && twice == nil {
			twice = invalid(`The "%s" section can only be used once in an update expression;`, verb)
		}
		seen[verb] = true
		for {
			a, err := p.action(verb)
			if err != nil {
				return nil, err
			}
			out = append(out, a)
			if !p.accept(",") {
				break
			}
		}
		if p.accept("end") {
			return out, twice
		}
	}
}

var verbs = []string{"SET", "REMOVE", "ADD", "DELETE"}

func (p *parser) verb() (string, bool) {
	for _, verb := range verbs {
		if p.acceptWord(verb) {
			return verb, true
		}
	}
	return "", false
}

func (p *parser) action(verb string) (action, error) {
	a := action{verb: verb}
	var err error
	if a.path, err = p.path(); err != nil {
		return a, err
	}
	switch verb {
	case "SET":
		if err := p.expect("="); err != nil {
			return a, err
		}
		a.value, err = p.setValue()
	case "ADD", "DELETE":
		t := p.next()
		a.value, err = &node{op: "value", name: t.text}, p.expect("value")
	}
	return a, err
}

func (p *parser) setValue() (*node, error) {
	left, err := p.operand()
	if err != nil {
		return nil, err
	}
	for _, op := range []string{"+", "-"} {
		if p.accept(op) {
			right, err := p.operand()
			return &node{op: op, args: []*node{left, right}}, err
		}
	}
	return left, nil
}

// pathText writes a path as messages do: [a, b, [1]].
func pathText(steps []step) string {
	var parts []string
	for _, s := range steps {
		parts = append(parts, s.text())
	}
	return "[" + strings.Join(parts, ", ") + "]"
}
