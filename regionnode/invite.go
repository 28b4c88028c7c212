package regionnode

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode/admin"
)

// AddRegion makes the region of a signed descriptor a member of the world, and returns an invitation for it that is valid as long as given. For one that is a member already it writes
// another.
func (n *Node) AddRegion(ctx context.Context, descriptor string, valid time.Duration) (admin.Invitation, error) {
	const op = "add region"
	d, err := globaltable.ParseDescriptor(descriptor)
	if err != nil {
		return admin.Invitation{}, &globaltable.Error{Op: op, Kind: globaltable.Invalid, Message: "The descriptor is damaged, or not one of `concordat region descriptor`.", Err: err}
	}
	if len(d.NATS) == 0 {
		return admin.Invitation{}, &globaltable.Error{Op: op, Resource: d.Name, Kind: globaltable.Invalid,
			Message: "The descriptor of region " + d.Name + " has no NATS address: the other regions could not reach it. Sign one with --nats."}
	}
	if err := n.plane.AddRegion(ctx, descriptor); err != nil {
		return admin.Invitation{}, err
	}
	i, err := n.invite(d, time.Now(), valid)
	if err != nil {
		return admin.Invitation{}, err
	}
	token, err := globaltable.SignInvitation(i, n.key)
	if err == nil {
		err = n.noteInvitation(ctx, i)
	}
	if err != nil {
		return admin.Invitation{}, err
	}
	return admin.Invitation{Region: d.Name, Origin: uint16(d.Origin), World: i.World.String(), Expires: i.Expires.UTC().Format(time.RFC3339), Invitation: token}, nil
}

func (n *Node) invite(d globaltable.Descriptor, now time.Time, valid time.Duration) (*globaltable.Invitation, error) {
	v := n.catalog.View()
	w, ok := v.World()
	if !ok || !w.Active(d.Origin) {
		return nil, &globaltable.Error{Op: "invite region", Resource: d.Name, Kind: globaltable.Unavailable,
			Message: "Region " + d.Name + " is a member, and region " + n.cfg.Region.Name + " has not heard of it yet. Ask again."}
	}
	now = now.Truncate(time.Second)
	i := &globaltable.Invitation{Region: d, World: w.Version, Issuer: n.cfg.Region.Name, Issued: now, Expires: now.Add(valid)}
	for _, m := range w.Members {
		if m.State == globaltable.MemberActive && m.Descriptor.Origin != d.Origin {
			i.Members = append(i.Members, globaltable.SignedRegion{Descriptor: m.Descriptor, Token: m.Token})
		}
	}
	return i, nil
}

// CheckInvitation says why the region may not start with its invitation now: it is another region's or, at the first start, has expired.
func (c *Config) CheckInvitation(now time.Time) error {
	if c.Invitation == nil {
		return nil
	}
	started, err := c.started()
	if err != nil {
		return err
	}
	if started {
		now = c.Invitation.Issued // it has served its purpose
	}
	return c.Invitation.Check(&c.Region, now)
}

// started reports whether the region has a store.
func (c *Config) started() (bool, error) {
	entries, err := os.ReadDir(c.StoreDir())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return false, &globaltable.Error{Op: "look for the store", Resource: c.Region.Name, Kind: globaltable.Internal, Err: err}
	}
	return len(entries) > 0, nil
}

// withInvited returns the configured peers, and after them the members of the invitation that are not configured.
func (c *Config) withInvited() []PeerConfig {
	peers := c.Peers[:len(c.Peers):len(c.Peers)]
	if c.Invitation == nil {
		return peers
	}
	configured := map[string]bool{}
	for _, p := range c.Peers {
		configured[p.Descriptor.Name] = true
	}
	for _, m := range c.Invitation.Members {
		if !configured[m.Descriptor.Name] {
			peers = append(peers, PeerConfig{Descriptor: m.Descriptor, Token: m.Token, TLS: c.PeerTLS})
		}
	}
	return peers
}

// validateInvitation adds to validatePeers, which sees the members invited as peers: those must be reachable.
func (c *Config) validateInvitation() error {
	if c.Invitation == nil {
		return nil
	}
	if err := c.Invitation.Validate(); err != nil {
		return err
	}
	if err := c.Invitation.Region.Matches(&c.Region); err != nil {
		return fmt.Errorf("invitation: it is for another region: %w", err)
	}
	return nil
}
