package metrics_test

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/concordat-db/concordat/regionnode/metrics"
)

// useAll makes every metric appear.
func useAll(s *metrics.Set) {
	s.Request("PutItem", 200, time.Millisecond)
	s.Request("", 400, time.Millisecond)
	s.Group(3, 1000)
	s.Applied("eu", 2, -time.Second) // clocks differ: no negative lag
	s.LogRead("eu", 5)
	s.Stopped("eu", "clock ahead")
	s.Connected("eu", true)
	s.ClockAhead("eu", -2*time.Second)
	s.StreamReset()
	s.BusFailed()
	s.Collected(2, 1, 4)
	s.Collection("orders", 7, 5, 3*time.Second)
	s.Collection("new", 0, 0, -1)
	s.IndexBuilt(64)
	s.IndexesUnbuilt(2)
	s.Placed(7, 3)
	s.TookOver(9)
	s.Forwarded("eu", "asked", true, 100, 20)
	s.ForeignChanges("eu", 3)
	s.EgressRefused("eu", false)
	s.PeerDenied("eu")
	s.Refused("disk", true)
	s.DiskFree(1 << 40)
}

func scrape(t *testing.T, s *metrics.Set) string {
	t.Helper()
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("%d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

func TestEveryMetricHasTheRegion(t *testing.T) {
	s := metrics.New("us-east-1")
	useAll(s)
	text := scrape(t, s)
	for _, line := range []string{
		`concordat_dynamodb_requests_total{operation="PutItem",region="us-east-1",status="200"} 1`,
		`concordat_dynamodb_requests_total{operation="unknown",region="us-east-1",status="400"} 1`,
		`concordat_dynamodb_request_seconds_count{operation="PutItem",region="us-east-1"} 1`,
		`concordat_commit_groups_total{region="us-east-1"} 1`,
		`concordat_tombstones_collected_total{of="deleted items",region="us-east-1"} 2`,
		`concordat_tombstones_collected_total{of="live items",region="us-east-1"} 1`,
		`concordat_tombstones_waiting{region="us-east-1",table="orders"} 7`,
		`concordat_tombstones_waiting{region="us-east-1",table="new"} 0`,
		`concordat_purge_frontier_age_seconds{region="us-east-1",table="orders"} 3`,
		`concordat_index_build_records_total{region="us-east-1"} 64`,
		`concordat_indexes_unbuilt{region="us-east-1"} 2`,
		`concordat_placements_total{region="us-east-1"} 1`,
		`concordat_placement_records_erased_total{region="us-east-1"} 7`,
		`concordat_placement_entries_voided_total{region="us-east-1"} 3`,
		`concordat_placement_records_taken_total{region="us-east-1"} 9`,
		`concordat_commit_group_changes_sum{region="us-east-1"} 3`,
		`concordat_commit_batch_bytes_total{region="us-east-1"} 1000`,
		`concordat_inbox_changes_applied_total{origin="eu",region="us-east-1"} 2`,
		`concordat_inbox_lag_seconds_sum{origin="eu",region="us-east-1"} 0`,
		`concordat_inbox_log_entries_read_total{origin="eu",region="us-east-1"} 5`,
		`concordat_inbox_lane_stops_total{origin="eu",reason="clock ahead",region="us-east-1"} 1`,
		`concordat_inbox_connected{origin="eu",region="us-east-1"} 1`,
		`concordat_clock_ahead_seconds{peer="eu",region="us-east-1"} -2`,
		`concordat_outbox_stream_resets_total{region="us-east-1"} 1`,
		`concordat_outbox_failures_total{region="us-east-1"} 1`,
		`concordat_writes_refused{reason="disk",region="us-east-1"} 1`,
		`concordat_items_expiring{region="us-east-1",table="orders"} 5`,
		`concordat_tombstones_collected_total{of="expired items",region="us-east-1"} 4`,
		`concordat_forwarded_requests_total{answered="true",peer="eu",region="us-east-1",side="asked"} 1`,
		`concordat_forwarded_bytes_total{peer="eu",region="us-east-1",side="asked",way="out"} 100`,
		`concordat_forwarded_bytes_total{peer="eu",region="us-east-1",side="asked",way="in"} 20`,
		`concordat_foreign_changes_total{peer="eu",region="us-east-1"} 3`,
		`concordat_egress_refused_total{peer="eu",placing="false",region="us-east-1"} 1`,
		`concordat_peer_refusals_total{peer="eu",region="us-east-1"} 1`,
		`concordat_disk_free_bytes{region="us-east-1"} 1.099511627776e+12`,
	} {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("no line %s", line)
		}
	}
	names := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (concordat_\w+) `).FindAllStringSubmatch(text, -1) {
		names[m[1]] = true
	}
	if len(names) != 32 {
		t.Errorf("%d metrics are exported, this test knows 32: %v", len(names), names)
	}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "concordat_") && !strings.Contains(line, `region="us-east-1"`) {
			t.Errorf("without the region: %s", line)
		}
	}
	for _, process := range []string{"go_goroutines", "process_start_time_seconds"} {
		if !strings.Contains(text, process) {
			t.Errorf("no %s", process)
		}
	}
}

func TestGaugesFall(t *testing.T) {
	s := metrics.New("eu")
	useAll(s)
	s.Connected("eu", false)
	s.Refused("disk", false)
	s.CollectionEnds("orders")
	text := scrape(t, s)
	if strings.Contains(text, `table="orders"`) {
		t.Error("a table that is gone still has metrics")
	}
	for _, line := range []string{`concordat_inbox_connected{origin="eu",region="eu"} 0`, `concordat_writes_refused{reason="disk",region="eu"} 0`} {
		if !strings.Contains(text, line) {
			t.Errorf("no line %s", line)
		}
	}
}

// TestSeveralNodesInOneProcess: nothing is registered twice, nothing is shared.
func TestSeveralNodesInOneProcess(t *testing.T) {
	a, b := metrics.New("eu"), metrics.New("us")
	again := metrics.New("eu")
	useAll(a)
	if text := scrape(t, again); strings.Contains(text, "concordat_inbox_connected{") {
		t.Error("another node of the same region has its metrics")
	}
	if text := scrape(t, b); strings.Contains(text, `region="eu"`) || !strings.Contains(text, `region="us"`) {
		t.Error("nodes share metrics")
	}
	counted := slices.Collect(strings.Lines(scrape(t, a)))
	if !slices.Contains(counted, "concordat_commit_groups_total{region=\"eu\"} 1\n") {
		t.Error("the node's own metrics are gone")
	}
}
