// Package feed has the form of conflict feeds: which keys, records and indexes they consist of. It is pure.
//
// # A feed is a table
//
// The conflicts of a table (conflict.Losses) are records of a table of their own, with the id globaltable.TableID.Feed: in the store, in lanes, digests, joins, comparisons and collection they are treated as the table's own
// data, by the same code, and their placement is that of the item that they are about. So every region that may have the item lists the same conflicts, and no other has any of them.
//
// The key of a conflict is the item's key, then the losing dot. Each region writes down the conflicts that it merges, unless it has them; several may write the same one. An entry is an item of which each attribute is a part of what was lost, recorded attribute by attribute: so what
// several regions found of one conflict is joined by the ordinary merge, and nothing that one of them found is lost. Entries expire by an attribute of theirs, by the ordinary rules.
package feed

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
)

// The attributes of an entry. Whoever writes one of them writes the same as anybody else, or no less true: so an entry is the union of what was found. Those of parts are prefixPart and the name of what was lost; by which rules something was, say those of
// prefixRule and the rule's digit.
const (
	attributeBy      = "b" // S, always the same: the partition of ByTime
	attributeDot     = "d" // B, the losing dot: the sort key of ByTime
	attributeHead    = "h" // B, see Entry.appendHead
	attributeExpires = "x" // N, seconds
	attributeWhole   = "w" // BOOL, whether the item was deleted: a put or a delete was lost
	prefixRule       = "r" // BOOL
	prefixPart       = "p"
)

// ByTime is the index of every feed: all its conflicts in the order of the losing dots.
const ByTime globaltable.IndexID = 1

// nameSuffix is what a feed's name, for people, has after its table's. No table can have such a name.
const nameSuffix = "/conflicts"

var (
	byTime = globaltable.Index{
		ID: ByTime, Name: "by-time", Projection: globaltable.ProjectKeys,
		Partition: []globaltable.KeyAttribute{{Name: attributeBy, Type: item.S}}, Sort: []globaltable.KeyAttribute{{Name: attributeDot, Type: item.B}},
	}
	expiry = conflict.Expiry{{Attribute: attributeExpires, From: 1}}
	by     = item.AppendString(nil, "c")
)

// TableOf returns the feed of a table as a table: replicas, owner and version are t's. No attribute is of its key.
func TableOf(t *globaltable.Table) *globaltable.Table {
	c := *t
	c.ID, c.Name, c.KeySchema = t.ID.Feed(), t.Name+nameSuffix, globaltable.KeySchema{}
	c.Mode, c.Types, c.AcknowledgePeers, c.Stream = conflict.Attribute, nil, 0, globaltable.Stream{}
	c.Indexes, c.LastIndex, c.Expiry = []globaltable.Index{byTime}, ByTime, expiry
	return &c
}

// AppendKey appends the key of the conflict that the write with that dot, of the item with that key, lost.
func AppendKey(dst []byte, key item.Key, dot hlc.Stamp) item.Key {
	return dot.Append(append(dst, key...))
}

// ItemKey returns the item's key in a conflict's: a view. A key that is too short for one is returned whole.
func ItemKey(key item.Key) item.Key {
	if n := len(key) - hlc.StampLen; n > 0 {
		return key[:n:n]
	}
	return key
}

// DotOf returns the losing dot in a conflict's key.
func DotOf(key item.Key) (hlc.Stamp, bool) {
	return hlc.DecodeStamp(key[max(0, len(key)-hlc.StampLen):])
}

// AppendTimeKey appends the first bytes of the keys, in ByTime, of the conflicts of writes made at t by the origin, and after: a bound for a walk over the index.
func AppendTimeKey(dst []byte, s hlc.Stamp) (item.Key, error) {
	return item.AppendIndexKey(dst, []item.Value{by}, []item.Value{item.AppendBinary(nil, s.Append(nil))}, nil)
}

// ID names a conflict, in a world: its dot and its table.
type ID struct {
	Table globaltable.TableID // not the feed's
	Dot   hlc.Stamp
}

// String returns the id as people and programs write it: table, time and region in hexadecimal.
func (id ID) String() string {
	return fmt.Sprintf("%016x-%016x-%04x", uint64(id.Table), uint64(id.Dot.Time), uint16(id.Dot.Origin))
}

// ParseID is the inverse of String.
func ParseID(s string) (ID, error) {
	parts := strings.Split(s, "-")
	if len(parts) == 3 && len(parts[0]) == 16 && len(parts[1]) == 16 && len(parts[2]) == 4 {
		table, err1 := strconv.ParseUint(parts[0], 16, 64)
		at, err2 := strconv.ParseUint(parts[1], 16, 64)
		origin, err3 := strconv.ParseUint(parts[2], 16, 16)
		if err1 == nil && err2 == nil && err3 == nil && at > 0 && origin > 0 && !globaltable.TableID(table).IsFeed() {
			return ID{globaltable.TableID(table), hlc.Stamp{Time: hlc.Timestamp(at), Origin: hlc.Origin(origin)}}, nil
		}
	}
	return ID{}, &globaltable.Error{Op: "read conflict id", Resource: s, Kind: globaltable.Invalid, Message: "not the id of a conflict: three hexadecimal numbers of 16, 16 and 4 digits"}
}

// Entry is a conflict as it is listed.
type Entry struct {
	conflict.Loss
	Expires time.Time // to the second
}

// Clone returns a deep copy.
func (e *Entry) Clone() *Entry {
	c := *e
	c.Parts = slices.Clone(e.Parts)
	for i := range c.Parts {
		p := &c.Parts[i]
		p.Name, p.Lost, p.Won = slices.Clone(p.Name), slices.Clone(p.Lost), slices.Clone(p.Won)
	}
	return &c
}

// Winner returns the write that won: of several the greatest.
func (e *Entry) Winner() (w conflict.Write) {
	for i := range e.Parts {
		if p := &e.Parts[i]; w.Stamp.Less(p.Winner.Stamp) {
			w = p.Winner
		}
	}
	return w
}

// Versions returns what the loser and what the winner had made of the attributes in question; nil: the item, or all of the attributes, was not there.
func (e *Entry) Versions() (lost, won item.Item, err error) {
	var l, w item.Builder
	for i := range e.Parts {
		p := &e.Parts[i]
		if p.Lost != nil {
			l.Add(p.Name, p.Lost)
		}
		if p.Won != nil {
			w.Add(p.Name, p.Won)
		}
	}
	if l.Len() > 0 {
		if lost, err = l.AppendItem(nil); err != nil {
			return nil, nil, err
		}
	}
	if w.Len() > 0 {
		won, err = w.AppendItem(nil)
	}
	return lost, won, err
}

// Missing appends the operations that make what is listed of a conflict (nil: nothing is) tell of e too; none if it does.
func (e *Entry) Missing(ops []conflict.Op, listed item.Item) ([]conflict.Op, error) {
	set := func(name string, v item.Value) {
		if listed != nil {
			if _, has := listed.GetString(name); has {
				return
			}
		}
		ops = append(ops, conflict.Op{Kind: conflict.OpSetCell, Name: []byte(name), Value: v})
	}
	for i := range e.Parts {
		p := &e.Parts[i]
		set(prefixPart+string(p.Name), item.AppendBinary(nil, appendPart(nil, p)))
	}
	set(prefixRule+strconv.Itoa(int(e.Rule)), item.AppendBool(nil, true))
	if e.Whole {
		set(attributeWhole, item.AppendBool(nil, e.Deleted))
	}
	if listed != nil && len(ops) == 0 {
		return ops, nil
	}
	set(attributeBy, by)
	set(attributeDot, item.AppendBinary(nil, e.Loser.Stamp.Append(nil)))
	set(attributeHead, item.AppendBinary(nil, e.appendHead(nil)))
	set(attributeExpires, item.AppendInt(nil, e.Expires.Unix()))
	return ops, nil
}

const (
	entryVersion = 1

	partLost   = 1 << 0
	partWon    = 1 << 1
	partWinner = 1 << 2
	partFlags  = partLost | partWon | partWinner
)

// appendHead appends version ‖ loser's write.
func (e *Entry) appendHead(dst []byte) []byte {
	return conflict.AppendWrite(append(dst, entryVersion), &e.Loser)
}

// appendPart appends version ‖ flags ‖ [winner's write] ‖ [length ‖ lost value] ‖ [length ‖ winning value].
func appendPart(dst []byte, p *conflict.Part) []byte {
	var flags byte
	if p.Lost != nil {
		flags |= partLost
	}
	if p.Won != nil {
		flags |= partWon
	}
	if !p.Winner.Stamp.IsZero() {
		flags |= partWinner
	}
	dst = append(dst, entryVersion, flags)
	if flags&partWinner != 0 {
		dst = conflict.AppendWrite(dst, &p.Winner)
	}
	for _, v := range []item.Value{p.Lost, p.Won} {
		if v != nil {
			dst = append(binary.AppendUvarint(dst, uint64(len(v))), v...)
		}
	}
	return dst
}

// Decode returns the conflict that an entry is. Its bytes are views of it. The error is of kind Corrupt.
func Decode(it item.Item) (*Entry, error) {
	e := new(Entry)
	var failed error
	for name, v := range it.Each {
		switch {
		case string(name) == attributeHead:
			failed = e.decodeHead(v.Bytes())
		case string(name) == attributeExpires:
			seconds, _ := v.Number().Whole()
			e.Expires = time.Unix(seconds, 0).UTC()
		case string(name) == attributeWhole:
			e.Whole, e.Deleted = true, v.Bool()
		case strings.HasPrefix(string(name), prefixRule):
			failed = e.decodeRule(string(name[len(prefixRule):]))
		case strings.HasPrefix(string(name), prefixPart):
			p := conflict.Part{Name: name[len(prefixPart):]}
			if failed = decodePart(v.Bytes(), &p); failed == nil {
				e.Parts = append(e.Parts, p)
			}
		}
		if failed != nil {
			return nil, failed
		}
	}
	if e.Rule == 0 || e.Loser.Stamp.IsZero() {
		return nil, corrupt("the entry of a conflict lacks its head")
	}
	return e, nil
}

// decodeRule takes a rule by which something was lost: of several the strongest counts.
func (e *Entry) decodeRule(digit string) error {
	for rule := conflict.RuleItem; rule <= conflict.RuleFenced; rule++ {
		if digit == strconv.Itoa(int(rule)) {
			if e.Rule == 0 || rule < e.Rule {
				e.Rule = rule
			}
			return nil
		}
	}
	return corrupt("a conflict by a rule that is not known")
}

func (e *Entry) decodeHead(b []byte) (err error) {
	if len(b) == 0 || b[0] != entryVersion {
		return corrupt("the head of a conflict cannot be read")
	}
	var rest []byte
	if e.Loser, rest, err = conflict.ReadWrite(b[1:]); err == nil && len(rest) > 0 {
		err = corrupt("the head of a conflict has bytes after its end")
	}
	return err
}

func decodePart(b []byte, p *conflict.Part) (err error) {
	if len(b) < 2 || b[0] != entryVersion || b[1]&^partFlags != 0 {
		return corrupt("a part of a conflict cannot be read")
	}
	flags := b[1]
	b = b[2:]
	if flags&partWinner != 0 {
		if p.Winner, b, err = conflict.ReadWrite(b); err != nil {
			return err
		}
	}
	for _, one := range []struct {
		flag byte
		v    *item.Value
	}{{partLost, &p.Lost}, {partWon, &p.Won}} {
		if flags&one.flag == 0 {
			continue
		}
		n, size := binary.Uvarint(b)
		if size <= 0 || n == 0 || n > uint64(len(b)-size) {
			return corrupt("a value in a conflict cannot be read")
		}
		*one.v, b = item.Value(b[size:size+int(n)]), b[size+int(n):]
		if err := item.CheckValue(*one.v); err != nil {
			return corrupt("a value in a conflict is none")
		}
	}
	if len(b) > 0 {
		return corrupt("a part of a conflict has bytes after its end")
	}
	return nil
}

func corrupt(message string) error {
	return &globaltable.Error{Op: "read conflict", Kind: globaltable.Corrupt, Message: message}
}
