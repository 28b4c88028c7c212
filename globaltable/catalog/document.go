package catalog

import (
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
)

// DocumentKey returns the key, in the system table, of the document of a table.
func DocumentKey(id globaltable.TableID) item.Key { panic("unfinished") }

// EncodeDocument returns the item, of the system table, that holds t.
func EncodeDocument(t *globaltable.Table) item.Item { panic("unfinished") }

// DecodeDocument is the inverse of EncodeDocument. Its errors are DecodeTable's.
func DecodeDocument(it item.Item) (*globaltable.Table, error) { panic("unfinished") }
