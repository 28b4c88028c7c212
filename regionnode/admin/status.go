// Package admin is the node's HTTP API for operators: status, health, metrics, the console, and the OpenAPI document that describes it.
package admin

import (
	"time"

	"github.com/concordat-db/concordat/streams/repair"
)

// Status is what a node knows of itself and its peers. It is the body of GET /v1/status.
type Status struct {
	Region  Region   `json:"region"`
	Members []State  `json:"members"` // the regions that are or were members, sorted by name
	Version string   `json:"version"`
	Ready   bool     `json:"ready"`             // serves reads and writes
	Refused []string `json:"refused,omitempty"` // why client writes are refused now, if they are
	Alarms  []string `json:"alarms,omitempty"`  // what was about to go against a locality policy since the node started, and was prevented: never keys or values
	Pairs   []Pair   `json:"pairs"`             // replication, for each ordered pair of regions
	Tables  []Table  `json:"tables"`
	Lanes   []Lane   `json:"lanes"` // this region's own change log
	// Triggers are how triggers do here, in short: see GET /v1/triggers/stats.
	Triggers []TriggerState `json:"triggers,omitempty"`
	Rebuild  *Rebuild       `json:"rebuild,omitempty"` // of a region that has to be rebuilt, or is being
	// Events sums up the events of change streams in the region's NATS; none: no table has a stream.
	Events *EventsSummary `json:"events,omitempty"`
}

// TriggerState is how a trigger does in this region, in short.
type TriggerState struct {
	Table        string `json:"table"`
	Name         string `json:"name"`
	Paused       bool   `json:"paused"`
	Fires        bool   `json:"fires"`        // some of its events, here
	BehindMillis int64  `json:"behindMillis"` // of what is fired here: the age of the moment up to which all was dealt with
	Letters      int64  `json:"deadLetters"`
	Gaps         uint64 `json:"gaps"` // times that records had gone before they were read: how many they were nobody knows
}

// EventsSummary is about the events of all tables.
type EventsSummary struct {
	Tables    int      `json:"tables"`
	LagMillis int64    `json:"lagMillis"` // of the table that is most behind
	Grants    int      `json:"grants"`
	Failing   []string `json:"failing,omitempty"` // tables whose events the region's NATS does not take now
}

// State is what a region is to the others: active, fencing, fenced, removing or removed.
type State struct {
	Region string `json:"region"`
	State  string `json:"state"`
}

// Region is this region.
type Region struct {
	Name         string `json:"name"`
	Jurisdiction string `json:"jurisdiction"`
	Origin       uint16 `json:"origin"`
	Incarnation  uint64 `json:"incarnation"`
}

// The states of a pair.
const (
	StateIdle         = "idle"         // connected, everything applied, nothing came lately
	StateLive         = "live"         // connected, changes come and are applied
	StateCatchingUp   = "catching up"  // connected, behind, and applying
	StateStalled      = "stalled"      // connected, behind, and not applying: see Detail
	StateDisconnected = "disconnected" // the origin cannot be reached: see Detail
	StateGossip       = "reported"     // not a pair of this region: known from heartbeats
)

// Pair is the replication from one region to another.
type Pair struct {
	From   string `json:"from"`
	To     string `json:"to"`
	State  string `json:"state"`
	Detail string `json:"detail,omitempty"`
	// LagMillis is, to this region, the time from the stamp of the newest change applied lately to its durability here; null when nothing came lately.
	LagMillis *float64 `json:"lagMillis"`
	// BehindEntries is how many log entries of From are not yet applied, to this region.
	BehindEntries uint64 `json:"behindEntries"`
	// WatermarkAgeMillis is the age of the moment up to which To has certainly applied everything of From; null if never.
	WatermarkAgeMillis *float64 `json:"watermarkAgeMillis"`
}

// Table is a table as this region sees it.
type Table struct {
	Name    string `json:"name"`
	ID      string `json:"id"`
	Owner   string `json:"owner"`
	Version string `json:"version"`
	Status  string `json:"status"`
	Items   int64  `json:"items"`
	Bytes   int64  `json:"bytes"`
	Digest  string `json:"digest"` // of all live items: equal in converged regions
	// Acknowledge is what an answer to a write waits for: "local", or "peers:N".
	Acknowledge string    `json:"acknowledge"`
	Merge       Merge     `json:"merge"`
	Conflicts   Listed    `json:"conflicts"`
	Streams     Streamed  `json:"streamRecords"`
	Replicas    []Replica `json:"replicas"`
	// Comparisons are those in the background, with each other region that has an active replica.
	Comparisons []repair.Compared `json:"comparisons,omitempty"`
	Collection  Collection        `json:"collection"`
	TimeToLive  TimeToLive        `json:"timeToLive"`
	Indexes     []Index           `json:"indexes,omitempty"`
}

// Merge says how writes to a table are recorded, and so how those of several regions meet.
type Merge struct {
	Mode  string            `json:"mode"`            // lww, attribute or vector
	Types map[string]string `json:"types,omitempty"` // declared, by attribute: counter, set, map, max, min or register. They count in mode vector
}

// Listed is how much of a table's conflicts is listed here, and how much can be.
type Listed struct {
	Listed      int64 `json:"listed"` // some of them may have expired, and not be erased yet
	Bytes       int64 `json:"bytes"`
	Limit       int64 `json:"limit"`       // of bytes
	KeepSeconds int64 `json:"keepSeconds"` // what is listed from now on
}

// Streamed is how much the change streams of a table have here, those that have ended included, and how much they can have.
type Streamed struct {
	View        string `json:"view,omitempty"` // of the stream that is on; none: it is off
	Streams     int    `json:"streams"`        // that have, or had, something
	Records     int64  `json:"records"`
	Bytes       int64  `json:"bytes"`
	Limit       int64  `json:"limit"` // of bytes
	KeepSeconds int64  `json:"keepSeconds"`
}

// Index is a secondary index of a table as this region has it.
type Index struct {
	Name    string `json:"name"`
	Local   bool   `json:"local"`
	Ready   bool   `json:"ready"`   // queries are answered
	Percent int    `json:"percent"` // while it is built here: how much of the table was gone through; else 100
	Entries int64  `json:"entries"`
	Bytes   int64  `json:"bytes"` // of what the entries show
}

// TimeToLive is by what a table's items expire.
type TimeToLive struct {
	Status    string `json:"status"`              // ENABLING, ENABLED, DISABLING or DISABLED
	Attribute string `json:"attribute,omitempty"` // whose value, in seconds since 1970, says when
}

// Collection says how far this region is with erasing what is left of deleted items and removed attributes, and expired items. Of each something is kept until every replica is known to have the deletion.
type Collection struct {
	Waiting  uint64 `json:"waiting"`  // records with something to erase, now or later
	Expiring uint64 `json:"expiring"` // items that expire some time, or have expired and are not erased yet
	// PurgeAgeMillis is the age of the moment up to which every replica is known to have everything; null if never.
	PurgeAgeMillis *float64 `json:"purgeAgeMillis"`
	HeldBack       string   `json:"heldBack,omitempty"` // by what, if by anything: a region that is behind, or a replica on its way
}

// Replica is a region of a table.
type Replica struct {
	Region string `json:"region"`
	Status string `json:"status"`
	Detail string `json:"detail,omitempty"`
	// Percent is, of a replica that is being created, how much of the table it has got, where this region knows: it is the table's owner, or the replica's own.
	Percent *int `json:"percent,omitempty"`
	// Placing is true of one that carries out a change of policies: its region hands over and erases what it may not hold any more, and gets what it may.
	Placing bool `json:"placing,omitempty"`
}

// Verification is how this region's replicas compare with those of the other regions. It is the body of GET /v1/verify and POST /v1/repair.
type Verification struct {
	Region string          `json:"region"`
	State  string          `json:"state"` // the worst of the tables'
	Tables []repair.Report `json:"tables"`
}

// Lane is one sequence of this region's change log.
type Lane struct {
	ID        string            `json:"id"`
	Regions   []string          `json:"regions"`
	Head      uint64            `json:"head"`              // newest entry
	Entries   uint64            `json:"entries"`           // kept in the log
	Bytes     int64             `json:"bytes"`             // about
	Live      bool              `json:"live"`              // the stream is open to peers
	Confirmed map[string]uint64 `json:"confirmed"`         // by peer: durably applied there
	Lagging   map[string]Lag    `json:"lagging,omitempty"` // by peer: left behind when the log reached its limit
}

// Lag is of a peer that has not confirmed what a lane's log has not kept: it catches up by exchange, and holds collection back until then.
type Lag struct {
	Since   *time.Time `json:"since,omitempty"` // none: since before the node's start
	Entries uint64     `json:"entries"`         // that it has not confirmed and that are gone
}
