package bus

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"

	"github.com/nats-io/nkeys"

	"github.com/concordat-db/concordat/globaltable"
)

// Grant lets the holder of a key read events, from the durable consumer that has the grant's name on each of some streams, and hear what triggers publish to some subjects (Events.Tell); nothing else.
//
// As peers do, each grant has a NATS account of its own, which imports services: what is known of its consumers, fetching from them, and their acknowledgements. A client of the events' account could name any subject as the reply of a
// fetch, and the server would write there for it. A consumer belongs to the grant's name and to one stream, so an account needs no other one. Subjects are imported as streams of core NATS.
type Grant struct {
	Name      string // of the consumers: as region names
	PublicKey string // nkey of kind User. One for each grant, also for one that has the name of one before
	Streams   []string
	Subjects  []string // see globaltable.ValidateHeard
}

func (g Grant) equal(o Grant) bool {
	return g.Name == o.Name && g.PublicKey == o.PublicKey && slices.Equal(g.Streams, o.Streams) && slices.Equal(g.Subjects, o.Subjects)
}

// grantAccount is the name of the account of a grant: of its key, and a hash of what it lets do. An account of a running server stays as it was made, so one that lets do something else, though it has the name of one before, or its key, is another one.
func grantAccount(g Grant) string {
	h := sha256.New()
	for _, part := range append(append([]string{g.Name, strconv.Itoa(len(g.Streams))}, g.Streams...), g.Subjects...) {
		fmt.Fprintf(h, "%d %s\n", len(part), part)
	}
	return "GRANT-" + g.PublicKey + "-" + hex.EncodeToString(h.Sum(nil)[:8])
}

// grantServices lists the services that a grant's account imports: all that it can do, but for hearing its subjects. For the forms of acknowledgements see peerServices.
//
// A server answers requests to JetStream in an account that has none, with an error, and would do so beside the service (v2.15.2). So what clients ask of their consumer has another subject within the account.
func grantServices(g Grant) (out []service) {
	for _, stream := range g.Streams {
		out = append(out,
			service{Subject: infoPrefix + stream + "." + g.Name, Local: "concordat.info." + stream},
			service{Subject: fetchPrefix + stream + "." + g.Name, Stream: true},
			service{Subject: "$JS.ACK." + stream + "." + g.Name + ".*.*.*.*.*"},
			service{Subject: "$JS.ACK.*.*." + stream + "." + g.Name + ".*.*.*.*.>"})
	}
	return out
}

func validateGrants(grants []Grant, peers []Peer) (faults []error) {
	names, keys := map[string]bool{}, map[string]bool{}
	for _, p := range peers {
		keys[p.PublicKey] = true
	}
	for _, g := range grants {
		if err := globaltable.ValidateRegionName(g.Name); err != nil {
			faults = append(faults, fmt.Errorf("grant: %w", err))
			continue
		}
		if names[g.Name] {
			faults = append(faults, fmt.Errorf("grant %s is there twice", g.Name))
		}
		if keys[g.PublicKey] || !nkeys.IsValidPublicUserKey(g.PublicKey) {
			faults = append(faults, fmt.Errorf("the key of grant %s is that of another one, or not an nkey of kind User", g.Name))
		}
		for _, s := range g.Streams {
			if _, ok := EventStreamTable(s); !ok {
				faults = append(faults, fmt.Errorf("grant %s is for a stream that is not one of events", g.Name))
			}
		}
		if err := globaltable.ValidateHeard(g.Subjects); err != nil {
			faults = append(faults, fmt.Errorf("grant %s: %w", g.Name, err))
		}
		if len(g.Streams)+len(g.Subjects) == 0 {
			faults = append(faults, fmt.Errorf("grant %s is for nothing", g.Name))
		}
		names[g.Name], keys[g.PublicKey] = true, true
	}
	return faults
}
