package globaltable

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable/item"
)

func exampleTable() *Table {
	v1, v2 := MakeVersion(3, 1), MakeVersion(4, 2)
	return &Table{
		ID: NewTableID(hlc.Timestamp(1_700_000_000_000<<16), 7), Name: "places.v-1_x", Owner: 7, Version: v2, Predecessor: Hash{1, 2, 3}, CreatedAt: 1_700_000_000_000,
		KeySchema: KeySchema{Partition: KeyAttribute{"country", item.S}, Sort: &KeyAttribute{"<name>&ü", item.N}},
		Billing:   Provisioned, Throughput: Throughput{5, 10}, DeletionProtection: true, Class: ClassInfrequentAccess, Mode: conflict.Attribute,
		Tags: map[string]string{"team": "maps", "a": ""},
		Replicas: []Replica{
			{Region: "ap-south-1", Origin: 9, Status: CreationFailed, StatusDescription: "because", Since: v2, Born: v2},
			{Region: "eu-central-1", Origin: 7, Status: Active, Since: v1},
			{Region: "sa-east-1", Origin: 4, Status: StatusFencing, Since: v2, Born: v1, Leaving: true},
			{Region: "us-east-1", Origin: 3, Status: Creating, Since: v2, Born: v2},
		},
	}
}

// laterTable has, too, what documents did not have from the beginning.
func laterTable() *Table {
	t := exampleTable()
	t.Tags[AcknowledgeTag], t.AcknowledgePeers = "peers:2", 2
	t.Replicas[3].JoinBytesPerSecond = 5 << 20
	return t
}

// expiringTable has a time to live, too.
func expiringTable() *Table {
	t := laterTable()
	t.Expiry = conflict.Expiry{{Attribute: "<ttl>", From: 1_700_000_000_000 << 16, To: 1_700_000_001_000<<16 | 3}, {Attribute: "expires", From: 1_700_000_001_000<<16 | 3}}
	return t
}

// partedTable has replicas that have become, or become, tables of their own, and has been a replica itself.
func partedTable() *Table {
	t := laterTable()
	v1, v2 := MakeVersion(4, 1), t.Version
	t.Parted = []TableID{0x018bcfe568010003, 0x018bcfe568020004}
	t.Replicas = []Replica{
		{Region: "ap-south-1", Origin: 9, Status: Updating, Since: v2, Successor: 0x018bcfe568030009, Own: &Own{Disassociable: true}},
		{Region: "eu-central-1", Origin: 7, Status: Active, Since: v1, Succeeds: Succession{Table: 0x018bcfe560000007, Since: MakeVersion(3, 9)}},
		{Region: "sa-east-1", Origin: 4, Status: Deleting, Since: v2, Successor: 0x018bcfe568020004},
	}
	return t
}

// TestTableDocumentGolden pins the document's bytes: regions of different releases must agree on their hash. What came later changes no document without it.
func TestTableDocumentGolden(t *testing.T) {
	for file, table := range map[string]*Table{"table.json": exampleTable(), "table-later.json": laterTable(), "table-settings.json": settingsTable(), "table-indexes.json": indexedTable(),
		"table-expiring.json": expiringTable(), "table-overrides.json": overriddenTable(), "table-merging.json": mergingTable(), "table-conflicts.json": listingTable(), "table-stream.json": streamingTable(),
		"table-parted.json": partedTable(), "table-pins.json": pinnedTable(), "table-triggers.json": triggeringTable(), "table-targets.json": targetedTable()} {
		want, err := os.ReadFile("testdata/" + file)
		if err != nil {
			t.Fatal(err)
		}
		want = bytes.TrimSpace(want)
		if got := EncodeTable(table); !bytes.Equal(got, want) {
			t.Errorf("%s: encoding differs:\n got %s\nwant %s", file, got, want)
		}
		back, err := DecodeTable(want)
		if err != nil {
			t.Fatal(err)
		}
		if got := EncodeTable(back); !bytes.Equal(got, want) {
			t.Errorf("%s: decoding loses something: %s", file, got)
		}
		if HashTable(back) != HashTable(table) {
			t.Errorf("%s: hashes of equal tables differ", file)
		}
	}
}

func TestAcknowledge(t *testing.T) {
	for text, want := range map[string]int{"local": 0, "peers:1": 1, "peers:2": 2, "peers:3": 3} {
		got, err := ParseAcknowledge(text)
		if err != nil || got != want || FormatAcknowledge(got) != text {
			t.Errorf("%s: %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "peers", "peers:0", "peers:4", "peers:01", "Peers:1", " peers:1", "all", strings.Repeat("ü", 300)} {
		if _, err := ParseAcknowledge(text); KindOf(err) != Invalid || len(err.Error()) > 400 {
			t.Errorf("%q: %v", text, err)
		}
	}
	// A replica on its way in or out does not count, nor does the one that takes the write.
	table := exampleTable()
	table.Replicas = append(table.Replicas, Replica{Region: "us-west-1", Origin: 4, Status: Deleting}, Replica{Region: "us-west-2", Origin: 2, Status: Updating})
	if got := table.ServingPeers(3); len(got) != 2 || got[0] != 2 || got[1] != 7 {
		t.Errorf("serving peers %v", got)
	}
	if got := table.ServingPeers(7); len(got) != 1 {
		t.Errorf("serving peers %v", got)
	}
}

func TestDecodeTableRefuses(t *testing.T) {
	doc := string(EncodeTable(expiringTable()))
	for name, c := range map[string]struct {
		doc  string
		kind Kind
	}{
		"unknown field":           {strings.Replace(doc, `"format":1`, `"format":1,"stream":{"on":true}`, 1), Unavailable},
		"unknown field within":    {strings.Replace(doc, `"region":"us-east-1"`, `"region":"us-east-1","witness":true`, 1), Unavailable},
		"later format":            {`{"format":2,"id":5}`, Unavailable},
		"no format":               {strings.Replace(doc, `"format":1,`, ``, 1), Corrupt},
		"nothing":                 {``, Corrupt},
		"not an object":           {`[]`, Corrupt},
		"type of a field":         {strings.Replace(doc, `"owner":7`, `"owner":"7"`, 1), Corrupt},
		"more after it":           {doc + `{}`, Corrupt},
		"bad id":                  {strings.Replace(doc, `"id":"`, `"id":"x`, 1), Corrupt},
		"bad predecessor":         {strings.Replace(doc, `"predecessor":"01`, `"predecessor":"0`, 1), Corrupt},
		"number out of range":     {strings.Replace(doc, `"number":2`, `"number":2199023255552`, 1), Corrupt},
		"epoch out of range":      {strings.Replace(doc, `"epoch":4`, `"epoch":16777217`, 1), Corrupt},
		"unknown mode":            {strings.Replace(doc, `"attribute"`, `"none"`, 1), Corrupt},
		"unknown status":          {strings.Replace(doc, `"ACTIVE"`, `"active"`, 1), Corrupt},
		"key type":                {strings.Replace(doc, `"type":"N"`, `"type":"BOOL"`, 1), Corrupt},
		"replicas out of order":   {strings.Replace(doc, `"ap-south-1"`, `"zz-south-1"`, 1), Corrupt},
		"region's number twice":   {strings.Replace(doc, `"origin":9`, `"origin":3`, 1), Corrupt},
		"dead with replicas":      {strings.Replace(doc, `"format":1`, `"format":1,"deleted":true`, 1), Corrupt},
		"leaves, not closed":      {strings.Replace(doc, `"FENCING"`, `"FENCED"`, 1), Corrupt},
		"status of a later one":   {strings.Replace(doc, `"sinceEpoch":4`, `"sinceEpoch":5`, 1), Corrupt},
		"too many peers":          {strings.Replace(doc, `"acknowledgePeers":2`, `"acknowledgePeers":4`, 1), Corrupt},
		"rate below zero":         {strings.Replace(doc, `"joinBytesPerSecond":5`, `"joinBytesPerSecond":-5`, 1), Corrupt},
		"rate of an active one":   {strings.Replace(doc, `"CREATING"`, `"ACTIVE"`, 1), Corrupt},
		"periods overlap":         {strings.Replace(doc, `"to":111411200065536003`, `"to":111411200065536004`, 1), Corrupt},
		"period without an end":   {strings.Replace(doc, `,"to":111411200065536003`, ``, 1), Corrupt},
		"period of nothing":       {strings.Replace(doc, `"attribute":"expires"`, `"attribute":""`, 1), Corrupt},
		"period without a start":  {strings.Replace(doc, `"from":111411200000000000`, `"from":0`, 1), Corrupt},
		"throughput of on-demand": {strings.Replace(doc, `"PROVISIONED"`, `"PAY_PER_REQUEST"`, 1), Corrupt},
	} {
		if c.doc == doc {
			t.Fatalf("%s: the case changes nothing", name)
		}
		got, err := DecodeTable([]byte(c.doc))
		if err == nil || KindOf(err) != c.kind || got != nil {
			t.Errorf("%s: %v, %v; want kind %v", name, got, err, c.kind)
		}
	}
}

func TestTimeToLiveStatus(t *testing.T) {
	table := exampleTable()
	for _, step := range []struct {
		x      conflict.Expiry
		at     hlc.Timestamp
		status TimeToLiveStatus
		of     string
		next   string // attribute by the newest setting
	}{
		{nil, 5, TTLDisabled, "", ""},
		{conflict.Expiry{{Attribute: "a", From: 10}}, 9, TTLEnabling, "a", "a"},
		{conflict.Expiry{{Attribute: "a", From: 10}}, 10, TTLEnabled, "a", "a"},
		{conflict.Expiry{{Attribute: "a", From: 10, To: 20}}, 19, TTLDisabling, "a", ""},
		{conflict.Expiry{{Attribute: "a", From: 10, To: 20}}, 20, TTLDisabled, "", ""},
		{conflict.Expiry{{Attribute: "a", From: 10, To: 20}, {Attribute: "b", From: 25}}, 24, TTLEnabling, "b", "b"},
	} {
		table.Expiry = step.x
		if status, of := table.TimeToLive(step.at); status != step.status || of != step.of || table.Expiring() != step.next {
			t.Errorf("%v at %d: %s of %q, then %q", step.x, step.at, status, of, table.Expiring())
		}
	}
	clone := table.Clone()
	if clone.Expiry[0].To = 15; table.Expiry[0].To != 20 {
		t.Error("a clone shares the history")
	}
}

func TestValidateReportsAllFaults(t *testing.T) {
	err := (&Table{}).Validate()
	if KindOf(err) != Invalid {
		t.Fatal(err)
	}
	for _, part := range []string{"id", "owner", "version", "creation time", "table name", "key attribute", "billing mode", "class", "replicas"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("nothing about %q in: %v", part, err)
		}
	}
	long := exampleTable()
	long.Name = strings.Repeat("x", MaxTableNameLen+1)
	long.KeySchema.Sort.Name = long.KeySchema.Partition.Name
	long.Tags = map[string]string{"k": strings.Repeat("x", MaxTagValueLen+1)}
	long.Replicas[0].StatusDescription = strings.Repeat("x", MaxStatusDescription+1)
	err = long.Validate()
	for _, part := range []string{"table name", "same attribute", "tag", "description"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("nothing about %q in: %v", part, err)
		}
	}
	if err := exampleTable().Validate(); err != nil {
		t.Error(err)
	}
}

func TestStatusIn(t *testing.T) {
	v := MakeVersion(1, 1)
	replicas := func(s ...Status) *Table {
		var out Table
		for i, status := range s {
			out.Replicas = append(out.Replicas, Replica{Origin: hlc.Origin(i + 1), Status: status, Since: v})
		}
		return &out
	}
	for name, c := range map[string]struct {
		table *Table
		want  []Status // in regions 1, 2, ...
	}{
		"one":         {replicas(Active), []Status{Active, ""}},
		"adding":      {replicas(Active, Creating), []Status{Updating, Creating}},
		"failed":      {replicas(Active, CreationFailed), []Status{Active, ""}},
		"leaving":     {replicas(Active, Deleting), []Status{Updating, Deleting}},
		"all leaving": {replicas(Deleting, Deleting), []Status{Deleting, Deleting}},
		"updating":    {replicas(Active, Updating), []Status{Updating, Updating}},
		"dead":        {replicas(), []Status{""}},
		"closing":     {replicas(Active, StatusFencing), []Status{Updating, ""}},
		"closed":      {replicas(Active, StatusFenced), []Status{Active, ""}},
	} {
		for i, want := range c.want {
			if got := c.table.StatusIn(hlc.Origin(i + 1)); got != want {
				t.Errorf("%s: %q in region %d, want %q", name, got, i+1, want)
			}
		}
	}
}

func TestCloneSharesNothing(t *testing.T) {
	a := settingsTable()
	before := EncodeTable(a)
	b := a.Clone()
	b.Tags["team"] = "other"
	b.Replicas[0].Status = Active
	b.Replicas[3].Own.Tags["team"] = "maps"
	b.KeySchema.Sort.Name = "other"
	if !bytes.Equal(before, EncodeTable(a)) {
		t.Error("a change of the clone shows in the original")
	}
}

// TestTableDocumentRoundTrip: what is valid comes back as it was.
func TestTableDocumentRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := exampleTable()
		a.Name = rapid.StringMatching(`[a-zA-Z0-9_.-]{3,40}`).Draw(t, "name")
		a.KeySchema.Partition.Name = "p" + rapid.StringN(0, 20, 60).Draw(t, "key")
		a.Tags = rapid.MapOfN(rapid.StringN(1, 20, -1), rapid.StringN(0, 20, -1), 0, 5).Draw(t, "tags")
		if len(a.Tags) == 0 {
			a.Tags = nil
		}
		a.Replicas[0].StatusDescription = rapid.StringN(0, 50, 1024).Draw(t, "description")
		if a.Validate() != nil {
			t.Skip("a name with a control character that is no UTF-8")
		}
		doc := EncodeTable(a)
		b, err := DecodeTable(doc)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(doc, EncodeTable(b)) {
			t.Fatalf("%s came back as %s", doc, EncodeTable(b))
		}
	})
}

// FuzzDecodeTable: no panic, and whatever is accepted is valid and encodes to something that is accepted and equal.
func FuzzDecodeTable(f *testing.F) {
	f.Add(EncodeTable(exampleTable()))
	f.Add(EncodeTable(settingsTable()))
	f.Add(EncodeTable(expiringTable()))
	f.Add(EncodeTable(mergingTable()))
	f.Add(EncodeTable(overriddenTable()))
	f.Add(EncodeTable(listingTable()))
	f.Add(EncodeTable(partedTable()))
	f.Add(EncodeTable(pinnedTable()))
	f.Add(EncodeTable(triggeringTable()))
	f.Add([]byte(`{"format":1}`))
	f.Add([]byte(`{"format":2}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := DecodeTable(b)
		if err != nil {
			return
		}
		doc := EncodeTable(a)
		again, err := DecodeTable(doc)
		if err != nil || !bytes.Equal(doc, EncodeTable(again)) {
			t.Fatalf("accepted %q, but not %q: %v", b, doc, err)
		}
	})
}
