package repair

import (
	"cmp"
	"context"
	"slices"

	"github.com/cespare/xxhash/v2"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/globaltable/locality"
)

// Source is the store that a Server reads. *commit.Shard is one.
type Source interface {
	Incarnation() globaltable.Incarnation
	// Records calls f with the records of table with keys in (from, to), ascending, as of one moment, until f returns false. A nil from is before the first
	// key, a nil to after the last; what f gets is valid during the call. It returns when all that f has seen is durable.
	Records(ctx context.Context, table globaltable.TableID, from, to item.Key, f func(key item.Key, record []byte) (more bool)) error
	Count(table globaltable.TableID) (items, bytes int64, err error)
	// Purge returns the purge frontier of the table.
	Purge(table globaltable.TableID) hlc.Timestamp
	// Now returns the region's time: at or after every purge frontier.
	Now() hlc.Timestamp
}

// defaultMaxRead is for Server.maxRead.
const defaultMaxRead = 32 << 20

// Server answers requests of peers. It keeps nothing between two of them.
type Server struct {
	catalog *catalog.Catalog
	source  Source
	marks   func() map[hlc.Origin]hlc.Timestamp

	// maxRead is how many bytes of records are read for one answer, about: of a table with policies the asker may not have most of them.
	maxRead int

	background throttle // of what is read for comparisons in the background of other regions
}

// NewServer returns a Server. c is the catalog that source works under. marks returns up to where everything of each origin is durably applied here; nil: nothing
// is known of that.
func NewServer(c *catalog.Catalog, source Source, marks func() map[hlc.Origin]hlc.Timestamp) *Server {
	return &Server{catalog: c, source: source, marks: marks, maxRead: defaultMaxRead}
}

// LimitBackground bounds what is read for comparisons in the background of other regions, in bytes a second, about; 0: no limit. It is called before the first request.
func (s *Server) LimitBackground(bytesPerSecond int64) { s.background.perSecond = bytesPerSecond }

// Answer returns the records that r asks for, encoded, for the region asker: only those that it may hold. The error is of kind Unavailable while this region has not
// adopted r.Since, and Denied when the asker may not have the table.
//
// Items deleted, or expired, at or below the purge frontier are left out: every replica has had the deletion, and one that is on its way in gets nothing older from anybody.
func (s *Server) Answer(ctx context.Context, asker globaltable.Descriptor, r *Request) (records []byte, end End, err error) {
	if r.Table == globaltable.SystemTable || len(r.After) > maxKey || len(r.Before) > maxKey || r.MaxBytes < 0 {
		return nil, End{}, &globaltable.Error{Op: "answer exchange", Kind: globaltable.Invalid, Message: "the request is for what cannot be exchanged"}
	}
	// The version first, then the records: all that was written under a version before is applied by now.
	view := s.catalog.View()
	table, known := view.Table(r.Table)
	switch {
	case !known || table.Version < r.Since:
		return nil, End{}, &globaltable.Error{Op: "answer exchange", Resource: r.Table.String(), Kind: globaltable.Unavailable,
			Message: "region " + view.Self().Name + " has not adopted that version of the table yet"}
	case locality.Decide(table, nil, asker.Origin, locality.Send) != locality.Permit:
		return nil, End{}, denied(r, "region "+asker.Name+" has no replica of the table")
	case !gives(table, view.Self().Origin, asker.Origin, r.Since):
		return nil, End{}, denied(r, "region "+view.Self().Name+" has no active replica of the table")
	}
	end.Incarnation = s.source.Incarnation()
	if end.Items, _, err = s.source.Count(r.Table); err != nil {
		return nil, End{}, err
	}
	if r.MaxBytes == 0 {
		end.Sum = xxhash.Sum64(nil)
		return nil, end, nil
	}
	limit, count, purge := min(r.MaxBytes, maxPage), 0, s.source.Purge(r.Table)
	read, at := 0, -1
	var failed error
	end.Done = true
	err = s.source.Records(ctx, r.Table, bound(r.After), bound(r.Before), func(key item.Key, record []byte) bool {
		if len(records) >= limit || count == maxCount {
			end.Done = false
			return false
		}
		if b := key.Bucket(bucketBits); b != at {
			if read >= s.maxRead {
				end.Done, end.Cursor = false, bucketBound(b)
				return false
			}
			at = b
		}
		read += len(key) + len(record)
		if locality.Decide(table, key, asker.Origin, locality.Receive) != locality.Permit ||
			r.Gained && locality.Decide(table, key, asker.Origin, locality.Admit) != locality.NotYet {
			return true
		}
		var x conflict.Expiry
		if x, failed = table.KeySchema.ExpiryOf(table.Expiry, key); failed != nil {
			return false
		}
		var gone bool
		if gone, failed = x.Collectable(record, purge); failed == nil && !gone {
			records = appendRecord(records, key, record)
			count++
		}
		return failed == nil
	})
	if err := cmp.Or(failed, err); err != nil {
		return nil, End{}, err
	}
	end.Purge = s.source.Purge(r.Table)
	if !r.Table.IsFeed() {
		end.Feed = s.source.Purge(r.Table.Feed())
	}
	end.Sum = xxhash.Sum64(records)
	return records, end, nil
}

// gives reports whether region o gives what it holds of a table to the asker. For a join and for a comparison it has to serve the table itself, or the asker's join counts it as a source. A region
// that catches up, which asks for no version, gets what is there also where the replica is on its way in or out: it confirms nothing before it has that, and whoever leaves waits for just
// that confirmation.
func gives(t *globaltable.Table, o, asker hlc.Origin, since globaltable.Version) bool {
	r := t.Replica(o)
	if r == nil {
		return false
	}
	if since == 0 && (r.Status == globaltable.Deleting || r.Status == globaltable.Creating) {
		return true
	}
	return locality.Decide(t, nil, o, locality.Admit) == locality.Permit || slices.Contains(catalog.Givers(t, asker), o)
}

func bound(key []byte) item.Key {
	if len(key) == 0 {
		return nil
	}
	return item.Key(key)
}

func denied(r *Request, message string) error {
	return &globaltable.Error{Op: "answer exchange", Resource: r.Table.String(), Kind: globaltable.Denied, Message: message}
}
