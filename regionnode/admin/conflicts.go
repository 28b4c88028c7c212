package admin

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/concordat-db/concordat/globaltable/feed"
)

// Version is a write that took part in a conflict.
type Version struct {
	Region  string            `json:"region"` // that wrote it
	Time    time.Time         `json:"time"`
	Stamp   string            `json:"stamp"`            // time-region, in hexadecimal
	Context map[string]string `json:"context"`          // by region, the newest stamp that its writer had seen, above Floor
	Floor   string            `json:"floor,omitempty"`  // what is at or below it, the writer had seen too
	Deleted bool              `json:"deleted"`          // there is nothing of what Values could show
	Values  json.RawMessage   `json:"values,omitempty"` // as DynamoDB's JSON: of a whole item all attributes, else those in question
}

// Conflict is a write that a merge discarded though the winner had not seen it.
type Conflict struct {
	ID        string          `json:"id"`
	Table     string          `json:"table"`
	TableID   string          `json:"tableId"`
	Key       json.RawMessage `json:"key"`  // as DynamoDB's JSON
	Rule      string          `json:"rule"` // item, attribute or fenced: see conflict.Rule
	Outcome   string          `json:"outcome"`
	Discarded []string        `json:"discarded"` // attributes, and entries inside of them, with points between the names; of a discarded deletion none
	Open      bool            `json:"open"`      // nobody has written the item since who had seen what was discarded
	Loser     Version         `json:"loser"`
	Winner    Version         `json:"winner"`
	Expires   time.Time       `json:"expires"`
}

// Size is about how many bytes c takes.
func (c *Conflict) Size() int { return 1024 + len(c.Key) + len(c.Loser.Values) + len(c.Winner.Values) }

// ConflictQuery selects conflicts.
type ConflictQuery struct {
	Table  string    // name or id; empty: all tables
	Since  time.Time // of the discarded write; zero: all
	Before string    // the id of a conflict: those listed after it, which are older; empty: from the newest
	Open   bool      // only those that are open
	Limit  int       // an answer may have less, when it would be too large otherwise
}

// ConflictList is the body of GET /v1/conflicts, the newest first.
type ConflictList struct {
	Conflicts []Conflict `json:"conflicts"`
	More      bool       `json:"more"`
}

// ConflictTail is the body of GET /v1/conflicts/tail.
type ConflictTail struct {
	Conflicts []Conflict `json:"conflicts"` // in the order in which the region got them
	Next      uint64     `json:"next"`      // what to give as after the next time
	Missed    bool       `json:"missed"`    // there were more than the region remembers: list shows them
}

// ConflictStats is about the conflicts of one table.
type ConflictStats struct {
	Table   string         `json:"table"`
	Listed  int64          `json:"listed"`
	Open    int64          `json:"open"`
	Bytes   int64          `json:"bytes"`
	Limit   int64          `json:"limit"` // of bytes
	Keep    int64          `json:"keepSeconds"`
	Oldest  *time.Time     `json:"oldest,omitempty"` // of the discarded writes
	Newest  *time.Time     `json:"newest,omitempty"`
	ByRule  map[string]int `json:"byRule"`
	ByLoser map[string]int `json:"byLoser"` // by the region whose write was discarded
}

// ConflictChange is what restoring a conflict would write, or has written.
type ConflictChange struct {
	Conflict Conflict        `json:"conflict"`
	Now      json.RawMessage `json:"now,omitempty"`  // the item as it is before; none if there is none
	Then     json.RawMessage `json:"then,omitempty"` // as it is after
	Written  bool            `json:"written"`
}

// RestoreConflict is the body of POST /v1/conflicts/{id}/restore.
type RestoreConflict struct {
	Attributes []string `json:"attributes,omitempty"` // only these, of Conflict.Discarded, or with all inside of them; none: all
	Write      bool     `json:"write"`                // false: tell only what it would do
}

// Conflicts is a region's conflict feeds. *regionnode.Node has one. Errors are *globaltable.Error.
type Conflicts interface {
	List(ctx context.Context, q ConflictQuery) (ConflictList, error)
	// Tail waits up to wait for conflicts after the number given, of the table named or of all; with a number of zero it begins now.
	Tail(ctx context.Context, table string, after uint64, wait time.Duration) (ConflictTail, error)
	Stats(ctx context.Context, table string) ([]ConflictStats, error)
	Show(ctx context.Context, id feed.ID) (Conflict, error)
	Restore(ctx context.Context, id feed.ID, r RestoreConflict) (ConflictChange, error)
}

// NoConflicts is the conflict feeds of a region that cannot tell.
type NoConflicts struct{ Err error }

// List implements Conflicts.
func (n NoConflicts) List(context.Context, ConflictQuery) (ConflictList, error) {
	return ConflictList{}, n.Err
}

// Tail implements Conflicts.
func (n NoConflicts) Tail(context.Context, string, uint64, time.Duration) (ConflictTail, error) {
	return ConflictTail{}, n.Err
}

// Stats implements Conflicts.
func (n NoConflicts) Stats(context.Context, string) ([]ConflictStats, error) { return nil, n.Err }

// Show implements Conflicts.
func (n NoConflicts) Show(context.Context, feed.ID) (Conflict, error) { return Conflict{}, n.Err }

// Restore implements Conflicts.
func (n NoConflicts) Restore(context.Context, feed.ID, RestoreConflict) (ConflictChange, error) {
	return ConflictChange{}, n.Err
}

// maxConflictList bounds one list.
const maxConflictList = 1000

func (s *Server) conflictRoutes() {
	s.mux.HandleFunc("GET /v1/conflicts", func(w http.ResponseWriter, r *http.Request) {
		q, err := conflictQuery(r.URL.Query())
		var list ConflictList
		if err == nil {
			list, err = s.cfg.Conflicts.List(r.Context(), q)
		}
		reply(w, list, err)
	})
	s.mux.HandleFunc("GET /v1/conflicts/tail", func(w http.ResponseWriter, r *http.Request) {
		after, wait, err := tailQuery(r.URL.Query())
		var tail ConflictTail
		if err == nil {
			ctx, cancel := s.untilTheEnd(r.Context())
			defer cancel()
			tail, err = s.cfg.Conflicts.Tail(ctx, r.URL.Query().Get("table"), after, wait)
		}
		reply(w, tail, err)
	})
	s.mux.HandleFunc("GET /v1/conflicts/stats", func(w http.ResponseWriter, r *http.Request) {
		stats, err := s.cfg.Conflicts.Stats(r.Context(), r.URL.Query().Get("table"))
		reply(w, stats, err)
	})
	s.mux.HandleFunc("GET /v1/conflicts/{id}", func(w http.ResponseWriter, r *http.Request) {
		id, err := feed.ParseID(r.PathValue("id"))
		var c Conflict
		if err == nil {
			c, err = s.cfg.Conflicts.Show(r.Context(), id)
		}
		reply(w, c, err)
	})
	s.mux.HandleFunc("POST /v1/conflicts/{id}/restore", func(w http.ResponseWriter, r *http.Request) {
		var body RestoreConflict
		var c ConflictChange
		id, err := feed.ParseID(r.PathValue("id"))
		if err == nil {
			err = readBody(r, &body)
		}
		if err == nil {
			c, err = s.cfg.Conflicts.Restore(r.Context(), id, body)
		}
		reply(w, c, err)
	})
}

// untilTheEnd returns a context that is done, too, when the server ends: who waits for news would hold that up. The caller calls cancel.
func (s *Server) untilTheEnd(ctx context.Context) (_ context.Context, cancel func()) {
	ctx, done := context.WithCancel(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-s.ending:
			done()
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		done()
		<-watched
	}
}

// maxTailWait is how long a tail may wait, and how long it does without a word.
const (
	maxTailWait     = time.Minute
	defaultTailWait = 20 * time.Second
)

func tailQuery(v url.Values) (after uint64, wait time.Duration, err error) {
	if text := v.Get("after"); text != "" {
		if after, err = strconv.ParseUint(text, 10, 64); err != nil {
			return 0, 0, invalid("after is a number that the answer before has given")
		}
	}
	wait, err = waitOf(v)
	return after, wait, err
}

// waitOf returns how long a request is ready to wait for news.
func waitOf(v url.Values) (time.Duration, error) {
	text := v.Get("wait")
	if text == "" {
		return defaultTailWait, nil
	}
	seconds, err := strconv.Atoi(text)
	wait := time.Duration(seconds) * time.Second
	if err != nil || seconds < 0 || wait > maxTailWait {
		return 0, invalid("wait is a number of seconds, 0 to " + strconv.Itoa(int(maxTailWait/time.Second)))
	}
	return wait, nil
}

func conflictQuery(v url.Values) (q ConflictQuery, err error) {
	q = ConflictQuery{Table: v.Get("table"), Before: v.Get("before"), Limit: 100}
	if text := v.Get("limit"); text != "" {
		if q.Limit, err = strconv.Atoi(text); err != nil || q.Limit < 1 || q.Limit > maxConflictList {
			return q, invalid("limit can be 1 to " + strconv.Itoa(maxConflictList))
		}
	}
	if text := v.Get("since"); text != "" {
		if q.Since, err = time.Parse(time.RFC3339, text); err != nil {
			return q, invalid("since is a time as in 2006-01-02T15:04:05Z")
		}
	}
	if text := v.Get("open"); text != "" {
		if q.Open, err = strconv.ParseBool(text); err != nil {
			return q, invalid("open is true or false")
		}
	}
	if q.Before != "" {
		_, err = feed.ParseID(q.Before)
	}
	return q, err
}
