package globaltable

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/concordat-db/concordat/conflict/hlc"
)

// Limits of triggers. Where two are of one thing they are both ends of its range.
const (
	MaxTriggers       = 32   // of a table
	MaxTriggerBytes   = 4096 // of a TriggerSpec in the table's document
	MaxBatchSize      = 1000
	MinBatchWindow    = time.Millisecond
	MaxBatchWindow    = time.Minute
	MaxParallel       = 64
	MaxRetryAttempts  = 100
	MinRetryDelay     = time.Millisecond
	MaxRetryDelay     = time.Hour
	MinTargetTimeout  = 100 * time.Millisecond
	MaxTargetTimeout  = 5 * time.Minute
	MaxCommandArgs    = 64
	MaxSubjectLen     = 256 // bytes
	MaxTargetURLBytes = 2048
)

// What triggers are that do not say.
const (
	DefaultBatchSize     = 100
	DefaultBatchWindow   = 200 * time.Millisecond
	DefaultParallel      = 8
	DefaultRetryAttempts = 8
	DefaultRetryFirst    = 500 * time.Millisecond
	DefaultRetryMost     = time.Minute
	DefaultTargetTimeout = 10 * time.Second
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
	Number uint64  // of its TriggerSpec, from 1
	Paused bool
	Replay Replay        // the newest that was asked for; zero: none
	Begins hlc.Timestamp // the moment at which it was made: events at positions after it are fired; 0: of a document that does not tell, from when a region hears of it
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
	Timeout   time.Duration `json:"timeout,omitempty"`   // for a batch; 0: the default
}

// NATSTarget is a subject of the region's NATS to which each event is published.
type NATSTarget struct {
	Subject string `json:"subject"`
}

// CommandSpec is a program that gets events on its standard input, one JSON document a line.
type CommandSpec struct {
	Path    string        `json:"path"`
	Args    []string      `json:"args,omitempty"`
	Timeout time.Duration `json:"timeout,omitempty"` // for a batch; 0: the default
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

// TriggerID is what a trigger is in all its time: cursors and dead letters are of it.
type TriggerID struct {
	Table TableID
	Name  string
	Born  Version
}

// Trigger returns the trigger of t that has the name; nil if there is none. It points into t.
func (t *Table) Trigger(name string) *Trigger {
	for i := range t.Triggers {
		if t.Triggers[i].Name == name {
			return &t.Triggers[i]
		}
	}
	return nil
}

// ID returns what g, a trigger of the table given, is in all its time.
func (g *Trigger) ID(table TableID) TriggerID { return TriggerID{table, g.Name, g.Born} }

// BatchSize returns how many events go together at most.
func (s *TriggerSpec) BatchSize() int { return cmp.Or(s.Batch.Size, DefaultBatchSize) }

// BatchWindow returns how long an event waits for others at most.
func (s *TriggerSpec) BatchWindow() time.Duration { return cmp.Or(s.Batch.Window, DefaultBatchWindow) }

// Workers returns how many batches are under way at once at most.
func (s *TriggerSpec) Workers() int { return cmp.Or(s.Parallel, DefaultParallel) }

// Attempts returns how often a batch is tried.
func (s *TriggerSpec) Attempts() int { return cmp.Or(s.Retry.Attempts, DefaultRetryAttempts) }

// Delays returns how long after the first attempt the second one is made, about, and how long after one the next is made at most.
func (s *TriggerSpec) Delays() (first, most time.Duration) {
	first, most = cmp.Or(s.Retry.First, DefaultRetryFirst), s.Retry.Most
	return first, cmp.Or(most, max(first, DefaultRetryMost))
}

// TimeLimit returns how long one attempt takes at most.
func (x *Target) TimeLimit() time.Duration {
	switch {
	case x.Webhook != nil:
		return cmp.Or(x.Webhook.Timeout, DefaultTargetTimeout)
	case x.Command != nil:
		return cmp.Or(x.Command.Timeout, DefaultTargetTimeout)
	}
	return DefaultTargetTimeout
}

// Kind returns the name of what x is, as documents have it: webhook, nats or command.
func (x *Target) Kind() string {
	switch {
	case x.Webhook != nil:
		return "webhook"
	case x.Command != nil:
		return "command"
	}
	return "nats"
}

// A TriggerFault is something that a trigger cannot be. Field is where, as a document has it: "batch.size", or "target.webhook.url"; empty: all of it.
type TriggerFault struct{ Field, Message string }

func (f TriggerFault) Error() string {
	if f.Field == "" {
		return f.Message
	}
	return f.Field + ": " + f.Message
}

// Faults returns all that is wrong in s, whatever its table is like. Whether the filter is an event pattern is not asked.
func (s *TriggerSpec) Faults() []TriggerFault {
	var c triggerChecker
	c.check(s.Fire == FireOrigin || s.Fire == FireEverywhere || s.Fire == FireOne, "fire", "it is %q; it can be %s, %s or %s", clip(string(s.Fire)), FireOrigin, FireEverywhere, FireOne)
	c.check(len(s.Filter) == 0 || json.Valid(s.Filter) && strings.HasPrefix(strings.TrimLeft(string(s.Filter), " \t\r\n"), "{"), "filter", "it is no JSON object")
	c.target(&s.Target)
	c.number("batch.size", s.Batch.Size, MaxBatchSize)
	c.duration("batch.window", s.Batch.Window, MinBatchWindow, MaxBatchWindow)
	c.number("parallel", s.Parallel, MaxParallel)
	c.number("retry.attempts", s.Retry.Attempts, MaxRetryAttempts)
	c.duration("retry.first", s.Retry.First, MinRetryDelay, MaxRetryDelay)
	c.duration("retry.most", s.Retry.Most, MinRetryDelay, MaxRetryDelay)
	first, most := s.Delays()
	c.check(first <= most, "retry.most", "it is less than the first delay, %v", first)
	if b, err := json.Marshal(s); err == nil { // else the filter is no JSON, and that is told
		c.check(len(b) <= MaxTriggerBytes, "", "all of it together has %d bytes, at most %d", len(b), MaxTriggerBytes)
	}
	return c.faults
}

type triggerChecker struct{ faults []TriggerFault }

func (c *triggerChecker) check(ok bool, field, format string, args ...any) {
	if !ok {
		c.faults = append(c.faults, TriggerFault{field, fmt.Sprintf(format, args...)})
	}
}

// number checks a count, of which zero is the default.
func (c *triggerChecker) number(field string, n, most int) {
	c.check(n >= 0 && n <= most, field, "it is %d; it can be 1 to %d", n, most)
}

// duration checks a time, of which zero is the default.
func (c *triggerChecker) duration(field string, d, least, most time.Duration) {
	c.check(d == 0 || d >= least && d <= most, field, "it is %v; it can be %v to %v", d, least, most)
}

func (c *triggerChecker) target(x *Target) {
	given := 0
	for _, is := range []bool{x.Webhook != nil, x.NATS != nil, x.Command != nil} {
		if is {
			given++
		}
	}
	c.check(given == 1, "target", "a trigger has one target: webhook, nats or command")
	if w := x.Webhook; w != nil {
		c.check(w.SecretRef == "" || ValidPolicyName(w.SecretRef), "target.webhook.secretRef", "the name of a secret has 1 to %d lower-case letters, digits, hyphens and dots, and begins with a letter or digit", MaxPinNameLen)
		c.duration("target.webhook.timeout", w.Timeout, MinTargetTimeout, MaxTargetTimeout)
		c.webhook(w.URL)
	}
	if n := x.NATS; n != nil {
		c.check(validSubject(n.Subject), "target.nats.subject", "a subject has 1 to %d bytes, in parts that are split at dots, none of them empty, without wildcards and spaces; it does not begin with %q, %q or %q", MaxSubjectLen, "concordat.", "$", "_")
	}
	if p := x.Command; p != nil {
		c.check(strings.HasPrefix(p.Path, "/") && path.Clean(p.Path) == p.Path && len(p.Path) > 1 && plain(p.Path), "target.command.path", "it is no absolute path of a file")
		c.check(len(p.Args) <= MaxCommandArgs, "target.command.args", "there are %d, at most %d", len(p.Args), MaxCommandArgs)
		for _, arg := range p.Args {
			c.check(arg != "" && plain(arg), "target.command.args", "one is empty, is not UTF-8, or has a NUL in it")
		}
		c.duration("target.command.timeout", p.Timeout, MinTargetTimeout, MaxTargetTimeout)
	}
}

// plain reports whether s can be given to a program.
func plain(s string) bool { return utf8.ValidString(s) && !strings.Contains(s, "\x00") }

func (c *triggerChecker) webhook(text string) {
	const field = "target.webhook.url"
	u, err := url.Parse(text)
	switch {
	case err != nil || len(text) > MaxTargetURLBytes || u.Opaque != "" || !validAuthority(u):
		c.check(false, field, "it is no URL of a host, of at most %d bytes", MaxTargetURLBytes)
		return
	case u.Scheme == "https":
	case u.Scheme == "http":
		c.check(loopback(u.Hostname()), field, "it is not https; http is for targets on the same machine: localhost, 127.0.0.0/8 and [::1]")
	default:
		c.check(false, field, "it is not https")
	}
	c.check(u.User == nil, field, "it has a user or a password in it; let the body be signed, by secretRef")
	c.check(u.Fragment == "" && !strings.Contains(text, "#"), field, "it has a fragment")
}

// validAuthority reports whether u has a host, and a port that can be one, or none.
func validAuthority(u *url.URL) bool {
	if u.Hostname() == "" || strings.HasSuffix(u.Host, ":") {
		return false
	}
	if u.Port() == "" {
		return true
	}
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	return err == nil && port > 0
}

// loopback reports whether a host's name is of this machine, without asking for addresses.
func loopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}

// validSubject reports whether events may be published to s: it is none of those that the regions, NATS itself, or the answers to requests have.
func validSubject(s string) bool {
	if s == "" || len(s) > MaxSubjectLen || !utf8.ValidString(s) || s[0] == '$' || s[0] == '_' || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '*' || r == '>' }) {
		return false
	}
	tokens := strings.Split(s, ".")
	return tokens[0] != "concordat" && !slices.Contains(tokens, "")
}

// triggerFaults are those of a table's triggers.
func (t *Table) triggerFaults() []error {
	var faults []error
	fault := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	fault(len(t.Triggers) <= MaxTriggers, "%d triggers, at most %d", len(t.Triggers), MaxTriggers)
	for i := range t.Triggers {
		g := &t.Triggers[i]
		name := clip(g.Name)
		fault(ValidPolicyName(g.Name), "trigger %q: its name is wrong", name)
		fault(i == 0 || t.Triggers[i-1].Name < g.Name, "trigger %q: triggers are in the order of their names, each once", name)
		fault(g.Born > 0 && g.Born <= t.Version && g.Number > 0, "trigger %q: it is form %d, and of version %v", name, g.Number, g.Born)
		fault(g.Replay.Number > 0 || g.Replay == Replay{}, "trigger %q: what is to be replayed has no number", name)
		for _, f := range g.Faults() {
			faults = append(faults, fmt.Errorf("trigger %q: %w", name, f))
		}
	}
	return faults
}
