package controlplane

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/regionnode/store"
)

// TestLifeOfATable: made in one region, replicas in two more, written everywhere, removed from each in turn, the owner first.
func TestLifeOfATable(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		ap, eu, us := w.nodes["ap"], w.nodes["eu"], w.nodes["us"]
		table := w.make("orders", "eu", "ap", "us")
		for i, n := range []*node{ap, eu, us} {
			if err := n.write(table.ID, "item "+string(rune('a'+i)), false); err != nil {
				t.Fatal(err)
			}
		}
		w.until("all have all", func() bool { return ap.count(table.ID) == 3 && eu.count(table.ID) == 3 && us.count(table.ID) == 3 })

		// A region that is not the owner deletes its replica; the answer and its own catalog say so at once.
		if err := us.write(table.ID, "last words", false); err != nil {
			t.Fatal(err)
		}
		got, err := us.plane.DeleteTable(t.Context(), "orders")
		if err != nil {
			t.Fatal(err)
		}
		if got.StatusIn(us.self.Origin) != globaltable.Deleting || us.status("orders") != globaltable.Deleting || eu.status("orders") != globaltable.Updating {
			t.Error(us.status("orders"), eu.status("orders"))
		}
		if err := us.write(table.ID, "too late", false); globaltable.KindOf(err) != globaltable.NotFound {
			t.Errorf("a write to a table on its way out: %v", err)
		}
		w.until("us has gone", func() bool { return us.status("orders") == "" && eu.status("orders") == globaltable.Active })
		if us.count(table.ID) != 0 {
			t.Error("us kept items")
		}
		w.until("what us wrote is there", func() bool { return eu.count(table.ID) == 4 && ap.count(table.ID) == 4 })

		if _, err := eu.plane.DeleteTable(t.Context(), "orders"); err != nil {
			t.Fatal(err)
		}
		w.until("eu has gone", func() bool { return eu.status("orders") == "" && ap.status("orders") == globaltable.Active })
		if _, err := ap.plane.DeleteTable(t.Context(), "orders"); err != nil {
			t.Fatal(err)
		}
		w.until("all have gone", w.all("orders", ""))
		for name, n := range w.nodes {
			doc, _ := n.catalog.View().Table(table.ID)
			if !doc.Deleted && name == "eu" || n.count(table.ID) != 0 {
				t.Errorf("%s: %s", name, globaltable.EncodeTable(doc))
			}
		}
		again := w.make("orders", "us")
		if again.ID == table.ID {
			t.Error("the id was used again")
		}
	}, "ap", "eu", "us")
}

func TestCreateTable(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		eu := w.nodes["eu"]
		a := w.make("first", "eu")
		b := w.make("second", "eu")
		if a.ID>>16 >= b.ID>>16 {
			t.Errorf("ids of one millisecond: %v, %v", a.ID, b.ID)
		}
		_, err := eu.plane.CreateTable(t.Context(), spec("first"))
		wantError(t, err, globaltable.Exists, "Table already exists: first")
		_, err = eu.plane.CreateTable(t.Context(), spec("x"))
		wantError(t, err, globaltable.Invalid, "table name must have 3 to 255")
		_, err = eu.plane.UpdateTable(t.Context(), "none", catalog.Change{Create: []string{"us"}})
		wantError(t, err, globaltable.NotFound, "Requested resource not found: Table: none not found")
		_, err = eu.plane.DeleteTable(t.Context(), "none")
		wantError(t, err, globaltable.NotFound, "Table: none not found")
		_, err = eu.plane.DescribeTable("none")
		wantError(t, err, globaltable.NotFound, "Table: none not found")

		eu.plane.cfg.MaxTables = 2
		_, err = eu.plane.CreateTable(t.Context(), spec("third"))
		wantError(t, err, globaltable.LimitExceeded, "limit of 2 tables")
		if names, more := eu.catalog.View().Names("", 10); more || strings.Join(names, " ") != "first second" {
			t.Error(names, more)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := eu.plane.UpdateTable(ctx, "first", catalog.Change{Delete: []string{"eu"}}); err == nil {
			t.Error("a request that was given up succeeded")
		}
	}, "eu", "us")
}

// TestOwnerOutOfReach: the owner cannot be asked; items can be written; the request succeeds when it is back.
func TestOwnerOutOfReach(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		table := w.make("orders", "eu", "us")
		us := w.nodes["us"]
		yes := true
		w.setCut("eu", true)
		_, err := us.plane.UpdateTable(t.Context(), "orders", catalog.Change{DeletionProtection: &yes})
		wantError(t, err, globaltable.Unavailable, "owned by region eu, which cannot be reached")
		_, err = us.plane.DeleteTable(t.Context(), "orders")
		wantError(t, err, globaltable.Unavailable, "owned by region eu, which cannot be reached")
		if err := us.write(table.ID, "alone", false); err != nil {
			t.Error(err)
		}
		w.setCut("eu", false)
		got, err := us.plane.UpdateTable(t.Context(), "orders", catalog.Change{DeletionProtection: &yes, Tag: map[string]string{"a": "b"}})
		if err != nil || !got.OwnOf(got.ReplicaNamed("us")).DeletionProtection || got.OwnOf(got.ReplicaNamed("us")).Tags["a"] != "b" || got.OwnOf(got.ReplicaNamed("eu")).DeletionProtection {
			t.Fatal(got, err)
		}
		// The owner's refusal comes in the owner's words.
		_, err = us.plane.DeleteTable(t.Context(), "orders")
		wantError(t, err, globaltable.Invalid, "currently protected against deletion")
		_, err = us.plane.UpdateTable(t.Context(), "orders", catalog.Change{Create: []string{"mars"}})
		wantError(t, err, globaltable.Invalid, "the region is not known: mars")
	}, "eu", "us")
}

// TestAnswerLost: the owner does it, and the asker cannot know.
func TestAnswerLost(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.make("orders", "eu", "us")
		us := w.nodes["us"]
		lose := func(is bool) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.lose = is
		}
		lose(true)
		_, err := us.plane.DeleteTable(t.Context(), "orders")
		wantError(t, err, globaltable.Unknown, "has not answered")
		lose(false)
		w.until("it was made", func() bool { return us.status("orders") == "" })
	}, "eu", "us")
}

// TestUnreachableReplica: the new replica's region is away. It is named, and the rest goes on.
func TestUnreachableReplica(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		eu, us := w.nodes["eu"], w.nodes["us"]
		w.make("orders", "eu")
		w.until("heard", func() bool { return len(eu.plane.Unheard()) == 0 })
		w.setCut("ap", true)
		if _, err := eu.plane.UpdateTable(t.Context(), "orders", catalog.Change{Create: []string{"ap", "us"}}); err != nil {
			t.Fatal(err)
		}
		w.until("us is active, ap is named", func() bool {
			return us.status("orders") == globaltable.Updating && eu.replica("orders", "us") == "ACTIVE" &&
				eu.replica("orders", "ap") == "CREATING: Cannot reach ap."
		})
		_, err := eu.plane.DeleteTable(t.Context(), "orders")
		wantError(t, err, globaltable.InUse, "Table is being updated: orders")
		w.setCut("ap", false)
		w.until("all active", w.all("orders", globaltable.Active))
	}, "ap", "eu", "us")
}

// TestNewTableNeedsNoHearing: a table that was made since the start is changed although nobody has been heard; one from before is not.
func TestNewTableNeedsNoHearing(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.make("older", "eu")
		w.setCut("us", true)
		w.restart("eu")
		eu := w.nodes["eu"]
		w.make("newer", "eu")
		if len(eu.plane.Unheard()) == 0 {
			t.Fatal("us was heard although it is cut off")
		}
		if _, err := eu.plane.UpdateTable(t.Context(), "newer", catalog.Change{Create: []string{"us"}}); err != nil {
			t.Error(err)
		}
		_, err := eu.plane.UpdateTable(t.Context(), "older", catalog.Change{Create: []string{"us"}})
		wantError(t, err, globaltable.Unavailable, "has not heard from: us")
	}, "eu", "us")
}

func TestNameTaken(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		eu, us := w.nodes["eu"], w.nodes["us"]
		w.make("orders", "eu")
		theirs := w.make("orders", "us")
		w.until("heard", func() bool { return len(eu.plane.Unheard()) == 0 })
		if _, err := eu.plane.UpdateTable(t.Context(), "orders", catalog.Change{Create: []string{"us"}}); err != nil {
			t.Fatal(err)
		}
		w.until("refused", func() bool {
			return eu.replica("orders", "us") == "CREATION_FAILED: A table named orders exists already in us."
		})
		if got, err := us.plane.DescribeTable("orders"); err != nil || got.ID != theirs.ID || us.status("orders") != globaltable.Active {
			t.Error(got, err)
		}
		w.restart("us")
		us = w.nodes["us"]
		if got, err := us.plane.DescribeTable("orders"); err != nil || got.ID != theirs.ID {
			t.Error("after a start:", got, err)
		}
		if _, err := eu.plane.UpdateTable(t.Context(), "orders", catalog.Change{Delete: []string{"us"}}); err != nil {
			t.Fatal(err)
		}
		if eu.replica("orders", "us") != "no replica" {
			t.Error(eu.replica("orders", "us"))
		}
	}, "eu", "us")
}

// TestLeavingWaits: a replica goes only when the others have what was written in it, and who is missing is named.
func TestLeavingWaits(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		ap, eu, us := w.nodes["ap"], w.nodes["eu"], w.nodes["us"]
		table := w.make("orders", "eu", "ap", "us")
		w.setCut("ap", true)
		if err := us.write(table.ID, "one", false); err != nil {
			t.Fatal(err)
		}
		if _, err := us.plane.DeleteTable(t.Context(), "orders"); err != nil {
			t.Fatal(err)
		}
		w.until("it waits for ap", func() bool {
			return eu.replica("orders", "us") == "DELETING: Waiting for ap to confirm what us wrote."
		})
		w.restart("us")
		us = w.nodes["us"]
		w.until("us has started and waits again", func() bool {
			return us.status("orders") == globaltable.Deleting && us.count(table.ID) == 1 &&
				eu.replica("orders", "us") == "DELETING: Waiting for ap to confirm what us wrote."
		})
		w.setCut("ap", false)
		w.until("gone", func() bool { return us.status("orders") == "" && us.count(table.ID) == 0 })
		w.until("kept", func() bool { return ap.count(table.ID) == 1 && eu.count(table.ID) == 1 })
	}, "ap", "eu", "us")
}

// TestNobodyLeavesWhoReturns: a region whose store was emptied does not say that the others have all that it wrote. Its log does not know.
func TestNobodyLeavesWhoReturns(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		eu, us := w.nodes["eu"], w.nodes["us"]
		table := w.make("orders", "eu", "us")
		us.shard.Returning(true)
		if _, err := eu.plane.UpdateTable(t.Context(), "orders", catalog.Change{Delete: []string{"us"}}); err != nil {
			t.Fatal(err)
		}
		w.until("us knows", func() bool { return us.status("orders") == globaltable.Deleting })
		w.pass(time.Minute)
		if got := eu.replica("orders", "us"); !strings.HasPrefix(got, "DELETING") {
			t.Errorf("the replica: %s", got)
		}
		us.shard.Returning(false)
		w.until("gone", func() bool { return us.status("orders") == "" && us.count(table.ID) == 0 })
	}, "eu", "us")
}

// TestIssuedAfterAnswers: a document that brings a replica is after all that its region had written when it said that it has joined, by the clock of every region. One that is too far ahead for that has not answered.
func TestIssuedAfterAnswers(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		eu, us := w.nodes["eu"], w.nodes["us"]
		w.make("orders", "eu")
		w.until("heard", func() bool { return len(eu.plane.Unheard()) == 0 })
		ahead := us.clock.Last().Add(time.Hour)
		us.clock.Restore(ahead)
		if _, err := eu.plane.UpdateTable(t.Context(), "orders", catalog.Change{Create: []string{"us"}}); err != nil {
			t.Fatal(err)
		}
		w.until("us is too far ahead", func() bool { return strings.Contains(eu.replica("orders", "us"), "CREATING: Cannot reach us.") })
		w.pass(time.Hour - time.Second)
		w.until("active", func() bool { return eu.replica("orders", "us") == "ACTIVE" })
		if at := eu.clock.Last(); at < ahead {
			t.Errorf("the document was issued at %s, and us had written up to %s when it answered", at, ahead)
		}
	}, "eu", "us")
}

// TestOwnerRestarts: in the middle of everything the owner, and the new region, are killed. The owner's epoch rises, and it issues nothing before it has heard all.
func TestOwnerRestarts(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		eu := w.nodes["eu"]
		first := w.make("orders", "eu")
		w.until("heard", func() bool { return len(eu.plane.Unheard()) == 0 })
		w.setCut("ap", true)
		issued, err := eu.plane.UpdateTable(t.Context(), "orders", catalog.Change{Create: []string{"ap", "us"}})
		if err != nil {
			t.Fatal(err)
		}
		w.restart("eu")
		w.restart("us")
		eu = w.nodes["eu"]
		w.pass(5 * time.Second)
		yes := true
		_, err = eu.plane.UpdateTable(t.Context(), "orders", catalog.Change{DeletionProtection: &yes})
		wantError(t, err, globaltable.Unavailable, "has not heard from: ap")
		if got := eu.replica("orders", "us"); !strings.Contains(got, "The owner has not heard, since its start, from ap.") {
			t.Error(got)
		}
		eu.mu.Lock()
		if len(eu.issued) != 0 {
			t.Error("issued before it had heard all:", eu.issued)
		}
		eu.mu.Unlock()
		// New tables need nobody.
		second := w.make("others", "eu")
		if second.Version.Epoch() <= first.Version.Epoch() {
			t.Error("the epoch has not risen:", first.Version, second.Version)
		}
		w.setCut("ap", false)
		w.until("all active", w.all("orders", globaltable.Active))
		got, _ := eu.catalog.View().Table(first.ID)
		if got.Version.Epoch() != second.Version.Epoch() || got.Version.Number() <= issued.Version.Number() {
			t.Error(issued.Version, got.Version)
		}
	}, "ap", "eu", "us")
}

// TestRestoredOwner: the owner's store is lost after it issued versions that others have. It learns them before it issues anything, and goes on above them.
func TestRestoredOwner(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		table := w.make("orders", "eu", "us")
		us := w.nodes["us"]
		before, _ := us.catalog.View().Table(table.ID)
		w.nodes["eu"].stop()
		w.start("eu", store.NewMemory())
		eu := w.nodes["eu"]
		// As a restored region's streams do: its old life is dead for its peers.
		if err := us.shard.Revoke(t.Context(), eu.self.Origin, eu.shard.Incarnation()-1); err != nil {
			t.Fatal(err)
		}
		w.until("eu has learned its own table", func() bool { return eu.status("orders") == globaltable.Active })
		yes := true
		got, err := eu.plane.UpdateTable(t.Context(), "orders", catalog.Change{DeletionProtection: &yes})
		if err != nil {
			t.Fatal(err)
		}
		if got.Version.Number() != before.Version.Number()+1 || got.Version.Epoch() <= before.Version.Epoch() {
			t.Error(before.Version, got.Version)
		}
		w.until("us follows", func() bool { return us.catalog.Version(table.ID) == got.Version })
	}, "eu", "us")
}

// TestFetchPages: more documents than one answer has.
func TestFetchPages(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		eu, us := w.nodes["eu"], w.nodes["us"]
		w.setCut("us", true)
		const tables = maxDocuments + 10
		for i := range tables {
			s := spec("table-" + strings.Repeat("x", i%50) + string(rune('a'+i%26)) + time.Duration(i).String())
			s.Tags = map[string]string{strings.Repeat("k", 100): strings.Repeat("v", 200)}
			s.Name = strings.ReplaceAll(s.Name, "µ", "u")
			if _, err := eu.plane.CreateTable(t.Context(), s); err != nil {
				t.Fatal(err)
			}
		}
		w.setCut("us", false)
		if err := us.plane.Fetch(t.Context(), "eu"); err != nil {
			t.Fatal(err)
		}
		n := 0
		us.catalog.View().Tables(func(*globaltable.Table) bool { n++; return true })
		if n != tables {
			t.Errorf("%d of %d documents", n, tables)
		}
		if got := us.plane.Unheard(); len(got) != 0 {
			t.Error(got)
		}
	}, "eu", "us")
}

func TestHandlePeerRefuses(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		table := w.make("orders", "eu")
		id := table.ID.String()
		for request, want := range map[string]string{
			``:                                       "cannot be read",
			`{`:                                      "cannot be read",
			`[]`:                                     "cannot be read",
			`{}`:                                     "asks nothing",
			`{"later":1}`:                            "newer version",
			`{"documents":["x"]}`:                    "parse table id",
			`{"versions":{"after":"x"}}`:             "parse table id",
			`{"progress":[{"table":"x","since":1}]}`: "parse table id",
			`{"delete":{"table":"` + id + `"}}`:      "not found", // us has no replica of it
			`{"update":{"table":"` + id + `","change":{}}}`:                 "not found",
			`{"update":{"table":"0000000000000001","change":{}}}`:           "not found",
			`{"documents":[` + strings.Repeat(`"",`, maxDocuments) + `""]}`: "too much",
		} {
			raw, err := w.nodes["eu"].plane.HandlePeer(t.Context(), "us", []byte(request))
			if err != nil || !strings.Contains(string(raw), want) {
				t.Errorf("%.60s: %s, %v; want %q", request, raw, err, want)
			}
		}
		raw, err := w.nodes["eu"].plane.HandlePeer(t.Context(), "mars", []byte(`{"documents":["`+id+`"]}`))
		if err != nil || !strings.Contains(string(raw), "the region is not known") {
			t.Errorf("%s, %v", raw, err)
		}
	}, "eu", "us")
}

func TestConfigValidate(t *testing.T) {
	_, err := New(Config{Every: -1})
	for _, want := range []string{"no catalog", "no door", "no peers", "no joins", "no clock", "no hybrid clock", "negative"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("nothing about %q in %v", want, err)
		}
	}
}
