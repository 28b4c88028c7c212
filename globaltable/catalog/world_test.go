package catalog

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
)

// world is some regions with their catalogs, without anything between them: whoever drives it says who adopts what and who is asked.
type world struct {
	regions []globaltable.Descriptor
	places  map[string]*place
	issued  map[globaltable.TableID]*globaltable.Table // newest version, as its owner issued it
	names   map[string]globaltable.TableID
}

// place is one region: a catalog, and what a store would keep.
type place struct {
	*Catalog
	docs      map[globaltable.TableID]item.Item
	adoptions []Adoption
	holds     map[globaltable.TableID]bool                // data
	joined    map[globaltable.TableID]globaltable.Version // since which version's replica
	dropped   map[globaltable.TableID]bool
}

func newWorld(t testing.TB, names ...string) *world {
	w := &world{places: map[string]*place{}, issued: map[globaltable.TableID]*globaltable.Table{}, names: map[string]globaltable.TableID{}}
	for i, n := range names {
		w.regions = append(w.regions, globaltable.Descriptor{Name: n, Origin: hlc.Origin(i + 1)})
	}
	for _, n := range names {
		w.places[n] = &place{docs: map[globaltable.TableID]item.Item{}, holds: map[globaltable.TableID]bool{},
			joined: map[globaltable.TableID]globaltable.Version{}, dropped: map[globaltable.TableID]bool{}}
		w.open(t, n)
	}
	return w
}

// open makes a region's catalog from what its store has.
func (w *world) open(t testing.TB, name string) {
	var peers []globaltable.Descriptor
	var self globaltable.Descriptor
	for _, d := range w.regions {
		if d.Name == name {
			self = d
		} else {
			peers = append(peers, d)
		}
	}
	c, err := New(self, peers)
	if err != nil {
		t.Fatal(err)
	}
	p := w.places[name]
	var docs []item.Item
	for _, d := range p.docs {
		docs = append(docs, d)
	}
	if err := c.Load(docs, p.adoptions); err != nil {
		t.Fatal(err)
	}
	p.Catalog = c
}

func (w *world) region(name string) (globaltable.Descriptor, bool) {
	i := slices.IndexFunc(w.regions, func(d globaltable.Descriptor) bool { return d.Name == name })
	if i < 0 {
		return globaltable.Descriptor{}, false
	}
	return w.regions[i], true
}

func (w *world) nameOf(o hlc.Origin) string { return w.regions[o-1].Name }

// adopt shows a document to a region's catalog, as its commit would.
func (w *world) adopt(region string, t *globaltable.Table) (string, error) {
	p := w.places[region]
	doc := EncodeDocument(t)
	adoptions, adopt, err := p.Prepare([]item.Item{doc})
	if err != nil {
		return "", err
	}
	if adopt == nil {
		return "nothing new", nil
	}
	adopt()
	p.docs[t.ID] = doc
	p.adoptions = append(p.adoptions, adoptions...)
	return [...]string{Adopted: "adopted", NameTaken: "name taken"}[adoptions[0].Outcome], nil
}

// issue is what an owner does with a new version: it adopts it itself.
func (w *world) issue(t *globaltable.Table) error {
	if _, err := w.adopt(w.nameOf(t.Owner), t); err != nil {
		return err
	}
	w.issued[t.ID] = t
	return nil
}

// ask returns what the regions given say of an unfinished table.
func (w *world) ask(t *globaltable.Table, heard func(region string) bool) Progress {
	p := Progress{Answers: Answers{}, Unreachable: map[hlc.Origin]bool{}, Waiting: map[hlc.Origin]string{}}
	for i := range t.Replicas {
		r := &t.Replicas[i]
		for _, o := range Asked(t, r) {
			from := w.places[w.nameOf(o)]
			if r.Status != globaltable.Creating && r.Status != globaltable.Deleting {
				continue
			}
			if !heard(w.nameOf(o)) {
				p.Unreachable[o] = true
				continue
			}
			outcome, _ := from.View().Outcome(t.ID, r.Since)
			p.Answers[o] = Answer{Outcome: outcome, Joined: from.joined[t.ID] == r.Since,
				Dropped: r.Status == globaltable.Deleting && from.dropped[t.ID]}
		}
	}
	return p
}

// join is what a region does whose replica is being created: when all sources have adopted the version that brought it, it gets what they hold.
func (w *world) join(region string, id globaltable.TableID) string {
	p := w.places[region]
	for _, j := range p.View().Joins() {
		if j.Table != id {
			continue
		}
		for _, d := range j.Sources {
			if w.places[d.Name].Version(id) < j.Since {
				return "waits for " + d.Name
			}
		}
		p.joined[id], p.dropped[id] = j.Since, false
		var names []string
		for _, d := range j.Sources {
			names = append(names, d.Name)
			p.holds[id] = p.holds[id] || w.places[d.Name].holds[id]
		}
		return "joined from " + strings.Join(names, ", ")
	}
	return "has nothing to join"
}

// leave is what a region does by itself: drop what it may not hold.
func (w *world) leave(region string, id globaltable.TableID) bool {
	p := w.places[region]
	if p.View().Serves(id) {
		return false
	}
	p.dropped[id], p.holds[id] = true, false
	delete(p.joined, id)
	return true
}

// show prints a table as each region sees it.
func (w *world) show(t *globaltable.Table) string {
	var b strings.Builder
	fmt.Fprintf(&b, "version %v", t.Version)
	if t.Deleted {
		b.WriteString(" dead")
	}
	b.WriteByte('\n')
	for _, r := range t.Replicas {
		fmt.Fprintf(&b, "  replica %s %s since %v", r.Region, r.Status, r.Since)
		if r.StatusDescription != "" {
			fmt.Fprintf(&b, ": %s", r.StatusDescription)
		}
		b.WriteByte('\n')
	}
	for _, d := range w.regions {
		c := w.places[d.Name]
		known, ok := c.View().Table(t.ID)
		if !ok {
			fmt.Fprintf(&b, "  in %s: not known\n", d.Name)
			continue
		}
		status := "no table"
		if named, ok := c.View().Lookup(t.Name); ok && named.ID == t.ID {
			status = string(known.StatusIn(d.Origin))
		}
		fmt.Fprintf(&b, "  in %s: %s at %v", d.Name, status, known.Version)
		if p, lane, version, ok := c.Place(t.ID, nil); ok {
			var names []string
			for _, o := range p {
				names = append(names, w.nameOf(o))
			}
			if lane != p.Lane() || version != known.Version {
				b.WriteString(" WRONG LANE OR VERSION")
			}
			fmt.Fprintf(&b, ", writes go to %s", strings.Join(names, " "))
		}
		if c.Admits(t.ID, nil, 0) {
			b.WriteString(", admits changes")
			// The least version whose changes are admitted.
			for number := uint64(1); number <= known.Version.Number(); number++ {
				if made := globaltable.MakeVersion(known.Version.Epoch(), number); c.Admits(t.ID, nil, made) {
					if number > 1 {
						fmt.Fprintf(&b, " from %v on", made)
					}
					break
				}
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}
