package globaltable

import (
	"encoding/json"
	"time"

	"github.com/concordat-db/concordat/conflict/hlc"
)

// Fire says in which regions a trigger is fired by a change. Its texts are part of the document.
type Fire string

// The ways of firing.
const (
	FireOrigin     Fire = "origin"     // where the change was made; once that region is fenced, where FireOne would
	FireEverywhere Fire = "everywhere" // in each region that has the item
	FireOne        Fire = "one"        // in the first region of the item's placement, in the order of names, that is reached
)

// Trigger is what is to happen when items of a table change: the events of its stream that match go to a target.
type Trigger struct {
	Name   string  // of the world's triggers, unique in its table
	Born   Version // the table's version that brought it: with table and name its identity. One that is deleted and made anew has no cursor
	Number uint64  // of this form of it, from 1
	Paused bool
	Replay Replay // the newest that was asked for; zero: none
	TriggerSpec
}

// Replay asks for events that were delivered before to be delivered once more.
type Replay struct {
	Number uint64        `json:"number"` // from 1; a region that has dealt with a lesser one begins again
	From   hlc.Timestamp `json:"from"`   // positions after it
}

// TriggerSpec is a trigger as its author writes it. The zero values of Batch, Parallel and Retry mean the defaults.
type TriggerSpec struct {
	Fire     Fire            `json:"fire"`
	Filter   json.RawMessage `json:"filter,omitempty"` // an event pattern; empty: all events
	Target   Target          `json:"target"`
	Batch    Batch           `json:"batch,omitzero"`
	Parallel int             `json:"parallel,omitempty"` // batches under way at once; the events of one key are in order
	Retry    Retry           `json:"retry,omitzero"`
}

// Target is where events go. Exactly one is given.
type Target struct {
	Webhook *Webhook     `json:"webhook,omitempty"`
	NATS    *NATSTarget  `json:"nats,omitempty"`
	Command *CommandSpec `json:"command,omitempty"`
}

// Webhook is a URL to which a batch is posted: a JSON array of CloudEvents.
type Webhook struct {
	URL       string        `json:"url"`                 // https; http for this machine only
	SecretRef string        `json:"secretRef,omitempty"` // the name of the key, in the configuration of each region's node, that bodies are signed with; empty: they are not
	Timeout   time.Duration `json:"timeout,omitempty"`
}

// NATSTarget is a subject of the region's NATS to which each event is published.
type NATSTarget struct {
	Subject string `json:"subject"`
}

// CommandSpec is a program that gets events on its standard input, one JSON document a line.
type CommandSpec struct {
	Path    string        `json:"path"`
	Args    []string      `json:"args,omitempty"`
	Timeout time.Duration `json:"timeout,omitempty"` // for a batch
}

// Batch says how many events go together.
type Batch struct {
	Size   int           `json:"size,omitempty"`
	Window time.Duration `json:"window,omitempty"` // how long an event waits for others at most
}

// Retry says how often a batch is tried that its target refuses, and how long after. Then it goes to the dead letters.
type Retry struct {
	Attempts int           `json:"attempts,omitempty"`
	First    time.Duration `json:"first,omitempty"` // before the second attempt, about; it doubles
	Most     time.Duration `json:"most,omitempty"`
}
