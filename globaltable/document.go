package globaltable

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable/item"
)

// documentFormat is the version of a document's form. A field that an older release can ignore without harm does not exist: each one is a rule
// about data. So a reader refuses what it does not know, and the format rises only when known fields change their meaning.
const documentFormat = 1

// tableDocument is the JSON form of a Table.
type tableDocument struct {
	Format             int               `json:"format"`
	ID                 string            `json:"id"`
	Name               string            `json:"name"`
	Owner              hlc.Origin        `json:"owner"`
	Epoch              uint32            `json:"epoch"`
	Number             uint64            `json:"number"`
	Predecessor        string            `json:"predecessor,omitempty"`
	CreatedAt          int64             `json:"createdAt"`
	PartitionKey       keyDocument       `json:"partitionKey"`
	SortKey            *keyDocument      `json:"sortKey,omitempty"`
	Billing            BillingMode       `json:"billing"`
	ReadCapacity       int64             `json:"readCapacity,omitempty"`
	WriteCapacity      int64             `json:"writeCapacity,omitempty"`
	DeletionProtection bool              `json:"deletionProtection,omitempty"`
	Class              TableClass        `json:"class"`
	Mode               string            `json:"mode"`
	Tags               map[string]string `json:"tags,omitempty"`
	AcknowledgePeers   int               `json:"acknowledgePeers,omitempty"`
	Expiry             []periodDocument  `json:"expiry,omitempty"`
	Replicas           []replicaDocument `json:"replicas,omitempty"`
	Deleted            bool              `json:"deleted,omitempty"`
}

type keyDocument struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

type periodDocument struct {
	Attribute string        `json:"attribute"`
	From      hlc.Timestamp `json:"from"`
	To        hlc.Timestamp `json:"to,omitempty"`
}

type replicaDocument struct {
	Region      string     `json:"region"`
	Origin      hlc.Origin `json:"origin"`
	Status      Status     `json:"status"`
	Description string     `json:"description,omitempty"`
	SinceEpoch  uint32     `json:"sinceEpoch"`
	SinceNumber uint64     `json:"sinceNumber"`
	BornEpoch   uint32     `json:"bornEpoch,omitempty"`
	BornNumber  uint64     `json:"bornNumber,omitempty"`
	Leaving     bool       `json:"leaving,omitempty"`
	JoinRate    int64      `json:"joinBytesPerSecond,omitempty"`
}

// EncodeTable returns the document of t, JSON. Equal tables have equal documents. t must be valid.
func EncodeTable(t *Table) []byte {
	d := tableDocument{
		Format: documentFormat, ID: t.ID.String(), Name: t.Name, Owner: t.Owner,
		Epoch: t.Version.Epoch(), Number: t.Version.Number(), CreatedAt: t.CreatedAt,
		PartitionKey: keyDocument{t.KeySchema.Partition.Name, t.KeySchema.Partition.Type.String()},
		Billing:      t.Billing, ReadCapacity: t.Throughput.Read, WriteCapacity: t.Throughput.Write,
		DeletionProtection: t.DeletionProtection, Class: t.Class, Mode: t.Mode.String(), Tags: t.Tags,
		AcknowledgePeers: t.AcknowledgePeers, Deleted: t.Deleted,
	}
	if t.Predecessor != (Hash{}) {
		d.Predecessor = hex.EncodeToString(t.Predecessor[:])
	}
	if s := t.KeySchema.Sort; s != nil {
		d.SortKey = &keyDocument{s.Name, s.Type.String()}
	}
	for _, p := range t.Expiry {
		d.Expiry = append(d.Expiry, periodDocument(p))
	}
	for _, r := range t.Replicas {
		d.Replicas = append(d.Replicas, replicaDocument{Region: r.Region, Origin: r.Origin, Status: r.Status, Description: r.StatusDescription,
			SinceEpoch: r.Since.Epoch(), SinceNumber: r.Since.Number(), BornEpoch: r.Born.Epoch(), BornNumber: r.Born.Number(), Leaving: r.Leaving, JoinRate: r.JoinBytesPerSecond})
	}
	b, err := json.Marshal(&d)
	if err != nil {
		panic(err) // strings, numbers and a map of strings: there is nothing that could fail
	}
	return b
}

// HashTable returns the hash by which t's successor names it.
func HashTable(t *Table) Hash { return sha256.Sum256(EncodeTable(t)) }

// DecodeTable is the inverse of EncodeTable, for documents from disk and from peers. A document with a field or a format that this release
// does not know is refused with kind Unavailable: it is right, but only a newer release can act on it. What is wrong is refused with kind
// Corrupt, and the result is always valid.
func DecodeTable(b []byte) (*Table, error) {
	const op = "decode table document"
	d, newer, err := parseStrictly[tableDocument](b, documentFormat)
	if err != nil {
		return nil, &Error{Op: op, Kind: Corrupt, Message: "the text is not a table document"}
	}
	if newer {
		return nil, &Error{Op: op, Kind: Unavailable, Message: "the document was written by a newer version of concordat; upgrade this region"}
	}
	t, err := d.table()
	if err != nil {
		return nil, &Error{Op: op, Kind: Corrupt, Err: err}
	}
	if err := t.Validate(); err != nil {
		return nil, &Error{Op: op, Kind: Corrupt, Err: err}
	}
	return t, nil
}

func (d *tableDocument) table() (*Table, error) {
	id, err := ParseTableID(d.ID)
	if err != nil {
		return nil, err
	}
	mode, err := conflict.ParseMode(d.Mode)
	if err != nil {
		return nil, err
	}
	t := &Table{
		ID: id, Name: d.Name, Owner: d.Owner, CreatedAt: d.CreatedAt,
		Billing: d.Billing, Throughput: Throughput{Read: d.ReadCapacity, Write: d.WriteCapacity},
		DeletionProtection: d.DeletionProtection, Class: d.Class, Mode: mode, Tags: d.Tags,
		AcknowledgePeers: d.AcknowledgePeers, Deleted: d.Deleted,
	}
	if t.Version, err = parseVersion(d.Epoch, d.Number); err != nil {
		return nil, err
	}
	if t.Predecessor, err = parsePredecessor(d.Predecessor); err != nil {
		return nil, err
	}
	t.KeySchema.Partition = d.PartitionKey.attribute()
	if d.SortKey != nil {
		sort := d.SortKey.attribute()
		t.KeySchema.Sort = &sort
	}
	for _, p := range d.Expiry {
		t.Expiry = append(t.Expiry, conflict.Period(p))
	}
	for _, r := range d.Replicas {
		t.Replicas = append(t.Replicas, Replica{Region: r.Region, Origin: r.Origin, Status: r.Status, StatusDescription: r.Description,
			Since: MakeVersion(r.SinceEpoch, r.SinceNumber), Born: MakeVersion(r.BornEpoch, r.BornNumber), Leaving: r.Leaving, JoinBytesPerSecond: r.JoinRate})
	}
	return t, nil
}

func (k keyDocument) attribute() KeyAttribute {
	typ, _ := item.ParseType(k.Type) // zero is refused by Validate
	return KeyAttribute{Name: k.Name, Type: typ}
}
