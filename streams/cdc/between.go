package cdc

import (
	"bytes"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
)

// Table is what has to be known of a table to tell what is seen of its records.
type Table struct {
	Key    *globaltable.KeySchema
	Expiry conflict.Expiry
}

// Step is what there is to be told of a record that became another one: at most an expiry, and after it a change.
type Step struct {
	Gone      item.Item // expired before the change; nil: nothing
	GoneAt    hlc.Stamp // the moment, and the region that wrote what expired
	Old, New  item.Item // equal, or both nil: nothing is to be told of the change
	NewestNow hlc.Stamp // of the record that it became
}

// Changed reports whether the change itself is to be told.
func (s *Step) Changed() bool { return (s.Old == nil) != (s.New == nil) || !bytes.Equal(s.Old, s.New) }

// Event says what the change did; there is one.
func (s *Step) Event() Event {
	switch {
	case s.Old == nil:
		return Insert
	case s.New == nil:
		return Remove
	}
	return Modify
}

// Between returns what there is to be told where the record before of a key becomes the record after, by a change with that stamp, or by collection at that moment; nil stands for no record. What it returns are views of the records, or memory of its own.
//
// An image is what is seen at the newest stamp of a record. That stamp never falls, so what is told is a function of the records alone, the old image is the new image of the step before, and each expiry is told once, by the first step that is at or after its moment. (Not quite, if the history of the
// time to live came late: an item of which something was written after it had expired, by who had not heard of it either, is seen without what had expired from then on, and nobody is told.)
func (t *Table) Between(key item.Key, before, after []byte, at hlc.Timestamp) (s Step, err error) {
	if s.NewestNow, err = conflict.NewestOf(after); err != nil {
		return Step{}, err
	}
	if len(t.Expiry) == 0 {
		if s.Old, _, err = t.Key.ItemOf(key, before); err == nil {
			s.New, _, err = t.Key.ItemOf(key, after)
		}
		return s, err
	}
	x, err := t.Key.ExpiryOf(t.Expiry, key)
	if err != nil {
		return Step{}, err
	}
	newest, err := conflict.NewestOf(before)
	if err != nil {
		return Step{}, err
	}
	at = max(at, newest.Time, s.NewestNow.Time)
	last, err := t.seen(x, key, before, newest.Time)
	if err != nil {
		return Step{}, err
	}
	if s.Old, err = t.seen(x, key, before, at); err != nil {
		return Step{}, err
	}
	if last != nil && s.Old == nil {
		due, _, err := x.Due(before)
		if err != nil {
			return Step{}, err
		}
		s.Gone, s.GoneAt = last, hlc.Stamp{Time: due, Origin: newest.Origin}
	}
	s.New, err = t.seen(x, key, after, at)
	return s, err
}

// seen returns what is seen of a record at a moment; nil: nothing.
func (t *Table) seen(x conflict.Expiry, key item.Key, record []byte, at hlc.Timestamp) (item.Item, error) {
	next, expired, err := x.Expire(nil, record, at)
	if err != nil {
		return nil, err
	}
	if expired {
		record = next
	}
	it, _, err := t.Key.ItemOf(key, record)
	return it, err
}
