package regionnode

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode/admin"
	"github.com/concordat-db/concordat/regionnode/commit"
	"github.com/concordat-db/concordat/regionnode/membership"
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
	state   commit.Rebuild // when the store was opened and, in the life in which it is saved, since then
	why     string         // in words
	percent int            // saving
	waiting []string       // joining: for whom, in words
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
	n.rebuild.state, n.rebuild.reopen = state, make(chan struct{})
	return err
}

func (n *Node) newComeback() *membership.Comeback {
	return membership.New(membership.Config{Catalog: n.catalog, Store: n.shard, Saved: n.shard, Plane: n.plane, Joins: n.joiner, State: n.rebuild.state,
		Admitted: n.endRebuilding,
		Replayed: func(t *globaltable.Table, r commit.ReplayResult) {
			n.metrics.Replayed(r.Known, r.Logged, r.Kept)
			n.log.Info().Str("table", t.Name).Int("known", r.Known).Int("logged", r.Logged).Int("kept", r.Kept).Msg("saved writes were replayed")
		}})
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
	n.exclude(refusedNeeded, why+". "+membership.Hint)
}

func (n *Node) excludeRebuilding() {
	n.shard.Returning(true)
	n.excludeWith(refusedRebuilding, "Region "+n.cfg.Region.Name+" is being rebuilt and serves nobody yet. `concordat status` shows how far it is.")
}

func (n *Node) endRebuilding() {
	n.shard.Returning(false)
	n.allowAll(refusedRebuilding)
}

// needRebuild refuses clients for good, over restarts too. It returns when that is durable, or could not be made so: then the next who notices tries again.
func (n *Node) needRebuild(reason commit.RebuildReason, detail string) {
	if n.comeback.Known(reason) {
		return
	}
	n.excludeNeeded(reason, detail)
	ctx, cancel := context.WithTimeout(context.Background(), applyTimeout)
	defer cancel()
	if err := n.comeback.Need(ctx, reason); err != nil {
		n.log.Error().Err(err).Msg("that this region has to be rebuilt could not be stored")
	}
}

// met takes what a peer knows of this region's incarnations.
func (n *Node) met(name string, known globaltable.Incarnation) {
	if n.comeback.Met(known) {
		n.needRebuild(commit.Replaced, "reported by "+name)
	}
}

// Rebuild begins to rebuild the region, if it has to be, or goes on with it. The node ends with ErrReopen soon after.
func (n *Node) Rebuild(ctx context.Context) (admin.Rebuild, error) {
	begun, err := n.comeback.Begin(ctx, n.serves() == nil)
	if err != nil || !begun {
		return n.rebuildStatus(), err
	}
	r := &n.rebuild
	r.mu.Lock()
	if !r.ending {
		r.ending = true
		close(r.reopen)
	}
	r.mu.Unlock()
	n.log.Warn().Stringer("reason", n.comeback.State().Reason).Msg("the region is rebuilt: its records are saved, its store is emptied")
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
	state := r.state
	if n.comeback != nil {
		state = n.comeback.State()
	}
	out := admin.Rebuild{Step: state.Step.String(), Why: r.why, Saved: state.Saved, Percent: r.percent, Waiting: slices.Clone(r.waiting)}
	if state.Reason != 0 {
		out.Reason = state.Reason.String()
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
	if err := n.openCatalog(); err != nil {
		return err
	}
	r, err := commit.OpenRebuilder(n.engine, n.cfg.Region.Origin, theShard, n.clock, time.Now, membership.Elsewhere(n.catalog.View(), n.rebuild.state.Reason))
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
	unavailable := &globaltable.Error{Op: "serve", Resource: n.cfg.Region.Name, Kind: globaltable.Unavailable, Message: "region " + n.cfg.Region.Name + " is being rebuilt, and is saving its records: ask again later; `concordat status` shows how far it is"}
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
		Tables:       admin.NoTables{Err: unavailable},
		Saved:        admin.NoSaved{Err: unavailable},
		Conflicts:    admin.NoConflicts{Err: unavailable},
		Streams:      admin.NoStreams{Err: unavailable},
		Snapshots:    admin.NoSnapshots{Err: unavailable},
		Audit:        admin.NoAudit{Err: unavailable},
		Policies:     admin.NoPolicies{Err: unavailable},
		Triggers:     admin.NoTriggers{Err: unavailable},
		TriggerRuns:  admin.NoTriggerRuns{Err: unavailable},
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
	if n.comeback.State().Step != commit.RebuildJoining {
		return nil
	}
	tick := time.NewTicker(n.cfg.Limits.Heartbeat)
	defer tick.Stop()
	for {
		changed := n.catalog.View().Changed()
		done, waiting, err := n.comeback.Look(ctx)
		if err != nil {
			if globaltable.KindOf(err) == globaltable.Denied {
				n.log.Error().Err(err).Msg("the region is not admitted")
			}
			waiting = append(waiting, messageOf(err))
		}
		n.rebuild.mu.Lock()
		n.rebuild.waiting = waiting
		n.rebuild.mu.Unlock()
		if n.comeback.State().Step == commit.RebuildNeeded {
			n.excludeNeeded(commit.Fenced, "")
			n.endRebuilding()
			return nil
		}
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

// messageOf is what people are told of an error.
func messageOf(err error) string {
	var e *globaltable.Error
	if errors.As(err, &e) && e.Message != "" {
		return e.Message
	}
	return err.Error()
}
