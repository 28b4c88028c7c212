package peer_test

import (
	"bytes"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nkeys"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/streams/bus"
	"github.com/concordat-db/concordat/streams/change"
	"github.com/concordat-db/concordat/streams/inbox"
	"github.com/concordat-db/concordat/streams/peer"
	"github.com/concordat-db/concordat/streams/repair"
	"github.com/concordat-db/concordat/streams/watermark"
)

func TestHelloIntroducesBothSides(t *testing.T) {
	onEachBus(t, func(t *testing.T, s *story) {
		s.us.known[eu], s.eu.known[us] = 100, 99
		s.connect()
		answer, err := s.client().Hello(t.Context(), peer.Hello{Descriptor: s.us.token, Incarnation: 100})
		if err != nil {
			t.Fatal(err)
		}
		if want := (peer.Hello{Descriptor: s.eu.token, Incarnation: 100, KnownOfYou: 99}); answer != want {
			t.Errorf("answer %+v, want %+v", answer, want)
		}
		if len(s.eu.regressed)+len(s.us.regressed) > 0 {
			t.Errorf("regressed: %v %v", s.eu.regressed, s.us.regressed)
		}
	})
}

func TestHelloRefusesImpostors(t *testing.T) {
	s := inMemory(t)
	client := s.client()
	stranger, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	claim := func(change func(*globaltable.Descriptor), key nkeys.KeyPair) string {
		d := s.us.descriptor
		change(&d)
		return sign(t, d, key)
	}
	for name, c := range map[string]struct {
		token string
		kind  globaltable.Kind
		text  string
	}{
		"name":         {claim(func(d *globaltable.Descriptor) { d.Name = "in" }, s.us.key), globaltable.Denied, "name"},
		"jurisdiction": {claim(func(d *globaltable.Descriptor) { d.Jurisdiction = "EU" }, s.us.key), globaltable.Denied, "jurisdiction"},
		"number":       {claim(func(d *globaltable.Descriptor) { d.Origin = 9 }, s.us.key), globaltable.Denied, "origin"},
		"key":          {claim(func(*globaltable.Descriptor) {}, stranger), globaltable.Denied, "key"},
		"signature":    {s.us.token[:len(s.us.token)-8] + "AAAAAAAA", globaltable.Denied, "signature"},
		"no token":     {"", globaltable.Invalid, "two parts"},
		"long token":   {strings.Repeat("a", 100_000), globaltable.Invalid, "longer"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := client.Hello(t.Context(), peer.Hello{Descriptor: c.token, Incarnation: 100, KnownOfYou: 1000})
			expectKind(t, err, c.kind, c.text)
		})
	}
	delete(s.eu.peers, "us")
	_, err = client.Hello(t.Context(), peer.Hello{Descriptor: s.us.token})
	expectKind(t, err, globaltable.Denied, "does not know that peer")
	if len(s.eu.regressed) != 0 {
		t.Errorf("the word of an impostor counts: %v", s.eu.regressed)
	}
}

func TestConnectRefusesAnotherOrigin(t *testing.T) {
	s := inMemory(t)
	cfg := s.us.session(s.eu, s.dial)
	cfg.Origin.Jurisdiction = "US"
	_, err := peer.Connect(t.Context(), cfg)
	expectKind(t, err, globaltable.Denied, "jurisdiction")

	cfg = s.us.session(s.eu, func() (bus.Link, error) { return nil, bus.ErrLinkLost })
	if _, err := peer.Connect(t.Context(), cfg); !errors.Is(err, bus.ErrLinkLost) {
		t.Errorf("error %v", err)
	}
}

func TestHelloTellsOfALostLife(t *testing.T) {
	s := inMemory(t)
	s.eu.known[us] = 101 // eu has met a later life of us than this one
	s.us.known[eu] = 102
	s.connect()
	if len(s.us.regressed) != 1 || !strings.Contains(s.us.regressed[0], "later incarnation") {
		t.Errorf("us was told %v", s.us.regressed)
	}
	if len(s.eu.regressed) != 1 || !strings.Contains(s.eu.regressed[0], "later incarnation") {
		t.Errorf("eu was told %v", s.eu.regressed)
	}
}

// TestHeartbeatTellsOfAnEarlierStore: a peer whose session has outlived the store tells by its positions which one it follows, whatever it said when it introduced itself.
func TestHeartbeatTellsOfAnEarlierStore(t *testing.T) {
	s := inMemory(t)
	for applied, want := range map[peer.Applied][]globaltable.Incarnation{
		{Lane: 1, Incarnation: 90, Seq: 3}:  {90},
		{Lane: 1, Incarnation: 100, Seq: 3}: nil,
		{Lane: 1, Incarnation: 90}:          nil, // nothing applied
	} {
		s.eu.met = nil
		if _, err := s.client().Positions(t.Context(), peer.Positions{Incarnation: 100, Applied: []peer.Applied{applied}}); err != nil {
			t.Fatal(err)
		}
		expectEqual(t, "met", s.eu.met, want)
	}
}

// TestConfirmationsAreTimed: what a region confirms whose clock is too far ahead may be applied after writes that it stamped much later than anything here. That counts for the log, and not for what is decided after
// it, until it is told at a time that this region's clock is past.
func TestConfirmationsAreTimed(t *testing.T) {
	for name, confirm := range map[string]func(c peer.Client, a []peer.Applied, clock hlc.Timestamp) error{
		"heartbeat": func(c peer.Client, a []peer.Applied, clock hlc.Timestamp) error {
			_, err := c.Positions(t.Context(), peer.Positions{Incarnation: 100, Applied: a, Clock: clock})
			return err
		},
		"confirm": func(c peer.Client, a []peer.Applied, clock hlc.Timestamp) error {
			return c.Confirm(t.Context(), peer.Confirm{Applied: a, Clock: clock})
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := inMemory(t)
			e := s.eu.log.write(shared, 10)
			applied := []peer.Applied{{Lane: shared.Lane(), Incarnation: 100, Seq: 1, Chain: e.Chain}}
			told := confirmation{us, shared.Lane(), 1}
			for _, clock := range []hlc.Timestamp{at(time.Hour), at(time.Hour), at(300 * time.Millisecond), at(400 * time.Millisecond)} {
				if err := confirm(s.client(), applied, clock); err != nil {
					t.Fatal(err)
				}
				if clock == at(time.Hour) {
					expectEqual(t, "confirmed", s.eu.confirmed, []confirmation{told})
					expectEqual(t, "confirmed behind the clock", s.eu.past, nil)
				}
			}
			expectEqual(t, "confirmed", s.eu.confirmed, []confirmation{told, told})
			expectEqual(t, "confirmed behind the clock", s.eu.past, []confirmation{told})
			if last := s.eu.clock.Last(); last < at(300*time.Millisecond) {
				t.Errorf("the clock is at %s", last)
			}
		})
	}
}

func TestPositionsAreConfirmedOnceChecked(t *testing.T) {
	const own = globaltable.Incarnation(100)
	s := inMemory(t)
	var shipped []change.Entry
	for range 3 {
		shipped = append(shipped, s.eu.log.write(shared, 100))
	}
	kept := s.eu.log.write(foreign, 100)
	lane, other := shared.Lane(), foreign.Lane()
	for _, c := range []struct {
		name      string
		applied   peer.Applied
		trimmed   uint64
		confirmed uint64 // 0: nothing
		regressed string
	}{
		{name: "nothing applied", applied: peer.Applied{Lane: lane, Incarnation: own}},
		{name: "in the middle", applied: peer.Applied{Lane: lane, Incarnation: own, Seq: 2, Chain: shipped[1].Chain}, confirmed: 2},
		{name: "the head", applied: peer.Applied{Lane: lane, Incarnation: own, Seq: 3, Chain: shipped[2].Chain}, confirmed: 3},
		{name: "another chain in the middle", applied: peer.Applied{Lane: lane, Incarnation: own, Seq: 2, Chain: shipped[0].Chain}, regressed: "another history"},
		{name: "another chain at the head", applied: peer.Applied{Lane: lane, Incarnation: own, Seq: 3, Chain: shipped[0].Chain}, regressed: "another history"},
		{name: "beyond the head", applied: peer.Applied{Lane: lane, Incarnation: own, Seq: 4, Chain: shipped[2].Chain}, regressed: "more of a lane"},
		{name: "a later life", applied: peer.Applied{Lane: lane, Incarnation: own + 1, Seq: 2, Chain: shipped[1].Chain}, regressed: "later incarnation"},
		{name: "an earlier life", applied: peer.Applied{Lane: lane, Incarnation: own - 1, Seq: 2, Chain: shipped[1].Chain}},
		{name: "trimmed already", applied: peer.Applied{Lane: lane, Incarnation: own, Seq: 2, Chain: shipped[1].Chain}, trimmed: 2},
		{name: "trimmed already, and what follows is another history", applied: peer.Applied{Lane: lane, Incarnation: own, Seq: 2, Chain: shipped[1].Chain, Diverged: true}, trimmed: 2, regressed: "another history"},
		{name: "nothing applied, and a greater head was heard of", applied: peer.Applied{Lane: lane, Incarnation: own, Diverged: true}, regressed: "another history"},
		{name: "the same of an earlier life", applied: peer.Applied{Lane: lane, Incarnation: own - 1, Diverged: true}},
		{name: "a lane without the asker", applied: peer.Applied{Lane: other, Incarnation: own, Seq: 1, Chain: kept.Chain}},
		{name: "no lane at all", applied: peer.Applied{Lane: 99, Incarnation: own, Seq: 1}, regressed: "more of a lane"},
		{name: "no lane at all, of a later life", applied: peer.Applied{Lane: 99, Incarnation: own + 1, Seq: 1}, regressed: "later incarnation"},
		{name: "no lane at all, of an earlier life", applied: peer.Applied{Lane: 99, Incarnation: own - 1, Seq: 1}},
		{name: "no lane at all, and nothing applied", applied: peer.Applied{Lane: 99, Incarnation: own}},
	} {
		for way, tell := range map[string]func(peer.Client) error{
			"by heartbeat": func(client peer.Client) error {
				_, err := client.Positions(t.Context(), peer.Positions{Incarnation: 100, Applied: []peer.Applied{c.applied}})
				return err
			},
			"between heartbeats": func(client peer.Client) error {
				return client.Confirm(t.Context(), peer.Confirm{Applied: []peer.Applied{c.applied}})
			},
		} {
			t.Run(c.name+" "+way, func(t *testing.T) {
				s.eu.confirmed, s.eu.regressed = nil, nil
				s.eu.log.find(lane).trimmed = c.trimmed
				network := bus.NewMemoryNetwork() // a service that has verified nothing yet
				fresh := &story{t: t, eu: s.eu, us: s.us, dial: func() (bus.Link, error) { return network.Dial("us", "eu"), nil }}
				fresh.serve(network.Home("eu"))
				if err := tell(fresh.client()); err != nil {
					t.Fatal(err)
				}
				var want []confirmation
				if c.confirmed > 0 {
					want = []confirmation{{us, lane, c.confirmed}}
				}
				expectEqual(t, "confirmed", s.eu.confirmed, want)
				if told := strings.Join(s.eu.regressed, ","); (c.regressed == "") != (told == "") || !strings.Contains(told, c.regressed) {
					t.Errorf("regressed: %q, want %q", told, c.regressed)
				}
			})
		}
	}
}

func TestPositionsAreConfirmedOnce(t *testing.T) {
	s := inMemory(t)
	first, second := s.eu.log.write(shared, 10), s.eu.log.write(shared, 10)
	client := s.client()
	for _, e := range []change.Entry{first, first, second, first} {
		_, err := client.Positions(t.Context(), peer.Positions{Applied: []peer.Applied{{Lane: shared.Lane(), Incarnation: 100, Seq: e.Seq, Chain: e.Chain}}})
		if err != nil {
			t.Fatal(err)
		}
	}
	expectEqual(t, "confirmed", s.eu.confirmed, []confirmation{{us, shared.Lane(), 1}, {us, shared.Lane(), 2}})
}

func TestHeartbeatTellsOfSharedLanesOnly(t *testing.T) {
	onEachBus(t, func(t *testing.T, s *story) {
		e := s.eu.log.write(shared, 10)
		s.eu.log.write(foreign, 10)
		all := s.eu.log.write(everyone, 10)
		s.eu.matrix.Raise(shared.Lane(), 5)
		s.eu.matrix.Raise(foreign.Lane(), 6)
		session := s.connect()
		s.eu.mu.Lock()
		s.eu.physical = start.Add(-40 * time.Millisecond)
		s.eu.mu.Unlock()
		got, err := session.Heartbeat(t.Context(), []inbox.LanePosition{
			{Lane: shared.Lane(), Position: globaltable.Position{Incarnation: 100, Seq: 1, Chain: e.Chain}}})
		if err != nil {
			t.Fatal(err)
		}
		if got.Incarnation != 100 || got.HLC == 0 || got.HLC > s.us.clock.Last() {
			t.Errorf("heartbeat %+v with the clock at %d", got, s.us.clock.Last())
		}
		expectEqual(t, "heads", got.Heads, []inbox.Head{{Lane: shared.Lane(), Seq: 1, Chain: e.Chain}, {Lane: everyone.Lane(), Seq: 1, Chain: all.Chain}})
		expectEqual(t, "confirmed", s.eu.confirmed, []confirmation{{us, shared.Lane(), 1}})
		if p, q := s.us.matrix.Purge(shared.Lane()), s.us.matrix.Purge(foreign.Lane()); p != 5 || q != 0 {
			t.Errorf("purge frontiers %d and %d, want 5 and none", p, q)
		}
		if s.us.offset != 40*time.Millisecond {
			t.Errorf("the clock is ahead by %s, want 40 ms", s.us.offset)
		}
		// The heartbeat goes both ways: eu knows the row of us.
		if row, ok := s.eu.matrix.Row(us); !ok || row.HLC == 0 || row.HLC > s.eu.clock.Last() {
			t.Errorf("eu has the row %+v of us, with its clock at %d", row, s.eu.clock.Last())
		}
	})
}

// TestHeldLaneOfAnotherHistory: of a lane of which not all is here nothing is told but that its origin went back. That cannot wait for the exchange to end.
func TestHeldLaneOfAnotherHistory(t *testing.T) {
	onEachBus(t, func(t *testing.T, s *story) {
		e := s.eu.log.write(shared, 10)
		session := s.connect()
		held := inbox.LanePosition{Lane: shared.Lane(), Position: globaltable.Position{Incarnation: 100, Seq: 1, Chain: e.Chain}, Held: true}
		for _, stop := range []inbox.Stop{inbox.Running, inbox.Diverged} {
			held.Stop = stop
			if _, err := session.Heartbeat(t.Context(), []inbox.LanePosition{held}); err != nil {
				t.Fatal(err)
			}
			if told := len(s.eu.regressed) > 0; told != (stop == inbox.Diverged) || len(s.eu.confirmed) > 0 {
				t.Errorf("%s: regressed: %v, confirmed: %v", stop, s.eu.regressed, s.eu.confirmed)
			}
		}
	})
}

func TestRowsAreUsedOnlyBehindTheClock(t *testing.T) {
	row := func(o hlc.Origin, ahead time.Duration) watermark.Row {
		return watermark.Row{Region: o, HLC: at(ahead), Marks: map[hlc.Origin]hlc.Timestamp{eu: at(ahead), us: at(ahead)}}
	}
	clock := hlc.NewClock(func() time.Time { return start }, 500*time.Millisecond)
	m := watermark.New()
	watch := func(ts hlc.Timestamp) error {
		for _, r := range m.Rows() {
			if r.HLC > clock.Last() {
				t.Errorf("the row of %d is used at %d, the clock is at %d", r.Region, r.HLC, clock.Last())
			}
		}
		return clock.Observe(ts)
	}
	peer.UseRows(m, watch, us, []watermark.Row{row(eu, 400*time.Millisecond), row(us, time.Millisecond), row(in, time.Second)}, at(100*time.Millisecond))
	if got, ok := m.Row(eu); !ok || got.HLC != at(400*time.Millisecond) || clock.Last() < got.HLC {
		t.Errorf("the row of eu is %+v, the clock at %d", got, clock.Last())
	}
	if _, ok := m.Row(in); ok || clock.Last() > at(400*time.Millisecond) {
		t.Errorf("a row from too far ahead is used, or moved the clock to %d", clock.Last())
	}
	if _, ok := m.Row(us); ok {
		t.Error("others wrote the own row")
	}
	peer.UseRows(m, watch, us, []watermark.Row{row(eu, 450*time.Millisecond)}, at(480*time.Millisecond))
	if got, _ := m.Row(eu); got.HLC != at(450*time.Millisecond) || clock.Last() != at(480*time.Millisecond) {
		t.Errorf("the row of eu is of %d, and the clock at %d: what eu had written by then may have a greater stamp", got.HLC, clock.Last())
	}
	peer.UseRows(m, watch, us, []watermark.Row{row(eu, 490*time.Millisecond)}, at(time.Second))
	if got, _ := m.Row(eu); got.HLC != at(450*time.Millisecond) {
		t.Error("a row is used of a region too far ahead, which may have written much later before it had applied what the row says")
	}
}

func TestOriginTooFarAheadIsHeardWithoutItsMarks(t *testing.T) {
	s := inMemory(t)
	s.eu.physical = start.Add(time.Minute)
	e := s.eu.log.write(shared, 10)
	s.eu.matrix.Raise(shared.Lane(), 5)
	s.eu.matrix.Update(watermark.Row{Region: in, HLC: 7})
	session := s.connect()
	got, err := session.Heartbeat(t.Context(), []inbox.LanePosition{
		{Lane: shared.Lane(), Position: globaltable.Position{Incarnation: 100, Seq: 1, Chain: e.Chain}}})
	if err != nil {
		t.Fatal(err)
	}
	if got.HLC != 0 || len(got.Heads) != 1 {
		t.Errorf("heartbeat %+v: wanted without a time, with heads", got)
	}
	if _, ok := s.us.matrix.Row(in); ok || s.us.matrix.Purge(shared.Lane()) != 0 {
		t.Error("rows and frontiers of an origin too far ahead are used")
	}
	expectEqual(t, "confirmed", s.eu.confirmed, []confirmation{{us, shared.Lane(), 1}})
}

// TestFenced: a peer that is not trusted may say hello and ask the control plane, and nothing else. Its session lives on.
func TestFenced(t *testing.T) {
	onEachBus(t, func(t *testing.T, s *story) {
		s.eu.mu.Lock()
		s.eu.trusts = func(o hlc.Origin, incarnation globaltable.Incarnation) (bool, globaltable.Version) {
			return o != us || incarnation == 101, 7
		}
		s.eu.mu.Unlock()
		type tale struct {
			is bool
			by globaltable.Version
		}
		var told []tale
		s.us.fenced = func(origin string, is bool, by globaltable.Version) {
			if origin != s.eu.descriptor.Name {
				t.Errorf("told of %s", origin)
			}
			told = append(told, tale{is, by})
		}
		session := s.connect()
		h, err := session.Heartbeat(t.Context(), nil)
		if err != nil || h.Incarnation != 0 || len(s.eu.confirmed) > 0 {
			t.Errorf("%+v %v", h, err)
		}
		if _, err := s.client().Control(t.Context(), []byte("{}")); err != nil {
			t.Error(err)
		}
		_, _, err = s.client().ReadLog(t.Context(), peer.ReadLog{Lane: shared.Lane(), From: 1})
		expectKind(t, err, globaltable.Fenced, "does not follow")
		_, err = s.client().Exchange(t.Context(), &repair.Request{Table: 5})
		expectKind(t, err, globaltable.Fenced, "does not follow")
		_, err = s.client().Digests(t.Context(), &repair.DigestsRequest{Table: 5})
		expectKind(t, err, globaltable.Fenced, "does not follow")
		expectKind(t, s.client().Repair(t.Context(), &repair.RepairRequest{Table: 5}), globaltable.Fenced, "does not follow")
		s.us.log.incarnation = 101
		if h, err = session.Heartbeat(t.Context(), nil); err != nil || h.Incarnation == 0 {
			t.Errorf("%+v %v", h, err)
		}
		if !slices.Equal(told, []tale{{true, 7}, {false, 0}}) {
			t.Error(told)
		}
	})
}

// TestCatalogIsForWhoCame: the catalog's lane says which regions there were when it was written last. One that came since gets it.
func TestCatalogIsForWhoCame(t *testing.T) {
	onEachBus(t, func(t *testing.T, s *story) {
		e := s.eu.log.writeTo(globaltable.CatalogLane, foreign, 10)
		session := s.connect()
		got, err := session.Heartbeat(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		expectEqual(t, "heads", got.Heads, []inbox.Head{{Lane: globaltable.CatalogLane, Seq: 1, Chain: e.Chain}})
		if entries, _, _, err := session.ReadLog(t.Context(), globaltable.CatalogLane, 100, 1, 1<<10); err != nil || len(entries) != 1 {
			t.Errorf("%d entries, %v", len(entries), err)
		}
	})
}

func TestReadLogPages(t *testing.T) {
	onEachBus(t, func(t *testing.T, s *story) {
		var want []change.Entry
		for _, size := range []int{100, 3 << 20, 10, bus.MaxMessage, 10} { // the second and fourth need several messages
			want = append(want, s.eu.log.write(shared, size))
		}
		session := s.connect()
		pages := 0
		var got []change.Entry
		for done := false; !done; pages++ {
			if pages > len(want) {
				t.Fatalf("no end after %d pages", pages)
			}
			entries, end, trimmed, err := session.ReadLog(t.Context(), shared.Lane(), 100, uint64(len(got)+1), 2<<20)
			if err != nil || trimmed || !end && len(entries) == 0 {
				t.Fatalf("page of %d entries, trimmed %v: %v", len(entries), trimmed, err)
			}
			got, done = append(got, entries...), end
		}
		if pages != 2 || len(got) != len(want) {
			t.Errorf("%d entries in %d pages, want %d in 2", len(got), pages, len(want))
		}
		for i := range min(len(got), len(want)) {
			if got[i].Header != want[i].Header || !bytes.Equal(got[i].Body, want[i].Body) {
				t.Errorf("entry %d came changed", i+1)
			}
		}
		if entries, done, _, err := session.ReadLog(t.Context(), shared.Lane(), 100, 6, 1); err != nil || len(entries) != 0 || !done {
			t.Errorf("beyond the head: %d entries, done %v: %v", len(entries), done, err)
		}
	})
}

func TestReadLogIsLimited(t *testing.T) {
	s := inMemory(t)
	for range 6 {
		s.eu.log.write(shared, 1<<20)
	}
	client := s.client()
	for _, c := range []struct{ ask, want int }{{1 << 30, 4}, {0, 1}, {-1, 1}, {1<<20 + 1, 2}} {
		entries, end, err := client.ReadLog(t.Context(), peer.ReadLog{Lane: shared.Lane(), From: 1, MaxBytes: c.ask})
		if err != nil || len(entries) != c.want || end.Done {
			t.Errorf("asked for %d bytes: %d entries, done %v: %v; want %d", c.ask, len(entries), end.Done, err, c.want)
		}
	}
}

func TestReadLogRefuses(t *testing.T) {
	onEachBus(t, func(t *testing.T, s *story) {
		for range 3 {
			s.eu.log.write(shared, 10)
		}
		s.eu.log.write(foreign, 10)
		session, client := s.connect(), s.client()

		_, _, err := client.ReadLog(t.Context(), peer.ReadLog{Lane: foreign.Lane(), From: 1, MaxBytes: 1})
		expectKind(t, err, globaltable.Denied, "not in that lane's placement")
		_, _, err = client.ReadLog(t.Context(), peer.ReadLog{Lane: 99, From: 1, MaxBytes: 1})
		expectKind(t, err, globaltable.Denied, "not in that lane's placement")
		_, _, err = client.ReadLog(t.Context(), peer.ReadLog{Lane: shared.Lane(), Incarnation: 99, From: 1, MaxBytes: 1})
		expectKind(t, err, globaltable.InUse, "another incarnation")
		s.eu.mu.Lock()
		if !slices.Equal(s.eu.denied, []string{"us", "us"}) {
			t.Errorf("denied: %v", s.eu.denied)
		}
		s.eu.mu.Unlock()

		s.eu.log.find(shared.Lane()).trimmed = 2
		if _, _, err := client.ReadLog(t.Context(), peer.ReadLog{Lane: shared.Lane(), From: 2, MaxBytes: 1}); !errors.Is(err, change.ErrTrimmed) {
			t.Errorf("error %v, want that the log is trimmed", err)
		}
		if _, _, trimmed, err := session.ReadLog(t.Context(), shared.Lane(), 100, 0, 1); err != nil || !trimmed {
			t.Errorf("trimmed %v, %v", trimmed, err)
		}
		if entries, done, _, err := session.ReadLog(t.Context(), shared.Lane(), 100, 3, 1<<20); err != nil || len(entries) != 1 || !done {
			t.Errorf("what is left: %d entries, done %v: %v", len(entries), done, err)
		}
	})
}

func TestControlPassesThrough(t *testing.T) {
	onEachBus(t, func(t *testing.T, s *story) {
		session := s.connect()
		answer, err := session.Control(t.Context(), []byte(`{"op":"describe"}`))
		if err != nil || string(answer) != `{"answer":42}` {
			t.Errorf("answer %s: %v", answer, err)
		}
		if err := session.FetchCatalog(t.Context()); err != nil {
			t.Error(err)
		}
		expectEqual(t, "asked", s.eu.asked, []string{`us {"op":"describe"}`, `us "catalog"`})
		for kind := globaltable.Internal; kind <= globaltable.Corrupt; kind++ {
			_, err := session.Control(t.Context(), strconv.AppendUint(nil, uint64(kind), 10))
			var e *globaltable.Error
			if !errors.As(err, &e) || *e != (globaltable.Error{Op: "create table", Resource: "orders", Kind: kind, Message: "as asked"}) {
				t.Errorf("kind %v came as %#v", kind, err)
			}
		}
	})
}

func TestLinkLossIsUnavailable(t *testing.T) {
	s := inMemory(t)
	link, err := s.dial()
	if err != nil {
		t.Fatal(err)
	}
	client := peer.NewClient(link)
	if err := link.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = client.Control(t.Context(), []byte("1"))
	expectKind(t, err, globaltable.Unavailable, "closed")
	if !errors.Is(err, bus.ErrClosed) {
		t.Errorf("the cause is lost: %v", err)
	}
}

// ask sends raw bytes over a link, as a faulty or hostile peer may, and returns the parts of the answer.
func ask(t *testing.T, s *story, raw []byte) (parts [][]byte, err error) {
	t.Helper()
	link, err := s.dial()
	if err != nil {
		t.Fatal(err)
	}
	s.closing(link)
	err = link.Request(t.Context(), raw, func(part []byte) error {
		parts = append(parts, slices.Clone(part))
		return nil
	})
	return parts, err
}

func TestMalformedRequests(t *testing.T) {
	onEachBus(t, func(t *testing.T, s *story) {
		for name, c := range map[string]struct{ raw, text string }{
			"empty":                 {"", "end of JSON"},
			"not JSON":              {"hello?", "invalid"},
			"an array":              {"[]", "cannot unmarshal"},
			"no version":            {`{"hello":{}}`, "version"},
			"a later version":       {`{"v":2,"hello":{}}`, "version"},
			"nothing asked":         {`{"v":1}`, "unknown kind"},
			"of an unknown kind":    {`{"v":1,"later":{}}`, "unknown kind"},
			"a chain that is short": {`{"v":1,"positions":{"applied":[{"chain":"00"}]}}`, "chain"},
			"a region beyond range": {`{"v":1,"positions":{"rows":[{"region":70000}]}}`, "70000"},
			"too large":             {`{"v":1,"control":"` + strings.Repeat("a", 256<<10) + `"}`, "too large"},
		} {
			t.Run(name, func(t *testing.T) {
				parts, err := ask(t, s, []byte(c.raw))
				if err != nil || len(parts) != 1 || len(parts[0]) == 0 || parts[0][0] != 3 || !strings.Contains(string(parts[0]), c.text) {
					t.Errorf("parts %q: %v; want one error with %q", parts, err, c.text)
				}
			})
		}
		if _, err := ask(t, s, make([]byte, bus.MaxMessage+1)); !errors.Is(err, bus.ErrTooLarge) {
			t.Errorf("error %v", err)
		}
	})
}
