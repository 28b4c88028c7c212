package commit

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode/store"
)

func openPebble(t testing.TB, fs vfs.FS) *store.Pebble {
	t.Helper()
	p, err := store.OpenPebble(store.Config{Dir: "data", FS: fs, MemTableBytes: 256 << 10, CacheBytes: 1 << 20, OnFatal: func(err error) {
		t.Errorf("fatal: %v", err)
	}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestCrashOnPebble cuts the power at random moments under load: I20, and every acknowledged write is there.
func TestCrashOnPebble(t *testing.T) {
	fs := vfs.NewCrashableMem()
	engine := openPebble(t, fs)
	f := start(t, engine)
	var acked [4]atomic.Int64
	var position atomic.Uint64
	ctx, cancel := context.WithCancel(background)
	var writers sync.WaitGroup
	for w := range acked {
		writers.Go(func() {
			for n := int64(1); ctx.Err() == nil; n++ {
				if err := f.Write(background, counted(w, n)); err != nil {
					t.Errorf("write: %v", err)
					return
				}
				acked[w].Store(n)
			}
		})
	}
	writers.Go(func() {
		o := newOrigin(peer, withPeer.Lane())
		for ctx.Err() == nil {
			pk := fmt.Sprint("r", o.at.Seq+1)
			o.clock = max(o.clock, hlc.FromTime(time.Now()))
			if _, err := f.ApplyRemote(background, o.remote([]conflict.Change{o.changeOf(tableA, pk, pk)})); err != nil {
				t.Errorf("remote: %v", err)
				return
			}
			position.Store(o.at.Seq)
		}
	})
	rng := rand.New(rand.NewPCG(3, 4))
	for round := range 12 {
		for acked[0].Load() < int64(round*20) {
			if _, err := f.Heads(background); err != nil { // a round trip through the shard
				t.Fatal(err)
			}
		}
		var least [4]int64
		for w := range acked {
			least[w] = acked[w].Load()
		}
		at := position.Load()
		clone := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})
		checkCrashed(t, clone, least, at)
	}
	cancel()
	writers.Wait()
	f.must(f.stop())
	checkStore(t, engine, ownRecords)
	f.must(engine.Close())
}

// counted writes n to a key of each table.
func counted(writer int, n int64) *Write {
	pk := fmt.Sprint("w", writer)
	tx := always(putOps(value(pk, fmt.Sprint(n, " ", strings.Repeat("x", 500)))), keyOf(tableA, pk), keyOf(tableB, pk))
	tx.Transaction = true
	return tx
}

func checkCrashed(t *testing.T, fs vfs.FS, least [4]int64, at uint64) {
	t.Helper()
	engine := openPebble(t, fs)
	defer engine.Close()
	g := open(t, engine)
	checkStore(t, engine, ownRecords)
	for w, n := range least {
		a, b := g.get(tableA, fmt.Sprint("w", w)), g.get(tableB, fmt.Sprint("w", w))
		if a != b {
			t.Fatalf("half a transaction: %.9q and %.9q", a, b)
		}
		if got, _, _ := strings.Cut(a, " "); n > 0 {
			if got, err := strconv.ParseInt(got, 10, 64); err != nil || got < n {
				t.Fatalf("writer %d has %d after a crash, %d was acknowledged", w, got, n)
			}
		}
	}
	p := g.Position(newOrigin(peer, withPeer.Lane()).source)
	if p.Seq < at {
		t.Fatalf("position %d after a crash, %d was acknowledged", p.Seq, at)
	}
	for seq := uint64(1); seq <= p.Seq+1; seq++ {
		if there := g.get(tableA, fmt.Sprint("r", seq)) != ""; there != (seq <= p.Seq) {
			t.Fatalf("position %d, change %d is there: %v", p.Seq, seq, there)
		}
	}
}

func TestFailingDiskStopsTheShard(t *testing.T) {
	broken := errors.New("disk is broken")
	toggle := &errorfs.Toggle{Injector: errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && strings.HasSuffix(op.Path, ".log") {
			return broken
		}
		return nil
	})}
	var engineFatal, shardFatal atomic.Int64
	engine, err := store.OpenPebble(store.Config{Dir: "data", FS: errorfs.Wrap(vfs.NewMem(), toggle), OnFatal: func(error) { engineFatal.Add(1) }})
	if err != nil {
		t.Fatal(err)
	}
	f := start(t, engine, func(c *Config) { c.Events.Fatal = func(error) { shardFatal.Add(1) } })
	f.must(f.Write(background, put(tableA, "k", "1")))
	toggle.On()
	expectKind(t, f.Write(background, put(tableA, "k", "2")), globaltable.Unknown)
	if err := f.stop(); !errors.Is(err, broken) {
		t.Fatalf("Run returned %v", err)
	}
	if engineFatal.Load() == 0 || shardFatal.Load() != 1 {
		t.Fatalf("fatal callbacks: engine %d, shard %d", engineFatal.Load(), shardFatal.Load())
	}
	toggle.Off()
	_ = engine.Close() // it has lost its log: what it says is of no interest
}

// TestCancellations gives up writes at random moments: what the answer says is what is in the store.
func TestCancellations(t *testing.T) {
	engine := openPebble(t, vfs.NewMem())
	f := start(t, engine, func(c *Config) { c.MaxGroups, c.MaxQueue = 1, 16 })
	var mu sync.Mutex
	kinds := map[globaltable.Kind]int{}
	var clients sync.WaitGroup
	for client := range 8 {
		clients.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(client), 5))
			for i := range 200 {
				// Half of the writes meet others at one key's latch.
				pk := fmt.Sprint(client, ".", i)
				ctx, cancel := context.WithCancel(background)
				write := always(putOps(value(pk, "v")), keyOf(tableA, pk), keyOf(tableA, "shared"))
				if i%2 == 0 {
					write.Keys = write.Keys[:1]
				}
				answer := async(func() error { return f.Write(ctx, write) })
				for range rng.IntN(200) {
					runtime.Gosched()
				}
				cancel()
				err := <-answer
				there := f.get(tableA, pk) != ""
				if err == nil && !there || err != nil && globaltable.KindOf(err) != globaltable.Unknown && there {
					t.Errorf("there: %v, answer: %v", there, err)
				}
				mu.Lock()
				if err != nil {
					kinds[globaltable.KindOf(err)]++
				}
				mu.Unlock()
			}
		})
	}
	clients.Wait()
	f.must(f.Write(background, put(tableA, "shared", "last"))) // no latch is left
	f.must(f.stop())
	for k := range kinds {
		if k != globaltable.Unknown && k != globaltable.Unavailable && k != globaltable.LimitExceeded {
			t.Errorf("an answer of kind %q", k)
		}
	}
	checkStore(t, engine, allRecords)
	f.must(engine.Close())
}

// registers is porcupine's model of keys with put, read and put-if-equal.
type registerInput struct {
	key      string
	kind     int // 0 read, 1 put, 2 put if equal
	value    string
	expected string
}

type registerOutput struct {
	value string // read
	done  bool   // put if equal
}

var registers = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byKey := map[string][]porcupine.Operation{}
		for _, op := range history {
			k := op.Input.(registerInput).key
			byKey[k] = append(byKey[k], op)
		}
		var out [][]porcupine.Operation
		for _, ops := range byKey {
			out = append(out, ops)
		}
		return out
	},
	Init: func() any { return "" },
	Step: func(state, input, output any) (bool, any) {
		in, out := input.(registerInput), output.(registerOutput)
		switch in.kind {
		case 0:
			return out.value == state.(string), state
		case 1:
			return true, in.value
		}
		if (state.(string) == in.expected) != out.done {
			return false, state
		}
		if out.done {
			return true, in.value
		}
		return true, state
	},
}

// operate does one operation on the shard.
func operate(f *fixture, in registerInput) (registerOutput, error) {
	key := keyOf(tableA, in.key)
	var out registerOutput
	switch in.kind {
	case 0:
		err := f.Get(background, key, func(c Current) error { out.value = valueOf(c.Item); return nil })
		return out, err
	case 1:
		return out, f.Write(background, put(tableA, in.key, in.value))
	}
	unequal := errors.New("unequal")
	err := f.Write(background, &Write{Keys: []Key{key}, Plan: func(c []Current) ([][]conflict.Op, error) {
		if valueOf(c[0].Item) != in.expected {
			return nil, unequal
		}
		return [][]conflict.Op{putOps(value(in.key, in.value))}, nil
	}})
	if errors.Is(err, unequal) {
		return out, nil
	}
	out.done = err == nil
	return out, err
}

// TestLinearizable is I1 on a few hot keys.
func TestLinearizable(t *testing.T) {
	engine := openPebble(t, vfs.NewMem())
	f := start(t, engine)
	var mu sync.Mutex
	var history []porcupine.Operation
	var clients sync.WaitGroup
	begin := time.Now()
	for client := range 8 {
		clients.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(client), 9))
			for i := range 150 {
				in := registerInput{key: fmt.Sprint("k", rng.IntN(3)), kind: rng.IntN(3), value: fmt.Sprint(client, ".", i)}
				if in.kind == 2 {
					// What is there now, as far as anybody knows: half of these succeed.
					now, err := operate(f, registerInput{key: in.key})
					if err != nil {
						t.Error(err)
					}
					in.expected = now.value
				}
				call := time.Since(begin)
				out, err := operate(f, in)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				history = append(history, porcupine.Operation{ClientId: client, Input: in, Call: int64(call), Output: out, Return: int64(time.Since(begin))})
				mu.Unlock()
			}
		})
	}
	clients.Wait()
	if !porcupine.CheckOperations(registers, history) {
		t.Error("the history is not linearizable")
	}
	// The checker itself: one read that nobody wrote has to be found.
	for i := range history {
		if in := history[i].Input.(registerInput); in.kind == 0 {
			history[i].Output = registerOutput{value: "planted"}
			break
		}
	}
	if porcupine.CheckOperations(registers, history) {
		t.Error("a planted bad read was not found")
	}
	f.must(f.stop())
	checkStore(t, engine, allRecords)
	f.must(engine.Close())
}
