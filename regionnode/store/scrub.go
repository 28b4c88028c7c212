package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// # Erasing
//
// A key that was deleted is still in the store's files, and so is a value that was written over: in tables until a compaction drops it, in blob files until nothing refers to any value of theirs, in write-ahead
// logs that are kept to be written over, in the MANIFEST, which has the first and last key of each table, also of those that are gone. Scrub takes care that a file that may have had such bytes is no more:
//
//	wait        for snapshots that still see what was deleted
//	flush       what is in memory only
//	compact     everything, down to the last level. A range key over all keys, itself deleted, makes every table of every level take part, whatever has been written to its keys; values go to new blob files
//	roll        flush a few times: a new write-ahead log each time, made anew, and at last a new MANIFEST
//	wait        until every file from before is gone, and every one that came and went meanwhile. Open iterators keep some
//
// So it is not the places of single keys that are looked for, which would have to be known, but files: a file is either new or gone.

// views counts open snapshots by when they were made, so that one can wait for those that were there already.
type views struct {
	mu    sync.Mutex
	now   uint64
	open  map[uint64]int // by the time at which they were made
	ended chan struct{}  // closed when one made before now ends; nil: nobody waits
}

func (v *views) begin() (made uint64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.open == nil {
		v.open = map[uint64]int{}
	}
	v.open[v.now]++
	return v.now
}

func (v *views) end(made uint64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.open[made]--; v.open[made] == 0 {
		delete(v.open, made)
		if v.ended != nil {
			close(v.ended)
			v.ended = nil
		}
	}
}

// wait returns when all that were open when it was called have ended.
func (v *views) wait(ctx context.Context) error {
	v.mu.Lock()
	until := v.now
	v.now++
	v.mu.Unlock()
	for {
		v.mu.Lock()
		older := false
		for made := range v.open {
			older = older || made <= until
		}
		if !older {
			v.mu.Unlock()
			return nil
		}
		if v.ended == nil {
			v.ended = make(chan struct{})
		}
		ended := v.ended
		v.mu.Unlock()
		select {
		case <-ended:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// files tells when a file of the store was deleted.
type files struct {
	mu   sync.Mutex
	gone chan struct{} // closed at the next deletion
}

func (f *files) deleted() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.gone != nil {
		close(f.gone)
		f.gone = nil
	}
}

func (f *files) next() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.gone == nil {
		f.gone = make(chan struct{})
	}
	return f.gone
}

// listen has l tell f of deletions.
func (f *files) listen(l *pebble.EventListener) {
	table, blob, wal, manifest := l.TableDeleted, l.BlobFileDeleted, l.WALDeleted, l.ManifestDeleted
	l.TableDeleted = func(i pebble.TableDeleteInfo) { call(table, i); f.deleted() }
	l.BlobFileDeleted = func(i pebble.BlobFileDeleteInfo) { call(blob, i); f.deleted() }
	l.WALDeleted = func(i pebble.WALDeleteInfo) { call(wal, i); f.deleted() }
	l.ManifestDeleted = func(i pebble.ManifestDeleteInfo) { call(manifest, i); f.deleted() }
}

func call[T any](f func(T), i T) {
	if f != nil {
		f(i)
	}
}

const (
	// patience is how long Scrub waits to be told of a deletion before it looks again: an iterator that is closed need not lead to one.
	patience = 200 * time.Millisecond
	// maxRolls bounds the flushes of one Scrub. A MANIFEST is replaced when as many tables have come and gone as there are.
	maxRolls = 1 << 16
)

// Scrub returns when no file of the store has a byte of a key that was deleted, or of a value that was written over or deleted, by a batch that was durable when it was called: it rewrites the store, while it is in use. It takes as long as reading and writing all of it,
// about, and needs as much disk space again for a while. One is done after the other. Iterators and snapshots that are open delay it. An error, which is ctx's too, means that nothing is known; it can be called again.
func (p *Pebble) Scrub(ctx context.Context) error {
	if plantedScrub {
		return nil
	}
	select {
	case p.scrub <- struct{}{}:
		defer func() { <-p.scrub }()
	case <-ctx.Done():
		return ctx.Err()
	}
	p.anew.Store(true)
	defer p.anew.Store(false)
	if err := p.scrubOnce(ctx); err != nil {
		return fmt.Errorf("store: scrub: %w", err)
	}
	return nil
}

func (p *Pebble) scrubOnce(ctx context.Context) error {
	if err := p.views.wait(ctx); err != nil {
		return err
	}
	if err := p.db.Flush(); err != nil {
		return err
	}
	doomed, err := p.list(nil)
	if err != nil {
		return err
	}
	first, last := []byte{0}, []byte{0xff}
	if err := p.db.RangeKeyDelete(first, last, pebble.Sync); err != nil {
		return err
	}
	if err := p.db.Flush(); err != nil {
		return err
	}
	if err := p.db.Compact(ctx, first, last, false); err != nil {
		return err
	}
	// What has come up to here and is gone again may have had what was dropped on the way down.
	passing, err := p.list(func(name string) bool { return kindOf(name) == tableFile || kindOf(name) == blobFile })
	if err != nil {
		return err
	}
	manifests, err := p.list(func(name string) bool { return kindOf(name) == manifestFile })
	if err != nil {
		return err
	}
	for name := range manifests {
		doomed[name] = true
	}
	return p.roll(ctx, doomed, passing)
}

// roll flushes until no file of doomed is there any more, and waits until those of passing are in use, or gone.
func (p *Pebble) roll(ctx context.Context, doomed, passing map[string]bool) error {
	for n := range maxRolls {
		gone := p.files.next()
		logs, rest, err := p.remaining(doomed, passing)
		switch {
		case err != nil:
			return err
		case logs == 0 && rest == 0:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case logs > 0:
			if err := p.db.Set(AppendMetaKey(nil, MetaRoll), binary.BigEndian.AppendUint64(nil, uint64(n)), pebble.Sync); err != nil {
				return err
			}
			if err := p.db.Flush(); err != nil {
				return err
			}
			continue
		}
		select {
		case <-gone:
		case <-ctx.Done():
		case <-time.After(patience):
		}
	}
	return errors.New("old files do not go")
}

// remaining counts the files that have to go and are there: write-ahead logs and MANIFESTs, which a flush may replace, and others.
func (p *Pebble) remaining(doomed, passing map[string]bool) (logs, rest int, err error) {
	there, err := p.list(nil)
	if err != nil {
		return 0, 0, err
	}
	live, err := p.live()
	if err != nil {
		return 0, 0, err
	}
	for name := range there {
		switch {
		case doomed[name] && (kindOf(name) == walFile || kindOf(name) == manifestFile):
			logs++
		case doomed[name], passing[name] && !live[numberOf(name)]:
			rest++
		}
	}
	return logs, rest, nil
}

// live returns the numbers of the tables in use, and of the blob files that they refer to. While a Scrub runs no blob file is rewritten, so those that it has made have the numbers by which tables know them.
func (p *Pebble) live() (map[uint64]bool, error) {
	levels, err := p.db.SSTables()
	if err != nil {
		return nil, err
	}
	live := map[uint64]bool{}
	for _, level := range levels {
		for i := range level {
			live[uint64(level[i].BackingSSTNum)] = true
			for _, blob := range level[i].GetBlobReferenceFiles() {
				live[uint64(blob)] = true
			}
		}
	}
	return live, nil
}

// list returns the names of the files that may have keys or values, of the kinds that want wants; nil: all.
func (p *Pebble) list(want func(name string) bool) (map[string]bool, error) {
	names, err := p.fs.List(p.dir)
	if err != nil {
		return nil, err
	}
	out := map[string]bool{}
	for _, name := range names {
		if kindOf(name) != otherFile && (want == nil || want(name)) {
			out[name] = true
		}
	}
	return out, nil
}

// fileKind is what a file of the store is, by its name.
type fileKind uint8

const (
	otherFile fileKind = iota // without keys and values: LOCK, OPTIONS, markers
	tableFile
	blobFile
	walFile
	manifestFile
)

func kindOf(name string) fileKind {
	switch {
	case strings.HasSuffix(name, ".sst"):
		return tableFile
	case strings.HasSuffix(name, ".blob"):
		return blobFile
	case strings.HasSuffix(name, ".log"):
		return walFile
	case strings.HasPrefix(name, "MANIFEST-"):
		return manifestFile
	}
	return otherFile
}

// numberOf returns the number in a file's name; 0 if there is none.
func numberOf(name string) uint64 {
	digits, _, _ := strings.Cut(name, ".")
	n, _ := strconv.ParseUint(digits, 10, 64)
	return n
}
