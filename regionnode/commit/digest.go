package commit

import (
	"encoding/binary"
	"sync"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode/store"
)

// DigestBuckets is the number of digest buckets of a table. A key's bucket is the top 10 bits of its hash.
const DigestBuckets = 1 << digestBits

const (
	digestBits = 10
	digestLen  = 8 + 8 + 8
)

// Digest sums up one bucket of a table.
type Digest struct {
	Sum   uint64 // of the live records' hashes, modulo 2^64: independent of order
	Count uint64 // live items
	Bytes uint64 // of the live items, as DynamoDB counts an item's size
}

func (d *Digest) add(o Digest) {
	d.Sum += o.Sum
	d.Count += o.Count
	d.Bytes += o.Bytes
}

func (d *Digest) sub(o Digest) {
	d.Sum -= o.Sum
	d.Count -= o.Count
	d.Bytes -= o.Bytes
}

func (d *Digest) appendTo(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, d.Sum)
	dst = binary.BigEndian.AppendUint64(dst, d.Count)
	return binary.BigEndian.AppendUint64(dst, d.Bytes)
}

func decodeDigest(b []byte) (Digest, error) {
	if len(b) != digestLen {
		return Digest{}, errCorruptStore("digest of a wrong length", nil)
	}
	return Digest{
		Sum:   binary.BigEndian.Uint64(b),
		Count: binary.BigEndian.Uint64(b[8:]),
		Bytes: binary.BigEndian.Uint64(b[16:]),
	}, nil
}

// digests holds the digests of the tables in use. The sequencer locks it from the first change of a group to the group's application, so
// that what is read from the engine on a miss is always the newest state.
type digests struct {
	reader store.Reader
	max    int

	mu     sync.Mutex
	tables map[globaltable.TableID]*tableDigests
	group  uint64        // that is being built, or the newest
	dirty  []dirtyBucket // of that group
}

type tableDigests struct {
	buckets [DigestBuckets]Digest
	isDirty [DigestBuckets]bool
	total   Digest
	group   uint64 // the newest group that asked for it
}

type dirtyBucket struct {
	id     globaltable.TableID
	table  *tableDigests
	bucket int
}

func newDigests(reader store.Reader, maxTables int) *digests {
	return &digests{reader: reader, max: maxTables, tables: make(map[globaltable.TableID]*tableDigests)}
}

// table returns the digests of a table, read from the engine at a miss. The caller holds mu.
func (d *digests) table(id globaltable.TableID) (*tableDigests, error) {
	if t := d.tables[id]; t != nil {
		t.group = d.group
		return t, nil
	}
	t, err := readDigests(d.reader, id)
	if err != nil {
		return nil, err
	}
	d.makeRoom()
	d.tables[id] = t
	t.group = d.group
	return t, nil
}

// makeRoom drops tables that the present group has not asked for: what is dropped is in the engine, wholly. A group over more tables than the bound exceeds it.
func (d *digests) makeRoom() {
	for id, t := range d.tables {
		if len(d.tables) < d.max {
			return
		}
		if t.group != d.group {
			delete(d.tables, id)
		}
	}
}

// change replaces the part of one key in its bucket. The caller holds mu and has seen table succeed.
func (d *digests) change(id globaltable.TableID, t *tableDigests, bucket int, before, after Digest) {
	if before == after {
		return
	}
	b := &t.buckets[bucket]
	b.sub(before)
	b.add(after)
	t.total.sub(before)
	t.total.add(after)
	if !t.isDirty[bucket] {
		t.isDirty[bucket] = true
		d.dirty = append(d.dirty, dirtyBucket{id, t, bucket})
	}
}

// flush writes the changed buckets into the group's batch. The caller holds mu until the batch is applied.
func (d *digests) flush(b store.Batch, scratch []byte) []byte {
	for _, e := range d.dirty {
		key := store.AppendDigestKey(scratch[:0], e.id, uint16(e.bucket))
		scratch = e.table.buckets[e.bucket].appendTo(key)
		b.Set(scratch[:len(key)], scratch[len(key):])
		e.table.isDirty[e.bucket] = false
	}
	clear(d.dirty)
	d.dirty = d.dirty[:0]
	return scratch
}

// drop forgets a table. The caller holds mu.
func (d *digests) drop(id globaltable.TableID) { delete(d.tables, id) }

// total returns the sums over a whole table.
func (d *digests) total(id globaltable.TableID) (Digest, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	t, err := d.table(id)
	if err != nil {
		return Digest{}, err
	}
	t.group = 0 // a look keeps no table in memory
	return t.total, nil
}

func readDigests(r store.Reader, id globaltable.TableID) (*tableDigests, error) {
	t := new(tableDigests)
	lower, upper := store.DigestRange(id)
	err := store.Each(r, lower, upper, func(key, value []byte) error {
		_, bucket, ok := store.DecodeDigestKey(key)
		if !ok || bucket >= DigestBuckets {
			return errCorruptStore("digest key", nil)
		}
		b, err := decodeDigest(value)
		if err != nil {
			return err
		}
		t.buckets[bucket] = b
		t.total.add(b)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return t, nil
}
