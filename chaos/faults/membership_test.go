//go:build linux

package faults

import (
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// A region's disk is gone. It comes back from the others with one command, while they go on writing, and is equal.
func TestRegionLosesItsStore(t *testing.T) {
	t.Parallel() // most of it is waiting
	c := newCluster(t)
	c.launch()
	createTable(t, table, c.regions()...)
	h := newHistory()
	lost, others := c.nodes[2], c.regions()[:2]
	everywhere := startLoad(t, h, table, "before", c.regions()...)
	h.acknowledges(t, lost.region, 100)
	everywhere.stop()
	quiesce(t, table, c.regions()...)

	l := startLoad(t, h, table, "meanwhile", others...)
	lost.proc.kill()
	if err := os.RemoveAll(lost.data); err != nil {
		t.Fatal(err)
	}
	lost.launch()
	lost.mustRefuse("region rebuild")
	h.acknowledges(t, others[0], 50)
	mustCommand(t, "region", "rebuild", "--yes", "--admin", lost.admin)
	h.acknowledges(t, others[0], 50)
	l.stop()
	after := startLoad(t, h, table, "after", c.regions()...)
	h.acknowledges(t, lost.region, 50)
	after.stop()
	h.mustConverge(t, table, c.regions()...)
	mustCommand(t, "verify", "--admin", lost.admin)

	// It needs no second time.
	lost.proc.stop()
	lost.launch()
	h.mustConverge(t, table, c.regions()...)
}

// A region's disk is brought back as it was some time ago. It finds that out from its peers, takes no more writes, and is rebuilt. What was deleted meanwhile
// stays deleted.
func TestRegionIsRestored(t *testing.T) {
	t.Parallel() // most of it is waiting
	c := newCluster(t)
	c.launch()
	createTable(t, table, c.regions()...)
	h := newHistory()
	restored := c.nodes[1]
	first := startLoad(t, h, table, "first", c.regions()...)
	h.acknowledges(t, restored.region, 100)
	first.stop()
	quiesce(t, table, c.regions()...)
	restored.proc.stop()
	backup := t.TempDir() + "/backup"
	copyFolder(t, restored.data, backup)
	restored.launch()
	second := startLoad(t, h, table, "second", c.regions()...)
	h.acknowledges(t, restored.region, 200)
	second.stop()
	quiesce(t, table, c.regions()...)

	restored.proc.stop()
	if err := os.RemoveAll(restored.data); err != nil {
		t.Fatal(err)
	}
	copyFolder(t, backup, restored.data)
	restored.launch()
	restored.mustRefuse("region rebuild")
	mustCommand(t, "region", "rebuild", "--yes", "--admin", restored.admin)
	third := startLoad(t, h, table, "third", c.regions()...)
	h.acknowledges(t, restored.region, 50)
	third.stop()
	h.mustConverge(t, table, c.regions()...)
	mustCommand(t, "verify", "--admin", restored.admin)
}

// A region is cut off, and fenced; the others go on without it. When it is back it is rebuilt. Each write that it acknowledged alone has been
// replayed, or is shown.
func TestFencedRegionComesBack(t *testing.T) {
	t.Parallel() // most of it is waiting
	c := newCluster(t)
	c.launch()
	createTable(t, table, c.regions()...)
	h := newHistory()
	fenced, others := c.nodes[2], c.regions()[:2]
	l := startLoad(t, h, table, "before", c.regions()...)
	h.acknowledges(t, fenced.region, 50)
	l.stop()
	quiesce(t, table, c.regions()...)

	c.cut(fenced)
	alone := newHistory()
	inside := startLoad(t, alone, table, "alone", fenced.region)
	outside := startLoad(t, h, table, "outside", others...)
	alone.acknowledges(t, fenced.region, 200)
	inside.stop()
	mustCommand(t, "region", "fence", fenced.name, "--yes", "--admin", others[0].admin)
	h.acknowledges(t, others[1], 100)
	if state := memberState(t, others[1], fenced.name); state != "fenced" {
		t.Errorf("%s is %s, says %s", fenced.name, state, others[1].name)
	}
	c.heal(fenced)
	fenced.mustRefuse("region rebuild")
	mustCommand(t, "region", "rebuild", "--yes", "--admin", fenced.admin)
	outside.stop()
	quiesce(t, table, c.regions()...)

	shown := savedKeys(t, fenced.region)
	state, missing := scan(t, others[0], table), 0
	for key := range alone.operations {
		if strings.HasPrefix(key, "alone/") && state[key] == "" {
			missing++
		}
	}
	if missing > shown {
		t.Errorf("%d keys that %s wrote alone are not there, and %d records are shown", missing, fenced.name, shown)
	}
	t.Logf("%d keys were written alone, %d new ones of them are not there; %d records are shown", len(alone.operations), missing, shown)
	// What is shown can be written back, by one command.
	if shown > 0 {
		mustCommand(t, "region", "saved", "restore", "--all", "--yes", "--admin", fenced.admin)
		if left := savedKeys(t, fenced.region); left != 0 {
			t.Errorf("%d records are still shown after all were restored", left)
		}
	}
	told := quiesce(t, table, c.regions()...)
	state = scan(t, others[0], table)
	for key, ops := range alone.operations {
		if strings.HasPrefix(key, "alone/") {
			if fault := judgeKey(ops, state[key]); fault != "" {
				t.Errorf("%s: %s", key, fault)
			}
		}
	}
	if told.Items == 0 {
		t.Error("nothing is there")
	}
	mustCommand(t, "verify", "--admin", fenced.admin)
}

// A region is lost for ever, while another one is cut off: it is removed as soon as that one is back. What the lost one had sent to one of them only is in both
// in the end, and no log waits for it any more.
func TestLostRegionIsRemovedWhileAnotherIsCut(t *testing.T) {
	t.Parallel() // most of it is waiting
	c := newCluster(t)
	c.launch()
	createTable(t, table, c.regions()...)
	h := newHistory()
	us, eu, lost := c.nodes[0], c.nodes[1], c.nodes[2]
	c.links[[2]string{us.name, lost.name}].Cut() // from here on only eu-central-1 hears it
	l := startLoad(t, h, table, "before", c.regions()...)
	h.acknowledges(t, lost.region, 150)
	l.stop()
	eventually(t, eu.name+" has all of "+lost.name, func() string {
		if p := eu.pair(lost.name); p.BehindEntries > 0 {
			return "entries are missing"
		}
		return confirmedBy(lost.region, eu.name)
	})
	lost.proc.kill()

	c.cut(eu)
	apart := startLoad(t, h, table, "apart", us.region, eu.region)
	h.acknowledges(t, eu.region, 100)
	got := command(t, "region", "remove", lost.name, "--yes", "--timeout", "3s", "--admin", us.admin)
	if got.status != 1 || !strings.Contains(got.err+got.out, eu.name) {
		t.Errorf("remove while %s is cut: status %d, want 1 and its name\n%s%s", eu.name, got.status, got.out, got.err)
	}
	h.acknowledges(t, us.region, 50) // nothing waits
	h.acknowledges(t, eu.region, 50)
	c.heal(eu)
	mustCommand(t, "region", "remove", lost.name, "--yes", "--admin", us.admin)
	apart.stop()
	h.mustConverge(t, table, us.region, eu.region)
	mustCommand(t, "verify", "--admin", us.admin)
	for _, r := range []*region{us.region, eu.region} {
		if state := memberState(t, r, lost.name); state != "removed" {
			t.Errorf("%s is %s, says %s", lost.name, state, r.name)
		}
		eventually(t, r.name+" trims its log", func() string {
			st, err := r.status()
			if err != nil {
				return err.Error()
			}
			for _, lane := range st.Lanes {
				if lane.Entries > 1 {
					return "lane " + lane.ID + " keeps entries"
				}
			}
			return ""
		})
	}
}

// mustRefuse waits until the region refuses reads and writes, with a message that has the text.
func (n *node) mustRefuse(text string) {
	n.t.Helper()
	eventually(n.t, n.name+" refuses", func() string {
		st, err := n.status()
		if err != nil {
			return err.Error()
		}
		if !strings.Contains(strings.Join(st.Refused, "\n"), text) {
			return "its status says: " + strings.Join(st.Refused, "\n")
		}
		return ""
	})
	if err := newHistory().write(n.t, n.region, table, operation{key: "refused", id: "refused"}); err == nil {
		n.t.Errorf("%s takes a write", n.name)
	}
}

// confirmedBy says what a peer has not yet confirmed of a region's log.
func confirmedBy(r *region, peer string) string {
	st, err := r.status()
	if err != nil {
		return err.Error()
	}
	for _, l := range st.Lanes {
		if seq, member := l.Confirmed[peer]; member && seq < l.Head {
			return "lane " + l.ID + " is not confirmed"
		}
	}
	return ""
}

func memberState(t testing.TB, asked *region, name string) string {
	t.Helper()
	var list struct {
		Regions []struct{ Name, State string }
	}
	if err := json.Unmarshal([]byte(mustCommand(t, "region", "list", "--output", "json", "--admin", asked.admin)), &list); err != nil {
		t.Fatal(err)
	}
	for _, r := range list.Regions {
		if r.Name == name {
			return r.State
		}
	}
	return "not listed"
}

// savedKeys returns how many records a rebuilt region shows.
func savedKeys(t testing.TB, r *region) int {
	t.Helper()
	var list struct{ Records []json.RawMessage }
	if err := json.Unmarshal([]byte(mustCommand(t, "region", "saved", "list", "--limit", "1000", "--output", "json", "--admin", r.admin)), &list); err != nil {
		t.Fatal(err)
	}
	return len(list.Records)
}

func copyFolder(t testing.TB, from, to string) {
	t.Helper()
	if out, err := exec.Command("cp", "-a", from, to).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v\n%s", err, out)
	}
}
