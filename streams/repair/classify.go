package repair

import (
	"bytes"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
)

// verdict is what two replicas' records of one key are to each other.
type verdict uint8

const (
	equal    verdict = iota
	inFlight         // one lacks a write that may still be on its way
	diverged         // one lacks a write that it has had, or both have the same writes and other bytes
)

// marks says up to where a replica has certainly applied what each origin wrote.
type marks map[hlc.Origin]hlc.Timestamp

// side is one replica's record of a key (nil: none), and what is known of the replica.
type side struct {
	record []byte
	marks  marks         // taken before the record was read
	purge  hlc.Timestamp // the replica's purge frontier, taken after: what it has collected went at or below it
}

// classify compares the records of one key in two replicas, as of one moment after both were read. Removals aside, which the canonical
// bytes leave out, what two replicas show of a key differs for one of three reasons: one has not got a write yet; one has lost a write; or equal writes have left
// other bytes. The first is no fault. A watermark tells it from the second: what is at or below it has been applied. A deletion or the removal of an attribute that a side lacks is no
// fault either when it was to be collected there.
func classify(a, b side) (verdict, error) {
	canonicalA, err := conflict.AppendCanonical(nil, a.record)
	if err != nil {
		return 0, err
	}
	canonicalB, err := conflict.AppendCanonical(nil, b.record)
	if err != nil {
		return 0, err
	}
	if bytes.Equal(canonicalA, canonicalB) {
		return equal, nil
	}
	recordA, err := decode(a.record)
	if err != nil {
		return 0, err
	}
	recordB, err := decode(b.record)
	if err != nil {
		return 0, err
	}
	both := conflict.Join(recordA, recordB)
	late := false
	for _, s := range []struct {
		side
		record conflict.Record
	}{{a, recordA}, {b, recordB}} {
		for _, dot := range s.record.Missing(&both, s.purge) {
			if dot.Time <= s.marks[dot.Origin] {
				return diverged, nil
			}
			late = true
		}
	}
	if late {
		return inFlight, nil
	}
	return diverged, nil
}

func decode(encoded []byte) (conflict.Record, error) {
	if len(encoded) == 0 {
		return conflict.Record{}, nil
	}
	return conflict.DecodeRecord(encoded)
}
