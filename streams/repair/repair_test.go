package repair

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"
	"go.uber.org/goleak"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/globaltable/item"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The story's regions: eu and us have the table, ap is to get it, in has nothing to do with it.
var (
	ap = globaltable.Descriptor{Name: "ap", Origin: 1}
	eu = globaltable.Descriptor{Name: "eu", Origin: 2}
	us = globaltable.Descriptor{Name: "us", Origin: 3}
	in = globaltable.Descriptor{Name: "in", Origin: 4}
)

const theTable globaltable.TableID = 1000<<16 | 2

var version = globaltable.MakeVersion(1, 5)

// tableIn returns the catalog of the region self, in which the table's version brought ap.
func tableIn(t testing.TB, self globaltable.Descriptor) *catalog.Catalog {
	t.Helper()
	var peers []globaltable.Descriptor
	for _, d := range []globaltable.Descriptor{ap, eu, us, in} {
		if d.Name != self.Name {
			peers = append(peers, d)
		}
	}
	c, err := catalog.New(self, peers)
	if err != nil {
		t.Fatal(err)
	}
	doc := &globaltable.Table{ID: theTable, Name: "orders", Owner: 2, Version: version, Predecessor: globaltable.Hash{1}, CreatedAt: 1000,
		KeySchema: globaltable.KeySchema{Partition: globaltable.KeyAttribute{Name: "id", Type: item.S}}, Billing: globaltable.PayPerRequest,
		Class: globaltable.ClassStandard,
		Replicas: []globaltable.Replica{{Region: "ap", Origin: 1, Status: globaltable.Creating, Since: version},
			{Region: "eu", Origin: 2, Status: globaltable.Active, Since: globaltable.MakeVersion(1, 1)},
			{Region: "us", Origin: 3, Status: globaltable.Active, Since: globaltable.MakeVersion(1, 3)}}}
	if err := doc.Validate(); err != nil {
		t.Fatal(err)
	}
	if err := c.Load([]item.Item{catalog.EncodeDocument(doc)}, nil); err != nil {
		t.Fatal(err)
	}
	return c
}

// records is a source in memory.
type records struct {
	incarnation globaltable.Incarnation
	list        []Record // sorted
	live        int64
	purge       hlc.Timestamp
}

func (s *records) Incarnation() globaltable.Incarnation { return s.incarnation }

func (s *records) Purge(globaltable.TableID) hlc.Timestamp { return s.purge }

func (s *records) Now() hlc.Timestamp { return 1 << 40 }

func (s *records) Count(globaltable.TableID) (int64, int64, error) { return s.live, 0, nil }

func (s *records) Records(_ context.Context, table globaltable.TableID, from, to item.Key, f func(item.Key, []byte) bool) error {
	if table != theTable {
		return errors.New("another table")
	}
	for _, r := range s.list {
		if from != nil && bytes.Compare(r.Key, from) <= 0 || to != nil && bytes.Compare(r.Key, to) >= 0 {
			continue
		}
		// What f gets is not valid for longer.
		key, record := slices.Clone(r.Key), slices.Clone(r.Bytes)
		more := f(key, record)
		clear(key)
		clear(record)
		if !more {
			break
		}
	}
	return nil
}

// put adds the item with the id given, its attribute of size bytes; a negative size deletes it.
func (s *records) put(t testing.TB, id string, size int) {
	t.Helper()
	key, err := item.AppendKey(nil, item.AppendString(nil, id), nil)
	if err != nil {
		t.Fatal(err)
	}
	ops := conflict.RecordDelete(nil)
	if size >= 0 {
		var b item.Builder
		b.Add([]byte("id"), item.AppendString(nil, id))
		b.Add([]byte("v"), item.AppendString(nil, strings.Repeat("x", size)))
		it, err := b.AppendItem(nil)
		if err != nil {
			t.Fatal(err)
		}
		ops = conflict.RecordPut(nil, it)
		s.live++
	}
	record, _, err := conflict.ApplyLocal(nil, nil, &conflict.Change{Table: uint64(theTable), Key: key,
		Dot: hlc.Stamp{Time: hlc.Timestamp(len(s.list)+1) << 16, Origin: 2}, CatalogVersion: uint64(version), Ops: ops})
	if err != nil {
		t.Fatal(err)
	}
	s.list = append(s.list, Record{key, record})
	slices.SortFunc(s.list, func(a, b Record) int { return bytes.Compare(a.Key, b.Key) })
}

func filled(t testing.TB, n int) *records {
	s := &records{incarnation: 7}
	for i := range n {
		size := i * 10
		if i%5 == 4 {
			size = -1
		}
		s.put(t, fmt.Sprint("item ", i), size)
	}
	return s
}

func page(t testing.TB, s *Server, asker globaltable.Descriptor, r *Request) *Page {
	t.Helper()
	b, end, err := s.Answer(t.Context(), asker, r)
	if err != nil {
		t.Fatal(err)
	}
	p, err := DecodePage(r, b, end)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func same(a, b []Record) bool {
	return slices.EqualFunc(a, b, func(a, b Record) bool { return bytes.Equal(a.Key, b.Key) && bytes.Equal(a.Bytes, b.Bytes) })
}

// TestPagesAreTheWhole: whatever the size of a page, and whatever part is asked for, all records come once and in order, tombstones and large ones too.
func TestPagesAreTheWhole(t *testing.T) {
	source := filled(t, 50)
	source.put(t, "large", 3<<20)
	s := NewServer(tableIn(t, eu), source, nil)
	for _, size := range []int{1, 100, 1000, 1 << 20, 1 << 30} {
		for _, part := range [][2]int{{0, 51}, {0, 20}, {10, 51}, {10, 11}, {30, 30}} {
			r := &Request{Table: theTable, Since: version, MaxBytes: size}
			if part[0] > 0 {
				r.After = source.list[part[0]-1].Key
			}
			if part[1] < 51 {
				r.Before = source.list[part[1]].Key
			}
			var got []Record
			for done := false; !done; {
				p := page(t, s, ap, r)
				if p.Incarnation != 7 || p.Items != source.live {
					t.Fatalf("%+v", p.End)
				}
				if n := len(p.Records); n > 0 {
					r.After = p.Records[n-1].Key
				}
				got, done = append(got, p.Records...), p.Done
			}
			if !same(got, source.list[part[0]:part[1]]) {
				t.Fatalf("pages of %d bytes, part %v: %d records", size, part, len(got))
			}
		}
	}
	if p := page(t, s, ap, &Request{Table: theTable, Since: version}); len(p.Records) > 0 || p.Done {
		t.Error("a question whether it is ready got records")
	}
}

// TestCollectableIsLeftOut: a deletion at or below the source's purge frontier is not sent, and the frontier is told.
func TestCollectableIsLeftOut(t *testing.T) {
	source := filled(t, 20) // the items 4, 9, 14 and 19 are deleted, the last at 20
	source.purge = 15 << 16
	p := page(t, NewServer(tableIn(t, eu), source, nil), ap, &Request{Table: theTable, Since: version, MaxBytes: 1 << 20})
	if len(p.Records) != 17 || p.Purge != source.purge || p.Feed != source.purge || !p.Done {
		t.Fatalf("%d records, %+v", len(p.Records), p.End)
	}
	for _, r := range p.Records {
		if gone, err := conflict.Collectable(r.Bytes, source.purge); gone || err != nil {
			t.Errorf("%x came, which can be collected; %v", r.Key, err)
		}
	}
	source.list[3].Bytes = []byte{0xff}
	if _, _, err := NewServer(tableIn(t, eu), source, nil).Answer(t.Context(), ap, &Request{Table: theTable, Since: version, MaxBytes: 1 << 20}); err == nil {
		t.Error("what is no record was sent")
	}
}

func TestServerRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		self, asker globaltable.Descriptor
		r           Request
		kind        globaltable.Kind
		text        string
	}{
		"a later version":     {eu, ap, Request{Table: theTable, Since: version + 1}, globaltable.Unavailable, "has not adopted"},
		"an unknown table":    {eu, ap, Request{Table: theTable + 1<<16}, globaltable.Unavailable, "has not adopted"},
		"who has no replica":  {eu, in, Request{Table: theTable}, globaltable.Denied, "in has no replica"},
		"in a joining region": {ap, us, Request{Table: theTable, Since: 1}, globaltable.Denied, "ap has no active replica"},
		"in a foreign region": {in, us, Request{Table: theTable}, globaltable.Denied, "in has no active replica"},
		"the system table":    {eu, ap, Request{Table: globaltable.SystemTable}, globaltable.Invalid, "cannot be exchanged"},
		"a key too long":      {eu, ap, Request{Table: theTable, After: make([]byte, maxKey+1)}, globaltable.Invalid, "cannot be exchanged"},
		"less than nothing":   {eu, ap, Request{Table: theTable, MaxBytes: -1}, globaltable.Invalid, "cannot be exchanged"},
	} {
		b, _, err := NewServer(tableIn(t, c.self), filled(t, 3), nil).Answer(t.Context(), c.asker, &c.r)
		if globaltable.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.text) || b != nil {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
}

func TestDecodePageRefuses(t *testing.T) {
	encode := func(keys ...string) (b []byte) {
		for _, k := range keys {
			b = appendRecord(b, []byte(k), []byte("record"))
		}
		return b
	}
	r := &Request{After: []byte("b"), Before: []byte("y"), MaxBytes: 100}
	for name, c := range map[string]struct {
		records []byte
		damaged bool
		done    bool
	}{
		"damaged":           {encode("c"), true, true},
		"cut":               {encode("c")[:5], false, true},
		"the key asked for": {encode("b"), false, true},
		"a key before":      {encode("a"), false, true},
		"a key after":       {encode("c", "y"), false, true},
		"no key":            {encode(""), false, true},
		"twice":             {encode("c", "c"), false, true},
		"not in order":      {encode("d", "c"), false, true},
		"a long key":        {encode(strings.Repeat("c", maxKey+1)), false, true},
		"nothing, and more": {nil, false, false},
	} {
		end := End{Done: c.done, Sum: xxhash.Sum64(c.records)}
		if c.damaged {
			end.Sum++
		}
		if p, err := DecodePage(r, c.records, end); globaltable.KindOf(err) != globaltable.Corrupt || p != nil {
			t.Errorf("%s: %v, %v", name, p, err)
		}
	}
	b := encode("c", "d")
	if p, err := DecodePage(r, b, End{Sum: xxhash.Sum64(b)}); err != nil || len(p.Records) != 2 || p.Size() != 14 {
		t.Error(p, err)
	}
}

// FuzzDecodePage: no panic, and what is accepted is what would be sent.
func FuzzDecodePage(f *testing.F) {
	f.Add(appendRecord(appendRecord(nil, []byte("a"), []byte("x")), []byte("b"), nil))
	f.Add([]byte{1, 'a', 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := DecodePage(&Request{MaxBytes: 1}, b, End{Sum: xxhash.Sum64(b), Done: true})
		if err != nil {
			return
		}
		var again []byte
		for _, r := range p.Records {
			again = appendRecord(again, r.Key, r.Bytes)
		}
		if q, err := DecodePage(&Request{MaxBytes: 1}, again, End{Sum: xxhash.Sum64(again), Done: true}); err != nil || !same(p.Records, q.Records) {
			t.Fatalf("%x came back as %x: %v", b, again, err)
		}
	})
}
