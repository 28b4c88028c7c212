package store

import (
	"bytes"
	"errors"
	"io"
	"sync"

	iradix "github.com/hashicorp/go-immutable-radix"
)

// ErrCrashed is returned by an in-memory engine after Crash.
var ErrCrashed = errors.New("store: the engine has crashed")

// Memory is an engine in memory with the crash semantics of a disk: what was not waited for may be gone after Crash. It is for the
// deterministic simulation and for tests. Every state is an immutable tree, so that snapshots and the states that a crash may leave cost nothing.
type Memory struct {
	mu       sync.RWMutex
	tree     *iradix.Tree // newest applied state
	durable  *iradix.Tree
	unsynced []state // applied after durable, in order
	applied  uint64  // number of the newest batch
	crashed  bool
}

// state is what a batch left behind.
type state struct {
	number uint64
	tree   *iradix.Tree
}

// NewMemory returns an empty engine.
func NewMemory() *Memory {
	t := iradix.New()
	return &Memory{tree: t, durable: t}
}

// Crash ends m and returns what is found after a restart: all that was waited for, and as many of the unsynced batches, oldest first, as
// survive returns, which gets their number. A nil survive loses all of them. Snapshots and iterators of m stay readable.
func (m *Memory) Crash(survive func(unsynced int) int) *Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.crashed = true
	t := m.durable
	if survive != nil {
		if n := survive(len(m.unsynced)); n > 0 {
			t = m.unsynced[n-1].tree
		}
	}
	return &Memory{tree: t, durable: t}
}

// Copy returns an engine with what is durable in m now: a copy of the disk.
func (m *Memory) Copy() *Memory {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return &Memory{tree: m.durable, durable: m.durable}
}

func (m *Memory) view() treeView {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return treeView{m.tree}
}

// Get implements Reader.
func (m *Memory) Get(key []byte) ([]byte, io.Closer, bool, error) { return m.view().Get(key) }

// NewIter implements Reader.
func (m *Memory) NewIter(lower, upper []byte) (Iterator, error) {
	return m.view().NewIter(lower, upper)
}

// NewSnapshot implements Engine.
func (m *Memory) NewSnapshot() Snapshot { return m.view() }

// NewBatch implements Engine.
func (m *Memory) NewBatch() Batch { return &memoryBatch{} }

// Apply implements Engine.
func (m *Memory) Apply(b Batch) (wait func() error, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.crashed {
		return nil, ErrCrashed
	}
	txn := m.tree.Txn()
	for _, op := range b.(*memoryBatch).ops {
		op.apply(txn)
	}
	m.tree = txn.Commit()
	m.applied++
	number := m.applied
	m.unsynced = append(m.unsynced, state{number, m.tree})
	return func() error { return m.sync(number) }, nil
}

func (m *Memory) sync(number uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.crashed {
		return ErrCrashed
	}
	for len(m.unsynced) > 0 && m.unsynced[0].number <= number {
		m.durable = m.unsynced[0].tree
		m.unsynced = m.unsynced[1:]
	}
	return nil
}

// Size implements Engine. It is exact.
func (m *Memory) Size(lower, upper []byte) (uint64, error) {
	it, err := m.NewIter(lower, upper)
	if err != nil {
		return 0, err
	}
	var n uint64
	for ok := it.First(); ok; ok = it.Next() {
		value, err := it.Value()
		if err != nil {
			return 0, errors.Join(err, it.Close())
		}
		n += uint64(len(it.Key()) + len(value))
	}
	return n, it.Close()
}

// Close implements Engine.
func (m *Memory) Close() error { return nil }

// treeView is one state, as a reader.
type treeView struct{ tree *iradix.Tree }

func (v treeView) Get(key []byte) ([]byte, io.Closer, bool, error) {
	value, ok := v.tree.Get(key)
	if !ok {
		return nil, nil, false, nil
	}
	return value.([]byte), io.NopCloser(nil), true, nil
}

func (v treeView) NewIter(lower, upper []byte) (Iterator, error) {
	return &treeIterator{root: v.tree.Root(), lower: bytes.Clone(lower), upper: bytes.Clone(upper)}, nil
}

func (v treeView) Close() error { return nil }

type memoryOp struct {
	kind       memoryOpKind
	key, value []byte // value: the end of a range
}

type memoryOpKind uint8

const (
	opSet memoryOpKind = iota
	opDelete
	opDeleteRange
)

func (op *memoryOp) apply(txn *iradix.Txn) {
	switch op.kind {
	case opSet:
		txn.Insert(op.key, op.value)
	case opDelete:
		txn.Delete(op.key)
	case opDeleteRange:
		// The keys are gathered first: a transaction may change nodes under an iterator.
		var doomed [][]byte
		it := txn.Root().Iterator()
		it.SeekLowerBound(op.key)
		for k, _, ok := it.Next(); ok && bytes.Compare(k, op.value) < 0; k, _, ok = it.Next() {
			doomed = append(doomed, k)
		}
		for _, k := range doomed {
			txn.Delete(k)
		}
	}
}

type memoryBatch struct {
	ops  []memoryOp
	size int
}

func (b *memoryBatch) add(kind memoryOpKind, key, value []byte) {
	b.ops = append(b.ops, memoryOp{kind, bytes.Clone(key), append([]byte{}, value...)})
	b.size += len(key) + len(value)
}

func (b *memoryBatch) Set(key, value []byte)       { b.add(opSet, key, value) }
func (b *memoryBatch) Delete(key []byte)           { b.add(opDelete, key, nil) }
func (b *memoryBatch) DeleteRange(from, to []byte) { b.add(opDeleteRange, from, to) }
func (b *memoryBatch) Len() int                    { return b.size }
func (b *memoryBatch) Empty() bool                 { return len(b.ops) == 0 }
func (b *memoryBatch) Discard()                    { b.ops = nil }

// treeIterator walks over one state. Forward steps continue a tree iterator; backward steps seek anew, which is good enough here.
type treeIterator struct {
	root         *iradix.Node
	lower, upper []byte
	forward      *iradix.Iterator // positioned after key; nil after a backward step
	key, value   []byte
}

func (it *treeIterator) First() bool { return it.SeekGE(it.lower) }

func (it *treeIterator) Last() bool {
	if it.upper != nil {
		return it.SeekLT(it.upper)
	}
	return it.backward(it.root.ReverseIterator(), nil)
}

func (it *treeIterator) SeekGE(key []byte) bool {
	if bytes.Compare(key, it.lower) < 0 {
		key = it.lower
	}
	it.forward = it.root.Iterator()
	it.forward.SeekLowerBound(key)
	return it.step()
}

func (it *treeIterator) SeekLT(key []byte) bool {
	if it.upper != nil && bytes.Compare(key, it.upper) > 0 {
		key = it.upper
	}
	r := it.root.ReverseIterator()
	r.SeekReverseLowerBound(key)
	return it.backward(r, key)
}

// backward moves to the iterator's next key that is not limit.
func (it *treeIterator) backward(r *iradix.ReverseIterator, limit []byte) bool {
	it.forward = nil
	k, v, ok := r.Previous()
	if ok && limit != nil && bytes.Equal(k, limit) {
		k, v, ok = r.Previous()
	}
	return it.set(k, v, ok)
}

func (it *treeIterator) Next() bool {
	if it.key == nil {
		return false
	}
	if it.forward == nil {
		return it.SeekGE(append(bytes.Clone(it.key), 0))
	}
	return it.step()
}

func (it *treeIterator) Prev() bool {
	if it.key == nil {
		return false
	}
	return it.SeekLT(it.key)
}

func (it *treeIterator) step() bool { return it.set(it.forward.Next()) }

func (it *treeIterator) set(key []byte, value any, ok bool) bool {
	if !ok || bytes.Compare(key, it.lower) < 0 || it.upper != nil && bytes.Compare(key, it.upper) >= 0 {
		it.key, it.value = nil, nil
		return false
	}
	it.key, it.value = key, value.([]byte)
	return true
}

func (it *treeIterator) Key() []byte            { return it.key }
func (it *treeIterator) Value() ([]byte, error) { return it.value, nil }
func (it *treeIterator) Close() error           { return nil }

var _ Engine = (*Memory)(nil)
