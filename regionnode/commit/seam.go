package commit

import (
	"context"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/store"
	"github.com/concordat-db/concordat/streams/change"
	"io"
)

// Config says what a shard works with. Zero limits mean the defaults.
type Config struct {
	Origin  hlc.Origin
	Shard   uint16
	Engine  store.Engine // the shard does not close it
	Clock   *hlc.Clock
	Catalog Catalog
	Floor   func(globaltable.TableID) hlc.Timestamp // the purge frontier P of a table; nil: zero for all
	Events  Events
	Random  io.Reader // salts; crypto/rand.Reader in production

	MaxGroupBytes int // a lane's body in one group, one oversize write aside; 512 KB
	MaxGroups     int // groups applied and not yet durable; 4
	MaxQueue      int // submissions waiting for the sequencer; 4096
	MaxQueueBytes int // bytes of them; 64 MB
}

// Validate reports all faults at once.
func (c *Config) Validate() error { panic("unfinished") }

// Shard is the one door into a store.
type Shard struct{}

// Open reads the shard's state, makes an identity in a new store, and moves the clock past every stamp the store may hold. It starts nothing.
func Open(Config) (*Shard, error) { panic("unfinished") }

// Run owns the sequencer and the syncer. It returns when ctx is done and everything taken has been answered, with nil, or when the store has failed.
func (s *Shard) Run(ctx context.Context) error { panic("unfinished") }

// Write does w. It returns when the write is durable; for any error but one of kind Unknown nothing was written.
// When ctx ends early the kind is Unavailable if nothing was done, else Unknown.
func (s *Shard) Write(ctx context.Context, w *Write) error { panic("unfinished") }

// Get calls f with the newest state of key, a view, and returns when what f has seen is durable. f's error is returned.
func (s *Shard) Get(ctx context.Context, key Key, f func(Current) error) error { panic("unfinished") }

// Scan calls f with the live items of table with keys in (from, to), in key order, as of one moment, until f returns false. A nil from is the first key, a nil to
// the end. It returns when everything f has seen is durable: f's caller must answer nobody before.
func (s *Shard) Scan(ctx context.Context, table globaltable.TableID, from, to item.Key, f func(key item.Key, current Current) (more bool)) error {
	panic("unfinished")
}

// ApplyRemote merges a peer's entries and stores the position with them, exactly once: a position that does not follow the stored one is refused with a
// *PositionError. It returns when everything is durable.
func (s *Shard) ApplyRemote(ctx context.Context, r *Remote) (RemoteResult, error) {
	panic("unfinished")
}

// MergeRecords merges whole records that came another way than a lane.
func (s *Shard) MergeRecords(ctx context.Context, records []RecordAt) error { panic("unfinished") }

// Heads samples the log's heads and the clock at one moment between groups. It returns when all of it is durable.
func (s *Shard) Heads(ctx context.Context) (Heads, error) { panic("unfinished") }

// ReadLog returns durable entries of a lane beginning with sequence from, until their bodies reach maxBytes, at least one if there is one. It returns ErrTrimmed
// when from is gone.
func (s *Shard) ReadLog(lane globaltable.LaneID, from uint64, maxBytes int) ([]change.Entry, error) {
	panic("unfinished")
}

// Trim drops a lane's entries up to and with upTo, but never the newest one: head and chain survive in it.
func (s *Shard) Trim(ctx context.Context, lane globaltable.LaneID, upTo uint64) error {
	panic("unfinished")
}

// Position returns the durable position in a lane of another region's shard; zero if there is none. src.Incarnation is ignored.
func (s *Shard) Position(src change.Source) globaltable.Position { panic("unfinished") }

// Positions returns all durable positions, sorted by origin, shard and lane.
func (s *Shard) Positions() []PositionAt { panic("unfinished") }

// Incarnation returns this store's incarnation.
func (s *Shard) Incarnation() globaltable.Incarnation { panic("unfinished") }

// Revoke declares inc and every earlier incarnation of origin dead, durably.
func (s *Shard) Revoke(ctx context.Context, origin hlc.Origin, inc globaltable.Incarnation) error {
	panic("unfinished")
}

// Revoked returns the greatest dead incarnation of origin, zero if there is none.
func (s *Shard) Revoked(origin hlc.Origin) globaltable.Incarnation { panic("unfinished") }

// ConfirmPeer notes that peer has durably applied a lane up to and with seq. It is stored with a later group; a crash may forget it.
func (s *Shard) ConfirmPeer(peer hlc.Origin, lane globaltable.LaneID, seq uint64) {
	panic("unfinished")
}

// Confirmations returns what peers have confirmed, sorted by lane and peer.
func (s *Shard) Confirmations() []Confirmation { panic("unfinished") }

// Refuse makes client writes fail with err until Allow is called with the same reason. Remote changes and reads go on.
func (s *Shard) Refuse(reason string, err error) { panic("unfinished") }

// Allow ends a refusal. It is no error if there is none.
func (s *Shard) Allow(reason string) { panic("unfinished") }

// Count returns the live items of a table and their bytes, as applied.
func (s *Shard) Count(table globaltable.TableID) (items, bytes int64, err error) { panic("unfinished") }

// Digests returns the table's digests as of one moment, all of it durable.
func (s *Shard) Digests(ctx context.Context, table globaltable.TableID) (*[DigestBuckets]Digest, error) {
	panic("unfinished")
}

// DropTable erases all records and digests of a table. The catalog in force must not have the table any more.
func (s *Shard) DropTable(ctx context.Context, table globaltable.TableID) error { panic("unfinished") }

// LogBytes returns about how many bytes of entries a lane has.
func (s *Shard) LogBytes(lane globaltable.LaneID) int64 { panic("unfinished") }
