package peer

import (
	"context"
	"errors"
	"time"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/streams/bus"
	"github.com/concordat-db/concordat/streams/change"
	"github.com/concordat-db/concordat/streams/handover"
	"github.com/concordat-db/concordat/streams/inbox"
	"github.com/concordat-db/concordat/streams/repair"
	"github.com/concordat-db/concordat/streams/trigger"
	"github.com/concordat-db/concordat/streams/watermark"
)

// SessionConfig says how this region meets one origin. All fields but Fenced are needed.
type SessionConfig struct {
	Self       globaltable.Descriptor
	Descriptor string // Self, signed
	Origin     globaltable.Descriptor
	Dial       func(ctx context.Context) (bus.Link, error)
	Log        Log // of this region
	Matrix     *watermark.Matrix
	Clock      func() hlc.Timestamp // no write of this region has a greater stamp yet
	Observe    func(hlc.Timestamp) error
	Known      func(hlc.Origin) globaltable.Incarnation
	Physical   func() int64                                            // Unix milliseconds
	Offset     func(origin hlc.Origin, ahead, uncertain time.Duration) // how far this region's wall clock is ahead of the origin's
	Regressed  func(peer string, reason string)
	Met        func(peer string, known globaltable.Incarnation) // this region's incarnation as the origin knows it, before Regressed. nil: nobody is told
	// Fenced is told with each heartbeat whether the origin refuses to replicate with this region, and by which version of the world's document. nil: nobody is told.
	Fenced  func(peer string, is bool, by globaltable.Version)
	Catalog func(ctx context.Context, c Client) error // fetches the origin's catalog
}

// Session is an inbox.Session over a link.
type Session struct {
	cfg    *SessionConfig
	link   bus.Link
	client Client
}

// Connect dials the origin, checks that it is who it should be and that this region's credential there can do no more than it should,
// and returns the session.
func Connect(ctx context.Context, cfg *SessionConfig) (*Session, error) {
	link, err := cfg.Dial(ctx)
	if err != nil {
		return nil, err
	}
	s := &Session{cfg: cfg, link: link, client: NewClient(link)}
	if err := s.introduce(ctx); err != nil {
		return nil, errors.Join(err, link.Close())
	}
	return s, nil
}

func (s *Session) introduce(ctx context.Context) error {
	own := s.cfg.Log.Incarnation()
	answer, err := s.client.Hello(ctx, Hello{Descriptor: s.cfg.Descriptor, Incarnation: own, KnownOfYou: s.cfg.Known(s.cfg.Origin.Origin)})
	if err != nil {
		return err
	}
	if err := CheckHello(s.cfg.Origin, &answer); err != nil {
		return err
	}
	if s.cfg.Met != nil {
		s.cfg.Met(s.cfg.Origin.Name, answer.KnownOfYou)
	}
	if answer.KnownOfYou > own {
		s.cfg.Regressed(s.cfg.Origin.Name, "a peer knows a later incarnation of this region")
	}
	return s.link.Probe(ctx)
}

// Triggers tells how far triggers are here.
func (s *Session) Triggers(ctx context.Context, g *trigger.Gossip) error {
	return s.client.Triggers(ctx, g)
}

// Control asks the origin's control plane.
func (s *Session) Control(ctx context.Context, body []byte) ([]byte, error) {
	return s.client.Control(ctx, body)
}

// Exchange asks the origin for a page of a table's records.
func (s *Session) Exchange(ctx context.Context, r *repair.Request) (*repair.Page, error) {
	return s.client.Exchange(ctx, r)
}

// HandOver is Client.HandOver.
func (s *Session) HandOver(ctx context.Context, o *handover.Offer) (taken hlc.Timestamp, err error) {
	return s.client.HandOver(ctx, o)
}

// Offered asks the origin for the page of records that it has offered.
func (s *Session) Offered(ctx context.Context, o *handover.Offer) (*repair.Page, error) {
	return s.client.Offered(ctx, o)
}

// Repair has the origin take this region's records of some buckets of a table.
func (s *Session) Repair(ctx context.Context, r *repair.RepairRequest) error {
	return s.client.Repair(ctx, r)
}

// Digests asks the origin what it has in some buckets of a table.
func (s *Session) Digests(ctx context.Context, r *repair.DigestsRequest) (*repair.Digests, error) {
	return s.client.Digests(ctx, r)
}

// Heartbeat implements inbox.Session.
func (s *Session) Heartbeat(ctx context.Context, own []inbox.LanePosition) (inbox.Heartbeat, error) {
	at, _, err := s.cfg.Log.Heads(ctx)
	if err != nil {
		return inbox.Heartbeat{}, err
	}
	s.cfg.Matrix.Beat(s.cfg.Self.Origin, at)
	p := Positions{Incarnation: s.cfg.Log.Incarnation(), Rows: s.cfg.Matrix.Rows(), Physical: s.cfg.Physical()}
	p.Clock, p.Applied = s.cfg.Clock(), appliedOf(own)
	pulse, err := s.client.Positions(ctx, p)
	fenced := err != nil && globaltable.KindOf(err) == globaltable.Fenced
	if s.cfg.Fenced != nil && (fenced || err == nil) {
		var refusal NotFollowed
		if cause := (*NotFollowed)(nil); errors.As(err, &cause) {
			refusal = *cause
		}
		s.cfg.Fenced(s.cfg.Origin.Name, fenced, refusal.World)
	}
	if fenced {
		// An answer like any other: by this session the region can learn why, and ask to be let in again. The heartbeat says nothing.
		return inbox.Heartbeat{}, nil
	}
	if err != nil {
		return inbox.Heartbeat{}, err
	}
	received := s.cfg.Physical()
	round := received - p.Physical
	s.cfg.Offset(s.cfg.Origin.Origin, time.Duration(p.Physical+round/2-pulse.Physical)*time.Millisecond, time.Duration(round/2+1)*time.Millisecond)
	// The clock moves first: marks may be used only by a region that can no longer stamp below them. An origin that is too far ahead still
	// gets its positions told; its lanes stop at the changes themselves.
	h := inbox.Heartbeat{Incarnation: pulse.Incarnation, Heads: pulse.Heads}
	if s.cfg.Observe(pulse.HLC) == nil {
		h.HLC = pulse.HLC
		UseRows(s.cfg.Matrix, s.cfg.Observe, s.cfg.Self.Origin, pulse.Rows, pulse.Clock)
		for lane, purge := range pulse.Purge {
			s.cfg.Matrix.Raise(lane, purge)
		}
	}
	return h, nil
}

// appliedOf is what may be told of positions.
func appliedOf(own []inbox.LanePosition) (out []Applied) {
	for _, l := range own {
		if l.Held && l.Stop != inbox.Diverged {
			continue // not all below it is here
		}
		out = append(out, Applied{Lane: l.Lane, Incarnation: l.Position.Incarnation, Seq: l.Position.Seq, Chain: l.Position.Chain, Diverged: l.Stop == inbox.Diverged})
	}
	return out
}

// Confirm implements inbox.Session.
func (s *Session) Confirm(ctx context.Context, own []inbox.LanePosition) error {
	return s.client.Confirm(ctx, Confirm{Incarnation: s.cfg.Log.Incarnation(), Applied: appliedOf(own), Clock: s.cfg.Clock()})
}

// ReadLog implements inbox.Session.
func (s *Session) ReadLog(ctx context.Context, lane globaltable.LaneID, inc globaltable.Incarnation, from uint64, maxBytes int) ([]change.Entry, bool, bool, error) {
	entries, end, err := s.client.ReadLog(ctx, ReadLog{Lane: lane, Incarnation: inc, From: from, MaxBytes: maxBytes})
	if errors.Is(err, change.ErrTrimmed) {
		return nil, false, true, nil
	}
	return entries, end.Done, false, err
}

// FetchCatalog implements inbox.Session.
func (s *Session) FetchCatalog(ctx context.Context) error { return s.cfg.Catalog(ctx, s.client) }

// Pull implements inbox.Session.
func (s *Session) Pull(ctx context.Context, lane globaltable.LaneID, windowBytes int, deliver func(bus.Message)) error {
	return s.link.Pull(ctx, lane, windowBytes, deliver)
}

// Close implements inbox.Session.
func (s *Session) Close() error { return s.link.Close() }
