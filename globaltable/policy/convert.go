package policy

import (
	"maps"
	"strings"

	"github.com/concordat-db/concordat/globaltable"
)

// PinOf returns the policy of a table's document that d, a LocalityPolicy, comes to.
func (d *Document) PinOf() globaltable.Pin {
	l := d.Locality
	p := globaltable.Pin{Name: d.Name, Match: globaltable.Match{KeyPrefix: l.Match.KeyPrefix, SortKeyPrefix: l.Match.SortKeyPrefix},
		Jurisdictions: l.Pin.Jurisdictions, Regions: l.Pin.Regions, Foreign: l.Foreign, SingleCopy: l.SingleCopy == Allowed, Targets: l.Targets}
	if k := l.Match.Key; k != nil {
		p.Match.Delimiter, p.Match.Component, p.Match.Equals = k.Delimiter, k.Component, k.Equals
	}
	return p.Clone()
}

// OfPin is the inverse of Document.PinOf, for a policy of the table named.
func OfPin(table string, p *globaltable.Pin) Document {
	c := p.Clone()
	l := &Locality{Match: Match{Table: table, KeyPrefix: c.Match.KeyPrefix, SortKeyPrefix: c.Match.SortKeyPrefix},
		Pin: Places{Jurisdictions: c.Jurisdictions, Regions: c.Regions}, Foreign: c.Foreign, Targets: c.Targets}
	if c.Match.Component > 0 {
		l.Match.Key = &Component{Delimiter: c.Match.Delimiter, Component: c.Match.Component, Equals: c.Match.Equals}
	}
	if c.SingleCopy {
		l.SingleCopy = Allowed
	}
	return Document{Kind: LocalityPolicy, Name: c.Name, Locality: l}
}

// Tags returns the change of the table's tags that r demands. What r does not name stays as it is. untag is sorted by what it is about.
func (r *Replication) Tags() (tag map[string]string, untag []string, err error) {
	tag, untag, err = globaltable.MergeTags(r.Merge, r.Attributes)
	if err != nil {
		return nil, nil, err
	}
	for _, limits := range []struct {
		kind *globaltable.Kept
		set  *Kept
	}{{globaltable.Conflicts, r.Conflicts}, {globaltable.StreamRecords, r.Streams}} {
		if limits.set == nil {
			continue
		}
		set, drop, err := limits.kind.Tags(limits.set.Age, limits.set.Bytes)
		if err != nil {
			return nil, nil, err
		}
		maps.Copy(tag, set)
		untag = append(untag, drop...)
	}
	if r.Acknowledge != "" {
		tag[globaltable.AcknowledgeTag] = r.Acknowledge
	}
	return tag, untag, nil
}

// Describe says in words which keys m is about.
func Describe(m *globaltable.Match) string {
	if m.IsTable() {
		return "every key of the table"
	}
	var parts []string
	if m.KeyPrefix != "" {
		parts = append(parts, "partition keys that begin with "+quote(m.KeyPrefix))
	}
	if m.Component > 0 {
		parts = append(parts, "partition keys whose component "+itoa(m.Component)+", split at "+quote(m.Delimiter)+", is "+quote(m.Equals))
	}
	if m.SortKeyPrefix != "" {
		parts = append(parts, "sort keys that begin with "+quote(m.SortKeyPrefix))
	}
	return strings.Join(parts, ", and ")
}
