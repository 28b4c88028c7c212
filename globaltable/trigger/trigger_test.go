package trigger

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"pgregory.net/rapid"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/globaltable/manifest"
)

const examples = `apiVersion: concordat/v1
kind: Trigger
metadata: {name: orders-search}
spec:
  table: orders
  filter:
    type: [concordat.item.insert, concordat.item.modify]
    data: {new: {total: {N: [{prefix: "1"}, "20"]}, paid: {BOOL: [true, null, 1.5]}}}
  target: {webhook: {url: "https://search.example/hook", secretRef: hook-key, timeout: 3s}}
  batch: {size: 10, window: 1500ms}
  parallel: 4
  retry: {attempts: 3, first: 1s, most: 1h}
---
apiVersion: concordat/v1
kind: Trigger
metadata: {name: mail}
spec: {table: orders, fire: one, filter: {}, target: {command: {path: /usr/bin/mail, args: ["-s", orders]}}}
---
apiVersion: concordat/v1
kind: Trigger
metadata: {name: mail}
spec: {table: customers, fire: everywhere, target: {nats: {subject: mail.customers}}}
`

func TestParse(t *testing.T) {
	docs, err := Parse([]byte(examples))
	if err != nil {
		t.Fatal(err)
	}
	want := []Document{
		{"orders-search", "orders", globaltable.TriggerSpec{Fire: globaltable.FireOrigin, Filter: json.RawMessage(`{"data":{"new":{"paid":{"BOOL":[true,null,1.5]},"total":{"N":[{"prefix":"1"},"20"]}}},"type":["concordat.item.insert","concordat.item.modify"]}`),
			Target: globaltable.Target{Webhook: &globaltable.Webhook{URL: "https://search.example/hook", SecretRef: "hook-key", Timeout: 3 * time.Second}},
			Batch:  globaltable.Batch{Size: 10, Window: 1500 * time.Millisecond}, Parallel: 4, Retry: globaltable.Retry{Attempts: 3, First: time.Second, Most: time.Hour}}},
		{"mail", "orders", globaltable.TriggerSpec{Fire: globaltable.FireOne, Target: globaltable.Target{Command: &globaltable.CommandSpec{Path: "/usr/bin/mail", Args: []string{"-s", "orders"}}}}},
		{"mail", "customers", globaltable.TriggerSpec{Fire: globaltable.FireEverywhere, Target: globaltable.Target{NATS: &globaltable.NATSTarget{Subject: "mail.customers"}}}},
	}
	if len(docs) != len(want) {
		t.Fatalf("%d documents", len(docs))
	}
	for i := range want {
		if !docs[i].Equal(&want[i]) {
			t.Errorf("document %d: %+v, filter %s", i, docs[i], docs[i].Spec.Filter)
		}
	}
}

// TestFaults: all that is wrong is told at once, with line and path.
func TestFaults(t *testing.T) {
	head := "apiVersion: concordat/v1\nkind: Trigger\nmetadata: {name: a}\nspec:\n  table: orders\n"
	const hook = "  target: {webhook: {url: \"https://a/b\"}}\n"
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"types": {head + "  fire: [origin]\n  filter: {a: &x 1}\n  target: {}\n", []string{"line 7: \"&\": a document has no anchors"}},
		"many": {head + "  fire: 1\n  filters: {}\n  target: {webhook: {uri: x}, command: {path: /a, args: [1]}}\n  batch: {size: many, window: 5}\n  retry: {first: soon, most: 0s}\n  parallel: 0\n",
			[]string{"line 6: spec.fire: it is a number", "line 7: spec.filters: this field is not known", "line 8: spec.target.webhook.uri: this field is not known", "line 8: spec.target.webhook.url: it is missing", "line 8: spec.target.command.args[0]: it is a number",
				"line 9: spec.batch.size: it is text", "line 9: spec.batch.window: it is a number", "line 9: spec.batch.window: it is \"\"", "line 10: spec.retry.first: it is \"soon\"; a time is written like", "line 10: spec.retry.most: it is \"0s\"; it must be above zero", "line 11: spec.parallel: it is 0; it must be 1"}},
		"meaning": {strings.NewReplacer("{name: a}", "{name: A}", "orders", "o").Replace(head) + "  fire: twice\n  target:\n    webhook: {url: \"http://a/b\", secretRef: A}\n    nats: {subject: concordat.a}\n  batch: {size: 1001, window: 2m}\n",
			[]string{"line 3: metadata.name: a trigger's name", "line 5: spec.table: the name of a table", "line 6: spec.fire: it is \"twice\"", "line 8: spec.target: a trigger has one target", "line 8: spec.target.webhook.url: it is not https", "line 8: spec.target.webhook.secretRef: the name of a secret",
				"line 9: spec.target.nats.subject: a subject", "line 10: spec.batch.size: it is 1001; it can be 1 to 1000", "line 10: spec.batch.window: it is 2m0s; it can be 1ms to 1m0s"}},
		"filter":        {head + hook + "  filter:\n    type: concordat.item.insert\n", []string{"line 8: spec.filter:"}},
		"filter's list": {head + hook + "  filter: [a]\n", []string{"line 7: spec.filter: it is no JSON object"}},
		"twice":         {head + hook + "---\n" + head + hook, []string{"document 2, line 8: Trigger a of table orders is in document 1 already"}},
		"too large":     {head + hook + "  filter: {type: [" + strings.Repeat("a", 5000) + "]}\n", []string{"line 5: spec: all of it together has"}},
		"a policy":      {"apiVersion: concordat/v1\nkind: LocalityPolicy\nmetadata: {name: a}\nspec: {}\n", []string{"line 2: kind: it is \"LocalityPolicy\"; it can be Trigger"}},
		"a number":      {head + hook + "  filter: {a: [0x10]}\n", []string{"line 7: spec.filter.a[0]: it is a number that JSON writes otherwise"}},
	} {
		_, err := Parse([]byte(c.text))
		if err == nil {
			t.Errorf("%s: no fault", name)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: no %q in\n%v", name, want, err)
			}
		}
		if got := strings.Count(err.Error(), "\n") + 1; got != len(c.want) {
			t.Errorf("%s: %d faults, want %d:\n%v", name, got, len(c.want), err)
		}
	}
}

// documents generates ones that are right.
func drawn() *rapid.Generator[Document] {
	text := rapid.StringMatching(`[ -~äß日<]{1,12}`)
	times := rapid.Custom(func(t *rapid.T) time.Duration {
		return time.Duration(rapid.Int64Range(100, 60_000).Draw(t, "milliseconds")) * time.Millisecond
	})
	return rapid.Custom(func(t *rapid.T) Document {
		d := Document{Name: rapid.StringMatching(`[a-z0-9][a-z0-9.-]{0,20}`).Draw(t, "name"), Table: rapid.StringMatching(`[A-Za-z0-9_.-]{3,20}`).Draw(t, "table")}
		s := &d.Spec
		s.Fire = rapid.SampledFrom([]globaltable.Fire{"origin", "everywhere", "one"}).Draw(t, "fire")
		if rapid.Bool().Draw(t, "filter?") {
			of := rapid.SliceOfN(rapid.OneOf(rapid.Map(text, func(s string) any { return s }), rapid.Map(text, func(s string) any { return map[string]any{"equals-ignore-case": s} }), rapid.Just[any](true), rapid.Just[any](nil), rapid.Just[any](5)), 1, 3)
			b, err := json.Marshal(map[string]any{text.Draw(t, "field"): of.Draw(t, "values"), "data": map[string]any{"new": map[string]any{text.Draw(t, "attribute"): of.Draw(t, "values")}}})
			if err != nil {
				t.Fatal(err)
			}
			s.Filter = b
		}
		switch rapid.IntRange(0, 2).Draw(t, "target") {
		case 0:
			s.Target.Webhook = &globaltable.Webhook{URL: rapid.SampledFrom([]string{"https://a.example/b?c=d&e", "http://localhost:80/", "https://[::1]/"}).Draw(t, "url"), SecretRef: rapid.SampledFrom([]string{"", "hook-key"}).Draw(t, "secret"), Timeout: times.Draw(t, "timeout")}
		case 1:
			s.Target.NATS = &globaltable.NATSTarget{Subject: rapid.StringMatching(`[a-z]{1,5}(\.[a-zA-Z0-9_-]{1,5}){0,3}`).Draw(t, "subject")}
		default:
			s.Target.Command = &globaltable.CommandSpec{Path: rapid.StringMatching(`(/[a-z]{1,5}){1,3}`).Draw(t, "path"), Args: rapid.SliceOfN(text, 0, 3).Draw(t, "args")}
		}
		if rapid.Bool().Draw(t, "more") {
			s.Batch = globaltable.Batch{Size: rapid.IntRange(0, 1000).Draw(t, "size"), Window: times.Draw(t, "window")}
			s.Parallel = rapid.IntRange(0, 64).Draw(t, "parallel")
			s.Retry = globaltable.Retry{Attempts: rapid.IntRange(0, 100).Draw(t, "attempts"), First: times.Draw(t, "first"), Most: time.Minute}
		}
		if len(d.check()) > 0 {
			t.Skip("a field of the filter that is none, or another kind of subject")
		}
		return d
	})
}

// TestThereAndBack: YAML, JSON, and a table's document, give back what was put into them.
func TestThereAndBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		docs := rapid.SliceOfNDistinct(drawn(), 1, 4, func(d Document) string { return d.Name + "/" + d.Table }).Draw(t, "documents")
		text, err := manifest.EncodeYAML(docs)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Parse(text)
		if err != nil || len(got) != len(docs) {
			t.Fatalf("%v\n%s", err, text)
		}
		for i := range docs {
			if !got[i].Equal(&docs[i]) {
				t.Fatalf("%s\nbecomes %+v", text, got[i])
			}
			b, err := json.Marshal(docs[i])
			if err != nil {
				t.Fatal(err)
			}
			var back Document
			if err := json.Unmarshal(b, &back); err != nil || !back.Equal(&docs[i]) {
				t.Fatalf("%s becomes %+v, %v", b, back, err)
			}
			if stored := stored(t, &docs[i]); !stored.Equal(&docs[i]) {
				t.Fatalf("%s is stored as %+v", b, stored)
			}
		}
	})
}

// stored puts a document into that of a table, stores that, and reads it.
func stored(t *rapid.T, d *Document) Document {
	v := globaltable.MakeVersion(1, 1)
	table := &globaltable.Table{ID: globaltable.NewTableID(hlc.Timestamp(1_700_000_000_000<<16), 7), Name: d.Table, Owner: 7, Version: v, CreatedAt: 5, KeySchema: globaltable.KeySchema{Partition: globaltable.KeyAttribute{Name: "k", Type: item.S}},
		Billing: globaltable.PayPerRequest, Class: globaltable.ClassStandard, Replicas: []globaltable.Replica{{Region: "a", Origin: 7, Status: globaltable.Active, Since: v}}, Triggers: []globaltable.Trigger{{Name: d.Name, Born: v, Number: 1, TriggerSpec: d.Spec}}}
	back, err := globaltable.DecodeTable(globaltable.EncodeTable(table))
	if err != nil {
		t.Fatal(err)
	}
	return Of(back.Name, &back.Triggers[0])
}

func TestUnmarshalRefuses(t *testing.T) {
	docs, err := Parse([]byte(examples))
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(docs[0])
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string][3]string{
		"a field":   {`"fire":`, `"fired":true,"fire":`, "unknown field"},
		"a time":    {`"3s"`, `"soon"`, "a time is written like"},
		"a release": {`concordat/v1`, `concordat/v2`, "apiVersion: it is"},
		"a kind":    {`"Trigger"`, `"Policy"`, "kind: it is"},
		"a fault":   {`"https:`, `"ftp:`, "spec.target.webhook.url: it is not https"},
		"a filter":  {`[{"prefix":"1"},"20"]`, `"20"`, "spec.filter: "},
	} {
		bad := strings.Replace(string(b), c[0], c[1], 1)
		var d Document
		if err := json.Unmarshal([]byte(bad), &d); bad == string(b) || err == nil || !strings.Contains(err.Error(), c[2]) || d.Name != "" {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestSchemaAndParserAgree: what the parser takes is right by the schema, and what the schema takes is refused only for what a schema cannot say.
func TestSchemaAndParserAgree(t *testing.T) {
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("urn:concordat:trigger:v1", v); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("urn:concordat:trigger:v1")
	if err != nil {
		t.Fatal(err)
	}
	valid := func(text []byte) error {
		b, err := yaml.YAMLToJSON(text)
		if err != nil {
			return err
		}
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
		if err != nil {
			return err
		}
		return s.Validate(v)
	}
	for _, text := range strings.Split(examples, "---\n") {
		if err := valid([]byte(text)); err != nil {
			t.Errorf("%s\n%v", text, err)
		}
	}
	beyond := []string{"a time is written like", "it must be above zero", "; it can be 1", "it is no URL", "spec.filter: ", "all of it together", "no absolute path", "in parts that are split", "less than the first delay"}
	taken, refused := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		b, err := json.Marshal(drawn().Draw(t, "document"))
		if err != nil {
			t.Fatal(err)
		}
		var tree any
		if err := json.Unmarshal(b, &tree); err != nil {
			t.Fatal(err)
		}
		if rapid.Bool().Draw(t, "change") {
			tree = mutate(t, tree)
		}
		text, err := json.Marshal(tree)
		if err != nil {
			t.Fatal(err)
		}
		_, parsed := Parse(text)
		bySchema := valid(text)
		switch {
		case parsed == nil && bySchema != nil:
			t.Fatalf("the parser takes what the schema refuses: %s\n%v", text, bySchema)
		case parsed != nil && bySchema == nil && !slices.ContainsFunc(beyond, func(part string) bool { return strings.Contains(parsed.Error(), part) }):
			t.Fatalf("the schema takes what the parser refuses: %s\n%v", text, parsed)
		}
		if parsed == nil {
			taken++
		} else {
			refused++
		}
	})
	if taken == 0 || refused == 0 {
		t.Errorf("%d taken, %d refused", taken, refused)
	}
}

// mutate changes one value, one name, or what is there, somewhere in the tree.
func mutate(t *rapid.T, v any) any {
	switch v := v.(type) {
	case map[string]any:
		names := make([]string, 0, len(v))
		for name := range v {
			names = append(names, name)
		}
		if len(names) == 0 {
			return "x"
		}
		slices.Sort(names)
		name := rapid.SampledFrom(names).Draw(t, "field")
		switch rapid.IntRange(0, 5).Draw(t, "what") {
		case 0:
			delete(v, name)
		case 1:
			v["other"] = "x"
		case 2:
			v[name] = rapid.SampledFrom([]any{1.0, "", "a", nil, true, []any{}, map[string]any{}}).Draw(t, "value")
		default:
			v[name] = mutate(t, v[name])
		}
		return v
	case []any:
		return rapid.SampledFrom([]any{[]any{}, append(v, "x"), "x"}).Draw(t, "list")
	}
	return rapid.SampledFrom([]any{1.0, 0.5, 2000.0, "", "A b", strings.Repeat("a", 300), nil, false, []any{"a"}}).Draw(t, "scalar")
}

// FuzzParse: no file panics, and what is taken comes back as it was.
func FuzzParse(f *testing.F) {
	f.Add([]byte(examples))
	for _, part := range strings.Split(examples, "---\n") {
		f.Add([]byte(part))
	}
	f.Add([]byte("apiVersion: concordat/v1\nkind: Trigger\nmetadata: {name: a}\nspec: {table: abc, filter: {a: [.inf, 1e3, |\n x\n]}, target: {nats: {subject: a}}}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		docs, err := Parse(b)
		if err != nil {
			return
		}
		text, err := manifest.EncodeYAML(docs)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse(text)
		if err != nil || len(again) != len(docs) {
			t.Fatalf("%q is written as %q: %v", b, text, err)
		}
		for i := range docs {
			if !docs[i].Equal(&again[i]) {
				t.Fatalf("%q is written as %q", b, text)
			}
		}
	})
}
