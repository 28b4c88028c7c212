package regionnode

import (
	"context"
	"net/http"
	"sync"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode/dynamodb"
	"github.com/concordat-db/concordat/streams/peer"
)

// forwardsAtOnce bounds the requests that are forwarded to one region at once; further ones wait as long as a request may take. The region's bus takes more of a peer's requests than that, so heartbeats go on.
const forwardsAtOnce = 32

// forwarding sends clients' requests to other regions over the sessions that the inboxes hold: dynamodb.Forwarder.
type forwarding struct {
	session func(region string) (*peer.Session, error)
	// leaving puts what is about to go to a region into the egress ledger; nothing goes when it returns an error.
	leaving func(ctx context.Context, region string, tables []globaltable.TableID, bytes int) error

	mu    sync.Mutex
	slots map[string]chan struct{} // by region
}

func newForwarding(session func(region string) (*peer.Session, error), leaving func(ctx context.Context, region string, tables []globaltable.TableID, bytes int) error) *forwarding {
	return &forwarding{session: session, leaving: leaving, slots: map[string]chan struct{}{}}
}

// slot takes a place among those that are forwarded to the region, and returns what gives it back.
func (f *forwarding) slot(ctx context.Context, region string) (release func(), err error) {
	f.mu.Lock()
	slots := f.slots[region]
	if slots == nil {
		slots = make(chan struct{}, forwardsAtOnce)
		f.slots[region] = slots
	}
	f.mu.Unlock()
	select {
	case slots <- struct{}{}:
		return func() { <-slots }, nil
	case <-ctx.Done():
		return nil, &globaltable.Error{Op: "forward", Resource: region, Kind: globaltable.Unavailable, Message: "too many requests are forwarded to region " + region, Err: ctx.Err()}
	}
}

// Forward implements dynamodb.Forwarder.
func (f *forwarding) Forward(ctx context.Context, region string, r dynamodb.ForwardRequest) (dynamodb.Forwarded, error) {
	s, err := f.session(region)
	if err != nil {
		return dynamodb.Forwarded{}, err
	}
	release, err := f.slot(ctx, region)
	if err != nil {
		return dynamodb.Forwarded{}, err
	}
	defer release()
	if err := f.leaving(ctx, region, r.Tables, len(r.Parameters)); err != nil {
		return dynamodb.Forwarded{}, err
	}
	answer, body, err := s.Forward(ctx, peer.ForwardRequest(r))
	return dynamodb.Forwarded{Status: answer.Status, Siblings: answer.Siblings, Undone: answer.Undone, Body: body}, err
}

// serveForwarded returns what does the requests that peers forward. One that is refused, since the item may not be here or the peer may not have it forwarded, counts as denied.
func (n *Node) serveForwarded(api *dynamodb.Server) func(context.Context, globaltable.Descriptor, peer.ForwardRequest) (peer.Forwarded, []byte, error) {
	return func(_ context.Context, asker globaltable.Descriptor, r peer.ForwardRequest) (peer.Forwarded, []byte, error) {
		a, err := api.Forwarded(asker.Name, asker.Origin, dynamodb.ForwardRequest(r))
		if a.Undone && a.Status == http.StatusBadRequest {
			n.metrics.PeerDenied(asker.Name)
		}
		return peer.Forwarded{Status: a.Status, Siblings: a.Siblings, Undone: a.Undone}, a.Body, err
	}
}

// countForwarded puts a request that is about to be forwarded, or its answer, into the ledger: the bytes with the first of the tables that it is about.
func (n *Node) countForwarded(ctx context.Context, region string, tables []globaltable.TableID, bytes int) error {
	to, known := n.catalog.View().Region(region)
	if !known {
		return &globaltable.Error{Op: "forward", Resource: region, Kind: globaltable.Unavailable, Message: "region " + region + " is not known"}
	}
	for _, table := range tables {
		if err := n.ledger.Forwarded(ctx, to.Origin, table, bytes); err != nil {
			return err
		}
		bytes = 0
	}
	return nil
}

// forwarded counts a request that was forwarded, or done for another region.
func (n *Node) forwarded(f dynamodb.Forwarding) {
	side := "asked"
	if f.Served {
		side = "served"
	}
	n.metrics.Forwarded(f.Peer, side, f.Err == nil, f.Sent, f.Received)
}
