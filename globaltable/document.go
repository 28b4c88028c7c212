package globaltable

import (
	"bytes"
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
	Types              map[string]string `json:"types,omitempty"`
	Tags               map[string]string `json:"tags,omitempty"`
	AcknowledgePeers   int               `json:"acknowledgePeers,omitempty"`
	ConflictSeconds    int64             `json:"conflictSeconds,omitempty"`
	ConflictBytes      int64             `json:"conflictBytes,omitempty"`
	OnDemandMaxRead    int64             `json:"onDemandMaxRead,omitempty"`
	OnDemandMaxWrite   int64             `json:"onDemandMaxWrite,omitempty"`
	WarmRead           int64             `json:"warmRead,omitempty"`
	WarmWrite          int64             `json:"warmWrite,omitempty"`
	OnDemandSince      int64             `json:"onDemandSince,omitempty"`
	StreamView         StreamView        `json:"streamView,omitempty"`
	StreamSince        int64             `json:"streamSince,omitempty"`
	StreamSecret       []byte            `json:"streamSecret,omitempty"`
	StreamSeconds      int64             `json:"streamSeconds,omitempty"`
	StreamBytes        int64             `json:"streamBytes,omitempty"`
	Legacy             bool              `json:"legacyGlobalTable,omitempty"`
	Indexes            []indexDocument   `json:"indexes,omitempty"`
	LastIndex          IndexID           `json:"lastIndex,omitempty"`
	Expiry             []periodDocument  `json:"expiry,omitempty"`
	Replicas           []replicaDocument `json:"replicas,omitempty"`
	Pins               []Pin             `json:"pins,omitempty"`
	Triggers           []triggerDocument `json:"triggers,omitempty"`
	Deleted            bool              `json:"deleted,omitempty"`
	Parted             []string          `json:"parted,omitempty"`
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
	Region      string       `json:"region"`
	Origin      hlc.Origin   `json:"origin"`
	Status      Status       `json:"status"`
	Description string       `json:"description,omitempty"`
	SinceEpoch  uint32       `json:"sinceEpoch"`
	SinceNumber uint64       `json:"sinceNumber"`
	BornEpoch   uint32       `json:"bornEpoch,omitempty"`
	BornNumber  uint64       `json:"bornNumber,omitempty"`
	Leaving     bool         `json:"leaving,omitempty"`
	JoinRate    int64        `json:"joinBytesPerSecond,omitempty"`
	CreatedAt   int64        `json:"createdAt,omitempty"`
	GoneSince   int64        `json:"inaccessibleSince,omitempty"`
	Own         *ownDocument `json:"own,omitempty"`

	Jurisdiction  string `json:"jurisdiction,omitempty"`
	PlacingEpoch  uint32 `json:"placingEpoch,omitempty"`
	PlacingNumber uint64 `json:"placingNumber,omitempty"`

	Successor string              `json:"successor,omitempty"`
	Succeeds  *successionDocument `json:"succeeds,omitempty"`
}

type successionDocument struct {
	Table       string `json:"table"`
	SinceEpoch  uint32 `json:"sinceEpoch"`
	SinceNumber uint64 `json:"sinceNumber"`
}

type ownDocument struct {
	DeletionProtection bool       `json:"deletionProtection,omitempty"`
	Disassociable      bool       `json:"disassociable,omitempty"`
	Class              TableClass `json:"class,omitempty"`
	readDocument
	Tags    map[string]string        `json:"tags,omitempty"`
	Indexes map[IndexID]readDocument `json:"indexes,omitempty"` // encoded in the order of the ids' decimal digits
}

type triggerDocument struct {
	Name       string      `json:"name"`
	BornEpoch  uint32      `json:"bornEpoch"`
	BornNumber uint64      `json:"bornNumber"`
	Number     uint64      `json:"number"`
	Paused     bool        `json:"paused,omitempty"`
	Replay     Replay      `json:"replay,omitzero"`
	Begins     uint64      `json:"begins,omitempty"`
	Spec       TriggerSpec `json:"spec"`
}

type readDocument struct {
	ReadCapacity int64 `json:"readCapacity,omitempty"`
	OnDemandRead int64 `json:"onDemandMaxRead,omitempty"`
}

type indexDocument struct {
	ID            IndexID       `json:"id"`
	Name          string        `json:"name"`
	Local         bool          `json:"local,omitempty"`
	Partition     []keyDocument `json:"partitionKey"`
	Sort          []keyDocument `json:"sortKey,omitempty"`
	Projection    Projection    `json:"projection"`
	NonKey        []string      `json:"nonKey,omitempty"`
	ReadCapacity  int64         `json:"readCapacity,omitempty"`
	WriteCapacity int64         `json:"writeCapacity,omitempty"`

	OnDemandMaxRead  int64 `json:"onDemandMaxRead,omitempty"`
	OnDemandMaxWrite int64 `json:"onDemandMaxWrite,omitempty"`
	WarmRead         int64 `json:"warmRead,omitempty"`
	WarmWrite        int64 `json:"warmWrite,omitempty"`
}

// EncodeTable returns the document of t, JSON. Equal tables have equal documents. t must be valid.
func EncodeTable(t *Table) []byte {
	d := tableDocument{
		Format: documentFormat, ID: t.ID.String(), Name: t.Name, Owner: t.Owner,
		Epoch: t.Version.Epoch(), Number: t.Version.Number(), CreatedAt: t.CreatedAt,
		PartitionKey: keyDocument{t.KeySchema.Partition.Name, t.KeySchema.Partition.Type.String()},
		Billing:      t.Billing, ReadCapacity: t.Throughput.Read, WriteCapacity: t.Throughput.Write,
		DeletionProtection: t.DeletionProtection, Class: t.Class, Mode: t.Mode.String(), Types: TypeNames(t.Types), Tags: t.Tags,
		AcknowledgePeers: t.AcknowledgePeers, ConflictSeconds: t.Conflicts.Seconds, ConflictBytes: t.Conflicts.Bytes, LastIndex: t.LastIndex, Deleted: t.Deleted,
		OnDemandMaxRead: t.OnDemandMax.Read, OnDemandMaxWrite: t.OnDemandMax.Write, WarmRead: t.Warm.Read, WarmWrite: t.Warm.Write,
		OnDemandSince: t.OnDemandSince, StreamView: t.Stream.View, StreamSince: t.Stream.Since, StreamSecret: t.Stream.Secret, StreamSeconds: t.Streams.Seconds, StreamBytes: t.Streams.Bytes, Legacy: t.Legacy, Pins: t.Pins,
	}
	if t.Predecessor != (Hash{}) {
		d.Predecessor = hex.EncodeToString(t.Predecessor[:])
	}
	if s := t.KeySchema.Sort; s != nil {
		d.SortKey = &keyDocument{s.Name, s.Type.String()}
	}
	for i := range t.Indexes {
		d.Indexes = append(d.Indexes, t.Indexes[i].document())
	}
	for _, p := range t.Expiry {
		d.Expiry = append(d.Expiry, periodDocument{Attribute: p.Attribute, From: p.From, To: p.To})
	}
	for i := range t.Replicas {
		d.Replicas = append(d.Replicas, t.Replicas[i].document())
	}
	for i := range t.Triggers {
		d.Triggers = append(d.Triggers, t.Triggers[i].document())
	}
	for _, id := range t.Parted {
		d.Parted = append(d.Parted, id.String())
	}
	b, err := json.Marshal(&d)
	if err != nil {
		panic(err) // strings, numbers, maps of strings, and filters that are JSON: there is nothing that could fail
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
	types, err := parseTypes(d.Types)
	if err != nil {
		return nil, err
	}
	t := &Table{
		ID: id, Name: d.Name, Owner: d.Owner, CreatedAt: d.CreatedAt,
		Billing: d.Billing, Throughput: Throughput{Read: d.ReadCapacity, Write: d.WriteCapacity},
		DeletionProtection: d.DeletionProtection, Class: d.Class, Mode: mode, Types: types, Tags: d.Tags,
		AcknowledgePeers: d.AcknowledgePeers, Conflicts: Retention{Seconds: d.ConflictSeconds, Bytes: d.ConflictBytes}, LastIndex: d.LastIndex, Deleted: d.Deleted,
		OnDemandMax: Throughput{Read: d.OnDemandMaxRead, Write: d.OnDemandMaxWrite}, Warm: Throughput{Read: d.WarmRead, Write: d.WarmWrite},
		OnDemandSince: d.OnDemandSince, Stream: Stream{View: d.StreamView, Since: d.StreamSince, Secret: d.StreamSecret}, Streams: Retention{Seconds: d.StreamSeconds, Bytes: d.StreamBytes}, Legacy: d.Legacy, Pins: d.Pins,
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
	for i := range d.Indexes {
		t.Indexes = append(t.Indexes, d.Indexes[i].index())
	}
	for _, p := range d.Expiry {
		t.Expiry = append(t.Expiry, conflict.Period{Attribute: p.Attribute, From: p.From, To: p.To})
	}
	for i := range d.Replicas {
		r, err := d.Replicas[i].replica()
		if err != nil {
			return nil, err
		}
		t.Replicas = append(t.Replicas, r)
	}
	for i := range d.Triggers {
		t.Triggers = append(t.Triggers, d.Triggers[i].trigger())
	}
	for _, s := range d.Parted {
		id, err := ParseTableID(s)
		if err != nil {
			return nil, err
		}
		t.Parted = append(t.Parted, id)
	}
	return t, nil
}

func (r *Replica) document() replicaDocument {
	d := replicaDocument{Region: r.Region, Origin: r.Origin, Status: r.Status, Description: r.StatusDescription,
		SinceEpoch: r.Since.Epoch(), SinceNumber: r.Since.Number(), BornEpoch: r.Born.Epoch(), BornNumber: r.Born.Number(), Leaving: r.Leaving, JoinRate: r.JoinBytesPerSecond,
		CreatedAt: r.CreatedAt, GoneSince: r.InaccessibleSince, Own: r.Own.document(),
		Jurisdiction: r.Jurisdiction, PlacingEpoch: r.Placing.Epoch(), PlacingNumber: r.Placing.Number()}
	if r.Successor != 0 {
		d.Successor = r.Successor.String()
	}
	if s := r.Succeeds; s != (Succession{}) {
		d.Succeeds = &successionDocument{s.Table.String(), s.Since.Epoch(), s.Since.Number()}
	}
	return d
}

func (d *replicaDocument) replica() (r Replica, err error) {
	r = Replica{Region: d.Region, Origin: d.Origin, Status: d.Status, StatusDescription: d.Description,
		Since: MakeVersion(d.SinceEpoch, d.SinceNumber), Born: MakeVersion(d.BornEpoch, d.BornNumber), Leaving: d.Leaving, JoinBytesPerSecond: d.JoinRate,
		CreatedAt: d.CreatedAt, InaccessibleSince: d.GoneSince, Own: d.Own.own(),
		Jurisdiction: d.Jurisdiction, Placing: MakeVersion(d.PlacingEpoch, d.PlacingNumber)}
	if d.Successor != "" {
		if r.Successor, err = ParseTableID(d.Successor); err != nil {
			return r, err
		}
	}
	if s := d.Succeeds; s != nil {
		r.Succeeds.Since = MakeVersion(s.SinceEpoch, s.SinceNumber)
		r.Succeeds.Table, err = ParseTableID(s.Table)
	}
	return r, err
}

func (g *Trigger) document() triggerDocument {
	return triggerDocument{Name: g.Name, BornEpoch: g.Born.Epoch(), BornNumber: g.Born.Number(), Number: g.Number, Paused: g.Paused, Replay: g.Replay, Begins: uint64(g.Begins), Spec: g.TriggerSpec}
}

func (d *triggerDocument) trigger() Trigger {
	return Trigger{Name: d.Name, Born: MakeVersion(d.BornEpoch, d.BornNumber), Number: d.Number, Paused: d.Paused, Replay: d.Replay, Begins: hlc.Timestamp(d.Begins), TriggerSpec: d.Spec}
}

func (x *Index) document() indexDocument {
	d := indexDocument{ID: x.ID, Name: x.Name, Local: x.Local, Projection: x.Projection, NonKey: x.NonKey, ReadCapacity: x.Throughput.Read, WriteCapacity: x.Throughput.Write,
		OnDemandMaxRead: x.OnDemandMax.Read, OnDemandMaxWrite: x.OnDemandMax.Write, WarmRead: x.Warm.Read, WarmWrite: x.Warm.Write}
	for _, a := range x.Partition {
		d.Partition = append(d.Partition, keyDocument{a.Name, a.Type.String()})
	}
	for _, a := range x.Sort {
		d.Sort = append(d.Sort, keyDocument{a.Name, a.Type.String()})
	}
	return d
}

func (d *indexDocument) index() Index {
	x := Index{ID: d.ID, Name: d.Name, Local: d.Local, Projection: d.Projection, NonKey: d.NonKey, Throughput: Throughput{Read: d.ReadCapacity, Write: d.WriteCapacity},
		OnDemandMax: Throughput{Read: d.OnDemandMaxRead, Write: d.OnDemandMaxWrite}, Warm: Throughput{Read: d.WarmRead, Write: d.WarmWrite}}
	for _, k := range d.Partition {
		x.Partition = append(x.Partition, k.attribute())
	}
	for _, k := range d.Sort {
		x.Sort = append(x.Sort, k.attribute())
	}
	return x
}

// MarshalJSON returns the form that x has in a table's document.
func (x Index) MarshalJSON() ([]byte, error) { return json.Marshal(x.document()) }

// UnmarshalJSON is the inverse of MarshalJSON. Fields that are not known are refused.
func (x *Index) UnmarshalJSON(b []byte) error {
	var d indexDocument
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&d); err != nil {
		return err
	}
	*x = d.index()
	return nil
}

func (k keyDocument) attribute() KeyAttribute {
	typ, _ := item.ParseType(k.Type) // zero is refused by Validate
	return KeyAttribute{Name: k.Name, Type: typ}
}

func (o *Own) document() *ownDocument {
	if o == nil {
		return nil
	}
	d := &ownDocument{DeletionProtection: o.DeletionProtection, Disassociable: o.Disassociable, Class: o.Class, readDocument: readDocument(o.ReadUnits), Tags: o.Tags}
	for id, units := range o.Indexes {
		if d.Indexes == nil {
			d.Indexes = make(map[IndexID]readDocument, len(o.Indexes))
		}
		d.Indexes[id] = readDocument(units)
	}
	return d
}

func (d *ownDocument) own() *Own {
	if d == nil {
		return nil
	}
	o := &Own{DeletionProtection: d.DeletionProtection, Disassociable: d.Disassociable, Class: d.Class, ReadUnits: ReadUnits(d.readDocument), Tags: d.Tags}
	for id, units := range d.Indexes {
		if o.Indexes == nil {
			o.Indexes = make(map[IndexID]ReadUnits, len(d.Indexes))
		}
		o.Indexes[id] = ReadUnits(units)
	}
	return o
}
