package repair

import (
	"fmt"
	"slices"
	"testing"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/globaltable/item"
)

// pinnedIn is the catalog of the region self, in which ap and eu alone may have what begins with "EU#", us nothing of it any more, and ap has gained it.
func pinnedIn(t testing.TB, self globaltable.Descriptor) *catalog.Catalog {
	t.Helper()
	first := globaltable.MakeVersion(1, 1)
	doc := &globaltable.Table{ID: theTable, Name: "orders", Owner: 2, Version: version, Predecessor: globaltable.Hash{1}, CreatedAt: 1000,
		KeySchema: globaltable.KeySchema{Partition: globaltable.KeyAttribute{Name: "id", Type: item.S}}, Billing: globaltable.PayPerRequest,
		Class: globaltable.ClassStandard,
		Replicas: []globaltable.Replica{{Region: "ap", Origin: 1, Jurisdiction: "IN", Status: globaltable.Active, Since: first, Placing: version},
			{Region: "eu", Origin: 2, Jurisdiction: "EU", Status: globaltable.Active, Since: first, Placing: version},
			{Region: "us", Origin: 3, Jurisdiction: "US", Status: globaltable.Active, Since: first, Placing: version}},
		Pins: []globaltable.Pin{{Name: "eu", Match: globaltable.Match{KeyPrefix: "EU#"}, Jurisdictions: []string{"EU", "IN"}, Foreign: globaltable.Reject, Gaining: []hlc.Origin{1}}}}
	if err := doc.Validate(); err != nil {
		t.Fatal(err)
	}
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
	if err := c.Load([]item.Item{catalog.EncodeDocument(doc)}, nil); err != nil {
		t.Fatal(err)
	}
	return c
}

// mixed is a source with n items, of which one in ten is pinned.
func mixed(t testing.TB, n int) (s *records, pinned, others []string) {
	s = &records{incarnation: 7}
	for i := range n {
		id := fmt.Sprint("item ", i)
		if i%10 == 0 {
			id = "EU#" + id
			pinned = append(pinned, id)
		} else {
			others = append(others, id)
		}
		s.put(t, id, 100)
	}
	slices.Sort(pinned)
	slices.Sort(others)
	return s, pinned, others
}

// ids reads all that asker gets, and returns what it is and in how many pages it came.
func ids(t testing.TB, s *Server, asker globaltable.Descriptor, r Request) (out []string, pages int) {
	t.Helper()
	for {
		p := page(t, s, asker, &r)
		pages++
		for _, rec := range p.Records {
			partition, _, err := item.DecodeKey(rec.Key, false)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, string(partition.Bytes()))
		}
		if p.Done {
			slices.Sort(out)
			return out, pages
		}
		r.After = p.upTo()
	}
}

func TestExchangeGivesWhatTheAskerMayHave(t *testing.T) {
	source, pinned, others := mixed(t, 400)
	s := NewServer(pinnedIn(t, us), source, nil)
	s.maxRead = 4000 // a tenth of all: whole pages have nothing for the asker
	all := slices.Sorted(slices.Values(slices.Concat(pinned, others)))
	for _, c := range []struct {
		asker  globaltable.Descriptor
		gained bool
		want   []string
	}{{eu, false, all}, {ap, false, all}, {ap, true, pinned}, {eu, true, nil}} {
		got, pages := ids(t, s, c.asker, Request{Table: theTable, Since: version, MaxBytes: 1 << 20, Gained: c.gained})
		if !slices.Equal(got, c.want) {
			t.Errorf("%s, gained %v: %d items, want %d", c.asker.Name, c.gained, len(got), len(c.want))
		}
		if pages < 5 {
			t.Errorf("%s, gained %v: %d pages: one answer reads too much", c.asker.Name, c.gained, pages)
		}
	}
	got, _ := ids(t, NewServer(pinnedIn(t, eu), source, nil), us, Request{Table: theTable, Since: version, MaxBytes: 1 << 20})
	if !slices.Equal(got, others) {
		t.Errorf("us gets %d items, want the %d that are not pinned", len(got), len(others))
	}
}

func TestDigestsAreOfWhatBothMayHold(t *testing.T) {
	source, pinned, others := mixed(t, 400)
	count := func(self, asker globaltable.Descriptor) (n int) {
		s := NewServer(pinnedIn(t, self), source, nil)
		for from := 0; from < Buckets; from += rangeBuckets {
			d, err := s.Digests(t.Context(), asker, &DigestsRequest{Table: theTable, Version: version, From: from, To: from + rangeBuckets, At: 1 << 40})
			if err != nil {
				t.Fatal(err)
			}
			for b := range rangeBuckets {
				n += int(d.bucket(b).count)
			}
		}
		return n
	}
	for _, c := range []struct {
		self, asker globaltable.Descriptor
		want        int
	}{{eu, ap, len(pinned) + len(others)}, {ap, eu, len(pinned) + len(others)}, {eu, us, len(others)}, {us, eu, len(others)}} {
		if got := count(c.self, c.asker); got != c.want {
			t.Errorf("%s for %s: %d items, want %d", c.self.Name, c.asker.Name, got, c.want)
		}
	}
}
