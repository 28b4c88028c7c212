package sim

import (
	"fmt"
	"sync"

	"github.com/nats-io/nkeys"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
)

// identity is a region's descriptor, plain and signed.
type identity struct {
	descriptor globaltable.Descriptor
	token      string
	key        nkeys.KeyPair
}

// identities are the regions of all runs. Keys cost more to make than to use, and nothing in a run depends on them.
var identities = sync.OnceValue(func() map[hlc.Origin]identity {
	out := map[hlc.Origin]identity{}
	for o := hlc.Origin(1); o <= 4; o++ {
		seed := make([]byte, 32)
		seed[0] = byte(o)
		key, err := nkeys.FromRawSeed(nkeys.PrefixByteUser, seed)
		if err != nil {
			panic(err)
		}
		public, err := key.PublicKey()
		if err != nil {
			panic(err)
		}
		d := globaltable.Descriptor{Name: fmt.Sprintf("region-%c", 'a'+rune(o)-1), Jurisdiction: "SIM", Origin: o, PublicKey: public}
		token, err := globaltable.Sign(&d, key)
		if err != nil {
			panic(err)
		}
		out[o] = identity{d, token, key}
	}
	return out
})

func nameOf(o hlc.Origin) string { return identities()[o].descriptor.Name }
