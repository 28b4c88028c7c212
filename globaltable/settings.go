package globaltable

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/concordat-db/concordat/conflict/hlc"
)

// StreamView says what a change stream would show of a changed item. Its texts are DynamoDB's and part of the document.
type StreamView string

// The views. The empty one is that of a stream which is off.
const (
	ViewKeysOnly        StreamView = "KEYS_ONLY"
	ViewNewImage        StreamView = "NEW_IMAGE"
	ViewOldImage        StreamView = "OLD_IMAGE"
	ViewNewAndOldImages StreamView = "NEW_AND_OLD_IMAGES"
)

// Stream is the setting of a table's change stream. The zero value is a stream that was never on.
type Stream struct {
	View  StreamView // empty: off
	Since int64      // when it was switched on last, Unix milliseconds; it stays when the stream is switched off
	// Secret is what keys are hashed with where they must not be known, as in the ids of events: StreamSecretLen random bytes, for all streams of the table; nil if it never had one, or only under a release that had no events. Only regions know it.
	Secret []byte
}

// StreamSecretLen is the length of the secret of a table's streams, in bytes.
const StreamSecretLen = 16

// SharedTagPrefix begins the keys of tags that are settings of the whole table. All other tags are a replica's own, as in DynamoDB.
const SharedTagPrefix = "concordat:"

// maxSharedTags bounds the tags that are settings of the whole table: one for each declared type, and the others.
const maxSharedTags = MaxTypes + 14

// maxTagBytes bounds the tags of a document, all replicas together, in bytes.
const maxTagBytes = 64 << 10

// Own are the settings of one replica that DynamoDB does not carry to the others.
type Own struct {
	DeletionProtection bool
	Disassociable      bool       // the protection is off that keeps the replica from becoming a table of its own
	Class              TableClass // empty: the table's
	ReadUnits
	Indexes map[IndexID]ReadUnits // of global indexes of the table, those with any; nil: none
	Tags    map[string]string     // without the shared ones; nil: none
}

// ReadUnits are what a replica has for reads instead of what the table, or one of its global indexes, declares, in units per second. Zero, each: what that declares.
type ReadUnits struct {
	ReadCapacity int64 `json:"readCapacity,omitempty"` // provisioned
	OnDemandRead int64 `json:"onDemandRead,omitempty"` // maximum on demand
}

// Over returns what a replica with u has where the table, or an index, declares a throughput and a maximum on demand, under the table's billing mode.
func (u ReadUnits) Over(declared, most Throughput, mode BillingMode) (Throughput, Throughput) {
	switch {
	case mode == Provisioned && u.ReadCapacity > 0:
		declared.Read = u.ReadCapacity
	case mode == PayPerRequest && u.OnDemandRead > 0:
		most.Read = u.OnDemandRead
	}
	return declared, most
}

// OwnOf returns the settings of a replica of t. A replica without any of its own, as the one that the table was made with, has those of the table. The maps
// are shared with the document.
func (t *Table) OwnOf(r *Replica) Own {
	if r.Own != nil {
		own := *r.Own
		if own.Class == "" {
			own.Class = t.Class
		}
		return own
	}
	return Own{DeletionProtection: t.DeletionProtection, Class: t.Class, Tags: ownTags(t.Tags)}
}

// TagsOf returns all tags that a replica of t has: its own and the shared ones. The map is the caller's.
func (t *Table) TagsOf(r *Replica) map[string]string {
	tags := map[string]string{}
	maps.Copy(tags, t.OwnOf(r).Tags)
	for k, v := range t.Tags {
		if IsSharedTag(k) {
			tags[k] = v
		}
	}
	return tags
}

// IsSharedTag reports whether a tag with the key given is a setting of the whole table.
func IsSharedTag(key string) bool { return strings.HasPrefix(key, SharedTagPrefix) }

// ownTags returns a copy of tags without the shared ones; nil: none.
func ownTags(tags map[string]string) map[string]string {
	var own map[string]string
	for k, v := range tags {
		if IsSharedTag(k) {
			continue
		}
		if own == nil {
			own = map[string]string{}
		}
		own[k] = v
	}
	return own
}

// Begun returns when a replica of t was created, in Unix milliseconds.
func (t *Table) Begun(r *Replica) int64 { return max(t.CreatedAt, r.CreatedAt) }

// streamLabel is the form of labels: milliseconds, no zone.
const streamLabel = "2006-01-02T15:04:05.000"

// StreamSince returns when the newest stream of a replica of t began, in Unix milliseconds; 0: there never was one. The stream of a replica begins with the replica.
func (t *Table) StreamSince(r *Replica) int64 {
	if t.Stream.Since == 0 {
		return 0
	}
	return max(t.Stream.Since, t.Begun(r))
}

// StreamLabel returns the label of the newest stream of a replica of t; empty if there never was one.
func (t *Table) StreamLabel(r *Replica) string {
	since := t.StreamSince(r)
	if since == 0 {
		return ""
	}
	return LabelOf(since)
}

// LabelOf returns the label of the stream that began at since, in Unix milliseconds.
func LabelOf(since int64) string { return time.UnixMilli(since).UTC().Format(streamLabel) }

// ParseStreamLabel is the inverse of LabelOf, for times after 1970.
func ParseStreamLabel(label string) (since int64, ok bool) {
	at, err := time.Parse(streamLabel, label)
	if err != nil {
		return 0, false
	}
	since = at.UnixMilli()
	return since, since > 0 && LabelOf(since) == label
}

// StreamIn returns the change stream in which a region tells what changes in its replica of t: its view and when it began; see StreamLabel. ok is false if it tells nothing: the stream is off, or the replica is on its way in or out.
func (t *Table) StreamIn(o hlc.Origin) (s Stream, ok bool) {
	if r := t.Replica(o); r == nil || r.Status != Active && r.Status != Updating {
		return Stream{}, false
	}
	return t.StreamOn(o)
}

// StreamOn is StreamIn, whatever the replica's status: while it joins the stream is there, and nothing is told in it.
func (t *Table) StreamOn(o hlc.Origin) (s Stream, ok bool) {
	r := t.Replica(o)
	if r == nil || t.Stream.View == "" {
		return Stream{}, false
	}
	return Stream{View: t.Stream.View, Since: t.StreamSince(r)}, true
}

// settingsFaults is Validate for what lies in this file.
func (t *Table) settingsFaults() []error {
	var faults []error
	fault := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	switch t.Stream.View {
	case "", ViewKeysOnly, ViewNewImage, ViewOldImage, ViewNewAndOldImages:
	default:
		fault(false, "stream view %q is not known", t.Stream.View)
	}
	fault(len(t.Stream.Secret) == 0 || len(t.Stream.Secret) == StreamSecretLen, "the secret of the stream has %d bytes, not %d", len(t.Stream.Secret), StreamSecretLen)
	fault(t.Stream.Since >= 0 && (t.Stream.View == "" || t.Stream.Since > 0), "the stream has no beginning")
	for _, units := range []Throughput{t.OnDemandMax, t.Warm} {
		fault(units.Read >= 0 && units.Write >= 0, "units per second are negative")
	}
	fault(t.OnDemandMax == Throughput{} || t.Billing == PayPerRequest, "a maximum on demand needs billing mode %s", PayPerRequest)
	fault(t.OnDemandSince >= 0, "the billing mode has no beginning")
	shared := len(t.Tags) - len(ownTags(t.Tags))
	fault(shared <= maxSharedTags, "%d tags are settings, at most %d", shared, maxSharedTags)
	faults = append(faults, tagFaults(t.Tags, len(t.Tags)-shared)...)
	bytes := tagBytes(t.Tags)
	for i := range t.Replicas {
		r := &t.Replicas[i]
		fault(r.CreatedAt >= 0 && r.InaccessibleSince >= 0, "replica %d: a time is negative", i)
		own := r.Own
		if own == nil {
			continue
		}
		fault(own.Class == "" || own.Class == ClassStandard || own.Class == ClassInfrequentAccess, "replica %d: table class %q is not known", i, own.Class)
		fault(own.ReadCapacity >= 0 && own.OnDemandRead >= 0, "replica %d: units per second are negative", i)
		for id, units := range own.Indexes {
			fault(t.overridden(id, units), "replica %d: it has units that fit no global index, or not the table's billing mode", i)
		}
		faults = append(faults, tagFaults(own.Tags, len(own.Tags))...)
		for k := range own.Tags {
			fault(!IsSharedTag(k), "replica %d: tag %q is of the whole table", i, clip(k))
		}
		bytes += tagBytes(own.Tags)
	}
	fault(bytes <= maxTagBytes, "the tags of all replicas have %d bytes, at most %d", bytes, maxTagBytes)
	return faults
}

// overridden reports whether a replica of t may have those units for the index. There are some, so as many replicas have indexes of their own as the table has indexes, at most.
func (t *Table) overridden(id IndexID, units ReadUnits) bool {
	global := slices.ContainsFunc(t.Indexes, func(x Index) bool { return x.ID == id && !x.Local })
	if t.Billing == PayPerRequest {
		return global && units.OnDemandRead > 0 && units.ReadCapacity == 0
	}
	return global && units.ReadCapacity > 0 && units.OnDemandRead == 0
}

func tagBytes(tags map[string]string) (n int) {
	for k, v := range tags {
		n += len(k) + len(v)
	}
	return n
}

// tagFaults checks tags, of which so many count as a replica's own.
func tagFaults(tags map[string]string, own int) []error {
	var faults []error
	if own > MaxTags {
		faults = append(faults, fmt.Errorf("%d tags, at most %d", own, MaxTags))
	}
	for k, v := range tags {
		n := utf8.RuneCountInString(k)
		if n == 0 || n > MaxTagKeyLen || utf8.RuneCountInString(v) > MaxTagValueLen || !utf8.ValidString(k) || !utf8.ValidString(v) {
			faults = append(faults, fmt.Errorf("a tag has a key of 1 to %d and a value of at most %d characters", MaxTagKeyLen, MaxTagValueLen))
			break
		}
	}
	return faults
}

func (o *Own) clone() *Own {
	if o == nil {
		return nil
	}
	c := *o
	c.Indexes, c.Tags = maps.Clone(o.Indexes), maps.Clone(o.Tags)
	return &c
}
