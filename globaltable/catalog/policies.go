package catalog

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/locality"
	"github.com/concordat-db/concordat/globaltable/policy"
)

// MaxPolicyVersions bounds the versions of a table's policies that are kept, all names together. Of the policies in force the newest version is always among them.
const MaxPolicyVersions = 1024

// PolicyChange is what is to become of a table's policies, by one author for one reason.
type PolicyChange struct {
	Set    []policy.Document `json:"set,omitempty"`    // made, or in place of those of the same names
	Delete []string          `json:"delete,omitempty"` // by name
	First  []string          `json:"first,omitempty"`  // regions of the replication policy in Set: nothing but their replicas is made yet, and it does not come into force
	Author string            `json:"author"`
	Reason string            `json:"reason,omitempty"`
	// Region is where the change was asked for, and At when the owner was, in Unix milliseconds. The control plane sets them.
	Region string `json:"region,omitempty"`
	At     int64  `json:"at,omitempty"`
	Secret []byte `json:"secret,omitempty"` // as Change.Secret
}

// ChangePolicies returns the document of t after change, and the versions of policies that are to be written with it. A document that is in force already makes no version; next is nil if there is nothing to
// do at all. history is what is kept of the table's policies.
//
// Of a replication policy that needs replicas made and others removed, the first come first: when they are there the same change is to be made again. It is pure, and decides in the owner's region; elsewhere it
// tells what the owner would say.
func ChangePolicies(t *globaltable.Table, history []*policy.Version, change *PolicyChange, epoch uint32, regions func(string) (globaltable.Descriptor, bool)) (next *globaltable.Table, made []policy.Version, err error) {
	if t.Deleted {
		return nil, nil, NotFound("change policies", t.Name)
	}
	if err := policy.CheckWords(change.Author, change.Reason); err != nil {
		return nil, nil, invalid(t, messageOf(err))
	}
	w := policyWork{table: t, history: history, policies: PoliciesOf(t, history), first: change.First, change: Change{Region: change.Region, At: change.At, Secret: change.Secret}}
	for i := range change.Set {
		if err := w.set(&change.Set[i]); err != nil {
			return nil, nil, err
		}
	}
	for _, name := range change.Delete {
		if err := w.remove(name); err != nil {
			return nil, nil, err
		}
	}
	next, err = Update(t, &w.change, epoch, regions)
	if err != nil {
		return nil, nil, err
	}
	if len(w.made) == 0 && sameSettings(t, next) {
		return nil, nil, nil
	}
	for i := range w.made {
		v := &w.made[i]
		v.Table, v.Author, v.Reason, v.At, v.In, v.By = t.ID, change.Author, change.Reason, max(change.At, 1), next.Version, t.Owner
	}
	w.number(PoliciesOf(next, history))
	return next, w.made, nil
}

// sameSettings reports whether two versions of a document say the same.
func sameSettings(a, b *globaltable.Table) bool {
	c := b.Clone()
	c.Version, c.Predecessor = a.Version, a.Predecessor
	return globaltable.HashTable(a) == globaltable.HashTable(c)
}

// PolicyInForce is a policy of a table.
type PolicyInForce struct {
	Document policy.Document
	Version  *policy.Version // that it came with; nil: none is kept, as of one that was never a document
}

// PoliciesOf returns the policies of t in force, by name: locality policies as the table's document has them, and the replication policy that was applied last, if any. history is what is kept of the table's policies, in order.
func PoliciesOf(t *globaltable.Table, history []*policy.Version) (out []PolicyInForce) {
	newest := map[string]*policy.Version{}
	for _, v := range history {
		newest[v.Document.Name] = v
	}
	for i := range t.Pins {
		p := &t.Pins[i]
		if p.Released {
			continue
		}
		one := PolicyInForce{Document: policy.OfPin(t.Name, p)}
		if v := newest[p.Name]; v != nil && !v.Deleted && v.Document.Equal(&one.Document) {
			one.Version = v
		}
		out = append(out, one)
	}
	for _, v := range newest {
		if v.Document.Kind == policy.ReplicationPolicy && !v.Deleted {
			out = append(out, PolicyInForce{v.Document, v})
		}
	}
	slices.SortFunc(out, func(a, b PolicyInForce) int { return cmp.Compare(a.Document.Name, b.Document.Name) })
	return out
}

// policyWork makes a Change of documents.
type policyWork struct {
	table    *globaltable.Table
	history  []*policy.Version
	policies []PolicyInForce
	first    []string // PolicyChange.First
	change   Change
	made     []policy.Version // without numbers
}

func (w *policyWork) find(match func(*policy.Document) bool) *PolicyInForce {
	for i := range w.policies {
		if match(&w.policies[i].Document) {
			return &w.policies[i]
		}
	}
	return nil
}

func (w *policyWork) named(name string) *PolicyInForce {
	return w.find(func(d *policy.Document) bool { return d.Name == name })
}

func (w *policyWork) set(d *policy.Document) error {
	now := w.named(d.Name)
	switch {
	case d.Table() != w.table.Name:
		return invalid(w.table, fmt.Sprintf("Policy %s is about table %s.", d.Name, d.Table()))
	case slices.ContainsFunc(w.made, func(v policy.Version) bool { return v.Document.Name == d.Name }):
		return invalid(w.table, fmt.Sprintf("Policy %s is there twice.", d.Name))
	case now != nil && now.Document.Kind != d.Kind:
		return invalid(w.table, fmt.Sprintf("Table %s has a %s named %s.", w.table.Name, now.Document.Kind, d.Name))
	}
	same := now != nil && now.Version != nil && now.Document.Equal(d)
	if d.Kind == policy.ReplicationPolicy {
		other := w.find(func(o *policy.Document) bool { return o.Kind == policy.ReplicationPolicy && o.Name != d.Name })
		if other != nil {
			return invalid(w.table, fmt.Sprintf("Table %s has replication policy %s. Delete that first, or change it.", w.table.Name, other.Document.Name))
		}
		if len(w.first) > 0 {
			w.change.Create = slices.DeleteFunc(slices.Clone(w.first), func(name string) bool { return w.table.ReplicaNamed(name) != nil })
			return nil
		}
		if err := w.replicate(d.Replication); err != nil {
			return err
		}
	} else if now == nil || !now.Document.Equal(d) {
		w.pins().Set = append(w.pins().Set, d.PinOf())
	}
	if !same {
		w.made = append(w.made, policy.Version{Document: *d})
	}
	return nil
}

func (w *policyWork) pins() *PinChange {
	if w.change.Pins == nil {
		w.change.Pins = new(PinChange)
	}
	return w.change.Pins
}

func (w *policyWork) remove(name string) error {
	now := w.named(name)
	if now == nil {
		for _, v := range slices.Backward(w.history) {
			if v.Document.Name == name {
				return nil // it is gone already
			}
		}
		return &globaltable.Error{Op: "delete policy", Resource: name, Kind: globaltable.NotFound, Message: "Table " + w.table.Name + " has no policy " + name + "."}
	}
	if now.Document.Kind == policy.LocalityPolicy {
		w.pins().Remove = append(w.pins().Remove, name)
	}
	w.made = append(w.made, policy.Version{Document: now.Document, Deleted: true})
	return nil
}

// replicate notes what the table has to become for r.
func (w *policyWork) replicate(r *policy.Replication) error {
	tag, untag, err := r.Tags()
	if err != nil {
		return invalid(w.table, messageOf(err))
	}
	w.change.Tag, w.change.Untag = tag, untag
	if view := globaltable.StreamView(r.Stream); r.Stream != "" {
		if r.Stream == policy.StreamOff {
			view = ""
		}
		if view != w.table.Stream.View {
			w.change.Stream = &view
		}
	}
	if r.Regions == nil {
		return nil
	}
	for _, region := range r.Regions {
		switch now := w.table.ReplicaNamed(region); {
		case now == nil:
			w.change.Create = append(w.change.Create, region)
		case now.Status == globaltable.Deleting:
			return InUse("change policies", w.table.Name, "updated")
		}
	}
	for i := range w.table.Replicas {
		now := &w.table.Replicas[i]
		if !slices.Contains(r.Regions, now.Region) && now.Status != globaltable.Deleting && len(w.change.Create) == 0 {
			w.change.Delete = append(w.change.Delete, now.Region)
		}
	}
	return nil
}

// number gives the versions made their numbers. Where the place of a policy in force would be taken it is passed over: there are fewer of those than places.
func (w *policyWork) number(inForce []PolicyInForce) {
	last := uint64(0)
	numbers := map[string]uint64{}
	for _, v := range w.history {
		last = max(last, v.Sequence)
		numbers[v.Document.Name] = max(numbers[v.Document.Name], v.Number)
	}
	kept := map[uint64]bool{}
	for _, p := range inForce {
		if p.Version != nil {
			kept[p.Version.Sequence%MaxPolicyVersions] = true
		}
	}
	for i := range w.made {
		v := &w.made[i]
		for last++; kept[last%MaxPolicyVersions]; last++ {
		}
		numbers[v.Document.Name]++
		v.Sequence, v.Number = last, numbers[v.Document.Name]
	}
}

// Policies returns what is kept of the history of a table's policies, the oldest first. It is shared.
func (v *View) Policies(table globaltable.TableID) (out []*policy.Version) {
	from(v.db.Txn(false), inPolicies, byID, tableKey(table), func(p *policy.Version) bool {
		if p.Table == table {
			out = append(out, p)
		}
		return p.Table == table
	})
	slices.SortFunc(out, func(a, b *policy.Version) int { return cmp.Compare(a.Sequence, b.Sequence) })
	return out
}

// NewestPolicy returns the sequence of the newest version of the table's policies; zero if there is none.
func (v *View) NewestPolicy(table globaltable.TableID) (newest uint64) {
	from(v.db.Txn(false), inPolicies, byID, tableKey(table), func(p *policy.Version) bool {
		if p.Table == table {
			newest = max(newest, p.Sequence)
		}
		return p.Table == table
	})
	return newest
}

// PolicySteps returns the changes, one after the other, that a change of the policies of t takes. Locality policies come into force before replicas are made that they keep items out of, in whatever order the documents are; those replicas
// that they cannot do without are made first. Policies that are deleted go last. The table has to be settled before each.
func PolicySteps(t *globaltable.Table, change *PolicyChange, regions func(string) (globaltable.Descriptor, bool)) (steps []PolicyChange) {
	var pins, replications []policy.Document
	for _, d := range change.Set {
		if d.Kind == policy.LocalityPolicy {
			pins = append(pins, d)
		} else {
			replications = append(replications, d)
		}
	}
	step := func(s PolicyChange) {
		s.Author, s.Reason, s.Region, s.At = change.Author, change.Reason, change.Region, change.At
		steps = append(steps, s)
	}
	for _, d := range replications {
		if first := neededFirst(t, pins, d.Replication, regions); len(first) > 0 {
			step(PolicyChange{Set: []policy.Document{d}, First: first})
		}
	}
	if len(pins) > 0 {
		step(PolicyChange{Set: pins})
	}
	for _, d := range replications {
		step(PolicyChange{Set: []policy.Document{d}})
	}
	if len(change.Delete) > 0 {
		step(PolicyChange{Delete: change.Delete})
	}
	return steps
}

// neededFirst returns those of the regions in which r makes replicas without which some of pins would leave its items too few copies, sorted.
func neededFirst(t *globaltable.Table, pins []policy.Document, r *policy.Replication, regions func(string) (globaltable.Descriptor, bool)) (first []string) {
	for i := range pins {
		p := pins[i].PinOf()
		if copies, _ := copiesUnder(t, &p); copies > 1 || copies == 1 && p.SingleCopy {
			continue
		}
		for _, name := range r.Regions {
			d, known := regions(name)
			if known && t.ReplicaNamed(name) == nil && p.Allows(&globaltable.Replica{Region: name, Jurisdiction: d.Jurisdiction}) {
				first = append(first, name)
			}
		}
	}
	slices.Sort(first)
	return slices.Compact(first)
}

// Moves reports whether an item may be in other regions under after than under t.
func Moves(t, after *globaltable.Table) bool {
	return moves(t, after) || !slices.Equal(locality.PlaceOf(t, nil), locality.PlaceOf(after, nil))
}

// Settle returns t as it is when what is under way has come to its end, for what is to be planned: every replica that is being created serves, those on their way out are gone, and policies are carried out. It is
// no document: no owner issues it. ok is false of a table whose end depends on what the regions find.
func Settle(t *globaltable.Table) (settled *globaltable.Table, ok bool) {
	settled = t.Clone()
	settled.Replicas = slices.DeleteFunc(settled.Replicas, func(r globaltable.Replica) bool { return r.Status == globaltable.Deleting })
	for i := range settled.Replicas {
		r := &settled.Replicas[i]
		r.Placing = 0
		switch r.Status {
		case globaltable.Creating:
			r.Status, r.JoinBytesPerSecond = globaltable.Active, 0
		case globaltable.Updating, globaltable.StatusFencing:
			return nil, false
		}
	}
	tidyPins(settled)
	return settled, len(settled.Replicas) > 0
}

// Regions returns the names of the replicas of t in a placement, sorted as those are.
func Regions(t *globaltable.Table, placement globaltable.Placement) (out []string) {
	for i := range t.Replicas {
		if slices.Contains(placement, t.Replicas[i].Origin) {
			out = append(out, t.Replicas[i].Region)
		}
	}
	return out
}

func messageOf(err error) string {
	if e := (*globaltable.Error)(nil); errors.As(err, &e) && e.Message != "" {
		return e.Message
	}
	return err.Error()
}
