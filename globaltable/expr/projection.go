package expr

import (
	"github.com/concordat-db/concordat/globaltable/item"
)

// Projection is a set of document paths that an answer has. It lives as long as what it was bound with.
type Projection struct {
	rewrite rewrite
}

const projectionParameter = "ProjectionExpression"

// Append appends the item that it becomes: the attributes, entries and elements at the paths, each within the maps and lists that hold
// it. Elements of a list move up in their order. What is not there is left out, as is a map or list of which nothing is left.
func (p *Projection) Append(dst []byte, it item.Item) []byte {
	dst, _ = p.rewrite.item(dst, it) // copying does not fail
	return dst
}

// Names calls f for the name of each top-level attribute that the projection is about, perhaps more than once, until f returns false.
func (p *Projection) Names(f func(name []byte) bool) { topNames(p.rewrite.targets, f) }

func topNames(targets []target, f func(name []byte) bool) {
	for i := range targets {
		if !f(targets[i].path[0].Name) {
			return
		}
	}
}

// copier is the placer that leaves everything as it is.
type copier struct{}

func (copier) place(dst []byte, _ *target, old item.Value) ([]byte, bool, error) {
	return append(dst, old...), old != nil, nil
}

// newProjection makes a projection of targets, which it sorts.
func newProjection(parameter string, targets []target) (*Projection, error) {
	if err := sortTargets(parameter, targets); err != nil {
		return nil, err
	}
	return &Projection{rewrite{targets: targets, at: copier{}}}, nil
}
