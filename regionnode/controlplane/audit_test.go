package controlplane

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/audit"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/store"
)

// logOf returns the audit log as a region has it, each entry as "region seq kind subject", and what is wrong with it.
func logOf(t *testing.T, n *node) (entries []string, r audit.Result) {
	t.Helper()
	keys := map[string]string{}
	for _, d := range n.w.regions {
		keys[d.Name] = d.PublicKey
	}
	c := audit.NewChecker(keys, nil)
	err := n.plane.AuditLog(t.Context(), catalog.AuditPosition{}, func(a AuditEntry) bool {
		if a.Err != nil {
			t.Fatal(a.Err)
		}
		e := c.Add(a.Sealed)
		entries = append(entries, e.Region+" "+string(e.Kind)+" "+e.Subject)
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return entries, c.Result()
}

func wantSound(t *testing.T, r audit.Result) {
	t.Helper()
	if len(r.Problems) > 0 {
		t.Errorf("the log is not sound: %v", r.Problems)
	}
}

// Whatever is issued is in the audit log of every region, with who asked and what is different.
func TestAuditLogTellsWhatWasIssued(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		us, eu := w.nodes["us"], w.nodes["eu"]
		table := w.make("orders", "us", "eu")
		protected := true
		if _, err := eu.plane.UpdateTable(t.Context(), "orders", catalog.Change{DeletionProtection: &protected}); err != nil {
			t.Fatal(err)
		}
		pin := globaltable.Pin{Name: "eu-only", Match: globaltable.Match{KeyPrefix: "EU#"}, Regions: []string{"eu"}, Foreign: globaltable.Reject, SingleCopy: true}
		if _, err := eu.plane.UpdateTable(t.Context(), "orders", catalog.Change{Pins: &catalog.PinChange{Set: []globaltable.Pin{pin}}}); err != nil {
			t.Fatal(err)
		}
		w.until("the policy is carried out", func() bool {
			w.carry()
			now, _ := us.catalog.View().Table(table.ID)
			return now.Settled()
		})
		change := changeTo(pinTo("us-only", "US#", "us"))
		if _, err := eu.plane.ChangePolicies(t.Context(), "orders", change); err != nil {
			t.Fatal(err)
		}
		// Until it is carried out everywhere the home goes on issuing versions.
		w.until("every region knows that the second policy is carried out", func() bool {
			settled := func(n *node) bool {
				now, _ := n.catalog.View().Table(table.ID)
				return now.Settled() && slices.ContainsFunc(now.Pins, func(p globaltable.Pin) bool { return p.Name == "us-only" })
			}
			return settled(us) && settled(eu)
		})
		entries, r := logOf(t, us)
		wantSound(t, r)
		other, r2 := logOf(t, eu)
		wantSound(t, r2)
		if !slices.Equal(entries, other) {
			t.Errorf("the regions' logs differ:\n%q\n%q", entries, other)
		}
		if entries[0] != "us table.created orders" || !slices.Contains(entries, "us policy.changed orders") {
			t.Errorf("the log is %q", entries)
		}
		var asked []string
		words := ""
		err := us.plane.AuditLog(t.Context(), catalog.AuditPosition{}, func(a AuditEntry) bool {
			for _, c := range a.Entry.Changes {
				if a.Entry.Kind == audit.PolicyChanged && c.What == "policy us-only" && a.Entry.Author == change.Author && a.Entry.Reason == change.Reason {
					words = a.Entry.Op
				}
				if a.Entry.Kind == audit.PolicyChanged && c.What == "policy eu-only" && strings.Contains(c.Now, "EU#") && c.Was == "" {
					asked = append(asked, a.Entry.Asked, a.Entry.ID)
				}
			}
			return true
		})
		if err != nil || !slices.Equal(asked, []string{"eu", table.ID.String()}) {
			t.Errorf("the policy's entry: asked in and table %q, %v", asked, err)
		}
		if words != "change policies" {
			t.Error("author and reason of a policy are not told")
		}
		if len(r.Heads) != 1 || r.Heads[0].Seq != uint64(len(entries)) {
			t.Errorf("heads %v", r.Heads)
		}
	}, "us", "eu")
}

// A region that has lost its store gets its chain from the others and continues it.
func TestAuditChainSurvivesTheStore(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.make("orders", "us", "eu")
		w.carry()
		before, _ := logOf(t, w.nodes["us"])
		w.nodes["us"].stop()
		w.start("us", store.NewMemory())
		us := w.nodes["us"]
		w.until("us has heard", func() bool { return len(us.plane.Unheard()) == 0 })
		again, r := logOf(t, us)
		wantSound(t, r)
		if !slices.Equal(before, again) {
			t.Errorf("got back %q of %q", again, before)
		}
		w.make("more", "us")
		after, r := logOf(t, us)
		wantSound(t, r)
		if len(after) <= len(before) {
			t.Errorf("nothing was added: %q", after)
		}
	}, "us", "eu")
}

// Membership is in the log: who was fenced, and which region did it.
func TestAuditLogTellsMembership(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.make("orders", "us", "eu", "in")
		w.nodes["in"].stop()
		delete(w.nodes, "in")
		if err := w.nodes["us"].plane.FenceRegion(t.Context(), "in"); err != nil {
			t.Fatal(err)
		}
		entries, r := logOf(t, w.nodes["us"])
		wantSound(t, r)
		if !slices.Contains(entries, "us region.fenced in") {
			t.Errorf("the log is %q", entries)
		}
	}, "us", "eu", "in")
}

// Credentials are noted when they differ from those noted last, by id, and after a restart too.
func TestAuditLogTellsCredentials(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		note := func(any bool, ids ...string) {
			t.Helper()
			if err := w.nodes["us"].plane.NoteCredentials(t.Context(), ids, any); err != nil {
				t.Fatal(err)
			}
		}
		w.until("us has heard", func() bool { return len(w.nodes["us"].plane.Unheard()) == 0 })
		many := make([]string, 40)
		for i := range many {
			many[i] = strings.Repeat("K", 90) + string(rune('a'+i%26)) + string(rune('a'+i/26))
		}
		note(false, "one", "two")
		note(false, "two", "one")
		w.restart("us")
		w.until("us has heard", func() bool { return len(w.nodes["us"].plane.Unheard()) == 0 })
		note(false, "two", "one")
		note(true, "two")
		note(false, append(many, "two")...)
		var got []string
		added := 0
		err := w.nodes["us"].plane.AuditLog(t.Context(), catalog.AuditPosition{}, func(a AuditEntry) bool {
			for _, c := range a.Entry.Changes {
				if strings.Contains(c.What, "KKK") {
					added++
					continue
				}
				got = append(got, strings.TrimPrefix(c.What, "access key ")+":"+c.Was+">"+c.Now)
			}
			if a.Entry.Omitted > 0 {
				t.Error("an entry has no room for what it tells")
			}
			return true
		})
		want := []string{"one:>taken", "two:>taken", "any, unchecked:>taken", "one:taken>", "any, unchecked:taken>"}
		if err != nil || !slices.Equal(got, want) || added != len(many) {
			t.Errorf("noted %q and %d, %v; want %q", got, added, err, want)
		}
	}, "us", "eu")
}

// A region with an empty chain that has not heard the others may have lost it, and must not begin a second one.
func TestCredentialsWaitForTheChain(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.setCut("eu", true)
		w.nodes["us"].stop()
		w.start("us", store.NewMemory())
		us := w.nodes["us"]
		time.Sleep(time.Second) // of the bubble: it has tried
		if err := us.plane.NoteCredentials(t.Context(), []string{"one"}, false); globaltable.KindOf(err) != globaltable.Unavailable {
			t.Errorf("noted without having heard: %v", err)
		}
		w.setCut("eu", false)
		w.until("us has heard", func() bool { return len(us.plane.Unheard()) == 0 })
		if err := us.plane.NoteCredentials(t.Context(), []string{"one"}, false); err != nil {
			t.Error(err)
		}
	}, "us", "eu")
}

// What a peer gives as an entry is taken only from the chain of the region that wrote it, under its own key.
func TestFetchedEntriesAreChecked(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.make("orders", "us", "eu")
		var record []byte
		err := w.nodes["us"].shard.Records(t.Context(), globaltable.SystemTable, catalog.AuditFirst(), catalog.AuditLast(), func(_ item.Key, r []byte) bool {
			record = append(record, r...)
			return false
		})
		if err != nil || len(record) == 0 {
			t.Fatal("no entry", err)
		}
		if a, err := checkAudit(record); err != nil || a.Entry.Seq != 1 {
			t.Fatalf("a right entry is refused: %v", err)
		}
		for i := range record {
			bad := slices.Clone(record)
			bad[i] ^= 1
			if a, err := checkAudit(bad); err == nil && string(a.Key) == string(catalog.AuditKey(1, 1, a.Sealed.Hash())) && a.Sealed.Payload != "" {
				// It may differ in the signature or in a stamp, which others check, but not in place and text.
				good, _ := checkAudit(record)
				if a.Sealed.Payload != good.Sealed.Payload {
					t.Errorf("byte %d changed, and taken with another text", i)
				}
			}
		}
	}, "us", "eu")
}
