package item

// DynamoDB's limits.
const (
	MaxItemSize         = 400 * 1024 // bytes, as Item.Size counts
	MaxPartitionKeySize = 2048       // bytes of an S or B
	MaxSortKeySize      = 1024       // bytes of an S or B
	MaxNameSize         = 65535      // bytes of an attribute name
	MaxNesting          = 32         // levels of maps and lists
)

// CheckSize returns an *Error of class SizeExceeded if it is larger than MaxItemSize.
func CheckSize(it Item) error { panic("unfinished") }
