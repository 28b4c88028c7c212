package expr

import "github.com/concordat-db/concordat/globaltable/item"

// op is what a node of a parsed expression is.
type op uint8

const (
	opNone op = iota // a function that does not exist, while the fault is noted

	// operands: they have a value, or none
	opPath        // a document path
	opValue       // a :value
	opSize        // size(x)
	opIfNotExists // if_not_exists(path, x)
	opListAppend  // list_append(x, y)
	opPlus        // x + y
	opMinus       // x - y

	// conditions: they hold or not
	opAnd
	opOr
	opNot
	opEQ
	opNE
	opLT
	opLE
	opGT
	opGE
	opBetween // x BETWEEN y AND z
	opIn      // x IN (y, …)
	opAttributeExists
	opAttributeNotExists
	opAttributeType
	opBeginsWith
	opContains
)

// names are the operators as expressions write them.
var names = [...]string{
	opSize: "size", opIfNotExists: "if_not_exists", opListAppend: "list_append", opPlus: "+", opMinus: "-",
	opAnd: "AND", opOr: "OR", opNot: "NOT", opEQ: "=", opNE: "<>", opLT: "<", opLE: "<=", opGT: ">", opGE: ">=", opBetween: "BETWEEN", opIn: "IN",
	opAttributeExists: "attribute_exists", opAttributeNotExists: "attribute_not_exists", opAttributeType: "attribute_type",
	opBeginsWith: "begins_with", opContains: "contains",
}

func (o op) String() string { return names[o] }

// condition reports whether o holds or not, rather than having a value.
func (o op) condition() bool { return o >= opAnd }

// node is an operand or a condition. It is never changed once parsed.
type node struct {
	op     op
	args   []*node
	path   []step // of an opPath
	symbol int    // of an opValue: its index in the symbols of the expression
}

// step is one step of a document path: to an attribute or entry by its name, or to an element of a list.
type step struct {
	symbol int // of the name: its index in the symbols of the expression; -1: to an element
	index  int // of the element
}

// symbol is a name or a value as the text of an expression has it: an attribute's name itself, #name or :value.
type symbol struct {
	kind kind // tokenWord, tokenName or tokenValue
	text string
	name []byte // of a tokenWord: text as bytes, made once
}

// clause is the keyword that an action of an update belongs to.
type clause uint8

const (
	clauseSet clause = iota
	clauseRemove
	clauseAdd
	clauseDelete
)

var clauses = [...]string{clauseSet: "SET", clauseRemove: "REMOVE", clauseAdd: "ADD", clauseDelete: "DELETE"}

func (c clause) String() string { return clauses[c] }

// action is one action of an update.
type action struct {
	clause clause
	path   []step
	value  *node // nil for a REMOVE
}

// parsed is an expression as its text says it. It is never changed, and shared by all requests that use the text.
type parsed struct {
	symbols []symbol // each once, in the order of the text
	root    *node    // of a condition
	paths   [][]step // of a projection
	actions []action // of an update
}

// bound has what the symbols of an expression stand for in one request, by their indexes: names of attributes and encoded values.
type bound [][]byte

func (b bound) value(n *node) item.Value { return item.Value(b[n.symbol]) }
