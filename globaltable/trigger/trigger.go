// Package trigger knows triggers as documents: their YAML, their JSON, their JSON Schema, and what they come to. It is pure.
//
// What is read is canonical, so two documents that mean the same are equal: the fields of the filter are in order, and a filter that lets everything through is none.
package trigger

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"time"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/manifest"
	"github.com/concordat-db/concordat/globaltable/pattern"
)

// Kind is what documents of triggers have as theirs.
const Kind = "Trigger"

// Document is a trigger of a table as its author writes it.
type Document struct {
	Name  string
	Table string
	Spec  globaltable.TriggerSpec
}

// Of returns the document of a trigger of the table named.
func Of(table string, g *globaltable.Trigger) Document {
	return Document{g.Name, table, g.TriggerSpec}
}

// Equal reports whether two documents mean the same.
func (d *Document) Equal(o *Document) bool { return reflect.DeepEqual(d, o) }

// form is the JSON form of what a document specifies.
type form struct {
	Table    string           `json:"table"`
	Fire     globaltable.Fire `json:"fire"`
	Filter   json.RawMessage  `json:"filter,omitempty"`
	Target   target           `json:"target"`
	Batch    batch            `json:"batch,omitzero"`
	Parallel int              `json:"parallel,omitempty"`
	Retry    retry            `json:"retry,omitzero"`
}

type target struct {
	Webhook *webhook                `json:"webhook,omitempty"`
	NATS    *globaltable.NATSTarget `json:"nats,omitempty"`
	Command *command                `json:"command,omitempty"`
}

type webhook struct {
	URL       string   `json:"url"`
	SecretRef string   `json:"secretRef,omitempty"`
	Timeout   duration `json:"timeout,omitempty"`
}

type command struct {
	Path    string   `json:"path"`
	Args    []string `json:"args,omitempty"`
	Timeout duration `json:"timeout,omitempty"`
}

type batch struct {
	Size   int      `json:"size,omitempty"`
	Window duration `json:"window,omitempty"`
}

type retry struct {
	Attempts int      `json:"attempts,omitempty"`
	First    duration `json:"first,omitempty"`
	Most     duration `json:"most,omitempty"`
}

// duration is a time.Duration that is written as people write it: 200ms, 1m30s.
type duration time.Duration

// MarshalText implements encoding.TextMarshaler.
func (d duration) MarshalText() ([]byte, error) {
	s := time.Duration(d).String()
	for _, nothing := range [][2]string{{"m0s", "m"}, {"h0m", "h"}} {
		if cut, has := strings.CutSuffix(s, nothing[0]); has {
			s = cut + nothing[1]
		}
	}
	return []byte(s), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	if err != nil {
		return errors.New(noDuration)
	}
	*d = duration(v)
	return nil
}

const noDuration = "a time is written like 200ms or 1m30s"

func (d *Document) form() form {
	s := &d.Spec
	f := form{Table: d.Table, Fire: s.Fire, Filter: s.Filter, Parallel: s.Parallel, Batch: batch{s.Batch.Size, duration(s.Batch.Window)},
		Retry: retry{s.Retry.Attempts, duration(s.Retry.First), duration(s.Retry.Most)}, Target: target{NATS: s.Target.NATS}}
	if w := s.Target.Webhook; w != nil {
		f.Target.Webhook = &webhook{w.URL, w.SecretRef, duration(w.Timeout)}
	}
	if c := s.Target.Command; c != nil {
		f.Target.Command = &command{c.Path, c.Args, duration(c.Timeout)}
	}
	return f
}

func (f *form) document(name string) Document {
	d := Document{Name: name, Table: f.Table, Spec: globaltable.TriggerSpec{Fire: f.Fire, Filter: f.Filter, Parallel: f.Parallel, Batch: globaltable.Batch{Size: f.Batch.Size, Window: time.Duration(f.Batch.Window)},
		Retry: globaltable.Retry{Attempts: f.Retry.Attempts, First: time.Duration(f.Retry.First), Most: time.Duration(f.Retry.Most)}, Target: globaltable.Target{NATS: f.Target.NATS}}}
	if w := f.Target.Webhook; w != nil {
		d.Spec.Target.Webhook = &globaltable.Webhook{URL: w.URL, SecretRef: w.SecretRef, Timeout: time.Duration(w.Timeout)}
	}
	if c := f.Target.Command; c != nil {
		d.Spec.Target.Command = &globaltable.CommandSpec{Path: c.Path, Args: c.Args, Timeout: time.Duration(c.Timeout)}
	}
	return d
}

// MarshalJSON returns the document. Equal documents have equal texts.
func (d Document) MarshalJSON() ([]byte, error) {
	return manifest.Encode(manifest.Head{Kind: Kind, Name: d.Name}, d.form())
}

// UnmarshalJSON is the inverse of MarshalJSON. The error names all faults of the document, with their paths; a field that is not known is one.
func (d *Document) UnmarshalJSON(b []byte) error {
	return manifest.Decode(b, d, func(h manifest.Head, spec []byte) (Document, error) {
		if h.Kind != Kind {
			return Document{}, &manifest.Faults{List: []manifest.Fault{manifest.FaultAt("kind", "it is %q; it can be %s", manifest.Clip(h.Kind), Kind)}}
		}
		var f form
		err := manifest.Strictly(spec, &f)
		return f.document(h.Name), err
	}, (*Document).check)
}

// check makes d canonical, and tells what it cannot be, whatever its table is like.
func (d *Document) check() []manifest.Fault {
	if d.Spec.Fire == "" {
		d.Spec.Fire = globaltable.FireOrigin
	}
	if c := d.Spec.Target.Command; c != nil && len(c.Args) == 0 {
		c.Args = nil
	}
	d.Spec.Filter = canonical(d.Spec.Filter)
	var faults []manifest.Fault
	if !globaltable.ValidPolicyName(d.Name) {
		faults = append(faults, manifest.FaultAt("metadata.name", "a trigger's name has 1 to %d lower-case letters, digits, hyphens and dots, and begins with a letter or digit", globaltable.MaxPinNameLen))
	}
	if !globaltable.ValidTableName(d.Table) {
		faults = append(faults, manifest.FaultAt("spec.table", "the name of a table has %d to %d letters, digits, '_', '-' and '.'", globaltable.MinTableNameLen, globaltable.MaxTableNameLen))
	}
	json := true
	for _, f := range d.Spec.Faults() {
		json = json && f.Field != "filter"
		faults = append(faults, manifest.FaultAt(strings.TrimSuffix("spec."+f.Field, "."), "%s", f.Message))
	}
	if json {
		if _, err := pattern.Compile(d.Spec.Filter); err != nil {
			faults = append(faults, manifest.FaultAt("spec.filter", "%s", messageOf(err)))
		}
	}
	return faults
}

func messageOf(err error) string {
	if e := (*globaltable.Error)(nil); errors.As(err, &e) && e.Message != "" {
		return e.Message
	}
	return err.Error()
}

// canonical returns the one text of a JSON value, nil of one that is empty: it is what a table's document has after it was stored. What is no JSON stays as it is.
func canonical(filter json.RawMessage) json.RawMessage {
	dec := json.NewDecoder(bytes.NewReader(filter))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil || dec.More() {
		if len(filter) == 0 {
			return nil
		}
		return filter
	}
	if m, is := v.(map[string]any); v == nil || is && len(m) == 0 {
		return nil
	}
	b, err := json.Marshal(v)
	if err != nil {
		return filter
	}
	return b
}
