package expr

import (
	"bytes"
	"slices"
	"strconv"

	"github.com/concordat-db/concordat/globaltable/item"
)

// Projection is a set of document paths that an answer has. It lives as long as what it was bound with.
type Projection struct {
	rewrite rewrite
	columns []column // nil: what is at the paths stays where it is; else each has its own name, ascending
}

// column is an attribute of an answer that is not where it is in the item: the value at path under a name.
type column struct {
	name []byte
	path []Step
}

const projectionParameter = "ProjectionExpression"

// Append appends the item that it becomes: the attributes, entries and elements at the paths, each within the maps and lists that hold
// it. Elements of a list move up in their order. What is not there is left out, as is a map or list of which nothing is left.
//
// Of NewColumns, the item has the value of each path under the column's name.
func (p *Projection) Append(dst []byte, it item.Item) []byte {
	if p.columns != nil {
		return p.appendColumns(dst, it)
	}
	dst, _ = p.rewrite.item(dst, it) // copying does not fail
	return dst
}

func (p *Projection) appendColumns(dst []byte, it item.Item) []byte {
	dst, open := item.OpenItem(dst)
	count := 0
	for _, c := range p.columns {
		if v, ok := follow(it, c.path); ok {
			dst = append(item.AppendName(dst, c.name), v...)
			count++
		}
	}
	return open.Close(dst, count)
}

// Names calls f for the name of each top-level attribute that the projection is about, perhaps more than once, until f returns false.
func (p *Projection) Names(f func(name []byte) bool) {
	for _, c := range p.columns {
		if !f(c.path[0].Name) {
			return
		}
	}
	topNames(p.rewrite.targets, f)
}

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
	return &Projection{rewrite: rewrite{targets: targets, at: copier{}}}, nil
}

// NewColumns returns a projection of the paths given, as a SELECT of PartiQL has it: a value is shown under the last name of its path with the indexes after
// it, so that a.b[0] becomes an attribute "b[0]". It keeps views of the names. Two columns of one name are an error.
func NewColumns(paths ...[]Step) (*Projection, error) {
	columns := make([]column, len(paths))
	for i, path := range paths {
		columns[i] = column{columnName(path), path}
	}
	slices.SortFunc(columns, func(a, b column) int { return bytes.Compare(a.name, b.name) })
	for i := range columns[1:] {
		if bytes.Equal(columns[i].name, columns[i+1].name) {
			return nil, item.NewError(item.Validation, "Two columns have the same name: "+string(columns[i].name), "")
		}
	}
	return &Projection{columns: columns}, nil
}

func columnName(path []Step) []byte {
	last := len(path) - 1
	for path[last].isIndex() {
		last--
	}
	name := path[last].Name
	for _, s := range path[last+1:] {
		name = append(strconv.AppendInt(append(slices.Clip(name), '['), int64(s.Index), 10), ']')
	}
	return name
}
