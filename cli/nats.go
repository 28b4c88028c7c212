package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/nats-io/nkeys"
	ucli "github.com/urfave/cli/v2"
	"golang.org/x/crypto/bcrypt"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode/admin"
	"github.com/concordat-db/concordat/streams/bus"
)

// bcryptCost is what the nats tool uses.
const bcryptCost = 11

// maxInvitationFile is the greatest file, in bytes, that an invitation is read from.
const maxInvitationFile = 2 << 20

func natsCommand(s Streams) *ucli.Command {
	return &ucli.Command{
		Name:  "nats",
		Usage: "prepare a NATS cluster that you run yourself",
		Subcommands: []*ucli.Command{{
			Name:  "accounts",
			Usage: "print the accounts that the region's nats-server needs",
			Description: "Prints the accounts section of a nats-server configuration for a node with an external NATS: the region's own account,\n" +
				"one for each peer that may fetch, acknowledge and ask, nothing else, that of the events of change streams, and one for each grant to read them. Include it on every server of the cluster, and\n" +
				"print it again when a region is added or removed, or a grant made or revoked. The peers are those of the configuration and its invitation or, with --live, those that the running node\n" +
				"knows, by its admin API; so are the grants, with --live only. Passwords appear as bcrypt hashes.",
			Flags: []ucli.Flag{configFlag(),
				&ucli.BoolFlag{Name: "live", Usage: "ask the running node (--admin) who its peers are"}},
			Action: func(c *ucli.Context) error { return natsAccounts(c, s) },
		}},
	}
}

func configFlag() ucli.Flag {
	return &ucli.StringFlag{Name: "config", Usage: "`FILE` with the node's configuration"}
}

func natsAccounts(c *ucli.Context, s Streams) error {
	if err := required(c, "config"); err != nil {
		return err
	}
	doc, err := readNodeDocument(c.String("config"))
	if err != nil {
		return err
	}
	accounts, err := doc.accounts()
	if err != nil {
		return err
	}
	if c.Bool("live") {
		if accounts.Peers, err = livePeers(c, accounts.Region); err == nil {
			accounts.Grants, err = liveGrants(c)
		}
	} else {
		accounts.Peers, err = doc.busPeers()
	}
	if err != nil {
		return err
	}
	text, err := bus.ServerConfig(accounts)
	if err != nil {
		return err
	}
	v := struct {
		Region string `json:"region"`
		Config string `json:"config"`
	}{accounts.Region, text}
	return emit(c, s.Out, v, func(w io.Writer) error {
		_, err := io.WriteString(w, text)
		return err
	})
}

// accounts returns what the region's servers have to know, but for the peers.
func (doc *nodeDocument) accounts() (bus.AccountsConfig, error) {
	cfg := bus.AccountsConfig{Region: doc.Spec.Region.Name}
	e := doc.Spec.NATS.External
	switch {
	case e == nil:
		return cfg, fmt.Errorf("%s: spec.nats is embedded: that server makes its accounts by itself", doc.path)
	case e.CredentialsFile != "":
		return cfg, fmt.Errorf("%s: spec.nats.external uses a credentialsFile: the accounts of a cluster in operator mode are made by its operator", doc.path)
	case e.NkeySeedFile != "":
		key, err := readKey(doc.resolve(e.NkeySeedFile))
		if err != nil {
			return cfg, err
		}
		defer key.Wipe()
		if cfg.UserKey, err = key.PublicKey(); err != nil {
			return cfg, fmt.Errorf("read key: %w", err)
		}
		if cfg.EventsKey, err = eventsKey(key); err != nil {
			return cfg, fmt.Errorf("read key: %w", err)
		}
	default:
		password, err := readSecret(doc.resolve(e.PasswordFile))
		if err != nil {
			return cfg, err
		}
		hash, err := bcrypt.GenerateFromPassword(password, bcryptCost)
		if err != nil {
			return cfg, fmt.Errorf("%s: %w", e.PasswordFile, err)
		}
		cfg.User, cfg.Password = e.User, string(hash)
	}
	return cfg, nil
}

// busPeers returns the peers that the document gives the region, those of its invitation included.
func (doc *nodeDocument) busPeers() ([]bus.Peer, error) {
	configured, err := doc.peers()
	if err != nil {
		return nil, err
	}
	invitation, err := doc.invitation()
	if err != nil {
		return nil, err
	}
	var peers []bus.Peer
	known := map[string]bool{}
	for _, p := range configured {
		peers, known[p.Name] = append(peers, bus.Peer{Name: p.Name, PublicKey: p.PublicKey}), true
	}
	if invitation == nil {
		return peers, nil
	}
	for _, m := range invitation.Members {
		if d := m.Descriptor; !known[d.Name] {
			peers = append(peers, bus.Peer{Name: d.Name, PublicKey: d.PublicKey})
		}
	}
	return peers, nil
}

// livePeers returns the peers that the running node of the region has: all members that were not removed.
func livePeers(c *ucli.Context, region string) ([]bus.Peer, error) {
	base, regions, err := askRegions(c)
	if err != nil {
		return nil, err
	}
	if regions.Region != region {
		return nil, fmt.Errorf("the node at %s is of region %s, the configuration of %s", base, regions.Region, region)
	}
	var peers []bus.Peer
	for _, m := range regions.Regions {
		if m.Name != region && m.State != string(globaltable.MemberRemoved) {
			peers = append(peers, bus.Peer{Name: m.Name, PublicKey: m.PublicKey})
		}
	}
	return peers, nil
}

// eventsKey returns the public key of the region's user of the events, which follows from that of its own user.
func eventsKey(own nkeys.KeyPair) (string, error) {
	seed, err := own.Seed()
	if err != nil {
		return "", err
	}
	defer clear(seed)
	key, err := bus.EventsKey(seed)
	if err != nil {
		return "", err
	}
	defer key.Wipe()
	return key.PublicKey()
}

// liveGrants returns who may read events, as the running node knows them.
func liveGrants(c *ucli.Context) (grants []bus.Grant, err error) {
	base, err := adminURL(c)
	if err != nil {
		return nil, err
	}
	list, err := askAdmin[admin.GrantList](c.Context, "list grants", adminPatience, http.MethodGet, base, "/v1/grants", nil)
	for _, g := range list.Grants {
		one := bus.Grant{Name: g.Name, PublicKey: g.PublicKey}
		for _, t := range g.Tables {
			one.Streams = append(one.Streams, t.Stream)
		}
		grants = append(grants, one)
	}
	return grants, err
}

// peers returns the descriptors of the document's peers, in its order, and reports all faults at once.
func (doc *nodeDocument) peers() ([]configuredPeer, error) {
	f := &faults{path: doc.path, file: doc.file}
	peers := make([]configuredPeer, 0, len(doc.Spec.Peers))
	for i, p := range doc.Spec.Peers {
		token, field := p.Descriptor, fmt.Sprintf("spec.peers[%d].descriptor", i)
		if p.DescriptorFile != "" {
			field += "File"
			b, err := readSecret(doc.resolve(p.DescriptorFile))
			if err != nil {
				f.addf(field, "%v", err)
				continue
			}
			token = string(b)
		}
		d, err := globaltable.ParseDescriptor(token)
		if err != nil {
			f.addf(field, "%v", err)
			continue
		}
		peers = append(peers, configuredPeer{d, token})
	}
	return peers, f.err()
}

// invitation returns the invitation that the document names; nil if it names none.
func (doc *nodeDocument) invitation() (*globaltable.Invitation, error) {
	if doc.Spec.Invitation == "" {
		return nil, nil
	}
	f := &faults{path: doc.path, file: doc.file}
	text, err := readFile(doc.resolve(doc.Spec.Invitation), maxInvitationFile)
	if err != nil {
		f.addf("spec.invitation", "%v", err)
		return nil, f.err()
	}
	i, err := globaltable.ParseInvitation(string(bytes.TrimSpace(text)))
	if err != nil {
		f.addf("spec.invitation", "%s: %v", doc.Spec.Invitation, err)
		return nil, f.err()
	}
	return i, nil
}

// configuredPeer is a peer that a document names.
type configuredPeer struct {
	globaltable.Descriptor
	token string // the descriptor, signed
}

// readSecret reads a file with one line: a password, a key, a descriptor. White space around it is dropped.
func readSecret(path string) ([]byte, error) {
	b, err := readFile(path, maxKeyFile)
	if err != nil {
		return nil, err
	}
	if b = bytes.TrimSpace(b); len(b) == 0 {
		return nil, fmt.Errorf("%s: is empty", path)
	}
	return b, nil
}

// readKey reads a region's key. The caller wipes it.
func readKey(path string) (nkeys.KeyPair, error) {
	seed, err := readSecret(path)
	if err != nil {
		return nil, fmt.Errorf("read key: %w", err)
	}
	key, err := nkeys.FromSeed(seed)
	if err != nil {
		return nil, fmt.Errorf("read key: %s: no nkey seed: %w", path, err)
	}
	public, err := key.PublicKey()
	if err != nil || !nkeys.IsValidPublicUserKey(public) {
		return nil, errors.Join(fmt.Errorf("read key: %s: is no nkey of kind User; `concordat region keygen` makes one", path), err)
	}
	return key, nil
}
