package membership

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/regionnode/commit"
	"github.com/concordat-db/concordat/streams/repair"
)

// Store is the region's store, as a region that comes back needs it: a commit.Shard.
type Store interface {
	Incarnation() globaltable.Incarnation
	Confirmations() []commit.Confirmation
	Heads(ctx context.Context) (commit.Heads, error)
	ChangeRebuild(ctx context.Context, change func(commit.Rebuild) commit.Rebuild) (commit.Rebuild, error)
}

// Saved is what was saved before the store was emptied: a commit.Shard.
type Saved interface {
	Saved(table globaltable.TableID, after commit.Key, f func(commit.SavedRecord) (more bool)) error
	Purge(table globaltable.TableID) hlc.Timestamp
	RegainPurge(ctx context.Context, table globaltable.TableID) error
	Replay(ctx context.Context, records []commit.SavedRecord, purge hlc.Timestamp, alone bool) (commit.ReplayResult, error)
}

// Plane asks for admission: a controlplane.Plane.
type Plane interface {
	Standing() (state globaltable.MemberState, followed globaltable.Incarnation, since globaltable.Version)
	Admit(ctx context.Context, incarnation globaltable.Incarnation) error
	Unheard() []string
	HearAgain(region string)
}

// Joins tells how far the replicas are that are being created here: a repair.Joiner.
type Joins interface {
	Progress(table globaltable.TableID, since globaltable.Version) (p repair.Progress, ok bool)
}

// Config says what a Comeback works with. All fields but the callbacks are needed.
type Config struct {
	Catalog *catalog.Catalog
	Store   Store
	Saved   Saved
	Plane   Plane
	Joins   Joins
	State   commit.Rebuild // as the store has it

	Admitted func()                                            // the region is an active member and knows the catalog of the others: its tables tell by themselves which serve
	Replayed func(t *globaltable.Table, r commit.ReplayResult) // what was saved of a table was replayed
}

// Comeback decides how a region comes back that the others do not follow, or whose store they do not. It begins with a life of the region and ends with it; what must outlive that is
// in the store. Its methods may be called from several goroutines.
type Comeback struct {
	cfg  Config
	self hlc.Origin

	mu     sync.Mutex
	state  commit.Rebuild
	above  globaltable.Incarnation // greatest of this region that a peer has told of
	logged map[globaltable.TableID]*replayed
	asked  bool // for the catalogs of the others, since the region knows that it is admitted
}

// New returns a Comeback. It does nothing by itself.
func New(cfg Config) *Comeback {
	return &Comeback{cfg: cfg, self: cfg.Catalog.View().Self().Origin, state: cfg.State, above: cfg.State.Above, logged: map[globaltable.TableID]*replayed{}}
}

// State returns how far the rebuilding is.
func (c *Comeback) State() commit.Rebuild {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

// Met takes what a peer knows of this region's incarnations. It reports whether that says that the others still follow a store that this one was put in the place of: then see Need.
func (c *Comeback) Met(known globaltable.Incarnation) (replaced bool) {
	own := c.cfg.Store.Incarnation()
	c.mu.Lock()
	c.above = max(c.above, known)
	c.mu.Unlock()
	// A peer that met this store revoked all before: it knows of the one just below. Whose positions have been confirmed has been accepted.
	if known == 0 || known+1 >= own || len(c.cfg.Store.Confirmations()) > 0 {
		return false
	}
	_, followed, _ := c.cfg.Plane.Standing()
	return followed != own
}

// Followed reports whether the others follow this region's store, as far as it knows. What lanes have brought into one that they do not follow says nothing about what is here: a store that is new may be told by a document that it
// serves a table of which it never joined a record. So until it is followed no exchange is to end that lets its positions be told: it is emptied, or joins all its tables, first.
func (c *Comeback) Followed() bool {
	switch c.State().Step {
	case commit.RebuildNone:
		return true
	case commit.RebuildJoining:
		state, followed, _ := c.cfg.Plane.Standing()
		return state == globaltable.MemberActive && followed == c.cfg.Store.Incarnation()
	}
	return false
}

// Known reports whether a reason to be rebuilt says nothing new. A region that is on its way back is not followed yet, and its store is new.
func (c *Comeback) Known(reason commit.RebuildReason) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state.Step == commit.RebuildNeeded || c.state.Step == commit.RebuildSaving || c.state.Step == commit.RebuildJoining && reason != commit.Regressed
}

// Need notes, durably, that the region has to be rebuilt. Whoever calls it refuses clients before. After an error the next who notices tries again.
func (c *Comeback) Need(ctx context.Context, reason commit.RebuildReason) error {
	above := c.known()
	return c.change(ctx, func(now commit.Rebuild) commit.Rebuild {
		if now.Step != commit.RebuildSaving { // it has been asked for meanwhile
			now.Step, now.Reason = commit.RebuildNeeded, reason
		}
		now.Above = max(now.Above, above)
		return now
	})
}

// Begin has the store saved and emptied when the node is opened the next time: the caller sees to that if begun is true. It is false for a region that is on its way already. serves tells whether
// clients are served.
func (c *Comeback) Begin(ctx context.Context, serves bool) (begun bool, err error) {
	name := c.cfg.Catalog.View().Self().Name
	refused := func(kind globaltable.Kind, message string) error {
		return &globaltable.Error{Op: "rebuild region", Resource: name, Kind: kind, Message: "region " + name + message}
	}
	if step := c.State().Step; step == commit.RebuildSaving || step == commit.RebuildJoining {
		return false, nil
	}
	if standing, _, _ := c.cfg.Plane.Standing(); standing.Leaves() {
		return false, refused(globaltable.Denied, " was removed, for ever: make a new region")
	}
	if serves {
		return false, refused(globaltable.InUse, " serves its clients: there is nothing to rebuild")
	}
	above := c.known()
	err = c.change(ctx, func(now commit.Rebuild) commit.Rebuild {
		if now.Step == commit.RebuildNone {
			now.Reason = commit.Fenced
		}
		now.Step, now.Above, now.Saved, now.Cursor = commit.RebuildSaving, max(now.Above, above), 0, nil
		return now
	})
	return err == nil, err
}

// Look takes the next step that can be taken by a region whose store was emptied: to be admitted, to hear the catalogs of the others, to join its tables. It is called again and again until it
// is done. waiting says, in words, what for.
func (c *Comeback) Look(ctx context.Context) (done bool, waiting []string, err error) {
	if step := c.State().Step; step != commit.RebuildJoining {
		return step == commit.RebuildNone, nil, nil
	}
	own := c.cfg.Store.Incarnation()
	state, followed, _ := c.cfg.Plane.Standing()
	switch {
	case followed == own && state != globaltable.MemberActive || c.void():
		// It was admitted, and is fenced again; or the document that admitted it is void, of an owner of the world that was out itself, and its replicas are made anew. What it has replayed since, and what clients have written to
		// the tables that serve already, is to be saved like anything before.
		return false, []string{"to be rebuilt again: it was fenced meanwhile"}, c.Need(ctx, commit.Fenced)
	case state != globaltable.MemberActive || followed != own:
		return false, nil, c.cfg.Plane.Admit(ctx, own)
	}
	if _, why := c.uninformed(); why != "" {
		return false, []string{why}, nil
	}
	if f := c.cfg.Admitted; f != nil {
		f()
	}
	if open := c.openTables(); len(open) > 0 {
		return false, open, nil
	}
	if err := c.change(ctx, func(commit.Rebuild) commit.Rebuild { return commit.Rebuild{} }); err != nil {
		return false, nil, err
	}
	return true, nil, nil
}

// void reports whether something was replayed under a document of the world that is not the one by which the others follow this store, if they do.
func (c *Comeback) void() bool {
	noted := c.State().Since
	state, followed, since := c.cfg.Plane.Standing()
	return noted != 0 && (state != globaltable.MemberActive || followed != c.cfg.Store.Incarnation() || since != noted)
}

// uninformed says why the documents of tables that are known here may be older than the region's admission; "" when they are not. Its replicas are closed before it is admitted, and made anew after that; an
// earlier document can have one that is being created too, of an earlier return, and what is done for that one is dropped when the new one begins. So the catalogs of all others count that are heard
// after the region knew that it is admitted. since is the version of the world's document that has admitted it.
func (c *Comeback) uninformed() (since globaltable.Version, why string) {
	state, followed, since := c.cfg.Plane.Standing()
	if state != globaltable.MemberActive || followed != c.cfg.Store.Incarnation() {
		return 0, "to be admitted"
	}
	c.mu.Lock()
	first := !c.asked
	c.asked = true
	if first {
		for _, m := range Followed(c.cfg.Catalog.View()) {
			c.cfg.Plane.HearAgain(m.Descriptor.Name)
		}
	}
	c.mu.Unlock()
	if unheard := c.cfg.Plane.Unheard(); len(unheard) > 0 {
		return 0, "to hear the catalog of " + strings.Join(unheard, ", ")
	}
	return since, ""
}

// openTables says which tables have a replica in this region that does not serve yet.
func (c *Comeback) openTables() (out []string) {
	v := c.cfg.Catalog.View()
	v.Tables(func(t *globaltable.Table) bool {
		r := t.Replica(c.self)
		if r == nil || t.Deleted {
			return true
		}
		switch r.Status {
		case globaltable.StatusFencing, globaltable.StatusFenced:
			line := "to be let in by region " + nameIn(v, t.Owner)
			if regions, _ := catalog.Waits(t, c.self); len(regions) > 0 {
				line = strings.Join(regions, " and ") + catalog.ToComeBack
			}
			out = append(out, "table "+t.Name+": "+line)
		case globaltable.Creating:
			p, _ := c.cfg.Joins.Progress(t.ID, r.Since)
			line := fmt.Sprintf("table %s: %d %%", t.Name, p.Percent)
			if regions, _ := catalog.Waits(t, c.self); len(regions) > 0 {
				line += ", waiting for " + strings.Join(regions, " and ") + catalog.ToComeBack
			} else if p.Waiting != "" {
				line += ", waiting for " + p.Waiting
			}
			out = append(out, line)
		}
		return true
	})
	return out
}

func nameIn(v *catalog.View, o hlc.Origin) string {
	if d, ok := v.RegionOf(o); ok {
		return d.Name
	}
	return fmt.Sprint(o)
}

func (c *Comeback) known() globaltable.Incarnation {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.above
}

func (c *Comeback) change(ctx context.Context, change func(commit.Rebuild) commit.Rebuild) error {
	state, err := c.cfg.Store.ChangeRebuild(ctx, change)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state = state
	return nil
}
