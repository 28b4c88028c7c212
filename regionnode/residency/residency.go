// Package residency goes through all that a region keeps and says of each piece of an item whether it may be there.
//
// It asks the one function that decides everywhere else, locality.Decide, but nothing else of what enforces policies: it reads the keys of the store itself, whoever has written them, and what is in the streams. What it goes through:
//
//	records        of tables and of their conflict feeds, deleted items' included; the entries of their indexes; what is noted for collection
//	own log        each change of each entry that is not void, for this region and for each other member of the entry's lane, who can read it
//	saved          what a rebuilding keeps: records, and writes of the region's own log
//	change streams what is told of items, and what of it triggers could not deliver
//	streams        the messages of all lanes' streams that there are in this region's NATS, those of an earlier store too
//	events         those of change streams in its NATS
//
// Not attributed to items: files. What the store's engine keeps beside what it shows (older versions of keys, until they are compacted away) cannot be told from outside; it is counted (Files). Cursors that a join, an index being built or a
// collection keeps have one key each, of something that was here when they moved.
//
// The scan takes the store page by page, and asks the catalog in force after each page was opened: so a record that has just been allowed is not reported, and one that is not allowed any more is, until it has gone. While policies are being carried out that is so of all that has not been
// handed over yet: Finding.Pending.
package residency

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/globaltable/feed"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/globaltable/locality"
	"github.com/concordat-db/concordat/regionnode/store"
	"github.com/concordat-db/concordat/streams/cdc"
	"github.com/concordat-db/concordat/streams/change"
)

// Where is in what something was found.
type Where string

// The places.
const (
	InRecord  Where = "record"
	InFeed    Where = "conflict"
	InIndex   Where = "index"
	InGarbage Where = "collection"
	InLog     Where = "log"
	InSaved   Where = "saved"
	InStream  Where = "stream"
	InEvents  Where = "event"
	InTold    Where = "change stream"
	InLetter  Where = "dead letter"
)

// Finding is a piece of an item where it may not be.
type Finding struct {
	Table   string `json:"table"`            // id
	Name    string `json:"name,omitempty"`   // of the table, if it is known
	Policy  string `json:"policy,omitempty"` // the one that decides; none: the table is not there, or cannot be known
	Key     string `json:"key"`              // 16 hexadecimal digits of the hash of the table's id and the item's key
	Region  string `json:"region"`           // that may not have it
	Where   Where  `json:"where"`
	Detail  string `json:"detail,omitempty"`
	Pending bool   `json:"pending"` // this region has not carried out the table's policies yet, or is dropping the table: it is known, and under way
}

// Count is what was gone through of the items of one table with one placement.
type Count struct {
	Table         string   `json:"table"`
	Name          string   `json:"name"`
	Policy        string   `json:"policy,omitempty"` // none: items that no policy matches
	Regions       []string `json:"regions"`
	Jurisdictions []string `json:"jurisdictions"`
	Records       uint64   `json:"records"` // deleted items' included, while there is something of them
	Conflicts     uint64   `json:"conflicts"`
	Bytes         uint64   `json:"bytes"`         // of keys and records
	Told          uint64   `json:"streamRecords"` // of change streams
	ToldBytes     uint64   `json:"streamBytes"`   // of their keys and values
}

// Summary is what a scan has gone through and found.
type Summary struct {
	Region   string  `json:"region"`
	Counts   []Count `json:"counts"` // by table and policy
	Entries  uint64  `json:"logEntries"`
	Changes  uint64  `json:"logChanges"`
	Messages uint64  `json:"streamMessages"`
	Events   uint64  `json:"events"`
	Indexed  uint64  `json:"indexEntries"`
	Saved    uint64  `json:"saved"`
	// Left counts changes in the log or in streams of tables that are deleted, or of which a member of the lane has no replica any more: it had them rightly, no policy forbids them there, and they go with the log.
	Left     uint64      `json:"leftInLogs"`
	Findings uint64      `json:"findings"`
	Pending  uint64      `json:"pending"` // of them
	Files    store.Files `json:"files"`
}

// Config says what is gone through.
type Config struct {
	View    func() *catalog.View
	Engine  store.Reader
	Lanes   func() []globaltable.Lane // this region's own
	Streams Streams
	Events  func(ctx context.Context, f func(table globaltable.TableID, position string, event []byte) error) error
	Files   func() (store.Files, error)
	// BytesPerSecond bounds what is read of the store, about; 0: 64 MiB.
	BytesPerSecond int
}

// Streams is this region's NATS: a bus.Home.
type Streams interface {
	Lanes(ctx context.Context) ([]globaltable.LaneID, error)
	ReadLane(ctx context.Context, lane globaltable.LaneID, f func(message []byte) error) error
}

const (
	pageKeys  = 2048
	pageBytes = 4 << 20
)

// Scan goes through all that there is of the table only, zero: of all tables, and calls report with each finding; its error ends the scan.
func Scan(ctx context.Context, cfg Config, only globaltable.TableID, report func(Finding) error) (Summary, error) {
	if cfg.BytesPerSecond == 0 {
		cfg.BytesPerSecond = 64 << 20
	}
	s := &scan{cfg: cfg, only: only, report: report, counts: map[countKey]*Count{}, began: time.Now()}
	v := cfg.View()
	s.self = v.Self()
	s.out = Summary{Region: s.self.Name}
	for _, part := range []func(context.Context) error{s.records, s.garbage, s.entries, s.saved, s.own, s.told, s.letters, s.log, s.streams, s.events} {
		if err := part(ctx); err != nil {
			return s.out, err
		}
	}
	s.out.Counts = s.counted()
	var err error
	s.out.Files, err = cfg.Files()
	return s.out, err
}

type scan struct {
	cfg    Config
	self   globaltable.Descriptor
	only   globaltable.TableID
	report func(Finding) error
	counts map[countKey]*Count
	out    Summary
	began  time.Time
	read   int
}

type countKey struct {
	table  globaltable.TableID
	policy string
}

// pages calls f with all keys in [lower, upper), with the catalog of a moment at or after the one of which the page shows the store.
func (s *scan) pages(ctx context.Context, lower, upper []byte, f func(v *catalog.View, key, value []byte) error) error {
	for more := true; more; {
		var last []byte
		var err error
		if last, more, err = s.page(lower, upper, f); err != nil {
			return err
		}
		lower = append(last, 0)
		if err := s.pause(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s *scan) page(lower, upper []byte, f func(v *catalog.View, key, value []byte) error) (last []byte, more bool, err error) {
	it, err := s.cfg.Engine.NewIter(lower, upper)
	if err != nil {
		return nil, false, err
	}
	defer func() {
		if cerr := it.Close(); err == nil {
			err = cerr
		}
	}()
	v := s.cfg.View()
	keys, size := 0, 0
	for ok := it.First(); ok; ok = it.Next() {
		value, err := it.Value()
		if err != nil {
			return nil, false, err
		}
		if err := f(v, it.Key(), value); err != nil {
			return nil, false, err
		}
		size += len(it.Key()) + len(value)
		if keys++; keys == pageKeys || size >= pageBytes {
			s.read += size
			return slices.Clone(it.Key()), true, nil
		}
	}
	s.read += size
	return nil, false, nil
}

// pause keeps the scan to its rate.
func (s *scan) pause(ctx context.Context) error {
	due := time.Duration(float64(s.read) / float64(s.cfg.BytesPerSecond) * float64(time.Second))
	wait := due - time.Since(s.began)
	if wait <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// wants reports whether the table is one that is gone through.
func (s *scan) wants(table globaltable.TableID) bool {
	return table != globaltable.SystemTable && (s.only == 0 || table.Base() == s.only)
}

// place is where something was found.
type place struct {
	where  Where
	detail string
}

// here checks a piece of an item that this region has.
func (s *scan) here(v *catalog.View, table globaltable.TableID, key []byte, at place) error {
	verdict := decide(v, table, key, s.self)
	if verdict.ok {
		return nil
	}
	return s.found(v, table, key, s.self, verdict, at)
}

// verdict is why something may not be in a region.
type verdict struct {
	ok     bool
	policy string
	// left: no policy forbids it there; the region has no replica of the table, or none any more.
	left bool
}

// decide asks the function that decides everywhere.
func decide(v *catalog.View, table globaltable.TableID, key []byte, region globaltable.Descriptor) verdict {
	t, known := v.Table(table)
	if !known {
		return verdict{}
	}
	if locality.Decide(t, key, region.Origin, locality.Receive) == locality.Permit {
		return verdict{ok: true}
	}
	pin, known := locality.PinOf(t, key)
	switch {
	case !known:
		return verdict{}
	case pin != nil && !pin.Allows(&globaltable.Replica{Region: region.Name, Jurisdiction: region.Jurisdiction}):
		return verdict{policy: pin.Name}
	}
	return verdict{left: true}
}

func (s *scan) found(v *catalog.View, table globaltable.TableID, key []byte, region globaltable.Descriptor, why verdict, at place) error {
	f := Finding{Table: table.Base().String(), Policy: why.policy, Key: KeyHash(table, key), Region: region.Name, Where: at.where, Detail: at.detail}
	if t, known := v.Table(table); known {
		f.Name = t.Name
		r := t.Replica(s.self.Origin)
		f.Pending = t.Deleted || r != nil && (r.Placing != 0 || r.Status == globaltable.Deleting || r.Status == globaltable.Creating) // what is created may have something saved, which it places as soon as it serves
	}
	s.out.Findings++
	if f.Pending {
		s.out.Pending++
	}
	return s.report(f)
}

// KeyHash names an item, of a table or of a conflict in its feed, without saying its key. Somebody who can guess keys can check a guess.
func KeyHash(table globaltable.TableID, key []byte) string {
	if table.IsFeed() {
		key = feed.ItemKey(item.Key(key))
	}
	h := sha256.Sum256(append([]byte(table.Base().String()+"/"), key...))
	return hex.EncodeToString(h[:8])
}

// records goes through the records of tables and feeds, and counts them.
func (s *scan) records(ctx context.Context) error {
	lower, upper := store.SpaceRange(store.SpaceRecord)
	return s.pages(ctx, lower, upper, func(v *catalog.View, key, value []byte) error {
		table, k := store.RecordKeyTable(key), store.RecordKeySuffix(key)
		if !s.wants(table) {
			return nil
		}
		at := place{where: InRecord}
		if table.IsFeed() {
			at.where = InFeed
		}
		if c := s.countOf(v, table, k); c != nil {
			if table.IsFeed() {
				c.Conflicts++
			} else {
				c.Records++
			}
			c.Bytes += uint64(len(key) + len(value))
		}
		return s.here(v, table, k, at)
	})
}

// countOf returns where an item is counted; nil: nowhere, its table or placement is not known.
func (s *scan) countOf(v *catalog.View, table globaltable.TableID, key []byte) *Count {
	t, known := v.Table(table)
	if !known {
		return nil
	}
	pin, known := locality.PinOf(t, key)
	if !known {
		return nil
	}
	k := countKey{table: table.Base()}
	if pin != nil {
		k.policy = pin.Name
	}
	c := s.counts[k]
	if c == nil {
		c = &Count{Table: k.table.String(), Name: t.Name, Policy: k.policy, Regions: []string{}, Jurisdictions: []string{}}
		for _, o := range locality.PlaceOf(t, pin) {
			r := t.Replica(o)
			c.Regions = append(c.Regions, r.Region)
			if !slices.Contains(c.Jurisdictions, r.Jurisdiction) {
				c.Jurisdictions = append(c.Jurisdictions, r.Jurisdiction)
			}
		}
		slices.Sort(c.Regions)
		slices.Sort(c.Jurisdictions)
		s.counts[k] = c
	}
	return c
}

func (s *scan) counted() []Count {
	out := []Count{}
	for _, c := range s.counts {
		out = append(out, *c)
	}
	slices.SortFunc(out, func(a, b Count) int {
		return slices.Compare([]string{a.Name, a.Table, a.Policy}, []string{b.Name, b.Table, b.Policy})
	})
	return out
}

func (s *scan) garbage(ctx context.Context) error {
	lower, upper := store.SpaceRange(store.SpaceGarbage)
	return s.pages(ctx, lower, upper, func(v *catalog.View, key, _ []byte) error {
		table, _, k, ok := store.DecodeGarbageKey(key)
		if !ok {
			return unreadable("what is noted for collection")
		}
		if !s.wants(table) {
			return nil
		}
		return s.here(v, table, k, place{where: InGarbage})
	})
}

// entries goes through those of indexes. At their ends they have the key of the item.
func (s *scan) entries(ctx context.Context) error {
	lower, upper := store.SpaceRange(store.SpaceEntry)
	return s.pages(ctx, lower, upper, func(v *catalog.View, key, value []byte) error {
		table, index := store.EntryKeyIndex(key)
		at, ok := store.DecodeEntry(value)
		suffix := store.EntryKeySuffix(key)
		if !ok || at > len(suffix) {
			return unreadable("an index")
		}
		if !s.wants(table) {
			return nil
		}
		s.out.Indexed++
		return s.here(v, table, suffix[at:], place{InIndex, fmt.Sprintf("index %d", index)})
	})
}

func (s *scan) saved(ctx context.Context) error {
	lower, upper := store.SpaceRange(store.SpaceSaved)
	return s.pages(ctx, lower, upper, func(v *catalog.View, key, _ []byte) error {
		table, k, ok := store.DecodeSavedKey(key)
		if !ok {
			return unreadable("what a rebuilding has saved")
		}
		if !s.wants(table) {
			return nil
		}
		s.out.Saved++
		return s.here(v, table, k, place{InSaved, "record"})
	})
}

// own goes through the writes of this region's log that it keeps over a rebuilding.
func (s *scan) own(ctx context.Context) error {
	lower, upper := store.SpaceRange(store.SpaceReplay)
	return s.pages(ctx, lower, upper, func(v *catalog.View, key, _ []byte) error {
		table, k, _, ok := store.DecodeReplayKey(key)
		if !ok {
			return unreadable("writes that a rebuilding has saved")
		}
		if !s.wants(table) {
			return nil
		}
		s.out.Saved++
		return s.here(v, table, k, place{InSaved, "own write"})
	})
}

// told goes through the records of change streams, those of tables that are not known any more, too.
func (s *scan) told(ctx context.Context) error {
	lower, upper := store.SpaceRange(store.SpaceStream)
	var r cdc.Record
	return s.pages(ctx, lower, upper, func(v *catalog.View, key, value []byte) error {
		table, _, lane, at, ok := store.DecodeStreamKey(key)
		if !ok || r.Decode(value) != nil {
			return unreadable("a change stream")
		}
		if !s.wants(table) {
			return nil
		}
		if c := s.countOf(v, table, r.Key); c != nil {
			c.Told++
			c.ToldBytes += uint64(len(key) + len(value))
		}
		return s.here(v, table, r.Key, place{InTold, fmt.Sprintf("lane %s, at %s", lane, at)})
	})
}

// letters goes through the dead letters of triggers.
func (s *scan) letters(ctx context.Context) error {
	lower, upper := store.SpaceRange(store.SpaceLetter)
	var l cdc.Letter
	return s.pages(ctx, lower, upper, func(v *catalog.View, key, value []byte) error {
		trigger, at, ok := store.DecodeLetterKey(key)
		if !ok || l.Decode(value) != nil {
			return unreadable("a dead letter")
		}
		if !s.wants(trigger.Table) {
			return nil
		}
		return s.here(v, trigger.Table, l.Key, place{InLetter, fmt.Sprintf("trigger %s, at %s", trigger.Name, at)})
	})
}

// log goes through the entries of this region's own lanes. What is in one, each member of the lane can read.
func (s *scan) log(ctx context.Context) error {
	for _, lane := range s.cfg.Lanes() {
		if lane.ID == globaltable.CatalogLane {
			continue
		}
		lower, upper := store.LogRange(lane.ID, 0, 0)
		err := s.pages(ctx, lower, upper, func(v *catalog.View, _, value []byte) error {
			e, err := change.DecodeEntry(value)
			if err != nil {
				return err
			}
			s.out.Entries++
			return s.entry(v, lane, &e, InLog)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// entry checks what is in one of a lane's entries, for each member that can read it.
func (s *scan) entry(v *catalog.View, lane globaltable.Lane, e *change.Entry, where Where) error {
	if e.Void {
		return nil
	}
	return change.EachChange(e.Body, func(c *conflict.Change) error {
		table := globaltable.TableID(c.Table)
		if !s.wants(table) {
			return nil
		}
		s.out.Changes++
		left := false
		for _, o := range lane.Placement {
			region, known := v.RegionOf(o)
			if !known || o != s.self.Origin && !v.Active(o) {
				continue // nobody gives it anything
			}
			verdict := decide(v, table, item.Key(c.Key), region)
			if verdict.left {
				left = true
				continue
			}
			if verdict.ok {
				continue
			}
			if err := s.found(v, table, c.Key, region, verdict, place{where, fmt.Sprintf("lane %s, entry %d", lane.ID, e.Seq)}); err != nil {
				return err
			}
		}
		if left {
			s.out.Left++
		}
		return nil
	})
}

// streams goes through what is in this region's NATS. A lane that the log does not have is one of an earlier store: peers can fetch nothing of it, but it is here.
func (s *scan) streams(ctx context.Context) error {
	ids, err := s.cfg.Streams.Lanes(ctx)
	if err != nil {
		return err
	}
	known := s.cfg.Lanes()
	for _, id := range ids {
		if id == globaltable.CatalogLane {
			continue
		}
		lane := globaltable.Lane{ID: id, Placement: globaltable.NewPlacement(s.self.Origin)}
		if i := slices.IndexFunc(known, func(l globaltable.Lane) bool { return l.ID == id }); i >= 0 {
			lane = known[i]
		}
		var whole change.Assembler
		err := s.cfg.Streams.ReadLane(ctx, id, func(message []byte) error {
			m, err := change.DecodeMessage(message)
			if err != nil {
				return err
			}
			s.out.Messages++
			e, done, err := whole.Add(m)
			if err != nil || !done {
				return err
			}
			return s.entry(s.cfg.View(), lane, &e, InStream)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func unreadable(what string) error {
	return &globaltable.Error{Op: "audit residency", Kind: globaltable.Corrupt, Message: what + " cannot be read"}
}
