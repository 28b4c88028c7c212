package admin_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/audit"
	"github.com/concordat-db/concordat/regionnode/admin"
	"github.com/concordat-db/concordat/regionnode/residency"
	"github.com/concordat-db/concordat/regionnode/store"
	"github.com/concordat-db/concordat/streams/egress"
)

// auditor has something in every field; asked is what it was asked last. It fails for tables named "unknown", and after one finding for "broken".
type auditor struct{ asked string }

func (a *auditor) Log(_ context.Context, q admin.AuditQuery) (admin.AuditLog, error) {
	a.asked = fmt.Sprintf("%s %s %s %s %d", q.After, q.Since.Format(time.RFC3339), q.Kind, q.Region, q.Limit)
	e := &audit.Entry{Format: 1, Origin: 1, Region: "us-east-1", Seq: 2, At: 3, Clock: 4, Kind: audit.PolicyChanged, Subject: "orders", ID: "0000000000000001", Version: "1.2", Document: "00", Op: "update table", Asked: "eu-central-1",
		Author: "ops", Reason: "law", Changes: []audit.Change{{What: "policy x", Was: "a", Now: "b"}}, Omitted: 1}
	return admin.AuditLog{Entries: []admin.AuditEntry{{Entry: e, Stamp: "1@1", Sealed: &globaltable.Sealed{Payload: `{"a":"<\u003c>"}`, Signature: []byte{1}}}, {Fault: "why", At: &audit.Place{Origin: 1, Region: "us-east-1", Seq: 3}}}, More: true, Next: "eA", Keys: map[string]string{"us-east-1": "U"}}, nil
}

func (a *auditor) Egress(context.Context) (admin.Egress, error) {
	return admin.Egress{Region: "us-east-1", PublicKey: "U", Incarnation: 1, Head: egress.Head{Number: 2}, Oldest: 1, Accounts: []admin.EgressAccount{
		{Account: egress.Account{Peer: 2, Region: "eu-central-1", Kind: egress.Lane, Lane: "0000000000000002", Places: []hlc.Origin{1, 2}, First: 1, Last: 2, Chain: new(globaltable.Chain), Events: 2, Count: 3, Bytes: 4}, Regions: []string{"us-east-1"}},
		{Account: egress.Account{Peer: 2, Region: "eu-central-1", Kind: egress.Exchange, Table: "0000000000000002", Events: 2, Count: 3, Bytes: 4}, TableName: "orders"}}}, nil
}

func (a *auditor) Checkpoints(_ context.Context, after uint64, limit int) (admin.EgressCheckpoints, error) {
	a.asked = fmt.Sprint(after, limit)
	return admin.EgressCheckpoints{Checkpoints: []globaltable.Sealed{{Payload: "{}", Signature: []byte{1}}}, More: true}, nil
}

func (a *auditor) Receipts(_ context.Context, table string) (admin.Receipts, error) {
	a.asked = table
	return admin.Receipts{Keys: map[string]string{"us-east-1": "U"}, Regions: []admin.ReceiptRegion{{Name: "us-east-1", Jurisdiction: "US", Origin: 1}}, Receipts: []admin.Receipt{{Table: "orders", TableID: "0000000000000001", Version: "1.2", Region: "us-east-1", Jurisdiction: "US", Incarnation: 1,
		Done: globaltable.Placed{Erased: 1, ErasedBytes: 2, Handed: map[string]int64{"eu-central-1": 1}, Voided: 1, Relogged: 1, Saved: 1, Streamed: 1}, Token: "x", Fault: "why"}}}, nil
}

func (a *auditor) Residency(_ context.Context, table string, report func(residency.Finding) error) (residency.Summary, error) {
	if a.asked = table; table == "unknown" {
		return residency.Summary{}, &globaltable.Error{Kind: globaltable.NotFound, Message: "no region has a table named unknown"}
	}
	if err := report(residency.Finding{Table: "0000000000000001", Name: "orders", Policy: "eu", Key: "00", Region: "us-east-1", Where: residency.InLog, Detail: "lane", Pending: true}); err != nil {
		return residency.Summary{}, err
	}
	if table == "broken" {
		return residency.Summary{}, errors.New("the disk is gone")
	}
	return residency.Summary{Region: "us-east-1", Findings: 1, Counts: []residency.Count{{Table: "0000000000000001", Name: "orders", Policy: "eu", Regions: []string{"eu-central-1"}, Jurisdictions: []string{"EU"}, Records: 1, Conflicts: 1, Bytes: 1}},
		Files: store.Files{Unknown: []string{"x"}}}, nil
}

func TestAuditRequests(t *testing.T) {
	a := new(auditor)
	cfg := config()
	cfg.Audit = a
	for path, want := range map[string]string{
		"/v1/audit/log?after=eA&since=2026-01-02T03:04:05Z&kind=policy.changed&region=eu&limit=5": "x 2026-01-02T03:04:05Z policy.changed eu 5",
		"/v1/audit/log": " 0001-01-01T00:00:00Z   1000",
		"/v1/audit/egress/checkpoints?after=7&limit=9": "7 9",
		"/v1/audit/residency?table=orders":             "orders",
		"/v1/audit/receipts?table=customers":           "customers",
	} {
		r := get(t, cfg, http.MethodGet, path)
		if r.StatusCode != http.StatusOK || a.asked != want {
			t.Errorf("%s: %d, asked %q, want %q", path, r.StatusCode, a.asked, want)
		}
	}
	for _, path := range []string{"/v1/audit/log?limit=0", "/v1/audit/log?limit=1001", "/v1/audit/log?since=x", "/v1/audit/log?kind=x", "/v1/audit/log?after=*", "/v1/audit/egress/checkpoints?after=-1", "/v1/audit/egress/checkpoints?limit=x"} {
		if r := get(t, cfg, http.MethodGet, path); r.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %d", path, r.StatusCode)
		}
	}
	if r := get(t, cfg, http.MethodGet, "/v1/audit/residency?table=unknown"); r.StatusCode != http.StatusNotFound {
		t.Errorf("unknown table: %d", r.StatusCode)
	}
}

// A sealed text arrives byte for byte: else its signature is none.
func TestSealedTextsArriveUnchanged(t *testing.T) {
	var log admin.AuditLog
	if err := json.Unmarshal([]byte(body(t, get(t, config(), http.MethodGet, "/v1/audit/log"))), &log); err != nil {
		t.Fatal(err)
	}
	if got := log.Entries[0].Sealed.Payload; got != `{"a":"<\u003c>"}` {
		t.Errorf("got %s", got)
	}
}

// Each line of a scan is as documented; the last is a summary, or says what went wrong.
func TestResidencyLines(t *testing.T) {
	d := openAPI(t)
	for table, want := range map[string]string{"orders": "finding summary", "broken": "finding fault"} {
		var got []string
		lines := bufio.NewScanner(strings.NewReader(body(t, get(t, config(), http.MethodGet, "/v1/audit/residency?table="+table))))
		for lines.Scan() {
			var v map[string]any
			if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
				t.Fatal(err)
			}
			for _, fault := range d.check(d.Components.Schemas["ResidencyLine"], v, table) {
				t.Error(fault)
			}
			for name := range v {
				got = append(got, name)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %q, want %s", table, got, want)
		}
	}
}
