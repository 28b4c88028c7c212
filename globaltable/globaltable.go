// Package globaltable has the nouns: regions, tables, placements, lanes. It is pure: no I/O, no goroutine, no clock.
package globaltable

import (
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"

	"github.com/cespare/xxhash/v2"

	"github.com/concordat-db/concordat/conflict/hlc"
)

// TableID identifies a table for ever, over all regions: the milliseconds of its creation in the upper 48 bits, the
// number of the region that created it in the lower 16. It is never reused.
type TableID uint64

// SystemTable is the table of the catalog's documents. It is present in every region.
const SystemTable TableID = 1

// NewTableID returns the id of a table created by origin at t. The caller makes sure that t's millisecond is later than that
// of any table that origin created before.
func NewTableID(t hlc.Timestamp, origin hlc.Origin) TableID {
	return TableID(uint64(t)&^0xffff | uint64(origin))
}

// feedBit is in no id that NewTableID makes before the year 6429.
const feedBit TableID = 1 << 63

// Feed returns the id of the table's conflict feed: a table of its own in the store and in every comparison, with the table's replicas and its versions, which belongs to the table and has no document. See package feed.
func (id TableID) Feed() TableID { return id | feedBit }

// IsFeed reports whether id is that of a conflict feed.
func (id TableID) IsFeed() bool { return id&feedBit != 0 }

// Base returns the id of the table that a conflict feed belongs to; of any other id, itself.
func (id TableID) Base() TableID { return id &^ feedBit }

// String returns the id as 16 hexadecimal digits.
func (id TableID) String() string { return fmt.Sprintf("%016x", uint64(id)) }

// ParseTableID is the inverse of String.
func ParseTableID(s string) (TableID, error) {
	n, err := strconv.ParseUint(s, 16, 64)
	if err != nil || len(s) != 16 {
		return 0, &Error{Op: "parse table id", Resource: s, Kind: Invalid}
	}
	return TableID(n), nil
}

// Version numbers the states of one catalog document: the owner's epoch in the upper 24 bits, a number that rises by
// one in the lower 40. Versions of one document are totally ordered as integers. Zero is before the first.
type Version uint64

const versionNumberBits = 40

// MakeVersion returns the version of the epoch and number given.
func MakeVersion(epoch uint32, number uint64) Version {
	return Version(uint64(epoch)<<versionNumberBits | number&(1<<versionNumberBits-1))
}

// Epoch returns the owner's epoch.
func (v Version) Epoch() uint32 { return uint32(v >> versionNumberBits) }

// Number returns the number within all epochs.
func (v Version) Number() uint64 { return uint64(v) & (1<<versionNumberBits - 1) }

func (v Version) String() string { return fmt.Sprintf("%d.%d", v.Epoch(), v.Number()) }

// Placement is a set of regions in which an item may exist: origins sorted ascending, without duplicates. It is immutable.
type Placement []hlc.Origin

// NewPlacement sorts and deduplicates.
func NewPlacement(origins ...hlc.Origin) Placement {
	p := slices.Clone(origins)
	slices.Sort(p)
	return slices.Compact(p)
}

// Has reports whether o is a member.
func (p Placement) Has(o hlc.Origin) bool { return slices.Contains(p, o) }

// Peers returns the members but self.
func (p Placement) Peers(self hlc.Origin) []hlc.Origin {
	var out []hlc.Origin
	for _, o := range p {
		if o != self {
			out = append(out, o)
		}
	}
	return out
}

// LaneID identifies a placement's sequences of changes. The same set of regions has the same id in every region.
type LaneID uint64

// CatalogLane is the lane of the system table, whose placement is every region, whoever joins.
const CatalogLane LaneID = 1

// Lane returns the id of the placement's lane: a hash of its members, never CatalogLane and never zero.
func (p Placement) Lane() LaneID {
	b := make([]byte, 0, 64)
	for _, o := range p {
		b = binary.BigEndian.AppendUint16(b, uint16(o))
	}
	id := LaneID(xxhash.Sum64(b))
	if id <= CatalogLane {
		id += 2
	}
	return id
}

// String returns the id as 16 hexadecimal digits.
func (id LaneID) String() string { return fmt.Sprintf("%016x", uint64(id)) }

// Lane is one placement's sequence of changes as an origin keeps it.
type Lane struct {
	ID        LaneID
	Placement Placement // for CatalogLane: all regions known
}

// CompareLanes orders by id.
func CompareLanes(a, b Lane) int { return cmp.Compare(a.ID, b.ID) }

// Incarnation identifies a life of a region's store: the time at which it was made. Later ones are greater. Zero is none.
type Incarnation uint64

// Position says how far an origin's lane was applied: everything up to and with Seq, whose chain is Chain.
type Position struct {
	Incarnation Incarnation
	Seq         uint64 // 0: nothing yet
	Chain       Chain
}

// Chain is chain_n = H(chain_n-1, seq, H(body)) with SHA-256: the fingerprint of a lane up to one entry. Zero before
// the first entry.
type Chain [32]byte

// MarshalText returns the chain in hexadecimal.
func (c Chain) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, c[:]), nil }

// UnmarshalText is the inverse of MarshalText.
func (c *Chain) UnmarshalText(b []byte) error {
	if len(b) != 2*len(c) {
		return &Error{Op: "parse chain", Kind: Invalid}
	}
	if _, err := hex.Decode(c[:], b); err != nil {
		return &Error{Op: "parse chain", Kind: Invalid, Err: err}
	}
	return nil
}
