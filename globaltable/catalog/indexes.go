package catalog

import (
	"fmt"
	"maps"
	"slices"

	"github.com/concordat-db/concordat/globaltable"
)

// giveIndex adds x to t under an id that no index of t ever had.
func giveIndex(t *globaltable.Table, x *globaltable.Index) {
	t.LastIndex++
	given := x.Clone()
	given.ID = t.LastIndex
	t.Indexes = append(t.Indexes, given)
}

// sameIndexes reports whether t gives no id a second time: an index that both have is the same one, and one that only t has is newer than all that old ever had.
func sameIndexes(old, t *globaltable.Table) bool {
	if t.LastIndex < old.LastIndex {
		return false
	}
	for i := range t.Indexes {
		x := &t.Indexes[i]
		if x.ID > old.LastIndex {
			continue
		}
		at := slices.IndexFunc(old.Indexes, func(o globaltable.Index) bool { return o.ID == x.ID })
		if at < 0 {
			return false
		}
		if !sameIndex(&old.Indexes[at], x) {
			return false
		}
	}
	return true
}

func sameIndex(o, x *globaltable.Index) bool {
	return o.Name == x.Name && o.Local == x.Local && slices.Equal(o.Partition, x.Partition) && slices.Equal(o.Sort, x.Sort) &&
		o.Projection == x.Projection && slices.Equal(o.NonKey, x.NonKey)
}

// replaced returns the ids that t gives to another index than old: that one is void, with the version of a fenced owner that brought it.
func replaced(old, t *globaltable.Table) (ids []globaltable.IndexID) {
	for i := range t.Indexes {
		x := &t.Indexes[i]
		at := slices.IndexFunc(old.Indexes, func(o globaltable.Index) bool { return o.ID == x.ID })
		if at >= 0 && !sameIndex(&old.Indexes[at], x) {
			ids = append(ids, x.ID)
		}
	}
	return ids
}

// IndexUnits is what becomes of a global index's throughput. Nil fields stay as they are.
type IndexUnits struct {
	Throughput       *globaltable.Throughput `json:"throughput,omitempty"`
	OnDemandMaxRead  *int64                  `json:"onDemandMaxRead,omitempty"` // 0: no maximum
	OnDemandMaxWrite *int64                  `json:"onDemandMaxWrite,omitempty"`
	WarmRead         *int64                  `json:"warmRead,omitempty"`
	WarmWrite        *int64                  `json:"warmWrite,omitempty"`
}

func (u *IndexUnits) apply(x *globaltable.Index) {
	if u.Throughput != nil {
		x.Throughput = *u.Throughput
	}
	for _, set := range [...]struct{ units, to *int64 }{
		{&x.OnDemandMax.Read, u.OnDemandMaxRead}, {&x.OnDemandMax.Write, u.OnDemandMaxWrite}, {&x.Warm.Read, u.WarmRead}, {&x.Warm.Write, u.WarmWrite},
	} {
		if set.to != nil {
			*set.units = *set.to
		}
	}
}

// updateIndexes makes the indexes of next what change asks for. Settings are changed already.
func updateIndexes(next *globaltable.Table, change *Change) error {
	for _, name := range slices.Sorted(maps.Keys(change.IndexUnits)) {
		x := next.IndexNamed(name)
		if x == nil || x.Local {
			return indexNotFound(next, name)
		}
		units := change.IndexUnits[name]
		if wanted := units.Throughput; wanted != nil && change.Billing == nil && *wanted == x.Throughput {
			return invalid(next, unchanged("index "+name, "index", *wanted))
		}
		units.apply(x)
	}
	if name := change.DeleteIndex; name != "" {
		x := next.IndexNamed(name)
		if x == nil || x.Local {
			return indexNotFound(next, name)
		}
		for i := range next.Replicas {
			if own := next.Replicas[i].Own; own != nil {
				delete(own.Indexes, x.ID)
			}
		}
		next.Indexes = slices.DeleteFunc(next.Indexes, func(x globaltable.Index) bool { return x.Name == name })
	}
	if x := change.CreateIndex; x != nil {
		if err := createIndex(next, x); err != nil {
			return err
		}
	}
	return billedIndexes(next)
}

// billedIndexes checks what indexes declare against the table's billing mode.
func billedIndexes(t *globaltable.Table) error {
	for i := range t.Indexes {
		switch x := &t.Indexes[i]; {
		case x.Local:
		case t.Billing == globaltable.PayPerRequest && x.Throughput != (globaltable.Throughput{}):
			return invalid(t, "One or more parameter values were invalid: ProvisionedThroughput should not be specified for index: "+x.Name+" when BillingMode is PAY_PER_REQUEST")
		case t.Billing == globaltable.Provisioned && x.Throughput == (globaltable.Throughput{}):
			return invalid(t, "One or more parameter values were invalid: ProvisionedThroughput must be specified for index: "+x.Name)
		case t.Billing == globaltable.Provisioned && x.OnDemandMax != (globaltable.Throughput{}):
			return invalid(t, "One or more parameter values were invalid: OnDemandThroughput should not be specified for index: "+x.Name+" when BillingMode is PROVISIONED")
		}
	}
	return nil
}

func createIndex(next *globaltable.Table, x *globaltable.Index) error {
	switch {
	case x.Local:
		return invalid(next, "One or more parameter values were invalid: A local secondary index can only be created with its table")
	case next.IndexNamed(x.Name) != nil:
		return invalid(next, "Attempting to create an index which already exists")
	}
	giveIndex(next, x)
	global, nonKeys := 0, 0
	for i := range next.Indexes {
		if !next.Indexes[i].Local {
			global++
		}
		nonKeys += len(next.Indexes[i].NonKey)
	}
	if global > globaltable.MaxGlobalIndexes {
		return invalid(next, fmt.Sprintf("One or more parameter values were invalid: GlobalSecondaryIndex count exceeds the per-table limit of %d", globaltable.MaxGlobalIndexes))
	}
	if nonKeys > globaltable.MaxProjectedNonKeys {
		return invalid(next, fmt.Sprintf("One or more parameter values were invalid: Number of NonKeyAttributes of all indexes exceeds the per-table limit of %d", globaltable.MaxProjectedNonKeys))
	}
	return nil
}

func indexNotFound(t *globaltable.Table, name string) error {
	return &globaltable.Error{Op: "update table", Resource: t.Name, Kind: globaltable.NotFound,
		Message: "Requested resource not found: Index: " + name + " of table: " + t.Name + " not found"}
}
