package sim

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/concordat-db/concordat/chaos/check"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/commit"
	"github.com/concordat-db/concordat/regionnode/store"
)

// newIndex makes an index on attributes that items have, or have not; some are too long to be in it.
func (w *world) newIndex(name string) *globaltable.Index {
	attributes := []string{"a", "b", "c", "id"}
	w.rng.Shuffle(len(attributes), func(i, j int) { attributes[i], attributes[j] = attributes[j], attributes[i] })
	of := func(names []string) (out []globaltable.KeyAttribute) {
		for _, name := range names {
			out = append(out, globaltable.KeyAttribute{Name: name, Type: item.S})
		}
		return out
	}
	n := 1 + w.rng.IntN(2)
	x := &globaltable.Index{Name: name, Partition: of(attributes[:n]), Sort: of(attributes[n : n+w.rng.IntN(2)]), Projection: globaltable.ProjectKeys}
	if w.rng.IntN(3) == 0 {
		x.Projection, x.NonKey = globaltable.ProjectInclude, []string{"d"}
	}
	return x
}

// changeIndex asks some region for another index of some table, or for one less.
func (w *world) changeIndex() {
	asked := w.anyRegion()
	t := &w.plan.tables[w.rng.IntN(len(w.plan.tables))]
	if !asked.up {
		return
	}
	doc, ok := asked.named(t)
	if !ok {
		return
	}
	name := fmt.Sprint("index-", w.rng.IntN(3))
	change := catalog.Change{CreateIndex: w.newIndex(name)}
	if doc.IndexNamed(name) != nil {
		change = catalog.Change{DeleteIndex: name}
	}
	plane := asked.plane
	w.changes++
	n := w.changes
	asked.spawn(fmt.Sprintf("change %d", n), func(ctx context.Context) {
		if _, err := plane.UpdateTable(ctx, t.name, change); err != nil {
			return
		}
		_ = asked.await(ctx, "note", func(func(error)) {
			if change.CreateIndex != nil {
				asked.cover("an index was made")
			} else {
				asked.cover("an index was deleted")
			}
			asked.note("%d has changed an index of table %s: %s", asked.origin, t.name, name)
		})
	}, nil)
}

// buildSome is one visit of what builds indexes.
func (w *world) buildSome() {
	if r := w.anyRegion(); r.up {
		r.buildIndexes()
	}
}

// buildAll is a visit in every region: all indexes are built when the world is judged.
func (w *world) buildAll() {
	for _, r := range w.regions {
		if r.up {
			r.buildIndexes()
		}
	}
}

func (r *region) buildIndexes() {
	r.fillMirrors()
	for _, u := range r.shard.Unbuilt() {
		r.manual.BuildIndex(u.Table, u.Index, 1+r.rng.IntN(3), func(b commit.Built, err error) {
			if !r.up || err != nil {
				return
			}
			r.note("%d builds index %d of table %s over %d records", r.origin, u.Index, u.Table, b.Records)
			if b.Records > 0 && !b.Done {
				r.cover("an index was built step by step")
			}
		})
		r.work()
	}
}

// unbuilt says which index is not built, or which table not copied; "" when all are.
func (r *region) unbuilt() string {
	for _, m := range r.shard.Mirrors() {
		return fmt.Sprintf("region %d copies table %s", r.origin, m.From)
	}
	for _, u := range r.shard.Unbuilt() {
		return fmt.Sprintf("region %d has not built index %d of table %s", r.origin, u.Index, u.Table)
	}
	return ""
}

// indexes reads the indexes out of documents and engine, in the checkers' terms: those that documents give, and whatever else there are entries of.
func (r *region) indexes() []check.Index {
	type id struct {
		table globaltable.TableID
		index globaltable.IndexID
	}
	found := map[id]*check.Index{}
	types := map[id][]check.Attribute{}
	add := func(t *globaltable.Table) {
		for i := range t.Indexes {
			x := &check.Index{Table: uint64(t.ID), ID: uint32(t.Indexes[i].ID), Missing: true}
			for _, a := range t.Indexes[i].Partition {
				x.Attributes = append(x.Attributes, check.Attribute{Name: a.Name, Type: byte(a.Type), Most: 2048})
			}
			for _, a := range t.Indexes[i].Sort {
				x.Attributes = append(x.Attributes, check.Attribute{Name: a.Name, Type: byte(a.Type), Most: 1024})
			}
			found[id{t.ID, t.Indexes[i].ID}] = x
			types[id{t.ID, t.Indexes[i].ID}] = x.Attributes
		}
	}
	r.catalog.View().Tables(func(t *globaltable.Table) bool {
		add(t)
		if conflicts, ok := r.catalog.View().Table(t.ID.Feed()); ok {
			add(conflicts)
		}
		return true
	})
	lower, upper := store.MetaRange(store.MetaIndex)
	eachKV(r.disk, lower, upper, func(key, value []byte) {
		table, index, ok := store.DecodeIndexKey(key)
		if !ok || len(value) < 18 || value[0] != 1 {
			panic("an index's state cannot be read")
		}
		x := found[id{table, index}]
		if x == nil {
			r.found("I14", "the store has index %d of table %s, and no document has it", index, table)
			return
		}
		x.Missing, x.Built, x.Count, x.UpTo = false, value[1] == 1, binary.BigEndian.Uint64(value[2:]), string(value[18:])
		if !x.Built {
			r.cover("an index was looked at while it was being built")
		}
	})
	lower, upper = store.SpaceRange(store.SpaceEntry)
	eachKV(r.disk, lower, upper, func(key, value []byte) {
		table, index := store.EntryKeyIndex(key)
		x := found[id{table, index}]
		if x == nil || x.Missing {
			r.found("I14", "the store has entries of index %d of table %s, which it does not know", index, table)
			return
		}
		x.Entries = append(x.Entries, readEntry(store.EntryKeySuffix(key), types[id{table, index}]))
	})
	var out []check.Index
	for id, x := range found {
		if x.Missing && id.table.IsFeed() { // it is there with its first entry
			x.Missing, x.Built = false, true
		}
		out = append(out, *x)
	}
	slices.SortFunc(out, func(a, b check.Index) int { return cmp.Or(cmp.Compare(a.Table, b.Table), cmp.Compare(a.ID, b.ID)) })
	return out
}

// readEntry takes an entry of strings and binaries apart: a hash of 8 bytes, the values, each with its type before it and two bytes behind it, the item's key.
func readEntry(entry []byte, attributes []check.Attribute) (e check.Entry) {
	rest := entry[8:]
	for _, a := range attributes {
		end := 1
		for {
			at := bytes.IndexByte(rest[end:], 0)
			if end += at + 2; at < 0 || rest[end-1] == 1 {
				break
			}
		}
		text := bytes.ReplaceAll(rest[1:end-2], []byte{0, 0xff}, []byte{0})
		if value := item.AppendString(nil, string(text)); item.Type(a.Type) == item.B {
			e.Values = append(e.Values, string(item.AppendBinary(nil, text)))
		} else {
			e.Values = append(e.Values, string(value))
		}
		rest = rest[end:]
	}
	e.Key = string(rest)
	return e
}
