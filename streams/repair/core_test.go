package repair

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
)

var joinOfAp = catalog.Join{Table: theTable, Since: version, Sources: []globaltable.Descriptor{eu, us}}

func fresh(hlc.Origin) ([]byte, error) { return nil, nil }

func coreOf(t *testing.T, load func(hlc.Origin) ([]byte, error)) *core {
	t.Helper()
	c, err := newCore(theTable, uint64(version), version, joinOfAp.Sources, 500, load)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestCatalogSaysWhatJoins: the catalog of the new replica's region lists the join, and that of the table's conflict feed, which is as old and comes from the same. No other's does.
func TestCatalogSaysWhatJoins(t *testing.T) {
	ofFeed := joinOfAp
	ofFeed.Table = theTable.Feed()
	if got := tableIn(t, ap).View().Joins(); !reflect.DeepEqual(got, []catalog.Join{joinOfAp, ofFeed}) {
		t.Errorf("%+v", got)
	}
	if got := tableIn(t, eu).View().Joins(); got != nil || tableIn(t, us).View().Settled(theTable) {
		t.Errorf("%+v", got)
	}
}

// TestNothingIsReadBeforeAllAreReady: or a source could be read before it has a deletion, and another after it has collected it.
func TestNothingIsReadBeforeAllAreReady(t *testing.T) {
	c := coreOf(t, fresh)
	for range 2 {
		r, ok := c.request(0)
		if !ok || r.MaxBytes != 0 || r.Since != version {
			t.Fatalf("%+v", r)
		}
		if _, merge, err := c.took(0, r, &Page{End: End{Incarnation: 7, Items: 3}}); merge || err != nil {
			t.Fatal(merge, err)
		}
		if _, ok := c.request(0); ok {
			t.Fatal("eu is read while us is not ready")
		}
		c.failed(1, errors.New("not yet"))
		if got := c.waiting(); !reflect.DeepEqual(got, []string{"us"}) {
			t.Fatal(got)
		}
		c = coreOf(t, fresh) // a crash: nothing is known, so it is asked again
	}
	for i := range 2 {
		r, _ := c.request(i)
		if _, _, err := c.took(i, r, &Page{End: End{Incarnation: 7}}); err != nil {
			t.Fatal(err)
		}
	}
	if r, ok := c.request(0); !ok || r.MaxBytes != 500 || r.After != nil {
		t.Fatalf("%+v", r)
	}
}

// TestJoinGoesOn walks a join of two sources, with crashes after each step, and looks at what is told of it.
func TestJoinGoesOn(t *testing.T) {
	kept := map[hlc.Origin][]byte{}
	load := func(o hlc.Origin) ([]byte, error) { return kept[o], nil }
	sources := []*Server{NewServer(tableIn(t, eu), filled(t, 20), nil), NewServer(tableIn(t, us), filled(t, 40), nil)}
	var got [2]int
	last := 0
	for crashes := 0; ; crashes++ {
		c := coreOf(t, load)
		if c.done() {
			if crashes < 5 || percent(c) != 100 || got != [2]int{20, 40} {
				t.Fatal(crashes, percent(c), got)
			}
			return
		}
		for i := range sources { // pages follow at once, when all are ready from before
			step(t, c, i, sources[i], kept, &got[i])
		}
		for i := range sources {
			step(t, c, i, sources[i], kept, &got[i])
		}
		if p := percent(c); p < last || p > 99 && !c.done() {
			t.Fatalf("%d percent after %d", p, last)
		}
		last = percent(c)
	}
}

func step(t *testing.T, c *core, i int, s *Server, kept map[hlc.Origin][]byte, got *int) {
	t.Helper()
	r, ok := c.request(i)
	if !ok {
		return
	}
	p := page(t, s, ap, r)
	next, merge, err := c.took(i, r, p)
	if err != nil {
		t.Fatal(err)
	}
	if merge {
		*got += len(p.Records)
		kept[c.sources[i].region.Origin] = next.append(nil)
		c.kept(i, next)
	}
}

// TestAnotherStore: a source that comes back with another store is read from the beginning, and so is everything after an earlier join.
func TestAnotherStore(t *testing.T) {
	half := state{since: uint64(version), incarnation: 6, got: 3, cursor: []byte("cursor")}
	c := coreOf(t, func(hlc.Origin) ([]byte, error) { return half.append(nil), nil })
	r, ok := c.request(0)
	if !ok || string(r.After) != "cursor" || r.MaxBytes == 0 {
		t.Fatalf("%+v", r)
	}
	source := filled(t, 10)
	source.list[0].Key = []byte("cursos") // after the cursor
	_, merge, err := c.took(0, r, &Page{End: End{Incarnation: source.incarnation}, Records: source.list[:1]})
	if merge || err != nil {
		t.Fatal("a page of another store was taken", err)
	}
	if r, ok = c.request(0); !ok || r.After != nil || r.MaxBytes == 0 {
		t.Fatalf("%+v", r)
	}
	half.since--
	c = coreOf(t, func(hlc.Origin) ([]byte, error) { return half.append(nil), nil })
	if r, ok = c.request(0); !ok || r.After != nil || r.MaxBytes != 0 {
		t.Fatalf("%+v", r)
	}
}

func TestStateInTheStore(t *testing.T) {
	for _, s := range []state{{since: 5}, {since: 1 << 60, incarnation: 1 << 60, done: true, got: 5, cursor: []byte("key")}} {
		got, err := decodeState(s.append(nil))
		if err != nil || got.since != s.since || got.incarnation != s.incarnation || got.done != s.done || got.got != s.got || string(got.cursor) != string(s.cursor) {
			t.Errorf("%+v came back as %+v, %v", s, got, err)
		}
	}
	good := (&state{since: uint64(version)}).append(nil)
	for i, b := range [][]byte{nil, good[:len(good)-1], append([]byte{9}, good[1:]...), append(append(append([]byte{}, good[:17]...), 2), good[18:]...)} {
		if _, err := decodeState(b); globaltable.KindOf(err) != globaltable.Corrupt {
			t.Errorf("%d: %v", i, err)
		}
	}
	if _, err := newCore(theTable, uint64(version), version, joinOfAp.Sources, 1, func(hlc.Origin) ([]byte, error) { return []byte{9}, nil }); err == nil {
		t.Error("a join goes on from what cannot be read")
	}
}

func TestWrongRecord(t *testing.T) {
	c := coreOf(t, fresh)
	r := &Request{MaxBytes: 1}
	if _, _, err := c.took(0, r, &Page{Records: []Record{{Key: []byte("k"), Bytes: []byte{0xff}}}}); globaltable.KindOf(err) != globaltable.Corrupt {
		t.Error(err)
	}
}

// nothing is a store and peers that must not be used.
type nothing struct{}

func (nothing) Merge(context.Context, globaltable.TableID, Giver, []Record) error {
	return errors.ErrUnsupported
}
func (nothing) TakePurge(context.Context, globaltable.TableID, hlc.Timestamp) error { return nil }

func (nothing) SetJoin(context.Context, globaltable.TableID, hlc.Origin, []byte) error {
	return errors.ErrUnsupported
}
func (nothing) Join(globaltable.TableID, hlc.Origin) ([]byte, error) {
	return nil, errors.ErrUnsupported
}
func (nothing) Exchange(context.Context, string, *Request) (*Page, error) {
	return nil, errors.ErrUnsupported
}

func TestConfigValidate(t *testing.T) {
	_, err := New(Config{PageBytes: maxPage + 1})
	for _, want := range []string{"no catalog", "no store", "no peers", "too great"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("nothing about %q in %v", want, err)
		}
	}
	// A store that fails is told of, and nothing is claimed.
	failed := make(chan error, 1)
	j, err := New(Config{Catalog: tableIn(t, ap), Store: nothing{}, Peers: nothing{}, Events: Events{
		Failed: func(_ globaltable.TableID, _ string, err error) {
			select {
			case failed <- err:
			default:
			}
		},
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- j.Run(ctx) }()
	if err := <-failed; !errors.Is(err, errors.ErrUnsupported) {
		t.Error(err)
	}
	if p, ok := j.Progress(theTable, version); !ok || p.Done || p.Percent != 0 {
		t.Errorf("%+v, %v", p, ok)
	}
	if _, ok := j.Progress(theTable, version+1); ok {
		t.Error("progress of another join")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
