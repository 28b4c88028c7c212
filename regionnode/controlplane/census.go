package controlplane

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/globaltable/locality"
	"github.com/concordat-db/concordat/regionnode/commit"
)

// A census counts what a region holds of a table by where it is now and where it would be under another document, for a plan. It goes through all items, so it is begun by the first question and told by later ones; nobody waits for
// it, and when nobody asks any more it is given up. It reads pages, and rests after each as long as the page took.
const (
	maxCensuses   = 8 // that a region keeps, counted or not
	censusKept    = time.Minute
	censusPage    = 4096 // items
	maxCandidate  = 400 << 10
	maxCensusRows = 4096 // classes: there are fewer pairs of policies than that unless somebody tries hard
)

// censusRequest asks for the census of a table in a version, which has to be in force in the region asked.
type censusRequest struct {
	Table     string `json:"table"`
	Version   uint64 `json:"version"`
	Candidate string `json:"candidate"` // a document of the table
}

type censusAnswer struct {
	Done    bool          `json:"done,omitempty"`
	Percent int           `json:"percent,omitempty"`
	Classes []censusClass `json:"classes,omitempty"` // when done
}

// censusClass is what a region holds of the items that are, and would be, at the same places.
type censusClass struct {
	From  []hlc.Origin `json:"from"`
	To    []hlc.Origin `json:"to"`
	Items int64        `json:"items"`
	Bytes int64        `json:"bytes"` // as DynamoDB counts them
}

// census is one that was asked for. What is below asked is guarded by the plane's mutex.
type census struct {
	now, candidate *globaltable.Table

	asked   time.Time
	counted int64 // items
	done    bool
	err     error
	classes []censusClass
}

func (p *Plane) answerCensus(r *censusRequest) (*answer, error) {
	id, err := globaltable.ParseTableID(r.Table)
	if err != nil {
		return nil, err
	}
	if len(r.Candidate) > maxCandidate {
		return nil, badRequest("the document is too long")
	}
	t, known := p.cfg.Catalog.View().Table(id)
	switch {
	case !known || uint64(t.Version) < r.Version:
		return nil, &globaltable.Error{Op: "count items", Resource: r.Table, Kind: globaltable.Unavailable, Message: "region " + p.self.Name + " has not heard of the newest version of the table"}
	case uint64(t.Version) > r.Version:
		return nil, &globaltable.Error{Op: "count items", Resource: r.Table, Kind: globaltable.InUse, Message: "the table has changed meanwhile"}
	case !p.cfg.Catalog.View().Serves(id):
		return &answer{Census: &censusAnswer{Done: true, Percent: 100}}, nil
	}
	candidate, err := globaltable.DecodeTable([]byte(r.Candidate))
	if err != nil {
		return nil, err
	}
	if candidate.ID != id {
		return nil, badRequest("the document is another table's")
	}
	c, err := p.censusOf(sha256.Sum256(binary.BigEndian.AppendUint64([]byte(r.Candidate), r.Version)), t, candidate)
	if err != nil {
		return nil, err
	}
	items, _, err := p.cfg.Door.Count(id)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.err != nil {
		return nil, c.err
	}
	a := &censusAnswer{Done: c.done, Classes: c.classes, Percent: 100}
	if !c.done {
		a.Percent = int(min(99, 100*c.counted/max(items, 1)))
	}
	return &answer{Census: a}, nil
}

// censusOf returns the census of the key, which it begins if there is none.
func (p *Plane) censusOf(key [sha256.Size]byte, t, candidate *globaltable.Table) (*census, error) {
	now := p.cfg.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	for k, c := range p.censuses {
		if now.Sub(c.asked) > censusKept || k == key && c.err != nil {
			delete(p.censuses, k)
		}
	}
	c := p.censuses[key]
	switch {
	case c != nil:
	case len(p.censuses) >= maxCensuses:
		return nil, &globaltable.Error{Op: "count items", Resource: t.Name, Kind: globaltable.LimitExceeded, Message: fmt.Sprintf("region %s counts for %d plans already", p.self.Name, maxCensuses)}
	default:
		c = &census{now: t, candidate: candidate}
		p.censuses[key] = c
	}
	c.asked = now
	select {
	case p.toCount <- struct{}{}:
	default: // it is woken already
	}
	return c, nil
}

// count counts what was asked for, one after the other, until ctx is done.
func (p *Plane) count(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.toCount:
		}
		for ctx.Err() == nil {
			c := p.nextCensus()
			if c == nil {
				break
			}
			classes, err := p.take(ctx, c)
			p.mu.Lock()
			c.classes, c.err, c.done = classes, err, true
			p.mu.Unlock()
		}
	}
}

func (p *Plane) nextCensus() *census {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.censuses {
		if !c.done {
			return c
		}
	}
	return nil
}

// take counts. Items that are written meanwhile are counted or not.
func (p *Plane) take(ctx context.Context, c *census) ([]censusClass, error) {
	tallies := map[[2]*globaltable.Pin]*censusClass{}
	for from, more := item.Key(nil), true; more; {
		began, n := p.cfg.Now(), int64(0)
		more = false
		err := p.cfg.Items.Walk(ctx, commit.Range{Table: c.now.ID, Lower: from}, func(key item.Key, current commit.Current) bool {
			if n++; n > censusPage {
				from, more = slices.Clone(key), true
				return false
			}
			tally(tallies, c, key, int64(current.Item.Size()))
			return true
		})
		switch {
		case err != nil:
			return nil, err
		case len(tallies) > maxCensusRows:
			return nil, &globaltable.Error{Op: "count items", Resource: c.now.Name, Kind: globaltable.LimitExceeded, Message: "the policies divide the table into too many classes to be counted"}
		}
		p.mu.Lock()
		c.counted += n
		forgotten := p.cfg.Now().Sub(c.asked) > censusKept
		p.mu.Unlock()
		if forgotten {
			return nil, &globaltable.Error{Op: "count items", Resource: c.now.Name, Kind: globaltable.Unavailable, Message: "nobody asked any more"}
		}
		if more {
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-time.After(p.cfg.Now().Sub(began)):
			}
		}
	}
	var out []censusClass
	for _, class := range tallies {
		out = append(out, *class)
	}
	slices.SortFunc(out, func(a, b censusClass) int {
		if d := slices.Compare(a.From, b.From); d != 0 {
			return d
		}
		return slices.Compare(a.To, b.To)
	})
	return out, nil
}

func tally(tallies map[[2]*globaltable.Pin]*censusClass, c *census, key item.Key, size int64) {
	now, known := locality.PinOf(c.now, key)
	then, knownThen := locality.PinOf(c.candidate, key)
	if !known || !knownThen {
		return // a key that is none; the scan of residency tells of it
	}
	of := [2]*globaltable.Pin{now, then}
	class := tallies[of]
	if class == nil {
		class = &censusClass{From: locality.PlaceOf(c.now, now), To: locality.PlaceOf(c.candidate, then)}
		tallies[of] = class
	}
	class.Items++
	class.Bytes += size
}
