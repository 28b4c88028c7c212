package trigger

import (
	"cmp"
	"encoding/json"
	"slices"
	"time"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/streams/cdc"
)

// DefaultReach is how long after it was last heard a region counts as reached.
const DefaultReach = 10 * time.Second

// maxFeeds bounds the feeds of a trigger that are kept, and that a peer may tell of.
const maxFeeds = 256

// FeedID names a feed of a trigger: the part of its events that one cursor is for. The zero value is all that the region's stream tells.
type FeedID struct {
	Origin hlc.Origin         `json:"origin,omitempty"`      // the changes made in that region; zero: in any
	Lane   globaltable.LaneID `json:"lane,omitempty,string"` // of items with that placement now; zero: of all
}

func compareFeeds(a, b FeedID) int {
	return cmp.Or(cmp.Compare(a.Origin, b.Origin), cmp.Compare(a.Lane, b.Lane))
}

// home reports whether id is what a region fires of its own.
func (id FeedID) home() bool { return id.Origin != 0 && id.Lane == 0 }

// era returns the era in which a feed is told of: of what a region fires of its own it has no division.
func (id FeedID) era(e Era) Era {
	if id.home() {
		e.Division = 0
	}
	return e
}

// Has reports whether a record is of the feed, where the item's placement is lane. A whole record may have of any region's changes: it is of each feed of what was made in a region that is out.
func (id FeedID) Has(r *cdc.Record, lane func() globaltable.LaneID) bool {
	if id.Origin != 0 && r.Dot.Origin != id.Origin && (id.home() || r.Kind != cdc.Copied) {
		return false
	}
	return id.Lane == 0 || lane() == id.Lane
}

// Era says how events are divided into feeds: what vectors of different eras say is not about the same events.
type Era struct {
	Fire     globaltable.Fire `json:"fire"`
	Replay   uint64           `json:"replay,omitempty"`          // its number
	Division uint64           `json:"division,omitempty,string"` // a hash of all that placements follow from
}

// View is what a catalog says of a trigger, to one region.
type View struct {
	Era    Era
	From   hlc.Timestamp // where the feeds of this era's replay begin: that of the newest replay, or where the trigger begins
	Paused bool
	Lanes  []Lane // of all items of the table
	// Live are the regions whose writes may still come; of others all has been applied here.
	Live []hlc.Origin
	// Home are the regions that fire what is made in them, or will; Out are those that have a replica and do not.
	Home, Out []hlc.Origin
	Tells     bool                    // this region's stream tells changes
	Always    bool                    // it did so when the trigger was made
	Life      globaltable.Incarnation // of this region's store
}

// Lane is a placement.
type Lane struct {
	ID      globaltable.LaneID
	Regions []hlc.Origin // of those that may fire, in the order of names
}

// Row is what a region had applied at some moment.
type Row struct {
	HLC     hlc.Timestamp                // what was written here up to it is durable
	Marks   map[hlc.Origin]hlc.Timestamp // of other regions
	Expired hlc.Timestamp                // every expiry up to it was told here
}

// Entry is what a region tells the others of a feed.
type Entry struct {
	Feed   FeedID                  `json:"feed"`
	Era    Era                     `json:"era"`            // of what a region fires of its own it has no division
	Life   globaltable.Incarnation `json:"life,omitempty"` // of the region's store whose changes it is about; zero: of any
	Vector Vector                  `json:"vector"`
	Fires  bool                    `json:"fires,omitempty"`
	Ready  bool                    `json:"ready,omitempty"`
}

// feed is a feed as a region knows it.
type feed struct {
	position hlc.Timestamp // this region has dealt with all up to it
	vector   Vector
	life     globaltable.Incarnation
	until    hlc.Timestamp // not zero: what is told after it is not the feed's any more

	claim   Vector // what may be said once position is at mark
	mark    hlc.Timestamp
	fires   bool
	made    time.Time // when this process began to know of it
	settled bool      // the others were heard, or waited for
}

// at returns the position up to which all of the feed was dealt with.
func (f *feed) at() hlc.Timestamp { return max(f.position, f.vector.Least()) }

// peer is what was heard of a region.
type peer struct {
	at      time.Time
	entries map[FeedID]Entry
}

// Core decides about one trigger in one region: which feeds it has, how far they are, which of them this region fires, and what the others are told. It is pure, and not safe for concurrent use.
type Core struct {
	self  hlc.Origin
	reach time.Duration
	view  View
	seen  bool          // a view was adopted, or a state was loaded
	told  hlc.Timestamp // this region's stream tells all from there on
	gone  hlc.Timestamp // it has lost what is at or below it
	tells bool
	feeds map[FeedID]*feed
	peers map[hlc.Origin]*peer
	moved bool // see Moved
}

// NewCore returns the core of a trigger that was not met before. A region is reached for that long after it was heard.
func NewCore(self hlc.Origin, reach time.Duration) *Core {
	return &Core{self: self, reach: reach, feeds: map[FeedID]*feed{}, peers: map[hlc.Origin]*peer{}}
}

// Adopt takes a view. mark is a position such that all that is told after it was told with the replica of this view; lost is one up to which the region's stream has lost records.
func (c *Core) Adopt(v View, mark, lost hlc.Timestamp, now time.Time) {
	old, first := c.view, !c.seen
	if v.From == 0 {
		v.From = mark // of a document that does not tell
		if !first {
			v.From = old.From
		}
	}
	switch {
	case first && v.Always:
		c.tells = v.Tells
	case v.Tells && !c.tells:
		c.told, c.tells = max(c.told, mark), true
	case !v.Tells:
		c.tells = false
	}
	c.view, c.seen, c.gone = v, true, max(c.gone, lost)
	switch {
	case first:
		c.begin(v.From, now)
		if f := c.feeds[FeedID{Origin: c.self}]; f != nil {
			f.position = max(f.position, lost) // a new store: others have fired what was before
		}
		if f := c.feeds[FeedID{}]; f != nil {
			f.position = max(f.position, lost)
		}
	case old.Era.Fire != v.Era.Fire:
		from := c.least()
		for _, o := range v.Home {
			if old.Era.Fire == globaltable.FireOrigin && c.feeds[FeedID{Origin: o}] == nil {
				from = min(from, v.From) // how far that region is was never heard
			}
		}
		c.restart(from, now)
	case old.Era.Replay != v.Era.Replay:
		c.restart(v.From, now)
	case old.Era != v.Era:
		c.divide(now)
	}
	c.follow(mark, now)
	if old.Era != v.Era {
		for _, p := range c.peers {
			for _, e := range p.entries {
				c.take(e, now)
			}
		}
	}
}

// least returns the position up to which all of all feeds was dealt with.
func (c *Core) least() hlc.Timestamp {
	least := ^hlc.Timestamp(0)
	for _, f := range c.feeds {
		least = min(least, f.at())
	}
	if len(c.feeds) == 0 {
		return c.view.From
	}
	return least
}

// begin makes the feeds of a trigger that begins at a position.
func (c *Core) begin(at hlc.Timestamp, now time.Time) {
	switch c.view.Era.Fire {
	case globaltable.FireEverywhere:
		c.feeds[FeedID{}] = &feed{position: at, made: now}
	case globaltable.FireOrigin:
		c.feeds[FeedID{Origin: c.self}] = &feed{position: at, vector: since(at, c.self), life: c.view.Life, made: now}
	case globaltable.FireOne:
		for _, l := range c.view.Lanes {
			c.feeds[FeedID{Lane: l.ID}] = &feed{position: at, vector: since(at, c.view.Live...), made: now}
		}
	}
}

// restart makes all feeds anew. A region that has no replica any more is in no document: that there are changes of its own is known from the feeds before.
func (c *Core) restart(at hlc.Timestamp, now time.Time) {
	origins := map[hlc.Origin]bool{}
	for id, f := range c.feeds {
		if id.Origin != 0 {
			origins[id.Origin] = true
		}
		for o := range f.vector.Writes {
			origins[o] = true
		}
	}
	clear(c.feeds)
	c.begin(at, now)
	if c.view.Era.Fire != globaltable.FireOrigin {
		return
	}
	delete(origins, c.self)
	for o := range origins {
		c.feeds[FeedID{Origin: o}] = &feed{vector: since(at, o), made: now}
	}
}

// divide makes the feeds by placement anew where placements have changed: what was dealt with in all of those that there were was dealt with in each that there is. One that this region fired before, if in part, it goes on with at once.
func (c *Core) divide(now time.Time) {
	sums := map[hlc.Origin]*feed{} // of feeds of the same origin
	for id, f := range c.feeds {
		if id.Lane == 0 {
			continue
		}
		sum := sums[id.Origin]
		if sum == nil {
			sums[id.Origin] = &feed{position: f.at(), vector: f.vector.clone(), life: f.life, until: f.until, fires: f.fires}
		} else {
			sum.position, sum.vector, sum.fires = min(sum.position, f.at()), meet(sum.vector, f.vector), sum.fires || f.fires
			sum.until = max(sum.until, f.until)
		}
		delete(c.feeds, id)
	}
	for origin, sum := range sums {
		for _, l := range c.view.Lanes {
			f := *sum
			f.vector, f.made, f.settled = sum.vector.clone(), now, sum.fires
			f.fires = f.fires && slices.Contains(l.Regions, c.self)
			c.feeds[FeedID{origin, l.ID}] = &f
		}
	}
}

// follow begins and ends the feeds of what was made in regions that are out.
func (c *Core) follow(mark hlc.Timestamp, now time.Time) {
	if c.view.Era.Fire != globaltable.FireOrigin {
		return
	}
	out := slices.Clone(c.view.Out)
	for id := range c.feeds {
		if id.home() && id.Origin != c.self && !slices.Contains(c.view.Home, id.Origin) && !slices.Contains(out, id.Origin) {
			out = append(out, id.Origin)
		}
	}
	for _, o := range out {
		home := c.feeds[FeedID{Origin: o}]
		if home == nil {
			home = &feed{vector: since(c.view.From, o)}
		}
		for _, l := range c.view.Lanes {
			id := FeedID{o, l.ID}
			if f := c.feeds[id]; f != nil {
				f.until = 0
			} else if o != c.self && len(c.feeds) < maxFeeds {
				c.feeds[id] = &feed{position: home.vector.Least(), vector: home.vector.clone(), life: home.life, made: now}
			}
		}
	}
	for id, f := range c.feeds {
		if id.Lane != 0 && f.until == 0 && !slices.Contains(out, id.Origin) {
			f.until = mark
		}
	}
}

// Hear takes what another region tells.
func (c *Core) Hear(from hlc.Origin, entries []Entry, now time.Time) {
	if len(entries) > maxFeeds || from == c.self {
		return
	}
	p := &peer{at: now, entries: make(map[FeedID]Entry, len(entries))}
	for _, e := range entries {
		p.entries[e.Feed] = e
	}
	c.peers[from] = p
	for _, e := range entries {
		c.take(e, now)
	}
}

// take joins an entry, if it is about what c knows.
func (c *Core) take(e Entry, now time.Time) {
	era := e.Feed.era(c.view.Era)
	if !c.seen || e.Era != era || e.Feed == (FeedID{}) || e.Feed == (FeedID{Origin: c.self}) {
		return
	}
	f := c.feeds[e.Feed]
	switch {
	case !e.Feed.home():
		if f != nil {
			f.join(e)
		}
	case era.Fire != globaltable.FireOrigin:
	case f == nil || e.Life > f.life:
		if f != nil || len(c.feeds) < maxFeeds {
			c.feeds[e.Feed] = &feed{vector: e.Vector.clone(), life: e.Life, made: now}
			c.parts(e)
		}
	case e.Life == f.life:
		f.vector.Join(e.Vector)
		c.parts(e)
	}
}

// parts joins what is said of a region's own changes to the feeds by which others fire them.
func (c *Core) parts(e Entry) {
	for id, part := range c.feeds {
		if id.Origin == e.Feed.Origin && id.Lane != 0 {
			part.join(e)
		}
	}
}

// join adds what an entry says, if it is about the same life of the store. A feed of a region of which nothing was known when it went out takes the first that is heard.
func (f *feed) join(e Entry) {
	if f.life == 0 {
		f.life = e.Life
	}
	if e.Life == f.life {
		f.vector.Join(e.Vector)
	}
}

// Lost takes up to where the region's stream has lost records.
func (c *Core) Lost(lost hlc.Timestamp) { c.gone = max(c.gone, lost) }

// ready reports whether the region's stream reaches back to where a feed is.
func (c *Core) ready(f *feed) bool { return c.tells && f.at() >= max(c.told, c.gone) }

// Decide says which feeds this region fires now, in order.
func (c *Core) Decide(now time.Time) (fires []FeedID) {
	for id, f := range c.feeds {
		if f.until != 0 && (f.at() >= f.until || c.endedElsewhere(id, now)) {
			delete(c.feeds, id) // all of it was dealt with
			continue
		}
		f.fires = c.tells && !c.view.Paused && c.decide(id, f, now)
		if f.fires {
			fires = append(fires, id)
		} else {
			f.claim, f.mark = Vector{}, 0
		}
	}
	slices.SortFunc(fires, compareFeeds)
	return fires
}

// endedElsewhere reports whether this region cannot fire a feed, and none of those that can, all of which are reached, tells of it: they have dealt with it, and dropped it before this one heard so.
func (c *Core) endedElsewhere(id FeedID, now time.Time) bool {
	regions := c.regions(id.Lane)
	return len(regions) > 0 && !slices.Contains(regions, c.self) && !slices.ContainsFunc(regions, func(o hlc.Origin) bool {
		p := c.reached(o, now)
		if p == nil {
			return true
		}
		_, tells := p.entries[id]
		return tells || !p.follows(c.view.Era)
	})
}

// follows reports whether a region has gone over to an era, as far as it was heard.
func (p *peer) follows(era Era) bool {
	for id, e := range p.entries {
		if e.Era == id.era(era) {
			return true
		}
	}
	return false
}

func (c *Core) decide(id FeedID, f *feed, now time.Time) bool {
	if id.Lane == 0 {
		return id == FeedID{} || id.Origin == c.self
	}
	regions := c.regions(id.Lane)
	if !slices.Contains(regions, c.self) {
		return false
	}
	if !f.settled {
		f.settled = c.met(id, regions, f.made, now)
	}
	if !f.settled || c.choose(id, f, regions, now) != c.self {
		return false
	}
	// Who fires goes on; who begins waits for the end of who does.
	return f.fires || !slices.ContainsFunc(regions, func(o hlc.Origin) bool {
		e, heard := c.heard(o, id, now)
		return o != c.self && heard && e.Fires
	})
}

func (c *Core) regions(lane globaltable.LaneID) []hlc.Origin {
	for i := range c.view.Lanes {
		if l := &c.view.Lanes[i]; l.ID == lane {
			return l.Regions
		}
	}
	return nil
}

// met reports whether every other region was heard of the feed, or was waited for long enough.
func (c *Core) met(id FeedID, regions []hlc.Origin, made, now time.Time) bool {
	return now.Sub(made) >= c.reach || !slices.ContainsFunc(regions, func(o hlc.Origin) bool {
		_, heard := c.heard(o, id, now)
		return o != c.self && !heard
	})
}

// reached returns what was heard of a region last; nil if that is too long ago.
func (c *Core) reached(o hlc.Origin, now time.Time) *peer {
	if p := c.peers[o]; p != nil && now.Sub(p.at) < c.reach {
		return p
	}
	return nil
}

// heard returns what a region that is reached says of a feed.
func (c *Core) heard(o hlc.Origin, id FeedID, now time.Time) (e Entry, ok bool) {
	p := c.reached(o, now)
	if p == nil {
		return Entry{}, false
	}
	e, ok = p.entries[id]
	return e, ok && e.Era == c.view.Era
}

// choose returns which of the regions of a feed is to fire it: the first that is ready, or, if none is, the first.
func (c *Core) choose(id FeedID, f *feed, regions []hlc.Origin, now time.Time) (chosen hlc.Origin) {
	for _, o := range regions {
		e, heard := c.heard(o, id, now)
		if o == c.self {
			e, heard = Entry{Ready: c.ready(f)}, true
		}
		if heard && e.Ready {
			return o
		}
		if heard && chosen == 0 {
			chosen = o
		}
	}
	return chosen
}

// Begin returns the position after which a feed goes on here. The stream is at the mark.
func (c *Core) Begin(id FeedID, mark hlc.Timestamp) hlc.Timestamp {
	f := c.feeds[id]
	switch {
	case f == nil:
		return mark
	case plantedOwnMark:
		f.position = mark
	}
	f.position = f.at()
	return f.position
}

// Era returns the era of the view that was adopted last.
func (c *Core) Era() Era { return c.view.Era }

// Feed returns what of a feed was dealt with: the vector is c's. ok is false if there is no such feed any more.
func (c *Core) Feed(id FeedID) (vector *Vector, until hlc.Timestamp, ok bool) {
	f := c.feeds[id]
	if f == nil {
		return nil, 0, false
	}
	return &f.vector, f.until, true
}

// Note takes what this region had applied at the mark, or before. What it says of a feed is told once all of the feed up to there was dealt with.
func (c *Core) Note(row Row, mark hlc.Timestamp, now time.Time) {
	for id, f := range c.feeds {
		if !f.fires || f.mark != 0 || id == (FeedID{}) || id.Lane != 0 && !c.ready(f) && !c.allReached(id, now) {
			continue // somebody who is away may still have what this region's stream has not
		}
		f.claim, f.mark = c.claim(id, f, row), mark
		c.settle(f)
	}
}

func (c *Core) allReached(id FeedID, now time.Time) bool {
	return !slices.ContainsFunc(c.regions(id.Lane), func(o hlc.Origin) bool {
		_, heard := c.heard(o, id, now)
		return o != c.self && !heard
	})
}

// claim is what a row says of a feed.
func (c *Core) claim(id FeedID, f *feed, row Row) Vector {
	v := Vector{Writes: map[hlc.Origin]hlc.Timestamp{}, Expired: row.Expired}
	say := func(o hlc.Origin) {
		v.Writes[o] = row.HLC
		if o != c.self && slices.Contains(c.view.Live, o) {
			v.Writes[o] = row.Marks[o]
		}
	}
	if id.Origin != 0 {
		say(id.Origin)
		return v
	}
	for _, o := range c.view.Live {
		say(o)
	}
	for o := range f.vector.Writes {
		say(o)
	}
	return v
}

// settle tells what may be told.
func (c *Core) settle(f *feed) {
	if f.mark != 0 && (f.position >= f.mark || plantedClaim) {
		f.vector.Join(f.claim)
		f.claim, f.mark = Vector{}, 0
		c.moved = true
	}
}

// Moved reports whether this region knows of more that was dealt with here than Entries returned last.
func (c *Core) Moved() bool { return c.moved }

// Advance takes that this region has dealt with all of a feed up to a position. It reports whether that is news.
func (c *Core) Advance(id FeedID, position hlc.Timestamp) bool {
	f := c.feeds[id]
	if f == nil || position <= f.position {
		return false
	}
	f.position = position
	c.settle(f)
	return true
}

// Entries returns what the others are to be told. firing says which feeds are being delivered here: one that Decide does not want any more fires until what is under way has ended.
func (c *Core) Entries(firing func(FeedID) bool) []Entry {
	c.moved = false
	out := make([]Entry, 0, len(c.feeds))
	for id, f := range c.feeds {
		if id == (FeedID{}) {
			continue
		}
		e := Entry{Feed: id, Era: id.era(c.view.Era), Life: f.life, Vector: f.vector.clone(), Fires: firing(id), Ready: c.ready(f)}
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b Entry) int { return compareFeeds(a.Feed, b.Feed) })
	return out
}

// state is what of a Core is stored. It is JSON.
type state struct {
	Version int           `json:"v"`
	Era     Era           `json:"era"`
	From    hlc.Timestamp `json:"from"`
	Told    hlc.Timestamp `json:"told,omitempty"`
	Tells   bool          `json:"tells,omitempty"`
	Feeds   []feedState   `json:"feeds"`
}

type feedState struct {
	FeedID
	Position hlc.Timestamp           `json:"position"`
	Vector   Vector                  `json:"vector"`
	Life     globaltable.Incarnation `json:"life,omitempty"`
	Until    hlc.Timestamp           `json:"until,omitempty"`
}

const stateVersion = 1

// Standing is how a feed stands.
type Standing struct {
	Feed     FeedID
	Position hlc.Timestamp // all up to it was dealt with, here or elsewhere
	Fires    bool          // it is this region's to fire
	Ready    bool
	By       []hlc.Origin // the other regions that are reached and say that they fire it
	Regions  []hlc.Origin // of its placement, those that may
}

// Standings returns how the feeds stand, in order; those that are kept for what others fire of their own are not among them.
func (c *Core) Standings(now time.Time) (out []Standing) {
	for id, f := range c.feeds {
		if id.home() && id.Origin != c.self {
			continue
		}
		s := Standing{Feed: id, Position: f.at(), Fires: f.fires, Ready: c.ready(f), Regions: c.regions(id.Lane)}
		for _, o := range s.Regions {
			if e, heard := c.heard(o, id, now); heard && e.Fires && o != c.self {
				s.By = append(s.By, o)
			}
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b Standing) int { return compareFeeds(a.Feed, b.Feed) })
	return out
}

// State returns what is to be stored of c.
func (c *Core) State() []byte {
	s := state{Version: stateVersion, Era: c.view.Era, From: c.view.From, Told: c.told, Tells: c.tells, Feeds: []feedState{}}
	for id, f := range c.feeds {
		s.Feeds = append(s.Feeds, feedState{id, f.position, f.vector, f.life, f.until})
	}
	slices.SortFunc(s.Feeds, func(a, b feedState) int { return compareFeeds(a.FeedID, b.FeedID) })
	b, _ := json.Marshal(s) // numbers and strings: cannot fail
	return b
}

// Load takes what State returned, before anything else.
func (c *Core) Load(b []byte, now time.Time) error {
	var s state
	if err := json.Unmarshal(b, &s); err != nil || s.Version != stateVersion || len(s.Feeds) > 2*maxFeeds {
		return &globaltable.Error{Op: "read cursors of a trigger", Kind: globaltable.Corrupt, Err: err}
	}
	c.view.Era, c.view.From, c.told, c.tells, c.seen = s.Era, s.From, s.Told, s.Tells, true
	for _, f := range s.Feeds {
		c.feeds[f.FeedID] = &feed{position: f.Position, vector: f.Vector, life: f.Life, until: f.Until, made: now}
	}
	return nil
}
