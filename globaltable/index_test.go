package globaltable

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/concordat-db/concordat/globaltable/item"
)

// indexedTable has, too, indexes.
func indexedTable() *Table {
	t := settingsTable()
	sort := *t.KeySchema.Sort
	t.LastIndex = 9
	t.Indexes = []Index{
		{ID: 1, Name: "by-height", Local: true, Partition: []KeyAttribute{t.KeySchema.Partition}, Sort: []KeyAttribute{{"height", item.N}}, Projection: ProjectKeys},
		{ID: 7, Name: "by.region_", Partition: []KeyAttribute{{"region", item.S}, {"<type>", item.B}}, Sort: []KeyAttribute{sort, {"height", item.N}},
			Projection: ProjectInclude, NonKey: []string{"z", "a"}, Throughput: Throughput{3, 4}, Warm: Throughput{0, 12_000}},
		{ID: 9, Name: "by-mayor", Partition: []KeyAttribute{{"mayor", item.S}}, Projection: ProjectAll, Throughput: Throughput{1, 1}},
	}
	return t
}

func TestIndexesAreChecked(t *testing.T) {
	doc := string(EncodeTable(indexedTable()))
	for name, c := range map[string]string{
		"id twice":                    strings.Replace(doc, `"id":7,`, `"id":1,`, 1),
		"id that was not given":       strings.Replace(doc, `"lastIndex":9`, `"lastIndex":8`, 1),
		"name twice":                  strings.Replace(doc, `"name":"by-mayor"`, `"name":"by-height"`, 1),
		"name":                        strings.Replace(doc, `"name":"by-mayor"`, `"name":"by mayor"`, 1),
		"attribute twice":             strings.Replace(doc, `{"name":"\u003ctype\u003e","type":"B"}`, `{"name":"region","type":"S"}`, 1),
		"attribute of two types":      strings.Replace(doc, `{"name":"mayor","type":"S"}`, `{"name":"height","type":"S"}`, 1),
		"type of the table's key":     strings.Replace(doc, `{"name":"mayor","type":"S"}`, `{"name":"country","type":"B"}`, 1),
		"type that is no key's":       strings.Replace(doc, `{"name":"mayor","type":"S"}`, `{"name":"mayor","type":"SS"}`, 1),
		"no attribute":                strings.Replace(doc, `[{"name":"mayor","type":"S"}]`, `[]`, 1),
		"five attributes":             strings.Replace(doc, `[{"name":"mayor","type":"S"}]`, `[{"name":"a","type":"S"},{"name":"b","type":"S"},{"name":"c","type":"S"},{"name":"d","type":"S"},{"name":"e","type":"S"}]`, 1),
		"local without sort key":      strings.Replace(doc, `"sortKey":[{"name":"height","type":"N"}],"projection":"KEYS_ONLY"`, `"projection":"KEYS_ONLY"`, 1),
		"local of another partition":  strings.Replace(doc, `"local":true,"partitionKey":[{"name":"country"`, `"local":true,"partitionKey":[{"name":"region"`, 1),
		"local with throughput":       strings.Replace(doc, `"projection":"KEYS_ONLY"`, `"projection":"KEYS_ONLY","readCapacity":1`, 1),
		"projection":                  strings.Replace(doc, `"projection":"ALL"`, `"projection":"SOME"`, 1),
		"include without a list":      strings.Replace(doc, `,"nonKey":["z","a"]`, ``, 1),
		"list without include":        strings.Replace(doc, `"projection":"ALL"`, `"projection":"ALL","nonKey":["a"]`, 1),
		"attribute included twice":    strings.Replace(doc, `["z","a"]`, `["a","a"]`, 1),
		"no throughput":               strings.Replace(doc, `"readCapacity":3,`, ``, 1),
		"maximum in PROVISIONED mode": strings.Replace(doc, `"projection":"ALL"`, `"projection":"ALL","onDemandMaxRead":3`, 1),
		"indexes of a dead table":     strings.Replace(doc, `"replicas":[`, `"deleted":true,"replicas":[`, 1),
	} {
		if c == doc {
			t.Fatalf("%s: the case changes nothing", name)
		}
		if _, err := DecodeTable([]byte(c)); KindOf(err) != Corrupt {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := DecodeTable([]byte(strings.Replace(doc, `"projection":"ALL"`, `"projection":"ALL","vector":true`, 1))); KindOf(err) != Unavailable {
		t.Errorf("an index of a later release: %v", err)
	}
	for name, change := range map[string]func(*Table){
		"21 global indexes": func(t *Table) { many(t, 19, nil) },
		"projected attributes": func(t *Table) {
			many(t, 5, []string{"1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16", "17", "18", "19", "20"})
		},
	} {
		table := indexedTable()
		if change(table); table.Validate() == nil {
			t.Errorf("%s: valid", name)
		}
	}
	fits := indexedTable()
	if many(fits, 18, []string{"1", "2", "3", "4", "5"}); fits.Validate() != nil {
		t.Errorf("20 global indexes: %v", fits.Validate())
	}
}

// many adds indexes.
func many(t *Table, n int, nonKey []string) {
	for i := range n {
		x := t.Indexes[2].Clone()
		t.LastIndex++
		x.ID, x.Name = t.LastIndex, fmt.Sprint("index", i)
		if nonKey != nil {
			x.Projection, x.NonKey = ProjectInclude, nonKey
		}
		t.Indexes = append(t.Indexes, x)
	}
}

func TestIndexesAreCopied(t *testing.T) {
	table := indexedTable()
	copied := table.Clone()
	if !reflect.DeepEqual(table, copied) {
		t.Fatal("a copy differs")
	}
	x := copied.IndexNamed("by.region_")
	x.Partition[0].Name, x.Sort[0].Name, x.NonKey[0], x.Name = "other", "other", "other", "other"
	if !reflect.DeepEqual(table, indexedTable()) {
		t.Error("changing a copy changes what it was made of")
	}
	if table.IndexNamed("other") != nil {
		t.Error("there is an index that nobody made")
	}
}

// TestIndexAsJSON is the form in which a change of indexes goes to a table's owner.
func TestIndexAsJSON(t *testing.T) {
	for _, x := range indexedTable().Indexes {
		b, err := json.Marshal(&x)
		if err != nil {
			t.Fatal(err)
		}
		var back Index
		if err := json.Unmarshal(b, &back); err != nil || !reflect.DeepEqual(x, back) {
			t.Errorf("%s comes back as %+v, %v", b, back, err)
		}
	}
	var x Index
	if err := json.Unmarshal([]byte(`{"name":"x","vector":true}`), &x); err == nil {
		t.Error("what is not known is not refused")
	}
}

func TestEntries(t *testing.T) {
	table := indexedTable()
	build := func(attributes map[string]item.Value) item.Item {
		var b item.Builder
		for name, v := range attributes {
			b.Add([]byte(name), v)
		}
		it, err := b.AppendItem(nil)
		if err != nil {
			t.Fatal(err)
		}
		return it
	}
	whole := map[string]item.Value{
		"country": item.AppendString(nil, "at"), "<name>&ü": item.AppendInt(nil, 1), "height": item.AppendInt(nil, 2), "region": item.AppendString(nil, "r"),
		"<type>": item.AppendBinary(nil, []byte("t")), "z": item.AppendString(nil, "zzz"), "other": item.AppendString(nil, "ooooo"),
	}
	base := item.Key("the item's key")
	x := table.IndexNamed("by.region_")
	got, at, ok := x.AppendEntry([]byte("before"), build(whole), base)
	want, err := item.AppendIndexKey([]byte("before"), []item.Value{whole["region"], whole["<type>"]}, []item.Value{whole["<name>&ü"], whole["height"]}, base)
	if err != nil || !ok || string(got) != string(want) || string(got[len("before")+at:]) != string(base) {
		t.Errorf("%x at %d, want %x, %v", got, at, want, err)
	}
	if _, _, ok := table.IndexNamed("by-mayor").AppendEntry(nil, build(whole), base); ok {
		t.Error("an item without the attribute has an entry")
	}
	if _, _, ok := x.AppendEntry(nil, nil, base); ok {
		t.Error("no item has an entry")
	}
	for name, v := range map[string]item.Value{"height": item.AppendString(nil, "2"), "region": item.AppendString(nil, ""), "<type>": item.AppendBinary(nil, make([]byte, 2049))} {
		wrong := map[string]item.Value{}
		for n, v := range whole {
			wrong[n] = v
		}
		wrong[name] = v
		if got, _, ok := x.AppendEntry([]byte("before"), build(wrong), base); ok || string(got) != "before" {
			t.Errorf("an item whose %s cannot be a key has the entry %x", name, got)
		}
	}
	it := build(whole)
	if all := table.ProjectedSize(table.IndexNamed("by-mayor"), it); all != it.Size() {
		t.Errorf("all of it: %d of %d bytes", all, it.Size())
	}
	if got, want := table.ProjectedSize(x, it), it.Size()-len("other")-len("ooooo"); got != want {
		t.Errorf("included: %d bytes, want %d", got, want)
	}
	if got, want := table.ProjectedSize(table.IndexNamed("by-height"), it), build(map[string]item.Value{"country": whole["country"], "<name>&ü": whole["<name>&ü"], "height": whole["height"]}).Size(); got != want {
		t.Errorf("keys: %d bytes, want %d", got, want)
	}
}
