package store

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Config says where and how a Pebble engine keeps its data. Zero numbers mean the defaults.
type Config struct {
	Dir           string // made if it does not exist
	FS            vfs.FS // nil: the machine's
	CacheBytes    int64  // block cache; 128 MB
	MemTableBytes uint64 // write buffer before a flush; 64 MB. One or two are in use, up to four while flushes lag
	Logger        Logger // nil: Pebble's own messages are dropped
	// Listener gets Pebble's events, for metrics. Its BackgroundError is called before OnFatal.
	Listener *pebble.EventListener
	// OnFatal is called when the disk fails, perhaps from several goroutines, at least once. Nothing written after the first failure is durable, and
	// Pebble may block for ever: the process has to end. Where OnFatal returns, Pebble may panic before it has. nil: the process ends with status 1 and the error on stderr.
	OnFatal func(error)
}

// Logger takes Pebble's messages. They carry file names and sizes, never keys or values.
type Logger interface {
	Infof(format string, args ...any)
	Errorf(format string, args ...any)
}

const (
	defaultCacheBytes    = 128 << 20
	defaultMemTableBytes = 64 << 20
	maxMemTableBytes     = 1 << 30

	// separateFrom is the length in bytes from which values live in blob files, which compactions do not rewrite: groups in the log
	// and all but small items. With it at 2 KiB, puts of 1 KiB replicated between two regions wrote half as much again to disk, and took a fifth more processor
	// time, in compactions; gets took 7 percent less.
	separateFrom = 512
	// blobRewriteAge lets a log entry be trimmed before its blob file is considered for rewriting.
	blobRewriteAge = 5 * time.Minute
	// syncBytes bounds what one sync of a file has left to write: latency stays flat while Pebble flushes and compacts.
	syncBytes = 512 << 10
	// slowDisk is how long one disk operation may take before the listener hears of it.
	slowDisk = 5 * time.Second
)

// Validate reports all faults at once.
func (c *Config) Validate() error {
	var errs []error
	if c.Dir == "" {
		errs = append(errs, errors.New("store: no directory"))
	}
	if c.CacheBytes < 0 {
		errs = append(errs, fmt.Errorf("store: cache of %d bytes", c.CacheBytes))
	}
	if c.MemTableBytes > maxMemTableBytes {
		errs = append(errs, fmt.Errorf("store: write buffer of %d bytes: at most %d", c.MemTableBytes, maxMemTableBytes))
	}
	return errors.Join(errs...)
}

// Pebble is the engine on disk. It fails stop: a write that the disk refuses ends in Config.OnFatal.
type Pebble struct {
	db    *pebble.DB
	fatal func(error)
	watch io.Closer // of the file system's health checks

	dir   string
	fs    vfs.FS
	views views
	files files
	scrub chan struct{} // holds a token while a Scrub runs
	anew  atomic.Bool   // one runs: values go to new blob files, and logs to new files
}

// ErrInUse is returned by OpenPebble when another process has the store open.
var ErrInUse = errors.New("another process is using it")

// OpenPebble opens the store in c.Dir, or makes it. The directory is locked against other processes.
func OpenPebble(c Config) (*Pebble, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if c.OnFatal == nil {
		c.OnFatal = exit
	}
	p := &Pebble{fatal: c.OnFatal, watch: io.NopCloser(nil), dir: c.Dir, scrub: make(chan struct{}, 1)}
	o := options(&c)
	if c.FS == nil {
		// Pebble would do the same, but forget the watching goroutine when it cannot open.
		o.FS, p.watch = vfs.WithDiskHealthChecks(vfs.Default, slowDisk, nil, func(i vfs.DiskSlowInfo) { o.EventListener.DiskSlow(i) })
	}
	p.fs = o.FS
	o.FS = walFS{o.FS, &p.anew, p.fatal}
	o.Experimental.ValueSeparationPolicy = p.separation
	o.EventListener.EnsureDefaults(o.Logger)
	p.files.listen(o.EventListener)
	var err error
	if p.db, err = pebble.Open(c.Dir, o); err != nil {
		if errors.Is(err, syscall.EAGAIN) { // what the kernel calls a lock that another process has
			err = ErrInUse
		}
		return nil, errors.Join(fmt.Errorf("store: open %s: %w", c.Dir, err), p.watch.Close())
	}
	return p, nil
}

func exit(err error) {
	fmt.Fprintln(os.Stderr, "concordat: the store failed, stopping:", err)
	os.Exit(1)
}

// options is tuned for two to eight cores and group commit: few, large flushes, one or two compactions, filters on every level (which a Get does not use on the last one).
func options(c *Config) *pebble.Options {
	o := &pebble.Options{
		FS:                          c.FS,
		CacheSize:                   c.CacheBytes,
		MemTableSize:                c.MemTableBytes,
		FormatMajorVersion:          pebble.FormatNewest,
		Logger:                      &logger{out: c.Logger, fatal: c.OnFatal},
		MemTableStopWritesThreshold: 4,
		L0CompactionThreshold:       2,
		L0StopWritesThreshold:       32,
		// A MANIFEST is replaced as soon as more tables have come and gone than there are, so that Scrub can have it replaced. It is small, and few tables come and go.
		MaxManifestFileSize:        1,
		LBaseMaxBytes:              64 << 20,
		BytesPerSync:               syncBytes,
		WALBytesPerSync:            syncBytes,
		CompactionConcurrencyRange: func() (lower, upper int) { return 1, max(1, runtime.GOMAXPROCS(0)/2) },
	}
	if o.CacheSize == 0 {
		o.CacheSize = defaultCacheBytes
	}
	if o.MemTableSize == 0 {
		o.MemTableSize = defaultMemTableBytes
	}
	// Pebble takes its write buffers out of the cache. Without this, two of them would leave nothing: in a profile of puts a third of all time
	// went into reading the same index blocks again.
	o.CacheSize += 2 * int64(o.MemTableSize)
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	var l pebble.EventListener
	if c.Listener != nil {
		l = *c.Listener
	}
	background, fatal := l.BackgroundError, c.OnFatal
	l.BackgroundError = func(err error) {
		if background != nil {
			background(err)
		}
		// Pebble would try again at once and for ever, and stall writers without an error.
		fatal(fmt.Errorf("store: background: %w", err))
	}
	o.EventListener = &l
	return o
}

// separation says where values lie. While a Scrub runs no compaction leaves one in its blob file.
func (p *Pebble) separation() pebble.ValueSeparationPolicy {
	policy := pebble.ValueSeparationPolicy{
		Enabled:               true,
		MinimumSize:           separateFrom,
		MaxBlobReferenceDepth: 10,
		RewriteMinimumAge:     blobRewriteAge,
		TargetGarbageRatio:    0.3,
	}
	if p.anew.Load() {
		policy.MaxBlobReferenceDepth, policy.TargetGarbageRatio = 0, 1
	}
	return policy
}

// logger passes messages on and turns Pebble's fatal ones into OnFatal.
type logger struct {
	out   Logger
	fatal func(error)
}

func (l *logger) Infof(format string, args ...any) {
	if l.out != nil {
		l.out.Infof(format, args...)
	}
}

func (l *logger) Errorf(format string, args ...any) {
	if l.out != nil {
		l.out.Errorf(format, args...)
	}
}

func (l *logger) Fatalf(format string, args ...any) {
	l.fatal(fmt.Errorf("store: "+format, args...))
}

// Get implements Reader.
func (p *Pebble) Get(key []byte) ([]byte, io.Closer, bool, error) { return get(p.db, key) }

func get(r pebble.Reader, key []byte) ([]byte, io.Closer, bool, error) {
	value, release, err := r.Get(key)
	if err == nil {
		return value, release, true, nil
	}
	if errors.Is(err, pebble.ErrNotFound) {
		err = nil
	}
	return nil, nil, false, err
}

// NewIter implements Reader.
func (p *Pebble) NewIter(lower, upper []byte) (Iterator, error) { return newIter(p.db, lower, upper) }

func newIter(r pebble.Reader, lower, upper []byte) (Iterator, error) {
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return nil, err
	}
	return iterator{it}, nil
}

// iterator adapts a Pebble iterator.
type iterator struct{ *pebble.Iterator }

func (it iterator) Value() ([]byte, error) { return it.ValueAndErr() }

// NewBatch implements Engine.
func (p *Pebble) NewBatch() Batch {
	b := batches.Get().(*pebbleBatch)
	b.Batch, b.engine = p.db.NewBatch(), p
	return b
}

// batches keeps the adapters; Pebble pools its batches itself.
var batches = sync.Pool{New: func() any { return new(pebbleBatch) }}

// pebbleBatch adapts a Pebble batch. Its operations cannot fail: Pebble reports an error only for batches of the wrong kind.
type pebbleBatch struct {
	*pebble.Batch
	engine *Pebble
}

func (b *pebbleBatch) Set(key, value []byte)       { _ = b.Batch.Set(key, value, nil) }
func (b *pebbleBatch) Delete(key []byte)           { _ = b.Batch.Delete(key, nil) }
func (b *pebbleBatch) DeleteRange(from, to []byte) { _ = b.Batch.DeleteRange(from, to, nil) }
func (b *pebbleBatch) Discard()                    { _ = b.close() }

func (b *pebbleBatch) close() error {
	err := b.Batch.Close()
	b.Batch, b.engine = nil, nil
	batches.Put(b)
	return err
}

// Apply implements Engine.
func (p *Pebble) Apply(b Batch) (wait func() error, err error) {
	pb := b.(*pebbleBatch)
	if err := p.apply(pb.Batch); err != nil {
		err = fmt.Errorf("store: apply: %w", err)
		p.fatal(err)
		return nil, err
	}
	return pb.wait, nil
}

// apply gives a batch to Pebble, which panics where its log cannot be written: on a full disk, for one. It is stopped by that as by any other failure of the disk, and may
// never answer again.
func (p *Pebble) apply(b *pebble.Batch) (err error) {
	defer func() {
		if r := recover(); r != nil {
			cause, ok := r.(error)
			if _, bug := r.(runtime.Error); bug || !ok {
				panic(r)
			}
			err = cause
		}
	}()
	return p.db.ApplyNoSyncWait(b, pebble.Sync)
}

func (b *pebbleBatch) wait() error {
	if err := b.SyncWait(); err != nil {
		err = fmt.Errorf("store: sync: %w", err)
		b.engine.fatal(err)
		return err
	}
	return b.close()
}

// NewSnapshot implements Engine.
func (p *Pebble) NewSnapshot() Snapshot {
	made := p.views.begin()
	return &snapshot{p.db.NewSnapshot(), p, made}
}

type snapshot struct {
	s      *pebble.Snapshot
	engine *Pebble
	made   uint64
}

func (s *snapshot) Get(key []byte) ([]byte, io.Closer, bool, error) { return get(s.s, key) }
func (s *snapshot) NewIter(lower, upper []byte) (Iterator, error)   { return newIter(s.s, lower, upper) }
func (s *snapshot) Close() error {
	defer s.engine.views.end(s.made)
	return s.s.Close()
}

// Size implements Engine.
func (p *Pebble) Size(lower, upper []byte) (uint64, error) {
	return p.db.EstimateDiskUsage(lower, upper)
}

// Close implements Engine.
func (p *Pebble) Close() error { return errors.Join(p.db.Close(), p.watch.Close()) }

// Metrics is what an operator looks at first.
type Metrics struct {
	DiskBytes      uint64 // all files
	MemTableBytes  uint64
	WALBytes       uint64 // live
	WALWritten     uint64 // since the start
	FlushWritten   uint64 // since the start, blob files included
	CompactWritten uint64 // since the start, blob files included
	CompactionDebt uint64 // bytes that compactions have yet to rewrite
	L0Sublevels    int32  // high: reads are slow; at 32 writes stop
	CacheHits      int64
	CacheMisses    int64
	ReadLevels     int // levels that a read may look at
}

// Metrics returns the engine's metrics.
func (p *Pebble) Metrics() Metrics {
	m := p.db.Metrics()
	total := m.Total()
	return Metrics{
		DiskBytes:      m.DiskSpaceUsage(),
		MemTableBytes:  m.MemTable.Size,
		WALBytes:       m.WAL.Size,
		WALWritten:     m.WAL.BytesWritten,
		FlushWritten:   total.TableBytesFlushed + total.BlobBytesFlushed,
		CompactWritten: total.TableBytesCompacted + total.BlobBytesCompacted,
		CompactionDebt: m.Compact.EstimatedDebt,
		L0Sublevels:    m.Levels[0].Sublevels,
		CacheHits:      m.BlockCache.Hits,
		CacheMisses:    m.BlockCache.Misses,
		ReadLevels:     m.ReadAmp(),
	}
}

var _ Engine = (*Pebble)(nil)
