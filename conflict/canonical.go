package conflict

import (
	"encoding/binary"

	"github.com/cespare/xxhash/v2"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable/item"
)

// The canonical bytes of a live record are what two replicas must agree on, and nothing that one may have collected before the
// other (PROTOCOL.md section 6 rule 1): without reset, vector, contexts and removals.
//
//	count ‖ (name (bytes) ‖ stamp ‖ value (bytes))*, live cells by name, the presence first
//
// What later versions merge (remainders of counters, live elements) follows as sections, so that records without them keep
// their digests.

// AppendCanonical appends the canonical bytes of an encoded record to dst; nothing if the item does not exist.
func AppendCanonical(dst, encoded []byte) ([]byte, error) {
	n := len(dst)
	err := eachLive(encoded,
		func(count int) { dst = binary.AppendUvarint(dst, uint64(count)) },
		func(name []byte, s hlc.Stamp, v item.Value) {
			dst = appendBytes(dst, name)
			dst = s.Append(dst)
			dst = appendBytes(dst, v)
		})
	if err != nil {
		return dst[:n], err
	}
	return dst, nil
}

// Digest returns a record's part in the digest of its bucket: xxhash64 over length and bytes of the key, then the canonical
// bytes. live is false, and the sum zero, if the item does not exist: a tombstone adds nothing.
func Digest(key, encoded []byte) (sum uint64, live bool, err error) {
	var d xxhash.Digest
	d.Reset()
	var buf [2*binary.MaxVarintLen64 + hlc.StampLen]byte
	err = eachLive(encoded,
		func(count int) {
			live = true
			d.Write(binary.AppendUvarint(buf[:0], uint64(len(key))))
			d.Write(key)
			d.Write(binary.AppendUvarint(buf[:0], uint64(count)))
		},
		func(name []byte, s hlc.Stamp, v item.Value) {
			d.Write(binary.AppendUvarint(buf[:0], uint64(len(name))))
			d.Write(name)
			d.Write(binary.AppendUvarint(s.Append(buf[:0]), uint64(len(v))))
			d.Write(v)
		})
	if err != nil || !live {
		return 0, false, err
	}
	return d.Sum64(), true, nil
}

// eachLive calls begin with the number of live cells, the presence included, and each with every one, in order. It calls neither
// if the item does not exist.
func eachLive(encoded []byte, begin func(count int), each func(name []byte, s hlc.Stamp, v item.Value)) error {
	if len(encoded) == 0 {
		return nil
	}
	h, err := readHead(encoded)
	if err != nil {
		return err
	}
	if h.uniform {
		if h.live {
			it := item.Item(h.body)
			begin(it.Len() + 1)
			each(nil, h.write.Stamp, nil)
			it.Each(func(name []byte, v item.Value) bool {
				each(name, h.write.Stamp, v)
				return true
			})
		}
		return nil
	}
	r, err := decodeGeneral(h)
	if err != nil || !r.Live() {
		return err
	}
	count := 0
	for i := range r.Cells {
		if !r.Cells[i].Removed {
			count++
		}
	}
	begin(count)
	for i := range r.Cells {
		if c := &r.Cells[i]; !c.Removed {
			each(c.Name, c.Stamp, c.Value)
		}
	}
	return nil
}
