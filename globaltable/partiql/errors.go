package partiql

import "github.com/concordat-db/concordat/globaltable/item"

// malformed is the fault of a statement's syntax.
func malformed(what string) error {
	return item.NewError(item.Validation, "Statement wasn't well formed, can't be processed: "+what, "")
}

// unsupported is the fault of what PartiQL has and DynamoDB does not.
func unsupported(what string) error {
	return item.NewError(item.Validation, "Unsupported operation: "+what, "")
}

// Faults that quote nothing. They are never changed.
var (
	errUnexpected = malformed("Unexpected term")
	errKeyword    = malformed("Unexpected keyword")
	errName       = malformed("Expected identifier for simple path")
	errDepth      = malformed("Nesting is too deep")

	errParameters = item.NewError(item.Validation, "Number of parameters in request and statement don't match.", "")
	errKey        = item.NewError(item.Validation, "Where clause does not contain a mandatory equality on all key attributes", "")
	errSize       = item.NewError(item.Validation, "1 validation error detected: Value at 'statement' failed to satisfy constraint: "+
		"Member must have length less than or equal to 8192", "")
	errOrderWhere = item.NewError(item.Validation, "Must have WHERE clause in the statement when using ORDER BY clause.", "")
	errOperands   = item.NewError(item.Validation, "The IN operator is provided with too many operands", "")
)
