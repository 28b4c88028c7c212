package canary

import (
	"encoding/binary"
	"sync"
)

// keyBytes is how many bytes at the beginning of a pattern find it. Every pattern has more.
const keyBytes = 8

// slotBits makes the filter so large that a thousand canaries leave most of it empty, and so small that it stays in a processor's cache.
const slotBits = 20

// searcher finds patterns in byte strings, all at once: a filter of one bit for most positions, a map for the others. It is safe for concurrent use.
type searcher struct {
	mu       sync.RWMutex
	canaries []Canary
	filter   [1 << slotBits / 64]uint64 // a bit for each slot: some pattern's key is there
	at       map[uint64][]target
}

type target struct {
	pattern
	canary int
}

func newSearcher() *searcher { return &searcher{at: map[uint64][]target{}} }

// add makes the canary be searched for from now on.
func (s *searcher) add(c Canary) {
	patterns := c.patterns()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.canaries = append(s.canaries, c)
	for _, p := range patterns {
		key := binary.LittleEndian.Uint64([]byte(p.bytes[:keyBytes]))
		s.filter[slot(key)/64] |= 1 << (slot(key) % 64)
		s.at[key] = append(s.at[key], target{p, len(s.canaries) - 1})
	}
}

// slot is where a key is in the filter: a multiplicative hash.
func slot(key uint64) uint64 { return key * 0x9e3779b97f4a7c15 >> (64 - slotBits) }

// search calls hit with what is in b, each as often as it is there. The canary is valid during the call.
func (s *searcher) search(b []byte, hit func(c *Canary, form Form)) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for i := 0; i+keyBytes <= len(b); i++ {
		key := binary.LittleEndian.Uint64(b[i:])
		if s.filter[slot(key)/64]&(1<<(slot(key)%64)) == 0 {
			continue
		}
		for _, t := range s.at[key] {
			if len(b)-i >= len(t.bytes) && string(b[i:i+len(t.bytes)]) == t.bytes {
				hit(&s.canaries[t.canary], t.form)
			}
		}
	}
}
