package item

import "bytes"

// Compare orders two values of one type that has an order, S, N or B: -1, 0 or 1 as v is less than, equal to or greater than o.
// ok is false for any other two.
func (v Value) Compare(o Value) (order int, ok bool) {
	t := v.Type()
	if t != o.Type() || t != S && t != N && t != B {
		return 0, false
	}
	return bytes.Compare(v.body(), o.body()), true
}

// AppendUnion appends the set of the elements of a and b, sets of one type.
func AppendUnion(dst []byte, a, b Value) []byte {
	dst, o := OpenValue(dst, a.Type())
	dst, n := mergeSets(dst, a, b, true, true)
	return o.Close(dst, n)
}

// AppendWithout appends the set of the elements of a that are not in b, a set of the same type. ok is false, and dst is returned
// as it was, when none is left: there is no empty set.
func AppendWithout(dst []byte, a, b Value) (out []byte, ok bool) {
	out, o := OpenValue(dst, a.Type())
	out, n := mergeSets(out, a, b, false, false)
	if n == 0 {
		return dst, false
	}
	return o.Close(out, n), true
}

// mergeSets walks two sets in order. It appends the elements that only a has and, where asked, those that both or only b have, and
// returns how many.
func mergeSets(dst []byte, a, b Value, both, onlyB bool) (out []byte, n int) {
	_, x := a.elements()
	_, y := b.elements()
	for len(x) > 0 || len(y) > 0 {
		var e, f, restX, restY []byte
		order := -1
		if len(x) > 0 {
			e, restX = split(x)
		}
		if len(y) > 0 {
			f, restY = split(y)
		}
		switch {
		case e == nil:
			order = 1
		case f != nil:
			order = compareElements(e, f)
		}
		take := true
		switch {
		case order == 0:
			x, y, take = restX, restY, both
		case order > 0:
			e, y, take = f, restY, onlyB
		default:
			x = restX
		}
		if take {
			dst = append(dst, e...)
			n++
		}
	}
	return dst, n
}
