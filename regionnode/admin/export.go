package admin

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"

	"github.com/concordat-db/concordat/globaltable"
)

// Snapshots lets a table be read as it was at one moment, in pages. Its errors are a *globaltable.Error.
type Snapshots interface {
	// Open opens a snapshot of the table for what is to go to a destination, a URL. It is closed when it is not read for a while.
	Open(ctx context.Context, table, destination string) (Snapshot, error)
	// Read returns a page of it, from after the place that the page before has given as Next.
	Read(ctx context.Context, id string, after []byte, limit int) (SnapshotPage, error)
	Close(id string) error
}

// Snapshot is one that is open.
type Snapshot struct {
	ID          string `json:"id"`
	Table       string `json:"table"`
	TableID     string `json:"tableId"`
	Region      string `json:"region"`
	Sequence    string `json:"sequence"` // what the table's stream tells after it is not in the snapshot
	Time        string `json:"time"`     // of that moment, RFC 3339
	Stream      bool   `json:"stream"`   // the table has a stream
	Items       int64  `json:"items"`    // about
	Destination string `json:"destination"`
}

// SnapshotPage is a page of a snapshot, in the order of keys' hashes.
type SnapshotPage struct {
	Items    []SnapshotItem `json:"items"`
	Next     string         `json:"next,omitempty"` // where the next page begins; empty: there is none
	Withheld int64          `json:"withheld"`       // items that may not go to the destination
}

// SnapshotItem is an item in the DynamoDB API's JSON.
type SnapshotItem struct {
	Keys json.RawMessage `json:"keys"`
	Item json.RawMessage `json:"item"`
}

// NoSnapshots is the snapshots of a region that cannot give any.
type NoSnapshots struct{ Err error }

// Open implements Snapshots.
func (n NoSnapshots) Open(context.Context, string, string) (Snapshot, error) {
	return Snapshot{}, n.Err
}

// Read implements Snapshots.
func (n NoSnapshots) Read(context.Context, string, []byte, int) (SnapshotPage, error) {
	return SnapshotPage{}, n.Err
}

// Close implements Snapshots.
func (n NoSnapshots) Close(string) error { return n.Err }

// MaxSnapshotPage bounds the items of a page, and is what a page has if nobody says.
const MaxSnapshotPage = 1000

func (s *Server) snapshotRoutes() {
	s.mux.HandleFunc("POST /v1/tables/{name}/snapshots", func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			Destination string `json:"destination"`
		}
		err := readBody(r, &body)
		var snap Snapshot
		if err == nil {
			snap, err = s.cfg.Snapshots.Open(r.Context(), r.PathValue("name"), body.Destination)
		}
		reply(w, snap, err)
	})
	s.mux.HandleFunc("GET /v1/snapshots/{id}", func(w http.ResponseWriter, r *http.Request) {
		after, limit, err := pageQuery(r.URL.Query())
		var page SnapshotPage
		if err == nil {
			page, err = s.cfg.Snapshots.Read(r.Context(), r.PathValue("id"), after, limit)
		}
		reply(w, page, err)
	})
	s.mux.HandleFunc("DELETE /v1/snapshots/{id}", func(w http.ResponseWriter, r *http.Request) {
		err := s.cfg.Snapshots.Close(r.PathValue("id"))
		reply(w, struct{}{}, err)
	})
}

func pageQuery(v url.Values) (after []byte, limit int, err error) {
	invalid := func(message string) error {
		return &globaltable.Error{Op: "read snapshot", Kind: globaltable.Invalid, Message: message}
	}
	if text := v.Get("after"); text != "" {
		if after, err = base64.RawURLEncoding.DecodeString(text); err != nil || len(after) > 8<<10 {
			return nil, 0, invalid("after is not what a page before has given as next")
		}
	}
	limit = MaxSnapshotPage
	if text := v.Get("limit"); text != "" {
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > MaxSnapshotPage {
			return nil, 0, invalid("limit is a number from 1 to " + strconv.Itoa(MaxSnapshotPage))
		}
	}
	return after, limit, nil
}
