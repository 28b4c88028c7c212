package commit

import (
	"context"
	"slices"
	"sync"

	"github.com/cespare/xxhash/v2"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/feed"
)

// hashKey is the identity of a key for latches and for the applied-not-synced set. Two keys with the same hash share a latch, which costs them a wait,
// never correctness.
func hashKey(table globaltable.TableID, key []byte) uint64 {
	if table.IsFeed() {
		table, key = table.Base(), feed.ItemKey(key) // see feed.go
	}
	// A key begins with a hash of its own, which saves nothing here: the sort key follows it.
	return xxhash.Sum64(key) ^ uint64(table)*0x9e3779b97f4a7c15
}

const latchShards = 64

// latches lets one writer at a time from the read of a key to the application of its write. They are taken in the order of their hashes, so
// that no cycle can arise, and they are released by the sequencer, which takes none.
type latches struct{ shards [latchShards]latchShard }

type latchShard struct {
	mu sync.Mutex
	// held has the taken latches, with those who wait for them, first come first served. No entry has an owner but the one who took it.
	held map[uint64][]chan struct{}
	_    [64]byte // keeps neighbours off one cache line
}

func newLatches() *latches {
	l := new(latches)
	for i := range l.shards {
		l.shards[i].held = make(map[uint64][]chan struct{})
	}
	return l
}

func (l *latches) shard(h uint64) *latchShard { return &l.shards[h%latchShards] }

// sortHashes sorts and deduplicates: the form that acquire and release take.
func sortHashes(hashes []uint64) []uint64 {
	if len(hashes) > 1 {
		slices.Sort(hashes)
		hashes = slices.Compact(hashes)
	}
	return hashes
}

// acquire takes all latches, or none when ctx ends: then missed is the one that it waited for.
func (l *latches) acquire(ctx context.Context, hashes []uint64) (missed uint64, ok bool) {
	for i, h := range hashes {
		if !l.shard(h).acquire(ctx, h) {
			l.release(hashes[:i])
			return h, false
		}
	}
	return 0, true
}

// tryAcquire takes all latches or none, without waiting.
func (l *latches) tryAcquire(hashes []uint64) bool {
	for i, h := range hashes {
		if s := l.shard(h); !s.try(h) {
			l.release(hashes[:i])
			return false
		}
	}
	return true
}

func (l *latches) release(hashes []uint64) {
	for _, h := range hashes {
		l.shard(h).release(h)
	}
}

func (s *latchShard) try(h uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, taken := s.held[h]; taken {
		return false
	}
	s.held[h] = nil
	return true
}

func (s *latchShard) acquire(ctx context.Context, h uint64) bool {
	s.mu.Lock()
	waiting, taken := s.held[h]
	if !taken {
		s.held[h] = nil
		s.mu.Unlock()
		return true
	}
	// Waits are rare: a channel for each costs less than one for each latch.
	turn := make(chan struct{})
	s.held[h] = append(waiting, turn)
	s.mu.Unlock()
	select {
	case <-turn:
		return true
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.held[h], turn); i >= 0 {
		s.held[h] = slices.Delete(s.held[h], i, i+1)
		return false
	}
	// The latch was handed over at the same moment: pass it on.
	s.handOver(h)
	return false
}

func (s *latchShard) release(h uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handOver(h)
}

// handOver gives the latch to the next in line, or frees it. The caller holds mu.
func (s *latchShard) handOver(h uint64) {
	waiting := s.held[h]
	if len(waiting) == 0 {
		delete(s.held, h)
		return
	}
	close(waiting[0])
	s.held[h] = waiting[1:]
}

// pendingSlots is the size of the applied-not-synced set.
const pendingSlots = 1 << 16

// slotOf returns a key's slot in the applied-not-synced set.
func slotOf(h uint64) int { return int(h >> (64 - 16)) }
