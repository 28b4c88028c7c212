package commit

import (
	"slices"
	"sync/atomic"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
)

// rules is what decides about records beside the records themselves. It is asked by callers and by the sequencer.
type rules struct {
	origin  hlc.Origin
	clock   *hlc.Clock
	catalog Catalog
	purges  *purges
	panic   func(*PanicError) // nil: nobody wants to know

	returning atomic.Bool // see Shard.Returning
}

// Now returns the region's time: after all that it has stamped, shown or collected.
func (s *Shard) Now() hlc.Timestamp { return s.cfg.Clock.Now() }

// momentOf returns the moment at which a read of a table with the history x sees it; zero when nothing expires there.
func (s *Shard) momentOf(x conflict.Expiry) hlc.Timestamp {
	if len(x) == 0 {
		return 0
	}
	return s.cfg.Clock.Now()
}

// expiryOf returns the history x of a table for one key. See globaltable.KeySchema.ExpiryOf.
func expiryOf(catalog Catalog, x conflict.Expiry, table globaltable.TableID, key item.Key) (conflict.Expiry, error) {
	if len(x) == 0 {
		return nil, nil
	}
	x, err := catalog.KeySchema(table).ExpiryOf(x, key)
	if err != nil {
		return nil, errCorruptStore("key", err)
	}
	return x, nil
}

// itemOf returns the item of the record of a key; live is false, and the item nil, if there is none. The catalog is asked for the table's key only where the item is put together: see globaltable.KeySchema.ItemOf.
func itemOf(catalog Catalog, table globaltable.TableID, key item.Key, record []byte) (it item.Item, live bool, err error) {
	return conflict.ItemOf(record, func() (item.Item, error) {
		if schema := catalog.KeySchema(table); schema != nil {
			return schema.AppendItem(nil, key)
		}
		return nil, nil
	})
}

// currentOf returns what is seen of the record of a key at a moment, in a table with the history x: an item that has expired by then is none. Both parts of the result may be views of record.
func currentOf(catalog Catalog, x conflict.Expiry, key Key, record []byte, at hlc.Timestamp) (c Current, expired bool, err error) {
	if record == nil {
		return Current{}, false, nil
	}
	if len(x) > 0 {
		var next []byte
		if x, err = expiryOf(catalog, x, key.Table, key.Bytes); err != nil {
			return Current{}, false, err
		}
		if next, expired, err = x.Expire(nil, record, at); err != nil {
			return Current{}, false, errCorruptStore("record", err)
		}
		if expired {
			record = next
		}
	}
	it, _, err := itemOf(catalog, key.Table, key.Bytes, record)
	if err != nil {
		return Current{}, false, errCorruptStore("record", err)
	}
	return Current{Record: record, Item: it}, expired, nil
}

// look fills in what the plan of a write is given: what is seen of its keys now. For those whose items expire it notes when, so that it can be told later whether the plan still holds.
func (r *rules) look(sub *submission) (err error) {
	var now hlc.Timestamp
	sub.current = sub.current[:0]
	for i := range sub.keys {
		k := &sub.keys[i]
		k.expired, k.due = false, 0
		if k.expiry, err = expiryOf(r.catalog, r.catalog.Expiry(k.table), k.table, k.key); err != nil {
			return err
		}
		if len(k.expiry) > 0 && now == 0 {
			now = r.clock.Now()
		}
		var c Current
		if c, k.expired, err = currentOf(r.catalog, k.expiry, Key{k.table, k.key}, k.current, now); err != nil {
			return err
		}
		if k.due, _, err = k.expiry.Due(c.Record); err != nil {
			return errCorruptStore("record", err)
		}
		sub.current = append(sub.current, c)
	}
	return nil
}

// holds reports whether the plan of a write still is one on what is seen at a moment: no item that the plan was given has expired since, and no history has changed.
func (r *rules) holds(sub *submission, at hlc.Timestamp) bool {
	for i := range sub.keys {
		k := &sub.keys[i]
		if k.due != 0 && k.due <= at || r.catalog.Expiry(k.table).Newest() != k.expiry.Newest() {
			return false
		}
	}
	return true
}

// plan plans a write whose keys were read. writes is false when there is nothing to write. It changes nothing but the submission, so a panic in it ends the write and nothing else, whoever plans: the caller,
// who has latches to release, or the sequencer, on whom all other writes depend.
func (r *rules) plan(sub *submission) (writes bool, err error) {
	defer func() {
		if p := recover(); p != nil {
			writes, err = false, r.panicked(p)
		}
	}()
	if err := r.look(sub); err != nil {
		return false, err
	}
	if sub.ops, err = sub.write.Plan(sub.current); err != nil {
		return false, err
	}
	if len(sub.ops) != len(sub.keys) {
		return false, fault(globaltable.Internal, opWrite, "the plan has operations for another number of keys", nil)
	}
	if err := r.replaceExpired(sub); err != nil {
		return false, err
	}
	sub.bytes = 0
	for i, ops := range sub.ops {
		if len(ops) == 0 {
			continue
		}
		writes = true
		k := &sub.keys[i]
		k.floor = r.purges.floor(k.table)
		if k.context, err = conflict.ContextOf(k.current, r.origin, k.floor); err != nil {
			return false, errCorruptStore("record", err)
		}
		sub.bytes += 128 + len(k.key) + 16*len(k.context)
		for j := range ops {
			sub.bytes += 16 + len(ops[j].Name) + len(ops[j].Value)
		}
	}
	if sub.bytes > maxWriteBytes {
		return false, errTooLarge()
	}
	return writes, nil
}

// replaceExpired makes the operations on a record of which something has expired replace all of it: else what has expired would be there again where they change the attribute that it expired by. The record is reset to what the plan
// saw, which is nothing but its key, or what somebody has written since who did not know of the expiry.
func (r *rules) replaceExpired(sub *submission) error {
	if plantedKeep {
		return nil
	}
	own := false
	for i, ops := range sub.ops {
		if !sub.keys[i].expired || len(ops) == 0 || ops[0].Kind == conflict.OpReset {
			continue
		}
		if !own {
			sub.ops, own = slices.Clone(sub.ops), true // the list is the planner's
		}
		left := sub.current[i].Item
		if schema := r.catalog.KeySchema(sub.keys[i].table); left == nil && schema != nil {
			var err error
			if left, err = schema.AppendItem(nil, sub.keys[i].key); err != nil {
				return errCorruptStore("key", err)
			}
		}
		sub.ops[i] = append(conflict.RecordPut(make([]conflict.Op, 0, 1+len(ops)), left), ops...)
	}
	return nil
}
