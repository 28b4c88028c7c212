package regionnode

import (
	"bytes"
	"testing"
	"time"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode/commit"
)

// collectTurn plays a turn over tables of which each has so many records below the frontier, and returns how many were taken of each.
func collectTurn(t *testing.T, c *collecting, now time.Time, purge hlc.Timestamp, backlog map[globaltable.TableID]int) map[globaltable.TableID]int {
	t.Helper()
	var tables []collectable
	for id, n := range backlog {
		tables = append(tables, collectable{id, purge, uint64(n)})
	}
	c.turn(now, tables)
	took := map[globaltable.TableID]int{}
	for calls := 0; ; calls++ {
		id, after, limit, ok := c.next()
		if !ok {
			return took
		}
		if calls > 1000 || limit < 1 || limit > collectAtOnce {
			t.Fatalf("call %d for %d records", calls, limit)
		}
		n := min(limit, backlog[id])
		backlog[id] -= n
		took[id] += n
		did := commit.Collected{Purge: purge, Gone: n, Last: append(bytes.Clone(after), 'x')}
		if backlog[id] > 0 {
			did.Next = did.Last
		}
		c.did(id, did)
	}
}

func TestCollectingIsGentleAndFair(t *testing.T) {
	c, now := newCollecting(1000), time.Unix(1e9, 0)
	backlog := map[globaltable.TableID]int{5: 2500, 6: 300, 7: 0, 8: 900}
	sum := map[globaltable.TableID]int{}
	for turn := range 4 {
		now = now.Add(time.Second)
		all := 0
		for id, n := range collectTurn(t, c, now, 10, backlog) {
			sum[id] += n
			all += n
		}
		if turn < 3 && all != 1000 {
			t.Errorf("turn %d took %d records", turn, all)
		}
		if turn == 1 && sum[6] != 300 {
			t.Errorf("after two turns %v were taken: a large table starves the others", sum)
		}
	}
	if sum[5] != 2500 || sum[6] != 300 || sum[7] != 0 || sum[8] != 900 {
		t.Errorf("%v", sum)
	}
}

func TestCollectingGoesOnWhereItWas(t *testing.T) {
	c, now := newCollecting(1000), time.Unix(1e9, 0)
	one := []collectable{{5, 10, 3}}
	c.turn(now, one)
	if _, after, _, ok := c.next(); !ok || after != nil {
		t.Fatal("it does not begin at the beginning")
	}
	c.did(5, commit.Collected{Purge: 10, Gone: 1, Next: []byte("a"), Last: []byte("a")})
	if _, after, _, _ := c.next(); string(after) != "a" {
		t.Fatalf("it goes on after %q", after)
	}
	c.did(5, commit.Collected{Purge: 10, Last: []byte("b")})
	if _, _, _, ok := c.next(); ok {
		t.Fatal("it goes on when all is done")
	}
	c.turn(now.Add(time.Second), one)
	if _, _, _, ok := c.next(); ok {
		t.Fatal("it begins anew at the same frontier")
	}
	one[0].purge = 11
	c.turn(now.Add(2*time.Second), one)
	if _, after, _, ok := c.next(); !ok || string(after) != "b" {
		t.Fatalf("at a later frontier it goes on after %q, %v", after, ok)
	}
	c.failed()
	if _, _, _, ok := c.next(); ok {
		t.Fatal("it tries again in the same turn")
	}
	c.turn(now.Add(lookAgain), one)
	if _, after, _, ok := c.next(); !ok || after != nil {
		t.Fatalf("after a while it goes on after %q, %v", after, ok)
	}
	c.turn(now.Add(lookAgain), nil)
	if len(c.walks) != 0 {
		t.Fatal("it remembers tables that are gone")
	}
}

func TestOnTheWay(t *testing.T) {
	table := &globaltable.Table{Replicas: []globaltable.Replica{{Region: "eu", Status: globaltable.Active}, {Region: "us", Status: globaltable.Active}}}
	if got := onTheWay(table); got != "" {
		t.Error(got)
	}
	for status, want := range map[globaltable.Status]string{globaltable.Creating: "the replica in us is being created",
		globaltable.Deleting: "the replica in us is being deleted", globaltable.StatusFencing: "the replica in us is being closed"} {
		table.Replicas[1].Status = status
		if got := onTheWay(table); got != want {
			t.Errorf("%s: %q", status, got)
		}
	}
}
