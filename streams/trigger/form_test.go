package trigger

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
)

// What is stored, and what is sent: a changed one is a changed format.
const (
	goldenState  = `{"v":1,"era":{"fire":"one","replay":2,"division":"18446744073709551615"},"from":5,"told":6,"tells":true,"feeds":[{"lane":"9","position":7,"vector":{"writes":{"1":8,"2":9},"expired":8},"until":11},{"origin":2,"position":0,"vector":{"writes":{"2":4},"expired":3},"life":12}]}`
	goldenGossip = `{"triggers":[{"table":"18446744073709551615","name":"search","born":"3","entries":[{"feed":{"lane":"9"},"era":{"fire":"one","replay":2,"division":"18446744073709551615"},"vector":{"writes":{"1":8,"2":9},"expired":8},"fires":true,"ready":true}]}]}`
)

func TestStateGolden(t *testing.T) {
	c := NewCore(1, time.Second)
	if err := c.Load([]byte(goldenState), time.Now()); err != nil {
		t.Fatal(err)
	}
	if got := string(c.State()); got != goldenState {
		t.Errorf("%s\nnot\n%s", got, goldenState)
	}
	for _, bad := range []string{``, `{}`, `{"v":2}`, `{"v":1,"feeds":[{"lane":9}]}`} {
		if err := NewCore(1, time.Second).Load([]byte(bad), time.Now()); globaltable.KindOf(err) != globaltable.Corrupt {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestGossipGolden(t *testing.T) {
	g := Gossip{Triggers: []Told{{Table: ^globaltable.TableID(0), Name: "search", Born: 3, Entries: []Entry{{Feed: FeedID{Lane: 9}, Era: Era{globaltable.FireOne, 2, ^uint64(0)},
		Vector: Vector{map[hlc.Origin]hlc.Timestamp{1: 8, 2: 9}, 8}, Fires: true, Ready: true}}}}}
	b, err := json.Marshal(g)
	if err != nil || string(b) != goldenGossip {
		t.Errorf("%s\nnot\n%s", b, goldenGossip)
	}
	var got Gossip
	if err := json.Unmarshal([]byte(goldenGossip), &got); err != nil || got.Triggers[0].Entries[0].Era != g.Triggers[0].Entries[0].Era {
		t.Errorf("%+v, %v", got, err)
	}
}

// FuzzGossip: whatever another region says, a core goes on, keeps a bounded number of feeds, and claims nothing that went back.
func FuzzGossip(f *testing.F) {
	f.Add([]byte(goldenGossip), "one")
	f.Add([]byte(`{"triggers":[{"entries":[{"feed":{"origin":2},"era":{"fire":"origin"},"life":5,"vector":{"writes":{"2":7}}}]}]}`), "origin")
	f.Add([]byte(`{"triggers":[{"entries":[{"feed":{"origin":1},"era":{"fire":"origin"},"vector":{"expired":7}}]}]}`), "origin")
	f.Fuzz(func(t *testing.T, b []byte, fire string) {
		var g Gossip
		if json.Unmarshal(b, &g) != nil {
			return
		}
		now := time.UnixMilli(1_700_000_000_000)
		c := NewCore(1, time.Second)
		v := View{Era: Era{Fire: globaltable.Fire(fire), Division: 1}, From: 5, Live: []hlc.Origin{1, 2}, Home: []hlc.Origin{1, 2}, Lanes: []Lane{{9, []hlc.Origin{1, 2}}}, Tells: true, Always: true}
		c.Adopt(v, 10, 0, now)
		before := map[FeedID]hlc.Timestamp{}
		for id, f := range c.feeds {
			before[id] = f.at()
		}
		for _, told := range g.Triggers {
			c.Hear(2, told.Entries, now)
			c.Decide(now)
		}
		v.Era.Division, v.Lanes[0].ID = 2, 10
		for id, f := range c.feeds {
			if f.at() < before[id] {
				t.Errorf("%+v went back from %v to %v", id, before[id], f.at())
			}
		}
		c.Adopt(v, 20, 0, now)
		if len(c.feeds) > 2*maxFeeds {
			t.Errorf("%d feeds", len(c.feeds))
		}
		if err := NewCore(1, time.Second).Load(c.State(), now); err != nil {
			t.Error(err)
		}
	})
}
