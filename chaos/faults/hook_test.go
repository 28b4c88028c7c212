//go:build linux

package faults

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/concordat-db/concordat/regionnode/admin"
)

// hooked is an event as a webhook gets it.
type hooked struct {
	ID, Type, Origin, Region, Sequence, Kind string
	Data                                     struct {
		Keys, Old, New map[string]map[string]string
	}
}

func (e *hooked) tale() tale {
	return tale{id: e.ID, region: e.Region, origin: e.Origin, sequence: e.Sequence, key: e.Data.Keys["pk"]["S"], old: e.Data.Old["id"]["S"], new: e.Data.New["id"]["S"], expiry: e.Kind == "expiry"}
}

// hook is a webhook that keeps what it was told, and may not take it, or not say so.
type hook struct {
	*httptest.Server
	t testing.TB

	mu     sync.Mutex
	random *rand.Rand
	moody  bool // it refuses one request in eight, cuts the connection of one before it has taken the batch, and of one afterwards
	away   bool // it refuses all
	tales  []tale
	did    map[string]int // what became of batches
}

// What becomes of a batch.
const (
	hookTakes   = "taken"
	hookRefuses = "refused"
	hookCuts    = "cut before"
	hookForgets = "taken, then cut"
)

func newHook(t testing.TB, random *rand.Rand) *hook {
	h := &hook{t: t, random: random, did: map[string]int{}}
	h.Server = httptest.NewServer(h)
	t.Cleanup(h.Close)
	return h
}

// ServeHTTP implements http.Handler.
func (h *hook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // whoever asked was killed
	}
	var events []hooked
	if err := json.Unmarshal(body, &events); err != nil || len(events) == 0 {
		h.t.Errorf("the webhook was sent %q: %v", body, err)
	}
	switch h.take(events) {
	case hookRefuses:
		w.WriteHeader(http.StatusServiceUnavailable)
	case hookCuts, hookForgets:
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			h.t.Errorf("cut a connection: %v", err)
			return
		}
		conn.Close()
	}
}

// take decides what becomes of a batch.
func (h *hook) take(events []hooked) (what string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	what = hookTakes
	switch {
	case h.away:
		what = hookRefuses
	case h.moody:
		if dice := h.random.IntN(8); dice < 3 {
			what = []string{hookRefuses, hookCuts, hookForgets}[dice]
		}
	}
	h.did[what]++
	if what == hookTakes || what == hookForgets {
		for i := range events {
			h.tales = append(h.tales, events[i].tale())
		}
	}
	return what
}

// be sets the mood.
func (h *hook) be(moody, away bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.moody, h.away = moody, away
}

// told returns all that it was told.
func (h *hook) told() []tale {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.tales)
}

// has reports whether it was told of a put.
func (h *hook) has(id string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.ContainsFunc(h.tales, func(x tale) bool { return x.new == id })
}

// counted returns what became of batches, and checks that each of these is among that.
func (h *hook) counted(kinds ...string) string {
	h.t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, kind := range kinds {
		if h.did[kind] == 0 {
			h.t.Errorf("no batch was %s", kind)
		}
	}
	events := map[string]bool{}
	for i := range h.tales {
		events[h.tales[i].id] = true
	}
	return fmt.Sprintf("%d events, %d of them told again; batches %v", len(events), len(h.tales)-len(events), h.did)
}

// trigger has a hook told of the table's changes, and waits until all regions know.
func (c *cluster) trigger(h *hook, spec string) {
	c.t.Helper()
	file := filepath.Join(c.t.TempDir(), "trigger.yaml")
	writeFile(c.t, file, fmt.Sprintf("apiVersion: concordat/v1\nkind: Trigger\nmetadata: {name: hook}\nspec: {table: %s, target: {webhook: {url: '%s/told'}}, retry: {attempts: 100, first: 20ms, most: 200ms}, %s}\n", table, h.URL, spec))
	mustCommand(c.t, "trigger", "apply", "-f", file, "--yes", "--reason", "the test", "--admin", c.nodes[0].admin)
	for _, n := range c.nodes {
		eventually(c.t, n.name+" knows the trigger", func() string {
			if run, err := n.fires(); err != nil || len(run.Feeds) == 0 {
				return "no feed: " + problem(err)
			}
			return ""
		})
	}
}

// fires returns how the region fires the trigger.
func (r *region) fires() (admin.TriggerRun, error) {
	var stats admin.TriggerStats
	if err := r.ask("/v1/triggers/stats", &stats); err != nil || len(stats.Triggers) != 1 {
		return admin.TriggerRun{}, err
	}
	return stats.Triggers[0], nil
}

// mustLoseNothing checks that no region says that it has not delivered something.
func (c *cluster) mustLoseNothing() {
	c.t.Helper()
	for _, n := range c.nodes {
		run, err := n.fires()
		if err != nil {
			c.t.Fatal(err)
		}
		if run.Letters.Count > 0 || slices.ContainsFunc(run.Feeds, func(f admin.TriggerRow) bool { return f.Gaps+f.Buried+f.Withheld > 0 }) {
			c.t.Errorf("%s: %+v", n.name, run)
		}
	}
}

// awaitFiring waits until a region, and no other one that runs, fires the trigger.
func (c *cluster) awaitFiring(who *node) {
	c.t.Helper()
	eventually(c.t, who.name+" fires", func() string {
		var firing []string
		for _, n := range c.nodes {
			run, err := n.fires()
			if err == nil && slices.ContainsFunc(run.Feeds, func(f admin.TriggerRow) bool { return f.Fires }) {
				firing = append(firing, n.name)
			}
		}
		if !slices.Equal(firing, []string{who.name}) {
			return "it is fired by " + strings.Join(firing, ", ")
		}
		return ""
	})
}
