//go:build linux && planted

package faults

import (
	"fmt"
	"strings"
	"testing"
)

// tags are those with which the program is built.
const tags = "planted"

// TestPlanted plants a fault in all regions, and sees that the canary test finds what leaks, where it is to be found, and that the judge of tales finds what is told wrongly, or not.
func TestPlanted(t *testing.T) {
	for fault, find := range map[string]func(t *testing.T) []string{
		"eager cursor": untoldAfterRestart,
		"own mark":     untoldByOther,
		"told anyway":  toldWrongly,
	} {
		t.Run(fault, func(t *testing.T) {
			t.Setenv("CONCORDAT_PLANT", fault)
			found := find(t)
			if len(found) == 0 {
				t.Fatal("not found")
			}
			t.Log("found: " + few(found))
		})
	}
	for fault, where := range map[string]string{
		"policies": "files of",
		"scrub":    "files of",
		// The items have gone, what was told of them has not.
		"kept telling": "files of",
	} {
		t.Run(fault, func(t *testing.T) {
			t.Setenv("CONCORDAT_PLANT", fault)
			s := newSovereign(t)
			var found []string
			s.complaint = func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
			s.open()
			stop := s.startWriters()
			s.awaitWrites(3)
			s.pinAll()
			s.awaitWrites(3)
			stop()
			s.turn("end", s.now.may)
			s.look("at the end")
			for _, f := range found {
				if strings.Contains(f, where) {
					t.Logf("found, among %d: %s", len(found), f)
					return
				}
			}
			t.Errorf("not found in %s; found: %q", where, found[:min(len(found), 5)])
		})
	}
}

// Triggers of these tests try one batch after the other, the oldest first: so all that they will ever tell of what was written before is told when they tell a later write.
const inTurn = "parallel: 1, batch: {size: 20, window: 20ms}"

// after writes in a region, waits until that is told, and returns what was not told of what counts.
func (d *deeds) after(t *testing.T, h *hook, r *region, counts func(x deed, key string) bool) (found []string) {
	if err := d.put(t, r, onceKey+"last", "last"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the last write is told", func() string {
		if !h.has("last") {
			return "it is not"
		}
		return ""
	})
	for _, x := range d.untold(h.told(), counts) {
		found = append(found, fmt.Sprint(x))
	}
	return found
}

// untoldAfterRestart restarts a region while events wait, and returns what of its writes it does not tell when it is back.
func untoldAfterRestart(t *testing.T) []string {
	c := newTelling(t)
	h := newHook(t, newRandom(t))
	c.trigger(h, "fire: origin, "+inTurn)
	d, victim := newDeeds(), c.nodes[0]
	h.be(true, false)
	stop := d.start(t, victim.region)
	d.acknowledges(t, victim.region, 100)
	h.be(true, true)
	d.acknowledges(t, victim.region, 200)
	stop()
	victim.proc.stop() // it stores its cursors at the end
	victim.launch()
	h.be(false, false)
	return d.after(t, h, victim.region, func(x deed, _ string) bool { return x.what != expireDeed })
}

// untoldByOther kills the region that fires, and returns what the one that takes over does not tell of the writes of those that are left.
func untoldByOther(t *testing.T) []string {
	o, stop := newOne(t, inTurn)
	stop()
	o.h.be(false, false)
	firing := o.left[0]
	if o.left[1].name < firing.name {
		firing = o.left[1]
	}
	o.awaitFiring(firing) // else it would not tell the last write either
	// What was written there counts: of the other region's writes some may still be on their way.
	return o.after(t, o.h, firing.region, func(x deed, key string) bool {
		return heedless(x, key) && x.what != expireDeed && x.origin == firing.name
	})
}

// toldWrongly returns what change streams tell wrongly while all regions write the same items.
func toldWrongly(t *testing.T) (found []string) {
	c := newTelling(t)
	listeners, hush := c.listen()
	d := newDeeds()
	stop := d.start(t, c.regions()...)
	for _, n := range c.nodes {
		d.acknowledges(t, n.region, 200)
	}
	stop()
	awaitEven(t, c.regions()...)
	for _, l := range listeners {
		l.upToDate()
	}
	hush()
	for _, l := range listeners {
		found = append(found, l.faults...)
	}
	return found
}
