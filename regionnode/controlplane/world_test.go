package controlplane

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nkeys"
	"go.uber.org/goleak"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/commit"
	"github.com/concordat-db/concordat/regionnode/placing"
	"github.com/concordat-db/concordat/regionnode/store"
	"github.com/concordat-db/concordat/streams/change"
	"github.com/concordat-db/concordat/streams/handover"
	"github.com/concordat-db/concordat/streams/repair"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is several regions: real shards on stores in memory, planes, and between them requests and lanes that are carried entry by entry.
// It lives in a synctest bubble: its time is virtual.
type world struct {
	t       *testing.T
	keys    map[string]nkeys.KeyPair
	regions []globaltable.Descriptor
	tokens  []string         // of regions
	nodes   map[string]*node // that are not lost

	mu   sync.Mutex
	cut  map[string]bool // regions out of reach, and links
	lose bool            // answers are lost, requests are not

	pageBytes      int   // of an exchange; 0: the default
	bytesPerSecond int64 // of a join; 0: no limit

	behind  bool                         // no region has applied what the others wrote
	applied map[hlc.Origin]hlc.Timestamp // by origin: up to where every region has applied it
	up      map[string]*node
}

// node is one region while it runs.
type node struct {
	w       *world
	self    globaltable.Descriptor
	engine  *store.Memory
	catalog *catalog.Catalog
	clock   *hlc.Clock
	shard   *commit.Shard
	plane   *Plane
	server  *repair.Server
	verify  *repair.Verifier
	joiner  *repair.Joiner
	placer  *placing.Placer
	giver   *handover.Giver
	taker   *handover.Taker
	stop    func()

	mu     sync.Mutex
	issued []string
	onPage func(source string) // called after each page that was merged here
}

// inWorld runs f with the regions named, all of them up.
func inWorld(t *testing.T, f func(t *testing.T, w *world), names ...string) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, names...)
		defer w.end()
		f(t, w)
	})
}

// newWorld returns a world with the regions named, all of them up. It is called in a bubble, and ended there.
func newWorld(t *testing.T, names ...string) *world {
	w := &world{t: t, keys: map[string]nkeys.KeyPair{}, nodes: map[string]*node{}, cut: map[string]bool{}, up: map[string]*node{}}
	for _, n := range names {
		w.add(n)
	}
	for _, n := range names {
		w.start(n, store.NewMemory())
	}
	return w
}

func (w *world) end() {
	for _, n := range w.nodes {
		n.stop()
	}
}

// add makes the identity of a region, with the next number.
func (w *world) add(name string) {
	n := len(w.regions) + 1
	key, err := nkeys.FromRawSeed(nkeys.PrefixByteUser, bytes.Repeat([]byte{byte(n)}, 32))
	if err != nil {
		w.t.Fatal(err)
	}
	public, err := key.PublicKey()
	if err != nil {
		w.t.Fatal(err)
	}
	d := globaltable.Descriptor{Name: name, Jurisdiction: "XX", Origin: hlc.Origin(n), PublicKey: public}
	token, err := globaltable.Sign(&d, key)
	if err != nil {
		w.t.Fatal(err)
	}
	w.regions, w.tokens = append(w.regions, d), append(w.tokens, token)
	w.keys[name] = key
}

func (w *world) start(name string, engine *store.Memory) {
	n := &node{w: w, engine: engine}
	var peers []globaltable.Descriptor
	for _, d := range w.regions {
		if d.Name == name {
			n.self = d
		} else {
			peers = append(peers, d)
		}
	}
	var err error
	if n.catalog, err = catalog.New(n.self, peers); err != nil {
		w.t.Fatal(err)
	}
	if err := LoadCatalog(n.catalog, engine); err != nil {
		w.t.Fatal(err)
	}
	clock := hlc.NewClock(time.Now, 500*time.Millisecond)
	n.clock = clock
	n.shard, err = commit.Open(commit.Config{Origin: n.self.Origin, Engine: engine, Clock: clock, Catalog: ForShard(n.catalog), Relog: n.catalog.Feeds})
	if err != nil {
		w.t.Fatal(err)
	}
	n.server = repair.NewServer(n.catalog, n.shard, func() map[hlc.Origin]hlc.Timestamp {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.applied
	})
	n.verify = repair.NewVerifier(n.server, n, ForRepair(n.shard), time.Second)
	n.joiner, err = repair.New(repair.Config{Catalog: n.catalog, Store: ForRepair(n.shard), Peers: n, PageBytes: w.pageBytes, Pages: 1, BytesPerSecond: w.bytesPerSecond, Events: repair.Events{
		Took: func(_ globaltable.TableID, source string, _, _ int) {
			n.mu.Lock()
			f := n.onPage
			n.mu.Unlock()
			if f != nil {
				f(source)
			}
		},
	}})
	if err != nil {
		w.t.Fatal(err)
	}
	n.giver = handover.NewGiver(n.self, givingShard{n.shard, n.clock}, givingShard{n.shard, n.clock}, n, func(o hlc.Origin) string { return w.regions[o-1].Name })
	n.taker = handover.NewTaker(n.catalog, takingShard{n.shard}, n)
	n.placer = placing.New(placing.Config{Self: n.self, View: n.catalog.View, Store: n.shard, Streams: noStreams{}, Giver: n.giver, Disk: noFiles{}, Now: time.Now,
		Sign: func(r *globaltable.Receipt) (string, error) { return globaltable.SignReceipt(r, w.keys[n.self.Name]) }})
	n.plane, err = New(Config{Catalog: n.catalog, Door: n.shard, Items: n.shard, Peers: n, Joins: n.joiner, Places: n.placer, Marks: n, Now: time.Now, Clock: clock, Tokens: w.tokens, Key: w.keys[n.self.Name], Events: Events{
		Issued: func(t *globaltable.Table) {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.issued = append(n.issued, t.ID.String()+" "+t.Version.String())
		},
	}})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	for _, run := range []func(context.Context) error{n.shard.Run, n.joiner.Run, n.placer.Run, n.plane.Run} {
		done.Go(func() {
			if err := run(ctx); err != nil {
				w.t.Errorf("%s: %v", name, err)
			}
		})
	}
	n.stop = func() {
		w.setUp(name, nil)
		cancel()
		done.Wait()
	}
	w.nodes[name] = n
	w.setUp(name, n)
}

// Applied implements Marks.
func (n *node) Applied(globaltable.Placement) hlc.Timestamp {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	if n.w.behind {
		return 0
	}
	return n.clock.Last()
}

// restart kills a region and starts it from what its disk kept.
func (w *world) restart(name string) {
	n := w.nodes[name]
	n.stop()
	w.start(name, n.engine.Crash(nil))
}

func (w *world) setCut(name string, is bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut[name] = is
}

func (w *world) setUp(name string, n *node) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.up[name] = n
}

func (w *world) apart(a, b string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.cut[a] || w.cut[b] || w.cut[linkName(a, b)]
}

// linkName names the link of two regions in cut.
func linkName(a, b string) string { return min(a, b) + "-" + max(a, b) }

// Ask implements Peers.
func (n *node) Ask(ctx context.Context, region string, request []byte) ([]byte, error) {
	n.w.mu.Lock()
	to := n.w.up[region]
	n.w.mu.Unlock()
	if to == nil || n.w.apart(n.self.Name, region) {
		return nil, &globaltable.Error{Op: "ask", Resource: region, Kind: globaltable.Unavailable}
	}
	answer, err := to.plane.HandlePeer(ctx, n.self.Name, request)
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	if n.w.lose {
		return nil, context.DeadlineExceeded
	}
	return answer, err
}

// Exchange implements repair.Peers.
func (n *node) Exchange(ctx context.Context, region string, r *repair.Request) (*repair.Page, error) {
	n.w.mu.Lock()
	to := n.w.up[region]
	n.w.mu.Unlock()
	if to == nil || n.w.apart(n.self.Name, region) {
		return nil, &globaltable.Error{Op: "exchange", Resource: region, Kind: globaltable.Unavailable}
	}
	if !to.catalog.Trusts(n.self.Origin, n.shard.Incarnation()) {
		return nil, &globaltable.Error{Op: "exchange", Resource: region, Kind: globaltable.Fenced}
	}
	records, end, err := to.server.Answer(ctx, n.self, r)
	if err != nil {
		return nil, err
	}
	return repair.DecodePage(r, records, end)
}

// Digests implements repair.Comparing.
func (n *node) Digests(ctx context.Context, region string, r *repair.DigestsRequest) (*repair.Digests, error) {
	n.w.mu.Lock()
	to := n.w.up[region]
	n.w.mu.Unlock()
	if to == nil || n.w.apart(n.self.Name, region) {
		return nil, &globaltable.Error{Op: "digests", Resource: region, Kind: globaltable.Unavailable, Message: region + " is out of reach"}
	}
	return to.server.Digests(ctx, n.self, r)
}

// Repair implements repair.Comparing.
func (n *node) Repair(ctx context.Context, region string, r *repair.RepairRequest) error {
	return n.w.nodes[region].verify.HandleRepair(ctx, n.self, r)
}

// carry brings every region what the others' lanes have for it, as streams do.
func (w *world) carry() {
	for _, from := range w.nodes {
		heads, err := from.shard.Heads(w.t.Context())
		if err != nil {
			w.t.Fatal(err)
		}
		for _, head := range heads.Lanes {
			for _, o := range head.Placement.Peers(from.self.Origin) {
				to := w.nodes[w.regions[o-1].Name]
				if to != nil && !w.apart(from.self.Name, to.self.Name) && from.catalog.Trusts(o, to.shard.Incarnation()) {
					w.carryLane(from, to, head.ID)
				}
			}
		}
	}
}

func (w *world) carryLane(from, to *node, lane globaltable.LaneID) {
	ctx := w.t.Context()
	src := change.Source{Origin: from.self.Origin, Incarnation: from.shard.Incarnation(), Lane: lane}
	if !to.catalog.Trusts(src.Origin, src.Incarnation) {
		return
	}
	at := to.shard.Position(src)
	if at.Incarnation != src.Incarnation {
		if err := to.shard.Revoke(ctx, src.Origin, src.Incarnation-1); err != nil {
			w.t.Fatal(err)
		}
		at = globaltable.Position{}
	}
	entries, err := from.shard.ReadLog(lane, at.Seq+1, 1<<20)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, e := range entries {
		if newer := to.newer(e); newer {
			// PROTOCOL.md 8.1: the lane waits, and the catalog comes from the sender.
			if err := to.plane.Fetch(ctx, from.self.Name); err != nil {
				if kind := globaltable.KindOf(err); kind != globaltable.Unavailable && !errors.Is(err, context.DeadlineExceeded) {
					w.t.Errorf("fetch: %v", err)
				}
				return
			}
			if to.newer(e) {
				w.t.Errorf("%s fetched the catalog of %s and still lacks its version", to.self.Name, from.self.Name)
				return
			}
		}
		position := globaltable.Position{Incarnation: src.Incarnation, Seq: e.Seq, Chain: e.Chain}
		_, err := to.shard.ApplyRemote(ctx, &commit.Remote{Source: src, Entries: []change.Entry{e}, Position: position})
		if err != nil && !to.catalog.Trusts(src.Origin, src.Incarnation) {
			return // since this began
		}
		if ahead := (*hlc.AheadError)(nil); errors.As(err, &ahead) {
			return // a clock is ahead since a start: the lane waits
		}
		if err != nil {
			w.t.Errorf("%s to %s: %v", from.self.Name, to.self.Name, err)
			return
		}
		from.shard.ConfirmPeer(to.self.Origin, 0, lane, e.Seq)
	}
}

func (n *node) newer(e change.Entry) (newer bool) {
	if e.Void {
		return false
	}
	err := change.EachChange(e.Body, func(c *conflict.Change) error {
		newer = newer || globaltable.Version(c.CatalogVersion) > n.catalog.Version(globaltable.TableID(c.Table))
		return nil
	})
	if err != nil {
		n.w.t.Error(err)
	}
	return newer
}

// until lets virtual time pass, and everything be carried, until ok; it fails when that takes more than a minute.
func (w *world) until(what string, ok func() bool) {
	w.t.Helper()
	for range 600 {
		w.carry()
		synctest.Wait()
		if ok() {
			return
		}
		w.pass(100 * time.Millisecond)
	}
	w.t.Fatalf("never: %s\n%s", what, w.dump())
}

// pass lets virtual time pass, without carrying anything.
func (w *world) pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func (w *world) dump() string {
	var b strings.Builder
	for name, n := range w.nodes {
		n.catalog.View().Tables(func(t *globaltable.Table) bool {
			fmt.Fprintf(&b, "%s: %s\n", name, globaltable.EncodeTable(t))
			return true
		})
	}
	return b.String()
}

// status returns TableStatus of a table as its name finds it in a region; empty when there is none.
func (n *node) status(table string) globaltable.Status {
	t, err := n.plane.DescribeTable(table)
	if err != nil {
		return ""
	}
	return t.StatusIn(n.self.Origin)
}

// replica describes a replica as a region sees it.
func (n *node) replica(table, region string) string {
	t, err := n.plane.DescribeTable(table)
	if err != nil {
		return "no table"
	}
	r := t.ReplicaNamed(region)
	if r == nil {
		return "no replica"
	}
	return strings.TrimSuffix(string(r.Status)+": "+r.StatusDescription, ": ")
}

func (w *world) all(table string, status globaltable.Status) func() bool {
	return func() bool {
		for _, n := range w.nodes {
			if n.status(table) != status {
				return false
			}
		}
		return true
	}
}

func spec(name string) catalog.Spec {
	return catalog.Spec{Name: name, KeySchema: globaltable.KeySchema{Partition: globaltable.KeyAttribute{Name: "id", Type: item.S}}}
}

// make makes a table in the first region named and, if there are more, replicas in those, all active.
func (w *world) make(table string, regions ...string) *globaltable.Table {
	w.t.Helper()
	owner := w.nodes[regions[0]]
	t, err := owner.plane.CreateTable(w.t.Context(), spec(table))
	if err != nil {
		w.t.Fatal(err)
	}
	if len(regions) > 1 {
		w.until("the regions hear the owner", func() bool { return len(owner.plane.Unheard()) == 0 })
		if _, err := owner.plane.UpdateTable(w.t.Context(), table, catalog.Change{Create: regions[1:]}); err != nil {
			w.t.Fatal(err)
		}
		w.until("all active", func() bool {
			for _, r := range regions {
				if w.nodes[r].status(table) != globaltable.Active {
					return false
				}
			}
			return true
		})
	}
	return t
}

// write puts an item with the id given, or deletes it.
func (n *node) write(table globaltable.TableID, id string, remove bool) error {
	key, err := item.AppendKey(nil, item.AppendString(nil, id), nil)
	if err != nil {
		return err
	}
	var b item.Builder
	b.Add([]byte("id"), item.AppendString(nil, id))
	it, err := b.AppendItem(nil)
	if err != nil {
		return err
	}
	return n.shard.Write(n.w.t.Context(), &commit.Write{Keys: []commit.Key{{Table: table, Bytes: key}},
		Plan: func([]commit.Current) ([][]conflict.Op, error) {
			if remove {
				return [][]conflict.Op{conflict.RecordDelete(nil)}, nil
			}
			return [][]conflict.Op{conflict.RecordPut(nil, it)}, nil
		}})
}

func (n *node) count(table globaltable.TableID) int64 {
	items, _, err := n.shard.Count(table)
	if err != nil {
		n.w.t.Fatal(err)
	}
	return items
}

func wantError(t *testing.T, err error, kind globaltable.Kind, text string) {
	t.Helper()
	var e *globaltable.Error
	if !errors.As(err, &e) || e.Kind != kind || !strings.Contains(e.Message, text) {
		t.Errorf("error %v; want kind %v and %q", err, kind, text)
	}
}
