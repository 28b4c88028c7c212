package admin

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// Rebuild is how far a region is with being rebuilt. It is the body of GET and POST /v1/rebuild.
type Rebuild struct {
	Step    string   `json:"step"`              // none, needed, saving, joining
	Reason  string   `json:"reason,omitempty"`  // fenced, regressed, replaced
	Why     string   `json:"why,omitempty"`     // in words
	Saved   uint64   `json:"saved"`             // records that were saved before the store was emptied
	Percent int      `json:"percent"`           // saving: of the records that have been looked at
	Waiting []string `json:"waiting,omitempty"` // joining: for what
}

// SavedRecord is a record that was saved before the store was emptied and is still in doubt. Its key is named by a hash.
type SavedRecord struct {
	ID      string    `json:"id"`
	TableID string    `json:"tableId"`
	Table   string    `json:"table,omitempty"` // none: the table is not known any more
	Written time.Time `json:"written"`         // its newest write
	By      string    `json:"by"`              // the region that wrote it
	Saved   time.Time `json:"saved"`
	Deleted bool      `json:"deleted,omitempty"` // the newest write was a deletion
	Bytes   int       `json:"bytes"`             // of the item
}

// SavedList is the body of GET /v1/saved.
type SavedList struct {
	Records []SavedRecord `json:"records"`
	More    bool          `json:"more"`
}

// SavedItem is the body of GET /v1/saved/{id}.
type SavedItem struct {
	SavedRecord
	Item json.RawMessage `json:"item,omitempty"` // as DynamoDB's JSON has it; none for a deletion
}

// Saved is a region's saved space. *regionnode.Node has one.
type Saved interface {
	// List returns at most limit records, of the table named or of all.
	List(ctx context.Context, table string, limit int) (SavedList, error)
	Show(ctx context.Context, id string) (SavedItem, error)
	// Restore writes the item as it was saved, by an ordinary write of now; Drop forgets it.
	Restore(ctx context.Context, id string) error
	Drop(ctx context.Context, id string) error
}

// NoSaved is the saved space of a region that cannot tell.
type NoSaved struct{ Err error }

// List implements Saved.
func (n NoSaved) List(context.Context, string, int) (SavedList, error) { return SavedList{}, n.Err }

// Show implements Saved.
func (n NoSaved) Show(context.Context, string) (SavedItem, error) { return SavedItem{}, n.Err }

// Restore implements Saved.
func (n NoSaved) Restore(context.Context, string) error { return n.Err }

// Drop implements Saved.
func (n NoSaved) Drop(context.Context, string) error { return n.Err }

// maxSavedList bounds one list.
const maxSavedList = 1000

func (s *Server) rebuildRoutes() {
	s.mux.HandleFunc("GET /v1/rebuild", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, s.cfg.RebuildState()) })
	s.mux.HandleFunc("POST /v1/rebuild", func(w http.ResponseWriter, r *http.Request) {
		state, err := s.cfg.Rebuild(r.Context())
		respond(w, http.StatusOK, state, err)
	})
	s.mux.HandleFunc("GET /v1/saved", func(w http.ResponseWriter, r *http.Request) {
		limit := 100
		if text := r.URL.Query().Get("limit"); text != "" {
			n, err := strconv.Atoi(text)
			if err != nil || n < 1 || n > maxSavedList {
				fail(w, http.StatusBadRequest, "limit can be 1 to "+strconv.Itoa(maxSavedList))
				return
			}
			limit = n
		}
		list, err := s.cfg.Saved.List(r.Context(), r.URL.Query().Get("table"), limit)
		respond(w, http.StatusOK, list, err)
	})
	s.mux.HandleFunc("GET /v1/saved/{id}", func(w http.ResponseWriter, r *http.Request) {
		shown, err := s.cfg.Saved.Show(r.Context(), r.PathValue("id"))
		respond(w, http.StatusOK, shown, err)
	})
	for path, act := range map[string]func(Saved, context.Context, string) error{"restore": Saved.Restore, "drop": Saved.Drop} {
		s.mux.HandleFunc("POST /v1/saved/{id}/"+path, func(w http.ResponseWriter, r *http.Request) {
			id := r.PathValue("id")
			respond(w, http.StatusOK, map[string]string{"id": id}, act(s.cfg.Saved, r.Context(), id))
		})
	}
}

// respond writes body, or what went wrong.
func respond(w http.ResponseWriter, status int, body any, err error) {
	if err != nil {
		failWith(w, err)
		return
	}
	answer(w, status, body)
}
