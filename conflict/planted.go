//go:build planted

package conflict

// Faults that tests plant, to see that they are caught: the simulation's (chaos/sim, TestPlanted) and this package's own. Nothing else sets this build tag.
var (
	plantedBase     bool // the write of a whole map, or item, leaves entries in maps that are older
	plantedBid      bool // of live and outbid bids the greatest shows
	plantedObserve  bool // what a write had seen is forgotten where its reset or cell loses
	plantedPart     bool // the observation of a part of a run is collected
	plantedRemove   bool // a removal of an element removes what its writer had not seen
	plantedSeen     bool // a write is lost to one that had seen it
	plantedReplay   bool // increments of a write that is replayed are forgotten
	plantedStraddle bool // of a run that an item's expiry falls into nothing counts any more
	plantedRuns     bool // two states of a counter's run are added up
	plantedTie      bool // at equal times the write that comes later wins, whatever its origin
	plantedVector   bool // a change at or below the record's vector entry for its origin is taken for one that is in the record already
)

// Plant switches a fault of this package on or off, before anything runs; it reports whether the package has one of that name.
func Plant(fault string, on bool) bool {
	faults := map[string]*bool{
		"base": &plantedBase, "bid": &plantedBid, "observe": &plantedObserve, "part": &plantedPart, "remove": &plantedRemove, "runs": &plantedRuns,
		"seen loss": &plantedSeen, "replayed increment": &plantedReplay, "straddle": &plantedStraddle, "tie": &plantedTie, "vector": &plantedVector,
	}
	if faults[fault] == nil {
		return false
	}
	*faults[fault] = on
	return true
}

// forget drops what the write of a delta had seen.
func (r *Record) forget() {
	for i := range r.Typed {
		t := &r.Typed[i]
		t.Observed, t.Outbid = nil, nil
		for j := range t.Elements {
			t.Elements[j].Removals = nil
		}
	}
}
