package plan

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"slices"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/expr"
	"github.com/concordat-db/concordat/globaltable/item"
)

// Span is a run of the keys of a table, or of the entries of an index, that a Query or a Scan reads, in one direction.
type Span struct {
	Table    *globaltable.Table
	Index    *globaltable.Index // nil: the table itself
	Lower    item.Key           // the span begins with it; nil: at the first key
	Upper    item.Key           // the span ends before it; nil: after the last key
	Backward bool

	query  bool // it lies within one partition
	single bool // one item at most
}

// keys returns the attributes of the key that the span's order goes by.
func (s *Span) keys() (partition, sort []globaltable.KeyAttribute) {
	if s.Index != nil {
		return s.Index.Partition, s.Index.Sort
	}
	schema := &s.Table.KeySchema
	if schema.Sort != nil {
		sort = []globaltable.KeyAttribute{*schema.Sort}
	}
	return []globaltable.KeyAttribute{schema.Partition}, sort
}

// Query returns the span of the keys for which the terms hold: each attribute of the partition key is equal to a value; of the sort key, in the order of its attributes, some are, and one
// more may be in a range. Errors are *globaltable.Error of kind Invalid or *item.Error, in DynamoDB's words.
func Query(t *globaltable.Table, x *globaltable.Index, terms []expr.KeyTerm, backward bool) (*Span, error) {
	s := &Span{Table: t, Index: x, Backward: backward, query: true}
	partition, sort := s.keys()
	equal := make([]item.Value, 0, len(partition)+len(sort))
	rest := slices.Clone(terms)
	for i := range partition {
		term, ok := take(&rest, partition[i].Name)
		if !ok {
			return nil, missed(partition[i].Name)
		}
		if err := checkTerm(&partition[i], &term, item.MaxPartitionKeySize); err != nil {
			return nil, err
		}
		if term.Op != expr.KeyEqual {
			return nil, errKeyCondition
		}
		equal = append(equal, term.Values[0])
	}
	var within expr.KeyTerm
	for i := range sort {
		term, ok := take(&rest, sort[i].Name)
		if !ok {
			if len(rest) > 0 {
				return nil, missed(sort[i].Name)
			}
			break
		}
		if err := checkTerm(&sort[i], &term, item.MaxSortKeySize); err != nil {
			return nil, err
		}
		if term.Op != expr.KeyEqual {
			within = term
			break
		}
		equal = append(equal, term.Values[0])
	}
	if len(rest) > 0 {
		return nil, errKeyCondition
	}
	n := len(partition)
	prefix, err := item.AppendIndexKey(nil, equal[:n], equal[n:], nil)
	if err != nil {
		return nil, err
	}
	s.single = x == nil && len(equal) == n+len(sort)
	return s, s.narrow(prefix, equal, n, &within)
}

// take removes the term on the attribute from rest.
func take(rest *[]expr.KeyTerm, name string) (expr.KeyTerm, bool) {
	for i, t := range *rest {
		if string(t.Name) == name {
			*rest = slices.Delete(*rest, i, i+1)
			return t, true
		}
	}
	return expr.KeyTerm{}, false
}

var errKeyCondition = invalid("Query key condition not supported")

func missed(name string) error {
	return invalid("Query condition missed key schema element: " + name)
}

// checkTerm checks the operands of a term on a key's attribute.
func checkTerm(a *globaltable.KeyAttribute, t *expr.KeyTerm, limit int) error {
	for _, v := range t.Values {
		if v == nil {
			continue
		}
		if v.Type() != a.Type {
			return invalid("One or more parameter values were invalid: Condition parameter type does not match schema type")
		}
		if err := item.CheckKeyValue(a.Name, v, a.Type, limit); err != nil {
			return err
		}
	}
	return nil
}

// narrow sets the bounds: of the keys that begin with prefix, made of equal, those whose next part is as the term says. equal[:n] are of the partition key.
func (s *Span) narrow(prefix item.Key, equal []item.Value, n int, term *expr.KeyTerm) error {
	s.Lower, s.Upper = prefix, prefix.PrefixEnd()
	// from returns the keys that go on with v as a prefix: the first of them is the prefix itself.
	from := func(v item.Value) (item.Key, error) {
		return item.AppendIndexKey(nil, equal[:n], append(equal[n:len(equal):len(equal)], v), nil)
	}
	var low, high item.Key
	var err error
	if term.Op != 0 && term.Op != expr.KeyBeginsWith {
		if low, err = from(term.Values[0]); err != nil {
			return err
		}
	}
	switch term.Op {
	case expr.KeyLess:
		s.Upper = low
	case expr.KeyLessOrEqual:
		s.Upper = low.PrefixEnd()
	case expr.KeyGreater:
		s.Lower = low.PrefixEnd()
	case expr.KeyGreaterOrEqual:
		s.Lower = low
	case expr.KeyBetween:
		if high, err = from(term.Values[1]); err != nil {
			return err
		}
		s.Lower, s.Upper = low, high.PrefixEnd()
	case expr.KeyBeginsWith:
		if s.Lower, err = prefix.AppendPrefix(term.Values[0]); err != nil {
			return err
		}
		s.Upper = s.Lower.PrefixEnd()
	}
	return nil
}

// Scan returns the span of a segment, less than segments; 0 of 1 is all. Segments divide the hashes of partition keys evenly, so together they cover every key once.
func Scan(t *globaltable.Table, x *globaltable.Index, segment, segments uint64) *Span {
	s := &Span{Table: t, Index: x}
	if segment > 0 {
		s.Lower = binary.BigEndian.AppendUint64(nil, firstHash(segment, segments))
	}
	if segment+1 < segments {
		s.Upper = binary.BigEndian.AppendUint64(nil, firstHash(segment+1, segments))
	}
	return s
}

// firstHash returns the first hash of segment i of n, i less than n: 2^64 * i / n.
func firstHash(i, n uint64) uint64 {
	quotient, _ := bits.Div64(i, 0, n)
	return quotient
}

// StartFault says what is wrong with an ExclusiveStartKey.
type StartFault uint8

// The faults of a start.
const (
	StartOK      StartFault = iota
	StartSize               // it has another number of attributes
	StartSchema             // an attribute is missing, of another type, empty or too large
	StartOutside            // it is not a key of the span: of another partition, or another segment
	StartRange              // it is of a query's partition, but out of the range of the sort key
	StartSingle             // the span has one item at most, so nothing can come after one
)

// StartAfter makes the span begin after (backward: end before) the item whose key attributes start has, those of the index included.
func (s *Span) StartAfter(start item.Item) StartFault {
	base, fault := s.baseOf(start)
	if fault != StartOK {
		return fault
	}
	at := base
	if s.Index != nil {
		var ok bool
		if at, _, ok = s.Index.AppendEntry(nil, start, base); !ok {
			return StartSchema
		}
	}
	switch {
	case s.single:
		return StartSingle
	case !s.After(at):
		if s.query && s.samePartition(start) {
			return StartRange
		}
		return StartOutside
	}
	return StartOK
}

// Has reports whether key is one that an item of the span can have.
func (s *Span) Has(key item.Key) bool {
	partition, sort := s.keys()
	values, base, err := item.DecodeIndexKey(key, len(partition), len(sort))
	if err != nil {
		return false
	}
	if s.Index == nil {
		return len(base) == 0 && len(values) > 0
	}
	_, _, err = item.DecodeKey(base, s.Table.KeySchema.Sort != nil)
	return err == nil
}

// After makes the span begin after (backward: end before) one of its keys, and reports whether it is one.
func (s *Span) After(key item.Key) bool {
	switch {
	case s.Lower != nil && bytes.Compare(key, s.Lower) < 0 || s.Upper != nil && bytes.Compare(key, s.Upper) >= 0:
		return false
	case s.Backward:
		s.Upper = key
	default:
		s.Lower = key.Next()
	}
	return true
}

// samePartition reports whether a key is of the partition that a query reads.
func (s *Span) samePartition(start item.Item) bool {
	partition, _ := s.keys()
	values := make([]item.Value, len(partition))
	for i := range partition {
		values[i], _ = start.GetString(partition[i].Name)
	}
	prefix, err := item.AppendIndexKey(nil, values, nil, nil)
	return err == nil && bytes.HasPrefix(s.Lower, prefix)
}

// baseOf returns the key in the table of the item at which a page ended.
func (s *Span) baseOf(start item.Item) (item.Key, StartFault) {
	n := 0
	s.eachKeyName(func(string) { n++ })
	if start.Len() != n {
		return nil, StartSize
	}
	key, err := ItemKey(nil, &s.Table.KeySchema, start)
	if err != nil {
		return nil, StartSchema
	}
	return key, StartOK
}

// eachKeyName calls f with the names of the attributes of the table's key and of the index's, each once.
func (s *Span) eachKeyName(f func(name string)) {
	schema := &s.Table.KeySchema
	f(schema.Partition.Name)
	if schema.Sort != nil {
		f(schema.Sort.Name)
	}
	if s.Index == nil {
		return
	}
	for a := range s.Index.Keys {
		if a.Name != schema.Partition.Name && (schema.Sort == nil || a.Name != schema.Sort.Name) {
			f(a.Name)
		}
	}
}

// AppendPosition appends what StartAfter needs to go on after key, one of the span's: for LastEvaluatedKey.
func (s *Span) AppendPosition(dst []byte, key item.Key) (item.Item, error) {
	if s.Index == nil {
		return s.Table.KeySchema.AppendItem(dst, key)
	}
	values, base, err := item.DecodeIndexKey(key, len(s.Index.Partition), len(s.Index.Sort))
	if err != nil {
		return nil, err
	}
	own, err := s.Table.KeySchema.AppendItem(nil, base)
	if err != nil {
		return nil, err
	}
	var b item.Builder
	for name, v := range own.Each {
		b.Add(name, v)
	}
	i := 0
	for a := range s.Index.Keys {
		if _, is := own.GetString(a.Name); !is {
			b.Add([]byte(a.Name), values[i])
		}
		i++
	}
	return b.AppendItem(dst)
}

// AppendShown appends what the span shows of an item: of an index, what it projects.
func (s *Span) AppendShown(dst []byte, it item.Item) item.Item {
	dst, open := item.OpenItem(dst)
	n := 0
	for name, v := range it.Each {
		if s.Shows(name) {
			dst = append(item.AppendName(dst, name), v...)
			n++
		}
	}
	return open.Close(dst, n)
}

// Shows reports whether the span shows an attribute.
func (s *Span) Shows(name []byte) bool { return s.Index == nil || s.Table.Projects(s.Index, name) }

// ShowsAll reports whether the span shows items whole.
func (s *Span) ShowsAll() bool { return s.Index == nil || s.Index.Projection == globaltable.ProjectAll }

// Unshown returns the names of top-level attributes, of those that each gives, that the span does not show.
func (s *Span) Unshown(each func(func(name []byte) bool)) (names []string) {
	if s.ShowsAll() {
		return nil
	}
	each(func(name []byte) bool {
		if !s.Shows(name) && !slices.Contains(names, string(name)) {
			names = append(names, string(name))
		}
		return true
	})
	return names
}

// CheckFilter returns an error if the filter of a Query is about an attribute of the key that the query goes by: these are what key conditions are for. parameter is the filter's name in messages.
func (s *Span) CheckFilter(parameter string, each func(func(name []byte) bool)) (err error) {
	partition, sort := s.keys()
	each(func(name []byte) bool {
		is := func(a globaltable.KeyAttribute) bool { return a.Name == string(name) }
		if slices.ContainsFunc(partition, is) || slices.ContainsFunc(sort, is) {
			err = invalid(parameter + " can only contain non-primary key attributes: Primary key attribute: " + string(name))
		}
		return err == nil
	})
	return err
}
