package commit

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode/store"
	"github.com/concordat-db/concordat/streams/change"
)

// What was sent in a lane is the sum of all that was ever durable in it, whatever was trimmed, and whenever the region crashed.
func TestSentIsExact(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	engine := store.NewMemory()
	want := map[globaltable.LaneID]Sent{}
	durable := func(c *Config) {
		c.Events.Durable = func(lane globaltable.Lane, entries []change.Entry) {
			s := want[lane.ID]
			for i := range entries {
				s.add(&entries[i].Header, len(entries[i].Body))
			}
			want[lane.ID] = s
		}
	}
	f := start(t, engine, durable)
	for step := range 300 {
		switch rng.IntN(12) {
		case 0:
			f.must(f.stop())
			engine = engine.Crash(nil)
			f = start(t, engine, durable)
		case 1, 2:
			for _, l := range f.Sent() {
				f.must(f.Trim(background, l.Lane, l.Seq-uint64(rng.IntN(3))))
			}
		default:
			table := []globaltable.TableID{tableA, tableB}[rng.IntN(2)]
			f.must(f.Write(background, put(table, fmt.Sprint(rng.IntN(5)), string(make([]byte, rng.IntN(300))))))
		}
		got := f.Sent()
		if len(got) != len(want) {
			t.Fatalf("step %d: %d lanes, want %d", step, len(got), len(want))
		}
		for _, l := range got {
			w := want[l.Lane]
			if w.Placement = l.Placement; len(l.Placement) == 0 || l.First != w.First || l.Seq != w.Seq || l.Chain != w.Chain || l.Changes != w.Changes || l.Bytes != w.Bytes {
				t.Fatalf("step %d, lane %s: %+v, want %+v", step, l.Lane, l.Sent, w)
			}
		}
	}
}

// The ledger and the sums outlive the emptying of the store.
func TestSentOutlivesTheStore(t *testing.T) {
	engine := store.NewMemory()
	f := start(t, engine)
	f.must(f.Write(background, put(tableA, "a", "1")))
	f.must(f.UpdateLedger(background, func(b LedgerBatch) error {
		b.Set([]byte("c1"), []byte("one"))
		b.Set([]byte("c2"), []byte("two"))
		return nil
	}))
	f.must(f.UpdateLedger(background, func(b LedgerBatch) error {
		b.Drop([]byte("c0"), []byte("c2"))
		return nil
	}))
	before := f.Sent()
	for _, step := range []RebuildStep{RebuildNeeded, RebuildSaving} {
		_, err := f.ChangeRebuild(background, func(r Rebuild) Rebuild {
			r.Step, r.Reason = step, Fenced
			return r
		})
		f.must(err)
	}
	f.must(f.stop())
	r := reopened(t, engine)
	for done := false; !done; {
		var err error
		if done, err = r.Save(); err != nil {
			t.Fatal(err)
		}
	}
	f.must(r.Empty())
	f = start(t, engine)
	after := f.Sent()
	if len(before) != 1 || len(after) != 1 || after[0].Bytes != before[0].Bytes || after[0].Changes != 1 || after[0].Seq != 0 || after[0].First != 0 {
		t.Errorf("before %+v, after %+v", before, after)
	}
	var kept []string
	f.must(f.Ledger([]byte("a"), []byte("z"), func(key, value []byte) (bool, error) {
		kept = append(kept, string(key)+"="+string(value))
		return true, nil
	}))
	if !slices.Equal(kept, []string{"c2=two"}) {
		t.Errorf("kept %q", kept)
	}
	f.must(f.Write(background, put(tableA, "a", "2")))
	if got := f.Sent(); got[0].Changes != 2 || got[0].Seq != 1 || got[0].First != 1 {
		t.Errorf("afterwards %+v", got)
	}
}

func TestSentForm(t *testing.T) {
	s := Sent{First: 2, Seq: 5, Chain: globaltable.Chain{1}, Changes: 7, Bytes: 300}
	b := s.append(nil)
	const golden = "01000000000000000200000000000000050100000000000000000000000000000000000000000000000000000000000000" + "0000000000000007000000000000012c"
	if hex.EncodeToString(b) != golden {
		t.Errorf("the stored form is %x", b)
	}
	if got, err := decodeSent(b); err != nil || got.Bytes != 300 || got.Chain != s.Chain || !bytes.Equal(got.append(nil), b) {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range [][]byte{nil, b[:len(b)-1], append([]byte{2}, b[1:]...)} {
		if _, err := decodeSent(bad); err == nil {
			t.Errorf("%x is taken", bad)
		}
	}
}
