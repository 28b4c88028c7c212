// Package policy knows the documents that say where a table's items may be and how its replicas work together: their YAML, their JSON, their JSON Schema, and what they come to. It is pure.
//
// A document is YAML for people and JSON everywhere else: sent, stored, printed. Both have the same fields. What is read is canonical: lists of names are in order, defaults are filled in; so two documents
// that mean the same are equal.
package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"

	"github.com/concordat-db/concordat/globaltable"
)

// APIVersion is what documents of this form begin with.
const APIVersion = "concordat/v1"

// Kind is what a document is. Its texts are part of the form.
type Kind string

// The kinds.
const (
	LocalityPolicy    Kind = "LocalityPolicy"    // where the items may be whose keys it matches
	ReplicationPolicy Kind = "ReplicationPolicy" // in which regions a table is, and how writes meet
)

// Kinds returns all kinds.
func Kinds() []Kind { return []Kind{LocalityPolicy, ReplicationPolicy} }

// Limits of what is read.
const (
	MaxBytes     = 1 << 20 // of a file
	MaxDocuments = 256     // in it
)

// Document is a policy. One of Locality and Replication is set, as Kind says.
type Document struct {
	Kind        Kind
	Name        string
	Locality    *Locality
	Replication *Replication
}

// Locality is the spec of a LocalityPolicy.
type Locality struct {
	Match      Match               `json:"match"`
	Pin        Places              `json:"pin"`
	Foreign    globaltable.Foreign `json:"foreign"`
	SingleCopy string              `json:"singleCopy,omitempty"` // Allowed, or empty
}

// Allowed is the value of Locality.SingleCopy for a placement of one region that is meant.
const Allowed = "allowed"

// Match says which keys a policy is about: those of the table that fulfil all that is set.
type Match struct {
	Table         string     `json:"table"`
	KeyPrefix     string     `json:"keyPrefix,omitempty"`
	Key           *Component `json:"key,omitempty"`
	SortKeyPrefix string     `json:"sortKeyPrefix,omitempty"`
}

// Component is a part of the partition key, which is split at each Delimiter.
type Component struct {
	Delimiter string `json:"delimiter"`
	Component int    `json:"component"` // counted from 1
	Equals    string `json:"equals"`
}

// Places are where items may be. One of the lists is not empty; both are sorted.
type Places struct {
	Jurisdictions []string `json:"jurisdictions,omitempty"`
	Regions       []string `json:"regions,omitempty"`
}

// Replication is the spec of a ReplicationPolicy. What is empty stays as the table has it.
type Replication struct {
	Table       string            `json:"table"`
	Regions     []string          `json:"regions,omitempty"`     // all of the table's, sorted
	Merge       string            `json:"merge,omitempty"`       // lww, attribute or vector
	Attributes  map[string]string `json:"attributes,omitempty"`  // merge types: counter, set, map, max, min, register; none: not declared. Those not named stay
	Acknowledge string            `json:"acknowledge,omitempty"` // local, peers:1 to peers:3
	Stream      string            `json:"stream,omitempty"`      // a StreamView, or StreamOff
	Streams     *Kept             `json:"streamRecords,omitempty"`
	Conflicts   *Kept             `json:"conflicts,omitempty"` // that are listed
}

// StreamOff is the value of Replication.Stream for a table without one.
const StreamOff = "off"

// Kept bounds what the table keeps of something: see globaltable.Kept.
type Kept struct {
	Age   string `json:"age,omitempty"`   // 30d, 36h, default
	Bytes string `json:"bytes,omitempty"` // 128MiB, default
}

// Table returns the name of the table that d is about.
func (d *Document) Table() string {
	if d.Locality != nil {
		return d.Locality.Match.Table
	}
	if d.Replication != nil {
		return d.Replication.Table
	}
	return ""
}

// Equal reports whether two documents mean the same.
func (d *Document) Equal(o *Document) bool { return reflect.DeepEqual(d, o) }

// form is the JSON form of a Document.
type form struct {
	APIVersion string          `json:"apiVersion"`
	Kind       Kind            `json:"kind"`
	Metadata   metadata        `json:"metadata"`
	Spec       json.RawMessage `json:"spec"`
}

type metadata struct {
	Name string `json:"name"`
}

// MarshalJSON returns the document. Equal documents have equal texts.
func (d Document) MarshalJSON() ([]byte, error) {
	var spec any = d.Locality
	if d.Kind == ReplicationPolicy {
		spec = d.Replication
	}
	b, err := json.Marshal(spec)
	if err != nil {
		return nil, err
	}
	return json.Marshal(form{APIVersion, d.Kind, metadata{d.Name}, b})
}

// UnmarshalJSON is the inverse of MarshalJSON. The error names all faults of the document, with their paths; a field that is not known is one.
func (d *Document) UnmarshalJSON(b []byte) error {
	var f form
	if err := strictly(b, &f); err != nil {
		return err
	}
	out := Document{Kind: f.Kind, Name: f.Metadata.Name}
	var err error
	switch f.Kind {
	case LocalityPolicy:
		out.Locality = new(Locality)
		err = strictly(f.Spec, out.Locality)
	case ReplicationPolicy:
		out.Replication = new(Replication)
		err = strictly(f.Spec, out.Replication)
	}
	if err != nil {
		return err
	}
	out.normalize()
	faults := out.faults()
	if f.APIVersion != APIVersion {
		faults = append(faults, fault("apiVersion", "it is %q; this release knows %s", clip(f.APIVersion), APIVersion))
	}
	if len(faults) > 0 {
		return &Faults{List: faults}
	}
	*d = out
	return nil
}

func strictly(b []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is more after the document")
	}
	return nil
}

// Fault is something wrong in a document.
type Fault struct {
	Document int    // in the file, from 1; 0: there is one
	Line     int    // from 1; 0: not known
	Path     string // spec.match.table; empty: the whole
	Message  string
}

func (f Fault) String() string {
	var b strings.Builder
	if f.Document > 0 {
		fmt.Fprintf(&b, "document %d, ", f.Document)
	}
	if f.Line > 0 {
		fmt.Fprintf(&b, "line %d: ", f.Line)
	}
	if f.Path != "" {
		b.WriteString(f.Path + ": ")
	}
	return b.String() + f.Message
}

// Faults are all that is wrong.
type Faults struct{ List []Fault }

func (e *Faults) Error() string {
	lines := make([]string, 0, len(e.List))
	for _, f := range e.List {
		lines = append(lines, f.String())
	}
	return strings.Join(lines, "\n")
}

func fault(path, format string, args ...any) Fault {
	return Fault{Path: path, Message: fmt.Sprintf(format, args...)}
}

// clip bounds a text that is quoted.
func clip(s string) string {
	const most = 64
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "…"
	}
	return s
}

func quote(s string) string { return strconv.Quote(clip(s)) }
func itoa(n int) string     { return strconv.Itoa(n) }
