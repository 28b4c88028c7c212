package store_test

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/concordat-db/concordat/regionnode/store"
)

var errDisk = errors.New("disk is broken")

// failingFS fails each write and sync of a file whose name ends in suffix, once switched on.
func failingFS(suffix string) (vfs.FS, *errorfs.Toggle) {
	toggle := &errorfs.Toggle{Injector: errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && strings.HasSuffix(op.Path, suffix) {
			return errDisk
		}
		return nil
	})}
	return errorfs.Wrap(vfs.NewMem(), toggle), toggle
}

func TestFailingLogIsFatal(t *testing.T) {
	fs, toggle := failingFS(".log")
	var mu sync.Mutex
	var fatal error
	p, err := store.OpenPebble(store.Config{Dir: "data", FS: fs, OnFatal: func(err error) {
		mu.Lock()
		defer mu.Unlock()
		fatal = errors.Join(fatal, err)
	}})
	if err != nil {
		t.Fatal(err)
	}
	write(t, p, func(b store.Batch) { b.Set([]byte("a"), nil) })
	toggle.On()
	b := p.NewBatch()
	b.Set([]byte("b"), nil)
	wait, err := p.Apply(b)
	if err == nil {
		err = wait()
	}
	if !errors.Is(err, errDisk) {
		t.Fatalf("the write ended with %v", err)
	}
	toggle.Off()
	_ = p.Close() // it has lost its log: what it says is of no interest
	mu.Lock()
	defer mu.Unlock()
	if !errors.Is(fatal, errDisk) {
		t.Fatalf("OnFatal got %v", fatal)
	}
}

// rotation is set in the process that TestFailingLogRotationIsFatal starts.
const rotation = "CONCORDAT_TEST_ROTATION"

// Pebble panics when it cannot end one log and begin the next, with a mutex open that is unlocked on the way out: nobody recovers from that. OnFatal hears of it before.
func TestFailingLogRotationIsFatal(t *testing.T) {
	kinds := map[string]errorfs.OpKind{"create": errorfs.OpCreate, "write": errorfs.OpFileWrite, "sync": errorfs.OpFileSyncData}
	if name := os.Getenv(rotation); name != "" {
		fillLogs(t, kinds[name])
		return
	}
	for name := range kinds {
		t.Run(name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()[:strings.IndexByte(t.Name(), '/')]+"$")
			cmd.Env = append(os.Environ(), rotation+"="+name)
			out, err := cmd.CombinedOutput()
			if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), "the store failed, stopping: store: write-ahead log: "+errDisk.Error()) {
				t.Errorf("the process ended with %v and said %s", err, out)
			}
		})
	}
}

// fillLogs writes more than one log holds to a store that has just failed for one kind of operation on logs, without waiting for the disk.
func fillLogs(t *testing.T, kind errorfs.OpKind) {
	toggle := &errorfs.Toggle{Injector: errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == kind && strings.HasSuffix(op.Path, ".log") {
			return errDisk
		}
		return nil
	})}
	p, err := store.OpenPebble(store.Config{Dir: "data", FS: errorfs.Wrap(vfs.NewMem(), toggle), MemTableBytes: 256 << 10})
	if err != nil {
		t.Fatal(err)
	}
	toggle.On()
	for i := range 8 {
		b := p.NewBatch()
		b.Set([]byte{byte(i)}, make([]byte, 128<<10))
		if _, err := p.Apply(b); err != nil {
			t.Fatal(err)
		}
	}
	t.Error("nothing failed")
}

// lockedFS is a file system on which another process holds every lock.
type lockedFS struct{ vfs.FS }

func (lockedFS) Lock(name string) (io.Closer, error) {
	return nil, &os.PathError{Op: "lock", Path: name, Err: syscall.EAGAIN}
}

func TestStoreInUse(t *testing.T) {
	_, err := store.OpenPebble(store.Config{Dir: "data", FS: lockedFS{vfs.NewMem()}})
	if !errors.Is(err, store.ErrInUse) || !strings.Contains(err.Error(), "data") {
		t.Errorf("a store that another process has open: %v", err)
	}
}

func TestFailingFlushIsFatal(t *testing.T) {
	fs, toggle := failingFS(".sst")
	fatal := make(chan error, 1)
	p, err := store.OpenPebble(store.Config{Dir: "data", FS: fs, MemTableBytes: 256 << 10, OnFatal: func(err error) {
		toggle.Off() // Pebble tries again: let it, so that it can be closed
		select {
		case fatal <- err:
		default:
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	toggle.On()
	for i := range 8 {
		write(t, p, func(b store.Batch) { b.Set([]byte{byte(i)}, make([]byte, 128<<10)) })
	}
	if err := <-fatal; !errors.Is(err, errDisk) {
		t.Fatalf("OnFatal got %v", err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestConfig(t *testing.T) {
	_, err := store.OpenPebble(store.Config{CacheBytes: -1, MemTableBytes: 4 << 30})
	for _, want := range []string{"no directory", "cache of -1", "write buffer"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not tell of %q", err, want)
		}
	}
}

func TestDirectoryIsLocked(t *testing.T) {
	c := store.Config{Dir: t.TempDir()}
	p, err := store.OpenPebble(c)
	if err != nil {
		t.Fatal(err)
	}
	if q, err := store.OpenPebble(c); err == nil {
		_ = q.Close()
		t.Error("two engines opened one directory")
	}
	write(t, p, func(b store.Batch) { b.Set([]byte("k"), []byte("v")) })
	if m := p.Metrics(); m.WALWritten == 0 || m.DiskBytes == 0 {
		t.Errorf("metrics: %+v", m)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if p, err = store.OpenPebble(c); err != nil {
		t.Fatal(err)
	}
	expect(t, "after a restart", dump(t, p, nil, nil), "k=v")
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
}
