package world

import (
	"bytes"
	"encoding/binary"
	"path/filepath"

	"github.com/concordat-db/concordat/chaos/check"
	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode"
	"github.com/concordat-db/concordat/regionnode/store"
)

// checkStore opens the store of a region that has ended, and gives the checker of I14 what is in it: what lies in the store, expired items too, not what the API makes of it.
func (s *shared) checkStore(region string) {
	s.t.Helper()
	folder := regionnode.Config{DataDir: filepath.Join(s.cfg.DataDir, region)}
	engine, err := store.OpenPebble(store.Config{Dir: folder.StoreDir(), CacheBytes: 1 << 20, MemTableBytes: 1 << 20})
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() {
		if err := engine.Close(); err != nil {
			s.t.Error(err)
		}
	}()
	snapshot, err := indexSnapshot(engine)
	if err != nil {
		s.t.Fatal(err)
	}
	entries := 0
	for _, x := range snapshot.Indexes {
		entries += len(x.Entries)
		if !x.Built {
			s.t.Errorf("%s: index %d is not built", region, x.ID)
		}
	}
	if len(snapshot.Indexes) != len(s.indexes()) || entries == 0 || len(snapshot.Records) == 0 {
		s.t.Errorf("%s: the store has %d indexes with %d entries of %d records", region, len(snapshot.Indexes), entries, len(snapshot.Records))
	}
	for _, v := range check.Indexes(snapshot) {
		s.t.Errorf("%s: %s", region, v)
	}
	// The checker looks at this very store: without one entry it has a finding.
	for i := range snapshot.Indexes {
		x := &snapshot.Indexes[i]
		if all := x.Entries; len(all) > 0 {
			x.Entries = all[1:]
			if len(check.Indexes(snapshot)) != 1 {
				s.t.Errorf("%s: that index %d lacks an entry is not found", region, x.ID)
			}
			x.Entries = all
		}
	}
}

// indexSnapshot reads records and indexes of all tables that have indexes, in the checker's terms.
func indexSnapshot(engine store.Reader) (s check.Snapshot, err error) {
	tables, err := storedTables(engine)
	if err != nil {
		return s, err
	}
	s.Records, s.Holds = map[check.Key]check.Record{}, func(check.Key) []uint16 { return []uint16{s.Region} }
	for _, t := range tables {
		lower, upper := store.RecordRange(t.ID)
		err := store.Each(engine, lower, upper, func(key, value []byte) error {
			k := item.Key(bytes.Clone(store.RecordKeySuffix(key)))
			it, live, err := t.KeySchema.ItemOf(k, bytes.Clone(value))
			if err != nil {
				return err
			}
			cells := map[string]check.Cell{}
			if live {
				cells[""] = check.Cell{}
				for name, v := range it.Each {
					cells[string(name)] = check.Cell{Value: string(v)}
				}
			}
			s.Records[check.Key{Table: uint64(t.ID), Bytes: string(k)}] = check.Record{Cells: cells}
			return nil
		})
		if err != nil {
			return s, err
		}
		for i := range t.Indexes {
			x, err := storedIndex(engine, t, &t.Indexes[i])
			if err != nil {
				return s, err
			}
			s.Indexes = append(s.Indexes, x)
		}
	}
	return s, nil
}

func storedTables(engine store.Reader) (tables []*globaltable.Table, err error) {
	lower, upper := store.RecordRange(globaltable.SystemTable)
	err = store.Each(engine, lower, upper, func(_, value []byte) error {
		doc, _, err := conflict.ItemOf(bytes.Clone(value), nil)
		if err != nil || doc == nil {
			return err
		}
		if t, err := catalog.DecodeDocument(doc); err == nil && len(t.Indexes) > 0 { // others are no tables' documents
			tables = append(tables, t)
		}
		return nil
	})
	return tables, err
}

func storedIndex(engine store.Reader, t *globaltable.Table, x *globaltable.Index) (out check.Index, err error) {
	out = check.Index{Table: uint64(t.ID), ID: uint32(x.ID)}
	attribute := func(a globaltable.KeyAttribute, most int) {
		if a.Type == item.N {
			most = 0
		}
		out.Attributes = append(out.Attributes, check.Attribute{Name: a.Name, Type: byte(a.Type), Most: most})
	}
	for _, a := range x.Partition {
		attribute(a, item.MaxPartitionKeySize)
	}
	for _, a := range x.Sort {
		attribute(a, item.MaxSortKeySize)
	}
	state, closer, there, err := engine.Get(store.AppendIndexKey(nil, t.ID, x.ID))
	if err != nil || !there {
		out.Missing = true
		return out, err
	}
	// A version, whether it is built, and how many entries it counts.
	out.Built, out.Count = state[1] == 1, binary.BigEndian.Uint64(state[2:])
	if err := closer.Close(); err != nil {
		return out, err
	}
	lower, upper := store.EntryRange(t.ID, x.ID)
	err = store.Each(engine, lower, upper, func(key, _ []byte) error {
		values, base, err := item.DecodeIndexKey(bytes.Clone(store.EntryKeySuffix(key)), len(x.Partition), len(x.Sort))
		if err != nil {
			return err
		}
		e := check.Entry{Key: string(base)}
		for _, v := range values {
			e.Values = append(e.Values, string(v))
		}
		out.Entries = append(out.Entries, e)
		return nil
	})
	return out, err
}
