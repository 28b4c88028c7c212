package membership

import (
	"testing"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/regionnode/commit"
)

// standing is a plane that says what the region is to the others.
type standing struct {
	Plane
	state       globaltable.MemberState
	incarnation globaltable.Incarnation
}

func (s standing) Standing() (globaltable.MemberState, globaltable.Incarnation, globaltable.Version) {
	return s.state, s.incarnation, 1
}

// storeOf is a store with that incarnation.
type storeOf struct {
	Store
	incarnation globaltable.Incarnation
}

func (s storeOf) Incarnation() globaltable.Incarnation { return s.incarnation }

// TestFollowedStore: a store that was lost or restored, or belongs to a region that is out, is not followed until the region has been admitted with it.
func TestFollowedStore(t *testing.T) {
	descriptors, _ := regions(t, 1)
	known, err := catalog.New(descriptors[0], nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name     string
		step     commit.RebuildStep
		state    globaltable.MemberState
		follows  globaltable.Incarnation
		followed bool
	}{
		{"nothing was ever wrong", commit.RebuildNone, active, 0, true},
		{"it is back", commit.RebuildNone, active, 7, true},
		{"its store is new, and nobody has been asked to rebuild it", commit.RebuildNeeded, active, 0, false},
		{"it is saved and emptied", commit.RebuildSaving, active, 0, false},
		{"it was emptied, and there is no document of the world yet", commit.RebuildJoining, active, 0, false},
		{"the others follow the store of before", commit.RebuildJoining, active, 6, false},
		{"that one is being fenced", commit.RebuildJoining, fencing, 6, false},
		{"it was admitted", commit.RebuildJoining, active, 7, true},
		{"and fenced again", commit.RebuildJoining, fenced, 7, false},
	} {
		c := New(Config{Catalog: known, Store: storeOf{incarnation: 7}, Plane: standing{state: tc.state, incarnation: tc.follows}, State: commit.Rebuild{Step: tc.step}})
		if got := c.Followed(); got != tc.followed {
			t.Errorf("%s: followed: %v", tc.name, got)
		}
	}
}
