package naive

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// statement is a statement of PartiQL with its parameters in place.
type statement struct {
	verb  string // "SELECT", "INSERT", "UPDATE", "DELETE" or "EXISTS"
	table string
	index string

	columns   []column // of a SELECT; nil: *
	where     *node
	order     []ordering
	item      item     // of an INSERT
	actions   []action // of an UPDATE
	returning string   // as ReturnValues says it
}

// column is what a SELECT shows: the value at a path, under the path's last name with the indexes after it.
type column struct {
	steps []step
	name  string
}

// ordering is an attribute of an ORDER BY.
type ordering struct {
	name       string
	descending bool
}

func (s *statement) reads() bool { return s.verb == "SELECT" || s.verb == "EXISTS" }

// The documentation has the messages of few faults of statements; the others begin in a known way, or in none.
var (
	errMalformed    = invalid("Statement wasn't well formed, can't be processed: …")
	errNotSupported = invalid("…")
	errCount        = invalid("Number of parameters in request and statement don't match.")
	errNoKey        = invalid("Where clause does not contain a mandatory equality on all key attributes")
	errOrderNowhere = invalid("Must have WHERE clause in the statement when using ORDER BY clause.")
	errOrderNoEqual = invalid("Must have at least one non-optional hash key condition in WHERE clause when using ORDER BY clause.")
)

const maxStatement = 8192 // bytes

// statementShape has what a statement has wherever it stands.
var statementShape = []field{required("Statement", within(1, maxStatement, text)), optional("Parameters", within(1, -1, listOf(&shape{kind: "value"}))),
	optional("ReturnValuesOnConditionCheckFailure", onFailure)}

// decodeStatement parses a statement. Which of several faults is reported is left open.
func decodeStatement(p object) (*statement, error) {
	q := &statementParser{parser: parser{text: p["Statement"].(string)}}
	var faults []error
	for _, v := range listOrNone(p["Parameters"]) {
		decoded, err := decodeValue(v, 1)
		if err != nil {
			faults = append(faults, err)
			decoded = value{}
		}
		q.parameters = append(q.parameters, decoded)
	}
	q.tokens = tokenizeStatement(q.text)
	s, err := q.statement()
	if err != nil {
		faults = append(faults, err)
	}
	if strings.Count(strings.Join(kindsOf(q.tokens), ""), "?") != len(q.parameters) {
		faults = append(faults, errCount)
	}
	return s, oneOf(faults)
}

func kindsOf(tokens []token) []string {
	var out []string
	for _, t := range tokens {
		out = append(out, t.kind)
	}
	return out
}

var statementToken = regexp.MustCompile(`^(?:([A-Za-z_$][A-Za-z0-9_$]*)|"((?:[^"]|"")*)"|'((?:[^']|'')*)'|((?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)|<<|>>|<>|<=|>=|!=|[()\[\]{},.:;*=<>+?-])`)

// tokenizeStatement splits a statement. What begins no token is one of its own, of a kind that no grammar has.
func tokenizeStatement(text string) []token {
	var out []token
	for at := 0; at < len(text); {
		if strings.ContainsRune(" \t\r\n", rune(text[at])) {
			at++
			continue
		}
		found := statementToken.FindStringSubmatch(text[at:])
		if found == nil {
			out = append(out, token{"unknown", text[at : at+1], at, at + 1})
			at++
			continue
		}
		t := token{found[0], found[0], at, at + len(found[0])}
		switch first := found[0][0]; {
		case found[1] != "":
			t.kind = "word"
		case first == '"':
			t.kind, t.text = "quoted", strings.ReplaceAll(found[2], `""`, `"`)
		case first == '\'':
			t.kind, t.text = "string", strings.ReplaceAll(found[3], "''", "'")
		case found[4] != "":
			t.kind = "number"
		}
		out = append(out, t)
		at += len(found[0])
	}
	return append(out, token{"end", "", len(text), len(text)})
}

// statementParser goes through the tokens of one statement.
type statementParser struct {
	parser
	parameters []value
	used       int
}

func (p *statementParser) expect(kind string) error {
	if !p.accept(kind) {
		return errMalformed
	}
	return nil
}

func (p *statementParser) expectWord(word string) error {
	if !p.acceptWord(word) {
		return errMalformed
	}
	return nil
}

func (p *statementParser) statement() (*statement, error) {
	s := &statement{}
	var parse func(*statement) error
	switch {
	case p.acceptWord("SELECT"):
		s.verb, parse = "SELECT", p.selection
	case p.isWord("EXISTS"):
		s.verb, parse = "EXISTS", p.existence
	case p.acceptWord("INSERT"):
		s.verb, parse = "INSERT", p.insertion
	case p.acceptWord("UPDATE"):
		s.verb, parse = "UPDATE", p.updating
	case p.acceptWord("DELETE"):
		s.verb, parse = "DELETE", p.deletion
	default:
		return nil, errMalformed
	}
	if err := parse(s); err != nil {
		return nil, err
	}
	p.accept(";")
	return s, p.expect("end")
}

// selection parses what follows SELECT:
//
//	( * | path, … ) FROM table [ . index ] [ WHERE condition ] [ ORDER BY key [ ASC | DESC ], … ]
func (p *statementParser) selection(s *statement) error {
	if !p.accept("*") {
		for {
			if p.next().kind == "word" && p.tokens[p.at+1].kind == "(" { // a function
				return errNotSupported
			}
			steps, err := p.steps()
			if err != nil {
				return err
			}
			s.columns = append(s.columns, column{steps, columnName(steps)})
			if !p.accept(",") {
				break
			}
		}
	}
	if err := p.expectWord("FROM"); err != nil {
		return err
	}
	var err error
	if s.table, err = p.identifier(); err != nil {
		return err
	}
	if p.accept(".") {
		if s.index, err = p.identifier(); err != nil {
			return err
		}
	}
	if p.acceptWord("WHERE") {
		if s.where, err = p.disjunction(); err != nil {
			return err
		}
	}
	return p.ordering(s)
}

// columnName is the last name of a path with the indexes after it, as a client sees the column: b[0] of a.b[0].
func columnName(steps []step) string {
	last := len(steps) - 1
	for steps[last].name == "" {
		last--
	}
	out := steps[last].name
	for _, s := range steps[last+1:] {
		out += s.text()
	}
	return out
}

func (p *statementParser) ordering(s *statement) error {
	if !p.acceptWord("ORDER") {
		return nil
	}
	if err := p.expectWord("BY"); err != nil {
		return err
	}
	for {
		name, err := p.identifier()
		if err != nil {
			return err
		}
		o := ordering{name: name, descending: p.acceptWord("DESC")}
		if !o.descending {
			p.acceptWord("ASC")
		}
		s.order = append(s.order, o)
		if !p.accept(",") {
			break
		}
	}
	if s.where == nil {
		return errOrderNowhere
	}
	return nil
}

func (p *statementParser) existence(s *statement) error {
	p.at++
	return inTurn(func() error { return p.expect("(") }, func() error { return p.expectWord("SELECT") },
		func() error { return p.selection(s) }, func() error { return p.expect(")") }, func() error {
			if s.where == nil {
				return errNoKey
			}
			return nil
		})
}

func (p *statementParser) insertion(s *statement) error {
	if err := p.expectWord("INTO"); err != nil {
		return err
	}
	var err error
	if s.table, err = p.identifier(); err != nil {
		return err
	}
	if p.isWord("VALUES") || p.next().kind == "<<" || p.next().kind == "[" { // several items, which DynamoDB does not take
		return errNotSupported
	}
	if err := p.expectWord("VALUE"); err != nil {
		return err
	}
	v, err := p.anyLiteral()
	if err != nil {
		return err
	}
	if v.kind != "M" {
		return errNotSupported
	}
	s.item = v.entries
	return nil
}

func (p *statementParser) deletion(s *statement) error {
	if err := p.expectWord("FROM"); err != nil {
		return err
	}
	var err error
	if s.table, err = p.identifier(); err != nil {
		return err
	}
	if err := p.condition(s); err != nil {
		return err
	}
	if err := p.image(s); err != nil {
		return err
	}
	if s.returning != "" && s.returning != "ALL_OLD" {
		return errNotSupported
	}
	return nil
}

// condition parses the WHERE of a write, which has to be there.
func (p *statementParser) condition(s *statement) error {
	if !p.acceptWord("WHERE") {
		return oneOf([]error{errNoKey, errMalformed})
	}
	var err error
	s.where, err = p.disjunction()
	return err
}

// image parses RETURNING ( ALL | MODIFIED ) ( OLD | NEW ) *.
func (p *statementParser) image(s *statement) error {
	if !p.acceptWord("RETURNING") {
		return nil
	}
	which := "ALL_"
	if p.acceptWord("MODIFIED") {
		which = "UPDATED_"
	} else if err := p.expectWord("ALL"); err != nil {
		return err
	}
	when := "NEW"
	if !p.acceptWord("NEW") {
		when = "OLD"
		if err := p.expectWord("OLD"); err != nil {
			return err
		}
	}
	s.returning = which + when
	return p.expect("*")
}

// updating parses what follows UPDATE: the table, SET and REMOVE in any number, the condition.
func (p *statementParser) updating(s *statement) error {
	var err error
	if s.table, err = p.identifier(); err != nil {
		return err
	}
	for {
		verb := ""
		switch {
		case p.acceptWord("SET"):
			verb = "SET"
		case p.acceptWord("REMOVE"):
			verb = "REMOVE"
		}
		if verb == "" {
			break
		}
		for {
			a, err := p.assignment(verb)
			if err != nil {
				return err
			}
			s.actions = append(s.actions, a)
			if !p.accept(",") {
				break
			}
		}
	}
	if len(s.actions) == 0 {
		return errMalformed
	}
	return inTurn(func() error { return p.condition(s) }, func() error { return p.image(s) }, s.checkOverlaps)
}

// checkOverlaps demands what an update expression demands of its paths, in words that are left open.
func (s *statement) checkOverlaps() error {
	var b bindings
	var paths []*node
	for _, a := range s.actions {
		paths = append(paths, a.path)
	}
	if b.overlaps(paths); b.verdict() != nil {
		return errNotSupported
	}
	return nil
}

// assignment parses path = data, or a path that is removed. set_add and set_delete are what ADD and DELETE are in an update expression.
func (p *statementParser) assignment(verb string) (action, error) {
	steps, err := p.steps()
	a := action{verb: verb, path: &node{op: "path", steps: steps}}
	if err != nil || verb == "REMOVE" {
		return a, err
	}
	if err := p.expect("="); err != nil {
		return a, err
	}
	for function, verb := range map[string]string{"set_add": "ADD", "set_delete": "DELETE"} {
		if !p.isWord(function) {
			continue
		}
		p.at++
		a.verb = verb
		if err := p.expect("("); err != nil {
			return a, err
		}
		of, err := p.steps()
		if err != nil {
			return a, err
		}
		if !slices.Equal(of, steps) {
			return a, errNotSupported
		}
		if err := p.expect(","); err != nil {
			return a, err
		}
		v, err := p.literal()
		if err != nil {
			return a, err
		}
		a.value = &node{op: "value", value: v}
		if !isSet(v.kind) {
			return a, errNotSupported
		}
		return a, p.expect(")")
	}
	a.value, err = p.data()
	return a, err
}

// data parses operand [ ( + | - ) operand ].
func (p *statementParser) data() (*node, error) {
	left, err := p.datum()
	if err != nil {
		return nil, err
	}
	for _, op := range []string{"+", "-"} {
		if p.accept(op) {
			right, err := p.datum()
			return &node{op: op, args: []*node{left, right}}, err
		}
	}
	return left, nil
}

func (p *statementParser) datum() (*node, error) {
	if !p.isWord("list_append") {
		return p.plain()
	}
	p.at++
	if err := p.expect("("); err != nil {
		return nil, err
	}
	n := &node{op: "call", name: "list_append"}
	for i := range 2 {
		if i > 0 {
			if err := p.expect(","); err != nil {
				return nil, err
			}
		}
		arg, err := p.datum()
		if err != nil {
			return nil, err
		}
		n.args = append(n.args, arg)
	}
	return n, p.expect(")")
}

// plain parses a path or a value.
func (p *statementParser) plain() (*node, error) {
	if p.startsPath() {
		steps, err := p.steps()
		return &node{op: "path", steps: steps}, err
	}
	v, err := p.literal()
	return &node{op: "value", value: v}, err
}

// statementWords are no names unless they are quoted, as far as the generator of requests uses them.
var statementWords = strings.Fields("SELECT FROM WHERE ORDER BY ASC DESC INSERT INTO VALUE VALUES UPDATE SET REMOVE DELETE RETURNING AND OR NOT IN BETWEEN IS NULL MISSING TRUE FALSE EXISTS")

func (p *statementParser) startsPath() bool {
	t := p.next()
	return t.kind == "quoted" || t.kind == "word" && !slices.Contains(statementWords, strings.ToUpper(t.text))
}

func (p *statementParser) identifier() (string, error) {
	t := p.next()
	if !p.startsPath() || t.text == "" {
		return "", errMalformed
	}
	p.at++
	return t.text, nil
}

// steps parses a path: a.b[0]."c".
func (p *statementParser) steps() ([]step, error) {
	name, err := p.identifier()
	if err != nil {
		return nil, err
	}
	out := []step{{name: name}}
	for {
		switch {
		case p.accept("."):
			if name, err = p.identifier(); err != nil {
				return nil, err
			}
			out = append(out, step{name: name})
		case p.accept("["):
			t := p.next()
			index, err := strconv.Atoi(t.text)
			if t.kind != "number" || err != nil {
				return nil, errMalformed
			}
			p.at++
			out = append(out, step{index: index})
			if err := p.expect("]"); err != nil {
				return nil, err
			}
		default:
			return out, nil
		}
	}
}
