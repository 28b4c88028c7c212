package repair

import (
	"encoding/binary"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
)

// state is how far a join, or a catch-up, has got with one source. It is kept in the store.
type state struct {
	since       uint64                  // version that brought the replica that joins; id of the catch-up
	incarnation globaltable.Incarnation // of the source that the records came from
	done        bool
	got         uint64 // live items
	cursor      []byte // the key up to which everything is here; empty when it is done
}

const (
	stateVersion = 1
	stateLen     = 1 + 8 + 8 + 1 + 8
)

func (s *state) append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(append(dst, stateVersion), s.since)
	dst = binary.BigEndian.AppendUint64(dst, uint64(s.incarnation))
	done := byte(0)
	if s.done {
		done = 1
	}
	dst = binary.BigEndian.AppendUint64(append(dst, done), s.got)
	return append(dst, s.cursor...)
}

func decodeState(b []byte) (state, error) {
	if len(b) < stateLen || b[0] != stateVersion || b[17] > 1 {
		return state{}, &globaltable.Error{Op: "read join", Kind: globaltable.Corrupt, Message: "the state of a join in the store cannot be read"}
	}
	return state{
		since:       binary.BigEndian.Uint64(b[1:]),
		incarnation: globaltable.Incarnation(binary.BigEndian.Uint64(b[9:])),
		done:        b[17] == 1,
		got:         binary.BigEndian.Uint64(b[18:]),
		cursor:      b[stateLen:],
	}, nil
}

// core decides about one join, or about one table of a catch-up: what to ask which source, and what an answer means. It is pure; the runner serialises calls.
//
//	request(i) → the runner asks source i → took or failed → records are merged, then the state is kept → kept
type core struct {
	table     globaltable.TableID
	since     uint64              // see state
	version   globaltable.Version // that sources must have adopted
	gained    bool                // only what the region gains by a change of policies is to be got
	pageBytes int
	sources   []source
}

type source struct {
	region globaltable.Descriptor
	ready  bool // has adopted the version
	items  uint64
	state  state
	fault  error // of the newest attempt; nil: none
}

// newCore returns the core of work that begins, or goes on from what load, called for each source, has kept. With a version, no source is read before all have adopted it.
func newCore(table globaltable.TableID, since uint64, version globaltable.Version, sources []globaltable.Descriptor, pageBytes int,
	load func(source hlc.Origin) ([]byte, error)) (*core, error) {
	c := &core{table: table, since: since, version: version, pageBytes: pageBytes}
	begun := version == 0
	for _, d := range sources {
		s := source{region: d, state: state{since: since}}
		b, err := load(d.Origin)
		if err != nil {
			return nil, err
		}
		if b != nil {
			kept, err := decodeState(b)
			if err != nil {
				return nil, err
			}
			// What was kept of an earlier replica's join, or of an earlier catch-up, is of no use.
			if kept.since == since {
				s.state = kept
				begun = true
			}
		}
		c.sources = append(c.sources, s)
	}
	for i := range c.sources {
		c.sources[i].ready = begun // or no page would have come
	}
	return c, nil
}

// request returns what to ask source i now. ok is false when there is nothing to ask: it is done, or must wait until all are ready.
func (c *core) request(i int) (r *Request, ok bool) {
	s := &c.sources[i]
	switch {
	case !s.ready:
		return &Request{Table: c.table, Since: c.version}, true
	case s.state.done || !c.ready():
		return nil, false
	}
	return &Request{Table: c.table, Since: c.version, After: s.state.cursor, MaxBytes: c.pageBytes, Gained: c.gained}, true
}

// ready reports whether all sources have adopted the version: no page is asked for before.
func (c *core) ready() bool {
	for i := range c.sources {
		if !c.sources[i].ready {
			return false
		}
	}
	return true
}

// took takes source i's answer to r. When merge is true the records are to be merged, and then next to be kept, see kept.
func (c *core) took(i int, r *Request, p *Page) (next state, merge bool, err error) {
	s := &c.sources[i]
	s.items = uint64(max(p.Items, 0))
	s.fault = nil
	if s.state.incarnation != 0 && s.state.incarnation != p.Incarnation {
		// The source's store is another one: what is behind the cursor there is not known.
		s.state = state{since: c.since}
		return state{}, false, nil
	}
	if r.MaxBytes == 0 {
		s.ready = true
		return state{}, false, nil
	}
	next = state{since: c.since, incarnation: p.Incarnation, done: p.Done, got: s.state.got, cursor: s.state.cursor}
	for _, rec := range p.Records {
		_, live, err := conflict.Digest(rec.Key, rec.Bytes)
		if err != nil {
			return state{}, false, corrupt("a page has what is no record")
		}
		if live {
			next.got++
		}
		next.cursor = rec.Key
	}
	if len(p.Cursor) > 0 {
		next.cursor = p.Cursor
	}
	if next.done {
		next.cursor = nil // nobody goes on from it, and it is an item's key
	}
	return next, true, nil
}

// kept notes that the records of source i's page are durable here, and the state as well.
func (c *core) kept(i int, s state) { c.sources[i].state = s }

// failed notes why source i could not be asked, or its answer not be taken.
func (c *core) failed(i int, err error) { c.sources[i].fault = err }

// done reports whether all that the sources held is here.
func (c *core) done() bool {
	for i := range c.sources {
		if !c.sources[i].state.done {
			return false
		}
	}
	return true
}

// count returns how many items of all are here.
func (c *core) count() (got, all uint64) {
	for i := range c.sources {
		s := &c.sources[i]
		// Items come and go meanwhile, so what was got may be more than there is now.
		n := max(s.items, s.state.got)
		all += n
		if s.state.done {
			got += n
		} else {
			got += s.state.got
		}
	}
	return got, all
}

// percent returns how much is here of what the cores are about, by count of items: 100 only when all are done.
func percent(cores ...*core) int {
	done := true
	var got, all uint64
	for _, c := range cores {
		g, a := c.count()
		got, all, done = got+g, all+a, done && c.done()
	}
	switch {
	case done:
		return 100
	case all == 0:
		return 0
	}
	return int(min(99, 100*got/all))
}

// waiting returns, in words, what keeps the join from going on; empty when nothing does.
func (c *core) waiting() (out []string) {
	for i := range c.sources {
		if s := &c.sources[i]; s.fault != nil && !s.state.done {
			out = append(out, s.region.Name)
		}
	}
	return out
}
