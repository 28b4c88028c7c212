package peer_test

import (
	"reflect"
	"testing"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/streams/trigger"
)

func (r *region) triggers(asker globaltable.Descriptor, g *trigger.Gossip) {
	r.heard <- asker.Name
	r.gossip <- g
}

// TestTriggers: how far triggers are is heard as it was told, and from whom.
func TestTriggers(t *testing.T) {
	onEachBus(t, func(t *testing.T, s *story) {
		s.connect()
		s.eu.heard, s.eu.gossip = make(chan string, 1), make(chan *trigger.Gossip, 1)
		told := &trigger.Gossip{Triggers: []trigger.Told{{Table: 1<<63 + 1, Name: "search", Born: 3, Entries: []trigger.Entry{{Feed: trigger.FeedID{Lane: 1<<63 + 1}, Fires: true,
			Era: trigger.Era{Fire: globaltable.FireOne, Division: 1<<63 + 1}}}}}}
		if err := s.client().Triggers(t.Context(), told); err != nil {
			t.Fatal(err)
		}
		if from, got := <-s.eu.heard, <-s.eu.gossip; from != "us" || !reflect.DeepEqual(got, told) {
			t.Errorf("%s has told %+v", from, got)
		}
	})
}
