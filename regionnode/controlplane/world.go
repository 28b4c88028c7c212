package controlplane

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/audit"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/globaltable/item"
)

// worldRequest asks the world's owner for a change of the members. At most one field is set; with none it asks what the owner waits for.
type worldRequest struct {
	Fence  []string      `json:"fence,omitempty"`
	Remove string        `json:"remove,omitempty"`
	Force  bool          `json:"force,omitempty"` // with Remove: although tables have their only copy there
	Add    string        `json:"add,omitempty"`   // a signed descriptor
	Admit  *admitRequest `json:"admit,omitempty"`
}

// admitRequest is about a region with a new store, which asks for itself or through another one.
type admitRequest struct {
	Region      string                  `json:"region"`
	Incarnation globaltable.Incarnation `json:"incarnation"`
}

// admits reports whether r asks that the region named be admitted.
func (r *worldRequest) admits(region string) bool {
	return r != nil && r.Admit != nil && r.Admit.Region == region
}

// out returns the regions that r puts out of the world, for some time at least: none of them can issue it.
func (r *worldRequest) out() []string {
	switch {
	case r.Remove != "":
		return []string{r.Remove}
	case r.Admit != nil:
		return []string{r.Admit.Region}
	}
	return r.Fence
}

func (r *worldRequest) op() string {
	switch {
	case len(r.Fence) > 0:
		return "fence region"
	case r.Remove != "":
		return "remove region"
	case r.Add != "":
		return "add region"
	case r.Admit != nil:
		return "admit region"
	}
	return "describe world"
}

func (r *worldRequest) resource() string {
	if r.Add != "" {
		return "" // a token
	}
	return strings.Join(r.out(), ", ")
}

// apply returns the document that r makes of w.
func (r *worldRequest) apply(w *globaltable.World, owner hlc.Origin, epoch uint32) (*globaltable.World, error) {
	switch {
	case len(r.Fence) > 0:
		return catalog.FenceMembers(w, r.Fence, owner, epoch)
	case r.Remove != "":
		return catalog.RemoveMember(w, r.Remove, owner, epoch)
	case r.Add != "":
		return catalog.AddMember(w, r.Add, owner, epoch)
	case r.Admit != nil:
		return catalog.AdmitMember(w, r.Admit.Region, r.Admit.Incarnation, owner, epoch)
	}
	return w, nil
}

// FenceRegion has regions be heard no more, by anybody. It returns once the world's owner has said so: what follows takes until every active member has been reached, see Members. To fence
// a region that is fenced already is no error.
func (p *Plane) FenceRegion(ctx context.Context, names ...string) error {
	_, err := p.changeWorld(ctx, &worldRequest{Fence: names})
	return err
}

// RemoveRegion is FenceRegion for ever: the region's replicas go from the tables, and its number is never used again. A region that has the only copy of a table is removed only if force is set.
func (p *Plane) RemoveRegion(ctx context.Context, name string, force bool) error {
	_, err := p.changeWorld(ctx, &worldRequest{Remove: name, Force: force})
	return err
}

// AddRegion makes a region, by its signed descriptor, a member. Its name, number and key must be ones that no member ever had. To add one that was added already is no error.
func (p *Plane) AddRegion(ctx context.Context, token string) error {
	if _, err := globaltable.ParseDescriptor(token); err != nil {
		return err
	}
	_, err := p.changeWorld(ctx, &worldRequest{Add: token})
	return err
}

// Admit asks that this region, whose store is new and has the incarnation given, be an active member. It returns nil when the world's owner has made it one, and this region knows. Until then the error says what is
// waited for, mostly of kind Unavailable, and the caller asks again. Any other region that can be reached will do.
func (p *Plane) Admit(ctx context.Context, incarnation globaltable.Incarnation) error {
	const op = "admit region"
	r := &worldRequest{Admit: &admitRequest{p.self.Name, incarnation}}
	err := error(&globaltable.Error{Op: op, Resource: p.self.Name, Kind: globaltable.Unavailable, Message: "No other region can be reached."})
	for _, d := range p.cfg.Catalog.View().Regions() {
		if d.Origin == p.self.Origin {
			continue
		}
		a, askErr := p.ask(ctx, d.Name, &request{World: r})
		var answered *answerError
		switch {
		case errors.As(askErr, &answered):
			err = answered.err
			if globaltable.KindOf(err) != globaltable.Unavailable {
				return err
			}
		case askErr != nil:
			continue
		case len(a.Pending) > 0:
			return &globaltable.Error{Op: op, Resource: p.self.Name, Kind: globaltable.Unavailable, Message: "Waiting for " + strings.Join(a.Pending, "; ") + "."}
		default:
			return p.Fetch(ctx, d.Name)
		}
	}
	return err
}

// Standing returns what this region is to the others, as far as it knows: its state, the incarnation that they follow, and the version of the world's document that says so. Empty: it is not a member.
func (p *Plane) Standing() (state globaltable.MemberState, followed globaltable.Incarnation, since globaltable.Version) {
	m, _ := p.cfg.Catalog.View().Member(p.self.Origin)
	return m.State, m.Incarnation, m.Since
}

// HearAgain has the catalog of a region fetched again: that does not hear this one any more and knows why, or whose catalog lane had to be begun anew, without some of its documents. What it is
// being asked already may have been answered before, and does not count.
func (p *Plane) HearAgain(region string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wishes++
	p.unheard[region] = p.wishes
}

// issuer returns the region that can issue the world's next document: its owner; without a document, or where that is among those that go out, the active member with the lowest number that is not.
func issuer(v *catalog.View, out []string) (d globaltable.Descriptor, ok bool) {
	if w, known := v.World(); known {
		if owner, active := v.RegionOf(w.Owner); active && v.Active(w.Owner) && !slices.Contains(out, owner.Name) {
			return owner, true
		}
	}
	for _, r := range v.Regions() {
		if !slices.Contains(out, r.Name) && (!ok || r.Origin < d.Origin) {
			d, ok = r, true
		}
	}
	return d, ok
}

// changeWorld does what r asks for, here or in the region that can.
func (p *Plane) changeWorld(ctx context.Context, r *worldRequest) (*answer, error) {
	op := r.op()
	fault := func(kind globaltable.Kind, format string, args ...any) error {
		return &globaltable.Error{Op: op, Resource: r.resource(), Kind: kind, Message: fmt.Sprintf(format, args...)}
	}
	v := p.cfg.Catalog.View()
	switch {
	case r.Admit == nil && slices.Contains(r.out(), p.self.Name):
		return nil, fault(globaltable.Invalid, "A region is fenced or removed from another region: ask one of the others.")
	case !v.Active(p.self.Origin):
		return nil, fault(globaltable.Fenced, "Region %s is fenced or removed itself: ask an active one.", p.self.Name)
	}
	for _, name := range r.out() {
		if _, known := v.Region(name); !known {
			return nil, fault(globaltable.NotFound, "There is no region %s.", name)
		}
	}
	to, ok := issuer(v, r.out())
	if !ok {
		return nil, fault(globaltable.Invalid, "No active region would be left.")
	}
	if to.Origin == p.self.Origin {
		return p.issueWorld(ctx, r)
	}
	a, err := p.ask(ctx, to.Name, &request{World: r})
	var answered *answerError
	switch {
	case errors.As(err, &answered):
		return nil, answered.err
	case err != nil:
		return nil, fault(globaltable.KindOf(err), "Region %s, which has to do it, cannot be reached.", to.Name)
	}
	// The new version is on its way by the catalog's lane. Whoever asked for it should find it here at once.
	if err := p.Fetch(ctx, to.Name); err != nil {
		p.failed(ctx, "fetch catalog", to.Name, err)
	}
	return a, nil
}

// answerWorld answers a region's request. One that reaches a region that cannot do it is passed on, once: that of a region that comes back, which may not know whom to ask.
func (p *Plane) answerWorld(ctx context.Context, r *worldRequest, from globaltable.Descriptor) (*answer, error) {
	to, ok := issuer(p.cfg.Catalog.View(), r.out())
	switch {
	case ok && to.Origin == p.self.Origin:
		return p.issueWorld(ctx, r)
	case r.admits(from.Name):
		return p.changeWorld(ctx, r)
	}
	return nil, &globaltable.Error{Op: r.op(), Resource: r.resource(), Kind: globaltable.Unavailable,
		Message: "Region " + p.self.Name + " does not own the world's document; the catalogs of the regions are not the same yet. Try again."}
}

// issueWorld makes the next document of the world as r asks. What is pending afterwards is in the answer.
func (p *Plane) issueWorld(ctx context.Context, r *worldRequest) (*answer, error) {
	if r.op() == "describe world" {
		return &answer{Pending: p.pending()}, nil
	}
	if err := p.lock(ctx, r.op(), r.resource()); err != nil {
		return nil, err
	}
	defer p.unlock()
	w, err := p.nextWorld(ctx, r.op(), r.out(), func(w *globaltable.World, epoch uint32) (*globaltable.World, error) {
		made, err := r.apply(w, p.self.Origin, epoch)
		if err == nil {
			err = p.allowed(r, w)
		}
		return made, err
	})
	if err != nil {
		return nil, err
	}
	a := &answer{World: string(globaltable.EncodeWorld(w))}
	if r.Admit != nil && (!w.Active(w.MemberNamed(r.Admit.Region).Descriptor.Origin) || w.MemberNamed(r.Admit.Region).Incarnation != r.Admit.Incarnation) {
		a.Pending = p.pending()
		if len(a.Pending) == 0 {
			a.Pending = []string{"the other regions to hear that the earlier store of " + r.Admit.Region + " is not followed any more"}
		}
	}
	return a, nil
}

// allowed says why r must not be done now, beyond what the documents of the world say themselves.
func (p *Plane) allowed(r *worldRequest, w *globaltable.World) error {
	v := p.cfg.Catalog.View()
	switch {
	case r.Remove != "" && !r.Force:
		if only := onlyCopies(v, w.MemberNamed(r.Remove).Descriptor.Origin); len(only) > 0 {
			return &globaltable.Error{Op: r.op(), Resource: r.Remove, Kind: globaltable.InUse,
				Message: "These tables have their only copy in " + r.Remove + " and would be lost: " + strings.Join(only, ", ") + "."}
		}
	case r.Admit != nil:
		m := w.MemberNamed(r.Admit.Region)
		if m.State != globaltable.MemberFenced {
			return nil
		}
		if open := openTables(v, m.Descriptor.Origin); len(open) > 0 {
			return &globaltable.Error{Op: r.op(), Resource: r.Admit.Region, Kind: globaltable.Unavailable,
				Message: "Waiting for these tables to be closed for its earlier store: " + strings.Join(open, ", ") + "."}
		}
	}
	return nil
}

// maxNamed bounds the tables that a message names.
const maxNamed = 20

func named(names []string) []string {
	if len(names) > maxNamed {
		names = append(names[:maxNamed], fmt.Sprintf("and %d more", len(names)-maxNamed))
	}
	return names
}

// OnlyCopies returns the tables that have their data in one region and nowhere else; of more than a few, some.
func (p *Plane) OnlyCopies(region hlc.Origin) []string {
	return onlyCopies(p.cfg.Catalog.View(), region)
}

// onlyCopies returns the tables whose data would be gone with a region's.
func onlyCopies(v *catalog.View, o hlc.Origin) (out []string) {
	v.Tables(func(t *globaltable.Table) bool {
		mine := t.Replica(o)
		if mine == nil || v.Awaits(t, o) || mine.Status == globaltable.CreationFailed || mine.Status == globaltable.Creating ||
			slices.ContainsFunc(t.Replicas, func(r globaltable.Replica) bool {
				return r.Origin != o && (r.Status == globaltable.Active || r.Status == globaltable.Updating)
			}) {
			return true
		}
		out = append(out, t.Name)
		return true
	})
	return named(out)
}

// openTables returns the tables that still have to do with a region that is closed: its replica is not fenced yet, or it is the owner.
func openTables(v *catalog.View, o hlc.Origin) (out []string) {
	v.Tables(func(t *globaltable.Table) bool {
		if !t.Deleted && (t.Owner == o || !catalog.Closed(t, o)) {
			out = append(out, t.Name)
		}
		return true
	})
	return named(out)
}

// nextWorld issues what next makes of the world's newest document. out are the regions whose word does not count any more. The caller has the turn.
func (p *Plane) nextWorld(ctx context.Context, op string, out []string, next func(*globaltable.World, uint32) (*globaltable.World, error)) (*globaltable.World, error) {
	takesOver := p.takesOver()
	if err := p.hearAll(ctx, op, out, takesOver); err != nil {
		return nil, err
	}
	least, was := uint32(1), globaltable.Version(0)
	w, ok := p.cfg.Catalog.View().World()
	if ok {
		least, was = w.Version.Epoch(), w.Version
	} else {
		// It is never issued as it is: what comes of it is the first that others see.
		var err error
		if w, err = p.found(op); err != nil {
			return nil, err
		}
	}
	if takesOver {
		least = p.outnumber(w, out)
	}
	// A request that is wrong is told so before anything is written.
	if made, err := next(w, least); err != nil || made == w {
		return w, err
	}
	epoch, err := p.raise(ctx, least)
	if err != nil {
		return nil, err
	}
	made, err := next(w, epoch)
	if err != nil {
		return nil, err
	}
	return made, p.putWorld(ctx, op, was, w, made)
}

// takeoverEpochs is how far the epoch of a region that takes over is above the newest one of the owner before that it knows: more than that one can have started again meanwhile, unheard. What it has issued since
// is void.
const takeoverEpochs = 1 << 10

// outnumber returns the least epoch in which a region issues what it takes over from the owner of w, which is out as the regions in out are: greater than any in which that one can have issued something, unheard. It may itself have taken over what
// those owned whom it had closed meanwhile, with an epoch so far above theirs. Those are out here as well: nobody is closed whom not all have put out that stay, this region among them.
func (p *Plane) outnumber(w *globaltable.World, out []string) uint32 {
	newest, owners := w.Version.Epoch(), map[hlc.Origin]bool{}
	for i := range w.Members {
		m := &w.Members[i]
		if m.State != globaltable.MemberActive && !m.State.Closed() || slices.Contains(out, m.Descriptor.Name) {
			owners[m.Descriptor.Origin] = true
		}
	}
	p.cfg.Catalog.View().Tables(func(t *globaltable.Table) bool {
		if m := w.Member(t.Owner); owners[t.Owner] || m != nil && m.State.Closed() {
			owners[t.Owner], newest = true, max(newest, t.Version.Epoch())
		}
		return true
	})
	return newest + takeoverEpochs*uint32(1+len(owners))
}

// takesOver reports whether this region would not be the one to issue the world's next document, were nobody put out.
func (p *Plane) takesOver() bool {
	d, _ := issuer(p.cfg.Catalog.View(), nil)
	return d.Origin != p.self.Origin
}

// found makes the first document of the world, of what is configured.
func (p *Plane) found(op string) (*globaltable.World, error) {
	w, err := catalog.FoundWorld(p.cfg.Tokens, p.self.Origin, 1)
	if err != nil {
		return nil, err
	}
	for _, m := range p.cfg.Catalog.View().Members() {
		if w.Member(m.Descriptor.Origin) == nil {
			return nil, &globaltable.Error{Op: op, Resource: m.Descriptor.Name, Kind: globaltable.Invalid,
				Message: "The signed descriptor of region " + m.Descriptor.Name + " is not configured here."}
		}
	}
	return w, nil
}

// hearAll makes sure that this region knows the newest document of the world. Its owner knows what it issued since its start, or has heard since then; who takes over asks all that are left, now.
func (p *Plane) hearAll(ctx context.Context, op string, out []string, takesOver bool) error {
	v := p.cfg.Catalog.View()
	if w, ok := v.World(); ok && w.Owner == p.self.Origin && p.ofThisStart(w.Version) {
		return nil
	}
	var missing []string
	if !takesOver {
		missing = p.Unheard()
	} else {
		for _, d := range v.Regions() {
			if d.Origin == p.self.Origin || slices.Contains(out, d.Name) {
				continue
			}
			if err := p.Fetch(ctx, d.Name); err != nil {
				p.failed(ctx, "hear catalog", d.Name, err)
				missing = append(missing, d.Name)
			}
		}
	}
	missing = slices.DeleteFunc(missing, func(name string) bool { return slices.Contains(out, name) })
	if len(missing) == 0 {
		return nil
	}
	return &globaltable.Error{Op: op, Kind: globaltable.Unavailable, Message: "Region " + p.self.Name + ", which has to do it, must hear first from: " +
		strings.Join(missing, ", ") + ". If they are lost as well, name them together."}
}

// putWorld writes the document next in place of that of version was. old is what it was made of: that one, or what is configured.
func (p *Plane) putWorld(ctx context.Context, op string, was globaltable.Version, old, next *globaltable.World) error {
	err := p.replace(ctx, p.own(op).entry(audit.OfWorld(old, next)), globaltable.WorldTable, was, 0, catalog.EncodeWorld(next), func(it item.Item) (globaltable.Version, error) {
		w, err := catalog.DecodeWorld(it)
		if err != nil {
			return 0, err
		}
		return w.Version, nil
	})
	if errors.Is(err, errChanged) {
		return &globaltable.Error{Op: "issue document", Resource: "world", Kind: globaltable.InUse, Message: "The members are being changed. Try again."}
	}
	if f := p.cfg.Events.WorldIssued; err == nil && f != nil {
		f(next)
	}
	return err
}
