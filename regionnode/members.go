package regionnode

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/regionnode/membership"
)

// watchMembers keeps what depends on the members as the catalog has them: whom the log waits for, and whether this region serves clients.
func (n *Node) watchMembers(ctx context.Context) error {
	for {
		v := n.catalog.View()
		n.excludeClosed(v)
		n.checkStanding(v)
		n.rollLedger(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-v.Changed():
		}
	}
}

// excludeClosed has the log not wait for regions that nobody hears any more.
func (n *Node) excludeClosed(v *catalog.View) {
	if unawaited := membership.Unawaited(v); unawaited != nil {
		n.outbox.Exclude(unawaited)
	}
}

// checkStanding refuses clients while this region, as it knows itself, is not an active member, or the others follow another store of it.
func (n *Node) checkStanding(v *catalog.View) {
	if why := membership.Outside(v, n.shard.Incarnation()); why != "" {
		n.exclude(refusedMember, why)
	} else {
		n.allowAll(refusedMember)
	}
	n.checkRefusals()
}

// fenced takes from a heartbeat whether a peer refuses to replicate with this region, and by which version of the world's document.
func (n *Node) fenced(name string, is bool, by globaltable.Version) {
	n.mu.Lock()
	changed := n.refusals.Take(name, is, by)
	n.mu.Unlock()
	if !changed {
		return
	}
	if is && membership.News(n.catalog.View(), by) {
		n.plane.HearAgain(name)
	}
	n.checkRefusals()
}

// checkRefusals refuses clients while a peer knows of the members what this region does not, and refuses to replicate with it.
func (n *Node) checkRefusals() {
	n.refusing.Lock()
	defer n.refusing.Unlock()
	n.mu.Lock()
	names := n.refusals.News(n.catalog.View())
	n.mu.Unlock()
	if len(names) == 0 {
		n.allowAll(refusedFenced)
		return
	}
	n.exclude(refusedFenced, fmt.Sprintf("its peers do not follow it (%s). %s", strings.Join(names, ", "), membership.Hint))
}

// exclude refuses reads and writes of clients.
func (n *Node) exclude(reason, why string) {
	n.excludeWith(reason, "Region "+n.cfg.Region.Name+" serves nobody: "+why)
}

// excludeWith is exclude with the message as it is told.
func (n *Node) excludeWith(reason, message string) {
	n.refuse(reason, message)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.excluded[reason] = &globaltable.Error{Op: "serve", Resource: n.cfg.Region.Name, Kind: globaltable.Fenced, Message: message}
	n.noteExcluded()
}

func (n *Node) allowAll(reason string) {
	n.allow(reason)
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.excluded, reason)
	n.noteExcluded()
}

// noteExcluded publishes the first reason to the requests' goroutines. The caller holds mu.
func (n *Node) noteExcluded() {
	if len(n.excluded) == 0 {
		n.closed.Store(nil)
		return
	}
	err := n.excluded[slices.Min(slices.Collect(maps.Keys(n.excluded)))]
	n.closed.Store(&err)
}

// serves returns why no client is served now; nil: they are.
func (n *Node) serves() error {
	if err := n.closed.Load(); err != nil {
		return *err
	}
	return nil
}
