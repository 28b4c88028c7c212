package catalog

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nkeys"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
)

// signed makes a region with a key of its own, and its signed descriptor.
func signed(t testing.TB, name string, origin hlc.Origin, seed byte) (globaltable.Descriptor, string) {
	t.Helper()
	key, err := nkeys.FromRawSeed(nkeys.PrefixByteUser, bytes.Repeat([]byte{seed}, 32))
	if err != nil {
		t.Fatal(err)
	}
	public, err := key.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	d := globaltable.Descriptor{Name: name, Jurisdiction: "XX", Origin: origin, PublicKey: public}
	token, err := globaltable.Sign(&d, key)
	if err != nil {
		t.Fatal(err)
	}
	return d, token
}

// founded is a world of eu (1, the owner), us (2) and ap (3).
func founded(t testing.TB) (*globaltable.World, []globaltable.Descriptor) {
	t.Helper()
	var tokens []string
	var regions []globaltable.Descriptor
	for i, name := range []string{"eu", "us", "ap"} {
		d, token := signed(t, name, hlc.Origin(i+1), byte(i+1))
		regions, tokens = append(regions, d), append(tokens, token)
	}
	w, err := FoundWorld(tokens, 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	return w, regions
}

func members(w *globaltable.World) string {
	out := []string{fmt.Sprintf("%v of %d:", w.Version, w.Owner)}
	for _, m := range w.Members {
		part := m.Descriptor.Name + " " + string(m.State)
		if m.Incarnation != 0 {
			part += fmt.Sprintf(" %d", m.Incarnation)
		}
		out = append(out, part)
	}
	return strings.Join(out, " ")
}

func all(hlc.Origin, globaltable.Version) bool  { return true }
func none(hlc.Origin, globaltable.Version) bool { return false }

// TestWorldTransitions is one world's life, version by version; each is one that regions adopt after the one before.
func TestWorldTransitions(t *testing.T) {
	w, regions := founded(t)
	_, stranger := signed(t, "sa", 4, 4)
	must := func(next *globaltable.World, err error) *globaltable.World {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return next
	}
	advance := func(heard func(hlc.Origin, globaltable.Version) bool) func(*globaltable.World) *globaltable.World {
		return func(w *globaltable.World) *globaltable.World {
			if next, ok := AdvanceWorld(w, heard, 3); ok {
				return next
			}
			return w
		}
	}
	fence := func(owner hlc.Origin, epoch uint32, names ...string) func(*globaltable.World) *globaltable.World {
		return func(w *globaltable.World) *globaltable.World { return must(FenceMembers(w, names, owner, epoch)) }
	}
	admit := func(name string, incarnation globaltable.Incarnation) func(*globaltable.World) *globaltable.World {
		return func(w *globaltable.World) *globaltable.World { return must(AdmitMember(w, name, incarnation, 2, 3)) }
	}
	c, err := New(regions[1], nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, step := range []struct {
		next func(*globaltable.World) *globaltable.World
		want string
	}{
		{func(w *globaltable.World) *globaltable.World { return w }, "1.1 of 1: ap active eu active us active"},
		{fence(1, 1, "ap"), "1.2 of 1: ap fencing eu active us active"},
		{fence(1, 1, "ap"), "1.2 of 1: ap fencing eu active us active"},
		{advance(none), "1.2 of 1: ap fencing eu active us active"},
		{advance(func(o hlc.Origin, _ globaltable.Version) bool { return o == 1 }), "1.2 of 1: ap fencing eu active us active"},
		// The owner is lost as well: another one takes over.
		{fence(2, 2, "eu"), "2.3 of 2: ap fencing eu fencing us active"},
		{advance(func(_ hlc.Origin, since globaltable.Version) bool { return since == globaltable.MakeVersion(1, 2) }), "3.4 of 2: ap fenced eu fencing us active"},
		{advance(all), "3.5 of 2: ap fenced eu fenced us active"},
		{admit("ap", 7), "3.6 of 2: ap active 7 eu fenced us active"},
		{admit("ap", 7), "3.6 of 2: ap active 7 eu fenced us active"},
		{admit("ap", 8), "3.7 of 2: ap fencing 7 eu fenced us active"},
		{admit("ap", 8), "3.7 of 2: ap fencing 7 eu fenced us active"},
		{advance(all), "3.8 of 2: ap fenced 7 eu fenced us active"},
		{admit("ap", 8), "3.9 of 2: ap active 8 eu fenced us active"},
		{func(w *globaltable.World) *globaltable.World { return must(RemoveMember(w, "eu", 2, 3)) }, "3.10 of 2: ap active 8 eu removed us active"},
		{func(w *globaltable.World) *globaltable.World { return must(AddMember(w, stranger, 2, 3)) }, "3.11 of 2: ap active 8 eu removed sa active us active"},
		{func(w *globaltable.World) *globaltable.World { return must(AddMember(w, stranger, 2, 3)) }, "3.11 of 2: ap active 8 eu removed sa active us active"},
		{func(w *globaltable.World) *globaltable.World { return must(RemoveMember(w, "ap", 2, 3)) }, "3.12 of 2: ap removing 8 eu removed sa active us active"},
		{advance(all), "3.13 of 2: ap removed 8 eu removed sa active us active"},
	} {
		w = step.next(w)
		if got := members(w); got != step.want {
			t.Fatalf("step %d: %s, want %s", i, got, step.want)
		}
		if err := w.Validate(); err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
		if _, adopt, err := c.Prepare([]item.Item{EncodeWorld(w)}); err != nil {
			t.Fatalf("step %d: %v", i, err)
		} else if adopt != nil {
			adopt()
		}
		if got := c.Version(globaltable.WorldTable); got != w.Version {
			t.Fatalf("step %d: %v in force", i, got)
		}
		if o, ok := c.View().Outcome(globaltable.WorldTable, w.Version); !ok || o != Adopted {
			t.Fatalf("step %d: no adoption", i)
		}
	}
}

func TestWorldRefusals(t *testing.T) {
	w, _ := founded(t)
	fenced, err := FenceMembers(w, []string{"ap"}, 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	closed, _ := AdvanceWorld(fenced, all, 1)
	removed, err := RemoveMember(closed, "ap", 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	admitted, err := AdmitMember(closed, "ap", 7, 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	again := admitted.Clone()
	again.Member(3).State = globaltable.MemberFenced
	_, sameName := signed(t, "ap", 9, 9)
	_, sameNumber := signed(t, "sa", 3, 9)
	_, sameKey := signed(t, "sa", 9, 3)
	for name, c := range map[string]struct {
		err  func() (*globaltable.World, error)
		kind globaltable.Kind
		text string
	}{
		"fence nobody known":   {func() (*globaltable.World, error) { return FenceMembers(w, []string{"sa"}, 1, 1) }, globaltable.NotFound, "no region sa"},
		"fence all":            {func() (*globaltable.World, error) { return FenceMembers(w, []string{"ap", "eu", "us"}, 1, 1) }, globaltable.Invalid, "No active region"},
		"fence the owner":      {func() (*globaltable.World, error) { return FenceMembers(w, []string{"eu"}, 1, 1) }, globaltable.Invalid, "cannot become"},
		"fence a removed one":  {func() (*globaltable.World, error) { return FenceMembers(removed, []string{"ap"}, 1, 1) }, globaltable.InUse, "is removed"},
		"remove nobody known":  {func() (*globaltable.World, error) { return RemoveMember(w, "sa", 1, 1) }, globaltable.NotFound, "no region sa"},
		"admit nobody known":   {func() (*globaltable.World, error) { return AdmitMember(w, "sa", 1, 1, 1) }, globaltable.NotFound, "no region sa"},
		"admit a removed one":  {func() (*globaltable.World, error) { return AdmitMember(removed, "ap", 1, 1, 1) }, globaltable.Denied, "was removed"},
		"admit an older store": {func() (*globaltable.World, error) { return AdmitMember(admitted, "ap", 6, 1, 1) }, globaltable.Denied, "later store"},
		"admit it fenced anew": {func() (*globaltable.World, error) { return AdmitMember(again, "ap", 7, 1, 1) }, globaltable.Denied, "rebuilt again"},
		"admit no store":       {func() (*globaltable.World, error) { return AdmitMember(closed, "ap", 0, 1, 1) }, globaltable.Denied, "later store"},
		"add a known name":     {func() (*globaltable.World, error) { return AddMember(removed, sameName, 1, 1) }, globaltable.Exists, "The name of"},
		"add a known number":   {func() (*globaltable.World, error) { return AddMember(removed, sameNumber, 1, 1) }, globaltable.Exists, "The number of"},
		"add a known key":      {func() (*globaltable.World, error) { return AddMember(removed, sameKey, 1, 1) }, globaltable.Exists, "The key of"},
		"add what is unsigned": {func() (*globaltable.World, error) { return AddMember(w, "nothing", 1, 1) }, globaltable.Invalid, ""},
	} {
		next, err := c.err()
		if globaltable.KindOf(err) != c.kind || err == nil || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v, %v", name, next, err)
		}
	}
}

// TestWorldForks: what no single owner can have issued is refused, and what is old is ignored.
func TestWorldForks(t *testing.T) {
	w, regions := founded(t)
	issue := func(next *globaltable.World, err error) *globaltable.World {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return next
	}
	next := issue(FenceMembers(w, []string{"ap"}, 1, 1))
	later, _ := AdvanceWorld(next, all, 1)
	other := issue(RemoveMember(w, "ap", 1, 1)) // of the same version as next
	otherLater, _ := AdvanceWorld(other, all, 1)
	usurped := next.Clone()
	usurped.Owner, usurped.Version = 2, globaltable.MakeVersion(2, 3)
	lost := issue(FenceMembers(w, []string{"ap", "eu"}, 2, 2)) // us takes over, and does not know next
	removed, _ := AdvanceWorld(issue(RemoveMember(later, "ap", 1, 1)), all, 1)
	if removed.Version == 0 {
		t.Fatal("no version")
	}
	revived := later.Clone()
	revived.Version, revived.Predecessor = globaltable.MakeVersion(1, 9), globaltable.HashWorld(later)
	revived.Members = slices.DeleteFunc(revived.Members, func(m globaltable.Member) bool { return m.Descriptor.Name == "ap" })
	for name, c := range map[string]struct {
		inForce, doc *globaltable.World
		adopted      bool
		kind         globaltable.Kind // of the error, unless Internal
	}{
		"the next":                  {w, next, true, 0},
		"one that skips":            {w, later, true, 0},
		"the same":                  {next, next, false, 0},
		"an older one":              {later, next, false, 0},
		"another of one version":    {next, other, false, globaltable.Corrupt},
		"another predecessor":       {next, otherLater, false, globaltable.Corrupt},
		"an owner without cause":    {next, usurped, false, globaltable.Corrupt},
		"a takeover":                {w, lost, true, 0},
		"a takeover voids the rest": {next, lost, true, 0},
		"a member is forgotten":     {later, revived, false, globaltable.Corrupt},
	} {
		c1, err := New(regions[1], nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := c1.Load([]item.Item{EncodeWorld(c.inForce)}, nil); err != nil {
			t.Fatal(err)
		}
		adoptions, adopt, err := c1.Prepare([]item.Item{EncodeWorld(c.doc)})
		if (adopt != nil) != c.adopted || len(adoptions) > 0 != c.adopted || (err != nil) != (c.kind != 0) || err != nil && globaltable.KindOf(err) != c.kind {
			t.Errorf("%s: adopted %v, error %v", name, adopt != nil, err)
		}
	}
}

// TestOwnerOfATableChanges only after its owner was closed.
func TestOwnerOfATableChanges(t *testing.T) {
	w, regions := founded(t)
	table, err := Create(&Spec{Name: "orders", KeySchema: globaltable.KeySchema{Partition: globaltable.KeyAttribute{Name: "id", Type: item.S}}}, 99<<16|3, regions[2], 1)
	if err != nil {
		t.Fatal(err)
	}
	taken := Inherit(table, 1, 2)
	fencing, err := FenceMembers(w, []string{"ap"}, 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	back, err := AdmitMember(func() *globaltable.World { w, _ := AdvanceWorld(fencing, all, 1); return w }(), "ap", 7, 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		world *globaltable.World // in the same group as the table's document, after it
		ok    bool
	}{"without a world": {nil, false}, "an active one": {w, false}, "being fenced": {fencing, true}, "back with a new store": {back, true}} {
		catalog, err := New(regions[1], nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := catalog.Load([]item.Item{EncodeDocument(table)}, nil); err != nil {
			t.Fatal(err)
		}
		docs := []item.Item{EncodeDocument(taken)}
		if c.world != nil {
			docs = append(docs, EncodeWorld(c.world))
		}
		_, adopt, err := catalog.Prepare(docs)
		if c.ok != (err == nil && adopt != nil) || !c.ok && !errors.Is(err, ErrBehind) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestWhatAFencedOwnerIssuedIsVoid: a region that was fenced itself has versions of tables that it issued and nobody heard, with an index, a time to live, or the table's end. It takes the new owner's.
func TestWhatAFencedOwnerIssuedIsVoid(t *testing.T) {
	w, regions := founded(t)
	ap := regions[2]
	table, err := Create(&Spec{Name: "orders", KeySchema: globaltable.KeySchema{Partition: globaltable.KeyAttribute{Name: "id", Type: item.S}}}, 99<<16|3, ap, 1)
	if err != nil {
		t.Fatal(err)
	}
	table.Replicas = append(table.Replicas, globaltable.Replica{Region: "eu", Origin: 1, Status: globaltable.Active, Since: table.Version})
	fencing, err := FenceMembers(w, []string{"ap"}, 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	taken := Inherit(table, 1, 2)
	indexed := successor(table, 1)
	indexed.Indexes, indexed.LastIndex = []globaltable.Index{{ID: 1, Name: "by-date", Partition: []globaltable.KeyAttribute{{Name: "date", Type: item.S}}, Projection: globaltable.ProjectAll}}, 1
	mortal := successor(indexed, 1)
	mortal.Expiry = conflict.Expiry{{Attribute: "until", From: 5 << 16}}
	dead := successor(table, 1)
	dead.Replicas, dead.Deleted = nil, true
	other := taken.Clone()
	other.Indexes, other.LastIndex = []globaltable.Index{indexed.Indexes[0].Clone(), {ID: 2, Name: "by-place", Partition: []globaltable.KeyAttribute{{Name: "place", Type: item.S}}, Projection: globaltable.ProjectAll}}, 2
	other.Indexes[0].Partition[0].Name = "day"
	for name, c := range map[string]struct {
		own, next *globaltable.Table // what the fenced region has, and what the new owner has issued
		now       globaltable.Version
		ok        bool
		replaced  []globaltable.IndexID
	}{
		"an index": {indexed, taken, taken.Version, true, nil}, "a time to live": {mortal, taken, taken.Version, true, nil}, "the end": {dead, taken, taken.Version, true, nil},
		"another index of the same number": {indexed, other, taken.Version, true, []globaltable.IndexID{1}}, "new indexes": {table, other, taken.Version, true, nil},
		"no later epoch": {mortal, taken, globaltable.MakeVersion(1, 9), false, nil},
	} {
		catalog, err := New(ap, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := catalog.Load([]item.Item{EncodeDocument(c.own)}, nil); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		next := c.next.Clone()
		next.Version = c.now
		adoptions, adopt, err := catalog.Prepare([]item.Item{EncodeWorld(fencing), EncodeDocument(next)})
		if c.ok != (err == nil && adopt != nil) {
			t.Errorf("%s: %v", name, err)
		}
		if adopt != nil {
			if adopt(); catalog.Version(table.ID) != c.now {
				t.Errorf("%s: %v is in force", name, catalog.Version(table.ID))
			}
			if got := adoptions[1].Replaced; !slices.Equal(got, c.replaced) {
				t.Errorf("%s: indexes %v are other ones, want %v", name, got, c.replaced)
			}
		}
	}
}

// TestMembersOfAView: without a document they are those configured; a document takes their place.
func TestMembersOfAView(t *testing.T) {
	w, regions := founded(t)
	stranger, _ := signed(t, "sa", 4, 4)
	c, err := New(regions[1], []globaltable.Descriptor{regions[0], regions[2], stranger})
	if err != nil {
		t.Fatal(err)
	}
	v := c.View()
	if _, ok := v.World(); ok || len(v.Members()) != 4 || !v.Trusts(4, 99) || !v.Active(4) || v.Trusts(5, 0) {
		t.Errorf("%+v", v.Members())
	}
	fenced, err := FenceMembers(w, []string{"ap"}, 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	closed, _ := AdvanceWorld(fenced, all, 1)
	admitted, err := AdmitMember(closed, "ap", 7, 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	adopt := func(w *globaltable.World) *View {
		t.Helper()
		_, adopt, err := c.Prepare([]item.Item{EncodeWorld(w)})
		if err != nil {
			t.Fatal(err)
		}
		adopt()
		return c.View()
	}
	v = adopt(fenced)
	if _, ok := v.Region("sa"); ok || v.Trusts(4, 0) {
		t.Error("a configured peer that the document does not have is a member")
	}
	if d, ok := v.Region("ap"); !ok || d.Origin != 3 || v.Active(3) || v.Trusts(3, 0) || len(v.Regions()) != 2 {
		t.Error("a fenced member:", d, ok)
	}
	if _, ok := v.ActiveRegion("ap"); ok {
		t.Error("a fenced member is active")
	}
	if p, _, _, _ := c.Place(globaltable.SystemTable, nil); !slices.Equal(p, globaltable.NewPlacement(1, 2)) {
		t.Error("the catalog's lane:", p)
	}
	v = adopt(admitted)
	if !v.Trusts(3, 7) || v.Trusts(3, 6) || !v.Trusts(3, 0) || !v.Trusts(1, 5) {
		t.Error("incarnations")
	}
	if m, ok := v.Member(3); !ok || m.Incarnation != 7 || m.Since != admitted.Version || m.Token == "" {
		t.Errorf("%+v", m)
	}
}
