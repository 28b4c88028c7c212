// Package canary looks for bytes where they may not be. A canary is 32 random bytes that stand for what a law keeps in some regions: whoever finds it elsewhere has found a leak, and there is no other way for it to
// be there. The package makes canaries, knows what they look like in every encoding that the program, its libraries or a careless line of logging has (Forms), and searches all that a region keeps or sends: its
// files as they lie there and as Pebble reads them (Scanner.Tree), what goes over a link between regions (Tap, Wire), and what an interface answers (Scanner.Bytes).
//
// A search that finds nothing proves nothing unless it would have found something. So a Scanner counts what it has read of each kind, says what it could not read, and every encoding and every kind of container has
// a test in which the same code finds a canary.
//
// Each canary is searched for by its halves, of 16 bytes each. A half is as improbable as the whole, and no single cut between two records, pages or packets hides both.
package canary
