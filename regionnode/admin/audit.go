package admin

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/audit"
	"github.com/concordat-db/concordat/regionnode/residency"
	"github.com/concordat-db/concordat/streams/egress"
)

// AuditQuery selects entries of the audit log.
type AuditQuery struct {
	After  []byte     // the position that an answer before has given as next; nil: from the first
	Since  time.Time  // zero: all
	Kind   audit.Kind // empty: all
	Region string     // whose chain; empty: all
	Limit  int
}

// AuditEntry is an entry of the audit log.
type AuditEntry struct {
	Entry  *audit.Entry        `json:"entry,omitempty"`  // what the sealed text says
	Stamp  string              `json:"stamp,omitempty"`  // of the write that brought it: time-region, in hexadecimal
	Sealed *globaltable.Sealed `json:"sealed,omitempty"` // the text as it was signed, and the signature
	Fault  string              `json:"fault,omitempty"`  // why it cannot be read: then entry and stamp are not told
	At     *audit.Place        `json:"at,omitempty"`     // of one that cannot be read: where it lies, if that can be told
}

// AuditLog is the body of GET /v1/audit/log: chain by chain, in the order of numbers.
type AuditLog struct {
	Entries []AuditEntry      `json:"entries"`
	More    bool              `json:"more"`
	Next    string            `json:"next"` // what to give as after for those that follow, now or later: it holds over a restart, and in other regions
	Keys    map[string]string `json:"keys"` // the public keys of all regions that ever were members, as this one knows them
}

// EgressAccount is what one region was given by one way.
type EgressAccount struct {
	egress.Account
	TableName string   `json:"tableName,omitempty"`
	Regions   []string `json:"regions,omitempty"` // of the placement
}

// Egress is the body of GET /v1/audit/egress.
type Egress struct {
	Region      string          `json:"region"`
	PublicKey   string          `json:"publicKey"`
	Incarnation uint64          `json:"incarnation"`
	Accounts    []EgressAccount `json:"accounts"`
	Head        egress.Head     `json:"head"`
	Oldest      uint64          `json:"oldest"` // number of the oldest checkpoint that is kept; 0: there is none
}

// EgressCheckpoints is the body of GET /v1/audit/egress/checkpoints, the oldest first.
type EgressCheckpoints struct {
	Checkpoints []globaltable.Sealed `json:"checkpoints"`
	More        bool                 `json:"more"`
}

// ResidencyLine is one line of the answer of GET /v1/audit/residency. Exactly one field is set. The last line is a summary, or a fault.
type ResidencyLine struct {
	Finding *residency.Finding `json:"finding,omitempty"`
	Summary *residency.Summary `json:"summary,omitempty"`
	Fault   string             `json:"fault,omitempty"`
}

// Receipt is a region's word that it has carried out a version of a table's locality policies.
type Receipt struct {
	Table        string             `json:"table"`
	TableID      string             `json:"tableId"`
	Version      string             `json:"version"` // of the table's document
	Region       string             `json:"region"`
	Jurisdiction string             `json:"jurisdiction"`
	Incarnation  uint64             `json:"incarnation"` // of the region's store
	Started      time.Time          `json:"started"`
	Finished     time.Time          `json:"finished"`
	Done         globaltable.Placed `json:"done"`
	Token        string             `json:"token"`           // as it was signed
	Fault        string             `json:"fault,omitempty"` // why it is not worth anything, as the region asked sees it
}

// Receipts is the body of GET /v1/audit/receipts: by table, the newest version first.
type Receipts struct {
	Receipts []Receipt         `json:"receipts"`
	Regions  []ReceiptRegion   `json:"regions"` // that ever were members
	Keys     map[string]string `json:"keys"`    // their public keys
}

// ReceiptRegion is a region that may have signed receipts.
type ReceiptRegion struct {
	Name         string `json:"name"`
	Jurisdiction string `json:"jurisdiction"`
	Origin       uint16 `json:"origin"`
}

// Audit is what a region can show to an auditor. *regionnode.Node has one. Errors are *globaltable.Error.
type Audit interface {
	Log(ctx context.Context, q AuditQuery) (AuditLog, error)
	Egress(ctx context.Context) (Egress, error)
	Checkpoints(ctx context.Context, after uint64, limit int) (EgressCheckpoints, error)
	// Receipts returns those of the table named, or of all.
	Receipts(ctx context.Context, table string) (Receipts, error)
	// Residency goes through the table named, or all, and reports each finding. An error before the first report is one of the request.
	Residency(ctx context.Context, table string, report func(residency.Finding) error) (residency.Summary, error)
}

// NoAudit is the audit of a region that cannot tell.
type NoAudit struct{ Err error }

// Log implements Audit.
func (n NoAudit) Log(context.Context, AuditQuery) (AuditLog, error) { return AuditLog{}, n.Err }

// Egress implements Audit.
func (n NoAudit) Egress(context.Context) (Egress, error) { return Egress{}, n.Err }

// Checkpoints implements Audit.
func (n NoAudit) Checkpoints(context.Context, uint64, int) (EgressCheckpoints, error) {
	return EgressCheckpoints{}, n.Err
}

// Receipts implements Audit.
func (n NoAudit) Receipts(context.Context, string) (Receipts, error) { return Receipts{}, n.Err }

// Residency implements Audit.
func (n NoAudit) Residency(context.Context, string, func(residency.Finding) error) (residency.Summary, error) {
	return residency.Summary{}, n.Err
}

// maxAuditList bounds one list of entries or checkpoints.
const maxAuditList = 1000

func (s *Server) auditRoutes() {
	s.mux.HandleFunc("GET /v1/audit/log", func(w http.ResponseWriter, r *http.Request) {
		q, err := auditQuery(r.URL.Query())
		var list AuditLog
		if err == nil {
			list, err = s.cfg.Audit.Log(r.Context(), q)
		}
		reply(w, list, err)
	})
	s.mux.HandleFunc("GET /v1/audit/egress", func(w http.ResponseWriter, r *http.Request) {
		e, err := s.cfg.Audit.Egress(r.Context())
		reply(w, e, err)
	})
	s.mux.HandleFunc("GET /v1/audit/egress/checkpoints", func(w http.ResponseWriter, r *http.Request) {
		var list EgressCheckpoints
		after, err := numberOf(r.URL.Query(), "after")
		limit := 0
		if err == nil {
			limit, err = auditLimit(r.URL.Query())
		}
		if err == nil {
			list, err = s.cfg.Audit.Checkpoints(r.Context(), after, limit)
		}
		reply(w, list, err)
	})
	s.mux.HandleFunc("GET /v1/audit/receipts", func(w http.ResponseWriter, r *http.Request) {
		list, err := s.cfg.Audit.Receipts(r.Context(), r.URL.Query().Get("table"))
		reply(w, list, err)
	})
	s.mux.HandleFunc("GET /v1/audit/residency", s.residency)
}

// residency streams what is found: one JSON object a line.
func (s *Server) residency(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := s.untilTheEnd(r.Context())
	defer cancel()
	out := json.NewEncoder(w)
	began := false
	begin := func() {
		if !began {
			w.Header().Set("Content-Type", "application/x-ndjson")
			w.WriteHeader(http.StatusOK)
			began = true
		}
	}
	summary, err := s.cfg.Audit.Residency(ctx, r.URL.Query().Get("table"), func(f residency.Finding) error {
		begin()
		return out.Encode(ResidencyLine{Finding: &f})
	})
	switch {
	case err != nil && !began:
		failWith(w, err)
	case err != nil:
		_ = out.Encode(ResidencyLine{Fault: err.Error()}) // the client's loss
	default:
		begin()
		_ = out.Encode(ResidencyLine{Summary: &summary}) // likewise
	}
}

func auditQuery(v url.Values) (q AuditQuery, err error) {
	q = AuditQuery{Kind: audit.Kind(v.Get("kind")), Region: v.Get("region")}
	if q.Limit, err = auditLimit(v); err != nil {
		return q, err
	}
	if text := v.Get("after"); text != "" {
		if q.After, err = base64.RawURLEncoding.DecodeString(text); err != nil {
			return q, invalid("after is what an answer before has given as next")
		}
	}
	if text := v.Get("since"); text != "" {
		if q.Since, err = time.Parse(time.RFC3339, text); err != nil {
			return q, invalid("since is a time as in 2006-01-02T15:04:05Z")
		}
	}
	if q.Kind != "" && !slices.Contains(audit.Kinds(), q.Kind) {
		return q, invalid("there are no entries of that kind")
	}
	return q, nil
}

func auditLimit(v url.Values) (int, error) {
	text := v.Get("limit")
	if text == "" {
		return maxAuditList, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > maxAuditList {
		return 0, invalid("limit can be 1 to " + strconv.Itoa(maxAuditList))
	}
	return n, nil
}

func numberOf(v url.Values, name string) (uint64, error) {
	text := v.Get(name)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, invalid(name + " is a number")
	}
	return n, nil
}
