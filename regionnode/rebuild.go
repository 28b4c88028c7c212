package regionnode

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode/admin"
	"github.com/concordat-db/concordat/regionnode/commit"
)

// A region that the others do not follow any more, whose store is older than what they have from it, or new, comes back by being rebuilt (ARCHITECTURE.md, "Coming back"). The node
// lives three times for it, on the same store and at the same addresses:
//
//	it refuses clients, and is asked to rebuild: it notes that, durably, and ends with ErrReopen
//	opened again, it saves and empties the store; only its admin API serves. It ends with ErrReopen
//	opened again, it has itself admitted, joins its tables, replays what it saved, and serves
//
// A crash at any point goes on where it was: the step is in the store.

// ErrReopen ends a node that is to be opened again, as RunOn does.
var ErrReopen = errors.New("the node is to be opened again")

// refusedRebuilding is the reason for which clients are refused while the region comes back. It is before the others by name, and so the one that clients are told.
const (
	refusedNeeded     = "a rebuild is needed"
	refusedRebuilding = "a rebuild is under way"
)

// rebuilding is a node's part in the region's being rebuilt.
type rebuilding struct {
	reopen chan struct{} // closed when the node is to end

	mu      sync.Mutex
	state   commit.Rebuild
	why     string                  // in words
	above   globaltable.Incarnation // greatest of this region that a peer has told of
	percent int                     // saving
	waiting []string                // joining: for whom, in words
	logged  map[globaltable.TableID]*replayed
	ending  bool
}

// RunOn runs n until ctx is done, and opens it again, at the same addresses, whenever it has to be. ready is called once, when it serves for the first time; opened with each node but the first.
func RunOn(ctx context.Context, n *Node, ready func(Endpoints), opened func(*Node)) error {
	var told sync.Once
	for {
		err := n.Run(ctx, func(e Endpoints) { told.Do(func() { ready(e) }) })
		if !errors.Is(err, ErrReopen) || ctx.Err() != nil {
			return err
		}
		next, err := Open(n.cfg) // where it listened is in cfg by now
		if err != nil {
			return err
		}
		n = next
		opened(n)
	}
}

// openRebuild reads how far the rebuilding is.
func (n *Node) openRebuild() error {
	state, err := commit.ReadRebuild(n.engine)
	n.rebuild.state, n.rebuild.above = state, state.Above
	n.rebuild.reopen = make(chan struct{})
	n.rebuild.logged = map[globaltable.TableID]*replayed{}
	return err
}

// resumeRebuild refuses clients as the state in the store demands.
func (n *Node) resumeRebuild() {
	switch n.rebuild.state.Step {
	case commit.RebuildNeeded:
		n.excludeNeeded(n.rebuild.state.Reason, "")
	case commit.RebuildJoining:
		n.excludeRebuilding()
	}
}

func (n *Node) excludeNeeded(reason commit.RebuildReason, detail string) {
	why := map[commit.RebuildReason]string{
		commit.Fenced:    "the other regions do not follow it any more",
		commit.Regressed: "its store is older than what its peers have from it",
		commit.Replaced:  "its store is new, and the other regions still follow the one that it had before",
	}[reason]
	if detail != "" {
		why += " (" + detail + ")"
	}
	n.rebuild.mu.Lock()
	n.rebuild.why = why
	n.rebuild.mu.Unlock()
	n.exclude(refusedNeeded, why+". "+comeBack)
}

func (n *Node) excludeRebuilding() {
	n.excludeWith(refusedRebuilding, "Region "+n.cfg.Region.Name+" is being rebuilt and serves nobody yet. `concordat status` shows how far it is.")
}

// needRebuild refuses clients for good, over restarts too. It returns when that is durable, or could not be made so: then the next who notices tries again.
func (n *Node) needRebuild(reason commit.RebuildReason, detail string) {
	r := &n.rebuild
	r.mu.Lock()
	// A region that is on its way back is not followed yet, and its store is new.
	known := r.state.Step == commit.RebuildNeeded || r.state.Step == commit.RebuildSaving || r.state.Step == commit.RebuildJoining && reason != commit.Regressed
	above := r.above
	r.mu.Unlock()
	if known {
		return
	}
	n.excludeNeeded(reason, detail)
	ctx, cancel := context.WithTimeout(context.Background(), applyTimeout)
	defer cancel()
	state, err := n.shard.ChangeRebuild(ctx, func(now commit.Rebuild) commit.Rebuild {
		if now.Step != commit.RebuildSaving { // it has been asked for meanwhile
			now.Step, now.Reason = commit.RebuildNeeded, reason
		}
		now.Above = max(now.Above, above)
		return now
	})
	if err != nil {
		n.log.Error().Err(err).Msg("that this region has to be rebuilt could not be stored")
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state = state
}

// met takes what a peer knows of this region's incarnations.
func (n *Node) met(name string, known globaltable.Incarnation) {
	own := n.shard.Incarnation()
	n.rebuild.mu.Lock()
	n.rebuild.above = max(n.rebuild.above, known)
	n.rebuild.mu.Unlock()
	// A peer that met this store revoked all before: it knows of the one just below. Whose positions have been confirmed has been accepted.
	if known == 0 || known+1 >= own || len(n.shard.Confirmations()) > 0 {
		return
	}
	if _, followed := n.plane.Standing(); followed == own {
		return
	}
	n.needRebuild(commit.Replaced, "reported by "+name)
}

// Rebuild begins to rebuild the region, if it has to be, or goes on with it. The node ends with ErrReopen soon after.
func (n *Node) Rebuild(ctx context.Context) (admin.Rebuild, error) {
	r := &n.rebuild
	r.mu.Lock()
	step, above := r.state.Step, r.above
	r.mu.Unlock()
	if step == commit.RebuildSaving || step == commit.RebuildJoining {
		return n.rebuildStatus(), nil
	}
	if standing, _ := n.plane.Standing(); standing.Leaves() {
		return n.rebuildStatus(), &globaltable.Error{Op: "rebuild region", Resource: n.cfg.Region.Name, Kind: globaltable.Denied,
			Message: "region " + n.cfg.Region.Name + " was removed, for ever: make a new region"}
	}
	if n.serves() == nil {
		return n.rebuildStatus(), &globaltable.Error{Op: "rebuild region", Resource: n.cfg.Region.Name, Kind: globaltable.InUse,
			Message: "region " + n.cfg.Region.Name + " serves its clients: there is nothing to rebuild"}
	}
	state, err := n.shard.ChangeRebuild(ctx, func(now commit.Rebuild) commit.Rebuild {
		if now.Step == commit.RebuildNone {
			now.Reason = commit.Fenced
		}
		now.Step, now.Above, now.Saved, now.Cursor = commit.RebuildSaving, max(now.Above, above), 0, nil
		return now
	})
	if err != nil {
		return n.rebuildStatus(), err
	}
	r.mu.Lock()
	r.state = state
	if !r.ending {
		r.ending = true
		close(r.reopen)
	}
	r.mu.Unlock()
	n.log.Warn().Stringer("reason", state.Reason).Msg("the region is rebuilt: its records are saved, its store is emptied")
	return n.rebuildStatus(), nil
}

// waitForReopen ends the node when it is to be opened again.
func (n *Node) waitForReopen(ctx context.Context) error {
	select {
	case <-n.rebuild.reopen:
		return ErrReopen
	case <-ctx.Done():
		return nil
	}
}

// rebuildStatus is how far the rebuilding is, for people.
func (n *Node) rebuildStatus() admin.Rebuild {
	r := &n.rebuild
	r.mu.Lock()
	defer r.mu.Unlock()
	out := admin.Rebuild{Step: r.state.Step.String(), Why: r.why, Saved: r.state.Saved, Percent: r.percent, Waiting: slices.Clone(r.waiting)}
	if r.state.Reason != 0 {
		out.Reason = r.state.Reason.String()
	}
	return out
}

// runSaving is the life in which the store is saved and emptied. Only the admin API serves, and tells how far it is.
func (n *Node) runSaving(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, n.engine.Close()) }()
	listeners, err := listen(n.cfg.Admin.Listen)
	if err != nil {
		return err
	}
	n.pin("", listeners[0].Addr())
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return n.savingAdmin().Serve(ctx, listeners[0], n.cfg.Limits.ShutdownPatience) })
	group.Go(func() error {
		if err := n.save(ctx); err != nil || ctx.Err() != nil {
			return err
		}
		return ErrReopen
	})
	return group.Wait()
}

// save copies what has to be saved and empties the store. It returns nil without having ended when ctx is done.
func (n *Node) save(ctx context.Context) error {
	r, err := commit.OpenRebuilder(n.engine, n.cfg.Region.Origin, theShard, n.clock, time.Now)
	if err != nil {
		return err
	}
	for done := false; !done; {
		if ctx.Err() != nil {
			return nil
		}
		if done, err = r.Save(); err != nil {
			return err
		}
		state, percent, err := r.State()
		if err != nil {
			return err
		}
		n.rebuild.mu.Lock()
		n.rebuild.state, n.rebuild.percent = state, percent
		n.rebuild.mu.Unlock()
	}
	if err := r.Empty(); err != nil {
		return err
	}
	n.log.Warn().Uint64("saved", n.rebuildStatus().Saved).Msg("the store has been emptied and has a new incarnation")
	return nil
}

// savingAdmin is the admin API of a node that has no shard.
func (n *Node) savingAdmin() *admin.Server {
	unavailable := &globaltable.Error{Op: "serve", Resource: n.cfg.Region.Name, Kind: globaltable.Unavailable, Message: "the region is being rebuilt: its records are saved"}
	compare := func(context.Context, string) (admin.Verification, error) { return admin.Verification{}, unavailable }
	region := n.cfg.Region
	return admin.New(admin.Config{
		Status: func(context.Context) (admin.Status, error) {
			state := n.rebuildStatus()
			return admin.Status{Region: admin.Region{Name: region.Name, Jurisdiction: region.Jurisdiction, Origin: uint16(region.Origin)}, Version: Version,
				Refused: []string{unavailable.Message}, Pairs: []admin.Pair{}, Tables: []admin.Table{}, Lanes: []admin.Lane{}, Rebuild: &state}, nil
		},
		Regions: func(context.Context) (admin.Regions, error) { return admin.Regions{}, unavailable },
		Fence:   func(context.Context, string) error { return unavailable },
		Remove:  func(context.Context, string, bool) error { return unavailable },
		AddRegion: func(context.Context, string, time.Duration) (admin.Invitation, error) {
			return admin.Invitation{}, unavailable
		},
		Verify: compare, Repair: compare, Ready: func() error { return unavailable }, Metrics: n.metrics.Handler(),
		Rebuild:      func(context.Context) (admin.Rebuild, error) { return n.rebuildStatus(), nil },
		RebuildState: n.rebuildStatus,
		Saved:        admin.NoSaved{Err: unavailable},
	})
}

// pin has the node listen at the same addresses when it is opened again.
func (n *Node) pin(dynamodb string, adminAt net.Addr) {
	if dynamodb != "" {
		n.cfg.DynamoDB.Listen = dynamodb
	}
	n.cfg.Admin.Listen = adminAt.String()
}

// comeBack has the region admitted and waits until it has joined all its tables.
func (n *Node) comeBack(ctx context.Context) error {
	if n.rebuildStatus().Step != commit.RebuildJoining.String() {
		return nil
	}
	tick := time.NewTicker(n.cfg.Limits.Heartbeat)
	defer tick.Stop()
	for {
		changed := n.catalog.View().Changed()
		done, waiting, err := n.comeBackOnce(ctx)
		if err != nil {
			waiting = append(waiting, messageOf(err))
		}
		n.rebuild.mu.Lock()
		n.rebuild.waiting = waiting
		n.rebuild.mu.Unlock()
		if done {
			n.log.Info().Msg("the region has been rebuilt")
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-tick.C:
		}
	}
}

// comeBackOnce takes the next step that can be taken.
func (n *Node) comeBackOnce(ctx context.Context) (done bool, waiting []string, err error) {
	if state, followed := n.plane.Standing(); state != globaltable.MemberActive || followed != n.shard.Incarnation() {
		err := n.plane.Admit(ctx, n.shard.Incarnation())
		if globaltable.KindOf(err) == globaltable.Denied && err != nil {
			n.log.Error().Err(err).Msg("the region is not admitted")
		}
		return false, nil, err
	}
	if unheard := n.plane.Unheard(); len(unheard) > 0 {
		return false, []string{"to hear the catalog of " + strings.Join(unheard, ", ")}, nil
	}
	n.allowAll(refusedRebuilding) // tables tell by themselves which of them serve
	if open := n.openTables(); len(open) > 0 {
		return false, open, nil
	}
	state, err := n.shard.ChangeRebuild(ctx, func(commit.Rebuild) commit.Rebuild { return commit.Rebuild{} })
	if err != nil {
		return false, nil, err
	}
	n.rebuild.mu.Lock()
	defer n.rebuild.mu.Unlock()
	n.rebuild.state = state
	return true, nil, nil
}

// openTables says which tables have a replica in this region that does not serve yet.
func (n *Node) openTables() (out []string) {
	self := n.cfg.Region.Origin
	n.catalog.View().Tables(func(t *globaltable.Table) bool {
		r := t.Replica(self)
		if r == nil || t.Deleted {
			return true
		}
		switch r.Status {
		case globaltable.StatusFencing, globaltable.StatusFenced:
			out = append(out, fmt.Sprintf("table %s: to be let in by region %s", t.Name, n.regionName(t.Owner)))
		case globaltable.Creating:
			p, _ := n.joiner.Progress(t.ID, r.Since)
			line := fmt.Sprintf("table %s: %d %%", t.Name, p.Percent)
			if p.Waiting != "" {
				line += ", waiting for " + p.Waiting
			}
			out = append(out, line)
		}
		return true
	})
	return out
}

// messageOf is what people are told of an error.
func messageOf(err error) string {
	var e *globaltable.Error
	if errors.As(err, &e) && e.Message != "" {
		return e.Message
	}
	return err.Error()
}
