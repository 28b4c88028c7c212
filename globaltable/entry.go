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
	var partition, sort [MaxIndexKeyParts]item.Value
	if !valuesOf(partition[:], x.Partition, it) || !valuesOf(sort[:], x.Sort, it) {
		return dst, 0, false
	}
	out, err := item.AppendIndexKey(dst, partition[:len(x.Partition)], sort[:len(x.Sort)], key)
	if err != nil {
		return dst, 0, false
	}
	return out, len(out) - len(dst) - len(key), true
}

// valuesOf fills in the values of the attributes given. ok is false when one is missing, or of another type.
func valuesOf(dst []item.Value, list []KeyAttribute, it item.Item) (ok bool) {
	for i := range list {
		v, has := it.GetString(list[i].Name)
		if !has || v.Type() != list[i].Type {
			return false
		}
		dst[i] = v
	}
	return true
}

// Projects reports whether index x of t shows the attribute.
func (t *Table) Projects(x *Index, name []byte) bool {
	if x.Projection == ProjectAll || t.KeySchema.Has(name) {
		return true
	}
	for _, list := range [...][]KeyAttribute{x.Partition, x.Sort} {
		for i := range list {
			if list[i].Name == string(name) {
				return true
			}
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
