//go:build linux

package faults

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"

	"github.com/concordat-db/concordat/chaos/canary"
)

// class is a kind of items of one table that are together wherever they are: those of one jurisdiction.
type class struct{ table, law string }

func (c class) String() string { return c.table + "/" + c.law }

// places says for each class in which regions its items may be.
type places map[class][]string

func (p places) allow(c class, region string) bool { return slices.Contains(p[c], region) }

// with returns p and q together: what may be while one becomes the other.
func (p places) with(q places) places {
	out := maps.Clone(p)
	for c, regions := range q {
		out[c] = slices.Compact(slices.Sorted(slices.Values(append(slices.Clone(p[c]), regions...))))
	}
	return out
}

// vault makes the canaries of a test, and knows whose they are. In each epoch all are new. It is safe for concurrent use.
type vault struct {
	scanner *canary.Scanner

	mu     sync.Mutex
	random *rand.Rand
	epoch  int
	made   map[string]canary.Canary // of this epoch, by name
	class  map[string]class         // by name, of all epochs
}

func newVault(random *rand.Rand, s *canary.Scanner) *vault {
	return &vault{scanner: s, random: random, made: map[string]canary.Canary{}, class: map[string]class{}}
}

// get returns the canary of a class for a place in requests. It is searched for before anybody knows it.
func (v *vault) get(c class, place string, kind canary.Kind) string {
	v.mu.Lock()
	defer v.mu.Unlock()
	name := fmt.Sprintf("%v: %s, epoch %d", c, place, v.epoch)
	made, ok := v.made[name]
	if !ok {
		made = canary.New(v.random, kind, name)
		v.scanner.Add(made)
		v.made[name], v.class[name] = made, c
	}
	return made.Bytes
}

// next begins an epoch.
func (v *vault) next() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.epoch++
	clear(v.made)
}

// of returns whose canary a finding is; false: nobody's, a control.
func (v *vault) of(f canary.Finding) (class, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	c, ok := v.class[f.Canary]
	return c, ok
}

// leaks returns those findings that may not be where they are.
func (v *vault) leaks(r *canary.Report, may func(class, canary.Finding) bool) (out []string) {
	for _, f := range r.Findings() {
		if c, ok := v.of(f); ok && !may(c, f) {
			out = append(out, f.String())
		}
	}
	return out
}

// quoted is in the names of canaries that requests show in what DynamoDB quotes: the text of an error for who sent them.
const quoted = "quoted"

// window is a time in which nothing changes about where items may be, or in which one state becomes the next. It has what was heard meanwhile.
type window struct {
	name  string
	may   places
	links map[canary.Direction]*canary.Report
	api   map[string]*canary.Report // what each region answered its clients
}

// faults returns what was where it may not be.
func (w *window) faults(v *vault) (out []string) {
	say := func(where string, leaks []string) {
		for _, l := range leaks {
			out = append(out, fmt.Sprintf("%s: %s: %s", w.name, where, l))
		}
	}
	for d, r := range w.links {
		for _, u := range r.Unread() {
			out = append(out, fmt.Sprintf("%s: %s to %s: not understood: %s", w.name, d.From, d.To, u))
		}
		say(d.From+" to "+d.To, v.leaks(r, func(c class, _ canary.Finding) bool {
			from, to := w.may.allow(c, d.From), w.may.allow(c, d.To)
			return from && to || forwards(c) && (from || to) // a request and its answer pass
		}))
	}
	for region, r := range w.api {
		say("answers of "+region, v.leaks(r, func(c class, f canary.Finding) bool {
			return forwards(c) || w.may.allow(c, region) || strings.Contains(f.Canary, quoted)
		}))
	}
	slices.Sort(out)
	return out
}
