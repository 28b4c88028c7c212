package repair

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/concordat-db/concordat/globaltable"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// drill drives a schedule through virtual time. Steps take no time, unless take says so.
type drill struct {
	t    *testing.T
	s    schedule
	now  time.Time
	done []stretch
	at   []time.Time // of each of done
	pass []Pass
	take func(st stretch) found
}

func newDrill(t *testing.T, every time.Duration, all ...known) *drill {
	d := &drill{t: t, s: schedule{every: every}, now: noon, take: func(stretch) found { return found{} }}
	d.s.know(all)
	return d
}

// step does the next step when it is due.
func (d *drill) step() stretch {
	d.t.Helper()
	for range 3 { // what is due may be a new round
		st, due, ok := d.s.plan(d.now)
		if !ok {
			d.t.Fatal("nothing to do")
		}
		if due.After(d.now) {
			d.now = due
			continue
		}
		f := d.take(st)
		d.now = d.now.Add(f.busy)
		d.done, d.at = append(d.done, st), append(d.at, d.now)
		if p := d.s.took(d.now, st, f); p != nil {
			d.pass = append(d.pass, *p)
		}
		return st
	}
	d.t.Fatal("nothing comes due")
	return stretch{}
}

func on(table globaltable.TableID, region string, bytes int64) known {
	return known{pair: pair{table, region}, bytes: bytes}
}

// TestARoundIsSpreadEvenly: every bucket of every pair comes once in a round, in order; what is read in any part of the time is in proportion to it, and the next round
// begins when it should.
func TestARoundIsSpreadEvenly(t *testing.T) {
	all := []known{on(1, "ap", 64<<20), on(1, "eu", 64<<20), on(2, "eu", 0), on(3, "eu", 20<<30)}
	d := newDrill(t, 24*time.Hour, all...)
	var whole, read int64
	for _, k := range all {
		whole += k.bytes
	}
	next := map[pair]int{}
	for d.s.round < 2 || !d.s.ended {
		before := d.s.round
		st := d.step()
		if d.s.round == 2 && before == 1 {
			if want := noon.Add(24 * time.Hour); d.at[len(d.at)-1].Before(want) || d.at[len(d.at)-1].After(want.Add(time.Second)) {
				t.Errorf("the second round begins at %v", d.at[len(d.at)-1])
			}
			for _, k := range all {
				if next[k.pair] != Buckets {
					t.Errorf("%v: %d buckets in a round", k.pair, next[k.pair])
				}
			}
			break
		}
		if st.from != next[st.pair] || st.to <= st.from || st.to-st.from > rangeBuckets {
			t.Fatalf("%+v after %d", st, next[st.pair])
		}
		next[st.pair] = st.to
		bytes := d.s.find(st.pair).bytes
		read += bytes * int64(st.to-st.from) / Buckets
		// A step is large in a table that is large: only that much may come early.
		share, passed := float64(read)/float64(whole), float64(d.now.Sub(noon))/float64(24*time.Hour)
		if share > passed+0.01 || share < passed-0.01 {
			t.Fatalf("%.3f is read when %.3f of the time has passed", share, passed)
		}
	}
	if len(d.pass) != len(all) {
		t.Errorf("%d passes", len(d.pass))
	}
	if n := len(d.done); n < 1024+2*16+16 {
		t.Errorf("%d steps: a step of the large table is a bucket", n)
	}
}

// TestARoundThatTakesTooLong: nothing is left out, and the next one begins at once.
func TestARoundThatTakesTooLong(t *testing.T) {
	d := newDrill(t, time.Hour, on(1, "eu", 1<<30), on(2, "eu", 1<<30))
	d.take = func(stretch) found { return found{bytes: 4 << 20, busy: 10 * time.Minute} }
	for len(d.pass) < 4 {
		d.step()
	}
	first, last := d.at[0], d.at[len(d.at)-1]
	// The first steps wait for their share of the hour.
	if pause := last.Sub(first) - time.Duration(len(d.done)-1)*10*time.Minute; pause > time.Hour {
		t.Errorf("%v of pauses", pause)
	}
	if p := d.pass[0]; p.Share < 0.9 || p.Share > 1 || p.Bytes != 256*4<<20 || p.State != Converged || p.Ended.Sub(p.Began) < 256*10*time.Minute {
		t.Errorf("%+v", p)
	}
}

// TestPairsComeAndGo: one that is paused waits where it is and holds up no other; one that goes is forgotten; one that comes has its turn.
func TestPairsComeAndGo(t *testing.T) {
	a, b, c := on(1, "eu", 1000), on(2, "eu", 1000), on(3, "eu", 1000)
	d := newDrill(t, time.Hour)
	if _, _, ok := d.s.plan(noon); ok || d.s.round != 0 {
		t.Error("a round of nothing has begun")
	}
	d.s.know([]known{a, b})
	for range 3 {
		d.step()
	}
	paused := a
	paused.paused = "because"
	d.s.know([]known{paused, b})
	if st := d.step(); st.pair != b.pair {
		t.Errorf("%+v", st)
	}
	if got := d.s.state(d.now, 1); len(got) != 1 || got[0].Paused != "because" || got[0].Percent != 18 || got[0].Last != nil {
		t.Errorf("%+v", got)
	}
	d.s.know([]known{a, c})
	for len(d.pass) < 2 {
		d.step()
	}
	want := []pair{a.pair, b.pair, a.pair, c.pair}
	var got []pair
	for _, st := range d.done {
		got = append(got, st.pair)
	}
	if got = slices.Compact(got); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if d.done[3+1].from != 3*rangeBuckets {
		t.Errorf("what was paused goes on at %d", d.done[4].from)
	}
	if len(d.s.state(d.now, 2)) != 0 {
		t.Error("what is gone is shown")
	}
	// All are paused: there is nothing to do, and no round ends or begins because of that.
	c.paused = "because"
	d.s.know([]known{paused, c})
	if _, _, ok := d.s.plan(d.now.Add(time.Hour)); ok || d.s.round != 1 {
		t.Error("there is something to do")
	}
}

// TestAPairThatFails is tried again after the others, five times in a round, and is not compared then; the next round begins with it anew.
func TestAPairThatFails(t *testing.T) {
	a, b := on(1, "eu", 1000), on(2, "eu", 1000)
	d := newDrill(t, time.Hour, a, b)
	d.step()
	var pass *Pass
	fails := 0
	for pass == nil {
		st, due, ok := d.s.plan(d.now)
		d.now = due
		if !ok {
			t.Fatal("nothing to do")
		}
		if st.pair == b.pair {
			d.step()
			continue
		}
		if st.from != rangeBuckets {
			t.Fatalf("%+v", st)
		}
		fails++
		pass = d.s.failed(d.now, st, found{bytes: 5}, "eu is out of reach")
	}
	if fails != maxTries || len(d.pass) != 1 || pass.State != NotCompared || pass.Detail != "eu is out of reach" || pass.Bytes != 25 {
		t.Errorf("%d failures, %d passes, %+v", fails, len(d.pass), pass)
	}
	if st := d.step(); st.pair != a.pair || st.from != 0 || d.s.round != 2 {
		t.Errorf("%+v in round %d", st, d.s.round)
	}
	// One that makes way is not counted.
	for range 2 * maxTries {
		st, _, _ := d.s.plan(d.now)
		d.s.delayed(d.now, st, found{})
	}
	if st, due, _ := d.s.plan(d.now); st.pair != a.pair || st.from != rangeBuckets || due.Sub(d.now) != putOff {
		t.Errorf("%+v in %v", st, due.Sub(d.now))
	}
}

// TestDivergenceIsKnownUntilItIsHealed: from the step that found it, through later passes, until one finds nothing, or a comparison that was asked for does.
func TestDivergenceIsKnownUntilItIsHealed(t *testing.T) {
	d := newDrill(t, time.Hour, on(1, "eu", 1000), on(1, "us", 1000))
	shown := func() (out string) {
		for _, c := range d.s.state(d.now, 1) {
			out += fmt.Sprint(c.Region, " ", c.Diverged != nil, " ")
		}
		return out + fmt.Sprint(d.s.divergedTables())
	}
	d.take = func(st stretch) found {
		if st.region == "eu" && st.from == 2*rangeBuckets && d.s.round <= 2 {
			return found{keys: 2, buckets: 1}
		}
		return found{inFlight: 1}
	}
	const nowhere, inEU = "eu false us false map[eu:0 us:0]", "eu true us false map[eu:1 us:0]"
	d.step()
	d.step()
	if got := shown(); got != nowhere {
		t.Error(got)
	}
	d.step()
	since := d.s.state(d.now, 1)[0].Diverged
	for len(d.pass) < 4 { // two rounds
		if got := shown(); got != inEU {
			t.Fatal(got)
		}
		d.step()
	}
	if p := d.pass[0]; p.State != Diverged || p.Keys != 2 || p.Buckets != 1 || d.pass[1].State != InFlight || !d.s.state(d.now, 1)[0].Diverged.Equal(*since) {
		t.Errorf("%+v", d.pass)
	}
	for len(d.pass) < 6 {
		d.step()
	}
	if got := shown(); got != nowhere {
		t.Error(got)
	}
	for _, c := range []struct{ state, want string }{{Diverged, inEU}, {NotCompared, inEU}, {Converged, nowhere}, {InFlight, nowhere}} {
		d.s.compared(d.now, pair{1, "eu"}, c.state)
		d.s.compared(d.now, pair{9, "eu"}, c.state)
		if got := shown(); got != c.want {
			t.Errorf("%s: %s", c.state, got)
		}
	}
}
