// Package sim is the first tier of simulation (RELIABILITY.md section 3): several regions in one goroutine, in virtual time, from one seed.
//
// # What is real
//
// A region is a real commit core on a real in-memory engine whose crash drops what was not synced, the real outbox core, one real inbox
// core for each origin, the real peer service and sessions with their encodings, the real watermark matrix and the real hybrid clock. The
// simulator stands for what lies between and around them: time, order, the network, JetStream, disks that sync late, processes that die. The acting parts
// (outbox.Runner, inbox.Runner) are goroutines in production; here region.go, tail.go and session.go carry out the same effects in the same order.
//
// # What is adversarial
//
// JetStream (stream.go) keeps the letter of its contract and nothing more: it drops, repeats and reorders, loses acknowledgements in both directions, forgets its
// oldest messages at its bound, is cut short without a word, and comes back from a restart empty or as it was a while ago, giving sequences out again. Links delay, lose and
// cut, one way too. Physical clocks are skewed and jump. A region can die between any two effects.
//
// Some tables have items that expire, within seconds, and a time to live that is changed (mortal.go). A run ends when all of them have expired and are erased everywhere.
//
// # How a run goes
//
// The seed picks a plan: how many regions, tables and keys, and a random subset of faults and operations with random rates (swarm testing: a run with every
// fault at once finds less, because faults hide each other). Then clients write until the operations are used up; then everything heals, and the
// regions must come to rest within a bound (I21). The checkers of chaos/check judge the history and the final states.
//
// # What is not simulated here
//
// Stores that are restored or replaced (incarnations stay as they are), exchanges, joins, the catalog's documents and its owner. Reads are not checked: package commit
// has its own linearizability test.
//
// # How the simulation is tested
//
// Build tag planted adds switches for faults to the packages that are simulated; TestPlanted turns on one after another, and a checker that should find it must do
// so within a bounded number of seeds. TestSeeds fails when something that it is meant to reach (see wanted) happened in no seed.
//
// TestLiveRegions is the second tier: real Pebble over a file system that crashes, real NATS servers and the real runners in a bubble of virtual time.
//
// # Determinism
//
// One seed gives one run: there is one random generator, one queue of events ordered by time and then by number, and no map is walked in its own order.
package sim
