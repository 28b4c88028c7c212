package catalog

import (
	"encoding/binary"
	"fmt"

	"github.com/hashicorp/go-memdb"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/policy"
)

const (
	inTables    = "tables"    // *entry
	inAdoptions = "adoptions" // *Adoption
	inRegions   = "regions"   // *globaltable.Descriptor, as configured
	inWorld     = "world"     // *globaltable.World, one at most
	inPolicies  = "policies"  // *policy.Version, MaxPolicyVersions of a table at most
	inReceipts  = "receipts"  // *Receipt

	byID   = "id"
	byName = "name"
)

// schema is go-memdb's: tables by id, and by the name that is bound in this region; adoptions by table and version; configured regions by number
// and by name; the world; versions of policies by table and place among those that are kept; receipts by table, region and version.
func schema() *memdb.DBSchema {
	table := func(name string, id memdb.Indexer, other ...*memdb.IndexSchema) *memdb.TableSchema {
		s := &memdb.TableSchema{Name: name, Indexes: map[string]*memdb.IndexSchema{byID: {Name: byID, Unique: true, Indexer: id}}}
		for _, i := range other {
			s.Indexes[i.Name] = i
		}
		return s
	}
	return &memdb.DBSchema{Tables: map[string]*memdb.TableSchema{
		inTables:    table(inTables, index[*entry](entryID), &memdb.IndexSchema{Name: byName, Unique: true, AllowMissing: true, Indexer: index[*entry](entryName)}),
		inAdoptions: table(inAdoptions, index[*Adoption](adoptionID)),
		inRegions:   table(inRegions, index[*globaltable.Descriptor](regionID), &memdb.IndexSchema{Name: byName, Unique: true, Indexer: index[*globaltable.Descriptor](regionName)}),
		inPolicies:  table(inPolicies, index[*policy.Version](policyID)),
		inReceipts:  table(inReceipts, index[*Receipt](receiptID)),
		inWorld:     table(inWorld, index[*globaltable.World](func(*globaltable.World) ([]byte, bool) { return worldKey, true })),
	}}
}

// index makes an index of a function. Its arguments in queries are the index's bytes themselves: see tableKey, adoptionKey, nameKey and originKey.
type index[T any] func(T) (key []byte, ok bool)

// FromObject implements memdb.SingleIndexer.
func (f index[T]) FromObject(o any) (ok bool, key []byte, err error) {
	if key, ok = f(o.(T)); !ok {
		return false, nil, nil // go-memdb takes a key for one that stays
	}
	return true, key, nil
}

// FromArgs implements memdb.Indexer.
func (f index[T]) FromArgs(args ...any) ([]byte, error) {
	if len(args) == 1 {
		if key, ok := args[0].([]byte); ok {
			return key, nil
		}
	}
	return nil, fmt.Errorf("an index is asked with its bytes, not %d other arguments", len(args))
}

func entryID(e *entry) ([]byte, bool)                     { return tableKey(e.table.ID), true }
func entryName(e *entry) ([]byte, bool)                   { return nameKey(e.table.Name), e.bound }
func adoptionID(a *Adoption) ([]byte, bool)               { return adoptionKey(a.Table, a.Version), true }
func regionID(d *globaltable.Descriptor) ([]byte, bool)   { return originKey(d.Origin), true }
func regionName(d *globaltable.Descriptor) ([]byte, bool) { return nameKey(d.Name), true }

// receiptID is like the key of a receipt's item: see ReceiptKey.
func receiptID(r *Receipt) ([]byte, bool) {
	return append(append(tableKey(r.Table), originKey(r.Origin)...), byte(r.Version.Number()%KeptReceipts)), true
}

var worldKey = tableKey(globaltable.WorldTable)

func tableKey(id globaltable.TableID) []byte { return binary.BigEndian.AppendUint64(nil, uint64(id)) }
func originKey(o hlc.Origin) []byte          { return binary.BigEndian.AppendUint16(nil, uint16(o)) }

func policyID(v *policy.Version) ([]byte, bool) {
	return binary.BigEndian.AppendUint16(tableKey(v.Table), uint16(v.Sequence%MaxPolicyVersions)), true
}

func adoptionKey(id globaltable.TableID, v globaltable.Version) []byte {
	return binary.BigEndian.AppendUint64(tableKey(id), uint64(v))
}

// nameKey ends in a zero byte, so that no name is a prefix of another: go-memdb takes arguments for prefixes.
func nameKey(name string) []byte { return append([]byte(name), 0) }

// The names of indexes and the types of arguments are fixed in this package: go-memdb's errors about them cannot happen.

func first[T any](txn *memdb.Txn, table, index string, key []byte) (T, bool) {
	o, err := txn.First(table, index, key)
	if err != nil {
		panic(err)
	}
	v, ok := o.(T)
	return v, ok
}

func from[T any](txn *memdb.Txn, table, index string, key []byte, f func(T) bool) {
	it, err := txn.LowerBound(table, index, key)
	if err != nil {
		panic(err)
	}
	for o := it.Next(); o != nil && f(o.(T)); o = it.Next() {
	}
}

func insert(txn *memdb.Txn, table string, o any) {
	if err := txn.Insert(table, o); err != nil {
		panic(err)
	}
}
