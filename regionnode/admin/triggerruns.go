package admin

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// TriggerRuns shows how a region fires triggers, and deals with what they could not deliver. Errors are *globaltable.Error.
type TriggerRuns interface {
	// TriggerStats returns how triggers do, of a table and with a name; empty: of all.
	TriggerStats(ctx context.Context, table, name string) (TriggerStats, error)
	DeadLetters(ctx context.Context, q DeadLetterQuery) (DeadLetterList, error)
	// Redrive delivers dead letters once more, some of them: see Redriven.More.
	Redrive(ctx context.Context, r DeadLetterRequest) (Redriven, error)
	// Purge drops dead letters.
	Purge(ctx context.Context, r DeadLetterRequest) (Purged, error)
}

// TriggerStats is the body of GET /v1/triggers/stats.
type TriggerStats struct {
	Region   string       `json:"region"`
	Triggers []TriggerRun `json:"triggers"` // by table and name
}

// TriggerRun is how a trigger does in this region. What it counts, it counts since the node's start.
type TriggerRun struct {
	Table   string       `json:"table"`
	Name    string       `json:"name"`
	Fire    string       `json:"fire"`
	Target  string       `json:"target"` // webhook, nats or command
	Paused  bool         `json:"paused"`
	Feeds   []TriggerRow `json:"feeds"`
	Letters LetterCount  `json:"deadLetters"`
}

// LetterCount is how many dead letters there are.
type LetterCount struct {
	Count   int64 `json:"count"`
	Bytes   int64 `json:"bytes"`
	Dropped int64 `json:"dropped"` // because there were too many
}

// TriggerRow is how one of the feeds of a trigger does.
type TriggerRow struct {
	Origin  string   `json:"origin,omitempty"`  // the changes made in that region; empty: in any
	Regions []string `json:"regions,omitempty"` // of items with this placement; none: of all
	Fires   bool     `json:"fires"`             // here
	By      []string `json:"by,omitempty"`      // the other regions that say that they fire it
	Ready   bool     `json:"ready"`             // this region's stream reaches back to where the feed is
	// Position is up to where all is dealt with, here or elsewhere; CursorAgeMillis is how old that is.
	Position        string        `json:"position"`
	CursorAgeMillis int64         `json:"cursorAgeMillis"`
	Backlog         TriggerQueue  `json:"backlog"`
	Delivered       uint64        `json:"delivered"`
	Filtered        uint64        `json:"filtered"`  // records that are not of the feed, or do not match
	Covered         uint64        `json:"covered"`   // dealt with by another region
	Failed          uint64        `json:"failed"`    // attempts
	Withheld        uint64        `json:"withheld"`  // not delivered since locality policies do not let the target have them
	Gaps            uint64        `json:"gaps"`      // times that records had gone from the stream before they were read: how many they were nobody knows
	Buried          uint64        `json:"buried"`    // became dead letters
	LastError       *TriggerError `json:"lastError"` // null: none
}

// TriggerQueue is what of a feed waits in this region's stream.
type TriggerQueue struct {
	Records   int   `json:"records"`
	Bytes     int64 `json:"bytes"`
	More      bool  `json:"more"`      // there are more than were counted
	AgeMillis int64 `json:"ageMillis"` // of the oldest; 0: there is none
}

// TriggerError is why an attempt failed. It says nothing of items.
type TriggerError struct {
	At    time.Time `json:"at"`
	Error string    `json:"error"`
}

// DeadLetterQuery selects dead letters of a trigger.
type DeadLetterQuery struct {
	Table, Trigger string
	ID             string // only this one; empty: all
	After          string // an id: those after it; empty: from the oldest on
	Limit          int
	Event          bool // with the events
}

// DeadLetterList is the body of GET /v1/triggers/letters.
type DeadLetterList struct {
	Region  string       `json:"region"`
	Letters []DeadLetter `json:"letters"` // the oldest first
	More    bool         `json:"more"`
}

// DeadLetter is an event that could not be delivered in this region.
type DeadLetter struct {
	ID       string          `json:"id"` // of the letter, in this region: the sequence of the event in its stream
	Buried   time.Time       `json:"buried"`
	Attempts int             `json:"attempts"`
	Error    string          `json:"error"` // of the last attempt
	Bytes    int             `json:"bytes"` // of the event
	EventID  string          `json:"eventId"`
	Event    json.RawMessage `json:"event,omitempty"` // the CloudEvent, where it was asked for
}

// DeadLetterRequest is the body of POST /v1/triggers/letters/redrive and POST /v1/triggers/letters/purge.
type DeadLetterRequest struct {
	Table   string   `json:"table"`
	Trigger string   `json:"trigger"`
	IDs     []string `json:"ids,omitempty"` // only these; none: all
	Author  string   `json:"author"`        // who does it
	Reason  string   `json:"reason,omitempty"`
}

// Redriven is what became of dead letters that were delivered once more.
type Redriven struct {
	Delivered int    `json:"delivered"` // they are gone
	Failed    int    `json:"failed"`    // they stay
	Withheld  int    `json:"withheld"`  // they stay: locality policies do not let the target have them
	More      bool   `json:"more"`      // there are more than one request takes
	Error     string `json:"error,omitempty"`
}

// Purged says how many dead letters were dropped.
type Purged struct {
	Dropped int `json:"dropped"`
}

// maxLetterList bounds one list of dead letters.
const maxLetterList = 1000

func (s *Server) triggerRunRoutes() {
	s.mux.HandleFunc("GET /v1/triggers/stats", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		stats, err := s.cfg.TriggerRuns.TriggerStats(r.Context(), q.Get("table"), q.Get("trigger"))
		reply(w, stats, err)
	})
	s.mux.HandleFunc("GET /v1/triggers/letters", func(w http.ResponseWriter, r *http.Request) {
		q, err := letterQuery(r.URL.Query())
		var list DeadLetterList
		if err == nil {
			list, err = s.cfg.TriggerRuns.DeadLetters(r.Context(), q)
		}
		reply(w, list, err)
	})
	s.mux.HandleFunc("POST /v1/triggers/letters/redrive", letters(func(ctx context.Context, q DeadLetterRequest) (Redriven, error) {
		return s.cfg.TriggerRuns.Redrive(ctx, q)
	}))
	s.mux.HandleFunc("POST /v1/triggers/letters/purge", letters(func(ctx context.Context, q DeadLetterRequest) (Purged, error) { return s.cfg.TriggerRuns.Purge(ctx, q) }))
}

func letters[T any](do func(context.Context, DeadLetterRequest) (T, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var q DeadLetterRequest
		var out T
		err := readBody(r, &q)
		if err == nil {
			out, err = do(r.Context(), q)
		}
		reply(w, out, err)
	}
}

func letterQuery(v url.Values) (q DeadLetterQuery, err error) {
	q = DeadLetterQuery{Table: v.Get("table"), Trigger: v.Get("trigger"), ID: v.Get("id"), After: v.Get("after"), Limit: 100}
	if text := v.Get("limit"); text != "" {
		if q.Limit, err = strconv.Atoi(text); err != nil || q.Limit < 1 || q.Limit > maxLetterList {
			return q, invalid("limit can be 1 to " + strconv.Itoa(maxLetterList))
		}
	}
	if text := v.Get("events"); text != "" {
		if q.Event, err = strconv.ParseBool(text); err != nil {
			return q, invalid("events is true or false")
		}
	}
	return q, nil
}

// NoTriggerRuns are those of a region that cannot tell.
type NoTriggerRuns struct{ Err error }

// TriggerStats implements TriggerRuns.
func (n NoTriggerRuns) TriggerStats(context.Context, string, string) (TriggerStats, error) {
	return TriggerStats{}, n.Err
}

// DeadLetters implements TriggerRuns.
func (n NoTriggerRuns) DeadLetters(context.Context, DeadLetterQuery) (DeadLetterList, error) {
	return DeadLetterList{}, n.Err
}

// Redrive implements TriggerRuns.
func (n NoTriggerRuns) Redrive(context.Context, DeadLetterRequest) (Redriven, error) {
	return Redriven{}, n.Err
}

// Purge implements TriggerRuns.
func (n NoTriggerRuns) Purge(context.Context, DeadLetterRequest) (Purged, error) {
	return Purged{}, n.Err
}
