package admin_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode/admin"
	"github.com/concordat-db/concordat/streams/repair"
)

// fullStatus has something in every field.
func fullStatus() admin.Status {
	lag, age, percent := 1.5, 250.0, 42
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return admin.Status{
		Members: []admin.State{{Region: "us-east-1", State: "active"}},
		Region:  admin.Region{Name: "us-east-1", Jurisdiction: "US", Origin: 1, Incarnation: 1 << 60},
		Version: "v1", Ready: true, Refused: []string{"disk almost full"},
		Pairs: []admin.Pair{
			{From: "eu-central-1", To: "us-east-1", State: admin.StateStalled, Detail: "clock ahead", LagMillis: &lag, BehindEntries: 3, WatermarkAgeMillis: &age},
			{From: "us-east-1", To: "eu-central-1", State: admin.StateGossip},
		},
		Tables: []admin.Table{{Name: "orders", ID: "0000000000000001", Owner: "us-east-1", Version: "1.2", Status: "ACTIVE", Items: 2, Bytes: 100,
			Digest: "00", Acknowledge: "peers:1", Conflicts: admin.Listed{Listed: 2, Bytes: 300, Limit: 1 << 20, KeepSeconds: 60}, Streams: admin.Streamed{View: "NEW_IMAGE", Streams: 2, Records: 5, Bytes: 600, Limit: 1 << 30, KeepSeconds: 86400}, Merge: admin.Merge{Mode: "vector", Types: map[string]string{"likes": "counter"}}, Replicas: []admin.Replica{{Region: "us-east-1", Status: "CREATION_FAILED", Detail: "why", Percent: &percent, Placing: true}}, Comparisons: []repair.Compared{
				{Region: "eu-central-1", Diverged: &at, Percent: 7, Bytes: 10, Share: 0.5, Paused: "why", Last: &repair.Pass{Began: at, Ended: at, State: repair.NotCompared,
					Detail: "why", Keys: 1, Buckets: 1, InFlight: 1, Bytes: 5, Share: 0.25}},
				{Region: "ap-south-1"}}, Collection: admin.Collection{Waiting: 7, Expiring: 9, PurgeAgeMillis: &age, HeldBack: "why"}, TimeToLive: admin.TimeToLive{Status: "ENABLED", Attribute: "until"},
			Indexes: []admin.Index{{Name: "by-date", Percent: 42, Entries: 3, Bytes: 99}}}},
		Lanes: []admin.Lane{{ID: "0000000000000002", Regions: []string{"us-east-1"}, Head: 5, Entries: 1, Bytes: 10, Live: true,
			Confirmed: map[string]uint64{"eu-central-1": 4}, Lagging: map[string]admin.Lag{"ap-south-1": {Since: &at, Entries: 3}}}},
		Triggers: []admin.TriggerState{{Table: "orders", Name: "search", Fires: true, BehindMillis: 5, Letters: 1, Gaps: 2}},
		Rebuild:  new(fullRebuild()), Events: &admin.EventsSummary{Tables: 2, LagMillis: 5, Grants: 1, Failing: []string{"orders"}},
	}
}

// fullRebuild has something in every field.
func fullRebuild() admin.Rebuild {
	return admin.Rebuild{Step: "joining", Reason: "fenced", Why: "why", Saved: 5, Percent: 99, Waiting: []string{"table orders: 5 %"}}
}

// saved is a saved space with one record; there is none of the id "unknown".
type saved struct{ done *[]string }

func (s saved) record(id string) admin.SavedRecord {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return admin.SavedRecord{ID: id, TableID: "0000000000000001", Table: "orders", Written: at, By: "us-east-1", Saved: at, Deleted: true, Bytes: 7}
}

func (s saved) List(_ context.Context, table string, limit int) (admin.SavedList, error) {
	return admin.SavedList{Records: []admin.SavedRecord{s.record(fmt.Sprint(table, " ", limit))}, More: true}, nil
}

func (s saved) Show(_ context.Context, id string) (admin.SavedItem, error) {
	return admin.SavedItem{SavedRecord: s.record(id), Item: json.RawMessage(`{"id":{"S":"x"},"n":{"NULL":true}}`)}, nil
}

func (s saved) Restore(_ context.Context, id string) error { return s.do("restore", id) }

func (s saved) Drop(_ context.Context, id string) error { return s.do("drop", id) }

func (s saved) do(what, id string) error {
	if id == "unknown" {
		return &globaltable.Error{Kind: globaltable.NotFound, Message: "no record is saved under unknown"}
	}
	if s.done != nil {
		*s.done = append(*s.done, what+" "+id)
	}
	return nil
}

// TestSavedRecords: what is asked reaches the saved space, and what it says the asker.
func TestSavedRecords(t *testing.T) {
	var done []string
	cfg := config()
	cfg.Saved = saved{&done}
	for _, c := range []struct {
		method, path string
		status       int
		text         string
	}{
		{http.MethodGet, "/v1/saved?table=orders&limit=3", http.StatusOK, `"orders 3"`},
		{http.MethodGet, "/v1/saved", http.StatusOK, `" 100"`},
		{http.MethodGet, "/v1/saved?limit=1001", http.StatusBadRequest, "1 to 1000"},
		{http.MethodPost, "/v1/saved/a/restore", http.StatusOK, `"a"`},
		{http.MethodPost, "/v1/saved/b/drop", http.StatusOK, `"b"`},
		{http.MethodPost, "/v1/saved/unknown/drop", http.StatusNotFound, "no record"},
	} {
		if r := get(t, cfg, c.method, c.path); r.StatusCode != c.status || !strings.Contains(body(t, r), c.text) {
			t.Errorf("%s %s: %d", c.method, c.path, r.StatusCode)
		}
	}
	if want := []string{"restore a", "drop b"}; !slices.Equal(done, want) {
		t.Errorf("%v, want %v", done, want)
	}
	cfg.Saved = admin.NoSaved{Err: &globaltable.Error{Kind: globaltable.Unavailable, Message: "not now"}}
	for _, path := range []string{"/v1/saved", "/v1/saved/a"} {
		if r := get(t, cfg, http.MethodGet, path); r.StatusCode != http.StatusServiceUnavailable || !strings.Contains(body(t, r), "not now") {
			t.Errorf("%s: %d", path, r.StatusCode)
		}
	}
}

// fullVerification has something in every field.
func fullVerification(table string) admin.Verification {
	return admin.Verification{Region: "us-east-1", State: repair.Diverged, Tables: []repair.Report{{Table: table, ID: "0000000000000001", State: repair.Diverged, Items: 7,
		Replicas: []repair.ReplicaReport{
			{Region: "eu-central-1", State: repair.Diverged, Buckets: 1, Keys: 2, Hashes: []string{"00", "01"}, InFlight: 1, Repaired: 3},
			{Region: "ap-south-1", State: repair.NotCompared, Detail: "why"}}}}}
}

// fullRegions has something in every field.
func fullRegions() admin.Regions {
	return admin.Regions{Region: "us-east-1", Owner: "us-east-1", Pending: []string{"eu-central-1, which cannot be reached"}, Regions: []admin.Member{
		{Name: "ap-south-1", Jurisdiction: "IN", Origin: 3, State: "fencing", Incarnation: 5, NATS: []string{"nats://10.0.0.3:4222"}, PublicKey: "U", OnlyCopies: []string{"places"},
			Replicas: []admin.MemberReplica{{Table: "orders", Status: "FENCING", Detail: "why"}}},
		{Name: "us-east-1", Jurisdiction: "US", Origin: 1, State: "active", NATS: []string{}, Replicas: []admin.MemberReplica{}, OnlyCopies: []string{}}}}
}

// document is the OpenAPI document, as far as this test reads it.
type document struct {
	Paths      map[string]map[string]operation `json:"paths"`
	Components struct {
		Schemas map[string]*schema `json:"schemas"`
	} `json:"components"`
}

type operation struct {
	Responses map[string]struct {
		Ref     string                     `json:"$ref"`
		Content map[string]json.RawMessage `json:"content"`
	} `json:"responses"`
}

type schema struct {
	Ref        string             `json:"$ref"`
	Type       any                `json:"type"` // a name or a list of names
	Required   []string           `json:"required"`
	Properties map[string]*schema `json:"properties"`
	Additional *schema            `json:"additionalProperties"`
	Items      *schema            `json:"items"`
	Enum       []string           `json:"enum"`
	Minimum    *float64           `json:"minimum"`
	Maximum    *float64           `json:"maximum"`
}

func openAPI(t *testing.T) *document {
	t.Helper()
	var d document
	if err := json.Unmarshal([]byte(body(t, get(t, config(), http.MethodGet, "/v1/openapi.json"))), &d); err != nil {
		t.Fatal(err)
	}
	return &d
}

// check returns what is wrong with v under s. A property that s does not name is wrong, too: it is not documented.
func (d *document) check(s *schema, v any, at string) (faults []string) {
	if s.Ref != "" {
		name := s.Ref[strings.LastIndex(s.Ref, "/")+1:]
		if s = d.Components.Schemas[name]; s == nil {
			return []string{at + ": no schema " + name}
		}
	}
	if !d.typed(s, v) {
		return []string{fmt.Sprintf("%s: %T is not of type %v", at, v, s.Type)}
	}
	switch v := v.(type) {
	case string:
		if s.Enum != nil && !slices.Contains(s.Enum, v) {
			faults = append(faults, at+": "+v+" is not one of the values")
		}
	case float64:
		if s.Minimum != nil && v < *s.Minimum || s.Maximum != nil && v > *s.Maximum {
			faults = append(faults, fmt.Sprintf("%s: %v is out of range", at, v))
		}
	case []any:
		for i, e := range v {
			faults = append(faults, d.check(s.Items, e, fmt.Sprintf("%s[%d]", at, i))...)
		}
	case map[string]any:
		for _, name := range s.Required {
			if _, ok := v[name]; !ok {
				faults = append(faults, at+": "+name+" is missing")
			}
		}
		for name, e := range v {
			of := s.Properties[name]
			if of == nil {
				of = s.Additional
			}
			if of == nil {
				faults = append(faults, at+": "+name+" is not documented")
				continue
			}
			faults = append(faults, d.check(of, e, at+"."+name)...)
		}
	}
	return faults
}

// checkAnswer checks a body against the schema of a documented answer, if it has one.
func (d *document) checkAnswer(content json.RawMessage, body string) []string {
	var of struct{ Schema *schema }
	if len(content) == 0 || json.Unmarshal(content, &of) != nil || of.Schema == nil {
		return nil
	}
	var v any
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		return []string{err.Error()}
	}
	return d.check(of.Schema, v, "answer")
}

func (d *document) typed(s *schema, v any) bool {
	var names []string
	switch t := s.Type.(type) {
	case string:
		names = []string{t}
	case []any:
		for _, n := range t {
			names = append(names, fmt.Sprint(n))
		}
	default:
		_, text := v.(string)
		return s.Enum != nil && text
	}
	is := map[string]bool{}
	switch v := v.(type) {
	case nil:
		is["null"] = true
	case bool:
		is["boolean"] = true
	case string:
		is["string"] = true
	case float64:
		is["number"], is["integer"] = true, v == math.Trunc(v)
	case []any:
		is["array"] = true
	case map[string]any:
		is["object"] = true
	}
	return slices.ContainsFunc(names, func(n string) bool { return is[n] })
}

func TestStatusIsAsTheDocumentSays(t *testing.T) {
	d := openAPI(t)
	status := d.Components.Schemas["Status"]
	for name, st := range map[string]admin.Status{"full": fullStatus(), "empty": {Region: admin.Region{Origin: 1}, Members: []admin.State{}, Pairs: []admin.Pair{}, Tables: []admin.Table{}, Lanes: []admin.Lane{}}} {
		b, err := json.Marshal(st)
		if err != nil {
			t.Fatal(err)
		}
		var v any
		if err := json.Unmarshal(b, &v); err != nil {
			t.Fatal(err)
		}
		for _, fault := range d.check(status, v, name) {
			t.Error(fault)
		}
	}
	b, err := json.Marshal(fullVerification("orders"))
	if err != nil {
		t.Fatal(err)
	}
	var verification any
	if err := json.Unmarshal(b, &verification); err != nil {
		t.Fatal(err)
	}
	for _, fault := range d.check(d.Components.Schemas["Verification"], verification, "verification") {
		t.Error(fault)
	}
	b, err = json.Marshal(fullRegions())
	if err != nil {
		t.Fatal(err)
	}
	var regions any
	if err := json.Unmarshal(b, &regions); err != nil {
		t.Fatal(err)
	}
	for _, fault := range d.check(d.Components.Schemas["Regions"], regions, "regions") {
		t.Error(fault)
	}
	b, err = json.Marshal(admin.Invitation{Region: "sa-east-1", Origin: 9, World: "1.2", Expires: "2026-01-02T03:04:05Z", Invitation: "x"})
	if err != nil {
		t.Fatal(err)
	}
	var invitation any
	if err := json.Unmarshal(b, &invitation); err != nil {
		t.Fatal(err)
	}
	for _, fault := range d.check(d.Components.Schemas["Invitation"], invitation, "invitation") {
		t.Error(fault)
	}
	// The checker can fail.
	for _, bad := range []string{`{}`, `[]`, `{"region":{"origin":0}}`, `{"pairs":[{"state":"resting"}]}`, `{"lanes":[{"confirmed":{"a":"b"}}]}`, `{"more":1}`} {
		var v any
		if err := json.Unmarshal([]byte(bad), &v); err != nil {
			t.Fatal(err)
		}
		if len(d.check(status, v, "")) == 0 {
			t.Errorf("%s passes", bad)
		}
	}
}

func TestDocumentNamesAllStatesAndPaths(t *testing.T) {
	d := openAPI(t)
	states := []string{admin.StateIdle, admin.StateLive, admin.StateCatchingUp, admin.StateStalled, admin.StateDisconnected, admin.StateGossip}
	if got := d.Components.Schemas["Pair"].Properties["state"].Enum; !slices.Equal(got, states) {
		t.Errorf("states %v, want %v", got, states)
	}
	bodies := map[string]string{"POST /v1/triggers/letters/redrive": `{}`, "POST /v1/triggers/letters/purge": `{}`, "POST /v1/conflicts/{id}/restore": `{"write":true}`, "POST /v1/tables/{name}/snapshots": `{"destination":"file:///exports"}`, "POST /v1/regions": `{"descriptor":"new"}`, "PATCH /v1/tables/{name}": `{"acknowledge":"peers:1"}`, "POST /v1/tables/{name}/replicas": `{"regions":["eu-central-1"]}`,
		"POST /v1/triggers/plan": `{"author":"a"}`, "POST /v1/triggers/apply": `{"author":"a"}`, "POST /v1/policies/plan": `{"author":"a"}`, "POST /v1/policies/apply": `{"author":"a"}`, "POST /v1/policies/test": `{"table":"orders","partition":"a"}`,
		"PUT /v1/tables/{name}/tails/{tail}": `{"position":"100000000000000000005"}`, "POST /v1/grants": `{"name":"search","publicKey":"U","tables":["orders"]}`}
	for path, methods := range d.Paths {
		for method, op := range methods {
			method = strings.ToUpper(method)
			id := "00aa"
			if strings.HasPrefix(path, "/v1/conflicts") {
				id = oneConflict
			}
			at := strings.NewReplacer("{name}", "orders", "{region}", "eu-central-1", "{id}", id, "{tail}", "mine").Replace(path)
			r := ask(t, config(), method, at, bodies[method+" "+path])
			content := op.Responses["200"].Content
			if kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); r.StatusCode != http.StatusOK || kind != "" && content[kind] == nil {
				t.Errorf("%s %s: %d %s; the document has %v", method, at, r.StatusCode, kind, content)
			}
			if faults := d.checkAnswer(content["application/json"], body(t, r)); len(faults) > 0 {
				t.Errorf("%s %s: %v", method, at, faults)
			}
		}
	}
	members := []string{string(globaltable.MemberActive), string(globaltable.MemberFencing), string(globaltable.MemberFenced), string(globaltable.MemberRemoving),
		string(globaltable.MemberRemoved)}
	if got := d.Components.Schemas["MemberState"].Enum; !slices.Equal(got, members) {
		t.Errorf("states of members %v, want %v", got, members)
	}
	compared := []string{repair.Converged, repair.InFlight, repair.Diverged, repair.NotCompared}
	if got := d.Components.Schemas["Comparison"].Enum; !slices.Equal(got, compared) {
		t.Errorf("states %v, want %v", got, compared)
	}
	if len(d.Paths) != 51 {
		t.Errorf("%d paths are documented", len(d.Paths))
	}
}
