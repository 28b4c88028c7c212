package dynamodb

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/auth"
	"github.com/concordat-db/concordat/regionnode/commit"
)

const (
	contentType   = "application/x-amz-json-1.0"
	targetPrefix  = "DynamoDB_20120810."
	streamsPrefix = "DynamoDBStreams_20120810."
)

// contentTypes are the forms in which a request may come, each answered in its own: they differ in nothing but the name.
var contentTypes = [...]string{contentType, "application/x-amz-json-1.1", "application/json"}

// knownType returns which of contentTypes a header names. Parameters of it, such as a character set, count for nothing.
func knownType(header []byte) (name string, ok bool) {
	kind, _, _ := bytes.Cut(header, []byte{';'})
	kind = bytes.TrimSpace(kind)
	for _, name := range contentTypes {
		if string(kind) == name {
			return name, true
		}
	}
	return contentType, false
}

// handle answers one request.
func (s *Server) handle(ctx *fasthttp.RequestCtx) {
	if !ctx.IsPost() || string(ctx.Path()) != "/" {
		s.noOperation(ctx)
		return
	}
	if s.requests.Add(1) > int64(s.config.MaxRequests) {
		s.requests.Add(-1)
		discard(ctx.RequestBodyStream())
		s.reject(ctx, unavailable("Too many requests are in work at this moment. Nothing was done; a retry may succeed"))
		return
	}
	defer s.requests.Add(-1)

	began := s.config.Now()
	c := s.calls.Get().(*call)
	c.reset(began)
	x := s.answer(ctx, c)
	if x != nil {
		c.out = x.appendBody(c.out[:0])
	}
	s.send(ctx, c, x)
	if s.config.Events.Request != nil {
		s.config.Events.Request(c.operationName(), ctx.Response.StatusCode(), s.config.Now().Sub(began))
	}
	c.release()
}

// answer does the request and leaves the answer in c.out, or returns the exception.
func (s *Server) answer(ctx *fasthttp.RequestCtx, c *call) (x *exception) {
	defer func() {
		if p := recover(); p != nil {
			x = c.panicked(p)
		}
	}()
	err := s.readBody(ctx, c)
	if err == nil {
		err = s.perform(ctx, c)
	}
	return c.failed(err)
}

// panicked is the answer to a request in which p was thrown. Its buffers may be in use still.
func (c *call) panicked(p any) *exception {
	c.broken = true
	cause := fmt.Sprintf("%T", p) // its text may quote an item
	if bug, ok := p.(runtime.Error); ok {
		cause = bug.Error()
	}
	return internal(internalMessage, fmt.Errorf("panic: %s\n%s", cause, debug.Stack()))
}

// failed returns the exception that err is; nil for nil.
func (c *call) failed(err error) *exception {
	if err == nil {
		return nil
	}
	x := translate(err, c.operation != nil && c.operation.control)
	if x.status == http.StatusInternalServerError {
		var p *commit.PanicError
		c.broken = errors.As(x, &p) // as above
	}
	return x
}

// perform finds the operation, authenticates, unpacks and executes.
func (s *Server) perform(ctx *fasthttp.RequestCtx, c *call) error {
	h := &ctx.Request.Header
	var known bool
	if c.contentType, known = knownType(h.ContentType()); !known {
		return errNotJSON
	}
	target := h.Peek("X-Amz-Target")
	name, streams := bytes.CutPrefix(target, []byte(streamsPrefix))
	if !streams {
		if name, known = bytes.CutPrefix(target, []byte(targetPrefix)); !known {
			return unknownOperation("")
		}
	}
	if c.operation = s.operations[string(name)]; c.operation == nil || c.operation.streams != streams {
		c.operation = nil
		return unknownOperation(later[string(name)])
	}
	c.signed = auth.Request{Method: h.Method(), Target: h.RequestURI(), Header: h, Body: c.body}
	_, err := s.config.Verifier.Verify(&c.signed)
	c.signed = auth.Request{}
	c.host = h.Host()
	if err != nil {
		return err
	}
	if err := c.unpack(h.Peek("Content-Encoding")); err != nil {
		return err
	}
	return c.execute()
}

// execute checks the JSON and runs the operation, here or where a policy has it forwarded.
func (c *call) execute() error {
	if err := item.CheckJSON(c.body); err != nil {
		return unreadable()
	}
	if !c.reserveTree() {
		return unavailable(errNoMemory)
	}
	root, err := c.parser.ParseBytes(c.body)
	if err != nil {
		return unreadable()
	}
	parameters, err := root.Object()
	if err != nil {
		return unreadable()
	}
	if c.operation.control {
		c.nameTable(parameters)
	}
	if err := c.operation.refusals.refuse(root); err != nil {
		return err
	}
	err = c.operation.run(c, parameters)
	// A request that has written nothing is as if it were made now.
	for len(c.writes.keys) == 0 && c.moved() {
		c.again()
		err = c.operation.run(c, parameters)
	}
	if err != nil {
		return c.elsewhere(err)
	}
	return nil
}

// errNotJSON marks requests that are not of this protocol: they get an answer in XML, as DynamoDB gives.
var errNotJSON = &exception{status: http.StatusNotFound, name: prefixService + "UnknownOperationException", bare: true}

// readBody reads the body into c.body.
func (s *Server) readBody(ctx *fasthttp.RequestCtx, c *call) (err error) {
	length := ctx.Request.Header.ContentLength()
	stream := ctx.RequestBodyStream()
	if stream == nil || length == 0 {
		return nil
	}
	if length > MaxBody {
		ctx.SetConnectionClose()
		discard(stream)
		return errTooLarge
	}
	reserve := int64(length)
	if length < 0 {
		reserve = MaxBody // chunked: the length shows only at the end
	}
	if !c.reserve(reserve) {
		discard(stream)
		return unavailable(errNoMemory)
	}
	if length > 0 {
		c.body = sized(c.body, length)
		_, err = io.ReadFull(stream, c.body)
	} else {
		c.body, err = readAll(stream, c.body[:0])
	}
	switch {
	case errors.Is(err, errTooLarge):
		ctx.SetConnectionClose()
		discard(stream)
	case err != nil:
		ctx.SetConnectionClose()
		err = unreadable()
	}
	return err
}

const errNoMemory = "Too many large requests are in work at this moment. Nothing was done; a retry may succeed"

// maxDiscarded is how many bytes of a refused body are read, for nothing but that the client gets to reading the answer: a connection closed with
// unread bytes is reset, and the answer lost.
const maxDiscarded = 4 * MaxBody

func discard(body io.Reader) {
	if body == nil {
		return
	}
	// An error means that the client is gone; nobody reads the answer then.
	_, _ = io.CopyN(io.Discard, body, maxDiscarded)
}

var errTooLarge = &exception{status: http.StatusRequestEntityTooLarge, name: prefixService + "RequestEntityTooLargeException",
	message: fmt.Sprintf("Request size exceeded the maximum allowed size of %d bytes", MaxBody), capital: true}

// sized returns b with length n and any content.
func sized(b []byte, n int) []byte {
	if cap(b) < n {
		return make([]byte, n)
	}
	return b[:n]
}

// readAll appends the rest of r to b, up to MaxBody.
func readAll(r io.Reader, b []byte) ([]byte, error) {
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		switch {
		case len(b) > MaxBody:
			return b, errTooLarge
		case err == io.EOF:
			return b, nil
		case err != nil:
			return b, err
		}
	}
}

// send fills in the response and hands it the answer.
func (s *Server) send(ctx *fasthttp.RequestCtx, c *call, x *exception) {
	var id [requestIDLen]byte
	fillRequestID(&id)
	status := http.StatusOK
	if c.status != 0 {
		status = c.status
	}
	if x != nil {
		status = x.status
		if status >= http.StatusInternalServerError && s.config.Events.Failed != nil {
			s.config.Events.Failed(c.operationName(), string(id[:]), x)
		}
	}
	if x == errNotJSON {
		c.out = append(c.out[:0], "<UnknownOperationException/>\n"...)
	}
	h := &ctx.Response.Header
	h.DisableNormalizing() // clients read names in any case, but people and golden files look for AWS's spelling
	h.SetStatusCode(status)
	if x != errNotJSON {
		h.SetContentType(c.contentType)
	}
	if acceptsGzip(ctx.Request.Header.Peek("Accept-Encoding")) && c.pack() {
		h.Set("Content-Encoding", "gzip")
	}
	if c.siblings > 0 {
		h.Set(siblingsHeader, strconv.Itoa(c.siblings))
	}
	if c.partial != "" {
		h.Set(partialHeader, c.partial)
	}
	if c.forwarded != "" {
		h.Set(forwardedHeader, c.forwarded)
	}
	allowOrigin(ctx)
	var crc [10]byte
	h.SetBytesV("x-amzn-RequestId", id[:])
	h.SetBytesV("x-amz-crc32", appendCRC(crc[:0], c.out))
	c.hand(&ctx.Response)
}

// reject answers without a call: there may be none to have.
func (s *Server) reject(ctx *fasthttp.RequestCtx, x *exception) {
	c := call{server: s, contentType: contentType, out: x.appendBody(nil)}
	s.send(ctx, &c, x)
}

// refuse answers what fasthttp could not read as a request. The connection is closed after it.
func (s *Server) refuse(ctx *fasthttp.RequestCtx, err error) {
	var small *fasthttp.ErrSmallBuffer
	var timeout net.Error
	x := &exception{status: http.StatusBadRequest, name: prefixService + "SerializationException", message: "The request could not be read as HTTP", capital: true}
	switch {
	case errors.As(err, &small):
		x.status = http.StatusRequestHeaderFieldsTooLarge
		x.message = fmt.Sprintf("The header of the request is larger than %d bytes", s.config.MaxHeader)
	case errors.As(err, &timeout) && timeout.Timeout():
		x.status, x.message = http.StatusRequestTimeout, "The request did not arrive in time"
	}
	linger(ctx.Conn())
	s.reject(ctx, x)
}

// noOperation answers what is no operation by its method or its path.
func (s *Server) noOperation(ctx *fasthttp.RequestCtx) {
	c := call{server: s}
	discard(ctx.RequestBodyStream())
	switch {
	case ctx.IsOptions():
		s.preflight(ctx)
	case (ctx.IsGet() || ctx.IsHead()) && string(ctx.Path()) == "/":
		// As load balancers ask, with DynamoDB's own text.
		c.out = fmt.Appendf(nil, "healthy: dynamodb.%s.amazonaws.com \n", s.config.Region)
		s.send(ctx, &c, nil)
		ctx.Response.Header.SetContentType("text/plain")
	default:
		s.send(ctx, &c, errNotJSON)
	}
}

func (c *call) operationName() string {
	if c.operation == nil {
		return ""
	}
	return c.operation.name
}

// reset prepares c for a request that began at the time given.
func (c *call) reset(began time.Time) {
	c.began = began
	c.operation = nil
	c.contentType = contentType
	c.arena.Reset()
	c.body = c.body[:0]
	c.heavy = false
	c.writes.keys = c.writes.keys[:0]
	c.door.asker, c.door.home, c.door.tables = 0, c.server.config.Region, nil
	c.again()
}

// again prepares c for doing its request, or doing it once more.
func (c *call) again() {
	c.out = c.out[:0]
	c.unsettled, c.siblings = c.unsettled[:0], 0
	c.status, c.partial, c.forwarded = 0, "", ""
	c.resolved = c.resolved[:0]
}
