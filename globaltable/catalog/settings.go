package catalog

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/concordat-db/concordat/globaltable"
)

// Override is what one replica has instead of what the table has. Zero fields stay as they are.
type Override struct {
	Class globaltable.TableClass `json:"class,omitempty"`
	globaltable.ReadUnits
	Indexes map[string]globaltable.ReadUnits `json:"indexes,omitempty"` // of global indexes, by name, which have to be there
}

// Empty reports whether o changes nothing.
func (o *Override) Empty() bool {
	for _, units := range o.Indexes {
		if units != (globaltable.ReadUnits{}) {
			return false
		}
	}
	return o.Class == "" && o.ReadUnits == (globaltable.ReadUnits{})
}

// updateSettings changes what is no replica.
func updateSettings(next *globaltable.Table, change *Change) error {
	if err := updateBilling(next, change); err != nil {
		return err
	}
	if err := updateStream(next, change); err != nil {
		return err
	}
	if err := updateOwn(next, change); err != nil {
		return err
	}
	return followTags(next, change.Tag)
}

// unchanged says that what is provisioned is what is asked for. kind is that of the thing: "table" or "index"; thing names it where it needs a name.
func unchanged(thing, kind string, units globaltable.Throughput) string {
	return fmt.Sprintf("The provisioned throughput for the %s will not change. The requested value equals the current value. "+
		"Current ReadCapacityUnits provisioned for the %s: %d. Requested ReadCapacityUnits: %d. "+
		"Current WriteCapacityUnits provisioned for the %s: %d. Requested WriteCapacityUnits: %d. "+
		"Refer to the Amazon DynamoDB Developer Guide for current limits and how to request higher limits.",
		thing, kind, units.Read, units.Read, kind, units.Write, units.Write)
}

func updateBilling(next *globaltable.Table, change *Change) error {
	if change.Billing != nil {
		switch was := next.Billing; {
		case *change.Billing == globaltable.Provisioned:
			if was == globaltable.PayPerRequest { // of a table that was created so, that was the last time it was set
				next.OnDemandSince = max(next.OnDemandSince, next.CreatedAt)
			}
			next.OnDemandMax = globaltable.Throughput{}
			dropOverrides(next, func(u *globaltable.ReadUnits) { u.OnDemandRead = 0 })
			for i := range next.Indexes {
				next.Indexes[i].OnDemandMax = globaltable.Throughput{}
			}
		case was != globaltable.PayPerRequest:
			next.Throughput, next.OnDemandSince = globaltable.Throughput{}, max(change.At, next.CreatedAt)
			dropOverrides(next, func(u *globaltable.ReadUnits) { u.ReadCapacity = 0 })
			for i := range next.Indexes {
				next.Indexes[i].Throughput = globaltable.Throughput{}
			}
		}
		next.Billing = *change.Billing
	}
	if wanted := change.Throughput; wanted != nil {
		if change.Billing == nil && *wanted == next.Throughput {
			return invalid(next, unchanged("table", "table", *wanted))
		}
		next.Throughput = *wanted
	}
	if next.Billing == globaltable.PayPerRequest && next.Throughput != (globaltable.Throughput{}) {
		return invalid(next, "One or more parameter values were invalid: Neither ReadCapacityUnits nor WriteCapacityUnits can be "+
			"specified when BillingMode is PAY_PER_REQUEST")
	}
	set := func(units *int64, to *int64) {
		if to != nil {
			*units = *to
		}
	}
	set(&next.OnDemandMax.Read, change.OnDemandMaxRead)
	set(&next.OnDemandMax.Write, change.OnDemandMaxWrite)
	if next.Billing == globaltable.Provisioned && next.OnDemandMax != (globaltable.Throughput{}) {
		return invalid(next, "One or more parameter values were invalid: OnDemandThroughput can only be specified when BillingMode is PAY_PER_REQUEST")
	}
	set(&next.Warm.Read, change.WarmRead)
	set(&next.Warm.Write, change.WarmWrite)
	return nil
}

// dropOverrides takes what a billing mode does not have away from all that replicas have for themselves.
func dropOverrides(next *globaltable.Table, drop func(*globaltable.ReadUnits)) {
	for i := range next.Replicas {
		own := next.Replicas[i].Own
		if own == nil {
			continue
		}
		drop(&own.ReadUnits)
		for id, units := range own.Indexes {
			drop(&units)
			setUnits(own, id, units)
		}
	}
}

// setUnits gives a replica units of its own for an index; zero ones: none.
func setUnits(own *globaltable.Own, id globaltable.IndexID, units globaltable.ReadUnits) {
	switch {
	case units == (globaltable.ReadUnits{}):
		delete(own.Indexes, id)
		return
	case own.Indexes == nil:
		own.Indexes = map[globaltable.IndexID]globaltable.ReadUnits{}
	}
	own.Indexes[id] = units
}

// updateStream switches the stream on or off. Replicas do not need it, as DynamoDB's do: a table whose changes nobody reads does not pay for them.
func updateStream(next *globaltable.Table, change *Change) error {
	view := change.Stream
	switch {
	case view == nil:
	case *view == "" && next.Stream.View == "":
		return invalid(next, "Table has no stream to disable: TableName: "+next.Name)
	case *view == "":
		next.Stream.View = ""
	case next.Stream.View != "":
		return invalid(next, "Table already has an enabled stream: TableName: "+next.Name)
	default:
		streamOn(next, *view, change.At, change.Secret)
	}
	return nil
}

// streamOn switches the stream on. Its label is one that the table's streams never had; the secret is that of the first one.
func streamOn(next *globaltable.Table, view globaltable.StreamView, at int64, secret []byte) {
	if next.Stream.Secret != nil {
		secret = next.Stream.Secret
	}
	next.Stream = globaltable.Stream{View: view, Since: max(at, next.CreatedAt, next.Stream.Since+1), Secret: secret}
}

// updateOwn changes the settings of the replica in the region that asks, and the tags that are the whole table's.
func updateOwn(next *globaltable.Table, change *Change) error {
	var shared, tags = map[string]string{}, map[string]string{}
	for k, v := range change.Tag {
		if globaltable.IsSharedTag(k) {
			shared[k] = v
		} else {
			tags[k] = v
		}
	}
	for _, k := range change.Untag {
		if globaltable.IsSharedTag(k) {
			delete(next.Tags, k)
		}
	}
	next.Tags = merged(next.Tags, shared)
	if change.DeletionProtection != nil || change.Class != nil || len(tags) > 0 || slices.ContainsFunc(change.Untag, isOwnTag) {
		r := next.ReplicaNamed(change.Region)
		if r == nil {
			return NotFound("update table", next.Name)
		}
		own := ownOf(next, r)
		if change.DeletionProtection != nil {
			own.DeletionProtection = *change.DeletionProtection
		}
		if change.Class != nil {
			own.Class = *change.Class
		}
		for _, k := range change.Untag {
			delete(own.Tags, k)
		}
		own.Tags = merged(own.Tags, tags)
	}
	for i := range next.Replicas {
		if len(next.OwnOf(&next.Replicas[i]).Tags) > globaltable.MaxTags {
			return invalid(next, fmt.Sprintf("One or more parameter values were invalid: Too many tags: the limit is %d", globaltable.MaxTags))
		}
	}
	return nil
}

func isOwnTag(key string) bool { return !globaltable.IsSharedTag(key) }

// ownOf returns the settings of r, a replica of next, to be changed.
func ownOf(next *globaltable.Table, r *globaltable.Replica) *globaltable.Own {
	if r.Own == nil {
		own := next.OwnOf(r)
		if own.Class == next.Class {
			own.Class = ""
		}
		r.Own = &own
	}
	return r.Own
}

// merged returns a with b; nil if nothing is in it.
func merged(a, b map[string]string) map[string]string {
	if a == nil && len(b) > 0 {
		a = map[string]string{}
	}
	maps.Copy(a, b)
	if len(a) == 0 {
		return nil
	}
	return a
}

// overrideReplicas gives replicas that are there, or that the change creates, what they have for themselves.
func overrideReplicas(t, next *globaltable.Table, change *Change) error {
	for _, region := range slices.Sorted(maps.Keys(change.Overrides)) {
		o, r := change.Overrides[region], next.ReplicaNamed(region)
		if r == nil {
			return invalid(t, "Failed to update the replica of table with name: '"+t.Name+"' because it has no replica in region: "+region)
		}
		own := ownOf(next, r)
		own.Class = cmp.Or(o.Class, own.Class)
		units, err := overrideUnits(next, own.ReadUnits, o.ReadUnits, "")
		if err != nil {
			return err
		}
		own.ReadUnits = units
		for _, name := range slices.Sorted(maps.Keys(o.Indexes)) {
			x := next.IndexNamed(name)
			if x == nil || x.Local {
				return indexNotFound(next, name)
			}
			if units, err = overrideUnits(next, own.Indexes[x.ID], o.Indexes[name], " for index: "+name); err != nil {
				return err
			}
			setUnits(own, x.ID, units)
		}
	}
	return nil
}

// overrideUnits returns what becomes of a replica's units. whose names an index; empty: they are of the table.
func overrideUnits(next *globaltable.Table, units, to globaltable.ReadUnits, whose string) (globaltable.ReadUnits, error) {
	switch {
	case next.Billing == globaltable.PayPerRequest && to.ReadCapacity != 0:
		return units, invalid(next, "One or more parameter values were invalid: Neither ReadCapacityUnits nor WriteCapacityUnits can be specified"+whose+" when BillingMode is PAY_PER_REQUEST")
	case next.Billing == globaltable.Provisioned && to.OnDemandRead != 0:
		return units, invalid(next, "One or more parameter values were invalid: OnDemandThroughput can only be specified"+whose+" when BillingMode is PAY_PER_REQUEST")
	}
	return globaltable.ReadUnits{ReadCapacity: cmp.Or(to.ReadCapacity, units.ReadCapacity), OnDemandRead: cmp.Or(to.OnDemandRead, units.OnDemandRead)}, nil
}
