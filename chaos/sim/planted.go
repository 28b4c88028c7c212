//go:build planted

package sim

import (
	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/regionnode/commit"
	"github.com/concordat-db/concordat/regionnode/placing"
	"github.com/concordat-db/concordat/streams/handover"
	"github.com/concordat-db/concordat/streams/inbox"
	"github.com/concordat-db/concordat/streams/outbox"
	"github.com/concordat-db/concordat/streams/repair"
	"github.com/concordat-db/concordat/streams/trigger"
	"github.com/concordat-db/concordat/streams/watermark"
)

// Plant switches a fault, in all packages that have a part in it.
func Plant(name string, on bool) bool {
	some := false
	for _, p := range []func(string, bool) bool{conflict.Plant, hlc.Plant, inbox.Plant, outbox.Plant, catalog.Plant, commit.Plant, repair.Plant, trigger.Plant, watermark.Plant, handover.Plant, placing.Plant} {
		some = p(name, on) || some
	}
	return some
}
