package store_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/regionnode/store"
)

// canary is a random text that is looked for byte by byte. No block's compression takes it apart, since nothing is like it.
type canary struct {
	what  string
	bytes []byte
}

func newCanary(what string) canary {
	c := canary{what, make([]byte, 32)}
	_, _ = rand.Read(c.bytes)
	return c
}

// found returns the files of the directory, by name, that have half of the canary: its first bytes may be shared with another key, and left out; and a log is cut into blocks.
func (c canary) found(t *testing.T, dir string) (in []string) {
	t.Helper()
	names, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range names {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if os.IsNotExist(err) {
			continue // deleted meanwhile
		}
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(b, c.bytes[4:18]) || bytes.Contains(b, c.bytes[18:]) {
			in = append(in, e.Name())
		}
	}
	return in
}

// TestScrubLeavesNoByte writes canaries wherever a store has keys and values, deletes them in every way, and looks into each file.
func TestScrubLeavesNoByte(t *testing.T) {
	dir := t.TempDir()
	p, err := store.OpenPebble(store.Config{Dir: dir, MemTableBytes: 256 << 10})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	ctx := t.Context()
	var canaries []canary
	put := func(what string, f func(b store.Batch, c []byte)) {
		c := newCanary(what)
		canaries = append(canaries, c)
		write(t, p, func(b store.Batch) { f(b, c.bytes) })
		if len(c.found(t, dir)) == 0 {
			t.Errorf("control: %s is nowhere", what)
		}
	}
	filler := bytes.Repeat([]byte("filler, to be compressed "), 100)
	fill := func(from int) {
		for i := range 400 {
			write(t, p, func(b store.Batch) {
				b.Set(store.AppendRecordKey(nil, 7, binary.BigEndian.AppendUint64(nil, uint64(from+i)<<32)), append(binary.BigEndian.AppendUint64(nil, uint64(i)), filler...))
			})
		}
	}
	flush := func() {
		if err := p.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	round := func(n string) {
		fill(0)
		put(n+" key of a record", func(b store.Batch, c []byte) {
			b.Set(store.AppendRecordKey(nil, 7, c), filler)
			b.Set(store.AppendGarbageKey(nil, 7, 9, c), nil)
			b.Set(store.AppendEntryKey(nil, 7, 1, c), []byte{0, 1})
			b.Set(store.AppendSavedKey(nil, 7, c), []byte("saved"))
			b.Set(store.AppendReplayKey(nil, 7, c, hlc.Stamp{Time: 1, Origin: 1}), []byte("kept"))
		})
		put(n+" small value", func(b store.Batch, c []byte) { b.Set(store.AppendRecordKey(nil, 8, []byte(n+"small")), c) })
		put(n+" large value", func(b store.Batch, c []byte) {
			b.Set(store.AppendRecordKey(nil, 8, []byte(n+"large")), append(append([]byte(nil), filler...), c...))
		})
		put(n+" value written over", func(b store.Batch, c []byte) { b.Set(store.AppendRecordKey(nil, 8, []byte(n+"over")), c) })
		flush()
		write(t, p, func(b store.Batch) { b.Set(store.AppendRecordKey(nil, 8, []byte(n+"over")), []byte("other")) })
		put(n+" log entry", func(b store.Batch, c []byte) {
			b.Set(store.AppendLogKey(nil, 3, 1), append(append([]byte(nil), filler...), c...))
		})
		fill(1000)
	}
	round("first")
	round("second")
	put("key in the log alone", func(b store.Batch, c []byte) { b.Set(store.AppendRecordKey(nil, 9, c), c) })
	left := 0
	for _, c := range canaries {
		left += len(c.found(t, dir))
	}
	if left < len(canaries)/2 {
		t.Errorf("control: of %d canaries %d are there", len(canaries), left)
	}
	before := p.NewSnapshot()
	write(t, p, func(b store.Batch) {
		for _, c := range canaries {
			if strings.HasSuffix(c.what, "key of a record") {
				b.Delete(store.AppendRecordKey(nil, 7, c.bytes))
				b.Delete(store.AppendGarbageKey(nil, 7, 9, c.bytes))
				b.Delete(store.AppendEntryKey(nil, 7, 1, c.bytes))
				b.Delete(store.AppendSavedKey(nil, 7, c.bytes))
				b.Delete(store.AppendReplayKey(nil, 7, c.bytes, hlc.Stamp{Time: 1, Origin: 1}))
			}
			b.Delete(store.AppendRecordKey(nil, 9, c.bytes))
		}
		b.DeleteRange(store.RecordRange(8))
		b.Set(store.AppendLogKey(nil, 3, 1), []byte("void"))
	})
	// Writers go on.
	stop, writers := make(chan struct{}), sync.WaitGroup{}
	writers.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			write(t, p, func(b store.Batch) {
				b.Set(store.AppendRecordKey(nil, 7, binary.BigEndian.AppendUint64(nil, uint64(i%500)<<32)), filler)
			})
		}
	})
	done := make(chan error, 1)
	go func() { done <- p.Scrub(ctx) }()
	select {
	case err := <-done:
		t.Errorf("it ended while a snapshot saw what was deleted: %v", err)
	default:
	}
	if err := before.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	close(stop)
	writers.Wait()
	for _, c := range canaries {
		if in := c.found(t, dir); len(in) > 0 {
			t.Errorf("%s is in %v", c.what, in)
		}
	}
	if _, release, ok, err := p.Get(store.AppendRecordKey(nil, 7, binary.BigEndian.AppendUint64(nil, 1000<<32))); err != nil || !ok {
		t.Errorf("a record that stays: %v, %v", ok, err)
	} else {
		_ = release.Close()
	}
}

// TestScrubWaitsForIterators: an iterator keeps files, and what they have.
func TestScrubWaitsForIterators(t *testing.T) {
	dir := t.TempDir()
	p, err := store.OpenPebble(store.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	c := newCanary("value")
	key := store.AppendRecordKey(nil, 7, []byte("some key"))
	write(t, p, func(b store.Batch) { b.Set(key, c.bytes) })
	if err := p.Flush(); err != nil {
		t.Fatal(err)
	}
	it, err := p.NewIter(key, nil)
	if err != nil || !it.First() {
		t.Fatal(err)
	}
	write(t, p, func(b store.Batch) { b.Delete(key) })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Scrub(ctx) }()
	cancel()
	if err := <-done; err == nil {
		t.Error("it ended well though an iterator holds a file")
	}
	if len(c.found(t, dir)) == 0 {
		t.Error("control: the file that the iterator holds has gone")
	}
	if err := it.Close(); err != nil {
		t.Fatal(err)
	}
	if err := p.Scrub(t.Context()); err != nil {
		t.Fatal(err)
	}
	if in := c.found(t, dir); len(in) > 0 {
		t.Errorf("it is in %v", in)
	}
}
