// Package manifest reads and writes the documents that people keep in files and apply: policies and triggers. What a document is about, its owner knows; here is what all have in common. It is pure.
//
// A document is YAML for people and JSON everywhere else: sent, stored, printed. Both have the same fields: apiVersion, kind, metadata and spec.
package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// APIVersion is what documents begin with.
const APIVersion = "concordat/v1"

// Limits of what is read.
const (
	MaxBytes     = 1 << 20 // of a file
	MaxDocuments = 256     // in it
)

// document is the JSON form of all documents.
type document struct {
	APIVersion string          `json:"apiVersion"`
	Kind       string          `json:"kind"`
	Metadata   metadata        `json:"metadata"`
	Spec       json.RawMessage `json:"spec"`
}

type metadata struct {
	Name string `json:"name"`
}

// Encode returns a document with the spec given.
func Encode(h Head, spec any) ([]byte, error) {
	b, err := json.Marshal(spec)
	if err != nil {
		return nil, err
	}
	return json.Marshal(document{APIVersion, h.Kind, metadata{h.Name}, b})
}

// Decode is the inverse of Encode: read makes of head and spec what check makes canonical and finds right, and that is put into. The error names all faults, with their paths.
func Decode[D any](b []byte, into *D, read func(Head, []byte) (D, error), check func(*D) []Fault) error {
	var f document
	if err := Strictly(b, &f); err != nil {
		return err
	}
	out, err := read(Head{f.Kind, f.Metadata.Name}, f.Spec)
	if err != nil {
		return err
	}
	faults := check(&out)
	if f.APIVersion != APIVersion {
		faults = append(faults, FaultAt("apiVersion", "it is %q; this release knows %s", Clip(f.APIVersion), APIVersion))
	}
	if len(faults) > 0 {
		return &Faults{List: faults}
	}
	*into = out
	return nil
}

// Strictly is json.Unmarshal that refuses fields that into does not have.
func Strictly(b []byte, into any) error {
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

// FaultAt returns a Fault without a place in a file.
func FaultAt(path, format string, args ...any) Fault {
	return Fault{Path: path, Message: fmt.Sprintf(format, args...)}
}

// Clip bounds a text that is quoted.
func Clip(s string) string {
	const most = 64
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "…"
	}
	return s
}
