package world

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/concordat-db/concordat/streams/repair"
)

// TestComparedInTheBackground: every region shows, by itself, that its table is as those of the others; metrics count what it cost.
func TestComparedInTheBackground(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	cfg.Limits.CompareEvery = time.Second
	r := runWorld(t, cfg)
	r.makeTable("us-east-1", "eu-central-1")
	for i := range 50 {
		r.put("us-east-1", fmt.Sprint("item ", i), strings.Repeat("x", 1000))
	}
	r.until("both have compared themselves", func() bool {
		for _, region := range r.ready.Regions[:2] {
			tables := r.status(region).Tables
			if len(tables) != 1 || len(tables[0].Comparisons) != 1 {
				return false
			}
			c := tables[0].Comparisons[0]
			// A pass may have met what was on its way.
			if c.Diverged != nil || c.Region == region.Name || c.Last != nil && c.Last.State == repair.Diverged {
				t.Fatalf("%s: %+v", region.Name, c)
			}
			if c.Last == nil || c.Last.State != repair.Converged || c.Last.Bytes < 50*1000 || c.Last.Share <= 0 {
				return false
			}
		}
		return true
	})
	answer, err := r.http.Get(r.ready.Regions[0].Admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`concordat_compare_bytes_total{peer="eu-central-1"`, `concordat_compare_diverged_tables{peer="eu-central-1",region="us-east-1"} 0`} {
		if !strings.Contains(string(b), want) {
			t.Errorf("no %s", want)
		}
	}
}
