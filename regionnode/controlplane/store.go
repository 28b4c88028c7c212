package controlplane

import (
	"context"
	"errors"
	"fmt"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/globaltable/feed"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/commit"
	"github.com/concordat-db/concordat/regionnode/store"
	"github.com/concordat-db/concordat/streams/repair"
)

// ForShard returns c as a shard wants it: with adoptions as keys of the store.
func ForShard(c *catalog.Catalog) commit.Catalog { return shardCatalog{c} }

type shardCatalog struct{ *catalog.Catalog }

// Prepare implements commit.Catalog.
func (c shardCatalog) Prepare(docs []item.Item) (commit.Adoption, error) {
	adoptions, adopt, err := c.Catalog.Prepare(docs)
	if errors.Is(err, catalog.ErrBehind) {
		err = fmt.Errorf("%w: %w", commit.ErrCatalogBehind, err)
	}
	if err != nil {
		return commit.Adoption{}, err
	}
	out := commit.Adoption{Adopt: adopt}
	for _, a := range adoptions {
		out.Extra = append(out.Extra, store.KV{Key: store.AppendAdoptionKey(nil, a.Table, a.Version), Value: []byte{byte(a.Outcome)}})
		out.Tables = append(out.Tables, commit.AdoptedTable{ID: a.Table, Anew: a.Anew, Stream: a.Stream, Tells: a.Tells, Indexes: a.Indexes, Replaced: a.Replaced, Mirror: commit.Mirroring(a.Mirror)})
		if a.Anew {
			out.Tables = append(out.Tables, commit.AdoptedTable{ID: a.Table.Feed(), Anew: true, Indexes: []globaltable.IndexID{feed.ByTime}})
		}
	}
	return out, nil
}

// ForRepair returns s as the place where records of other regions go.
func ForRepair(s *commit.Shard) RepairStore { return RepairStore{s} }

// RepairStore is a repair.Store and a repair.Healed.
type RepairStore struct{ *commit.Shard }

// Merge implements both.
func (s RepairStore) Merge(ctx context.Context, table globaltable.TableID, from repair.Giver, records []repair.Record) error {
	at := make([]commit.RecordAt, 0, len(records))
	for _, r := range records {
		at = append(at, commit.RecordAt{Key: commit.Key{Table: table, Bytes: r.Key}, Record: r.Bytes})
	}
	return s.MergeFrom(ctx, from.Origin, from.Incarnation, at)
}

// LoadCatalog brings what the store holds into c, which is new. It is called before a shard works with either.
func LoadCatalog(c *catalog.Catalog, r store.Reader) error {
	var docs []item.Item
	lower, upper := store.RecordRange(globaltable.SystemTable)
	err := store.Each(r, lower, upper, func(key, value []byte) error {
		if catalog.IsAudit(store.RecordKeySuffix(key)) {
			return nil
		}
		// The record's bytes go with the iterator; the item, a view of them, must not.
		it, live, err := conflict.ItemOf(append([]byte(nil), value...), nil)
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
	err = store.Each(r, lower, upper, func(key, value []byte) error {
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
