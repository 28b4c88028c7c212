package dynamodb

import (
	"cmp"
	"slices"
	"strconv"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/globaltable/plan"
	"github.com/concordat-db/concordat/regionnode/commit"
)

// hasCollections reports whether the table has item collections: all items of one partition key, in a table with a local index.
func hasCollections(t *globaltable.Table) bool {
	return slices.ContainsFunc(t.Indexes, func(x globaltable.Index) bool { return x.Local })
}

// appendCollections appends the field ItemCollectionMetrics of the first n writes of a request, by table.
func (c *call) appendCollections(metrics text, n int) (err error) {
	if string(metrics) != "SIZE" {
		return nil
	}
	var of []*planned
	for i := range c.writes.list[:n] {
		if w := &c.writes.list[i]; w.Action != plan.Check && hasCollections(w.Table) {
			of = append(of, w)
		}
	}
	if len(of) == 0 {
		return nil
	}
	c.out = append(c.field(), `"ItemCollectionMetrics":{`...)
	slices.SortStableFunc(of, func(a, b *planned) int { return cmp.Compare(a.Table.ID, b.Table.ID) })
	for i, w := range of {
		switch {
		case i > 0 && of[i-1].Table == w.Table:
			c.out = append(c.out, ',')
		case i > 0:
			c.out = append(c.out, "],"...)
			fallthrough
		default:
			c.out = append(item.AppendJSONString(c.out, w.named), ":["...)
		}
		if c.out, err = c.appendCollection(c.out, w); err != nil {
			return err
		}
	}
	c.out = append(c.out, "]}"...)
	return nil
}

// appendCollection appends the metrics of the collection that a write is in: its key, and about how large it is, as the whole GB below and above. It is what the items take on disk.
func (c *call) appendCollection(dst []byte, w *planned) ([]byte, error) {
	partition := &w.Table.KeySchema.Partition
	v, _ := w.Item.GetString(partition.Name)
	prefix, err := item.AppendKey(nil, v, nil)
	if err != nil {
		return dst, err
	}
	bytes, err := c.server.config.Shard.Size(commit.Range{Table: w.Table.ID, Lower: prefix, Upper: prefix.PrefixEnd()})
	if err != nil {
		return dst, err
	}
	dst = item.AppendJSONString(append(dst, `{"ItemCollectionKey":{`...), partition.Name)
	dst = item.AppendJSON(append(dst, ':'), v)
	gb := bytes >> 30
	dst = append(dst, `},"SizeEstimateRangeGB":[`...)
	dst = append(strconv.AppendUint(dst, gb, 10), ".0,"...)
	dst = append(strconv.AppendUint(dst, gb+1, 10), ".0]}"...)
	return dst, nil
}
