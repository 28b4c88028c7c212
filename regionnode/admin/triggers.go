package admin

import (
	"context"
	"net/http"
	"time"

	"github.com/concordat-db/concordat/globaltable/manifest"
	"github.com/concordat-db/concordat/globaltable/trigger"
)

// Triggers shows and changes the triggers of tables. A region knows those of the tables that it has a replica of. Errors are *globaltable.Error.
type Triggers interface {
	// Triggers returns those of a table; of all tables here for an empty name.
	Triggers(ctx context.Context, table string) (TriggerList, error)
	// PlanTriggers says what a change would come to.
	PlanTriggers(ctx context.Context, r TriggerRequest) (TriggerSteps, error)
	// ApplyTriggers makes a change, table by table, and says what it has done. What it has not come to when it fails is not done.
	ApplyTriggers(ctx context.Context, r TriggerRequest) (TriggerSteps, error)
}

// TriggerList is the body of GET /v1/triggers.
type TriggerList struct {
	Region   string    `json:"region"`   // that was asked
	Triggers []Trigger `json:"triggers"` // by table and name
}

// Trigger is a trigger of a table.
type Trigger struct {
	Table    string            `json:"table"`
	Name     string            `json:"name"`
	Document trigger.Document  `json:"document"`
	Number   uint64            `json:"number"` // of its document, from 1
	Born     string            `json:"born"`   // version of the table's document that brought it
	Paused   bool              `json:"paused"`
	Replay   *ReplayOfTriggers `json:"replay,omitempty"` // the newest
	Notes    []string          `json:"notes"`            // what its author may not expect
}

// ReplayOfTriggers is a replay that was asked for.
type ReplayOfTriggers struct {
	Number uint64    `json:"number"` // from 1
	Since  time.Time `json:"since"`
}

// TriggerRequest is the body of POST /v1/triggers/plan and POST /v1/triggers/apply.
type TriggerRequest struct {
	Documents []trigger.Document `json:"documents,omitempty"`
	Delete    []TriggerName      `json:"delete,omitempty"`
	Pause     []TriggerName      `json:"pause,omitempty"`
	Resume    []TriggerName      `json:"resume,omitempty"`
	Replay    []TriggerReplay    `json:"replay,omitempty"`
	Author    string             `json:"author"` // who does it; also of a plan
	Reason    string             `json:"reason,omitempty"`
}

// TriggerName names a trigger.
type TriggerName struct {
	Table string `json:"table"`
	Name  string `json:"name"`
}

// TriggerReplay asks for the events of a trigger once more.
type TriggerReplay struct {
	TriggerName
	Since time.Time `json:"since"`
}

// TriggerSteps is what a change of triggers comes to, or came to.
type TriggerSteps struct {
	Region   string        `json:"region"`   // that was asked
	Triggers []TriggerStep `json:"triggers"` // by table, in the order in which the request names them
}

// TriggerStep is what becomes of one trigger.
type TriggerStep struct {
	Table  string            `json:"table"`
	Name   string            `json:"name"`
	Action string            `json:"action"`           // one of the Trigger… constants
	Before *trigger.Document `json:"before,omitempty"` // nil: there was none
	After  *trigger.Document `json:"after,omitempty"`  // nil: there is none any more
	Notes  []string          `json:"notes"`            // what its author may not expect
}

// What becomes of a trigger.
const (
	TriggerCreate = "create"
	TriggerUpdate = "change"
	TriggerKeep   = "keep" // it is so already
	TriggerDelete = "delete"
	TriggerPause  = "pause"
	TriggerResume = "resume"
	TriggerAgain  = "replay"
)

// maxTriggerBody is the greatest body with documents, in bytes.
const maxTriggerBody = 2 * manifest.MaxBytes

func (s *Server) triggerRoutes() {
	s.mux.HandleFunc("GET /v1/triggers", func(w http.ResponseWriter, r *http.Request) {
		list, err := s.cfg.Triggers.Triggers(r.Context(), r.URL.Query().Get("table"))
		reply(w, list, err)
	})
	change := func(do func(Triggers, context.Context, TriggerRequest) (TriggerSteps, error)) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			var q TriggerRequest
			if err := readUpTo(r, maxTriggerBody, &q); err != nil {
				failWith(w, err)
				return
			}
			steps, err := do(s.cfg.Triggers, r.Context(), q)
			reply(w, steps, err)
		}
	}
	s.mux.HandleFunc("POST /v1/triggers/plan", change(Triggers.PlanTriggers))
	s.mux.HandleFunc("POST /v1/triggers/apply", change(Triggers.ApplyTriggers))
}

// NoTriggers are those of a region that cannot tell.
type NoTriggers struct{ Err error }

// Triggers implements Triggers.
func (n NoTriggers) Triggers(context.Context, string) (TriggerList, error) {
	return TriggerList{}, n.Err
}

// PlanTriggers implements Triggers.
func (n NoTriggers) PlanTriggers(context.Context, TriggerRequest) (TriggerSteps, error) {
	return TriggerSteps{}, n.Err
}

// ApplyTriggers implements Triggers.
func (n NoTriggers) ApplyTriggers(context.Context, TriggerRequest) (TriggerSteps, error) {
	return TriggerSteps{}, n.Err
}
