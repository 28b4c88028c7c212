package controlplane

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/regionnode/commit"
	"github.com/concordat-db/concordat/regionnode/store"
)

// TestJoinStories runs testdata/join: replicas that join tables with items, over real shards and exchanges. The table is called orders. The commands:
//
//	world REGION... [page=BYTES]             new regions; exchanges have pages of about so many bytes
//	table region=R [replicas=(R,...)]        R makes the table, with active replicas in these regions too
//	put | delete region=R items=(FROM,TO)    R writes the items with these numbers; nothing is carried anywhere
//	carry                                    all lanes bring what is in them
//	cut | heal with=(R[,R])                  a region, or a link, is cut
//	add | remove region=R                    the owner is asked for a replica, or to remove one
//	writing region=R writers=(R,...)         with each page that R merges, each writer puts an item and deletes another
//	stop region=R source=S after=N           once R has merged N pages of S, their link is cut
//	until region=R text                      everything goes on until the owner describes R's replica so
//	crash region=R                           the region starts again from what its disk kept
//	pages region=R                           how many pages R has merged, by source, since it was asked last
//	equal                                    everything goes on until all replicas are equal, byte by byte
func TestJoinStories(t *testing.T) {
	runStories(t, "testdata/join")
}

func runStories(t *testing.T, dir string) {
	datadriven.Walk(t, dir, func(t *testing.T, path string) {
		synctest.Test(t, func(t *testing.T) {
			s := &joinStory{w: newWorld(t), pages: map[string]int{},
				writing: map[string][]string{}, stops: map[string]int{}}
			defer func() {
				for _, n := range s.w.nodes {
					n.stop()
				}
			}()
			datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string { return s.run(d) })
		})
	})
}

type joinStory struct {
	w       *world
	owner   string
	table   globaltable.TableID
	pages   map[string]int      // "region source": merged; guarded by w.mu, as are the next two
	stops   map[string]int      // "region source": cut after so many
	writing map[string][]string // by region
	written int
}

func (s *joinStory) run(d *datadriven.TestData) string {
	w := s.w
	arg := func(key string) []string {
		for _, a := range d.CmdArgs {
			if a.Key == key {
				return a.Vals
			}
		}
		return nil
	}
	region := strings.Join(arg("region"), "")
	switch d.Cmd {
	case "world":
		s.start(d)
	case "table":
		s.owner = region
		s.table = w.make("orders", append([]string{region}, arg("replicas")...)...).ID
	case "put", "delete":
		s.write(d, region)
	case "carry":
		w.carry()
	case "cut", "heal":
		with := arg("with")
		slices.Sort(with)
		w.setCut(strings.Join(with, "-"), d.Cmd == "cut")
	case "add", "remove":
		change := catalog.Change{Create: []string{region}}
		if d.Cmd == "remove" {
			change = catalog.Change{Delete: []string{region}}
		}
		if _, err := w.nodes[s.owner].plane.UpdateTable(w.t.Context(), "orders", change); err != nil {
			return err.Error() + "\n"
		}
	case "writing":
		w.mu.Lock()
		defer w.mu.Unlock()
		s.writing[region] = arg("writers")
	case "stop":
		var n int
		d.ScanArgs(w.t, "after", &n)
		w.mu.Lock()
		defer w.mu.Unlock()
		s.stops[region+" "+arg("source")[0]] = n
	case "until":
		w.until(d.Input, func() bool { return w.nodes[s.owner].replica("orders", region) == strings.TrimSpace(d.Input) })
	case "crash":
		w.restart(region)
		s.hook(w.nodes[region])
	case "pages":
		return s.showPages(region)
	case "equal":
		return s.equal()
	default:
		return s.runMembers(d, region)
	}
	return ""
}

func (s *joinStory) start(d *datadriven.TestData) {
	for _, a := range d.CmdArgs {
		if a.Key == "page" {
			d.ScanArgs(s.w.t, "page", &s.w.pageBytes)
			continue
		}
		s.w.add(a.Key)
	}
	for _, r := range s.w.regions {
		s.w.start(r.Name, store.NewMemory())
		s.hook(s.w.nodes[r.Name])
	}
	s.w.until("all have heard each other", func() bool {
		for _, n := range s.w.nodes {
			if len(n.plane.Unheard()) > 0 {
				return false
			}
		}
		return true
	})
}

// hook counts a region's pages, and does what the story wants to happen with them.
func (s *joinStory) hook(n *node) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.onPage = func(source string) {
		key := n.self.Name + " " + source
		s.w.mu.Lock()
		s.pages[key]++
		if s.stops[key] == s.pages[key] {
			s.w.cut[linkName(n.self.Name, source)] = true
			delete(s.stops, key)
		}
		writers := s.writing[n.self.Name]
		s.written++
		at := s.written
		s.w.mu.Unlock()
		for _, name := range writers {
			if err := s.w.nodes[name].write(s.table, fmt.Sprint("new ", at), false); err != nil {
				s.w.t.Errorf("%s: %v", name, err)
			}
			// Numbers on both sides of the cursor: keys are in the order of their hashes.
			if err := s.w.nodes[name].write(s.table, itemName(at), true); err != nil {
				s.w.t.Errorf("%s: %v", name, err)
			}
		}
	}
}

func itemName(n int) string { return fmt.Sprintf("item %04d", n) }

func (s *joinStory) write(d *datadriven.TestData, region string) {
	var from, to int
	d.ScanArgs(s.w.t, "items", &from, &to)
	for i := from; i <= to; i++ {
		if err := s.w.nodes[region].write(s.table, itemName(i), d.Cmd == "delete"); err != nil {
			d.Fatalf(s.w.t, "%v", err)
		}
	}
}

func (s *joinStory) showPages(region string) string {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	var out []string
	for key, n := range s.pages {
		if r, source, _ := strings.Cut(key, " "); r == region {
			out = append(out, fmt.Sprintf("%s: %d\n", source, n))
			delete(s.pages, key)
		}
	}
	slices.Sort(out)
	return strings.Join(out, "")
}

// equal waits until every replica has the same digests, and says which they are and how many items they have.
func (s *joinStory) equal() string {
	var names []string
	var items int64
	s.w.until("all replicas are equal", func() bool {
		doc, ok := s.w.nodes[s.owner].catalog.View().Table(s.table)
		if !ok || !doc.Settled() {
			return false
		}
		names, items = nil, 0
		var first [commit.DigestBuckets]commit.Digest
		for _, r := range doc.Replicas {
			if r.Status == globaltable.StatusFenced {
				continue
			}
			digests, err := s.w.nodes[r.Region].shard.Digests(s.w.t.Context(), s.table)
			if err != nil {
				s.w.t.Fatal(err)
			}
			for b := range digests {
				digests[b].Bytes = 0 // bookkeeping
				if len(names) == 0 {
					items += int64(digests[b].Count)
				}
			}
			if len(names) == 0 {
				first = *digests
			}
			if first != *digests {
				return false
			}
			names = append(names, r.Region)
		}
		return true
	})
	return fmt.Sprintf("%s: %d items\n", strings.Join(names, " "), items)
}

// TestJoinThrottled: what is joined is spread over time, as the node or the request has it, and the progress is told in the owner's region and the replica's own, and everywhere
// to who inspects the table.
func TestJoinThrottled(t *testing.T) {
	t.Run("by the node", func(t *testing.T) { testJoinThrottled(t, 5000, 0) })
	t.Run("by the request", func(t *testing.T) { testJoinThrottled(t, 0, 5000) })
}

func testJoinThrottled(t *testing.T, byNode, byRequest int64) {
	inWorld(t, func(t *testing.T, w *world) {
		w.pageBytes, w.bytesPerSecond = 2000, byNode
		w.restart("ap")
		ap, eu, us := w.nodes["ap"], w.nodes["eu"], w.nodes["us"]
		table := w.make("orders", "eu", "us")
		for i := range 200 {
			if err := eu.write(table.ID, itemName(i), false); err != nil {
				t.Fatal(err)
			}
		}
		w.carry()
		if _, err := eu.plane.UpdateTable(t.Context(), "orders", catalog.Change{Create: []string{"ap"}, JoinBytesPerSecond: byRequest}); err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		seen, inspected := map[int]bool{}, map[int]bool{}
		w.until("active", func() bool {
			here, ok := ap.plane.ReplicaProgress(table.ID, ap.self.Origin)
			if there, known := eu.plane.ReplicaProgress(table.ID, ap.self.Origin); known && there > here && ok {
				t.Errorf("the owner knows %d percent, the replica %d", there, here)
			}
			if ok {
				seen[here] = true
			}
			if _, known := us.plane.ReplicaProgress(table.ID, ap.self.Origin); known {
				t.Error("a bystander says how far it is")
			}
			if i, err := us.plane.Inspect(t.Context(), "orders"); err != nil {
				t.Error(err)
			} else if percent, known := i.Percent["ap"]; known {
				inspected[percent] = true
			}
			return w.all("orders", globaltable.Active)()
		})
		if took := time.Since(begun); took < 3*time.Second || len(seen) < 4 || len(inspected) < 4 {
			t.Errorf("joined in %v, seen at %v percent, inspected at %v", took, seen, inspected)
		}
		if n := ap.count(table.ID); n != 200 {
			t.Errorf("%d items", n)
		}
		if _, ok := ap.plane.ReplicaProgress(table.ID, ap.self.Origin); ok {
			t.Error("an active replica has progress")
		}
	}, "ap", "eu", "us")
}

// TestInspect: whoever has a replica learns what an unfinished one waits for, from the owner while it can be reached.
func TestInspect(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		eu, us := w.nodes["eu"], w.nodes["us"]
		w.make("orders", "eu", "us")
		expect := func(n *node, want string) {
			t.Helper()
			w.until(n.self.Name+" says: "+want, func() bool {
				i, err := n.plane.Inspect(t.Context(), "orders")
				if err != nil {
					t.Fatal(err)
				}
				r := i.Table.ReplicaNamed("ap")
				return r != nil && r.StatusDescription == want
			})
		}
		w.setCut("ap", true)
		if _, err := us.plane.UpdateTable(t.Context(), "orders", catalog.Change{Create: []string{"ap"}}); err != nil {
			t.Fatal(err)
		}
		expect(eu, "Cannot reach ap.")
		expect(us, "Cannot reach ap.")
		w.setCut("eu", true)
		expect(us, "Cannot reach eu, which owns the table.")
		w.setCut("eu", false)
		w.setCut("ap", false)
		w.until("active", w.all("orders", globaltable.Active))
		if i, err := us.plane.Inspect(t.Context(), "orders"); err != nil || !i.Table.Settled() || len(i.Percent) != 0 {
			t.Errorf("%+v, %v", i, err)
		}
		if _, err := us.plane.Inspect(t.Context(), "others"); globaltable.KindOf(err) != globaltable.NotFound {
			t.Error(err)
		}
	}, "ap", "eu", "us")
}
