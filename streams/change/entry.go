// Package change has the change log's entry and the message that carries it to peers: codecs, chain and fragments.
//
// An entry is what one commit group changed in one placement. Its body (a salt and the changes) may be erased later;
// its header stays, so that the chain can be checked over the gap:
//
//	stored   header ‖ body
//	message  envelope(origin, shard, incarnation, lane, floor) ‖ header ‖ fragment i of n of the body, compressed when it pays ‖ checksum
package change

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
)

const (
	// SaltLen is the length of the salt that begins a body: a low-entropy value cannot be guessed from the hash that a void header keeps.
	SaltLen = 16
	// LengthLen is the length of what precedes a change in a body.
	LengthLen = 4
	// MaxBody bounds a body in bytes: the largest transaction (4 MB of items) with room for the records' metadata.
	MaxBody = 8 << 20

	entryVersion  = 1
	flagVoid      = 1 << 0
	flagS2        = 1 << 1
	headerLen     = 1 + 1 + 8 + 32 + 32 + 8 + 4
	maxChangesLen = 1 << 24
)

// ErrTrimmed is returned by who reads a log below its beginning.
var ErrTrimmed = &globaltable.Error{Op: "read log", Kind: globaltable.NotFound, Message: "the log has been trimmed beyond the position asked for"}

// Header is what is kept of an entry even when its body has been voided.
type Header struct {
	Seq      uint64            // 1 for a lane's first entry of an incarnation, dense
	Chain    globaltable.Chain // the lane's chain with this entry
	BodyHash [32]byte          // SHA-256 of the body
	Last     hlc.Timestamp     // greatest stamp among the changes
	Changes  uint32            // number of changes in the body
	Void     bool              // the body has been erased
}

// Entry is one entry of a lane's log.
type Entry struct {
	Header
	Body []byte // nil when void
}

// NextChain returns the chain after an entry with the sequence and body hash given.
func NextChain(prev globaltable.Chain, seq uint64, bodyHash [32]byte) globaltable.Chain {
	var b [32 + 8 + 32]byte
	copy(b[:], prev[:])
	binary.BigEndian.PutUint64(b[32:], seq)
	copy(b[40:], bodyHash[:])
	return sha256.Sum256(b[:])
}

// Seal returns the header of the entry that follows prev in its lane and has the body given.
func Seal(prev globaltable.Chain, seq uint64, body []byte, changes int, last hlc.Timestamp) Header {
	h := Header{Seq: seq, BodyHash: sha256.Sum256(body), Last: last, Changes: uint32(changes)}
	h.Chain = NextChain(prev, seq, h.BodyHash)
	return h
}

// AppendBodySalt begins a body with the salt given.
func AppendBodySalt(dst []byte, salt [SaltLen]byte) []byte { return append(dst, salt[:]...) }

// AppendBodyChange appends one change to a body.
func AppendBodyChange(dst []byte, c *conflict.Change) []byte {
	at := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	dst = c.Append(dst)
	binary.BigEndian.PutUint32(dst[at:], uint32(len(dst)-at-4))
	return dst
}

// EachChange decodes a body and calls f with every change, which is valid during the call except for its byte views, which
// live as long as body.
func EachChange(body []byte, f func(*conflict.Change) error) error {
	if len(body) < SaltLen {
		return corrupt("body shorter than its salt")
	}
	var c conflict.Change
	for b := body[SaltLen:]; len(b) > 0; {
		if len(b) < 4 {
			return corrupt("body ends inside a length")
		}
		n := binary.BigEndian.Uint32(b)
		if uint64(n) > uint64(len(b)-4) {
			return corrupt("change longer than the body")
		}
		if err := conflict.DecodeChange(b[4:4+n], &c); err != nil {
			return err
		}
		if err := f(&c); err != nil {
			return err
		}
		b = b[4+n:]
	}
	return nil
}

// AppendEntry appends the stored form of e.
func AppendEntry(dst []byte, e *Entry) []byte {
	dst = appendHeader(dst, &e.Header, 0)
	return append(dst, e.Body...)
}

func appendHeader(dst []byte, h *Header, flags byte) []byte {
	if h.Void {
		flags |= flagVoid
	}
	dst = append(dst, entryVersion, flags)
	dst = binary.BigEndian.AppendUint64(dst, h.Seq)
	dst = append(dst, h.Chain[:]...)
	dst = append(dst, h.BodyHash[:]...)
	dst = binary.BigEndian.AppendUint64(dst, uint64(h.Last))
	return binary.BigEndian.AppendUint32(dst, h.Changes)
}

// DecodeEntry decodes the stored form. The body is a view of b.
func DecodeEntry(b []byte) (Entry, error) {
	h, flags, err := decodeHeader(b)
	if err != nil {
		return Entry{}, err
	}
	if flags&flagS2 != 0 {
		return Entry{}, corrupt("stored entry is compressed")
	}
	e := Entry{Header: h}
	if rest := b[headerLen:]; !h.Void {
		e.Body = rest
	} else if len(rest) > 0 {
		return Entry{}, corrupt("void entry with a body")
	}
	return e, nil
}

func decodeHeader(b []byte) (h Header, flags byte, err error) {
	if len(b) < headerLen {
		return Header{}, 0, corrupt("entry shorter than its header")
	}
	if b[0] != entryVersion {
		return Header{}, 0, corrupt(fmt.Sprintf("entry version %d is not known", b[0]))
	}
	flags = b[1]
	if flags&^(flagVoid|flagS2) != 0 {
		return Header{}, 0, corrupt("entry flags are not known")
	}
	h = Header{
		Void:    flags&flagVoid != 0,
		Seq:     binary.BigEndian.Uint64(b[2:]),
		Last:    hlc.Timestamp(binary.BigEndian.Uint64(b[74:])),
		Changes: binary.BigEndian.Uint32(b[82:]),
	}
	copy(h.Chain[:], b[10:42])
	copy(h.BodyHash[:], b[42:74])
	if h.Seq == 0 || h.Changes > maxChangesLen {
		return Header{}, 0, corrupt("entry header out of range")
	}
	return h, flags, nil
}

func corrupt(message string) error {
	return &globaltable.Error{Op: "decode change log entry", Kind: globaltable.Corrupt, Message: message}
}
