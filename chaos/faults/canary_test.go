//go:build linux

package faults

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// pin is a locality policy of the test.
func pin(c class, pinned string) string {
	match, foreign := fmt.Sprintf(`keyPrefix: "%s#"`, c.law), "reject"
	switch c.table {
	case byComponent:
		match = fmt.Sprintf(`key: {delimiter: "#", component: 2, equals: %s}`, c.law)
	case bySortKey:
		match = fmt.Sprintf(`sortKeyPrefix: "%s/"`, c.law)
	case forwarded:
		foreign = "forward"
	}
	return fmt.Sprintf("apiVersion: concordat/v1\nkind: LocalityPolicy\nmetadata: {name: %s}\nspec:\n  match: {table: %s, %s}\n  pin: {%s}\n  foreign: %s\n  singleCopy: allowed\n---\n",
		policyOf(c), c.table, match, pinned, foreign)
}

func policyOf(c class) string { return strings.ToLower(c.table + "-" + c.law) }

// change carries out a change of policies by a command, while items may be where they may have been before and where they may be afterwards. After it, they may be nowhere else.
func (s *sovereign) change(name string, next places, args ...string) {
	s.t.Helper()
	before := s.now.may
	s.turn(name, before.with(next))
	mustCommand(s.t, append(args, "--yes", "--reason", "the test", "--admin", s.nodes[0].admin)...)
	after := before.with(nil)
	for c, regions := range next {
		after[c] = regions
	}
	s.turn("after: "+name, after)
	s.v.next()
	s.look("after: " + name)
}

// file writes policies into a file.
func (s *sovereign) file(policies ...string) string {
	s.t.Helper()
	path := filepath.Join(s.dir, "policies.yaml")
	writeFile(s.t, path, strings.Join(policies, ""))
	return path
}

// open starts all regions and makes the tables.
func (s *sovereign) open() {
	s.t.Helper()
	for _, n := range s.nodes {
		n.launch()
	}
	awaitEven(s.t, s.regions()...)
	s.createTables()
}

// pinAll pins the items of both jurisdictions to their regions, in all tables.
func (s *sovereign) pinAll() {
	s.t.Helper()
	var pins []string
	home := places{}
	for _, table := range canaryTables {
		for _, n := range s.nodes[1:] {
			c := class{table, n.law}
			pins = append(pins, pin(c, fmt.Sprintf("jurisdictions: [%s]", n.law)))
			home[c] = []string{n.name}
		}
	}
	// The control is in a policy, too.
	pins = append(pins, pin(class{s.control, "US"}, "jurisdictions: [EU, IN, US]"))
	s.change("pin", home, "policy", "apply", "-f", s.file(pins...))
}

// widenWhileCut lets items go to another region as well, while a third one is cut off: it is named as pending, and the same command goes on when it is back.
func (s *sovereign) widenWhileCut(c class, to *node, cut *node) {
	s.t.Helper()
	s.cut(cut)
	may := s.now.may
	wider := places{c: append(slices.Clone(may[c]), to.name)}
	s.turn("widen, while a region is cut off", may.with(wider))
	widen := s.file(pin(c, fmt.Sprintf("regions: [%s]", strings.Join(slices.Sorted(slices.Values(wider[c])), ", "))))
	got := command(s.t, "policy", "apply", "-f", widen, "--yes", "--reason", "the test", "--timeout", "3s", "--count-timeout", "1s", "--admin", to.admin)
	if got.status != 1 || !strings.Contains(got.out+got.err, cut.name) {
		s.t.Errorf("apply while %s is cut off: status %d, want 1 and its name\n%s%s", cut.name, got.status, got.out, got.err)
	}
	s.heal(cut)
	s.change("widen", wider, "policy", "apply", "-f", widen)
}

// rebuild loses a region's disk, when the others have all that it had, and has it come back.
func (s *sovereign) rebuild(n *node) {
	s.t.Helper()
	awaitEven(s.t, s.regions()...)
	n.proc.kill()
	if err := os.RemoveAll(n.data); err != nil {
		s.t.Fatal(err)
	}
	n.launch()
	mustCommand(s.t, "region", "rebuild", "--yes", "--admin", n.admin)
}

// Items are where their policies let them be, in no byte of any file, message, log or answer elsewhere (I18), while policies change, regions are killed, links are cut, and replicas and regions are built anew; and
// no acknowledged write is lost.
func TestCanary(t *testing.T) {
	t.Parallel() // most of it is waiting
	s := newSovereign(t)
	s.open()
	us := s.nodes[0] // nothing is pinned to it at first
	stop := s.startWriters()
	s.awaitWrites(5)
	s.pinAll()
	s.mustRefuseForeign()
	s.awaitWrites(5)

	classes, others := s.shuffled()
	first, second := others(nil)
	first.proc.kill()
	second.proc.kill()
	first.launch()
	second.launch()
	to, cut := others(s.home(classes[0]))
	s.widenWhileCut(classes[0], to, cut)
	mustCommand(t, "repair", "--yes", "--admin", us.admin)
	mustCommand(t, "table", "replica", "remove", classes[1].table, us.name, "--yes", "--admin", s.nodes[1].admin)
	mustCommand(t, "table", "replica", "add", classes[1].table, us.name, "--admin", s.nodes[1].admin)
	s.turn("after kills, a repair, and a new replica", s.now.may)
	s.look("after kills, a repair, and a new replica")

	stop()
	s.rebuild(us)
	stop = s.startWriters()
	s.awaitWrites(5)
	s.turn("after a rebuild", s.now.may)
	s.look("after a rebuild")

	c := classes[2]
	to, _ = others(s.home(c))
	s.change(fmt.Sprintf("move %v to %s", c, to.name), places{c: {to.name}}, "policy", "apply", "-f", s.file(pin(c, fmt.Sprintf("jurisdictions: [%s]", to.law))))
	c = classes[3]
	s.change(fmt.Sprintf("delete the policy of %v", c), places{c: s.everywhere()[c]}, "policy", "delete", policyOf(c), "--table", c.table)
	s.awaitWrites(5)
	s.change("pin again", places{c: {s.home(c).name}}, "policy", "apply", "-f", s.file(pin(c, fmt.Sprintf("jurisdictions: [%s]", c.law))))
	s.awaitWrites(5)

	stop()
	s.mustHold()
	s.turn("end", s.now.may)
	s.look("at the end")
	s.mustReport("at the end")
	for _, n := range s.nodes {
		n.proc.stop()
	}
	s.look("after the end")
	for _, w := range s.windows {
		s.judge(w)
	}
	// Not keys that are put together from parts of blocks: whether a table has such a canary is chance; the tests of package canary have one.
	s.mustHaveSeen("file, sstable block", "file, blob block", "file, log record", "file, change stream", "file, bytes", "file, stored number",
		"link, NATS payload", "link, log entry", "link, compressed entry", "answer, raw", "answer, base64", "answer, JSON",
		"log, raw", "/metrics, raw", "/v1/status, raw", "/v1/tables, raw", "/v1/policies, raw", "/v1/conflicts, raw", "verify, raw", "audit residency, raw", "audit log, raw", "policy list, raw", "policy history, raw", "policy receipts, raw")
}

// home returns the region of a class's jurisdiction.
func (s *sovereign) home(c class) *node {
	return s.nodes[slices.IndexFunc(s.nodes, func(n *node) bool { return n.law == c.law })]
}

// shuffled returns the classes in random order, one of each table, and a function that gives two regions that are not the one given.
func (s *sovereign) shuffled() (classes []class, others func(*node) (a, b *node)) {
	for _, i := range s.random.Perm(len(canaryTables)) {
		classes = append(classes, class{canaryTables[i], s.nodes[1+s.random.IntN(2)].law})
	}
	return classes, func(but *node) (a, b *node) {
		left := slices.DeleteFunc(slices.Clone(s.nodes), func(n *node) bool { return n == but })
		s.random.Shuffle(len(left), func(i, j int) { left[i], left[j] = left[j], left[i] })
		return left[0], left[1]
	}
}
