package expr

import (
	"strconv"

	"github.com/concordat-db/concordat/globaltable/item"
)

// fault returns an error of class Validation whose message is bare and quoted; only bare is for logs.
func fault(bare, quoted string) error {
	return item.NewError(item.Validation, bare+quoted, bare)
}

// invalid is the fault of an expression: "Invalid ConditionExpression: …". kind is the parameter; detail quotes what the request has.
func invalid(parameter, what, detail string) error {
	return fault("Invalid "+parameter+": "+what, detail)
}

// Faults that evaluation finds. They are never changed.
var (
	errNoSuchAttribute = item.NewError(item.Validation, "The provided expression refers to an attribute that does not exist in the item", "")
	errOperandType     = item.NewError(item.Validation, "An operand in the update expression has an incorrect data type", "")
	errInvalidPath     = item.NewError(item.Validation, "The document path provided in the update expression is invalid for update", "")
	errTypeMismatch    = item.NewError(item.Validation, "Type mismatch for attribute to update", "")
	errUpdateSize      = item.NewError(item.SizeExceeded, "Item size to update has exceeded the maximum allowed size", "")
)

// The faults of operands. operator is an operator or a function as an expression writes it.

func operandType(parameter, operator, typ string) error {
	return invalid(parameter, "Incorrect operand type for operator or function", "; operator or function: "+operator+", operand type: "+typ)
}

func operandCount(parameter, operator string, n int) error {
	return invalid(parameter, "Incorrect number of operands for operator or function",
		"; operator or function: "+operator+", number of operands: "+strconv.Itoa(n))
}

func needsPath(parameter, operator string) error {
	return invalid(parameter, "Operator or function requires a document path", "; operator or function: "+operator)
}
