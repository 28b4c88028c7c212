package globaltable

import (
	"slices"

	"github.com/concordat-db/concordat/globaltable/item"
)

// AppendEntry appends the key of the entry that an item has in the index: item.AppendIndexKey's. key is the item's in the table, and at is where it begins in what was appended. ok is false when the
// item has no entry: it is nil, or one of the index's attributes is missing in it, is of another type, is empty or is too large. dst is returned as it was then.
func (x *Index) AppendEntry(dst []byte, it item.Item, key item.Key) (out []byte, at int, ok bool) {
	if it == nil {
		return dst, 0, false
	}
	var space [2 * MaxIndexKeyParts]item.Value
	values := space[:0]
	for a := range x.Keys {
		v, has := it.GetString(a.Name)
		if !has || v.Type() != a.Type {
			return dst, 0, false
		}
		values = append(values, v)
	}
	n := len(x.Partition)
	out, err := item.AppendIndexKey(dst, values[:n], values[n:], key)
	if err != nil {
		return dst, 0, false
	}
	return out, len(out) - len(dst) - len(key), true
}

// Projects reports whether index x of t shows the attribute.
func (t *Table) Projects(x *Index, name []byte) bool {
	if x.Projection == ProjectAll || string(name) == t.KeySchema.Partition.Name || t.KeySchema.Sort != nil && string(name) == t.KeySchema.Sort.Name {
		return true
	}
	for a := range x.Keys {
		if a.Name == string(name) {
			return true
		}
	}
	return slices.ContainsFunc(x.NonKey, func(s string) bool { return s == string(name) })
}

// ProjectedSize returns the size of what index x of t shows of the item, as DynamoDB counts it.
func (t *Table) ProjectedSize(x *Index, it item.Item) int {
	if x.Projection == ProjectAll {
		return it.Size()
	}
	n := 0
	for name, v := range it.Each {
		if t.Projects(x, name) {
			n += len(name) + v.Size()
		}
	}
	return n
}
