package cli

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/concordat-db/concordat/regionnode/admin"
	"github.com/concordat-db/concordat/streams/repair"
)

func sampleStatus() admin.Status {
	lag, age := 41.25, 140.0
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return admin.Status{
		Region:  admin.Region{Name: "eu-central-1", Jurisdiction: "EU", Origin: 2, Incarnation: 7},
		Version: "1.0", Refused: []string{"disk is nearly full"}, Alarms: []string{"region ap-south-1 sends changes of items that may not be here: 3 times, the last at 2026-01-02T03:04:05Z"},
		Events: &admin.EventsSummary{Tables: 2, LagMillis: 1500, Grants: 3, Failing: []string{"places"}},
		Pairs: []admin.Pair{
			{From: "us-east-1", To: "eu-central-1", State: admin.StateLive, LagMillis: &lag, BehindEntries: 3, WatermarkAgeMillis: &age},
			{From: "ap-south-1", To: "eu-central-1", State: admin.StateStalled, Detail: "no answer for 9 s", BehindEntries: 12},
			{From: "us-east-1", To: "ap-south-1", State: admin.StateGossip},
		},
		Tables: []admin.Table{{
			Name: "places", Owner: "us-east-1", Version: "1.4", Status: "ACTIVE", Items: 12065, Bytes: 3 << 20, Digest: "00ff",
			Replicas: []admin.Replica{{Region: "us-east-1", Status: "ACTIVE"}, {Region: "ap-south-1", Status: "CREATION_FAILED", Detail: "name taken"}},
			Comparisons: []repair.Compared{
				{Region: "us-east-1", Percent: 25, Bytes: 768 << 10, Share: 0.0005, Diverged: &at,
					Last: &repair.Pass{Ended: at, State: repair.Converged, Bytes: 3 << 20, Share: 0.00042}},
				{Region: "ap-south-1", Paused: "a replica is on its way",
					Last: &repair.Pass{Ended: at, State: repair.NotCompared, Detail: "out of reach"}},
				{Region: "sa-east-1"}},
			Conflicts: admin.Listed{Listed: 3, Bytes: 2048, Limit: 1 << 20, KeepSeconds: 36 * 3600}, Collection: admin.Collection{Waiting: 210, Expiring: 3000, PurgeAgeMillis: &age, HeldBack: "ap-south-1 has not applied us-east-1 since 2026-01-02 03:04:05 UTC"},
			Indexes: []admin.Index{{Name: "by-name", Ready: true, Percent: 100, Entries: 12000, Bytes: 2 << 20}, {Name: "by-height", Percent: 37, Entries: 4444, Bytes: 1 << 20}},
		}},
		Lanes: []admin.Lane{{ID: "00aa", Regions: []string{"us-east-1", "eu-central-1"}, Head: 99, Entries: 5, Bytes: 512, Live: true,
			Confirmed: map[string]uint64{"us-east-1": 94, "ap-south-1": 90}}},
	}
}

// serveStatus runs the real admin API over a status.
func serveStatus(t *testing.T, f func(context.Context) (admin.Status, error)) string {
	t.Helper()
	s := httptest.NewServer(admin.New(admin.Config{Status: f, Ready: func() error { return nil }, Metrics: http.NotFoundHandler()}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestStatusForPeople(t *testing.T) {
	url := serveStatus(t, func(context.Context) (admin.Status, error) { return sampleStatus(), nil })
	got := command(t, "status", "--admin", url+"/")
	const want = `Region eu-central-1 (EU), number 2, not ready, version 1.0
Writes are refused: disk is nearly full
ALARM: region ap-south-1 sends changes of items that may not be here: 3 times, the last at 2026-01-02T03:04:05Z
Events in NATS: of 2 tables, 1.5s behind at most, 3 grants; not taken: places

Replication
┌────────────┬──────────────┬──────────┬────────┬────────┬───────────────┬───────────────────┐
│ from       │ to           │ state    │ lag ms │ behind │ certain up to │ detail            │
├────────────┼──────────────┼──────────┼────────┼────────┼───────────────┼───────────────────┤
│ us-east-1  │ eu-central-1 │ live     │   41.2 │      3 │    140 ms ago │                   │
│ ap-south-1 │ eu-central-1 │ stalled  │        │     12 │         never │ no answer for 9 s │
│ us-east-1  │ ap-south-1   │ reported │        │        │         never │                   │
└────────────┴──────────────┴──────────┴────────┴────────┴───────────────┴───────────────────┘

Tables
┌────────┬────────┬───────────┬─────────┬───────┬─────────┬────────┬────────────────────────────────────────┐
│ table  │ status │ owner     │ version │ items │   bytes │ digest │ replicas                               │
├────────┼────────┼───────────┼─────────┼───────┼─────────┼────────┼────────────────────────────────────────┤
│ places │ ACTIVE │ us-east-1 │ 1.4     │ 12065 │ 3.0 MiB │ 00ff   │ us-east-1 ACTIVE                       │
│        │        │           │         │       │         │        │ ap-south-1 CREATION_FAILED: name taken │
└────────┴────────┴───────────┴─────────┴───────┴─────────┴────────┴────────────────────────────────────────┘

Deleted and expired items
┌────────┬────────────────┬──────────┬────────────────────────────┬────────────────────────────────────────────────────────────────────┐
│ table  │ not erased yet │ expiring │ every region has all up to │ held back by                                                       │
├────────┼────────────────┼──────────┼────────────────────────────┼────────────────────────────────────────────────────────────────────┤
│ places │            210 │     3000 │                 140 ms ago │ ap-south-1 has not applied us-east-1 since 2026-01-02 03:04:05 UTC │
└────────┴────────────────┴──────────┴────────────────────────────┴────────────────────────────────────────────────────────────────────┘

Conflicts
┌────────┬────────┬─────────┬─────────┬────────────┐
│ table  │ listed │    size │   up to │ listed for │
├────────┼────────┼─────────┼─────────┼────────────┤
│ places │      3 │ 2.0 KiB │ 1.0 MiB │        36h │
└────────┴────────┴─────────┴─────────┴────────────┘

Indexes that are being built
┌────────┬───────────┬────────┬───────┬─────────┬─────────┐
│ table  │ index     │ kind   │ built │ entries │    size │
├────────┼───────────┼────────┼───────┼─────────┼─────────┤
│ places │ by-height │ global │   37% │    4444 │ 1.0 MiB │
└────────┴───────────┴────────┴───────┴─────────┴─────────┘

Comparison in the background
┌────────┬────────────┬──────────────────────┬────────────────────────────────────────────┬─────────┬─────────────┬─────────────────────────────────────┬───────────┬─────────────┐
│ table  │ with       │ last                 │ result                                     │    read │ of its time │                                 now │      read │ of its time │
├────────┼────────────┼──────────────────────┼────────────────────────────────────────────┼─────────┼─────────────┼─────────────────────────────────────┼───────────┼─────────────┤
│ places │ us-east-1  │ 2026-01-02T03:04:05Z │ diverged, seen 2026-01-02T03:04:05Z:       │ 3.0 MiB │       0.04% │                                 25% │ 768.0 KiB │       0.05% │
│        │            │                      │ run concordat verify, and concordat repair │         │             │                                     │           │             │
│ places │ ap-south-1 │ 2026-01-02T03:04:05Z │ not compared: out of reach                 │     0 B │       0.00% │ 0%, paused: a replica is on its way │       0 B │       0.00% │
│ places │ sa-east-1  │ never                │                                            │         │             │                                  0% │       0 B │       0.00% │
└────────┴────────────┴──────────────────────┴────────────────────────────────────────────┴─────────┴─────────────┴─────────────────────────────────────┴───────────┴─────────────┘

Change log of this region
┌──────┬──────────────┬────────┬──────┬───────┬────────┬────────────────────┐
│ lane │ regions      │ newest │ kept │ bytes │ stream │ confirmed by peers │
├──────┼──────────────┼────────┼──────┼───────┼────────┼────────────────────┤
│ 00aa │ us-east-1    │     99 │    5 │ 512 B │ live   │ ap-south-1 90      │
│      │ eu-central-1 │        │      │       │        │ us-east-1 94       │
└──────┴──────────────┴────────┴──────┴───────┴────────┴────────────────────┘
`
	if got.status != 0 || got.err != "" || got.out != want {
		t.Errorf("status %d, %q, got:\n%s\nwant:\n%s", got.status, got.err, got.out, want)
	}
}

func TestStatusOfAnEmptyRegion(t *testing.T) {
	url := serveStatus(t, func(context.Context) (admin.Status, error) { return admin.Status{Ready: true}, nil })
	got := command(t, "status", "--admin", url)
	for _, want := range []string{"ready", "Replication: no peers", "Tables: no tables", "Change log of this region: no lanes"} {
		if !strings.Contains(got.out, want) {
			t.Errorf("no %q in %q", want, got.out)
		}
	}
}

func TestStatusForMachines(t *testing.T) {
	url := serveStatus(t, func(context.Context) (admin.Status, error) { return sampleStatus(), nil })
	got := command(t, "status", "--admin", url, "--output", "json")
	var st admin.Status
	if err := json.Unmarshal([]byte(got.out), &st); err != nil || !reflect.DeepEqual(st, sampleStatus()) || got.err != "" {
		t.Errorf("%v, %q: %+v", err, got.err, st)
	}
}

func TestStatusFailures(t *testing.T) {
	serve := func(h http.HandlerFunc) string {
		s := httptest.NewServer(h)
		t.Cleanup(s.Close)
		return s.URL
	}
	for name, tc := range map[string]struct{ url, want string }{
		"not there":     {"http://127.0.0.1:1", "is a node running there?"},
		"not ready":     {serveStatus(t, func(context.Context) (admin.Status, error) { return admin.Status{}, errors.New("is starting") }), "503 Service Unavailable: is starting"},
		"another thing": {serve(http.NotFound), "404 Not Found: is this an admin API?"},
		"no JSON":       {serve(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) }), "gave no such answer"},
	} {
		got := command(t, "status", "--admin", tc.url, "--output", "json")
		if got.status != 1 || got.out != "" || !strings.Contains(got.err, tc.want) {
			t.Errorf("%s: %+v, want %q", name, got, tc.want)
		}
	}
}

// A watch shows the status again until it is interrupted, and that is no failure.
func TestStatusWatch(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	asked := 0
	url := serveStatus(t, func(context.Context) (admin.Status, error) {
		if asked++; asked == 2 {
			cancel()
		}
		return sampleStatus(), nil
	})
	got := commandContext(t, ctx, "status", "--admin", url, "--watch", "--interval", "100ms", "--output", "json")
	if got.status != 0 || asked != 2 {
		t.Errorf("asked %d times: %+v", asked, got)
	}
}

func TestHumanBytes(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 5 << 30: "5.0 GiB", 3 << 50: "3072.0 TiB"} {
		if got := humanBytes(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}
