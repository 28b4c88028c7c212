package cli

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode/admin"
	"github.com/concordat-db/concordat/streams/repair"
)

// serveVerification runs the real admin API over comparisons. The table "nothing" is not there.
func serveVerification(t *testing.T, state string) (url string, asked *[]string) {
	t.Helper()
	asked = new([]string)
	compare := func(what string) func(context.Context, string) (admin.Verification, error) {
		return func(_ context.Context, table string) (admin.Verification, error) {
			*asked = append(*asked, what+" "+table)
			if table == "nothing" {
				return admin.Verification{}, &globaltable.Error{Op: "verify", Kind: globaltable.NotFound, Message: "this region has no active replica of a table named nothing"}
			}
			r := repair.ReplicaReport{Region: "us-east-1", State: state}
			switch state {
			case repair.Diverged:
				r.Keys, r.Buckets, r.Hashes = 2, 1, []string{"00aa", "00bb"}
			case repair.InFlight:
				r.InFlight = 3
			case repair.NotCompared:
				r.Detail = "us-east-1 is out of reach"
			}
			return admin.Verification{Region: "eu-central-1", State: state, Tables: []repair.Report{
				{Table: "places", ID: "0a", State: state, Items: 12065, Replicas: []repair.ReplicaReport{r}},
				{Table: "single", ID: "0b", State: repair.Converged}}}, nil
		}
	}
	s := httptest.NewServer(admin.New(admin.Config{Verify: compare("verify"), Repair: compare("repair"), Metrics: http.NotFoundHandler()}))
	t.Cleanup(s.Close)
	return s.URL, asked
}

func TestVerify(t *testing.T) {
	url, asked := serveVerification(t, repair.Diverged)
	got := command(t, "verify", "--admin", url, "--table", "places")
	const want = `Region eu-central-1: diverged
┌────────┬───────┬───────────┬───────────┬───────────────┬─────────┬───────────┬──────────┬──────────────────┐
│ table  │ items │ with      │ state     │ diverged keys │ buckets │ in flight │ repaired │ detail           │
├────────┼───────┼───────────┼───────────┼───────────────┼─────────┼───────────┼──────────┼──────────────────┤
│ places │ 12065 │ us-east-1 │ diverged  │             2 │       1 │         0 │        0 │ 00aa             │
│        │       │           │           │               │         │           │          │ 00bb             │
│ single │       │           │ converged │               │         │           │          │ no other replica │
└────────┴───────┴───────────┴───────────┴───────────────┴─────────┴───────────┴──────────┴──────────────────┘
`
	if got.status != 1 || got.out != want || !strings.Contains(got.err, "table places has diverged from us-east-1: 2 keys in 1 buckets") {
		t.Errorf("status %d, %q, got:\n%s\nwant:\n%s", got.status, got.err, got.out, want)
	}
	if len(*asked) != 1 || (*asked)[0] != "verify places" {
		t.Errorf("asked %q", *asked)
	}
	for state, c := range map[string]struct {
		status int
		err    string
	}{
		repair.Converged:   {0, ""},
		repair.InFlight:    {0, "nothing has diverged"},
		repair.NotCompared: {1, "was not compared with us-east-1: us-east-1 is out of reach"},
	} {
		url, _ := serveVerification(t, state)
		got := command(t, "verify", "--admin", url, "--output", "json")
		if got.status != c.status || !strings.Contains(got.err, c.err) || c.err == "" && got.err != "" || !strings.Contains(got.out, `"state": "`+state+`"`) {
			t.Errorf("%s: status %d, %q, %s", state, got.status, got.err, got.out)
		}
	}
	if got := command(t, "verify", "--admin", url, "--table", "nothing"); got.status != 1 || !strings.Contains(got.err, "no active replica of a table named nothing") {
		t.Errorf("status %d, %q", got.status, got.err)
	}
	if got := command(t, "verify", "--admin", url, "--timeout", "-1s"); got.status != 2 {
		t.Errorf("status %d, %q", got.status, got.err)
	}
}

func TestRepairWantsYes(t *testing.T) {
	url, asked := serveVerification(t, repair.Converged)
	if got := command(t, "repair", "--admin", url); got.status != 2 || !strings.Contains(got.err, "--yes") || len(*asked) != 0 {
		t.Errorf("status %d, %q, asked %q", got.status, got.err, *asked)
	}
	if got := command(t, "repair", "--admin", url, "--yes"); got.status != 0 || len(*asked) != 1 || (*asked)[0] != "repair " {
		t.Errorf("status %d, %q, asked %q", got.status, got.err, *asked)
	}
}
