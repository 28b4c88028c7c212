package plan_test

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/expr"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/globaltable/plan"
)

// few are values of each type of a key: few, so that they meet, and such whose encodings begin alike.
var few = map[item.Type][]item.Value{
	item.S: {text1("a"), text1("a\x00"), text1("a\x00b"), text1("ab"), text1("b"), text1("\xc3\xbf")},
	item.N: {number("-10"), number("-1"), number("0"), number("1"), number("1.5"), number("10"), number("100")},
	item.B: {item.AppendBinary(nil, "\x00"), item.AppendBinary(nil, "\x00\x01"), item.AppendBinary(nil, "\xff"), item.AppendBinary(nil, "\xff\xff"), item.AppendBinary(nil, "a")},
}

func text1(s string) item.Value { return item.AppendString(nil, s) }

func number(s string) item.Value {
	v, err := item.AppendNumberText(nil, s)
	if err != nil {
		panic(err)
	}
	return v
}

// keyed is an item with its key in a span.
type keyed struct {
	key item.Key
	it  item.Item
}

// drawn is a table, or an index of one, with some items.
type drawn struct {
	table           *globaltable.Table
	index           *globaltable.Index
	partition, sort []globaltable.KeyAttribute
	items           []keyed // ascending
}

func draw(t *rapid.T) *drawn {
	attribute := func(name string) globaltable.KeyAttribute {
		return globaltable.KeyAttribute{Name: name, Type: rapid.SampledFrom([]item.Type{item.S, item.N, item.B}).Draw(t, name)}
	}
	d := &drawn{table: &globaltable.Table{KeySchema: globaltable.KeySchema{Partition: attribute("pk")}}}
	if rapid.Bool().Draw(t, "sorted") {
		sort := attribute("sk")
		d.table.KeySchema.Sort = &sort
		d.sort = []globaltable.KeyAttribute{sort}
	}
	d.partition = []globaltable.KeyAttribute{d.table.KeySchema.Partition}
	if rapid.Bool().Draw(t, "index") {
		d.partition, d.sort = nil, nil
		for i := range rapid.IntRange(1, 3).Draw(t, "partition") {
			d.partition = append(d.partition, attribute("p"+strconv.Itoa(i)))
		}
		for i := range rapid.IntRange(0, 3).Draw(t, "sort") {
			d.sort = append(d.sort, attribute("s"+strconv.Itoa(i)))
		}
		if rapid.Bool().Draw(t, "shares the key") {
			d.sort = append(d.sort, d.table.KeySchema.Partition)
		}
		d.index = &globaltable.Index{ID: 1, Name: "x", Partition: d.partition, Sort: d.sort, Projection: globaltable.ProjectAll}
		d.table.Indexes = []globaltable.Index{*d.index}
		d.index = &d.table.Indexes[0]
	}
	for range rapid.IntRange(0, 30).Draw(t, "items") {
		d.items = append(d.items, d.item(t))
	}
	slices.SortFunc(d.items, func(a, b keyed) int { return bytes.Compare(a.key, b.key) })
	d.items = slices.CompactFunc(d.items, func(a, b keyed) bool { return bytes.Equal(a.key, b.key) })
	return d
}

// item draws an item with all the key's attributes.
func (d *drawn) item(t *rapid.T) keyed {
	attributes := []globaltable.KeyAttribute{d.table.KeySchema.Partition}
	if s := d.table.KeySchema.Sort; s != nil {
		attributes = append(attributes, *s)
	}
	for _, a := range append(slices.Clone(d.partition), d.sort...) {
		if !slices.Contains(attributes, a) {
			attributes = append(attributes, a)
		}
	}
	var b item.Builder
	for _, a := range attributes {
		b.Add([]byte(a.Name), rapid.SampledFrom(few[a.Type]).Draw(t, a.Name))
	}
	it, err := b.AppendItem(nil)
	if err != nil {
		t.Fatal(err)
	}
	key, err := plan.ItemKey(nil, &d.table.KeySchema, it)
	if err != nil {
		t.Fatal(err)
	}
	if d.index != nil {
		key, _, _ = d.index.AppendEntry(nil, it, key)
	}
	return keyed{key, it}
}

// terms draws terms that a query may have.
func (d *drawn) terms(t *rapid.T) (terms []expr.KeyTerm) {
	term := func(a globaltable.KeyAttribute, op expr.KeyOp) expr.KeyTerm {
		k := expr.KeyTerm{Name: []byte(a.Name), Op: op}
		k.Values[0] = rapid.SampledFrom(few[a.Type]).Draw(t, "value")
		if op == expr.KeyBetween {
			k.Values[1] = rapid.SampledFrom(few[a.Type]).Draw(t, "high")
		}
		return k
	}
	for _, a := range d.partition {
		terms = append(terms, term(a, expr.KeyEqual))
	}
	for i, n := 0, rapid.IntRange(0, len(d.sort)).Draw(t, "equal"); i <= n && i < len(d.sort); i++ {
		if i < n {
			terms = append(terms, term(d.sort[i], expr.KeyEqual))
			continue
		}
		ops := []expr.KeyOp{0, expr.KeyLess, expr.KeyLessOrEqual, expr.KeyGreater, expr.KeyGreaterOrEqual, expr.KeyBetween}
		if d.sort[i].Type != item.N {
			ops = append(ops, expr.KeyBeginsWith)
		}
		if op := rapid.SampledFrom(ops).Draw(t, "op"); op != 0 {
			terms = append(terms, term(d.sort[i], op))
		}
	}
	return rapid.Permutation(terms).Draw(t, "order")
}

// holds is the meaning of a term, by the values themselves.
func holds(k expr.KeyTerm, it item.Item) bool {
	v, _ := it.Get(k.Name)
	low, _ := v.Compare(k.Values[0])
	switch k.Op {
	case expr.KeyEqual:
		return low == 0
	case expr.KeyLess:
		return low < 0
	case expr.KeyLessOrEqual:
		return low <= 0
	case expr.KeyGreater:
		return low > 0
	case expr.KeyGreaterOrEqual:
		return low >= 0
	case expr.KeyBetween:
		high, _ := v.Compare(k.Values[1])
		return low >= 0 && high <= 0
	}
	return bytes.HasPrefix(v.Bytes(), k.Values[0].Bytes())
}

func within(s *plan.Span, k item.Key) bool {
	return (s.Lower == nil || bytes.Compare(k, s.Lower) >= 0) && (s.Upper == nil || bytes.Compare(k, s.Upper) < 0)
}

// TestSpansHoldWhatTheirTermsSay compares spans with the terms applied to each item, and starts each span again after each of its items.
func TestSpansHoldWhatTheirTermsSay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := draw(t)
		terms := d.terms(t)
		backward := rapid.Bool().Draw(t, "backward")
		query := func() *plan.Span {
			s, err := plan.Query(d.table, d.index, terms, backward)
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		s := query()
		var found []keyed
		for _, k := range d.items {
			want := !slices.ContainsFunc(terms, func(term expr.KeyTerm) bool { return !holds(term, k.it) })
			if got := within(s, k.key); got != want {
				t.Fatalf("an item is in the span: %v, want %v", got, want)
			}
			if want {
				found = append(found, k)
			}
		}
		if backward {
			slices.Reverse(found)
		}
		for i, k := range found {
			at, err := s.AppendPosition(nil, k.key)
			if err != nil {
				t.Fatal(err)
			}
			rest := query()
			if fault := rest.StartAfter(at); fault != plan.StartOK {
				if fault == plan.StartSingle && len(found) == 1 {
					continue
				}
				t.Fatalf("a start from the span is wrong: %v", fault)
			}
			for j, other := range found {
				if within(rest, other.key) != (j > i) {
					t.Fatalf("after item %d of %d, item %d is in the span: %v", i, len(found), j, j <= i)
				}
			}
		}
	})
}

// TestSegmentsCoverEverythingOnce looks at random keys, and at the bounds.
func TestSegmentsCoverEverythingOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := draw(t)
		n := rapid.SampledFrom([]uint64{1, 2, 3, 7, 1000, 1_000_000}).Draw(t, "segments")
		for _, k := range d.items {
			i := rapid.Uint64Range(0, n-1).Draw(t, "segment")
			lower, upper := plan.Scan(d.table, d.index, i, n).Lower, plan.Scan(d.table, d.index, i, n).Upper
			if i == 0 && lower != nil || i == n-1 && upper != nil || i < n-1 && !bytes.Equal(upper, plan.Scan(d.table, d.index, i+1, n).Lower) {
				t.Fatalf("segment %d of %d: %x to %x", i, n, lower, upper)
			}
			in := 0
			if n <= 7 {
				for i := range n {
					if within(plan.Scan(d.table, d.index, i, n), k.key) {
						in++
					}
				}
				if in != 1 {
					t.Fatalf("a key is in %d of %d segments", in, n)
				}
			}
		}
	})
}

// TestWrongQueries pins DynamoDB's texts.
func TestWrongQueries(t *testing.T) {
	table := &globaltable.Table{KeySchema: sorted} // pk N, sk B
	plain := &globaltable.Table{KeySchema: hash}   // pk S
	x := &globaltable.Index{Name: "x", Partition: []globaltable.KeyAttribute{{Name: "a", Type: item.S}, {Name: "b", Type: item.N}},
		Sort: []globaltable.KeyAttribute{{Name: "c", Type: item.S}, {Name: "d", Type: item.S}}}
	one, letter, blob := number("1"), text1("a"), item.Value(item.AppendBinary(nil, "a"))
	term := func(name string, op expr.KeyOp, v item.Value) expr.KeyTerm {
		return expr.KeyTerm{Name: []byte(name), Op: op, Values: [2]item.Value{v}}
	}
	ab := []expr.KeyTerm{term("a", expr.KeyEqual, letter), term("b", expr.KeyEqual, one)}
	for name, c := range map[string]struct {
		table *globaltable.Table
		index *globaltable.Index
		terms []expr.KeyTerm
		want  string
	}{
		"no partition key":       {table, nil, []expr.KeyTerm{term("sk", expr.KeyEqual, blob)}, "Query condition missed key schema element: pk"},
		"range of partition":     {table, nil, []expr.KeyTerm{term("pk", expr.KeyLess, one)}, "Query key condition not supported"},
		"another type":           {table, nil, []expr.KeyTerm{term("pk", expr.KeyEqual, letter)}, "One or more parameter values were invalid: Condition parameter type does not match schema type"},
		"another sort key":       {table, nil, []expr.KeyTerm{term("pk", expr.KeyEqual, one), term("x", expr.KeyEqual, one)}, "Query condition missed key schema element: sk"},
		"no sort key":            {plain, nil, []expr.KeyTerm{term("pk", expr.KeyEqual, letter), term("x", expr.KeyEqual, one)}, "Query key condition not supported"},
		"three terms":            {table, nil, []expr.KeyTerm{term("pk", expr.KeyEqual, one), term("sk", expr.KeyEqual, blob), term("x", expr.KeyEqual, one)}, "Query key condition not supported"},
		"empty":                  {table, nil, []expr.KeyTerm{term("pk", expr.KeyEqual, one), term("sk", expr.KeyEqual, item.AppendBinary(nil, ""))}, "One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an empty binary value. Key: sk"},
		"too large":              {plain, nil, []expr.KeyTerm{term("pk", expr.KeyEqual, text1(strings.Repeat("a", 2049)))}, "One or more parameter values were invalid: Size of hashkey has exceeded the maximum size limit of2048 bytes"},
		"half a partition key":   {table, x, ab[:1], "Query condition missed key schema element: b"},
		"a gap in the sort key":  {table, x, append(slices.Clone(ab), term("d", expr.KeyEqual, letter)), "Query condition missed key schema element: c"},
		"two ranges":             {table, x, append(slices.Clone(ab), term("c", expr.KeyLess, letter), term("d", expr.KeyLess, letter)), "Query key condition not supported"},
		"equality after a range": {table, x, append(slices.Clone(ab), term("c", expr.KeyLess, letter), term("d", expr.KeyEqual, letter)), "Query key condition not supported"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := plan.Query(c.table, c.index, c.terms, false); text(err) != c.want {
				t.Errorf("got %q, want %q", text(err), c.want)
			}
		})
	}
}

func TestStarts(t *testing.T) {
	table := &globaltable.Table{KeySchema: sorted}
	start := func(json string) plan.StartFault {
		s, err := plan.Query(table, nil, []expr.KeyTerm{{Name: []byte("pk"), Op: expr.KeyEqual, Values: [2]item.Value{number("1")}}}, false)
		if err != nil {
			t.Fatal(err)
		}
		return s.StartAfter(parse(t, json))
	}
	for json, want := range map[string]plan.StartFault{
		`{"pk":{"N":"1"},"sk":{"B":"YQ=="}}`:               plan.StartOK,
		`{"pk":{"N":"1"}}`:                                 plan.StartSize,
		`{"pk":{"N":"1"},"sk":{"B":"YQ=="},"x":{"N":"1"}}`: plan.StartSize,
		`{"pk":{"N":"1"},"sk":{"S":"a"}}`:                  plan.StartSchema,
		`{"pk":{"N":"1"},"x":{"B":"YQ=="}}`:                plan.StartSchema,
		`{"pk":{"N":"2"},"sk":{"B":"YQ=="}}`:               plan.StartOutside,
	} {
		if got := start(json); got != want {
			t.Errorf("%s: %v, want %v", json, got, want)
		}
	}
}
