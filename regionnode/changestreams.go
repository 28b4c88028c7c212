package regionnode

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nkeys"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/audit"
	"github.com/concordat-db/concordat/globaltable/locality"
	"github.com/concordat-db/concordat/regionnode/admin"
	"github.com/concordat-db/concordat/streams/bus"
	"github.com/concordat-db/concordat/streams/cdc"
	"github.com/concordat-db/concordat/streams/cdc/reader"
)

// changeStreams is the node's change streams for operators: admin.Streams. Items are read by ReadTable only, which tells nothing of those that may not be here.
type changeStreams struct {
	n     *Node
	urls  []string                        // of the region's NATS
	grant func(ctx context.Context) error // tells the bus who has a grant
}

const (
	opStreams = "change streams"
	// maxLooked bounds what one answer reads of a stream, in bytes of events, where a filter passes over most of it.
	maxLooked = 16 << 20
	// maxGrantWait is how long it is waited for the consumers of a new grant.
	maxGrantWait = 10 * time.Second
)

// natsURLs returns where clients reach the region's NATS: as its descriptor says, else where it was found.
func (n *Node) natsURLs(own string) []string {
	if len(n.cfg.Region.NATS) > 0 {
		return n.cfg.Region.NATS
	}
	if u, err := url.Parse(own); err == nil {
		u.User = nil
		own = u.String()
	}
	return []string{own}
}

// table returns a table of this region that has a change stream, or has something of one.
func (c changeStreams) table(name string) (*globaltable.Table, error) {
	v := c.n.catalog.View()
	t, known := v.Lookup(name)
	if !known {
		v.Tables(func(other *globaltable.Table) bool {
			if other.ID.String() == name && other.StatusIn(c.n.cfg.Region.Origin) != "" {
				t, known = other, true
			}
			return !known
		})
	}
	if !known {
		return nil, &globaltable.Error{Op: opStreams, Resource: name, Kind: globaltable.NotFound, Message: "this region has no table named " + name}
	}
	if _, on := t.StreamIn(c.n.cfg.Region.Origin); !on && !c.n.shard.HasStreams(t.ID) {
		return nil, &globaltable.Error{Op: opStreams, Resource: name, Kind: globaltable.InUse,
			Message: "Table " + t.Name + " has no change stream in this region: UpdateTable with StreamSpecification switches it on"}
	}
	return t, nil
}

// List implements admin.Streams.
func (c changeStreams) List(context.Context) (admin.StreamList, error) {
	out := admin.StreamList{Region: c.n.cfg.Region.Name, Streams: []admin.Stream{}}
	tails := c.n.readers.List(reader.Tail)
	var failed error
	c.n.catalog.View().Tables(func(t *globaltable.Table) bool {
		s, on := t.StreamIn(c.n.cfg.Region.Origin)
		if t.Deleted || !on && !c.n.shard.HasStreams(t.ID) {
			return true
		}
		row := admin.Stream{Table: t.Name, TableID: t.ID.String(), View: string(s.View)}
		if r := t.Replica(c.n.cfg.Region.Origin); r != nil {
			row.Label = t.StreamLabel(r)
		}
		states := c.n.shard.Streams(t.ID)
		for _, state := range states {
			row.Records += state.Records
			row.Bytes += state.Bytes
			if state.Records > 0 {
				newest := state.Last.Time()
				row.Newest = &newest
			}
		}
		_, err := c.n.shard.ReadTable(t.ID, 0, 0, func(r *cdc.Record) bool {
			oldest := r.Position.Time()
			row.Oldest = &oldest
			return false
		})
		failed = cmpErr(failed, err)
		row.Events = c.n.eventsOf(t.ID, states)
		for _, tail := range tails {
			if at, reads := tail.At(t.ID); reads {
				row.Tails = append(row.Tails, admin.TailAt{Name: tail.Name, Position: cdc.Sequence(at), Time: at.Time(), Used: time.UnixMilli(tail.Used).UTC()})
			}
		}
		out.Streams = append(out.Streams, row)
		return true
	})
	slices.SortFunc(out.Streams, func(a, b admin.Stream) int { return strings.Compare(a.Table, b.Table) })
	return out, failed
}

// Events implements admin.Streams.
func (c changeStreams) Events(ctx context.Context, q admin.EventQuery) (out admin.EventPage, err error) {
	out.Events = []json.RawMessage{}
	t, err := c.table(q.Table)
	if err != nil {
		return out, err
	}
	at := q.After
	if tail, there := c.n.readers.Get(reader.Tail, q.Tail); at == 0 && there {
		at, there = tail.At(t.ID)
		if !there {
			return out, otherTail(q.Tail)
		}
	}
	out.Missed = at != 0 && at < c.n.shard.Trimmed(t.ID)
	switch {
	case at != 0:
	case !q.Since.IsZero():
		at = hlc.FromTime(q.Since)
	default:
		if at, err = c.n.shard.StreamMarkNow(ctx); err != nil {
			return out, err
		}
	}
	waiting, cancel := context.WithTimeout(ctx, q.Wait)
	defer cancel()
	teller := cdc.Teller{Table: t, Region: c.n.cfg.Region.Name, Name: c.n.regionName}
	for {
		looked := 0
		if at, looked, err = c.page(t, &teller, at, &q, &out); err != nil {
			return out, err
		}
		if out.Next = cdc.Sequence(at); len(out.Events) > 0 || looked >= maxLooked || !c.n.shard.AwaitTable(waiting, t.ID, at) {
			return out, nil
		}
	}
}

// page adds to out the events after a position, and returns up to which it has looked, and at how many bytes.
func (c changeStreams) page(t *globaltable.Table, teller *cdc.Teller, after hlc.Timestamp, q *admin.EventQuery, out *admin.EventPage) (at hlc.Timestamp, looked int, err error) {
	var failed error
	size := 0
	out.End = true
	at, err = c.n.shard.ReadTable(t.ID, after, 0, func(r *cdc.Record) bool {
		if q.Destination != "" && !locality.MayExport(t, r.Key, q.Destination) {
			out.Withheld++
			looked += len(r.Old) + len(r.New)
			out.End = looked < maxLooked
			return out.End
		}
		var event []byte
		if event, failed = teller.AppendEvent(nil, r); failed != nil {
			return false
		}
		looked += len(event)
		var wanted bool
		if wanted, failed = q.Filter.Match(event); failed != nil {
			return false
		}
		if wanted {
			out.Events, size = append(out.Events, event), size+len(event)
		}
		out.End = len(out.Events) < q.Limit && size < maxListBytes && looked < maxLooked
		return out.End
	})
	return at, looked, cmpErr(failed, err)
}

func otherTail(name string) error {
	return &globaltable.Error{Op: opStreams, Resource: name, Kind: globaltable.InUse, Message: "the tail named " + name + " is of another table"}
}

// SetTail implements admin.Streams.
func (c changeStreams) SetTail(ctx context.Context, table, name string, at hlc.Timestamp) error {
	t, err := c.table(table)
	if err != nil {
		return err
	}
	tail, there := c.n.readers.Get(reader.Tail, name)
	if _, reads := tail.At(t.ID); there && !reads {
		return otherTail(name)
	}
	now := time.Now()
	if there {
		return c.n.readers.Set(ctx, []reader.Move{{Kind: reader.Tail, Name: name, Place: reader.Place{Table: t.ID, At: at}}}, now)
	}
	return c.n.readers.Add(ctx, reader.Reader{Kind: reader.Tail, Name: name, Created: now.UnixMilli(), Used: now.UnixMilli(), Places: []reader.Place{{Table: t.ID, At: at}}})
}

// ForgetTail implements admin.Streams.
func (c changeStreams) ForgetTail(ctx context.Context, name string) error {
	there, err := c.n.readers.Remove(ctx, reader.Tail, name)
	if err == nil && !there {
		err = &globaltable.Error{Op: opStreams, Resource: name, Kind: globaltable.NotFound, Message: "this region has no tail named " + name}
	}
	return err
}

// Grants implements admin.Streams.
func (c changeStreams) Grants(context.Context) (admin.GrantList, error) {
	out := admin.GrantList{Region: c.n.cfg.Region.Name, Grants: []admin.Grant{}}
	for _, r := range c.n.readers.List(reader.Grant) {
		out.Grants = append(out.Grants, c.describe(&r))
	}
	return out, nil
}

func (c changeStreams) describe(r *reader.Reader) admin.Grant {
	g := admin.Grant{Name: r.Name, PublicKey: r.Key, Created: time.UnixMilli(r.Created).UTC(), Tables: []admin.GrantedTable{}, Subjects: append([]string{}, r.Subjects...)}
	if r.Expires != 0 {
		expires := time.UnixMilli(r.Expires).UTC()
		g.Expires = &expires
	}
	for _, p := range r.Places {
		one := admin.GrantedTable{Table: c.n.tableName(p.Table), Stream: bus.EventStreamName(p.Table), Durable: r.Name, Read: p.At.Time()}
		if c.n.events != nil {
			if s, ok := c.n.events.Status(p.Table); ok {
				one.Pending = s.Pending[r.Name]
			}
		}
		g.Tables = append(g.Tables, one)
	}
	return g
}

// Grant implements admin.Streams.
func (c changeStreams) Grant(ctx context.Context, q admin.NewGrant) (out admin.GrantMade, err error) {
	r, err := c.newGrant(ctx, &q)
	if err != nil {
		return out, err
	}
	if err := c.n.readers.Add(ctx, r); err != nil {
		return out, err
	}
	err = c.n.plane.Note(ctx, audit.Entry{Kind: audit.GrantMade, Subject: r.Name, Op: "grant", Asked: c.n.cfg.Region.Name, Changes: c.n.grantChanges(&r, true)})
	if err == nil {
		err = c.grant(ctx)
	}
	if err != nil { // nobody has heard of it
		_, undo := c.n.readers.Remove(context.WithoutCancel(ctx), reader.Grant, r.Name)
		return out, cmpErr(err, undo)
	}
	var tables []globaltable.TableID
	for _, p := range r.Places {
		tables = append(tables, p.Table)
	}
	waiting, cancel := context.WithTimeout(ctx, maxGrantWait)
	defer cancel()
	out.Ready = c.n.events.AwaitReader(waiting, r.Name, tables)
	out.Grant, out.URLs = c.describe(&r), c.urls
	out.External, out.Operator = c.external()
	return out, nil
}

// external reports whether the region's NATS is a cluster of its own, whose operator installs the accounts of grants, and whether it is in operator mode.
func (c changeStreams) external() (external, operator bool) {
	e := c.n.cfg.Bus.External
	return e != nil, e != nil && e.CredsFile != ""
}

// newGrant checks what is asked for, and returns the reader that it makes. No policy is asked: what is told in the region's NATS may be in the region.
func (c changeStreams) newGrant(ctx context.Context, q *admin.NewGrant) (r reader.Reader, err error) {
	refuse := func(kind globaltable.Kind, format string, args ...any) error {
		return &globaltable.Error{Op: "grant", Resource: q.Name, Kind: kind, Message: fmt.Sprintf(format, args...)}
	}
	const most = 100 * 365 * 24 * 3600
	switch {
	case c.n.events == nil:
		return r, refuse(globaltable.InUse, "this region publishes no events: its configuration has no credential for their account (spec.nats.external.eventsCredentialsFile), and whoever made its accounts makes those of grants")
	case !nkeys.IsValidPublicUserKey(q.PublicKey):
		return r, refuse(globaltable.Invalid, "publicKey is no public nkey of kind User")
	case q.ExpiresSeconds < 0 || q.SinceSeconds < 0 || q.ExpiresSeconds > most || q.SinceSeconds > most:
		return r, refuse(globaltable.Invalid, "a time is negative, or more than a hundred years")
	case q.SinceSeconds > 0 && len(q.Tables) == 0:
		return r, refuse(globaltable.Invalid, "sinceSeconds is of tables: what was told at a subject is not kept")
	case len(q.Tables) == 0 && len(q.Subjects) == 0:
		return r, refuse(globaltable.Invalid, "it names neither a table nor a subject")
	}
	for _, other := range c.n.readers.List(reader.Grant) {
		if other.Key == q.PublicKey {
			return r, refuse(globaltable.Exists, "grant %s has that key", other.Name)
		}
	}
	for _, m := range c.n.catalog.View().Members() {
		if m.Descriptor.PublicKey == q.PublicKey {
			return r, refuse(globaltable.Exists, "region %s has that key", m.Descriptor.Name)
		}
	}
	now := time.Now()
	r = reader.Reader{Kind: reader.Grant, Name: q.Name, Key: q.PublicKey, Created: now.UnixMilli(), Used: now.UnixMilli(), Subjects: slices.Compact(slices.Sorted(slices.Values(q.Subjects)))}
	if q.ExpiresSeconds > 0 {
		r.Expires = now.Add(time.Duration(q.ExpiresSeconds) * time.Second).UnixMilli()
	}
	r.Places, err = c.places(ctx, q, now)
	return r, err
}

// places returns from where on a grant reads its tables.
func (c changeStreams) places(ctx context.Context, q *admin.NewGrant, now time.Time) ([]reader.Place, error) {
	out := []reader.Place{}
	at, err := c.n.shard.StreamMarkNow(ctx)
	if err != nil {
		return nil, err
	}
	if q.SinceSeconds > 0 {
		at = min(at, hlc.FromTime(now.Add(-time.Duration(q.SinceSeconds)*time.Second)))
	}
	for _, name := range q.Tables {
		t, err := c.table(name)
		if err != nil {
			return nil, err
		}
		out = append(out, reader.Place{Table: t.ID, At: at})
	}
	slices.SortFunc(out, func(a, b reader.Place) int { return cmp.Compare(a.Table, b.Table) })
	return slices.CompactFunc(out, func(a, b reader.Place) bool { return a.Table == b.Table }), nil
}

// Revoke implements admin.Streams.
func (c changeStreams) Revoke(ctx context.Context, name string) (admin.GrantEnded, error) {
	r, _ := c.n.readers.Get(reader.Grant, name)
	out := admin.GrantEnded{PublicKey: r.Key}
	out.External, out.Operator = c.external()
	err := c.n.endGrant(ctx, name, "revoked")
	if globaltable.KindOf(err) == globaltable.NotFound {
		return out, err
	}
	return out, cmpErr(err, c.grant(ctx))
}
