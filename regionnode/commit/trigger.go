package commit

import (
	"context"
	"encoding/binary"
	"slices"
	"sync"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/store"
	"github.com/concordat-db/concordat/streams/cdc"
)

// # Triggers
//
// A shard keeps what triggers have to remember: how far they are, opaque to it, and the events that they could not deliver, dead letters, which are bounded. Both go with the table.

// MaxLetters and MaxLetterBytes bound the dead letters of a trigger: the oldest go.
const (
	MaxLetters     = 10_000
	MaxLetterBytes = 64 << 20
)

// Letters is what a trigger has of dead letters.
type Letters struct {
	Count   int64
	Bytes   int64 // of what is stored
	Dropped int64 // that had to go because there were too many
}

// letters holds them, by trigger, as applied. What changes letters is alone in its group: it looks at what the store has.
type letters struct {
	mu sync.Mutex
	of map[globaltable.TriggerID]Letters
}

const (
	lettersVersion = 1
	lettersLen     = 1 + 3*8
)

func (l Letters) append(dst []byte) []byte {
	dst = append(dst, lettersVersion)
	for _, n := range [...]int64{l.Count, l.Bytes, l.Dropped} {
		dst = binary.BigEndian.AppendUint64(dst, uint64(n))
	}
	return dst
}

func decodeLetters(b []byte) (Letters, error) {
	if len(b) != lettersLen || b[0] != lettersVersion {
		return Letters{}, errCorruptStore("number of dead letters", nil)
	}
	at := func(i int) int64 { return int64(binary.BigEndian.Uint64(b[1+8*i:])) }
	return Letters{at(0), at(1), at(2)}, nil
}

func (l *loaded) loadLetters(r store.Reader) error {
	lower, upper := store.MetaRange(store.MetaLetters)
	return store.Each(r, lower, upper, func(key, value []byte) error {
		id, ok := store.DecodeTriggerKey(key)
		if !ok {
			return errCorruptStore("key of a trigger's dead letters", nil)
		}
		n, err := decodeLetters(value)
		l.letters[id] = n
		return err
	})
}

// change changes what is known of a trigger's letters, with the group.
func (l *letters) change(g *group, id globaltable.TriggerID, f func(*Letters)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.of[id]
	f(&n)
	if n == (Letters{}) {
		delete(l.of, id)
		g.batch.Delete(store.AppendTriggerKey(nil, store.MetaLetters, id))
		return
	}
	l.of[id] = n
	g.batch.Set(store.AppendTriggerKey(nil, store.MetaLetters, id), n.append(nil))
}

// drop forgets all of a table's triggers.
func (l *letters) drop(b store.Batch, table globaltable.TableID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id := range l.of {
		if id.Table == table {
			delete(l.of, id)
		}
	}
	b.DeleteRange(store.TriggerRange(store.MetaTrigger, table))
	b.DeleteRange(store.TriggerRange(store.MetaLetters, table))
	b.DeleteRange(store.LettersRange(table))
}

// SetTrigger keeps, durably, how far a trigger is. state is opaque, and gone with the table's data. The error is of kind InUse when the table may not be here any more.
func (s *Shard) SetTrigger(ctx context.Context, id globaltable.TriggerID, state []byte) error {
	return s.do(ctx, false, setTrigger(id, state))
}

func setTrigger(id globaltable.TriggerID, state []byte) func(*core, *group) error {
	return func(c *core, g *group) error {
		if !c.catalog.Admits(id.Table, nil, 0) {
			return fault(globaltable.InUse, "keep cursors of a trigger", "the table is not in the catalog", nil)
		}
		g.batch.Set(store.AppendTriggerKey(nil, store.MetaTrigger, id), state)
		return nil
	}
}

// Triggers calls f with what SetTrigger kept. state is a view.
func (s *Shard) Triggers(f func(id globaltable.TriggerID, state []byte) error) error {
	lower, upper := store.MetaRange(store.MetaTrigger)
	return store.Each(s.cfg.Engine, lower, upper, func(key, value []byte) error {
		id, ok := store.DecodeTriggerKey(key)
		if !ok {
			return errCorruptStore("key of a trigger", nil)
		}
		return f(id, value)
	})
}

// DropTrigger drops, durably, what there is of a trigger: how far it is, and its dead letters.
func (s *Shard) DropTrigger(ctx context.Context, id globaltable.TriggerID) error {
	return s.do(ctx, true, dropTrigger(id))
}

func dropTrigger(id globaltable.TriggerID) func(*core, *group) error {
	return func(c *core, g *group) error {
		g.batch.Delete(store.AppendTriggerKey(nil, store.MetaTrigger, id))
		g.batch.DeleteRange(store.LetterRange(id, 0))
		c.letters.change(g, id, func(n *Letters) { *n = Letters{} })
		return nil
	}
}

// Letters returns what a trigger has of dead letters. Some of it may not be durable yet.
func (s *Shard) Letters(id globaltable.TriggerID) Letters {
	s.letters.mu.Lock()
	defer s.letters.mu.Unlock()
	return s.letters.of[id]
}

const opLetters = "keep dead letters"

// Bury keeps dead letters of a trigger, durably, and drops the oldest if there are too many: see MaxLetters. One whose position is there already takes its place. Letters of items that may not be here are not kept.
func (s *Shard) Bury(ctx context.Context, id globaltable.TriggerID, buried []cdc.Letter) error {
	return s.do(ctx, true, func(c *core, g *group) error {
		if !c.catalog.Admits(id.Table, nil, 0) {
			return fault(globaltable.InUse, opLetters, "the table is not in the catalog", nil)
		}
		var more Letters
		for i := range buried {
			l := &buried[i]
			if !c.catalog.Admits(id.Table, l.Key, 0) {
				continue
			}
			key, value := store.AppendLetterKey(nil, id, l.Position), l.Append(nil)
			old, err := sizeOf(c.engine, key)
			if err != nil {
				return err
			}
			if old == 0 {
				more.Count++
			}
			more.Bytes += int64(len(key)+len(value)) - old
			g.batch.Set(key, value)
		}
		return c.makeRoom(g, id, more)
	})
}

// sizeOf returns the bytes of a key and its value; zero if there is none.
func sizeOf(r store.Reader, key []byte) (n int64, err error) {
	err = getValue(r, key, func(value []byte) error {
		n = int64(len(key) + len(value))
		return nil
	})
	if err != nil {
		return 0, fault(globaltable.Internal, opLetters, "", err)
	}
	return n, nil
}

// makeRoom drops the oldest of the letters that were there, so that with those that come there are not too many.
func (c *core) makeRoom(g *group, id globaltable.TriggerID, more Letters) error {
	c.letters.mu.Lock()
	n := c.letters.of[id]
	c.letters.mu.Unlock()
	n.Count += more.Count
	n.Bytes += more.Bytes
	if n.Count > MaxLetters || n.Bytes > MaxLetterBytes {
		lower, upper := store.LetterRange(id, 0)
		err := store.Each(c.engine, lower, upper, func(key, value []byte) error {
			if n.Count <= MaxLetters && n.Bytes <= MaxLetterBytes {
				return errStop
			}
			n.Count--
			n.Dropped++
			n.Bytes -= int64(len(key) + len(value))
			g.batch.Delete(slices.Clone(key))
			return nil
		})
		if err != nil && err != errStop {
			return fault(globaltable.Internal, opLetters, "", err)
		}
	}
	c.letters.change(g, id, func(to *Letters) { *to = n })
	return nil
}

// EachLetter calls f with a trigger's dead letters after a position, in order, until f returns false. What f gets is a view. Letters of items that may not be here any more, which are about to be erased, are passed over.
func (s *Shard) EachLetter(id globaltable.TriggerID, after hlc.Timestamp, f func(*cdc.Letter) (more bool)) error {
	lower, upper := store.LetterRange(id, after)
	err := store.Each(s.cfg.Engine, lower, upper, func(key, value []byte) error {
		var l cdc.Letter
		_, at, ok := store.DecodeLetterKey(key)
		if !ok {
			return errCorruptStore("key of a dead letter", nil)
		}
		if err := l.Decode(value); err != nil {
			return errCorruptStore("dead letter", err)
		}
		l.Position = at
		if s.cfg.Catalog.Admits(id.Table, l.Key, 0) && !f(&l) {
			return errStop
		}
		return nil
	})
	if err != nil && err != errStop {
		return fault(globaltable.Internal, "read dead letters", "", err)
	}
	return nil
}

// DropLetters drops, durably, the dead letters of a trigger at the positions given, and returns how many there were.
func (s *Shard) DropLetters(ctx context.Context, id globaltable.TriggerID, at []hlc.Timestamp) (dropped int, err error) {
	err = s.do(ctx, true, func(c *core, g *group) error {
		keys := make([][]byte, 0, len(at))
		for _, p := range slices.Compact(slices.Sorted(slices.Values(at))) {
			keys = append(keys, store.AppendLetterKey(nil, id, p))
		}
		dropped, err = c.dropLetters(g, keys)
		return err
	})
	return dropped, err
}

func (c *core) dropLetters(g *group, keys [][]byte) (dropped int, err error) {
	for _, key := range keys {
		size, err := sizeOf(c.engine, key)
		if err != nil {
			return 0, err
		}
		if size == 0 {
			continue
		}
		dropped++
		g.batch.Delete(key)
		id, _, _ := store.DecodeLetterKey(key)
		c.letters.change(g, id, func(n *Letters) {
			n.Count--
			n.Bytes -= size
		})
	}
	return dropped, nil
}

// EraseLetters erases the dead letters of a table's items that may not be here, from the one after the one named on, a page of them. next names the last one that was looked at; nil: there are no more. It returns when that is durable. An error of kind InUse says that another version is in force.
func (s *Shard) EraseLetters(ctx context.Context, table globaltable.TableID, version globaltable.Version, after []byte) (next []byte, err error) {
	lower, upper := store.LettersRange(table)
	bad, next, err := s.toErase(table, lower, upper, after, func(value []byte) (item.Key, error) {
		var l cdc.Letter
		if err := l.Decode(value); err != nil {
			return nil, errCorruptStore("dead letter", err)
		}
		return l.Key, nil
	})
	if err != nil || len(bad) == 0 {
		return next, err
	}
	return next, s.do(ctx, true, func(c *core, g *group) error {
		if err := c.carriesOut(table, version); err != nil {
			return err
		}
		dropped, err := c.dropLetters(g, bad)
		if err != nil {
			return err
		}
		return c.placings.count(g, table, &globaltable.Placed{Streamed: int64(dropped)})
	})
}
