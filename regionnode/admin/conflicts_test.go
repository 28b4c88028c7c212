package admin_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/feed"
	"github.com/concordat-db/concordat/regionnode/admin"
)

// conflicts is a feed with one conflict. It keeps what it was asked.
type conflicts struct {
	asked   []string
	fault   error
	waiting chan struct{} // not nil: Tail waits for its context, and says so
}

const oneConflict = "0000000000000001-00000000000000ff-0002"

// fullConflict has something in every field.
func fullConflict() admin.Conflict {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	version := func(region string) admin.Version {
		return admin.Version{Region: region, Time: at, Stamp: "00000000000000ff-0002", Context: map[string]string{"us-east-1": "0000000000000001-0001"}, Floor: "0000000000000001",
			Values: json.RawMessage(`{"id":{"S":"a"},"tags":{"SS":["x"]},"m":{"M":{"n":{"NULL":true}}}}`)}
	}
	return admin.Conflict{ID: oneConflict, Table: "orders", TableID: "0000000000000001", Key: json.RawMessage(`{"id":{"S":"a"}}`), Rule: "attribute", Outcome: "what became of it",
		Discarded: []string{"m.n"}, Open: true, Loser: version("us-east-1"), Winner: version("eu-central-1"), Expires: at}
}

func (c *conflicts) note(format string, args ...any) error {
	c.asked = append(c.asked, fmt.Sprintf(format, args...))
	return c.fault
}

func (c *conflicts) List(_ context.Context, q admin.ConflictQuery) (admin.ConflictList, error) {
	return admin.ConflictList{Conflicts: []admin.Conflict{fullConflict()}, More: true}, c.note("list %s %d %q %v %d", q.Table, max(0, q.Since.Unix()), q.Before, q.Open, q.Limit)
}

func (c *conflicts) Tail(ctx context.Context, table string, after uint64, wait time.Duration) (admin.ConflictTail, error) {
	if c.waiting != nil {
		close(c.waiting)
		<-ctx.Done()
	}
	return admin.ConflictTail{Conflicts: []admin.Conflict{fullConflict()}, Next: after + 1, Missed: true}, c.note("tail %s %d %v", table, after, wait)
}

func (c *conflicts) Stats(_ context.Context, table string) ([]admin.ConflictStats, error) {
	at := fullConflict().Expires
	return []admin.ConflictStats{{Table: "orders", Listed: 1, Open: 1, Bytes: 5, Limit: 9, Keep: 60, Oldest: &at, Newest: &at, ByRule: map[string]int{"item": 1}, ByLoser: map[string]int{"us-east-1": 1}},
		{Table: "empty", ByRule: map[string]int{}, ByLoser: map[string]int{}}}, c.note("stats %s", table)
}

func (c *conflicts) Show(_ context.Context, id feed.ID) (admin.Conflict, error) {
	return fullConflict(), c.note("show %s", id)
}

func (c *conflicts) Restore(_ context.Context, id feed.ID, r admin.RestoreConflict) (admin.ConflictChange, error) {
	one := fullConflict()
	return admin.ConflictChange{Conflict: one, Now: one.Winner.Values, Then: one.Loser.Values, Written: r.Write}, c.note("restore %s %v %v", id, r.Attributes, r.Write)
}

func TestConflicts(t *testing.T) {
	const all = "/v1/conflicts"
	one := all + "/" + oneConflict
	other := strings.Replace(one, "0000000000000001-", "g000000000000001-", 1)
	for _, c := range []struct {
		method, path, body string
		status             int
		asked, says        string
	}{
		{"GET", all, "", 200, `list  0 "" false 100`, `"more": true`},
		{"GET", all + "?table=orders&since=2026-01-02T03:04:05Z&open=true&limit=1000&before=" + oneConflict, "", 200, fmt.Sprintf("list orders 1767323045 %q true 1000", oneConflict), `"m.n"`},
		{"GET", all + "?since=2026-01-02T05:04:05%2B02:00&open=false", "", 200, `list  1767323045 "" false 100`, ""},
		{"GET", all + "?limit=0", "", 400, "", "limit can be 1 to 1000"},
		{"GET", all + "?limit=1001", "", 400, "", "limit can be 1 to 1000"},
		{"GET", all + "?limit=many", "", 400, "", "limit can be 1 to 1000"},
		{"GET", all + "?since=yesterday", "", 400, "", "since is a time"},
		{"GET", all + "?open=perhaps", "", 400, "", "open is true or false"},
		{"GET", all + "?before=1", "", 400, "", "not the id of a conflict"},
		{"GET", all + "/tail?table=orders&after=7", "", 200, "tail orders 7 20s", `"next": 8`},
		{"GET", all + "/tail", "", 200, "tail  0 20s", `"missed": true`},
		{"GET", all + "/tail?wait=0", "", 200, "tail  0 0s", ""},
		{"GET", all + "/tail?wait=60", "", 200, "tail  0 1m0s", ""},
		{"GET", all + "/tail?after=-1", "", 400, "", "after is a number"},
		{"GET", all + "/tail?wait=61", "", 400, "", "wait is a number of seconds, 0 to 60"},
		{"GET", all + "/tail?wait=-1", "", 400, "", "wait is a number of seconds"},
		{"GET", all + "/tail?wait=long", "", 400, "", "wait is a number of seconds"},
		{"GET", all + "/stats?table=orders", "", 200, "stats orders", `"keepSeconds": 60`},
		{"GET", one, "", 200, "show " + oneConflict, `"winner"`},
		{"GET", other, "", 400, "", "not the id of a conflict"},
		{"GET", all + "/tails", "", 400, "", "not the id of a conflict"},
		{"POST", one + "/restore", `{"write":true}`, 200, "restore " + oneConflict + " [] true", `"written": true`},
		{"POST", one + "/restore", `{"attributes":["a","m.n"],"write":false}`, 200, "restore " + oneConflict + " [a m.n] false", `"written": false`},
		{"POST", one + "/restore", `{"writes":true}`, 400, "", "writes"},
		{"POST", one + "/restore", ``, 400, "", "cannot be read"},
		{"POST", one + "/restore", `{"write":"yes"}`, 400, "", "cannot be read"},
		{"POST", other + "/restore", `{"write":true}`, 400, "", "not the id of a conflict"},
		{"POST", all, "", 405, "", "these are: GET, HEAD"},
		{"DELETE", one, "", 405, "", "these are: GET, HEAD"},
		{"GET", one + "/restore", "", 405, "", "these are: POST"},
	} {
		cfg, s := config(), new(conflicts)
		cfg.Conflicts = s
		r := ask(t, cfg, c.method, c.path, c.body)
		if got := body(t, r); r.StatusCode != c.status || !strings.Contains(got, c.says) || strings.Join(s.asked, ",") != c.asked {
			t.Errorf("%s %s %s: %d, asked %v: %s", c.method, c.path, c.body, r.StatusCode, s.asked, got)
		}
	}
	// A fault of the region is told, by all of them; so is that a region cannot tell.
	for kind, status := range map[globaltable.Kind]int{globaltable.NotFound: 404, globaltable.Unavailable: 503} {
		fault := &globaltable.Error{Op: "conflicts", Kind: kind, Message: "why"}
		for _, feeds := range []admin.Conflicts{&conflicts{fault: fault}, admin.NoConflicts{Err: fault}} {
			cfg := config()
			cfg.Conflicts = feeds
			for _, path := range []string{"GET " + all, "GET " + all + "/tail", "GET " + all + "/stats", "GET " + one, "POST " + one + "/restore"} {
				method, path, _ := strings.Cut(path, " ")
				if r := ask(t, cfg, method, path, `{"write":true}`); r.StatusCode != status || message(t, r) != "why" {
					t.Errorf("%s %s: %d", method, path, r.StatusCode)
				}
			}
		}
	}
}

// TestTailDoesNotHoldUpTheEnd: who follows conflicts waits long, and is answered when the server ends.
func TestTailDoesNotHoldUpTheEnd(t *testing.T) {
	cfg := config()
	s := &conflicts{waiting: make(chan struct{})}
	cfg.Conflicts = s
	url, stop, ended := serve(t, cfg, time.Minute)
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	answers := make(chan error, 1)
	go func() {
		r, err := client.Get(url + "/v1/conflicts/tail")
		if err == nil {
			if r.StatusCode != http.StatusOK {
				err = errors.New(r.Status)
			}
			err = errors.Join(err, r.Body.Close())
		}
		answers <- err
	}()
	<-s.waiting
	stop()
	if err := errors.Join(<-answers, <-ended); err != nil || !slices.Equal(s.asked, []string{"tail  0 20s"}) {
		t.Error(err, s.asked)
	}
}
