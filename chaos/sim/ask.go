package sim

import (
	"context"
	"errors"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/streams/bus"
)

// playedLink is the link of a session whose calls are synchronous, over a network that is not. A call is made twice: the first time the link takes the request and
// fails; the second time, when the answer has come, it plays that back. What the session does before it asks happens twice, which it may.
type playedLink struct {
	request []byte
	answer  [][]byte
	playing bool
}

var errTaken = errors.New("the request is on its way")

// Request implements bus.Link.
func (l *playedLink) Request(_ context.Context, request []byte, each func(part []byte) error) error {
	if !l.playing {
		l.request = append([]byte(nil), request...)
		return errTaken
	}
	for _, part := range l.answer {
		if err := each(part); err != nil {
			return err
		}
	}
	return nil
}

// Pull implements bus.Link. Streams are fetched by session.fetch.
func (l *playedLink) Pull(context.Context, globaltable.LaneID, int, func(bus.Message)) error {
	return errors.New("not by this link")
}

// Probe implements bus.Link.
func (l *playedLink) Probe(context.Context) error { return nil }

// Close implements bus.Link.
func (l *playedLink) Close() error { return nil }

// ask carries one call of the session over the network: done gets its result, or errNoAnswer.
func (s *session) ask(call func() error, done func(error)) {
	finished := false
	end := func(err error) {
		if !finished {
			finished = true
			done(err)
		}
	}
	s.region.after(requestTimeout, s.alive(func() { end(errNoAnswer) }))
	s.sampled(s.alive(func() {
		s.link.playing, s.link.request = false, nil
		err := call()
		request := s.link.request
		if request == nil {
			end(err) // it failed before it asked
			return
		}
		if s.chance(s.plan.loseRequest) {
			s.cover("a request was lost")
			return
		}
		own := s.sample
		answered := s.alive(func() {
			if !finished {
				s.sample, s.link.playing = own, true
				end(call())
			}
		})
		s.send(s.origin, s.from.origin, func() {
			s.from.answer(s.region, request, func(parts [][]byte) {
				s.link.answer = parts
				answered()
			})
		})
	}))
}

// answer serves a peer's request, when what it may say is durable, and sends the answer back. The region's death loses it.
func (r *region) answer(asker *region, request []byte, arrived func(parts [][]byte)) {
	if !r.up {
		return
	}
	r.sampled(func() {
		var parts [][]byte
		r.asker = asker
		err := r.service.Handle(context.Background(), identities()[asker.origin].descriptor.Name, request, func(part []byte) error {
			parts = append(parts, part)
			return nil
		})
		if err == nil {
			r.send(r.origin, asker.origin, func() { arrived(parts) })
		}
	})
}
