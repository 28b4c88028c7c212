package admin_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/trigger"
	"github.com/concordat-db/concordat/regionnode/admin"
)

// triggers is a region with a trigger of everything. It keeps what it was asked.
type triggers struct{ asked []string }

// triggerOf is one with all that a document can have, but the two other targets.
func triggerOf(target globaltable.Target) trigger.Document {
	return trigger.Document{Name: "search", Table: "orders", Spec: globaltable.TriggerSpec{Fire: globaltable.FireOne, Filter: json.RawMessage(`{"data":{"new":{"x":{"S":[{"prefix":"a"},{"anything-but":["b"]},{"exists":true},null,5,"c"]}}},"type":["d"]}`), Target: target,
		Batch: globaltable.Batch{Size: 5, Window: time.Second}, Parallel: 3, Retry: globaltable.Retry{Attempts: 2, First: time.Second, Most: time.Minute}}}
}

func targets() []globaltable.Target {
	return []globaltable.Target{{Webhook: &globaltable.Webhook{URL: "https://a.example/", SecretRef: "key", Timeout: time.Second}}, {NATS: &globaltable.NATSTarget{Subject: "a"}},
		{Command: &globaltable.CommandSpec{Path: "/a", Args: []string{"b"}, Timeout: time.Second}}}
}

func (x *triggers) Triggers(_ context.Context, table string) (admin.TriggerList, error) {
	x.asked = append(x.asked, "list "+table)
	if table == "none" {
		return admin.TriggerList{}, &globaltable.Error{Kind: globaltable.NotFound, Message: "no such table"}
	}
	out := admin.TriggerList{Region: "us-east-1"}
	for _, target := range targets() {
		out.Triggers = append(out.Triggers, admin.Trigger{Table: "orders", Name: "search", Document: triggerOf(target), Number: 2, Born: "1.2", Paused: true,
			Replay: &admin.ReplayOfTriggers{Number: 1, Since: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}, Notes: []string{"strange"}})
	}
	return out, nil
}

func (x *triggers) change(what string, r *admin.TriggerRequest) admin.TriggerSteps {
	x.asked = append(x.asked, fmt.Sprintf("%s %d %v %v %v %v by %s: %s", what, len(r.Documents), r.Delete, r.Pause, r.Resume, r.Replay, r.Author, r.Reason))
	d := triggerOf(targets()[0])
	out := admin.TriggerSteps{Region: "us-east-1"}
	for _, action := range []string{admin.TriggerCreate, admin.TriggerUpdate, admin.TriggerKeep, admin.TriggerDelete, admin.TriggerPause, admin.TriggerResume, admin.TriggerAgain} {
		out.Triggers = append(out.Triggers, admin.TriggerStep{Table: "orders", Name: "search", Action: action, Before: &d, After: &d, Notes: []string{"strange"}})
	}
	return out
}

func (x *triggers) PlanTriggers(_ context.Context, r admin.TriggerRequest) (admin.TriggerSteps, error) {
	return x.change("plan", &r), nil
}

func (x *triggers) ApplyTriggers(_ context.Context, r admin.TriggerRequest) (admin.TriggerSteps, error) {
	return x.change("apply", &r), nil
}

// TestTriggers: what is asked reaches the region, and wrong questions do not.
func TestTriggers(t *testing.T) {
	x := new(triggers)
	cfg := config()
	cfg.Triggers = x
	document := `{"apiVersion":"concordat/v1","kind":"Trigger","metadata":{"name":"a"},"spec":{"table":"orders","target":{"webhook":{"url":"https://a.example","timeout":"5s"}}}}`
	for _, c := range []struct {
		method, path, body string
		status             int
		text, asked        string
	}{
		{"GET", "/v1/triggers?table=orders", "", 200, `"window": "1s"`, "list orders"},
		{"GET", "/v1/triggers?table=none", "", 404, "no such table", "list none"},
		{"POST", "/v1/triggers/plan", `{"author":"me","documents":[` + document + `]}`, 200, `"strange"`, "plan 1 [] [] [] [] by me: "},
		{"POST", "/v1/triggers/plan", `{"author":"me","documents":[` + strings.Replace(document, "https:", "http:", 1) + `]}`, 400, "spec.target.webhook.url: it is not https", ""},
		{"POST", "/v1/triggers/plan", `{"author":"me","documents":[` + strings.Replace(document, `"5s"`, `5`, 1) + `]}`, 400, "cannot be read", ""},
		{"POST", "/v1/triggers/apply", `{"author":"me","documents":[` + strings.Replace(document, `"timeout"`, `"timeouts"`, 1) + `]}`, 400, "timeouts", ""},
		{"POST", "/v1/triggers/apply", `{"author":"me","reason":"why","delete":[{"table":"orders","name":"a"}],"pause":[{"table":"orders","name":"b"}],"resume":[{"table":"orders","name":"c"}],"replay":[{"table":"orders","name":"d","since":"2026-01-02T03:04:05Z"}]}`,
			200, `"action": "replay"`, "apply 0 [{orders a}] [{orders b}] [{orders c}] [{{orders d} 2026-01-02 03:04:05 +0000 UTC}] by me: why"},
		{"POST", "/v1/triggers/apply", `{"author":"me","replay":[{"table":"orders","name":"d","since":"1h"}]}`, 400, "cannot be read", ""},
		{"DELETE", "/v1/triggers", "", 405, "DELETE is not allowed", ""},
	} {
		x.asked = nil
		r := ask(t, cfg, c.method, c.path, c.body)
		if got := body(t, r); r.StatusCode != c.status || !strings.Contains(got, c.text) || strings.Join(x.asked, "; ") != c.asked {
			t.Errorf("%s %s: %d %q\n%s", c.method, c.path, r.StatusCode, x.asked, got)
		}
	}
	cfg.Triggers = admin.NoTriggers{Err: &globaltable.Error{Kind: globaltable.Unavailable, Message: "not now"}}
	for path, method := range map[string]string{"": http.MethodGet, "/plan": http.MethodPost, "/apply": http.MethodPost} {
		if r := ask(t, cfg, method, "/v1/triggers"+path, `{}`); r.StatusCode != http.StatusServiceUnavailable || !strings.Contains(body(t, r), "not now") {
			t.Errorf("%s: %d", path, r.StatusCode)
		}
	}
}
