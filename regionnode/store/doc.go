// Package store is the engine under a shard: an ordered map of byte strings with atomic batches that are visible at once and durable
// when they have been waited for. There are two, under one conformance suite: Pebble on disk, and Memory with the same
// semantics, crashes included, for the deterministic simulation.
//
// The layout of the keys is here too (keys.go). All integers in keys are big-endian, so that ranges of numbers are ranges of keys.
//
// # A failing disk ends the process
//
// A write that the disk refuses leaves nobody in a state to go on: the memory has it, the disk does not, and what was
// answered before cannot be told from what was not. Pebble panics for failing write-ahead logs, calls its logger's Fatalf for manifests, and retries failing flushes
// and compactions for ever without an error to the writer. All of them end in Config.OnFatal, which ends the process; the restart reads
// what is durable. The Watchdog makes sure that a disk that merely fills up is noticed long before.
package store
