package bus

import (
	"cmp"
	"context"
	"encoding/base64"
	"slices"
	"sync"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"github.com/concordat-db/concordat/globaltable"
)

// door decides who may connect to an embedded server. It replaces the server's own list of users, which only a reload of all options can change,
// and a reload (v2.15.2) writes to every connection without the lock under which others read it, compares users by walking into connections
// at work, and leaves the account of a new peer without its imports.
type door struct {
	mu    sync.Mutex
	users map[string]*server.User // by public nkey
}

// Check implements server.Authentication: the client has signed the server's challenge with a key that is let in.
func (d *door) Check(c server.ClientAuthentication) bool {
	opts := c.GetOpts()
	if c.Kind() != server.CLIENT {
		return false
	}
	signature, err := base64.RawURLEncoding.DecodeString(opts.Sig)
	if err != nil {
		return false
	}
	key, err := nkeys.FromPublicKey(opts.Nkey)
	if err != nil || key.Verify(c.GetNonce(), signature) != nil {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	user := d.users[opts.Nkey]
	if user == nil {
		return false
	}
	c.RegisterUser(user) // under the lock: whoever takes the user away then finds the connection in its account
	return true
}

func (d *door) admit(users map[string]*server.User) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.users = users
}

// usersOf returns the users of options that were made of ServerConfig, with the accounts that srv has by the same names.
func usersOf(opts *server.Options, srv *server.Server) (map[string]*server.User, error) {
	users := make(map[string]*server.User, len(opts.Nkeys))
	for _, u := range opts.Nkeys {
		account, err := srv.LookupAccount(u.Account.Name)
		if err != nil {
			return nil, err
		}
		users[u.Nkey] = &server.User{Account: account, Permissions: u.Permissions}
	}
	return users, nil
}

// addAccount gives a running server the account of that name that ServerConfig describes, with services of the account from. One that was there before is as it was left.
func addAccount(srv *server.Server, name, from string, services []service) error {
	exporter, err := srv.LookupAccount(from)
	if err != nil {
		return err
	}
	account, fresh := srv.LookupOrRegisterAccount(name)
	if !fresh {
		return nil
	}
	for _, s := range services {
		responses := server.Singleton
		if s.Stream {
			responses = server.Streamed
		}
		if err := exporter.AddServiceExportWithResponse(s.Subject, responses, []*server.Account{account}); err != nil {
			return err
		}
		if s.Threshold > 0 {
			if err := exporter.SetServiceExportResponseThreshold(s.Subject, s.Threshold); err != nil {
				return err
			}
		}
		if err := account.AddServiceImport(exporter, cmp.Or(s.Local, s.Subject), s.Subject); err != nil {
			return err
		}
		if s.Local != "" {
			if err := account.AddMapping(s.Subject, s.Local); err != nil {
				return err
			}
		}
	}
	return nil
}

// disconnect ends the connections whose key users no longer has for the account that they are in.
func disconnect(srv *server.Server, users map[string]*server.User) error {
	conns, err := srv.Connz(&server.ConnzOptions{Username: true, Limit: maxConnections})
	if err != nil {
		return err
	}
	for _, c := range conns.Conns {
		user := users[c.AuthorizedUser]
		if c.Account == "" || user != nil && user.Account.Name == c.Account {
			continue // being let in just now, by the new list; or it stays
		}
		// An error says that the connection is gone already.
		_ = srv.DisconnectClientByID(c.Cid)
	}
	return nil
}

// SetPeers is Home.SetPeers. The account of a peer that goes stays, empty, until the server ends: nobody gets into it.
func (e *Embedded) SetPeers(_ context.Context, peers []Peer) error {
	e.lanes.Lock()
	defer e.lanes.Unlock()
	if slices.Equal(e.cfg.Peers, peers) {
		return nil
	}
	cfg := e.cfg
	cfg.Peers = slices.Clone(peers)
	return e.admit("set peers", cfg)
}

// SetGrants says who may read events from now on; see SetPeers. Whoever is not in the list any more is disconnected at once.
func (e *Embedded) SetGrants(_ context.Context, grants []Grant) error {
	e.lanes.Lock()
	defer e.lanes.Unlock()
	if slices.EqualFunc(e.cfg.Grants, grants, Grant.equal) {
		return nil
	}
	cfg := e.cfg
	cfg.Grants = slices.Clone(grants)
	return e.admit("set grants", cfg)
}

// admit lets in whom cfg names, and nobody else. The caller holds lanes.
func (e *Embedded) admit(op string, cfg EmbeddedConfig) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	fault := func(err error) error {
		return &globaltable.Error{Op: op, Resource: cfg.Region, Kind: globaltable.Internal, Err: err}
	}
	opts, err := cfg.accountOptions(e.keys)
	if err != nil {
		return err
	}
	// Accounts first: whoever gets in finds what it may do.
	for _, p := range cfg.Peers {
		if err := addAccount(e.server, peerAccount(p.Name), homeAccount, peerServices(p.Name)); err != nil {
			return fault(err)
		}
	}
	for _, g := range cfg.Grants {
		if err := addAccount(e.server, grantAccount(g), eventsAccount, grantServices(g)); err != nil {
			return fault(err)
		}
	}
	users, err := usersOf(opts, e.server)
	if err != nil {
		return fault(err)
	}
	e.desk.restrict(cfg.Peers)
	e.door.admit(users)
	if err := disconnect(e.server, users); err != nil {
		return fault(err)
	}
	e.cfg = cfg
	return nil
}
