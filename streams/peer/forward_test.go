package peer_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"math/rand/v2"
	"os"
	"regexp"
	"testing"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/streams/bus"
	"github.com/concordat-db/concordat/streams/change"
	"github.com/concordat-db/concordat/streams/peer"
)

// forwardedTables are what requests that are forwarded are about.
var forwardedTables = []globaltable.TableID{42, 1 << 60}

func asked(operation string, parameters []byte) peer.ForwardRequest {
	return peer.ForwardRequest{Operation: operation, Tables: forwardedTables, Parameters: parameters}
}

// noise is n bytes that cannot be compressed.
func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b) // it never fails
	return b
}

// TestForward: requests and answers of any size go through whole, in as many pieces as they need.
func TestForward(t *testing.T) {
	requests := [][]byte{nil, []byte(`{"a":1}`), noise(1 << 20), bytes.Repeat([]byte("zero"), 1<<20), noise(5 << 20), noise(peer.MaxForward)}
	answers := [][]byte{[]byte("{}"), nil, noise(3 << 20), []byte("x"), noise(bus.MaxMessage), []byte("y")}
	for i, request := range requests {
		onEachBus(t, func(t *testing.T, s *story) {
			calls := 0
			s.eu.forwards = func(asker, operation string, parameters []byte) (peer.Forwarded, []byte, error) {
				calls++
				if asker != "us" || operation != "PutItem" || !bytes.Equal(parameters, request) {
					t.Errorf("%s forwards %s, %d bytes", asker, operation, len(parameters))
				}
				return peer.Forwarded{Status: 400, Siblings: 3, Undone: true}, answers[i], nil
			}
			s.connect()
			got, body, err := s.client().Forward(t.Context(), asked("PutItem", request))
			if err != nil || calls != 1 || got != (peer.Forwarded{Status: 400, Siblings: 3, Undone: true, Bytes: len(answers[i])}) || !bytes.Equal(body, answers[i]) {
				t.Errorf("%d bytes: %+v, %d bytes, %d calls, %v", len(request), got, len(body), calls, err)
			}
		})
	}
}

// TestForwardRefused: what was refused was not done, and the asker knows that.
func TestForwardRefused(t *testing.T) {
	s := newStory(t)
	s.eu.forwardless = true
	var parts [][]byte
	err := s.eu.service().Handle(t.Context(), "us", []byte(`{"v":1,"forward":{"pieces":1,"data":"AA=="}}`), func(p []byte) error {
		parts = append(parts, p)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = peer.NewClient(answers{parts: parts}).Forward(t.Context(), asked("GetItem", []byte("{}")))
	expectKind(t, err, globaltable.Unavailable, "takes no forwarded requests")
	_, _, err = peer.NewClient(answers{}).Forward(t.Context(), asked("GetItem", make([]byte, peer.MaxForward+1)))
	expectKind(t, err, globaltable.LimitExceeded, "too large")
	onEachBus(t, func(t *testing.T, s *story) {
		s.eu.forwards = func(string, string, []byte) (peer.Forwarded, []byte, error) {
			return peer.Forwarded{}, nil, &globaltable.Error{Op: "serve", Kind: globaltable.Unknown, Message: "a kind that cannot be here"}
		}
		s.connect()
		_, _, err := s.client().Forward(t.Context(), asked("GetItem", []byte("{}")))
		expectKind(t, err, globaltable.Internal, "cannot be here")
	})
	onEachBus(t, func(t *testing.T, s *story) {
		s.eu.forwards = func(string, string, []byte) (peer.Forwarded, []byte, error) {
			t.Error("done for a region that is not followed")
			return peer.Forwarded{}, nil, nil
		}
		s.eu.trusts = func(hlc.Origin, globaltable.Incarnation) (bool, globaltable.Version) { return false, 7 }
		s.connect()
		_, _, err := s.client().Forward(t.Context(), asked("GetItem", []byte("{}")))
		expectKind(t, err, globaltable.Fenced, "does not follow")
	})
}

// failing is a link on which the request that has the last piece ends in an error, after some parts.
type failing struct {
	bus.Link
	parts [][]byte
	err   error
}

func (f failing) Request(_ context.Context, _ []byte, each func([]byte) error) error {
	for _, p := range f.parts {
		if err := each(p); err != nil {
			return err
		}
	}
	return f.err
}

// TestForwardUnknown: where the link or the answer breaks, it is not known whether the request was done; where it was never taken, it is.
func TestForwardUnknown(t *testing.T) {
	whole := [][]byte{part(records, "body"), part(document, `{"status":200,"bytes":4}`)}
	for name, c := range map[string]struct {
		link failing
		kind globaltable.Kind
	}{
		"lost":                {failing{err: bus.ErrLinkLost}, globaltable.Unknown},
		"lost in the answer":  {failing{parts: whole[:1], err: bus.ErrLinkLost}, globaltable.Unknown},
		"an error of a bug":   {failing{err: &bus.RemoteError{Message: "serving ended"}}, globaltable.Unknown},
		"no time":             {failing{err: context.DeadlineExceeded}, globaltable.Unknown},
		"cut off":             {failing{parts: whole[:1]}, globaltable.Unknown},
		"nothing":             {failing{}, globaltable.Unknown},
		"shorter than told":   {failing{parts: [][]byte{part(records, "bod"), whole[1]}}, globaltable.Unknown},
		"more after the end":  {failing{parts: append(append([][]byte{}, whole...), whole[0])}, globaltable.Unknown},
		"no status":           {failing{parts: [][]byte{part(document, `{}`)}}, globaltable.Unknown},
		"an error after that": {failing{parts: [][]byte{whole[0], part(failure, `{"kind":7}`)}}, globaltable.Unknown},
		"busy":                {failing{err: bus.ErrBusy}, globaltable.Unavailable},
		"not serving":         {failing{err: bus.ErrNoService}, globaltable.Unavailable},
		"refused":             {failing{parts: [][]byte{part(failure, `{"kind":7,"message":"later"}`)}}, globaltable.Unavailable},
	} {
		if _, body, err := peer.NewClient(c.link).Forward(t.Context(), asked("PutItem", []byte("{}"))); globaltable.KindOf(err) != c.kind || err == nil || body != nil {
			t.Errorf("%s: %v", name, err)
		}
		// Of a request in pieces the first one has nothing done, whatever becomes of it.
		if len(c.link.parts) == 0 {
			if _, _, err := peer.NewClient(c.link).Forward(t.Context(), asked("PutItem", noise(1<<20))); globaltable.KindOf(err) != globaltable.Unavailable {
				t.Errorf("%s, in pieces: %v", name, err)
			}
		}
	}
	if _, body, err := peer.NewClient(failing{parts: whole}).Forward(t.Context(), asked("PutItem", nil)); err != nil || string(body) != "body" {
		t.Errorf("whole: %q, %v", body, err)
	}
}

// TestForwardedPieces: a service takes the pieces of several requests at once, in order, and holds only so much of what is never completed.
func TestForwardedPieces(t *testing.T) {
	s := inMemory(t)
	done := 0
	s.eu.forwards = func(string, string, []byte) (peer.Forwarded, []byte, error) {
		done++
		return peer.Forwarded{Status: 200}, nil, nil
	}
	service := s.eu.service()
	send := func(f peer.Forward) (refused bool) {
		t.Helper()
		raw, err := json.Marshal(map[string]any{"v": 1, "forward": f})
		if err != nil {
			t.Fatal(err)
		}
		if err := service.Handle(t.Context(), "us", raw, func(p []byte) error {
			refused = p[0] == failure
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return refused
	}
	full := make([]byte, 160<<10)
	for name, f := range map[string]peer.Forward{
		"none":         {ID: 1},
		"beyond":       {ID: 1, Piece: 1, Pieces: 1},
		"negative":     {ID: 1, Piece: -1, Pieces: 1},
		"not begun":    {ID: 1, Piece: 1, Pieces: 3},
		"too many":     {ID: 1, Pieces: 1 << 20},
		"too large":    {ID: 1, Pieces: 2, Data: make([]byte, 161<<10)},
		"unreadable":   {ID: 1, Pieces: 1, Data: []byte{0xff, 0xff, 0xff}},
		"far too much": {ID: 1, Pieces: 1, Data: []byte{0xff, 0xff, 0xff, 0xff, 0x0f}},
	} {
		if !send(f) {
			t.Errorf("%s: taken", name)
		}
	}
	if send(peer.Forward{ID: 7, Pieces: 2, Data: []byte{2}}) || !send(peer.Forward{ID: 7, Pieces: 2, Data: []byte{2}}) || !send(peer.Forward{ID: 7, Piece: 1, Pieces: 3}) {
		t.Error("a piece twice, or of another request")
	}
	// The first of many that are never completed are forgotten, not the one that goes on.
	for id := uint64(100); id < 100+2*16<<20/(160<<10)+50; id++ {
		if send(peer.Forward{ID: id, Pieces: 2, Data: full}) {
			t.Fatal("refused at ", id)
		}
	}
	if !send(peer.Forward{ID: 7, Piece: 1, Pieces: 2, Data: []byte{4, 'a', 'b'}}) || done != 0 {
		t.Error("what came first is still there")
	}
	if send(peer.Forward{ID: 8, Pieces: 2, Data: []byte{2}}) || send(peer.Forward{ID: 8, Piece: 1, Pieces: 2, Data: []byte{4, 'a', 'b'}}) || done != 1 {
		t.Errorf("%d done", done)
	}
}

// TestForwardUnanswered: an answer that cannot be sent is no refusal.
func TestForwardUnanswered(t *testing.T) {
	s := inMemory(t)
	s.eu.forwards = func(string, string, []byte) (peer.Forwarded, []byte, error) {
		return peer.Forwarded{Status: 200}, []byte("body"), nil
	}
	gone := errors.New("gone")
	err := s.eu.service().Handle(t.Context(), "us", []byte(`{"v":1,"forward":{"pieces":1,"data":"AA=="}}`), func([]byte) error { return gone })
	if !errors.Is(err, gone) {
		t.Errorf("%v", err)
	}
}

// TestReadLogChecksOnceMore: an entry that the asker may not have is not sent, nor what comes after it.
func TestReadLogChecksOnceMore(t *testing.T) {
	onEachBus(t, func(t *testing.T, s *story) {
		for range 3 {
			s.eu.log.write(shared, 10)
		}
		s.eu.maySend = func(asker hlc.Origin, lane globaltable.LaneID, e *change.Entry) error {
			if asker != us || lane != shared.Lane() {
				t.Errorf("asked for %d, lane %s", asker, lane)
			}
			if e.Seq == 2 {
				return &globaltable.Error{Op: "send entry", Kind: globaltable.Unavailable, Message: "not now"}
			}
			return nil
		}
		s.connect()
		entries, _, err := s.client().ReadLog(t.Context(), peer.ReadLog{Lane: shared.Lane(), From: 1, MaxBytes: 1 << 20})
		expectKind(t, err, globaltable.Unavailable, "not now")
		if len(entries) != 1 {
			t.Errorf("%d entries", len(entries))
		}
		s.eu.log.find(shared.Lane()).entries[1].Void = true // nothing of it is left
		s.eu.log.find(shared.Lane()).entries[1].Body = nil
		if entries, _, err := s.client().ReadLog(t.Context(), peer.ReadLog{Lane: shared.Lane(), From: 1, MaxBytes: 1 << 20}); err != nil || len(entries) != 3 {
			t.Errorf("%d entries: %v", len(entries), err)
		}
	})
}

// keeping keeps what is asked over a link.
type keeping struct {
	bus.Link
	asked [][]byte
}

func (k *keeping) Request(_ context.Context, request []byte, each func([]byte) error) error {
	k.asked = append(k.asked, bytes.Clone(request))
	return each(part(document, `{"status":200,"bytes":0}`))
}

// TestForwardOnTheWire holds the form of the request, but for its number.
func TestForwardOnTheWire(t *testing.T) {
	k := new(keeping)
	if _, _, err := peer.NewClient(k).Forward(t.Context(), asked("GetItem", []byte(`{"TableName":"tab"}`))); err != nil {
		t.Fatal(err)
	}
	got := regexp.MustCompile(`"id":\d+`).ReplaceAll(k.asked[0], []byte(`"id":1`))
	const golden = "testdata/forward.json"
	if *rewrite {
		if err := os.WriteFile(golden, append(got, '\n'), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil || string(want) != string(got)+"\n" {
		t.Errorf("%s\nwant %s %v", got, want, err)
	}
}

var rewrite = flag.Bool("rewrite", false, "write golden files anew")
