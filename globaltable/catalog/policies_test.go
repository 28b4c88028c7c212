package catalog

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/globaltable/policy"
)

// docs parses specs of policies of the table orders: "kind name: spec".
func docs(t testing.TB, texts ...string) (out []policy.Document) {
	t.Helper()
	for _, text := range texts {
		head, spec, _ := strings.Cut(text, ": ")
		kind, name, _ := strings.Cut(head, " ")
		kind = map[string]string{"pin": "LocalityPolicy", "replicate": "ReplicationPolicy"}[kind]
		parsed, err := policy.Parse([]byte(fmt.Sprintf("apiVersion: concordat/v1\nkind: %s\nmetadata: {name: %s}\nspec: %s\n", kind, name, spec)))
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		out = append(out, parsed...)
	}
	return out
}

// governed is a table with its history.
type governed struct {
	t       testing.TB
	w       *world
	table   *globaltable.Table
	history []*policy.Version
}

// apply makes a change and lets it be carried out; it returns what was made.
func (g *governed) apply(c *PolicyChange) string {
	g.t.Helper()
	c.Author, c.Reason, c.At = "me", "because", 5000
	next, made, err := ChangePolicies(g.table, g.history, c, 1, g.w.region)
	if err != nil {
		return err.Error()
	}
	if next == nil {
		return "nothing"
	}
	var out []string
	for i := range made {
		v := &made[i]
		back, err := policy.DecodeVersion(v.Encode())
		if err != nil || !reflect.DeepEqual(back, v) {
			g.t.Fatalf("%s is not stored as it is: %v", v.Encode(), err)
		}
		if v.In != next.Version || v.Table != next.ID || v.By != next.Owner || v.Author != "me" || v.Reason != "because" || v.At != 5000 {
			g.t.Errorf("%+v", v)
		}
		text := fmt.Sprintf("%d: %s %d", v.Sequence, v.Document.Name, v.Number)
		if v.Deleted {
			text += " deleted"
		}
		out = append(out, text)
		g.history = append(g.history, v)
	}
	if fresh, err := follows(g.table, next, nil); err != nil || !fresh {
		g.t.Fatalf("it is not adopted: %v", err)
	}
	g.table = settle(g.t, next)
	return strings.Join(out, ", ")
}

func (g *governed) set(texts ...string) string {
	g.t.Helper()
	return g.apply(&PolicyChange{Set: docs(g.t, texts...)})
}

func (g *governed) inForce() string {
	var out []string
	for _, p := range PoliciesOf(g.table, g.history) {
		n := uint64(0)
		if p.Version != nil {
			n = p.Version.Number
		}
		out = append(out, fmt.Sprintf("%s %d", p.Document.Name, n))
	}
	return strings.Join(out, ", ")
}

func (g *governed) regions() string {
	var out []string
	for _, r := range g.table.Replicas {
		out = append(out, r.Region)
	}
	return strings.Join(out, " ")
}

// TestChangePolicies is one table's life.
func TestChangePolicies(t *testing.T) {
	w, table := pinnable(t, "eu")
	g := &governed{t: t, w: w, table: table}
	expect := func(what, got, want string) {
		t.Helper()
		if !strings.Contains(got, want) || want == "" && got != "" {
			t.Fatalf("%s: %q, want %q", what, got, want)
		}
	}
	all := "replicate all: {table: orders, regions: [ap, eu, us], merge: vector, attributes: {likes: counter}, acknowledge: 'peers:1', conflicts: {age: 30d, bytes: 1MiB}}"
	expect("a replication policy", g.set(all), "1: all 1")
	expect("its regions", g.regions(), "ap eu us")
	if g.table.Mode.String() != "vector" || g.table.AcknowledgePeers != 1 || len(g.table.Types) != 1 || g.table.Conflicts != (globaltable.Retention{Seconds: 30 * 86400, Bytes: 1 << 20}) || g.table.Stream.View != "" {
		t.Errorf("settings: %s", globaltable.EncodeTable(g.table))
	}
	expect("the same again", g.set(all), "nothing")
	eu, us := "pin eu: {match: {table: orders, keyPrefix: 'EU#'}, pin: {regions: [eu, ap]}}", "pin us: {match: {table: orders, keyPrefix: 'US#'}, pin: {jurisdictions: [US]}, singleCopy: allowed}"
	expect("two locality policies", g.set(eu, us), "2: eu 1, 3: us 1")
	expect("in force", g.inForce(), "all 1, eu 1, us 1")
	expect("one is changed", g.set(eu, strings.Replace(us, "pin:", "foreign: forward, pin:", 1)), "4: us 2")
	expect("the tie", g.set("pin tie: {match: {table: orders, keyPrefix: 'EU#'}, pin: {regions: [us, ap]}}"), "neither is more specific")
	expect("the other kind", g.set("pin all: {match: {table: orders}, pin: {regions: [us, ap]}}"), "Table orders has a ReplicationPolicy named all.")
	expect("a second one", g.set("replicate other: {table: orders}"), "Table orders has replication policy all.")
	expect("another table's", g.set("replicate other: {table: customers}"), "Policy other is about table customers.")
	expect("a region that pins need", g.set("replicate all: {table: orders, regions: [ap, eu]}"), "items could be nowhere")
	expect("deleted", g.apply(&PolicyChange{Delete: []string{"us"}}), "5: us 3 deleted")
	expect("deleted again", g.apply(&PolicyChange{Delete: []string{"us"}}), "nothing")
	expect("none", g.apply(&PolicyChange{Delete: []string{"uk"}}), "has no policy uk")
	expect("other regions", g.set("replicate all: {table: orders, regions: [ap, eu, za]}"), "6: all 2")
	expect("first they come", g.regions(), "ap eu us za")
	expect("the same again", g.set("replicate all: {table: orders, regions: [ap, eu, za]}"), "")
	expect("then they go", g.regions(), "ap eu za")
	if g.table.AcknowledgePeers != 1 || g.table.Mode.String() != "vector" {
		t.Error("what a policy does not name does not stay")
	}
	expect("nothing is left to do", g.set("replicate all: {table: orders, regions: [ap, eu, za]}"), "nothing")
	expect("made again", g.set(us, "replicate all: {table: orders, regions: [ap, eu, za]}"), "could be nowhere")
	expect("deleted, of the other kind", g.apply(&PolicyChange{Delete: []string{"all"}}), "7: all 3 deleted")
	expect("its regions stay", g.regions(), "ap eu za")
	expect("a kind may change then", g.set("pin all: {match: {table: orders, sortKeyPrefix: x}, pin: {regions: [eu, ap]}}"), "8: all 4")
	expect("in force", g.inForce(), "all 4, eu 1")
	// Without its document a policy is the table's all the same, and is written down when it is applied.
	g.table = settle(t, mustUpdate(t, w, g.table, set(prefix("bare", "B", "eu"))))
	expect("in force", g.inForce(), "all 4, bare 0, eu 1")
	expect("written down", g.set("pin bare: {match: {table: orders, keyPrefix: B}, pin: {regions: [eu]}, singleCopy: allowed}"), "9: bare 1")
	expect("stream", g.set("replicate r: {table: orders, stream: KEYS_ONLY}"), "10: r 1")
	expect("no stream", g.set("replicate r: {table: orders, stream: off}"), "11: r 2")

	for _, c := range []PolicyChange{{}, {Author: "a\nb"}, {Author: "me", Reason: strings.Repeat("a", 2000)}} {
		if _, _, err := ChangePolicies(g.table, g.history, &c, 1, w.region); globaltable.KindOf(err) != globaltable.Invalid {
			t.Errorf("%+v: %v", c, err)
		}
	}
	dead := g.table.Clone()
	dead.Deleted = true
	if _, _, err := ChangePolicies(dead, nil, &PolicyChange{Author: "me"}, 1, w.region); globaltable.KindOf(err) != globaltable.NotFound {
		t.Error(err)
	}
	leaving := mustUpdate(t, w, g.table, &Change{Delete: []string{"za"}})
	if _, _, err := ChangePolicies(leaving, g.history, &PolicyChange{Author: "me", Set: docs(t, "replicate r: {table: orders, regions: [ap, eu, za]}")}, 1, w.region); globaltable.KindOf(err) != globaltable.InUse {
		t.Errorf("a replica on its way out is wanted: %v", err)
	}
}

// TestHistoryIsBounded: what is older than the newest versions goes, but for what is in force.
func TestHistoryIsBounded(t *testing.T) {
	w, table := pinnable(t, "eu")
	g := &governed{t: t, w: w, table: table}
	g.set("pin stays: {match: {table: orders, keyPrefix: S}, pin: {regions: [eu]}, singleCopy: allowed}")
	c, err := New(mustRegion(w, "us"), nil)
	if err != nil {
		t.Fatal(err)
	}
	adopt := func(v *policy.Version) {
		t.Helper()
		_, adopt, err := c.Prepare([]item.Item{EncodePolicy(v)})
		if err != nil || adopt == nil {
			t.Fatalf("a version alone is not adopted: %v", err)
		}
		adopt()
	}
	adopt(g.history[0])
	for i := range 2 * MaxPolicyVersions {
		foreign := []string{"reject", "forward"}[i%2]
		history := c.View().Policies(g.table.ID)
		next, made, err := ChangePolicies(g.table, history, &PolicyChange{Author: "me", At: 1, Set: forever(foreign)}, 1, w.region)
		if err != nil || len(made) != 1 {
			t.Fatal(made, err)
		}
		g.table = settle(t, next)
		adopt(&made[0])
	}
	history := c.View().Policies(g.table.ID)
	g.history = history
	last := history[len(history)-1]
	if len(history) != MaxPolicyVersions || history[0].Document.Name != "stays" || last.Number != 2*MaxPolicyVersions || c.View().NewestPolicy(g.table.ID) != last.Sequence {
		t.Errorf("%d versions, the first of %s, the newest %d of %d", len(history), history[0].Document.Name, last.Number, last.Sequence)
	}
	if got := g.inForce(); got != fmt.Sprintf("changes %d, stays 1", 2*MaxPolicyVersions) {
		t.Error(got)
	}
	if len(c.View().Policies(g.table.ID+1)) != 0 || c.View().NewestPolicy(1) != 0 {
		t.Error("policies of tables without any")
	}
}

// forever is a policy that can be changed for ever. It is not parsed, for the sake of time.
func forever(foreign string) []policy.Document {
	return []policy.Document{{Kind: policy.LocalityPolicy, Name: "changes", Locality: &policy.Locality{Match: policy.Match{Table: "orders", KeyPrefix: "C"}, Pin: policy.Places{Regions: []string{"eu"}},
		Foreign: globaltable.Foreign(foreign), SingleCopy: policy.Allowed}}}
}

// TestPolicyItems: versions are loaded from the store, and what is none does not come into force.
func TestPolicyItems(t *testing.T) {
	w, table := pinnable(t, "eu")
	g := &governed{t: t, w: w, table: table}
	g.set("pin a: {match: {table: orders, keyPrefix: A}, pin: {regions: [eu]}, singleCopy: allowed}")
	v := g.history[0]
	it := EncodePolicy(v)
	if key := PolicyKey(v.Table, v.Sequence); !strings.Contains(string(key), "policy/"+v.Table.String()+"/001") {
		t.Errorf("%q", key)
	}
	c, err := New(mustRegion(w, "us"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Load([]item.Item{it, EncodeDocument(g.table)}, nil); err != nil {
		t.Fatal(err)
	}
	if got := c.View().Policies(g.table.ID); len(got) != 1 || !reflect.DeepEqual(got[0], v) {
		t.Errorf("%+v", got)
	}
	other := *v
	other.Sequence++
	for name, bad := range map[string]item.Item{
		"another's key": systemItem(policyName(v.Table, v.Sequence), attributeDocument, item.AppendString(nil, other.Encode())),
		"no document":   systemItem(policyName(v.Table, v.Sequence), "other", item.AppendString(nil, v.Encode())),
		"no version":    systemItem(policyName(v.Table, v.Sequence), attributeDocument, item.AppendString(nil, "{}")),
	} {
		if _, _, err := c.Prepare([]item.Item{bad}); globaltable.KindOf(err) != globaltable.Corrupt {
			t.Errorf("%s: %v", name, err)
		}
	}
	newer := systemItem(policyName(v.Table, v.Sequence), attributeDocument, item.AppendString(nil, `{"format":3}`))
	if _, _, err := c.Prepare([]item.Item{newer}); globaltable.KindOf(err) != globaltable.Unavailable {
		t.Errorf("a newer one: %v", err)
	}
}

func TestPolicySteps(t *testing.T) {
	w, table := pinnable(t, "us", "ap")
	pin := func(name, where string) policy.Document {
		return docs(t, "pin "+name+": {match: {table: orders, keyPrefix: "+name+"}, foreign: reject, pin: "+where+"}")[0]
	}
	replicate := docs(t, "replicate r: {table: orders, regions: [ap, eu, us, za]}")[0]
	here, single := pin("a", "{regions: [ap, us]}"), pin("b", "{regions: [us]}, singleCopy: allowed")
	for _, c := range []struct {
		set  []policy.Document
		want string
	}{
		{[]policy.Document{here, single}, "ab x-y"},
		{[]policy.Document{replicate}, "r x-y"},
		{[]policy.Document{here, replicate, single}, "ab r x-y"},
		{[]policy.Document{pin("c", "{regions: [eu]}, singleCopy: allowed"), replicate}, "r:eu c r x-y"},
		{[]policy.Document{replicate, pin("c", "{regions: [us, za]}"), pin("d", "{regions: [us, eu, zz]}")}, "r:eu,za cd r x-y"},
		{[]policy.Document{pin("c", "{regions: [eu]}"), single}, "cb x-y"}, // and that is refused
	} {
		var got []string
		for _, s := range PolicySteps(table, &PolicyChange{Author: "me", Reason: "why", Set: c.set, Delete: []string{"x", "y"}}, w.region) {
			if s.Author != "me" || s.Reason != "why" {
				t.Errorf("%+v", s)
			}
			names := ""
			for _, d := range s.Set {
				names += d.Name
			}
			if len(s.First) > 0 {
				names += ":" + strings.Join(s.First, ",")
			}
			got = append(got, names+strings.Join(s.Delete, "-"))
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%v, want %s", got, c.want)
		}
	}
}

// TestSettle: the end of what is under way.
func TestSettle(t *testing.T) {
	w, table := pinnable(t, "eu", "ap", "us")
	for _, change := range []*Change{{Create: []string{"za"}}, {Delete: []string{"us"}}, set(prefix("a", "A", "eu")), {Pins: &PinChange{}}} {
		next := mustUpdate(t, w, table, change)
		got, ok := Settle(next)
		if !ok {
			t.Fatal("it does not settle")
		}
		want := settle(t, next)
		for _, x := range []*globaltable.Table{got, want} { // the versions in between are not made
			x.Version, x.Predecessor = 0, globaltable.Hash{}
			for i := range x.Replicas {
				x.Replicas[i].Since = 0
			}
		}
		if globaltable.HashTable(got) != globaltable.HashTable(want) {
			t.Errorf("%s\nwant %s", globaltable.EncodeTable(got), globaltable.EncodeTable(want))
		}
		if !Moves(table, want) != (change.Pins != nil && change.Pins.Set == nil) {
			t.Errorf("%+v moves: %v", change, Moves(table, want))
		}
	}
	fencing := table.Clone()
	fencing.Replicas[0].Status = globaltable.StatusFencing
	if _, ok := Settle(fencing); ok {
		t.Error("what comes of fencing is known")
	}
}
