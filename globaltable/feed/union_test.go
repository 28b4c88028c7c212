package feed

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable/item"
)

// TestUnion: what is found of one conflict, by one region after another or by two that do not know of each other, is listed as one, in whatever order it comes.
func TestUnion(t *testing.T) {
	write := func(at uint64, origin hlc.Origin) conflict.Write {
		return conflict.Write{Stamp: hlc.Stamp{Time: hlc.Timestamp(at), Origin: origin}}
	}
	value := func(s string) item.Value { return item.AppendString(nil, s) }
	loser, attribute, put := write(10, 1), write(11, 2), write(12, 3)
	some := Entry{Expires: time.Unix(1000, 0).UTC(), Loss: conflict.Loss{Loser: loser, Rule: conflict.RuleAttribute,
		Parts: []conflict.Part{{Name: []byte("a"), Lost: value("1"), Won: value("2"), Winner: attribute}}}}
	all := Entry{Expires: time.Unix(1000, 0).UTC(), Loss: conflict.Loss{Loser: loser, Rule: conflict.RuleItem, Whole: true,
		Parts: []conflict.Part{{Name: []byte("b"), Lost: value("1"), Winner: put}, {Name: []byte("c"), Won: value("3"), Winner: put}}}}
	want := Entry{Expires: some.Expires, Loss: conflict.Loss{Loser: loser, Rule: conflict.RuleItem, Whole: true, Parts: slices.Concat(some.Parts, all.Parts)}}
	for name, entries := range map[string][]*Entry{"the part first": {&some, &all}, "the whole first": {&all, &some}, "again": {&some, &all, &some, &all}} {
		for _, knows := range []bool{true, false} {
			var record []byte
			for i, e := range entries {
				var listed item.Item
				if knows {
					listed, _, _ = conflict.ItemOf(record, nil)
				}
				ops, err := e.Missing(nil, listed)
				if err != nil {
					t.Fatal(err)
				}
				if knows && i >= 2 && len(ops) > 0 {
					t.Errorf("%s: %d operations for what is listed", name, len(ops))
				}
				if len(ops) == 0 {
					continue
				}
				c := conflict.Change{Key: []byte("k"), Dot: hlc.Stamp{Time: hlc.Timestamp(20 + i), Origin: hlc.Origin(i + 1)}, Ops: ops}
				if record, _, err = conflict.Apply(nil, record, &c); err != nil {
					t.Fatal(err)
				}
			}
			it, _, err := conflict.ItemOf(record, nil)
			if err != nil {
				t.Fatal(err)
			}
			got, err := Decode(it)
			if err != nil || !reflect.DeepEqual(got, &want) {
				t.Errorf("%s, knowing of each other %v:\ngot  %+v, %v\nwant %+v", name, knows, got, err, want)
			}
		}
	}
	for _, missing := range []string{attributeHead, prefixRule + "1"} {
		ops, err := all.Missing(nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		var b item.Builder
		for _, op := range ops {
			if string(op.Name) != missing {
				b.Add(op.Name, op.Value)
			}
		}
		it, err := b.AppendItem(nil)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Decode(it); err == nil {
			t.Errorf("an entry without %s is %+v", missing, got)
		}
	}
}
