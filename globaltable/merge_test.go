package globaltable

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/globaltable/item"
)

// mergingTable declares a merge type of each kind, too.
func mergingTable() *Table {
	t := settingsTable()
	maps.Copy(t.Tags, map[string]string{MergeTag: "vector", TypeTagPrefix + "likes": "counter", TypeTagPrefix + "<tags>": "set", TypeTagPrefix + "profile": "map",
		TypeTagPrefix + "best": "max", TypeTagPrefix + "least": "min", TypeTagPrefix + "note": "register"})
	if err := t.FollowTags(); err != nil {
		panic(err)
	}
	return t
}

func TestFollowTags(t *testing.T) {
	table := mergingTable()
	if got, ok := table.TypeOf([]byte("<tags>")); !ok || got != conflict.TypeSet || table.Mode != conflict.Vector || len(table.Types) != 6 || table.AcknowledgePeers != 2 {
		t.Errorf("%+v", table)
	}
	if _, ok := table.TypeOf([]byte("other")); ok {
		t.Error("a type that nobody declared")
	}
	for i, c := range []struct {
		tags map[string]string
		want string // the error's message; empty: mode, and types, of all
		mode conflict.Mode
		of   string
	}{
		{nil, "", conflict.LWW, ""},
		{map[string]string{"team": "maps", "type": "counter"}, "", conflict.LWW, ""},
		{map[string]string{MergeTag: "lww"}, "", conflict.LWW, ""},
		{map[string]string{MergeTag: "attribute", TypeTagPrefix + "a": "min"}, "", conflict.Attribute, "a=min"},
		{map[string]string{TypeTagPrefix + "a": "none", TypeTagPrefix + "b": "max"}, "", conflict.LWW, "b=max"},
		{map[string]string{MergeTag: ""}, `Tag concordat:merge: "" is not known; it can be lww, attribute or vector`, 0, ""},
		{map[string]string{MergeTag: "Vector", AcknowledgeTag: "all", TypeTagPrefix + "a": "list"},
			`Tag concordat:acknowledge: "all" is not known; it can be local, or peers:1 to peers:3; Tag concordat:merge: "Vector" is not known; it can be lww, attribute or vector; ` +
				`Tag concordat:type:a: "list" is not known; it can be counter, set, map, max, min, register or none`, 0, ""},
	} {
		table, was := exampleTable(), mergingTable()
		table.Tags, table.Mode, table.Types, table.AcknowledgePeers = c.tags, was.Mode, was.Types, 2
		err := table.FollowTags()
		if c.want != "" {
			var g *Error
			if g, _ = err.(*Error); g == nil || g.Kind != Invalid || g.Message != c.want || table.Mode != was.Mode || len(table.Types) != 6 || table.AcknowledgePeers != 2 {
				t.Errorf("case %d: %v, %+v", i, err, table)
			}
			continue
		}
		var of []string
		for name, typ := range table.Types {
			of = append(of, name+"="+typ.String())
		}
		if slices.Sort(of); err != nil || table.Mode != c.mode || strings.Join(of, ",") != c.of || table.AcknowledgePeers != 0 || (table.Types == nil) != (c.of == "") {
			t.Errorf("case %d: %v, %v %v", i, err, table.Mode, of)
		}
	}
}

func TestCheckShared(t *testing.T) {
	if err := CheckShared(mergingTable().Tags); err != nil {
		t.Error(err)
	}
	for _, key := range []string{"concordat:", "concordat:merg", "concordat:type", "concordat:type:", "concordat:Type:a", "concordat:" + strings.Repeat("x", 200)} {
		if err := CheckShared(map[string]string{key: "lww", "team": "maps"}); KindOf(err) != Invalid || !strings.Contains(err.Error(), "is not known; tags that begin with concordat:") || len(err.Error()) > 400 {
			t.Errorf("%s: %v", key, err)
		}
	}
}

func TestMergeTags(t *testing.T) {
	tag, untag, err := MergeTags("vector", map[string]string{"a": "counter", "b": "none", "ü": "none"})
	if err != nil || !maps.Equal(tag, map[string]string{MergeTag: "vector", TypeTagPrefix + "a": "counter"}) || !slices.Equal(untag, []string{TypeTagPrefix + "b", TypeTagPrefix + "ü"}) {
		t.Errorf("%v %v %v", tag, untag, err)
	}
	if tag, untag, err := MergeTags("", nil); err != nil || len(tag)+len(untag) != 0 {
		t.Errorf("%v %v %v", tag, untag, err)
	}
	_, _, err = MergeTags("last", map[string]string{"a": "list", "": "set", strings.Repeat("n", MaxTypeNameLen+1): "none"})
	for _, want := range []string{`mode: "last" is not known`, `type of "a": "list" is not known`, "has 1 to 113 characters"} {
		if KindOf(err) != Invalid || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}

// TestMergeFaults: all that is wrong with types is said at once.
func TestMergeFaults(t *testing.T) {
	table := indexedTable()
	keys := table.KeyAttributes()
	number := slices.IndexFunc(keys[keyLen(&table.KeySchema):], func(a KeyAttribute) bool { return a.Type == item.N })
	other := slices.IndexFunc(keys[keyLen(&table.KeySchema):], func(a KeyAttribute) bool { return a.Type != item.N })
	if number < 0 || other < 0 {
		t.Fatal("the table has no such indexes")
	}
	n, s := keys[keyLen(&table.KeySchema)+number].Name, keys[keyLen(&table.KeySchema)+other].Name
	table.Types = map[string]conflict.TypeTag{n: conflict.TypeCounter, s: conflict.TypeMax, "free": conflict.TypeMap}
	if err := table.Validate(); err != nil {
		t.Errorf("types that fit: %v", err)
	}
	table.Mode = 9
	table.Types = map[string]conflict.TypeTag{keys[0].Name: conflict.TypeRegister, n: conflict.TypeSet, s: conflict.TypeCounter, "a": 77, "": conflict.TypeMin}
	for i := range MaxTypes {
		table.Types[fmt.Sprint("more", i)] = conflict.TypeMax
	}
	err := table.Validate()
	for _, want := range []string{"merge mode is not known", "55 attributes have merge types, at most 50", `the merge type of attribute "a" is not known`, "has 1 to 113 characters",
		fmt.Sprintf("attribute %q is of the table's key, which never changes", keys[0].Name), fmt.Sprintf("attribute %q is of an index's key, in type N, which a set never has", n),
		fmt.Sprintf("attribute %q is of an index's key, in type %s, which a counter never has", s, keys[keyLen(&table.KeySchema)+other].Type)} {
		if KindOf(err) != Invalid || !strings.Contains(err.Error(), want) {
			t.Errorf("%v\ndoes not say %q", err, want)
		}
	}
	// As many as there may be go into a document.
	table = mergingTable()
	for i := range MaxTypes - len(table.Types) {
		table.Tags[TypeTagPrefix+strings.Repeat("n", MaxTypeNameLen-2)+fmt.Sprintf("%02d", i)] = "register"
	}
	for i := range MaxTags {
		table.Tags[fmt.Sprint("own", i)] = ""
	}
	delete(table.Tags, "team")
	delete(table.Tags, "a")
	if err := table.FollowTags(); err != nil || len(table.Types) != MaxTypes || table.Validate() != nil {
		t.Errorf("%v, %v", err, table.Validate())
	}
	table.Tags["one more"] = ""
	if err := table.Validate(); err == nil || !strings.Contains(err.Error(), "51 tags, at most 50") {
		t.Error(err)
	}
}

func TestMergingDocumentIsChecked(t *testing.T) {
	doc := string(EncodeTable(mergingTable()))
	for name, c := range map[string]string{
		"type":                 strings.Replace(doc, `"best":"max"`, `"best":"most"`, 1),
		"type none":            strings.Replace(doc, `"best":"max"`, `"best":"none"`, 1),
		"name":                 strings.Replace(doc, `"best":"max"`, `"":"max"`, 1),
		"attribute of the key": strings.Replace(doc, `"best":"max"`, `"country":"max"`, 1),
		"mode":                 strings.Replace(doc, `"mode":"vector"`, `"mode":"typed"`, 1),
	} {
		if c == doc {
			t.Fatalf("%s: the case changes nothing", name)
		}
		if _, err := DecodeTable([]byte(c)); KindOf(err) != Corrupt {
			t.Errorf("%s: %v", name, err)
		}
	}
}
