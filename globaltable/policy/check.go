package policy

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/manifest"
)

// normalize makes d canonical.
func (d *Document) normalize() {
	if l := d.Locality; l != nil {
		slices.Sort(l.Pin.Jurisdictions)
		slices.Sort(l.Pin.Regions)
		slices.Sort(l.Targets)
		l.Pin.Jurisdictions, l.Pin.Regions, l.Targets = orNil(l.Pin.Jurisdictions), orNil(l.Pin.Regions), orNil(l.Targets)
		l.Foreign = cmp.Or(l.Foreign, globaltable.Reject)
	}
	if r := d.Replication; r != nil {
		slices.Sort(r.Regions)
		r.Regions = orNil(r.Regions)
		if len(r.Attributes) == 0 {
			r.Attributes = nil
		}
		for _, limits := range []**Kept{&r.Streams, &r.Conflicts} {
			if *limits != nil && **limits == (Kept{}) {
				*limits = nil
			}
		}
	}
}

func orNil(s []string) []string {
	if len(s) == 0 {
		return nil
	}
	return s
}

// faults returns all that is wrong in d, whatever its table is like.
func (d *Document) faults() []manifest.Fault {
	var c checker
	c.check(globaltable.ValidPolicyName(d.Name), "metadata.name", "a policy's name has 1 to %d lower-case letters, digits, hyphens and dots, and begins with a letter or digit", globaltable.MaxPinNameLen)
	switch {
	case d.Kind == LocalityPolicy && d.Locality != nil:
		c.locality(d.Locality)
	case d.Kind == ReplicationPolicy && d.Replication != nil:
		c.replication(d.Replication)
	case d.Kind == LocalityPolicy || d.Kind == ReplicationPolicy:
		c.check(false, "spec", "it is missing")
	default:
		c.check(false, "kind", "it is %q; it can be %s or %s", manifest.Clip(string(d.Kind)), LocalityPolicy, ReplicationPolicy)
	}
	return c.faults
}

type checker struct{ faults []manifest.Fault }

func (c *checker) check(ok bool, path, format string, args ...any) {
	if !ok {
		c.faults = append(c.faults, manifest.FaultAt(path, format, args...))
	}
}

// err notes an error of globaltable.
func (c *checker) err(path string, err error) {
	if err == nil {
		return
	}
	message := err.Error()
	if e := (*globaltable.Error)(nil); errors.As(err, &e) && e.Message != "" {
		message = e.Message
	}
	c.check(false, path, "%s", message)
}

func (c *checker) table(path, name string) {
	c.check(globaltable.ValidTableName(name), path, "the name of a table has %d to %d letters, digits, '_', '-' and '.'", globaltable.MinTableNameLen, globaltable.MaxTableNameLen)
}

func (c *checker) locality(l *Locality) {
	m := &l.Match
	c.table("spec.match.table", m.Table)
	c.matched("spec.match.keyPrefix", m.KeyPrefix)
	c.matched("spec.match.sortKeyPrefix", m.SortKeyPrefix)
	if k := m.Key; k != nil {
		c.check(m.KeyPrefix == "", "spec.match", "it has keyPrefix and key: a policy matches a prefix of the partition key, or a component of it")
		c.check(k.Delimiter != "", "spec.match.key.delimiter", "it is empty")
		c.matched("spec.match.key.delimiter", k.Delimiter)
		c.matched("spec.match.key.equals", k.Equals)
		c.check(k.Component >= 1 && k.Component <= globaltable.MaxMatchPosition, "spec.match.key.component", "it is %d; components are counted from 1, to %d", k.Component, globaltable.MaxMatchPosition)
		c.check(k.Delimiter == "" || !strings.Contains(k.Equals, k.Delimiter), "spec.match.key.equals", "it has the delimiter in it, which no component has")
	}
	c.check((len(l.Pin.Jurisdictions) > 0) != (len(l.Pin.Regions) > 0), "spec.pin", "a policy pins either to jurisdictions or to regions")
	c.names("spec.pin.jurisdictions", l.Pin.Jurisdictions, globaltable.MaxPinPlaces, globaltable.ValidateJurisdiction)
	c.names("spec.pin.regions", l.Pin.Regions, globaltable.MaxPinPlaces, globaltable.ValidateRegionName)
	c.check(l.Foreign == globaltable.Reject || l.Foreign == globaltable.Forward, "spec.foreign", "it is %q; it can be %s or %s", manifest.Clip(string(l.Foreign)), globaltable.Reject, globaltable.Forward)
	c.check(l.SingleCopy == "" || l.SingleCopy == Allowed, "spec.singleCopy", "it is %q; it can be %s, or left out", manifest.Clip(l.SingleCopy), Allowed)
	c.names("spec.targets", l.Targets, globaltable.MaxPinTargets, globaltable.ValidatePinTarget)
}

// matched checks a text that keys are compared with.
func (c *checker) matched(path, s string) {
	c.check(len(s) <= globaltable.MaxMatchLen && utf8.ValidString(s) && !strings.Contains(s, "\x00"), path, "what is matched is at most %d bytes of UTF-8, without NUL", globaltable.MaxMatchLen)
}

// kept checks limits of what a table keeps; nil: there are none.
func (c *checker) kept(path string, kind *globaltable.Kept, limits *Kept) {
	if limits == nil {
		return
	}
	if limits.Age != "" {
		_, err := kind.ParseAge(limits.Age)
		c.err(path+".age", err)
	}
	if limits.Bytes != "" {
		_, err := kind.ParseBytes(limits.Bytes)
		c.err(path+".bytes", err)
	}
}

// names checks a sorted list.
func (c *checker) names(path string, list []string, most int, valid func(string) error) {
	c.check(len(list) <= most, path, "it has %d entries, at most %d", len(list), most)
	for i, s := range list {
		if err := valid(s); err != nil {
			c.err(path, fmt.Errorf("%q: %s", manifest.Clip(s), messageOf(err)))
		}
		c.check(i == 0 || list[i-1] != s, path, "%q is there twice", manifest.Clip(s))
	}
}

func messageOf(err error) string {
	if e := (*globaltable.Error)(nil); errors.As(err, &e) && e.Message != "" {
		return e.Message
	}
	return err.Error()
}

func (c *checker) replication(r *Replication) {
	c.table("spec.table", r.Table)
	c.names("spec.regions", r.Regions, globaltable.MaxReplicas, globaltable.ValidateRegionName)
	if r.Merge != "" {
		_, err := globaltable.ParseMergeMode(r.Merge)
		c.err("spec.merge", err)
	}
	c.check(len(r.Attributes) <= globaltable.MaxTypes, "spec.attributes", "it has %d entries, at most %d", len(r.Attributes), globaltable.MaxTypes)
	for _, name := range slices.Sorted(maps.Keys(r.Attributes)) {
		_, _, err := globaltable.MergeTags("", map[string]string{name: r.Attributes[name]})
		c.err("spec.attributes", err)
	}
	if r.Acknowledge != "" {
		_, err := globaltable.ParseAcknowledge(r.Acknowledge)
		c.err("spec.acknowledge", err)
	}
	switch globaltable.StreamView(r.Stream) {
	case "", StreamOff, globaltable.ViewKeysOnly, globaltable.ViewNewImage, globaltable.ViewOldImage, globaltable.ViewNewAndOldImages:
	default:
		c.check(false, "spec.stream", "it is %q; it can be %s, %s, %s, %s or %s", manifest.Clip(r.Stream),
			globaltable.ViewNewAndOldImages, globaltable.ViewNewImage, globaltable.ViewOldImage, globaltable.ViewKeysOnly, StreamOff)
	}
	c.kept("spec.streamRecords", globaltable.StreamRecords, r.Streams)
	c.kept("spec.conflicts", globaltable.Conflicts, r.Conflicts)
}
