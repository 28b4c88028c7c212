package admin

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/concordat-db/concordat/globaltable/manifest"
	"github.com/concordat-db/concordat/globaltable/policy"
	"github.com/concordat-db/concordat/regionnode/controlplane"
)

// Policies shows and changes the policies of tables: those of the tables that the region has a replica of; the history, of deleted tables too. Errors are *globaltable.Error.
type Policies interface {
	// Policies returns those in force; of all tables here for an empty name.
	Policies(ctx context.Context, table string) (PolicyList, error)
	// PolicyHistory returns what is kept of the history; of all tables here and all deleted ones, or of all policies, for an empty name. table may be an id.
	PolicyHistory(ctx context.Context, table, name string) (PolicyList, error)
	// PlanPolicies says what a change would come to. It counts items until ctx is done.
	PlanPolicies(ctx context.Context, r PolicyRequest) (PolicyPlan, error)
	// ApplyPolicies makes as much of a change as can be made now.
	ApplyPolicies(ctx context.Context, r PolicyRequest) (PolicyProgress, error)
	// TestPolicies says where an item may be.
	TestPolicies(ctx context.Context, t PolicyTest) (PolicyPlace, error)
}

// PolicyList is the body of GET /v1/policies and GET /v1/policies/history.
type PolicyList struct {
	Region   string   `json:"region"`   // that was asked
	Policies []Policy `json:"policies"` // by table and name; a history table by table, the newest first
}

// Policy is a policy in force, or a version of one.
type Policy struct {
	Table        string          `json:"table"`
	TableID      string          `json:"tableId"`
	TableDeleted bool            `json:"tableDeleted,omitempty"` // the table is there no more, in any region
	Name         string          `json:"name"`
	Kind         policy.Kind     `json:"kind"`
	Document     policy.Document `json:"document"`
	InForce      bool            `json:"inForce"`
	// What follows is of the version; zero and empty, if none is kept.
	Version      uint64     `json:"version"`           // of those of the name, from 1
	Sequence     uint64     `json:"sequence"`          // of all versions of the table's policies
	Deleted      bool       `json:"deleted,omitempty"` // the version ended the policy, whose document this was
	Author       string     `json:"author,omitempty"`
	Reason       string     `json:"reason,omitempty"`
	At           *time.Time `json:"at,omitempty"`
	TableVersion string     `json:"tableVersion,omitempty"` // of the table's document that it came with
	By           string     `json:"by,omitempty"`           // region that owned the table
}

// PolicyRequest is the body of POST /v1/policies/plan and POST /v1/policies/apply.
type PolicyRequest struct {
	Documents []policy.Document `json:"documents,omitempty"`
	Delete    []PolicyName      `json:"delete,omitempty"`
	Author    string            `json:"author"` // who does it; also of a plan
	Reason    string            `json:"reason,omitempty"`
}

// PolicyName names a policy.
type PolicyName struct {
	Table string `json:"table"`
	Name  string `json:"name"`
}

// PolicyPlan is what a change of policies would come to.
type PolicyPlan struct {
	Region string              `json:"region"`
	Tables []controlplane.Plan `json:"tables"` // in the order in which the request names them
}

// PolicyProgress is how far a change of policies is. The same request again goes on.
type PolicyProgress struct {
	Done   bool    `json:"done"` // all of it is made, and carried out in every region
	Tables []Table `json:"tables"`
}

// PolicyTest is the body of POST /v1/policies/test: a key in DynamoDB's JSON, or as texts.
type PolicyTest struct {
	Table     string          `json:"table"`
	Key       json.RawMessage `json:"key,omitempty"`
	Partition string          `json:"partition,omitempty"` // as the type of the partition key has it: text, a number, base64
	Sort      string          `json:"sort,omitempty"`
}

// PolicyPlace is where an item may be, and why.
type PolicyPlace struct {
	Table     string        `json:"table"`
	Region    string        `json:"region"`           // that was asked
	Policy    string        `json:"policy,omitempty"` // that decides; empty: none matches
	Match     string        `json:"match"`            // which keys that is about, in words
	Permitted []string      `json:"permitted"`        // regions
	Here      string        `json:"here"`             // what the region asked does with a request for the item: serves, rejects, forwards, or gets it
	Others    []PolicyLoser `json:"others"`           // policies that match, too
}

// What a region does with a request for an item.
const (
	HereServes   = "serves"
	HereRejects  = "rejects"
	HereForwards = "forwards"
	HereGets     = "gets" // it is on its way: until all are here the region treats it as foreign
)

// PolicyLoser is a policy that matches a key and does not decide.
type PolicyLoser struct {
	Policy string `json:"policy"`
	Match  string `json:"match"`
	Why    string `json:"why"`
}

// maxPolicyBody is the greatest body with documents, in bytes.
const maxPolicyBody = 2 * manifest.MaxBytes

func (s *Server) policyRoutes() {
	s.mux.HandleFunc("GET /v1/policies", func(w http.ResponseWriter, r *http.Request) {
		list, err := s.cfg.Policies.Policies(r.Context(), r.URL.Query().Get("table"))
		reply(w, list, err)
	})
	s.mux.HandleFunc("GET /v1/policies/history", func(w http.ResponseWriter, r *http.Request) {
		list, err := s.cfg.Policies.PolicyHistory(r.Context(), r.URL.Query().Get("table"), r.URL.Query().Get("name"))
		reply(w, list, err)
	})
	s.mux.HandleFunc("POST /v1/policies/plan", func(w http.ResponseWriter, r *http.Request) {
		var q PolicyRequest
		wait, err := planTime(r)
		if err == nil {
			err = readUpTo(r, maxPolicyBody, &q)
		}
		if err != nil {
			failWith(w, err)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), wait)
		defer cancel()
		p, err := s.cfg.Policies.PlanPolicies(ctx, q)
		reply(w, p, err)
	})
	s.mux.HandleFunc("POST /v1/policies/apply", func(w http.ResponseWriter, r *http.Request) {
		var q PolicyRequest
		if err := readUpTo(r, maxPolicyBody, &q); err != nil {
			failWith(w, err)
			return
		}
		p, err := s.cfg.Policies.ApplyPolicies(r.Context(), q)
		reply(w, p, err)
	})
	s.mux.HandleFunc("POST /v1/policies/test", func(w http.ResponseWriter, r *http.Request) {
		var t PolicyTest
		if err := readBody(r, &t); err != nil {
			failWith(w, err)
			return
		}
		p, err := s.cfg.Policies.TestPolicies(r.Context(), t)
		reply(w, p, err)
	})
}

// Bounds of the time in which a plan counts.
const (
	defaultPlanTime = time.Minute
	maxPlanTime     = time.Hour
)

func planTime(r *http.Request) (time.Duration, error) {
	text := r.URL.Query().Get("wait")
	if text == "" {
		return defaultPlanTime, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 || d > maxPlanTime {
		return 0, invalid("wait is a time up to " + maxPlanTime.String() + ", like 90s")
	}
	return d, nil
}

// NoPolicies are those of a region that cannot tell.
type NoPolicies struct{ Err error }

// Policies implements Policies.
func (n NoPolicies) Policies(context.Context, string) (PolicyList, error) {
	return PolicyList{}, n.Err
}

// PolicyHistory implements Policies.
func (n NoPolicies) PolicyHistory(context.Context, string, string) (PolicyList, error) {
	return PolicyList{}, n.Err
}

// PlanPolicies implements Policies.
func (n NoPolicies) PlanPolicies(context.Context, PolicyRequest) (PolicyPlan, error) {
	return PolicyPlan{}, n.Err
}

// ApplyPolicies implements Policies.
func (n NoPolicies) ApplyPolicies(context.Context, PolicyRequest) (PolicyProgress, error) {
	return PolicyProgress{}, n.Err
}

// TestPolicies implements Policies.
func (n NoPolicies) TestPolicies(context.Context, PolicyTest) (PolicyPlace, error) {
	return PolicyPlace{}, n.Err
}
