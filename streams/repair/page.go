// Package repair brings a region what another one holds: whole records, tombstones included, read from the other's store and merged here by the one merge.
//
// # Joining
//
// A new replica follows the lanes of the others in the ordinary way: from the moment at which a replica adopts the version that brings the new one, it
// places all its changes of the table in a lane of the new one's. What a replica held before that moment no lane brings, so the new one exchanges with
// each of them: it asks for the table's records, page by page in the order of keys.
//
// The source keeps nothing between two pages and reads its store as it is. What changes behind the cursor is in a lane that the new replica follows; what changes before
// it comes by both, and merging twice is merging once. That holds while
//
//   - each source has adopted the version before its first page: it refuses to answer otherwise;
//   - all sources have adopted it before the first page of any: from then on none of them collects tombstones of the table (the catalog says that a replica
//     is being created). Without this, source A could be read before it has got a deletion, and source B after it has collected that deletion's tombstone:
//     the item would rise again in the new replica;
//   - every source is read: one may have written what no other has got yet. A region out of reach holds the join up.
//
// How far it has got with each source is kept in the store, after the records. A crash of either side costs a page.
//
// core.go decides what to ask next and is pure; run.go asks, merges and keeps; server.go answers.
package repair

import (
	"bytes"
	"context"
	"encoding/binary"

	"github.com/cespare/xxhash/v2"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/streams/change"
)

const (
	maxKey    = 16 << 10                     // bytes
	maxRecord = 2 * change.MaxBody           // bytes: merges of the greatest items have room
	maxCount  = 1 << 15                      // records of a page
	maxPage   = 4 << 20                      // bytes of a page, its last record aside
	MaxAnswer = maxPage + maxRecord + maxKey // bytes of the records in an answer
)

// Request asks a replica for records of a table with keys in (After, Before), ascending.
type Request struct {
	Table    globaltable.TableID `json:"table"`
	Since    globaltable.Version `json:"since"`              // the source must have adopted this version or a later one
	After    []byte              `json:"after,omitempty"`    // empty: from the first key
	Before   []byte              `json:"before,omitempty"`   // empty: to the last
	MaxBytes int                 `json:"maxBytes,omitempty"` // about; at least one record comes if there is one. 0: none, only whether the source is ready
	Gained   bool                `json:"gained,omitempty"`   // only of items that the asker may have by a change of policies, and has not got yet
}

// End says what the records of an answer were. Everything in them was durable at the source before it answered.
type End struct {
	Incarnation globaltable.Incarnation `json:"incarnation"` // of the source
	Items       int64                   `json:"items"`       // live items that the source has of the table
	Done        bool                    `json:"done"`        // the page reached Before
	// Cursor, if it is not empty, is up to where the source has read, where that is beyond the last record: it has passed over many that the asker may not have, and tells of their keys no more than their bucket.
	Cursor []byte        `json:"cursor,omitempty"`
	Sum    uint64        `json:"sum"`            // xxhash64 of the records' encoding
	Purge  hlc.Timestamp `json:"purge"`          // the source's purge frontier of the table after it read the records: what went at or below it may not be among them
	Feed   hlc.Timestamp `json:"feed,omitempty"` // that of the table's conflict feed: who replays into the table lists there before it gets the feed
}

// Record is one key's record. Its bytes are shared with the page.
type Record struct {
	Key   item.Key
	Bytes []byte // encoded conflict record
}

// Giver is the region that records came from, and the life of its store.
type Giver struct {
	Origin      hlc.Origin
	Incarnation globaltable.Incarnation
}

// Page is an answer.
type Page struct {
	End
	Records []Record
}

// Size returns the bytes of the page's keys and records.
func (p *Page) Size() (n int) {
	for _, r := range p.Records {
		n += len(r.Key) + len(r.Bytes)
	}
	return n
}

// Peers asks other regions. There, a Server answers.
type Peers interface {
	// Exchange asks a region for a page. The error is of kind Unavailable when it cannot be reached, or cannot answer yet.
	Exchange(ctx context.Context, region string, r *Request) (*Page, error)
}

// AppendRecord appends a record to those of a page, as DecodePage takes them.
func AppendRecord(dst, key, record []byte) []byte { return appendRecord(dst, key, record) }

func appendRecord(dst, key, record []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(key)))
	dst = append(dst, key...)
	dst = binary.AppendUvarint(dst, uint64(len(record)))
	return append(dst, record...)
}

// DecodePage checks records, as they came, against end and against what was asked for, and takes them over. Whether each is a record is for the store to check.
func DecodePage(r *Request, records []byte, end End) (*Page, error) {
	if xxhash.Sum64(records) != end.Sum {
		return nil, corrupt("a page was damaged on its way")
	}
	p := &Page{End: end}
	last := r.After
	for len(records) > 0 {
		key, rest, ok := cutBytes(records, maxKey)
		if !ok {
			return nil, corrupt("a page cannot be read")
		}
		record, rest, ok := cutBytes(rest, maxRecord)
		if !ok {
			return nil, corrupt("a page cannot be read")
		}
		if bytes.Compare(key, last) <= 0 || len(r.Before) > 0 && bytes.Compare(key, r.Before) >= 0 {
			return nil, corrupt("a page has keys that were not asked for, or not in order")
		}
		if len(p.Records) == maxCount {
			return nil, corrupt("a page has too many records")
		}
		p.Records = append(p.Records, Record{Key: item.Key(key), Bytes: record})
		last, records = key, rest
	}
	switch {
	case len(end.Cursor) > 0 && (end.Done || bytes.Compare(end.Cursor, last) <= 0 || len(r.Before) > 0 && bytes.Compare(end.Cursor, r.Before) >= 0):
		return nil, corrupt("a page ends where it cannot")
	case len(end.Cursor) == 0 && len(p.Records) == 0 && !end.Done && r.MaxBytes > 0:
		return nil, corrupt("a page without records is not the last")
	}
	return p, nil
}

// upTo returns up to where a page that is not the last one has everything.
func (p *Page) upTo() []byte {
	if len(p.Cursor) > 0 {
		return p.Cursor
	}
	return p.Records[len(p.Records)-1].Key
}

// cutBytes cuts a length and as many bytes off b.
func cutBytes(b []byte, limit uint64) (part, rest []byte, ok bool) {
	n, size := binary.Uvarint(b)
	if size <= 0 || n > limit || n > uint64(len(b)-size) {
		return nil, nil, false
	}
	b = b[size:]
	return b[:n:n], b[n:], true
}

func corrupt(message string) error {
	return &globaltable.Error{Op: "exchange", Kind: globaltable.Corrupt, Message: message}
}
