package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/manifest"
)

// versionFormat is the version of a Version's stored form. A reader refuses what it does not know, so it rises with every field that is added, in documents too; what has none of the new ones keeps the form that older readers know.
// 2: targets.
const versionFormat = 2

func (v *Version) format() int {
	if l := v.Document.Locality; l != nil && l.Targets != nil {
		return versionFormat
	}
	return 1
}

// Limits of what is said about a change.
const (
	MaxAuthorLen = 128  // bytes
	MaxReasonLen = 1024 // bytes
)

// Version is one entry of a policy's history: it was applied, or deleted, by somebody, for a reason. Versions never change.
type Version struct {
	Table    globaltable.TableID
	Sequence uint64 // of all versions of the table's policies, from 1; some may have been skipped
	Number   uint64 // of those of this policy's name, from 1
	Deleted  bool   // Document is the one that was in force until then
	Document Document
	Author   string
	Reason   string
	At       int64               // when the owner made it, Unix milliseconds
	In       globaltable.Version // the version of the table's document that it came with
	By       hlc.Origin          // the table's owner then
}

// versionForm is the JSON form of a Version.
type versionForm struct {
	Format   int        `json:"format"`
	Table    string     `json:"table"`
	Sequence uint64     `json:"sequence"`
	Number   uint64     `json:"number"`
	Deleted  bool       `json:"deleted,omitempty"`
	Document Document   `json:"document"`
	Author   string     `json:"author"`
	Reason   string     `json:"reason,omitempty"`
	At       int64      `json:"at"`
	Epoch    uint32     `json:"inEpoch"`
	In       uint64     `json:"inNumber"`
	By       hlc.Origin `json:"by"`
}

// Encode returns v as it is stored and sent, JSON. v must be valid.
func (v *Version) Encode() []byte {
	b, err := json.Marshal(versionForm{v.format(), v.Table.String(), v.Sequence, v.Number, v.Deleted, v.Document, v.Author, v.Reason, v.At, v.In.Epoch(), v.In.Number(), v.By})
	if err != nil {
		panic(err) // texts and numbers
	}
	return b
}

// DecodeVersion is the inverse of Version.Encode, for what comes from disk and from peers. A form that this release does not know is refused with kind Unavailable, what is wrong with kind Corrupt; the result is always valid.
func DecodeVersion(b []byte) (*Version, error) {
	const op = "decode policy version"
	var format struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(b, &format); err != nil {
		return nil, &globaltable.Error{Op: op, Kind: globaltable.Corrupt, Message: "the text is not a version of a policy"}
	}
	if format.Format > versionFormat {
		return nil, &globaltable.Error{Op: op, Kind: globaltable.Unavailable, Message: "the policy was applied by a newer version of concordat; upgrade this region"}
	}
	var f versionForm
	err := manifest.Strictly(b, &f)
	id, bad := globaltable.ParseTableID(f.Table)
	v := &Version{Table: id, Sequence: f.Sequence, Number: f.Number, Deleted: f.Deleted, Document: f.Document, Author: f.Author, Reason: f.Reason, At: f.At,
		In: globaltable.MakeVersion(f.Epoch, f.In), By: f.By}
	if err = errors.Join(err, bad); err == nil && (v.In.Epoch() != f.Epoch || v.In.Number() != f.In) {
		err = errors.New("the version of its table is out of range")
	}
	if err == nil {
		err = v.check()
	}
	if err != nil {
		return nil, &globaltable.Error{Op: op, Kind: globaltable.Corrupt, Err: err}
	}
	return v, nil
}

func (v *Version) check() error {
	switch {
	case v.Table <= globaltable.WorldTable || v.Table.IsFeed():
		return errors.New("it is of no table")
	case v.Sequence == 0 || v.Number == 0 || v.Number > v.Sequence:
		return errors.New("its numbers are wrong")
	case v.At <= 0 || v.By == 0 || v.In.Epoch() == 0 || v.In.Number() == 0:
		return errors.New("it does not say when or where it was made")
	case v.Document.Kind == "":
		return errors.New("it has no document")
	}
	return CheckWords(v.Author, v.Reason)
}

// CheckWords checks what is said about a change of policies: who makes it, which must be said, and why. The error is of kind Invalid.
func CheckWords(author, reason string) error {
	var faults []string
	for _, f := range []struct {
		what, text string
		most       int
	}{{"author", author, MaxAuthorLen}, {"reason", reason, MaxReasonLen}} {
		if len(f.text) > f.most || !utf8.ValidString(f.text) || strings.ContainsFunc(f.text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			faults = append(faults, fmt.Sprintf("the %s is a line of at most %d bytes of UTF-8", f.what, f.most))
		}
	}
	if author == "" {
		faults = append(faults, "nobody is named who makes the change")
	}
	if faults == nil {
		return nil
	}
	return &globaltable.Error{Op: "check policy change", Kind: globaltable.Invalid, Message: strings.Join(faults, "; ")}
}
