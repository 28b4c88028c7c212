package partiql

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/valyala/fastjson"

	"github.com/concordat-db/concordat/globaltable/expr"
	"github.com/concordat-db/concordat/globaltable/item"
)

func parseItem(t testing.TB, text string) item.Item {
	t.Helper()
	it, err := item.DecodeItemJSON(nil, fastjson.MustParse(text))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return it
}

// parameters returns the values that texts, wire JSON, say.
func parameters(t testing.TB, texts ...string) (values []item.Value) {
	t.Helper()
	for _, text := range texts {
		v, err := item.DecodeValueJSON(nil, fastjson.MustParse(text))
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		values = append(values, v)
	}
	return values
}

func message(t testing.TB, err error) string {
	t.Helper()
	if err == nil {
		return ""
	}
	var e *item.Error
	if !errors.As(err, &e) || e.Class == item.Corrupt {
		t.Fatalf("%v", err)
	}
	return e.Message
}

func mustParse(t testing.TB, statement string, values ...string) *Statement {
	t.Helper()
	s, err := Parse(statement, parameters(t, values...))
	if err != nil {
		t.Fatalf("%s: %s", statement, message(t, err))
	}
	return s
}

func wire(v item.Value) string { return string(item.AppendJSON(nil, v)) }

// rangesText renders key conditions.
func rangesText(ranges []expr.KeyCondition) string {
	ops := []string{expr.KeyEqual: "=", expr.KeyLess: "<", expr.KeyLessOrEqual: "<=", expr.KeyGreater: ">", expr.KeyGreaterOrEqual: ">=",
		expr.KeyBetween: "between", expr.KeyBeginsWith: "begins"}
	var out []string
	for _, r := range ranges {
		var terms []string
		for _, k := range r.Terms {
			text := fmt.Sprintf("%s %s", k.Name, ops[k.Op])
			for _, v := range k.Values {
				if v != nil {
					text += " " + wire(v)
				}
			}
			terms = append(terms, text)
		}
		out = append(out, strings.Join(terms, ", "))
	}
	return strings.Join(out, "; ")
}

const sample = `{"pk":{"S":"p"},"sk":{"N":"5"},"s":{"S":"hello"},"it's":{"S":"quoted"},"n":{"N":"10"},"nil":{"NULL":true},"b":{"BOOL":true},
	"ss":{"SS":["a","b"]},"l":{"L":[{"S":"x"},{"N":"1"}]},"m":{"M":{"a":{"N":"1"},"x y":{"S":"z"}}}}`

func TestSelect(t *testing.T) {
	it := parseItem(t, sample)
	for statement, want := range map[string]string{
		`SELECT * FROM t`:                      sample,
		`select s, "it's" from "t";`:           `{"it's":{"S":"quoted"},"s":{"S":"hello"}}`,
		`SELECT m.a, l[1], m['x y'] FROM t`:    `{"a":{"N":"1"},"l[1]":{"N":"1"},"x y":{"S":"z"}}`,
		`SELECT "m"."x y" FROM t -- only that`: `{"x y":{"S":"z"}}`,
		`SELECT m, m.a, m.gone, s.b[0] FROM t`: `{"a":{"N":"1"},"m":{"M":{"a":{"N":"1"},"x y":{"S":"z"}}}}`,
		"SELECT /* two\nlines */ s FROM t":     `{"s":{"S":"hello"}}`,
	} {
		s := mustParse(t, statement)
		if s.Table != "t" || s.Index != "" || s.Select == nil || !s.ReadOnly() || s.Select.Where != nil {
			t.Errorf("%s: %+v", statement, s)
			continue
		}
		got := it
		if p := s.Select.Projection; p != nil {
			got = p.Append(nil, it)
		}
		if string(got) != string(parseItem(t, want)) {
			t.Errorf("%s:\n got %s\nwant %s", statement, got.AppendJSON(nil), want)
		}
	}
	s := mustParse(t, `SELECT * FROM "my-table"."by.date" WHERE a = 1 ORDER BY a, "b c" DESC, d ASC`)
	if s.Table != "my-table" || s.Index != "by.date" || fmt.Sprint(s.Select.OrderBy) != "[{a false} {b c true} {d false}]" {
		t.Errorf("%+v %v", s, s.Select.OrderBy)
	}
}

// TestConditions: what the WHERE clause says of the sample.
func TestConditions(t *testing.T) {
	it := parseItem(t, sample)
	for where, want := range map[string]bool{
		`s = 'hello'`: true, `'hello' = s`: true, `s <> 'hello'`: false, `s != 'x'`: true, `"it's" = 'quoted'`: true, `s = 'it''s'`: false,
		`n = 10`: true, `n = 1e1`: true, `n = +10.0`: true, `n > -5`: true, `n < .5`: false, `n >= 10`: true, `n <= 9`: false,
		`b = true`: true, `b = FALSE`: false, `nil = null`: true, `m.a = 1`: true, `l[0] = 'x'`: true, `m['x y'] = 'z'`: true,
		`ss = <<'b', 'a'>>`: true, `l = ['x', 1]`: true, `m = {'a': 1, 'x y': 'z'}`: true, `l = []`: false, `m = {}`: false,
		`n BETWEEN 1 AND 10`: true, `n NOT BETWEEN 1 AND 10`: false, `n IN (1, 10)`: true, `n in [1, 2]`: false, `n NOT IN [1, 2]`: true,
		`s IS MISSING`: false, `s IS NOT MISSING`: true, `gone IS MISSING`: true, `gone IS NOT MISSING`: false, `m.gone is missing`: true,
		`nil IS NULL`: true, `s IS NULL`: false, `gone IS NULL`: false, `s IS NOT NULL`: true, `s IS STRING`: true, `n IS NOT NUMBER`: false, `l IS LIST`: true,
		`begins_with(s, 'he')`: true, `BEGINS_WITH("s", 'x')`: false, `contains(ss, 'a')`: true, `Contains(s, 'll')`: true, `size(l) = 2`: true, `size(s) > size(l)`: true,
		`attribute_type(s, 'S')`: true, `attribute_type(s, 'N')`: false,
		`s = 'x' OR n = 10 AND b = true`: true, `(s = 'x' OR n = 10) AND b = false`: false, `NOT s = 'x' AND NOT (n = 9)`: true, `((n = 10))`: true, `(n) = (10)`: true,
		`s = 'hello' AND n = 10 AND (b = true AND m.a = 1)`: true,
	} {
		s := mustParse(t, `SELECT * FROM t WHERE `+where)
		ranges, filter, err := s.Select.Where.Query([]string{"pk"}, []string{"sk"})
		if err != nil || ranges != nil {
			t.Errorf("%s: %v %v", where, ranges, err)
		} else if got := filter.Holds(it); got != want {
			t.Errorf("%s: %v, want %v", where, got, want)
		}
	}
}

func TestParameters(t *testing.T) {
	it := parseItem(t, sample)
	s := mustParse(t, `SELECT * FROM t WHERE s = ? AND n IN (?, ?) AND ss = ? AND l IN ? AND m = {'a': ?, 'x y': 'z'}`,
		`{"S":"hello"}`, `{"N":"1"}`, `{"N":"10"}`, `{"SS":["a","b"]}`, `{"L":[{"S":"y"},{"L":[{"S":"x"},{"N":"1"}]}]}`, `{"N":"1"}`)
	if _, filter, err := s.Select.Where.Query([]string{"pk"}, nil); err != nil || !filter.Holds(it) {
		t.Errorf("does not hold: %v", err)
	}
	for statement, count := range map[string]int{`SELECT * FROM t WHERE a = ?`: 0, `SELECT * FROM t WHERE a = 'is it?'`: 1, `INSERT INTO t VALUE {'a': ?, 'b': ?}`: 3} {
		values := make([]item.Value, count)
		for i := range values {
			values[i] = item.AppendNull(nil)
		}
		if _, err := Parse(statement, values); err != errParameters {
			t.Errorf("%s with %d: %v", statement, count, err)
		}
	}
}

// TestQuery: what is read for a WHERE clause on a table with the keys pk and sk.
func TestQuery(t *testing.T) {
	for where, want := range map[string]string{
		`pk = 'a'`:                          `pk = {"S":"a"}`,
		`'a' = pk AND sk = 1`:               `pk = {"S":"a"}, sk = {"N":"1"}`,
		`sk > 1 AND pk = 'a'`:               `pk = {"S":"a"}, sk > {"N":"1"}`,
		`pk = 'a' AND 1 < sk`:               `pk = {"S":"a"}, sk > {"N":"1"}`,
		`pk = 'a' AND 1 > sk`:               `pk = {"S":"a"}, sk < {"N":"1"}`,
		`pk = 'a' AND 1 <= sk`:              `pk = {"S":"a"}, sk >= {"N":"1"}`,
		`pk = 'a' AND 1 = sk`:               `pk = {"S":"a"}, sk = {"N":"1"}`,
		`pk = 'a' AND 1 >= sk`:              `pk = {"S":"a"}, sk <= {"N":"1"}`,
		`pk = 'a' AND sk BETWEEN 1 AND 2`:   `pk = {"S":"a"}, sk between {"N":"1"} {"N":"2"}`,
		`pk = 'a' AND begins_with(sk, 'x')`: `pk = {"S":"a"}, sk begins {"S":"x"}`,
		`pk IN ['a', 'b', 'a']`:             `pk = {"S":"a"}; pk = {"S":"b"}`,
		`pk = 'a' OR pk IN ('b') OR 'c'=pk`: `pk = {"S":"a"}; pk = {"S":"b"}; pk = {"S":"c"}`,
		`pk IN ['a', 'b'] AND sk < 3`:       `pk = {"S":"a"}, sk < {"N":"3"}; pk = {"S":"b"}, sk < {"N":"3"}`,
		`pk = 'a' AND sk > 1 AND sk < 5`:    `pk = {"S":"a"}, sk > {"N":"1"} | filter`,
		`pk = 'a' AND s = 'x'`:              `pk = {"S":"a"} | filter`,
		`pk = 'a' AND sk <> 1`:              `pk = {"S":"a"} | filter`,
		`pk = 'a' AND sk IN (1, 2)`:         `pk = {"S":"a"} | filter`,
		`pk = 'a' AND pk = 'b'`:             `pk = {"S":"a"} | filter`,
		`pk = 'a' AND sk = n`:               `pk = {"S":"a"} | filter`,
		`pk > 'a'`:                          ` | filter`,
		`pk = 'a' OR s = 'x'`:               ` | filter`,
		`NOT pk = 'a'`:                      ` | filter`,
		`pk = s`:                            ` | filter`,
		`pk.x = 'a'`:                        ` | filter`,
		`pk IN ('a', s)`:                    ` | filter`,
		`sk = 1`:                            ` | filter`,
		`begins_with('a', pk)`:              ` | filter`,
	} {
		ranges, filter, err := mustParse(t, `SELECT * FROM t WHERE `+where).Select.Where.Query([]string{"pk"}, []string{"sk"})
		got := rangesText(ranges)
		if filter != nil {
			got += " | filter"
		}
		if err != nil || got != want {
			t.Errorf("%s:\n got %s %v\nwant %s", where, got, err, want)
		}
	}
	// Several attributes: all of the partition's, a prefix of the sort key's.
	w := mustParse(t, `SELECT * FROM t WHERE c = 1 AND a IN [1, 2] AND e = 5 AND b = 7 AND d < 3`).Select.Where
	ranges, filter, err := w.Query([]string{"a", "b"}, []string{"c", "d", "e"})
	want := `a = {"N":"1"}, b = {"N":"7"}, c = {"N":"1"}, d < {"N":"3"}; a = {"N":"2"}, b = {"N":"7"}, c = {"N":"1"}, d < {"N":"3"}`
	if got := rangesText(ranges); err != nil || got != want || filter == nil {
		t.Errorf("%s %v %v", got, filter, err)
	}
	if ranges, _, _ := w.Query([]string{"a", "x"}, nil); ranges != nil {
		t.Errorf("%s", rangesText(ranges))
	}
	many := mustParse(t, `SELECT * FROM t WHERE pk IN [`+strings.Repeat("1,", 3)+`2] AND q IN [`+options(26)+`]`).Select.Where
	if _, _, err := many.Query([]string{"pk", "q"}, nil); err != errOperands {
		t.Errorf("52 partitions: %v", err)
	}
	if ranges, _, err := many.Query([]string{"q"}, nil); len(ranges) != 26 || err != nil {
		t.Errorf("26 partitions: %d %v", len(ranges), err)
	}
}

// options returns n numbers, with commas.
func options(n int) string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprint(i))
	}
	return strings.Join(all, ",")
}

func TestInsert(t *testing.T) {
	s := mustParse(t, `INSERT INTO "t" VALUE {'pk': 'a''b', "n": -1.50, 'l': [1, [], {'x': NULL}], 'ss': <<'b','a'>>, 'ns': <<2, 1.0>>, 'bs': <<?>>, 'e': '', 't': True, 'm': {}}`, `{"B":"AQ=="}`)
	want := `{"bs":{"BS":["AQ=="]},"e":{"S":""},"l":{"L":[{"N":"1"},{"L":[]},{"M":{"x":{"NULL":true}}}]},"m":{"M":{}},"n":{"N":"-1.5"},"ns":{"NS":["1","2"]},"pk":{"S":"a'b"},"ss":{"SS":["a","b"]},"t":{"BOOL":true}}`
	if err := item.CheckItem(s.Insert.Item); err != nil {
		t.Fatal(err)
	}
	if got := string(s.Insert.Item.AppendJSON(nil)); got != want || s.Table != "t" || s.ReadOnly() {
		t.Errorf("got %s\nwant %s", got, want)
	}
	s = mustParse(t, `INSERT INTO t VALUE ?`, `{"M":{"pk":{"S":"a"}}}`)
	if got := string(s.Insert.Item.AppendJSON(nil)); got != `{"pk":{"S":"a"}}` {
		t.Error(got)
	}
}

func TestUpdate(t *testing.T) {
	it := parseItem(t, sample)
	const where = ` WHERE pk = 'p' AND sk = 5`
	for statement, want := range map[string]string{
		`SET s = 'x'`:                         `{"s":{"S":"x"}}`,
		`SET s = 'x', n = n + 1`:              `{"n":{"N":"11"},"s":{"S":"x"}}`,
		`SET s = 'x' SET n = 1 - n REMOVE b`:  `{"n":{"N":"-9"},"s":{"S":"x"}}`,
		`SET n = (n) + (1)`:                   `{"n":{"N":"11"}}`,
		`REMOVE m.a, l[0] SET c = s`:          `{"c":{"S":"hello"}}`,
		`SET m['x y'] = 1`:                    `{"m":{"M":{"x y":{"N":"1"}}}}`,
		`SET c = {'a': [1, 'b']}`:             `{"c":{"M":{"a":{"L":[{"N":"1"},{"S":"b"}]}}}}`,
		`SET l = list_append(l, [?])`:         `{"l":{"L":[{"S":"x"},{"N":"1"},{"S":"new"}]}}`,
		`SET l = LIST_APPEND(['y'], l)`:       `{"l":{"L":[{"S":"y"},{"S":"x"},{"N":"1"}]}}`,
		`SET ss = set_add(ss, <<'c'>>)`:       `{"ss":{"SS":["a","b","c"]}}`,
		`SET ss = SET_DELETE("ss", <<'a'>>)`:  `{"ss":{"SS":["b"]}}`,
		`SET c = set_add(c, <<1>>), b = NULL`: `{"b":{"NULL":true},"c":{"NS":["1"]}}`,
	} {
		var values []string
		if strings.Contains(statement, "?") {
			values = []string{`{"S":"new"}`}
		}
		s := mustParse(t, `UPDATE t `+statement+where, values...)
		key, rest, err := s.Update.Where.Key("pk", "sk")
		if err != nil || rest != nil || wire(key[0]) != `{"S":"p"}` || wire(key[1]) != `{"N":"5"}` || s.Update.Returning != ReturningNone {
			t.Errorf("%s: %v %v %v", statement, key, rest, err)
		}
		got, err := s.Update.Update.AppendNew(nil, it)
		if err != nil || string(got) != string(parseItem(t, want)) {
			t.Errorf("%s:\n got %s %v\nwant %s", statement, item.Item(got).AppendJSON(nil), err, want)
		}
	}
	for returning, want := range map[string]Returning{"": ReturningNone, "RETURNING ALL OLD *": ReturningAllOld, "returning all new *": ReturningAllNew,
		"RETURNING MODIFIED OLD *": ReturningModifiedOld, "RETURNING MODIFIED NEW *": ReturningModifiedNew} {
		if s := mustParse(t, `UPDATE t SET a = 1`+where+" "+returning); s.Update.Returning != want {
			t.Errorf("%s: %d", returning, s.Update.Returning)
		}
	}
}

// TestKey: which item a write is about, and on what condition.
func TestKey(t *testing.T) {
	it := parseItem(t, sample)
	for where, want := range map[string]bool{
		`pk = 'p' AND sk = 5`:                                  true,
		`n = 10 AND 5 = sk AND (pk = 'p' AND s = 'hello')`:     true,
		`pk = 'p' AND sk = 5 AND n > 10`:                       false,
		`pk = 'p' AND sk = 5 AND (n > 10 OR s IS NOT MISSING)`: true,
		`pk = 'p' AND sk = 5 AND pk = 'q'`:                     false,
	} {
		s := mustParse(t, `DELETE FROM "t" WHERE `+where+` RETURNING ALL OLD *`)
		key, rest, err := s.Delete.Where.Key("pk", "sk")
		if err != nil || len(key) != 2 || wire(key[0]) != `{"S":"p"}` || wire(key[1]) != `{"N":"5"}` || s.Delete.Returning != ReturningAllOld {
			t.Errorf("%s: %v %v", where, key, err)
		} else if got := rest == nil || rest.Holds(it); got != want {
			t.Errorf("%s: %v", where, got)
		}
	}
	for _, where := range []string{`pk = 'p'`, `sk = 5`, `pk = 'p' AND sk > 5`, `pk = 'p' OR sk = 5`, `pk IN ('p') AND sk = 5`, `pk = s AND sk = 5`, `pk.a = 'p' AND sk = 5`} {
		if _, _, err := mustParse(t, `DELETE FROM t WHERE `+where).Delete.Where.Key("pk", "sk"); err != errKey {
			t.Errorf("%s: %v", where, err)
		}
	}
}

func TestExists(t *testing.T) {
	s := mustParse(t, `EXISTS(SELECT * FROM "t" WHERE pk = ? AND n = 10)`, `{"S":"p"}`)
	if s.Exists == nil || s.Select != nil || s.Table != "t" || !s.ReadOnly() {
		t.Fatalf("%+v", s)
	}
	key, rest, err := s.Exists.Where.Key("pk")
	if err != nil || wire(key[0]) != `{"S":"p"}` || !rest.Holds(parseItem(t, sample)) {
		t.Errorf("%v %v", key, err)
	}
}

func TestErrors(t *testing.T) {
	const bad = "Statement wasn't well formed, can't be processed: "
	for statement, want := range map[string]string{
		``:                                                           bad + "Expected data manipulation",
		`CREATE TABLE t`:                                             bad + "Expected data manipulation",
		`"SELECT" * FROM t`:                                          bad + "Expected data manipulation",
		`SELECT`:                                                     bad + "Expected identifier for simple path",
		`SELECT * FROM`:                                              bad + "Expected identifier for simple path",
		`SELECT * FROM 't'`:                                          bad + "Expected identifier for simple path",
		`SELECT * FROM SELECT`:                                       bad + "Unexpected keyword",
		`SELECT * t`:                                                 bad + "Unexpected term",
		`SELECT a, FROM t`:                                           bad + "Unexpected keyword",
		`SELECT * FROM t WHERE`:                                      bad + "Unexpected term",
		`SELECT * FROM t WHERE a`:                                    bad + "Unexpected term",
		`SELECT * FROM t WHERE (a)`:                                  bad + "Unexpected term",
		`SELECT * FROM t WHERE a = `:                                 bad + "Unexpected term",
		`SELECT * FROM t WHERE a = 1 AND`:                            bad + "Unexpected term",
		`SELECT * FROM t WHERE a = 1 AND b`:                          bad + "Unexpected term",
		`SELECT * FROM t WHERE a AND b = 1`:                          bad + "Unexpected keyword",
		`SELECT * FROM t WHERE NOT (a)`:                              bad + "Unexpected term",
		`SELECT * FROM t WHERE a = (b = 1)`:                          bad + "Unexpected term",
		`SELECT * FROM t WHERE a == 1`:                               bad + "Unexpected term",
		`SELECT * FROM t WHERE a = 'x`:                               bad + "Unexpected term",
		`SELECT * FROM t WHERE a = "x`:                               bad + "Unexpected term",
		`SELECT * FROM t /* x`:                                       bad + "Unexpected term",
		`SELECT * FROM t WHERE a = 1 b`:                              bad + "Unexpected term",
		`SELECT * FROM t WHERE a[b] = 1`:                             bad + "Unexpected path component",
		`SELECT * FROM t WHERE a[''] = 1`:                            bad + "Unexpected path component",
		`SELECT * FROM t WHERE a[1.5] = 1`:                           bad + "Unexpected path component",
		`SELECT * FROM t WHERE a IS b`:                               bad + "Unexpected term",
		`SELECT * FROM t WHERE a IN b`:                               bad + "Unexpected term",
		`SELECT * FROM t WHERE a IN ()`:                              bad + "Unexpected term",
		`SELECT * FROM t WHERE a BETWEEN 1 OR 2`:                     bad + "Unexpected keyword",
		`SELECT * FROM t WHERE begins_with(a)`:                       bad + "Unexpected term",
		`SELECT * FROM t WHERE begins_with(a,'b','c')`:               bad + "Unexpected term",
		`SELECT * FROM t; SELECT * FROM t`:                           bad + "Unexpected keyword",
		`SELECT * FROM a, b`:                                         bad + "Unexpected term",
		`INSERT INTO t VALUE {'a': 1,}`:                              bad + "Unexpected term",
		`INSERT INTO t VALUE {a: 1}`:                                 bad + "Unexpected term",
		`INSERT INTO t VALUE {'a' 1}`:                                bad + "Unexpected term",
		`INSERT INTO t VALUE {'a': 1`:                                bad + "Unexpected term",
		`INSERT INTO t {'a': 1}`:                                     bad + "Unexpected term",
		`INSERT INTO t VALUE {'a': b}`:                               bad + "Unexpected term",
		`INSERT INTO t VALUE {'a': MISSING}`:                         bad + "Unexpected keyword",
		`UPDATE t WHERE pk = 1`:                                      bad + "Unexpected keyword",
		`UPDATE t SET a`:                                             bad + "Unexpected term",
		`UPDATE t SET a = 1 + 2 + 3 WHERE pk = 1`:                    bad + "Unexpected term",
		`UPDATE t SET a = 1, WHERE pk = 1`:                           bad + "Unexpected keyword",
		`DELETE FROM t WHERE pk = 1 RETURNING *`:                     bad + "Unexpected term",
		`DELETE t WHERE pk = 1`:                                      bad + "Unexpected term",
		`SELECT * FROM t WHERE ` + strings.Repeat("(", 300) + "a":    bad + "Nesting is too deep",
		`SELECT * FROM t WHERE ` + strings.Repeat("NOT ", 300) + "a": bad + "Nesting is too deep",
		`SELECT * FROM t WHERE a = ` + strings.Repeat("[", 40):       bad + "Nesting is too deep",
		`SELECT a` + strings.Repeat(".a", 40) + ` FROM t`:            bad + "Nesting is too deep",

		`SELECT * FROM t ORDER BY a`:                      "Must have WHERE clause in the statement when using ORDER BY clause.",
		`UPDATE t SET a = 1`:                              "Where clause does not contain a mandatory equality on all key attributes",
		`DELETE FROM t`:                                   "Where clause does not contain a mandatory equality on all key attributes",
		`DELETE FROM t RETURNING ALL OLD *`:               "Where clause does not contain a mandatory equality on all key attributes",
		`EXISTS(SELECT * FROM t)`:                         "Where clause does not contain a mandatory equality on all key attributes",
		`SELECT COUNT(*) FROM t`:                          "Unsupported operation: Functions are not supported in SELECT",
		`SELECT DISTINCT a FROM t`:                        "Unsupported operation: SELECT DISTINCT",
		`SELECT VALUE a FROM t`:                           "Unsupported operation: SELECT VALUE",
		`SELECT * FROM t LIMIT 1`:                         "Unsupported operation: LIMIT",
		`SELECT * FROM t WHERE a = 1 GROUP BY a`:          "Unsupported operation: GROUP",
		`SELECT * FROM t WHERE a LIKE 'x'`:                "Unsupported operation: LIKE",
		`SELECT * FROM t WHERE foo(a)`:                    "Unsupported operation: Function FOO",
		`SELECT * FROM t WHERE 1 IS NULL`:                 "Unsupported operation: IS needs a path",
		`SELECT * FROM t WHERE EXISTS(SELECT * FROM t)`:   "Unsupported operation: EXISTS is a statement of transactions",
		`INSERT INTO t VALUE 'x'`:                         "Unsupported operation: Only a tuple can be inserted",
		`INSERT INTO t VALUES {'a': 1}`:                   `Unsupported operation: Inserting multiple items in a single statement is not supported, use "INSERT INTO tableName VALUE item" instead`,
		`INSERT INTO t << {'a': 1} >>`:                    `Unsupported operation: Inserting multiple items in a single statement is not supported, use "INSERT INTO tableName VALUE item" instead`,
		`UPDATE t SET a = size(b) WHERE pk = 1`:           "Unsupported operation: Function SIZE",
		`UPDATE t SET a = set_add(b, <<1>>) WHERE pk = 1`: "Unsupported operation: SET_ADD must be on the path that it is assigned to",
		`UPDATE t SET a = set_add(a, 1) WHERE pk = 1`:     "Unsupported operation: SET_ADD of a number",
		`DELETE FROM t WHERE pk = 1 RETURNING ALL NEW *`:  "Unsupported operation: DELETE can return ALL OLD * only",

		`INSERT INTO t VALUE {'a': 1, 'a': 2}`:              "One or more parameter values were invalid: An attribute name appears twice",
		`INSERT INTO t VALUE {'a': <<>>}`:                   "One or more parameter values were invalid: An string set  may not be empty",
		`INSERT INTO t VALUE {'a': <<1, 1.0>>}`:             "Input collection contains duplicates",
		`INSERT INTO t VALUE {'a': 1e126}`:                  "Number overflow. Attempting to store a number with magnitude larger than supported range",
		`INSERT INTO t VALUE {'a': 1.2.3}`:                  "The parameter cannot be converted to a numeric value: 1.2.3",
		`SELECT a.b, b FROM t`:                              "Two columns have the same name: b",
		`UPDATE t SET a = 1, a = 2 WHERE pk = 1`:            "Invalid UpdateExpression: Two document paths overlap with each other; must remove or rewrite one of these paths; path one: [a], path two: [a]",
		`SELECT * FROM t WHERE a < [1]`:                     "Invalid FilterExpression: Incorrect operand type for operator or function; operator or function: <, operand type: L",
		`DELETE FROM t WHERE begins_with(a, 1)`:             "Invalid ConditionExpression: Incorrect operand type for operator or function; operator or function: begins_with, operand type: N",
		`SELECT * FROM t WHERE a IN [` + options(101) + `]`: "The IN operator is provided with too many operands",
		`SELECT * FROM t` + strings.Repeat(" ", 8192):       "1 validation error detected: Value at 'statement' failed to satisfy constraint: Member must have length less than or equal to 8192",
	} {
		_, err := Parse(statement, nil)
		if got := message(t, err); got != want {
			t.Errorf("%.70s:\n got %s\nwant %s", statement, got, want)
		}
	}
}
