package item

// Key is an encoded primary key: 8 bytes, big-endian, xxhash64 of the encoded partition key; the encoded partition key; the
// encoded sort key if the table has one.
type Key []byte

// AppendKey appends the key of the values given; sort is nil if the table has none. With sort nil it is also the common
// prefix of all keys of a partition. The error is an *Error: not S, N or B, empty, or too large.
func AppendKey(dst []byte, partition, sort Value) (Key, error) { panic("unfinished") }

// DecodeKey is the inverse of AppendKey, and checks k fully. The error is an *Error of class Corrupt. sort is nil without one.
func DecodeKey(k []byte, hasSort bool) (partition, sort Value, err error) { panic("unfinished") }

// Hash returns the hash of the partition key. k is at least 8 bytes long.
func (k Key) Hash() uint64 { panic("unfinished") }

// Bucket returns the upper bits of the hash: 0 to 1<<bits - 1. Buckets are ranges of keys.
func (k Key) Bucket(bits int) int { return int(k.Hash() >> (64 - bits)) }

// CheckKeyValue checks the value of the key attribute name: its type is want, it is not empty, it is at most limit bytes long
// (MaxPartitionKeySize or MaxSortKeySize). The error is an *Error with DynamoDB's text for PutItem.
func CheckKeyValue(name string, v Value, want Type, limit int) error { panic("unfinished") }
