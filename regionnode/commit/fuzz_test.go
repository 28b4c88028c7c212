package commit

import (
	"bytes"
	"testing"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode/store"
	"github.com/concordat-db/concordat/streams/change"
)

// FuzzRemoteBody: a peer's body of any bytes is applied or refused as a whole, and what is stored agrees with itself.
func FuzzRemoteBody(f *testing.F) {
	o := newOrigin(peer, withPeer.Lane())
	o.clock = 1 << 20
	f.Add(o.remote([]conflict.Change{o.changeOf(tableA, "k", "1"), o.changeOf(tableA, "k", ""), o.changeOf(tableB, "l", "2")}).Entries[0].Body)
	f.Add(o.remote([]conflict.Change{o.changeOf(0x4711, "k", "1")}).Entries[0].Body)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, body []byte) {
		g := open(t, store.NewMemory())
		m := NewManual(g.Shard)
		r := &Remote{Source: o.source}
		h := change.Seal(globaltable.Chain{}, 1, body, 1, 0)
		r.Entries = []change.Entry{{Header: h, Body: body}}
		r.Position = globaltable.Position{Incarnation: o.source.Incarnation, Seq: 1, Chain: h.Chain}
		var result error
		answers := 0
		m.ApplyRemote(r, func(_ RemoteResult, err error) { result, answers = err, answers+1 })
		m.Settle()
		if answers != 1 {
			t.Fatalf("%d answers", answers)
		}
		if applied := g.Position(o.source).Seq == 1; applied != (result == nil) {
			t.Fatalf("applied: %v, answer: %v", applied, result)
		}
		checkStore(t, g.engine, someRecords)
	})
}

// FuzzStoredValues: no decoder of a stored value panics, and what one accepts it would have made.
func FuzzStoredValues(f *testing.F) {
	f.Add(identity{1, 2, 3}.append(nil))
	f.Add(appendPosition(nil, globaltable.Position{Incarnation: 1, Seq: 2}))
	f.Add(appendLaneHead(nil, 7, everywhere))
	f.Add((&Digest{1, 2, 3}).appendTo(nil))
	f.Add((&tablePurge{frontier: 1, under: 9, waiting: 2}).append(nil))
	f.Add((&tablePurge{frontier: 1, under: 9, waiting: 2, expiring: 3, keys: garbageKeys{made: 4, making: 5, cursor: []byte("k")}}).append(nil))
	f.Add(appendOwnWrite(nil, &conflict.Change{Table: 7, Key: []byte("key"), Dot: hlc.Stamp{Time: 5, Origin: 3}, Ops: []conflict.Op{{Kind: conflict.OpReset}}}))
	f.Add((&streamState{view: globaltable.ViewOldImage, trimmed: 1, last: 2, records: 3, bytes: 4, lanes: []globaltable.LaneID{5, 6}}).append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		check := func(err error, again []byte) {
			if err == nil && !bytes.Equal(again, b) {
				t.Fatalf("%x decodes to what encodes as %x", b, again)
			}
		}
		id, err := decodeIdentity(b)
		check(err, id.append(nil))
		p, err := decodePosition(b)
		check(err, appendPosition(nil, p))
		trimmed, placement, err := decodeLaneHead(b)
		check(err, appendLaneHead(nil, trimmed, placement))
		d, err := decodeDigest(b)
		check(err, d.appendTo(nil))
		if purge, err := decodePurge(b); err == nil {
			check(nil, purge.append(nil))
		}
		if state, err := decodeStreamState(b); err == nil {
			check(nil, state.append(nil))
		}
		if w, err := decodeOwnWrite(b); err == nil {
			again := appendOwnWrite(nil, &w.Change)
			if w.Kept {
				again[1] = 1
			}
			check(nil, again)
		}
	})
}

// TestStoredForms pins the bytes of the store's values: an old store has to open for ever.
func TestStoredForms(t *testing.T) {
	for name, c := range map[string]struct{ got, want []byte }{
		"identity":  {identity{hlc.Origin(0x0102), 3, 4}.append(nil), []byte{1, 1, 2, 0, 3, 0, 0, 0, 0, 0, 0, 0, 4}},
		"position":  {appendPosition(nil, globaltable.Position{Incarnation: 1, Seq: 2, Chain: globaltable.Chain{9}}), append([]byte{0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 9}, make([]byte, 31)...)},
		"lane head": {appendLaneHead(nil, 5, withPeer), []byte{1, 0, 0, 0, 0, 0, 0, 0, 5, 0, 1, 0, 2}},
		"digest":    {(&Digest{1, 2, 3}).appendTo(nil), []byte{0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3}},
		"confirmed": {confirmedAt{1, 2}.append(nil), []byte{0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2}},
		"purge":     {(&tablePurge{frontier: 1, under: 9, waiting: 2}).append(nil), []byte{0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 9}},
		"expiring": {(&tablePurge{frontier: 1, under: 9, waiting: 2, expiring: 3, keys: garbageKeys{made: 4, making: 5, cursor: []byte("k")}}).append(nil), []byte{0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 9,
			0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 5, 'k'}},
		"stream": {(&streamState{view: globaltable.ViewNewAndOldImages, trimmed: 1, last: 2, records: 3, bytes: 4, lanes: []globaltable.LaneID{5, 6}}).append(nil),
			[]byte{1, 3, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 6}},
		"stream key":       {store.AppendStreamKey(nil, 1, 2, 3, 4), []byte{13, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 4}},
		"stream state key": {store.AppendStreamStateKey(nil, 1, 2), []byte{7, 17, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2}},
		"record key":       {store.AppendRecordKey(nil, 1, []byte{9}), []byte{1, 0, 0, 0, 0, 0, 0, 0, 1, 9}},
		"log key":          {store.AppendLogKey(nil, 1, 2), []byte{2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2}},
	} {
		if !bytes.Equal(c.got, c.want) {
			t.Errorf("%s: %x, want %x", name, c.got, c.want)
		}
	}
}

// TestConfirmationOfTheFirstRelease is one without the store that gave it.
func TestConfirmationOfTheFirstRelease(t *testing.T) {
	if a, err := decodeConfirmed([]byte{0, 0, 0, 0, 0, 0, 0, 5}); err != nil || a != (confirmedAt{seq: 5}) {
		t.Errorf("%+v, %v", a, err)
	}
}
