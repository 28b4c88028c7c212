package naive

import (
	"slices"
	"time"
)

// attribute is an attribute of a key.
type attribute struct{ name, kind string }

// schema is a key: of a table one partition and at most one sort attribute, of an index up to four of each.
type schema struct{ partition, sort []attribute }

func (s schema) all() []attribute { return slices.Concat(s.partition, s.sort) }

func (s schema) has(name string) bool {
	return slices.ContainsFunc(s.all(), func(a attribute) bool { return a.name == name })
}

// projected says what an index holds beside the keys.
type projected struct {
	kind  string // "ALL", "KEYS_ONLY" or "INCLUDE"
	names []string
}

// index is a secondary index.
type index struct {
	name       string
	local      bool
	keys       schema
	projection projected
	throughput object
}

// table is a table with its items.
type table struct {
	name        string
	definitions []attribute
	keys        schema
	indexes     []index
	billing     string
	throughput  object
	onDemand    bool      // it is, or has been, billed per request
	streams     []*stream // that it has, or has had, the newest last
	class       string
	protected   bool
	created     time.Time
	tags        map[string]string
	periods     []period // of its time to live, the last one with or without an end
	expires     bool     // it has, or has had, a time to live
	swept       bool     // something has expired

	partitions map[string]*partition // by the partition key's value in its canonical form
}

// partition has the items of one partition key, ascending by sort key.
type partition struct {
	hash  uint64
	items []item
}

func (t *table) index(name string) *index {
	for i := range t.indexes {
		if t.indexes[i].name == name {
			return &t.indexes[i]
		}
	}
	return nil
}

// keyOf returns the attributes of t's key that it has.
func (s schema) keyOf(it item) item {
	out := item{}
	for _, a := range s.all() {
		if v, ok := it[a.name]; ok {
			out[a.name] = v
		}
	}
	return out
}

func (s schema) partitionValues(it item) []value { return pick(s.partition, it) }
func (s schema) sortValues(it item) []value      { return pick(s.sort, it) }

func pick(attributes []attribute, it item) []value {
	var out []value
	for _, a := range attributes {
		out = append(out, it[a.name])
	}
	return out
}

// canonical returns a text that is the same for equal scalars only.
func canonical(values []value) string {
	out := ""
	for _, v := range values {
		out += v.kind + ":" + v.scalar() + "\n"
	}
	return out
}

func (db *DB) hash(values []value) uint64 {
	var encoded []any
	for _, v := range values {
		encoded = append(encoded, v.encode())
	}
	return db.config.Hash(encoded)
}

// get returns the item with the key given; nil if there is none.
func (t *table) get(key item) item {
	p := t.partitions[canonical(t.keys.partitionValues(key))]
	if p == nil {
		return nil
	}
	i, found := p.find(t, key)
	if !found {
		return nil
	}
	return p.items[i]
}

func (p *partition) find(t *table, key item) (int, bool) {
	return slices.BinarySearchFunc(p.items, key, func(a, b item) int { return compareAll(t.keys.sortValues(a), t.keys.sortValues(b)) })
}

// set stores an item, or with nil removes what has the key.
func (db *DB) set(t *table, key, it item) {
	db.tell(t, key, t.get(key), it)
	at := canonical(t.keys.partitionValues(key))
	p := t.partitions[at]
	if p == nil {
		p = &partition{hash: db.hash(t.keys.partitionValues(key))}
		t.partitions[at] = p
	}
	i, found := p.find(t, key)
	switch {
	case it == nil && found:
		p.items = slices.Delete(p.items, i, i+1)
	case it == nil:
	case found:
		p.items[i] = it.clone()
	default:
		p.items = slices.Insert(p.items, i, it.clone())
	}
}

// row is an item as a table or an index has it in its order.
type row struct {
	item      item // what is stored there: of an index what it projects
	whole     item // the table's item
	hash      uint64
	tableHash uint64
}

// rows returns the items of a table, or of an index if one is given, in the order of a scan: by the partition's hash, then the key.
//
// Items of an index that have its key in common lie in the order of the table.
func (db *DB) rows(t *table, x *index) []row {
	var out []row
	for _, p := range t.partitions {
		for _, it := range p.items {
			r := row{item: it, whole: it, hash: p.hash, tableHash: p.hash}
			if x != nil {
				if !x.holds(it) {
					continue
				}
				r.item = x.entry(t, it)
				r.hash = db.hash(x.keys.partitionValues(it))
			}
			out = append(out, r)
		}
	}
	keys := t.keys
	if x != nil {
		keys = x.keys
	}
	slices.SortFunc(out, func(a, b row) int { return compareRows(t.keys, keys, a, b) })
	return out
}

// holds reports whether an item is in the index: it has all attributes of its key. An item that was there before the index, with a value that no key can have,
// is left out.
func (x *index) holds(it item) bool {
	for i, a := range x.keys.all() {
		limit := maxPartitionKey
		if i >= len(x.keys.partition) {
			limit = maxSortKey
		}
		if v := it[a.name]; v.kind != a.kind || isEmpty(v) || len(v.text) > limit {
			return false
		}
	}
	return true
}

// entry returns what the index has of an item.
func (x *index) entry(t *table, it item) item {
	if x.projection.kind == "ALL" {
		return it
	}
	out := item{}
	for name, v := range it {
		if t.keys.has(name) || x.keys.has(name) || slices.Contains(x.projection.names, name) {
			out[name] = v
		}
	}
	return out
}
