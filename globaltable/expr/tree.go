package expr

import "github.com/concordat-db/concordat/globaltable/item"

// Op is an operator or a function.
type Op uint8

// The operators and functions.
const (
	opNone  Op = iota // a function that does not exist, while the fault is noted
	opPath            // a document path
	opValue           // a :value

	// They have a value, or none.
	OpSize        // size(x)
	OpIfNotExists // if_not_exists(path, x)
	OpListAppend  // list_append(x, y)
	OpPlus        // x + y
	OpMinus       // x - y

	// They hold or not.
	OpAnd // of any number
	OpOr  // of any number
	OpNot
	OpEQ
	OpNE
	OpLT
	OpLE
	OpGT
	OpGE
	OpBetween // x BETWEEN y AND z
	OpIn      // x IN (y, …)
	OpAttributeExists
	OpAttributeNotExists
	OpAttributeType
	OpBeginsWith
	OpContains
)

// names are the operators as expressions write them.
var names = [...]string{
	OpSize: "size", OpIfNotExists: "if_not_exists", OpListAppend: "list_append", OpPlus: "+", OpMinus: "-",
	OpAnd: "AND", OpOr: "OR", OpNot: "NOT", OpEQ: "=", OpNE: "<>", OpLT: "<", OpLE: "<=", OpGT: ">", OpGE: ">=", OpBetween: "BETWEEN", OpIn: "IN",
	OpAttributeExists: "attribute_exists", OpAttributeNotExists: "attribute_not_exists", OpAttributeType: "attribute_type",
	OpBeginsWith: "begins_with", OpContains: "contains",
}

// String returns the operator as expressions write it.
func (o Op) String() string { return names[o] }

// condition reports whether o holds or not, rather than having a value.
func (o Op) condition() bool { return o >= OpAnd }

// node is an operand or a condition. It is never changed once parsed.
type node struct {
	op     Op
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
