package repair

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/globaltable/locality"
)

// The states of a replica in a Report.
const (
	Converged   = "converged"
	InFlight    = "in flight"    // what differs is on its way
	Diverged    = "diverged"     // see ReplicaReport
	NotCompared = "not compared" // see Detail
)

// maxReportedKeys bounds the keys named in a report, per replica.
const maxReportedKeys = 100

// Report is how this region's replica of a table compares with the others'.
type Report struct {
	Table    string          `json:"table"`
	ID       string          `json:"id"`
	State    string          `json:"state"` // the worst of the replicas', see Worse
	Items    uint64          `json:"items"` // live items that were compared, here
	Replicas []ReplicaReport `json:"replicas"`
}

// ReplicaReport is how one replica compares.
type ReplicaReport struct {
	Region  string `json:"region"`
	State   string `json:"state"`
	Detail  string `json:"detail,omitempty"`
	Buckets int    `json:"buckets"` // of 1024, that have diverged
	Keys    int    `json:"keys"`    // that have diverged
	// Hashes name at most 100 of those keys: the first 8 bytes of SHA-256 over table id and key, in hexadecimal.
	Hashes   []string `json:"hashes,omitempty"`
	InFlight int      `json:"inFlight"`           // keys that differ because of what is on its way
	Repaired int      `json:"repaired,omitempty"` // keys that had diverged before a repair

	buckets []int
	items   uint64
}

// Comparing asks other regions.
type Comparing interface {
	Peers
	// Digests asks a region what it has in some buckets.
	Digests(ctx context.Context, region string, r *DigestsRequest) (*Digests, error)
	// Repair has a region take this one's records of some buckets. There, HandleRepair answers.
	Repair(ctx context.Context, region string, r *RepairRequest) error
}

// Verifier compares this region's replicas with those of the others (PROTOCOL.md section 6). It keeps nothing.
type Verifier struct {
	server   *Server
	peers    Comparing
	store    Healed
	patience time.Duration
	turn     *turn // one comparison runs at a time: each reads whole tables
}

// NewVerifier returns a Verifier of the region of server. What is in flight is looked at again for as long as patience; zero means 10 s.
func NewVerifier(server *Server, peers Comparing, store Healed, patience time.Duration) *Verifier {
	return &Verifier{server: server, peers: peers, store: store, patience: cmp.Or(patience, 10*time.Second), turn: newTurn()}
}

// pause is between two looks at what is in flight, or out of reach.
const pause = 200 * time.Millisecond

// Verify compares the table with each of its other active replicas. The error is of kind InUse while another comparison runs, NotFound when the table is not active
// here; what is wrong with a replica is in the report.
func (v *Verifier) Verify(ctx context.Context, id globaltable.TableID) (*Report, error) {
	end, err := v.turn.ask(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	return v.verify(ctx, id)
}

func (v *Verifier) verify(ctx context.Context, id globaltable.TableID) (*Report, error) {
	t, others, err := v.table(id)
	if err != nil {
		return nil, err
	}
	out := &Report{Table: t.Name, ID: t.ID.String(), State: Converged, Replicas: make([]ReplicaReport, len(others))}
	var g errgroup.Group
	for i, d := range others {
		g.Go(func() error {
			out.Replicas[i] = v.replica(ctx, t, d)
			return nil
		})
	}
	_ = g.Wait() // its functions return nil
	for _, r := range out.Replicas {
		out.Items = max(out.Items, r.items)
		out.State = Worse(out.State, r.State)
	}
	return out, ctx.Err()
}

// Worse returns the worse of two states: diverged, then not compared, in flight, converged.
func Worse(a, b string) string {
	for _, s := range []string{Diverged, NotCompared, InFlight} {
		if a == s || b == s {
			return s
		}
	}
	return Converged
}

// table returns the table's document and where its other active replicas are.
func (v *Verifier) table(id globaltable.TableID) (*globaltable.Table, []globaltable.Descriptor, error) {
	view := v.server.catalog.View()
	t, known := view.Table(id)
	self := view.Self().Origin
	active := func(r *globaltable.Replica) bool {
		return r != nil && (r.Status == globaltable.Active || r.Status == globaltable.Updating)
	}
	if !known || !active(t.Replica(self)) {
		return nil, nil, &globaltable.Error{Op: "verify", Resource: id.String(), Kind: globaltable.NotFound, Message: "the table has no active replica in this region"}
	}
	var others []globaltable.Descriptor
	for i := range t.Replicas {
		if r := &t.Replicas[i]; r.Origin != self && active(r) {
			others = append(others, globaltable.Descriptor{Name: r.Region, Origin: r.Origin})
		}
	}
	return t, others, nil
}

// replica compares with one region. One out of reach, or that has not got the newest version of the table's document yet, is asked again for a while.
func (v *Verifier) replica(ctx context.Context, t *globaltable.Table, d globaltable.Descriptor) ReplicaReport {
	var report ReplicaReport
	var err error
	for deadline := time.Now().Add(v.patience); ; {
		report = ReplicaReport{Region: d.Name}
		c := &comparison{v: v, table: t, region: d, report: &report}
		if err = c.run(ctx); err == nil || globaltable.KindOf(err) != globaltable.Unavailable || time.Now().After(deadline) || !sleep(ctx) {
			break
		}
		if now, known := v.server.catalog.View().Table(t.ID); known {
			t = now
		}
	}
	switch {
	case err != nil:
		report.State, report.Detail = NotCompared, reason(err)
	case report.Keys > 0:
		report.State = Diverged
	case report.InFlight > 0:
		report.State = InFlight
	default:
		report.State = Converged
	}
	return report
}

// reason says why something was not compared.
func reason(err error) string {
	var known *globaltable.Error
	if errors.As(err, &known) && known.Message != "" {
		return known.Message
	}
	return err.Error()
}

// comparison is one with one region. Buckets are compared in three steps, each for what differed in the one before: sums of many buckets in one pass; sums of one
// bucket, so that both sides are read at nearly the same moment; records.
type comparison struct {
	v      *Verifier
	table  *globaltable.Table
	region globaltable.Descriptor
	report *ReplicaReport
	// read, where it is set, makes the comparison one in the background: it is called after each reading, with the bytes on the side that read more, and how long both took.
	read func(ctx context.Context, bytes int, took time.Duration) error
}

func (c *comparison) run(ctx context.Context) error {
	var look []int
	for from := 0; from < Buckets; from += rangeBuckets {
		differ, err := c.sums(ctx, from, from+rangeBuckets)
		if err != nil {
			return err
		}
		look = append(look, differ...)
	}
	return c.look(ctx, look)
}

// look looks at buckets that differ until nothing in them waits any more, or patience ends.
func (c *comparison) look(ctx context.Context, buckets []int) error {
	for deadline := time.Now().Add(c.v.patience); ; {
		late := []int{}
		c.report.InFlight = 0
		for _, b := range buckets {
			waits, err := c.bucket(ctx, b)
			if err != nil {
				return err
			}
			if waits > 0 {
				c.report.InFlight += waits
				late = append(late, b)
			}
		}
		if len(late) == 0 || time.Now().After(deadline) {
			return nil
		}
		buckets = late
		if !sleep(ctx) {
			return ctx.Err()
		}
	}
}

// sleep waits for a pause; it returns false when ctx is done.
func sleep(ctx context.Context) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// digests asks both sides about the buckets [from, to).
func (c *comparison) digests(ctx context.Context, from, to int) (here, there *Digests, err error) {
	r := &DigestsRequest{Table: c.table.ID, Version: c.table.Version, From: from, To: to, At: c.v.server.source.Now(), Background: c.read != nil}
	began := time.Now()
	g, both := errgroup.WithContext(ctx)
	if r.Background {
		g.SetLimit(1) // the other side may refuse: it is asked first
	}
	g.Go(func() (err error) {
		if there, err = c.v.peers.Digests(both, c.region.Name, r); err == nil {
			err = there.check(r)
		}
		return err
	})
	g.Go(func() (err error) {
		own := *r
		own.Background = false // this side bounds itself
		here, err = c.v.server.Digests(both, c.region, &own)
		return err
	})
	if err := g.Wait(); err != nil || c.read == nil {
		return here, there, err
	}
	return here, there, c.read(ctx, int(max(here.Bytes, there.Bytes)), time.Since(began))
}

// sums returns the buckets of [from, to) that differ.
func (c *comparison) sums(ctx context.Context, from, to int) (differ []int, err error) {
	here, there, err := c.digests(ctx, from, to)
	if err != nil {
		return nil, err
	}
	for b := from; b < to; b++ {
		c.report.items += here.bucket(b - from).count
		if here.bucket(b-from) != there.bucket(b-from) {
			differ = append(differ, b)
		}
	}
	return differ, nil
}

// bucket looks closely at one bucket, and returns how many of its keys wait for what is on its way. Keys that have diverged are noted, and a bucket that has some is not looked at again.
func (c *comparison) bucket(ctx context.Context, b int) (waits int, err error) {
	here, there, err := c.digests(ctx, b, b+1)
	if err != nil || here.bucket(0) == there.bucket(0) {
		return 0, err
	}
	bad := 0
	err = c.records(ctx, b, func(key item.Key, ours, theirs side) error {
		ours.marks, theirs.marks = here.Marks, there.Marks
		found, err := classify(ours, theirs)
		switch found {
		case inFlight:
			waits++
		case diverged:
			bad++
			if len(c.report.Hashes) < maxReportedKeys {
				c.report.Hashes = append(c.report.Hashes, HashOf(c.table.ID, key))
			}
		}
		return err
	})
	if err != nil || bad == 0 {
		return waits, err
	}
	c.report.Keys += bad
	c.report.Buckets++
	c.report.buckets = append(c.report.buckets, b)
	return 0, nil
}

// HashOf names a key in a report. Keys themselves are not shown to those who operate.
func HashOf(table globaltable.TableID, key item.Key) string {
	sum := sha256.Sum256(append(binary.BigEndian.AppendUint64(nil, uint64(table)), key...))
	return hex.EncodeToString(sum[:8])
}

// records calls f with every key of a bucket that either side has, and both sides without their marks. Both sides are read in pages, side by side.
func (c *comparison) records(ctx context.Context, b int, f func(key item.Key, ours, theirs side) error) error {
	r := &Request{Table: c.table.ID, Since: c.table.Version, After: bucketBound(b), Before: bucketBound(b + 1), MaxBytes: 1 << 20}
	self := c.v.server.catalog.View().Self().Origin
	for {
		ours, theirs, err := c.pages(ctx, r)
		if err != nil {
			return err
		}
		upTo, done := common(ours, theirs)
		// After both were read: whatever one of them has erased since its item expired has expired by now.
		now := c.v.server.source.Now()
		err = merged(ours.Records, theirs.Records, upTo, func(key item.Key, a, b []byte) error {
			if !locality.Both(c.table, key, self, c.region.Origin) {
				return nil
			}
			var err error
			if a, err = c.asOf(key, a, now); err != nil {
				return err
			}
			if b, err = c.asOf(key, b, now); err != nil {
				return err
			}
			return f(key, side{record: a, purge: ours.Purge}, side{record: b, purge: theirs.Purge})
		})
		if err != nil || done {
			return err
		}
		r.After = upTo
	}
}

// asOf returns what the record at a key is at a moment.
func (c *comparison) asOf(key item.Key, record []byte, at hlc.Timestamp) ([]byte, error) {
	x, err := c.table.KeySchema.ExpiryOf(c.table.Expiry, key)
	if err != nil {
		return nil, err
	}
	next, expired, err := x.Expire(nil, record, at)
	if err != nil || !expired {
		return record, err
	}
	return next, nil
}

// pages asks both sides for records.
func (c *comparison) pages(ctx context.Context, r *Request) (ours, theirs *Page, err error) {
	began := time.Now()
	encoded, end, err := c.v.server.Answer(ctx, c.v.server.catalog.View().Self(), r)
	if err != nil {
		return nil, nil, err
	}
	if ours, err = DecodePage(r, encoded, end); err != nil {
		return nil, nil, err
	}
	if theirs, err = c.v.peers.Exchange(ctx, c.region.Name, r); err != nil || c.read == nil {
		return ours, theirs, err
	}
	return ours, theirs, c.read(ctx, max(ours.Size(), theirs.Size()), time.Since(began))
}

// common returns the key up to which both pages are complete; done when both are to their end, and upTo is nil then.
func common(a, b *Page) (upTo []byte, done bool) {
	for _, p := range []*Page{a, b} {
		if p.Done {
			continue
		}
		if last := p.upTo(); upTo == nil || bytes.Compare(last, upTo) < 0 {
			upTo = last
		}
	}
	return upTo, upTo == nil
}

// merged walks two sorted lists as one, up to and with the key upTo; nil: to the end.
func merged(a, b []Record, upTo []byte, f func(key item.Key, ours, theirs []byte) error) error {
	for len(a) > 0 || len(b) > 0 {
		order := 0
		switch {
		case len(a) == 0:
			order = 1
		case len(b) == 0:
			order = -1
		default:
			order = bytes.Compare(a[0].Key, b[0].Key)
		}
		var key item.Key
		var ours, theirs []byte
		if order <= 0 {
			key, ours = a[0].Key, a[0].Bytes
		}
		if order >= 0 {
			key, theirs = b[0].Key, b[0].Bytes
		}
		if upTo != nil && bytes.Compare(key, upTo) > 0 {
			return nil
		}
		if err := f(key, ours, theirs); err != nil {
			return err
		}
		if order <= 0 {
			a = a[1:]
		}
		if order >= 0 {
			b = b[1:]
		}
	}
	return nil
}
