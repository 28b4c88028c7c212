package reader

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
)

var rewrite = flag.Bool("rewrite", false, "write golden files anew")

// memory is a Store.
type memory struct {
	kept   map[string][]byte
	writes int
	fail   error
}

func (m *memory) UpdateReaders(_ context.Context, f func(Batch) error) error {
	if m.fail != nil {
		return m.fail
	}
	m.writes++
	return f(m)
}
func (m *memory) Set(name string, value []byte) { m.kept[name] = value }
func (m *memory) Delete(name string)            { delete(m.kept, name) }
func (m *memory) Readers(f func(string, []byte) error) error {
	for name, value := range m.kept {
		if err := f(name, value); err != nil {
			return err
		}
	}
	return nil
}

func open(t *testing.T, m *memory) *Readers {
	t.Helper()
	s, err := Open(m)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func search() Reader {
	return Reader{Kind: Grant, Name: "search", Key: "U", Created: 1_700_000_000_000, Expires: 1_800_000_000_000, Used: 1_700_000_000_001, Places: []Place{{Table: 0x11, At: 1 << 60}, {Table: 0x12, At: 5}}}
}

func TestGoldenReader(t *testing.T) {
	r := search()
	got := append(r.encode(), '\n')
	path := filepath.Join("testdata", "reader.golden.json")
	if *rewrite {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("the form has changed, %v:\n%s", err, got)
	}
	back, err := decode(bytes.TrimSpace(want))
	if at, reads := back.At(0x11); err != nil || !reads || at != 1<<60 || back.Name != "search" {
		t.Errorf("%+v, %v", back, err)
	}
	for text, kind := range map[string]globaltable.Kind{`{`: globaltable.Corrupt, `{"format":1}`: globaltable.Corrupt, `{"format":2}`: globaltable.Unavailable, `{}`: globaltable.Corrupt} {
		if _, err := decode([]byte(text)); globaltable.KindOf(err) != kind {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	r := search()
	f.Add(r.encode())
	f.Add([]byte(`{"format":1,"kind":"tail","name":"a","places":[{"table":2,"at":1},{"table":1,"at":1}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decode(b)
		if err != nil {
			return
		}
		if again, err := decode(r.encode()); err != nil || again.Name != r.Name || len(again.Places) != len(r.Places) {
			t.Errorf("%+v, %v", again, err)
		}
	})
}

func TestReaders(t *testing.T) {
	m := &memory{kept: map[string][]byte{}}
	s := open(t, m)
	ctx, now := t.Context(), time.UnixMilli(1_700_000_000_002)
	changed := s.Changed()
	if err := s.Add(ctx, search()); err != nil {
		t.Fatal(err)
	}
	select {
	case <-changed:
	default:
		t.Error("nobody was told of a new reader")
	}
	if err := s.Add(ctx, search()); globaltable.KindOf(err) != globaltable.Exists {
		t.Errorf("twice: %v", err)
	}
	tail := Reader{Kind: Tail, Name: "search", Places: []Place{{Table: 0x11, At: 9}}} // names are a kind's own
	if err := s.Add(ctx, tail); err != nil {
		t.Error(err)
	}
	for _, wrong := range []Reader{{Kind: "other", Name: "a", Places: tail.Places}, {Kind: Tail, Name: "A b", Places: tail.Places}, {Kind: Tail, Name: "a"}, {Kind: Tail, Name: "a", Places: make([]Place, MaxTables+1)},
		{Kind: Tail, Name: "a", Places: []Place{{Table: 2}, {Table: 1}}}} {
		if err := s.Add(ctx, wrong); globaltable.KindOf(err) != globaltable.Invalid {
			t.Errorf("%+v: %v", wrong, err)
		}
	}
	changed = s.Changed()
	writes := m.writes
	move := func(kind Kind, table globaltable.TableID, at hlc.Timestamp) Move {
		return Move{Kind: kind, Name: "search", Place: Place{Table: table, At: at}}
	}
	for _, moves := range [][]Move{{move(Grant, 0x11, 1<<60)}, {move(Grant, 0x11, 7)}, {move(Grant, 0x99, 7)}, {{Kind: Tail, Name: "nobody"}}} { // the same, back, another table, nobody
		if err := s.Set(ctx, moves, now); err != nil || m.writes != writes {
			t.Errorf("%+v: %d writes, %v", moves, m.writes-writes, err)
		}
	}
	if err := s.Set(ctx, []Move{move(Grant, 0x11, 1<<60+1), move(Grant, 0x12, 6), move(Tail, 0x11, 3)}, now); err != nil || m.writes != writes+1 {
		t.Errorf("%d writes, %v", m.writes-writes, err)
	}
	select {
	case <-changed:
		t.Error("a place is no reader that comes or goes")
	default:
	}
	for _, s := range []*Readers{s, open(t, m)} { // as known, and as kept
		r, _ := s.Get(Grant, "search")
		x, _ := s.Get(Tail, "search")
		if r.Places[0].At != 1<<60+1 || r.Places[1].At != 6 || r.Used != now.UnixMilli() || x.Places[0].At != 3 || len(s.List(Grant)) != 1 || len(s.List(Tail)) != 1 {
			t.Errorf("%+v %+v", r, x)
		}
	}
	// That somebody still reads is noted now and then.
	if err := s.Set(ctx, []Move{move(Tail, 0x11, 3)}, now.Add(2*time.Hour)); err != nil || m.writes != writes+2 {
		t.Errorf("%d writes, %v", m.writes-writes, err)
	}
	m.fail = errors.New("the store does not take it")
	if _, err := s.Remove(ctx, Grant, "search"); err == nil {
		t.Error("removed what is still kept")
	}
	if _, there := s.Get(Grant, "search"); !there {
		t.Error("it is not known any more, and is still kept")
	}
	m.fail = nil
	if there, err := s.Remove(ctx, Grant, "search"); !there || err != nil {
		t.Error(err)
	}
	if there, err := s.Remove(ctx, Grant, "search"); there || err != nil {
		t.Error(err)
	}
	if len(open(t, m).List(Grant)) != 0 {
		t.Error("it is still kept")
	}
}

func TestBounds(t *testing.T) {
	s := open(t, &memory{kept: map[string][]byte{}})
	for i := range MaxTails {
		if err := s.Add(t.Context(), Reader{Kind: Tail, Name: fmt.Sprint("t", i), Places: []Place{{Table: 1}}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Add(t.Context(), Reader{Kind: Tail, Name: "more", Places: []Place{{Table: 1}}}); globaltable.KindOf(err) != globaltable.LimitExceeded {
		t.Errorf("one more: %v", err)
	}
}
