package globaltable

import (
	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/globaltable/item"
)

// AppendItem appends the key k as an item with the key's attributes: the inverse of plan.Key.
func (s *KeySchema) AppendItem(dst []byte, k item.Key) (item.Item, error) {
	var b item.Builder
	if err := s.add(&b, k); err != nil {
		return nil, err
	}
	return b.AppendItem(dst)
}

// add adds the attributes of the key k.
func (s *KeySchema) add(b *item.Builder, k item.Key) error {
	partition, sort, err := item.DecodeKey(k, s.Sort != nil)
	if err != nil {
		return err
	}
	b.Add([]byte(s.Partition.Name), partition)
	if s.Sort != nil {
		b.Add([]byte(s.Sort.Name), sort)
	}
	return nil
}

// Has reports whether an attribute is one of the key.
func (s *KeySchema) Has(name []byte) bool {
	return string(name) == s.Partition.Name || s.Sort != nil && string(name) == s.Sort.Name
}

// ExpiryOf returns the history x of a table whose key is s for the record at key: with what the key says of the attributes that are part of it. s may be nil, which knows none. Mostly that is x itself.
func (s *KeySchema) ExpiryOf(x conflict.Expiry, key item.Key) (conflict.Expiry, error) {
	named := false
	for i := 0; s != nil && i < len(x); i++ {
		named = named || x[i].Attribute == s.Partition.Name || s.Sort != nil && x[i].Attribute == s.Sort.Name
	}
	if !named {
		return x, nil
	}
	it, err := s.AppendItem(nil, key)
	if err != nil {
		return nil, err
	}
	return x.Keyed(it), nil
}

// ItemOf returns the item of the encoded record at key in a table whose key is s; nil, or one without attributes, leaves it as the record has it. live is false, and the item nil, if it does not exist. The item is a view of record, or
// of memory of its own.
//
// An update does not write the key's attributes: a deletion in another region that is older than the update, and comes later, takes them from the record, as it takes all that it has seen. So they are read from the record's
// key, which has them always, and from the record only where it was written whole and nothing needs to be put together.
func (s *KeySchema) ItemOf(key item.Key, record []byte) (it item.Item, live bool, err error) {
	return conflict.ItemOf(record, func() (item.Item, error) {
		if s == nil || s.Partition.Name == "" {
			return nil, nil
		}
		return s.AppendItem(nil, key)
	})
}
