package regionnode

import (
	"testing"
	"time"

	"github.com/concordat-db/concordat/conflict/hlc"
)

func TestClockGuard(t *testing.T) {
	const bound = 500 * time.Millisecond
	now := time.Unix(1_700_000_000, 0)
	type seen struct {
		ahead, uncertain, age time.Duration
	}
	for name, c := range map[string]struct {
		peers []seen
		want  clockState
	}{
		"close to both":                 {[]seen{{ahead: 10 * time.Millisecond}, {ahead: -20 * time.Millisecond}}, clockFine},
		"ahead of both":                 {[]seen{{ahead: 300 * time.Millisecond}, {ahead: 260 * time.Millisecond}}, clockAhead},
		"ahead of one":                  {[]seen{{ahead: 300 * time.Millisecond}, {ahead: 10 * time.Millisecond}}, clockFine},
		"exactly half the bound":        {[]seen{{ahead: 250 * time.Millisecond}}, clockFine},
		"a round trip explains it":      {[]seen{{ahead: 300 * time.Millisecond, uncertain: 100 * time.Millisecond}}, clockFine},
		"a round trip does not":         {[]seen{{ahead: 400 * time.Millisecond, uncertain: 100 * time.Millisecond}}, clockAhead},
		"behind both":                   {[]seen{{ahead: -300 * time.Millisecond}, {ahead: -900 * time.Millisecond}}, clockBehind},
		"old measurements do not count": {[]seen{{ahead: 300 * time.Millisecond}, {ahead: 0, age: time.Minute}}, clockAhead},
		"nobody heard":                  {nil, clockFine},
	} {
		t.Run(name, func(t *testing.T) {
			g := newClockGuard(bound)
			for i, p := range c.peers {
				g.measured(hlc.Origin(i+1), p.ahead, p.uncertain, now.Add(-p.age))
			}
			if got := g.state(now); got != c.want {
				t.Errorf("state %d, want %d", got, c.want)
			}
		})
	}
}
