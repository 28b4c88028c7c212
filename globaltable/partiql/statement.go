package partiql

import (
	"unicode/utf8"

	"github.com/concordat-db/concordat/globaltable/expr"
	"github.com/concordat-db/concordat/globaltable/item"
)

// Statement is a parsed statement with its parameters. Exactly one of Select to Exists is there.
type Statement struct {
	Table string
	Index string // of a Select or Exists; "": none

	Select *Select
	Insert *Insert
	Update *Update
	Delete *Delete
	Exists *Exists
}

// ReadOnly reports whether the statement changes nothing.
func (s *Statement) ReadOnly() bool { return s.Select != nil || s.Exists != nil }

// Select is a SELECT.
type Select struct {
	Projection *expr.Projection // nil: *
	Where      *Where           // nil: everything
	OrderBy    []Order
}

// Order is a key attribute that the answer is ordered by.
type Order struct {
	Name       string
	Descending bool
}

// Insert is an INSERT.
type Insert struct {
	Item item.Item // not checked for its size
}

// Update is an UPDATE.
type Update struct {
	Update    *expr.Update
	Where     *Where
	Returning Returning
}

// Delete is a DELETE.
type Delete struct {
	Where     *Where
	Returning Returning // ReturningNone or ReturningAllOld
}

// Exists is the check that an item fulfils a condition.
type Exists struct {
	Where *Where
}

// Returning says what a write answers.
type Returning uint8

// What can be answered.
const (
	ReturningNone Returning = iota
	ReturningAllOld
	ReturningModifiedOld
	ReturningAllNew
	ReturningModifiedNew
)

// Limits.
const (
	maxStatement = 8192 // bytes
	maxDepth     = 256  // of recursion
)

// Parse parses a statement; parameters stand for its question marks, one for each. It keeps views of both.
func Parse(statement string, parameters []item.Value) (*Statement, error) {
	if len(statement) > maxStatement {
		return nil, errSize
	}
	if !utf8.ValidString(statement) {
		return nil, errUnexpected
	}
	p := &parser{lexer: newLexer(statement), parameters: parameters}
	s, err := p.statement()
	if err != nil {
		return nil, err
	}
	p.accept(";")
	if p.cur.kind != tokenEnd {
		return nil, p.unexpected()
	}
	if p.used != len(parameters) {
		return nil, errParameters
	}
	return s, nil
}

// parser parses one statement by recursive descent. It stops at the first fault.
type parser struct {
	lexer
	parameters []item.Value
	used       int // how many question marks there were
	depth      int
}

// unexpected is the fault of the current token where it stands.
func (p *parser) unexpected() error {
	if p.cur.kind == tokenWord && keywords[upper(p.cur.text)] {
		return errKeyword
	}
	return errUnexpected
}

func (p *parser) enter() error {
	if p.depth++; p.depth > maxDepth {
		return errDepth
	}
	return nil
}

func (p *parser) leave() { p.depth-- }

func (p *parser) accept(symbol string) bool {
	if !p.cur.symbol(symbol) {
		return false
	}
	p.advance()
	return true
}

func (p *parser) acceptWord(keyword string) bool {
	if !p.cur.is(keyword) {
		return false
	}
	p.advance()
	return true
}

func (p *parser) expect(symbol string) error {
	if !p.accept(symbol) {
		return p.unexpected()
	}
	return nil
}

func (p *parser) expectWord(keyword string) error {
	if !p.acceptWord(keyword) {
		return p.unexpected()
	}
	return nil
}

// keywords are the words that are no names unless they are quoted.
var keywords = map[string]bool{
	"SELECT": true, "FROM": true, "WHERE": true, "ORDER": true, "BY": true, "ASC": true, "DESC": true, "INSERT": true, "INTO": true, "VALUE": true,
	"VALUES": true, "UPDATE": true, "SET": true, "REMOVE": true, "DELETE": true, "RETURNING": true, "AND": true, "OR": true, "NOT": true,
	"IN": true, "BETWEEN": true, "IS": true, "NULL": true, "MISSING": true, "TRUE": true, "FALSE": true, "EXISTS": true, "LIKE": true, "GROUP": true,
	"HAVING": true, "LIMIT": true, "OFFSET": true, "JOIN": true, "UNION": true, "DISTINCT": true, "AS": true,
}

// upper is strings.ToUpper for ASCII words.
func upper(word string) string {
	b := []byte(word)
	for i, c := range b {
		if 'a' <= c && c <= 'z' {
			b[i] = c - 'a' + 'A'
		}
	}
	return string(b)
}

// name takes a name, quoted or not.
func (p *parser) name() (string, error) {
	switch {
	case p.cur.kind == tokenQuoted && p.cur.text != "":
	case p.cur.kind == tokenWord && !keywords[upper(p.cur.text)]:
	case p.cur.kind == tokenWord:
		return "", errKeyword
	default:
		return "", errName
	}
	name := p.cur.text
	p.advance()
	return name, nil
}

func (p *parser) statement() (*Statement, error) {
	switch {
	case p.acceptWord("SELECT"):
		return p.selection()
	case p.cur.is("EXISTS") && p.next.symbol("("):
		return p.exists()
	case p.acceptWord("INSERT"):
		return p.insertion()
	case p.acceptWord("UPDATE"):
		return p.update()
	case p.acceptWord("DELETE"):
		return p.deletion()
	}
	return nil, malformed("Expected data manipulation")
}

// selection parses what follows SELECT.
func (p *parser) selection() (*Statement, error) {
	out := &Select{}
	paths, err := p.projection()
	if err != nil {
		return nil, err
	}
	if paths != nil {
		if out.Projection, err = expr.NewColumns(paths...); err != nil {
			return nil, err
		}
	}
	s := &Statement{Select: out}
	if err := p.expectWord("FROM"); err != nil {
		return nil, err
	}
	if s.Table, err = p.name(); err != nil {
		return nil, err
	}
	if p.accept(".") {
		if s.Index, err = p.name(); err != nil {
			return nil, err
		}
	}
	if p.cur.is("WHERE") {
		if out.Where, err = p.where(expr.FilterParameter); err != nil {
			return nil, err
		}
	}
	if out.OrderBy, err = p.orderBy(); err != nil {
		return nil, err
	}
	if out.OrderBy != nil && out.Where == nil {
		return nil, errOrderWhere
	}
	for _, clause := range []string{"GROUP", "HAVING", "LIMIT", "OFFSET", "UNION", "JOIN"} {
		if p.cur.is(clause) {
			return nil, unsupported(clause)
		}
	}
	return s, nil
}

// projection parses what is selected: paths, or nil for *.
func (p *parser) projection() (paths [][]expr.Step, err error) {
	if p.accept("*") {
		return nil, nil
	}
	for _, word := range []string{"DISTINCT", "VALUE"} {
		if p.cur.is(word) {
			return nil, unsupported("SELECT " + word)
		}
	}
	for {
		if p.cur.kind == tokenWord && p.next.symbol("(") {
			return nil, unsupported("Functions are not supported in SELECT")
		}
		path, err := p.path()
		if err != nil {
			return nil, err
		}
		paths = append(paths, path)
		if !p.accept(",") {
			return paths, nil
		}
	}
}

func (p *parser) orderBy() (orders []Order, err error) {
	if !p.acceptWord("ORDER") {
		return nil, nil
	}
	if err := p.expectWord("BY"); err != nil {
		return nil, err
	}
	for {
		var o Order
		if o.Name, err = p.name(); err != nil {
			return nil, err
		}
		if o.Descending = p.acceptWord("DESC"); !o.Descending {
			p.acceptWord("ASC")
		}
		orders = append(orders, o)
		if !p.accept(",") {
			return orders, nil
		}
	}
}

// exists parses EXISTS ( SELECT … ).
func (p *parser) exists() (*Statement, error) {
	p.advance()
	p.advance()
	if err := p.expectWord("SELECT"); err != nil {
		return nil, err
	}
	s, err := p.selection()
	if err != nil {
		return nil, err
	}
	if err := p.expect(")"); err != nil {
		return nil, err
	}
	if s.Select.Where == nil {
		return nil, errKey
	}
	s.Exists, s.Select = &Exists{s.Select.Where}, nil
	return s, nil
}

// insertion parses what follows INSERT.
func (p *parser) insertion() (*Statement, error) {
	if err := p.expectWord("INTO"); err != nil {
		return nil, err
	}
	s := &Statement{}
	var err error
	if s.Table, err = p.name(); err != nil {
		return nil, err
	}
	if p.cur.is("VALUES") || p.cur.symbol("<<") || p.cur.symbol("[") {
		return nil, unsupported(`Inserting multiple items in a single statement is not supported, use "INSERT INTO tableName VALUE item" instead`)
	}
	if err := p.expectWord("VALUE"); err != nil {
		return nil, err
	}
	v, err := p.value(0)
	if err != nil {
		return nil, err
	}
	if v.Type() != item.M {
		return nil, unsupported("Only a tuple can be inserted")
	}
	s.Insert = &Insert{item.AppendItem(nil, v)}
	return s, nil
}

// deletion parses what follows DELETE.
func (p *parser) deletion() (*Statement, error) {
	if err := p.expectWord("FROM"); err != nil {
		return nil, err
	}
	s := &Statement{Delete: &Delete{}}
	var err error
	if s.Table, err = p.name(); err != nil {
		return nil, err
	}
	if s.Delete.Where, err = p.where(expr.ConditionParameter); err != nil {
		return nil, err
	}
	s.Delete.Returning, err = p.returning()
	if err == nil && s.Delete.Returning > ReturningAllOld {
		err = unsupported("DELETE can return ALL OLD * only")
	}
	return s, err
}

// returning parses RETURNING ( ALL | MODIFIED ) ( OLD | NEW ) *.
func (p *parser) returning() (Returning, error) {
	if !p.acceptWord("RETURNING") {
		return ReturningNone, nil
	}
	r := ReturningAllOld
	if p.acceptWord("MODIFIED") {
		r = ReturningModifiedOld
	} else if err := p.expectWord("ALL"); err != nil {
		return 0, err
	}
	if p.acceptWord("NEW") {
		r += ReturningAllNew - ReturningAllOld
	} else if err := p.expectWord("OLD"); err != nil {
		return 0, err
	}
	return r, p.expect("*")
}
