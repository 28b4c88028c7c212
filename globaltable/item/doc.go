// Package item has attribute values, items, numbers and keys as bytes: the only binary encoding of items, the only wire
// JSON, DynamoDB's size rules, and keys whose bytes order as their values do.
//
// # Why bytes
//
// An item is decoded from a request once, stored, merged, logged, shipped, compared and encoded into answers. A tree of
// maps would be built and walked each time. So the types of this package are slices of encoded bytes with methods that read
// them in place: they allocate nothing, and views of one item share its memory.
//
// # Layout
//
// Numbers of bytes and of elements are unsigned varints (uvarint) of minimal length.
//
//	value    S, B             tag · length · bytes
//	         N                tag · length · Number
//	         BOOL             tag · 0 or 1
//	         NULL             tag
//	         M                tag · length · count · count × (name length · name · value), ascending by name
//	         L                tag · length · count · count × value
//	         SS, NS, BS       tag · length · count · count × value, ascending by the bytes of the elements
//	item     version (1) · count · count × (name length · name · value), ascending by name
//
// A length counts the bytes that follow it within the value, so skipping a value takes no walk. An element of a set has its
// tag, so it is a Value like any other. The body of an M is an item without its version byte.
//
// Three properties hold, and Check verifies each of them on bytes from elsewhere:
//
//   - Canonical: equal items are equal bytes. Names and sets are sorted, numbers have one form, varints are minimal.
//     Digests hash these bytes and merges break ties by them, so a second form of the same item would be a divergence.
//   - Self-delimiting: a value ends where its header says.
//   - Bounded: at most MaxNesting levels, so recursion over checked bytes is bounded.
//
// The methods of Value, Item, Number and Key read bytes that this package made or checked. On other bytes they may panic:
// CheckItem, CheckValue and DecodeKey are the gates.
//
// # Keys and numbers
//
// See Key and Number for their forms. A number within a value has the very form that it has within a key, so there is one
// number codec, and comparing two numbers is comparing bytes.
package item
