// Package handover gives records that a region may not hold any more to one that may, and takes such records.
//
// A region that carries out a version of a table's locality policies may not erase what it has before somebody else has it: it may be the only one. It offers a page of records to a region of their placement. That one asks
// for the page, so a record may be as large as records are, merges it, logs it for the others of the placement, syncs, and answers. Only then the giver erases exactly what it gave.
//
//	giver                                  taker
//	offer(page id, table, version)   ─▶    at that version? may I have the table, and you have had it?
//	answer(page)                     ◀─    pull(page id)
//	                                       each record: may it be here? merge · log · sync
//	erase, if nothing has changed    ◀─    taken
//
// What a region has saved over its being rebuilt, and may not have any more when it comes back, goes the same way. The taker does with it what the giver would have done if it could have the item (commit.Shard.TakeOverSaved), so it has to serve the item already.
//
// A page lives in the memory of the giver while its offer is out, and its number is of this life of the giver's process alone: so an answer counts only where it was asked for. A giver that crashes finds what is still to be given by looking.
//
// core.go decides where records go and is pure; give.go and take.go act.
package handover

import (
	"slices"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/locality"
	"github.com/concordat-db/concordat/streams/repair"
)

const (
	maxPage  = 1 << 20 // bytes of the records of a page, its last one aside
	maxCount = 256     // records of a page: the giver erases them in one batch
)

// Takers returns the regions that may take over the item of t at key from self, in the order in which they are asked: first those that serve it.
func Takers(t *globaltable.Table, key []byte, self hlc.Origin) []hlc.Origin {
	serving, gaining := takers(t, key, self)
	return append(serving, gaining...)
}

// takers returns those that serve the item, and those that are getting it.
func takers(t *globaltable.Table, key []byte, self hlc.Origin) (serving, gaining []hlc.Origin) {
	for _, o := range locality.Place(t, key) {
		switch {
		case o == self || locality.Decide(t, key, o, locality.Receive) != locality.Permit:
		case locality.Decide(t, key, o, locality.Admit) == locality.Permit:
			serving = append(serving, o)
		default:
			gaining = append(gaining, o)
		}
	}
	return serving, gaining
}

// page is records that have the same takers.
type page struct {
	takers  []hlc.Origin
	unready []hlc.Origin // who will take it, and cannot yet
	saved   bool         // parts of what was saved, instead of records
	open    []byte       // the key of its last record, if another part of that one follows
	records []repair.Record
	bytes   int
}

func (p *page) full() bool { return p.bytes >= maxPage || len(p.records) >= maxCount }

// pages gathers, of what a region has of a table, what it may not have.
type pages struct {
	table *globaltable.Table
	self  hlc.Origin
	open  []*page
}

// add takes a record, which stays the caller's: it is copied. It returns a page that is full with it, or nil.
func (p *pages) add(key, record []byte) *page {
	if locality.Decide(p.table, key, p.self, locality.Receive) == locality.Permit {
		return nil
	}
	one := p.of(page{takers: Takers(p.table, key, p.self)})
	one.add(slices.Clone(key), slices.Clone(record))
	return p.taken(one, one.full())
}

// addSaved is add for a part of what was saved, which is p's from then on. Who replays it has to have all that there is of the item; and what has contributions goes to nobody but the first who can, and waits for that one: two that added the same to what they have would not add the same.
func (p *pages) addSaved(part *SavedPart) *page {
	if locality.Decide(p.table, part.Key, p.self, locality.Receive) == locality.Permit {
		return nil
	}
	serving, gaining := takers(p.table, part.Key, p.self)
	if part.Sole && len(serving) > 1 {
		serving = serving[:1]
	}
	one := p.of(page{takers: serving, unready: gaining, saved: true})
	if one.add(part.Key, part.Bytes); part.More {
		one.open = part.Key
	}
	return p.taken(one, one.full() || part.More)
}

// of returns the open page that has the same takers as like; a new one if there is none.
func (p *pages) of(like page) *page {
	i := slices.IndexFunc(p.open, func(o *page) bool {
		return slices.Equal(o.takers, like.takers) && slices.Equal(o.unready, like.unready)
	})
	if i < 0 {
		i = len(p.open)
		p.open = append(p.open, &like)
	}
	return p.open[i]
}

func (p *page) add(key, record []byte) {
	p.records = append(p.records, repair.Record{Key: key, Bytes: record})
	p.bytes += len(key) + len(record)
}

// taken returns the page, which is not open any more then, if it is complete; else nil.
func (p *pages) taken(one *page, complete bool) *page {
	if !complete {
		return nil
	}
	p.open = slices.DeleteFunc(p.open, func(o *page) bool { return o == one })
	return one
}

// rest returns what is left, in pages that are not full.
func (p *pages) rest() []*page {
	out := p.open
	p.open = nil
	return out
}

// bytes is how much is gathered.
func (p *pages) bytes() (n int) {
	for _, one := range p.open {
		n += one.bytes
	}
	return n
}
