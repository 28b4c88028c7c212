package conflict

import "encoding/binary"

// AppendPath appends a step to the path of an entry inside a map: the name of a top-level attribute first, then those of entries, each uvarint(length + 1) ‖ bytes. So a path tells its steps
// whatever bytes their names have, and none is the beginning of another one but of those within its entry. A path of an operation has at least two steps.
func AppendPath(dst []byte, name []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(name))+1), name...)
}

// isPath reports whether b is a path of at least two steps.
func isPath(b []byte) bool {
	steps := 0
	for len(b) > 0 {
		n, w := binary.Uvarint(b)
		if w <= 0 || n == 0 || n-1 > uint64(len(b)-w) || w > 1 && b[w-1] == 0 {
			return false
		}
		b = b[w+int(n-1):]
		steps++
	}
	return steps >= 2
}
