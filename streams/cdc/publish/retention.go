package publish

import (
	"time"

	"github.com/concordat-db/concordat/globaltable"
)

// maxEventBytes bounds the events of a table in JetStream: it sets disk space aside for what a stream may grow to.
const maxEventBytes = 1 << 30

// Retention returns how long and how much of a table's events JetStream keeps: what the table's stream keeps, up to maxEventBytes. What readers need beyond that is in the store, and is filled in again when JetStream is made anew.
func Retention(t *globaltable.Table) (age time.Duration, bytes int64) {
	return globaltable.StreamRecords.Age(t.Streams), min(globaltable.StreamRecords.Size(t.Streams), maxEventBytes)
}
