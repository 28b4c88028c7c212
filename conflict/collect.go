package conflict

import (
	"slices"

	"github.com/concordat-db/concordat/conflict/hlc"
)

// Garbage returns the least purge frontier P at which something of an encoded record goes (see Collect). ok is false when nothing of it ever does: it is a live
// item without a removed attribute, or no record at all. For a live item in uniform form, which is what most writes leave, it looks at two bytes.
func Garbage(encoded []byte) (at hlc.Timestamp, ok bool, err error) {
	if len(encoded) == 0 || len(encoded) > 1 && encoded[0] == recordVersion && encoded[1]&(recordGeneral|recordLive) == recordLive {
		return 0, false, nil
	}
	h, err := readHead(encoded)
	if err != nil {
		return 0, false, err
	}
	if h.uniform {
		return h.write.Stamp.Time, true, nil
	}
	return h.garbage()
}

// garbage is Garbage for the general form. It builds no cells.
func (h *head) garbage() (at hlc.Timestamp, ok bool, err error) {
	r := reader{b: h.body}
	used := make([]bool, len(h.writes))
	if i := r.uvarint(); i > 0 && i <= uint64(len(h.writes)) {
		at = h.writes[i-1].Stamp.Time // of a tombstone without a cell
	}
	live := false
	for range r.count(minCellLen) {
		c := r.cell(h.writes, used)
		if r.kind != nil {
			return 0, false, r.err("read record")
		}
		switch {
		case !c.Removed:
			live = true
		case !ok || c.Stamp.Time < at:
			at, ok = c.Stamp.Time, true
		}
	}
	if err := r.err("read record"); err != nil {
		return 0, false, err
	}
	return at, ok || !live, nil
}

// Collectable reports whether nothing is left of an encoded record that is collected at the purge frontier p. It decodes only records of deleted items.
func Collectable(encoded []byte, p hlc.Timestamp) (bool, error) {
	at, ok, err := Garbage(encoded)
	if err != nil || !ok || at > p {
		return false, err
	}
	if h, err := readHead(encoded); err != nil || h.live {
		return false, err
	}
	_, gone, _, err := Collect(nil, encoded, p)
	return gone, err
}

// Collect drops what nobody can need any more when the purge frontier of the record's table is p: nothing that has not been merged in every replica is at or below p, and
// nothing is on its way that was written by a region which had not merged all of that (PROTOCOL.md section 4).
//
//   - The removal of an attribute goes when its stamp is at or below p: no older value of it arrives any more.
//   - A record without a live cell goes, vector and all, when no cell is left and its reset is at or below p.
//   - All else stays. The reset of a live item is the stamp of its cells, or hides them; entries of the vector, contexts and floors are dropped by local
//     writes only, which tell the peers their floor.
//
// What is left has the same canonical bytes, and so has its join with whatever is above p, in whatever order replicas collect. gone is true when nothing is left. changed
// is true when next, the record with less in it, was appended to dst, which does not overlap encoded. Otherwise nothing was appended.
func Collect(dst, encoded []byte, p hlc.Timestamp) (next []byte, gone, changed bool, err error) {
	at, ok, err := Garbage(encoded)
	if err != nil || !ok || at > p {
		return dst, false, false, err
	}
	r, err := DecodeRecord(encoded)
	if err != nil {
		return dst, false, false, err
	}
	n := len(r.Cells)
	r.Cells = slices.DeleteFunc(r.Cells, func(c Cell) bool { return c.Removed && c.Stamp.Time <= p })
	if len(r.Cells) == 0 && r.Reset.Stamp.Time <= p {
		return dst, true, false, nil
	}
	if len(r.Cells) == n {
		return dst, false, false, nil
	}
	return AppendRecord(dst, &r), false, true, nil
}
