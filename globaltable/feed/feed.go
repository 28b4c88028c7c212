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
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
)

// The attributes of an entry. Whoever writes one of them writes the same as anybody else, or no less true: so an entry is the union of what was found. Those of parts are prefixPart and a hash of the part's name or path, which may be longer than an attribute's name, or no text; by which rules something was, say those of
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
		p.Name, p.Path, p.Lost, p.Won = slices.Clone(p.Name), slices.Clone(p.Path), slices.Clone(p.Lost), slices.Clone(p.Won)
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

// Versions returns what the loser and what the winner had made of the attributes in question, or of what is in question inside of them; nil: the item, or all of it, was not there.
func (e *Entry) Versions() (lost, won item.Item, err error) {
	parts := make([]located, 0, 2*len(e.Parts))
	for i := range e.Parts {
		p := &e.Parts[i]
		path := p.Path
		if path == nil {
			path = conflict.AppendPath(nil, p.Name)
		}
		parts = append(parts, located{path, p.Lost}, located{path, p.Won})
	}
	only := func(n int) (out []located) {
		for i := n; i < len(parts); i += 2 {
			if parts[i].value != nil {
				out = append(out, parts[i])
			}
		}
		return out
	}
	if lost, err = itemOf(only(0)); err == nil {
		won, err = itemOf(only(1))
	}
	return lost, won, err
}

// located is a value at a path.
type located struct {
	path  []byte
	value item.Value
}

// itemOf returns the item that has those values, sorted by name; nil for none.
func itemOf(values []located) (item.Item, error) {
	if len(values) == 0 {
		return nil, nil
	}
	b, err := builderOf(values)
	if err != nil {
		return nil, err
	}
	return b.AppendItem(nil)
}

// builderOf puts together what has one name. A value that is there beside others inside of it goes: they are newer.
func builderOf(values []located) (*item.Builder, error) {
	b := new(item.Builder)
	slices.SortStableFunc(values, func(x, y located) int {
		a, _, _ := conflict.SplitPath(x.path)
		o, _, _ := conflict.SplitPath(y.path)
		return bytes.Compare(a, o)
	})
	for len(values) > 0 {
		name, _, _ := conflict.SplitPath(values[0].path)
		var inside []located
		var own item.Value
		for len(values) > 0 {
			next, rest, _ := conflict.SplitPath(values[0].path)
			if !bytes.Equal(next, name) {
				break
			}
			if len(rest) == 0 {
				own = values[0].value
			} else {
				inside = append(inside, located{rest, values[0].value})
			}
			values = values[1:]
		}
		if len(inside) > 0 {
			inner, err := builderOf(inside)
			if err != nil {
				return nil, err
			}
			if own, err = inner.AppendMap(nil); err != nil {
				return nil, err
			}
		}
		b.Add(name, own)
	}
	return b, nil
}

// Text returns the part's path as people write it: names with points between them.
func Text(p *conflict.Part) string {
	if p.Path == nil {
		return string(p.Name)
	}
	var names []string
	for path := p.Path; len(path) > 0; {
		var name []byte
		name, path, _ = conflict.SplitPath(path)
		names = append(names, string(name))
	}
	return strings.Join(names, ".")
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
		set(partName(p), item.AppendBinary(nil, appendPart(nil, p)))
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
	partInside = 1 << 3
	partAdded  = 1 << 4 // conflict.Added
	partTaken  = 1 << 5 // conflict.Taken
	partFlags  = partLost | partWon | partWinner | partInside | partAdded | partTaken
)

// partName returns the attribute that a part is in an entry.
func partName(p *conflict.Part) string {
	path := p.Path
	if path == nil {
		path = conflict.AppendPath(nil, p.Name)
	}
	sum := sha256.Sum256(path)
	return prefixPart + hex.EncodeToString(sum[:16])
}

// appendHead appends what is not of single parts: version ‖ rule ‖ flags ‖ loser's write.
func (e *Entry) appendHead(dst []byte) []byte {
	return conflict.AppendWrite(append(dst, entryVersion), &e.Loser)
}

// appendPart appends version ‖ flags ‖ length ‖ name or path ‖ [winner's write] ‖ [length ‖ lost value] ‖ [length ‖ winning value].
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
	switch p.Effect {
	case conflict.Added:
		flags |= partAdded
	case conflict.Taken:
		flags |= partTaken
	}
	where := p.Name
	if p.Path != nil {
		where, flags = p.Path, flags|partInside
	}
	dst = append(dst, entryVersion, flags)
	dst = append(binary.AppendUvarint(dst, uint64(len(where))), where...)
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
			var p conflict.Part
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
	slices.SortFunc(e.Parts, func(a, b conflict.Part) int {
		return cmp.Or(bytes.Compare(a.Name, b.Name), bytes.Compare(a.Path, b.Path))
	})
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
	if e.Loser, rest, err = conflict.ReadWrite(b[1:]); err != nil || len(rest) > 0 {
		return corrupt("the write in the head of a conflict cannot be read")
	}
	return nil
}

func decodePart(b []byte, p *conflict.Part) (err error) {
	if len(b) < 2 || b[0] != entryVersion || b[1]&^partFlags != 0 {
		return corrupt("a part of a conflict cannot be read")
	}
	flags := b[1]
	switch flags & (partAdded | partTaken) {
	case 0:
	case partAdded:
		p.Effect = conflict.Added
	case partTaken:
		p.Effect = conflict.Taken
	default:
		return corrupt("a part of a conflict was added and taken")
	}
	if p.Effect != conflict.Made && flags&(partLost|partInside) != partLost {
		return corrupt("a contribution in a conflict has no value")
	}
	var ok bool
	if p.Name, b, ok = cutBytes(b[2:]); !ok {
		return corrupt("the name in a conflict cannot be read")
	}
	if flags&partInside != 0 {
		if p.Path = p.Name; conflict.CheckPath(p.Path) != nil {
			return corrupt("a path in a conflict is none")
		}
		p.Name, _, _ = conflict.SplitPath(p.Path)
	} else if !utf8.Valid(p.Name) || len(p.Name) > item.MaxNameSize {
		return corrupt("a name in a conflict is none")
	}
	if flags&partWinner != 0 {
		if p.Winner, b, err = conflict.ReadWrite(b); err != nil {
			return corrupt("the write in a part of a conflict cannot be read")
		}
	}
	for _, one := range []struct {
		flag byte
		v    *item.Value
	}{{partLost, &p.Lost}, {partWon, &p.Won}} {
		if flags&one.flag == 0 {
			continue
		}
		var v []byte
		if v, b, ok = cutBytes(b); !ok {
			return corrupt("a value in a conflict cannot be read")
		}
		*one.v = v
		if err := item.CheckValue(*one.v); err != nil {
			return corrupt("a value in a conflict is none")
		}
	}
	if len(b) > 0 {
		return corrupt("a part of a conflict has bytes after its end")
	}
	return nil
}

// cutBytes returns what a length stands before, at least one byte, and what follows.
func cutBytes(b []byte) (v, rest []byte, ok bool) {
	n, size := binary.Uvarint(b)
	if size <= 0 || n == 0 || n > uint64(len(b)-size) {
		return nil, nil, false
	}
	return b[size : size+int(n)], b[size+int(n):], true
}

func corrupt(message string) error {
	return &globaltable.Error{Op: "read conflict", Kind: globaltable.Corrupt, Message: message}
}
