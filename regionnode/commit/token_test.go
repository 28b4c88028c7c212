package commit

import (
	"encoding/hex"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode/store"
)

// once is w as a transaction that is done once.
func once(w *Write, id, content byte) *Write {
	w.Transaction, w.Token = true, &Token{ID: [16]byte{id}, Content: [32]byte{content}}
	return w
}

// onWall gives a shard a clock that is set by hand.
func onWall(w *wall) func(*Config) {
	return func(c *Config) { c.Clock = hlc.NewClock(w.now, 0) }
}

func TestATokenIsUsedOnce(t *testing.T) {
	w := newWall()
	f := start(t, store.NewMemory(), onWall(w))
	try := func(id, content byte, v string, repeated bool) {
		t.Helper()
		write := once(put(tableA, "k", v), id, content)
		f.must(f.Write(background, write))
		if write.Repeated != repeated {
			t.Fatalf("repeated: %v, want %v", write.Repeated, repeated)
		}
	}
	try(1, 1, "1", false)
	f.must(f.Write(background, put(tableA, "k", "2")))
	try(1, 1, "1", true)
	f.expectValue(tableA, "k", "2")
	if err := f.Write(background, once(put(tableA, "k", "3"), 1, 2)); !errors.Is(err, ErrTokenReused) {
		t.Fatalf("got %v", err)
	}
	try(2, 2, "4", false)
	f.expectValue(tableA, "k", "4")

	// What was refused can be asked for again.
	refusal := errors.New("condition failed")
	refused := once(put(tableA, "k", "5"), 3, 3)
	plan := refused.Plan
	refused.Plan = func([]Current) ([][]conflict.Op, error) { return nil, refusal }
	if err := f.Write(background, refused); !errors.Is(err, refusal) {
		t.Fatalf("got %v", err)
	}
	refused.Plan = plan
	f.must(f.Write(background, refused))
	if refused.Repeated {
		t.Fatal("a refused write counts as done")
	}

	// A write that only looks is done, too.
	look := func() *Write {
		return once(&Write{Keys: []Key{keyOf(tableA, "k")}, Plan: func([]Current) ([][]conflict.Op, error) { return make([][]conflict.Op, 1), nil }}, 4, 4)
	}
	f.must(f.Write(background, look()))
	again := look()
	if f.must(f.Write(background, again)); !again.Repeated {
		t.Fatal("a look was done twice")
	}

	w.move(TokenAge - time.Millisecond)
	try(1, 1, "6", true)
	w.move(2 * time.Millisecond)
	try(1, 1, "7", false)
	f.expectValue(tableA, "k", "7")
}

// TestATokenOutlivesACrash asks again after a crash: either both the write and its token were durable, or neither.
func TestATokenOutlivesACrash(t *testing.T) {
	engine := store.NewMemory()
	f := start(t, engine)
	f.must(f.Write(background, once(put(tableA, "k", "1"), 1, 1)))
	f.must(f.stop())
	w := newWall()
	w.millis.Store(time.Now().UnixMilli())
	f = start(t, engine.Crash(nil), onWall(w))
	again := once(put(tableA, "k", "2"), 1, 1)
	if f.must(f.Write(background, again)); !again.Repeated {
		t.Fatal("the token is gone")
	}
	f.expectValue(tableA, "k", "1")
	f.must(f.stop())
	checkStore(t, f.engine, allRecords)
}

func TestTokensAreSweptAndBounded(t *testing.T) {
	w := newWall()
	engine := store.NewMemory()
	bound := func(c *Config) { c.MaxTokens = 3 }
	f := start(t, engine, onWall(w), bound)
	write := func(id byte) error { return f.Write(background, once(put(tableA, "k", "v"), id, id)) }
	for id := range byte(3) {
		f.must(write(id))
	}
	expectKind(t, write(3), globaltable.LimitExceeded)
	f.must(write(2)) // known
	f.must(f.Write(background, put(tableA, "k", "without")))
	w.move(TokenAge)
	expectKind(t, write(3), globaltable.LimitExceeded) // those of the window before may still be asked for
	w.move(TokenAge)
	f.must(write(3))
	f.must(f.stop())
	l, _, err := load(engine)
	if f.must(err); len(l.tokens) != 1 || l.tokens[windowOf(hlc.FromTime(w.now()))] != 1 {
		t.Fatalf("tokens by window: %v", l.tokens)
	}
	f = start(t, engine, onWall(w), bound)
	f.must(write(4))
	f.must(write(5))
	expectKind(t, write(6), globaltable.LimitExceeded)
}

// TestOneOfManyIsDone sends the same transaction many times at once.
func TestOneOfManyIsDone(t *testing.T) {
	f := start(t, store.NewMemory())
	const clients = 32
	var wg sync.WaitGroup
	repeated := make(chan bool, clients)
	for range clients {
		wg.Go(func() {
			w := once(put(tableA, "k", "v"), 1, 1)
			if err := f.Write(background, w); err != nil {
				t.Error(err)
			}
			repeated <- w.Repeated
		})
	}
	wg.Wait()
	close(repeated)
	first := 0
	for r := range repeated {
		if !r {
			first++
		}
	}
	if first != 1 {
		t.Fatalf("done %d times", first)
	}
	f.must(f.stop())
	if len(f.log) != 1 {
		t.Fatalf("%d entries in the log", len(f.log))
	}
}

func TestStoredTokensKeepTheirForm(t *testing.T) {
	u := used{at: 0x0102030405060708, content: [32]byte{0xaa, 31: 0xbb}}
	const want = "01" + "0102030405060708" + "aa000000000000000000000000000000000000000000000000000000000000bb"
	if got := hex.EncodeToString(u.append(nil)); got != want {
		t.Errorf("value %s", got)
	}
	if back, err := decodeUsed(u.append(nil)); err != nil || back != u {
		t.Errorf("%+v, %v", back, err)
	}
	if _, err := decodeUsed(u.append(nil)[1:]); globaltable.KindOf(err) != globaltable.Corrupt {
		t.Errorf("got %v", err)
	}
	if got := hex.EncodeToString(store.AppendTokenKey(nil, 7, []byte{0xcc, 15: 0xdd})); got != "0b"+"0000000000000007"+"cc0000000000000000000000000000dd" {
		t.Errorf("key %s", got)
	}
}

func TestATransactionDoesNotWaitForEver(t *testing.T) {
	f := open(t, store.NewMemory(), func(c *Config) { c.TransactionWait = time.Millisecond })
	f.run()
	held := []uint64{hashKey(tableA, keyOf(tableA, "b").Bytes)}
	if !f.latches.tryAcquire(held) {
		t.Fatal("taken")
	}
	w := always(putOps(value("k", "v")), keyOf(tableA, "a"), keyOf(tableA, "b"), keyOf(tableA, "c"))
	w.Transaction = true
	err := f.Write(background, w)
	var conflicting *ConflictError
	if !errors.As(err, &conflicting) || conflicting.Key != 1 || globaltable.KindOf(err) != globaltable.Unavailable {
		t.Fatalf("got %v", err)
	}
	f.must(f.Write(background, put(tableA, "a", "1"))) // nothing is left latched
	f.latches.release(held)
	f.must(f.Write(background, w))
}

// TestGetAllSeesOneMoment reads pairs that transactions keep equal.
func TestGetAllSeesOneMoment(t *testing.T) {
	f := start(t, store.NewMemory())
	keys := []Key{keyOf(tableA, "a"), keyOf(tableB, "b"), keyOf(tableA, "never")}
	const rounds = 300
	done := make(chan error, 1)
	go func() {
		for i := range rounds {
			v := string(rune('a' + i%26))
			w := &Write{Keys: keys[:2], Transaction: true, Plan: func([]Current) ([][]conflict.Op, error) {
				return [][]conflict.Op{putOps(value("a", v)), putOps(value("b", v))}, nil
			}}
			if err := f.Write(background, w); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for running := true; running; {
		select {
		case err := <-done:
			f.must(err)
			running = false
		default:
		}
		f.must(f.GetAll(background, keys, func(c []Current) error {
			if valueOf(c[0].Item) != valueOf(c[1].Item) || c[2].Item != nil {
				t.Errorf("a has %q, b has %q", valueOf(c[0].Item), valueOf(c[1].Item))
			}
			return nil
		}))
	}
	expectKind(t, f.GetAll(background, []Key{{tableA, nil}}, func([]Current) error { return nil }), globaltable.Invalid)
	refusal := errors.New("refused")
	if err := f.GetAll(background, keys, func([]Current) error { return refusal }); !errors.Is(err, refusal) {
		t.Errorf("got %v", err)
	}
}
