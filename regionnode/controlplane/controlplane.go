// Package controlplane makes, changes and deletes tables, over all regions.
//
// A table's document has one owner, the region that made the table, and the owner alone issues versions of it, one after the other. Other regions ask
// the owner. A version reaches every region by the catalog's lane and comes into force there by itself (package catalog).
// What takes several regions, a replica on its way in or out, is brought to its end by looking, again and again, at what is: the owner asks the regions
// concerned how far they are, and issues the next version when the answers allow it. Nothing of that is remembered but in documents and adoptions, which are in the
// store, so every side may crash at any time.
//
// Five loops do this, each by itself so that none waits for another's unreachable region:
//
//	hear   after a start, fetch what each region has, so that this one never issues a version that exists already
//	lead   as the owner of tables: ask, and issue what follows
//	world  as the owner of the world: likewise, and take over the tables of regions that are fenced
//	depart as a replica that becomes a table of its own: make that table, and tell when it has all that the replica has
//	leave  as a replica on its way out: wait until the remaining ones have all that was written here, then drop the data
//
// A sixth counts items for plans of policies, when it is asked.
package controlplane

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/commit"
	"github.com/concordat-db/concordat/regionnode/placing"
	"github.com/concordat-db/concordat/streams/repair"
)

// Door is the way into the store: a commit.Shard.
type Door interface {
	Write(ctx context.Context, w *commit.Write) error
	Get(ctx context.Context, key commit.Key, f func(commit.Current) error) error
	Records(ctx context.Context, table globaltable.TableID, from, to item.Key, f func(key item.Key, record []byte) (more bool)) error
	MergeFrom(ctx context.Context, origin hlc.Origin, incarnation globaltable.Incarnation, records []commit.RecordAt) error
	DropTable(ctx context.Context, table globaltable.TableID) error
	Count(table globaltable.TableID) (items, bytes int64, err error)
	Heads(ctx context.Context) (commit.Heads, error)
	Confirmations() []commit.Confirmation
	Mirror(table globaltable.TableID) (commit.MirrorStatus, bool)
	// Returns reports whether the store was emptied, and the other regions do not follow it yet.
	Returns() bool
}

// Items shows what this region holds: a commit.Shard.
type Items interface {
	Walk(ctx context.Context, r commit.Range, f func(key item.Key, current commit.Current) (more bool)) error
}

// Peers asks other regions. There, HandlePeer answers.
type Peers interface {
	// Ask sends a request to a region and returns the answer. An error means that the region could not be asked, or that its answer is lost: of kind
	// Unavailable when the request has certainly not arrived.
	Ask(ctx context.Context, region string, request []byte) ([]byte, error)
}

// Joins tells how far the replicas are that are being created in this region. A *repair.Joiner is one.
type Joins interface {
	// Progress is about the replica that version since of the table brought. ok is false when nothing is known of it.
	Progress(table globaltable.TableID, since globaltable.Version) (p repair.Progress, ok bool)
}

// Places tells how far this region is with carrying out locality policies. A *placing.Placer is one.
type Places interface {
	// Progress is about what that version of the table demands of this region.
	Progress(table globaltable.TableID, version globaltable.Version) placing.Progress
}

// Clock is the region's hybrid clock: an *hlc.Clock.
type Clock interface {
	Last() hlc.Timestamp
	Observe(t hlc.Timestamp) error
}

// Config says what a Plane works with. Zero limits mean the defaults.
type Config struct {
	Catalog *catalog.Catalog // loaded, and the one that Door works under
	Door    Door
	Items   Items
	Peers   Peers
	Joins   Joins
	Places  Places
	Marks   Marks
	Now     func() time.Time // wall clock
	Clock   Clock            // the one that Door stamps with
	// Tokens are the signed descriptors of this region and of those configured as its peers: the first document of the world is made of them.
	Tokens []string
	// Key is the region's own: it signs what this region writes into the audit log. nil: it keeps none.
	Key globaltable.Signer

	Random     io.Reader     // for what is secret; crypto/rand. It never fails
	Every      time.Duration // between looks at what is unfinished; 250 ms
	AskTimeout time.Duration // for one request to a peer; 3 s
	MaxTables  int           // tables that have their name in this region; 2500
	Events     Events
}

// Validate reports all faults at once.
func (c *Config) Validate() error {
	var faults []error
	fault := func(bad bool, text string) {
		if bad {
			faults = append(faults, errors.New("control plane: "+text))
		}
	}
	fault(c.Catalog == nil, "no catalog")
	fault(c.Door == nil, "no door")
	fault(c.Items == nil, "no items")
	fault(c.Peers == nil, "no peers")
	fault(c.Joins == nil, "no joins")
	fault(c.Places == nil, "no places")
	fault(c.Marks == nil, "no marks")
	fault(c.Now == nil, "no clock")
	fault(c.Clock == nil, "no hybrid clock")
	fault(c.Every < 0 || c.AskTimeout < 0 || c.MaxTables < 0, "a limit is negative")
	return errors.Join(faults...)
}

// Events are callbacks. Any may be nil. They may be called from several goroutines.
type Events struct {
	Issued      func(t *globaltable.Table)           // this region, the owner, made a version
	WorldIssued func(w *globaltable.World)           // likewise
	Failed      func(what, region string, err error) // it is tried again; region may be empty
}

// Plane is a region's part in the making of tables. Its methods may be called from several goroutines.
type Plane struct {
	cfg  Config
	self globaltable.Descriptor
	turn chan struct{}       // holds a token while somebody issues: versions are made one at a time
	last globaltable.TableID // newest id that this start made; guarded by turn

	chain auditChain

	mu       sync.Mutex
	epoch    uint32            // of this start; 0: not raised yet
	unheard  map[string]uint64 // region → the number of the wish to hear it
	wishes   uint64
	closed   globaltable.Version // of the world's document: what the owner had heard when it closed members is here up to this one's
	progress map[globaltable.TableID]catalog.Progress
	leaving  map[globaltable.TableID]*leave
	parting  map[globaltable.TableID]parting
	world    worldProgress
	censuses map[[sha256.Size]byte]*census

	toCount chan struct{} // holds a token when there may be a census to take
}

// New returns a Plane. It starts nothing.
func New(cfg Config) (*Plane, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg.Every = cmp.Or(cfg.Every, 250*time.Millisecond)
	cfg.AskTimeout = cmp.Or(cfg.AskTimeout, 3*time.Second)
	cfg.MaxTables = cmp.Or(cfg.MaxTables, 2500)
	cfg.Random = cmp.Or(cfg.Random, rand.Reader)
	v := cfg.Catalog.View()
	p := &Plane{cfg: cfg, self: v.Self(), turn: make(chan struct{}, 1), unheard: map[string]uint64{}, chain: auditChain{turn: make(chan struct{}, 1)},
		progress: map[globaltable.TableID]catalog.Progress{}, leaving: map[globaltable.TableID]*leave{}, parting: map[globaltable.TableID]parting{},
		censuses: map[[sha256.Size]byte]*census{}, toCount: make(chan struct{}, 1)}
	for _, d := range v.Regions() {
		if d.Origin != p.self.Origin {
			p.unheard[d.Name] = 0
		}
	}
	return p, nil
}

// Looks returns what Run repeats: each brings what is unfinished one step on and returns. They are for the simulation, which owns time, in place of Run.
func (p *Plane) Looks() []func(context.Context) {
	return []func(context.Context){p.hear, p.hearClosing, p.lead, p.leadWorld, p.depart, p.leave}
}

// Run brings what is unfinished to its end, until ctx is done; it returns nil then.
func (p *Plane) Run(ctx context.Context) error {
	var g errgroup.Group
	for _, look := range p.Looks() {
		g.Go(func() error {
			p.repeat(ctx, look)
			return nil
		})
	}
	g.Go(func() error {
		p.count(ctx)
		return nil
	})
	return g.Wait()
}

// repeat calls look now, after every change of the catalog, and from time to time.
func (p *Plane) repeat(ctx context.Context, look func(context.Context)) {
	tick := time.NewTicker(p.cfg.Every)
	defer tick.Stop()
	for {
		changed := p.cfg.Catalog.View().Changed()
		look(ctx)
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-tick.C:
		}
	}
}

func (p *Plane) failed(ctx context.Context, what, region string, err error) {
	if f := p.cfg.Events.Failed; f != nil && ctx.Err() == nil {
		f(what, region, err)
	}
}

// CreateTable makes a table with one replica, here, active at once; this region is its owner.
func (p *Plane) CreateTable(ctx context.Context, spec catalog.Spec) (*globaltable.Table, error) {
	const op = "create table"
	if err := p.lock(ctx, op, spec.Name); err != nil {
		return nil, err
	}
	defer p.unlock()
	v := p.cfg.Catalog.View()
	if t, ok := v.Lookup(spec.Name); ok {
		switch t.StatusIn(p.self.Origin) {
		case globaltable.Deleting:
			return nil, catalog.InUse(op, spec.Name, "deleted")
		case globaltable.Creating:
			return nil, catalog.InUse(op, spec.Name, "created")
		}
		return nil, catalog.Exists(op, spec.Name)
	}
	if v.Len() >= p.cfg.MaxTables {
		return nil, &globaltable.Error{Op: op, Resource: spec.Name, Kind: globaltable.LimitExceeded,
			Message: fmt.Sprintf("Subscriber limit exceeded: There is a limit of %d tables per region", p.cfg.MaxTables)}
	}
	id := p.nextID(v)
	spec.Secret = p.newSecret()
	if _, err := catalog.Create(&spec, id, p.self, 1); err != nil {
		return nil, err
	}
	epoch, err := p.raise(ctx, 0)
	if err != nil {
		return nil, err
	}
	t, err := catalog.Create(&spec, id, p.self, epoch)
	if err != nil {
		return nil, err
	}
	p.last = id
	return t, p.put(ctx, cause{op: op, asked: p.self.Name}, nil, t)
}

// nextID returns an id whose millisecond is later than that of any table that this region made, or has named to make it.
func (p *Plane) nextID(v *catalog.View) globaltable.TableID {
	newest := p.last
	note := func(id globaltable.TableID) {
		if hlc.Origin(id) == p.self.Origin {
			newest = max(newest, id)
		}
	}
	v.Tables(func(t *globaltable.Table) bool {
		note(t.ID)
		for i := range t.Replicas {
			note(t.Replicas[i].Successor)
		}
		for _, id := range t.Parted {
			note(id)
		}
		return true
	})
	now := max(hlc.FromTime(p.cfg.Now()), hlc.Timestamp(newest).Add(time.Millisecond))
	return globaltable.NewTableID(now, p.self.Origin)
}

// UpdateTable changes the table that has the name here. When another region owns it, that one is asked.
func (p *Plane) UpdateTable(ctx context.Context, name string, change catalog.Change) (*globaltable.Table, error) {
	const op = "update table"
	t, err := p.changeable(op, name)
	if err != nil {
		return nil, err
	}
	change.Region = p.self.Name
	if d := change.Disassociate; d != nil {
		id, err := p.reserve(ctx, op, name)
		if err != nil {
			return nil, err
		}
		change.Disassociate = &catalog.Disassociation{Region: d.Region, Successor: id, Confirmed: d.Confirmed}
	}
	if t.Owner != p.self.Origin {
		return p.forward(ctx, op, t, &request{Update: &updateRequest{t.ID.String(), change}})
	}
	return p.update(ctx, t.ID, &change)
}

// changeable returns the table that has the name here, if this region's replica is neither being made nor being deleted.
func (p *Plane) changeable(op, name string) (*globaltable.Table, error) {
	t, err := p.plannable(op, name)
	if err == nil && t.StatusIn(p.self.Origin) == globaltable.Creating {
		return nil, catalog.InUse(op, name, "created")
	}
	return t, err
}

// plannable returns the table that has the name here, if this region's replica is not being deleted. It may be being made, or have been made just now without the region's having heard of that, while who asks has: what
// is planned is about later, and what is applied may be applied later.
func (p *Plane) plannable(op, name string) (*globaltable.Table, error) {
	t, ok := p.cfg.Catalog.View().Lookup(name)
	switch {
	case !ok:
		return nil, catalog.NotFound(op, name)
	case t.StatusIn(p.self.Origin) == globaltable.Deleting:
		return nil, catalog.InUse(op, name, "deleted")
	}
	return t, nil
}

// newSecret makes what becomes the secret of a table's streams, if the change switches on the first.
func (p *Plane) newSecret() []byte {
	secret := make([]byte, globaltable.StreamSecretLen)
	_, _ = io.ReadFull(p.cfg.Random, secret)
	return secret
}

// update is UpdateTable in the owner's region, asked for in the region that the change names.
func (p *Plane) update(ctx context.Context, id globaltable.TableID, change *catalog.Change) (*globaltable.Table, error) {
	change.At, change.Secret = p.cfg.Now().UnixMilli(), p.newSecret()
	return p.issue(ctx, cause{op: "update table", asked: change.Region}, id, func(t *globaltable.Table, epoch uint32) (*globaltable.Table, error) {
		if change.TimeToLive != nil {
			change.TimeToLive.At = hlc.FromTime(p.cfg.Now().Add(catalog.TimeToLiveLead))
		}
		return catalog.Update(t, change, epoch, p.cfg.Catalog.View().ActiveRegion)
	})
}

// DeleteTable removes this region's replica of the table that has the name here. The last replica takes the table with it.
func (p *Plane) DeleteTable(ctx context.Context, name string) (*globaltable.Table, error) {
	const op = "delete table"
	t, err := p.changeable(op, name)
	if err != nil {
		return nil, err
	}
	if t.Owner != p.self.Origin {
		return p.forward(ctx, op, t, &request{Delete: &deleteRequest{t.ID.String()}})
	}
	return p.remove(ctx, t.ID, p.self.Name)
}

// remove is DeleteTable in the owner's region, for the region given.
func (p *Plane) remove(ctx context.Context, id globaltable.TableID, region string) (*globaltable.Table, error) {
	return p.issue(ctx, cause{op: "delete table", asked: region}, id, func(t *globaltable.Table, epoch uint32) (*globaltable.Table, error) {
		return catalog.Remove(t, region, epoch)
	})
}

// DescribeTable returns the table that has the name here; where this region is its owner, with descriptions of what unfinished replicas wait for.
func (p *Plane) DescribeTable(name string) (*globaltable.Table, error) {
	t, ok := p.cfg.Catalog.View().Lookup(name)
	if !ok {
		return nil, catalog.NotFound("describe table", name)
	}
	return p.Describe(t), nil
}

// Describe returns t with what DescribeTable adds.
func (p *Plane) Describe(t *globaltable.Table) *globaltable.Table {
	if t.Owner != p.self.Origin || t.Settled() {
		return t
	}
	p.mu.Lock()
	progress := p.progress[t.ID]
	p.mu.Unlock()
	progress.Unheard = p.Unheard()
	return catalog.Describe(t, progress)
}

// ReplicaProgress returns how much of a table a replica of it that is being created has got, how far one is that carries out locality policies, or of a replica the table of its own that it becomes, 0 to 100. ok is false when this region does not
// know: the owner does, and the replica's own.
func (p *Plane) ReplicaProgress(table globaltable.TableID, region hlc.Origin) (percent int, ok bool) {
	t, known := p.cfg.Catalog.View().Table(table)
	if !known {
		return 0, false
	}
	r := t.Replica(region)
	if r == nil || r.Status != globaltable.Creating && !r.Disassociating() && r.Placing == 0 {
		return 0, false
	}
	if region == p.self.Origin && r.Placing != 0 {
		return p.placing(t, r.Placing).Percent, true
	}
	if region == p.self.Origin && r.Disassociating() {
		copied, _ := p.cfg.Door.Mirror(table)
		return copied.Percent, true
	}
	if region == p.self.Origin {
		progress, _ := p.cfg.Joins.Progress(table, r.Since)
		return progress.Percent, true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	a, ok := p.progress[table].Answers[region]
	return a.Percent, ok
}

// Unheard returns the active members whose newest documents this region has not seen since its start, sorted. Until there are none it changes no document that was
// there before.
func (p *Plane) Unheard() []string {
	v := p.cfg.Catalog.View()
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []string
	for name := range p.unheard {
		if _, active := v.ActiveRegion(name); active {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// forward asks the owner of t to do what only it can do.
func (p *Plane) forward(ctx context.Context, op string, t *globaltable.Table, r *request) (*globaltable.Table, error) {
	unreachable := func(name string, kind globaltable.Kind, err error) error {
		message := "The table is owned by region " + name + ", which cannot be reached. Tables are changed by their owner; items can be read and written as ever."
		if kind == globaltable.Unknown {
			message = "The table is owned by region " + name + ", which was asked and has not answered. Whether the change was made is not known."
		}
		return &globaltable.Error{Op: op, Resource: t.Name, Kind: kind, Message: message, Err: err}
	}
	owner, ok := p.cfg.Catalog.View().RegionOf(t.Owner)
	if !ok {
		return nil, unreachable(fmt.Sprintf("number %d", t.Owner), globaltable.Unavailable, errors.New("no descriptor of it is configured"))
	}
	a, err := p.ask(ctx, owner.Name, r)
	var answered *answerError
	switch {
	case errors.As(err, &answered):
		return nil, answered.err
	case err != nil && globaltable.KindOf(err) == globaltable.Unavailable:
		return nil, unreachable(owner.Name, globaltable.Unavailable, err)
	case err != nil:
		return nil, unreachable(owner.Name, globaltable.Unknown, err)
	}
	next, err := globaltable.DecodeTable([]byte(a.Table))
	if err != nil {
		return nil, err
	}
	// The new version is on its way by the catalog's lane. Whoever asked for it should find it here at once, so it is fetched too.
	if err := p.Fetch(ctx, owner.Name); err != nil {
		p.failed(ctx, "fetch catalog", owner.Name, err)
	}
	return next, nil
}

// errUnheard says why no version may be issued.
func (p *Plane) errUnheard(op, name string, regions []string) error {
	return &globaltable.Error{Op: op, Resource: name, Kind: globaltable.Unavailable,
		Message: "Since its start, region " + p.self.Name + ", which owns the table, has not heard from: " + strings.Join(regions, ", ") +
			". It changes existing tables when it has, so that no two versions of one number are made."}
}
