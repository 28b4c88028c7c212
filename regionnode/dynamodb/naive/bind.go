package naive

import (
	_ "embed"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// reservedWords is the list of the developer guide, one a line.
//
//go:embed reserved.txt
var reservedWords string

func isReserved(name string) bool {
	return slices.Contains(strings.Fields(reservedWords), strings.ToUpper(name))
}

// bindings are what ExpressionAttributeNames and ExpressionAttributeValues say, and which of them expressions have used.
type bindings struct {
	names      map[string]string
	values     map[string]value
	usedNames  map[string]bool
	usedValues map[string]bool
	faults     []error // of the expression at hand, in the order of its text
}

var (
	namePlaceholder  = regexp.MustCompile(`^#[0-9a-zA-Z_]+$`)
	valuePlaceholder = regexp.MustCompile(`^:[0-9a-zA-Z_]+$`)
)

// setNames checks and takes ExpressionAttributeNames.
func (b *bindings) setNames(p object) error {
	names, ok := p["ExpressionAttributeNames"].(object)
	if ok && len(names) == 0 {
		return invalid("ExpressionAttributeNames must not be empty")
	}
	for _, key := range slices.Sorted(maps.Keys(names)) {
		if !namePlaceholder.MatchString(key) {
			return invalid(`ExpressionAttributeNames contains invalid key: Syntax error; key: "%s"`, key)
		}
		b.names[key] = names[key].(string)
	}
	return nil
}

// setValues checks and takes ExpressionAttributeValues.
func (b *bindings) setValues(p object) error {
	values, ok := p["ExpressionAttributeValues"].(object)
	if ok && len(values) == 0 {
		return invalid("ExpressionAttributeValues must not be empty")
	}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		if !valuePlaceholder.MatchString(key) {
			return invalid(`ExpressionAttributeValues contains invalid key: Syntax error; key: "%s"`, key)
		}
		v, err := decodeValue(values[key], 1)
		if err != nil {
			return invalid("ExpressionAttributeValues contains invalid value: %s for key %s", messageOf(err), key)
		}
		b.values[key] = v
	}
	return nil
}

// checkUsed demands that every name and value is used.
func (b *bindings) checkUsed() error {
	var names, values []string
	for key := range b.names {
		if !b.usedNames[key] {
			names = append(names, key)
		}
	}
	for key := range b.values {
		if !b.usedValues[key] {
			values = append(values, key)
		}
	}
	slices.Sort(names)
	slices.Sort(values)
	if len(names) > 0 {
		return invalid("Value provided in ExpressionAttributeNames unused in expressions: keys: {%s}", strings.Join(names, ", "))
	}
	if len(values) > 0 {
		return invalid("Value provided in ExpressionAttributeValues unused in expressions: keys: {%s}", strings.Join(values, ", "))
	}
	return nil
}

func (b *bindings) fail(format string, args ...any) {
	b.faults = append(b.faults, invalid(format, args...))
}

// verdict returns the faults of the expression at hand. Which of several DynamoDB reports is its own affair.
func (b *bindings) verdict() error {
	faults := b.faults
	b.faults = nil
	return oneOf(faults)
}

const maxExpressionSize = 4096

var errEmptyExpression = invalid("The expression can not be empty;")

// checkText checks what all expressions have in common.
func checkText(text string) error {
	switch {
	case text == "":
		return errEmptyExpression
	case len(text) > maxExpressionSize:
		return invalid("Expression size has exceeded the maximum allowed size; expression size: %d", len(text))
	}
	return nil
}

// condition parses and binds the condition in the parameter given; nil if there is none.
func (b *bindings) condition(p object, parameter string) (*node, error) {
	text, ok := p[parameter].(string)
	if !ok {
		return nil, nil
	}
	n, err := parseChecked(text, parseCondition)
	if err == nil {
		n = b.boolean(n)
		err = b.verdict()
	}
	if err != nil {
		return nil, prefixed("Invalid "+parameter+": ", err)
	}
	return n, nil
}

func parseChecked[T any](text string, parse func(string) (T, error)) (T, error) {
	if err := checkText(text); err != nil {
		var none T
		return none, err
	}
	out, err := parse(text)
	if err != nil && strings.TrimSpace(text) == "" {
		err = oneOf([]error{err, errEmptyExpression})
	}
	return out, err
}

// boolean binds a condition. It returns n without parentheses.
func (b *bindings) boolean(n *node) *node {
	switch n.op {
	case "()":
		if n.args[0].op == "()" {
			b.fail("The expression has redundant parentheses;")
		}
		return b.boolean(n.args[0])
	case "AND", "OR", "NOT":
		for i := range n.args {
			n.args[i] = b.boolean(n.args[i])
		}
	case "call":
		b.predicate(n)
	default:
		for i := range n.args {
			n.args[i] = b.operand(n.args[i])
		}
		b.comparison(n)
	}
	return n
}

// operand binds what is compared. It returns n without parentheses.
func (b *bindings) operand(n *node) *node {
	switch n.op {
	case "()":
		if n.args[0].op == "()" {
			b.fail("The expression has redundant parentheses;")
		}
		return b.operand(n.args[0])
	case "value":
		b.bindValue(n)
	case "path":
		b.path(n)
	case "call":
		b.sizeCall(n)
	}
	return n
}

func (b *bindings) bindValue(n *node) {
	v, ok := b.values[n.name]
	if !ok {
		b.fail("An expression attribute value used in expression is not defined; attribute value: %s", n.name)
	}
	n.value = v
	b.usedValues[n.name] = true
}

func (b *bindings) path(n *node) {
	for i, s := range n.steps {
		switch {
		case s.name == "":
		case s.name[0] == '#':
			name, ok := b.names[s.name]
			if !ok {
				b.fail("An expression attribute name used in the document path is not defined; attribute name: %s", s.name)
				continue
			}
			b.usedNames[s.name] = true
			n.steps[i].name = name
		case isReserved(s.name):
			b.fail("Attribute name is a reserved keyword; reserved keyword: %s", s.name)
		}
	}
	if len(n.steps) > maxNesting {
		b.fail("The document path has too many nesting elements; nesting levels: %d", len(n.steps))
	}
}

// operands says how many operands a function has.
var operands = map[string]int{"attribute_exists": 1, "attribute_not_exists": 1, "attribute_type": 2, "begins_with": 2, "contains": 2, "size": 1,
	"if_not_exists": 2, "list_append": 2}

// countOperands reports whether the function is known and has its operands.
func (b *bindings) countOperands(n *node) bool {
	want, known := operands[n.name]
	switch {
	case !known:
		b.fail("Invalid function name; function: %s", n.name)
	case len(n.args) != want:
		b.fail("Incorrect number of operands for operator or function; operator or function: %s, number of operands: %d", n.name, len(n.args))
	}
	return known && len(n.args) == want
}

// misused says that a function stands where it may not.
func (b *bindings) misused(n *node) {
	b.fail("The function is not allowed to be used this way in an expression; function: %s", n.name)
}

func (b *bindings) updateOnly(n *node) {
	b.fail("The function is not allowed in a condition expression; function: %s", n.name)
}

// predicate binds a function that is a condition.
func (b *bindings) predicate(n *node) {
	for i := range n.args {
		n.args[i] = b.operand(n.args[i])
	}
	switch n.name {
	case "size":
		b.misused(n)
		return
	case "if_not_exists", "list_append":
		b.updateOnly(n)
		return
	}
	if !b.countOperands(n) {
		return
	}
	switch n.name {
	case "attribute_exists", "attribute_not_exists":
		b.wantPath(n)
	case "attribute_type":
		b.wantPath(n)
		b.attributeType(n)
	case "begins_with":
		b.wantKinds(n, n.args[0], "S", "B")
		b.wantKinds(n, n.args[1], "S", "B")
		b.wantDistinct(n)
	case "contains":
		b.wantKinds(n, n.args[0], "S", "B", "SS", "NS", "BS", "L")
		b.wantDistinct(n)
	}
}

func (b *bindings) attributeType(n *node) {
	kind := n.args[1]
	if kind.op != "value" {
		b.fail("Incorrect operand type for operator or function; operator or function: attribute_type, operand type: %s", "{NS,SS,L,BS,N,M,B,BOOL,NULL,S}")
		return
	}
	b.wantKinds(n, kind, "S")
	if kind.value.kind == "S" && !slices.Contains([]string{"B", "NULL", "SS", "BOOL", "L", "BS", "N", "NS", "S", "M"}, kind.value.text) {
		b.fail("Invalid attribute type name found; type: %s, valid types: {B,NULL,SS,BOOL,L,BS,N,NS,S,M}", kind.value.text)
	}
}

func (b *bindings) wantPath(n *node) {
	if n.args[0].op != "path" {
		b.fail("Operator or function requires a document path; operator or function: %s", n.name)
	}
}

// wantKinds demands that an operand that is a value is of one of the kinds given.
func (b *bindings) wantKinds(n, operand *node, kinds ...string) {
	name := n.name
	if name == "" {
		name = n.op
	}
	if operand.op == "value" && operand.value.kind != "" && !slices.Contains(kinds, operand.value.kind) {
		b.fail("Incorrect operand type for operator or function; operator or function: %s, operand type: %s", name, operand.value.kind)
	}
}

// wantDistinct demands that the first operand is another than the others.
func (b *bindings) wantDistinct(n *node) {
	name := n.name
	if name == "" {
		name = n.op
	}
	for _, other := range n.args[1:] {
		if n.args[0].op == "path" && other.op == "path" && slices.Equal(n.args[0].steps, other.steps) {
			b.fail("The first operand must be distinct from the remaining operands for this operator or function; operator: %s, first operand: %s",
				name, pathText(n.args[0].steps))
			return
		}
	}
}

// sizeCall binds a function within a comparison, which is size or wrong.
func (b *bindings) sizeCall(n *node) {
	for i := range n.args {
		n.args[i] = b.operand(n.args[i])
	}
	if n.name != "size" {
		switch _, known := operands[n.name]; {
		case !known:
			b.countOperands(n)
		case n.name == "if_not_exists" || n.name == "list_append":
			b.updateOnly(n)
		default:
			b.misused(n)
		}
		return
	}
	if b.countOperands(n) {
		b.wantKinds(n, n.args[0], "S", "B", "SS", "NS", "BS", "L", "M")
	}
}

// comparison checks operators on bound operands.
func (b *bindings) comparison(n *node) {
	b.wantDistinct(n)
	switch n.op {
	case "<", "<=", ">", ">=":
		for _, a := range n.args {
			b.wantKinds(n, a, "S", "N", "B")
		}
	case "BETWEEN":
		for _, a := range n.args {
			b.wantKinds(n, a, "S", "N", "B")
		}
		b.bounds(n.args[1], n.args[2])
	case "IN":
		if len(n.args) > 101 {
			b.fail("Invalid number of operands for the IN operator; maximum number of operands: 100, number of operands: %d", len(n.args)-1)
		}
	}
}

// bounds checks the bounds of BETWEEN if they are values.
func (b *bindings) bounds(low, high *node) {
	if low.op != "value" || high.op != "value" || !ordered(low.value.kind) || !ordered(high.value.kind) {
		return
	}
	shown := func(v value) string { return "AttributeValue: {" + v.kind + ":" + v.scalar() + "}" }
	switch {
	case low.value.kind != high.value.kind:
		b.fail("The BETWEEN operator requires same data type for lower and upper bounds; lower bound operand: %s, upper bound operand: %s",
			shown(low.value), shown(high.value))
	case compare(low.value, high.value) > 0:
		b.fail("The BETWEEN operator requires upper bound to be greater than or equal to lower bound; lower bound operand: %s, upper bound operand: %s",
			shown(low.value), shown(high.value))
	}
}

// text writes a step as messages do.
func (s step) text() string {
	if s.name == "" {
		return "[" + strconv.Itoa(s.index) + "]"
	}
	return s.name
}
