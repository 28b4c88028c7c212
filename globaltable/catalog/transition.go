package catalog

import (
	"cmp"
	"errors"
	"slices"
	"strings"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
)

// Spec is what a new table is to be. Empty fields get DynamoDB's defaults.
type Spec struct {
	Name               string
	KeySchema          globaltable.KeySchema
	Billing            globaltable.BillingMode // empty: PayPerRequest
	Throughput         globaltable.Throughput
	OnDemandMax        globaltable.Throughput
	Warm               globaltable.Throughput
	Stream             globaltable.StreamView // empty: off
	Secret             []byte                 // for the stream: random; nil or globaltable.StreamSecretLen bytes
	DeletionProtection bool
	Class              globaltable.TableClass // empty: ClassStandard
	Tags               map[string]string
	Indexes            []globaltable.Index // without ids
}

// Change is what a table is to become. Nil and empty fields stay as they are.
type Change struct {
	Billing            *globaltable.BillingMode `json:"billing,omitempty"` // to PayPerRequest drops the throughput
	Throughput         *globaltable.Throughput  `json:"throughput,omitempty"`
	DeletionProtection *bool                    `json:"deletionProtection,omitempty"`
	Class              *globaltable.TableClass  `json:"class,omitempty"`
	Tag                map[string]string        `json:"tag,omitempty"`   // set
	Untag              []string                 `json:"untag,omitempty"` // removed before Tag is set
	TimeToLive         *TimeToLive              `json:"timeToLive,omitempty"`
	// One of CreateIndex, without an id, and DeleteIndex at most.
	CreateIndex        *globaltable.Index    `json:"createIndex,omitempty"`
	DeleteIndex        string                `json:"deleteIndex,omitempty"`
	IndexUnits         map[string]IndexUnits `json:"indexUnits,omitempty"`         // of global indexes, by name
	Create             []string              `json:"create,omitempty"`             // regions that get a replica
	JoinBytesPerSecond int64                 `json:"joinBytesPerSecond,omitempty"` // bound of those replicas' joins; 0: none but that of their nodes
	Delete             []string              `json:"delete,omitempty"`             // regions whose replica is to go
	Overrides          map[string]Override   `json:"overrides,omitempty"`          // by region, of replicas that there are, or that Create names
	Disassociate       *Disassociation       `json:"disassociate,omitempty"`       // the only change of replicas, if it is one
	Pins               *PinChange            `json:"pins,omitempty"`               // with no change of replicas
	// DisassociationProtection is of the replica where the change was asked for.
	DisassociationProtection *bool `json:"disassociationProtection,omitempty"`

	OnDemandMaxRead  *int64                  `json:"onDemandMaxRead,omitempty"` // 0: no maximum
	OnDemandMaxWrite *int64                  `json:"onDemandMaxWrite,omitempty"`
	WarmRead         *int64                  `json:"warmRead,omitempty"`
	WarmWrite        *int64                  `json:"warmWrite,omitempty"`
	Stream           *globaltable.StreamView `json:"stream,omitempty"` // empty: switched off

	// Region is where the change was asked for: DeletionProtection, Class and the tags that are not shared are of the replica there. The control plane sets it, and At, when the
	// owner was asked, in Unix milliseconds.
	Region string `json:"region,omitempty"`
	At     int64  `json:"at,omitempty"`
	Secret []byte `json:"secret,omitempty"` // as Spec.Secret; the owner sets it
	Legacy bool   `json:"legacy,omitempty"` // it comes by the interface of 2017; a change of replicas by another makes the table one of 2019
}

// Answers is what the regions said about a version: by region number.
type Answers map[hlc.Origin]Answer

// Answer is one region's word. A region that was not heard has none.
type Answer struct {
	Outcome Outcome // of the replica's Since; zero: not adopted yet
	Joined  bool    // a new replica has all that the others held when they adopted its Since
	ToPlace bool    // with Joined: the region comes back, and has saved what policies keep out of it by now
	Percent int     // of that, 0 to 100
	Dropped bool    // a deleted replica's data is gone, and all it wrote is with the others
	Receipt string  // with Placed: signed by the region
	Placed  bool    // what the replica's Placing demands is carried out: the region has all that the policies let it have, and nothing else
	Filled  bool    // the table that a replica is to become has all that the replica has, and has got, and given, all that there was when it was to become one
}

// The functions below make the next document of a table, or say in DynamoDB's words why there is none. They are pure, and run in the owner's region only.
// epoch is the owner's; it is never below that of the document.

// Create returns the first document of a table, with one replica, active, in the region owner.
func Create(spec *Spec, id globaltable.TableID, owner globaltable.Descriptor, epoch uint32) (*globaltable.Table, error) {
	t := (&globaltable.Table{
		ID: id, Name: spec.Name, Owner: owner.Origin, Version: globaltable.MakeVersion(epoch, 1), CreatedAt: int64(id >> 16),
		KeySchema: spec.KeySchema, Billing: cmp.Or(spec.Billing, globaltable.PayPerRequest), Throughput: spec.Throughput,
		OnDemandMax: spec.OnDemandMax, Warm: spec.Warm, DeletionProtection: spec.DeletionProtection, Class: cmp.Or(spec.Class, globaltable.ClassStandard), Tags: spec.Tags,
	}).Clone()
	if len(t.Tags) == 0 {
		t.Tags = nil
	}
	for i := range spec.Indexes {
		giveIndex(t, &spec.Indexes[i])
	}
	if spec.Stream != "" {
		streamOn(t, spec.Stream, t.CreatedAt, spec.Secret)
	}
	t.Replicas = []globaltable.Replica{{Region: owner.Name, Origin: owner.Origin, Jurisdiction: owner.Jurisdiction, Status: globaltable.Active, Since: t.Version}}
	if err := followTags(t, spec.Tags); err != nil {
		return nil, err
	}
	if err := t.Validate(); err != nil {
		return nil, faulty("create table", spec.Name, err)
	}
	return t, nil
}

// Update returns the document after change. regions finds the regions that may be named.
func Update(t *globaltable.Table, change *Change, epoch uint32, regions func(string) (globaltable.Descriptor, bool)) (*globaltable.Table, error) {
	if t.Deleted {
		return nil, NotFound("update table", t.Name)
	}
	if t.Disassociating() != nil {
		return nil, InUse("update table", t.Name, "updated")
	}
	next := successor(t, epoch)
	if err := protectReplica(t, next, change); err != nil {
		return nil, err
	}
	if err := updateSettings(next, change); err != nil {
		return nil, err
	}
	if err := updateIndexes(next, change); err != nil {
		return nil, err
	}
	if change.TimeToLive != nil {
		if err := setTimeToLive(next, change.TimeToLive); err != nil {
			return nil, err
		}
	}
	// Removal first: what it refuses, it refuses about replicas as they are.
	for _, name := range change.Delete {
		if slices.Contains(change.Create, name) {
			return nil, invalid(t, "One replica update can be made for a region at a time: "+name)
		}
		if err := removeReplica(t, next, name); err != nil {
			return nil, err
		}
	}
	for _, name := range change.Create {
		if err := createReplica(t, next, name, change, regions); err != nil {
			return nil, err
		}
	}
	if err := overrideReplicas(t, next, change); err != nil {
		return nil, err
	}
	if err := disassociateReplica(t, next, change); err != nil {
		return nil, err
	}
	if err := changePins(t, next, change, regions); err != nil {
		return nil, err
	}
	if change.Legacy || len(change.Create)+len(change.Delete)+len(change.Overrides) > 0 {
		next.Legacy = change.Legacy
	}
	if len(change.Delete) > 0 && !slices.ContainsFunc(next.Replicas, staying) {
		return nil, invalid(t, "The last replica of a table cannot be removed by ReplicaUpdates. Use DeleteTable instead.")
	}
	if len(change.Delete) > 0 {
		if err := enoughCopies(next); err != nil {
			return nil, err
		}
	}
	return finish(t, next)
}

// Remove returns the document after DeleteTable in the region given: its replica is on its way out.
func Remove(t *globaltable.Table, region string, epoch uint32) (*globaltable.Table, error) {
	r := t.ReplicaNamed(region)
	if t.Deleted || r == nil || t.StatusIn(r.Origin) == "" {
		return nil, NotFound("delete table", t.Name)
	}
	next := successor(t, epoch)
	if err := removeReplica(t, next, region); err != nil {
		return nil, err
	}
	if slices.ContainsFunc(next.Replicas, staying) {
		if err := enoughCopies(next); err != nil {
			return nil, err
		}
	}
	return finish(t, next)
}

// Advance returns the document after what the regions have answered. ok is false when there is nothing to do yet.
func Advance(t *globaltable.Table, answers Answers, epoch uint32) (next *globaltable.Table, ok bool) {
	next = successor(t, epoch)
	kept, anew := next.Replicas[:0], false
	for _, r := range next.Replicas {
		if r.Placing != 0 && answers[r.Origin].Placed {
			r.Placing, ok = 0, true
		}
		switch r.Status {
		case globaltable.Creating:
			if status, why := creation(t, &r, answers); status != globaltable.Creating {
				r.Status, r.StatusDescription, r.Since, r.JoinBytesPerSecond, ok = status, why, next.Version, 0, true
				if status == globaltable.Active && answers[r.Origin].ToPlace {
					r.Placing = next.Version // it serves, and hands over what it has saved
				}
			}
		case globaltable.Updating:
			if r.Disassociating() && answers[r.Origin].Filled && t.Closing() == 0 {
				part(next, &r)
				ok = true
			}
		case globaltable.Deleting:
			// While another one is being closed the others ask it, and get what it still has.
			if answers[r.Origin].Dropped && t.Closing() == 0 {
				ok = true
				continue
			}
		case globaltable.StatusFencing:
			if closed(t, &r, answers) {
				ok = true
				if r.Leaving {
					anew = anew || orphaned(t)
					continue
				}
				r.Status, r.StatusDescription, r.Since = globaltable.StatusFenced, "", next.Version
			}
		}
		kept = append(kept, r)
	}
	if !ok {
		return nil, false
	}
	next.Replicas = kept
	for i := range kept {
		// What waits for one that goes for good has replayed nothing: see Waits.
		if r := &kept[i]; anew && r.Status == globaltable.Creating {
			r.Since = next.Version
		}
	}
	tidyPins(next)
	bury(next)
	return next, true
}

// creation says what a replica that is being created becomes. It is active once it and every replica that may have written before they knew of it
// have adopted the version that made it, and it has got from each of them what they held by then; not while it waits for others that had the table later.
func creation(t *globaltable.Table, r *globaltable.Replica, answers Answers) (globaltable.Status, string) {
	status := globaltable.Active
	if _, waits := Waits(t, r.Origin); waits || !answers[r.Origin].Joined {
		status = globaltable.Creating
	}
	for _, o := range Asked(t, r) {
		switch outcome := answers[o].Outcome; {
		case outcome == Adopted:
		case outcome == NameTaken && o == r.Origin:
			return globaltable.CreationFailed, "A table named " + t.Name + " exists already in " + r.Region + "."
		default:
			status = globaltable.Creating
		}
	}
	return status, ""
}

// closed reports whether a replica that is being closed is: all that are left have exchanged everything with each other. One that cannot be created has nothing.
func closed(t *globaltable.Table, r *globaltable.Replica, answers Answers) bool {
	for _, o := range Asked(t, r) {
		if a := answers[o]; !a.Joined && a.Outcome != NameTaken {
			return false
		}
	}
	return true
}

// Asked returns the regions whose answers decide about a replica on its way in or out, or being closed: for one that is being created, itself and those that serve
// clients; for one that is being deleted, itself; for one that is being closed, all others that are fed.
func Asked(t *globaltable.Table, r *globaltable.Replica) []hlc.Origin {
	var out []hlc.Origin
	if r.Status != globaltable.StatusFencing {
		out = append(out, r.Origin)
	}
	for _, o := range t.Replicas {
		switch {
		case o.Origin == r.Origin:
		case staying(o) && (r.Status == globaltable.Creating || r.Status == globaltable.StatusFencing),
			o.Status == globaltable.Creating && r.Status == globaltable.StatusFencing:
			out = append(out, o.Origin)
		}
	}
	return out
}

// Sources returns the regions that the replica in region self has to get the table's data from. For one that is being created they are those that served clients before
// they knew of it: a replica that became active later has fed it from its first write on. While a replica is being closed they are all others, one on its way out included,
// for what the closed region wrote may be with any of them alone. For one that gains items by policies they are all others: what it gains may be with those alone
// that may not have it any more.
func Sources(t *globaltable.Table, self hlc.Origin) []hlc.Origin {
	mine, closing, gaining := t.Replica(self), t.Closing() != 0, Gains(t, self)
	var out []hlc.Origin
	for _, r := range t.Replicas {
		switch {
		case r.Origin == self:
		case staying(r) && (closing || gaining || r.Since < mine.Since),
			r.Status == globaltable.Creating && closing,
			r.Status == globaltable.Deleting && (closing || orphaned(t)): // where nobody serves the table any more, those on their way out have it
			out = append(out, r.Origin)
		}
	}
	return out
}

// Givers returns the regions that the replica in region self gets what they hold of t from: the sources of a table. Of a conflict feed that nobody serves also those whose replicas are being created, for they list what loses where they merge what they get: once whoever
// gave it is fenced, they alone have that, and nobody joins them later.
func Givers(t *globaltable.Table, self hlc.Origin) []hlc.Origin {
	out := Sources(t, self)
	if !t.ID.IsFeed() || !orphaned(t) {
		return out
	}
	for _, r := range t.Replicas {
		if r.Origin != self && r.Status == globaltable.Creating && !slices.Contains(out, r.Origin) {
			out = append(out, r.Origin)
		}
	}
	return out
}

// JoinIn returns the version since which the replica in region self has to get what others hold: it is being created, or another one is being closed and this one stays, or it may have items by policies that it may not have had. ok is false
// when there is nothing to get.
func JoinIn(t *globaltable.Table, self hlc.Origin) (since globaltable.Version, ok bool) {
	r := t.Replica(self)
	switch {
	case r == nil:
		return 0, false
	case r.Status == globaltable.Creating:
		return r.Since, true
	case staying(*r) && t.Closing() != 0:
		return t.Closing(), true
	case r.Placing != 0 && Gains(t, self):
		return r.Placing, true
	}
	return 0, false
}

// Progress is what is known about an unfinished table.
type Progress struct {
	Answers     Answers
	Unreachable map[hlc.Origin]bool   // regions that were asked and did not answer
	Waiting     map[hlc.Origin]string // what a region that did answer said it waits for
	Unheard     []string              // regions that the owner must hear before it issues anything
}

// Describe returns t with a description for each replica on its way in or out, or being closed: what it waits for.
func Describe(t *globaltable.Table, p Progress) *globaltable.Table {
	out := t.Clone()
	for i := range out.Replicas {
		r := &out.Replicas[i]
		if r.Placing != 0 {
			r.StatusDescription = clip(describePlacing(r, &p))
			continue
		}
		if !Unfinished(r) {
			continue
		}
		var gone, pending []string
		if regions, _ := Waits(t, r.Origin); len(regions) > 0 {
			pending = append(pending, strings.Join(regions, " and ")+ToComeBack)
		}
		for _, o := range Asked(t, r) {
			name := t.Replica(o).Region
			switch {
			case p.Unreachable[o]:
				gone = append(gone, name)
			case r.Status != globaltable.Deleting && p.Answers[o].Outcome == 0:
				pending = append(pending, name+" to adopt the change")
			case (o == r.Origin || r.Status == globaltable.StatusFencing) && p.Waiting[o] != "":
				pending = append(pending, p.Waiting[o])
			case r.Status == globaltable.StatusFencing && !p.Answers[o].Joined:
				pending = append(pending, name+" to exchange with the others what "+r.Region+" may have left")
			}
		}
		r.StatusDescription = clip(p.say(gone, pending))
	}
	return out
}

// describePlacing says what a replica waits for that carries out a change of policies.
func describePlacing(r *globaltable.Replica, p *Progress) string {
	switch waiting := p.Waiting[r.Origin]; {
	case p.Unreachable[r.Origin]:
		return p.say([]string{r.Region}, nil)
	case waiting != "":
		return p.say(nil, []string{waiting})
	}
	return p.say(nil, []string{r.Region + " to carry out the change of locality policies"})
}

// say puts into words which regions cannot be reached, and what else is waited for.
func (p *Progress) say(gone, pending []string) string {
	var parts []string
	say := func(before string, list []string) {
		if len(list) > 0 {
			parts = append(parts, before+strings.Join(list, ", ")+".")
		}
	}
	say("Cannot reach ", gone)
	say("Waiting for ", pending)
	say("The owner has not heard, since its start, from ", p.Unheard)
	return strings.Join(parts, " ")
}

// Unfinished reports whether a replica is on its way in or out, or being closed.
func Unfinished(r *globaltable.Replica) bool {
	switch r.Status {
	case globaltable.Creating, globaltable.Deleting, globaltable.StatusFencing:
		return true
	}
	return r.Disassociating()
}

func clip(s string) string {
	if len(s) <= globaltable.MaxStatusDescription {
		return s
	}
	return s[:globaltable.MaxStatusDescription]
}

// successor begins the version after t.
func successor(t *globaltable.Table, epoch uint32) *globaltable.Table {
	next := t.Clone()
	next.Version = globaltable.MakeVersion(epoch, t.Version.Number()+1)
	next.Predecessor = globaltable.HashTable(t)
	return next
}

func finish(t, next *globaltable.Table) (*globaltable.Table, error) {
	bury(next)
	if err := next.Validate(); err != nil {
		return nil, faulty("update table", t.Name, err)
	}
	return next, nil
}

// bury declares a table dead that has no replicas, or only ones that failed.
func bury(t *globaltable.Table) {
	if !slices.ContainsFunc(t.Replicas, func(r globaltable.Replica) bool { return r.Status != globaltable.CreationFailed }) {
		t.Replicas, t.Indexes, t.Triggers, t.Deleted = nil, nil, nil, true
	}
}

// followTags makes t's settings follow its tags, after some of them, set, were given.
func followTags(t *globaltable.Table, set map[string]string) error {
	err := globaltable.CheckShared(set)
	if err == nil {
		err = t.FollowTags()
	}
	var g *globaltable.Error
	if errors.As(err, &g) {
		return invalid(t, "One or more parameter values were invalid: "+g.Message)
	}
	return err
}

func createReplica(t, next *globaltable.Table, region string, change *Change, regions func(string) (globaltable.Descriptor, bool)) error {
	if old := t.ReplicaNamed(region); old != nil {
		why := "already has a replica in region: " + region
		switch old.Status {
		case globaltable.CreationFailed:
			why = "has a replica whose creation failed in region: " + region + ". Delete it first."
		case globaltable.StatusFencing, globaltable.StatusFenced:
			why = "has a replica in region: " + region + ", which is fenced. It is created anew when that region comes back."
		}
		return invalid(t, "Failed to create a new replica of table with name: '"+t.Name+"' because it "+why)
	}
	d, ok := regions(region)
	if !ok {
		return invalid(t, "Failed to create a new replica of table with name: '"+t.Name+"' because the region is not known: "+region)
	}
	if orphaned(t) {
		return invalid(t, "Failed to create a new replica of table with name: '"+t.Name+"' because all regions that have the table's data are fenced. It can be created when one of them has come back.")
	}
	// One change of the replicas at a time: what a replica on its way out writes is never to be sent to one on its way in.
	if !t.Settled() {
		return InUse("update table", t.Name, "updated")
	}
	if slices.ContainsFunc(next.Replicas, func(r globaltable.Replica) bool { return r.Status == globaltable.Deleting }) {
		return invalid(t, "Replicas cannot be created and deleted in one request.")
	}
	if slices.ContainsFunc(next.Replicas, func(r globaltable.Replica) bool { return r.Origin == d.Origin }) {
		return invalid(t, "Only one replica update can be made for a region at a time: "+region)
	}
	own := &globaltable.Own{} // without tags and protection; its class is that of the replica that it is made from
	if from := t.ReplicaNamed(change.Region); from != nil && from.Own != nil {
		own.Class = from.Own.Class
	}
	next.Replicas = append(next.Replicas, globaltable.Replica{Region: d.Name, Origin: d.Origin, Status: globaltable.Creating,
		Jurisdiction: d.Jurisdiction, Since: next.Version, Born: next.Version, JoinBytesPerSecond: change.JoinBytesPerSecond, CreatedAt: change.At, Own: own})
	slices.SortFunc(next.Replicas, func(a, b globaltable.Replica) int { return strings.Compare(a.Region, b.Region) })
	return nil
}

func removeReplica(t, next *globaltable.Table, region string) error {
	r := next.ReplicaNamed(region)
	switch {
	case r == nil:
		return invalid(t, "Failed to delete the replica of table with name: '"+t.Name+"' because it has no replica in region: "+region)
	case r.Status == globaltable.Deleting:
		return InUse("delete replica", t.Name, "deleted")
	case r.Status == globaltable.StatusFencing:
		return InUse("delete replica", t.Name, "updated")
	case r.Status == globaltable.StatusFenced && orphaned(t) && slices.ContainsFunc(t.Replicas, func(r globaltable.Replica) bool { return r.Status == globaltable.Creating }):
		return InUse("delete replica", t.Name, "updated") // that one may wait for it
	case r.Status == globaltable.CreationFailed, r.Status == globaltable.StatusFenced: // nothing was ever served from it; or nobody waits for it any more
		next.Replicas = slices.DeleteFunc(next.Replicas, func(r globaltable.Replica) bool { return r.Region == region })
		return nil
	case t.Disassociating() != nil:
		return InUse("delete replica", t.Name, "updated")
	case next.OwnOf(r).DeletionProtection:
		return invalid(t, "Resource cannot be deleted as it is currently protected against deletion. Disable deletion protection first.")
	case r.Status == globaltable.Creating: // called off; it has served nobody either, but may hold data
	case slices.ContainsFunc(t.Replicas, func(r globaltable.Replica) bool {
		// While policies are being carried out another region may have to get from this one what no other has.
		return r.Status == globaltable.Creating || r.Status == globaltable.StatusFencing || r.Placing != 0
	}):
		return InUse("delete replica", t.Name, "updated")
	case lastBut(next, r):
		return invalid(t, "The replica cannot be deleted: the others are in regions that are fenced, and this one alone has the table's data. "+
			"Let those regions come back, or delete their replicas first.")
	}
	r.Status, r.StatusDescription, r.Since, r.JoinBytesPerSecond = globaltable.Deleting, "", next.Version, 0
	return nil
}

// lastBut reports whether r is the only replica left but fenced ones.
func lastBut(t *globaltable.Table, r *globaltable.Replica) bool {
	fenced := false
	for i := range t.Replicas {
		switch o := &t.Replicas[i]; {
		case o.Status == globaltable.StatusFenced:
			fenced = true
		case o.Origin != r.Origin && staying(*o):
			return false
		}
	}
	return fenced
}

func staying(r globaltable.Replica) bool {
	return r.Status == globaltable.Active || r.Status == globaltable.Updating
}

func invalid(t *globaltable.Table, message string) error {
	return &globaltable.Error{Op: "update table", Resource: t.Name, Kind: globaltable.Invalid, Message: message}
}

// faulty puts the faults that Validate found into the client's words.
func faulty(op, name string, err error) error {
	if cause := errors.Unwrap(err); cause != nil {
		err = cause
	}
	return &globaltable.Error{Op: op, Resource: name, Kind: globaltable.Invalid,
		Message: "One or more parameter values were invalid: " + strings.ReplaceAll(err.Error(), "\n", "; ")}
}

// NotFound is the error about a table that is not in this region.
func NotFound(op, name string) error {
	return &globaltable.Error{Op: op, Resource: name, Kind: globaltable.NotFound, Message: "Requested resource not found: Table: " + name + " not found"}
}

// InUse is the error about a table whose state does not allow op now: it is being "created", "updated" or "deleted".
func InUse(op, name, state string) error {
	return &globaltable.Error{Op: op, Resource: name, Kind: globaltable.InUse,
		Message: "Attempt to change a resource which is still in use: Table is being " + state + ": " + name}
}

// Exists is the error about a name that is taken in this region.
func Exists(op, name string) error {
	return &globaltable.Error{Op: op, Resource: name, Kind: globaltable.Exists, Message: "Table already exists: " + name}
}
