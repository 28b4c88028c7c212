// Package plan decides what a request does to the item that it is about. It is pure: (request, current item) → operations, or an
// error. It reads no clock and no store, so that the same plan runs in a handler, in a transaction, in the simulator and
// in a test.
//
// The commit calls a plan between reading and writing, with the key latched. So a plan sees exactly the state that its
// operations are applied to, and an error leaves everything as it was.
//
// A Write is one key's request. What a later issue adds to writing, conditions and updates, becomes a field of Write that
// Plan looks at before it makes operations; a transaction is several Writes under one commit.
package plan

import (
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/expr"
	"github.com/concordat-db/concordat/globaltable/item"
)

// ItemKey appends the key of a whole item, as a put has it, to dst. Other attributes are allowed. The error is a
// *globaltable.Error of kind Invalid or an *item.Error, with DynamoDB's words.
func ItemKey(dst []byte, s *globaltable.KeySchema, it item.Item) (item.Key, error) {
	partition, err := ofItem(&s.Partition, it, item.MaxPartitionKeySize)
	if err != nil {
		return nil, err
	}
	var sort item.Value
	if s.Sort != nil {
		if sort, err = ofItem(s.Sort, it, item.MaxSortKeySize); err != nil {
			return nil, err
		}
	}
	return item.AppendKey(dst, partition, sort)
}

func ofItem(a *globaltable.KeyAttribute, it item.Item, limit int) (item.Value, error) {
	v, ok := it.GetString(a.Name)
	if !ok {
		return nil, invalid("One or more parameter values were invalid: Missing the key " + a.Name + " in the item")
	}
	return v, item.CheckKeyValue(a.Name, v, a.Type, limit)
}

// Key appends the key that a read or a delete names to dst. names has the key's attributes and no other. The error is a
// *globaltable.Error of kind Invalid or an *item.Error, with DynamoDB's words.
func Key(dst []byte, s *globaltable.KeySchema, names item.Item) (item.Key, error) {
	attributes := 1
	if s.Sort != nil {
		attributes = 2
	}
	partition, ok := names.GetString(s.Partition.Name)
	if names.Len() != attributes || !ok || partition.Type() != s.Partition.Type {
		return nil, mismatch()
	}
	var sort item.Value
	if s.Sort != nil {
		if sort, ok = names.GetString(s.Sort.Name); !ok || sort.Type() != s.Sort.Type {
			return nil, mismatch()
		}
	}
	if err := item.CheckKeyValue(s.Partition.Name, partition, s.Partition.Type, item.MaxPartitionKeySize); err != nil {
		return nil, err
	}
	if s.Sort != nil {
		if err := item.CheckKeyValue(s.Sort.Name, sort, s.Sort.Type, item.MaxSortKeySize); err != nil {
			return nil, err
		}
	}
	return item.AppendKey(dst, partition, sort)
}

func mismatch() error { return invalid("The provided key element does not match the schema") }

func invalid(message string) error {
	return &globaltable.Error{Op: "plan", Kind: globaltable.Invalid, Message: message}
}

// CheckUpdate returns an error if u names an attribute of the key: that never changes.
func CheckUpdate(s *globaltable.KeySchema, u *expr.Update) (err error) {
	u.Names(func(name []byte) bool {
		if s.Has(name) {
			err = invalid("One or more parameter values were invalid: Cannot update attribute " + string(name) + ". This attribute is part of the key")
		}
		return err == nil
	})
	return err
}
