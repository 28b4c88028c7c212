package globaltable

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nkeys"
)

const (
	invitationFormat  = 1
	maxInvitationLen  = 1 << 20                       // bytes of a token; descriptors of all members at their limit are shorter
	invitationContext = "concordat invitation v1\x00" // see signingContext
)

// MaxInvitationTime bounds how long an invitation is valid.
const MaxInvitationTime = 30 * 24 * time.Hour

// Invitation tells a new region of a running world whom it joins. A member signs it after it has made the region a member itself. It is no secret and gives no rights: those
// lie in the world's document, for the key of the region alone.
type Invitation struct {
	Region  Descriptor     // the region invited
	Members []SignedRegion // the active members when it was signed, without the region invited; at least one
	World   Version        // of the world's document that has the region for a member
	Issuer  string         // name of the member that signed
	Issued  time.Time      // whole seconds
	Expires time.Time      // whole seconds, after Issued: the region must have started once before
}

// SignedRegion is a region's descriptor with the token that it came from.
type SignedRegion struct {
	Descriptor Descriptor
	Token      string
}

// invitationPayload is the JSON form of an Invitation. Times are Unix seconds.
type invitationPayload struct {
	Format  int        `json:"format"`
	Region  Descriptor `json:"region"`
	Members []string   `json:"members"`
	Epoch   uint32     `json:"epoch"`
	Number  uint64     `json:"number"`
	Issuer  string     `json:"issuer"`
	Issued  int64      `json:"issued"`
	Expires int64      `json:"expires"`
}

// Validate reports all faults at once, with kind Invalid. Signatures are ParseInvitation's.
func (i *Invitation) Validate() error {
	var faults []error
	fault := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	if err := i.Region.Validate(); err != nil {
		faults = append(faults, err)
	}
	fault(len(i.Members) > 0 && len(i.Members) <= MaxMembers, "%d members: there must be 1 to %d", len(i.Members), MaxMembers)
	seen := []Descriptor{i.Region}
	issuer := false
	for _, m := range i.Members {
		for _, d := range seen {
			fault(d.Name != m.Descriptor.Name && d.Origin != m.Descriptor.Origin && d.PublicKey != m.Descriptor.PublicKey,
				"regions %s and %s have a name, number or key in common", d.Name, m.Descriptor.Name)
		}
		seen = append(seen, m.Descriptor)
		issuer = issuer || m.Descriptor.Name == i.Issuer
	}
	fault(issuer, "the region that signed is not among the members")
	fault(i.World.Epoch() > 0 && i.World.Number() > 0, "version %v of the world is not one that an owner issues", i.World)
	fault(i.Issued.Unix() > 0 && i.Expires.After(i.Issued) && i.Expires.Sub(i.Issued) <= MaxInvitationTime,
		"it is valid for %v; it can be up to %v", i.Expires.Sub(i.Issued), MaxInvitationTime)
	if len(faults) == 0 {
		return nil
	}
	return &Error{Op: "check invitation", Resource: i.Region.Name, Kind: Invalid, Err: errors.Join(faults...)}
}

// Check says why the invitation is not one with which the region d may start for the first time now: of kind Denied when it is another region's or has expired.
func (i *Invitation) Check(d *Descriptor, now time.Time) error {
	if err := i.Region.Matches(d); err != nil {
		return &Error{Op: "check invitation", Resource: d.Name, Kind: Denied, Message: "the invitation is for region " + i.Region.Name + " as its descriptor has it", Err: err}
	}
	if !now.Before(i.Expires) {
		return &Error{Op: "check invitation", Resource: d.Name, Kind: Denied,
			Message: "the invitation expired at " + i.Expires.UTC().Format(time.RFC3339) + "; `concordat region add` with the same descriptor writes a new one"}
	}
	return nil
}

// SignInvitation returns i as a token. The key must be that of the member that i names as its issuer.
func SignInvitation(i *Invitation, key nkeys.KeyPair) (string, error) {
	const op = "sign invitation"
	if err := i.Validate(); err != nil {
		return "", err
	}
	public, err := key.PublicKey()
	if err != nil {
		return "", &Error{Op: op, Resource: i.Region.Name, Kind: Invalid, Err: err}
	}
	if public != i.issuerKey() {
		return "", &Error{Op: op, Resource: i.Region.Name, Kind: Invalid, Message: "the key is not that of region " + i.Issuer}
	}
	p := invitationPayload{Format: invitationFormat, Region: i.Region, Epoch: i.World.Epoch(), Number: i.World.Number(), Issuer: i.Issuer,
		Issued: i.Issued.Unix(), Expires: i.Expires.Unix()}
	for _, m := range i.Members {
		p.Members = append(p.Members, m.Token)
	}
	payload, err := json.Marshal(&p)
	if err != nil {
		return "", &Error{Op: op, Resource: i.Region.Name, Err: err}
	}
	token, err := sealToken(invitationContext, payload, key)
	if err != nil {
		return "", &Error{Op: op, Resource: i.Region.Name, Err: err}
	}
	return token, nil
}

func (i *Invitation) issuerKey() string {
	for _, m := range i.Members {
		if m.Descriptor.Name == i.Issuer {
			return m.Descriptor.PublicKey
		}
	}
	return ""
}

// ParseInvitation decodes a token and verifies that it is signed by one of the members that it lists, and each member's descriptor by that member. Whether those are the members of the world that the
// operator means, nothing in it can prove. Errors are of kind Invalid, Unavailable for one of a newer release, or Denied for a false signature.
func ParseInvitation(token string) (*Invitation, error) {
	const op = "parse invitation"
	invalid := func(err error) (*Invitation, error) { return nil, &Error{Op: op, Kind: Invalid, Err: err} }
	if len(token) > maxInvitationLen {
		return invalid(fmt.Errorf("longer than %d bytes", maxInvitationLen))
	}
	payload, signature, err := openToken(token)
	if err != nil {
		return invalid(err)
	}
	p, newer, err := parseStrictly[invitationPayload](payload, invitationFormat)
	if err != nil {
		return invalid(err)
	}
	if newer {
		return nil, &Error{Op: op, Kind: Unavailable, Message: "the invitation was written by a newer version of concordat; upgrade this region"}
	}
	i := &Invitation{Region: p.Region, Issuer: p.Issuer, Issued: time.Unix(p.Issued, 0), Expires: time.Unix(p.Expires, 0)}
	if i.World, err = parseVersion(p.Epoch, p.Number); err != nil {
		return invalid(err)
	}
	for _, m := range p.Members {
		d, err := ParseDescriptor(m)
		if err != nil {
			return nil, err
		}
		i.Members = append(i.Members, SignedRegion{d, m})
	}
	if err := i.Validate(); err != nil {
		return nil, err
	}
	if err := checkToken(invitationContext, payload, signature, i.issuerKey()); err != nil {
		return nil, &Error{Op: op, Resource: i.Region.Name, Kind: Denied, Message: "the signature is not that of region " + i.Issuer, Err: err}
	}
	return i, nil
}
