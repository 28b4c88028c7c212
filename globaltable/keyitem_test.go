package globaltable_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
)

// apply applies changes of one region to a record, one after the other.
func apply(t rapidT, record []byte, changes ...[]conflict.Op) []byte {
	for _, ops := range changes {
		var newest hlc.Stamp
		var err error
		if record != nil {
			if newest, err = conflict.NewestOf(record); err != nil {
				t.Fatal(err)
			}
		}
		c := conflict.Change{Table: 5, Key: []byte("k"), Dot: hlc.Stamp{Time: newest.Time + 1, Origin: 1}, Ops: ops}
		if record, _, err = conflict.ApplyLocal(nil, record, &c); err != nil {
			t.Fatal(err)
		}
	}
	return record
}

type rapidT interface{ Fatal(args ...any) }

func attributes(t rapidT, pairs ...any) item.Item {
	var b item.Builder
	for i := 0; i < len(pairs); i += 2 {
		b.Add([]byte(pairs[i].(string)), pairs[i+1].(item.Value))
	}
	it, err := b.AppendItem(nil)
	if err != nil {
		t.Fatal(err)
	}
	return it
}

// TestItemOf: an item has its key's attributes, whatever the record has of them, and nothing else than the record has.
func TestItemOf(t *testing.T) {
	names := []string{"a", "m", "pk", "sk", "z"}
	rapid.Check(t, func(t *rapid.T) {
		schema := &globaltable.KeySchema{Partition: globaltable.KeyAttribute{Name: "pk", Type: item.S}}
		pk, sk := item.Value(item.AppendString(nil, rapid.StringN(1, 5, -1).Draw(t, "pk"))), item.Value(item.AppendInt(nil, rapid.Int64().Draw(t, "sk")))
		want := map[string]string{"pk": string(pk)}
		var sort item.Value
		if rapid.Bool().Draw(t, "sorted") {
			schema.Sort = &globaltable.KeyAttribute{Name: "sk", Type: item.N}
			sort, want["sk"] = sk, string(sk)
		}
		key, err := item.AppendKey(nil, pk, sort)
		if err != nil {
			t.Fatal(err)
		}
		var changes [][]conflict.Op
		if rapid.Bool().Draw(t, "put first") {
			it := attributes(t, "pk", pk, "a", pk)
			if sort != nil {
				it = attributes(t, "pk", pk, "a", pk, "sk", sk)
			}
			changes = append(changes, conflict.RecordPut(nil, it))
			want["a"] = string(pk)
			if rapid.Bool().Draw(t, "deleted") {
				changes = append(changes, conflict.RecordDelete(nil))
				delete(want, "a")
			}
		}
		changes = append(changes, []conflict.Op{{Kind: conflict.OpSetCell}})
		for range rapid.IntRange(0, 4).Draw(t, "updates") {
			name := rapid.SampledFrom(names).Draw(t, "name")
			if schema.Has([]byte(name)) {
				continue
			}
			if rapid.Bool().Draw(t, "removed") {
				delete(want, name)
				changes = append(changes, []conflict.Op{{Kind: conflict.OpRemoveCell, Name: []byte(name)}})
				continue
			}
			v := item.AppendInt(nil, rapid.Int64().Draw(t, "v"))
			want[name] = string(v)
			changes = append(changes, []conflict.Op{{Kind: conflict.OpSetCell, Name: []byte(name), Value: v}})
		}
		it, live, err := schema.ItemOf(key, apply(t, nil, changes...))
		if err != nil || !live || item.CheckItem(it) != nil || it.Len() != len(want) {
			t.Fatal(it, live, err, want)
		}
		for name, v := range it.Each {
			if want[string(name)] != string(v) {
				t.Fatal(string(name), v)
			}
		}
	})
}

// TestItemOfAsItIs: a whole item is a view of its record, what is deleted is none, and who knows no key gets what there is.
func TestItemOfAsItIs(t *testing.T) {
	schema := &globaltable.KeySchema{Partition: globaltable.KeyAttribute{Name: "pk", Type: item.S}}
	pk := item.Value(item.AppendString(nil, "p"))
	key, err := item.AppendKey(nil, pk, nil)
	if err != nil {
		t.Fatal(err)
	}
	whole := apply(t, nil, conflict.RecordPut(nil, attributes(t, "pk", pk, "v", pk)))
	if n := testing.AllocsPerRun(10, func() {
		if it, live, err := schema.ItemOf(key, whole); err != nil || !live || &it[0] != &whole[len(whole)-len(it)] {
			t.Fatal(it, live, err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	deleted := apply(t, whole, conflict.RecordDelete(nil))
	for _, record := range [][]byte{nil, deleted} {
		if it, live, err := schema.ItemOf(key, record); it != nil || live || err != nil {
			t.Error(it, live, err)
		}
	}
	updated := apply(t, deleted, []conflict.Op{{Kind: conflict.OpSetCell, Name: []byte("v"), Value: pk}})
	if it, live, err := (*globaltable.KeySchema)(nil).ItemOf(key, updated); err != nil || !live || it.Len() != 1 {
		t.Error(it, live, err)
	}
	if it, live, err := schema.ItemOf(key, updated); err != nil || !live || it.Len() != 2 {
		t.Error(it, live, err)
	}
	for _, wrong := range []item.Key{nil, key[:9], append(key[:len(key):len(key)], 0)} {
		if _, _, err := schema.ItemOf(wrong, updated); err == nil {
			t.Errorf("a key %x", wrong)
		}
	}
}
