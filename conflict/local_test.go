package conflict

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"

	"github.com/concordat-db/concordat/globaltable/item"
)

// genIntent makes an operation as a plan has it, on the attribute a.
func genIntent(t *rapid.T) Op {
	op := Op{Name: []byte("a")}
	switch rapid.IntRange(0, 8).Draw(t, "intent") {
	case 0:
		return Op{Kind: OpReset}
	case 1:
		return Op{Kind: OpReset, Value: genItem(t)}
	case 2:
		op.Kind, op.Value = OpSetCell, genTree(t, 2)
	case 3:
		op.Kind = OpRemoveCell
	case 4:
		op.Kind, op.Type, op.Value = OpAddNumber, TypeCounter, item.AppendInt(nil, int64(rapid.IntRange(-1, 2).Draw(t, "n")))
	case 5, 6:
		op.Kind, op.Type = rapid.SampledFrom([]OpKind{OpAddElements, OpDeleteElements}).Draw(t, "kind"), TypeSet
		e := genElement(t)
		op.Value, _ = item.AppendSet(nil, e.Type()-item.S+item.SS, []item.Value{e})
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
		rec, op := genRecord(t, "record"), genIntent(t)
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
