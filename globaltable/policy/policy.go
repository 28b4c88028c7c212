// Package policy knows the documents that say where a table's items may be and how its replicas work together: their YAML, their JSON, their JSON Schema, and what they come to. It is pure.
//
// A document is YAML for people and JSON everywhere else: sent, stored, printed. Both have the same fields. What is read is canonical: lists of names are in order, defaults are filled in; so two documents
// that mean the same are equal.
package policy

import (
	"reflect"
	"strconv"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/manifest"
)

// Kind is what a document is. Its texts are part of the form.
type Kind string

// The kinds.
const (
	LocalityPolicy    Kind = "LocalityPolicy"    // where the items may be whose keys it matches
	ReplicationPolicy Kind = "ReplicationPolicy" // in which regions a table is, and how writes meet
)

// Kinds returns all kinds.
func Kinds() []Kind { return []Kind{LocalityPolicy, ReplicationPolicy} }

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
	Targets    []string            `json:"targets,omitempty"`    // URLs, sorted; see globaltable.Pin
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

// MarshalJSON returns the document. Equal documents have equal texts.
func (d Document) MarshalJSON() ([]byte, error) {
	var spec any = d.Locality
	if d.Kind == ReplicationPolicy {
		spec = d.Replication
	}
	return manifest.Encode(manifest.Head{Kind: string(d.Kind), Name: d.Name}, spec)
}

// UnmarshalJSON is the inverse of MarshalJSON. The error names all faults of the document, with their paths; a field that is not known is one.
func (d *Document) UnmarshalJSON(b []byte) error {
	return manifest.Decode(b, d, func(h manifest.Head, spec []byte) (out Document, err error) {
		out.Kind, out.Name = Kind(h.Kind), h.Name
		switch out.Kind {
		case LocalityPolicy:
			out.Locality = new(Locality)
			err = manifest.Strictly(spec, out.Locality)
		case ReplicationPolicy:
			out.Replication = new(Replication)
			err = manifest.Strictly(spec, out.Replication)
		}
		return out, err
	}, form.Check)
}

func quote(s string) string { return strconv.Quote(manifest.Clip(s)) }
func itoa(n int) string     { return strconv.Itoa(n) }
