package conflict

import (
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/conflict/vector"
	"github.com/concordat-db/concordat/globaltable/item"
)

// Check checks the parts of c that DecodeChange does not: for changes from peers.
func (c *Change) Check() error { panic("unfinished") }

// Delta returns c as a record. It returns ErrUnsupported for operations that this version does not merge.
func (c *Change) Delta() (Record, error) { panic("unfinished") }

// DecodeRecord decodes b.
func DecodeRecord(b []byte) (Record, error) { panic("unfinished") }

// CheckRecord checks an encoded record from a peer, items and values included.
func CheckRecord(b []byte) error { panic("unfinished") }

// AppendRecord appends the encoding of r; nothing for the zero record.
func AppendRecord(dst []byte, r *Record) []byte { panic("unfinished") }

// Join is the one merge.
func Join(a, b Record) Record { panic("unfinished") }

// JoinEncoded appends the encoded join of two encoded records.
func JoinEncoded(dst, a, b []byte) ([]byte, error) { panic("unfinished") }

// ItemOf returns the item of an encoded record.
func ItemOf(encoded []byte) (it item.Item, live bool, err error) { panic("unfinished") }

// Apply joins a change into the encoded record current (empty: absent) and appends the outcome to dst.
func Apply(dst, current []byte, c *Change) (next []byte, r Result, err error) { panic("unfinished") }

// ApplyLocal is Apply for a write of this region: metadata at or below c.Floor goes.
func ApplyLocal(dst, current []byte, c *Change) (next []byte, r Result, err error) {
	panic("unfinished")
}

// ContextOf returns the context for a local write of self on the record current, at the purge frontier floor.
func ContextOf(current []byte, self hlc.Origin, floor hlc.Timestamp) (vector.Vector, error) {
	panic("unfinished")
}

// AppendCanonical appends the canonical bytes (PROTOCOL.md 6.1) of an encoded record; nothing unless it is live.
func AppendCanonical(dst, encoded []byte) ([]byte, error) { panic("unfinished") }

// Digest returns the record's part of its bucket's digest. live is false for a tombstone or an absent record: it adds nothing.
func Digest(key, encoded []byte) (sum uint64, live bool, err error) { panic("unfinished") }
