package trigger

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
)

// still is a stream of which only the mark is asked for.
type still struct {
	Stream
	mark hlc.Timestamp
}

func (s *still) Mark() hlc.Timestamp { return s.mark }

// TestOthersHearEarlyOfWhatIsDelivered: at once, then a tenth of a beat apart, and at each beat where nothing is delivered.
func TestOthersHearEarlyOfWhatIsDelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const us, eu, beat = 1, 2, 10 * time.Second
		c, err := catalog.New(globaltable.Descriptor{Name: "us", Origin: us}, []globaltable.Descriptor{{Name: "eu", Origin: eu}})
		if err != nil {
			t.Fatal(err)
		}
		stream, began := &still{}, time.Now()
		var heard []hlc.Timestamp // how far the other one knows that this one is
		sent := make(chan hlc.Timestamp, 100)
		r := New(Config{Self: us, Region: "us", Life: 1, Catalog: c.View, Stream: stream, Beat: beat, Row: func(*globaltable.Table) Row { return Row{HLC: stream.mark, Expired: stream.mark} },
			Send: func(_ context.Context, region string, g *Gossip) error {
				if region != "eu" || len(g.Triggers) != 1 || len(g.Triggers[0].Entries) != 1 {
					t.Errorf("%s is told %+v", region, g)
				}
				sent <- g.Triggers[0].Entries[0].Vector.Writes[us]
				return nil
			}})
		table := &globaltable.Table{ID: 7, Name: "orders", Replicas: []globaltable.Replica{{Origin: us}, {Origin: eu}}}
		id := globaltable.TriggerID{Table: 7, Name: "search"}
		w := newWork(r, id, table, &globaltable.Trigger{Name: "search"}, nil)
		w.adopted, r.works[id] = table, w
		w.core.Adopt(View{Era: Era{Fire: globaltable.FireOrigin}, From: 1, Live: []hlc.Origin{us, eu}, Home: []hlc.Origin{us, eu}, Tells: true, Always: true, Life: 1}, 1, 0, began)
		feed := FeedID{Origin: us}
		if fires := w.core.Decide(began); !slices.Equal(fires, []FeedID{feed}) {
			t.Fatalf("it fires %v", fires)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			r.tell(ctx)
		}()
		expect := func(when string, want ...hlc.Timestamp) {
			t.Helper()
			synctest.Wait()
			for len(sent) > 0 {
				heard = append(heard, <-sent)
			}
			if !slices.Equal(heard, want) {
				t.Errorf("%s the other one has heard %v, want %v", when, heard, want)
			}
		}
		deliver := func(upTo hlc.Timestamp) {
			stream.mark = upTo
			w.note(time.Now())
			w.advance(feed, upTo, true)
		}
		deliver(100)
		expect("after a delivery", 100)
		deliver(200)
		deliver(300)
		expect("just after it", 100)
		time.Sleep(beat / early)
		expect("a tenth of a beat later", 100, 300)
		w.advance(feed, 400, true) // before its origin's mark is there
		time.Sleep(beat / early)
		expect("without a mark", 100, 300)
		stream.mark = 400
		w.note(time.Now())
		expect("with it", 100, 300, 400)
		time.Sleep(beat - time.Since(began))
		expect("at the beat", 100, 300, 400, 400)
		time.Sleep(beat / 2)
		stream.mark = 500
		w.advance(feed, 500, false)
		w.note(time.Now())
		expect("where nothing is delivered", 100, 300, 400, 400)
		time.Sleep(beat / 2)
		expect("at the next beat", 100, 300, 400, 400, 500)
		cancel()
		<-ended
	})
}
