package dynamodb_test

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
)

// partiql makes a statement of PartiQL with its parameters.
type partiql struct {
	g          *generator
	parameters []any
}

// executeStatement makes a statement of any kind.
func (g *generator) executeStatement() step {
	t := g.table()
	verb := one(g, "SELECT", "SELECT", "SELECT", "INSERT", "UPDATE", "UPDATE", "DELETE")
	body := g.statement(t, verb, g.key(t))
	switch verb {
	case "UPDATE", "DELETE":
		body["Statement"] = body["Statement"].(string) + (&partiql{g: g}).returning(verb)
	case "SELECT":
		q := &partiql{g: g}
		body = q.finished(q.selection(t))
		g.options(body, "ConsistentRead", true, false)
		g.options(body, "Limit", 1, 2, 3, 100)
		if g.spoil(10) {
			body["NextToken"] = one(g, "x", "AAAA", "")
		}
	}
	if g.spoil(20) {
		body["Statement"] = "EXISTS(" + body["Statement"].(string) + ")"
	}
	g.capacity(body)
	return step{body: body, pages: g.rarely(2)}
}

// batchExecute makes a batch of statements, all of which read, or all of which write.
func (g *generator) batchExecute() step {
	list := []any{}
	reads := g.rarely(2)
	for range 1 + g.IntN(4) {
		s := g.oneStatement(g.table(), reads)
		if reads {
			g.options(s, "ConsistentRead", true, false)
		}
		list = append(list, s)
	}
	if g.spoil(15) {
		list = []any{}
	}
	body := tree{"Statements": list}
	g.capacity(body)
	return step{body: body}
}

func (g *generator) executeTransaction() step {
	list := []any{}
	seen := map[string]bool{}
	reads := g.rarely(3)
	for range 1 + g.IntN(4) {
		t := g.table()
		key := g.key(t)
		if k := t.name + jsonOf(key); seen[k] && !g.spoil(3) {
			continue
		} else {
			seen[k] = true
		}
		verb := one(g, "INSERT", "UPDATE", "UPDATE", "DELETE", "EXISTS")
		if reads != g.spoil(20) {
			verb = "SELECT"
		}
		list = append(list, g.statement(t, verb, key))
	}
	body := tree{"TransactStatements": list}
	g.capacity(body)
	s := step{body: body}
	if g.rarely(4) && !reads {
		body["ClientRequestToken"] = fmt.Sprint("statement", g.IntN(3))
		s.wait = time.Duration(g.IntN(3)) * 5 * time.Minute
	}
	return s
}

// oneStatement makes a statement on one item, which reads or writes.
func (g *generator) oneStatement(t *tableDraft, reads bool) tree {
	verb := one(g, "INSERT", "UPDATE", "UPDATE", "DELETE")
	if reads != g.spoil(20) {
		verb = "SELECT"
	}
	s := g.statement(t, verb, g.key(t))
	if verb == "UPDATE" || verb == "DELETE" {
		s["Statement"] = s["Statement"].(string) + (&partiql{g: g}).returning(verb)
	}
	return s
}

// statement makes a statement on the item of the key.
func (g *generator) statement(t *tableDraft, verb string, key tree) tree {
	q := &partiql{g: g}
	text := ""
	switch verb {
	case "SELECT":
		text = "SELECT " + q.columns() + " FROM " + q.name(t.name) + q.where(key, 1)
	case "EXISTS":
		text = "EXISTS(SELECT * FROM " + q.name(t.name) + q.where(key, 1) + ")"
	case "INSERT":
		item := g.attributes(g.IntN(4), 2)
		g.indexKeys(t, item)
		maps.Copy(item, key)
		text = "INSERT INTO " + q.name(t.name) + " VALUE " + q.tuple(item)
	case "UPDATE":
		text = "UPDATE " + q.name(t.name) + " " + q.update(t) + q.where(key, 2)
	case "DELETE":
		text = "DELETE FROM " + q.name(t.name) + q.where(key, 2)
	}
	s := q.finished(text)
	g.options(s, "ReturnValuesOnConditionCheckFailure", "ALL_OLD", "NONE")
	return s
}

// finished makes a request of a statement's text, with another number of parameters or a word too much or too few if it is spoiled.
func (q *partiql) finished(text string) tree {
	g := q.g
	if g.spoil(12) {
		words := strings.Fields(text)
		at := g.IntN(len(words))
		switch g.IntN(3) {
		case 0:
			words = slices.Delete(words, at, at+1)
		default:
			words = slices.Insert(words, at, one(g, "FROM", "WHERE", "AND", ",", "(", ")", "=", "<<", "}", "!", "ö"))
		}
		text = strings.Join(words, " ")
	}
	body := tree{"Statement": text}
	switch {
	case g.spoil(20):
		q.parameters = append(q.parameters, tree{"S": "x"})
	case g.spoil(20) && len(q.parameters) > 0:
		q.parameters = q.parameters[1:]
	}
	if len(q.parameters) > 0 {
		body["Parameters"] = q.parameters
	}
	return body
}

var statementNames = []string{"a", "b", "c", "d", "pk", "sk", "hash", "sorted", "binary", "indexed", "local", "global", "expires", "nobody"}

// name writes a name, with quotes where it needs them and sometimes where it does not.
func (q *partiql) name(name string) string {
	if slices.Contains(statementNames, name) && !q.g.rarely(3) {
		return name
	}
	return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
}

// path writes a path, which goes deeper in one of n cases.
func (q *partiql) path(top string, n int) string {
	out := q.name(top)
	for q.g.rarely(n) {
		if q.g.rarely(2) {
			out += fmt.Sprintf("[%d]", q.g.IntN(3))
		} else {
			out += "." + q.name(q.g.name())
		}
	}
	return out
}

// value writes a value as a literal, or as a question mark with a parameter. Some values have no literal, and some are too long for a statement.
func (q *partiql) value(v any) string {
	if !q.g.rarely(3) {
		if text, ok := literal(v); ok && len(text) < 1000 {
			return text
		}
	}
	q.parameters = append(q.parameters, v)
	return "?"
}

var plainNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$`)

// literal writes a value in its literal form; ok is false if it has none, or is no value.
func literal(v any) (text string, ok bool) {
	o, _ := v.(tree)
	if len(o) != 1 {
		return "", false
	}
	for kind, content := range o {
		switch content := content.(type) {
		case string:
			if kind == "S" {
				return "'" + strings.ReplaceAll(content, "'", "''") + "'", true
			}
			return content, kind == "N" && slices.Contains(numbers, content) && plainNumber.MatchString(content)
		case bool:
			if kind == "NULL" {
				return "NULL", content
			}
			return strings.ToUpper(fmt.Sprint(content)), kind == "BOOL"
		case []any:
			return literalList(kind, content)
		case tree:
			return literalTuple(kind, content)
		}
	}
	return "", false
}

func literalList(kind string, content []any) (text string, ok bool) {
	var parts []string
	for _, e := range content {
		if kind != "L" {
			e = tree{kind[:1]: e}
		}
		part, ok := literal(e)
		if !ok {
			return "", false
		}
		parts = append(parts, part)
	}
	switch kind {
	case "L":
		return "[" + strings.Join(parts, ", ") + "]", true
	case "SS", "NS":
		return "<<" + strings.Join(parts, ", ") + ">>", len(parts) > 0 && len(slices.Compact(slices.Sorted(slices.Values(parts)))) == len(parts)
	}
	return "", false
}

func literalTuple(kind string, content tree) (text string, ok bool) {
	if kind != "M" {
		return "", false
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(content)) {
		part, ok := literal(content[name])
		if !ok {
			return "", false
		}
		parts = append(parts, "'"+name+"': "+part)
	}
	return "{" + strings.Join(parts, ", ") + "}", true
}

// tuple writes an item, whose values are literals and question marks.
func (q *partiql) tuple(item tree) string {
	if q.g.rarely(8) {
		q.parameters = append(q.parameters, tree{"M": item})
		return "?"
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(item)) {
		parts = append(parts, "'"+name+"': "+q.value(item[name]))
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

// columns are what a SELECT shows: paths that differ in their attributes and in their last names.
func (q *partiql) columns() string {
	g := q.g
	if g.rarely(2) {
		return "*"
	}
	var out []string
	for _, i := range g.Perm(4)[:1+g.IntN(3)] {
		switch name := attributeNames[i]; g.IntN(6) {
		case 0:
			out = append(out, q.name(name)+fmt.Sprintf("[%d]", g.IntN(3)))
		case 1:
			out = append(out, q.name(name)+"."+q.name(name))
		case 2:
			out = append(out, q.name(name)+fmt.Sprintf("[%d].", g.IntN(2))+q.name(name)+"[0]")
		default:
			out = append(out, q.name(name))
		}
	}
	return strings.Join(out, ", ")
}

// where names the key and says up to so many conditions more, in any order.
func (q *partiql) where(key tree, more int) string {
	g := q.g
	var parts []func() string // a question mark has its parameter where it is written
	for _, name := range slices.Sorted(maps.Keys(key)) {
		if !g.spoil(20) {
			parts = append(parts, func() string { return q.name(name) + " = " + q.value(key[name]) })
		}
	}
	if g.rarely(2) {
		for range g.IntN(more + 1) {
			parts = append(parts, func() string { return q.condition(1) })
		}
	}
	if len(parts) == 0 || g.spoil(20) {
		return ""
	}
	var written []string
	for _, i := range g.Perm(len(parts)) {
		written = append(written, parts[i]())
	}
	return " " + one(g, "WHERE", "where") + " " + strings.Join(written, one(g, " AND ", " and "))
}

// selection writes a SELECT of a table or one of its indexes, with or without the partition.
func (q *partiql) selection(t *tableDraft) string {
	g := q.g
	keys, sorts := t.keys, len(t.keys)-1
	source := q.name(t.name)
	if len(t.indexes) > 0 && !g.rarely(3) {
		x := one(g, t.indexes...)
		keys, sorts = x.keys, x.sorts
		source += "." + q.name(x.name)
	}
	if g.spoil(25) {
		source += ".nothing"
	}
	text := "SELECT " + q.columns() + " FROM " + source
	conditions, several, whole := q.keyConditions(keys, sorts)
	if g.rarely(3) {
		conditions = append(conditions, q.condition(2))
	}
	if len(conditions) > 0 {
		text += " WHERE " + strings.Join(conditions, " AND ")
	}
	if whole && g.rarely(3) || g.spoil(10) {
		text += q.order(keys, sorts, several)
	}
	return text
}

// keyConditions are about the key: whole says that they name all of the partition, several that they may name more partitions than one.
func (q *partiql) keyConditions(keys []keyDraft, sorts int) (out []string, several, whole bool) {
	g := q.g
	if g.rarely(4) {
		return nil, false, false
	}
	partition := len(keys) - sorts
	for _, k := range keys[:partition] {
		name, v := q.name(k.name), func() string { return q.value(g.keyValue(k.kind)) }
		switch g.IntN(6) {
		case 0:
			several = true
			out = append(out, fmt.Sprintf("%s IN [%s, %s, %s]", name, v(), v(), v()))
		case 1:
			several = true
			out = append(out, fmt.Sprintf("(%s = %s OR %s = %s)", name, v(), name, v()))
		default:
			out = append(out, name+" = "+v())
		}
	}
	for _, k := range keys[partition:] {
		name, v := q.name(k.name), func() string { return q.value(g.keyValue(k.kind)) }
		switch g.IntN(6) {
		case 0:
			return append(out, name+one(g, " < ", " <= ", " > ", " >= ")+v()), several, true
		case 1:
			return append(out, v()+one(g, " < ", " <= ", " > ", " >= ")+name), several, true
		case 2:
			if k.kind == "N" {
				return append(out, name+" BETWEEN -1 AND "+one(g, "0", "2", "1e1")), several, true
			}
			return append(out, "begins_with("+name+", "+v()+")"), several, true
		case 3:
			out = append(out, name+" = "+v())
		default:
			return out, several, true
		}
	}
	return out, several, true
}

// order writes an ORDER BY: of the partition key, of the sort key, or of both.
func (q *partiql) order(keys []keyDraft, sorts int, several bool) string {
	g := q.g
	partition := len(keys) - sorts
	how := one(g, "", " ASC", " DESC")
	switch {
	case g.spoil(5):
		return " ORDER BY " + q.name(one(g, "c", "nothing"))
	case sorts > 0 && g.rarely(2) && !several:
		return " ORDER BY " + q.name(keys[partition].name) + how
	case partition > 1:
		return ""
	case sorts > 0 && g.rarely(2):
		return " ORDER BY " + q.name(keys[0].name) + one(g, "", " DESC") + ", " + q.name(keys[partition].name) + how
	}
	return " ORDER BY " + q.name(keys[0].name) + how
}

// condition writes a condition about attributes that no key has, as far as that can be known. IS NULL stands only where the attribute is there: whether what
// is missing is null is left open.
func (q *partiql) condition(depth int) string {
	g := q.g
	if depth > 0 {
		switch g.IntN(6) {
		case 0:
			return "(" + q.condition(depth-1) + " OR " + q.condition(depth-1) + ")"
		case 1:
			return "NOT (" + q.condition(depth-1) + ")"
		case 2:
			return "(" + q.condition(depth-1) + " and " + q.condition(depth-1) + ")"
		}
	}
	path := q.path(g.name(), 3)
	scalar := func() string { return q.value(g.valueOf(one(g, "S", "S", "N", "N", "B"), 0)) }
	switch g.IntN(11) {
	case 0:
		return path + one(g, " IS MISSING", " IS NOT MISSING", " is not missing")
	case 1:
		return fmt.Sprintf("(%s IS NOT MISSING AND %s IS %sNULL)", path, path, one(g, "", "NOT "))
	case 2:
		return fmt.Sprintf("attribute_type(%s, %s)", path, q.value(tree{"S": one(g, "S", "N", "B", "SS", "NS", "BS", "M", "L", "BOOL", "NULL")}))
	case 3:
		return fmt.Sprintf("begins_with(%s, %s)", path, q.value(g.valueOf(one(g, "S", "B"), 0)))
	case 4:
		return fmt.Sprintf("contains(%s, %s)", path, q.value(g.value(0)))
	case 5:
		return fmt.Sprintf("%s %sBETWEEN %s AND %s", path, one(g, "", "NOT "), q.value(tree{"N": "1"}), q.value(tree{"N": one(g, "1", "2", "1e2")}))
	case 6:
		v := []string{q.value(g.value(0)), q.value(g.value(0))}
		return path + one(g, " IN ", " NOT IN ") + one(g, "["+v[0]+", "+v[1]+"]", "("+v[0]+", "+v[1]+")")
	case 7:
		return fmt.Sprintf("size(%s) %s %d", path, one(g, "=", "<", ">="), g.IntN(3))
	case 8:
		return fmt.Sprintf("%s %s %s", path, one(g, "=", "<>", "!="), q.value(g.value(2)))
	case 9:
		return scalar() + one(g, " = ", " < ", " >= ") + path
	}
	return fmt.Sprintf("%s %s %s", path, one(g, "=", "<>", "<", "<=", ">", ">="), scalar())
}

// update writes SET and REMOVE of attributes other than the table's keys, unless it is spoiled.
func (q *partiql) update(t *tableDraft) string {
	g := q.g
	var out []string
	for _, i := range g.Perm(len(attributeNames))[:1+g.IntN(3)] {
		top := attributeNames[i]
		if g.spoil(15) {
			top = t.keys[0].name
		}
		path := q.path(top, 8)
		if g.rarely(4) {
			out = append(out, one(g, "REMOVE ", "remove ")+path)
			continue
		}
		out = append(out, one(g, "SET ", "set ")+path+" = "+q.data(path))
		if g.rarely(6) {
			out[len(out)-1] += ", " + q.name("x") + " = " + q.data("x")
			break
		}
	}
	if g.spoil(15) {
		out = append(out, out[0])
	}
	return strings.Join(out, " ")
}

// data writes what the path is set to.
func (q *partiql) data(path string) string {
	g := q.g
	switch g.IntN(9) {
	case 0:
		return fmt.Sprintf("list_append(%s, %s)", path, q.value(g.valueOf("L", 1)))
	case 1:
		return fmt.Sprintf("LIST_APPEND(%s, %s)", q.value(g.valueOf("L", 1)), path)
	case 2, 3:
		return fmt.Sprintf("%s(%s, %s)", one(g, "set_add", "set_delete", "SET_ADD", "SET_DELETE"), path, q.value(g.valueOf(one(g, "SS", "NS", "BS"), 0)))
	case 4:
		return fmt.Sprintf("%s %s %s", path, one(g, "+", "-"), q.value(g.valueOf("N", 0)))
	case 5:
		return q.path(g.name(), 8)
	}
	return q.value(g.value(2))
}

// returning writes a RETURNING clause that the verb may have, unless it is spoiled.
func (q *partiql) returning(verb string) string {
	g := q.g
	if !g.rarely(2) {
		return ""
	}
	clause := one(g, "ALL OLD", "MODIFIED OLD", "ALL NEW", "MODIFIED NEW")
	if verb == "DELETE" && !g.spoil(4) {
		clause = "ALL OLD"
	}
	return " RETURNING " + clause + " *"
}
