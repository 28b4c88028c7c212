package regionnode

import (
	"sync"
	"time"

	"github.com/concordat-db/concordat/conflict/hlc"
)

// clockGuard decides from the offsets measured to the peers whether this region's clock can be trusted (PROTOCOL.md section 9 rule 2): a
// clock that is ahead of every peer heard from lately by more than half the bound would stamp writes that peers refuse. One that is behind
// harms nobody but loses conflicts, so it is only reported.
type clockGuard struct {
	mu      sync.Mutex
	bound   time.Duration // maximum clock offset
	recent  time.Duration // how long a measurement counts
	offsets map[hlc.Origin]offset
}

type offset struct {
	ahead time.Duration // of the peer, at least so much
	at    time.Time
}

// clockState is what the guard thinks of the own clock.
type clockState uint8

const (
	clockFine clockState = iota
	clockAhead
	clockBehind
)

func newClockGuard(bound time.Duration) *clockGuard {
	return &clockGuard{bound: bound, recent: 30 * time.Second, offsets: map[hlc.Origin]offset{}}
}

// measured takes how far this clock is ahead of the peer's (negative: behind), and the uncertainty of that; now is monotonic time.
func (g *clockGuard) measured(peer hlc.Origin, ahead, uncertain time.Duration, now time.Time) clockState {
	g.mu.Lock()
	defer g.mu.Unlock()
	// What the round trip could explain is no evidence.
	switch {
	case ahead > uncertain:
		ahead -= uncertain
	case ahead < -uncertain:
		ahead += uncertain
	default:
		ahead = 0
	}
	g.offsets[peer] = offset{ahead, now}
	return g.state(now)
}

// forget drops a peer's measurement: it is none any more.
func (g *clockGuard) forget(peer hlc.Origin, now time.Time) clockState {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.offsets, peer)
	return g.state(now)
}

func (g *clockGuard) state(now time.Time) clockState {
	heard, ahead, behind := 0, 0, 0
	for _, o := range g.offsets {
		if now.Sub(o.at) > g.recent {
			continue
		}
		heard++
		if o.ahead > g.bound/2 {
			ahead++
		}
		if o.ahead < -g.bound/2 {
			behind++
		}
	}
	switch {
	case heard > 0 && ahead == heard:
		return clockAhead
	case heard > 0 && behind == heard:
		return clockBehind
	}
	return clockFine
}
