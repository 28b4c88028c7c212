//go:build linux

package faults

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// told waits until a hook was told of all that was acknowledged, of what counts, and checks what it was told.
func (d *deeds) told(t testing.TB, h *hook, counts func(deed, string) bool) {
	t.Helper()
	eventually(t, "all that was acknowledged is told", func() string {
		if missing := d.untold(h.told(), counts); len(missing) > 0 {
			return few(missing)
		}
		return ""
	})
	tales := h.told()
	for _, fault := range append(d.wrong(tales), d.ordered(tales)...) {
		t.Error(fault)
	}
}

// A trigger that fires where a change was made tells of each write at least once, by one event, in order for each item (I13): regions are killed, one after the other and the last two
// at once, while the webhook refuses all and events wait; at all times it refuses some, cuts connections, and takes what it does not confirm.
func TestTriggerAtLeastOnce(t *testing.T) {
	t.Parallel() // most of it is waiting
	c := newTelling(t)
	random := newRandom(t)
	h := newHook(t, rand.New(rand.NewPCG(random.Uint64(), 1)))
	c.trigger(h, "fire: origin, batch: {size: 20, window: 20ms}")
	h.be(true, false)
	d := newDeeds()
	stop := d.start(t, c.regions()...)
	for round := range *rounds {
		victims := []*node{c.nodes[round%len(c.nodes)]}
		if round == *rounds-1 {
			victims = append(victims, c.nodes[(round+1)%len(c.nodes)])
		}
		d.acknowledges(t, victims[0].region, 50+random.IntN(100))
		h.be(true, true)
		for _, v := range victims {
			d.acknowledges(t, v.region, 20+random.IntN(50)) // nobody was told of these when it is killed
		}
		for _, v := range victims {
			v.proc.kill()
		}
		h.be(true, round%2 == 1) // the others go on being told, or not
		d.acknowledges(t, c.nodes[(round+2)%len(c.nodes)].region, 50)
		for _, v := range victims {
			v.launch()
		}
		h.be(true, false)
		for _, v := range victims {
			d.acknowledges(t, v.region, 20)
		}
	}
	stop()
	// At last they are restarted in order, which stores their cursors.
	h.be(true, true)
	for _, n := range c.nodes {
		if err := d.put(t, n.region, onceKey+"late/"+n.name, "late/"+n.name); err != nil {
			t.Fatal(err)
		}
		n.proc.stop()
		n.launch()
	}
	h.be(true, false)
	awaitEven(t, c.regions()...)
	d.told(t, h, nil)
	c.mustLoseNothing()
	t.Log(h.counted(hookTakes, hookRefuses, hookCuts, hookForgets))
}

// promise is how long it takes at most until another region fires a trigger with fire: one in place of one that is lost.
const promise = 30 * time.Second

// one is a trigger that one region fires for all.
type one struct {
	*cluster
	*deeds
	h      *hook
	victim *node // fires until it is killed
	left   []*node
	killed time.Time
}

// newOne returns a trigger with fire: one, under writes in all regions until stop is called. The region that fires has been killed, and others have written since.
func newOne(t *testing.T, spec string) (o *one, stop func()) {
	c := newTelling(t)
	o = &one{cluster: c, deeds: newDeeds(), h: newHook(t, rand.New(rand.NewPCG(newRandom(t).Uint64(), 1)))}
	c.trigger(o.h, "fire: one, "+spec)
	o.victim = slices.MinFunc(c.nodes, func(a, b *node) int { return strings.Compare(a.name, b.name) })
	o.left = slices.DeleteFunc(slices.Clone(c.nodes), func(n *node) bool { return n == o.victim })
	c.awaitFiring(o.victim)
	o.h.be(true, false)
	stop = o.start(t, c.regions()...)
	for _, n := range c.nodes {
		o.acknowledges(t, n.region, 100)
	}
	o.victim.proc.kill()
	o.killed = time.Now()
	for _, n := range o.left {
		if err := o.put(t, n.region, onceKey+"after/"+n.name, "after/"+n.name); err != nil {
			t.Fatal(err)
		}
	}
	return o, stop
}

// Where one region fires for all, and is killed, another one fires within the time that is promised, and skips nothing of what the regions have that are left; when the killed one is
// back, what only it had is told too.
func TestTriggerOneTakesOver(t *testing.T) {
	t.Parallel() // most of it is waiting
	o, stop := newOne(t, "batch: {size: 20, window: 20ms}")
	within(t, promise-time.Since(o.killed), "another region fires", func() string {
		for _, n := range o.left {
			if !o.h.has("after/" + n.name) {
				return "the write of " + n.name + " is not told"
			}
		}
		return ""
	})
	t.Logf("another region told of the first writes after the kill within %v", time.Since(o.killed))
	for _, n := range o.left {
		o.acknowledges(t, n.region, 50)
	}
	// What the others have of the killed region counts: it has to be told while that is away. Expired items are collected, and told of, when all regions are there.
	has := scanIDs(t, o.left[0].region)
	o.told(t, o.h, func(x deed, key string) bool {
		return heedless(x, key) && x.what != expireDeed && (x.origin != o.victim.name || strings.HasPrefix(key, onceKey) && has[x.id])
	})
	o.victim.launch()
	o.awaitFiring(o.victim)
	for _, n := range o.nodes {
		o.acknowledges(t, n.region, 50)
	}
	stop()
	awaitEven(t, o.regions()...)
	o.told(t, o.h, heedless)
	o.mustLoseNothing()
	t.Log(o.h.counted(hookTakes, hookRefuses, hookCuts, hookForgets))
}
