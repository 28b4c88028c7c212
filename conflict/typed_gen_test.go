package conflict

import (
	"slices"

	"pgregory.net/rapid"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable/item"
)

// The generators of operations as logs have them, on any state and of any state: what no region would write, too. The laws have to hold over all of it.

func genElement(t *rapid.T) item.Value {
	switch rapid.IntRange(0, 3).Draw(t, "element") {
	case 0:
		return item.AppendInt(nil, int64(rapid.IntRange(0, 1).Draw(t, "n")))
	case 1:
		return item.AppendBinary(nil, "x")
	}
	return item.AppendString(nil, rapid.SampledFrom([]string{"x", "y"}).Draw(t, "s"))
}

func genSum(t *rapid.T) Sum {
	n, err := item.ParseNumber(rapid.SampledFrom([]string{"0", "1", "-1", "1e125", "1e-130", "-0.5"}).Draw(t, "sum"))
	if err != nil {
		t.Fatal(err)
	}
	return Sum(nil).plus(n)
}

// genRun makes a run that ends at or before a dot, of its origin.
func genRun(t *rapid.T, last hlc.Stamp) Run {
	return Run{Last: last, First: hlc.Timestamp(rapid.Uint64Range(1, uint64(last.Time)).Draw(t, "first")), Sum: genSum(t)}
}

func genEarlier(t *rapid.T, dot hlc.Stamp) hlc.Stamp {
	s := genStamp(t)
	s.Time = min(s.Time, dot.Time)
	return s
}

// genTree makes a value that may be a map of some depth.
func genTree(t *rapid.T, depth int) item.Value {
	if depth == 0 || rapid.IntRange(0, 2).Draw(t, "map") == 0 {
		return genValue(t)
	}
	var b item.Builder
	for _, name := range rapid.SliceOfNDistinct(rapid.Custom(genName), 0, 2, func(n []byte) string { return string(n) }).Draw(t, "names") {
		b.Add(name, genTree(t, depth-1))
	}
	v, err := b.AppendMap(nil)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// sorted returns the list without entries of one key, in order.
func sorted[T any](l []T, key func(a, b *T) int) []T {
	slices.SortStableFunc(l, func(a, b T) int { return key(&a, &b) })
	return slices.CompactFunc(l, func(a, b T) bool { return key(&a, &b) == 0 })
}

func genObservation(t *rapid.T, name []byte, dot hlc.Stamp) Typed {
	seen := Typed{Name: name}
	dots := func(label string) []Observed {
		out := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Observed { return Observed{genEarlier(t, dot), dot} }), 1, 2).Draw(t, label)
		return sorted(out, (*Observed).key)
	}
	for range rapid.IntRange(0, 2).Draw(t, "runs") {
		seen.Observed = append(seen.Observed, Observation{genRun(t, genEarlier(t, dot)), dot})
	}
	for range rapid.IntRange(0, 2).Draw(t, "elements") {
		seen.Elements = append(seen.Elements, Element{Value: genElement(t), Removals: dots("removed")})
	}
	seen.Observed, seen.Elements = sorted(seen.Observed, (*Observation).key), sorted(seen.Elements, (*Element).key)
	if rapid.Bool().Draw(t, "bids") || seen.isEmpty() {
		seen.Outbid = dots("outbid")
	}
	return seen
}

// genTypedOp makes an operation that has to do with contributions, of the change with the dot given.
func genTypedOp(t *rapid.T, dot hlc.Stamp) Op {
	op := Op{Name: genName(t)}
	switch rapid.IntRange(0, 8).Draw(t, "typed op") {
	case 5:
		op.Kind, op.Value = OpSetCell, genTree(t, 2)
	case 6, 7, 8:
		op.Kind, op.Type = rapid.SampledFrom([]OpKind{OpSetPath, OpSetPath, OpRemovePath}).Draw(t, "kind"), TypeMap
		op.Name = AppendPath(nil, op.Name)
		for range rapid.IntRange(1, 2).Draw(t, "depth") {
			op.Name = AppendPath(op.Name, genName(t))
		}
		if op.Kind == OpSetPath {
			if op.Value = genTree(t, 1); rapid.IntRange(0, 3).Draw(t, "presence") == 0 {
				op.Name, op.Value = AppendPath(op.Name, nil), nil
			}
		}
	case 0:
		run := genRun(t, dot)
		op.Kind, op.Type, op.Value = OpIncrement, TypeCounter, appendIncrement(nil, &run, nil)
	case 1:
		op.Kind, op.Type = rapid.SampledFrom([]OpKind{OpAddElements, OpDeleteElements}).Draw(t, "kind"), TypeSet
		e := genElement(t)
		op.Value, _ = item.AppendSet(nil, e.Type()-item.S+item.SS, []item.Value{e})
	case 2:
		op.Kind, op.Type = OpSetCell, rapid.SampledFrom([]TypeTag{TypeMax, TypeMin}).Draw(t, "type")
		op.Value = genValue(t)
	default:
		op.Kind = OpObserve
		seen := genObservation(t, op.Name, dot)
		op.Value = appendObservation(nil, dot, &seen)
	}
	return op
}

// genPlainChanges makes changes without contributions.
func genPlainChanges(t *rapid.T, label string) []Change {
	return rapid.SliceOfN(rapid.Custom(genPlainChange), 0, 8).Draw(t, label)
}

func genPlainChange(t *rapid.T) Change { return genChangeAt(t, genStamp(t), false) }

func genChange(t *rapid.T) Change { return genChangeAt(t, genStamp(t), true) }

// genChangeAt makes a change of any context and floor. Two of one dot may yet differ: the merge must be total even
// over what should not happen.
func genChangeAt(t *rapid.T, dot hlc.Stamp, typed bool) Change {
	c := Change{
		Table: rapid.Uint64().Draw(t, "table"), Key: []byte("key"), Dot: dot,
		CatalogVersion: rapid.Uint64().Draw(t, "catalog version"),
		Floor:          hlc.Timestamp(rapid.Uint64Range(0, 2).Draw(t, "floor")),
		Transaction:    hlc.Timestamp(rapid.Uint64Range(0, 2).Draw(t, "transaction")),
	}
	for _, s := range rapid.SliceOfN(rapid.Custom(genStamp), 0, 3).Draw(t, "context") {
		if s.Time > c.Floor && s.Origin != c.Dot.Origin && s.Time < c.Dot.Time {
			c.Context = c.Context.With(s)
		}
	}
	if rapid.IntRange(0, 2).Draw(t, "whole") == 0 {
		c.Ops = []Op{{Kind: OpReset}}
		if rapid.Bool().Draw(t, "put") {
			c.Ops[0].Value = genItem(t)
		}
		return c
	}
	for range rapid.IntRange(1, 3).Draw(t, "ops") {
		if typed && rapid.Bool().Draw(t, "typed") {
			c.Ops = append(c.Ops, genTypedOp(t, dot))
		} else {
			c.Ops = append(c.Ops, genOp(t))
		}
	}
	return c
}
