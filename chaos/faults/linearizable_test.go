//go:build linux

package faults

import (
	"math"
	"testing"

	"github.com/anishathalye/porcupine"
)

// Linearizability of a region (I1, and I15 for transactions on two items) is judged by porcupine on registers in pairs: what transactions write together lies in one pair, so the history of each
// pair is judged for itself. The value of a register is the id of the operation that wrote it; empty where there is no item.

type pairKind uint8

const (
	readOne  pairKind = iota // a consistent GetItem
	readBoth                 // TransactGetItems
	setOne                   // PutItem, or DeleteItem for an empty value
	casOne                   // PutItem if the register has the value expected
	casBoth                  // TransactWriteItems: both, if the first has the value expected
)

// pairInput is an operation on a pair.
type pairInput struct {
	pair     int
	kind     pairKind
	register int // which one; 0 of those on both
	value    string
	expected string
}

// pairOutput is what came of it.
type pairOutput struct {
	unknown bool // it took place, or not
	done    bool // of a cas
	values  [2]string
}

// pairs is the model.
var pairs = porcupine.Model{
	Partition: func(history []porcupine.Operation) (out [][]porcupine.Operation) {
		by := map[int][]porcupine.Operation{}
		for _, op := range history {
			pair := op.Input.(pairInput).pair
			by[pair] = append(by[pair], op)
		}
		for _, ops := range by {
			out = append(out, ops)
		}
		return out
	},
	Init: func() any { return [2]string{} },
	Step: func(state, input, output any) (bool, any) {
		s, in, out := state.([2]string), input.(pairInput), output.(pairOutput)
		holds := s[in.register] == in.expected
		next := s
		next[in.register] = in.value
		switch in.kind {
		case readOne:
			return out.unknown || out.values[in.register] == s[in.register], s
		case readBoth:
			return out.unknown || out.values == s, s
		case setOne:
			return true, next
		case casBoth:
			next = [2]string{in.value, in.value}
		}
		switch {
		case !out.unknown && holds != out.done:
			return false, s
		case !holds:
			return true, s
		}
		return true, next
	},
}

// operationOf is an operation as porcupine takes it. One whose outcome is unknown stays open to the end: it may take place at any time after its call, or, which nobody can tell from
// after the last one, never.
func operationOf(client int, in pairInput, out pairOutput, call, end int64) porcupine.Operation {
	if out.unknown {
		end = math.MaxInt64
	}
	return porcupine.Operation{ClientId: client, Input: in, Output: out, Call: call, Return: end}
}

// The model finds what it is there for.
func TestPairs(t *testing.T) {
	one := func(v string) pairOutput { return pairOutput{values: [2]string{v}} }
	set := func(v string, call, end int64) porcupine.Operation {
		return operationOf(0, pairInput{kind: setOne, value: v}, pairOutput{}, call, end)
	}
	lost := func(v string, call int64) porcupine.Operation {
		return operationOf(1, pairInput{kind: setOne, value: v}, pairOutput{unknown: true}, call, 0)
	}
	read := func(v string, call, end int64) porcupine.Operation {
		return operationOf(2, pairInput{kind: readOne}, one(v), call, end)
	}
	both := func(a, b string, call, end int64) porcupine.Operation {
		return operationOf(3, pairInput{kind: readBoth}, pairOutput{values: [2]string{a, b}}, call, end)
	}
	cas := func(kind pairKind, old, v string, done bool, call, end int64) porcupine.Operation {
		return operationOf(4, pairInput{kind: kind, expected: old, value: v}, pairOutput{done: done}, call, end)
	}
	for name, c := range map[string]struct {
		history []porcupine.Operation
		want    bool
	}{
		"reads what was written":            {[]porcupine.Operation{set("1", 0, 1), read("1", 2, 3)}, true},
		"reads what nobody wrote":           {[]porcupine.Operation{set("1", 0, 1), read("2", 2, 3)}, false},
		"reads what was replaced":           {[]porcupine.Operation{set("1", 0, 1), set("2", 2, 3), read("1", 4, 5)}, false},
		"reads either while one is written": {[]porcupine.Operation{set("1", 0, 1), set("2", 2, 9), read("1", 3, 4), read("2", 5, 6)}, true},
		"reads back in time":                {[]porcupine.Operation{set("1", 0, 1), set("2", 2, 9), read("2", 3, 4), read("1", 5, 6)}, false},
		"an unknown one took place":         {[]porcupine.Operation{set("1", 0, 1), lost("2", 2), read("2", 3, 4)}, true},
		"an unknown one did not":            {[]porcupine.Operation{set("1", 0, 1), lost("2", 2), read("1", 3, 4)}, true},
		"a crash undid what was read":       {[]porcupine.Operation{set("1", 0, 1), lost("2", 2), read("2", 3, 4), read("1", 5, 6)}, false},
		"a condition that held":             {[]porcupine.Operation{set("1", 0, 1), cas(casOne, "1", "2", true, 2, 3), read("2", 4, 5)}, true},
		"a condition that did not hold":     {[]porcupine.Operation{set("1", 0, 1), cas(casOne, "x", "2", true, 2, 3)}, false},
		"a condition that failed, and held": {[]porcupine.Operation{set("1", 0, 1), cas(casOne, "1", "2", false, 2, 3)}, false},
		"two that both won":                 {[]porcupine.Operation{cas(casOne, "", "1", true, 0, 9), cas(casOne, "", "2", true, 0, 9)}, false},
		"a transaction, whole":              {[]porcupine.Operation{cas(casBoth, "", "1", true, 0, 1), both("1", "1", 2, 3)}, true},
		"a transaction, half":               {[]porcupine.Operation{cas(casBoth, "", "1", true, 0, 9), both("1", "", 2, 3)}, false},
	} {
		if got := porcupine.CheckOperations(pairs, c.history); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
