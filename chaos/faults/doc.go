// Package faults tests the real program under real faults: processes that are killed, stopped or cut off, disks that fill up or lose what was
// not synced, JetStream directories that vanish or come back older. It holds tests only; the program is built once, as `make build` does.
//
// What a client may conclude is judged by a history of its operations (history_test.go): every operation writes a value of its own, and is acknowledged
// or unknown. When all faults are over, the regions must hold the same items, and each item must be the work of an
// operation that no later acknowledged one has replaced.
//
// What change streams and triggers tell is judged by deeds (deeds_test.go): each acknowledged write has to be told, by one event, in order for its item (I12 and I13 of
// the invariants; streams_test.go, triggers_test.go).
//
// Where items may be is judged by canaries (canary_test.go, canaryworld_test.go, package canary): they are searched for in all that a region keeps, sends and says.
//
// The default size suits a check of every change. Flags make it larger:
//
//	go test ./chaos/faults -args -rounds=50             # kills
//	go test ./chaos/faults -run Load -args -items=1000000
//
// Some faults need more than a plain user may do: power cuts and full disks need root, loop devices and mkfs.ext4. Without them those tests are skipped, and
// say so.
package faults
