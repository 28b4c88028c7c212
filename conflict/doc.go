// Package conflict has what a stored item is, how it changes, and the one merge that makes all replicas agree. It is pure: no
// I/O, no goroutine, no clock.
//
// A Record is a point of a lattice; its essay says which. A Change is a delta of a record: what one write did to one key.
// Applying a change and merging two replicas are the same operation, Join. A table's Mode decides how writes are recorded as
// operations and nothing else.
//
// Both have one encoding, versioned and pinned by golden files: changes live in logs and cross to peers that may run another
// version, records are what the store holds. The hot path works on encoded records: Apply, ContextOf, ItemOf, Digest.
//
// Typed has how attributes are merged whose values are added to rather than written over, node how maps are of which entries are written.
package conflict
