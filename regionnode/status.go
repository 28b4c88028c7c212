package regionnode

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode/admin"
	"github.com/concordat-db/concordat/regionnode/commit"
	"github.com/concordat-db/concordat/regionnode/controlplane"
	"github.com/concordat-db/concordat/streams/inbox"
	"github.com/concordat-db/concordat/streams/outbox"
)

// Version is the program's version, set when it is built.
var Version = "dev"

// lately is how long ago a change may have come for its pair of regions to be called live, and how long one that is behind may stand still before it is
// called stalled.
const lately = 10 * time.Second

// underWay is how old changes may be when they are applied for what is missing to count as under way: a busy pair has always some of it, and
// is live all the same.
const underWay = time.Second

// Status returns what the node knows of itself, its tables and its peers.
func (n *Node) Status(ctx context.Context) (admin.Status, error) {
	if err := n.ready(); err != nil {
		return admin.Status{}, err
	}
	r := n.cfg.Region
	st := admin.Status{
		Region:  admin.Region{Name: r.Name, Jurisdiction: r.Jurisdiction, Origin: uint16(r.Origin), Incarnation: uint64(n.shard.Incarnation())},
		Members: n.states(), Version: Version, Ready: n.serves() == nil, Pairs: n.pairs(time.Now()), Tables: []admin.Table{}, Lanes: []admin.Lane{},
	}
	n.mu.Lock()
	for _, message := range n.refused {
		st.Refused = append(st.Refused, message)
	}
	backlog := n.outbox.Status()
	n.mu.Unlock()
	slices.Sort(st.Refused)
	st.Alarms = n.offences.list()
	if state := n.rebuildStatus(); state.Step != commit.RebuildNone.String() {
		st.Rebuild = &state
	}
	for _, b := range backlog {
		st.Lanes = append(st.Lanes, n.laneStatus(b))
	}
	st.Triggers = n.triggerStates(time.Now())
	st.Events = n.eventsSummary()
	var err error
	st.Tables, err = n.tables(ctx)
	return st, err
}

func (n *Node) laneStatus(b outbox.Backlog) admin.Lane {
	lane := admin.Lane{ID: b.Lane.ID.String(), Head: b.Head, Entries: b.Head - b.Trimmed, Bytes: n.shard.LogBytes(b.Lane.ID), Live: b.Live,
		Confirmed: map[string]uint64{}}
	for _, o := range b.Lane.Placement {
		lane.Regions = append(lane.Regions, n.regionName(o))
	}
	for o, seq := range b.Confirmed {
		lane.Confirmed[n.regionName(o)] = seq
	}
	for o, lag := range b.Lagging {
		if lane.Lagging == nil {
			lane.Lagging = map[string]admin.Lag{}
		}
		one := admin.Lag{Entries: lag.Dropped}
		if !lag.Since.IsZero() {
			one.Since = &lag.Since
		}
		lane.Lagging[n.regionName(o)] = one
	}
	return lane
}

func (n *Node) tableStatus(ctx context.Context, i controlplane.Inspection) (admin.Table, error) {
	t := i.Table
	row := admin.Table{Name: t.Name, ID: t.ID.String(), Owner: n.regionName(t.Owner), Version: t.Version.String(),
		Status: string(t.StatusIn(n.cfg.Region.Origin)), Acknowledge: globaltable.FormatAcknowledge(t.AcknowledgePeers),
		Merge:       admin.Merge{Mode: t.Mode.String(), Types: globaltable.TypeNames(t.Types)},
		Comparisons: n.compare.State(t.ID), Collection: n.collectionStatus(t, time.Now()), Indexes: n.indexStatus(t)}
	status, attribute := t.TimeToLive(n.shard.Now())
	row.TimeToLive = admin.TimeToLive{Status: string(status), Attribute: attribute}
	row.Conflicts = admin.Listed{Limit: globaltable.Conflicts.Size(t.Conflicts), KeepSeconds: int64(globaltable.Conflicts.Age(t.Conflicts) / time.Second)}
	row.Streams = n.streamStatus(t)
	var err error
	if row.Conflicts.Listed, row.Conflicts.Bytes, err = n.shard.Count(t.ID.Feed()); err != nil {
		return row, err
	}
	digests, err := n.shard.Digests(ctx, t.ID)
	if err != nil {
		return row, err
	}
	// The sum over all buckets, in an order-dependent mix so that two buckets cannot cancel out.
	var mix uint64
	for _, d := range digests {
		row.Items += int64(d.Count)
		row.Bytes += int64(d.Bytes)
		mix = mix*0x9e3779b97f4a7c15 + d.Sum
	}
	row.Digest = fmt.Sprintf("%016x", mix)
	for _, r := range t.Replicas {
		replica := admin.Replica{Region: r.Region, Status: string(r.Status), Detail: r.StatusDescription, Placing: r.Placing != 0}
		if percent, ok := i.Percent[r.Region]; ok {
			replica.Percent = &percent
		}
		row.Replicas = append(row.Replicas, replica)
	}
	return row, nil
}

// pairs lists the replication between all regions: to this one from the inboxes, between others from their rows of watermarks.
func (n *Node) pairs(now time.Time) []admin.Pair {
	self := n.cfg.Region
	out := []admin.Pair{}
	regions := n.catalog.View().Regions()
	for _, to := range regions {
		row, _ := n.matrix.Row(to.Origin)
		for _, from := range regions {
			if from.Origin == to.Origin {
				continue
			}
			p := admin.Pair{From: from.Name, To: to.Name, State: admin.StateGossip}
			if mark := row.Marks[from.Origin]; mark > 0 {
				p.WatermarkAgeMillis = ageMillis(now, mark)
			}
			if in := n.inbox(from.Origin); in != nil && to.Origin == self.Origin {
				describe(&p, in.Status(), now, n.refusedBy(from.Name))
				n.describeCatchUp(&p, from.Origin)
			}
			out = append(out, p)
		}
	}
	return out
}

func ageMillis(now time.Time, t hlc.Timestamp) *float64 {
	age := max(0, float64(now.Sub(t.Time()).Microseconds())/1000)
	return &age
}

// refusedBy reports whether a peer refuses to replicate with this region.
func (n *Node) refusedBy(name string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	_, refuses := n.refusals[name]
	return refuses
}

// describe tells idle from live, and catching up from stalled. Of an origin that refuses to replicate with this region nothing comes, which must not look as if there were nothing.
func describe(p *admin.Pair, s inbox.Status, now time.Time, refuses bool) {
	var stops []string
	for _, l := range s.Lanes {
		if l.Head > l.Position.Seq {
			p.BehindEntries += l.Head - l.Position.Seq
		}
		if l.Stop != inbox.Running {
			stops = append(stops, l.Stop.String())
		}
	}
	recent := !s.LagAt.IsZero() && now.Sub(s.LagAt) < lately
	if recent {
		lag := float64(s.Lag.Microseconds()) / 1000
		p.LagMillis = &lag
	}
	switch {
	case !s.Connected:
		p.State, p.Detail = admin.StateDisconnected, s.Error
	case refuses:
		p.State, p.Detail = admin.StateStalled, "as it knows the members, it does not follow this region"
	case len(stops) > 0:
		slices.Sort(stops)
		p.State, p.Detail = admin.StateStalled, strings.Join(slices.Compact(stops), ", ")
	case p.BehindEntries > 0 && now.Sub(s.Progress) >= lately:
		p.State, p.Detail = admin.StateStalled, "nothing has been applied for a while"
	case p.BehindEntries > 0 && (!recent || s.Lag > underWay):
		p.State = admin.StateCatchingUp
	case recent:
		p.State = admin.StateLive
	default:
		p.State = admin.StateIdle
	}
}
