package admin_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode/admin"
)

// triggerRuns answers with something in every field; there is no trigger of the name "unknown".
type triggerRuns struct{ asked *[]string }

func (x triggerRuns) note(parts ...string) error {
	if x.asked != nil {
		*x.asked = append(*x.asked, strings.Join(parts, " "))
	}
	for _, p := range parts {
		if p == "unknown" {
			return &globaltable.Error{Kind: globaltable.NotFound, Message: "no such trigger"}
		}
	}
	return nil
}

func (x triggerRuns) TriggerStats(_ context.Context, table, name string) (admin.TriggerStats, error) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return admin.TriggerStats{Region: "us-east-1", Triggers: []admin.TriggerRun{{Table: "orders", Name: "search", Fire: "one", Target: "webhook", Letters: admin.LetterCount{Count: 1, Bytes: 2, Dropped: 3},
		Feeds: []admin.TriggerRow{{Origin: "us-east-1", Regions: []string{"us-east-1"}, Fires: true, By: []string{"eu-central-1"}, Ready: true, Position: "1", CursorAgeMillis: 5,
			Backlog: admin.TriggerQueue{Records: 1, Bytes: 2, More: true, AgeMillis: 3}, Delivered: 4, LastError: &admin.TriggerError{At: at, Error: "HTTP status 503"}}, {}}}}}, x.note("stats", table, name)
}

func (x triggerRuns) DeadLetters(_ context.Context, q admin.DeadLetterQuery) (admin.DeadLetterList, error) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	letter := admin.DeadLetter{ID: "1", Buried: at, Attempts: 8, Error: "HTTP status 503", Bytes: 10, EventID: "x"}
	if q.Event {
		letter.Event = json.RawMessage(`{"id":"x","data":{"table":"orders","keys":{"id":{"S":"x"}}}}`)
	}
	return admin.DeadLetterList{Region: "us-east-1", Letters: []admin.DeadLetter{letter}, More: true}, x.note("letters", q.Table, q.Trigger, q.ID, q.After)
}

func (x triggerRuns) Redrive(_ context.Context, r admin.DeadLetterRequest) (admin.Redriven, error) {
	return admin.Redriven{Delivered: 1, Failed: 2, Withheld: 3, More: true, Error: "HTTP status 503"}, x.note("redrive", r.Table, r.Trigger, strings.Join(r.IDs, ","))
}

func (x triggerRuns) Purge(_ context.Context, r admin.DeadLetterRequest) (admin.Purged, error) {
	return admin.Purged{Dropped: 7}, x.note("purge", r.Table, r.Trigger, strings.Join(r.IDs, ","))
}

// TestTriggerRuns: what is asked reaches who knows, and answers are as the document says.
func TestTriggerRuns(t *testing.T) {
	d := openAPI(t)
	var asked []string
	cfg := config()
	cfg.TriggerRuns = triggerRuns{&asked}
	for _, c := range []struct {
		method, path, body string
		status             int
		asked              string
	}{
		{http.MethodGet, "/v1/triggers/stats", "", http.StatusOK, "stats  "},
		{http.MethodGet, "/v1/triggers/stats?table=orders&trigger=search", "", http.StatusOK, "stats orders search"},
		{http.MethodGet, "/v1/triggers/stats?trigger=unknown", "", http.StatusNotFound, "stats  unknown"},
		{http.MethodGet, "/v1/triggers/letters?table=orders&trigger=search&id=5&after=4&events=true", "", http.StatusOK, "letters orders search 5 4"},
		{http.MethodGet, "/v1/triggers/letters?limit=0", "", http.StatusBadRequest, ""},
		{http.MethodGet, "/v1/triggers/letters?events=perhaps", "", http.StatusBadRequest, ""},
		{http.MethodPost, "/v1/triggers/letters/redrive", `{"table":"orders","trigger":"search","ids":["1","2"]}`, http.StatusOK, "redrive orders search 1,2"},
		{http.MethodPost, "/v1/triggers/letters/redrive", `{"table":"orders","trigger":"search","id":"1"}`, http.StatusBadRequest, ""},
		{http.MethodPost, "/v1/triggers/letters/purge", `{"table":"orders","trigger":"search"}`, http.StatusOK, "purge orders search "},
		{http.MethodPost, "/v1/triggers/letters/purge", `{"table":"orders","trigger":"unknown"}`, http.StatusNotFound, "purge orders unknown "},
	} {
		asked = nil
		r := ask(t, cfg, c.method, c.path, c.body)
		text := body(t, r)
		if got := strings.Join(asked, "; "); r.StatusCode != c.status || got != c.asked {
			t.Errorf("%s %s: %d, asked %q: %s", c.method, c.path, r.StatusCode, got, text)
		}
		path, _, _ := strings.Cut(c.path, "?")
		if r.StatusCode == http.StatusOK {
			for _, fault := range d.checkAnswer(d.Paths[path][strings.ToLower(c.method)].Responses["200"].Content["application/json"], text) {
				t.Errorf("%s: %s", c.path, fault)
			}
		}
	}
	cfg.TriggerRuns = admin.NoTriggerRuns{Err: &globaltable.Error{Kind: globaltable.Unavailable, Message: "not now"}}
	for _, c := range [][3]string{{http.MethodGet, "/v1/triggers/stats", ""}, {http.MethodGet, "/v1/triggers/letters", ""}, {http.MethodPost, "/v1/triggers/letters/redrive", "{}"}, {http.MethodPost, "/v1/triggers/letters/purge", "{}"}} {
		if r := ask(t, cfg, c[0], c[1], c[2]); r.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("%s: %d", c[1], r.StatusCode)
		}
	}
}
