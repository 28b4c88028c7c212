package partiql

import (
	"bytes"
	"strings"
	"testing"

	"github.com/concordat-db/concordat/globaltable/expr"
	"github.com/concordat-db/concordat/globaltable/item"
)

// within reports whether the item is in one of the ranges.
func within(t *testing.T, ranges []expr.KeyCondition, it item.Item) bool {
	for _, r := range ranges {
		all := true
		for _, k := range r.Terms {
			v, ok := it.Get(k.Name)
			all = all && ok && matches(t, k, v)
		}
		if all {
			return true
		}
	}
	return false
}

func matches(t *testing.T, k expr.KeyTerm, v item.Value) bool {
	c, ordered := v.Compare(k.Values[0])
	switch k.Op {
	case expr.KeyEqual:
		return bytes.Equal(v, k.Values[0])
	case expr.KeyLess:
		return ordered && c < 0
	case expr.KeyLessOrEqual:
		return ordered && c <= 0
	case expr.KeyGreater:
		return ordered && c > 0
	case expr.KeyGreaterOrEqual:
		return ordered && c >= 0
	case expr.KeyBetween:
		d, also := v.Compare(k.Values[1])
		return ordered && also && c >= 0 && d <= 0
	case expr.KeyBeginsWith:
		return v.Type() == k.Values[0].Type() && bytes.HasPrefix(v.Bytes(), k.Values[0].Bytes())
	}
	t.Fatalf("operator %d", k.Op)
	return false
}

// checkWhere: however the clause is split for keys, it says the same.
func checkWhere(t *testing.T, statement string, w *Where) {
	for _, text := range []string{sample, `{"pk":{"N":"1"},"sk":{"S":"x"}}`, `{"pk":{"S":"a"},"sk":{"N":"2"},"n":{"N":"10"}}`} {
		it := parseItem(t, text)
		whole, err := w.condition(w.terms)
		if err != nil {
			t.Fatalf("%q: %v", statement, err)
		}
		ranges, filter, err := w.Query([]string{"pk"}, []string{"sk"})
		if err != nil {
			message(t, err)
			continue
		}
		if got := (ranges == nil || within(t, ranges, it)) && (filter == nil || filter.Holds(it)); got != whole.Holds(it) {
			t.Errorf("%q on %s: split %v", statement, text, got)
		}
		key, rest, err := w.Key("pk", "sk")
		if err != nil {
			continue
		}
		pk, _ := it.GetString("pk")
		sk, _ := it.GetString("sk")
		if got := bytes.Equal(pk, key[0]) && bytes.Equal(sk, key[1]) && (rest == nil || rest.Holds(it)); got != whole.Holds(it) {
			t.Errorf("%q on %s: key %v", statement, text, got)
		}
	}
}

// FuzzParse: any statement is parsed or refused, and what was parsed works.
func FuzzParse(f *testing.F) {
	for _, statement := range []string{
		`SELECT a, "b"[0].c FROM "t"."i" WHERE pk IN ['p', ?] AND sk BETWEEN 1 AND 2e1 AND NOT (s IS MISSING OR contains(ss, 'a')) ORDER BY sk DESC;`,
		`INSERT INTO t VALUE {'pk': 'it''s', 'l': [1, -2.5, <<'a'>>], 'm': {'x': NULL, 'y': ?}}`,
		`UPDATE t SET n = n + 1, l = list_append(l, [?]) SET ss = set_add(ss, <<'c'>>) REMOVE m.a WHERE pk = 'p' AND 5 = sk AND begins_with(s, 'h') RETURNING MODIFIED NEW *`,
		`DELETE FROM t WHERE pk = ? AND sk = 5 /* c */ RETURNING ALL OLD * -- x`,
		`EXISTS(SELECT * FROM t WHERE pk = 'p' AND sk = 5 AND size(l) <> 3 AND attribute_type(s, 'S'))`,
	} {
		f.Add(statement, uint8(0))
	}
	kinds := parameters(f, `{"S":"p"}`, `{"N":"5"}`, `{"L":[{"S":"a"},{"S":"p"}]}`, `{"SS":["a"]}`, `{"M":{"pk":{"S":"a"}}}`, `{"B":"AQ=="}`)
	f.Fuzz(func(t *testing.T, statement string, shift uint8) {
		var values []item.Value
		for i := range min(strings.Count(statement, "?"), 100) {
			values = append(values, kinds[(i+int(shift))%len(kinds)])
		}
		s, err := Parse(statement, values)
		if err != nil {
			if message(t, err) == "" {
				t.Errorf("%q: an error without words", statement)
			}
			return
		}
		if s.Table == "" {
			t.Errorf("%q: no table", statement)
		}
		it := parseItem(t, sample)
		switch {
		case s.Select != nil:
			if p := s.Select.Projection; p != nil {
				if err := item.CheckItem(p.Append(nil, it)); err != nil {
					t.Errorf("%q: %v", statement, err)
				}
			}
			if s.Select.Where != nil {
				checkWhere(t, statement, s.Select.Where)
			}
		case s.Insert != nil:
			if err := item.CheckItem(s.Insert.Item); err != nil {
				t.Errorf("%q: %v", statement, err)
			}
		case s.Update != nil:
			checkWhere(t, statement, s.Update.Where)
			got, err := s.Update.Update.Apply(nil, it)
			if err == nil {
				err = item.CheckItem(got.After)
			} else {
				message(t, err)
				err = nil
			}
			if err != nil {
				t.Errorf("%q: %v", statement, err)
			}
		case s.Delete != nil:
			checkWhere(t, statement, s.Delete.Where)
		default:
			checkWhere(t, statement, s.Exists.Where)
		}
	})
}
