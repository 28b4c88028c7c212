package globaltable

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nkeys"

	"github.com/concordat-db/concordat/conflict/hlc"
)

const (
	maxRegionNameLen   = 32
	maxJurisdictionLen = 16
	maxDescriptorNATS  = 16   // addresses
	maxNATSAddressLen  = 256  // bytes of one address
	maxTokenLen        = 8192 // bytes; a token with all fields at their limits is shorter
)

// Descriptor is the identity of a region. It is signed with the region's key, which also authenticates the region at its peers'
// NATS servers. Whoever holds a region's descriptor can check what a caller claims to be: see Matches.
type Descriptor struct {
	Name         string     `json:"name"`         // 1 to 32 lower-case letters, digits and hyphens, beginning with a letter, not ending with a hyphen
	Jurisdiction string     `json:"jurisdiction"` // 1 to 16 upper-case letters, digits and hyphens
	Origin       hlc.Origin `json:"origin"`       // 1 to 65535, unique for ever
	NATS         []string   `json:"nats"`         // where peers dial, at most 16, for example "nats://10.0.0.1:4222"; may be empty
	PublicKey    string     `json:"public_key"`   // nkey of kind User: "U" and 55 characters
}

// Validate reports all faults of d at once.
func (d *Descriptor) Validate() error {
	var faults []error
	if err := ValidateRegionName(d.Name); err != nil {
		faults = append(faults, err)
	}
	if err := ValidateJurisdiction(d.Jurisdiction); err != nil {
		faults = append(faults, err)
	}
	if d.Origin == 0 {
		faults = append(faults, errors.New("origin is zero"))
	}
	if len(d.NATS) > maxDescriptorNATS {
		faults = append(faults, fmt.Errorf("%d NATS addresses, at most %d", len(d.NATS), maxDescriptorNATS))
	}
	for _, a := range d.NATS {
		if a == "" || len(a) > maxNATSAddressLen || strings.ContainsFunc(a, func(r rune) bool { return r <= ' ' || r > '~' }) {
			faults = append(faults, errors.New("a NATS address is empty, too long or not printable ASCII"))
			break
		}
	}
	if !nkeys.IsValidPublicUserKey(d.PublicKey) {
		faults = append(faults, errors.New("public key is not an nkey of kind User"))
	}
	if len(faults) == 0 {
		return nil
	}
	return &Error{Op: "check region descriptor", Kind: Invalid, Err: errors.Join(faults...)}
}

// ValidateRegionName checks a region's name. A name begins with a letter: it is a token of NATS subjects, and an acknowledgement's
// subject has numbers at places that a wildcard may take for names.
func ValidateRegionName(name string) error {
	ok := name != "" && len(name) <= maxRegionNameLen && name[0] >= 'a' && name[0] <= 'z' && name[len(name)-1] != '-'
	for i := 0; ok && i < len(name); i++ {
		ok = isLower(name[i]) || isDigitOrHyphen(name[i])
	}
	if !ok {
		return &Error{Op: "check region name", Kind: Invalid, Message: fmt.Sprintf(
			"a region's name has 1 to %d lower-case letters, digits and hyphens, begins with a letter and does not end with a hyphen", maxRegionNameLen)}
	}
	return nil
}

// ValidateJurisdiction checks a jurisdiction's name.
func ValidateJurisdiction(name string) error {
	ok := name != "" && len(name) <= maxJurisdictionLen
	for i := 0; ok && i < len(name); i++ {
		ok = name[i] >= 'A' && name[i] <= 'Z' || isDigitOrHyphen(name[i])
	}
	if !ok {
		return &Error{Op: "check jurisdiction", Kind: Invalid, Message: fmt.Sprintf(
			"a jurisdiction has 1 to %d upper-case letters, digits and hyphens", maxJurisdictionLen)}
	}
	return nil
}

func isLower(c byte) bool         { return c >= 'a' && c <= 'z' }
func isDigitOrHyphen(c byte) bool { return c >= '0' && c <= '9' || c == '-' }

// Matches checks what a caller claims to be against the descriptor on record for it. Addresses may differ: they move; name,
// jurisdiction, origin and key may not. The error names the field and is of kind Denied.
func (d *Descriptor) Matches(claim *Descriptor) error {
	field := ""
	switch {
	case claim.Name != d.Name:
		field = "name"
	case claim.Jurisdiction != d.Jurisdiction:
		field = "jurisdiction"
	case claim.Origin != d.Origin:
		field = "origin"
	case claim.PublicKey != d.PublicKey:
		field = "key"
	default:
		return nil
	}
	return &Error{Op: "check region", Resource: d.Name, Kind: Denied, Message: "the " + field + " claimed differs from the region's descriptor"}
}

// signingContext keeps a signature of a descriptor from being taken for one of something else, and the other way round: the same key
// signs the challenges of NATS servers, which cannot contain a zero byte.
const signingContext = "concordat region descriptor v1\x00"

// Sign returns d as a token: base64url(JSON) "." base64url(ed25519 signature). The key must be that of d.PublicKey.
func Sign(d *Descriptor, key nkeys.KeyPair) (string, error) {
	const op = "sign region descriptor"
	if err := d.Validate(); err != nil {
		return "", err
	}
	public, err := key.PublicKey()
	if err != nil {
		return "", &Error{Op: op, Resource: d.Name, Kind: Invalid, Err: err}
	}
	if public != d.PublicKey {
		return "", &Error{Op: op, Resource: d.Name, Kind: Invalid, Message: "the key is not the descriptor's"}
	}
	payload, err := json.Marshal(d)
	if err != nil {
		return "", &Error{Op: op, Resource: d.Name, Err: err}
	}
	token, err := sealToken(signingContext, payload, key)
	if err != nil {
		return "", &Error{Op: op, Resource: d.Name, Err: err}
	}
	return token, nil
}

// ParseDescriptor decodes a token and verifies that it is signed with the key that it names. It does not say whether that key may speak for the
// region: the caller compares with the descriptor that it trusts (Matches). Errors are of kind Invalid, or Denied for a false signature.
func ParseDescriptor(token string) (Descriptor, error) {
	const op = "parse region descriptor"
	invalid := func(err error) (Descriptor, error) { return Descriptor{}, &Error{Op: op, Kind: Invalid, Err: err} }
	if len(token) > maxTokenLen {
		return invalid(fmt.Errorf("longer than %d bytes", maxTokenLen))
	}
	payload, signature, err := openToken(token)
	if err != nil {
		return invalid(err)
	}
	var d Descriptor
	if err := parsePayload(payload, &d); err != nil {
		return invalid(err)
	}
	if err := d.Validate(); err != nil {
		return Descriptor{}, err
	}
	if err := checkToken(signingContext, payload, signature, d.PublicKey); err != nil {
		return Descriptor{}, &Error{Op: op, Resource: d.Name, Kind: Denied, Message: "the signature is not by the key named", Err: err}
	}
	return d, nil
}
