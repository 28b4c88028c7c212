package commit

import (
	"context"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
)

// takeOver is what merging records comes to that another region gives away for good.
type takeOver struct {
	table   globaltable.TableID // of them all: a table, or a conflict feed
	version globaltable.Version // of its document
	changes [][]conflict.Change // of each record, parallel to the parts
	relogs  []relog
}

const opTakeOver = "take over records"

// TakeOver merges records of one table, or of one conflict feed, that a region's store with that incarnation has and may not have any more, while that version of the table's document is in force here, and logs them in the same batch, as
// the writes that they are of, in this region's own lane of each item's placement: the others that may have it need not have got it. Only what this region had all of, and everybody has, is not logged: what is at or below the table's purge
// frontier. It returns when that is durable: whoever gave them may erase them then. For any error but one of kind Unknown nothing was done; of kind Denied when an item may not be here, InUse when another version is in force.
func (s *Shard) TakeOver(ctx context.Context, origin hlc.Origin, incarnation globaltable.Incarnation, version globaltable.Version, records []RecordAt) error {
	sub, err := s.prepareTakeOver(origin, incarnation, version, records)
	if err != nil || sub == nil {
		return err
	}
	_, err = s.mergeAndSubmit(ctx, sub)
	return err
}

// prepareTakeOver checks the records. sub is nil when there are none.
func (s *Shard) prepareTakeOver(origin hlc.Origin, incarnation globaltable.Incarnation, version globaltable.Version, records []RecordAt) (sub *submission, err error) {
	if len(records) == 0 {
		return nil, nil
	}
	over := &takeOver{table: records[0].Table, version: version}
	for i := range records {
		r := &records[i]
		if r.Table != over.table || r.Table == globaltable.SystemTable {
			return nil, fault(globaltable.Invalid, opTakeOver, "records of several tables, or of the catalog", nil)
		}
		changes, err := conflict.ChangesOf(r.Record)
		if err != nil {
			return nil, fault(globaltable.Corrupt, opTakeOver, "", err)
		}
		for j := range changes {
			changes[j].Table, changes[j].Key = uint64(r.Table), r.Bytes
			if lengthInBody(&changes[j]) > maxWriteBytes {
				return nil, fault(globaltable.LimitExceeded, opTakeOver, "a record has a write that is larger than any", nil)
			}
		}
		over.changes = append(over.changes, changes)
	}
	if sub, err = s.prepareRecords(records); err != nil {
		return nil, err
	}
	sub.giver, sub.over = giver{origin, incarnation}, over
	sub.bytes *= 2 // they are merged, and logged
	return sub, nil
}

// decideTakeOver asks the catalog in force whether all of it may be here, and where it is to be logged. Nothing has changed when it returns an error.
func (c *core) decideTakeOver(sub *submission) error {
	over := sub.over
	if over == nil {
		return nil
	}
	if c.catalog.Version(over.table) != over.version {
		return fault(globaltable.InUse, opTakeOver, "another version of the table is in force", nil)
	}
	purge := c.purges.frontier(over.table)
	over.relogs = over.relogs[:0]
	for i := range sub.parts {
		p := &sub.parts[i]
		k := &sub.keys[p.key]
		place, ok := placed{}, false
		if place.placement, place.lane, place.version, ok = c.relog(k.table, k.key); !ok || !p.admitted {
			return fault(globaltable.Denied, opTakeOver, "an item may not be here", nil)
		}
		if k.next == nil && known(over.changes[i], purge) {
			continue
		}
		for _, x := range over.changes[i] {
			x.CatalogVersion = uint64(place.version)
			sub.logs += lengthInBody(&x)
			over.relogs = append(over.relogs, relog{place: place, change: x})
		}
	}
	if sub.logs > maxWriteBytes {
		return fault(globaltable.LimitExceeded, opTakeOver, "more at once than an entry of the log has room for", nil)
	}
	return nil
}

// known reports whether everybody has the writes: they are at or below the purge frontier.
func known(changes []conflict.Change, purge hlc.Timestamp) bool {
	for i := range changes {
		if changes[i].Dot.Time > purge {
			return false
		}
	}
	return true
}

// commitTakeOver logs what decideTakeOver decided.
func (c *core) commitTakeOver(g *group, sub *submission) error {
	if sub.over == nil || plantedTakeOver {
		return nil
	}
	for i := range sub.over.relogs {
		if err := c.logChange(g, sub.over.relogs[i].place, &sub.over.relogs[i].change); err != nil {
			return err
		}
	}
	return nil
}
