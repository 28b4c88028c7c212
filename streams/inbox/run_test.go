package inbox_test

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/concordat-db/concordat/regionnode/store"
	"github.com/concordat-db/concordat/streams/inbox"
	"github.com/concordat-db/concordat/streams/outbox"
)

func TestEntriesFlowByTheStream(t *testing.T) {
	inWorld(t, setup{}, func(t *testing.T, w *world) {
		w.connected()
		w.eu.write(1, 10) // the first one makes the lane
		w.us.write(1, 10)
		w.converge()
		before := w.us.seen().logRead
		var writers sync.WaitGroup
		for _, r := range []*region{w.eu, w.us} {
			for range 4 {
				writers.Go(func() { r.write(25, 200) })
			}
		}
		writers.Wait()
		w.converge()
		for _, r := range []*region{w.eu, w.us} {
			if got := r.seen().applied; got != 101 {
				t.Errorf("%s applied %d changes, want 101: each once", r.descriptor.Name, got)
			}
			st := r.inbox.Status()
			if !st.Connected || len(st.Lanes) != 1 || st.Lanes[0].Stop != inbox.Running || st.LagAt.IsZero() || st.Lag < 0 {
				t.Errorf("%s: status %+v", r.descriptor.Name, st)
			}
		}
		if got := w.us.seen().logRead; got != before {
			t.Errorf("%d entries were read from the log, with a stream that lost nothing", got-before)
		}
		// A heartbeat after the last write marks it as applied.
		newest := w.eu.head()
		w.until("the mark passes the last write", func() bool {
			row, _ := w.us.matrix.Row(2)
			return row.Marks[1].Time().After(time.Now().Add(-time.Second)) && w.us.position().Seq == newest.Seq
		})
	})
}

// TestPromptLanesAreConfirmedAtOnce: no time passes between the application here and the origin's knowledge of it; without anybody who waits, a heartbeat tells.
func TestPromptLanesAreConfirmedAtOnce(t *testing.T) {
	for _, prompt := range []bool{true, false} {
		inWorld(t, setup{prompt: prompt}, func(t *testing.T, w *world) {
			w.connected()
			w.eu.write(1, 10) // the first one makes the lane
			w.converge()
			w.pass(time.Second)
			confirmed := func() uint64 {
				all := w.eu.shard.Confirmations()
				if len(all) != 1 || all[0].Peer != 2 || all[0].Lane != lane {
					t.Fatalf("confirmed: %+v", all)
				}
				return all[0].Seq
			}
			began, atOnce := time.Now(), 0
			for range 20 {
				w.eu.write(1, 100)
				synctest.Wait()
				if confirmed() == w.eu.head().Seq {
					atOnce++
				}
			}
			if want := map[bool]int{true: 20, false: 0}[prompt]; atOnce != want || time.Since(began) != 0 {
				t.Errorf("%d of 20 writes were confirmed at once, want %d; it took %v", atOnce, want, time.Since(began))
			}
			w.until("the heartbeat confirms the rest", func() bool { return confirmed() == w.eu.head().Seq })
			// A link that breaks costs nothing but time.
			w.network.Cut("eu", "us")
			w.eu.write(5, 100)
			w.pass(20 * time.Second)
			w.network.Heal("eu", "us")
			w.until("all is confirmed after healing", func() bool { return confirmed() == w.eu.head().Seq })
		})
	}
}

func TestCutLinkGoesOnFromTheDurablePosition(t *testing.T) {
	inWorld(t, setup{}, func(t *testing.T, w *world) {
		w.eu.write(20, 100)
		w.converge()
		w.network.Cut("eu", "us")
		w.until("us has noticed", func() bool { return !w.us.inbox.Status().Connected })
		if st := w.us.inbox.Status(); st.Error == "" {
			t.Error("the status does not say why there is no connection")
		}
		at, attempts := w.us.position(), w.us.seen().attempts
		w.eu.write(30, 100)
		w.us.write(10, 100)
		w.pass(time.Minute)
		if got := w.us.seen().attempts - attempts; got < 10 || got > 40 {
			t.Errorf("%d attempts in a minute: the backoff grows to 5 seconds, and is jittered", got)
		}
		if w.us.position() != at {
			t.Error("something came over a link that is cut")
		}
		w.network.Heal("eu", "us")
		w.converge()
		if got := w.us.seen(); got.applied != 50 || got.connected != 2 {
			t.Errorf("us applied %d changes, want 50: each once; %+v", got.applied, got)
		}
	})
}

func TestStreamFaultsAreRepaired(t *testing.T) {
	for seed := range uint64(4) {
		inWorld(t, setup{inbox: inbox.Limits{BatchBytes: 1 << 10, QueueBytes: 4 << 10}}, func(t *testing.T, w *world) {
			random := rand.New(rand.NewPCG(seed, 1))
			w.eu.write(1, 10)
			w.converge()
			written := 1
			for range 60 {
				n := 1 + random.IntN(3)
				switch random.IntN(5) {
				case 0:
					w.network.DropNext("eu", "us", lane, n)
				case 1:
					w.network.Duplicate("eu", "us", lane, n)
				case 2:
					w.network.Reorder("eu", "us", lane, n)
				case 3:
					w.network.Rollback("eu", lane, n)
				}
				w.eu.write(n, random.IntN(2000))
				written += n
				if random.IntN(4) == 0 {
					w.pass(time.Duration(random.IntN(500)) * time.Millisecond)
				}
			}
			w.converge()
			if got := w.us.seen().applied; got != written {
				t.Errorf("seed %d: us applied %d changes of %d", seed, got, written)
			}
			if stops := w.us.seen().stops; len(stops) != 0 {
				t.Errorf("seed %d: the lane stopped: %v", seed, stops)
			}
		})
	}
}

func TestLostStreamsAreRefilled(t *testing.T) {
	inWorld(t, setup{}, func(t *testing.T, w *world) {
		w.eu.write(10, 100)
		w.converge()
		resets := w.eu.seen().resets
		w.network.Restart("eu") // with all its streams
		w.eu.write(10, 100)
		w.until("the stream is made anew", func() bool {
			lanes := w.eu.outbox.Status()
			return w.eu.seen().resets > resets && lanes[0].Live
		})
		w.converge()
		before := w.us.seen().logRead
		w.until("us is connected", func() bool { return w.us.inbox.Status().Connected })
		w.pass(10 * time.Second)
		w.eu.write(10, 100)
		w.converge()
		if got := w.us.seen(); got.applied != 30 || got.logRead != before {
			t.Errorf("applied %d changes, want 30; read %d entries from the log after the stream was back", got.applied, got.logRead-before)
		}
	})
}

func TestBacklogLargerThanTheStreamIsReadFromTheLog(t *testing.T) {
	inWorld(t, setup{streamBytes: 32 << 10, outbox: outbox.Limits{RefillEntries: 8}, inbox: inbox.Limits{QueueBytes: 16 << 10, BatchBytes: 8 << 10}},
		func(t *testing.T, w *world) {
			w.eu.write(1, 10)
			w.converge()
			w.network.Cut("eu", "us")
			w.eu.write(300, 2000)
			w.network.Heal("eu", "us")
			w.converge()
			if got := w.us.seen(); got.applied != 301 || got.logRead < 250 {
				t.Errorf("%d changes applied, want 301; %d entries read from the log, want most of them", got.applied, got.logRead)
			}
		})
}

func TestEntriesOfSeveralMessages(t *testing.T) {
	inWorld(t, setup{}, func(t *testing.T, w *world) {
		w.eu.write(1, 10)
		w.converge()
		before := w.us.seen().logRead
		w.eu.write(2, 3<<20) // four messages each
		w.eu.write(1, 10)
		w.converge()
		if got := w.us.seen(); got.logRead != before {
			t.Errorf("%d entries were read from the log", got.logRead-before)
		}
		w.network.DropNext("eu", "us", lane, 2) // fragments of one entry
		w.eu.write(1, 3<<20)
		w.converge()
		if got := w.us.seen(); got.applied != 5 || got.logRead == before {
			t.Errorf("%d changes applied, want 5; %d entries read from the log, want at least one", got.applied, got.logRead-before)
		}
	})
}

func TestClockAheadStopsTheLaneAndResumes(t *testing.T) {
	inWorld(t, setup{}, func(t *testing.T, w *world) {
		w.eu.write(3, 10)
		w.us.write(3, 10)
		w.converge()
		w.eu.ahead.Store(int64(10 * time.Second))
		at := w.us.position()
		w.eu.write(3, 10)
		w.until("the lane has stopped", func() bool { return slices.Contains(w.us.seen().stops, inbox.ClockAhead) })
		if st := w.us.inbox.Status(); !st.Connected || w.us.position() != at {
			t.Errorf("status %+v", st)
		}
		w.us.write(3, 10) // the other way goes on
		w.until("eu has what us wrote", w.eu.caughtUp)
		w.eu.ahead.Store(0)
		w.converge() // by itself, when time has caught up
		if got := w.us.seen(); got.applied != 6 || got.stops[len(got.stops)-1] != inbox.Running {
			t.Errorf("us applied %d changes, want 6; stops %v", got.applied, got.stops)
		}
	})
}

func TestCatalogBehindIsFetched(t *testing.T) {
	inWorld(t, setup{}, func(t *testing.T, w *world) {
		w.eu.write(3, 10)
		w.converge()
		w.eu.catalog.version.Store(2)
		w.eu.write(3, 10)
		w.converge()
		if got := w.us.seen(); !slices.Equal(got.stops, []inbox.Stop{inbox.CatalogBehind, inbox.Running}) || w.us.fetches.Load() != 1 {
			t.Errorf("stops %v with %d fetches, want one of each", got.stops, w.us.fetches.Load())
		}
	})
}

func TestFetchThatDoesNotHelpDoesNotSpin(t *testing.T) {
	inWorld(t, setup{}, func(t *testing.T, w *world) {
		w.us.fetchHelps = false
		w.eu.write(3, 10)
		w.converge()
		w.eu.catalog.version.Store(2)
		w.eu.write(3, 10)
		w.pass(20 * time.Second)
		if got := w.us.fetches.Load(); got < 2 || got > 100 {
			t.Errorf("%d fetches in 20 seconds", got)
		}
		w.us.catalog.version.Store(2) // it came another way
		w.converge()
	})
}

func TestLogIsTrimmedOnlyWhenConfirmed(t *testing.T) {
	inWorld(t, setup{}, func(t *testing.T, w *world) {
		w.eu.write(10, 10)
		w.converge()
		w.until("what us has confirmed is trimmed", func() bool { return w.eu.head().Trimmed == 9 })
		w.network.Cut("eu", "us")
		w.eu.write(10, 10)
		w.pass(time.Minute)
		if got := w.eu.head(); got.Trimmed > 10 {
			t.Errorf("the log is trimmed to %d, and us has 10", got.Trimmed)
		}
		w.network.Heal("eu", "us")
		w.converge()
		w.until("the rest is trimmed", func() bool { return w.eu.head().Trimmed == 19 })
		if got := w.eu.outbox.Status()[0]; got.Confirmed[2] != 20 || got.Trimmed != 19 || !got.Live {
			t.Errorf("status %+v", got)
		}
	})
}

func TestRestartsLoseNothing(t *testing.T) {
	inWorld(t, setup{}, func(t *testing.T, w *world) {
		for i := range 5 {
			w.eu.write(20, 100)
			w.us.write(20, 100)
			if i%2 == 0 {
				w.us.restart()
			} else {
				w.eu.restart()
			}
			w.pass(500 * time.Millisecond) // a clock starts at its bound; restarts in no time would take it too far ahead
		}
		w.converge()
		for _, r := range []*region{w.eu, w.us} {
			if got, _, err := r.shard.Count(table); err != nil || got != 200 {
				t.Errorf("%s has %d items: %v", r.descriptor.Name, got, err)
			}
			if e := r.seen(); len(e.stops)+len(e.regressed) != 0 {
				t.Errorf("%s: %+v", r.descriptor.Name, e)
			}
		}
	})
}

func TestRolledBackOriginIsFound(t *testing.T) {
	inWorld(t, setup{}, func(t *testing.T, w *world) {
		w.eu.write(5, 10)
		w.converge()
		w.eu.stop()
		backup := w.eu.engine.Crash(nil)
		w.eu.start(backup.Crash(nil))
		w.eu.write(5, 10)
		w.converge()
		w.eu.stop()
		w.eu.start(backup.Crash(nil)) // the last five are forgotten
		w.until("us tells eu", func() bool { return len(w.eu.seen().regressed) > 0 })
		w.until("the lane has stopped", func() bool { return slices.Contains(w.us.seen().stops, inbox.Diverged) })
	})
}

func TestNewLifeOfAnOriginStopsItsLanes(t *testing.T) {
	inWorld(t, setup{}, func(t *testing.T, w *world) {
		w.eu.write(5, 10)
		w.converge()
		dead, at := w.eu.shard.Incarnation(), w.us.position()
		w.eu.stop()
		w.pass(time.Second)
		w.eu.start(store.NewMemory())
		w.eu.write(5, 10)
		w.until("the lane has stopped", func() bool { return slices.Contains(w.us.seen().stops, inbox.Superseded) })
		if got := w.us.shard.Revoked(1); got < dead || got >= w.eu.shard.Incarnation() {
			t.Errorf("revoked up to %d; the dead life is %d, the new one %d", got, dead, w.eu.shard.Incarnation())
		}
		w.pass(10 * time.Second)
		if w.us.position() != at {
			t.Error("entries of the new life were taken without an exchange")
		}
	})
}

func TestTrimmedLogStopsAPeerThatLostItsStore(t *testing.T) {
	inWorld(t, setup{}, func(t *testing.T, w *world) {
		w.eu.write(10, 10)
		w.converge()
		w.until("the log is trimmed", func() bool { return w.eu.head().Trimmed == 9 })
		w.us.stop()
		w.us.start(store.NewMemory())
		w.until("the lane has stopped", func() bool { return slices.Contains(w.us.seen().stops, inbox.Trimmed) })
		w.eu.write(1, 10)
		w.pass(10 * time.Second)
		if got := w.us.position(); got.Seq != 0 {
			t.Errorf("us took entries up to %d over a gap", got.Seq)
		}
	})
}
