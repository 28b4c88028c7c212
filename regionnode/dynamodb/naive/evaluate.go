package naive

import "strings"

// holds evaluates a bound condition on an item; nil: there is none, and nothing of it.
func holds(n *node, it item) bool {
	switch n.op {
	case "AND":
		return holds(n.args[0], it) && holds(n.args[1], it)
	case "OR":
		return holds(n.args[0], it) || holds(n.args[1], it)
	case "NOT":
		return !holds(n.args[0], it)
	case "call":
		return predicateHolds(n, it)
	}
	var args []value
	var there []bool
	for _, a := range n.args {
		v, ok := operandValue(a, it)
		args, there = append(args, v), append(there, ok)
	}
	switch n.op {
	case "=":
		return there[0] && there[1] && equal(args[0], args[1])
	case "<>":
		return !(there[0] && there[1] && equal(args[0], args[1]))
	case "BETWEEN":
		return there[0] && there[1] && there[2] && inOrder(args[1], args[0], true) && inOrder(args[0], args[2], true)
	case "IN":
		for i := range args[1:] {
			if there[0] && there[i+1] && equal(args[0], args[i+1]) {
				return true
			}
		}
		return false
	}
	if !there[0] || !there[1] {
		return false
	}
	switch n.op {
	case "<":
		return inOrder(args[0], args[1], false)
	case "<=":
		return inOrder(args[0], args[1], true)
	case ">":
		return inOrder(args[1], args[0], false)
	}
	return inOrder(args[1], args[0], true)
}

// inOrder reports whether a is less than b, or equal to it if that is enough. Values of different kinds have no order.
func inOrder(a, b value, orEqual bool) bool {
	if a.kind != b.kind || !ordered(a.kind) {
		return false
	}
	c := compare(a, b)
	return c < 0 || c == 0 && orEqual
}

// operandValue returns the value of a path, a value or size; ok is false if there is none.
func operandValue(n *node, it item) (value, bool) {
	switch n.op {
	case "value":
		return n.value, true
	case "path":
		return lookUp(it, n.steps)
	}
	v, ok := operandValue(n.args[0], it)
	if !ok {
		return value{}, false
	}
	size, ok := v.length()
	return value{kind: "N", number: whole(size)}, ok
}

// lookUp follows a path.
func lookUp(it item, steps []step) (value, bool) {
	v := value{kind: "M", entries: it}
	for _, s := range steps {
		switch {
		case s.name != "" && v.kind == "M":
			e, ok := v.entries[s.name]
			if !ok {
				return value{}, false
			}
			v = e
		case s.name == "" && v.kind == "L" && s.index < len(v.list):
			v = v.list[s.index]
		default:
			return value{}, false
		}
	}
	return v, true
}

func predicateHolds(n *node, it item) bool {
	a, ok := operandValue(n.args[0], it)
	if len(n.args) == 1 {
		return ok == (n.name == "attribute_exists")
	}
	b, okB := operandValue(n.args[1], it)
	if !ok || !okB {
		return false
	}
	switch n.name {
	case "attribute_type":
		return a.kind == b.text
	case "begins_with":
		return a.kind == b.kind && (a.kind == "S" || a.kind == "B") && strings.HasPrefix(a.text, b.text)
	}
	return contains(a, b)
}

// contains reports whether b is part of a text, or an element of a set or list.
func contains(a, b value) bool {
	if a.kind == "S" || a.kind == "B" {
		return a.kind == b.kind && strings.Contains(a.text, b.text)
	}
	if a.kind != "L" && !isSet(a.kind) {
		return false
	}
	for _, e := range a.list {
		if equal(e, b) {
			return true
		}
	}
	return false
}
