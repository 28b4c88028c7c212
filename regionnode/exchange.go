package regionnode

import (
	"context"
	"time"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode/controlplane"
	"github.com/concordat-db/concordat/streams/repair"
)

// exchangeTimeout bounds the wait for one page. A link that is slower has failed.
const exchangeTimeout = time.Minute

// Exchange implements repair.Peers over the same session.
func (n *Node) Exchange(ctx context.Context, region string, r *repair.Request) (*repair.Page, error) {
	s, err := n.session(region)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, exchangeTimeout)
	defer cancel()
	return s.Exchange(ctx, r)
}

// Digests implements repair.Comparing over the same session.
func (n *Node) Digests(ctx context.Context, region string, r *repair.DigestsRequest) (*repair.Digests, error) {
	s, err := n.session(region)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, exchangeTimeout)
	defer cancel()
	return s.Digests(ctx, r)
}

// Repair implements repair.Comparing over the same session.
func (n *Node) Repair(ctx context.Context, region string, r *repair.RepairRequest) error {
	s, err := n.session(region)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, exchangeTimeout)
	defer cancel()
	return s.Repair(ctx, r)
}

// ownMarks is up to where everything of each origin is durably applied here.
func (n *Node) ownMarks() map[hlc.Origin]hlc.Timestamp {
	row, _ := n.matrix.Row(n.cfg.Region.Origin)
	return row.Marks
}

func (n *Node) newJoiner() (*repair.Joiner, error) {
	return repair.New(repair.Config{Catalog: n.catalog, Store: controlplane.ForRepair(n.shard), Peers: n, BytesPerSecond: n.cfg.Limits.JoinBytesPerSecond,
		CatchUps: catchUps{n},
		Complete: func(ctx context.Context, table globaltable.TableID, since globaltable.Version) (bool, error) {
			return n.comeback.Complete(ctx, table, since)
		},
		Events: repair.Events{
			Took: func(_ globaltable.TableID, source string, records, bytes int) {
				n.metrics.Exchanged(source, records, bytes)
			},
			Failed: func(table globaltable.TableID, source string, err error) {
				n.log.Debug().Stringer("table", table).Str("peer", source).Err(err).Msg("a replica on its way in got no answer; trying again")
			},
			Joined: func(table globaltable.TableID) {
				n.log.Info().Stringer("table", table).Msg("a new replica has what the others held")
			},
			Caught: func(origin hlc.Origin) {
				n.metrics.CatchingUp(n.regionName(origin), false)
				n.log.Info().Str("peer", n.regionName(origin)).Msg("caught up by exchange")
			},
		}})
}
