package admin

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable/pattern"
	"github.com/concordat-db/concordat/streams/cdc"
)

// Stream is what a region has of the change streams of a table.
type Stream struct {
	Table   string     `json:"table"`
	TableID string     `json:"tableId"`
	View    string     `json:"view,omitempty"`  // empty: it is off, and what there is of before can be read
	Label   string     `json:"label,omitempty"` // of the newest one: when it began
	Records int64      `json:"records"`
	Bytes   int64      `json:"bytes"`
	Oldest  *time.Time `json:"oldest,omitempty"` // of the records
	Newest  *time.Time `json:"newest,omitempty"`
	Events  *Events    `json:"events,omitempty"` // in the region's NATS; none: it has none
	Tails   []TailAt   `json:"tails,omitempty"`
}

// Events is how far the events of a table are in the region's NATS.
type Events struct {
	Stream    string            `json:"stream"`   // of JetStream
	Subjects  string            `json:"subjects"` // that it takes
	Ready     bool              `json:"ready"`    // it has all that it is to have, and its readers have their consumers
	LagMillis int64             `json:"lagMillis"`
	Refills   uint64            `json:"refills"`           // how often it was made anew since the node started
	Pending   map[string]uint64 `json:"pending,omitempty"` // by grant: events that were not delivered yet
	Error     string            `json:"error,omitempty"`
}

// TailAt is how far a tail with a name has got.
type TailAt struct {
	Name     string    `json:"name"`
	Position string    `json:"position"`
	Time     time.Time `json:"time"` // of the position
	Used     time.Time `json:"used"` // when it last got further
}

// StreamList is the body of GET /v1/streams, by table.
type StreamList struct {
	Region  string   `json:"region"`
	Streams []Stream `json:"streams"`
}

// EventQuery selects records of a table's streams.
type EventQuery struct {
	Table  string // name or id
	After  hlc.Timestamp
	Since  time.Time // zero: from now on; ignored with After
	Tail   string    // begin where the tail of that name is, if there is one; ignored with After
	Filter *pattern.Pattern
	// Destination is where the events are to go, a URL; empty: they stay with an operator. What policies pin elsewhere is withheld.
	Destination string
	Wait        time.Duration
	Limit       int // an answer may have less, when it would be too large otherwise
}

// EventPage is the body of GET /v1/tables/{name}/events: CloudEvents, in the order of the stream.
type EventPage struct {
	Events []json.RawMessage `json:"events"`
	Next   string            `json:"next"`   // what to give as after the next time
	Missed bool              `json:"missed"` // records after the position that was given have gone already
	End    bool              `json:"end"`    // there was no more when it was read
	// Withheld counts events that may not go to the destination.
	Withheld int64 `json:"withheld,omitempty"`
}

// SetTail is the body of PUT /v1/tables/{name}/tails/{tail}.
type SetTail struct {
	Position string `json:"position"` // it has all at or below it
}

// Grant lets somebody read events of tables from the region's NATS, and hear there what triggers publish to subjects.
type Grant struct {
	Name      string         `json:"name"`
	PublicKey string         `json:"publicKey"` // of the nkey of its holder
	Created   time.Time      `json:"created"`
	Expires   *time.Time     `json:"expires,omitempty"` // none: never
	Tables    []GrantedTable `json:"tables"`
	Subjects  []string       `json:"subjects"`
}

// GrantedTable is a table of a grant.
type GrantedTable struct {
	Table   string    `json:"table"`   // its id, once it is deleted
	Stream  string    `json:"stream"`  // of JetStream
	Durable string    `json:"durable"` // the consumer
	Read    time.Time `json:"read"`    // what was told until then was acknowledged, as this region noted last
	Pending uint64    `json:"pending"` // events that were not delivered yet
}

// GrantList is the body of GET /v1/grants, by name.
type GrantList struct {
	Region string  `json:"region"`
	Grants []Grant `json:"grants"`
}

// NewGrant is the body of POST /v1/grants. It names a table or a subject, at least.
type NewGrant struct {
	Name           string   `json:"name"`
	PublicKey      string   `json:"publicKey"`
	Tables         []string `json:"tables,omitempty"`
	Subjects       []string `json:"subjects,omitempty"`       // see globaltable.ValidateHeard
	ExpiresSeconds int64    `json:"expiresSeconds,omitempty"` // from now; 0: never
	SinceSeconds   int64    `json:"sinceSeconds,omitempty"`   // it gets what was told of its tables in so many seconds before, too
}

// GrantMade answers it.
type GrantMade struct {
	Grant
	URLs     []string `json:"urls"`     // of the region's NATS
	Ready    bool     `json:"ready"`    // its consumers are there
	External bool     `json:"external"` // the region's NATS is a cluster of its own, whose operator has to install the grant's account
	Operator bool     `json:"operator"` // that is in operator mode: who makes its accounts makes and revokes users, too
}

// GrantEnded answers DELETE /v1/grants/{name}.
type GrantEnded struct {
	PublicKey string `json:"publicKey"` // of the key that it gave rights to
	External  bool   `json:"external"`  // see GrantMade: until its operator has removed the grant's account, or revoked its user, its holder hears the subjects
	Operator  bool   `json:"operator"`  // see GrantMade
}

// Streams is a region's change streams for operators, who may read items. *regionnode.Node has one. Errors are *globaltable.Error.
type Streams interface {
	List(ctx context.Context) (StreamList, error)
	Events(ctx context.Context, q EventQuery) (EventPage, error)
	// SetTail notes how far a tail is, and makes it if there is none of that name.
	SetTail(ctx context.Context, table, name string, at hlc.Timestamp) error
	ForgetTail(ctx context.Context, name string) error
	Grants(ctx context.Context) (GrantList, error)
	Grant(ctx context.Context, g NewGrant) (GrantMade, error)
	Revoke(ctx context.Context, name string) (GrantEnded, error)
}

// NoStreams is the change streams of a region that cannot tell.
type NoStreams struct{ Err error }

// List implements Streams.
func (n NoStreams) List(context.Context) (StreamList, error) { return StreamList{}, n.Err }

// Events implements Streams.
func (n NoStreams) Events(context.Context, EventQuery) (EventPage, error) { return EventPage{}, n.Err }

// SetTail implements Streams.
func (n NoStreams) SetTail(context.Context, string, string, hlc.Timestamp) error { return n.Err }

// ForgetTail implements Streams.
func (n NoStreams) ForgetTail(context.Context, string) error { return n.Err }

// Grants implements Streams.
func (n NoStreams) Grants(context.Context) (GrantList, error) { return GrantList{}, n.Err }

// Grant implements Streams.
func (n NoStreams) Grant(context.Context, NewGrant) (GrantMade, error) { return GrantMade{}, n.Err }

// Revoke implements Streams.
func (n NoStreams) Revoke(context.Context, string) (GrantEnded, error) { return GrantEnded{}, n.Err }

// maxEventPage bounds the events of one answer.
const maxEventPage = 1000

func (s *Server) streamRoutes() {
	s.mux.HandleFunc("GET /v1/streams", func(w http.ResponseWriter, r *http.Request) {
		list, err := s.cfg.Streams.List(r.Context())
		reply(w, list, err)
	})
	s.mux.HandleFunc("GET /v1/tables/{name}/events", func(w http.ResponseWriter, r *http.Request) {
		q, err := eventQuery(r.PathValue("name"), r.URL.Query())
		var page EventPage
		if err == nil {
			ctx, cancel := s.untilTheEnd(r.Context())
			defer cancel()
			page, err = s.cfg.Streams.Events(ctx, q)
		}
		reply(w, page, err)
	})
	s.mux.HandleFunc("PUT /v1/tables/{name}/tails/{tail}", func(w http.ResponseWriter, r *http.Request) {
		var body SetTail
		err := readBody(r, &body)
		at, ok := cdc.ParseSequence(body.Position)
		switch {
		case err == nil && !ok:
			err = invalid("position is not one that the region has given")
		case err == nil:
			err = s.cfg.Streams.SetTail(r.Context(), r.PathValue("name"), r.PathValue("tail"), at)
		}
		reply(w, body, err)
	})
	s.mux.HandleFunc("DELETE /v1/tails/{tail}", func(w http.ResponseWriter, r *http.Request) {
		err := s.cfg.Streams.ForgetTail(r.Context(), r.PathValue("tail"))
		reply(w, struct{}{}, err)
	})
	s.mux.HandleFunc("GET /v1/grants", func(w http.ResponseWriter, r *http.Request) {
		list, err := s.cfg.Streams.Grants(r.Context())
		reply(w, list, err)
	})
	s.mux.HandleFunc("POST /v1/grants", func(w http.ResponseWriter, r *http.Request) {
		var body NewGrant
		var made GrantMade
		err := readBody(r, &body)
		if err == nil {
			made, err = s.cfg.Streams.Grant(r.Context(), body)
		}
		reply(w, made, err)
	})
	s.mux.HandleFunc("DELETE /v1/grants/{name}", func(w http.ResponseWriter, r *http.Request) {
		ended, err := s.cfg.Streams.Revoke(r.Context(), r.PathValue("name"))
		reply(w, ended, err)
	})
}

func eventQuery(table string, v url.Values) (q EventQuery, err error) {
	q = EventQuery{Table: table, Tail: v.Get("tail"), Destination: v.Get("destination"), Limit: 100, Wait: defaultTailWait}
	if text := v.Get("after"); text != "" {
		var ok bool
		if q.After, ok = cdc.ParseSequence(text); !ok {
			return q, invalid("after is not a position that an answer before has given as next")
		}
	}
	if text := v.Get("since"); text != "" {
		if q.Since, err = time.Parse(time.RFC3339, text); err != nil || q.Since.UnixMilli() < 0 {
			return q, invalid("since is a time, as 2026-01-02T15:04:05Z")
		}
	}
	if text := v.Get("limit"); text != "" {
		if q.Limit, err = strconv.Atoi(text); err != nil || q.Limit < 1 || q.Limit > maxEventPage {
			return q, invalid("limit can be 1 to " + strconv.Itoa(maxEventPage))
		}
	}
	if q.Wait, err = waitOf(v); err != nil {
		return q, err
	}
	q.Filter, err = pattern.Compile([]byte(v.Get("filter")))
	return q, err
}
