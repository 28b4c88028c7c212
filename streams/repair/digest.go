package repair

import (
	"context"
	"encoding/binary"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/globaltable/locality"
)

const (
	bucketBits = 10
	boundLen   = 8 // of a bucketBound
	// Buckets is how many parts a table has for comparing, by the top bits of its keys' hashes.
	Buckets = 1 << bucketBits
	// rangeBuckets bounds the buckets of one answer, and with them the time it takes.
	rangeBuckets = 64
)

// DigestsRequest asks a replica what it has in the buckets [From, To) of a table.
type DigestsRequest struct {
	Table   globaltable.TableID `json:"table"`
	Version globaltable.Version `json:"version"` // of the asker's document: both must have the same
	From    int                 `json:"from"`
	To      int                 `json:"to"` // at most 64 after From
	At      hlc.Timestamp       `json:"at"` // the moment as of which items have expired or not: the asker's time
	// Background says that nobody waits for the answer: it is refused, with kind LimitExceeded, when enough was read for such requests lately.
	Background bool `json:"background,omitempty"`
}

// Digests is the answer.
type Digests struct {
	// Marks are the HLCs, by origin, up to which everything was applied before the records were read.
	Marks map[hlc.Origin]hlc.Timestamp `json:"marks"`
	// Parts has sum and count of the live records of each bucket that both regions may hold, 16 bytes each, big-endian. They are computed from the records, not taken from the digests that the
	// store keeps: what was changed behind the store's back shows.
	Parts []byte `json:"parts"`
	Bytes int64  `json:"bytes"` // of the keys and records that were read
}

// bucketDigest sums up a bucket: independent of order, equal in replicas that agree.
type bucketDigest struct{ sum, count uint64 }

func (d *Digests) bucket(i int) bucketDigest {
	return bucketDigest{binary.BigEndian.Uint64(d.Parts[16*i:]), binary.BigEndian.Uint64(d.Parts[16*i+8:])}
}

// bucketBound returns the bound of keys before bucket b: exclusive below, and after the bucket before. Nil is before the first bucket, and after the last.
func bucketBound(b int) []byte {
	if b == 0 || b == Buckets {
		return nil
	}
	// No key has the length of a hash alone.
	return binary.BigEndian.AppendUint64(nil, uint64(b)<<(64-bucketBits))
}

// Digests answers a request for digests of what this region and the asker may both hold. The error is of kind Unavailable when this region has another version of the table.
func (s *Server) Digests(ctx context.Context, asker globaltable.Descriptor, r *DigestsRequest) (*Digests, error) {
	if r.Table == globaltable.SystemTable || r.From < 0 || r.To > Buckets || r.From >= r.To || r.To-r.From > rangeBuckets {
		return nil, &globaltable.Error{Op: "answer digests", Kind: globaltable.Invalid, Message: "the request is for what cannot be compared"}
	}
	view := s.catalog.View()
	table, known := view.Table(r.Table)
	switch {
	case !known || table.Version != r.Version:
		return nil, &globaltable.Error{Op: "answer digests", Resource: r.Table.String(), Kind: globaltable.Unavailable,
			Message: "region " + view.Self().Name + " has another version of the table's document"}
	case locality.Decide(table, nil, view.Self().Origin, locality.Admit) != locality.Permit:
		return nil, denied(&Request{Table: r.Table}, "region "+view.Self().Name+" has no active replica of the table")
	case locality.Decide(table, nil, asker.Origin, locality.Send) != locality.Permit:
		return nil, denied(&Request{Table: r.Table}, "region "+asker.Name+" has no replica of the table")
	}
	if r.Background && !s.background.ready() {
		return nil, &globaltable.Error{Op: "answer digests", Resource: r.Table.String(), Kind: globaltable.LimitExceeded,
			Message: "region " + view.Self().Name + " has read enough for comparisons in the background lately"}
	}
	self := view.Self().Origin
	d := &Digests{Marks: map[hlc.Origin]hlc.Timestamp{}}
	if s.marks != nil {
		d.Marks = s.marks() // before the records
	}
	parts := make([]bucketDigest, r.To-r.From)
	// An item that has expired is not live, but may have been erased by one of the two already.
	var failed error
	var buf []byte
	err := s.source.Records(ctx, r.Table, bound(bucketBound(r.From)), bound(bucketBound(r.To)), func(key item.Key, record []byte) bool {
		d.Bytes += int64(len(key) + len(record))
		if !locality.Both(table, key, self, asker.Origin) {
			return true
		}
		expired, sum, live := false, uint64(0), false
		var x conflict.Expiry
		if x, failed = table.KeySchema.ExpiryOf(table.Expiry, key); failed == nil {
			if buf, expired, failed = x.Expire(buf[:0], record, r.At); failed == nil && expired {
				record = buf
			}
		}
		if failed == nil {
			sum, live, failed = conflict.Digest(key, record)
		}
		if failed != nil {
			return false
		}
		if live {
			p := &parts[key.Bucket(bucketBits)-r.From]
			p.sum += sum
			p.count++
		}
		return true
	})
	if err == nil && failed != nil {
		err = &globaltable.Error{Op: "answer digests", Resource: r.Table.String(), Kind: globaltable.Corrupt, Message: "a record cannot be read", Err: failed}
	}
	if r.Background {
		s.background.note(int(d.Bytes))
	}
	for _, p := range parts {
		d.Parts = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(d.Parts, p.sum), p.count)
	}
	return d, err
}

// check makes sure that an answer fits its question.
func (d *Digests) check(r *DigestsRequest) error {
	if len(d.Parts) != 16*(r.To-r.From) {
		return corrupt("digests of other buckets than asked for")
	}
	return nil
}
