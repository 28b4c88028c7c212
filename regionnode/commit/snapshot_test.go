package commit

import (
	"fmt"
	"slices"
	"testing"

	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/store"
	"github.com/concordat-db/concordat/streams/cdc"
)

// TestSnapshotAndStream: a snapshot stays as it was, and what the stream tells after it makes of it what there is.
func TestSnapshotAndStream(t *testing.T) {
	f, _ := streaming(t, store.NewMemory(), nil)
	f.run()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 600 {
			pk := fmt.Sprint("k", i%17)
			w := put(tableA, pk, fmt.Sprint(i))
			if i%5 == 0 {
				w = remove(tableA, pk)
			}
			if err := f.Write(background, w); err != nil {
				t.Error(err)
			}
		}
	}()
	for range 5 {
		snap, err := f.OpenSnapshot(background)
		f.must(err)
		items := map[string]string{}
		read := func() {
			clear(items)
			f.must(snap.Walk(background, Range{Table: tableA}, func(key item.Key, c Current) bool {
				items[string(key)] = valueOf(c.Item)
				return true
			}))
		}
		read()
		first := len(items)
		if read(); len(items) != first {
			t.Fatal("a snapshot has changed")
		}
		mark := f.StreamMark()
		_, err = f.ReadStream(StreamRange{Stream: streamA, UpTo: mark}, func(r *cdc.Record) bool {
			if r.Position <= snap.At() {
				return true
			}
			if valueOf(r.Old) != items[string(r.Key)] {
				t.Errorf("after the snapshot the stream goes on from %q, the snapshot has %q", valueOf(r.Old), items[string(r.Key)])
			}
			items[string(r.Key)] = valueOf(r.New)
			return true
		})
		f.must(err)
		f.must(snap.Close())
	}
	<-done
}

func TestSnapshotShowsNothingThatMayNotBeHere(t *testing.T) {
	f := start(t, store.NewMemory())
	for _, pk := range []string{"eu1", "us1", "us2"} {
		f.must(f.Write(background, put(tableA, pk, pk)))
	}
	snap, err := f.OpenSnapshot(background)
	f.must(err)
	defer func() { f.must(snap.Close()) }()
	prefix := "eu"
	f.catalog.elsewhere.Store(&prefix)
	var got []string
	f.must(snap.Walk(background, Range{Table: tableA}, func(_ item.Key, c Current) bool {
		got = append(got, valueOf(c.Item))
		return true
	}))
	if slices.Sort(got); !slices.Equal(got, []string{"us1", "us2"}) {
		t.Error(got)
	}
}
