package publish

import (
	"testing"
	"time"

	"slices"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/streams/bus"
)

func at(n int64) hlc.Timestamp { return hlc.FromTime(time.UnixMilli(n)) }

// sound is a stream of five events, of which its reader has read two, and a want that it answers.
func sound() (*Want, *Found) {
	stream := bus.EventStream{Name: "EVENTS_0000000000000011", Subjects: "concordat.events.orders.>", MaxAge: time.Hour, MaxBytes: 1000}
	w := &Want{Stream: stream, Readers: map[string]hlc.Timestamp{"search": at(10_000_002)}, Mark: at(10_000_009), Now: at(10_000_100)}
	f := &Found{EventState: bus.EventState{Exists: true, Config: stream, First: 1, Last: 5, Messages: 5, Bytes: 500, Readers: map[string]bus.EventReader{"search": {Delivered: 3, Floor: 2}}},
		Head: at(10_000_001), Tail: at(10_000_005)}
	return w, f
}

func TestDecide(t *testing.T) {
	type both struct {
		w *Want
		f *Found
	}
	for _, test := range []struct {
		name   string
		change func(both)
		want   Plan
	}{
		{"as it was left", func(both) {}, Plan{Last: 5, After: at(10_000_005)}},
		{"none", func(x both) { *x.f = Found{} }, Plan{Anew: "there is none", After: at(10_000_002), Set: []string{"search"}}},
		{"none, without readers", func(x both) { *x.f, x.w.Readers = Found{}, nil }, Plan{Anew: "there is none", After: at(10_000_009)}},
		{"none, and the reader was away for longer than events are kept", func(x both) { *x.f, x.w.Readers["search"] = Found{}, 0 }, Plan{Anew: "there is none", After: at(10_000_100).Add(-time.Hour), Set: []string{"search"}}},
		{"something between is gone", func(x both) { x.f.Messages = 4 }, Plan{Anew: "something in it is missing", After: at(10_000_002), Set: []string{"search"}}},
		{"the tail is gone, with its sequences", func(x both) { x.f.Last, x.f.Messages, x.f.Tail = 3, 3, at(10_000_003) }, Plan{Last: 3, After: at(10_000_003)}},
		{"so is what the reader has got", func(x both) { x.f.Last, x.f.Messages, x.f.Tail = 2, 2, at(10_000_002) }, Plan{Last: 2, After: at(10_000_002), Set: []string{"search"}}},
		{"the beginning is gone", func(x both) { x.f.First, x.f.Messages, x.f.Head, x.f.Missing = 4, 2, at(10_000_004), true }, Plan{Anew: "its beginning is missing", After: at(10_000_002), Set: []string{"search"}}},
		{"it had no room for its beginning", func(x both) {
			x.f.First, x.f.Messages, x.f.Head, x.f.Missing, x.f.Bytes = 4, 2, at(10_000_004), true, 990
		}, Plan{Last: 5, After: at(10_000_005)}},
		{"everything is too old", func(x both) { x.f.First, x.f.Messages, x.f.Head, x.f.Tail = 6, 0, 0, 0 }, Plan{Last: 5, After: at(10_000_002)}},
		{"everything is gone", func(x both) { x.f.First, x.f.Messages, x.f.Head, x.f.Tail, x.f.Missing = 6, 0, 0, 0, true }, Plan{Anew: "it is empty", After: at(10_000_002), Set: []string{"search"}}},
		{"a store that was restored", func(x both) { x.w.Mark = at(10_000_004) }, Plan{Anew: "it has what the store does not", After: at(10_000_002), Set: []string{"search"}}},
		{"a stranger's message", func(x both) { x.f.Tail = 0 }, Plan{Anew: "it has what is no event", After: at(10_000_002), Set: []string{"search"}}},
		{"policies", func(x both) { x.w.Anew = "policies" }, Plan{Anew: "policies", After: at(10_000_002), Set: []string{"search"}}},
		{"the table of that name is another one", func(x both) { x.f.Config.Subjects = "concordat.events.other.>" }, Plan{Anew: "it is another table's", After: at(10_000_002), Set: []string{"search"}}},
		{"other bounds", func(x both) { x.w.Stream.MaxAge = 2 * time.Hour }, Plan{Last: 5, After: at(10_000_005), Adjust: true}},
		{"a new reader", func(x both) { x.w.Readers["cache"] = at(10_000_005) }, Plan{Last: 5, After: at(10_000_005), Set: []string{"cache"}}},
		{"a reader that is no more", func(x both) { x.w.Readers = nil }, Plan{Last: 5, After: at(10_000_005), Drop: []string{"search"}}},
	} {
		w, f := sound()
		test.change(both{w, f})
		got := Decide(w, f)
		if got.Anew != test.want.Anew || got.Adjust != test.want.Adjust || got.Last != test.want.Last || got.After != test.want.After || !slices.Equal(got.Set, test.want.Set) || !slices.Equal(got.Drop, test.want.Drop) {
			t.Errorf("%s: %+v, want %+v", test.name, got, test.want)
		}
	}
}
