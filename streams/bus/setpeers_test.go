package bus

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/concordat-db/concordat/globaltable"
)

// TestPeersComeAndGo has a peer that follows a lane and asks all the while others come and go at an embedded server: it keeps its connection, and what it does.
func TestPeersComeAndGo(t *testing.T) {
	const rounds, perRound = 20, 50
	keys, all := newPeerKeys(t, "us", "in", "ap")
	home := startEmbedded(t, EmbeddedConfig{Peers: all[:1]})
	w := &world{home: home, peers: all, dial: func(t testing.TB, region string) Link {
		return dialLink(t, DialConfig{Region: region, URLs: []string{home.URL()}, Key: keys[region]})
	}}
	const lane = globaltable.LaneID(7)
	spec := w.openLane(t, lane, 64<<20) // for "us" and "in": a consumer needs no account
	w.serve(t, func(_ context.Context, _ string, _ []byte, reply func([]byte) error) error {
		for range 20 {
			if err := reply(make([]byte, 10_000)); err != nil {
				return err
			}
		}
		return nil
	})
	us := w.dial(t, "us").(*natsLink)
	ctx, cancel := context.WithCancel(testContext(t))
	var work sync.WaitGroup
	var asked atomic.Int64
	work.Go(func() {
		wantRange(t, pullTo(t, us, lane, rounds*perRound-1, always), 0, rounds*perRound)
	})
	for range 4 {
		work.Go(func() {
			for ctx.Err() == nil {
				if err := us.Request(ctx, nil, func([]byte) error { return nil }); err != nil && ctx.Err() == nil {
					t.Errorf("a peer that stays is not answered: %v", err)
					return
				}
				asked.Add(1)
			}
		})
	}
	for i := range rounds {
		peers := [][]Peer{all[:1], all[:2], all, {all[2], all[0]}}[i%4]
		if err := home.SetPeers(ctx, peers); err != nil {
			t.Fatal(err)
		}
		w.publish(t, lane, i*perRound, (i+1)*perRound, 500)
		if i%7 == 0 { // lanes are made and opened as ever
			other := LaneSpec{ID: globaltable.LaneID(100 + i), Peers: spec.Peers, MaxBytes: 1 << 20}
			if err := errors.Join(home.ResetLane(ctx, other), home.OpenLane(ctx, other), home.RemoveLane(ctx, other.ID)); err != nil {
				t.Fatal(err)
			}
		}
		for _, p := range all {
			link, err := dial(ctx, DialConfig{Region: p.Name, Peer: "eu", URLs: []string{home.URL()}, Key: keys[p.Name], Log: testLog(t)})
			listed := slices.Contains(peers, p)
			switch {
			case err == nil && !listed:
				t.Errorf("round %d: %s may dial, and is no peer", i, p.Name)
			case err != nil && listed:
				t.Errorf("round %d: %s may not dial: %v", i, p.Name, err)
			case err == nil:
				if err := link.Request(ctx, nil, func([]byte) error { return nil }); err != nil {
					t.Errorf("round %d: %s is not answered: %v", i, p.Name, err)
				}
			}
			if err == nil {
				if err := link.Close(); err != nil {
					t.Error(err)
				}
			}
		}
	}
	cancel()
	work.Wait()
	if n := us.nc.Stats().Reconnects; n != 0 {
		t.Errorf("the link of the peer that stayed broke %d times", n)
	}
	if asked.Load() == 0 {
		t.Error("nothing was asked")
	}
}
