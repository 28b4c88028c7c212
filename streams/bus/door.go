package bus

import (
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

// addAccount gives a peer the account on a running server that ServerConfig describes. One that it had before is as it was left.
func addAccount(srv *server.Server, peer string) error {
	home, err := srv.LookupAccount(homeAccount)
	if err != nil {
		return err
	}
	account, fresh := srv.LookupOrRegisterAccount(peerAccount(peer))
	if !fresh {
		return nil
	}
	for _, s := range peerServices(peer) {
		responses := server.Singleton
		if s.Stream {
			responses = server.Streamed
		}
		if err := home.AddServiceExportWithResponse(s.Subject, responses, []*server.Account{account}); err != nil {
			return err
		}
		if s.Threshold > 0 {
			if err := home.SetServiceExportResponseThreshold(s.Subject, s.Threshold); err != nil {
				return err
			}
		}
		if err := account.AddServiceImport(home, s.Subject, s.Subject); err != nil {
			return err
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
	if err := cfg.Validate(); err != nil {
		return err
	}
	fault := func(err error) error {
		return &globaltable.Error{Op: "set peers", Resource: cfg.Region, Kind: globaltable.Internal, Err: err}
	}
	opts, err := cfg.accountOptions(e.key)
	if err != nil {
		return err
	}
	// Accounts first: whoever gets in finds what it may do.
	for _, p := range peers {
		if err := addAccount(e.server, p.Name); err != nil {
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
