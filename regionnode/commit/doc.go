// Package commit is the one door into a shard's store, for client writes and for changes from other regions alike.
//
// # The problem
//
// A write has to be conditional on the newest state of its keys, stamped, placed in a lane, merged, logged, counted in digests, made
// durable, and answered, at tens of thousands a second on a few cores; and each of the following has to hold at every moment, over a crash too:
//
//   - A record, its log entry and its digest are there together, or not at all.
//   - Log order is the order in which writes become visible. Stamps rise with it.
//   - Nobody is told anything, success or failure, that a crash can still undo.
//   - A write is in the lane of its table's placement under the catalog that is in force at its place in the log.
//
// # Outline
//
//	caller's goroutine      latch keys · read · plan, or merge a peer's changes · queue
//	sequencer (one)         take all that waits · place · stamp · merge · one batch · apply · release latches        core.go, run.go
//	syncer (one)            wait for the sync · adopt a catalog · publish durable entries · answer                     run.go
//
// Group N+1 is built while N syncs. There is no timer: a group is what has gathered since the last one. A latch is held from a key's read to
// the application of its write, so what a plan was given is still the newest when it is sequenced, and no check has to be repeated. No
// latch is held during a sync.
//
// Pebble shows a batch before it is durable, so readers may see what a crash can undo. A point read therefore waits if its key is in the
// applied-not-synced set (progress.go), a scan for the newest group that its snapshot may hold.
//
// A group that changes the system table has one submission only. It is synced, and the catalog in force replaced, before the next group is built: a write
// is under the old documents and before them in the log, or under the new ones and after.
//
// # Rejected
//
//   - A mutex around commit instead of a sequencer: no group forms while one syncs.
//   - Optimistic reads, checked again at sequencing: one map of latches is simpler, and plans are never run twice.
//   - Latches held until the sync: a hot key would get one write for each sync.
//   - Exact sets of keys in flight: a slot of group numbers per hash needs no cleaning and no lock.
package commit
