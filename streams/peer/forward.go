package peer

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/klauspost/compress/s2"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/streams/bus"
)

// Bounds of forwarded requests, in bytes.
const (
	maxPiece = 160 << 10 // of one, compressed: in base64 it has room in a request
	// MaxForward bounds the parameters of one, and the answer to one.
	MaxForward = 16 << 20
	// maxPending bounds the pieces that wait for the rest, of one peer: those that came first go when more come.
	maxPending = 2 * MaxForward
)

// Forward is a piece of a client's request that the asker has forwarded. The last one has the request done, and has its answer; the others have an empty one. Nothing of it is stored.
type Forward struct {
	ID        uint64                `json:"id"` // of the request, which all of its pieces have
	Operation string                `json:"operation"`
	Tables    []globaltable.TableID `json:"tables"` // that the request is about
	Piece     int                   `json:"piece"`  // from 0
	Pieces    int                   `json:"pieces"` // 1 for most requests
	Data      []byte                `json:"data"`   // of the parameters, compressed with s2
}

// ForwardRequest is a client's request, whole.
type ForwardRequest struct {
	Operation  string
	Tables     []globaltable.TableID // that it is about
	Parameters []byte                // JSON
}

// Forwarded ends the answer to a forwarded request. Its body comes before it.
type Forwarded struct {
	Status   int  `json:"status"`             // of HTTP
	Siblings int  `json:"siblings,omitempty"` // open conflicts of the item that was read
	Undone   bool `json:"undone,omitempty"`   // nothing was done, and another region may be able to
	Bytes    int  `json:"bytes"`              // of the body
}

// unanswered is an error after a forwarded request may have been done. It is never told as an answer: the asker is to know that it does not know.
type unanswered struct{ error }

func (u unanswered) Unwrap() error { return u.error }

// forward takes a piece of a request, and has the request done if it is the last one.
func (s *Service) forward(ctx context.Context, asker globaltable.Descriptor, f *Forward, reply func([]byte) error) error {
	if s.cfg.Forward == nil {
		return &globaltable.Error{Op: "serve forwarded request", Resource: asker.Name, Kind: globaltable.Unavailable, Message: "this region takes no forwarded requests"}
	}
	data, complete, err := s.pieces.add(asker.Name, f)
	if err != nil {
		return err
	}
	if !complete {
		return sendDocument(struct{}{}, reply)
	}
	parameters, err := unpack(data)
	if err != nil {
		return &globaltable.Error{Op: "serve forwarded request", Resource: asker.Name, Kind: globaltable.Invalid, Err: err}
	}
	answer, body, err := s.cfg.Forward(ctx, asker, ForwardRequest{f.Operation, f.Tables, parameters})
	if err != nil {
		return err // it was not done
	}
	if s.cfg.Answering != nil {
		if err := s.cfg.Answering(ctx, asker.Name, f.Tables, len(body)); err != nil {
			return unanswered{err}
		}
	}
	for piece := range slices.Chunk(body, bus.MaxMessage-1) {
		if err := reply(append([]byte{partRecords}, piece...)); err != nil {
			return unanswered{err}
		}
	}
	answer.Bytes = len(body)
	if err := sendDocument(answer, reply); err != nil {
		return unanswered{err}
	}
	return nil
}

func unpack(data []byte) ([]byte, error) {
	if n, err := s2.DecodedLen(data); err != nil || n > MaxForward {
		return nil, fmt.Errorf("parameters of %d bytes: %w", n, cmp.Or(err, errors.New("too many")))
	}
	return s2.Decode(nil, data)
}

// pieces are requests of peers of which not all has come, in memory only. They are bounded for each peer; a peer that is not heard again leaves at most that.
type pieces struct {
	mu      sync.Mutex
	waiting map[string][]*piecewise // by peer, those that came first first
}

type piecewise struct {
	first Forward // without its data
	next  int
	data  []byte
}

// add adds a piece, and returns the whole when it is complete. Pieces come in order.
func (p *pieces) add(peer string, f *Forward) (whole []byte, complete bool, err error) {
	wrong := func(message string) error {
		return &globaltable.Error{Op: "serve forwarded request", Resource: peer, Kind: globaltable.Invalid, Message: message}
	}
	if f.Pieces < 1 || f.Piece < 0 || f.Piece >= f.Pieces || len(f.Data) > maxPiece || f.Pieces > MaxForward/maxPiece+2 {
		return nil, false, wrong("a piece that cannot be")
	}
	if f.Pieces == 1 {
		return f.Data, true, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.waiting[peer]
	i := slices.IndexFunc(list, func(w *piecewise) bool { return w.first.ID == f.ID })
	switch {
	case f.Piece == 0 && i < 0:
		head := *f
		head.Data = nil
		list, i = append(list, &piecewise{first: head}), len(list)
	case i < 0 || list[i].next != f.Piece || list[i].first.Pieces != f.Pieces || list[i].first.Operation != f.Operation:
		return nil, false, wrong("a piece that does not follow: the one before it has been dropped, or never came")
	}
	w := list[i]
	w.data, w.next = append(w.data, f.Data...), w.next+1
	if w.next == f.Pieces {
		list, whole, complete = slices.Delete(list, i, i+1), w.data, true
	}
	list = bounded(list)
	if p.waiting[peer] = list; len(list) == 0 {
		delete(p.waiting, peer)
	}
	return whole, complete, nil
}

// bounded drops from the front what is beyond maxPending.
func bounded(list []*piecewise) []*piecewise {
	size := 0
	for i := len(list) - 1; i >= 0; i-- {
		if size += len(list[i].data); size > maxPending {
			return slices.Delete(list, 0, i+1)
		}
	}
	return list
}

// Forward has the origin do a client's request and returns its answer. An error of kind Unknown says that it may have been done, any other one that it was not.
func (c Client) Forward(ctx context.Context, r ForwardRequest) (answer Forwarded, body []byte, err error) {
	if len(r.Parameters) > MaxForward {
		return answer, nil, &globaltable.Error{Op: "forward", Kind: globaltable.LimitExceeded, Message: "the request is too large to be forwarded"}
	}
	data := s2.Encode(nil, r.Parameters)
	f := Forward{ID: rand.Uint64(), Operation: r.Operation, Tables: r.Tables, Pieces: (len(data) + maxPiece - 1) / maxPiece}
	for ; f.Piece < f.Pieces-1; f.Piece++ {
		f.Data = data[f.Piece*maxPiece : (f.Piece+1)*maxPiece]
		var taken struct{}
		if err := c.document(ctx, request{Forward: &f}, &taken); err != nil {
			return answer, nil, &globaltable.Error{Op: "forward", Kind: globaltable.Unavailable, Err: err} // the last piece was not sent
		}
	}
	f.Data = data[f.Piece*maxPiece:]
	return c.forwardLast(ctx, &f)
}

// forwardLast sends the piece that has the request done.
func (c Client) forwardLast(ctx context.Context, f *Forward) (answer Forwarded, body []byte, err error) {
	b, err := json.Marshal(request{Version: protocolVersion, Forward: f})
	if err != nil {
		return answer, nil, err
	}
	var refusal error
	done := false
	corrupt := &globaltable.Error{Op: "forward", Kind: globaltable.Corrupt, Message: "the answer has another form than asked for"}
	err = c.link.Request(ctx, b, func(part []byte) error {
		switch {
		case len(part) == 0 || done || refusal != nil || len(body)+len(part) > MaxForward:
			return corrupt
		case part[0] == partRecords:
			body = append(body, part[1:]...)
		case part[0] == partError && body == nil:
			refusal = decodeError(part[1:])
		case part[0] == partDocument:
			done = true
			return decodeDocument(part[1:], &answer)
		default:
			return corrupt
		}
		return nil
	})
	switch {
	case err == nil && done && answer.Bytes == len(body) && answer.Status >= 200 && answer.Status < 600:
		return answer, body, nil
	case err == nil && refusal != nil:
		kind := globaltable.KindOf(refusal)
		if kind == globaltable.Unknown {
			kind = globaltable.Internal
		}
		return Forwarded{}, nil, &globaltable.Error{Op: "forward", Kind: kind, Err: refusal}
	case errors.Is(err, bus.ErrBusy), errors.Is(err, bus.ErrNoService), errors.Is(err, bus.ErrTooLarge):
		return Forwarded{}, nil, &globaltable.Error{Op: "forward", Kind: globaltable.Unavailable, Err: err}
	}
	return Forwarded{}, nil, &globaltable.Error{Op: "forward", Kind: globaltable.Unknown, Err: cmp.Or[error](err, corrupt)}
}

// Forward has the origin do a client's request; see Client.Forward.
func (s *Session) Forward(ctx context.Context, r ForwardRequest) (Forwarded, []byte, error) {
	return s.client.Forward(ctx, r)
}
