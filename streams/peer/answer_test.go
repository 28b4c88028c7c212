package peer_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/streams/bus"
	"github.com/concordat-db/concordat/streams/change"
	"github.com/concordat-db/concordat/streams/peer"
)

// The kinds of parts, as PROTOCOL says them on the wire.
const (
	document = 1
	entry    = 2
	failure  = 3
	records  = 4
)

// answers is a link to an origin that answers each request with the same parts.
type answers struct {
	bus.Link
	parts [][]byte
}

func (a answers) Request(_ context.Context, _ []byte, each func([]byte) error) error {
	for _, p := range a.parts {
		if err := each(p); err != nil {
			return err
		}
	}
	return nil
}

func part(kind byte, body string) []byte { return append([]byte{kind}, body...) }

// messages returns the parts that carry an entry.
func messages(t testing.TB, src change.Source, e change.Entry) (parts [][]byte) {
	t.Helper()
	_, err := change.AppendMessages(src, &e, 0, bus.MaxMessage-1, nil, func(m []byte) error {
		parts = append(parts, part(entry, string(m)))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return parts
}

func TestBadAnswersAreErrors(t *testing.T) {
	eu := newRegion(t, "eu", "EU", eu)
	src := change.Source{Origin: 1, Incarnation: 100, Lane: shared.Lane()}
	good := messages(t, src, eu.log.write(shared, 10))[0]
	var flood [][]byte
	huge := change.Entry{Body: make([]byte, change.MaxBody)} // compresses well: few bytes on the wire, many in memory
	huge.Header = change.Seal(globaltable.Chain{}, 1, huge.Body, 1, 1)
	for range 3 {
		flood = append(flood, messages(t, src, huge)...)
	}
	damaged := slices.Clone(good)
	damaged[len(damaged)/2] ^= 1
	foreign := messages(t, change.Source{Origin: 1, Incarnation: 100, Lane: 99}, eu.log.write(shared, 10))[0]
	dead := messages(t, change.Source{Origin: 1, Incarnation: 99, Lane: shared.Lane()}, eu.log.write(shared, 10))[0]
	for name, c := range map[string]struct {
		parts       [][]byte
		log         bool // of a read-log, else of a heartbeat
		kind        globaltable.Kind
		text        string
		wantEntries int
	}{
		"nothing":               {kind: globaltable.Corrupt, text: "empty"},
		"an empty part":         {parts: [][]byte{{}}, kind: globaltable.Corrupt, text: "empty part"},
		"two documents":         {parts: [][]byte{part(document, "{}"), part(document, "{}")}, kind: globaltable.Corrupt, text: "another form"},
		"of another kind":       {parts: [][]byte{good}, kind: globaltable.Corrupt, text: "another form"},
		"an unknown kind":       {parts: [][]byte{part(9, "{}")}, kind: globaltable.Corrupt, text: "another form"},
		"not JSON":              {parts: [][]byte{part(document, "{")}, kind: globaltable.Corrupt, text: "cannot be read"},
		"an unreadable error":   {parts: [][]byte{part(failure, "{")}, kind: globaltable.Corrupt},
		"an error of no kind":   {parts: [][]byte{part(failure, `{"kind":77,"message":"new"}`)}, kind: globaltable.Internal, text: "new"},
		"a damaged entry":       {log: true, parts: [][]byte{damaged}, kind: globaltable.Corrupt},
		"an entry of no lane":   {log: true, parts: [][]byte{foreign}, kind: globaltable.Corrupt, text: "another lane"},
		"an entry of a life":    {log: true, parts: [][]byte{dead}, kind: globaltable.Corrupt, text: "another lane"},
		"an end that is not":    {log: true, parts: [][]byte{good, part(document, "[]")}, kind: globaltable.Corrupt, text: "cannot be read", wantEntries: 1},
		"an error in the midst": {log: true, parts: [][]byte{good, part(failure, `{"kind":7,"message":"later"}`)}, kind: globaltable.Unavailable, text: "later", wantEntries: 1},
		"a flood":               {log: true, parts: flood, kind: globaltable.Corrupt, text: "larger than a page", wantEntries: 1},
	} {
		t.Run(name, func(t *testing.T) {
			client := peer.NewClient(answers{parts: c.parts})
			var entries []change.Entry
			var err error
			if c.log {
				entries, _, err = client.ReadLog(t.Context(), peer.ReadLog{Lane: shared.Lane(), Incarnation: 100, From: 1})
			} else {
				_, err = client.Positions(t.Context(), peer.Positions{})
			}
			expectKind(t, err, c.kind, c.text)
			if len(entries) != c.wantEntries {
				t.Errorf("%d entries, want %d", len(entries), c.wantEntries)
			}
		})
	}
}

// FuzzHandle gives the service what a peer may send: it answers, with an error if need be, and nothing is confirmed that is not in the log.
func FuzzHandle(f *testing.F) {
	lane := strconv.FormatUint(uint64(shared.Lane()), 10)
	for _, seed := range []string{
		``, `{`, `null`, `{"v":1}`, `{"v":1,"hello":{"descriptor":"a.b","incarnation":1,"knownOfYou":18446744073709551615}}`,
		`{"v":1,"positions":{"rows":[{"region":3,"hlc":5,"marks":{"1":4}}],"applied":[{"lane":` + lane + `,"incarnation":100,"seq":1}]}}`,
		`{"v":1,"readLog":{"lane":` + lane + `,"incarnation":100,"from":0,"maxBytes":-1}}`, `{"v":1,"readLog":{"from":18446744073709551615}}`, `{"v":1,"control":5}`,
		`{"v":1,"forward":{"id":1,"operation":"GetItem","piece":0,"pieces":1,"data":"AAA="}}`, `{"v":1,"forward":{"id":1,"operation":"GetItem","piece":0,"pieces":2,"data":"AQA="}}`, `{"v":1,"forward":{"pieces":-1}}`,
	} {
		f.Add([]byte(seed))
	}
	s := newStory(f)
	for range 3 {
		s.eu.log.write(shared, 100)
	}
	s.eu.forwards = func(_, _ string, parameters []byte) (peer.Forwarded, []byte, error) {
		return peer.Forwarded{Status: 200}, parameters[:min(len(parameters), 100)], nil
	}
	service := s.eu.service()
	f.Fuzz(func(t *testing.T, raw []byte) {
		parts := 0
		err := service.Handle(t.Context(), "us", raw, func(p []byte) error {
			if len(p) == 0 || p[0] < document || p[0] > records || len(p) > bus.MaxMessage {
				t.Errorf("part of %d bytes: %.20q", len(p), p)
			}
			parts++
			return nil
		})
		if err != nil || parts == 0 {
			t.Errorf("%d parts: %v", parts, err)
		}
		if len(s.eu.confirmed) != 0 { // no input can guess a chain
			t.Errorf("confirmed %v", s.eu.confirmed)
		}
		if s.eu.clock.Last() > at(600*time.Millisecond) {
			t.Errorf("the clock was led to %d", s.eu.clock.Last())
		}
		s.eu.regressed, s.eu.asked = nil, nil
	})
}

// FuzzAnswer gives the client what an origin may answer: lengths and parts. It returns what was said or an error of the house.
func FuzzAnswer(f *testing.F) {
	framed := func(parts ...[]byte) (b []byte) {
		for _, p := range parts {
			b = append(binary.BigEndian.AppendUint16(b, uint16(len(p))), p...)
		}
		return b
	}
	eu := newRegion(f, "eu", "EU", eu)
	good := messages(f, change.Source{Origin: 1, Incarnation: 100, Lane: shared.Lane()}, eu.log.write(shared, 200))[0]
	f.Add(framed(good, part(document, `{"incarnation":100,"done":true}`)))
	f.Add(framed(part(document, `{"incarnation":1,"heads":[{"lane":2,"seq":1}],"purge":{"2":5}}`)))
	f.Add(framed(part(failure, `{"kind":2,"trimmed":true}`)))
	f.Add(framed(nil, part(failure, ``)))
	f.Fuzz(func(t *testing.T, b []byte) {
		var parts [][]byte
		for len(b) >= 2 {
			n := min(int(binary.BigEndian.Uint16(b)), len(b)-2)
			parts, b = append(parts, b[2:2+n]), b[2+n:]
		}
		client := peer.NewClient(answers{parts: parts})
		entries, _, logErr := client.ReadLog(t.Context(), peer.ReadLog{Lane: shared.Lane(), Incarnation: 100, From: 1})
		for _, e := range entries {
			if e.Seq == 0 || e.Void != bytes.Equal(e.Body, nil) {
				t.Errorf("entry %+v", e.Header)
			}
		}
		_, _, forwardErr := client.Forward(t.Context(), asked("GetItem", []byte("{}")))
		_, helloErr := client.Hello(t.Context(), peer.Hello{})
		_, pulseErr := client.Positions(t.Context(), peer.Positions{})
		for _, err := range []error{logErr, helloErr, pulseErr, forwardErr} {
			var e *globaltable.Error
			if err != nil && (!errors.As(err, &e) || e.Kind.String() == "") {
				t.Errorf("error %#v", err)
			}
		}
	})
}
