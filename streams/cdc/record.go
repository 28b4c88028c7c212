// Package cdc has the form of change streams (change data capture): what is told of a change, and how it is stored. It is pure. What makes stream records, keeps them and reads them is package commit; see ARCHITECTURE.md, "Change streams".
package cdc

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
)

// Stream names a change stream: a table's, in one region, from when it was switched on or the replica was made.
type Stream struct {
	Table globaltable.TableID
	Since int64 // Unix milliseconds, not negative; see globaltable.Table.StreamIn
}

// Kind says what changed an item. The numbers are part of the format.
type Kind uint8

// The kinds.
const (
	Write   Kind = 1 // a write: here, or in another region, whose change it is
	Expired Kind = 2 // its time to live
	Copied  Kind = 3 // a whole record of another region, which stands for all writes that this region had missed
)

func (k Kind) String() string {
	switch k {
	case Write:
		return "write"
	case Expired:
		return "expiry"
	case Copied:
		return "copy"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Event says what became of the item. The numbers are part of the format.
type Event uint8

// The events.
const (
	Insert Event = 1
	Modify Event = 2
	Remove Event = 3
)

// String returns DynamoDB's name.
func (e Event) String() string {
	switch e {
	case Insert:
		return "INSERT"
	case Modify:
		return "MODIFY"
	case Remove:
		return "REMOVE"
	}
	return fmt.Sprintf("event %d", uint8(e))
}

// Outcome says how the change met what was there. The numbers are part of the format.
type Outcome uint8

// The outcomes.
const (
	Applied Outcome = 0 // its writer had seen all that was there: the new image is what it wrote
	Merged  Outcome = 1 // it met writes that its writer had not seen; nothing of it was lost
	Partly  Outcome = 2 // it met such writes, and lost to some of them in part
)

func (o Outcome) String() string {
	switch o {
	case Applied:
		return "applied"
	case Merged:
		return "merged"
	case Partly:
		return "partly lost"
	}
	return fmt.Sprintf("outcome %d", uint8(o))
}

// Record is a stream record: what is told of one change of one item.
type Record struct {
	Position hlc.Timestamp      // in the stream; from the store's key
	Lane     globaltable.LaneID // of the item's placement, as it was; from the store's key

	Kind    Kind
	Event   Event
	Outcome Outcome
	// Dot is that of the write; of an expiry the moment, and the region that wrote what expired; of a copy that of its newest write. Its origin is where the change was made.
	Dot         hlc.Stamp
	Transaction hlc.Timestamp // what all changes of a transaction have in common, together with the origin; zero: none
	// Newest is the newest stamp of the item's record after the change; of an expiry its dot. Of two records of a key, of whatever regions, the one with the greater has the later state. With the same one, in one region, it is the one with the greater position: what comes
	// after a write with a greater stamp changes the item, and not its newest stamp.
	Newest   hlc.Stamp
	Key      item.Key
	Old, New item.Item // nil: there is none, or the stream's view does not want it
}

const (
	recordVersion = 1

	flagOld         = 1 << 4
	flagNew         = 1 << 5
	flagTransaction = 1 << 6
)

// MaxRecordLen bounds a stored record whose key has at most n bytes and whose images together have at most m.
func MaxRecordLen(n, m int) int { return 3 + 8 + 3*10 + 3*binary.MaxVarintLen32 + n + m }

// Append appends the stored form of r, which says nothing of position and lane.
func (r *Record) Append(dst []byte) []byte {
	flags := byte(r.Event)
	if r.Old != nil {
		flags |= flagOld
	}
	if r.New != nil {
		flags |= flagNew
	}
	if r.Transaction != 0 {
		flags |= flagTransaction
	}
	dst = append(dst, recordVersion, byte(r.Kind)|byte(r.Outcome)<<4, flags)
	dst = r.Newest.Append(r.Dot.Append(dst))
	if r.Transaction != 0 {
		dst = binary.BigEndian.AppendUint64(dst, uint64(r.Transaction))
	}
	dst = append(binary.AppendUvarint(dst, uint64(len(r.Key))), r.Key...)
	if r.Old != nil {
		dst = append(binary.AppendUvarint(dst, uint64(len(r.Old))), r.Old...)
	}
	return append(dst, r.New...)
}

var errRecord = errors.New("cdc: a stream record that cannot be read")

// Decode reads what Append wrote. Key and images are views of b. The items are not looked at.
func (r *Record) Decode(b []byte) error {
	const head = 3 + 10 + 10
	if len(b) < head || b[0] != recordVersion {
		return errRecord
	}
	*r = Record{Position: r.Position, Lane: r.Lane, Kind: Kind(b[1] & 0xf), Outcome: Outcome(b[1] >> 4), Event: Event(b[2] & 0xf)}
	flags := b[2]
	if r.Kind < Write || r.Kind > Copied || r.Outcome > Partly || r.Event < Insert || r.Event > Remove || flags&^0xf&^(flagOld|flagNew|flagTransaction) != 0 {
		return errRecord
	}
	r.Dot, _ = hlc.DecodeStamp(b[3:13])
	r.Newest, _ = hlc.DecodeStamp(b[13:head])
	b = b[head:]
	if flags&flagTransaction != 0 {
		if len(b) < 8 {
			return errRecord
		}
		if r.Transaction, b = hlc.Timestamp(binary.BigEndian.Uint64(b)), b[8:]; r.Transaction == 0 {
			return errRecord
		}
	}
	var ok bool
	var key, old []byte
	if key, b, ok = cut(b); !ok {
		return errRecord
	}
	r.Key = key
	if flags&flagOld != 0 {
		if old, b, ok = cut(b); !ok {
			return errRecord
		}
		r.Old = old
	}
	if flags&flagNew != 0 {
		r.New = b
	} else if len(b) > 0 {
		return errRecord
	}
	return nil
}

// cut takes a length and as many bytes from b.
func cut(b []byte) (part, rest []byte, ok bool) {
	n, used := binary.Uvarint(b)
	if used <= 0 || n > uint64(len(b)-used) || used > 1 && b[used-1] == 0 {
		return nil, nil, false
	}
	return b[used : used+int(n) : used+int(n)], b[used+int(n):], true
}

// Show drops the images that a view does not show.
func (r *Record) Show(view globaltable.StreamView) {
	if view != globaltable.ViewOldImage && view != globaltable.ViewNewAndOldImages {
		r.Old = nil
	}
	if view != globaltable.ViewNewImage && view != globaltable.ViewNewAndOldImages {
		r.New = nil
	}
}
