package naive

import (
	"math/big"
	"slices"
)

// longNames are the kinds as messages on ADD and DELETE spell them.
var longNames = map[string]string{"S": "STRING", "N": "NUMBER", "B": "BINARY", "BOOL": "BOOLEAN", "NULL": "NULL", "M": "MAP", "L": "LIST",
	"SS": "STRING_SET", "NS": "NUMBER_SET", "BS": "BINARY_SET"}

// update parses and binds UpdateExpression; nil if there is none.
func (b *bindings) update(p object) ([]action, error) {
	text, ok := p["UpdateExpression"].(string)
	if !ok {
		return nil, nil
	}
	actions, err := parseChecked(text, parseUpdate)
	if err == nil {
		var paths []*node
		for i := range actions {
			b.action(&actions[i])
			paths = append(paths, actions[i].path)
		}
		b.overlaps(paths)
		err = b.verdict()
	}
	if err != nil {
		return nil, prefixed("Invalid UpdateExpression: ", err)
	}
	return actions, nil
}

func (b *bindings) action(a *action) {
	b.path(a.path)
	switch a.verb {
	case "SET":
		a.value = b.setValue(a.value)
	case "ADD":
		b.bindValue(a.value)
		b.contribution(a, "N", "SS", "NS", "BS")
	case "DELETE":
		b.bindValue(a.value)
		b.contribution(a, "SS", "NS", "BS")
	}
}

func (b *bindings) contribution(a *action, kinds ...string) {
	if k := a.value.value.kind; k != "" && !slices.Contains(kinds, k) {
		b.fail("Incorrect operand type for operator or function; operator: %s, operand type: %s, typeSet: ALLOWED_FOR_%s_OPERAND", a.verb, longNames[k], a.verb)
	}
}

// setValue binds the right side of a SET. It returns n without parentheses.
func (b *bindings) setValue(n *node) *node {
	switch n.op {
	case "()":
		return b.setValue(n.args[0])
	case "value":
		b.bindValue(n)
		return n
	case "path":
		b.path(n)
		return n
	}
	for i := range n.args {
		n.args[i] = b.setValue(n.args[i])
	}
	switch {
	case n.op == "+" || n.op == "-":
		b.wantKinds(n, n.args[0], "N")
		b.wantKinds(n, n.args[1], "N")
	case n.name != "if_not_exists" && n.name != "list_append" && operands[n.name] > 0:
		b.fail("The function is not allowed in an update expression; function: %s", n.name)
	case !b.countOperands(n):
	case n.name == "if_not_exists":
		b.wantPath(n)
	default:
		b.wantKinds(n, n.args[0], "L")
		b.wantKinds(n, n.args[1], "L")
	}
	return n
}

var (
	errOperandKind = invalid("An operand in the update expression has an incorrect data type")
	errNoAttribute = invalid("The provided expression refers to an attribute that does not exist in the item")
	errLegacyKind  = invalid("Type mismatch for attribute to update")
	errNoPlace     = invalid("The document path provided in the update expression is invalid for update")
)

// evaluateSet returns the value of a SET's right side on the item as it was.
func evaluateSet(n *node, old item) (value, error) {
	switch n.op {
	case "value":
		return n.value, nil
	case "path":
		v, ok := lookUp(old, n.steps)
		if !ok {
			return value{}, errNoAttribute
		}
		return v, nil
	}
	if n.name == "if_not_exists" {
		if v, ok := lookUp(old, n.args[0].steps); ok {
			return v, nil
		}
		return evaluateSet(n.args[1], old)
	}
	left, err := evaluateSet(n.args[0], old)
	if err != nil {
		return value{}, err
	}
	right, err := evaluateSet(n.args[1], old)
	if err != nil {
		return value{}, err
	}
	if n.name == "list_append" {
		if left.kind != "L" || right.kind != "L" {
			return value{}, errOperandKind
		}
		return value{kind: "L", list: slices.Concat(left.list, right.list)}, nil
	}
	if left.kind != "N" || right.kind != "N" {
		return value{}, errOperandKind
	}
	sum := new(big.Rat).Add(left.number, right.number)
	if n.op == "-" {
		sum.Sub(left.number, right.number)
	}
	return result(sum)
}

// change is what becomes of one path: a value, or nothing.
type change struct {
	steps []step
	value *value
}

// apply returns the item after all actions, of which each looks at the item as it was. Which of several faults is reported is left open.
func apply(actions []action, old item) (item, error) {
	var changes []change
	var faults []error
	for _, a := range actions {
		c, err := a.change(old)
		_, misplaced := rewrite(value{kind: "M", entries: old}, []change{c})
		for _, err := range []error{err, misplaced} {
			if err != nil {
				faults = append(faults, err)
			}
		}
		changes = append(changes, c)
	}
	if err := oneOf(faults); err != nil {
		return nil, err
	}
	out, err := rewrite(value{kind: "M", entries: old}, changes)
	if err != nil {
		return nil, err
	}
	for _, v := range out.entries {
		if v.depth() > maxNesting {
			return nil, invalid("Nesting Levels have exceeded supported limits: Attributes in the item have nested levels beyond supported limit")
		}
	}
	return out.entries, nil
}

// change computes what a does on the item as it was.
func (a *action) change(old item) (change, error) {
	c := change{steps: a.path.steps}
	switch a.verb {
	case "REMOVE":
		return c, nil
	case "SET":
		v, err := evaluateSet(a.value, old)
		c.value = &v
		return c, err
	}
	current, ok := lookUp(old, a.path.steps)
	operand := a.value.value
	if !ok {
		if a.verb == "ADD" {
			c.value = &operand
		}
		return c, nil
	}
	if current.kind != operand.kind {
		if a.legacy {
			return c, errLegacyKind
		}
		return c, errOperandKind
	}
	if a.verb == "ADD" && operand.kind == "L" { // AttributeUpdates only
		c.value = &value{kind: "L", list: slices.Concat(current.list, operand.list)}
		return c, nil
	}
	if a.verb == "ADD" && operand.kind == "N" {
		sum, err := result(new(big.Rat).Add(current.number, operand.number))
		c.value = &sum
		return c, err
	}
	if set := combine(a.verb, current, operand); len(set.list) > 0 {
		c.value = &set
	}
	return c, nil
}

// combine returns the union or the difference of two sets.
func combine(verb string, current, operand value) value {
	out := value{kind: current.kind}
	for _, e := range current.list {
		if verb == "ADD" || !contains(operand, e) {
			out.list = append(out.list, e)
		}
	}
	for _, e := range operand.list {
		if verb == "ADD" && !contains(current, e) {
			out.list = append(out.list, e)
		}
	}
	slices.SortFunc(out.list, compare)
	return out
}

// rewrite returns v with the changes made, none of which lies within another. Its paths begin at v.
func rewrite(v value, changes []change) (value, error) {
	switch v.kind {
	case "M":
		return rewriteMap(v, changes)
	case "L":
		return rewriteList(v, changes)
	}
	return value{}, errNoPlace
}

// below returns the changes within the member s, with paths that begin there.
func below(changes []change, s step) []change {
	var out []change
	for _, c := range changes {
		if c.steps[0] == s {
			out = append(out, change{c.steps[1:], c.value})
		}
	}
	return out
}

func rewriteMap(v value, changes []change) (value, error) {
	out := value{kind: "M", entries: map[string]value{}}
	for name, e := range v.entries {
		out.entries[name] = e
	}
	for _, c := range changes {
		s := c.steps[0]
		if s.name == "" {
			return value{}, errNoPlace
		}
		if len(c.steps) > 1 {
			e, ok := v.entries[s.name]
			if !ok {
				return value{}, errNoPlace
			}
			inner, err := rewrite(e, below(changes, s))
			if err != nil {
				return value{}, err
			}
			out.entries[s.name] = inner
			continue
		}
		if c.value == nil {
			delete(out.entries, s.name)
		} else {
			out.entries[s.name] = *c.value
		}
	}
	return out, nil
}

// rewriteList makes changes of elements, whose indexes are those before the update. An element set beyond the end goes to the end, in the
// order of the indexes.
func rewriteList(v value, changes []change) (value, error) {
	changes = slices.Clone(changes)
	slices.SortStableFunc(changes, func(a, b change) int { return a.steps[0].index - b.steps[0].index })
	list := slices.Clone(v.list)
	removed := map[int]bool{}
	for _, c := range changes {
		s := c.steps[0]
		switch {
		case s.name != "":
			return value{}, errNoPlace
		case len(c.steps) > 1 && s.index >= len(v.list):
			return value{}, errNoPlace
		case len(c.steps) > 1:
			inner, err := rewrite(v.list[s.index], below(changes, s))
			if err != nil {
				return value{}, err
			}
			list[s.index] = inner
		case c.value == nil:
			removed[s.index] = true
		case s.index < len(v.list):
			list[s.index] = *c.value
		default:
			list = append(list, *c.value)
		}
	}
	out := value{kind: "L", list: []value{}}
	for i, e := range list {
		if i >= len(v.list) || !removed[i] {
			out.list = append(out.list, e)
		}
	}
	return out, nil
}
