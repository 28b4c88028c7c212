package dynamodb

import (
	"slices"
	"strings"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/globaltable/locality"
	"github.com/concordat-db/concordat/regionnode/commit"
	"github.com/concordat-db/concordat/streams/cdc"
)

// door is the only way of a request to items. It asks the tables' locality policies before it asks the shard: of what may not be served in this region nothing is read, counted or planned. Its errors are *foreign then.
type door struct {
	server *Server
	// asker is the number of the region that has forwarded the request; zero: a client of this one made it. What asker may not have forwarded is refused as well.
	asker hlc.Origin
	// home is the region whose ARNs the request has: where its client is. tables are those that it is about, if it was forwarded: names are each region's own.
	home   string
	tables []globaltable.TableID
}

// table finds the table that the request names.
func (d *door) table(name []byte) (*globaltable.Table, error) {
	t, err := d.server.table(name, d.home)
	if err == nil && d.asker != 0 && !slices.Contains(d.tables, t.ID) {
		return nil, unavailable("Another table has the name in this region. Nothing was done")
	}
	return t, err
}

// items are those of a request, by index.
type items func(i int) (*globaltable.Table, item.Key)

// may reports whether the item may be served, to whoever asks.
func (d *door) may(t *globaltable.Table, key item.Key) bool {
	if len(t.Pins) == 0 && d.asker == 0 {
		return true
	}
	return locality.Decide(t, key, d.server.config.Origin, locality.Admit) == locality.Permit && (d.asker == 0 || transits(t, key, d.asker))
}

// transits reports whether region may have a request on the item forwarded: it has the item itself, or would if it were not for a policy that lets it forward. A region without a replica in use has nothing to forward.
func transits(t *globaltable.Table, key item.Key, region hlc.Origin) bool {
	if locality.Decide(t, nil, region, locality.Admit) != locality.Permit {
		return false
	}
	if locality.Decide(t, key, region, locality.Admit) == locality.Permit {
		return true
	}
	pin := locality.Refusing(t, key, region)
	return pin != nil && pin.Foreign == globaltable.Forward
}

// admit refuses a request on n items if one of them may not be served here.
func (d *door) admit(n int, at items) error {
	for i := range n {
		if t, key := at(i); !d.may(t, key) {
			return d.refuse(n, at)
		}
	}
	return nil
}

// one is admit for one item.
func (d *door) one(t *globaltable.Table, key item.Key) error {
	if d.may(t, key) {
		return nil
	}
	return d.refuse(1, func(int) (*globaltable.Table, item.Key) { return t, key })
}

// get is Shard.Get of an item of t.
func (d *door) get(t *globaltable.Table, key item.Key, f func(commit.Current) error) error {
	if err := d.one(t, key); err != nil {
		return err
	}
	return d.server.config.Shard.Get(d.server.base, commit.Key{Table: t.ID, Bytes: key}, f)
}

// getAll is Shard.GetAll of items of the tables given, parallel to keys.
func (d *door) getAll(keys []commit.Key, table func(i int) *globaltable.Table, f func([]commit.Current) error) error {
	if err := d.admit(len(keys), func(i int) (*globaltable.Table, item.Key) { return table(i), keys[i].Bytes }); err != nil {
		return err
	}
	return d.server.config.Shard.GetAll(d.server.base, keys, f)
}

// openConflicts is Shard.OpenConflicts of an item of t.
func (d *door) openConflicts(t *globaltable.Table, key item.Key, record []byte) (int, error) {
	if err := d.one(t, key); err != nil {
		return 0, err
	}
	return d.server.config.Shard.OpenConflicts(d.server.base, commit.Key{Table: t.ID, Bytes: key}, record)
}

// walk is Shard.Walk through a range of the page's table, without what may not be served: the page skips that.
func (d *door) walk(pg *page, r commit.Range, f func(key item.Key, current commit.Current) (more bool)) error {
	if len(pg.span.Table.Pins) == 0 && d.asker == 0 {
		return d.server.config.Shard.Walk(d.server.base, r, f)
	}
	t := pg.span.Table
	return d.server.config.Shard.Walk(d.server.base, r, func(key item.Key, current commit.Current) bool {
		if !d.may(t, current.Key) {
			return pg.skip(current.Item.Size())
		}
		return f(key, current)
	})
}

// stream is Streams.ReadStream, which passes over what may not be in the region. Nobody has it forwarded.
func (d *door) stream(r commit.StreamRange, f func(*cdc.Record) (more bool)) (upTo hlc.Timestamp, err error) {
	return d.server.config.Streams.ReadStream(r, f)
}

// partialHeader tells in the answer to a Query, a Scan or a SELECT which locality policies keep items of the table from being shown in this region, with commas between; absent: none.
const partialHeader = "x-concordat-partial"

// withheld returns the names of the policies that keep items of t from being served in region; empty: none does.
func withheld(t *globaltable.Table, region hlc.Origin) string {
	pins := locality.Withholding(t, region)
	if pins == nil {
		return ""
	}
	return policies(pins, ",")
}

// policies returns the names of pins, each once.
func policies(pins []*globaltable.Pin, between string) string {
	var b strings.Builder
	for i, p := range pins {
		again := false
		for _, before := range pins[:i] {
			again = again || before.Name == p.Name
		}
		if again {
			continue
		}
		if b.Len() > 0 {
			b.WriteString(between)
		}
		b.WriteString(p.Name)
	}
	return b.String()
}

// write is Shard.Write of the writes from and up to, without to; they have been admitted.
func (d *door) write(w *commit.Write) error {
	return d.server.config.Shard.Write(d.server.base, w)
}
