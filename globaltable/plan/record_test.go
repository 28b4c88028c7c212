package plan_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/valyala/fastjson"
	"pgregory.net/rapid"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/expr"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/globaltable/partiql"
	"github.com/concordat-db/concordat/globaltable/plan"
)

// typedTable declares a merge type of each kind, of attributes named as they are.
func typedTable(mode conflict.Mode) *globaltable.Table {
	return &globaltable.Table{KeySchema: hash, Mode: mode, Types: map[string]conflict.TypeTag{"likes": conflict.TypeCounter, "labels": conflict.TypeSet, "doc": conflict.TypeMap,
		"best": conflict.TypeMax, "least": conflict.TypeMin, "note": conflict.TypeRegister}}
}

const stored = `{"pk":{"S":"a"},"likes":{"N":"10"},"labels":{"SS":["a","b"]},"best":{"N":"10"},"least":{"N":"10"},"note":{"N":"10"},"n":{"N":"10"},"s":{"SS":["a","b"]},"step":{"N":"7"},
	"doc":{"M":{"k":{"S":"v"},"in":{"M":{"x":{"N":"1"},"y":{"N":"2"}}},"l":{"L":[{"S":"0"},{"M":{"p":{"N":"1"}}}]},"ss":{"SS":["a","b"]}}},"m":{"M":{"k":{"S":"v"}}}}`

const values = `{":n":{"N":"5"},":minus":{"N":"-5"},":zero":{"N":"0"},":start":{"N":"100"},":ss":{"SS":["b","c"]},":s":{"S":"s"},":m":{"M":{"z":{"N":"9"}}},":l":{"L":[{"S":"2"}]},
	":exact":{"N":"0.00000000000000000000000000000000000001"}}`

// opsText writes operations for people: kind, type, name or path, value.
func opsText(t *testing.T, ops []conflict.Op) string {
	t.Helper()
	kinds := map[conflict.OpKind]string{conflict.OpReset: "put", conflict.OpSetCell: "set", conflict.OpRemoveCell: "remove", conflict.OpAddNumber: "add", conflict.OpAddElements: "add", conflict.OpDeleteElements: "delete",
		conflict.OpSetPath: "set", conflict.OpRemovePath: "remove"}
	var out []string
	for _, op := range ops {
		name := string(op.Name)
		if op.Kind == conflict.OpSetPath || op.Kind == conflict.OpRemovePath {
			var steps []string
			for rest := op.Name; len(rest) > 0; {
				var step []byte
				step, rest, _ = conflict.SplitPath(rest)
				steps = append(steps, string(step))
			}
			name = strings.Join(steps, "/")
		}
		text := kinds[op.Kind] + " " + op.Type.String() + " " + name
		if op.Kind == conflict.OpReset {
			text += string(item.Item(op.Value).AppendJSON(nil))
		} else if op.Value != nil {
			text += " " + string(item.AppendJSON(nil, op.Value))
		}
		out = append(out, strings.TrimSpace(text))
	}
	return strings.Join(out, "; ")
}

func expression(t *testing.T, text string) *expr.Update {
	t.Helper()
	var b expr.Bindings
	used := fastjson.MustParse(values).GetObject()
	for _, name := range []string{":n", ":minus", ":zero", ":start", ":ss", ":s", ":m", ":l", ":exact"} {
		if !slices.Contains(strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" ,()+-=", r) }), name) {
			used.Del(name)
		}
	}
	if strings.Contains(text, "#in") {
		if err := b.SetNames(fastjson.MustParse(`{"#in":"in"}`).GetObject()); err != nil {
			t.Fatal(err)
		}
	}
	if used.Len() > 0 {
		if err := b.SetValues(used); err != nil {
			t.Fatal(err)
		}
	}
	u, err := expr.NewParser(0).Update([]byte(text), &b)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return u
}

func legacy(t *testing.T, text string) *expr.Update {
	t.Helper()
	u, err := expr.AttributeUpdates(fastjson.MustParse(text).GetObject())
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return u
}

func statement(t *testing.T, text string) *expr.Update {
	t.Helper()
	s, err := partiql.Parse("UPDATE t "+text+" WHERE pk = 'a'", nil)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return s.Update.Update
}

// TestUpdatesAreRecorded: what an update becomes in mode vector, in whichever language it was written.
func TestUpdatesAreRecorded(t *testing.T) {
	for _, c := range []struct {
		update *expr.Update
		want   string
	}{
		// Without a type ADD and DELETE say what they are; a SET is a SET.
		{expression(t, "ADD n :n"), `add counter n {"N":"5"}`},
		{expression(t, "ADD tail :minus"), `add counter tail {"N":"-5"}`},
		{expression(t, "ADD s :ss"), `add set s {"SS":["b","c"]}`},
		{expression(t, "DELETE s :ss"), `delete set s {"SS":["b","c"]}`},
		{expression(t, "DELETE tail :ss"), `delete set tail {"SS":["b","c"]}`},
		{expression(t, "SET n = n + :n"), `set register n {"N":"15"}`},
		{expression(t, "SET n = :n, tail = :s REMOVE s, nothing"), `set register n {"N":"5"}; remove register nothing; remove register s; set register tail {"S":"s"}`},
		{expression(t, "SET m.k = :s"), `set register m {"M":{"k":{"S":"s"}}}`},
		{expression(t, "REMOVE m.k"), `set register m {"M":{}}`},
		{expression(t, "ADD m.tail :n"), `set register m {"M":{"k":{"S":"v"},"tail":{"N":"5"}}}`},
		{legacy(t, `{"n":{"Action":"ADD","Value":{"N":"5"}},"s":{"Action":"DELETE","Value":{"SS":["b","c"]}},"tail":{"Action":"ADD","Value":{"SS":["x"]}}}`),
			`add counter n {"N":"5"}; delete set s {"SS":["b","c"]}; add set tail {"SS":["x"]}`},
		{legacy(t, `{"n":{"Action":"PUT","Value":{"N":"5"}},"s":{"Action":"DELETE"},"l":{"Action":"ADD","Value":{"L":[{"N":"1"}]}}}`),
			`set register l {"L":[{"N":"1"}]}; set register n {"N":"5"}; remove register s`},
		{statement(t, "SET s = set_add(s, <<'b', 'c'>>)"), `add set s {"SS":["b","c"]}`},
		{statement(t, "SET s = set_delete(s, <<'b'>>) SET n = n + 5"), `set register n {"N":"15"}; delete set s {"SS":["b"]}`},

		// A counter counts what is added, in all words for it.
		{expression(t, "ADD likes :n"), `add counter likes {"N":"5"}`},
		{expression(t, "SET likes = likes + :n"), `add counter likes {"N":"5"}`},
		{expression(t, "SET likes = :n + likes"), `add counter likes {"N":"5"}`},
		{expression(t, "SET likes = likes - :n"), `add counter likes {"N":"-5"}`},
		{expression(t, "SET likes = likes - :minus"), `add counter likes {"N":"5"}`},
		{expression(t, "SET likes = likes - :zero"), `add counter likes {"N":"0"}`},
		{expression(t, "SET likes = (likes + step)"), `add counter likes {"N":"7"}`},
		{expression(t, "SET likes = if_not_exists(likes, :start) + :n"), `add counter likes {"N":"5"}`},
		{expression(t, "SET likes = :n + if_not_exists(likes, :start)"), `add counter likes {"N":"5"}`},
		{expression(t, "SET likes = if_not_exists(likes, :start) - :n"), `add counter likes {"N":"-5"}`},
		{expression(t, "SET likes = likes + if_not_exists(absent, :n)"), `add counter likes {"N":"5"}`},
		{statement(t, "SET likes = likes + 5"), `add counter likes {"N":"5"}`},
		{statement(t, "SET likes = likes - 5"), `add counter likes {"N":"-5"}`},
		{statement(t, "SET likes = (5 + likes)"), `add counter likes {"N":"5"}`},
		{legacy(t, `{"likes":{"Action":"ADD","Value":{"N":"-5"}}}`), `add counter likes {"N":"-5"}`},
		// Everything else is a new beginning.
		{expression(t, "SET likes = :n"), `set register likes {"N":"5"}`},
		{expression(t, "SET likes = likes + likes"), `set register likes {"N":"20"}`},
		{expression(t, "SET likes = :start - likes"), `set register likes {"N":"90"}`},
		{expression(t, "SET likes = n + :n"), `set register likes {"N":"15"}`},
		{expression(t, "SET likes = likes - if_not_exists(absent, likes)"), `set register likes {"N":"0"}`},
		{expression(t, "SET likes = if_not_exists(likes, :n)"), `set register likes {"N":"10"}`},
		{expression(t, "SET likes = if_not_exists(absent, likes) + :n"), `set register likes {"N":"15"}`},
		{expression(t, "REMOVE likes"), "remove register likes"},
		{statement(t, "SET likes = 5"), `set register likes {"N":"5"}`},
		{legacy(t, `{"likes":{"Value":{"N":"5"}}}`), `set register likes {"N":"5"}`},

		{expression(t, "ADD labels :ss"), `add set labels {"SS":["b","c"]}`},
		{expression(t, "DELETE labels :ss"), `delete set labels {"SS":["b","c"]}`},
		{expression(t, "SET labels = :ss"), `set register labels {"SS":["b","c"]}`},
		{expression(t, "REMOVE labels"), "remove register labels"},

		// What is set is bid; a removal is no bid.
		{expression(t, "SET best = :n, least = :n"), `set max best {"N":"5"}; set min least {"N":"5"}`},
		{expression(t, "ADD best :n SET least = least - :n"), `set max best {"N":"15"}; set min least {"N":"5"}`},
		{expression(t, "REMOVE best, least"), "remove register best; remove register least"},

		// A register is what an update makes of it.
		{expression(t, "ADD note :n"), `set register note {"N":"15"}`},
		{expression(t, "SET note = note + :n"), `set register note {"N":"15"}`},

		// A map is set entry by entry, down to the first list.
		{expression(t, "SET doc.k = :s"), `set map doc/k {"S":"s"}`},
		{expression(t, "SET doc.tail = :m, doc.#in.x = :n REMOVE doc.k, doc.nothing"), `set map doc/in/x {"N":"5"}; remove map doc/k; remove map doc/nothing; set map doc/tail {"M":{"z":{"N":"9"}}}`},
		{expression(t, "SET doc.#in.x = doc.#in.x + :n REMOVE doc.#in.y"), `set map doc/in/x {"N":"6"}; remove map doc/in/y`},
		{expression(t, "ADD doc.#in.x :n, doc.ss :ss"), `set map doc/in/x {"N":"6"}; set map doc/ss {"SS":["a","b","c"]}`},
		{expression(t, "SET doc.l[0] = :s, doc.l[5] = :s, doc.z = :s"), `set map doc/l {"L":[{"S":"s"},{"M":{"p":{"N":"1"}}},{"S":"s"}]}; set map doc/z {"S":"s"}`},
		{expression(t, "SET doc.l[1].p = :n"), `set map doc/l {"L":[{"S":"0"},{"M":{"p":{"N":"5"}}}]}`},
		{expression(t, "SET doc = :m"), `set register doc {"M":{"z":{"N":"9"}}}`},
		{expression(t, "REMOVE doc"), "remove register doc"},
		{statement(t, "SET doc.k = 's' REMOVE doc.nothing"), `set map doc/k {"S":"s"}; remove map doc/nothing`},
		{statement(t, "SET doc.l[0] = 's'"), `set map doc/l {"L":[{"S":"s"},{"M":{"p":{"N":"1"}}}]}`},
		{legacy(t, `{"doc":{"Value":{"M":{}}}}`), `set register doc {"M":{}}`},

		// Each attribute in its way; and an update of nothing makes the item exist.
		{expression(t, "SET likes = likes + :n, doc.k = :s, x = :s ADD labels :ss"), `set map doc/k {"S":"s"}; add set labels {"SS":["b","c"]}; add counter likes {"N":"5"}; set register x {"S":"s"}`},
		{nil, "set register"},
	} {
		expectOps(t, conflict.Vector, stored, c.update, c.want)
	}
}

// TestMoreUpdatesAreRecorded: what depends on the item, and the tail modes.
func TestMoreUpdatesAreRecorded(t *testing.T) {
	const sums = `{"pk":{"S":"a"},"likes":{"N":"0.1"},"labels":{"L":[]},"doc":{"L":[{"S":"0"}]}}`
	for _, c := range []struct {
		mode    conflict.Mode
		current string
		update  string
		want    string
	}{
		// A counter begins with what the client says; zero is what it begins with by itself.
		{conflict.Vector, "", "SET likes = if_not_exists(likes, :zero) + :n", `add counter likes {"N":"5"}`},
		{conflict.Vector, "", "SET likes = if_not_exists(likes, :start) - :n", `set register likes {"N":"100"}; add counter likes {"N":"-5"}`},
		{conflict.Vector, sums, "SET likes = if_not_exists(likes, :start) - :n", `add counter likes {"N":"-5"}`},
		// Exactly what the client says is counted.
		{conflict.Vector, sums, "SET likes = likes - :exact", `add counter likes {"N":"-0.00000000000000000000000000000000000001"}`},
		{conflict.Vector, sums, "ADD likes :exact", `add counter likes {"N":"0.00000000000000000000000000000000000001"}`},
		// Attributes that are not what their type says.
		{conflict.Vector, sums, "SET doc[0] = :s, labels = list_append(labels, :l)", `set register doc {"L":[{"S":"s"}]}; set register labels {"L":[{"S":"2"}]}`},
		{conflict.Vector, "", "ADD likes :ss, labels :n, best :ss, doc :n", `set max best {"SS":["b","c"]}; set register doc {"N":"5"}; set register labels {"N":"5"}; set register likes {"SS":["b","c"]}`},
		{conflict.Vector, `{"pk":{"S":"a"},"best":{"SS":["b","c"]}}`, "DELETE best :ss", "remove register best"},
		{conflict.Vector, "", "ADD likes :n", `add counter likes {"N":"5"}`},

		{conflict.Attribute, stored, "SET likes = likes + :n, doc.k = :s ADD n :n DELETE labels :ss REMOVE best", `remove register best; set register doc {"M":{"in":{"M":{"x":{"N":"1"},"y":{"N":"2"}}},` +
			`"k":{"S":"s"},"l":{"L":[{"S":"0"},{"M":{"p":{"N":"1"}}}]},"ss":{"SS":["a","b"]}}}; set register labels {"SS":["a"]}; set register likes {"N":"15"}; set register n {"N":"15"}`},
		{conflict.Attribute, "", "ADD likes :n", `set register likes {"N":"5"}`},
		{conflict.LWW, "", "ADD likes :n, labels :ss", `put register {"labels":{"SS":["b","c"]},"likes":{"N":"5"},"pk":{"S":"a"}}`},
	} {
		expectOps(t, c.mode, c.current, expression(t, c.update), c.want)
	}
}

// expectOps plans an update of current, empty: no item.
func expectOps(t *testing.T, mode conflict.Mode, current string, u *expr.Update, want string) {
	t.Helper()
	var m plan.Memory
	w := plan.Write{Action: plan.Update, Table: typedTable(mode), Item: parse(t, `{"pk":{"S":"a"}}`), Update: u}
	var before item.Item
	if current != "" {
		before = parse(t, current)
	}
	out, err := w.Plan(before, &m)
	if err != nil {
		t.Errorf("%s: %v", want, err)
		return
	}
	if got := opsText(t, out.Ops); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for i := range out.Ops {
		if op := &out.Ops[i]; op.Type == conflict.TypeMap != (op.Kind == conflict.OpSetPath || op.Kind == conflict.OpRemovePath) {
			t.Errorf("%s: operation %d has type %s", want, i, op.Type)
		}
	}
}

// typedUpdates are updates of the attributes of typedTable and of others, by every clause.
var typedUpdates = []string{
	"ADD likes :n", "ADD likes :minus", "SET likes = :n", "SET likes = likes + :n", "SET likes = likes - :start", "SET likes = if_not_exists(likes, :start) + :n", "SET likes = if_not_exists(likes, :zero) - :n",
	"SET likes = :s", "REMOVE likes", "ADD likes :exact",
	"ADD labels :ss", "DELETE labels :ss", "SET labels = :ss", "REMOVE labels", "SET labels = :n",
	"SET best = :n", "SET best = :start", "SET best = :s", "ADD best :minus", "REMOVE best", "SET least = :n", "SET least = :start", "SET least = least + :n", "REMOVE least",
	"ADD note :n", "SET note = :s", "REMOVE note",
	"ADD n :n", "SET n = n + :n", "ADD n :ss", "DELETE n :ss", "SET n = :zero", "REMOVE n", "ADD s :ss, n :n SET best = :l REMOVE likes", "SET x = likes, likes = :n",
	"SET doc.k = :s", "SET doc.k = :m", "REMOVE doc.k", "SET doc.k.z = :n", "SET doc.#in.x = :n", "REMOVE doc.#in.x, doc.k", "SET doc.l[0] = :s", "REMOVE doc.l[1]", "ADD doc.#in.x :n, doc.ss :ss", "DELETE doc.ss :ss",
	"SET doc = :m", "SET doc = :l", "SET doc[0] = :n", "REMOVE doc", "SET doc.z = doc.k, doc.#in = :m", "SET best = :m", "SET best.z = :n",
}

// TestRecordedIsShown: in whatever mode an update is recorded, and whatever was before, the record shows what the update made of the item. Nobody else writes here: merging may add to it, not change it.
func TestRecordedIsShown(t *testing.T) {
	key := parse(t, `{"pk":{"S":"a"}}`)
	at, err := plan.ItemKey(nil, &hash, key)
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(r *rapid.T) {
		var record []byte
		var current item.Item
		types := typedTable(conflict.LWW).Types
		for step := range rapid.IntRange(1, 12).Draw(r, "steps") {
			table := typedTable(rapid.SampledFrom([]conflict.Mode{conflict.LWW, conflict.Attribute, conflict.Vector, conflict.Vector, conflict.Vector}).Draw(r, "mode"))
			if rapid.IntRange(0, 5).Draw(r, "types change") == 0 {
				name := rapid.SampledFrom([]string{"likes", "labels", "best", "note", "n", "doc"}).Draw(r, "of")
				types[name] = rapid.SampledFrom([]conflict.TypeTag{conflict.TypeCounter, conflict.TypeSet, conflict.TypeMap, conflict.TypeMax, conflict.TypeMin, conflict.TypeRegister}).Draw(r, "to")
			}
			table.Types = types
			w := plan.Write{Action: plan.Update, Table: table, Item: key}
			switch rapid.IntRange(0, 9).Draw(r, "action") {
			case 0:
				w.Action = plan.Delete
			case 1:
				w.Action, w.Item = plan.Put, parse(t, stored)
			default:
				w.Update = expression(t, rapid.SampledFrom(typedUpdates).Draw(r, "update"))
			}
			var m plan.Memory
			out, err := w.Plan(current, &m)
			if err != nil {
				continue // of the wrong type, or not there
			}
			c := conflict.Change{Table: 5, Key: at, Dot: hlc.Stamp{Time: hlc.Timestamp(step + 1), Origin: 1}, Ops: out.Ops}
			if len(out.Ops) > 0 {
				if record, _, err = conflict.ApplyLocal(nil, record, &c); err != nil {
					r.Fatal(err)
				}
			}
			shown, live, err := hash.ItemOf(at, record)
			if err != nil || live != (out.After != nil) || string(shown) != string(out.After) {
				r.Fatalf("shown %s, %v\nafter %s", shown.AppendJSON(nil), err, out.After.AppendJSON(nil))
			}
			current = shown
		}
	})
}
