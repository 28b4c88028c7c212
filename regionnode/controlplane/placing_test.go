package controlplane

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/globaltable/locality"
	"github.com/concordat-db/concordat/regionnode/commit"
	"github.com/concordat-db/concordat/regionnode/store"
	"github.com/concordat-db/concordat/streams/change"
	"github.com/concordat-db/concordat/streams/handover"
	"github.com/concordat-db/concordat/streams/repair"
)

// noStreams stands for streams where lanes are carried out of the log.
type noStreams struct{}

func (noStreams) Renew(globaltable.LaneID)            {}
func (noStreams) Live(globaltable.LaneID) bool        { return true }
func (noStreams) RenewEvents(globaltable.TableID)     {}
func (noStreams) EventsLive(globaltable.TableID) bool { return true }

// noFiles stands for the files of a store in memory.
type noFiles struct{}

func (noFiles) Scrub(context.Context) error { return nil }

type givingShard struct {
	*commit.Shard
	clock *hlc.Clock
}

func (s givingShard) Observe(t hlc.Timestamp) error { return s.clock.Observe(t) }

func (s givingShard) Erase(ctx context.Context, of globaltable.TableID, version globaltable.Version, to string, table globaltable.TableID, records []repair.Record) (int, error) {
	return s.Shard.Erase(ctx, of, version, to, recordsAt(table, records))
}

func (s givingShard) SavedParts(table globaltable.TableID, after handover.SavedAt, f func(handover.SavedPart) (more bool)) error {
	return s.Shard.SavedParts(table, after.Key, after.Upto, func(p commit.SavedPart) bool {
		return f(handover.SavedPart{Key: p.Key.Bytes, Bytes: p.Bytes, Upto: p.Upto, More: p.More, Sole: p.Sole})
	})
}

func (s givingShard) EraseGiven(ctx context.Context, of globaltable.TableID, version globaltable.Version, to string, table globaltable.TableID, parts []repair.Record) (int, error) {
	return s.Shard.EraseGiven(ctx, of, version, to, recordsAt(table, parts))
}

type takingShard struct{ *commit.Shard }

func (s takingShard) TakeOverSaved(ctx context.Context, table globaltable.TableID, from repair.Giver, version globaltable.Version, purge hlc.Timestamp, parts []repair.Record) error {
	_, err := s.Shard.TakeOverSaved(ctx, from.Origin, from.Incarnation, version, purge, recordsAt(table, parts))
	return err
}

func (s takingShard) TakeOver(ctx context.Context, table globaltable.TableID, from repair.Giver, version globaltable.Version, records []repair.Record) error {
	return s.Shard.TakeOver(ctx, from.Origin, from.Incarnation, version, recordsAt(table, records))
}

func recordsAt(table globaltable.TableID, records []repair.Record) (out []commit.RecordAt) {
	for _, r := range records {
		out = append(out, commit.RecordAt{Key: commit.Key{Table: table, Bytes: r.Key}, Record: r.Bytes})
	}
	return out
}

// reach returns a region if it can be reached from n.
func (n *node) reach(region string) (*node, error) {
	n.w.mu.Lock()
	to := n.w.up[region]
	n.w.mu.Unlock()
	if to == nil || n.w.apart(n.self.Name, region) {
		return nil, &globaltable.Error{Op: "ask", Resource: region, Kind: globaltable.Unavailable}
	}
	return to, nil
}

// HandOver implements handover.Peers.
func (n *node) HandOver(ctx context.Context, region string, o *handover.Offer) (hlc.Timestamp, error) {
	to, err := n.reach(region)
	if err == nil {
		err = to.taker.Take(ctx, n.self, o)
	}
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	if n.w.lose && err == nil {
		return 0, context.DeadlineExceeded
	}
	if err != nil {
		return 0, err
	}
	return to.clock.Last(), nil
}

// Offered implements handover.Givers.
func (n *node) Offered(_ context.Context, region string, o *handover.Offer) (*repair.Page, error) {
	from, err := n.reach(region)
	if err != nil {
		return nil, err
	}
	records, end, err := from.giver.Answer(n.self, &handover.Pull{Page: o.Page})
	if err != nil {
		return nil, err
	}
	return repair.DecodePage(&repair.Request{Table: o.Table}, records, end)
}

// policies is a random history of a table with policies.
type policies struct {
	*world
	rng   *rand.Rand
	table globaltable.TableID
	names []string
	acked map[string]int // id → the newest value that its region was told is written
	added map[string]int // id → how often one was told to have been added
	next  int
}

// prefixes are those of items' ids, and of policies.
var prefixes = []string{"a/", "a/b/", "c/"}

// write writes an item of a prefix by the region whose it is: every item has one that writes it.
func (p *policies) write() {
	region := p.rng.IntN(len(p.names))
	n := p.nodes[p.names[region]]
	id := fmt.Sprintf("%s%d-%d", prefixes[p.rng.IntN(len(prefixes))], p.rng.IntN(6), region)
	p.next++
	if err := n.put(p.table, id, p.next); err == nil {
		p.acked[id] = p.next
	}
	// And all write this one, so that there are conflicts.
	_ = n.put(p.table, prefixes[0]+"contested", p.next)
	// And all add to one of these.
	sum := prefixes[p.rng.IntN(len(prefixes))] + "sum"
	add := []conflict.Op{{Kind: conflict.OpAddNumber, Type: conflict.TypeCounter, Name: []byte("v"), Value: item.AppendInt(nil, 1)}}
	if err := n.do(p.table, sum, add); err == nil {
		p.added[sum]++
	}
}

// put writes an item with a value.
func (n *node) put(table globaltable.TableID, id string, v int) error {
	var b item.Builder
	b.Add([]byte("id"), item.AppendString(nil, id))
	b.Add([]byte("v"), item.AppendInt(nil, int64(v)))
	it, err := b.AppendItem(nil)
	if err != nil {
		return err
	}
	return n.do(table, id, conflict.RecordPut(nil, it))
}

// do writes an item by the operations given.
func (n *node) do(table globaltable.TableID, id string, ops []conflict.Op) error {
	key, err := item.AppendKey(nil, item.AppendString(nil, id), nil)
	if err != nil {
		return err
	}
	return n.shard.Write(n.w.t.Context(), &commit.Write{Keys: []commit.Key{{Table: table, Bytes: key}},
		Plan: func([]commit.Current) ([][]conflict.Op, error) { return [][]conflict.Op{ops}, nil }})
}

// value returns what a region has of an item; 0: nothing.
func (n *node) value(table globaltable.TableID, id string) (v int64) {
	key, err := item.AppendKey(nil, item.AppendString(nil, id), nil)
	if err != nil {
		n.w.t.Fatal(err)
	}
	err = n.shard.Get(n.w.t.Context(), commit.Key{Table: table, Bytes: key}, func(c commit.Current) error {
		if c.Item != nil {
			value, _ := c.Item.GetString("v")
			v, _ = value.Number().Int64()
		}
		return nil
	})
	if err != nil {
		n.w.t.Fatal(err)
	}
	return v
}

// repin changes the policies at random; the owner may refuse.
func (p *policies) repin() {
	c := &catalog.PinChange{}
	doc, _ := p.nodes[p.names[0]].catalog.View().Table(p.table)
	for _, prefix := range prefixes {
		name := "p" + string(prefix[len(prefix)-2])
		has := slices.ContainsFunc(doc.Pins, func(pin globaltable.Pin) bool { return pin.Name == name && !pin.Released })
		switch p.rng.IntN(3) {
		case 0:
			if has {
				c.Remove = append(c.Remove, name)
			}
		case 1:
			in := slices.Clone(p.names)
			p.rng.Shuffle(len(in), func(i, j int) { in[i], in[j] = in[j], in[i] })
			in = in[:1+p.rng.IntN(len(in))]
			slices.Sort(in)
			c.Set = append(c.Set, globaltable.Pin{Name: name, Match: globaltable.Match{KeyPrefix: prefix}, Regions: in, Foreign: globaltable.Reject, SingleCopy: true})
		}
	}
	_, err := p.nodes[p.names[p.rng.IntN(len(p.names))]].plane.UpdateTable(p.t.Context(), "orders", catalog.Change{Pins: c})
	if kind := globaltable.KindOf(err); err != nil && kind != globaltable.InUse && kind != globaltable.Unavailable && kind != globaltable.Unknown {
		p.t.Errorf("repin %+v: %v", c, err)
	}
}

// step does something at random.
func (p *policies) step() {
	region := p.names[p.rng.IntN(len(p.names))]
	switch n := p.rng.IntN(22); {
	case n < 8:
		for range 5 {
			p.write()
		}
	case n < 12:
		p.carry()
	case n < 14:
		p.repin()
	case n < 15:
		p.setCut(region, true)
	case n < 16:
		if other := p.names[p.rng.IntN(len(p.names))]; other != region {
			p.setCut(linkName(region, other), true)
		}
	case n < 17:
		p.heal()
	case n < 18:
		p.restart(region)
	case n < 19:
		p.mu.Lock()
		p.lose = !p.lose
		p.mu.Unlock()
	default:
		for range p.rng.IntN(20) {
			p.pass(time.Duration(p.rng.IntN(500)) * time.Millisecond)
			p.carry()
		}
	}
}

// heal ends all cuts.
func (p *policies) heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.cut)
}

// check holds the regions, which have carried out all policies, against what was acknowledged, and each against the policies.
func (p *policies) check() {
	doc, _ := p.nodes[p.names[0]].catalog.View().Table(p.table)
	want := maps.Clone(p.acked)
	maps.Copy(want, p.added)
	for id, v := range want {
		key, _ := item.AppendKey(nil, item.AppendString(nil, id), nil)
		placement := locality.Place(doc, key)
		for _, n := range p.nodes {
			if got := n.value(p.table, id); placement.Has(n.self.Origin) && got != int64(v) {
				p.t.Errorf("%s, which is in %v, has value %d in %s, %d was acknowledged", id, placement, got, n.self.Name, v)
			}
		}
	}
	for _, n := range p.nodes {
		for _, table := range []globaltable.TableID{p.table, p.table.Feed()} {
			of, _ := n.catalog.View().Table(table)
			p.noForeign(n, of)
		}
	}
}

// noForeign looks for what a region has and may not have, of a table: records, index entries, and changes in its log.
func (p *policies) noForeign(n *node, t *globaltable.Table) {
	lower, upper := store.RecordRange(t.ID)
	err := store.Each(n.engine, lower, upper, func(key, _ []byte) error {
		if k := store.RecordKeySuffix(key); locality.Decide(t, k, n.self.Origin, locality.Receive) != locality.Permit {
			p.t.Errorf("%s has a record of table %s that it may not have", n.self.Name, t.Name)
		}
		return nil
	})
	lower, upper = store.SpaceRange(store.SpaceLog)
	err = errors.Join(err, store.Each(n.engine, lower, upper, func(key, value []byte) error {
		lane, _, _ := store.DecodeLogKey(key)
		head, _ := n.shard.Head(lane)
		e, err := change.DecodeEntry(value)
		if err != nil || e.Void {
			return err
		}
		return change.EachChange(e.Body, func(c *conflict.Change) error {
			for _, o := range head.Placement {
				if globaltable.TableID(c.Table) == t.ID && locality.Excludes(t, c.Key, o) {
					p.t.Errorf("%s has logged a change for %d that may not have it", n.self.Name, o)
				}
			}
			return nil
		})
	}))
	if err != nil {
		p.t.Error(err)
	}
}

// TestPoliciesLoseNothing changes policies at random, in quick succession, while regions write, are out of reach, crash, and answers are lost.
func TestPoliciesLoseNothing(t *testing.T) {
	seeds := uint64(16)
	if testing.Short() {
		seeds = 3
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { runPolicies(t, seed) })
		})
	}
}

func runPolicies(t *testing.T, seed uint64) {
	w := newWorld(t, "us", "eu", "ap")
	defer w.end()
	p := &policies{world: w, rng: rand.New(rand.NewPCG(seed, 7)), names: []string{"us", "eu", "ap"}, acked: map[string]int{}, added: map[string]int{}}
	p.table = w.make("orders", p.names...).ID
	for range 80 {
		p.step()
	}
	p.heal()
	p.mu.Lock()
	p.lose = false
	p.mu.Unlock()
	p.until("all is carried out", func() bool {
		var newest globaltable.Version
		for _, n := range p.nodes {
			doc, _ := n.catalog.View().Table(p.table)
			if !doc.Settled() || newest != 0 && doc.Version != newest {
				return false
			}
			newest = doc.Version
		}
		return true
	})
	p.until("all is carried", p.carried)
	p.check()
	p.same()
}

// carried reports whether each region has applied all that the others' lanes have for it.
func (p *policies) carried() bool {
	for _, from := range p.nodes {
		heads, err := from.shard.Heads(p.t.Context())
		if err != nil {
			p.t.Fatal(err)
		}
		for _, l := range heads.Lanes {
			for _, o := range l.Placement.Peers(from.self.Origin) {
				to := p.nodes[p.regions[o-1].Name]
				if to.shard.Position(change.Source{Origin: from.self.Origin, Lane: l.ID}).Seq < l.Seq {
					return false
				}
			}
		}
	}
	return true
}

// same compares the regions record by record: those that may have an item have the same of it.
func (p *policies) same() {
	for _, table := range []globaltable.TableID{p.table, p.table.Feed()} {
		doc, _ := p.nodes[p.names[0]].catalog.View().Table(table)
		records := map[string]map[string][]byte{} // key → region → canonical bytes
		for name, n := range p.nodes {
			lower, upper := store.RecordRange(table)
			err := store.Each(n.engine, lower, upper, func(key, record []byte) error {
				canonical, err := conflict.AppendCanonical(nil, record)
				if k := string(store.RecordKeySuffix(key)); records[k] == nil {
					records[k] = map[string][]byte{name: canonical}
				} else {
					records[k][name] = canonical
				}
				return err
			})
			if err != nil {
				p.t.Error(err)
			}
		}
		for key, in := range records {
			var first []byte
			for _, o := range locality.Place(doc, []byte(key)) {
				got := in[p.regions[o-1].Name]
				if first == nil {
					first = got
				}
				if got == nil || !bytes.Equal(got, first) {
					p.t.Errorf("regions that have an item of %s differ", doc.Name)
				}
			}
		}
	}
}

// TestPlacingWaitsForWhoMayHaveIt: a region keeps what it may not hold until one that may has it, and says for whom it waits; what both sides' crashes leave is found again.
func TestPlacingWaitsForWhoMayHaveIt(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		table := w.make("orders", "us", "eu", "ap").ID
		w.until("hear", func() bool { return len(w.nodes["us"].plane.Unheard()) == 0 })
		if err := w.nodes["us"].put(table, "a/only here", 1); err != nil {
			t.Fatal(err)
		}
		// eu hears of the policy by its lanes, and then is out of reach.
		pin := globaltable.Pin{Name: "a", Match: globaltable.Match{KeyPrefix: "a/"}, Regions: []string{"eu"}, Foreign: globaltable.Reject, SingleCopy: true}
		w.setCut("eu", true)
		if _, err := w.nodes["us"].plane.UpdateTable(t.Context(), "orders", catalog.Change{Pins: &catalog.PinChange{Set: []globaltable.Pin{pin}}}); err != nil {
			t.Fatal(err)
		}
		w.pass(3 * time.Second)
		w.carry()
		w.pass(3 * time.Second)
		if v := w.nodes["us"].value(table, "a/only here"); v != 1 {
			t.Fatalf("us erased what nobody else has: %d", v)
		}
		if got, want := w.nodes["us"].replica("orders", "us"), "ACTIVE: Waiting for eu to be reached, to take over what may not be in us."; got != want {
			t.Errorf("%q, want %q", got, want)
		}
		w.restart("us")
		w.pass(time.Second)
		if v := w.nodes["us"].value(table, "a/only here"); v != 1 {
			t.Fatalf("us erased what nobody else has: %d", v)
		}
		w.setCut("eu", false)
		w.until("placed", func() bool {
			doc, _ := w.nodes["us"].catalog.View().Table(table)
			return doc.Settled()
		})
		if v := w.nodes["us"].value(table, "a/only here"); v != 0 {
			t.Errorf("us has it still: %d", v)
		}
		if v := w.nodes["eu"].value(table, "a/only here"); v != 1 {
			t.Errorf("eu has %d", v)
		}
		receipts := w.nodes["us"].catalog.View().Receipts(table)
		if len(receipts) != 3 || receipts[2].Region != "us" || receipts[2].Done.Handed["eu"] != 1 || receipts[2].Done.Voided != 1 {
			t.Errorf("%+v", receipts)
		}
	}, "us", "eu", "ap")
}

// TestTakerLogsWhatOthersLack: of what it takes over it had all already, by a lane that is void now for the others.
func TestTakerLogsWhatOthersLack(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		table := w.make("orders", "us", "eu", "ap").ID
		w.setCut(linkName("us", "ap"), true)
		if err := w.nodes["us"].put(table, "a/x", 1); err != nil {
			t.Fatal(err)
		}
		w.carry()
		if eu, ap := w.nodes["eu"].value(table, "a/x"), w.nodes["ap"].value(table, "a/x"); eu != 1 || ap != 0 {
			t.Fatalf("control: eu has %d, ap %d", eu, ap)
		}
		pin := globaltable.Pin{Name: "a", Match: globaltable.Match{KeyPrefix: "a/"}, Regions: []string{"ap", "eu"}, Foreign: globaltable.Reject}
		if _, err := w.nodes["us"].plane.UpdateTable(t.Context(), "orders", catalog.Change{Pins: &catalog.PinChange{Set: []globaltable.Pin{pin}}}); err != nil {
			t.Fatal(err)
		}
		w.carry()
		w.pass(time.Second)
		w.setCut(linkName("us", "ap"), false)
		w.until("ap has it", func() bool { return w.nodes["ap"].value(table, "a/x") == 1 })
		w.until("placed", func() bool {
			doc, _ := w.nodes["us"].catalog.View().Table(table)
			return doc.Settled()
		})
		if v := w.nodes["us"].value(table, "a/x"); v != 0 {
			t.Errorf("us has it still: %d", v)
		}
	}, "us", "eu", "ap")
}
