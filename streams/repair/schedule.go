package repair

import (
	"cmp"
	"slices"
	"time"

	"github.com/concordat-db/concordat/globaltable"
)

// schedule decides what the background comparison looks at, and when. It is pure: times come from its caller.
//
// *Problem.* Everything is to be compared once in a while; nobody who uses the region may notice it; and a table that grows, or a region out of reach, must not bring the rest to a halt.
//
// *Outline.* A round goes through all pairs of a table and a region that has it too, one after the other, and through the buckets of a pair, some of them in each step. A step is as large as about stepBytes of
// records, or one bucket. What a step is of all that the round still has to read, its pause is of the time that the round still has: so a round takes about as long as it may, however
// large the tables are. Steps wait for the greatest rate as they read, whatever the schedule says: tables that are too large for it take longer, and the next round begins at once then.
//
// A step that fails is tried again later in the round, after the other pairs' steps; a pair that fails maxTries times in a round is not compared in it.
type schedule struct {
	every time.Duration // from the beginning of a round to that of the next

	round   uint64 // number of the current one, from 1; 0: none has begun
	began   time.Time
	ended   bool // all that could be was compared; the next round begins at began + every
	notYet  time.Time
	current *pairState   // the one whose turn it is; nil: none
	pairs   []*pairState // sorted
}

const (
	stepBytes    = 4 << 20
	stepOverhead = 64 << 10 // what a step weighs beside its bytes: small and empty tables take their time, too
	maxTries     = 5
	tryAgain     = 30 * time.Second // after a step that failed
	putOff       = time.Second      // after one that had to make way; at least so long after one that failed
)

// pair is a table and a region that has a replica of it, as this one has.
type pair struct {
	table  globaltable.TableID
	region string
}

func (a pair) compare(b pair) int {
	return cmp.Or(cmp.Compare(a.table, b.table), cmp.Compare(a.region, b.region))
}

// known is a pair as it is now.
type known struct {
	pair
	bytes  int64  // of the table here
	paused string // why it is not compared now; empty: it is
}

// pairState is how far the comparison of a pair is.
type pairState struct {
	known
	round uint64 // the last one that is through with it
	tries int    // failed in the current round
	next  int    // bucket from which the current round goes on
	now   Pass   // of the current round; without a beginning before its first step
	last  *Pass  // nil: none
	// diverged is when it was first seen that the replicas have diverged; zero while nothing is known of that.
	diverged time.Time
}

// stretch is the part of a pair that is to be compared next: the buckets [from, to).
type stretch struct {
	pair
	from, to int
}

// found is what a step has found.
type found struct {
	bytes    int64         // read, on the side that read more
	busy     time.Duration // spent reading
	keys     int           // that have diverged
	buckets  int           // that have
	inFlight int           // keys
}

// know takes over which pairs there are.
func (s *schedule) know(all []known) {
	next := make([]*pairState, 0, len(all))
	for _, k := range all {
		i, ok := slices.BinarySearchFunc(s.pairs, k.pair, func(p *pairState, k pair) int { return p.pair.compare(k) })
		if !ok {
			next = append(next, &pairState{known: k})
			continue
		}
		s.pairs[i].known = k
		next = append(next, s.pairs[i])
	}
	slices.SortFunc(next, func(a, b *pairState) int { return a.compare(b.pair) })
	s.pairs = next
	if s.current != nil && (s.find(s.current.pair) == nil || s.current.paused != "") {
		s.current = nil
	}
}

func (s *schedule) find(k pair) *pairState {
	i, ok := slices.BinarySearchFunc(s.pairs, k, func(p *pairState, k pair) int { return p.pair.compare(k) })
	if !ok {
		return nil
	}
	return s.pairs[i]
}

// plan returns the next step and when it is due. ok is false while there is nothing to compare.
func (s *schedule) plan(now time.Time) (next stretch, due time.Time, ok bool) {
	if !slices.ContainsFunc(s.pairs, func(p *pairState) bool { return p.paused == "" }) {
		return stretch{}, time.Time{}, false
	}
	if s.round == 0 || s.ended && !now.Before(s.began.Add(s.every)) {
		s.round++
		s.began, s.ended = now, false
	}
	if s.current == nil && !s.ended {
		s.choose()
	}
	p := s.current
	if p == nil {
		// What is new, or goes on, from now on has its turn in the next round.
		s.ended = true
		return stretch{}, s.began.Add(s.every), true
	}
	return stretch{p.pair, p.next, min(p.next+p.stride(), Buckets)}, s.notYet, true
}

// choose takes the pair that has failed least, of those that are to be compared in this round.
func (s *schedule) choose() {
	for _, p := range s.pairs {
		if p.round < s.round && p.paused == "" && (s.current == nil || p.tries < s.current.tries) {
			s.current = p
		}
	}
}

// stride is the number of buckets in a step.
func (p *pairState) stride() int {
	return int(min(max(stepBytes*Buckets/max(p.bytes, 1), 1), rangeBuckets))
}

// weight is what n buckets of the pair weigh.
func (p *pairState) weight(n int) float64 {
	steps := float64(n) / float64(p.stride())
	return float64(p.bytes)*float64(n)/Buckets + steps*stepOverhead
}

// left is the weight of all that the round has still to do.
func (s *schedule) left() (weight float64) {
	for _, p := range s.pairs {
		if p.round < s.round && p.paused == "" {
			weight += p.weight(Buckets - p.next)
		}
	}
	return weight
}

// took takes over what a step has found, at its end. It returns the pass when the pair is through with it.
func (s *schedule) took(now time.Time, st stretch, f found) *Pass {
	p := s.find(st.pair)
	if p == nil || p.next != st.from {
		return nil // the pair is gone, or came anew
	}
	weight, left := p.weight(st.to-st.from), s.left()
	s.notYet = now
	if rest := s.began.Add(s.every).Sub(now); rest > 0 && left > 0 {
		s.notYet = now.Add(time.Duration(float64(rest) * min(1, weight/left)))
	}
	p.next, p.tries = st.to, 0
	p.now.add(now, f)
	if f.keys > 0 && p.diverged.IsZero() {
		p.diverged = now
	}
	if st.to < Buckets {
		return nil
	}
	return s.through(now, p)
}

// failed notes that a step could not be done. It returns the pass when the pair is given up for this round.
func (s *schedule) failed(now time.Time, st stretch, f found, why string) *Pass {
	s.notYet = now.Add(max(min(tryAgain, s.every/100), putOff))
	p := s.find(st.pair)
	if p == nil {
		return nil
	}
	p.now.add(now, f)
	s.current = nil
	if p.tries++; p.tries < maxTries {
		return nil
	}
	p.now.Detail = why
	return s.through(now, p)
}

// delayed notes that a step had to make way for something else.
func (s *schedule) delayed(now time.Time, st stretch, f found) {
	s.notYet = now.Add(putOff)
	if p := s.find(st.pair); p != nil {
		p.now.add(now, f)
	}
}

// through ends the pair's part of the round.
func (s *schedule) through(now time.Time, p *pairState) *Pass {
	pass := p.now
	pass.end(now)
	if pass.State == Converged || pass.State == InFlight {
		p.diverged = time.Time{}
	}
	p.last, p.round, p.next, p.tries, p.now = &pass, s.round, 0, 0, Pass{}
	s.current = nil
	return &pass
}

// compared takes over what a comparison that was asked for has found, at its end.
func (s *schedule) compared(now time.Time, k pair, state string) {
	p := s.find(k)
	switch {
	case p == nil:
	case state == Diverged && p.diverged.IsZero():
		p.diverged = now
	case state == Converged || state == InFlight:
		p.diverged = time.Time{}
		p.now.Keys, p.now.Buckets = 0, 0
	}
}

// divergedTables counts, for each region, the tables that are known to have diverged from its own.
func (s *schedule) divergedTables() map[string]int {
	out := map[string]int{}
	for _, p := range s.pairs {
		n := 0
		if !p.diverged.IsZero() {
			n = 1
		}
		out[p.region] += n
	}
	return out
}

// Pass is one comparison of a whole table with one region in the background.
type Pass struct {
	Began    time.Time `json:"began"`
	Ended    time.Time `json:"ended"`
	State    string    `json:"state"`
	Detail   string    `json:"detail,omitempty"` // why the table was not compared
	Keys     int       `json:"keys"`             // that had diverged
	Buckets  int       `json:"buckets"`          // of 1024, that had
	InFlight int       `json:"inFlight"`         // keys that differed because of what was on its way
	Bytes    int64     `json:"bytes"`            // read, on the side that read more
	// Share is the part of the time between beginning and end in which something was read, 1 being all of it.
	Share float64 `json:"share"`

	busy time.Duration
}

// add adds what a step that ends now has found.
func (p *Pass) add(now time.Time, f found) {
	if p.Began.IsZero() {
		p.Began = now.Add(-f.busy)
	}
	p.Keys += f.keys
	p.Buckets += f.buckets
	p.InFlight += f.inFlight
	p.Bytes += f.bytes
	p.busy += f.busy
}

func (p *Pass) end(now time.Time) {
	p.Ended = now
	p.Share = p.share(now)
	switch {
	case p.Keys > 0:
		p.State = Diverged
	case p.Detail != "":
		p.State = NotCompared
	case p.InFlight > 0:
		p.State = InFlight
	default:
		p.State = Converged
	}
}

func (p *Pass) share(now time.Time) float64 {
	if whole := now.Sub(p.Began); whole > 0 {
		return min(1, float64(p.busy)/float64(whole))
	}
	return 0
}

// Compared is what the background comparison knows of one table and one other region. It begins anew with the process.
type Compared struct {
	Region string `json:"region"`
	// Diverged is when it was first seen that the replicas have diverged, null while nothing is known of that. It is not healed by the comparison.
	Diverged *time.Time `json:"diverged"`
	Last     *Pass      `json:"last,omitempty"` // one that is over; nil: none yet
	// Of the current pass.
	Percent int     `json:"percent"`
	Bytes   int64   `json:"bytes"`
	Share   float64 `json:"share"`            // as in a Pass
	Paused  string  `json:"paused,omitempty"` // why it does not go on
}

// state tells of the pairs of one table.
func (s *schedule) state(now time.Time, table globaltable.TableID) (out []Compared) {
	for _, p := range s.pairs {
		if p.table != table {
			continue
		}
		c := Compared{Region: p.region, Percent: 100 * p.next / Buckets, Bytes: p.now.Bytes, Paused: p.paused}
		if !p.now.Began.IsZero() {
			c.Share = p.now.share(now)
		}
		if p.last != nil {
			last := *p.last
			c.Last = &last
		}
		if !p.diverged.IsZero() {
			at := p.diverged
			c.Diverged = &at
		}
		out = append(out, c)
	}
	return out
}
