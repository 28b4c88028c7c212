package dynamodb

import (
	"time"
	"unsafe"

	"github.com/valyala/fastjson"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/globaltable/plan"
	"github.com/concordat-db/concordat/regionnode/auth"
	"github.com/concordat-db/concordat/regionnode/commit"
	"github.com/concordat-db/concordat/streams/confirm"
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

	request itemRequest
	item    item.Item // of a put
	keyItem item.Item // of a get or delete
	key     item.Key
	old     item.Item // what a write replaced, if it is asked for
	keepOld bool
	read    readSize

	// write is lent to the shard together with what the slices below hold: writes[i] is planned for write.Keys[i].
	write    commit.Write
	keys     []commit.Key
	writes   []plan.Write
	outcomes []plan.Outcome
	opsOf    [][]conflict.Op
	ops      []conflict.Op
	from     int // writes before it belong to earlier commits of the request
	// asking are the tables, of those written to, whose writes wait for peers; needs is what for.
	asking []*globaltable.Table
	needs  []confirm.Need

	// got is c.appendGot as a value, made once: a closure for each request would be an allocation for each.
	got func(commit.Current) error
}

func newCall(s *Server) *call {
	c := &call{server: s}
	c.write.Plan = c.plan
	c.got = c.appendGot
	return c
}

// release gives back what c has reserved, and c itself to its pool, if it may be used again.
func (c *call) release() {
	c.server.memory.Add(-c.reserved)
	c.reserved = 0
	if c.broken || c.heavy || cap(c.body) > maxKept || cap(c.out) > maxKept || cap(c.item) > maxKept || cap(c.old) > maxKept {
		return
	}
	c.server.calls.Put(c)
}

// begin prepares c for writing n keys.
func (c *call) begin(n int) {
	c.keys, c.writes = c.keys[:0], c.writes[:0]
	clear(c.asking) // documents go when the catalog has newer ones
	c.asking, c.needs = c.asking[:0], c.needs[:0]
	c.keepOld = false
	c.old = c.old[:0]
	if cap(c.ops) < n {
		c.ops = make([]conflict.Op, n)
		c.opsOf = make([][]conflict.Op, n)
		c.outcomes = make([]plan.Outcome, n)
	}
}

// add adds a write. Its key and item must stay unchanged until commit returns. An error means that the table takes no write now.
func (c *call) add(table *globaltable.Table, key item.Key, w plan.Write) error {
	if table.AcknowledgePeers > 0 {
		if err := c.ask(table); err != nil {
			return err
		}
	}
	c.keys = append(c.keys, commit.Key{Table: table.ID, Bytes: key})
	c.writes = append(c.writes, w)
	return nil
}

// commit does the writes from and up to, without to, in one commit. They are durable here then; before the answer comes acknowledged.
func (c *call) commit(from, to int) error {
	c.from = from
	c.write.Keys = c.keys[from:to]
	err := c.server.config.Shard.Write(c.server.base, &c.write)
	if err == nil && len(c.asking) > 0 {
		c.need()
	}
	return err
}

// plan is the commit's plan: see commit.Write. It runs in this goroutine.
func (c *call) plan(current []commit.Current) ([][]conflict.Op, error) {
	for i := range current {
		at := c.from + i
		out, err := c.writes[at].Plan(current[i].Item, c.ops[i:i:i+1])
		if err != nil {
			return nil, err
		}
		c.outcomes[at] = out
		c.opsOf[i] = out.Ops
	}
	if c.keepOld {
		c.old = append(c.old[:0], current[0].Item...)
	}
	return c.opsOf[:len(current)], nil
}

// table finds the table of a request on items. Only a table that is complete here takes them.
func (c *call) table(name []byte) (*globaltable.Table, error) {
	if f := c.server.config.Refused; f != nil {
		if err := f(); err != nil {
			return nil, err
		}
	}
	// A copy as a string would be an allocation in every request, and Lookup keeps nothing of it.
	t, ok := c.server.config.View().Lookup(unsafe.String(unsafe.SliceData(name), len(name)))
	if !ok {
		return nil, tableNotFound()
	}
	switch t.StatusIn(c.server.config.Origin) {
	case globaltable.Active, globaltable.Updating:
		return t, nil
	}
	return nil, tableNotFound()
}
