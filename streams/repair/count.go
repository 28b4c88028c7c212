package repair

import "encoding/binary"

// Count returns how many records are in an encoding that Answer has made.
func Count(records []byte) (n int) {
	for len(records) > 0 {
		for range 2 { // key and record
			size, k := binary.Uvarint(records)
			if k <= 0 || size > uint64(len(records)-k) {
				return n // not Answer's
			}
			records = records[k+int(size):]
		}
		n++
	}
	return n
}
