package peer

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"

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

// LaneHead is a lane as its origin's log has it.
type LaneHead struct {
	Lane    globaltable.Lane
	Seq     uint64
	Chain   globaltable.Chain
	Trimmed uint64 // the log begins after it
}

// Log is the origin's log, as the service reads it. Only what is durable is ever returned.
type Log interface {
	Incarnation() globaltable.Incarnation
	// Heads samples the clock and all lanes' heads at once, and returns when both are durable.
	Heads(ctx context.Context) (hlc.Timestamp, []LaneHead, error)
	// Head returns the durable head of one of the region's own lanes.
	Head(id globaltable.LaneID) (LaneHead, bool)
	// ReadLog returns consecutive entries from the sequence on, at least one unless from is beyond the head; change.ErrTrimmed below the log's beginning.
	ReadLog(lane globaltable.LaneID, from uint64, maxBytes int) ([]change.Entry, error)
}

// ServiceConfig configures a Service. All fields are needed but those that may be nil.
type ServiceConfig struct {
	Self       globaltable.Descriptor
	Descriptor string // Self, signed
	Shard      uint16
	Log        Log
	Matrix     *watermark.Matrix
	Regions    func(name string) (globaltable.Descriptor, bool) // the peers known
	// Trusts reports whether a peer, with that incarnation of its store (0: not told), is one that this region replicates with. One that it is not may still introduce itself and ask the control
	// plane, which decides by itself; the rest is refused with an error of kind Fenced and the version of the world's document that says so. nil: every peer is.
	Trusts   func(peer hlc.Origin, incarnation globaltable.Incarnation) (trusted bool, world globaltable.Version)
	Clock    func() hlc.Timestamp                     // no write of this region has a greater stamp yet
	Observe  func(hlc.Timestamp) error                // moves the clock past a remote timestamp, or refuses
	Physical func() int64                             // Unix milliseconds
	Known    func(hlc.Origin) globaltable.Incarnation // newest incarnation known of a peer
	// Confirmed takes that the peer's store with that incarnation (0: not told) has applied a lane durably up to seq; ConfirmedBy returns the greatest of these, which the
	// peer is told, for it may have become an older copy of itself. nil: it is not told. past tells that the clock is past the peer's of then, so that what this region stamps from now on is after all that
	// the peer wrote before it had applied that; it is told again when it becomes true.
	Confirmed   func(peer hlc.Origin, store globaltable.Incarnation, lane globaltable.LaneID, seq uint64, past bool)
	ConfirmedBy func(peer hlc.Origin, store globaltable.Incarnation, lane globaltable.LaneID) uint64
	Regressed   func(peer string, reason string)                 // a peer knows more of this region than this region does
	Met         func(peer string, known globaltable.Incarnation) // this region's incarnation as a peer knows it, before Regressed, or an earlier one that it follows. nil: nobody is told
	Control     func(ctx context.Context, peer string, request []byte) ([]byte, error)
	Exchange    func(ctx context.Context, asker globaltable.Descriptor, r *repair.Request) (records []byte, end repair.End, err error)
	Repair      func(ctx context.Context, asker globaltable.Descriptor, r *repair.RepairRequest) error
	Digests     func(ctx context.Context, asker globaltable.Descriptor, r *repair.DigestsRequest) (*repair.Digests, error)
	HandOver    func(ctx context.Context, asker globaltable.Descriptor, o *handover.Offer) error
	Offered     func(asker globaltable.Descriptor, p *handover.Pull) (records []byte, end repair.End, err error)
	// Triggers takes how far triggers are in the asker's region. nil: that is not heard.
	Triggers func(asker globaltable.Descriptor, g *trigger.Gossip)
	// Forward does a client's request that the asker has forwarded. An error says that it was not done. nil: none is.
	Forward func(ctx context.Context, asker globaltable.Descriptor, r ForwardRequest) (answer Forwarded, body []byte, err error)
	// Answering is asked before the answer to a forwarded request, of so many bytes, goes to the peer. Where it returns an error the answer does not go, and the peer does not know what was done. nil: each goes.
	Answering func(ctx context.Context, peer string, tables []globaltable.TableID, bytes int) error
	// Denied is told of each request of a peer that was answered with an error of kind Denied. nil: nobody is told.
	Denied func(peer string)
	// MaySend is asked for each entry of the log before an asker gets it; an error says why not, now. nil: all may be sent.
	MaySend func(asker hlc.Origin, lane globaltable.LaneID, e *change.Entry) error
}

// Service answers peers. Handle is safe for concurrent use.
type Service struct {
	cfg    ServiceConfig
	pieces pieces

	mu       sync.Mutex
	verified map[verifiedKey]confirmed
}

// confirmed is what a peer has confirmed of a lane.
type confirmed struct {
	seq  uint64 // whose chain was compared and found equal
	past uint64 // likewise, and the clock was past the peer's
}

type verifiedKey struct {
	peer  hlc.Origin
	store globaltable.Incarnation
	lane  globaltable.LaneID
}

// NewService returns a Service.
func NewService(cfg ServiceConfig) *Service {
	return &Service{cfg: cfg, verified: map[verifiedKey]confirmed{}, pieces: pieces{waiting: map[string][]*piecewise{}}}
}

// Handle is a bus.Handler.
func (s *Service) Handle(ctx context.Context, peer string, raw []byte, reply func([]byte) error) error {
	err := s.handle(ctx, peer, raw, reply)
	switch {
	case err == nil, errors.As(err, new(unanswered)):
		return err
	case globaltable.KindOf(err) == globaltable.Denied && s.cfg.Denied != nil:
		s.cfg.Denied(peer)
	}
	return reply(encodeError(err))
}

func (s *Service) handle(ctx context.Context, peer string, raw []byte, reply func([]byte) error) error {
	asker, known := s.cfg.Regions(peer)
	if !known {
		return &globaltable.Error{Op: "answer peer", Resource: peer, Kind: globaltable.Denied, Message: "this region does not know that peer"}
	}
	if len(raw) > maxRequest {
		return &globaltable.Error{Op: "answer peer", Resource: peer, Kind: globaltable.LimitExceeded, Message: "request too large"}
	}
	var r request
	if err := json.Unmarshal(raw, &r); err != nil {
		return &globaltable.Error{Op: "answer peer", Resource: peer, Kind: globaltable.Invalid, Err: err}
	}
	if r.Version != protocolVersion {
		return &globaltable.Error{Op: "answer peer", Resource: peer, Kind: globaltable.Invalid, Message: "protocol version is not known"}
	}
	if r.Hello == nil && r.Control == nil {
		var incarnation globaltable.Incarnation
		if r.Positions != nil {
			incarnation = r.Positions.Incarnation
		}
		if err := s.refusal(asker, incarnation); err != nil {
			return err
		}
	}
	switch {
	case r.Hello != nil:
		return s.hello(asker, r.Hello, reply)
	case r.Positions != nil:
		return s.positions(ctx, asker, r.Positions, reply)
	case r.Confirm != nil:
		return s.confirmations(asker, r.Confirm, reply)
	case r.ReadLog != nil:
		return s.readLog(asker, r.ReadLog, reply)
	case r.Exchange != nil:
		return s.exchange(ctx, asker, r.Exchange, reply)
	case r.Repair != nil:
		if err := s.cfg.Repair(ctx, asker, r.Repair); err != nil {
			return err
		}
		return sendDocument(struct{}{}, reply)
	case r.HandOver != nil:
		if err := s.cfg.HandOver(ctx, asker, r.HandOver); err != nil {
			return err
		}
		return sendDocument(handedOver{s.cfg.Clock()}, reply)
	case r.Offered != nil:
		records, end, err := s.cfg.Offered(asker, r.Offered)
		if err != nil {
			return err
		}
		return sendRecords(records, end, reply)
	case r.Digests != nil:
		answer, err := s.cfg.Digests(ctx, asker, r.Digests)
		if err != nil {
			return err
		}
		return sendDocument(answer, reply)
	case r.Triggers != nil:
		if s.cfg.Triggers != nil {
			s.cfg.Triggers(asker, r.Triggers)
		}
		return sendDocument(struct{}{}, reply)
	case r.Forward != nil:
		return s.forward(ctx, asker, r.Forward, reply)
	case r.Control != nil:
		answer, err := s.cfg.Control(ctx, peer, r.Control)
		if err != nil {
			return err
		}
		return sendDocument(json.RawMessage(answer), reply)
	}
	return &globaltable.Error{Op: "answer peer", Resource: peer, Kind: globaltable.Invalid, Message: "request of an unknown kind"}
}

// refusal returns why this region does not replicate with a peer; nil: it does.
func (s *Service) refusal(asker globaltable.Descriptor, incarnation globaltable.Incarnation) error {
	if s.cfg.Trusts == nil {
		return nil
	}
	trusted, world := s.cfg.Trusts(asker.Origin, incarnation)
	if trusted {
		return nil
	}
	return &globaltable.Error{Op: "answer peer", Resource: asker.Name, Kind: globaltable.Fenced, Err: &NotFollowed{world},
		Message: "region " + s.cfg.Self.Name + " does not follow region " + asker.Name + ", or follows another store of it"}
}

func sendDocument(v any, reply func([]byte) error) error {
	b, err := encodeDocument(v)
	if err != nil {
		return err
	}
	return reply(b)
}

func (s *Service) hello(asker globaltable.Descriptor, h *Hello, reply func([]byte) error) error {
	if err := CheckHello(asker, h); err != nil {
		return err
	}
	if s.cfg.Met != nil {
		s.cfg.Met(asker.Name, h.KnownOfYou)
	}
	if h.KnownOfYou > s.cfg.Log.Incarnation() {
		s.cfg.Regressed(asker.Name, "a peer knows a later incarnation of this region")
	}
	return sendDocument(Hello{Descriptor: s.cfg.Descriptor, Incarnation: s.cfg.Log.Incarnation(), KnownOfYou: s.cfg.Known(asker.Origin)}, reply)
}

// CheckHello checks that a region is who the configuration says: a region that claims another name, number or jurisdiction is refused.
func CheckHello(want globaltable.Descriptor, h *Hello) error {
	got, err := globaltable.ParseDescriptor(h.Descriptor)
	if err != nil {
		return err
	}
	return want.Matches(&got)
}

func (s *Service) positions(ctx context.Context, asker globaltable.Descriptor, p *Positions, reply func([]byte) error) error {
	at, heads, err := s.cfg.Log.Heads(ctx)
	if err != nil {
		return err
	}
	s.meetEarlier(asker, p.Applied)
	past := s.cfg.Observe(p.Clock) == nil
	byLane := make(map[globaltable.LaneID]LaneHead, len(heads))
	for _, h := range heads {
		byLane[h.Lane.ID] = h
	}
	err = s.confirmAll(asker, p.Incarnation, p.Applied, past, func(id globaltable.LaneID) (LaneHead, bool) {
		h, ok := byLane[id]
		return h, ok
	})
	if err != nil {
		return err
	}
	UseRows(s.cfg.Matrix, s.cfg.Observe, s.cfg.Self.Origin, p.Rows, p.Clock)
	pulse := Pulse{Incarnation: s.cfg.Log.Incarnation(), Physical: s.cfg.Physical(), HLC: at, Rows: s.cfg.Matrix.Rows(),
		Purge: map[globaltable.LaneID]hlc.Timestamp{}}
	pulse.Clock = s.cfg.Clock()
	for _, h := range heads {
		if feeds(&h.Lane, asker.Origin) {
			pulse.Heads = append(pulse.Heads, inbox.Head{Lane: h.Lane.ID, Seq: h.Seq, Chain: h.Chain, Confirmed: s.confirmedBy(asker.Origin, p.Incarnation, h.Lane.ID)})
			pulse.Purge[h.Lane.ID] = s.cfg.Matrix.Purge(h.Lane.ID)
		}
	}
	return sendDocument(pulse, reply)
}

// feeds reports whether a region that is followed gets a lane. The catalog's says which regions there were when it was written last, and is for those that came since, too.
func feeds(l *globaltable.Lane, o hlc.Origin) bool {
	return l.ID == globaltable.CatalogLane || l.Placement.Has(o)
}

func (s *Service) confirmedBy(peer hlc.Origin, store globaltable.Incarnation, lane globaltable.LaneID) uint64 {
	if s.cfg.ConfirmedBy == nil {
		return 0
	}
	return s.cfg.ConfirmedBy(peer, store, lane)
}

// meetEarlier tells which earlier store of this region the asker still follows. It may have met the new one by a session that outlived the old one, and then introduces itself as one that knows it.
func (s *Service) meetEarlier(asker globaltable.Descriptor, applied []Applied) {
	for _, a := range applied {
		if a.Seq > 0 && a.Incarnation < s.cfg.Log.Incarnation() && s.cfg.Met != nil {
			s.cfg.Met(asker.Name, a.Incarnation)
			return
		}
	}
}

// UseRows puts rows that came with a heartbeat into the matrix, after the clock has moved past that of who sent them, and past each of them: a mark may be used only by a region that can no longer stamp
// below it, and that knows a time after the one at which the mark was raised (package watermark, the second phase). Rows of a sender, or one row, too far ahead are left out. The region's own row is not
// taken from others.
func UseRows(m *watermark.Matrix, observe func(hlc.Timestamp) error, self hlc.Origin, rows []watermark.Row, clock hlc.Timestamp) {
	if observe(clock) != nil {
		return
	}
	for _, r := range rows {
		if r.Region != self && observe(r.HLC) == nil {
			m.Update(r)
		}
	}
}

// confirmations takes positions told between heartbeats. Nothing can be applied there that was not durable here before, so the durable heads are enough: no sample of
// the clock, no sync.
func (s *Service) confirmations(asker globaltable.Descriptor, r *Confirm, reply func([]byte) error) error {
	past := s.cfg.Observe(r.Clock) == nil
	if err := s.confirmAll(asker, r.Incarnation, r.Applied, past, s.cfg.Log.Head); err != nil {
		return err
	}
	return sendDocument(struct{}{}, reply)
}

// confirmAll takes the positions in lanes of which the asker is a member, and those in lanes that this region does not have: it had them, if a peer has applied something of them.
func (s *Service) confirmAll(asker globaltable.Descriptor, store globaltable.Incarnation, applied []Applied, past bool, head func(globaltable.LaneID) (LaneHead, bool)) error {
	for _, a := range applied {
		h, ok := head(a.Lane)
		if ok && !h.Lane.Placement.Has(asker.Origin) {
			continue
		}
		if err := s.confirm(asker, store, a, h, past); err != nil {
			return err
		}
	}
	return nil
}

// confirm checks an acknowledged position against the log before anything relies on it. h is the lane's head, zero if there is no such lane.
func (s *Service) confirm(asker globaltable.Descriptor, store globaltable.Incarnation, a Applied, h LaneHead, past bool) error {
	own := s.cfg.Log.Incarnation()
	switch {
	case a.Incarnation > own:
		s.cfg.Regressed(asker.Name, "a peer has applied a later incarnation of this region")
		return nil
	case a.Incarnation < own:
		return nil
	case a.Diverged: // also at 0: a peer that has applied nothing of the lane yet may have heard of a head beyond the one that there is now
		s.cfg.Regressed(asker.Name, "a peer knows another history of a lane than this region's log has")
		return nil
	case a.Seq == 0:
		return nil
	case a.Seq > h.Seq || a.Seq == h.Seq && a.Chain != h.Chain:
		s.cfg.Regressed(asker.Name, "a peer has applied more of a lane than this region has, or another history of it")
		return nil
	}
	key := verifiedKey{asker.Origin, store, a.Lane}
	s.mu.Lock()
	verified := s.verified[key]
	s.mu.Unlock()
	if a.Seq <= verified.past || a.Seq <= verified.seq && !past || a.Seq <= h.Trimmed {
		return nil
	}
	if a.Seq != verified.seq && a.Seq < h.Seq {
		entries, err := s.cfg.Log.ReadLog(a.Lane, a.Seq, 1)
		if errors.Is(err, change.ErrTrimmed) {
			return nil // since the heads were read
		}
		if err != nil || len(entries) == 0 {
			return err
		}
		if entries[0].Chain != a.Chain {
			s.cfg.Regressed(asker.Name, "a peer has applied another history of a lane")
			return nil
		}
	}
	s.mu.Lock()
	verified = s.verified[key]
	verified.seq = max(verified.seq, a.Seq)
	if past {
		verified.past = max(verified.past, a.Seq)
	}
	s.verified[key] = verified
	s.mu.Unlock()
	s.cfg.Confirmed(asker.Origin, store, a.Lane, a.Seq, past)
	return nil
}

// maxPage bounds what one read-log answers, in bytes of bodies.
const maxPage = 4 << 20

func (s *Service) readLog(asker globaltable.Descriptor, r *ReadLog, reply func([]byte) error) error {
	own := s.cfg.Log.Incarnation()
	if r.Incarnation != 0 && r.Incarnation != own {
		return &globaltable.Error{Op: "read log", Kind: globaltable.InUse, Message: "the region has another incarnation"}
	}
	if h, ok := s.cfg.Log.Head(r.Lane); !ok || !feeds(&h.Lane, asker.Origin) {
		return &globaltable.Error{Op: "read log", Resource: r.Lane.String(), Kind: globaltable.Denied, Message: "the peer is not in that lane's placement"}
	}
	limit := min(max(r.MaxBytes, 1), maxPage)
	entries, err := s.cfg.Log.ReadLog(r.Lane, max(r.From, 1), limit)
	if err != nil {
		return err
	}
	src := change.Source{Origin: s.cfg.Self.Origin, Shard: s.cfg.Shard, Incarnation: own, Lane: r.Lane}
	var scratch []byte
	size := 0
	for i := range entries {
		if s.cfg.MaySend != nil && !entries[i].Void {
			if err := s.cfg.MaySend(asker.Origin, r.Lane, &entries[i]); err != nil {
				return err
			}
		}
		size += len(entries[i].Body)
		scratch, err = change.AppendMessages(src, &entries[i], s.cfg.Matrix.Purge(r.Lane), bus.MaxMessage-1, scratch, func(m []byte) error {
			return reply(append([]byte{partEntry}, m...))
		})
		if err != nil {
			return err
		}
	}
	// A page shorter than asked for ended because the log did.
	return sendDocument(LogEnd{Incarnation: own, Done: size < limit}, reply)
}

// exchange cuts the records into parts without regard to where one ends: a record may be larger than a message.
func (s *Service) exchange(ctx context.Context, asker globaltable.Descriptor, r *repair.Request, reply func([]byte) error) error {
	records, end, err := s.cfg.Exchange(ctx, asker, r)
	if err != nil {
		return err
	}
	return sendRecords(records, end, reply)
}

func sendRecords(records []byte, end repair.End, reply func([]byte) error) error {
	for piece := range slices.Chunk(records, bus.MaxMessage-1) {
		if err := reply(append([]byte{partRecords}, piece...)); err != nil {
			return err
		}
	}
	return sendDocument(end, reply)
}
