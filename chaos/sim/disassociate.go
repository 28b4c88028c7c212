package sim

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"time"

	"github.com/concordat-db/concordat/chaos/check"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/commit"
	"github.com/concordat-db/concordat/regionnode/store"
)

// Disassociation: replicas that become tables of their own. Nobody writes to such a table here: that it has all that its replica had, when it takes its place, is checked by comparing the two, record by record, and that it keeps it,
// at the end. What was written to the replica until then is on the others, as it is of any replica that goes. It happens where no region is closed: what becomes of it then is for the control plane's tests.

// part chooses how often replicas leave, with randomness of its own.
func (p *plan) part(seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 0x70617274))
	if p.fence == 0 && p.remove == 0 && p.lose == 0 {
		p.disassociate = sometimes(rng, 0.5, 200*time.Millisecond, 2*time.Second)
	}
}

// named returns the document of a table as a region finds it by its name; ok is false where the name is nobody's, or that of a table that a replica has become.
func (r *region) named(t *table) (doc *globaltable.Table, ok bool) {
	doc, ok = r.catalog.View().Lookup(t.name)
	return doc, ok && doc.ID == t.id
}

// disassociate asks some region to have its replica of some table become a table of its own.
func (w *world) disassociate() {
	r := w.anyRegion()
	t := &w.plan.tables[w.rng.IntN(len(w.plan.tables))]
	if !r.up {
		return
	}
	if doc, ok := r.named(t); !ok || len(doc.Replicas) < 2 {
		return
	}
	plane := r.plane
	w.changes++
	r.spawn(fmt.Sprintf("change %d", w.changes), func(ctx context.Context) {
		change := catalog.Change{Disassociate: &catalog.Disassociation{Region: identities()[r.origin].descriptor.Name, Confirmed: true}}
		_, err := plane.UpdateTable(ctx, t.name, change)
		_ = r.await(ctx, "note", func(func(error)) { r.note("%d asked to leave table %s: %v", r.origin, t.name, err) })
	}, nil)
}

// fillMirrors is a visit of what copies tables.
func (r *region) fillMirrors() {
	for _, m := range r.shard.Mirrors() {
		if m.Full {
			continue
		}
		r.manual.FillMirror(m.From, 1+r.rng.IntN(3), func(b commit.Built, err error) {
			if !r.up || err != nil {
				return
			}
			r.note("%d copies %d records of table %s", r.origin, b.Records, m.From)
			if b.Records > 0 && !b.Done {
				r.cover("a table was copied step by step")
			}
		})
		r.work()
	}
}

// heirs are the tables that replicas of others have become here, or are to become, by that other's id.
func (r *region) heirs() map[globaltable.TableID]globaltable.TableID {
	out := map[globaltable.TableID]globaltable.TableID{}
	r.catalog.View().Tables(func(t *globaltable.Table) bool {
		if mine := t.Replica(r.origin); mine != nil && mine.Succeeds.Table != 0 {
			out[mine.Succeeds.Table] = t.ID
		}
		return true
	})
	return out
}

// withoutHeirs is a snapshot without tables to which no client wrote.
func (r *region) withoutHeirs(s check.Snapshot) check.Snapshot {
	s.Records, s.Canonical = maps.Clone(s.Records), maps.Clone(s.Canonical)
	s.Digests, s.Recounted = maps.Clone(s.Digests), maps.Clone(s.Recounted)
	for _, heir := range r.heirs() {
		maps.DeleteFunc(s.Records, func(k check.Key, _ check.Record) bool { return k.Table == uint64(heir) })
		maps.DeleteFunc(s.Canonical, func(k check.Key, _ string) bool { return k.Table == uint64(heir) })
		delete(s.Digests, uint64(heir))
		delete(s.Recounted, uint64(heir))
	}
	return s
}

// checkHeirs checks, of tables that are copied, that the copy has what the table has, up to where it is; of all that it is counted rightly; and that one which has its place keeps what it had then.
func (r *region) checkHeirs(s check.Snapshot) {
	for _, heir := range r.heirs() {
		if kept, counted := s.Digests[uint64(heir)], s.Recounted[uint64(heir)]; kept != counted {
			r.found("I3", "the digests of table %s, which a replica became, are %q, its records make %q", heir, kept, counted)
		}
		if had, over := r.inherited[heir]; over && r.holds(check.Key{Table: uint64(heir)}) {
			if now := r.liveOf(heir); !maps.Equal(now, had) {
				r.found("I2", "table %s had %d items when it took a replica's place, and has %d others now", heir, len(had), len(now))
			}
		}
	}
	lower, upper := store.MetaRange(store.MetaMirror)
	eachKV(r.disk, lower, upper, func(key, value []byte) {
		from, ok := store.DecodeMirrorKey(key)
		if !ok || len(value) < 10 || value[0] != 1 {
			panic("the state of a copy cannot be read")
		}
		to := r.heirs()[from]
		if to == 0 {
			r.found("I20", "table %s is copied, and no document says into which", from)
			return
		}
		r.compareHeir(from, to, func(k string) bool { return value[1] == 1 || k <= string(value[10:]) })
		r.cover("a copy was compared with its table")
	})
}

// compareHeir compares the records of a table, those that covered names, with those of the table that it becomes.
func (r *region) compareHeir(from, to globaltable.TableID, covered func(key string) bool) {
	want, got := r.recordsOf(from), r.recordsOf(to)
	for k, v := range want {
		if covered(k) && got[k] != v {
			r.found("I20", "a record of table %s is not so in table %s, which it becomes", from, to)
		}
		if covered(k) {
			delete(got, k)
		}
	}
	if len(got) > 0 {
		r.found("I20", "table %s has %d records that table %s, which it comes from, has not", to, len(got), from)
	}
}

func (r *region) recordsOf(id globaltable.TableID) map[string]string {
	out := map[string]string{}
	lower, upper := store.RecordRange(id)
	eachKV(r.disk, lower, upper, func(key, value []byte) { out[string(store.RecordKeySuffix(key))] = string(value) })
	return out
}

// liveOf is the items of a table.
func (r *region) liveOf(id globaltable.TableID) map[string]string {
	out := map[string]string{}
	schema := r.catalog.KeySchema(id)
	for k, record := range r.recordsOf(id) {
		it, live, err := schema.ItemOf(item.Key(k), []byte(record))
		if err != nil {
			panic(err)
		}
		if live {
			out[k] = string(bytes.Clone(it))
		}
	}
	return out
}

// takeOver is called when a table comes into the place of this region's replica of t, before anything else is written.
func (r *region) takeOver(t *globaltable.Table, heir globaltable.TableID) {
	r.cover("a replica became a table of its own")
	r.compareHeir(t.ID, heir, func(string) bool { return true })
	if mine := r.table(t.ID); mine != nil && !mine.mortal {
		r.inherited[heir] = r.liveOf(heir)
	}
}
