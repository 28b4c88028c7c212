package globaltable

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"

	"github.com/concordat-db/concordat/conflict/hlc"
)

// worldFormat is the version of the form of the world's document; see documentFormat.
const worldFormat = 1

// worldDocument is the JSON form of a World.
type worldDocument struct {
	Format      int              `json:"format"`
	Owner       hlc.Origin       `json:"owner"`
	Epoch       uint32           `json:"epoch"`
	Number      uint64           `json:"number"`
	Predecessor string           `json:"predecessor,omitempty"`
	Members     []memberDocument `json:"members"`
}

type memberDocument struct {
	Descriptor  string      `json:"descriptor"` // signed
	State       MemberState `json:"state"`
	SinceEpoch  uint32      `json:"sinceEpoch"`
	SinceNumber uint64      `json:"sinceNumber"`
	Incarnation Incarnation `json:"incarnation,omitempty"`
}

// EncodeWorld returns the document of w, JSON. Equal worlds have equal documents. w must be valid.
func EncodeWorld(w *World) []byte {
	d := worldDocument{Format: worldFormat, Owner: w.Owner, Epoch: w.Version.Epoch(), Number: w.Version.Number()}
	if w.Predecessor != (Hash{}) {
		d.Predecessor = hex.EncodeToString(w.Predecessor[:])
	}
	for i := range w.Members {
		m := &w.Members[i]
		d.Members = append(d.Members, memberDocument{m.Token, m.State, m.Since.Epoch(), m.Since.Number(), m.Incarnation})
	}
	b, err := json.Marshal(&d)
	if err != nil {
		panic(err) // strings and numbers: there is nothing that could fail
	}
	return b
}

// HashWorld returns the hash by which w's successor names it.
func HashWorld(w *World) Hash { return sha256.Sum256(EncodeWorld(w)) }

// DecodeWorld is the inverse of EncodeWorld, for documents from disk and from peers. Its errors are those of DecodeTable. The result is always valid, and each member's descriptor is signed
// with the key that it names.
func DecodeWorld(b []byte) (*World, error) {
	const op = "decode world document"
	d, newer, err := parseStrictly[worldDocument](b, worldFormat)
	if err != nil {
		return nil, &Error{Op: op, Kind: Corrupt, Message: "the text is not a world document"}
	}
	if newer {
		return nil, &Error{Op: op, Kind: Unavailable, Message: "the document was written by a newer version of concordat; upgrade this region"}
	}
	w, err := d.world()
	if err != nil {
		return nil, &Error{Op: op, Kind: Corrupt, Err: err}
	}
	if err := w.Validate(); err != nil {
		return nil, &Error{Op: op, Kind: Corrupt, Err: err}
	}
	return w, nil
}

func (d *worldDocument) world() (*World, error) {
	w := &World{Owner: d.Owner}
	var err error
	if w.Version, err = parseVersion(d.Epoch, d.Number); err != nil {
		return nil, err
	}
	if w.Predecessor, err = parsePredecessor(d.Predecessor); err != nil {
		return nil, err
	}
	for _, m := range d.Members {
		member := Member{Token: m.Descriptor, State: m.State, Incarnation: m.Incarnation}
		if member.Descriptor, err = ParseDescriptor(m.Descriptor); err != nil {
			return nil, err
		}
		if member.Since, err = parseVersion(m.SinceEpoch, m.SinceNumber); err != nil {
			return nil, err
		}
		w.Members = append(w.Members, member)
	}
	return w, nil
}

// parseStrictly tells a document of a newer release from a broken one: it reads the format first, leniently, then everything strictly.
func parseStrictly[T any](b []byte, known int) (d T, newer bool, err error) {
	var format struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(b, &format); err != nil {
		return d, false, err
	}
	if format.Format > known {
		return d, true, nil
	}
	if format.Format < 1 {
		return d, false, io.ErrUnexpectedEOF
	}
	var lenient T
	if err := json.Unmarshal(b, &lenient); err != nil {
		return d, false, err
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	// What is well-formed leniently and not strictly has a field that is not known.
	return lenient, dec.Decode(&d) != nil, nil
}

func parseVersion(epoch uint32, number uint64) (Version, error) {
	v := MakeVersion(epoch, number)
	if v.Epoch() != epoch || v.Number() != number {
		return 0, &Error{Op: "check version", Kind: Invalid, Message: "epoch or number is out of range"}
	}
	return v, nil
}

// parsePredecessor is the inverse of hex.EncodeToString; empty is zero.
func parsePredecessor(s string) (h Hash, err error) {
	if s == "" {
		return h, nil
	}
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(h) {
		return h, &Error{Op: "check predecessor", Kind: Invalid}
	}
	return Hash(b), nil
}
