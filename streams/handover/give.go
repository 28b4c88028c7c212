package handover

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"

	"github.com/cespare/xxhash/v2"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/streams/repair"
)

// Offer asks a region to take records over. It answers when it has them, durably.
type Offer struct {
	Table       globaltable.TableID     `json:"table"`           // or its feed's
	Version     globaltable.Version     `json:"version"`         // of the table's document, that both have to be at
	Incarnation globaltable.Incarnation `json:"incarnation"`     // of the giver's store
	Page        uint64                  `json:"page"`            // to be asked for
	Saved       bool                    `json:"saved,omitempty"` // parts of what the giver has saved, instead of records
}

// Pull asks a giver for the page of an offer of its.
type Pull struct {
	Page uint64 `json:"page"`
}

// Store is the giver's: a shard.
type Store interface {
	Incarnation() globaltable.Incarnation
	// Records calls f with the records of table with keys after from, ascending, until f returns false; what f gets is valid during the call. It returns when all that f has seen is durable.
	Records(ctx context.Context, table globaltable.TableID, from, to item.Key, f func(key item.Key, record []byte) (more bool)) error
	// Erase erases records of the table, or of its feed, that region to has taken over, if they are still what they were and that version's policies are being carried out, and returns how many.
	Erase(ctx context.Context, of globaltable.TableID, placing globaltable.Version, to string, table globaltable.TableID, records []repair.Record) (erased int, err error)
	// Observe moves the region's clock past another one's, or refuses.
	Observe(t hlc.Timestamp) error
}

// SavedAt is a place among the parts of saved records: after those of the record at the key, or, with Upto, within them, after the one that goes up to that dot. Zero: before all.
type SavedAt struct {
	Key  item.Key
	Upto hlc.Stamp
}

// SavedPart is a part of a saved record. What its bytes are is the store's matter; they are larger than a page only by a record.
type SavedPart struct {
	Key   item.Key
	Bytes []byte
	Upto  hlc.Stamp // see SavedAt
	More  bool      // another part of the record follows
	Sole  bool      // two regions must not take it over
}

// Saved is what a giver keeps of records over its being rebuilt: a shard.
type Saved interface {
	// SavedParts calls f with the parts of what is saved of table and no replay has decided about, in order, after the place given, until f returns false. What f gets is its own.
	SavedParts(table globaltable.TableID, after SavedAt, f func(SavedPart) (more bool)) error
	// EraseGiven erases records whose last part is among those given, if they are still what they were: see Store.Erase.
	EraseGiven(ctx context.Context, of globaltable.TableID, placing globaltable.Version, to string, table globaltable.TableID, parts []repair.Record) (erased int, err error)
	// Purge returns the table's purge frontier.
	Purge(table globaltable.TableID) hlc.Timestamp
}

// Peers asks other regions. There, a Taker answers.
type Peers interface {
	// HandOver asks a region to take a page over, and returns its clock of after that. For any error it is not known whether it has.
	HandOver(ctx context.Context, region string, o *Offer) (taken hlc.Timestamp, err error)
}

// Giver gives records away.
type Giver struct {
	self  globaltable.Descriptor
	store Store
	saved Saved
	peers Peers
	name  func(hlc.Origin) string
	// Leaving is told of each page before it is offered, and may refuse it: what leaves has to be counted first. It is set before the first Give; nil: nobody is told.
	Leaving func(ctx context.Context, region string, table globaltable.TableID, records, bytes int) error

	mu   sync.Mutex
	next uint64
	out  map[uint64]offered
}

// offered is a page that is on offer.
type offered struct {
	to      string
	records []byte
	end     repair.End
}

// NewGiver returns a Giver. name returns a region's name.
func NewGiver(self globaltable.Descriptor, store Store, saved Saved, peers Peers, name func(hlc.Origin) string) *Giver {
	return &Giver{self: self, store: store, saved: saved, peers: peers, name: name, next: rand.Uint64(), out: map[uint64]offered{}}
}

// Given is what one Give has come to.
type Given struct {
	Records int // erased here, saved ones too
	Left    int // that may not be here and still are
	// Waiting says for whom, if anything is left: in words, without keys.
	Waiting string
}

// giving is one Give.
type giving struct {
	g       *Giver
	table   *globaltable.Table
	placing globaltable.Version
	refused map[string]error // regions that could not be asked, or said no: not asked again in this Give
	unready map[string]bool  // regions that are getting what was saved here: they take it when they serve it
	nobody  bool             // something may be nowhere else
	broken  []byte           // of what was saved: the key of which a part was not taken, so that those that follow it are not given
	given   Given
}

// gatherBytes bounds what is gathered before pages that are not full are given.
const gatherBytes = 4 << 20

// Give goes over all records of t, and of its conflict feed, and over what was saved of both, gives those that may not be here to regions that may have them, and erases what was taken. t is the document in force. It returns what could not be given; the error is that of this region's own
// store, of kind InUse when another version of t has come into force.
func (g *Giver) Give(ctx context.Context, t *globaltable.Table, feed *globaltable.Table) (Given, error) {
	mine := t.Replica(g.self.Origin)
	if mine == nil {
		return Given{}, nil
	}
	run := giving{g: g, table: t, placing: mine.Placing, refused: map[string]error{}, unready: map[string]bool{}}
	for _, of := range []*globaltable.Table{t, feed} {
		if err := run.records(ctx, of); err != nil {
			return Given{}, err
		}
		if err := run.saved(ctx, of); err != nil {
			return Given{}, err
		}
	}
	run.given.Waiting = run.waiting()
	return run.given, nil
}

// records gives what is to be given of t, or of its feed.
func (r *giving) records(ctx context.Context, of *globaltable.Table) error {
	var after item.Key
	return r.walk(ctx, of, func(take func(gather func(*pages) *page) bool) error {
		return r.g.store.Records(ctx, of.ID, after, nil, func(key item.Key, record []byte) bool {
			return take(func(gathered *pages) *page {
				after = append(after[:0], key...)
				return gathered.add(key, record)
			})
		})
	})
}

// saved gives what was saved of t, or of its feed.
func (r *giving) saved(ctx context.Context, of *globaltable.Table) error {
	var at SavedAt
	r.broken = nil
	return r.walk(ctx, of, func(take func(gather func(*pages) *page) bool) error {
		return r.g.saved.SavedParts(of.ID, at, func(p SavedPart) bool {
			return take(func(gathered *pages) *page {
				at = SavedAt{Key: p.Key}
				if p.More {
					at.Upto = p.Upto
				}
				if r.broken != nil && slices.Equal(r.broken, p.Key) {
					return nil
				}
				return gathered.addSaved(&p)
			})
		})
	})
}

// walk gives what read comes upon, in pages. read goes on where it has ended, each time that it is called, and offers one after the other to take, until that wants no more for now: then pages are given. gather is called for what is taken; it returns a page that has become full, or nil.
func (r *giving) walk(ctx context.Context, of *globaltable.Table, read func(take func(gather func(*pages) *page) bool) error) error {
	gathered := pages{table: of, self: r.g.self.Origin}
	for more := true; more; {
		var full []*page
		more = false
		n := 0
		err := read(func(gather func(*pages) *page) bool {
			if n++; full != nil || n > maxWalk || gathered.bytes() >= gatherBytes {
				more = true
				return false
			}
			if p := gather(&gathered); p != nil {
				full = append(full, p)
			}
			return true
		})
		if err != nil {
			return err
		}
		if gathered.bytes() >= gatherBytes || !more {
			full = append(full, gathered.rest()...)
		}
		for _, p := range full {
			if err := r.page(ctx, of.ID, p); err != nil {
				return err
			}
		}
	}
	return nil
}

// maxWalk bounds the records for which one iterator is held.
const maxWalk = 1 << 14

// page gives one page to the first region that takes it.
func (r *giving) page(ctx context.Context, of globaltable.TableID, p *page) error {
	taken := ""
	for _, o := range p.takers {
		region := r.g.name(o)
		if r.refused[region] != nil {
			continue
		}
		if err := r.g.offer(ctx, of, r.table.Version, region, p); err != nil && !plantedAtOnce {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			r.refused[region] = err
			continue
		}
		taken = region
		break
	}
	if taken == "" {
		r.nobody = r.nobody || len(p.takers)+len(p.unready) == 0
		for _, o := range p.unready {
			r.unready[r.g.name(o)] = len(p.takers) == 0
		}
		r.given.Left += len(p.records)
		if p.open != nil {
			r.broken = p.open
		}
		return nil
	}
	erase, n := r.g.store.Erase, len(p.records)
	if p.saved {
		erase = r.g.saved.EraseGiven
	}
	if p.open != nil {
		n-- // it goes with its last part
	}
	erased, err := erase(ctx, r.table.ID, r.placing, taken, of, p.records)
	r.given.Records += erased
	r.given.Left += n - erased // one that has changed is given again
	return err
}

// offer has a region take a page over.
func (g *Giver) offer(ctx context.Context, of globaltable.TableID, version globaltable.Version, region string, p *page) error {
	var b []byte
	for i := range p.records {
		b = repair.AppendRecord(b, p.records[i].Key, p.records[i].Bytes)
	}
	end := repair.End{Incarnation: g.store.Incarnation(), Done: true, Sum: xxhash.Sum64(b), Purge: g.saved.Purge(of)}
	if g.Leaving != nil {
		if err := g.Leaving(ctx, region, of.Base(), len(p.records), len(b)); err != nil {
			return err
		}
	}
	g.mu.Lock()
	g.next++
	id := g.next
	g.out[id] = offered{region, b, end}
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		delete(g.out, id)
		g.mu.Unlock()
	}()
	taken, err := g.peers.HandOver(ctx, region, &Offer{Table: of, Version: version, Incarnation: end.Incarnation, Page: id, Saved: p.saved})
	if err != nil {
		return err
	}
	// What the taker has logged lies before what this region says it has placed, by every clock: the purge frontier rises again on the strength of that (commit.Shard.RaisePurge).
	return g.store.Observe(taken)
}

// Answer returns the page that an asker was offered and asks for.
func (g *Giver) Answer(asker globaltable.Descriptor, p *Pull) (records []byte, end repair.End, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	o, ok := g.out[p.Page]
	if !ok || o.to != asker.Name {
		return nil, repair.End{}, &globaltable.Error{Op: "hand over", Resource: asker.Name, Kind: globaltable.NotFound, Message: "there is no such page on offer"}
	}
	return o.records, o.end, nil
}

// waiting says for whom records wait.
func (r *giving) waiting() string {
	if r.given.Left == 0 {
		return ""
	}
	var gone, refusing []string
	for region, is := range r.unready {
		if is && r.refused[region] == nil {
			refusing = append(refusing, region)
		}
	}
	for _, region := range slices.Sorted(maps.Keys(r.refused)) {
		var e *globaltable.Error
		if err := r.refused[region]; errors.As(err, &e) && e.Op == opTake {
			refusing = append(refusing, region)
			continue
		}
		gone = append(gone, region)
	}
	slices.Sort(refusing)
	var parts []string
	if len(gone) > 0 {
		parts = append(parts, strings.Join(gone, ", ")+" to be reached, to take over what may not be in "+r.g.self.Name)
	}
	if len(refusing) > 0 {
		parts = append(parts, strings.Join(refusing, ", ")+" to be ready to take over what may not be in "+r.g.self.Name)
	}
	if r.nobody {
		parts = append(parts, "a region that may have it, to take over what may not be in "+r.g.self.Name)
	}
	return strings.Join(parts, ", ")
}
