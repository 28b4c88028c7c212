package expr

import "github.com/concordat-db/concordat/globaltable/item"

// Builder makes conditions, projections and updates of parts, for what is not written in DynamoDB's expression language. What it
// makes has the checks of what is parsed. The zero value is ready; a Builder makes one thing.
type Builder struct {
	bound   bound
	actions []action
	targets []target
}

// Node is an operand or a condition of a Builder.
type Node struct{ n *node }

// Value returns the operand v, of which it keeps a view.
func (b *Builder) Value(v item.Value) Node { return Node{&node{op: opValue, symbol: b.symbol(v)}} }

// Path returns the operand at a document path, whose first step is a name. It keeps views of the names.
func (b *Builder) Path(path ...Step) Node {
	n := &node{op: opPath, path: make([]step, len(path))}
	for i, s := range path {
		if s.isIndex() {
			n.path[i] = step{-1, s.Index}
		} else {
			n.path[i] = step{symbol: b.symbol(s.Name)}
		}
	}
	return Node{n}
}

// Node returns an operator or a function with its operands, in the order of an expression.
func (b *Builder) Node(o Op, args ...Node) Node {
	n := &node{op: o, args: make([]*node, len(args))}
	for i, a := range args {
		n.args[i] = a.n
	}
	return Node{n}
}

func (b *Builder) symbol(content []byte) int {
	b.bound = append(b.bound, content)
	return len(b.bound) - 1
}

// Condition returns the condition n. parameter is what errors about it name.
func (b *Builder) Condition(parameter string, n Node) (*Condition, error) {
	return newCondition(parameter, n.n, b.bound)
}

// Set adds SET path = value to the update. As the other actions do, it keeps path.
func (b *Builder) Set(path []Step, value Node) { b.act(clauseSet, path, value) }

// Remove adds REMOVE path to the update.
func (b *Builder) Remove(path []Step) { b.act(clauseRemove, path, Node{}) }

// Add adds ADD path value to the update; value comes from Value.
func (b *Builder) Add(path []Step, value Node) { b.act(clauseAdd, path, value) }

// Delete adds DELETE path value to the update; value comes from Value.
func (b *Builder) Delete(path []Step, value Node) { b.act(clauseDelete, path, value) }

func (b *Builder) act(c clause, path []Step, value Node) {
	b.targets = append(b.targets, target{path, len(b.actions)})
	b.actions = append(b.actions, action{clause: c, value: value.n})
}

// Update returns the update with all actions added, at least one.
func (b *Builder) Update() (*Update, error) { return newUpdate(b.actions, b.bound, b.targets) }
