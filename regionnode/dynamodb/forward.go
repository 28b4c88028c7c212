package dynamodb

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
)

// # Forwarding
//
// A request that a locality policy keeps from being served in this region is done in one where it may be, if the policy says so: the client's parameters go there as they came, the same operation is done by the same code, and its answer is the answer here. The client was authenticated here; the other region trusts
// that, and decides by its own policies whether the item may be there, and whether this region may have the request forwarded.

// Forwarder sends requests to other regions. Its methods may be called by several goroutines.
type Forwarder interface {
	// Forward has a region do the request and returns its answer. An error of kind Unknown says that it may have been done; any other one, that it was not.
	Forward(ctx context.Context, region string, r ForwardRequest) (Forwarded, error)
}

// ForwardRequest is a client's request on its way to another region.
type ForwardRequest struct {
	Operation  string
	Tables     []globaltable.TableID // that it is about
	Parameters []byte                // JSON, as the client sent it
}

// Forwarded is the answer to a request that another region has forwarded.
type Forwarded struct {
	Status   int    // of HTTP
	Siblings int    // see siblingsHeader
	Undone   bool   // the region has done nothing, and another one may be able to: it cannot serve now, or knows other policies
	Body     []byte // JSON; the receiver's
}

// Forwarding reports a request that has been forwarded, or done for another region. It has no key and no value of an item.
type Forwarding struct {
	Peer           string // to which, or from which
	Policy         string // names of locality policies, with commas between
	Operation      string
	Served         bool // it was done here, for the peer; else there
	Sent, Received int  // bytes of JSON; an answer that did not come has none
	Err            error
}

// forwardedHeader tells in an answer which region has done the request; absent: this one.
const forwardedHeader = "x-concordat-forwarded"

// elsewhere has a request done by another region, if err, by which this one has not done it, is that policies have it forwarded. It returns err else, with more to say where that helps.
func (c *call) elsewhere(err error) error {
	var f *foreign
	if !errors.As(err, &f) {
		return err
	}
	switch {
	case c.operation.forwards && f.several && len(f.regions) == 0 && !f.asked:
		return f.with("No region may serve all items of the request.")
	case !f.forwards():
		return f
	case !c.operation.forwards:
		return f.with(c.operation.name + " is not forwarded.")
	case len(f.regions) == 0 || c.server.config.Forward == nil:
		return f
	}
	return c.forward(f)
}

// forward sends the request to the regions that may serve it, one after the other, until one does it.
func (c *call) forward(f *foreign) error {
	ctx, cancel := context.WithTimeout(c.server.base, c.server.config.ForwardTimeout)
	defer cancel()
	r := ForwardRequest{Operation: c.operation.name, Parameters: c.body}
	for _, t := range c.resolved {
		r.Tables = append(r.Tables, t.ID)
	}
	for _, o := range f.regions {
		region := c.regionName(o)
		a, err := c.server.config.Forward.Forward(ctx, region, r)
		if e := c.server.config.Events.Forwarded; e != nil {
			e(Forwarding{Peer: region, Policy: policies(f.pins, ","), Operation: c.operation.name, Sent: len(c.body), Received: len(a.Body), Err: err})
		}
		switch {
		case err == nil && !a.Undone:
			c.out, c.status, c.siblings, c.forwarded = a.Body, a.Status, a.Siblings, region
			c.reserved += int64(len(a.Body))
			c.server.memory.Add(int64(len(a.Body))) // it is there already
			return nil
		case globaltable.KindOf(err) == globaltable.Unknown && err != nil && len(c.writes.keys) > 0:
			return &globaltable.Error{Op: "forward", Resource: region, Kind: globaltable.Unknown, Err: err, Message: "The request was forwarded to " + region +
				", as locality policy " + policies(f.pins, ", ") + " says, and no answer came. Its outcome is unknown: it may have been done there or not"}
		}
	}
	return &globaltable.Error{Op: "forward", Kind: globaltable.Unavailable, Message: "Locality policy " + policies(f.pins, ", ") + " has the request forwarded, and none of the regions that may serve it answers: " +
		c.regionNames(f.regions) + ". Nothing was done; a retry may succeed"}
}

// with returns f with more to say.
func (f *foreign) with(sentence string) *foreign {
	more, err := *f, *f.err
	err.Message += " " + sentence
	more.err = &err
	return &more
}

// regionName returns the name of a region that one of the request's tables has a replica in.
func (c *call) regionName(o hlc.Origin) string {
	for _, t := range c.resolved {
		if r := t.Replica(o); r != nil {
			return r.Region
		}
	}
	return fmt.Sprint(o)
}

func (c *call) regionNames(regions []hlc.Origin) string {
	out := make([]string, 0, len(regions))
	for _, o := range regions {
		out = append(out, c.regionName(o))
	}
	return strings.Join(out, ", ")
}

// Forwarded does a request that a client has made in another region, peer, which has authenticated it. An error says that it was not done, as Undone does.
func (s *Server) Forwarded(peer string, origin hlc.Origin, r ForwardRequest) (Forwarded, error) {
	o := s.operations[r.Operation]
	if o == nil || !o.forwards || origin == 0 || origin == s.config.Origin {
		return Forwarded{}, &globaltable.Error{Op: "serve forwarded request", Resource: peer, Kind: globaltable.Denied, Message: "this operation is not forwarded"}
	}
	if s.requests.Add(1) > int64(s.config.MaxRequests) {
		s.requests.Add(-1)
		return Forwarded{}, &globaltable.Error{Op: "serve forwarded request", Resource: peer, Kind: globaltable.Unavailable, Message: "too many requests are in work"}
	}
	defer s.requests.Add(-1)
	began := s.config.Now()
	c := s.calls.Get().(*call)
	c.reset(began)
	defer c.release()
	c.operation = o
	c.door.asker, c.door.home, c.door.tables = origin, peer, r.Tables
	if !c.reserve(int64(len(r.Parameters))) {
		return Forwarded{}, &globaltable.Error{Op: "serve forwarded request", Resource: peer, Kind: globaltable.Unavailable, Message: errNoMemory}
	}
	c.body = append(c.body[:0], r.Parameters...)
	a := Forwarded{Status: http.StatusOK}
	if x, refused := s.answerForwarded(c); x != nil {
		c.out, a.Status = x.appendBody(c.out[:0]), x.status
		a.Undone = refused || x.status == http.StatusServiceUnavailable
		if e := s.config.Events.Failed; e != nil && x.status >= http.StatusInternalServerError {
			e(o.name, "", x)
		}
	}
	a.Siblings, a.Body = c.siblings, c.out
	c.out = nil
	if e := s.config.Events.Request; e != nil {
		e(o.name, a.Status, s.config.Now().Sub(began))
	}
	if e := s.config.Events.Forwarded; e != nil {
		e(Forwarding{Peer: peer, Policy: c.transit(), Operation: o.name, Served: true, Sent: len(a.Body), Received: len(r.Parameters)})
	}
	return a, nil
}

// transit names the policies by which the region that has forwarded the request may not serve all of its tables itself.
func (c *call) transit() string {
	var names []string
	for _, t := range c.resolved {
		if name := withheld(t, c.door.asker); name != "" {
			names = append(names, name)
		}
	}
	return strings.Join(names, ",")
}

// answerForwarded is answer for a forwarded request. refused says that policies are the reason.
func (s *Server) answerForwarded(c *call) (x *exception, refused bool) {
	defer func() {
		if p := recover(); p != nil {
			x, refused = c.panicked(p), false
		}
	}()
	err := c.execute()
	var f *foreign
	return c.failed(err), errors.As(err, &f)
}
