package item

import "encoding/binary"

// Open is an item, an M, an L or a set on its way: OpenItem or OpenValue begins it, Close ends it. In between the caller appends its
// content as the encoding wants it: of an item or an M, AppendName and a value for each entry, the names ascending; of an L, values;
// of a set, values of its element type, ascending and without duplicates. So a part of an item is copied or changed on its way
// through, without a tree of it.
type Open struct {
	body int // where the body begins: at the count
	item bool
}

// OpenItem begins an item at the end of dst.
func OpenItem(dst []byte) ([]byte, Open) {
	dst = append(dst, itemVersion, 0)
	return dst, Open{len(dst) - 1, true}
}

// OpenValue begins a value of type t at the end of dst: M, L, SS, NS or BS.
func OpenValue(dst []byte, t Type) ([]byte, Open) {
	dst, start := beginBody(dst, t)
	return append(dst, 0), Open{body: start}
}

// AppendName appends the name of an entry; its value follows. The caller makes sure that it is UTF-8 and has 1 to MaxNameSize bytes.
func AppendName(dst, name []byte) []byte { return appendName(dst, name) }

// Close ends what o began in dst: it has count entries or elements.
func (o Open) Close(dst []byte, count int) []byte {
	if count < 0x80 {
		dst[o.body] = byte(count)
	} else {
		var wide [binary.MaxVarintLen64]byte
		w := binary.PutUvarint(wide[:], uint64(count))
		end := len(dst)
		dst = append(dst, wide[:w-1]...) // room; its content is overwritten
		copy(dst[o.body+w:], dst[o.body+1:end])
		copy(dst[o.body:], wide[:w])
	}
	if o.item {
		return dst
	}
	return endBody(dst, o.body)
}

// CheckNesting returns DynamoDB's error if v, as an attribute or element of the given level (1: an attribute of the item), has values
// deeper than MaxNesting.
func CheckNesting(v Value, level int) error {
	if level > MaxNesting {
		return errNesting
	}
	switch v.Type() {
	case M:
		for _, e := range v.Each {
			if err := CheckNesting(e, level+1); err != nil {
				return err
			}
		}
	case L:
		for e := range v.Elements {
			if err := CheckNesting(e, level+1); err != nil {
				return err
			}
		}
	}
	return nil
}
