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

// updateIndexes makes the indexes of next what change asks for. Settings are changed already.
func updateIndexes(next *globaltable.Table, change *Change) error {
	for _, name := range slices.Sorted(maps.Keys(change.IndexThroughput)) {
		x := next.IndexNamed(name)
		switch {
		case x == nil || x.Local:
			return indexNotFound(next, name)
		case next.Billing == globaltable.PayPerRequest:
			return invalid(next, fmt.Sprintf(textNoUnits, name))
		}
		x.Throughput = change.IndexThroughput[name]
	}
	if name := change.DeleteIndex; name != "" {
		if x := next.IndexNamed(name); x == nil || x.Local {
			return indexNotFound(next, name)
		}
		next.Indexes = slices.DeleteFunc(next.Indexes, func(x globaltable.Index) bool { return x.Name == name })
	}
	if x := change.CreateIndex; x != nil {
		if err := createIndex(next, x); err != nil {
			return err
		}
	}
	for i := range next.Indexes {
		if x := &next.Indexes[i]; !x.Local && next.Billing == globaltable.Provisioned && x.Throughput == (globaltable.Throughput{}) {
			return invalid(next, fmt.Sprintf(textNeedsUnits, x.Name))
		}
	}
	return nil
}

const (
	textNoUnits    = "One or more parameter values were invalid: ProvisionedThroughput should not be specified for index: %s when BillingMode is PAY_PER_REQUEST"
	textNeedsUnits = "One or more parameter values were invalid: ProvisionedThroughput must be specified for index: %s"
)

func createIndex(next *globaltable.Table, x *globaltable.Index) error {
	switch {
	case x.Local:
		return invalid(next, "One or more parameter values were invalid: A local secondary index can only be created with its table")
	case next.IndexNamed(x.Name) != nil:
		return invalid(next, "Attempting to create an index which already exists")
	case next.Billing == globaltable.PayPerRequest && x.Throughput != (globaltable.Throughput{}):
		return invalid(next, fmt.Sprintf(textNoUnits, x.Name))
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
