// Package sim is the first tier of simulation (RELIABILITY.md section 3): several regions in one goroutine, in virtual time, from one seed.
//
// # What is real
//
// A region is a real commit core on a real in-memory engine whose crash drops what was not synced, the real outbox core, one real inbox
// core for each origin, the real peer service and sessions with their encodings, the real watermark matrix and the real hybrid clock, the real control plane and joiner, and what decides
// about members and coming back (regionnode/membership). The
// simulator stands for what lies between and around them: time, order, the network, JetStream, disks that sync late, processes that die. The acting parts
// (outbox.Runner, inbox.Runner) are goroutines in production; here region.go, tail.go and session.go carry out the same effects in the same order.
//
// # What is adversarial
//
// JetStream (stream.go) keeps the letter of its contract and nothing more: it drops, repeats and reorders, loses acknowledgements in both directions, forgets its
// oldest messages at its bound, is cut short without a word, and comes back from a restart empty or as it was a while ago, giving sequences out again. Links delay, lose and
// cut, one way too. Physical clocks are skewed and jump. A region can die between any two effects. Operators (members.go) have regions fenced that work, are cut off, are down or have burnt down; have them
// removed for ever, or rebuilt; a store is lost whole, or an older copy is put in its place.
//
// Some tables have items that expire, within seconds, and a time to live that is changed (mortal.go). A run ends when all of them have expired and are erased everywhere.
//
// Whatever loses unseen is listed in the table's conflict feed by whoever merges it: each feed is a table beside its table, with all that goes for tables, and checker I22 asks whether what it says is true, and all (conflicts.go). Some feeds forget within seconds, and
// operators drop conflicts.
//
// Most tables have change streams, of random views, which are trimmed, switched off and on, and dropped when they are over (told.go). Checker I12 sees each batch before a region's store takes it, and says from the records before and after what is to be told in it, and what not; readers come by at random, and
// what they got must be there after each crash, at the same positions. What is told of a write is what it wrote, in tables whose items neither expire nor merge by types.
//
// In a third of the runs some of these tables have triggers, of all ways of firing, which are made, changed, paused and replayed (firing.go). Regions fire them by hand, with the code that production runs, from their own streams, keep their cursors in their own stores, and tell each other by the peer service, so
// whatever holds requests up holds that up. Targets are late, refuse, and keep some of what they refuse; regions die between a delivery and the cursor that says so. Checker I13 knows what is told and what was delivered: all that is owed, under one id, in order. A run with triggers ends when all is dealt with.
//
// Half of the tables have a random conflict mode and random types, both of which change while clients write; their updates are expressions, planned as regionnode plans them (typed.go). What they come to in the end, and in between where it is known what a region has,
// must be what the definitions say of all their writes.
//
// In some runs operators pin items to regions, move them, and let them go everywhere again (pins.go), whatever else goes wrong. Regions carry that out as in production (placing.go); what is logged again, voided, handed over and gained is known to the checkers by key. Checker I18
// (residency.go) holds each region to what it has told: from the moment at which it says that a version is carried out, its store has nothing in any of its key spaces, and its streams nothing, of an item that may not be there, and it gives nobody anything of an item that may not be
// with that one: in a stream, from its log, in an exchange. In some, operators pin items away from a region while it is fenced: what it has saved of them when it comes back has to go to another one.
//
// # How a run goes
//
// The seed picks a plan: how many regions, tables and keys, and a random subset of faults and operations with random rates (swarm testing: a run with every
// fault at once finds less, because faults hide each other). Then clients write until the operations are used up; then everything heals, and the
// regions must come to rest within a bound (I21). The checkers of chaos/check judge the history and the final states.
//
// # What is not simulated here
//
// Regions that are added late, two stores lost in one run, operators who put out each other's region, or all regions of a placement, jurisdictions, files that are written anew and requests that are forwarded (there are no files, and no API), comparing and repairing, tables whose writes wait for peers. Dead letters, and triggers whose way of firing changes. Of a store that
// was restored nobody checks the lanes until the region is rebuilt: it gives sequences twice. Of streams that JetStream has brought back, or keeps of a store that was emptied, I18 is not asked before they are made anew. Reads are not checked: package commit has its own linearizability test.
//
// # What may be missing in the end
//
// Regions that were never out hold all that was acknowledged in them or reached them, and all the same. What only another region has (fate.go) may be missing if the region that comes back lists it as saved, if the one that has taken it over has listed something of it as in doubt, or
// if no store has it any more: it was lost, or its region was removed. What a region erased by a time to live that nobody else had heard of may be missing, too, if that is void since the table's owner was fenced.
//
// Operators remove a region that has burnt down when a table that nobody serves waits for it: what it alone had is lost. All other replicas of active regions must have come back in the end.
//
// A trigger may have missed what a stream had lost before it was read, if it says so, and what had gone when its region heard of it. Where regions stand in for each other, it may have missed what not all regions tell that have the table, or had it: a write that lost a merge is told where it came first. So it is with
// copies, and with items that policies have kept out of a region at some time.
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
