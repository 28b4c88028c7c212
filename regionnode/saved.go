package regionnode

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/admin"
	"github.com/concordat-db/concordat/regionnode/commit"
	"github.com/concordat-db/concordat/streams/repair"
)

// savedRecords is the node's saved space for operators: admin.Saved.
type savedRecords struct{ n *Node }

// List implements admin.Saved.
func (s savedRecords) List(_ context.Context, table string, limit int) (out admin.SavedList, err error) {
	out.Records = []admin.SavedRecord{}
	id, err := s.tableID(table)
	if err != nil {
		return out, err
	}
	var fault error
	err = s.n.shard.Saved(id, commit.Key{}, func(r commit.SavedRecord) bool {
		if len(out.Records) == limit {
			out.More = true
			return false
		}
		var row admin.SavedRecord
		row, _, fault = s.describe(r)
		out.Records = append(out.Records, row)
		return fault == nil
	})
	return out, cmpErr(err, fault)
}

func cmpErr(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// tableID returns the id of the table that has the name here, or whose id is given; zero for no name.
func (s savedRecords) tableID(name string) (globaltable.TableID, error) {
	if name == "" {
		return 0, nil
	}
	if t, ok := s.n.catalog.View().Lookup(name); ok {
		return t.ID, nil
	}
	if id, err := globaltable.ParseTableID(name); err == nil {
		return id, nil
	}
	return 0, &globaltable.Error{Op: "saved records", Resource: name, Kind: globaltable.NotFound, Message: "this region has no table named " + name}
}

// item returns the item that is saved.
func (s savedRecords) item(r commit.SavedRecord) (it item.Item, live bool, err error) {
	return s.n.catalog.KeySchema(r.Table).ItemOf(r.Bytes, r.Record)
}

// describe says what is saved, without key and values.
func (s savedRecords) describe(r commit.SavedRecord) (admin.SavedRecord, item.Item, error) {
	it, live, err := s.item(r)
	if err != nil {
		return admin.SavedRecord{}, nil, err
	}
	dot, err := conflict.NewestOf(r.Record)
	if err != nil {
		return admin.SavedRecord{}, nil, err
	}
	row := admin.SavedRecord{ID: repair.HashOf(r.Table, r.Bytes), TableID: r.Table.String(), Written: dot.Time.Time(), By: s.n.regionName(dot.Origin), Saved: r.At, Deleted: !live}
	if t, known := s.n.catalog.View().Table(r.Table); known {
		row.Table = t.Name
	}
	if live {
		row.Bytes = it.Size()
	}
	return row, it, nil
}

// find calls f with the saved record that has the id.
func (s savedRecords) find(id string) (found commit.SavedRecord, err error) {
	err = s.n.shard.Saved(0, commit.Key{}, func(r commit.SavedRecord) bool {
		if repair.HashOf(r.Table, r.Bytes) != id {
			return true
		}
		found = commit.SavedRecord{Key: commit.Key{Table: r.Table, Bytes: bytes.Clone(r.Bytes)}, At: r.At, Record: bytes.Clone(r.Record)}
		return false
	})
	if err == nil && found.Record == nil {
		err = &globaltable.Error{Op: "saved records", Resource: id, Kind: globaltable.NotFound, Message: "no record is saved under " + id}
	}
	return found, err
}

// Show implements admin.Saved.
func (s savedRecords) Show(_ context.Context, id string) (admin.SavedItem, error) {
	r, err := s.find(id)
	if err != nil {
		return admin.SavedItem{}, err
	}
	row, it, err := s.describe(r)
	out := admin.SavedItem{SavedRecord: row}
	if err == nil && it != nil {
		out.Item = json.RawMessage(it.AppendJSON(nil))
	}
	return out, err
}

// Restore implements admin.Saved: the item is written as it was saved, by an ordinary write of now, and leaves the saved space then. One that was deleted is deleted.
func (s savedRecords) Restore(ctx context.Context, id string) error {
	r, err := s.find(id)
	if err != nil {
		return err
	}
	if err := s.n.serves(); err != nil {
		return err
	}
	it, live, err := s.item(r)
	if err != nil {
		return err
	}
	ops := conflict.RecordDelete(nil)
	if live {
		ops = conflict.RecordPut(nil, slices.Clone(it))
	}
	err = s.n.shard.Write(ctx, &commit.Write{Keys: []commit.Key{r.Key}, Plan: func([]commit.Current) ([][]conflict.Op, error) { return [][]conflict.Op{ops}, nil }})
	if err != nil {
		return err
	}
	return s.n.shard.DropSaved(ctx, r.Key)
}

// Drop implements admin.Saved.
func (s savedRecords) Drop(ctx context.Context, id string) error {
	r, err := s.find(id)
	if err != nil {
		return err
	}
	return s.n.shard.DropSaved(ctx, r.Key)
}
