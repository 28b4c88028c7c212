package expr

import (
	"slices"
	"strconv"

	"github.com/concordat-db/concordat/globaltable/item"
)

// DynamoDB's limits of expressions.
const (
	maxTextSize  = 4096 // bytes
	maxOperators = 300  // operators and functions
	maxOperands  = 100  // of IN
	maxPathLen   = item.MaxNesting
	// maxDepth bounds the recursion. Nothing that keeps the other limits comes near it, but parentheses do that are redundant.
	maxDepth = 1000
)

// order is the order in which DynamoDB reports the faults of an expression whose syntax is right.
type order int

const (
	faultParentheses order = iota
	faultSection
	faultFunction // that there is none of the name
	faultPlace    // that a function may not stand where it does
	faultReserved
	faultLimit
	faults
)

// parser parses one expression by recursive descent. It stops at the first fault of the syntax; of the other faults it notes the
// first of each kind.
type parser struct {
	lexer
	parameter string   // as errors name it: ConditionExpression, …
	keywords  []string // which words are no attributes
	update    bool     // the functions are those of an update
	out       parsed
	indexes   map[string]int // of symbols
	faults    [faults]error
	operators int
	depth     int
	parens    *node // the node that was parsed last, if it stood in parentheses
}

// parse parses text with the rule given.
func parse(parameter, text string, rule func(p *parser) error) (*parsed, error) {
	p := parser{parameter: parameter, indexes: map[string]int{}}
	if len(text) > maxTextSize {
		return nil, p.invalid("Expression size has exceeded the maximum allowed size", "; expression size: "+strconv.Itoa(len(text)))
	}
	p.lexer = newLexer(text)
	if p.cur.kind == tokenEnd {
		return nil, p.invalid("The expression can not be empty;", "")
	}
	if err := rule(&p); err != nil {
		return nil, err
	}
	if p.cur.kind != tokenEnd {
		return nil, p.syntax()
	}
	if p.operators > maxOperators && p.faults[faultLimit] == nil {
		p.faults[faultLimit] = p.tooManyOperators()
	}
	for _, err := range p.faults {
		if err != nil {
			return nil, err
		}
	}
	return &p.out, nil
}

func (p *parser) invalid(what, detail string) error { return invalid(p.parameter, what, detail) }

const redundantParentheses = "The expression has redundant parentheses;"

func (p *parser) tooManyOperators() error {
	return p.invalid("The expression contains too many operators", "; operator count: "+strconv.Itoa(p.operators))
}

// syntax is the fault of the current token.
func (p *parser) syntax() error {
	name, around := p.near()
	return p.invalid("Syntax error", `; token: "`+name+`", near: "`+around+`"`)
}

// note keeps a fault, unless one of its kind was before.
func (p *parser) note(o order, what, detail string) {
	if p.faults[o] == nil {
		p.faults[o] = p.invalid(what, detail)
	}
}

// enter and leave guard every recursion.
func (p *parser) enter() error {
	if p.depth++; p.depth <= maxDepth {
		return nil
	}
	if p.operators > maxOperators {
		return p.tooManyOperators()
	}
	return p.invalid(redundantParentheses, "")
}

func (p *parser) leave() { p.depth-- }

// accept takes the current token if it is the symbol.
func (p *parser) accept(symbol string) bool {
	if !p.cur.symbol(symbol) {
		return false
	}
	p.advance()
	return true
}

// expect takes the symbol, or reports the syntax error of what stands there.
func (p *parser) expect(symbol string) error {
	if !p.accept(symbol) {
		return p.syntax()
	}
	return nil
}

// acceptWord takes the current token if it is the keyword.
func (p *parser) acceptWord(keyword string) bool {
	if !p.cur.is(keyword) {
		return false
	}
	p.advance()
	return true
}

// symbol takes the current token and returns its index.
func (p *parser) symbol() int {
	t := p.cur
	p.advance()
	if i, ok := p.indexes[t.text]; ok {
		return i
	}
	i := len(p.out.symbols)
	s := symbol{kind: t.kind, text: t.text}
	if t.kind == tokenWord {
		s.name = []byte(t.text)
	}
	p.out.symbols = append(p.out.symbols, s)
	p.indexes[t.text] = i
	return i
}

// path parses a document path: name { . name | [ index ] }. The current token is its first, and is a name.
func (p *parser) path() ([]step, error) {
	var path []step
	for {
		switch p.cur.kind {
		case tokenWord:
			if slices.ContainsFunc(p.keywords, p.cur.is) {
				return nil, p.syntax()
			}
			if isReserved(p.cur.text) {
				p.note(faultReserved, "Attribute name is a reserved keyword", "; reserved keyword: "+p.cur.text)
			}
		case tokenName:
		default:
			return nil, p.syntax()
		}
		path = append(path, step{symbol: p.symbol()})
		for p.accept("[") {
			if p.cur.kind != tokenInteger {
				return nil, p.syntax()
			}
			index, err := strconv.ParseInt(p.cur.text, 10, 32)
			if err != nil {
				p.note(faultLimit, "List index is not within the allowable range", "; index: ["+p.cur.text+"]")
			}
			path = append(path, step{-1, int(index)})
			p.advance()
			if err := p.expect("]"); err != nil {
				return nil, err
			}
		}
		if !p.accept(".") {
			break
		}
	}
	if len(path) > maxPathLen {
		p.note(faultLimit, "The document path has too many nesting elements", "; nesting levels: "+strconv.Itoa(len(path)))
	}
	return path, nil
}

// operand parses a path, a value or a function, in parentheses or not.
func (p *parser) operand() (*node, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer p.leave()
	switch {
	case p.cur.symbol("("):
		p.advance()
		n, err := p.operand()
		if err != nil {
			return nil, err
		}
		return p.closing(n)
	case p.cur.kind == tokenValue:
		return &node{op: opValue, symbol: p.symbol()}, nil
	case p.calls():
		n, err := p.function()
		if err == nil && n.op.condition() {
			p.misplaced(n.op)
		}
		return n, err
	}
	path, err := p.path()
	if err != nil {
		return nil, err
	}
	return &node{op: opPath, path: path}, nil
}

// closing takes the ")" after n. Parentheses around nothing but what is in parentheses are a fault.
func (p *parser) closing(n *node) (*node, error) {
	if err := p.expect(")"); err != nil {
		return nil, err
	}
	if p.parens == n {
		p.note(faultParentheses, redundantParentheses, "")
	}
	p.parens = n
	return n, nil
}

// functions are all functions by their names, which have a case.
var functions = map[string]struct {
	op     Op
	update bool // it is for updates, else for conditions
}{
	"size": {op: OpSize}, "attribute_exists": {op: OpAttributeExists}, "attribute_not_exists": {op: OpAttributeNotExists},
	"attribute_type": {op: OpAttributeType}, "begins_with": {op: OpBeginsWith}, "contains": {op: OpContains},
	"if_not_exists": {op: OpIfNotExists, update: true}, "list_append": {op: OpListAppend, update: true},
}

// calls reports whether the current token is the name of a function.
func (p *parser) calls() bool {
	return p.cur.kind == tokenWord && p.next.symbol("(") && !slices.ContainsFunc(p.keywords, p.cur.is)
}

// function parses a call: name ( operand { , operand } ). How many operands there are is checked once their names are known.
func (p *parser) function() (*node, error) {
	name := p.cur.text
	f, known := functions[name]
	switch {
	case !known:
		p.note(faultFunction, "Invalid function name", "; function: "+name)
	case f.update && !p.update:
		p.note(faultPlace, "The function is not allowed in a condition expression", "; function: "+name)
	case !f.update && p.update:
		p.note(faultPlace, "The function is not allowed in an update expression", "; function: "+name)
	}
	p.operators++
	p.advance()
	p.advance() // the parenthesis
	n := &node{op: f.op}
	for {
		a, err := p.operand()
		if err != nil {
			return nil, err
		}
		n.args = append(n.args, a)
		if !p.accept(",") {
			break
		}
	}
	return n, p.expect(")")
}

// misplaced notes that a function stands where its result cannot be used.
func (p *parser) misplaced(o Op) {
	if o == opNone {
		return // there is no such function, which is noted
	}
	p.note(faultPlace, "The function is not allowed to be used this way in an expression", "; function: "+o.String())
}
