package sim

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/concordat-db/concordat/chaos/check"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/regionnode/commit"
	"github.com/concordat-db/concordat/regionnode/membership"
	"github.com/concordat-db/concordat/regionnode/store"
)

// The reasons for which a region does not serve clients. They are regionnode's.
const (
	notFollowed = "member"
	notHeard    = "fenced"
	mustRebuild = "a rebuild is needed"
	rebuilds    = "a rebuild is under way"
)

// tokens are the signed descriptors that the region is configured with.
func (r *region) tokens() (out []string) {
	for _, o := range r.regions {
		out = append(out, identities()[o.origin].token)
	}
	return out
}

func (r *region) newComeback(d *door, state commit.Rebuild) *membership.Comeback {
	return membership.New(membership.Config{Catalog: r.catalog, Store: d, Saved: d, Plane: r.plane, Joins: r.joiner, State: state,
		Admitted: func() { r.admit(rebuilds) },
		Replayed: func(t *globaltable.Table, result commit.ReplayResult) {
			line := fmt.Sprintf("%s replays what it saved of %s: %d writes are known, %d logged again, %d stay saved", r.name(), t.Name, result.Known, result.Logged, result.Kept)
			r.sayThen(line, func() { // several tables are replayed at once
				r.tell("%s", line)
				if result.Away > 0 {
					r.tell("%s has saved %d %s that may not be there any more", r.name(), result.Away, r.whatOf(t.ID))
				}
				for what, n := range map[string]int{"a saved write was known": result.Known, "a saved write was replayed": result.Logged, "a saved write was shown": result.Kept, "a saved record was not let in": result.Away} {
					if n > 0 {
						r.cover(what)
					}
				}
			})
		}})
}

// startComeback begins the loop in which a region whose store was emptied comes back.
func (r *region) startComeback() {
	state := r.comeback.State()
	if state.Step != commit.RebuildJoining {
		return
	}
	comeback, over := r.comeback, false
	r.loops = append(r.loops, &loop{region: r, name: "come back", look: func(ctx context.Context) {
		done, waiting, err := comeback.Look(ctx)
		_ = r.await(ctx, "came back", func(done2 func(error)) {
			switch {
			case done && !over:
				over, r.back = true, true
				r.tell("%s is back", r.name())
				r.cover(map[commit.RebuildReason]string{commit.Fenced: "a fenced region came back", commit.Regressed: "a region was rebuilt from its peers",
					commit.Replaced: "a region was rebuilt from its peers"}[state.Reason])
			case comeback.State().Step == commit.RebuildNeeded:
				r.cover("a region was fenced while it came back")
				r.exclude(mustRebuild, commit.Fenced.String())
				r.admit(rebuilds)
			case !done:
				r.note("%d waits: %v %v", r.origin, waiting, err)
			}
			done2(nil)
		})
	}})
}

// resume refuses clients as the state in the store demands.
func (r *region) resume(state commit.Rebuild) {
	switch state.Step {
	case commit.RebuildNeeded:
		r.exclude(mustRebuild, state.Reason.String())
	case commit.RebuildJoining:
		r.exclude(rebuilds, "this region is being rebuilt")
	}
}

// exclude refuses reads and writes of clients.
func (r *region) exclude(reason, why string) {
	if _, already := r.excluded[reason]; !already {
		r.note("%d serves nobody: %s: %s", r.origin, reason, why)
	}
	r.excluded[reason] = why
	r.shard.Returning(r.excluded[rebuilds] != "")
	r.shard.Refuse(reason, &globaltable.Error{Op: "write", Kind: globaltable.Unavailable, Message: why})
}

func (r *region) admit(reason string) {
	if _, was := r.excluded[reason]; was {
		r.note("%d: over: %s", r.origin, reason)
		delete(r.excluded, reason)
		r.shard.Returning(r.excluded[rebuilds] != "")
		r.shard.Allow(reason)
	}
}

// noticeMembers is called when another view is in force.
func (r *region) noticeMembers(v *catalog.View) {
	if unawaited := membership.Unawaited(v); unawaited != nil {
		r.actTail(r.outbox.Exclude(unawaited))
	}
	if why := membership.Outside(v, r.shard.Incarnation()); why != "" {
		r.exclude(notFollowed, why)
	} else {
		r.admit(notFollowed)
	}
	r.checkRefusals(v)
	r.after(0, r.follow) // this may be within a step of a session
	r.noticeWorld()
}

// fenced is regionnode's: it takes from a heartbeat whether a peer refuses to replicate with this region.
func (r *region) fenced(name string, is bool, by globaltable.Version) {
	v := r.catalog.View()
	if !r.refusals.Take(name, is, by) {
		return
	}
	if is && membership.News(v, by) {
		r.plane.HearAgain(name)
	} else if is {
		r.cover("a peer refused that had not heard yet")
	}
	r.checkRefusals(v)
}

func (r *region) checkRefusals(v *catalog.View) {
	if len(r.refusals.News(v)) == 0 {
		r.admit(notHeard)
		return
	}
	r.exclude(notHeard, "its peers do not follow it")
}

// follow keeps the sessions as the members are: regionnode's.
func (r *region) follow() {
	v := r.catalog.View()
	r.sessions = slices.DeleteFunc(r.sessions, func(s *session) bool {
		if membership.Follows(v, s.member) {
			return false
		}
		s.leave()
		return true
	})
	for _, m := range membership.Followed(v) {
		o := m.Descriptor.Origin
		if r.leaving[o] > 0 || r.session(r.world.region(o)) != nil {
			continue
		}
		s := newSession(r, m)
		r.sessions = append(r.sessions, s)
		s.region.after(between(r.rng, 0, heartbeatEvery), s.alive(s.connect))
	}
	slices.SortFunc(r.sessions, func(a, b *session) int { return int(a.from.origin) - int(b.from.origin) })
}

// met takes what a peer knows of this region's incarnations.
func (r *region) met(name string, known globaltable.Incarnation) {
	if r.comeback.Met(known) {
		r.need(commit.Replaced, letter(name)+" follows the store that it had before")
	}
}

// regressed is called when a peer has more of this region's log, or another one, than the region itself.
func (r *region) regressed(name, reason string) {
	if r.store == 0 {
		r.found("I17", "regressed, says %s: %s", name, reason)
	}
	r.need(commit.Regressed, letter(name)+" says that "+reason)
}

// need refuses clients until the region has been rebuilt.
func (r *region) need(reason commit.RebuildReason, detail string) {
	if r.comeback.Known(reason) {
		return
	}
	if r.excluded[mustRebuild] == "" {
		r.tell("%s serves nobody: %s", r.name(), detail)
		r.cover("a region found that its store was lost or restored")
	}
	r.exclude(mustRebuild, map[commit.RebuildReason]string{commit.Regressed: "this region's store is older than what its peers have from it",
		commit.Replaced: "this region's store is new, and its peers follow the one that it had before"}[reason])
	comeback := r.comeback
	r.spawn("need", func(ctx context.Context) { _ = comeback.Need(ctx, reason) }, nil)
}

// rebuild is an operator's `region rebuild`. It returns whether that was begun.
func (r *region) rebuild(ended func(err error)) {
	var begun bool
	var err error
	comeback, serves := r.comeback, len(r.excluded) == 0
	r.spawn("rebuild", func(ctx context.Context) { begun, err = comeback.Begin(ctx, serves) }, func() {
		if begun {
			r.tell("%s is rebuilt", r.name())
			r.reopen()
		}
		ended(err)
	})
}

// reopen ends a life as a node ends that is to be opened again.
func (r *region) reopen() {
	r.manual.Settle()
	r.endGroup()
	r.stop(func(unsynced int) int { return unsynced })
	r.note("%d is opened again", r.origin)
	r.world.after(between(r.rng, 0, 50*time.Millisecond), r.start)
}

// save is the life in which the store is saved and emptied. It can end between any two steps.
func (r *region) save() {
	r.up, r.saving = false, true
	r.cancel()
	r.disk = r.disk.Crash(func(unsynced int) int { return unsynced })
	life, first := r.life, true
	var step func()
	step = func() {
		if r.life != life {
			return
		}
		if !first && r.chance(r.plan.crashSaving) {
			r.cover("a crash while a store was saved")
			r.disk = r.disk.Crash(func(n int) int { return r.rng.IntN(n + 1) })
			r.world.after(between(r.rng, 0, time.Second), step)
			first = true
			return
		}
		first = false
		if r.saveStep() {
			r.saving = false
			r.start()
			return
		}
		r.world.after(between(r.rng, 0, 20*time.Millisecond), step)
	}
	r.world.after(0, step)
}

// saveStep copies a page, or empties the store when all is copied; it reports whether the store has been emptied.
func (r *region) saveStep() bool {
	state, err := commit.ReadRebuild(r.disk)
	if err != nil {
		panic(err)
	}
	if state.Step == commit.RebuildJoining {
		return true // emptied before a crash
	}
	clock := hlc.NewClock(r.wall, maxOffset)
	r.openCatalog()
	rebuilder, err := commit.OpenRebuilder(r.disk, r.origin, 0, clock, r.wall, membership.Elsewhere(r.catalog.View(), state.Reason))
	if err != nil {
		panic(err)
	}
	done, err := rebuilder.Save()
	if err != nil {
		panic(err)
	}
	if !done {
		return false
	}
	if err := rebuilder.Empty(); err != nil {
		panic(err)
	}
	r.emptied(rebuilder)
	return true
}

// emptied notes that the store holds nothing but what was saved.
func (r *region) emptied(rebuilder *commit.Rebuilder) {
	state, _, err := rebuilder.State()
	if err != nil {
		panic(err)
	}
	r.fresh = state.Above
	r.tell("%s has saved %d records and emptied its store", r.name(), state.Saved)
	r.newStore()
	r.seen = map[globaltable.LaneID]uint64{}
	clear(r.replicas)
}

// newStore begins the evidence of another store.
func (r *region) newStore() {
	for _, inc := range r.stores {
		if inc != r.fresh {
			r.ledger.Close(uint16(r.origin), uint64(inc))
		}
	}
	r.store++
	clear(r.missing)
	clear(r.promised)
	r.tale = check.NewStreams(uint16(r.origin))
	clear(r.readTo)
	clear(r.untold)
	r.fired.NewStore(uint16(r.origin))
	for _, lane := range r.laneIDs() {
		r.bus.streams[lane].stale = true
	}
}

// diskCopy is a copy of a region's disk, and how far the evidence goes with it.
type diskCopy struct {
	disk    *store.Memory
	seen    map[globaltable.LaneID]uint64
	missing map[check.Lane]uint64 // of any store: see withoutStore
}

func (r *region) copyDisk() diskCopy {
	return diskCopy{r.disk.Copy(), maps.Clone(r.seen), withoutStore(r.missing)}
}

// replaceDisk puts a copy in the place of the disk of a region that is down.
func (r *region) replaceDisk(c diskCopy) {
	r.floor = max(r.floor, r.clock.Last().Millis()+1)
	r.disk, r.seen = c.disk.Copy(), map[globaltable.LaneID]uint64{}
	maps.Copy(r.seen, c.seen)
	r.pending, r.back = nil, false
	for _, inc := range r.stores {
		r.again[inc] = true
	}
	r.newStore()
	for l, at := range c.missing { // lanes that were begun anew, and not caught up with when the copy was made, are not so in the copy either
		l.Store = r.store
		r.missing[l] = at
	}
}

// withoutStore names lanes as any store of the region follows them.
func withoutStore(positions map[check.Lane]uint64) map[check.Lane]uint64 {
	out := make(map[check.Lane]uint64, len(positions))
	for l, seq := range positions {
		l.Store = 0
		out[l] = seq
	}
	return out
}
