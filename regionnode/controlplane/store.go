package controlplane

import (
	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/commit"
	"github.com/concordat-db/concordat/regionnode/store"
)

// ForShard returns c as a shard wants it: with adoptions as keys of the store. r is the shard's engine.
func ForShard(c *catalog.Catalog, r store.Reader) commit.Catalog { return shardCatalog{c, r} }

type shardCatalog struct {
	*catalog.Catalog
	reader store.Reader
}

// Prepare implements commit.Catalog. It runs between groups, with all groups before applied: the engine shows what there is.
func (c shardCatalog) Prepare(docs []item.Item, empty func(globaltable.TableID) bool) ([]store.KV, func(), error) {
	adoptions, adopt, err := c.Catalog.Prepare(docs, func(id globaltable.TableID) bool {
		// The shard counts live items. A tombstone is something, too.
		return empty(id) && c.untouched(id)
	})
	if err != nil {
		return nil, nil, err
	}
	var extra []store.KV
	for _, a := range adoptions {
		extra = append(extra, store.KV{Key: store.AppendAdoptionKey(nil, a.Table, a.Version), Value: []byte{byte(a.Outcome)}})
	}
	return extra, adopt, nil
}

// untouched reports whether the store has no record of a table. A table that cannot be read is not untouched.
func (c shardCatalog) untouched(id globaltable.TableID) bool {
	it, err := c.reader.NewIter(store.RecordRange(id))
	if err != nil {
		return false
	}
	found := it.First()
	return it.Close() == nil && !found
}

// LoadCatalog brings what the store holds into c, which is new. It is called before a shard works with either.
func LoadCatalog(c *catalog.Catalog, r store.Reader) error {
	var docs []item.Item
	lower, upper := store.RecordRange(globaltable.SystemTable)
	err := each(r, lower, upper, func(_, value []byte) error {
		// The record's bytes go with the iterator; the item, a view of them, must not.
		it, live, err := conflict.ItemOf(append([]byte(nil), value...))
		if err == nil && live {
			docs = append(docs, it)
		}
		return err
	})
	if err != nil {
		return err
	}
	var adoptions []catalog.Adoption
	lower, upper = store.SpaceRange(store.SpaceAdoption)
	err = each(r, lower, upper, func(key, value []byte) error {
		table, version, ok := store.DecodeAdoptionKey(key)
		if !ok || len(value) != 1 {
			return &globaltable.Error{Op: "load catalog", Kind: globaltable.Corrupt, Message: "an adoption in the store cannot be read"}
		}
		adoptions = append(adoptions, catalog.Adoption{Table: table, Version: version, Outcome: catalog.Outcome(value[0])})
		return nil
	})
	if err != nil {
		return err
	}
	return c.Load(docs, adoptions)
}

func each(r store.Reader, lower, upper []byte, f func(key, value []byte) error) (err error) {
	it, err := r.NewIter(lower, upper)
	if err != nil {
		return err
	}
	defer func() {
		if e := it.Close(); err == nil {
			err = e
		}
	}()
	for ok := it.First(); ok; ok = it.Next() {
		value, err := it.Value()
		if err != nil {
			return err
		}
		if err := f(it.Key(), value); err != nil {
			return err
		}
	}
	return nil
}
