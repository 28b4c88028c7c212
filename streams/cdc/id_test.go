package cdc

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
)

// TestIDsAsTheLibrariesWriteThem compares what is written out for speed with crypto/hmac and fmt.
func TestIDsAsTheLibrariesWriteThem(t *testing.T) {
	for _, secret := range [][]byte{nil, []byte("0123456789abcdef")} {
		teller := Teller{Table: &globaltable.Table{ID: 0x018bcfe568020007, Stream: globaltable.Stream{Secret: secret}}, Region: "eu"}
		for n := range 2000 {
			key := []byte(strings.Repeat("k", n))
			h := hmac.New(sha256.New, secret)
			h.Write(binary.BigEndian.AppendUint64(nil, uint64(teller.Table.ID)))
			h.Write(key)
			hash := h.Sum(nil)[:12]
			r := Record{Key: key, Kind: Write, Dot: hlc.Stamp{Time: hlc.Timestamp(n) << 40, Origin: hlc.Origin(n)}}
			if got, want := teller.ID(&r), fmt.Sprintf("%016x-%x-%016x-%04x-w", uint64(teller.Table.ID), hash, uint64(r.Dot.Time), uint16(r.Dot.Origin)); got != want {
				t.Fatalf("a key of %d bytes: %s, not %s", n, got, want)
			}
			r.Kind, r.Position = Copied, r.Dot.Time+1
			if got, want := teller.ID(&r), fmt.Sprintf("%016x-%x-%016x-%04x-c-eu-%016x", uint64(teller.Table.ID), hash, uint64(r.Dot.Time), uint16(r.Dot.Origin), uint64(r.Position)); got != want {
				t.Fatalf("a copy: %s, not %s", got, want)
			}
		}
	}
	for _, at := range []hlc.Timestamp{0, 1, 1 << 40, ^hlc.Timestamp(0)} {
		if got, want := Sequence(at), fmt.Sprintf("1%020d", uint64(at)); got != want {
			t.Errorf("%s, not %s", got, want)
		}
	}
}

func TestIDsAllocateNothing(t *testing.T) {
	teller := Teller{Table: &globaltable.Table{ID: 7, Stream: globaltable.Stream{Secret: []byte("0123456789abcdef")}}}
	r := Record{Key: make([]byte, 100), Kind: Write}
	dst := make([]byte, 0, 200)
	if n := testing.AllocsPerRun(100, func() { dst = AppendSequence(teller.AppendID(dst[:0], &r), 5) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
