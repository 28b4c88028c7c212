package expr

import (
	"bytes"

	"github.com/concordat-db/concordat/globaltable/item"
)

// KeyCondition is what the key attributes of a query have to be: all of Terms. It lives as long as what it was bound with.
type KeyCondition struct {
	Terms []KeyTerm // at least one; no two on one attribute
}

// KeyTerm is a condition on one key attribute.
type KeyTerm struct {
	Name   []byte
	Op     KeyOp
	Values [2]item.Value // the second is the upper bound of KeyBetween; else nil
}

// KeyOp is the operator of a KeyTerm.
type KeyOp uint8

// The operators.
const (
	KeyEqual KeyOp = iota + 1
	KeyLess
	KeyLessOrEqual
	KeyGreater
	KeyGreaterOrEqual
	KeyBetween
	KeyBeginsWith
)

const keyConditionParameter = "KeyConditionExpression"

// keyOps are the operators that a key condition may have, by those of conditions.
var keyOps = map[Op]KeyOp{
	OpEQ: KeyEqual, OpLT: KeyLess, OpLE: KeyLessOrEqual, OpGT: KeyGreater, OpGE: KeyGreaterOrEqual,
	OpBetween: KeyBetween, OpBeginsWith: KeyBeginsWith,
}

// mirrored says what an operator becomes when its operands change places.
var mirrored = map[Op]Op{OpEQ: OpEQ, OpLT: OpGT, OpLE: OpGE, OpGT: OpLT, OpGE: OpLE}

// Faults of key conditions that quote nothing.
var (
	errNestedKey    = item.NewError(item.Validation, "KeyConditionExpressions cannot have conditions on nested attributes", "")
	errRepeatedKey  = item.NewError(item.Validation, "KeyConditionExpressions must only contain one condition per key", "")
	errSeveralNames = item.NewError(item.Validation, "Invalid condition in KeyConditionExpression: Multiple attribute names used in one condition", "")
	errNoKeyName    = item.NewError(item.Validation, "Invalid condition in KeyConditionExpression: No key attribute specified", "")
)

// newKeyCondition checks a condition and takes it apart.
func newKeyCondition(root *node, b bound) (*KeyCondition, error) {
	if err := (checker{keyConditionParameter, b}).check(root); err != nil {
		return nil, err
	}
	k := &KeyCondition{Terms: make([]KeyTerm, 0, 2)}
	if err := k.add(root, b); err != nil {
		return nil, err
	}
	return k, nil
}

// add adds the terms of a condition.
func (k *KeyCondition) add(n *node, b bound) error {
	if n.op == OpAnd {
		for _, a := range n.args {
			if err := k.add(a, b); err != nil {
				return err
			}
		}
		return nil
	}
	t, err := newKeyTerm(n, b)
	if err != nil {
		return err
	}
	for i := range k.Terms {
		if bytes.Equal(k.Terms[i].Name, t.Name) {
			return errRepeatedKey
		}
	}
	k.Terms = append(k.Terms, t)
	return nil
}

func newKeyTerm(n *node, b bound) (KeyTerm, error) {
	op, args := n.op, n.args
	if _, ok := keyOps[op]; !ok {
		return KeyTerm{}, badKeyOperator(op)
	}
	paths := 0
	for _, a := range args {
		switch a.op {
		case opPath:
			paths++
			if len(a.path) > 1 {
				return KeyTerm{}, errNestedKey
			}
		case opValue:
		default:
			return KeyTerm{}, badKeyOperator(a.op)
		}
	}
	switch {
	case paths > 1:
		return KeyTerm{}, errSeveralNames
	case paths == 0:
		return KeyTerm{}, errNoKeyName
	}
	if args[0].op != opPath {
		swapped, ok := mirrored[op]
		if !ok {
			return KeyTerm{}, fault("Invalid condition in KeyConditionExpression: "+op.String()+" operator must have the key attribute as its first operand", "")
		}
		op, args = swapped, []*node{args[1], args[0]}
	}
	t := KeyTerm{Name: b[args[0].path[0].symbol], Op: keyOps[op]}
	for i, a := range args[1:] {
		t.Values[i] = b.value(a)
	}
	return t, nil
}

func badKeyOperator(o Op) error {
	return fault("Invalid operator used in KeyConditionExpression: "+o.String(), "")
}
