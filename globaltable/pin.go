package globaltable

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable/item"
)

// Limits of locality policies.
const (
	MaxPins          = 64
	MaxPinNameLen    = 64
	MaxPinPlaces     = 32  // jurisdictions, or regions, of one
	MaxMatchLen      = 256 // bytes of a prefix, a delimiter or a component
	MaxMatchPosition = 16  // of a component
)

// Foreign is what a region does with a request for an item that may not be there. Its texts are part of the document.
type Foreign string

// The answers.
const (
	Reject  Foreign = "reject"  // an error
	Forward Foreign = "forward" // it is answered by a region where the item may be
)

// Match says which keys of a table a policy is about: those that fulfil all that is set. The zero value is about all of them. It compares bytes, of keys of type S and B only; no text of it has a NUL.
type Match struct {
	KeyPrefix     string `json:"keyPrefix,omitempty"`     // of the partition key
	Delimiter     string `json:"delimiter,omitempty"`     // the partition key is split at each,
	Component     int    `json:"component,omitempty"`     // and this part of it, counted from 1,
	Equals        string `json:"equals,omitempty"`        // is this
	SortKeyPrefix string `json:"sortKeyPrefix,omitempty"` // of the sort key
}

// Pin is a locality policy of a table: in which of the table's regions the items may be whose keys it matches. Of several that match a key the most specific one decides; see Rank.
type Pin struct {
	Name          string   `json:"name"`
	Match         Match    `json:"match,omitzero"`
	Jurisdictions []string `json:"jurisdictions,omitempty"` // sorted; either these
	Regions       []string `json:"regions,omitempty"`       // or these, sorted
	Foreign       Foreign  `json:"foreign"`
	SingleCopy    bool     `json:"singleCopy,omitempty"` // a placement of one region is meant
	Targets       []string `json:"targets,omitempty"`    // URLs, sorted: what is outside of the regions and may be told of the items; see NamesTarget
	// Released is true of a policy that is gone: the next less specific one decides. It is kept until those regions have all of its items that may have them again.
	Released bool `json:"released,omitempty"`
	// Gaining are the regions, sorted, that may have items of it, but may not have got all of them yet: they are fed, and serve none of these keys. See Replica.Placing.
	Gaining []hlc.Origin `json:"gaining,omitempty"`
}

// Rank orders what may match one key: the greater is the more specific. The zero value is the least: a whole table's.
type Rank [3]int

// Rank returns how specific m is: a longer prefix of the sort key goes before a shorter one or none, then a component of the partition key, then a longer prefix of it.
func (m *Match) Rank() Rank {
	component := 0
	if m.Component > 0 {
		component = 1
	}
	return Rank{len(m.SortKeyPrefix), component, len(m.KeyPrefix)}
}

// Compare orders ranks.
func (r Rank) Compare(o Rank) int { return slices.Compare(r[:], o[:]) }

// Has reports whether the key that has these values is one of m's.
func (m *Match) Has(partition, sort item.KeyPart) bool {
	return hasPrefix(partition.Bytes, m.KeyPrefix) && hasPrefix(sort.Bytes, m.SortKeyPrefix) && (m.Component == 0 || m.hasComponent(partition.Bytes))
}

func hasPrefix(b []byte, prefix string) bool {
	return len(b) >= len(prefix) && string(b[:len(prefix)]) == prefix
}

func (m *Match) hasComponent(b []byte) bool {
	delimiter := []byte(m.Delimiter)
	for range m.Component - 1 {
		i := bytes.Index(b, delimiter)
		if i < 0 {
			return false
		}
		b = b[i+len(delimiter):]
	}
	if i := bytes.Index(b, delimiter); i >= 0 {
		b = b[:i]
	}
	return string(b) == m.Equals
}

// Overlaps reports whether there may be a key of both. It errs on that side.
func (m *Match) Overlaps(o *Match) bool {
	compatible := func(a, b string) bool { return strings.HasPrefix(a, b) || strings.HasPrefix(b, a) }
	sameComponent := m.Component > 0 && m.Component == o.Component && m.Delimiter == o.Delimiter
	return compatible(m.KeyPrefix, o.KeyPrefix) && compatible(m.SortKeyPrefix, o.SortKeyPrefix) && (!sameComponent || m.Equals == o.Equals)
}

// Covers reports whether m matches each key that o matches. It errs on the side of no.
func (m *Match) Covers(o *Match) bool {
	sameComponent := m.Component == o.Component && m.Delimiter == o.Delimiter && m.Equals == o.Equals
	return strings.HasPrefix(o.KeyPrefix, m.KeyPrefix) && strings.HasPrefix(o.SortKeyPrefix, m.SortKeyPrefix) && (m.Component == 0 || sameComponent)
}

// IsTable reports whether m is about all keys.
func (m *Match) IsTable() bool { return *m == Match{} }

// Allows reports whether the items of p may be in a region; never if p is Released.
func (p *Pin) Allows(r *Replica) bool {
	return !p.Released && (slices.Contains(p.Regions, r.Region) || r.Jurisdiction != "" && slices.Contains(p.Jurisdictions, r.Jurisdiction))
}

// Clone returns a deep copy.
func (p *Pin) Clone() Pin {
	c := *p
	c.Jurisdictions, c.Regions, c.Targets, c.Gaining = slices.Clone(p.Jurisdictions), slices.Clone(p.Regions), slices.Clone(p.Targets), slices.Clone(p.Gaining)
	return c
}

// Validate reports all faults of p, for a table with that key schema. Kind Invalid.
func (p *Pin) Validate(keys *KeySchema) error {
	faults := p.faults(keys)
	if len(faults) == 0 {
		return nil
	}
	return &Error{Op: "check locality policy", Resource: p.Name, Kind: Invalid, Message: oneLine(errors.Join(faults...))}
}

func (p *Pin) faults(keys *KeySchema) []error {
	var faults []error
	fault := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	fault(ValidPolicyName(p.Name), "a policy's name has 1 to %d lower-case letters, digits, hyphens and dots, and begins with a letter or digit", MaxPinNameLen)
	fault(p.Foreign == Reject || p.Foreign == Forward, "foreign is %s or %s", Reject, Forward)
	fault((len(p.Jurisdictions) > 0) != (len(p.Regions) > 0), "a policy pins either to jurisdictions or to regions")
	fault(len(p.Jurisdictions) <= MaxPinPlaces && len(p.Regions) <= MaxPinPlaces, "a policy pins to %d jurisdictions, or regions, at most", MaxPinPlaces)
	fault(strictlySorted(p.Jurisdictions) && strictlySorted(p.Regions), "jurisdictions and regions are in order, each once")
	for _, j := range p.Jurisdictions {
		fault(ValidateJurisdiction(j) == nil, "%q is no jurisdiction's name", clip(j))
	}
	for _, r := range p.Regions {
		fault(ValidateRegionName(r) == nil, "%q is no region's name", clip(r))
	}
	fault(len(p.Targets) <= MaxPinTargets && strictlySorted(p.Targets), "targets are in order, each once, and %d at most", MaxPinTargets)
	for _, target := range p.Targets {
		if err := ValidatePinTarget(target); err != nil {
			fault(false, "%q: %s", clip(target), err.(*Error).Message)
		}
	}
	return append(faults, p.Match.faults(keys)...)
}

func (m *Match) faults(keys *KeySchema) []error {
	var faults []error
	fault := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	byPartition := m.KeyPrefix != "" || m.Component != 0 || m.Delimiter != "" || m.Equals != ""
	fault(!byPartition || keys.Partition.Type != item.N, "the partition key is a number: it has no prefix and no component")
	fault(m.KeyPrefix == "" || m.Component == 0, "a policy matches a prefix of the partition key, or a component of it")
	fault((m.Component != 0) == (m.Delimiter != "") && (m.Component != 0 || m.Equals == ""), "a component needs a delimiter, its position, counted from 1, and what it equals")
	fault(m.Component >= 0 && m.Component <= MaxMatchPosition, "a component's position is 1 to %d", MaxMatchPosition)
	fault(m.Component == 0 || !strings.Contains(m.Equals, m.Delimiter), "a component has no delimiter in it")
	fault(m.SortKeyPrefix == "" || keys.Sort != nil && keys.Sort.Type != item.N, "a prefix of the sort key needs one that is a string or binary")
	for _, s := range []string{m.KeyPrefix, m.Delimiter, m.Equals, m.SortKeyPrefix} {
		fault(len(s) <= MaxMatchLen && utf8.ValidString(s) && !strings.Contains(s, "\x00"), "what is matched is at most %d bytes of UTF-8, without NUL", MaxMatchLen)
	}
	return faults
}

// ValidPolicyName reports whether s can be the name of a policy: 1 to MaxPinNameLen lower-case letters, digits, hyphens and dots, the first a letter or digit.
func ValidPolicyName(s string) bool {
	return s != "" && len(s) <= MaxPinNameLen && s[0] != '-' && s[0] != '.' && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '.')
	})
}

func strictlySorted[T cmp.Ordered](s []T) bool {
	for i := 1; i < len(s); i++ {
		if s[i-1] >= s[i] {
			return false
		}
	}
	return true
}

// pinFaults are those of a table's policies together.
func (t *Table) pinFaults() []error {
	var faults []error
	fault := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	fault(len(t.Pins) <= MaxPins, "%d locality policies, at most %d", len(t.Pins), MaxPins)
	placing := slices.ContainsFunc(t.Replicas, func(r Replica) bool { return r.Placing != 0 })
	for i := range t.Pins {
		p := &t.Pins[i]
		for _, err := range p.faults(&t.KeySchema) {
			faults = append(faults, fmt.Errorf("locality policy %q: %w", clip(p.Name), err))
		}
		fault(strictlySorted(p.Gaining), "locality policy %q: regions that gain are not in order", clip(p.Name))
		fault(!p.Released || placing, "locality policy %q is gone and nobody waits for it", clip(p.Name))
		for _, o := range p.Gaining {
			r := t.Replica(o)
			fault(r != nil && r.Placing != 0, "locality policy %q: region %d gains and is not placing", clip(p.Name), o)
		}
		for j := range t.Pins[:i] {
			if other := &t.Pins[j]; !other.Released && !p.Released {
				fault(other.Name != p.Name, "two locality policies have the name %q", clip(p.Name))
				fault(other.Match.Rank() != p.Match.Rank() || !other.Match.Overlaps(&p.Match), "locality policies %q and %q may match the same key, and neither is more specific", clip(other.Name), clip(p.Name))
			}
		}
	}
	return faults
}
