package cli

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode/admin"
)

// membership runs the real admin API over a world of three regions. One that is put out is closed after it has been looked at so many times as rounds says.
type membership struct {
	mu     sync.Mutex
	world  admin.Regions
	rounds int // negative: never
}

func serveMembers(t *testing.T, rounds int) (url string, m *membership) {
	t.Helper()
	m = &membership{rounds: rounds, world: admin.Regions{Region: "us-east-1", Pending: []string{}}}
	for i, name := range []string{"ap-south-1", "eu-central-1", "us-east-1"} {
		m.world.Regions = append(m.world.Regions, admin.Member{Name: name, Jurisdiction: "XX", Origin: uint16(i + 1), State: "active", NATS: []string{"nats://10.0.0.1:4222"},
			PublicKey: "UKEY", Replicas: []admin.MemberReplica{{Table: "orders", Status: "ACTIVE"}}, OnlyCopies: []string{}})
	}
	ap := m.world.Member("ap-south-1")
	ap.Replicas = append(ap.Replicas, admin.MemberReplica{Table: "places", Status: "ACTIVE"})
	ap.OnlyCopies = []string{"places"}
	s := httptest.NewServer(admin.New(admin.Config{Regions: m.regions, Fence: func(_ context.Context, name string) error { return m.put(name, "fencing") },
		Remove: m.remove, Metrics: http.NotFoundHandler()}))
	t.Cleanup(s.Close)
	return s.URL, m
}

func (m *membership) put(name, state string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.world.Owner = "us-east-1"
	m.world.Member(name).State = state
	m.world.Pending = []string{"eu-central-1, which cannot be reached"}
	return nil
}

func (m *membership) remove(_ context.Context, name string, force bool) error {
	if name == "ap-south-1" && !force {
		return &globaltable.Error{Op: "remove region", Kind: globaltable.InUse, Message: "These tables have their only copy there."}
	}
	return m.put(name, "removing")
}

func (m *membership) regions(context.Context) (admin.Regions, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.world.Regions {
		r := &m.world.Regions[i]
		switch {
		case r.State != "fencing" && r.State != "removing":
		case m.rounds > 0:
			m.rounds--
		case m.rounds == 0:
			m.world.Pending = []string{}
			if r.State == "removing" {
				r.State, r.Replicas, r.OnlyCopies = "removed", []admin.MemberReplica{}, []string{}
				continue
			}
			r.State = "fenced"
			for j := range r.Replicas {
				r.Replicas[j].Status = "FENCED"
			}
		}
	}
	return m.world, nil
}

func TestRegionListAndShow(t *testing.T) {
	url, _ := serveMembers(t, 0)
	got := command(t, "region", "list", "--admin", url)
	const want = `┌──────────────┬──────────────┬────────┬────────┬──────────┬──────────────────────┐
│ region       │ jurisdiction │ number │ state  │ replicas │ NATS                 │
├──────────────┼──────────────┼────────┼────────┼──────────┼──────────────────────┤
│ ap-south-1   │ XX           │      1 │ active │ 2 ACTIVE │ nats://10.0.0.1:4222 │
│ eu-central-1 │ XX           │      2 │ active │ 1 ACTIVE │ nats://10.0.0.1:4222 │
│ us-east-1    │ XX           │      3 │ active │ 1 ACTIVE │ nats://10.0.0.1:4222 │
└──────────────┴──────────────┴────────┴────────┴──────────┴──────────────────────┘
`
	if got.status != 0 || got.out != want {
		t.Errorf("status %d, %q, got:\n%s\nwant:\n%s", got.status, got.err, got.out, want)
	}
	// Flags may stand before the name and after it.
	for _, args := range [][]string{{"region", "show", "--admin", url, "ap-south-1"}, {"region", "show", "ap-south-1", "--admin", url}, {"region", "show", "ap-south-1", "--admin=" + url}} {
		got = command(t, args...)
		if got.status != 0 || !strings.Contains(got.out, "Region ap-south-1 (XX), number 1: active") || !strings.Contains(got.out, "The only copy.") {
			t.Errorf("%v: status %d, %q:\n%s", args, got.status, got.err, got.out)
		}
	}
	if got = command(t, "region", "show", "ap-south-1", "--admin", url, "--output", "json"); got.status != 0 || !strings.Contains(got.out, `"onlyCopies": [`) {
		t.Errorf("status %d, %q:\n%s", got.status, got.err, got.out)
	}
	if got = command(t, "region", "show", "sa-east-1", "--admin", url); got.status != 1 || !strings.Contains(got.err, "there are ap-south-1, eu-central-1, us-east-1") {
		t.Errorf("status %d, %q", got.status, got.err)
	}
}

func TestRegionFence(t *testing.T) {
	url, m := serveMembers(t, 2)
	got := command(t, "region", "fence", "ap-south-1", "--admin", url)
	if got.status != 2 || got.out != "" || !strings.Contains(got.err, "would be fenced") || !strings.Contains(got.err, "table places: its only copy is there") ||
		!strings.Contains(got.err, "give --yes to fence region ap-south-1") || m.world.Owner != "" {
		t.Errorf("status %d, %q, %q", got.status, got.err, got.out)
	}
	got = command(t, "region", "fence", "ap-south-1", "--admin", url, "--yes")
	if got.status != 0 || !strings.Contains(got.out, "number 1: fenced") || got.err != "Waiting for eu-central-1, which cannot be reached.\n" {
		t.Errorf("status %d, %q:\n%s", got.status, got.err, got.out)
	}
}

func TestRegionRemove(t *testing.T) {
	url, _ := serveMembers(t, 0)
	if got := command(t, "region", "remove", "ap-south-1", "--yes", "--admin", url); got.status != 1 || !strings.Contains(got.err, "only copy there") {
		t.Errorf("status %d, %q", got.status, got.err)
	}
	if got := command(t, "region", "remove", "ap-south-1", "--yes", "--force", "--admin", url); got.status != 0 || !strings.Contains(got.out, "number 1: removed") {
		t.Errorf("status %d, %q:\n%s", got.status, got.err, got.out)
	}
}

func TestRegionFenceIsPending(t *testing.T) {
	url, _ := serveMembers(t, -1)
	got := command(t, "region", "fence", "eu-central-1", "--yes", "--timeout", "50ms", "--admin", url)
	if got.status != 1 || !strings.Contains(got.err, "is not closed yet: waiting for eu-central-1, which cannot be reached; it goes on by itself") {
		t.Errorf("status %d, %q", got.status, got.err)
	}
	got = command(t, "region", "fence", "eu-central-1", "--yes", "--wait=false", "--admin", url)
	if got.status != 0 || !strings.Contains(got.out, "number 2: fencing") || !strings.Contains(got.out, "Waiting for eu-central-1, which cannot be reached.") {
		t.Errorf("status %d, %q:\n%s", got.status, got.err, got.out)
	}
}
