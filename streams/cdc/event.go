package cdc

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strconv"
	"time"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
)

// The types of events (CloudEvents 1.0, attribute type).
const (
	TypeInsert = "concordat.item.insert"
	TypeModify = "concordat.item.modify"
	TypeRemove = "concordat.item.remove"
)

// Type returns the type of the events that tell e.
func (e Event) Type() string {
	switch e {
	case Insert:
		return TypeInsert
	case Modify:
		return TypeModify
	}
	return TypeRemove
}

// Teller turns stream records of one table into events.
type Teller struct {
	Table  *globaltable.Table
	Region string                  // that tells
	Name   func(hlc.Origin) string // of a region; empty for one that is not known
}

// ID returns the id of the event that a record is: the same for ever, and in every region, and different for every other change. It tells nothing of the key but to who has the table's secret (PROTOCOL 10.1).
//
// A copy is what one region had missed, which no other had to miss, and several copies may bring it, part after part, with the same newest write. So the id of a copy has the region, and the position in its stream.
func (t *Teller) ID(r *Record) string {
	return string(t.AppendID(make([]byte, 0, 80), r))
}

// kinds are the last letters of ids.
var kinds = [...]byte{Write: 'w', Expired: 'x', Copied: 'c'}

// AppendID appends ID.
func (t *Teller) AppendID(dst []byte, r *Record) []byte {
	hash := t.keyHash(r.Key)
	dst = append(appendHex(dst, uint64(t.Table.ID), 16), '-')
	dst = append(hex.AppendEncode(dst, hash[:]), '-')
	dst = append(appendHex(dst, uint64(r.Dot.Time), 16), '-')
	dst = append(appendHex(dst, uint64(r.Dot.Origin), 4), '-')
	dst = append(dst, kinds[r.Kind])
	if r.Kind == Copied {
		dst = append(append(append(dst, '-'), t.Region...), '-')
		dst = appendHex(dst, uint64(r.Position), 16)
	}
	return dst
}

// appendHex appends the last digits of n.
func appendHex(dst []byte, n uint64, digits int) []byte {
	for shift := 4 * (digits - 1); shift >= 0; shift -= 4 {
		dst = append(dst, "0123456789abcdef"[n>>shift&15])
	}
	return dst
}

// KeyHash returns what stands for a key where it must not be known: the same for the same key, in every region.
func (t *Teller) KeyHash(key item.Key) []byte {
	hash := t.keyHash(key)
	return hash[:]
}

// keyHash is the beginning of the HMAC-SHA-256 (RFC 2104) of table and key. It is written out since crypto/hmac allocates eight times, and each record that is read gets an id.
func (t *Teller) keyHash(key item.Key) (hash [12]byte) {
	var memory [sha256.BlockSize + 8 + 512]byte // for what is longer append finds some
	padded := func(pad byte) []byte {
		block := memory[:sha256.BlockSize]
		clear(block)
		copy(block, t.Table.Stream.Secret) // shorter than a block
		for i := range block {
			block[i] ^= pad
		}
		return block
	}
	inner := sha256.Sum256(append(binary.BigEndian.AppendUint64(padded(0x36), uint64(t.Table.ID)), key...))
	outer := sha256.Sum256(append(padded(0x5c), inner[:]...))
	copy(hash[:], outer[:])
	return hash
}

// Sequence is a position as clients and events have it: 21 digits, which sort as texts as they do as numbers.
func Sequence(at hlc.Timestamp) string { return string(AppendSequence(nil, at)) }

// AppendSequence appends Sequence.
func AppendSequence(dst []byte, at hlc.Timestamp) []byte {
	digits := [21]byte{'1'}
	for i, n := len(digits)-1, uint64(at); i > 0; i, n = i-1, n/10 {
		digits[i] = '0' + byte(n%10)
	}
	return append(dst, digits[:]...)
}

// ParseSequence is the inverse of Sequence.
func ParseSequence(s string) (at hlc.Timestamp, ok bool) {
	if len(s) != 21 || s[0] != '1' {
		return 0, false
	}
	n, err := strconv.ParseUint(s[1:], 10, 64)
	return hlc.Timestamp(n), err == nil
}

// AppendEvent appends the record as a CloudEvent in the JSON format (CloudEvents 1.0.2, JSON Event Format), without a line's end. Beside the attributes that every event has it has these, all texts:
//
//	origin       the region in which the change was made
//	region       the region that tells
//	sequence     the position in that region's stream: texts that sort in its order. Of two events of a region about a key the one with the greater text has the later state
//	stamp        the newest stamp of the item: of two events about a key, of any regions, the one with the greater text has the later state. It may be the same for several states, where a merge brought something older than what was there
//	keyhash      what stands for the item's key; events with the same one are about the same item
//	kind         write, expiry or copy
//	outcome      applied, merged or partly lost
//	transaction  of the changes of a transaction, the same; not there for others
//
// So a sink that keeps the newest state of each item remembers the stamp of its state, and the greatest sequence of each region, and passes over an event whose stamp is less, or whose sequence is not greater than that of its region.
//
// The data are {"table", "keys", "old", "new"}: items as the DynamoDB API writes them; an image that there is not, or that the stream's view does not have, is missing.
func (t *Teller) AppendEvent(dst []byte, r *Record) ([]byte, error) {
	keys, err := t.Table.KeySchema.AppendItem(nil, r.Key)
	if err != nil {
		return dst, err
	}
	text := func(name, value string) {
		dst = item.AppendJSONString(append(append(append(dst, ',', '"'), name...), '"', ':'), value)
	}
	dst = append(dst, `{"specversion":"1.0","id":"`...)
	dst = append(t.AppendID(dst, r), '"')
	text("source", "concordat:"+t.Table.Name)
	text("type", r.Event.Type())
	text("time", r.Dot.Time.Time().Format(time.RFC3339Nano))
	text("origin", t.Name(r.Dot.Origin))
	text("region", t.Region)
	text("sequence", Sequence(r.Position))
	text("stamp", fmt.Sprintf("%016x%04x", uint64(r.Newest.Time), uint16(r.Newest.Origin)))
	text("keyhash", fmt.Sprintf("%x", t.KeyHash(r.Key)))
	text("kind", r.Kind.String())
	text("outcome", r.Outcome.String())
	if r.Transaction != 0 {
		text("transaction", fmt.Sprintf("%016x%04x", uint64(r.Transaction), uint16(r.Dot.Origin)))
	}
	text("datacontenttype", "application/json")
	dst = append(dst, `,"data":{"table":`...)
	dst = item.AppendJSONString(dst, t.Table.Name)
	dst = keys.AppendJSON(append(dst, `,"keys":`...))
	if r.Old != nil {
		dst = r.Old.AppendJSON(append(dst, `,"old":`...))
	}
	if r.New != nil {
		dst = r.New.AppendJSON(append(dst, `,"new":`...))
	}
	return append(dst, '}', '}'), nil
}
