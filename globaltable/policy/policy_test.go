package policy

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"pgregory.net/rapid"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/manifest"
)

var rewrite = flag.Bool("rewrite", false, "rewrite golden files")

const twoDocuments = `# pins, and replicas
apiVersion: concordat/v1
kind: LocalityPolicy
metadata: {name: eu-customers}
spec:
  match: {table: customers, keyPrefix: "EU#"}
  pin: {jurisdictions: [EU]}
  foreign: forward
  singleCopy: allowed
---
apiVersion: concordat/v1
kind: ReplicationPolicy
metadata: {name: customers}
spec: {table: customers, regions: [us-east-1, eu-central-1, ap-south-1], merge: attribute, attributes: {likes: counter}}
---
apiVersion: concordat/v1
kind: LocalityPolicy
metadata: {name: by-part}
spec:
  match: {table: customers, key: {delimiter: "#", component: 2, equals: EU}, sortKeyPrefix: "2"}
  pin: {regions: [us-east-1, eu-central-1]}
`

func example(t testing.TB) []Document {
	t.Helper()
	docs, err := Parse([]byte(twoDocuments))
	if err != nil {
		t.Fatal(err)
	}
	return docs
}

func TestParse(t *testing.T) {
	docs := example(t)
	want := []Document{
		{Kind: LocalityPolicy, Name: "eu-customers", Locality: &Locality{Match: Match{Table: "customers", KeyPrefix: "EU#"}, Pin: Places{Jurisdictions: []string{"EU"}}, Foreign: globaltable.Forward, SingleCopy: Allowed}},
		{Kind: ReplicationPolicy, Name: "customers", Replication: &Replication{Table: "customers", Regions: []string{"ap-south-1", "eu-central-1", "us-east-1"}, Merge: "attribute", Attributes: map[string]string{"likes": "counter"}}},
		{Kind: LocalityPolicy, Name: "by-part", Locality: &Locality{Match: Match{Table: "customers", Key: &Component{"#", 2, "EU"}, SortKeyPrefix: "2"}, Pin: Places{Regions: []string{"eu-central-1", "us-east-1"}}, Foreign: globaltable.Reject}},
	}
	if len(docs) != len(want) {
		t.Fatalf("%d documents", len(docs))
	}
	for i := range want {
		if !docs[i].Equal(&want[i]) {
			t.Errorf("document %d: %+v", i, docs[i])
		}
	}
}

// TestFaults: all that is wrong is told at once, with line and path.
func TestFaults(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"everything": {"apiVersion: concordat/v2\nkind: LocalityPolicy\nmetadata: {name: EU, owner: me}\nspec:\n  match:\n    table: 1\n    keyPrefix: a\n    keyPrefix: b\n    key: {delimiter: '#', component: two}\n  pin: {jurisdictions: [eu, 7]}\n  foreign: maybe\n  single: true\n",
			[]string{"line 1: apiVersion", "line 3: metadata.owner: this field is not known", "line 6: spec.match.table: it is a number", "line 8: spec.match.keyPrefix: it is there twice",
				"line 9: spec.match.key.component: it is text", "line 9: spec.match.key.equals: it is missing", "line 10: spec.pin.jurisdictions[1]: it is a number", "line 12: spec.single: this field is not known"}},
		"meaning": {strings.NewReplacer("[EU]", "[eu, EU, EU]", "eu-customers", "EU", "forward", "maybe", `"EU#"`, "EU#\n    key: {delimiter: '#', component: 17, equals: 'a#b'}", "{table: customers, keyPrefix:", "\n    table: c\n    keyPrefix:", "\"}\n", "\"\n").Replace(strings.ReplaceAll(first(), `"EU#"}`, `"EU#"`)),
			[]string{"metadata.name: a policy's name", "spec.match.table: the name of a table", "spec.match: it has keyPrefix and key", "spec.match.key.component: it is 17", "spec.match.key.equals: it has the delimiter",
				`spec.pin.jurisdictions: "eu"`, `spec.pin.jurisdictions: "EU" is there twice`, "spec.foreign: it is \"maybe\""}},
		"replication": {"apiVersion: concordat/v1\nkind: ReplicationPolicy\nmetadata: {name: a}\nspec: {table: abc, regions: [EU], merge: none, attributes: {a: b}, acknowledge: none, stream: on, conflicts: {age: 1, bytes: much}}\n",
			[]string{"line 4: spec.conflicts.age: it is a number"}},
		"replication's meaning": {"apiVersion: concordat/v1\nkind: ReplicationPolicy\nmetadata: {name: a}\nspec: {table: abc, regions: [EU], merge: none, attributes: {a: b}, acknowledge: none, stream: on, streamRecords: {age: 36d, bytes: 1KiB}, conflicts: {age: never, bytes: much}}\n",
			[]string{"spec.regions", "spec.merge", "spec.attributes", "spec.acknowledge", "spec.stream", "spec.streamRecords.age", "spec.streamRecords.bytes", "spec.conflicts.age", "spec.conflicts.bytes"}},
		"twice":       {first() + "---\n" + first(), []string{"document 2, line 12: LocalityPolicy eu-customers of table customers is in document 1 already"}},
		"kind":        {"apiVersion: concordat/v1\nkind: Policy\nmetadata: {name: a}\nspec: {}\n", []string{"line 2: kind: it is \"Policy\""}},
		"no mapping":  {"- a\n- b\n", []string{"line 1: it is a list"}},
		"no YAML":     {"a: [", []string{"not YAML"}},
		"nothing":     {"# nothing\n", []string{"there is no document"}},
		"an alias":    {"a: &x 1\nb: *x\n", []string{"anchors"}},
		"deep":        {strings.Repeat("[", 100), []string{"too deep"}},
		"deep lists":  {strings.Repeat("- ", 1000) + "a", []string{"too deep"}},
		"no text":     {"a: \xff", []string{"UTF-8"}},
		"too long":    {strings.Repeat("#\n", manifest.MaxBytes), []string{"at most 1048576"}},
		"too many":    {strings.Repeat("a: 1\n---\n", manifest.MaxDocuments+1), []string{"257 documents"}},
		"many words":  {strings.Repeat("- 1\n", 40_000), []string{"words"}},
		"empty texts": {"apiVersion: concordat/v1\nkind: LocalityPolicy\nmetadata: {name: a}\nspec: {match: {table: abc, keyPrefix: ''}, pin: {regions: []}}\n", []string{"keyPrefix: it is empty", "spec.pin.regions: it is empty"}},
		"two places":  {"apiVersion: concordat/v1\nkind: LocalityPolicy\nmetadata: {name: a}\nspec: {match: {table: abc}, pin: {regions: [a], jurisdictions: [A]}}\n", []string{"either to jurisdictions or to regions"}},
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
		if got := strings.Count(err.Error(), "\n") + 1; got != len(c.want) && name != "no YAML" {
			t.Errorf("%s: %d faults, want %d:\n%v", name, got, len(c.want), err)
		}
	}
}

// first is the first of twoDocuments, alone.
func first() string { return strings.SplitN(twoDocuments, "---\n", 2)[0] }

// documents generates ones that are right.
func documents() *rapid.Generator[Document] {
	names := rapid.StringMatching(`[a-z0-9][a-z0-9.-]{0,20}`)
	text := rapid.StringMatching(`[ -~äß日]{1,12}`)
	regions := func(t *rapid.T) []string {
		return rapid.SliceOfNDistinct(rapid.StringMatching(`[a-z][a-z0-9-]{0,8}[a-z0-9]`), 1, 4, rapid.ID[string]).Draw(t, "regions")
	}
	return rapid.Custom(func(t *rapid.T) Document {
		table := rapid.StringMatching(`[A-Za-z0-9_.-]{3,20}`).Draw(t, "table")
		d := Document{Kind: LocalityPolicy, Name: names.Draw(t, "name")}
		if rapid.Bool().Draw(t, "replication") {
			r := &Replication{Table: table}
			if rapid.Bool().Draw(t, "regions?") {
				r.Regions = regions(t)
			}
			r.Merge = rapid.SampledFrom([]string{"", "lww", "attribute", "vector"}).Draw(t, "merge")
			r.Attributes = rapid.MapOfN(text, rapid.SampledFrom([]string{"counter", "set", "none", "register"}), 0, 3).Draw(t, "attributes")
			r.Acknowledge = rapid.SampledFrom([]string{"", "local", "peers:2"}).Draw(t, "acknowledge")
			r.Stream = rapid.SampledFrom([]string{"", "off", "KEYS_ONLY", "NEW_AND_OLD_IMAGES"}).Draw(t, "stream")
			kept := func() *Kept {
				return &Kept{Age: rapid.SampledFrom([]string{"", "30d", "36h", "default"}).Draw(t, "age"), Bytes: rapid.SampledFrom([]string{"", "1MiB", "2097152"}).Draw(t, "bytes")}
			}
			r.Streams, r.Conflicts = kept(), kept()
			d.Kind, d.Replication = ReplicationPolicy, r
			d.normalize()
			return d
		}
		l := &Locality{Match: Match{Table: table}, Foreign: rapid.SampledFrom([]globaltable.Foreign{"reject", "forward"}).Draw(t, "foreign"), SingleCopy: rapid.SampledFrom([]string{"", Allowed}).Draw(t, "single")}
		switch rapid.IntRange(0, 2).Draw(t, "match") {
		case 1:
			l.Match.KeyPrefix = text.Draw(t, "prefix")
		case 2:
			l.Match.Key = &Component{rapid.SampledFrom([]string{"#", "::", "~"}).Draw(t, "delimiter"), rapid.IntRange(1, 16).Draw(t, "component"), rapid.StringMatching(`[A-Z]{0,5}`).Draw(t, "equals")}
		}
		if rapid.Bool().Draw(t, "sort") {
			l.Match.SortKeyPrefix = text.Draw(t, "sort prefix")
		}
		if rapid.Bool().Draw(t, "by jurisdiction") {
			l.Pin.Jurisdictions = rapid.SliceOfNDistinct(rapid.StringMatching(`[A-Z]{2}`), 1, 3, rapid.ID[string]).Draw(t, "jurisdictions")
		} else {
			l.Pin.Regions = regions(t)
		}
		l.Targets = rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"https://a.example", "https://a.example:8443/b", "http://localhost/x", "s3://bucket/a?region=eu", "file:///data/eu"}), 0, 3, rapid.ID[string]).Draw(t, "targets")
		d.Locality = l
		d.normalize()
		return d
	})
}

// TestThereAndBack: YAML, JSON, and a table's document, give back what was put into them.
func TestThereAndBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		docs := rapid.SliceOfNDistinct(documents(), 1, 4, func(d Document) string { return string(d.Kind) + d.Name + "/" + d.Table() }).Draw(t, "documents")
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
			if docs[i].Kind == LocalityPolicy {
				pin := docs[i].PinOf()
				if back := OfPin(docs[i].Table(), &pin); !back.Equal(&docs[i]) {
					t.Fatalf("%+v becomes %+v", pin, back)
				}
			}
		}
	})
}

func compiled(t testing.TB, kind Kind) *jsonschema.Schema {
	t.Helper()
	text, ok := Schema(kind)
	if !ok {
		t.Fatalf("no schema of %q", kind)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("urn:concordat:policy:v1", v); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("urn:concordat:policy:v1")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// valid reports whether a YAML document is right by the schema.
func valid(s *jsonschema.Schema, text []byte) error {
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

// TestSchemaAndParserAgree: about documents that are right, and about ones in which one thing is changed: what the parser takes is right by the schema, and what the schema takes is refused only for what a schema cannot say.
func TestSchemaAndParserAgree(t *testing.T) {
	all, ofKind := compiled(t, ""), map[Kind]*jsonschema.Schema{}
	for _, k := range Kinds() {
		ofKind[k] = compiled(t, k)
	}
	if _, ok := Schema("Metadata"); ok {
		t.Error("a schema of no kind")
	}
	beyond := []string{"which no component has", "is no size", "is not known; it can be a size", "is not known; it can be a time", "at most 256 bytes", "1 to 113 characters", "a target is a URL", "has no query"}
	taken, refused := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		d := documents().Draw(t, "document")
		b, err := json.Marshal(d)
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
		bySchema := valid(all, text)
		switch {
		case parsed == nil && bySchema != nil:
			t.Fatalf("the parser takes what the schema refuses: %s\n%v", text, bySchema)
		case parsed != nil && bySchema == nil && !containsAny(parsed.Error(), beyond):
			t.Fatalf("the schema takes what the parser refuses: %s\n%v", text, parsed)
		}
		if kind, ok := tree.(map[string]any)["kind"].(string); ok && ofKind[Kind(kind)] != nil {
			if one := valid(ofKind[Kind(kind)], text); (one == nil) != (bySchema == nil) {
				t.Fatalf("the schema of the kind says %v, that of all %v: %s", one, bySchema, text)
			}
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

func containsAny(s string, list []string) bool {
	for _, x := range list {
		if strings.Contains(s, x) {
			return true
		}
	}
	return false
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
		name := rapid.SampledFrom(sorted(names)).Draw(t, "field")
		switch rapid.IntRange(0, 5).Draw(t, "what") {
		case 0:
			delete(v, name)
		case 1:
			v["other"] = "x"
		case 2:
			v[name] = rapid.SampledFrom([]any{1.0, "", "EU", nil, true, []any{}, map[string]any{}, []any{"EU", "EU"}}).Draw(t, "value")
		default:
			v[name] = mutate(t, v[name])
		}
		return v
	case []any:
		if len(v) > 0 && rapid.Bool().Draw(t, "inside") {
			v[0] = mutate(t, v[0])
			return v
		}
		return rapid.SampledFrom([]any{[]any{}, append(v, v...), "x"}).Draw(t, "list")
	}
	return rapid.SampledFrom([]any{1.0, 0.5, 17.0, "", "EU", "a#b", strings.Repeat("a", 300), nil, false, []any{"a"}}).Draw(t, "scalar")
}

func sorted(s []string) []string {
	for i := range s {
		for j := i; j > 0 && s[j] < s[j-1]; j-- {
			s[j], s[j-1] = s[j-1], s[j]
		}
	}
	return s
}

// TestGoldenVersion: the stored form of a policy's version does not change by itself.
func TestGoldenVersion(t *testing.T) {
	docs := example(t)
	docs[2] = docs[0] // with what came later
	docs[2].Locality = &Locality{Match: docs[0].Locality.Match, Pin: docs[0].Locality.Pin, Foreign: docs[0].Locality.Foreign, Targets: []string{"https://search.example/hooks", "s3://eu"}}
	for i, name := range []string{"version-locality.json", "version-replication.json", "version-targets.json"} {
		v := &Version{Table: 1000<<16 | 1, Sequence: 7, Number: 2, Deleted: i == 1, Document: docs[i], Author: "ops@example.com", Reason: "ticket 12", At: 1_700_000_000_000, In: globaltable.MakeVersion(3, 9), By: 1}
		path := filepath.Join("testdata", name)
		if *rewrite {
			if err := os.WriteFile(path, append(v.Encode(), '\n'), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		golden, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		golden = bytes.TrimSuffix(golden, []byte("\n"))
		if got := v.Encode(); !bytes.Equal(got, golden) {
			t.Errorf("%s\nwant %s", got, golden)
		}
		got, err := DecodeVersion(golden)
		if err != nil || !bytes.Equal(got.Encode(), golden) || !got.Document.Equal(&v.Document) {
			t.Errorf("%+v, %v", got, err)
		}
		for what, c := range map[string]struct {
			old, new string
			kind     globaltable.Kind
		}{
			"newer":      {`"format":`, `"format":3`, globaltable.Unavailable},
			"a field":    {`"format":`, `"more":1,"format":`, globaltable.Corrupt},
			"a fault":    {`"table":"customers"`, `"table":"c"`, globaltable.Corrupt},
			"no author":  {`"author":"ops@example.com"`, `"author":""`, globaltable.Corrupt},
			"no number":  {`"number":2`, `"number":8`, globaltable.Corrupt},
			"no table":   {`"0000000003e80001"`, `"0000000000000001"`, globaltable.Corrupt},
			"no moment":  {`"at":1700000000000`, `"at":0`, globaltable.Corrupt},
			"no version": {`"inEpoch":3`, `"inEpoch":0`, globaltable.Corrupt},
		} {
			bad := strings.Replace(string(golden), c.old, c.new, 1)
			if bad == string(golden) {
				t.Fatalf("%s: nothing is changed", what)
			}
			if _, err := DecodeVersion([]byte(bad)); err == nil || globaltable.KindOf(err) != c.kind {
				t.Errorf("%s: %v", what, err)
			}
		}
	}
	if _, err := DecodeVersion([]byte("no")); globaltable.KindOf(err) != globaltable.Corrupt {
		t.Error(err)
	}
}

func TestCheckWords(t *testing.T) {
	for _, c := range []struct {
		author, reason string
		ok             bool
	}{{"a", "", true}, {"a", "because", true}, {"", "because", false}, {"a\nb", "", false}, {"a", "b\x7f", false}, {strings.Repeat("a", 129), "", false}, {"a", strings.Repeat("a", 1025), false}, {"\xff", "", false}} {
		if err := CheckWords(c.author, c.reason); (err == nil) != c.ok {
			t.Errorf("%q, %q: %v", c.author, c.reason, err)
		}
	}
}

// FuzzParse: whatever comes, there are documents that are right, and come back, or faults.
func FuzzParse(f *testing.F) {
	f.Add([]byte(twoDocuments))
	f.Add([]byte(first()))
	f.Add([]byte("{\"apiVersion\": \"concordat/v1\", kind: ReplicationPolicy, metadata: {name: a}, spec: {table: abc}}"))
	f.Add([]byte("a: |\n  b\n? x\n: y\n"))
	all := compiled(f, "")
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
			t.Fatalf("%v\n%s", err, text)
		}
		for i := range docs {
			one, err := json.Marshal(docs[i])
			if err != nil || !again[i].Equal(&docs[i]) {
				t.Fatalf("%+v becomes %+v, %v", docs[i], again[i], err)
			}
			if err := valid(all, one); err != nil {
				t.Fatalf("%s: %v", one, err)
			}
		}
	})
}
