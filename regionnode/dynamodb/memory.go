package dynamodb

import (
	"bytes"

	"github.com/valyala/fasthttp"
)

// What requests take is reserved from one budget, Config.MaxMemory, before it is taken:
//
//   - the body, by the length that the header declares;
//   - what the JSON parser makes of it, which can be twenty times as much, by a count of the characters that begin a value;
//   - what a Scan or a BatchGetItem answers, item by item. Where the budget ends, the page ends: both may answer less than asked for.
//
// A body that finds no room gets 503. A parsed request takes at most half of the budget, so that each can be served when nothing else is.
// The answer's memory is given back when it has been written to the client, however slowly that reads.

const (
	minMemory = 4 * MaxBody
	// valueBytes is about what the parser takes for a value.
	valueBytes = 100
	// smallBody is a length in bytes up to which the parsed request is not counted: MaxRequests bounds those.
	smallBody = 4 << 10
	// maxKeptTree bounds the parsed request of a call that is used again.
	maxKeptTree = 512 << 10
)

// reserve takes n bytes from the budget until the call is done. When they are not there it takes nothing and returns false.
func (c *call) reserve(n int64) bool {
	s := c.server
	if s.memory.Add(n) > s.config.MaxMemory {
		s.memory.Add(-n)
		return false
	}
	c.reserved += n
	return true
}

// reserveTree reserves what parsing the body will take.
func (c *call) reserveTree() bool {
	if len(c.body) <= smallBody {
		return true
	}
	values := 0
	for _, begin := range [...]byte{'[', '{', ':', ','} {
		values += bytes.Count(c.body, []byte{begin})
	}
	n := int64(values) * valueBytes
	c.heavy = n > maxKeptTree
	return c.reserve(min(n, c.server.config.MaxMemory/2))
}

// lentAnswer is a long answer on its way out. It holds its memory in the budget until fasthttp closes it, after writing.
type lentAnswer struct {
	bytes.Reader
	server *Server
	size   int64
}

func (a *lentAnswer) Close() error {
	a.server.memory.Add(-a.size)
	a.size = 0
	return nil
}

// hand gives the answer to the response. A short one is swapped with the response's buffer, not copied. A long one is lent, and c keeps nothing of it.
func (c *call) hand(res *fasthttp.Response) {
	if len(c.out) <= maxKept {
		c.out = res.SwapBody(c.out)
		return
	}
	a := &lentAnswer{server: c.server, size: int64(len(c.out))}
	c.server.memory.Add(a.size) // it is there already; what the call has reserved for it is given back in a moment
	a.Reset(c.out)
	res.SetBodyStream(a, len(c.out))
	c.out = nil
}
