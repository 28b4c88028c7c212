package publish

import (
	"time"

	"github.com/concordat-db/concordat/globaltable"
)

// Retention returns how long and how much of a table's events JetStream keeps: what the table's stream keeps.
func Retention(*globaltable.Table) (age time.Duration, bytes int64) { return 24 * time.Hour, 1 << 30 }
