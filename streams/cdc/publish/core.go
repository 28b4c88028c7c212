// Package publish puts the records of change streams, as events, into the JetStream of their region, and keeps the consumers of those who were granted to read them.
//
// JetStream is delivery, the store is the truth. The stream of a table's events is a run of the table's records without a gap, from some position to the present, and the only thing that says how far it goes is itself: the position
// of its last event. Decide looks at what is there and says whether that is such a run, and has what its readers have not read. Then it is continued; if not, for whatever reason (it was never there, JetStream has lost its beginning, its end or something between, it has
// events that the store does not know, or events have to go that a policy does not let be here any more), it is made anew, from the least place of its readers on: events that all have read are not needed. Ids of events do not change by that.
//
// Where readers are is kept in the store (package reader), as positions: sequences of JetStream begin again with each stream.
package publish

import (
	"slices"
	"time"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/streams/bus"
)

// Want is how a table's events are to be.
type Want struct {
	Stream  bus.EventStream
	Readers map[string]hlc.Timestamp // by name: what is at or below it has been read
	Mark    hlc.Timestamp            // the store has nothing after it
	Now     hlc.Timestamp            // by the wall clock
	Anew    string                   // why what is there must not be kept, whatever it is; empty: it may
}

// Found is what JetStream has of them.
type Found struct {
	bus.EventState
	Head, Tail hlc.Timestamp // the positions of the first and of the last event; zero: there is none, or it cannot be read
	Missing    bool          // the store has records after Want.Base that are before Head or, if there is no event, any
}

// Plan is what is to be done.
type Plan struct {
	Anew   string        // why the stream is to be made anew; empty: it is kept
	Adjust bool          // its bounds are to be changed
	Last   uint64        // the sequence that the next event comes after
	After  hlc.Timestamp // the records after this position are to be published
	Set    []string      // readers whose consumers are to be made, or made anew, once everything is published
	Drop   []string      // consumers that are to go
}

// slack is by how much the ages of a record and of its event may differ.
const slack = time.Minute

// Base returns the position from which on events are needed: the least place of the readers, without any the mark; but nothing that would be too old.
func (w *Want) Base() hlc.Timestamp {
	base := w.Mark
	for _, at := range w.Readers {
		base = min(base, at)
	}
	return max(base, w.Now.Add(-w.Stream.MaxAge))
}

// Decide says what to do with what was found.
func Decide(w *Want, f *Found) (p Plan) {
	for name := range f.Readers {
		if _, wanted := w.Readers[name]; !wanted {
			p.Drop = append(p.Drop, name)
		}
	}
	for name := range w.Readers {
		// One that is ahead of the stream would pass over what takes the place of what it has seen.
		if r, there := f.Readers[name]; !there || r.Delivered > f.Last {
			p.Set = append(p.Set, name)
		}
	}
	slices.Sort(p.Set)
	slices.Sort(p.Drop)
	if p.Anew = whyAnew(w, f); p.Anew != "" {
		p.After, p.Set, p.Drop = w.Base(), nil, nil
		for name := range w.Readers {
			p.Set = append(p.Set, name)
		}
		slices.Sort(p.Set)
		return p
	}
	p.Last, p.After, p.Adjust = f.Last, f.Tail, f.Config != w.Stream
	if f.Messages == 0 {
		p.After = w.Base()
	}
	return p
}

func whyAnew(w *Want, f *Found) string {
	switch full := f.Bytes >= w.Stream.MaxBytes/4*3; {
	case w.Anew != "":
		return w.Anew
	case !f.Exists:
		return "there is none"
	case f.Config.Subjects != w.Stream.Subjects:
		return "it is another table's"
	case f.Messages == 0 && f.Missing:
		return "it is empty"
	case f.Messages == 0:
		return ""
	case f.Messages != f.Last-f.First+1:
		return "something in it is missing"
	case f.Head == 0 || f.Tail == 0:
		return "it has what is no event"
	case f.Tail > w.Mark:
		return "it has what the store does not"
	case f.Missing && !full: // a full one has dropped it, and would again
		return "its beginning is missing"
	}
	return ""
}
