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

// classify compares the records of one key in two replicas (nil: none). marksOf was taken before the record was read. Expiry and removals aside, which the canonical
// bytes leave out, what two replicas show of a key differs for one of three reasons: one has not got a write yet; one has lost a write; or equal writes have left
// other bytes. The first is no fault. A watermark tells it from the second: what is at or below it has been applied.
func classify(a []byte, marksOfA marks, b []byte, marksOfB marks) (verdict, error) {
	canonicalA, err := conflict.AppendCanonical(nil, a)
	if err != nil {
		return 0, err
	}
	canonicalB, err := conflict.AppendCanonical(nil, b)
	if err != nil {
		return 0, err
	}
	if bytes.Equal(canonicalA, canonicalB) {
		return equal, nil
	}
	recordA, err := decode(a)
	if err != nil {
		return 0, err
	}
	recordB, err := decode(b)
	if err != nil {
		return 0, err
	}
	both := conflict.Join(recordA, recordB)
	late := false
	for _, side := range []struct {
		record conflict.Record
		marks  marks
	}{{recordA, marksOfA}, {recordB, marksOfB}} {
		for _, dot := range missing(&side.record, &both) {
			if dot.Time <= side.marks[dot.Origin] {
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

// missing returns the dots that both has and r has not.
func missing(r, both *conflict.Record) (dots []hlc.Stamp) {
	if r.Reset.Stamp.Compare(both.Reset.Stamp) < 0 {
		dots = append(dots, both.Reset.Stamp)
	}
	i := 0
	for _, c := range both.Cells { // both are sorted by name
		for i < len(r.Cells) && bytes.Compare(r.Cells[i].Name, c.Name) < 0 {
			i++
		}
		if i == len(r.Cells) || !bytes.Equal(r.Cells[i].Name, c.Name) || r.Cells[i].Stamp.Compare(c.Stamp) < 0 {
			dots = append(dots, c.Stamp)
		}
	}
	return dots
}
