package bus

import "github.com/concordat-db/concordat/globaltable"

// MemoryNetwork is a network of regions in memory, with faults on demand.
type MemoryNetwork struct{}

// NewMemoryNetwork returns a network without regions.
func NewMemoryNetwork() *MemoryNetwork { return &MemoryNetwork{} }

// Home returns the bus of the region, made at the first call or after its Close.
func (n *MemoryNetwork) Home(region string) Home { return nil }

// Dial returns a link of region to the origin peer. It never fails; a link that is cut fails its calls.
func (n *MemoryNetwork) Dial(region, peer string) Link { return nil }

// Cut breaks the links between a and b, both ways, until Heal.
func (n *MemoryNetwork) Cut(a, b string) {}

// Heal undoes Cut.
func (n *MemoryNetwork) Heal(a, b string) {}

// DropNext loses the next count messages of the origin's lane on their way to peer.
func (n *MemoryNetwork) DropNext(origin, peer string, lane globaltable.LaneID, count int) {}

// Duplicate delivers the next count messages of the origin's lane to peer twice.
func (n *MemoryNetwork) Duplicate(origin, peer string, lane globaltable.LaneID, count int) {}

// Reorder delivers the next message of the origin's lane to peer after the one that follows it, count times.
func (n *MemoryNetwork) Reorder(origin, peer string, lane globaltable.LaneID, count int) {}

// Rollback takes the last count messages out of the origin's stream, as a restored disk does, and the sequences after them are given again.
func (n *MemoryNetwork) Rollback(origin string, lane globaltable.LaneID, count int) {}

// Restart loses the origin's streams, breaks its links once, and signals Reset.
func (n *MemoryNetwork) Restart(origin string) {}
