package conflict

import (
	"bytes"
	"testing"

	"github.com/cockroachdb/apd/v3"
	"pgregory.net/rapid"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable/item"
)

// intents are which of the operations below meet in one test: few, so that they do.
var intents = [][]int{{4, 4, 4, 2}, {5, 5, 6, 6, 2}, {7, 7, 3}, {8, 8, 2}, {0, 1, 2, 3, 4, 5, 6, 7, 8}}

// genIntent makes an operation as a plan has it, on the attribute a.
func genIntent(t *rapid.T, kinds []int) Op {
	op := Op{Name: []byte("a")}
	switch rapid.SampledFrom(kinds).Draw(t, "intent") {
	case 0:
		return Op{Kind: OpReset}
	case 1:
		return Op{Kind: OpReset, Value: genItem(t)}
	case 2:
		if op.Kind, op.Value = OpSetCell, genTree(t, 2); rapid.IntRange(0, 3).Draw(t, "set") == 0 {
			op.Value = stringSet(t, "x", "z")
		}
	case 3:
		op.Kind = OpRemoveCell
	case 4:
		op.Kind, op.Type, op.Value = OpAddNumber, TypeCounter, item.AppendInt(nil, int64(rapid.IntRange(-1, 2).Draw(t, "n")))
	case 5, 6:
		op.Kind, op.Type = rapid.SampledFrom([]OpKind{OpAddElements, OpDeleteElements}).Draw(t, "kind"), TypeSet
		op.Value = stringSet(t, rapid.SampledFrom([]string{"x", "y"}).Draw(t, "element"))
	case 7:
		op.Kind, op.Type, op.Value = OpSetCell, rapid.SampledFrom([]TypeTag{TypeMax, TypeMin}).Draw(t, "type"), genValue(t)
	case 8:
		op.Kind, op.Type, op.Name = rapid.SampledFrom([]OpKind{OpSetPath, OpRemovePath}).Draw(t, "kind"), TypeMap, AppendPath(AppendPath(nil, op.Name), genName(t))
		if op.Kind == OpSetPath {
			op.Value = genTree(t, 1)
		}
	}
	return op
}

// afterLocal says what DynamoDB makes of the attribute a that shows before (nil: nothing), if it makes something of it at all.
func afterLocal(t *rapid.T, before item.Value, op Op) (after item.Value, defined bool) {
	switch op.Kind {
	case OpReset:
		v, _ := item.Item(op.Value).Get([]byte("a"))
		return v, true
	case OpSetCell:
		return op.Value, true
	case OpRemoveCell:
		return nil, true
	case OpAddNumber:
		if before == nil {
			return op.Value, true
		}
		if before.Type() != item.N {
			return nil, false
		}
		sum, err := item.AppendSum(nil, before.Number(), item.Value(op.Value).Number())
		return item.AppendNumber(nil, sum), err == nil
	case OpAddElements, OpDeleteElements:
		switch {
		case before == nil && op.Kind == OpAddElements:
			return op.Value, true
		case before == nil:
			return nil, true
		case before.Type() != item.Value(op.Value).Type():
			return nil, false
		case op.Kind == OpAddElements:
			return item.AppendUnion(nil, before, op.Value), true
		}
		after, _ = item.AppendWithout(nil, before, op.Value)
		return after, true
	}
	if before.Type() != item.M {
		return nil, false
	}
	_, rest, _ := SplitPath(op.Name)
	name, _, _ := SplitPath(rest)
	var b item.Builder
	for n, v := range before.Each {
		if !bytes.Equal(n, name) {
			b.Add(n, v)
		}
	}
	if op.Kind == OpSetPath {
		b.Add(name, op.Value)
	}
	after, err := b.AppendMap(nil)
	if err != nil {
		t.Fatal(err)
	}
	return after, true
}

// On any record, whatever led to it, a local write does what DynamoDB does to what the record shows: it has seen it all. And whoever has the same record and gets the change ends with the same.
func TestLocalWritesAreDynamoDBs(t *testing.T) {
	defined := 0
	rapid.Check(t, func(t *rapid.T) {
		kinds := rapid.SampledFrom(intents).Draw(t, "intents")
		rec := genRecord(t, "record")
		for n := range rapid.IntRange(0, 4).Draw(t, "local writes before") {
			c := Change{Key: []byte("key"), Dot: stamp(20+uint64(n), hlc.Origin(rapid.Uint16Range(1, 3).Draw(t, "origin"))), Ops: []Op{genIntent(t, kinds)}}
			var err error
			if rec, _, err = ApplyLocal(nil, rec, &c); err != nil {
				t.Fatal(err)
			}
		}
		op := genIntent(t, kinds)
		r := mustDecode(t, rec)
		name := []byte("a")
		before, _, shown := r.shown(name, r.typed(name))
		if !shown {
			before = nil
		}
		want, ok := afterLocal(t, before, op)
		if typed := r.typed(name); typed != nil && op.Kind != OpReset && op.Kind != OpSetCell && op.Kind != OpRemoveCell {
			_, _, bid := typed.best(nil, stamp(1, 1))
			ok = ok && !bid // an increment of what was a maximum waits below it
			for i := range typed.Runs {
				var sum apd.Decimal
				typed.Runs[i].Sum.decimal(&sum)
				ok = ok && (op.Kind != OpAddNumber || sum.Exponent >= -1 && sum.Exponent < 9) // shown as it is, not rounded
			}
			for i := range typed.Elements {
				// Of elements of several types those of the latest show.
				ok = ok && (op.Kind != OpDeleteElements || typed.Elements[i].Value.Type() == item.Value(op.Value).Type().Elem())
			}
		}
		c := Change{Key: []byte("key"), Dot: stamp(50, 2), Ops: []Op{op}}
		next, result, err := ApplyLocal(nil, rec, &c)
		if err != nil {
			t.Fatal(err)
		}
		if err := CheckRecord(next); err != nil {
			t.Fatal(err)
		}
		after := mustDecode(t, next)
		got, _, shown := after.shown(name, after.typed(name))
		if !shown {
			got = nil
		}
		if result.LiveAfter != after.Live() || after.Live() != (op.Kind != OpReset || len(op.Value) > 0) {
			t.Fatalf("live %v after kind %d", after.Live(), op.Kind)
		}
		if left := after.typed(name); want == nil && op.Kind == OpDeleteElements && left != nil && anyLive([]Typed{*left}) {
			ok = false // what waited below the set shows now
		}
		if ok {
			if defined++; !bytes.Equal(got, want) {
				t.Fatalf("kind %d of %x on %x gives %x, want %x", op.Kind, op.Value, before, got, want)
			}
		}
		var again Change
		if err := DecodeChange(c.Append(nil), &again); err != nil {
			t.Fatal(err)
		}
		if err := again.Check(); err != nil {
			t.Fatal(err)
		}
		if there := mustApply(t, rec, &again); !bytes.Equal(canonicalOf(t, there), canonicalOf(t, next)) {
			t.Fatal("the change leads elsewhere to something else")
		}
	})
	if defined == 0 {
		t.Fatal("no write was compared")
	}
}
