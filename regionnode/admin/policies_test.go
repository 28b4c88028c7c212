package admin_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/policy"
	"github.com/concordat-db/concordat/regionnode/admin"
	"github.com/concordat-db/concordat/regionnode/controlplane"
)

// policies is a region with a policy of everything. It keeps what it was asked.
type policies struct {
	asked []string
	wait  time.Duration // that the last plan was given
}

func locality() policy.Document {
	return policy.Document{Kind: policy.LocalityPolicy, Name: "eu", Locality: &policy.Locality{
		Match: policy.Match{Table: "orders", Key: &policy.Component{Delimiter: "#", Component: 1, Equals: "EU"}, SortKeyPrefix: "a"},
		Pin:   policy.Places{Jurisdictions: []string{"EU"}}, Foreign: globaltable.Forward, SingleCopy: policy.Allowed}}
}

func replication() policy.Document {
	return policy.Document{Kind: policy.ReplicationPolicy, Name: "all", Replication: &policy.Replication{Table: "orders", Regions: []string{"us-east-1"}, Merge: "vector",
		Attributes: map[string]string{"likes": "counter"}, Acknowledge: "peers:1", Stream: "off", Conflicts: &policy.Kept{Age: "30d", Bytes: "1MiB"}}}
}

func (p *policies) list(what string) admin.PolicyList {
	p.asked = append(p.asked, what)
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return admin.PolicyList{Region: "us-east-1", Policies: []admin.Policy{
		{Table: "orders", TableID: "0000000000000001", Name: "eu", Kind: policy.LocalityPolicy, Document: locality(), InForce: true},
		{Table: "orders", TableID: "0000000000000002", TableDeleted: true, Name: "all", Kind: policy.ReplicationPolicy, Document: replication(), Version: 2, Sequence: 7, Deleted: true, Author: "me", Reason: "why", At: &at, TableVersion: "1.2", By: "us-east-1"}}}
}

func (p *policies) Policies(_ context.Context, table string) (admin.PolicyList, error) {
	return p.list("list " + table), nil
}

func (p *policies) PolicyHistory(_ context.Context, table, name string) (admin.PolicyList, error) {
	if table == "none" {
		return admin.PolicyList{}, &globaltable.Error{Kind: globaltable.NotFound, Message: "no such table"}
	}
	return p.list("history " + table + " " + name), nil
}

func (p *policies) PlanPolicies(ctx context.Context, r admin.PolicyRequest) (admin.PolicyPlan, error) {
	deadline, _ := ctx.Deadline()
	p.wait = time.Until(deadline).Round(time.Second)
	p.asked = append(p.asked, fmt.Sprintf("plan %d %v", len(r.Documents), r.Delete))
	eu := locality()
	one := controlplane.Amount{Items: 1, Bytes: 2}
	return admin.PolicyPlan{Region: "us-east-1", Tables: []controlplane.Plan{{Table: "orders", Version: "1.2", Busy: true,
		Policies: []controlplane.PolicyChange{{Name: "eu", Kind: policy.LocalityPolicy, Action: controlplane.ActionChange, Before: &eu, After: &eu}},
		Settings: []controlplane.SettingChange{{Setting: "merge", Before: "lww", After: "vector"}},
		Regions:  []controlplane.RegionPlan{{Region: "us-east-1", Jurisdiction: "US", Detail: "why", Held: one, Copied: one, Erased: one, Unreachable: one}}, Notes: []string{"strange"}}}}, nil
}

func (p *policies) ApplyPolicies(_ context.Context, r admin.PolicyRequest) (admin.PolicyProgress, error) {
	p.asked = append(p.asked, fmt.Sprintf("apply %d %v by %s: %s", len(r.Documents), r.Delete, r.Author, r.Reason))
	return admin.PolicyProgress{Done: true, Tables: fullStatus().Tables}, nil
}

func (p *policies) TestPolicies(_ context.Context, t admin.PolicyTest) (admin.PolicyPlace, error) {
	p.asked = append(p.asked, fmt.Sprintf("test %s %s %s %s", t.Table, t.Key, t.Partition, t.Sort))
	return admin.PolicyPlace{Table: "orders", Region: "us-east-1", Policy: "eu", Match: "some", Permitted: []string{"eu-central-1"}, Here: admin.HereForwards,
		Others: []admin.PolicyLoser{{Policy: "all", Match: "every key of the table", Why: "less specific"}}}, nil
}

// TestPolicies: what is asked reaches the region, and wrong questions do not.
func TestPolicies(t *testing.T) {
	p := new(policies)
	cfg := config()
	cfg.Policies = p
	document := `{"apiVersion":"concordat/v1","kind":"LocalityPolicy","metadata":{"name":"eu"},"spec":{"match":{"table":"orders"},"pin":{"regions":["us-east-1"]}}}`
	for _, c := range []struct {
		method, path, body string
		status             int
		text, asked        string
	}{
		{"GET", "/v1/policies?table=orders", "", 200, `"likes": "counter"`, "list orders"},
		{"GET", "/v1/policies/history?name=eu", "", 200, `"reason": "why"`, "history  eu"},
		{"GET", "/v1/policies/history?table=none", "", 404, "no such table", ""},
		{"POST", "/v1/policies/plan?wait=90s", `{"author":"me","documents":[` + document + `]}`, 200, `"strange"`, "plan 1 []"},
		{"POST", "/v1/policies/plan?wait=2h", `{"author":"me"}`, 400, "wait is a time up to", ""},
		{"POST", "/v1/policies/plan", `{"author":"me","documents":[` + strings.Replace(document, "concordat/v1", "concordat/v2", 1) + `]}`, 400, "this release knows concordat/v1", ""},
		{"POST", "/v1/policies/plan", `{"author":"me","documents":[` + strings.Replace(document, `"pin"`, `"pins"`, 1) + `]}`, 400, "pins", ""},
		{"POST", "/v1/policies/apply", `{"author":"me","reason":"why","delete":[{"table":"orders","name":"eu"}]}`, 200, `"done": true`, "apply 0 [{orders eu}] by me: why"},
		{"POST", "/v1/policies/apply", `{"documents":` + strings.Repeat("[", 10) + `}`, 400, "cannot be read", ""},
		{"POST", "/v1/policies/test", `{"table":"orders","key":{"id":{"S":"a"}}}`, 200, `"forwards"`, `test orders {"id":{"S":"a"}}  `},
		{"POST", "/v1/policies/test", `{"table":"orders","partition":"a","sort":"b"}`, 200, `"less specific"`, "test orders  a b"},
		{"POST", "/v1/policies/test", `{"tables":"orders"}`, 400, "cannot be read", ""},
		{"DELETE", "/v1/policies", "", 405, "DELETE is not allowed", ""},
	} {
		p.asked = nil
		r := ask(t, cfg, c.method, c.path, c.body)
		if got := body(t, r); r.StatusCode != c.status || !strings.Contains(got, c.text) || strings.Join(p.asked, "; ") != c.asked {
			t.Errorf("%s %s: %d %q\n%s", c.method, c.path, r.StatusCode, p.asked, got)
		}
		if strings.Contains(c.path, "90s") && p.wait != 90*time.Second {
			t.Error("the plan may take", p.wait)
		}
	}
	cfg.Policies = admin.NoPolicies{Err: &globaltable.Error{Kind: globaltable.Unavailable, Message: "not now"}}
	for path, method := range map[string]string{"": http.MethodGet, "/history": http.MethodGet, "/plan": http.MethodPost, "/apply": http.MethodPost, "/test": http.MethodPost} {
		if r := ask(t, cfg, method, "/v1/policies"+path, `{}`); r.StatusCode != http.StatusServiceUnavailable || !strings.Contains(body(t, r), "not now") {
			t.Errorf("%s: %d", path, r.StatusCode)
		}
	}
}
