package globaltable

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable/item"
)

// Limits of a table's document. They keep every document far below the size of an item.
const (
	MinTableNameLen      = 3
	MaxTableNameLen      = 255
	MaxKeyNameLen        = 255
	MaxReplicas          = 64
	MaxTags              = 50   // of a replica, beside those that are shared
	MaxTagKeyLen         = 128  // characters
	MaxTagValueLen       = 256  // characters
	MaxStatusDescription = 1024 // bytes
	MaxParted            = 256  // replicas that have left a table as tables of their own, in all its time
)

// Status is the state of a table as a region shows it, or of a replica. Its texts are DynamoDB's and part of the document.
type Status string

// The statuses. CreationFailed, StatusFencing and StatusFenced are of replicas only, and the last two are not DynamoDB's: its clients see REGION_DISABLED.
const (
	Creating       Status = "CREATING"
	Active         Status = "ACTIVE"
	Updating       Status = "UPDATING"
	Deleting       Status = "DELETING"
	CreationFailed Status = "CREATION_FAILED"
	StatusFencing  Status = "FENCING" // its region is not heard any more: the others exchange what it may have given to some of them only
	StatusFenced   Status = "FENCED"  // nothing waits for it; it is created anew when its region comes back
)

// BillingMode is stored and shown; it limits nothing.
type BillingMode string

// The billing modes.
const (
	PayPerRequest BillingMode = "PAY_PER_REQUEST"
	Provisioned   BillingMode = "PROVISIONED"
)

// TableClass is stored and shown.
type TableClass string

// The table classes.
const (
	ClassStandard         TableClass = "STANDARD"
	ClassInfrequentAccess TableClass = "STANDARD_INFREQUENT_ACCESS"
)

// KeyAttribute is an attribute of the primary key.
type KeyAttribute struct {
	Name string    // 1 to 255 bytes
	Type item.Type // S, N or B
}

// KeySchema is a table's primary key. It never changes.
type KeySchema struct {
	Partition KeyAttribute
	Sort      *KeyAttribute // nil: none
}

// Throughput is what PROVISIONED mode declares, in capacity units per second. Zero under PAY_PER_REQUEST.
type Throughput struct {
	Read  int64
	Write int64
}

// Replica is a region's part of a table.
type Replica struct {
	Region            string     // name
	Origin            hlc.Origin // number
	Jurisdiction      string     // of the region, from its signed descriptor; empty: the document is of a time before documents told, and nothing that is pinned to a jurisdiction may be there
	Status            Status
	StatusDescription string  // why; empty when all is well
	Since             Version // the document's version that gave the replica its Status
	// Born is the version that brought the replica, the newest if it left and came back; zero if the table was made with it. What the others wrote under
	// versions before is in what it got from them when it joined. A change of that time that arrives later must not be applied: it may be older than a deletion
	// whose tombstone all have collected while the region had no replica.
	Born Version
	// Leaving is true of a replica that is being closed and then goes from the document: it was being deleted, or its region is removed.
	Leaving bool
	// JoinBytesPerSecond bounds the records that the replica takes from the others while it is being created, about, beside what its region's node is bounded to;
	// 0: no bound of its own. It is zero in every other state.
	JoinBytesPerSecond int64
	CreatedAt          int64 // Unix milliseconds; 0: with the table, or before documents told
	InaccessibleSince  int64 // when its region was fenced, Unix milliseconds; 0: it is not, or it was before documents told
	Own                *Own  // nil: those of the table; see OwnOf
	// Placing is the version of the policies in force that the replica's region has not carried out yet: what it may not have any more it has to hand over and to erase, and what it gained to get. Zero: it has.
	Placing Version
	// Successor is the table that the replica's region makes of it: being filled beside it while the replica is Updating, in its place when it is Deleting. Zero: none.
	Successor TableID
	// Succeeds is what the replica was before its table was one of its own; zero: nothing.
	Succeeds Succession
}

// Succession names a replica that has left its table, and is, in the same region, a table of its own.
type Succession struct {
	Table TableID
	Since Version // of Table's document, which named the successor first
}

// Disassociating reports whether the replica is on its way to become a table of its own: it is fed, and serves.
func (r *Replica) Disassociating() bool { return r.Status == Updating && r.Successor != 0 }

// Disassociated reports whether the replica has become a table of its own, and what is left of it is on its way out.
func (r *Replica) Disassociated() bool { return r.Status == Deleting && r.Successor != 0 }

// Hash is the SHA-256 of a document's encoding.
type Hash [sha256.Size]byte

// Table is the document of a table: what it is, where it is, in one version. Only the owner region makes new versions, one after the other,
// and each names its predecessor by hash. A Table that a catalog gave out is shared: it must not be changed; Clone it.
type Table struct {
	ID          TableID
	Name        string
	Owner       hlc.Origin
	Version     Version
	Predecessor Hash  // of the version before; zero for the first
	CreatedAt   int64 // Unix milliseconds

	KeySchema     KeySchema
	Billing       BillingMode
	Throughput    Throughput
	OnDemandMax   Throughput // that PAY_PER_REQUEST mode declares; zero, each: none
	Warm          Throughput // declared to be wanted at once; zero: none declared
	OnDemandSince int64      // when the billing mode last became PAY_PER_REQUEST, Unix milliseconds; 0: when the table was made, or never
	Stream        Stream
	// Legacy is true of a global table that was made by the interface of 2017, version 2017.11.29.
	Legacy bool
	// DeletionProtection, Class and the tags that are not shared are those of replicas without settings of their own.
	DeletionProtection bool
	Class              TableClass
	Tags               map[string]string // nil: none
	// Mode says how writes are recorded, and Types how single attributes merge where it is conflict.Vector; nil: none is declared. See MergeTag and TypeTagPrefix.
	Mode  conflict.Mode
	Types map[string]conflict.TypeTag
	// AcknowledgePeers is how many peers must have a write durably before it is answered, 0 to MaxAcknowledgePeers. See AcknowledgeTag.
	AcknowledgePeers int
	Conflicts        Retention // of the conflict feed: see Conflicts
	Streams          Retention // of change streams: see StreamRecords
	Indexes          []Index   // sorted by ID
	LastIndex        IndexID   // the greatest ID that was ever given; 0: none
	// Expiry is the history of the table's time to live. A new version adds to it, or ends its last period; nothing of it is ever forgotten or changed: a replica may hold what expired in any period.
	Expiry conflict.Expiry

	Replicas []Replica // sorted by region name
	// Pins are the table's locality policies, in the order in which they were made; nil: every item may be wherever the table is.
	Pins []Pin
	// Triggers are what is to happen when items change, sorted by name. The caller does not change what they point to.
	Triggers []Trigger
	// Parted are the tables that replicas of this one have become, sorted. Nothing of it is ever forgotten: it decides, for whoever hears of such a table, whether that is the one that has the replica's name.
	Parted  []TableID
	Deleted bool // dead for ever: no replicas, and the id is not used again
}

// Clone returns a deep copy.
func (t *Table) Clone() *Table {
	c := *t
	if s := t.KeySchema.Sort; s != nil {
		attribute := *s
		c.KeySchema.Sort = &attribute
	}
	c.Tags = maps.Clone(t.Tags)
	c.Types = maps.Clone(t.Types)
	c.Indexes = slices.Clone(t.Indexes)
	for i := range c.Indexes {
		c.Indexes[i] = t.Indexes[i].Clone()
	}
	c.Expiry = slices.Clone(t.Expiry)
	c.Replicas = slices.Clone(t.Replicas)
	c.Parted = slices.Clone(t.Parted)
	for i := range c.Replicas {
		c.Replicas[i].Own = c.Replicas[i].Own.clone()
	}
	c.Pins = slices.Clone(t.Pins)
	for i := range c.Pins {
		c.Pins[i] = t.Pins[i].Clone()
	}
	c.Triggers = slices.Clone(t.Triggers)
	return &c
}

// Replica returns the replica in the region with the number given; nil if there is none. It points into t.
func (t *Table) Replica(o hlc.Origin) *Replica {
	for i := range t.Replicas {
		if t.Replicas[i].Origin == o {
			return &t.Replicas[i]
		}
	}
	return nil
}

// ReplicaNamed is Replica by the region's name.
func (t *Table) ReplicaNamed(region string) *Replica {
	for i := range t.Replicas {
		if t.Replicas[i].Region == region {
			return &t.Replicas[i]
		}
	}
	return nil
}

// HasParted reports whether a replica of t has become the table given.
func (t *Table) HasParted(id TableID) bool {
	_, ok := slices.BinarySearch(t.Parted, id)
	return ok
}

// Disassociating returns the replica that is on its way to become a table of its own; nil if none is. There is one at most. It points into t.
func (t *Table) Disassociating() *Replica {
	for i := range t.Replicas {
		if t.Replicas[i].Disassociating() {
			return &t.Replicas[i]
		}
	}
	return nil
}

// Settled reports whether no replica is on its way in or out, being closed, or carrying out a change of policies.
func (t *Table) Settled() bool {
	return !slices.ContainsFunc(t.Replicas, func(r Replica) bool {
		return r.Status == Creating || r.Status == Deleting || r.Status == Updating || r.Status == StatusFencing || r.Placing != 0
	})
}

// Closing returns the version since which replicas are being closed; zero if none is. It is the same for all of them.
func (t *Table) Closing() Version {
	for i := range t.Replicas {
		if t.Replicas[i].Status == StatusFencing {
			return t.Replicas[i].Since
		}
	}
	return 0
}

// StatusIn returns TableStatus as the region with the number given shows it: Creating, Updating, Active or Deleting. It is empty when
// the table does not exist there: no replica, or one whose creation failed, whose region is fenced, or which has become a table of its own.
func (t *Table) StatusIn(o hlc.Origin) Status {
	r := t.Replica(o)
	switch {
	case r == nil || r.Status == CreationFailed || r.Status == StatusFencing || r.Status == StatusFenced || r.Disassociated():
		return ""
	case r.Status == Creating || r.Status == Deleting:
		return r.Status
	case t.Settled():
		return Active
	}
	return Updating
}

// Validate reports all faults of t at once, with kind Invalid. Its texts quote names and tags' keys, never data.
func (t *Table) Validate() error {
	var faults []error
	fault := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	fault(t.ID > WorldTable && !t.ID.IsFeed(), "id is not a table's")
	fault(t.Owner != 0, "owner is zero")
	fault(t.Version.Epoch() > 0 && t.Version.Number() > 0, "version %v is not one that an owner issues", t.Version)
	fault((t.Version.Number() == 1) == (t.Predecessor == Hash{}), "only the first version has no predecessor")
	fault(t.CreatedAt > 0, "creation time is missing")
	fault(ValidTableName(t.Name), "table name must have %d to %d letters, digits, '_', '-' and '.'", MinTableNameLen, MaxTableNameLen)
	faults = append(faults, t.KeySchema.faults()...)
	fault(t.Billing == PayPerRequest && t.Throughput == Throughput{} || t.Billing == Provisioned && t.Throughput.Read > 0 && t.Throughput.Write > 0,
		"billing mode must be %s without throughput, or %s with read and write units of at least 1", PayPerRequest, Provisioned)
	fault(t.Class == ClassStandard || t.Class == ClassInfrequentAccess, "table class %q is not known", t.Class)
	faults = append(faults, t.mergeFaults()...)
	faults = append(faults, t.settingsFaults()...)
	fault(t.AcknowledgePeers >= 0 && t.AcknowledgePeers <= MaxAcknowledgePeers, "writes wait for %d peers, at most %d", t.AcknowledgePeers, MaxAcknowledgePeers)
	for _, err := range []error{Conflicts.faults(t.Conflicts), StreamRecords.faults(t.Streams)} {
		fault(err == nil, "%v", err)
	}
	faults = append(faults, t.indexFaults()...)
	faults = append(faults, expiryFaults(t.Expiry)...)
	faults = append(faults, t.replicaFaults()...)
	faults = append(faults, t.pinFaults()...)
	faults = append(faults, t.triggerFaults()...)
	if len(faults) == 0 {
		return nil
	}
	return &Error{Op: "check table", Resource: t.ID.String(), Kind: Invalid, Err: errors.Join(faults...)}
}

// ValidTableName reports whether name is one that DynamoDB allows.
func ValidTableName(name string) bool {
	return len(name) >= MinTableNameLen && len(name) <= MaxTableNameLen && !strings.ContainsFunc(name, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-' || r == '.')
	})
}

func (s KeySchema) faults() []error {
	attributes := []KeyAttribute{s.Partition}
	if s.Sort != nil {
		attributes = append(attributes, *s.Sort)
	}
	var faults []error
	for _, a := range attributes {
		if a.Name == "" || len(a.Name) > MaxKeyNameLen || !utf8.ValidString(a.Name) {
			faults = append(faults, fmt.Errorf("the name of a key attribute must have 1 to %d bytes of UTF-8", MaxKeyNameLen))
		}
		if a.Type != item.S && a.Type != item.N && a.Type != item.B {
			faults = append(faults, errors.New("a key attribute must be of type S, N or B"))
		}
	}
	if s.Sort != nil && s.Sort.Name == s.Partition.Name {
		faults = append(faults, errors.New("partition key and sort key are the same attribute"))
	}
	return faults
}

func (t *Table) replicaFaults() []error {
	var faults []error
	fault := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	fault(t.Deleted == (len(t.Replicas) == 0), "a table has replicas, a dead one none")
	fault(len(t.Replicas) <= MaxReplicas, "%d replicas, at most %d", len(t.Replicas), MaxReplicas)
	fault(len(t.Parted) <= MaxParted && slices.IsSorted(t.Parted) && len(slices.Compact(slices.Clone(t.Parted))) == len(t.Parted),
		"replicas have left as %d tables, at most %d, or these are not in order", len(t.Parted), MaxParted)
	origins := map[hlc.Origin]bool{}
	for i, r := range t.Replicas {
		fault(ValidateRegionName(r.Region) == nil, "replica %d: the region's name is wrong", i)
		fault(i == 0 || t.Replicas[i-1].Region < r.Region, "replicas are not in the order of their names, or twice in a region")
		fault(r.Origin != 0 && !origins[r.Origin], "replica %d: the region's number is zero or used twice", i)
		origins[r.Origin] = true
		switch r.Status {
		case Creating, Active, Updating, Deleting, CreationFailed, StatusFencing, StatusFenced:
		default:
			fault(false, "replica %d: status %q is not known", i, r.Status)
		}
		fault(r.Since > 0 && r.Since <= t.Version, "replica %d: its status is of version %v", i, r.Since)
		fault(!r.Leaving || r.Status == StatusFencing, "replica %d: it leaves without being closed", i)
		fault(r.JoinBytesPerSecond == 0 || r.JoinBytesPerSecond > 0 && r.Status == Creating, "replica %d: a bound of %d bytes per second", i, r.JoinBytesPerSecond)
		fault(r.Jurisdiction == "" || ValidateJurisdiction(r.Jurisdiction) == nil, "replica %d: the jurisdiction's name is wrong", i)
		fault(r.Placing <= t.Version && (r.Placing == 0 || r.Status == Active), "replica %d: it carries out version %v of the policies", i, r.Placing)
		fault(r.Successor == 0 || r.Disassociating() || r.Disassociated() && t.HasParted(r.Successor), "replica %d: it has a successor in a status that has none", i)
		fault((r.Succeeds.Table == 0) == (r.Succeeds.Since == 0) && r.Succeeds.Table != t.ID, "replica %d: it succeeds what it cannot", i)
		fault(r.Born <= r.Since, "replica %d: it came with version %v, after its status", i, r.Born)
		fault(len(r.StatusDescription) <= MaxStatusDescription && utf8.ValidString(r.StatusDescription),
			"replica %d: the description is longer than %d bytes, or not UTF-8", i, MaxStatusDescription)
	}
	return faults
}
