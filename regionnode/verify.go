package regionnode

import (
	"cmp"
	"context"
	"slices"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode/admin"
	"github.com/concordat-db/concordat/streams/repair"
)

// Verify compares the table that has the name here with its other replicas; all tables for an empty name.
func (n *Node) Verify(ctx context.Context, table string) (admin.Verification, error) {
	return n.compareTables(ctx, table, n.verify.Verify)
}

// repairTables exchanges what has diverged, and compares again.
func (n *Node) repairTables(ctx context.Context, table string) (admin.Verification, error) {
	return n.compareTables(ctx, table, n.verify.Repair)
}

func (n *Node) compareTables(ctx context.Context, table string, one func(context.Context, globaltable.TableID) (*repair.Report, error)) (admin.Verification, error) {
	out := admin.Verification{Region: n.cfg.Region.Name, State: repair.Converged, Tables: []repair.Report{}}
	tables, err := n.activeTables(table)
	if err != nil {
		return out, err
	}
	for _, t := range tables {
		for _, id := range []globaltable.TableID{t.ID, t.ID.Feed()} {
			report, err := one(ctx, id)
			if err != nil {
				return out, err
			}
			n.compare.Compared(id, report)
			if id.IsFeed() && report.Items == 0 && report.State == repair.Converged {
				continue // a table without conflicts has one line
			}
			out.Tables = append(out.Tables, *report)
			out.State = repair.Worse(out.State, report.State)
		}
	}
	return out, nil
}

// activeTables returns the tables that have an active replica here, by name; only the one named, if one is.
func (n *Node) activeTables(name string) ([]*globaltable.Table, error) {
	var out []*globaltable.Table
	view := n.catalog.View()
	view.Tables(func(t *globaltable.Table) bool {
		named, ok := view.Lookup(t.Name)
		status := t.StatusIn(n.cfg.Region.Origin)
		if ok && named.ID == t.ID && (name == "" || t.Name == name) && (status == globaltable.Active || status == globaltable.Updating) {
			out = append(out, t)
		}
		return true
	})
	if name != "" && len(out) == 0 {
		return nil, &globaltable.Error{Op: "verify", Resource: name, Kind: globaltable.NotFound, Message: "this region has no active replica of a table named " + name}
	}
	slices.SortFunc(out, func(a, b *globaltable.Table) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

func (n *Node) newBackground() (*repair.Background, error) {
	n.server.LimitBackground(n.cfg.Limits.CompareBytesPerSecond)
	return repair.NewBackground(repair.BackgroundConfig{Verifier: n.verify, Every: n.cfg.Limits.CompareEvery, BytesPerSecond: n.cfg.Limits.CompareBytesPerSecond,
		Events: repair.BackgroundEvents{
			Read:  n.metrics.Compared,
			Known: n.metrics.Diverged,
			Failed: func(t *globaltable.Table, region string, err error) {
				n.log.Debug().Str("table", t.Name).Str("peer", region).Err(err).Msg("a step of the comparison in the background failed; trying again")
			},
			Diverged: func(t *globaltable.Table, region string, keys, buckets int) {
				n.log.Error().Str("table", t.Name).Str("peer", region).Int("keys", keys).Int("buckets", buckets).
					Msg("a table has diverged: run concordat verify, and concordat repair")
			},
			Ended: func(t *globaltable.Table, region string, p repair.Pass) {
				n.log.Info().Str("table", t.Name).Str("peer", region).Str("state", p.State).Str("detail", p.Detail).Int("keys", p.Keys).Int("inFlight", p.InFlight).
					Int64("bytes", p.Bytes).Dur("took", p.Ended.Sub(p.Began)).Msg("a table was compared in the background")
			},
		}})
}
