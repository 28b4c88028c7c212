package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/feed"
	"github.com/concordat-db/concordat/regionnode/admin"
)

const (
	olderID = "0000000000000001-00000000000000fe-0002"
	newerID = "0000000000000001-00000000000000ff-0002"
)

// feeds is a feed with two conflicts, behind the real admin API. After the first answer of Tail that has some the region is broken, for one request.
type feeds struct {
	mu     sync.Mutex
	asked  []string
	broken bool
	tails  [][]admin.Conflict
}

func (f *feeds) note(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, fmt.Sprintf(format, args...))
}

func conflictOf(id string) admin.Conflict {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	c := admin.Conflict{ID: id, Table: "orders", TableID: "0000000000000001", Key: json.RawMessage(`{"id":{"S":"a"}}`), Rule: "attribute", Discarded: []string{"v", "m.n"}, Open: id == newerID, Expires: at,
		Outcome: "the attributes of us-east-1 were discarded",
		Loser: admin.Version{Region: "us-east-1", Time: at, Stamp: "00000000000000ff-0002", Context: map[string]string{"eu-central-1": "0000000000000001-0001"}, Floor: "0000000000000001",
			Values: json.RawMessage(`{"v":{"S":"` + strings.Repeat("same ", 20) + `old"},"n":{"N":"5"},"t":{"SS":["x"]}}`)},
		Winner: admin.Version{Region: "eu-central-1", Time: at, Stamp: "0000000000000100-0001", Context: map[string]string{}, Values: json.RawMessage(`{"v":{"S":"` + strings.Repeat("same ", 20) + `new"},"n":{"N":"5"}}`)}}
	if id == olderID {
		c.Discarded, c.Loser.Deleted, c.Loser.Values, c.Rule = []string{}, true, nil, "item"
	}
	return c
}

func (f *feeds) List(_ context.Context, q admin.ConflictQuery) (admin.ConflictList, error) {
	f.note("list %s since:%v %s %v %d", q.Table, !q.Since.IsZero(), q.Before, q.Open, q.Limit)
	switch {
	case q.Table == "empty":
		return admin.ConflictList{Conflicts: []admin.Conflict{}}, nil
	case q.Table == "unknown":
		return admin.ConflictList{}, &globaltable.Error{Kind: globaltable.NotFound, Message: "this region has no table named unknown"}
	case q.Before == newerID:
		return admin.ConflictList{Conflicts: []admin.Conflict{conflictOf(olderID)}}, nil
	}
	return admin.ConflictList{Conflicts: []admin.Conflict{conflictOf(newerID)}, More: true}, nil
}

func (f *feeds) Tail(ctx context.Context, table string, after uint64, wait time.Duration) (admin.ConflictTail, error) {
	f.note("tail %s %d %v", table, after, wait)
	if wait == 0 {
		return admin.ConflictTail{Conflicts: []admin.Conflict{}, Next: 40}, nil
	}
	f.mu.Lock()
	if len(f.tails) == 0 {
		f.mu.Unlock()
		<-ctx.Done()
		return admin.ConflictTail{}, &globaltable.Error{Kind: globaltable.Unavailable, Message: "ended"}
	}
	defer f.mu.Unlock()
	out := admin.ConflictTail{Conflicts: f.tails[0], Next: after + 1, Missed: after == 41}
	f.tails = f.tails[1:]
	f.broken = after == 40
	return out, nil
}

func (f *feeds) Stats(_ context.Context, table string) ([]admin.ConflictStats, error) {
	f.note("stats %s", table)
	if table == "empty" {
		return []admin.ConflictStats{}, nil
	}
	at := conflictOf(newerID).Expires
	return []admin.ConflictStats{{Table: "orders", Listed: 2, Open: 1, Bytes: 2048, Limit: 64 << 20, Keep: 7 * 86400, Oldest: &at, Newest: &at, ByRule: map[string]int{"item": 1, "attribute": 1}, ByLoser: map[string]int{"us-east-1": 2}},
		{Table: "quiet", Limit: 1 << 20, Keep: 60}}, nil
}

func (f *feeds) Show(_ context.Context, id feed.ID) (admin.Conflict, error) {
	f.note("show %s", id)
	if id.Table != 1 {
		return admin.Conflict{}, &globaltable.Error{Kind: globaltable.NotFound, Message: "no such conflict is listed"}
	}
	return conflictOf(id.String()), nil
}

func (f *feeds) Restore(_ context.Context, id feed.ID, r admin.RestoreConflict) (admin.ConflictChange, error) {
	f.note("restore %s %q %v", id, r.Attributes, r.Write)
	c := conflictOf(id.String())
	out := admin.ConflictChange{Conflict: c, Now: c.Winner.Values, Then: c.Loser.Values, Written: r.Write}
	if slices.Equal(r.Attributes, []string{"n"}) {
		out.Then = out.Now
	}
	return out, nil
}

// serveFeeds serves f as a region's admin API does, but for a request that finds it broken.
func serveFeeds(t *testing.T, f *feeds) (url string) {
	api := admin.New(admin.Config{Conflicts: f, Metrics: http.NotFoundHandler()})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		broken := f.broken
		f.broken = false
		f.mu.Unlock()
		if broken {
			http.Error(w, `{"message": "the region is about to end"}`, http.StatusServiceUnavailable)
			return
		}
		api.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		server.Close()
	})
	return server.URL
}

func TestConflictCommands(t *testing.T) {
	f := new(feeds)
	url := serveFeeds(t, f)
	for _, c := range []struct {
		args   string
		status int
		out    []string // all in standard output
		err    string
		asked  string
	}{
		{"conflict list", 0, []string{newerID, "orders", "id=a", "us-east-1", "eu-central-1", "v, m.n", "open", "There is more: --before " + newerID}, "", "list  since:false  false 100"},
		{"conflict list --table orders --since 90m --open --limit 7 --before " + newerID, 0, []string{olderID, "the deletion"}, "", "list orders since:true " + newerID + " true 7"},
		{"conflict list --table empty", 0, []string{"No conflict is listed."}, "", "list empty since:false  false 100"},
		{"conflict list --table unknown", 1, nil, "this region has no table named unknown", "list unknown since:false  false 100"},
		{"conflict show " + newerID, 0, []string{"Conflict " + newerID + " of table orders, item id=a: the attributes of us-east-1 were discarded.", "the later write of the attribute wins", "It is open.", "00000000000000ff-0002",
			"eu-central-1 0000000000000001-0001", "all up to 0000000000000001", "same same", `["x"]`, "–"}, "", "show " + newerID},
		{"conflict show " + olderID, 0, []string{"the later write of the whole item wins", "closed: somebody has written the item since who had seen it"}, "", "show " + olderID},
		{"conflict show 0000000000000002-00000000000000ff-0002", 1, nil, "no such conflict is listed", "show 0000000000000002-00000000000000ff-0002"},
		{"conflict stats", 0, []string{"orders", "2.0 KiB", "64.0 MiB", "7d", "item 1", "attribute 1", "us-east-1 2", "quiet", "1m"}, "", "stats "},
		{"conflict stats --table empty", 0, []string{"The region has no tables."}, "", "stats empty"},
		{"conflict restore " + newerID, 2, []string{"now", "restored", "same same"}, "give --yes to write it", "restore " + newerID + " [] false"},
		{"conflict restore " + newerID + " --yes --attributes v,m.n", 0, []string{"before"}, "", "restore " + newerID + ` ["m.n" "v"] true`},
		{"conflict restore --attributes n --yes " + newerID, 0, []string{"Nothing is changed by it"}, "", "restore " + newerID + ` ["n"] true`},
		{"conflict restore --yes " + olderID, 0, []string{"The item is deleted by it."}, "", "restore " + olderID + " [] true"},
	} {
		f.asked = nil
		got := command(t, append([]string{"--admin", url}, strings.Fields(c.args)...)...)
		if got.status != c.status || !strings.Contains(got.err, c.err) || (c.err == "") != (got.err == "") || strings.Join(f.asked, ",") != c.asked {
			t.Errorf("concordat %s: %+v, asked %q", c.args, got, f.asked)
		}
		for _, text := range c.out {
			if !strings.Contains(got.out, text) {
				t.Errorf("concordat %s lacks %q:\n%s", c.args, text, got.out)
			}
		}
		if c.out == nil && got.out != "" {
			t.Errorf("concordat %s: %s", c.args, got.out)
		}
	}
	// Values that differ behind what a cell shows are different.
	if got := command(t, "--admin", url, "conflict", "restore", newerID, "--yes"); !strings.Contains(got.out, "│ v") || strings.Contains(got.out, "│ n ") {
		t.Error(got.out)
	}
}

func TestConflictFormats(t *testing.T) {
	url := serveFeeds(t, new(feeds))
	for args, into := range map[string]any{"list": new(admin.ConflictList), "show " + newerID: new(admin.Conflict), "stats": new([]admin.ConflictStats), "restore --yes " + newerID: new(admin.ConflictChange)} {
		got := command(t, append([]string{"--admin", url, "--output", "json", "conflict"}, strings.Fields(args)...)...)
		dec := json.NewDecoder(strings.NewReader(got.out))
		dec.DisallowUnknownFields()
		if err := dec.Decode(into); err != nil || got.status != 0 || got.err != "" || dec.More() {
			t.Errorf("%s: %v, %+v", args, err, got)
		}
		got = command(t, append([]string{"--admin", url, "--output", "yaml", "conflict"}, strings.Fields(args)...)...)
		var v any
		if err := yaml.Unmarshal([]byte(got.out), &v); err != nil || got.status != 0 || strings.HasPrefix(got.out, "{") {
			t.Errorf("%s: %v, %+v", args, err, got)
		}
	}
}

// TestConflictTail: what was there, then what comes; a region that does not answer is asked again from the same place; who was too slow is told.
func TestConflictTail(t *testing.T) {
	for format, want := range map[string]func(out string) int{
		"table": func(out string) int { return strings.Count(out, "id=a: the attributes of us-east-1 were discarded") },
		"json": func(out string) (n int) {
			for line := range strings.Lines(out) {
				var c admin.Conflict
				if err := json.Unmarshal([]byte(line), &c); err != nil {
					t.Error(err)
				}
				n++
			}
			return n
		},
		"yaml": func(out string) int {
			dec, n := yaml.NewDecoder(bytes.NewReader([]byte(out))), 0
			for ; ; n++ {
				var v any
				if dec.Decode(&v) != nil {
					return n
				}
			}
		},
	} {
		f := &feeds{tails: [][]admin.Conflict{{conflictOf(newerID)}, {conflictOf(olderID), conflictOf(newerID)}}}
		url := serveFeeds(t, f)
		ctx, cancel := context.WithCancel(t.Context())
		out, errs := newSyncBuffer(), newSyncBuffer()
		ended := make(chan int, 1)
		go func() {
			ended <- Run(ctx, []string{"concordat", "conflict", "tail", "--since", "1h", "--table", "orders", "--admin", url, "--output", format}, Streams{Out: out, Err: errs}, "test")
		}()
		for strings.Count(out.String(), newerID)+strings.Count(out.String(), olderID) < 5 {
			select {
			case <-out.changed:
			case status := <-ended:
				t.Fatalf("%s: ended with %d: %s", format, status, errs)
			}
		}
		cancel()
		if status := <-ended; status != 0 || want(out.String()) != 5 || !strings.Contains(errs.String(), "the region is about to end; trying again") || !strings.Contains(errs.String(), "Some came too fast to follow") {
			t.Errorf("%s: %d, %d conflicts, %s\n%s", format, status, want(out.String()), errs, out)
		}
		f.mu.Lock() // the last request may still be coming
		asked := strings.Join(f.asked, ",")
		f.mu.Unlock()
		if want := "tail orders 0 0s,list orders since:true  false 1000,list orders since:true " + newerID + " false 1000,tail orders 40 20s,tail orders 41 20s"; !strings.HasPrefix(asked, want) {
			t.Errorf("asked %s", asked)
		}
	}
	// What the region refuses ends it.
	url := serveFeeds(t, new(feeds))
	if got := command(t, "conflict", "tail", "--table", "unknown", "--since", "1h", "--admin", url); got.status != 1 || !strings.Contains(got.err, "no table named unknown") {
		t.Errorf("%+v", got)
	}
}
