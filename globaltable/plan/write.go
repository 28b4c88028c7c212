package plan

import (
	"bytes"
	"slices"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/globaltable/item"
)

// Action is what a Write does.
type Action uint8

// The actions.
const (
	Put    Action = iota + 1 // the item becomes Write.Item
	Delete                   // the item goes
)

// Write is one key's request.
type Write struct {
	Action Action
	Item   item.Item // the whole new item of a Put; nil for a Delete
}

// Outcome is what a Write comes to.
type Outcome struct {
	Ops     []conflict.Op // in order; their bytes are views of the Write
	OldSize int           // DynamoDB's size of the item replaced or deleted; 0 if there was none
}

// Plan returns what w does to current, nil when the item does not exist. The operations are appended to ops[:0].
//
// A Delete makes an operation even when the item does not exist: a write to it may be on its way from another region, and this
// delete, made later, must win over it.
func (w *Write) Plan(current item.Item, ops []conflict.Op) (Outcome, error) {
	var out Outcome
	if current != nil {
		out.OldSize = current.Size()
	}
	switch w.Action {
	case Put:
		if err := item.CheckSize(w.Item); err != nil {
			return Outcome{}, err
		}
		out.Ops = append(ops[:0], conflict.Op{Kind: conflict.OpReset, Value: w.Item})
	case Delete:
		out.Ops = append(ops[:0], conflict.Op{Kind: conflict.OpReset})
	default:
		return Outcome{}, invalid("no such action")
	}
	return out, nil
}

// Distinct reports whether no two of the keys are equal, as the requests of one batch must be. It sorts keys in place.
func Distinct(keys []item.Key) bool {
	slices.SortFunc(keys, func(a, b item.Key) int { return bytes.Compare(a, b) })
	for i := 1; i < len(keys); i++ {
		if string(keys[i]) == string(keys[i-1]) {
			return false
		}
	}
	return true
}
