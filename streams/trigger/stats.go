package trigger

import (
	"context"
	"slices"
	"time"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/locality"
	"github.com/concordat-db/concordat/streams/cdc"
)

// maxBacklog bounds the records that are counted to tell how many wait.
const maxBacklog = 10_000

// Stats is how a trigger does in this region.
type Stats struct {
	ID     globaltable.TriggerID
	Table  *globaltable.Table
	Spec   *globaltable.Trigger
	Feeds  []FeedStats
	Paused bool
}

// FeedStats is how one of its feeds does.
type FeedStats struct {
	Standing
	Counts
	Waiting      int // records of the feed that were not dealt with; that are counted up to maxBacklog
	WaitingBytes int64
	WaitingMore  bool          // there are more
	Oldest       hlc.Timestamp // of them; zero: none waits
}

// Stats returns how the triggers do that have the name, of the table with the name; empty: of all, each.
func (r *Runner) Stats(table, name string) (out []Stats, err error) {
	now := r.cfg.Now()
	r.each(func(w *work) {
		w.mu.Lock()
		s := Stats{ID: w.id, Table: w.table, Spec: w.spec, Paused: w.spec.Paused}
		if table != "" && s.Table.Name != table || name != "" && w.id.Name != name || w.adopted == nil {
			w.mu.Unlock()
			return
		}
		t := w.adopted
		for _, standing := range w.core.Standings(now) {
			s.Feeds = append(s.Feeds, FeedStats{Standing: standing, Counts: *w.count(standing.Feed)})
		}
		w.mu.Unlock()
		for i := range s.Feeds {
			if e := r.backlog(t, &s.Feeds[i]); e != nil {
				err = e
			}
		}
		out = append(out, s)
	})
	return out, err
}

// State is how a trigger does, in short.
type State struct {
	ID     globaltable.TriggerID
	Table  string
	Paused bool
	Fires  bool          // some of its feeds, here
	Behind time.Duration // how old the moment is up to which all of these was dealt with
	Gaps   uint64        // see Counts
}

// States returns how all triggers do. It reads nothing.
func (r *Runner) States(now time.Time) (out []State) {
	r.each(func(w *work) {
		w.mu.Lock()
		defer w.mu.Unlock()
		s := State{ID: w.id, Table: w.table.Name, Paused: w.spec.Paused}
		for _, f := range w.core.Standings(now) {
			if f.Fires {
				s.Fires, s.Behind = true, max(s.Behind, now.Sub(f.Position.Time()))
			}
		}
		for _, c := range w.counts {
			s.Gaps += c.Gaps
		}
		out = append(out, s)
	})
	return out
}

// backlog counts what of a feed waits in this region's stream.
func (r *Runner) backlog(t *globaltable.Table, s *FeedStats) error {
	looked := 0
	_, err := r.cfg.Stream.Read(t.ID, s.Position, func(x *cdc.Record) bool {
		if looked++; looked > maxBacklog {
			s.WaitingMore = true
			return false
		}
		if !s.Feed.Has(x, func() globaltable.LaneID { return laneOf(t, x.Key) }) {
			return true
		}
		if s.Waiting++; s.Oldest == 0 {
			s.Oldest = x.Position
		}
		s.WaitingBytes += int64(len(x.Key) + len(x.Old) + len(x.New))
		return true
	})
	return err
}

const opLetters = "dead letters"

// Letters calls f with the dead letters of a trigger after a position, in order, until f returns false. What f gets is a view. Those of items that may not be served here now are passed over.
func (r *Runner) Letters(id globaltable.TriggerID, after hlc.Timestamp, f func(*cdc.Letter) (more bool)) error {
	t := r.document(id.Table)
	if t == nil {
		return &globaltable.Error{Op: opLetters, Resource: id.Name, Kind: globaltable.NotFound, Message: "there is no such table"}
	}
	return r.cfg.Store.EachLetter(id, after, func(l *cdc.Letter) bool {
		if locality.Decide(t, l.Key, r.cfg.Self, locality.Admit) != locality.Permit {
			return true
		}
		return f(l)
	})
}

// Redriven is what became of dead letters that were to be delivered once more.
type Redriven struct {
	Delivered int
	Failed    int  // they stay
	Withheld  int  // they stay, too: policies do not let the target have them
	More      bool // there are more than one call takes
	Error     string
}

// maxRedrive bounds what one call of Redrive takes of letters.
const maxRedrive = 1000

// Redrive delivers dead letters of a trigger once more, in batches, beginning with the oldest, or those at the positions given; at most so many as one call may take. Those that the target takes are dropped. They are not in order with events that are delivered meanwhile, nor is one tried again.
func (r *Runner) Redrive(ctx context.Context, id globaltable.TriggerID, only []hlc.Timestamp) (out Redriven, err error) {
	r.mu.Lock()
	w := r.works[id]
	r.mu.Unlock()
	if w == nil {
		return out, &globaltable.Error{Op: opLetters, Resource: id.Name, Kind: globaltable.NotFound, Message: "there is no such trigger here"}
	}
	w.mu.Lock()
	t, g := w.table, w.spec
	w.mu.Unlock()
	target := r.cfg.Means.newTarget(t, g)
	defer target.Close()
	var events []Event
	err = r.Letters(id, 0, func(l *cdc.Letter) bool {
		if out.More = len(events) == maxRedrive; out.More {
			return false
		}
		e := Event{Position: l.Position, ID: EventID(l.Event), Key: slices.Clone(l.Key), JSON: slices.Clone(l.Event)}
		switch {
		case only != nil && !slices.Contains(only, l.Position):
		case !MayTell(t, r.cfg.Self, &e, &g.Target):
			out.Withheld++
		default:
			events = append(events, e)
		}
		return true
	})
	if err != nil {
		return out, err
	}
	for batch := range slices.Chunk(events, g.BatchSize()) {
		attempt, cancel := context.WithTimeout(ctx, g.Target.TimeLimit())
		err := target.Deliver(attempt, batch)
		cancel()
		if err != nil {
			out.Failed += len(batch)
			out.Error = err.Error()
			continue
		}
		out.Delivered += len(batch)
		at := make([]hlc.Timestamp, 0, len(batch))
		for i := range batch {
			at = append(at, batch[i].Position)
		}
		if _, err := r.cfg.Store.DropLetters(ctx, id, at); err != nil {
			return out, err
		}
	}
	return out, nil
}

// Purge drops dead letters of a trigger: those at the positions given, or all. It returns how many.
func (r *Runner) Purge(ctx context.Context, id globaltable.TriggerID, only []hlc.Timestamp) (dropped int, err error) {
	for {
		at, all := only, only == nil
		if all {
			if err := r.cfg.Store.EachLetter(id, 0, func(l *cdc.Letter) bool {
				at = append(at, l.Position)
				return len(at) < maxRedrive
			}); err != nil {
				return dropped, err
			}
		}
		n, err := r.cfg.Store.DropLetters(ctx, id, at)
		dropped += n
		if err != nil || !all || len(at) < maxRedrive {
			return dropped, err
		}
	}
}

// ID returns what a trigger of a table is, of which this region knows.
func (r *Runner) ID(table, name string) (id globaltable.TriggerID, ok bool) {
	r.each(func(w *work) {
		if t, n := w.names(); t == table && n == name {
			id, ok = w.id, true
		}
	})
	return id, ok
}
