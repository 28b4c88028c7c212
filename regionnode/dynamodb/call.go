package dynamodb

import (
	"time"
	"unsafe"

	"github.com/valyala/fastjson"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/expr"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/auth"
	"github.com/concordat-db/concordat/regionnode/commit"
)

// maxKept bounds the buffers of a pooled call in bytes: a call whose request or answer was larger is left to the collector, with
// its parser, which keeps a multiple of that.
const maxKept = 256 << 10

// call is a request in work with all its buffers. It serves one request at a time and is reused.
type call struct {
	server    *Server
	operation *operation
	began     time.Time
	host      []byte // of the request
	// contentType is one of contentTypes: the answer's.
	contentType string
	broken      bool  // a panic went through it: not to be used again
	heavy       bool  // its parser holds much: not to be used again
	reserved    int64 // bytes of the server's memory

	signed auth.Request
	body   []byte
	parser fastjson.Parser
	arena  fastjson.Arena // of values that are put into the parsed request
	out    []byte         // the answer
	status int            // of HTTP, of an answer that another region has given; 0: 200, or that of the exception

	// partial has the policies that keep items from being shown, forwarded the region that has done the request: values of headers, empty without them.
	partial, forwarded string

	door    door
	request itemRequest
	writes  writes
	found   readSize // by the last read
	scratch []byte   // what a projection leaves of an item

	projected item.Item // what an index shows of one
	conflicts bool      // some of the table that a get reads may be listed
	unsettled []byte    // the record that it found, if that may have open ones
	siblings  int       // how many it has

	// resolved are the tables that the request has found, under the view that found the first of them.
	resolved []*globaltable.Table
	view     View

	// got is c.appendGot as a value, made once: a closure for each request would be an allocation for each.
	got func(commit.Current) error
}

func newCall(s *Server) *call {
	c := &call{server: s, door: door{server: s, home: s.config.Region}}
	c.writes.door = &c.door
	c.writes.write.Plan = c.writes.plan
	c.got = c.appendGot
	return c
}

// release gives back what c has reserved, and c itself to its pool, if it may be used again.
func (c *call) release() {
	c.server.memory.Add(-c.reserved)
	c.reserved = 0
	c.writes.forget()
	clear(c.resolved) // documents go when the catalog has newer ones
	c.view = nil
	if c.broken || c.heavy || max(cap(c.body), cap(c.out), cap(c.scratch), cap(c.projected), cap(c.unsettled), cap(c.request.attributes), cap(c.writes.image)) > maxKept {
		return
	}
	c.server.calls.Put(c)
}

// show appends the item as JSON, or what the projection leaves of it.
func (c *call) show(dst []byte, it item.Item, p *expr.Projection) []byte {
	if p == nil {
		return it.AppendJSON(dst)
	}
	c.scratch = p.Append(c.scratch[:0], it)
	return item.Item(c.scratch).AppendJSON(dst)
}

// table finds the table of a request on items. Only a table that is complete here takes them.
func (c *call) table(name []byte) (*globaltable.Table, error) {
	if len(c.resolved) == 0 {
		c.view = c.server.config.View() // before the table is found
	}
	t, err := c.door.table(name)
	if err == nil {
		c.resolved = append(c.resolved, t)
	}
	return t, err
}

// moved reports whether another table is in the place of one that the request has found, or the same with other locality policies: a replica has become a table of its own meanwhile, or items have gone to other regions, and what was read may have been on its way out.
func (c *call) moved() bool {
	if len(c.resolved) == 0 || c.server.config.View() == c.view {
		return false
	}
	for _, t := range c.resolved {
		now, ok := c.server.config.View().Lookup(t.Name)
		if !ok {
			continue
		}
		if now.ID == t.ID {
			if now.Version != t.Version && len(now.Pins)+len(t.Pins) > 0 {
				return true
			}
			continue
		}
		if r := now.Replica(c.server.config.Origin); r != nil && r.Succeeds.Table == t.ID {
			return true
		}
	}
	return false
}

// refused returns why no items are read or written now; nil: they are.
func (s *Server) refused() error {
	if f := s.config.Refused; f != nil {
		return f()
	}
	return nil
}

func (s *Server) table(name []byte, home string) (*globaltable.Table, error) {
	if err := s.refused(); err != nil {
		return nil, err
	}
	if isARN(name) {
		own, ok := tableOfARN(string(name), home)
		if !ok {
			return nil, tableNotFound()
		}
		name = []byte(own)
	}
	// A copy as a string would be an allocation in every request, and Lookup keeps nothing of it.
	t, ok := s.config.View().Lookup(unsafe.String(unsafe.SliceData(name), len(name)))
	if !ok {
		return nil, tableNotFound()
	}
	switch t.StatusIn(s.config.Origin) {
	case globaltable.Active, globaltable.Updating:
		return t, nil
	}
	return nil, tableNotFound()
}
