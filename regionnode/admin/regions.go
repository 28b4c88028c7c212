package admin

import (
	"context"
	"errors"
	"net/http"

	"github.com/concordat-db/concordat/globaltable"
)

// Regions is the world as a region knows it. It is the body of GET /v1/regions, and of the answer to each change of it.
type Regions struct {
	Region  string   `json:"region"`          // that tells
	Owner   string   `json:"owner,omitempty"` // issues changes of the members; none before the first one
	Regions []Member `json:"regions"`         // that are or were members, sorted by name
	Pending []string `json:"pending"`         // what the owner waits for, in words that follow "waiting for"
}

// Member is a region of the world.
type Member struct {
	Name         string   `json:"name"`
	Jurisdiction string   `json:"jurisdiction"`
	Origin       uint16   `json:"origin"`
	State        string   `json:"state"`
	Incarnation  uint64   `json:"incarnation,omitempty"` // of its store, that the others follow; none: whichever they met first
	NATS         []string `json:"nats"`                  // where its descriptor says that it is reached
	PublicKey    string   `json:"publicKey"`
	// Replicas are the tables that have something to do with the region; OnlyCopies those that have their data there and nowhere else.
	Replicas   []MemberReplica `json:"replicas"`
	OnlyCopies []string        `json:"onlyCopies"`
}

// MemberReplica is a region's part of a table.
type MemberReplica struct {
	Table  string `json:"table"`
	Status string `json:"status"`
	Detail string `json:"detail,omitempty"`
}

// Closed reports whether nothing of the region is open any more: it is fenced or removed, and so are its replicas.
func (m *Member) Closed() bool {
	for _, r := range m.Replicas {
		if r.Status != string(globaltable.StatusFenced) {
			return false
		}
	}
	return globaltable.MemberState(m.State).Closed()
}

// Member returns the member with the name given; nil if there is none.
func (r *Regions) Member(name string) *Member {
	for i := range r.Regions {
		if r.Regions[i].Name == name {
			return &r.Regions[i]
		}
	}
	return nil
}

func (s *Server) regions(w http.ResponseWriter, r *http.Request) {
	s.tellRegions(w, r, nil)
}

func (s *Server) fence(w http.ResponseWriter, r *http.Request) {
	s.tellRegions(w, r, func(ctx context.Context) error { return s.cfg.Fence(ctx, r.PathValue("name")) })
}

func (s *Server) remove(w http.ResponseWriter, r *http.Request) {
	force := r.URL.Query().Get("force")
	if force != "" && force != "true" && force != "false" {
		fail(w, http.StatusBadRequest, "force must be true or false")
		return
	}
	s.tellRegions(w, r, func(ctx context.Context) error { return s.cfg.Remove(ctx, r.PathValue("name"), force == "true") })
}

// tellRegions answers with the world as it is after change.
func (s *Server) tellRegions(w http.ResponseWriter, r *http.Request, change func(context.Context) error) {
	if change != nil {
		if err := change(r.Context()); err != nil {
			failWith(w, err)
			return
		}
	}
	regions, err := s.cfg.Regions(r.Context())
	if err != nil {
		failWith(w, err)
		return
	}
	answer(w, http.StatusOK, regions)
}

// failWith answers with err, and the status of its kind.
func failWith(w http.ResponseWriter, err error) {
	status := http.StatusServiceUnavailable
	switch globaltable.KindOf(err) {
	case globaltable.Invalid:
		status = http.StatusBadRequest
	case globaltable.Denied, globaltable.Fenced:
		status = http.StatusForbidden
	case globaltable.NotFound:
		status = http.StatusNotFound
	case globaltable.InUse, globaltable.Exists:
		status = http.StatusConflict
	case globaltable.LimitExceeded:
		status = http.StatusTooManyRequests
	case globaltable.Unknown:
		status = http.StatusInternalServerError // 503 would say that nothing was done
	}
	message := err.Error()
	var known *globaltable.Error
	if errors.As(err, &known) && known.Message != "" {
		message = known.Message
	}
	fail(w, status, message)
}
