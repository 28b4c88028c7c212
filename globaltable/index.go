package globaltable

import (
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/concordat-db/concordat/globaltable/item"
)

// Limits of a table's indexes: DynamoDB's.
const (
	MaxGlobalIndexes    = 20
	MaxLocalIndexes     = 5
	MaxIndexKeyParts    = 4   // of the partition key, and of the sort key
	MaxProjectedNonKeys = 100 // NonKey of all indexes of a table together
)

// IndexID identifies an index within its table, and is never used again in it: an index that is deleted, and made again under its name, is another one. Zero is the table itself.
type IndexID uint32

// Projection says which attributes of an item an index shows. Its texts are DynamoDB's and part of the document.
type Projection string

// The projections.
const (
	ProjectAll     Projection = "ALL"
	ProjectKeys    Projection = "KEYS_ONLY" // those of the table's key and of the index's
	ProjectInclude Projection = "INCLUDE"   // these, and Index.NonKey
)

// Index is a secondary index. An item has an entry in it when it has all the attributes of the index's key, each of its type and of an allowed size; so an index is a function of the
// table's items, and nothing else of it is stored or sent.
type Index struct {
	ID         IndexID
	Name       string
	Local      bool           // its partition key is the table's, and it was made with the table
	Partition  []KeyAttribute // 1 to 4
	Sort       []KeyAttribute // 0 to 4; 1 of a local one
	Projection Projection
	NonKey     []string // of ProjectInclude: what it shows beside keys, in the order given
	// What follows is of global ones only, and means what it does of a table.
	Throughput  Throughput
	OnDemandMax Throughput
	Warm        Throughput
}

// Keys calls f with the attributes of the index's key, those of the partition key first, until f returns false. It can be ranged over.
func (x *Index) Keys(f func(KeyAttribute) bool) {
	for _, list := range [...][]KeyAttribute{x.Partition, x.Sort} {
		for _, a := range list {
			if !f(a) {
				return
			}
		}
	}
}

// KeyAttributes returns the attributes of t's key and of those of its indexes, each once, in the order of the indexes.
func (t *Table) KeyAttributes() []KeyAttribute {
	out := []KeyAttribute{t.KeySchema.Partition}
	if s := t.KeySchema.Sort; s != nil {
		out = append(out, *s)
	}
	for i := range t.Indexes {
		for a := range t.Indexes[i].Keys {
			if !slices.Contains(out, a) {
				out = append(out, a)
			}
		}
	}
	return out
}

// Clone returns a deep copy.
func (x *Index) Clone() Index {
	c := *x
	c.Partition, c.Sort, c.NonKey = slices.Clone(x.Partition), slices.Clone(x.Sort), slices.Clone(x.NonKey)
	return c
}

// IndexNamed returns the index with that name; nil if there is none. It points into t.
func (t *Table) IndexNamed(name string) *Index {
	for i := range t.Indexes {
		if t.Indexes[i].Name == name {
			return &t.Indexes[i]
		}
	}
	return nil
}

// indexFaults reports what is wrong with the indexes.
func (t *Table) indexFaults() []error {
	var faults []error
	fault := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	types := map[string]item.Type{t.KeySchema.Partition.Name: t.KeySchema.Partition.Type}
	if s := t.KeySchema.Sort; s != nil {
		types[s.Name] = s.Type
	}
	global, local, nonKeys := 0, 0, 0
	names := map[string]bool{}
	for i := range t.Indexes {
		x := &t.Indexes[i]
		fault(x.ID > 0 && x.ID <= t.LastIndex && (i == 0 || t.Indexes[i-1].ID < x.ID), "index %d: its id is out of order, or was not given", i)
		fault(ValidTableName(x.Name) && !names[x.Name], "index %d: its name is wrong, or used twice", i)
		names[x.Name] = true
		faults = append(faults, x.faults(&t.KeySchema, types)...)
		nonKeys += len(x.NonKey)
		if x.Local {
			local++
			fault(x.Throughput == Throughput{} && x.OnDemandMax == Throughput{} && x.Warm == Throughput{}, "index %d: a local index has no throughput of its own", i)
			continue
		}
		global++
		fault(min(x.OnDemandMax.Read, x.OnDemandMax.Write, x.Warm.Read, x.Warm.Write) >= 0 && (t.Billing == PayPerRequest || x.OnDemandMax == Throughput{}),
			"index %d: its throughput on demand is wrong, or does not fit the table's billing mode", i)
		fault(t.Billing == PayPerRequest && x.Throughput == Throughput{} || t.Billing == Provisioned && x.Throughput.Read > 0 && x.Throughput.Write > 0,
			"index %d: its throughput does not fit the table's billing mode", i)
	}
	fault(global <= MaxGlobalIndexes && local <= MaxLocalIndexes, "%d global and %d local indexes, at most %d and %d", global, local, MaxGlobalIndexes, MaxLocalIndexes)
	fault(nonKeys <= MaxProjectedNonKeys, "%d attributes are projected, at most %d", nonKeys, MaxProjectedNonKeys)
	fault(!t.Deleted || len(t.Indexes) == 0, "a dead table has indexes")
	return faults
}

// faults reports what is wrong with one index of a table with the key given. types gathers the types of key attributes.
func (x *Index) faults(table *KeySchema, types map[string]item.Type) []error {
	var faults []error
	fault := func(ok bool, text string) {
		if !ok {
			faults = append(faults, errors.New("index "+x.Name+": "+text))
		}
	}
	fault(len(x.Partition) >= 1 && len(x.Partition) <= MaxIndexKeyParts && len(x.Sort) <= MaxIndexKeyParts, "its key has too few or too many attributes")
	if x.Local {
		fault(table.Sort != nil && len(x.Partition) == 1 && x.Partition[0] == table.Partition && len(x.Sort) == 1,
			"a local index has the table's partition key and a sort key, and so has its table")
	}
	seen := map[string]bool{}
	for a := range x.Keys {
		fault(validAttributeName(a.Name) && !seen[a.Name], "the name of a key attribute is wrong, or used twice")
		fault(a.Type == item.S || a.Type == item.N || a.Type == item.B, "a key attribute must be of type S, N or B")
		fault(types[a.Name] == 0 || types[a.Name] == a.Type, "a key attribute has two types")
		seen[a.Name], types[a.Name] = true, a.Type
	}
	switch x.Projection {
	case ProjectAll, ProjectKeys:
		fault(len(x.NonKey) == 0, "it includes attributes without saying so")
	case ProjectInclude:
		fault(len(x.NonKey) > 0, "it includes no attributes")
	default:
		fault(false, "its projection is not known")
	}
	included := map[string]bool{}
	for _, name := range x.NonKey {
		fault(validAttributeName(name) && !included[name], "the name of an included attribute is wrong, or used twice")
		included[name] = true
	}
	return faults
}

func validAttributeName(name string) bool {
	return name != "" && len(name) <= MaxKeyNameLen && utf8.ValidString(name)
}
