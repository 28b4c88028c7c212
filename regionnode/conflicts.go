package regionnode

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/expr"
	"github.com/concordat-db/concordat/globaltable/feed"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/globaltable/locality"
	"github.com/concordat-db/concordat/globaltable/plan"
	"github.com/concordat-db/concordat/regionnode/admin"
	"github.com/concordat-db/concordat/regionnode/commit"
)

// conflictFeeds is the node's conflict feeds for operators: admin.Conflicts.
type conflictFeeds struct {
	n     *Node
	write func(key item.Key, w plan.Write) error // as a client's request
}

const opConflicts = "conflicts"

// tables returns the tables that serve here, by name; only the one with that name or id, if one is given.
func (f conflictFeeds) tables(name string) (out []*globaltable.Table, err error) {
	view := f.n.catalog.View()
	view.Tables(func(t *globaltable.Table) bool {
		if t.StatusIn(f.n.cfg.Region.Origin) != "" && (name == "" || t.Name == name || t.ID.String() == name) {
			out = append(out, t)
		}
		return true
	})
	if name != "" && len(out) == 0 {
		return nil, notFound(name, "this region has no table named "+name)
	}
	slices.SortFunc(out, func(a, b *globaltable.Table) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

func notFound(resource, message string) error {
	return &globaltable.Error{Op: opConflicts, Resource: resource, Kind: globaltable.NotFound, Message: message}
}

// here reports whether the item with the key may be served in this region. Conflicts are where their items are: of one that is not to be here any more, and has not been erased yet, nothing is told.
func (f conflictFeeds) here(t *globaltable.Table, key item.Key) bool {
	return len(t.Pins) == 0 || locality.Decide(t, key, f.n.cfg.Region.Origin, locality.Admit) == locality.Permit
}

// listed is an entry that was read: its memory is its own.
type listed struct {
	key item.Key // of the item
	*feed.Entry
}

// List implements admin.Conflicts. Of several tables the newest of all come first.
func (f conflictFeeds) List(ctx context.Context, q admin.ConflictQuery) (out admin.ConflictList, err error) {
	out.Conflicts = []admin.Conflict{}
	tables, err := f.tables(q.Table)
	if err != nil {
		return out, err
	}
	var before hlc.Stamp
	if q.Before != "" {
		id, err := feed.ParseID(q.Before)
		if err != nil {
			return out, err
		}
		before = id.Dot
	}
	end := "" // what is older has to wait for the next list
	for _, t := range tables {
		// Each table may have the newest of all: so many of each, then the newest of those.
		some, more, err := f.read(ctx, t, q, before)
		if err != nil {
			return out, err
		}
		if out.Conflicts = append(out.Conflicts, some...); more {
			out.More, end = true, max(end, some[len(some)-1].Loser.Stamp)
		}
	}
	slices.SortStableFunc(out.Conflicts, func(a, b admin.Conflict) int { return strings.Compare(b.Loser.Stamp, a.Loser.Stamp) })
	bytes := 0
	for i := range out.Conflicts {
		c := &out.Conflicts[i]
		if bytes += c.Size(); c.Loser.Stamp < end || i == q.Limit || i > 0 && bytes > maxListBytes {
			out.Conflicts, out.More = out.Conflicts[:i], true
			break
		}
	}
	return out, nil
}

// maxListBytes bounds the values in one answer, but for its first conflict.
const maxListBytes = 8 << 20

// read returns the newest conflicts of a table that q selects. more says that there are others; the list is not empty then.
func (f conflictFeeds) read(ctx context.Context, t *globaltable.Table, q admin.ConflictQuery, before hlc.Stamp) (out []admin.Conflict, more bool, err error) {
	var failed error
	bytes := 0
	err = f.n.shard.Conflicts(ctx, t.ID, before, true, func(key item.Key, e *feed.Entry) bool {
		if !q.Since.IsZero() && e.Loser.Stamp.Time.Time().Before(q.Since) {
			return false
		}
		if !f.here(t, feed.ItemKey(key)) {
			return true
		}
		c, err := f.describe(ctx, t, listed{feed.ItemKey(key), e})
		switch {
		case err != nil:
			failed = err
			return false
		case q.Open && !c.Open:
			return true
		case len(out) == q.Limit || len(out) > 0 && bytes+c.Size() > maxListBytes:
			more = true
			return false
		}
		bytes += c.Size()
		out = append(out, c)
		return true
	})
	return out, more, cmpErr(err, failed)
}

// Tail implements admin.Conflicts.
func (f conflictFeeds) Tail(ctx context.Context, table string, after uint64, wait time.Duration) (out admin.ConflictTail, err error) {
	out.Conflicts = []admin.Conflict{}
	if _, err := f.tables(table); err != nil {
		return out, err
	}
	waiting, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	keys, next, missed := f.n.shard.Arrived(waiting, after)
	out.Next, out.Missed = next, missed
	tables, err := f.tables(table) // as they are now
	if err != nil {
		return out, err
	}
	bytes := 0
	for at, k := range keys {
		i := slices.IndexFunc(tables, func(t *globaltable.Table) bool { return t.ID == k.Table.Base() })
		if i < 0 || !f.here(tables[i], feed.ItemKey(k.Bytes)) {
			continue
		}
		e, err := f.find(ctx, k)
		switch {
		case globaltable.KindOf(err) == globaltable.NotFound:
			continue // it has gone since
		case err != nil:
			return out, err
		}
		c, err := f.describe(ctx, tables[i], e)
		if err != nil {
			return out, err
		}
		if bytes += c.Size(); len(out.Conflicts) > 0 && bytes > maxListBytes {
			out.Next = next - uint64(len(keys)-at) // from this one on the next time
			return out, nil
		}
		out.Conflicts = append(out.Conflicts, c)
	}
	return out, nil
}

// Stats implements admin.Conflicts.
func (f conflictFeeds) Stats(ctx context.Context, table string) ([]admin.ConflictStats, error) {
	tables, err := f.tables(table)
	if err != nil {
		return nil, err
	}
	out := []admin.ConflictStats{}
	for _, t := range tables {
		s := admin.ConflictStats{Table: t.Name, Limit: globaltable.Conflicts.Size(t.Conflicts), Keep: int64(globaltable.Conflicts.Age(t.Conflicts) / time.Second), ByRule: map[string]int{}, ByLoser: map[string]int{}}
		if _, s.Bytes, err = f.n.shard.Count(t.ID.Feed()); err != nil {
			return nil, err
		}
		var failed error
		err = f.n.shard.Conflicts(ctx, t.ID, hlc.Stamp{}, false, func(key item.Key, e *feed.Entry) bool {
			if !f.here(t, feed.ItemKey(key)) {
				return true
			}
			at := e.Loser.Stamp.Time.Time()
			if s.Newest = &at; s.Oldest == nil {
				s.Oldest = &at
			}
			s.Listed++
			s.ByRule[e.Rule.String()]++
			s.ByLoser[f.n.regionName(e.Loser.Stamp.Origin)]++
			var open bool
			if open, _, failed = f.look(ctx, t, listed{feed.ItemKey(key), e}); open {
				s.Open++
			}
			return failed == nil
		})
		if err = cmpErr(err, failed); err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

// find returns the conflict with the key of an entry.
func (f conflictFeeds) find(ctx context.Context, key commit.Key) (e listed, err error) {
	err = f.n.shard.Get(ctx, key, func(c commit.Current) (err error) {
		if c.Item == nil {
			return notFound("", "the conflict is not listed any more")
		}
		e.key = bytes.Clone(feed.ItemKey(key.Bytes))
		e.Entry, err = feed.Decode(slices.Clone(c.Item))
		return err
	})
	return e, err
}

// findID returns the conflict with that id, and its table.
func (f conflictFeeds) findID(ctx context.Context, id feed.ID) (t *globaltable.Table, e listed, err error) {
	t, known := f.n.catalog.View().Table(id.Table)
	if !known || t.StatusIn(f.n.cfg.Region.Origin) == "" {
		return nil, e, notFound(id.String(), "the conflict is of a table that this region does not have")
	}
	err = f.n.shard.Conflicts(ctx, t.ID, id.Dot, false, func(key item.Key, found *feed.Entry) bool {
		if found.Loser.Stamp == id.Dot && f.here(t, feed.ItemKey(key)) {
			e.key, e.Entry = bytes.Clone(feed.ItemKey(key)), found.Clone()
		}
		return false
	})
	if err == nil && e.Entry == nil {
		err = notFound(id.String(), "no such conflict is listed: it may be older than the table keeps them")
	}
	return t, e, err
}

// look returns whether the conflict is open, and the item as it is now.
func (f conflictFeeds) look(ctx context.Context, t *globaltable.Table, e listed) (open bool, now item.Item, err error) {
	err = f.n.shard.Get(ctx, commit.Key{Table: t.ID, Bytes: e.key}, func(c commit.Current) (err error) {
		now = slices.Clone(c.Item)
		open, err = conflict.Open(c.Record, e.Loser.Stamp)
		return err
	})
	return open, now, err
}

// describe says what an entry tells.
func (f conflictFeeds) describe(ctx context.Context, t *globaltable.Table, e listed) (admin.Conflict, error) {
	out := admin.Conflict{ID: feed.ID{Table: t.ID, Dot: e.Loser.Stamp}.String(), Table: t.Name, TableID: t.ID.String(), Rule: e.Rule.String(), Discarded: []string{}, Expires: e.Expires}
	key, err := t.KeySchema.AppendItem(nil, e.key)
	if err != nil {
		return out, err
	}
	out.Key = key.AppendJSON(nil)
	if out.Open, _, err = f.look(ctx, t, e); err != nil {
		return out, err
	}
	lost, won, err := e.Versions()
	if err != nil {
		return out, err
	}
	out.Loser, out.Winner = f.version(e.Loser, lost), f.version(e.Winner(), won)
	for i := range e.Parts {
		// What an item lacks of its key it has from its place: nothing of that is ever lost.
		if p := &e.Parts[i]; !e.Deleted && (p.Effect != conflict.Made || !bytes.Equal(p.Lost, p.Won)) && !t.KeySchema.Has(p.Name) {
			out.Discarded = append(out.Discarded, feed.Text(p))
		}
	}
	out.Outcome = outcomeOf(e.Entry, &out)
	return out, nil
}

func (f conflictFeeds) version(w conflict.Write, values item.Item) admin.Version {
	v := admin.Version{Context: map[string]string{}, Deleted: values == nil}
	if values != nil {
		v.Values = values.AppendJSON(nil)
	}
	if w.Stamp.IsZero() {
		return v
	}
	v.Region, v.Time, v.Stamp = f.n.regionName(w.Stamp.Origin), w.Stamp.Time.Time().UTC(), stampText(w.Stamp)
	for _, s := range w.Context {
		v.Context[f.n.regionName(s.Origin)] = stampText(s)
	}
	if w.Floor != 0 {
		v.Floor = fmt.Sprintf("%016x", uint64(w.Floor))
	}
	return v
}

func stampText(s hlc.Stamp) string {
	return fmt.Sprintf("%016x-%04x", uint64(s.Time), uint16(s.Origin))
}

// outcomeOf says in words what became of the two writes.
func outcomeOf(e *feed.Entry, c *admin.Conflict) string {
	what := "the write"
	switch {
	case e.Deleted:
		what = "the deletion"
	case e.Whole:
		what = "the item"
	case len(c.Discarded) == 1:
		what = "the attribute"
	case len(c.Discarded) > 1:
		what = "the attributes"
	}
	if e.Rule == conflict.RuleFenced {
		return what + " of " + c.Loser.Region + " was not taken over when the region came back"
	}
	return what + " of " + c.Loser.Region + " was discarded, what " + c.Winner.Region + " wrote is kept"
}

// Show implements admin.Conflicts.
func (f conflictFeeds) Show(ctx context.Context, id feed.ID) (admin.Conflict, error) {
	t, e, err := f.findID(ctx, id)
	if err != nil {
		return admin.Conflict{}, err
	}
	return f.describe(ctx, t, e)
}

// Restore implements admin.Conflicts: an ordinary write of now, which goes to all regions and can lose, or win, as any other.
func (f conflictFeeds) Restore(ctx context.Context, id feed.ID, r admin.RestoreConflict) (out admin.ConflictChange, err error) {
	t, e, err := f.findID(ctx, id)
	if err != nil {
		return out, err
	}
	if out.Conflict, err = f.describe(ctx, t, e); err != nil {
		return out, err
	}
	w, err := restoring(t, e, r.Attributes)
	if err != nil {
		return out, err
	}
	_, now, err := f.look(ctx, t, e)
	if err != nil {
		return out, err
	}
	if now != nil {
		out.Now = now.AppendJSON(nil)
	}
	done, err := w.Plan(now, new(plan.Memory))
	if err != nil {
		return out, err
	}
	if done.After != nil {
		out.Then = json.RawMessage(done.After.AppendJSON(nil))
	}
	if !r.Write {
		return out, nil
	}
	if err := f.n.serves(); err != nil {
		return out, err
	}
	out.Written = true
	return out, f.write(e.key, w)
}

// restoring returns the write that makes of an item what was discarded: all of it, or the attributes named. What had been added is added, and what had been taken away is taken away.
func restoring(t *globaltable.Table, e listed, attributes []string) (plan.Write, error) {
	w := plan.Write{Table: t}
	key, err := t.KeySchema.AppendItem(nil, e.key)
	if err != nil {
		return w, err
	}
	w.Item = key
	if len(attributes) == 0 && e.Whole {
		w.Action = plan.Delete
		if !e.Deleted {
			w.Action = plan.Put
			w.Item, _, err = e.Versions()
		}
		return w, err
	}
	w.Action = plan.Update
	var b expr.Builder
	wanted := func(p *conflict.Part, name string) bool { return string(p.Name) == name || feed.Text(p) == name }
	for _, name := range attributes {
		i := slices.IndexFunc(e.Parts, func(p conflict.Part) bool { return wanted(&p, name) })
		switch {
		case e.Deleted:
			return w, &globaltable.Error{Op: opConflicts, Kind: globaltable.Invalid, Message: "what was discarded is a deletion: it has no attributes, and is restored as a whole"}
		case i < 0 || t.KeySchema.Has(e.Parts[i].Name):
			return w, &globaltable.Error{Op: opConflicts, Kind: globaltable.Invalid, Message: fmt.Sprintf("attribute %q is not among what was discarded", name)}
		}
	}
	some := false
	for i := range e.Parts {
		p := &e.Parts[i]
		if t.KeySchema.Has(p.Name) || len(attributes) > 0 && !slices.ContainsFunc(attributes, func(name string) bool { return wanted(p, name) }) {
			continue
		}
		some = true
		switch path := stepsOf(p); {
		case p.Effect == conflict.Added:
			b.Add(path, b.Value(p.Lost))
		case p.Effect == conflict.Taken:
			b.Delete(path, b.Value(p.Lost))
		case p.Lost != nil:
			b.Set(path, b.Value(p.Lost))
		default:
			b.Remove(path)
		}
	}
	if some {
		w.Update, err = b.Update()
	}
	return w, err
}

// stepsOf returns where a part is in its item.
func stepsOf(p *conflict.Part) (steps []expr.Step) {
	if p.Path == nil {
		return []expr.Step{{Name: p.Name}}
	}
	for path := p.Path; len(path) > 0; {
		var name []byte
		name, path, _ = conflict.SplitPath(path)
		steps = append(steps, expr.Step{Name: name})
	}
	return steps
}
