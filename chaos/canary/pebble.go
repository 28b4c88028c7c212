package canary

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/batchrepr"
	"github.com/cockroachdb/pebble/v2/record"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/sstable/blob"
	"github.com/cockroachdb/pebble/v2/sstable/block"
	"github.com/cockroachdb/pebble/v2/sstable/block/blockkind"
	"github.com/cockroachdb/pebble/v2/sstable/colblk"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/wal"

	"github.com/concordat-db/concordat/regionnode/store"
)

// Tree searches all files below dir: their names, their bytes, and those that are Pebble's as Pebble reads them, whether they are in use or not. A file that is gone meanwhile is left out; one that cannot be
// understood is in the report's Unread, among them those that a running store is writing. An error is one of the file system.
func (s *Scanner) Tree(r *Report, dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		s.only(r, FileName, path, []byte(d.Name()))
		if !d.Type().IsRegular() {
			return nil
		}
		return s.file(r, path)
	})
}

func (s *Scanner) file(r *Report, path string) error {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	s.Bytes(r, path, b)
	name := filepath.Base(path)
	switch {
	case strings.HasSuffix(name, ".sst"):
		err = s.sstable(r, path)
	case strings.HasSuffix(name, ".blob"):
		err = s.blobFile(r, path)
	case isLog(name):
		err = s.log(r, path)
	case strings.HasPrefix(name, "MANIFEST-"):
		err = s.records(r, Manifest, path, record.NewReader(bytes.NewReader(b), 0).Next)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.cannotRead(path, err)
	}
	return nil
}

func isLog(name string) bool {
	_, _, ok := wal.ParseLogFilename(name)
	return ok
}

// log searches the records of a write-ahead log.
func (s *Scanner) log(r *Report, path string) error {
	var files wal.FileAccumulator
	if _, err := files.MaybeAccumulate(vfs.Default, path); err != nil {
		return err
	}
	for _, l := range files.Finish() {
		reader := l.OpenForRead()
		err := s.records(r, WALRecord, path, func() (io.Reader, error) {
			next, _, err := reader.NextRecord()
			return next, err
		})
		if err = errors.Join(err, reader.Close()); err != nil {
			return err
		}
	}
	return nil
}

// records searches what next returns. What follows the last whole record is no error: a file that is written, allocated ahead, or used again ends so, and its bytes as they are have been searched.
func (s *Scanner) records(r *Report, in Container, path string, next func() (io.Reader, error)) error {
	for n := 0; ; n++ {
		var rec []byte
		part, err := next()
		if err == nil {
			rec, err = io.ReadAll(part)
		}
		switch {
		case err == nil:
			s.within(r, in, fmt.Sprintf("%s, record %d", path, n), rec, 0)
			if in == WALRecord {
				s.streamValues(r, path, rec)
			}
		case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || record.IsInvalidRecord(err):
			return nil
		default:
			return err
		}
	}
}

// streamValues searches the records of change streams in a batch: that they are gone through is to be seen from what is found in them where it may be. A batch that cannot be read has been searched as bytes.
func (s *Scanner) streamValues(r *Report, path string, batch []byte) {
	ops := batchrepr.Read(batch)
	for {
		kind, key, value, ok, err := ops.Next()
		if !ok || err != nil {
			return
		}
		if kind == pebble.InternalKeyKindSet && len(key) > 0 && store.Space(key[0]) == store.SpaceStream {
			s.only(r, StreamValue, path, value)
		}
	}
}

func open(path string) (*sstable.Reader, error) {
	f, err := vfs.Default.Open(path)
	if err != nil {
		return nil, err
	}
	readable, err := sstable.NewSimpleReadable(f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	r, err := sstable.NewReader(context.Background(), readable, readerOptions())
	if err != nil {
		return nil, errors.Join(err, readable.Close())
	}
	return r, nil
}

func readerOptions() sstable.ReaderOptions {
	o := &pebble.Options{}
	o.EnsureDefaults()
	return o.MakeReaderOptions()
}

// sstable searches the blocks of a table, decompressed, and its keys, of which blocks have parts.
func (s *Scanner) sstable(r *Report, path string) (err error) {
	table, err := open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, table.Close()) }()
	layout, err := table.Layout()
	if err != nil {
		return err
	}
	for _, h := range handles(layout) {
		if h.Length == 0 {
			continue
		}
		b, err := table.BlockReader().Read(context.Background(), block.NoReadEnv, nil, h, blockkind.Metadata, func(*block.Metadata, []byte) error { return nil })
		if err != nil {
			return fmt.Errorf("block at %d: %w", h.Offset, err)
		}
		s.within(r, SSTBlock, fmt.Sprintf("%s, block at %d", path, h.Offset), b.BlockData(), 0)
		b.Release()
	}
	keys, err := table.NewIter(sstable.NoTransforms, nil, nil, sstable.DebugHandlesBlobContext)
	if err != nil {
		return err
	}
	for kv := keys.First(); kv != nil; kv = keys.Next() {
		s.only(r, SSTKey, path, kv.K.UserKey)
	}
	return errors.Join(keys.Error(), keys.Close())
}

// handles are all blocks of a table but the footer, which has offsets only.
func handles(l *sstable.Layout) []block.Handle {
	all := append([]block.Handle{l.TopIndex, l.RangeDel, l.RangeKey, l.ValueIndex, l.Properties, l.MetaIndex, l.BlobReferenceIndex}, l.Index...)
	for _, d := range l.Data {
		all = append(all, d.Handle)
	}
	for _, f := range l.Filter {
		all = append(all, f.Handle)
	}
	return append(all, l.ValueBlock...)
}

// blobFile searches the blocks of values of a blob file, decompressed.
func (s *Scanner) blobFile(r *Report, path string) (err error) {
	f, err := vfs.Default.Open(path)
	if err != nil {
		return err
	}
	readable, err := sstable.NewSimpleReadable(f)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	ctx := context.Background()
	file, err := blob.NewFileReader(ctx, readable, blob.FileReaderOptions{ReaderOptions: readerOptions().ReaderOptions})
	if err != nil {
		return errors.Join(err, readable.Close())
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	index, err := file.ReadIndexBlock(ctx, block.NoReadEnv, nil)
	if err != nil {
		return err
	}
	defer index.Release()
	for _, h := range blobHandles(index.BlockData()) {
		b, err := file.ReadValueBlock(ctx, block.NoReadEnv, nil, h)
		if err != nil {
			return fmt.Errorf("block at %d: %w", h.Offset, err)
		}
		s.within(r, BlobBlock, fmt.Sprintf("%s, block at %d", path, h.Offset), b.BlockData(), 0)
		b.Release()
	}
	return nil
}

// The form of a blob file's index, which package blob keeps for itself: after four bytes, the second column has the offsets of the blocks and of the end of the last one.
const (
	blobIndexHeader  = 4
	blobIndexOffsets = 1
)

func blobHandles(index []byte) (all []block.Handle) {
	var d colblk.BlockDecoder
	d.Init(index, blobIndexHeader)
	offsets := colblk.DecodeColumn(&d, blobIndexOffsets, d.Rows()+1, colblk.DataTypeUint, colblk.DecodeUnsafeUints)
	for i := range d.Rows() {
		from, to := offsets.At(i), offsets.At(i+1)
		all = append(all, block.Handle{Offset: from, Length: to - from - block.TrailerLen})
	}
	return all
}
