// Package expr has DynamoDB's expressions: conditions and filters, key conditions, projections and updates, and the legacy parameters
// that say the same with structures.
//
// # From text to effect
//
// Problem: applications send the same few texts again and again, with other names and values each time, and each text is evaluated
// on many items. So three steps, each done as seldom as it can be:
//
//   - Parsing needs the text alone. Its result has the placeholders (#name, :value) numbered, is never changed, and is kept by its text
//     in a bounded cache (Parser).
//   - Binding puts a request's names and values (Bindings) beside the parsed expression, and makes the checks that need them: undefined
//     placeholders, types of operands, paths that overlap. It looks up each placeholder once and copies nothing.
//   - Evaluation walks the parsed expression over encoded bytes (item.Item, item.Value). It builds no tree and no map: a condition
//     allocates nothing, an update writes the new item into the caller's memory in one pass over the old one.
//
// What is bound (Condition, KeyCondition, Projection, Update) keeps views of the Bindings and so lives until their Reset. It is for one
// goroutine.
//
// # One mechanism for paths
//
// A projection and an update both are a set of document paths of which none lies within another. Sorted, such paths are a tree as
// they stand: the paths that begin alike are neighbours. One walk (rewrite.go) goes through the item and the sorted paths side by side,
// as one merges sorted lists, and hands each place that a path names to what is to be done there.
//
// # Structures instead of text
//
// The legacy parameters, and statements of PartiQL, become the same conditions and updates through a Builder. So there is one evaluation
// of each operator, and one place for each check.
//
// # Errors
//
// Errors are *item.Error of class Validation, in DynamoDB's words and its order: the size of the text, its syntax, parentheses,
// functions, reserved words; then undefined placeholders, then operands, then paths that overlap. The faults of a structure (legacy
// parameters, names, values) that is no JSON of the right shape have class Serialization, an item that becomes too large SizeExceeded.
package expr
