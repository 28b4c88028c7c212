package catalog

import (
	"slices"

	"github.com/hashicorp/go-memdb"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
)

// Disassociation is the wish that the replica in a region becomes a table of its own.
type Disassociation struct {
	Region    string              `json:"region"`    // where it was asked for
	Successor globaltable.TableID `json:"successor"` // chosen there by the control plane: never used before
	// Confirmed says that the replica's protection does not count: an operator has said so for this very replica.
	Confirmed bool `json:"confirmed,omitempty"`
}

// disassociateReplica names, in next, the table that a replica is to become. From then on nothing else of the table changes, but what becomes of members, until it has, or is called off by that.
func disassociateReplica(t, next *globaltable.Table, change *Change) error {
	d := change.Disassociate
	if d == nil {
		return nil
	}
	refuse := func(why string) error {
		return invalid(t, "Failed to disassociate the replica of table with name: '"+t.Name+"' because "+why)
	}
	r := next.ReplicaNamed(d.Region)
	switch {
	case len(change.Create)+len(change.Delete)+len(change.Overrides) > 0:
		return invalid(t, "One or more parameter values were invalid: Disassociate must be the only replica update in the request")
	case d.Region != change.Region:
		return refuse("the request must be sent to the region of the replica: " + d.Region)
	case d.Successor == t.ID || t.HasParted(d.Successor) || r != nil && hlc.Origin(d.Successor) != r.Origin:
		return invalid(t, "One or more parameter values were invalid: the successor of a replica is a new table of its region")
	case r == nil || len(t.Replicas) < 2:
		return refuse("it is not a replica of a global table in region: " + d.Region)
	case t.Legacy:
		return refuse("it is a replica of a global table of version 2017.11.29")
	case !d.Confirmed && !next.OwnOf(r).Disassociable:
		return refuse("it is currently protected against disassociation. Disable disassociation protection first.")
	case !t.Settled():
		return InUse("update table", t.Name, "updated")
	case len(t.Pins) > 0:
		return refuse("the table has locality policies, which a table of one region cannot have")
	case lastBut(next, r):
		return refuse("the others are in regions that are fenced, and this one alone has the table's data. " +
			"Let those regions come back, or delete their replicas first.")
	case !slices.ContainsFunc(t.Replicas, func(o globaltable.Replica) bool { return o.Origin != r.Origin && staying(o) }):
		return refuse("it is not a replica of a global table in region: " + d.Region)
	case len(t.Parted) >= globaltable.MaxParted:
		return &globaltable.Error{Op: "update table", Resource: t.Name, Kind: globaltable.LimitExceeded,
			Message: "Too many replicas of the table have become tables of their own."}
	}
	r.Status, r.StatusDescription, r.Since, r.Successor = globaltable.Updating, "", next.Version, d.Successor
	// What the region will issue has to be right: nobody would hear there why it is not.
	heir, _ := Succeed(next, globaltable.Descriptor{Name: r.Region, Origin: r.Origin}, next.Version.Epoch())
	if err := heir.Validate(); err != nil {
		return faulty("update table", t.Name, err)
	}
	return nil
}

// protectReplica switches the protection of the asker's replica against disassociation.
func protectReplica(t, next *globaltable.Table, change *Change) error {
	if change.DisassociationProtection == nil {
		return nil
	}
	r := next.ReplicaNamed(change.Region)
	if r == nil || len(t.Replicas) < 2 || t.Legacy {
		return invalid(t, "One or more parameter values were invalid: DisassociationProtectionEnabled can only be specified for a replica of a global table of version 2019.11.21")
	}
	ownOf(next, r).Disassociable = !*change.DisassociationProtection
	return nil
}

// part makes a replica that is filled with all that it is to take along what the next version of its table has in its place: one on its way out.
func part(next *globaltable.Table, r *globaltable.Replica) {
	next.Parted = append(next.Parted, r.Successor)
	slices.Sort(next.Parted)
	r.Status, r.StatusDescription, r.Since = globaltable.Deleting, "", next.Version
}

// Succeed returns the first document of the table that the replica of t in the region self becomes, with t's settings as that replica has them; ok is false if it becomes none. It is made in that region, and
// has its name there when t has it no more.
func Succeed(t *globaltable.Table, self globaltable.Descriptor, epoch uint32) (next *globaltable.Table, ok bool) {
	r := t.Replica(self.Origin)
	if r == nil || !r.Disassociating() {
		return nil, false
	}
	own := t.OwnOf(r)
	next = t.Clone()
	next.ID, next.Owner, next.Version, next.Predecessor = r.Successor, self.Origin, globaltable.MakeVersion(epoch, 1), globaltable.Hash{}
	next.DeletionProtection, next.Class, next.Tags, next.Parted = own.DeletionProtection, own.Class, t.TagsOf(r), nil
	// A table in one region has no peers to wait for.
	delete(next.Tags, globaltable.AcknowledgeTag)
	if len(next.Tags) == 0 {
		next.Tags = nil
	}
	next.AcknowledgePeers = 0
	next.Throughput, next.OnDemandMax = own.Over(next.Throughput, next.OnDemandMax, next.Billing)
	for i := range next.Indexes {
		x := &next.Indexes[i]
		x.Throughput, x.OnDemandMax = own.Indexes[x.ID].Over(x.Throughput, x.OnDemandMax, next.Billing)
	}
	for i := range next.Triggers {
		g := &next.Triggers[i]
		g.Born, g.Number, g.Replay = next.Version, 1, globaltable.Replay{}
	}
	next.Replicas = []globaltable.Replica{{Region: self.Name, Origin: self.Origin, Status: globaltable.Active, Since: next.Version, CreatedAt: r.CreatedAt,
		Succeeds: globaltable.Succession{Table: t.ID, Since: r.Since}}}
	return next, true
}

// Forsake returns the last document of a table that was to be a replica's successor and never will: the disassociation was called off.
func Forsake(t *globaltable.Table, epoch uint32) *globaltable.Table {
	next := successor(t, epoch)
	next.Replicas = nil
	bury(next)
	return next
}

// succession says what is known of a table that was made as a replica's successor.
type succession uint8

const (
	notSucceeding succession = iota // it is none, or was, long ago
	succeeding                      // the replica has its name still
	succeeded                       // it is there in the replica's place
	forsaken                        // it never will be
)

// successionOf returns how far the succession is of which a replica of table id tells. of is the newest document of the table that is succeeded; nil if it is not known.
func successionOf(id globaltable.TableID, r *globaltable.Replica, of *globaltable.Table) succession {
	switch s := r.Succeeds; {
	case s.Table == 0:
		return notSucceeding
	case of == nil || of.Version < s.Since:
		return succeeding // what decides has not come yet
	case of.HasParted(id):
		return succeeded
	case slices.ContainsFunc(of.Replicas, func(o globaltable.Replica) bool { return o.Successor == id }):
		return succeeding
	}
	return forsaken
}

// Forsaken reports whether a table was made as the successor of a replica that never becomes it.
func (v *View) Forsaken(t *globaltable.Table) bool {
	return !t.Deleted && slices.ContainsFunc(t.Replicas, func(r globaltable.Replica) bool {
		of, _ := v.Table(r.Succeeds.Table)
		return successionOf(t.ID, &r, of) == forsaken
	})
}

// Awaits reports whether the table's replica in the region with the number given is to come in the place of another table's there: it serves nobody yet, and what it has the other has, too.
func (v *View) Awaits(t *globaltable.Table, o hlc.Origin) bool {
	r := t.Replica(o)
	if r == nil {
		return false
	}
	of, _ := v.Table(r.Succeeds.Table)
	s := successionOf(t.ID, r, of)
	return s == succeeding || s == forsaken
}

// awaits is View.Awaits for what txn has.
func awaits(txn *memdb.Txn, t *globaltable.Table, self hlc.Origin) bool {
	r := t.Replica(self)
	if r == nil || r.Succeeds.Table == 0 {
		return false
	}
	var of *globaltable.Table
	if e, known := first[*entry](txn, inTables, byID, tableKey(r.Succeeds.Table)); known {
		of = e.table
	}
	s := successionOf(t.ID, r, of)
	return s == succeeding || s == forsaken
}

// succeed puts the tables into txn anew that replicas of t have become, or are to become, here: t has just changed, so one of them may have its name now.
func succeed(txn *memdb.Txn, t *globaltable.Table, self hlc.Origin) {
	heirs := slices.Clone(t.Parted)
	if r := t.Replica(self); r != nil && r.Successor != 0 {
		heirs = append(heirs, r.Successor)
	}
	for _, id := range heirs {
		if e, known := first[*entry](txn, inTables, byID, tableKey(id)); known && e.table.Replica(self) != nil {
			insert(txn, inTables, newEntry(txn, e.table, self))
		}
	}
}

// Mirror is a table that this region makes of its replica of another one.
type Mirror struct {
	From, To globaltable.TableID // To is zero when nothing is, or goes on being, made of From
	// Over says that To has taken From's place.
	Over bool
}

// mirrorOf returns what t, which has just been put into txn, demands of its own records or, as a successor, of those of the table before it. The zero Mirror demands nothing.
func mirrorOf(txn *memdb.Txn, t *globaltable.Table, self hlc.Origin) (m Mirror) {
	r := t.Replica(self)
	if r != nil && r.Succeeds.Table != 0 {
		e, known := first[*entry](txn, inTables, byID, tableKey(r.Succeeds.Table))
		if !known {
			return m
		}
		t = e.table
		r = t.Replica(self)
	}
	m.From = t.ID
	switch {
	case r == nil || r.Successor == 0:
		return m
	case r.Disassociated():
		m.To, m.Over = r.Successor, true
		return m
	}
	if e, known := first[*entry](txn, inTables, byID, tableKey(r.Successor)); known && !e.table.Deleted {
		m.To = r.Successor
	}
	return m
}
