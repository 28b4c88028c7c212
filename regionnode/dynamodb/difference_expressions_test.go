package dynamodb_test

import (
	"fmt"
	"maps"
	"regexp"
	"strings"
)

// expressions makes the expressions of one request, which share names and values.
type expressions struct {
	g      *generator
	names  tree
	values tree
}

func (g *generator) expressions() *expressions {
	return &expressions{g: g, names: tree{}, values: tree{}}
}

// addTo adds ExpressionAttributeNames and -Values to a request.
func (e *expressions) addTo(body tree) {
	g := e.g
	if len(e.names) > 0 || g.spoil(40) {
		body["ExpressionAttributeNames"] = e.spoiled(e.names, "#", "name")
	}
	if len(e.values) > 0 || g.spoil(40) {
		body["ExpressionAttributeValues"] = e.spoiled(e.values, ":", tree{"S": "x"})
	}
}

// spoiled takes a placeholder away, or adds one that is unused or badly spelled.
func (e *expressions) spoiled(all tree, sign string, content any) tree {
	g := e.g
	out := maps.Clone(all)
	switch {
	case g.spoil(20):
		for name := range all {
			if len(all) == 1 || name == sign+"0" {
				delete(out, name)
			}
		}
	case g.spoil(20):
		out[sign+"unused"] = content
	case g.spoil(40):
		out[one(g, "bad", sign+"b-d", sign)] = content
	}
	return out
}

// placeholder names an attribute by a placeholder; a name has one, and only one.
func (e *expressions) placeholder(name string) string {
	for key, n := range e.names {
		if n == name {
			return key
		}
	}
	key := fmt.Sprint("#", len(e.names))
	e.names[key] = name
	return key
}

var plainName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// named writes an attribute's name as it may stand in an expression.
func (e *expressions) named(name string) string {
	if !plainName.MatchString(name) || name == "size" && !e.g.spoil(6) || e.g.rarely(6) {
		return e.placeholder(name)
	}
	return name
}

// path writes a path that begins with the attribute given, and goes deeper in one of three cases.
func (e *expressions) path(top string) string { return e.deepPath(top, 3) }

// deepPath goes deeper, and deeper again, in one of n cases.
func (e *expressions) deepPath(top string, n int) string {
	out := e.named(top)
	for e.g.rarely(n) {
		if e.g.rarely(2) {
			out += fmt.Sprintf("[%d]", e.g.IntN(3))
		} else {
			out += "." + e.named(e.g.name())
		}
	}
	return out
}

func (e *expressions) value(v any) string {
	key := fmt.Sprint(":", len(e.values))
	e.values[key] = v
	return key
}

// scalar is a value that has an order, unless it is spoiled.
func (e *expressions) scalar() string {
	if e.g.spoil(12) {
		return e.value(e.g.value(1))
	}
	return e.value(e.g.valueOf(one(e.g, "S", "S", "N", "N", "B"), 0))
}

// operand is a path, a value or size.
func (e *expressions) operand() string {
	switch e.g.IntN(8) {
	case 0:
		return "size(" + e.path(e.g.name()) + ")"
	case 1, 2:
		return e.path(e.g.name())
	}
	return e.scalar()
}

// condition writes a condition about attributes that names picks.
func (e *expressions) condition(depth int) string {
	g := e.g
	if depth > 0 {
		switch g.IntN(6) {
		case 0:
			return e.condition(depth-1) + " AND " + e.condition(depth-1)
		case 1:
			return e.condition(depth-1) + one(g, " OR ", " or ") + e.condition(depth-1)
		case 2:
			return one(g, "NOT ", "not ") + e.condition(depth-1)
		case 3:
			return "(" + e.condition(depth-1) + ")"
		}
	}
	if g.spoil(12) {
		return e.oddCondition()
	}
	path := e.path(g.name())
	switch g.IntN(9) {
	case 0:
		return "attribute_exists(" + path + ")"
	case 1:
		return "attribute_not_exists (" + path + ")"
	case 2:
		return fmt.Sprintf("attribute_type(%s, %s)", path, e.value(tree{"S": one(g, "S", "N", "B", "SS", "NS", "BS", "M", "L", "BOOL", "NULL")}))
	case 3:
		return fmt.Sprintf("begins_with(%s, %s)", path, e.value(g.valueOf(one(g, "S", "B"), 0)))
	case 4:
		return fmt.Sprintf("contains(%s, %s)", path, e.value(g.value(0)))
	case 5:
		low, high := "1", one(g, "1", "2", "1e2")
		return fmt.Sprintf("%s BETWEEN %s AND %s", path, e.value(tree{"N": low}), e.value(tree{"N": high}))
	case 6:
		return fmt.Sprintf("%s IN (%s, %s,%s)", path, e.value(g.value(1)), e.value(g.value(0)), e.operand())
	case 7:
		return fmt.Sprintf("%s %s %s", path, one(g, "=", "<>"), e.value(g.value(2)))
	}
	return fmt.Sprintf("%s %s %s", path, one(g, "=", "<>", "<", "<=", ">", ">="), e.operand())
}

// oddCondition has a fault in itself.
func (e *expressions) oddCondition() string {
	g := e.g
	path := e.path(g.name())
	switch g.IntN(12) {
	case 0:
		return "nothing(" + path + ")"
	case 1:
		return "attribute_exists(" + path + ", " + path + ")"
	case 2:
		return "attribute_exists(" + e.scalar() + ")"
	case 3:
		return "size(" + path + ")"
	case 4:
		return fmt.Sprintf("begins_with(%s, %s)", path, e.value(tree{"N": "1"}))
	case 5:
		return fmt.Sprintf("attribute_type(%s, %s)", path, e.value(tree{"S": "T"}))
	case 6:
		return fmt.Sprintf("%s BETWEEN %s AND %s", path, e.value(tree{"N": "2"}), e.value(tree{"N": "1"}))
	case 7:
		return fmt.Sprintf("%s BETWEEN %s AND %s", path, e.value(tree{"N": "2"}), e.value(tree{"S": "1"}))
	case 8:
		return "((" + e.condition(0) + "))"
	case 9:
		return path + " = " + path
	case 10:
		return fmt.Sprintf("%s < %s", path, e.value(tree{"BOOL": true}))
	}
	return fmt.Sprintf("attribute_exists(%s) = %s", path, e.scalar())
}

// mangled breaks the grammar of an expression: it takes a word away, doubles one, or puts one in.
func (e *expressions) mangled(text string) string {
	g := e.g
	if !g.spoil(12) {
		return text
	}
	words := strings.Fields(text)
	at := g.IntN(len(words))
	switch g.IntN(5) {
	case 0:
		words = append(words[:at:at], words[at+1:]...)
	case 1:
		words = append(words[:at:at], append([]string{words[at]}, words[at:]...)...)
	case 2, 3:
		words = append(words[:at:at], append([]string{one(g, "AND", "OR", ",", "(", ")", "=", "<>", ".", "[", "-", "+", "!", "1", "a", ":", "#", "SET", "$x", "ö")}, words[at:]...)...)
	case 4:
		return one(g, "", " ", strings.Repeat(" ", 4090)+text)
	}
	return strings.Join(words, " ")
}

// projection writes paths of which none lies within another, unless it is spoiled.
func (e *expressions) projection() string {
	var paths []string
	for _, top := range e.someNames(1 + e.g.IntN(3)) {
		paths = append(paths, e.path(top))
	}
	if e.g.spoil(8) {
		paths = append(paths, paths[0])
	}
	return e.mangled(strings.Join(paths, ", "))
}

// someNames returns different attributes.
func (e *expressions) someNames(n int) []string {
	var out []string
	for _, i := range e.g.Perm(len(attributeNames))[:n] {
		out = append(out, attributeNames[i])
	}
	return out
}

// update writes an update of attributes other than the table's keys, unless it is spoiled.
func (e *expressions) update(t *tableDraft) string {
	g := e.g
	tops := e.someNames(1 + g.IntN(4))
	if g.spoil(12) {
		tops[0] = t.keys[0].name
	}
	if g.spoil(12) && len(tops) > 1 {
		tops[1] = tops[0]
	}
	actions := map[string][]string{}
	for _, top := range tops {
		verb := one(g, "SET", "SET", "SET", "REMOVE", "ADD", "DELETE")
		actions[verb] = append(actions[verb], e.action(verb, e.deepPath(top, 10)))
	}
	var sections []string
	for _, i := range g.Perm(4) {
		verb := []string{"SET", "REMOVE", "ADD", "DELETE"}[i]
		if len(actions[verb]) > 0 {
			sections = append(sections, one(g, verb, strings.ToLower(verb))+" "+strings.Join(actions[verb], ", "))
		}
	}
	if g.spoil(25) {
		sections = append(sections, sections[0])
	}
	return e.mangled(strings.Join(sections, " "))
}

func (e *expressions) action(verb, path string) string {
	g := e.g
	switch verb {
	case "SET":
		return path + " = " + e.setValue()
	case "ADD":
		v := g.valueOf(one(g, "N", "N", "SS", "NS", "BS"), 0)
		if g.spoil(10) {
			v = g.value(1)
		}
		return path + " " + e.value(v)
	case "DELETE":
		v := g.valueOf(one(g, "SS", "NS", "BS"), 0)
		if g.spoil(10) {
			v = g.value(1)
		}
		return path + " " + e.value(v)
	}
	return path
}

func (e *expressions) setValue() string {
	g := e.g
	path := e.deepPath(g.name(), 10)
	switch g.IntN(14) {
	case 0:
		return path
	case 1:
		return fmt.Sprintf("if_not_exists(%s, %s)", path, e.value(g.value(2)))
	case 2:
		return fmt.Sprintf("list_append(%s, %s)", path, e.value(g.valueOf("L", 2)))
	case 3:
		return fmt.Sprintf("list_append(if_not_exists(%s, %s), %s)", path, e.value(tree{"L": []any{}}), e.value(g.valueOf("L", 1)))
	case 4:
		return fmt.Sprintf("%s %s %s", path, one(g, "+", "-"), e.value(g.valueOf("N", 0)))
	case 5:
		return fmt.Sprintf("if_not_exists(%s, %s) + %s", path, e.value(tree{"N": "0"}), e.value(g.valueOf("N", 0)))
	case 6:
		if g.spoil(3) {
			return one(g, "size("+path+")", "nothing("+path+")", "list_append("+path+")", "if_not_exists("+e.scalar()+", "+e.scalar()+")",
				"list_append("+path+", "+e.value(tree{"S": "x"})+")", path+" + "+e.value(tree{"S": "x"}))
		}
	}
	return e.value(g.value(3))
}
