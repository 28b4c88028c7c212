package check

import "bytes"

// Laws checks I5 over all pairs and triples of the states given: merge is commutative, associative and idempotent, bytes compared. The states
// should hold ties: equal stamps, the same origin, deletes against puts.
func Laws(merge func(a, b []byte) []byte, states [][]byte) []Violation {
	var out []Violation
	for i, a := range states {
		if !bytes.Equal(merge(a, a), a) {
			out = append(out, violation("I5", 0, "not idempotent: state %d with itself is another", i))
		}
		for j, b := range states {
			ab := merge(a, b)
			if j > i && !bytes.Equal(ab, merge(b, a)) {
				out = append(out, violation("I5", 0, "not commutative: states %d and %d", i, j))
			}
			for k, c := range states {
				if !bytes.Equal(merge(ab, c), merge(a, merge(b, c))) {
					out = append(out, violation("I5", 0, "not associative: states %d, %d and %d", i, j, k))
				}
			}
		}
	}
	return out
}
