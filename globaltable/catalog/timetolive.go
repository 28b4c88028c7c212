package catalog

import (
	"time"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
)

// TimeToLive is what a table's time to live is to become.
type TimeToLive struct {
	Attribute string `json:"attribute,omitempty"` // whose value says when an item expires; may be empty to disable it
	Enabled   bool   `json:"enabled"`
	// At is when it comes into force: a moment after the one at which the document is written (see TimeToLiveLead). The owner sets it.
	At hlc.Timestamp `json:"-"`
}

// TimeToLiveLead is how long before a change of the time to live comes into force its owner makes it. The document has to be stamped before; and most regions get it before.
const TimeToLiveLead = 2 * time.Second

// setTimeToLive makes the change, or says in DynamoDB's words why not. A setting that has not come into force yet counts as made.
func setTimeToLive(next *globaltable.Table, change *TimeToLive) error {
	x := next.Expiry
	current, at := next.Expiring(), max(change.At, x.Newest()+1)
	switch {
	case change.Enabled && current == change.Attribute:
		return invalid(next, "TimeToLive is already enabled")
	case !change.Enabled && current == "":
		return invalid(next, "TimeToLive is already disabled")
	case current != "" && current != change.Attribute && (change.Enabled || change.Attribute != ""):
		return invalid(next, "TimeToLive is active on a different AttributeName: current AttributeName is "+current)
	case change.Enabled && len(x) >= globaltable.MaxPeriods:
		return invalid(next, "Time to live has been modified multiple times within a fixed interval")
	case change.Enabled:
		next.Expiry = append(x, conflict.Period{Attribute: change.Attribute, From: at})
	default:
		x[len(x)-1].To = at // next's own
	}
	return nil
}
