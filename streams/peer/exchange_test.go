package peer_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"testing"

	"github.com/cespare/xxhash/v2"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/streams/peer"
	"github.com/concordat-db/concordat/streams/repair"
)

// stored are the records of the one table that can be exchanged: one is larger than a message, and the last than two. Their encoding is that of package repair.
func stored() (b []byte) {
	for i, size := range []int{10, 1 << 20, 0, 5 << 19} {
		b = append(binary.AppendUvarint(b, 2), 'k', byte(i))
		b = append(binary.AppendUvarint(b, uint64(size)), bytes.Repeat([]byte{byte(i)}, size)...)
	}
	return b
}

func (r *region) exchange(_ context.Context, asker globaltable.Descriptor, q *repair.Request) ([]byte, repair.End, error) {
	if q.Table != 42 {
		return nil, repair.End{}, &globaltable.Error{Op: "answer exchange", Resource: asker.Name, Kind: globaltable.Denied, Message: "no such table"}
	}
	b := stored()
	return b, repair.End{Incarnation: r.log.incarnation, Items: 3, Done: true, Sum: xxhash.Sum64(b)}, nil
}

func TestExchangeCarriesLargeRecords(t *testing.T) {
	onEachBus(t, func(t *testing.T, s *story) {
		s.connect()
		p, err := s.client().Exchange(t.Context(), &repair.Request{Table: 42, MaxBytes: 1})
		if err != nil {
			t.Fatal(err)
		}
		if len(p.Records) != 4 || p.Size() != 8+10+1<<20+5<<19 || p.Items != 3 || !p.Done || p.Incarnation != s.eu.log.incarnation {
			t.Errorf("%d records, %d bytes, %+v", len(p.Records), p.Size(), p.End)
		}
		for i, r := range p.Records {
			if string(r.Key) != string([]byte{'k', byte(i)}) || !bytes.Equal(r.Bytes, bytes.Repeat([]byte{byte(i)}, len(r.Bytes))) {
				t.Errorf("record %d differs", i)
			}
		}
		_, err = s.client().Exchange(t.Context(), &repair.Request{Table: 43})
		expectKind(t, err, globaltable.Denied, "no such table")
	})
}

func (r *region) digests(_ context.Context, asker globaltable.Descriptor, q *repair.DigestsRequest) (*repair.Digests, error) {
	if q.Table != 42 {
		return nil, &globaltable.Error{Op: "answer digests", Resource: asker.Name, Kind: globaltable.Unavailable, Message: "another version"}
	}
	return &repair.Digests{Marks: map[hlc.Origin]hlc.Timestamp{eu: 1 << 60, us: 7}, Parts: make([]byte, 16*(q.To-q.From))}, nil
}

func (r *region) repair(_ context.Context, asker globaltable.Descriptor, q *repair.RepairRequest) error {
	if q.Table != 42 || len(q.Buckets) != 2 {
		return &globaltable.Error{Op: "answer repair", Resource: asker.Name, Kind: globaltable.Invalid, Message: "too many buckets"}
	}
	return nil
}

func TestDigestsAndRepair(t *testing.T) {
	onEachBus(t, func(t *testing.T, s *story) {
		s.connect()
		d, err := s.client().Digests(t.Context(), &repair.DigestsRequest{Table: 42, Version: 3, From: 960, To: 1024})
		if err != nil || len(d.Parts) != 1024 || d.Marks[eu] != 1<<60 || d.Marks[us] != 7 {
			t.Errorf("%+v, %v", d, err)
		}
		_, err = s.client().Digests(t.Context(), &repair.DigestsRequest{Table: 43})
		expectKind(t, err, globaltable.Unavailable, "another version")
		if err := s.client().Repair(t.Context(), &repair.RepairRequest{Table: 42, Buckets: []int{1, 1023}}); err != nil {
			t.Error(err)
		}
		err = s.client().Repair(t.Context(), &repair.RepairRequest{Table: 42})
		expectKind(t, err, globaltable.Invalid, "too many buckets")
	})
}

func TestBadPagesAreErrors(t *testing.T) {
	end := func(b string) string {
		out, err := json.Marshal(repair.End{Done: true, Sum: xxhash.Sum64String(b)})
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	flood := make([][]byte, repair.MaxAnswer>>20+1)
	for i := range flood {
		flood[i] = append([]byte{records}, make([]byte, 1<<20)...)
	}
	for name, c := range map[string]struct {
		parts [][]byte
		text  string
	}{
		"no end":              {[][]byte{part(records, "\x01k\x00")}, "no end"},
		"nothing":             {nil, "no end"},
		"two ends":            {[][]byte{part(document, end("")), part(document, end(""))}, "another form"},
		"records after it":    {[][]byte{part(document, end("")), part(records, "\x01k\x00")}, "another form"},
		"an entry":            {[][]byte{part(entry, "x")}, "another form"},
		"an end unread":       {[][]byte{part(document, "{")}, "cannot be read"},
		"a part lost":         {[][]byte{part(records, "\x01k"), part(document, end("\x01k\x00"))}, "damaged"},
		"more than there is":  {flood, "larger than a page"},
		"what is not records": {[][]byte{part(records, "\x09k"), part(document, end("\x09k"))}, "cannot be read"},
	} {
		p, err := peer.NewClient(answers{parts: c.parts}).Exchange(t.Context(), &repair.Request{Table: 42, MaxBytes: 1})
		if p != nil {
			t.Errorf("%s: a page", name)
		}
		t.Run(name, func(t *testing.T) { expectKind(t, err, globaltable.Corrupt, c.text) })
	}
}
