package hlc

import (
	"bytes"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func stamps() *rapid.Generator[Stamp] {
	return rapid.Custom(func(t *rapid.T) Stamp {
		return Stamp{Time: Timestamp(rapid.Uint64().Draw(t, "time")), Origin: Origin(rapid.Uint16().Draw(t, "origin"))}
	})
}

func TestStampBytesOrderAsStamps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := stamps().Draw(t, "a"), stamps().Draw(t, "b")
		if rapid.Bool().Draw(t, "same time") {
			b.Time = a.Time
		}
		if bytes.Compare(a.Append(nil), b.Append(nil)) != a.Compare(b) {
			t.Fatal("bytes order otherwise than stamps")
		}
		if a.Less(b) != (a.Compare(b) < 0) || a.Compare(b) != -b.Compare(a) {
			t.Fatal("order contradicts itself")
		}
		got, ok := DecodeStamp(append(a.Append(nil), 1, 2))
		if !ok || got != a {
			t.Fatalf("decoded %v, want %v", got, a)
		}
	})
}

func TestDecodeStampTooShort(t *testing.T) {
	b := Stamp{Time: 1, Origin: 2}.Append(nil)
	for n := range b {
		if _, ok := DecodeStamp(b[:n]); ok {
			t.Errorf("%d bytes pass for a stamp", n)
		}
	}
}

func TestTimestampParts(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC)
	ts := FromTime(at) + 9
	if !ts.Time().Equal(at) || ts.Logical() != 9 || ts.Millis() != at.UnixMilli() {
		t.Fatalf("%s has parts %v and %d", ts, ts.Time(), ts.Logical())
	}
	if moved := ts.Add(-1500 * time.Millisecond); !moved.Time().Equal(at.Add(-1500*time.Millisecond)) || moved.Logical() != 9 {
		t.Fatalf("moved to %s", moved)
	}
	if got, want := (Stamp{Time: ts, Origin: 7}).String(), "1767323045.678+9@7"; got != want {
		t.Fatalf("text %q, want %q", got, want)
	}
}
