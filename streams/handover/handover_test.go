package handover

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/streams/repair"
)

const tableID globaltable.TableID = 0x1000

var (
	us, eu, ap hlc.Origin = 1, 2, 3
	names                 = map[hlc.Origin]string{us: "us", eu: "eu", ap: "ap"}
)

// document is a table in three regions, of which region us is placing; items that begin with e may be in eu, with b in eu and ap, with n in a region that is fenced.
func document() *globaltable.Table {
	t := &globaltable.Table{ID: tableID, Name: "orders", Version: globaltable.MakeVersion(1, 5), KeySchema: globaltable.KeySchema{Partition: globaltable.KeyAttribute{Name: "id", Type: item.S}}}
	for _, o := range []hlc.Origin{us, eu, ap} {
		t.Replicas = append(t.Replicas, globaltable.Replica{Region: names[o], Origin: o, Status: globaltable.Active, Placing: globaltable.MakeVersion(1, 4)})
	}
	t.Replicas = append(t.Replicas, globaltable.Replica{Region: "old", Origin: 4, Status: globaltable.StatusFenced})
	pin := func(prefix string, regions ...string) {
		t.Pins = append(t.Pins, globaltable.Pin{Name: prefix, Match: globaltable.Match{KeyPrefix: prefix}, Regions: regions, Foreign: globaltable.Reject})
	}
	pin("e", "eu")
	pin("b", "ap", "eu")
	pin("n", "old")
	return t
}

func keyOf(id string) item.Key {
	k, err := item.AppendKey(nil, item.AppendString(nil, id), nil)
	if err != nil {
		panic(err)
	}
	return k
}

// store is a giver's store: records by key, which a test may change in between.
type memory struct {
	records map[string][]byte
	saved   map[string]string // parts, with bars between them
	erased  []string          // "region key"
	clock   hlc.Timestamp
	refuses bool // a clock that is too far ahead
}

func (m *memory) Incarnation() globaltable.Incarnation { return 9 }

func (m *memory) Records(_ context.Context, table globaltable.TableID, from, _ item.Key, f func(item.Key, []byte) bool) error {
	if table != tableID {
		return nil
	}
	keys := make([]string, 0, len(m.records))
	for k := range m.records {
		if bytes.Compare([]byte(k), from) > 0 {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	for _, k := range keys {
		if !f(item.Key(k), m.records[k]) {
			return nil
		}
	}
	return nil
}

func (m *memory) Observe(t hlc.Timestamp) error {
	m.clock = t
	if m.refuses {
		return &globaltable.Error{Op: "observe", Kind: globaltable.Unavailable}
	}
	return nil
}

func (m *memory) Purge(globaltable.TableID) hlc.Timestamp { return 77 }

// SavedParts implements Saved.
func (m *memory) SavedParts(table globaltable.TableID, after SavedAt, f func(SavedPart) bool) error {
	if table != tableID {
		return nil
	}
	keys := make([]string, 0, len(m.saved))
	for k := range m.saved {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		parts := strings.Split(m.saved[k], "|")
		for i, text := range parts {
			at := SavedPart{Key: item.Key(k), Bytes: []byte(text), Upto: hlc.Stamp{Time: hlc.Timestamp(i + 1), Origin: us}, More: i+1 < len(parts), Sole: len(parts) > 1}
			switch c := bytes.Compare(at.Key, after.Key); {
			case c < 0, c == 0 && (after.Upto.IsZero() || !after.Upto.Less(at.Upto)):
				continue
			}
			if !f(at) {
				return nil
			}
		}
	}
	return nil
}

func (m *memory) EraseGiven(_ context.Context, of globaltable.TableID, placing globaltable.Version, to string, table globaltable.TableID, parts []repair.Record) (erased int, err error) {
	if of != tableID || placing != globaltable.MakeVersion(1, 4) {
		return 0, errors.New("of another table or version")
	}
	for _, p := range parts {
		if k := string(p.Key); strings.HasSuffix(m.saved[k], string(p.Bytes)) {
			delete(m.saved, k)
			m.erased = append(m.erased, to)
			erased++
		}
	}
	return erased, nil
}

func (m *memory) Erase(_ context.Context, of globaltable.TableID, placing globaltable.Version, to string, table globaltable.TableID, records []repair.Record) (erased int, err error) {
	if of != tableID || placing != globaltable.MakeVersion(1, 4) {
		return 0, errors.New("of another table or version")
	}
	for _, r := range records {
		if k := string(r.Key); bytes.Equal(m.records[k], r.Bytes) {
			delete(m.records, k)
			m.erased = append(m.erased, to)
			erased++
		}
	}
	return erased, nil
}

// regions answers offers.
type regions struct {
	giver  *Giver
	cut    map[string]bool
	taken  map[string][]repair.Record
	sizes  []int
	offers []Offer
	after  func(region string)
	clock  hlc.Timestamp // of those who take
}

func (r *regions) HandOver(_ context.Context, region string, o *Offer) (hlc.Timestamp, error) {
	if r.cut[region] {
		return 0, &globaltable.Error{Op: "ask", Kind: globaltable.Unavailable}
	}
	r.offers = append(r.offers, *o)
	if _, _, err := r.giver.Answer(globaltable.Descriptor{Name: "another"}, &Pull{o.Page}); globaltable.KindOf(err) != globaltable.NotFound {
		return 0, fmt.Errorf("a page was given to another region: %w", err)
	}
	b, end, err := r.giver.Answer(globaltable.Descriptor{Name: region}, &Pull{o.Page})
	if err != nil {
		return 0, err
	}
	page, err := repair.DecodePage(&repair.Request{Table: o.Table}, b, end)
	if err != nil {
		return 0, err
	}
	r.taken[region] = append(r.taken[region], page.Records...)
	r.sizes = append(r.sizes, len(b))
	if r.after != nil {
		r.after(region)
	}
	r.clock++
	return r.clock, nil
}

func world(records int, size int) (*memory, *regions) {
	m := &memory{records: map[string][]byte{}}
	for i := range records {
		for _, prefix := range []string{"e", "b", "x"} {
			m.records[string(keyOf(fmt.Sprint(prefix, i)))] = bytes.Repeat([]byte{byte(i)}, size)
		}
	}
	r := &regions{cut: map[string]bool{}, taken: map[string][]repair.Record{}}
	r.giver = NewGiver(globaltable.Descriptor{Name: "us", Origin: us}, m, m, r, func(o hlc.Origin) string { return names[o] })
	return m, r
}

func give(t *testing.T, r *regions) Given {
	t.Helper()
	doc := document()
	feed := *doc
	feed.ID = tableID.Feed()
	given, err := r.giver.Give(t.Context(), doc, &feed)
	if err != nil {
		t.Fatal(err)
	}
	return given
}

// TestGive: what may not be here goes, page by page, to the first region of its placement that takes it; the rest stays.
func TestGive(t *testing.T) {
	m, r := world(700, 4000)
	given := give(t, r)
	if given.Records != 1400 || given.Left != 0 || given.Waiting != "" || len(m.records) != 700 {
		t.Errorf("%+v, %d are left", given, len(m.records))
	}
	for _, size := range r.sizes {
		if size > maxPage+5000 {
			t.Errorf("a page of %d bytes", size)
		}
	}
	r.giver.mu.Lock()
	defer r.giver.mu.Unlock()
	if len(r.giver.out) != 0 {
		t.Errorf("%d pages are still on offer", len(r.giver.out))
	}
}

// TestGiveWaits: where no region of a placement can be reached nothing goes, and it is said for whom it waits; what can go goes.
func TestGiveWaits(t *testing.T) {
	m, r := world(300, 10)
	r.cut["eu"] = true
	given := give(t, r)
	if given.Records != 300 || given.Left != 300 || len(m.records) != 600 || len(r.taken["ap"]) != 300 {
		t.Errorf("%+v", given)
	}
	if want := "eu to be reached, to take over what may not be in us"; given.Waiting != want {
		t.Errorf("%q, want %q", given.Waiting, want)
	}
	m.records[string(keyOf("nowhere"))] = []byte("x")
	if given := give(t, r); !strings.Contains(given.Waiting, "a region that may have it") {
		t.Errorf("%q", given.Waiting)
	}
}

// TestGiveKeepsWhatChanges: a record that has changed since it was given stays, and is given again.
func TestGiveKeepsWhatChanges(t *testing.T) {
	m, r := world(1, 10)
	key := string(keyOf("e0"))
	r.after = func(string) { m.records[key] = []byte("changed") }
	given := give(t, r)
	if given.Left != 1 || string(m.records[key]) != "changed" {
		t.Errorf("%+v", given)
	}
	r.after = nil
	if given := give(t, r); given.Left != 0 || m.records[key] != nil {
		t.Errorf("%+v", given)
	}
}

func TestTakers(t *testing.T) {
	doc := document()
	if got := Takers(doc, keyOf("b1"), us); !slices.Equal(got, []hlc.Origin{eu, ap}) {
		t.Errorf("%v", got)
	}
	doc.Pins[1].Gaining = []hlc.Origin{eu} // it does not serve them yet: it is asked last
	if got := Takers(doc, keyOf("b1"), us); !slices.Equal(got, []hlc.Origin{ap, eu}) {
		t.Errorf("%v", got)
	}
	if got := Takers(doc, keyOf("n1"), us); len(got) != 0 {
		t.Errorf("%v", got)
	}
}

// TestGiveGoesByTheTakersClock: nothing is erased, and so nothing said to be placed, before the giver's clock is past the taker's.
func TestGiveGoesByTheTakersClock(t *testing.T) {
	m, r := world(1, 10)
	m.refuses = true
	if given := give(t, r); given.Records != 0 || given.Left != 2 || len(m.records) != 3 {
		t.Errorf("%+v: erased with a clock that may be behind the taker's", given)
	}
	m.refuses = false
	if given := give(t, r); given.Left != 0 || m.clock != r.clock || r.clock == 0 {
		t.Errorf("%+v, the clock is at %v, the taker's at %v", given, m.clock, r.clock)
	}
}

func savedWorld() (*memory, *regions) {
	m, r := world(0, 0)
	m.saved = map[string]string{}
	for k, parts := range map[string]string{"e1": "1", "b1": "2", "b2": "3|4|5", "x1": "6", "b3": "7"} {
		m.saved[string(keyOf(k))] = parts
	}
	return m, r
}

func (r *regions) took(region string) (out []string) {
	for _, p := range r.taken[region] {
		out = append(out, string(p.Bytes))
	}
	slices.Sort(out)
	return out
}

// TestGiveSaved: what was saved goes as records do, the parts of one record one after the other; what may be here stays.
func TestGiveSaved(t *testing.T) {
	m, r := savedWorld()
	given := give(t, r)
	if given.Records != 4 || given.Left != 0 || len(m.saved) != 1 || m.saved[string(keyOf("x1"))] != "6" {
		t.Errorf("%+v, %v are left", given, m.saved)
	}
	if got := r.took("eu"); !slices.Equal(got, []string{"1", "2", "3", "4", "5", "7"}) {
		t.Errorf("%v", got)
	}
	for _, o := range r.offers {
		if !o.Saved {
			t.Errorf("%+v", o)
		}
	}
}

// TestGiveSavedToOne: what has contributions waits for the first region that may have it, and the parts that follow one that was not taken wait with it; the rest goes to the next.
func TestGiveSavedToOne(t *testing.T) {
	m, r := savedWorld()
	r.cut["eu"] = true
	given := give(t, r)
	if given.Records != 2 || given.Left != 2 || len(m.saved) != 3 || len(r.took("eu")) != 0 || !slices.Equal(r.took("ap"), []string{"2", "7"}) {
		t.Errorf("%+v, %v are left, ap took %v", given, m.saved, r.took("ap"))
	}
	if want := "eu to be reached, to take over what may not be in us"; given.Waiting != want {
		t.Errorf("%q, want %q", given.Waiting, want)
	}
	// An answer is lost in the middle: all parts are given again.
	r.cut["eu"] = false
	r.after = func(string) { r.cut["eu"] = len(r.took("eu")) == 2 }
	if given = give(t, r); given.Left == 0 {
		t.Errorf("%+v", given)
	}
	r.cut["eu"], r.after = false, nil
	if given = give(t, r); given.Left != 0 || len(m.saved) != 1 {
		t.Errorf("%+v, %v are left", given, m.saved)
	}
}

// TestGiveSavedWaitsForWhoServes: a region that is getting the item itself cannot replay what was saved of it. It is said that it is not ready; and where no region may have the item, that.
func TestGiveSavedWaitsForWhoServes(t *testing.T) {
	m, r := savedWorld()
	doc := document()
	doc.Pins[0].Gaining = []hlc.Origin{eu}
	m.saved[string(keyOf("n1"))] = "8"
	feed := *doc
	feed.ID = tableID.Feed()
	given, err := r.giver.Give(t.Context(), doc, &feed)
	if want := "eu to be ready to take over what may not be in us, a region that may have it, to take over what may not be in us"; err != nil || given.Left != 2 || given.Waiting != want {
		t.Errorf("%+v %v", given, err)
	}
	if m.saved[string(keyOf("e1"))] == "" || m.saved[string(keyOf("n1"))] == "" {
		t.Errorf("%v are left", m.saved)
	}
}

// taking is a taker's store that writes down what it gets.
type taking struct {
	records, saved int
	purge          hlc.Timestamp
}

func (k *taking) TakeOver(_ context.Context, _ globaltable.TableID, _ repair.Giver, _ globaltable.Version, records []repair.Record) error {
	k.records += len(records)
	return nil
}

func (k *taking) TakeOverSaved(_ context.Context, _ globaltable.TableID, _ repair.Giver, _ globaltable.Version, purge hlc.Timestamp, parts []repair.Record) error {
	k.saved, k.purge = k.saved+len(parts), purge
	return nil
}

// view is a catalog with one table, and a way to the giver.
type view struct {
	*catalog.Catalog
	page *repair.Page
}

func (v view) Trusts(hlc.Origin, globaltable.Incarnation) bool { return true }
func (v view) Offered(context.Context, string, *Offer) (*repair.Page, error) {
	return v.page, nil
}

// TestTakeSaved: what was saved is taken over by who serves the items, at the same version of the table; records also by who is getting them.
func TestTakeSaved(t *testing.T) {
	descriptor := func(o hlc.Origin) globaltable.Descriptor {
		return globaltable.Descriptor{Name: names[o], Jurisdiction: "T", Origin: o, PublicKey: "UDXQKBVHVLMHTCNTB6U4XHNWYVEWNSWRKT44VTTKRZZNWYVW6ZDSXCUY"}
	}
	for _, gaining := range []bool{false, true} {
		c, err := catalog.New(descriptor(eu), []globaltable.Descriptor{descriptor(us)})
		if err != nil {
			t.Fatal(err)
		}
		doc, err := catalog.Create(&catalog.Spec{Name: "orders", KeySchema: globaltable.KeySchema{Partition: globaltable.KeyAttribute{Name: "id", Type: item.S}}}, 1000<<16|1, descriptor(us), 1)
		if err != nil {
			t.Fatal(err)
		}
		doc.Predecessor, doc.Version = globaltable.HashTable(doc), globaltable.MakeVersion(1, 4)
		doc.Replicas = append([]globaltable.Replica{{Region: "eu", Jurisdiction: "T", Origin: eu, Status: globaltable.Active, Since: 1, Born: 1, Placing: globaltable.MakeVersion(1, 3)}}, doc.Replicas...)
		doc.Pins = []globaltable.Pin{{Name: "e", Match: globaltable.Match{KeyPrefix: "e"}, Regions: []string{"eu"}, Foreign: globaltable.Reject, SingleCopy: true}}
		if gaining {
			doc.Pins[0].Gaining = []hlc.Origin{eu}
		}
		if err := c.Load([]item.Item{catalog.EncodeDocument(doc)}, nil); err != nil {
			t.Fatal(err)
		}
		store := new(taking)
		v := view{c, &repair.Page{End: repair.End{Incarnation: 9, Done: true, Purge: 77}, Records: []repair.Record{{Key: keyOf("e1"), Bytes: []byte("x")}}}}
		taker := NewTaker(v, store, v)
		for _, saved := range []bool{false, true} {
			err := taker.Take(t.Context(), descriptor(us), &Offer{Table: doc.ID, Version: doc.Version, Incarnation: 9, Saved: saved})
			if refused := globaltable.KindOf(err) == globaltable.Unavailable; refused != (saved && gaining) || !refused && err != nil {
				t.Errorf("gaining %v, saved %v: %v", gaining, saved, err)
			}
		}
		if want := (taking{records: 1}); gaining && *store != want {
			t.Errorf("%+v", store)
		}
		if want := (taking{records: 1, saved: 1, purge: 77}); !gaining && *store != want {
			t.Errorf("%+v", store)
		}
		if err := taker.Take(t.Context(), descriptor(us), &Offer{Table: doc.ID, Version: doc.Version + 1, Incarnation: 9, Saved: true}); globaltable.KindOf(err) != globaltable.Unavailable {
			t.Errorf("at another version: %v", err)
		}
	}
}
