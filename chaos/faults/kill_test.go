//go:build linux

package faults

import "testing"

const table = "accounts"

// A region is cut off, so that its disk is the only place that has its writes; then it is killed among them. What it has acknowledged is there
// when it comes back alone, and reaches the others when the links heal.
func TestKillAlone(t *testing.T) {
	t.Parallel() // most of it is waiting
	c := newCluster(t)
	c.launch()
	createTable(t, table, c.regions()...)
	random := newRandom(t)
	h := newHistory()
	victim := c.nodes[1]
	c.cut(victim)
	l := startLoad(t, h, table, "alone", c.regions()...)
	h.acknowledges(t, victim.region, 200+random.IntN(800))
	victim.proc.kill()
	l.stop()
	victim.launch()
	h.mustHold(t, "the killed region, alone", scan(t, victim.region, table), victim.name)
	c.heal(victim)
	h.mustConverge(t, table, c.regions()...)
}

// Regions are killed, one after the other and the last two at once, while all of them write and receive.
func TestKill(t *testing.T) {
	t.Parallel() // most of it is waiting
	c := newCluster(t)
	c.launch()
	createTable(t, table, c.regions()...)
	random := newRandom(t)
	h := newHistory()
	l := startLoad(t, h, table, "kill", c.regions()...)
	for round := range *rounds {
		victims := []*node{c.nodes[round%len(c.nodes)]}
		if round == *rounds-1 {
			victims = append(victims, c.nodes[(round+1)%len(c.nodes)])
		}
		spared := c.nodes[(round+2)%len(c.nodes)]
		h.acknowledges(t, victims[0].region, 100+random.IntN(400))
		for _, v := range victims {
			v.proc.kill()
		}
		h.acknowledges(t, spared.region, 50+random.IntN(200)) // a region alone is whole
		for _, v := range victims {
			v.launch()
			h.acknowledges(t, v.region, 20)
		}
	}
	l.stop()
	h.mustConverge(t, table, c.regions()...)
}
