package regionnode

import (
	"errors"
	"fmt"
	"testing"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode/commit"
	"github.com/concordat-db/concordat/streams/inbox"
)

func TestStopReasons(t *testing.T) {
	wanted := globaltable.Position{Incarnation: 1, Seq: 5}
	position := func(reason commit.PositionReason, stored globaltable.Position) error {
		return &commit.PositionError{Stored: stored, Reason: reason}
	}
	earlier := globaltable.Position{Incarnation: 1, Seq: 3}
	for name, c := range map[string]struct {
		err  error
		want inbox.Stop
	}{
		"too far ahead":               {fmt.Errorf("apply: %w", &hlc.AheadError{}), inbox.ClockAhead},
		"older catalog":               {fmt.Errorf("apply: %w", commit.ErrCatalogBehind), inbox.CatalogBehind},
		"done before":                 {position(commit.NotNext, wanted), inbox.Running},
		"a gap":                       {position(commit.NotNext, earlier), inbox.ApplyFailed},
		"another chain":               {position(commit.ChainDiffers, earlier), inbox.Diverged},
		"a dead life":                 {position(commit.Revoked, earlier), inbox.Superseded},
		"a life that is not dead yet": {position(commit.NotRevokedYet, earlier), inbox.ApplyFailed},
		"a change not understood":     {fmt.Errorf("apply: %w", conflict.ErrUnsupported), inbox.Refused},
		"a change that cannot be":     {&globaltable.Error{Kind: globaltable.Corrupt}, inbox.Refused},
		"a shard that stops":          {&globaltable.Error{Kind: globaltable.Unavailable}, inbox.ApplyFailed},
		"anything else":               {errors.New("surprise"), inbox.ApplyFailed},
	} {
		if got := stopReason(c.err, wanted); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
