package egress

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nkeys"
	"pgregory.net/rapid"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
)

var rewrite = flag.Bool("rewrite", false, "write golden files")

// memory is a store that writes whole batches.
type memory struct {
	kept map[string][]byte
	sent map[globaltable.LaneID]Sent
}

func (m *memory) Set(key, value []byte) { m.kept[string(key)] = slices.Clone(value) }

func (m *memory) Drop(from, to []byte) {
	maps.DeleteFunc(m.kept, func(k string, _ []byte) bool { return k >= string(from) && k < string(to) })
}

func (m *memory) UpdateLedger(_ context.Context, f func(b Batch) error) error { return f(m) }

func (m *memory) Ledger(from, to []byte, f func(key, value []byte) (bool, error)) error {
	for _, k := range slices.Sorted(maps.Keys(m.kept)) {
		if k < string(from) || k >= string(to) {
			continue
		}
		if more, err := f([]byte(k), m.kept[k]); err != nil || !more {
			return err
		}
	}
	return nil
}

func (m *memory) Sent() (out []Sent) {
	for _, id := range slices.Sorted(maps.Keys(m.sent)) {
		out = append(out, m.sent[id])
	}
	return out
}

// put is what a commit does with an entry of a lane.
func (m *memory) put(lane globaltable.LaneID, p globaltable.Placement, changes, bytes uint64) {
	s := m.sent[lane]
	s.Lane, s.Placement = lane, p
	s.Seq++
	s.First = 1
	s.Chain[0]++
	s.Changes += changes
	s.Bytes += bytes
	m.sent[lane] = s
}

func newMemory() *memory {
	return &memory{kept: map[string][]byte{}, sent: map[globaltable.LaneID]Sent{}}
}

// keep is how many checkpoints the tests' ledgers keep.
const keep = 100

var names = map[hlc.Origin]string{1: "us", 2: "eu", 3: "in"}

func keyOf(t testing.TB) (nkeys.KeyPair, string) {
	key, err := nkeys.FromRawSeed(nkeys.PrefixByteUser, bytes.Repeat([]byte{1}, 32))
	if err != nil {
		t.Fatal(err)
	}
	public, err := key.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return key, public
}

func open(t testing.TB, m *memory, out map[hlc.Origin]bool) *Ledger {
	key, _ := keyOf(t)
	l, err := New(Config{Self: globaltable.Descriptor{Name: "us", Origin: 1}, Incarnation: 7, Keep: keep, Key: key, Store: m, Name: func(o hlc.Origin) string { return names[o] },
		Out: func(o hlc.Origin) bool { return out[o] }, Now: func() time.Time { return time.UnixMilli(1700000000000) }})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func stateOf(t testing.TB, l *Ledger) State {
	s, err := l.State(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func verify(t testing.TB, l *Ledger) []string {
	_, public := keyOf(t)
	s := stateOf(t, l)
	c := NewChecker("us", public, Head{})
	for after := uint64(0); ; {
		page, more, err := l.Checkpoints(after, 3)
		if err != nil {
			t.Fatal(err)
		}
		for i := range page {
			p, err := Open(&page[i])
			if err != nil {
				t.Fatal(err)
			}
			after = p.Number
			c.Add(&page[i])
		}
		if !more {
			break
		}
	}
	c.Accounts(s.Accounts, s.Head)
	_, _, problems := c.Result()
	return problems
}

func TestAccounts(t *testing.T) {
	ctx, m, out := context.Background(), newMemory(), map[hlc.Origin]bool{}
	l := open(t, m, out)
	both, eu := globaltable.NewPlacement(1, 2, 3), globaltable.NewPlacement(1, 2)
	m.put(10, both, 2, 100)
	m.put(11, eu, 1, 10)
	if err := l.Exchange(ctx, 2, 5, 3, 300); err != nil {
		t.Fatal(err)
	}
	if err := l.HandOver(ctx, 3, 5, 1, 30); err != nil {
		t.Fatal(err)
	}
	if err := l.Forwarded(ctx, 3, 5, 7); err != nil {
		t.Fatal(err)
	}
	_ = stateOf(t, l)
	out[3] = true
	m.put(10, both, 1, 50) // after the region was put out, before anybody looked: it may have gone
	_ = stateOf(t, l)
	m.put(10, both, 1, 1000)
	got := []string{}
	for _, a := range stateOf(t, open(t, m, out)).Accounts { // after a restart
		got = append(got, fmt.Sprintf("%s %s %s%s %d-%d events %d count %d bytes %d", a.Region, a.Kind, a.Lane, a.Table, a.First, a.Last, a.Events, a.Count, a.Bytes))
	}
	want := []string{
		"eu exchange 0000000000000005 0-0 events 1 count 3 bytes 300",
		"eu lane 000000000000000a 1-3 events 3 count 4 bytes 1150",
		"eu lane 000000000000000b 1-1 events 1 count 1 bytes 10",
		"in forward 0000000000000005 0-0 events 1 count 1 bytes 7",
		"in handover 0000000000000005 0-0 events 1 count 1 bytes 30",
		"in lane 000000000000000a 1-2 events 2 count 3 bytes 150",
	}
	if !slices.Equal(got, want) {
		t.Errorf("accounts:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if problems := verify(t, open(t, m, out)); len(problems) > 0 {
		t.Error(problems)
	}
}

// A region that begins anew with an empty store goes on with its sums.
func TestNewLifeOfTheStore(t *testing.T) {
	m := newMemory()
	l := open(t, m, nil)
	m.put(10, globaltable.NewPlacement(1, 2), 5, 500)
	_ = stateOf(t, l)
	m.put(10, globaltable.NewPlacement(1, 2), 2, 20) // nobody looked
	m.sent[10] = Sent{Lane: 10, Changes: 7, Bytes: 520}
	a := stateOf(t, open(t, m, nil)).Accounts[0]
	if a.Count != 7 || a.Bytes != 520 || a.Last != 0 || a.Events != 0 {
		t.Errorf("after the store was emptied: %+v", a)
	}
	m.sent[10] = Sent{Lane: 10, Placement: globaltable.NewPlacement(1, 2), First: 1, Seq: 1, Changes: 8, Bytes: 530}
	if a := stateOf(t, open(t, m, nil)).Accounts[0]; a.Count != 8 || a.Bytes != 530 || a.First != 1 || a.Last != 1 {
		t.Errorf("afterwards: %+v", a)
	}
}

// Many accounts take several checkpoints, which follow each other, and old ones go.
func TestCheckpoints(t *testing.T) {
	ctx, m := context.Background(), newMemory()
	l := open(t, m, nil)
	for i := range 3*maxAccounts + 1 {
		if err := l.Exchange(ctx, 2, globaltable.TableID(i+10), 1, 1); err != nil {
			t.Fatal(err)
		}
	}
	if s := stateOf(t, l); s.Head.Number != 4 || s.Oldest != 1 {
		t.Errorf("%d accounts made the checkpoints %d to %d", len(s.Accounts), s.Oldest, s.Head.Number)
	}
	if s := stateOf(t, l); s.Head.Number != 4 {
		t.Error("a checkpoint of nothing")
	}
	if problems := verify(t, l); len(problems) > 0 {
		t.Error(problems)
	}
	for range keep {
		if err := l.Exchange(ctx, 2, 10, 1, 1); err != nil {
			t.Fatal(err)
		}
		if err := l.Checkpoint(ctx); err != nil {
			t.Fatal(err)
		}
	}
	s := stateOf(t, l)
	kept := 0
	for k := range m.kept {
		if k[0] == prefixCheckpoint {
			kept++
		}
	}
	if s.Head.Number != keep+4 || s.Oldest != 5 || kept != keep {
		t.Errorf("checkpoints %d to %d are kept, %d", s.Oldest, s.Head.Number, kept)
	}
	if again := open(t, m, nil); again.oldest != 5 || again.head != s.Head {
		t.Errorf("found %d to %d after a restart", again.oldest, again.head.Number)
	}
}

// Whatever is done to a kept checkpoint or an account, the check finds it.
func TestTampering(t *testing.T) {
	ctx := context.Background()
	build := func() *memory {
		m := newMemory()
		l := open(t, m, nil)
		for i := range 4 {
			if err := l.Exchange(ctx, 2, 5, i+1, 100); err != nil {
				t.Fatal(err)
			}
			if err := l.Checkpoint(ctx); err != nil {
				t.Fatal(err)
			}
		}
		return m
	}
	at := func(n uint64) string { return string(checkpointAt(n)) }
	for name, spoil := range map[string]func(m *memory){
		"left out": func(m *memory) { delete(m.kept, at(2)) },
		"edited": func(m *memory) {
			m.kept[at(2)] = bytes.Replace(m.kept[at(2)], []byte(`\"bytes\":200`), []byte(`\"bytes\":100`), 1)
		},
		"another's": func(m *memory) { m.kept[at(3)] = m.kept[at(2)] },
		"account made smaller": func(m *memory) {
			key := string(accountAt(&Account{Peer: 2, Kind: Exchange, Table: globaltable.TableID(5).String()}))
			m.kept[key] = bytes.Replace(m.kept[key], []byte(`"count":10`), []byte(`"count":9`), 1)
		},
		"account erased": func(m *memory) {
			delete(m.kept, string(accountAt(&Account{Peer: 2, Kind: Exchange, Table: globaltable.TableID(5).String()})))
		},
	} {
		m := build()
		if problems := verify(t, open(t, m, nil)); len(problems) > 0 {
			t.Fatal(problems)
		}
		before := len(m.kept)
		old := maps.Clone(m.kept)
		spoil(m)
		if len(m.kept) == before && maps.EqualFunc(old, m.kept, bytes.Equal) {
			t.Fatalf("%s: nothing was spoilt", name)
		}
		if problems := verify(t, open(t, m, nil)); len(problems) == 0 {
			t.Errorf("%s: not found", name)
		}
	}
}

// The sums are those of all that happened, whenever somebody looked and whenever the region was restarted.
func TestAccountsAreExact(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		m := newMemory()
		l := open(t, m, nil)
		type sum struct{ count, bytes uint64 }
		want := map[string]sum{}
		for range rapid.IntRange(1, 60).Draw(r, "steps") {
			n := rapid.IntRange(1, 9).Draw(r, "n")
			switch rapid.IntRange(0, 4).Draw(r, "step") {
			case 0, 1:
				lane := globaltable.LaneID(rapid.IntRange(2, 4).Draw(r, "lane"))
				p := []globaltable.Placement{globaltable.NewPlacement(1, 2), globaltable.NewPlacement(1, 3), globaltable.NewPlacement(1, 2, 3)}[lane-2]
				m.put(lane, p, uint64(n), uint64(10*n))
				for _, peer := range p.Peers(1) {
					k := fmt.Sprint(peer, Lane, lane.String())
					want[k] = sum{want[k].count + uint64(n), want[k].bytes + uint64(10*n)}
				}
			case 2:
				peer := hlc.Origin(rapid.IntRange(2, 3).Draw(r, "peer"))
				if err := l.Exchange(context.Background(), peer, 9, n, 10*n); err != nil {
					r.Fatal(err)
				}
				k := fmt.Sprint(peer, Exchange, globaltable.TableID(9).String())
				want[k] = sum{want[k].count + uint64(n), want[k].bytes + uint64(10*n)}
			case 3:
				_ = stateOf(t, l)
			case 4:
				l = open(t, m, nil)
			}
		}
		got := map[string]sum{}
		for _, a := range stateOf(t, l).Accounts {
			got[fmt.Sprint(a.Peer, a.Kind, a.Lane+a.Table)] = sum{a.Count, a.Bytes}
		}
		if !maps.Equal(got, want) {
			r.Fatalf("got %v, want %v", got, want)
		}
		if problems := verify(t, l); len(problems) > 0 {
			r.Fatal(problems)
		}
	})
}

func TestGolden(t *testing.T) {
	m := newMemory()
	l := open(t, m, nil)
	m.put(10, globaltable.NewPlacement(1, 2), 5, 500)
	if err := l.Exchange(context.Background(), 3, 5, 3, 300); err != nil {
		t.Fatal(err)
	}
	_ = stateOf(t, l)
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(m.kept)) {
		fmt.Fprintf(&b, "%q %q\n", k, m.kept[k])
	}
	path := filepath.Join("testdata", "ledger.golden")
	if *rewrite {
		if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || string(want) != b.String() {
		t.Errorf("the stored form has changed, %v:\n%s", err, b.String())
	}
}

func FuzzOpen(f *testing.F) {
	m := newMemory()
	l := open(f, m, nil)
	m.put(10, globaltable.NewPlacement(1, 2), 5, 500)
	_ = stateOf(f, l)
	for k, v := range m.kept {
		if k[0] == prefixCheckpoint {
			var s globaltable.Sealed
			if err := json.Unmarshal(v, &s); err != nil {
				f.Fatal(err)
			}
			f.Add([]byte(s.Payload))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s := globaltable.Sealed{Payload: string(b)}
		_, public := keyOf(t)
		c := NewChecker("us", public, Head{})
		c.Add(&s)
		if _, _, problems := c.Result(); len(problems) == 0 {
			t.Error("a checkpoint without a signature is sound")
		}
	})
}
