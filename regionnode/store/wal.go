package store

import (
	"fmt"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// walFS is the file system under Pebble. It tells of write-ahead logs that cannot be written before Pebble hears of it: Pebble panics then where it holds locks, and in some
// places with a mutex open that the way out unlocks, which ends the process without a word of ours. And it can be told to make logs anew instead of writing over old ones.
type walFS struct {
	vfs.FS
	anew  *atomic.Bool
	fatal func(error)
}

// Create implements vfs.FS.
func (w walFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := w.FS.Create(name, category)
	return w.wrap(name, f, err)
}

// ReuseForWrite implements vfs.FS. Pebble calls it for write-ahead logs.
func (w walFS) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if !w.anew.Load() {
		f, err := w.FS.ReuseForWrite(oldname, newname, category)
		return w.wrap(newname, f, err)
	}
	if err := w.FS.Remove(oldname); err != nil {
		return nil, w.failed(err)
	}
	return w.Create(newname, category)
}

// Unwrap implements vfs.FS.
func (w walFS) Unwrap() vfs.FS { return w.FS }

func (w walFS) wrap(name string, f vfs.File, err error) (vfs.File, error) {
	switch {
	case kindOf(name) != walFile:
		return f, err
	case err != nil:
		return nil, w.failed(err)
	}
	return walLog{f, w}, nil
}

// failed tells of an error, if err is one, and returns it.
func (w walFS) failed(err error) error {
	if err != nil {
		w.fatal(fmt.Errorf("store: write-ahead log: %w", err))
	}
	return err
}

// walLog is a write-ahead log that is being written.
type walLog struct {
	vfs.File
	fs walFS
}

func (l walLog) Write(p []byte) (int, error) {
	n, err := l.File.Write(p)
	return n, l.fs.failed(err)
}

func (l walLog) SyncTo(length int64) (fullSync bool, err error) {
	fullSync, err = l.File.SyncTo(length)
	return fullSync, l.fs.failed(err)
}

func (l walLog) Sync() error     { return l.fs.failed(l.File.Sync()) }
func (l walLog) SyncData() error { return l.fs.failed(l.File.SyncData()) }
func (l walLog) Close() error    { return l.fs.failed(l.File.Close()) }
