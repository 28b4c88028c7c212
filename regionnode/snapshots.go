package regionnode

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/globaltable/locality"
	"github.com/concordat-db/concordat/regionnode/admin"
	"github.com/concordat-db/concordat/regionnode/commit"
	"github.com/concordat-db/concordat/streams/cdc"
)

const (
	// maxSnapshots bounds the snapshots that are open: while they are, the store keeps what was erased since.
	maxSnapshots    = 4
	snapshotIdle    = 10 * time.Minute
	maxSnapshotPage = 4 << 20 // bytes of items in a page, the last one aside
	maxSnapshotSeen = 10_000  // items that a page looks at
	opSnapshot      = "read snapshot"
)

// snapshots are those that the node has opened for who exports tables: admin.Snapshots.
type snapshots struct {
	n     *Node
	mu    sync.Mutex
	open  map[string]*snapshot
	ended bool // none is opened any more: the store is about to be closed
}

// snapshot is one that is open.
type snapshot struct {
	table       globaltable.TableID
	destination string

	mu     sync.Mutex // one page at a time; held to close
	snap   *commit.Snapshot
	closed bool
	read   time.Time // last
}

func newSnapshots(n *Node) *snapshots { return &snapshots{n: n, open: map[string]*snapshot{}} }

// Run closes what is not read any more, and all when ctx is done.
func (s *snapshots) Run(ctx context.Context) error {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			s.mu.Lock()
			s.ended = true
			s.mu.Unlock()
			return s.closeIf(func(*snapshot) bool { return true })
		case now := <-tick.C:
			if err := s.closeIf(func(x *snapshot) bool { return now.Sub(x.lastRead()) > snapshotIdle }); err != nil {
				return err
			}
		}
	}
}

// Scrub closes all snapshots, which have what is to be gone from files, and rewrites these: placing.Disk.
func (s *snapshots) Scrub(ctx context.Context) error {
	if err := s.closeIf(func(*snapshot) bool { return true }); err != nil {
		return err
	}
	return s.n.engine.Scrub(ctx)
}

func (s *snapshots) closeIf(f func(*snapshot) bool) (err error) {
	s.mu.Lock()
	var closing []*snapshot
	for id, x := range s.open {
		if f(x) {
			closing = append(closing, x)
			delete(s.open, id)
		}
	}
	s.mu.Unlock()
	for _, x := range closing {
		if cerr := x.close(); err == nil {
			err = cerr
		}
	}
	return err
}

func (x *snapshot) lastRead() time.Time {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.read
}

func (x *snapshot) close() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return nil
	}
	x.closed = true
	return x.snap.Close()
}

// Open implements admin.Snapshots.
func (s *snapshots) Open(ctx context.Context, table, destination string) (admin.Snapshot, error) {
	if err := s.n.serves(); err != nil {
		return admin.Snapshot{}, err
	}
	t, ok := s.n.catalog.View().Lookup(table)
	if !ok || locality.Decide(t, nil, s.n.cfg.Region.Origin, locality.Admit) != locality.Permit {
		return admin.Snapshot{}, catalog.NotFound(opSnapshot, table)
	}
	items, _, err := s.n.shard.Count(t.ID)
	if err != nil {
		return admin.Snapshot{}, err
	}
	snap, err := s.n.shard.OpenSnapshot(ctx)
	if err != nil {
		return admin.Snapshot{}, err
	}
	id := newSnapshotID()
	if err := s.keep(id, &snapshot{table: t.ID, destination: destination, snap: snap, read: time.Now()}); err != nil {
		return admin.Snapshot{}, errors.Join(err, snap.Close())
	}
	_, stream := t.StreamIn(s.n.cfg.Region.Origin)
	return admin.Snapshot{ID: id, Table: t.Name, TableID: t.ID.String(), Region: s.n.cfg.Region.Name, Sequence: cdc.Sequence(snap.At()),
		Time: snap.At().Time().Format(time.RFC3339Nano), Stream: stream, Items: items, Destination: destination}, nil
}

// keep adds a snapshot to those that are open, if there is room.
func (s *snapshots) keep(id string, x *snapshot) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ended:
		return &globaltable.Error{Op: opSnapshot, Kind: globaltable.Unavailable, Message: "the node is stopping"}
	case len(s.open) >= maxSnapshots:
		return &globaltable.Error{Op: opSnapshot, Kind: globaltable.LimitExceeded, Message: "there are as many snapshots open as there may be; one that is not read is closed after " + snapshotIdle.String()}
	}
	s.open[id] = x
	return nil
}

func newSnapshotID() string {
	var b [12]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand
	return hex.EncodeToString(b[:])
}

// find returns an open snapshot.
func (s *snapshots) find(id string) (*snapshot, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x := s.open[id]; x != nil {
		return x, nil
	}
	return nil, noSnapshot(id)
}

func noSnapshot(id string) error {
	return &globaltable.Error{Op: opSnapshot, Resource: id, Kind: globaltable.NotFound, Message: "there is no such snapshot: it was closed, not read for " + snapshotIdle.String() + ", or the region has started anew, or is erasing what policies forbid"}
}

// Read implements admin.Snapshots.
func (s *snapshots) Read(ctx context.Context, id string, after []byte, limit int) (admin.SnapshotPage, error) {
	x, err := s.find(id)
	if err != nil {
		return admin.SnapshotPage{}, err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	t, ok := s.n.catalog.View().Table(x.table)
	if x.closed || !ok {
		return admin.SnapshotPage{}, noSnapshot(id)
	}
	out := admin.SnapshotPage{Items: []admin.SnapshotItem{}}
	r := commit.Range{Table: x.table}
	if len(after) > 0 {
		r.Lower = item.Key(slices.Clone(after)).Next()
	}
	var last item.Key
	size, seen, failed := 0, 0, error(nil)
	err = x.snap.Walk(ctx, r, func(key item.Key, c commit.Current) bool {
		if seen++; len(out.Items) == limit || size >= maxSnapshotPage || seen > maxSnapshotSeen {
			out.Next = base64.RawURLEncoding.EncodeToString(last)
			return false
		}
		last = append(last[:0], key...)
		if !locality.MayExport(t, key, x.destination) {
			out.Withheld++
			return true
		}
		var it admin.SnapshotItem
		if it, failed = snapshotItem(t, key, c.Item); failed != nil {
			return false
		}
		size += len(it.Item)
		out.Items = append(out.Items, it)
		return true
	})
	x.read = time.Now()
	return out, errors.Join(err, failed)
}

func snapshotItem(t *globaltable.Table, key item.Key, it item.Item) (admin.SnapshotItem, error) {
	keys, err := t.KeySchema.AppendItem(nil, key)
	if err != nil {
		return admin.SnapshotItem{}, err
	}
	return admin.SnapshotItem{Keys: keys.AppendJSON(nil), Item: it.AppendJSON(nil)}, nil
}

// Close implements admin.Snapshots.
func (s *snapshots) Close(id string) error {
	x, err := s.find(id)
	if err != nil {
		return err
	}
	s.mu.Lock()
	delete(s.open, id)
	s.mu.Unlock()
	return x.close()
}
