// Package placing carries out, in one region, what a version of a table's locality policies demands of it (ARCHITECTURE.md, "Sovereignty").
//
// It goes by what is: the catalog says which tables this region is placing, the log which entries are to be voided, the store which records may not be here. So nothing is remembered but how far this process has got, and after a crash
// it begins again, and finds done what is done. What it came to is counted in the store with each batch; the receipt, kept there too, says that a version is done.
package placing

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/globaltable/locality"
	"github.com/concordat-db/concordat/regionnode/commit"
	"github.com/concordat-db/concordat/streams/handover"
)

// Store is the region's shard.
type Store interface {
	Incarnation() globaltable.Incarnation
	Heads(ctx context.Context) (commit.Heads, error)
	BeginPlacing(ctx context.Context, table globaltable.TableID, version globaltable.Version, at int64) error
	Placing(table globaltable.TableID) commit.Placing
	EndPlacing(ctx context.Context, table globaltable.TableID, version globaltable.Version, policies []globaltable.Pin, receipt string) error
	Review(ctx context.Context, table globaltable.TableID, version globaltable.Version, lane globaltable.LaneID, after uint64) (commit.Reviewed, error)
	EraseSaved(ctx context.Context, table globaltable.TableID, version globaltable.Version, limit int) (more bool, err error)
	EraseStreams(ctx context.Context, table globaltable.TableID, version globaltable.Version, after []byte) (next []byte, err error)
	EraseLetters(ctx context.Context, table globaltable.TableID, version globaltable.Version, after []byte) (next []byte, err error)
	Walking(table globaltable.TableID) bool
}

// Streams are those of the region's own lanes.
type Streams interface {
	// Renew begins a lane's stream again from the log.
	Renew(lane globaltable.LaneID)
	// Live reports whether a lane's stream is there, with all that the log has for it, or is not needed.
	Live(lane globaltable.LaneID) bool
	// RenewEvents makes the stream of a table's events anew from what may be here.
	RenewEvents(table globaltable.TableID)
	// EventsLive reports whether that is done, or is not needed.
	EventsLive(table globaltable.TableID) bool
}

// Giver hands records over: a *handover.Giver.
type Giver interface {
	Give(ctx context.Context, t, feed *globaltable.Table) (handover.Given, error)
}

// Disk is what the store lies on.
type Disk interface {
	// Scrub returns when no file has anything of what was deleted or written over before it was called.
	Scrub(ctx context.Context) error
}

// Config says what a Placer works with.
type Config struct {
	Self    globaltable.Descriptor
	View    func() *catalog.View
	Store   Store
	Streams Streams
	Giver   Giver
	Disk    Disk
	Sign    func(*globaltable.Receipt) (string, error)
	Now     func() time.Time // wall clock
	Every   time.Duration    // between looks at what is unfinished; 250 ms
	Events  Events
}

// Events are callbacks. Any may be nil.
type Events struct {
	Placed func(r *globaltable.Receipt)                            // a version is carried out
	Failed func(table globaltable.TableID, what string, err error) // it is tried again
}

// Progress is how far the region has got with a version.
type Progress struct {
	Done    bool   // all that goes is gone; what comes, comes by a join
	Receipt string // signed, if Done
	Percent int    // 0 to 100, by steps
	Waiting string // what for, in words, without keys
}

// step is what is to be done next for a table.
type step uint8

const (
	toReview step = iota
	toRenew
	toGive
	toErase
	toScrub
	done
)

var stepsDone = [...]int{toReview: 0, toRenew: 30, toGive: 40, toErase: 70, toScrub: 75, done: 100}

// table is what this process has done for a version of a table.
type table struct {
	version  globaltable.Version
	step     step
	reviewed map[globaltable.LaneID]uint64 // up to which entry
	waiting  string
	tries    int       // of the step, that ended in waiting
	again    time.Time // not before then: a step may look at all records
}

// maxPause bounds the time between two tries of a step.
const maxPause = 5 * time.Second

// Placer carries out policies. Look and Run are for one goroutine.
type Placer struct {
	cfg Config

	mu     sync.Mutex
	tables map[globaltable.TableID]*table
}

// New returns a Placer. It starts nothing.
func New(cfg Config) *Placer {
	cfg.Every = cmp.Or(cfg.Every, 250*time.Millisecond)
	return &Placer{cfg: cfg, tables: map[globaltable.TableID]*table{}}
}

// Run brings what is unfinished to its end, until ctx is done; it returns nil then.
func (p *Placer) Run(ctx context.Context) error {
	tick := time.NewTicker(p.cfg.Every)
	defer tick.Stop()
	for {
		changed := p.cfg.View().Changed()
		p.Look(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-tick.C:
		}
	}
}

// Look takes every table that this region is placing as far as it goes now.
func (p *Placer) Look(ctx context.Context) {
	view := p.cfg.View()
	var ready []*globaltable.Table // but for the files
	placing := map[globaltable.TableID]bool{}
	view.Tables(func(t *globaltable.Table) bool {
		r := t.Replica(p.cfg.Self.Origin)
		if r == nil || r.Placing == 0 {
			return true
		}
		placing[t.ID] = true
		if now := p.cfg.Store.Placing(t.ID); now.Version == r.Placing && now.Receipt != "" {
			return true // it waits for the owner to ask, or for the others
		}
		feed, _ := view.Table(t.ID.Feed())
		if p.table(ctx, t, feed) {
			ready = append(ready, t)
		}
		return ctx.Err() == nil
	})
	p.mu.Lock()
	for id := range p.tables {
		if !placing[id] && ctx.Err() == nil {
			delete(p.tables, id)
		}
	}
	p.mu.Unlock()
	if len(ready) > 0 && ctx.Err() == nil {
		p.finish(ctx, ready)
	}
}

// state returns what has been done for t; begun anew if that was for another version.
func (p *Placer) state(t *globaltable.Table) *table {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.tables[t.ID]
	if version := p.version(t); s == nil || s.version != version {
		s = &table{version: version, reviewed: map[globaltable.LaneID]uint64{}}
		p.tables[t.ID] = s
	}
	return s
}

// table takes a table a step further, and the next ones, until one has to wait. It reports whether nothing is left but to rewrite the files, and to sign.
func (p *Placer) table(ctx context.Context, t, feed *globaltable.Table) (ready bool) {
	s := p.state(t)
	steps := [...]struct {
		what string
		do   func(context.Context, *globaltable.Table, *globaltable.Table, *table) (wait string, err error)
	}{toReview: {"review the log", p.review}, toRenew: {"renew streams", p.renew}, toGive: {"hand records over", p.give}, toErase: {"erase", p.erase}}
	for s.step < toScrub {
		if p.cfg.Now().Before(s.again) {
			return false
		}
		wait, err := steps[s.step].do(ctx, t, feed, s)
		if err != nil {
			p.failed(ctx, t.ID, steps[s.step].what, err)
			p.wait(s, p.cfg.Self.Name+" to "+steps[s.step].what)
			return false
		}
		if wait != "" {
			p.wait(s, wait)
			return false
		}
		p.next(s, s.step+1)
	}
	return s.step == toScrub
}

// version returns the version that is to be carried out: its policies are in force until all regions have, though later versions may follow it in which others have.
func (p *Placer) version(t *globaltable.Table) globaltable.Version {
	if r := t.Replica(p.cfg.Self.Origin); r != nil {
		return r.Placing
	}
	return 0
}

func (p *Placer) failed(ctx context.Context, id globaltable.TableID, what string, err error) {
	if f := p.cfg.Events.Failed; f != nil && ctx.Err() == nil && globaltable.KindOf(err) != globaltable.InUse {
		f(id, what, err)
	}
}

func (p *Placer) next(s *table, to step) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s.step, s.waiting, s.tries, s.again = to, "", 0, time.Time{}
}

// wait notes what a step waits for, and when it is tried again: later each time.
func (p *Placer) wait(s *table, what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s.waiting = what
	s.again = p.cfg.Now().Add(min(p.cfg.Every<<min(s.tries, 10)/2, maxPause))
	s.tries++
}

// review goes over the whole log. What is logged from now on is under this version: lanes that come later need no review. All streams begin again: they
// may have what the log has no more, also of what was trimmed before.
func (p *Placer) review(ctx context.Context, t, _ *globaltable.Table, s *table) (wait string, err error) {
	if err := p.cfg.Store.BeginPlacing(ctx, t.ID, s.version, p.cfg.Now().UnixMilli()); err != nil {
		return "", err
	}
	heads, err := p.cfg.Store.Heads(ctx)
	if err != nil {
		return "", err
	}
	for i, l := range heads.Lanes {
		if l.ID == globaltable.CatalogLane || plantedLane && i == len(heads.Lanes)-1 {
			continue
		}
		for more := true; more; {
			r, err := p.cfg.Store.Review(ctx, t.ID, s.version, l.ID, s.reviewed[l.ID])
			if err != nil {
				return "", err
			}
			s.reviewed[l.ID] = r.Next
			more = !r.Done && r.Next < l.Seq
		}
	}
	for _, id := range slices.Sorted(maps.Keys(s.reviewed)) {
		if !plantedStreams {
			p.cfg.Streams.Renew(id)
		}
	}
	if p.keepsOut(t) {
		p.cfg.Streams.RenewEvents(t.ID)
	}
	return "", nil
}

// keepsOut reports whether there are items that may not be here, so that there may be events of them.
func (p *Placer) keepsOut(t *globaltable.Table) bool {
	r := t.Replica(p.cfg.Self.Origin)
	return r != nil && locality.Narrows(nil, t.Pins, r)
}

// renew waits for the streams, which may still have had what the log has no more, or what may not be here.
func (p *Placer) renew(_ context.Context, t, _ *globaltable.Table, s *table) (wait string, err error) {
	for id := range s.reviewed {
		if !p.cfg.Streams.Live(id) {
			return "the streams of " + p.cfg.Self.Name + " to be filled again", nil
		}
	}
	if p.keepsOut(t) && !p.cfg.Streams.EventsLive(t.ID) {
		return "the events in the NATS of " + p.cfg.Self.Name + " to be filled again", nil
	}
	return "", nil
}

// give hands over what may not be here. When a look over all records finds nothing left, nothing is: none can come.
func (p *Placer) give(ctx context.Context, t, feed *globaltable.Table, _ *table) (wait string, err error) {
	given, err := p.cfg.Giver.Give(ctx, t, feed)
	if err != nil {
		return "", err
	}
	if given.Left > 0 {
		return cmp.Or(given.Waiting, "records of "+p.cfg.Self.Name+" that have changed"), nil
	}
	return "", nil
}

// maxErase bounds one batch of what was saved.
const maxErase = 256

// erase erases what else there is of items that may not be here. Whatever keeps something of items beside their records is asked for it here.
func (p *Placer) erase(ctx context.Context, t, _ *globaltable.Table, s *table) (wait string, err error) {
	for _, kept := range []func(context.Context, *globaltable.Table, *table) error{p.eraseSaved, p.eraseStreams, p.eraseLetters} {
		if err := kept(ctx, t, s); err != nil {
			return "", err
		}
	}
	if p.cfg.Store.Walking(t.ID) {
		return "an index or a time to live of the table to be ready in " + p.cfg.Self.Name, nil
	}
	return "", nil
}

// eraseSaved erases what was saved before a rebuilding.
func (p *Placer) eraseSaved(ctx context.Context, t *globaltable.Table, s *table) (err error) {
	for more := true; more && err == nil; {
		more, err = p.cfg.Store.EraseSaved(ctx, t.ID, s.version, maxErase)
	}
	return err
}

// eraseStreams erases records of the table's change streams. No others come: nothing is told of what may not be here.
func (p *Placer) eraseStreams(ctx context.Context, t *globaltable.Table, s *table) error {
	if plantedTold {
		return nil
	}
	return erasePages(ctx, t, s, p.cfg.Store.EraseStreams)
}

// eraseLetters erases dead letters of triggers. No others come: a trigger passes over what may not be here.
func (p *Placer) eraseLetters(ctx context.Context, t *globaltable.Table, s *table) error {
	return erasePages(ctx, t, s, p.cfg.Store.EraseLetters)
}

// erasePages erases page by page, each from where the one before has ended.
func erasePages(ctx context.Context, t *globaltable.Table, s *table, page func(ctx context.Context, table globaltable.TableID, version globaltable.Version, after []byte) (next []byte, err error)) (err error) {
	var next []byte
	for more := true; more && err == nil; more = next != nil {
		next, err = page(ctx, t.ID, s.version, next)
	}
	return err
}

// mustRewrite reports whether the files may have something of an item that may not be here: some that could be here by the policies by which they were rewritten last may not any more, or something was here all the same.
func (p *Placer) mustRewrite(t *globaltable.Table) bool {
	r, now := t.Replica(p.cfg.Self.Origin), p.cfg.Store.Placing(t.ID)
	found := now.Done.Erased+now.Done.Saved+now.Done.Streamed > 0
	return locality.Narrows(now.Rewritten, t.Pins, r) || found && locality.Narrows(nil, t.Pins, r)
}

// finish rewrites the files, once for all tables, and signs.
func (p *Placer) finish(ctx context.Context, ready []*globaltable.Table) {
	if slices.ContainsFunc(ready, p.mustRewrite) {
		for _, t := range ready {
			p.wait(p.state(t), p.cfg.Self.Name+" to rewrite its files")
		}
		if err := p.cfg.Disk.Scrub(ctx); err != nil {
			p.failed(ctx, ready[0].ID, "rewrite files", err)
			return
		}
	}
	for _, t := range ready {
		if err := p.sign(ctx, t); err != nil {
			p.failed(ctx, t.ID, "sign a receipt", err)
			continue
		}
		p.next(p.state(t), done)
	}
}

var errChanged = errors.New("another version is being carried out")

// sign makes the receipt of a version that is carried out.
func (p *Placer) sign(ctx context.Context, t *globaltable.Table) error {
	now, version := p.cfg.Store.Placing(t.ID), p.version(t)
	switch {
	case now.Version != version:
		return errChanged
	case now.Receipt != "":
		return nil
	}
	r := globaltable.Receipt{Table: t.ID, Name: t.Name, Version: version, Region: p.cfg.Self.Name, Jurisdiction: p.cfg.Self.Jurisdiction, Origin: p.cfg.Self.Origin,
		Incarnation: p.cfg.Store.Incarnation(), Done: now.Done, Started: now.Started, Finished: max(now.Started, p.cfg.Now().UnixMilli())}
	token, err := p.cfg.Sign(&r)
	if err != nil {
		return err
	}
	if err := p.cfg.Store.EndPlacing(ctx, t.ID, version, t.Pins, token); err != nil {
		return err
	}
	if f := p.cfg.Events.Placed; f != nil {
		f(&r)
	}
	return nil
}

// Progress returns how far the region is with carrying out that version's policies.
func (p *Placer) Progress(id globaltable.TableID, version globaltable.Version) Progress {
	if now := p.cfg.Store.Placing(id); now.Version == version && now.Receipt != "" {
		return Progress{Done: true, Receipt: now.Receipt, Percent: 100}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.tables[id]
	if s == nil || s.version != version {
		return Progress{Waiting: p.cfg.Self.Name + " to adopt the change"}
	}
	out := Progress{Percent: stepsDone[s.step], Waiting: s.waiting}
	if out.Waiting == "" {
		out.Waiting = fmt.Sprintf("%s to carry out the policies (%d%%)", p.cfg.Self.Name, out.Percent)
	}
	return out
}
