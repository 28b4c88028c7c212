package canary

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"

	"github.com/concordat-db/concordat/regionnode/store"
)

func pack(t *testing.T, w io.WriteCloser, b []byte) {
	t.Helper()
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// What is compressed is found in it, between other bytes and in each other, and not without.
func TestFrames(t *testing.T) {
	c := New(newRandom(t), Word, "it")
	text := []byte(strings.Repeat("The canary is here, said Alice. ", 40) + c.Bytes + strings.Repeat("It is not, said Bob. ", 40))
	for kind, writer := range map[Container]func(io.Writer) io.WriteCloser{
		Gzip: func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) },
		Zstd: func(w io.Writer) io.WriteCloser { z, _ := zstd.NewWriter(w); return z },
		S2:   func(w io.Writer) io.WriteCloser { return s2.NewWriter(w) },
	} {
		t.Run(string(kind), func(t *testing.T) {
			var once, twice bytes.Buffer
			pack(t, writer(&once), text)
			pack(t, gzip.NewWriter(&twice), once.Bytes())
			for _, b := range [][]byte{once.Bytes(), append([]byte("before"), once.Bytes()...), twice.Bytes()} {
				s, r := NewScanner(), NewReport()
				s.Add(c)
				s.Bytes(r, "here", b)
				if !r.Has("it", kind) {
					t.Errorf("found %v", r.Findings())
				}
			}
		})
	}
}

// fill writes values with the canary of the name to keys with the other one, among many that are like them.
func fill(t *testing.T, e store.Engine, random *rand.Rand, key, value Canary, size int) {
	t.Helper()
	b := e.NewBatch()
	for i := range 2000 {
		name, text := New(random, Word, "").Bytes, New(random, Word, "").Bytes
		if i == 1000 {
			name, text = key.Bytes, value.Bytes
		}
		// What is before it makes blocks keep parts of a key; what is around it makes them compress.
		b.Set([]byte("a prefix that all have/"+name+fmt.Sprint(i%2)), []byte(strings.Repeat("filling ", size/16)+text+strings.Repeat("filling ", size/16)))
	}
	wait, err := e.Apply(b)
	if err != nil {
		t.Fatal(err)
	}
	if err := wait(); err != nil {
		t.Fatal(err)
	}
}

// TestStreamValues: what is in records of change streams is found there, and what is in other values is not.
func TestStreamValues(t *testing.T) {
	random, s, dir := newRandom(t), NewScanner(), t.TempDir()
	told, other := New(random, Word, "told"), New(random, Word, "other")
	s.Add(told, other)
	e, err := store.OpenPebble(store.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	b := e.NewBatch()
	b.Delete(store.AppendStreamKey(nil, 1, 2, 3, 3))
	b.Set(store.AppendRecordKey(nil, 1, []byte("key")), []byte("one "+other.Bytes))
	b.Set(store.AppendStreamKey(nil, 1, 2, 3, 4), []byte("another "+told.Bytes))
	wait, err := e.Apply(b)
	if err == nil {
		err = errors.Join(wait(), e.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	r := NewReport()
	if err := s.Tree(r, dir); err != nil {
		t.Fatal(err)
	}
	if !r.Has("told", StreamValue) || r.Has("other", StreamValue) || !r.Has("other", WALRecord) {
		t.Errorf("found %v", r.Findings())
	}
}

// A store's files have what was put into it, in the form in which Pebble keeps it: in the log first, then in tables and blob files. It is not where it was not put.
func TestTreeOfStore(t *testing.T) {
	random := newRandom(t)
	s := NewScanner()
	small, smallKey := New(random, Word, "small value"), New(random, Word, "key of a small one")
	large, largeKey := New(random, Word, "large value"), New(random, Word, "key of a large one")
	s.Add(small, smallKey, large, largeKey, New(random, Word, "absent"))
	dir := t.TempDir()
	open := func(flushAt uint64) *store.Pebble {
		e, err := store.OpenPebble(store.Config{Dir: dir, MemTableBytes: flushAt})
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	scan := func() *Report {
		r := NewReport()
		if err := s.Tree(r, dir); err != nil {
			t.Fatal(err)
		}
		for _, u := range r.Unread() {
			t.Error(u)
		}
		return r
	}
	has := func(r *Report, name string, in ...Container) {
		t.Helper()
		for _, c := range in {
			if !r.Has(name, c) {
				t.Errorf("%s was not found in %s", name, c)
			}
		}
	}

	e := open(0)
	fill(t, e, random, smallKey, small, 64)
	fill(t, e, random, largeKey, large, 2048)
	r := scan() // while it runs
	for _, c := range []Canary{small, smallKey, large, largeKey} {
		has(r, c.Name, Plain, WALRecord)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e = open(0) // what was in the log goes into tables
	defer e.Close()
	r = scan()
	has(r, small.Name, SSTBlock)
	has(r, smallKey.Name, SSTKey)
	has(r, largeKey.Name, SSTKey)
	has(r, large.Name, BlobBlock)
	for _, in := range []Container{Plain, FileName, SSTKey, SSTBlock, BlobBlock, Manifest} {
		if r.Read(in) == 0 {
			t.Errorf("nothing was read of a %s", in)
		}
	}
	for _, f := range r.Findings() {
		if f.Canary == "absent" {
			t.Error(f)
		}
	}
}

// The bounds of a table are in the manifest.
func TestTreeOfManifest(t *testing.T) {
	random := newRandom(t)
	key := New(random, Word, "it")
	dir := t.TempDir()
	for range 2 { // the second time the log goes into a table
		e, err := store.OpenPebble(store.Config{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		b := e.NewBatch()
		b.Set([]byte(key.Bytes), []byte("value"))
		wait, err := e.Apply(b)
		if err == nil {
			err = wait()
		}
		if err == nil {
			err = e.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	s, r := NewScanner(), NewReport()
	s.Add(key)
	if err := s.Tree(r, dir); err != nil {
		t.Fatal(err)
	}
	if !r.Has("it", Manifest) {
		t.Errorf("found %v", r.Findings())
	}
}

// Names of files are searched, and what is no file of a store says so.
func TestTreeOfOther(t *testing.T) {
	c := New(newRandom(t), Word, "it")
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, c.Bytes), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"000007.sst", "000008.blob"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("no such file"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, r := NewScanner(), NewReport()
	s.Add(c)
	if err := s.Tree(r, dir); err != nil {
		t.Fatal(err)
	}
	if !r.Has("it", FileName) {
		t.Errorf("found %v", r.Findings())
	}
	if got := r.Unread(); len(got) != 2 {
		t.Errorf("unread: %v; want two files", got)
	}
}
