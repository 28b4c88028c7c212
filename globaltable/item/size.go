package item

// DynamoDB's limits.
const (
	MaxItemSize         = 400 * 1024 // bytes, as Item.Size counts
	MaxPartitionKeySize = 2048       // bytes of an S or B
	MaxSortKeySize      = 1024       // bytes of an S or B
	MaxNameSize         = 65535      // bytes of an attribute name
	MaxNesting          = 32         // levels: an attribute is on level 1, an element or entry one deeper than its container
)

// Sizes that DynamoDB adds to contents.
const (
	containerOverhead = 3 // of an M or an L
	elementOverhead   = 1 // of each entry or element of it
)

// Size returns DynamoDB's size of v in bytes: the length of an S or B; of a number one byte for each two significant digits, one
// more, and one for a minus sign; 1 for a BOOL or NULL; the sum of the elements of a set; for an M or L its contents, names
// included, and 3 bytes, and 1 for each entry.
func (v Value) Size() int {
	switch v.Type() {
	case S, B:
		return v.Len()
	case N:
		return v.Number().size()
	case BOOL, NULL:
		return 1
	case SS, NS, BS:
		n := 0
		for e := range v.Elements {
			n += e.Size()
		}
		return n
	case L:
		n := containerOverhead
		for e := range v.Elements {
			n += elementOverhead + e.Size()
		}
		return n
	case M:
		n := containerOverhead
		for name, e := range v.Each {
			n += elementOverhead + len(name) + e.Size()
		}
		return n
	}
	return 0
}

// Size returns DynamoDB's size of the item in bytes: names and values.
func (it Item) Size() int {
	n := 0
	for name, v := range it.Each {
		n += len(name) + v.Size()
	}
	return n
}

// CheckSize returns an *Error of class SizeExceeded if it is larger than MaxItemSize.
func CheckSize(it Item) error {
	// The size is at most twice the encoded length, which a list of NULLs comes near to; so most items need no walk.
	if len(it) <= MaxItemSize/2 || it.Size() <= MaxItemSize {
		return nil
	}
	return errItemSize
}
