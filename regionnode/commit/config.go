package commit

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode/store"
	"github.com/concordat-db/concordat/streams/change"
)

// Config says what a shard works with. Zero limits mean the defaults.
type Config struct {
	Origin  hlc.Origin
	Shard   uint16
	Engine  store.Engine // the shard does not close it
	Clock   *hlc.Clock   // of this shard alone: Open restores it
	Catalog Catalog
	// Relog is Catalog.Place for a write of an earlier time that this region logs anew, and for what it lists as a conflict: also where its own replica is being created. nil: there is no such write.
	Relog  func(table globaltable.TableID, key []byte) (p globaltable.Placement, lane globaltable.LaneID, version globaltable.Version, ok bool)
	Events Events
	Random io.Reader // salts; nil: crypto/rand

	MaxGroupBytes int // changes in one group, about; one larger write has a group of its own. 512 KB
	MaxGroups     int // groups applied and not yet durable; 4
	MaxQueue      int // submissions waiting for the sequencer; 4096
	MaxQueueBytes int // bytes of them; 64 MB
	MaxTables     int // tables whose digests are held in memory, 24 KB each; 256
	MaxTokens     int // tokens that are known at once, about 60 bytes each on disk; 4,194,304

	TransactionWait time.Duration // that a transaction waits for keys which another write has; 2 s
}

const (
	// maxGroupSubmissions bounds the answers that wait for one sync.
	maxGroupSubmissions = 1024
	// maxWriteKeys bounds the keys of one write: DynamoDB's largest transaction has 100.
	maxWriteKeys = 256
	// maxWriteBytes bounds the changes of one write as they are logged, and leaves room in a body for what surrounds them.
	maxWriteBytes = change.MaxBody - 1<<20
	// minKeyLen is the hash of the partition key, and at least one byte of it.
	minKeyLen = 9
	// maxKeyLen is a bound against nonsense: real keys end at 3 KB, doubled by escapes at worst.
	maxKeyLen = 16 << 10
)

// Validate reports all faults at once.
func (c *Config) Validate() error {
	var errs []error
	if c.Origin == 0 {
		errs = append(errs, errors.New("commit: no origin"))
	}
	if c.Engine == nil {
		errs = append(errs, errors.New("commit: no engine"))
	}
	if c.Clock == nil {
		errs = append(errs, errors.New("commit: no clock"))
	}
	if c.Catalog == nil {
		errs = append(errs, errors.New("commit: no catalog"))
	}
	for _, l := range c.limits() {
		if *l.value < 0 {
			errs = append(errs, fmt.Errorf("commit: %s is negative", l.name))
		}
	}
	if c.TransactionWait < 0 {
		errs = append(errs, errors.New("commit: TransactionWait is negative"))
	}
	if c.MaxGroupBytes > change.MaxBody/2 {
		errs = append(errs, fmt.Errorf("commit: MaxGroupBytes is above %d", change.MaxBody/2))
	}
	return errors.Join(errs...)
}

type limit struct {
	name  string
	value *int
	def   int
}

func (c *Config) limits() []limit {
	return []limit{
		{"MaxGroupBytes", &c.MaxGroupBytes, 512 << 10},
		{"MaxGroups", &c.MaxGroups, 4},
		{"MaxQueue", &c.MaxQueue, 4096},
		{"MaxQueueBytes", &c.MaxQueueBytes, 64 << 20},
		{"MaxTables", &c.MaxTables, 256},
		{"MaxTokens", &c.MaxTokens, 4 << 20},
	}
}

// withDefaults returns c with the defaults filled in.
func (c Config) withDefaults() Config {
	for _, l := range c.limits() {
		if *l.value == 0 {
			*l.value = l.def
		}
	}
	if c.TransactionWait == 0 {
		c.TransactionWait = 2 * time.Second
	}
	if c.Relog == nil {
		c.Relog = func(globaltable.TableID, []byte) (globaltable.Placement, globaltable.LaneID, globaltable.Version, bool) {
			return nil, 0, 0, false
		}
	}
	if c.Random == nil {
		c.Random = rand.Reader
	}
	return c
}
