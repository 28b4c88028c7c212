package bus

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"

	"github.com/concordat-db/concordat/globaltable"
)

const (
	memoryQueue    = 1024 // messages published and not yet in their stream
	memoryOverhead = 64   // bytes that a stream counts for a message beside its data
)

// MemoryNetwork is a network of regions in memory, with faults on demand: bounded streams that drop the oldest, cursors that
// outlive links and homes, acknowledgements that cover all before them. It keeps order and loses nothing unless told to.
type MemoryNetwork struct {
	mu       sync.Mutex
	changed  chan struct{} // closed and replaced when anything changed that a Pull may wait for
	regions  map[string]*memoryRegion
	cut      map[[2]string]bool
	sessions map[[2]string]chan struct{} // by dialing region and origin; closed when the link breaks
	faults   map[memoryFaultKey]*memoryFaults
}

// memoryRegion is what stays of a region while its home is closed.
type memoryRegion struct {
	home  *MemoryHome
	lanes map[globaltable.LaneID]*memoryLane
}

// memoryLane is a stream: a new one at each reset.
type memoryLane struct {
	open     bool // since the home was made
	maxBytes int64
	bytes    int64
	next     uint64 // sequence of the next message
	messages []memoryMessage
	cursors  map[string]*memoryCursor
}

type memoryMessage struct {
	seq  uint64
	data []byte
}

type memoryCursor struct {
	acked uint64
	next  uint64 // to deliver
}

type memoryFaultKey struct {
	origin, peer string
	lane         globaltable.LaneID
}

type memoryFaults struct{ drop, duplicate, reorder int }

// NewMemoryNetwork returns a network without regions.
func NewMemoryNetwork() *MemoryNetwork {
	return &MemoryNetwork{changed: make(chan struct{}), regions: map[string]*memoryRegion{}, cut: map[[2]string]bool{},
		sessions: map[[2]string]chan struct{}{}, faults: map[memoryFaultKey]*memoryFaults{}}
}

func memoryPair(a, b string) [2]string { return [2]string{min(a, b), max(a, b)} }

// Home returns the bus of the region, made and started at the first call and after its Close. Streams stay over a Close.
func (n *MemoryNetwork) Home(region string) *MemoryHome {
	n.mu.Lock()
	defer n.mu.Unlock()
	r := n.region(region)
	if r.home == nil {
		h := &MemoryHome{network: n, name: region, queue: make(chan memoryPublish, memoryQueue), reset: make(chan struct{}, 1),
			stop: make(chan struct{}), done: make(chan struct{}), handlers: map[string]int{}}
		r.home = h
		for _, lane := range r.lanes {
			lane.open = false // its owner resets it, or at least opens it
		}
		go h.run()
	}
	return r.home
}

func (n *MemoryNetwork) region(name string) *memoryRegion {
	r := n.regions[name]
	if r == nil {
		r = &memoryRegion{lanes: map[globaltable.LaneID]*memoryLane{}}
		n.regions[name] = r
	}
	return r
}

// Dial returns a link of region to the origin peer. It never fails: while the two are cut, or the origin has no home, its calls fail.
func (n *MemoryNetwork) Dial(region, peer string) *MemoryLink {
	return &MemoryLink{network: n, region: region, peer: peer, closed: make(chan struct{})}
}

// broadcast wakes everything that waits. The caller holds the lock.
func (n *MemoryNetwork) broadcast() {
	close(n.changed)
	n.changed = make(chan struct{})
}

// session returns a channel that is closed when the link from region to peer breaks. The caller holds the lock.
func (n *MemoryNetwork) session(region, peer string) (<-chan struct{}, error) {
	home := n.region(peer).home
	if n.cut[memoryPair(region, peer)] || home == nil || home.peers != nil && !home.peers[region] {
		return nil, ErrLinkLost
	}
	key := [2]string{region, peer}
	if n.sessions[key] == nil {
		n.sessions[key] = make(chan struct{})
	}
	return n.sessions[key], nil
}

// breakLinks ends the sessions that match. The caller holds the lock.
func (n *MemoryNetwork) breakLinks(match func(region, peer string) bool) {
	for key, session := range n.sessions {
		if match(key[0], key[1]) {
			close(session)
			delete(n.sessions, key)
		}
	}
}

// Cut breaks the links between a and b, both ways, until Heal.
func (n *MemoryNetwork) Cut(a, b string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[memoryPair(a, b)] = true
	n.breakLinks(func(region, peer string) bool { return memoryPair(region, peer) == memoryPair(a, b) })
}

// Heal undoes Cut.
func (n *MemoryNetwork) Heal(a, b string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.cut, memoryPair(a, b))
}

// DropNext loses the next count messages of the origin's lane on their way to peer. An acknowledgement of what follows covers them.
func (n *MemoryNetwork) DropNext(origin, peer string, lane globaltable.LaneID, count int) {
	n.fault(origin, peer, lane, func(f *memoryFaults) { f.drop += count })
}

// Duplicate delivers the next count messages of the origin's lane to peer twice.
func (n *MemoryNetwork) Duplicate(origin, peer string, lane globaltable.LaneID, count int) {
	n.fault(origin, peer, lane, func(f *memoryFaults) { f.duplicate += count })
}

// Reorder delivers the next message of the origin's lane to peer after the one that follows it, count times. It waits for that one.
func (n *MemoryNetwork) Reorder(origin, peer string, lane globaltable.LaneID, count int) {
	n.fault(origin, peer, lane, func(f *memoryFaults) { f.reorder += count })
}

func (n *MemoryNetwork) fault(origin, peer string, lane globaltable.LaneID, set func(*memoryFaults)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	key := memoryFaultKey{origin, peer, lane}
	if n.faults[key] == nil {
		n.faults[key] = &memoryFaults{}
	}
	set(n.faults[key])
	n.broadcast()
}

// Rollback takes the last count messages out of the origin's stream without a word, as a restored disk does: their sequences are given
// again, and cursors beyond the end go back to it.
func (n *MemoryNetwork) Rollback(origin string, lane globaltable.LaneID, count int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.region(origin).lanes[lane]
	if l == nil {
		return
	}
	for ; count > 0 && len(l.messages) > 0; count-- {
		last := len(l.messages) - 1
		l.next = l.messages[last].seq
		l.bytes -= l.messages[last].size()
		l.messages = l.messages[:last]
	}
	for _, c := range l.cursors {
		c.acked, c.next = min(c.acked, l.next-1), min(c.next, l.next)
	}
}

// Restart loses the origin's streams, breaks its links once, and signals Reset: a server that came back from a power cut.
func (n *MemoryNetwork) Restart(origin string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	r := n.region(origin)
	clear(r.lanes)
	n.breakLinks(func(_, peer string) bool { return peer == origin })
	if r.home != nil {
		signal(r.home.reset)
	}
	n.broadcast()
}

func (m memoryMessage) size() int64 { return int64(len(m.data)) + memoryOverhead }

// append adds a message and drops the oldest beyond the bound.
func (l *memoryLane) append(data []byte) {
	m := memoryMessage{seq: l.next, data: bytes.Clone(data)}
	l.next++
	l.messages = append(l.messages, m)
	l.bytes += m.size()
	for l.bytes > l.maxBytes && len(l.messages) > 0 {
		l.bytes -= l.messages[0].size()
		l.messages[0] = memoryMessage{} // let the data go before the slice does
		l.messages = l.messages[1:]
	}
}

// from returns the messages from the sequence given.
func (l *memoryLane) from(seq uint64) []memoryMessage {
	i, _ := slices.BinarySearchFunc(l.messages, seq, func(m memoryMessage, seq uint64) int {
		switch {
		case m.seq < seq:
			return -1
		case m.seq > seq:
			return 1
		}
		return 0
	})
	return l.messages[i:]
}

// MemoryHome is a Home in a MemoryNetwork.
type MemoryHome struct {
	network *MemoryNetwork
	name    string
	queue   chan memoryPublish
	reset   chan struct{}
	stop    chan struct{}
	done    chan struct{}
	closing sync.Once
	gate    sync.RWMutex // held while publishing: after stop, run drains what got in

	serving  *serving        // guarded by the network's lock, as is what follows
	peers    map[string]bool // who is let in; nil: everybody
	handlers map[string]int  // running, by peer
	running  int
}

type memoryPublish struct {
	lane globaltable.LaneID
	data []byte
	done func(error)
}

// run puts what was published into the streams, in order.
func (h *MemoryHome) run() {
	defer close(h.done)
	for {
		select {
		case p := <-h.queue:
			p.done(h.put(p))
		case <-h.stop:
			h.gate.Lock() // nobody is publishing now, and whoever comes later sees stop
			defer h.gate.Unlock()
			for {
				select {
				case p := <-h.queue:
					p.done(ErrClosed)
				default:
					return
				}
			}
		}
	}
}

func (h *MemoryHome) put(p memoryPublish) error {
	n := h.network
	n.mu.Lock()
	defer n.mu.Unlock()
	lane := n.region(h.name).lanes[p.lane]
	if lane == nil {
		signal(h.reset)
		return ErrNoLane
	}
	lane.append(p.data)
	n.broadcast()
	return nil
}

// SetPeers is Home.SetPeers. Until the first call everybody may dial.
func (h *MemoryHome) SetPeers(_ context.Context, peers []Peer) error {
	if err := joinInvalid("set peers", h.name, validatePeers(h.name, peers)); err != nil {
		return err
	}
	n := h.network
	n.mu.Lock()
	defer n.mu.Unlock()
	h.peers = peerNames(peers)
	n.breakLinks(func(region, peer string) bool { return peer == h.name && !h.peers[region] })
	return nil
}

// ResetLane is Home.ResetLane.
func (h *MemoryHome) ResetLane(_ context.Context, lane LaneSpec) error {
	return h.change(lane.ID, "reset lane", func(r *memoryRegion) error {
		if lane.MaxBytes <= 0 {
			return &globaltable.Error{Kind: globaltable.Invalid, Message: "MaxBytes is not positive"}
		}
		r.lanes[lane.ID] = &memoryLane{maxBytes: lane.MaxBytes, next: 1, cursors: map[string]*memoryCursor{}}
		return nil
	})
}

// OpenLane is Home.OpenLane.
func (h *MemoryHome) OpenLane(_ context.Context, lane LaneSpec) error {
	return h.change(lane.ID, "open lane", func(r *memoryRegion) error {
		l := r.lanes[lane.ID]
		if l == nil {
			return ErrNoLane
		}
		l.open = true
		for name := range l.cursors {
			if !slices.Contains(lane.Peers, name) {
				delete(l.cursors, name)
			}
		}
		for _, peer := range lane.Peers {
			if l.cursors[peer] == nil {
				l.cursors[peer] = &memoryCursor{next: 1}
			}
		}
		return nil
	})
}

// RemoveLane is Home.RemoveLane.
func (h *MemoryHome) RemoveLane(_ context.Context, id globaltable.LaneID) error {
	return h.change(id, "remove lane", func(r *memoryRegion) error {
		delete(r.lanes, id)
		return nil
	})
}

// Lanes is Home.Lanes.
func (h *MemoryHome) Lanes(context.Context) ([]globaltable.LaneID, error) {
	n := h.network
	n.mu.Lock()
	defer n.mu.Unlock()
	r := n.region(h.name)
	if r.home != h {
		return nil, &globaltable.Error{Op: "list lanes", Resource: h.name, Err: ErrClosed}
	}
	return slices.Sorted(maps.Keys(r.lanes)), nil
}

func (h *MemoryHome) change(id globaltable.LaneID, op string, f func(*memoryRegion) error) error {
	n := h.network
	n.mu.Lock()
	defer n.mu.Unlock()
	r := n.region(h.name)
	if r.home != h {
		return ErrClosed
	}
	if err := f(r); err != nil {
		kind := globaltable.KindOf(err)
		if errors.Is(err, ErrNoLane) {
			kind = globaltable.NotFound
		}
		return &globaltable.Error{Op: op, Resource: "lane " + id.String() + " of " + h.name, Kind: kind, Err: err}
	}
	n.broadcast()
	return nil
}

// Publish is Home.Publish.
func (h *MemoryHome) Publish(ctx context.Context, id globaltable.LaneID, msg []byte, done func(error)) error {
	if len(msg) > MaxMessage {
		return ErrTooLarge
	}
	h.gate.RLock()
	defer h.gate.RUnlock()
	select {
	case <-h.stop:
		return ErrClosed
	default:
	}
	select {
	case h.queue <- memoryPublish{id, msg, done}:
		return nil
	case <-h.stop:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Serve is Home.Serve.
func (h *MemoryHome) Serve(ctx context.Context, handler Handler) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := &serving{ctx: ctx, handler: handler}
	n := h.network
	n.mu.Lock()
	if h.serving != nil {
		n.mu.Unlock()
		return errors.New("bus: Serve is already running")
	}
	h.serving = s
	n.mu.Unlock()
	var err error
	select {
	case <-ctx.Done():
	case <-h.stop:
		err = ErrClosed
	}
	n.mu.Lock()
	h.serving = nil
	n.mu.Unlock()
	cancel()
	s.wg.Wait()
	return err
}

// Reset is Home.Reset.
func (h *MemoryHome) Reset() <-chan struct{} { return h.reset }

// Close is Home.Close. It breaks the links of peers.
func (h *MemoryHome) Close() error {
	h.closing.Do(func() {
		n := h.network
		n.mu.Lock()
		n.region(h.name).home = nil
		n.breakLinks(func(_, peer string) bool { return peer == h.name })
		n.broadcast()
		close(h.stop)
		n.mu.Unlock()
	})
	<-h.done
	return nil
}
