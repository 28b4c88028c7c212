package globaltable

import (
	"fmt"
	"maps"
	"math"
	"strings"
	"testing"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable/item"
)

// settingsTable has, too, the settings of tables and of single replicas that came with the whole of DynamoDB's API.
func settingsTable() *Table {
	t := laterTable()
	t.Warm, t.OnDemandSince, t.Legacy = Throughput{12_000, 4_000}, 1_700_000_000_500, true
	t.Stream = Stream{View: ViewNewAndOldImages, Since: 1_700_000_001_000}
	t.Replicas[2].InaccessibleSince = 1_700_000_003_000
	t.Replicas[3].CreatedAt = 1_700_000_002_000
	t.Replicas[3].Own = &Own{DeletionProtection: true, Class: ClassStandard, ReadUnits: ReadUnits{ReadCapacity: 7, OnDemandRead: 8}, Tags: map[string]string{"team": "other"}}
	return t
}

// overriddenTable has, too, units of one replica's indexes.
func overriddenTable() *Table {
	t := indexedTable()
	t.Replicas[3].Own.Indexes = map[IndexID]ReadUnits{9: {ReadCapacity: 90}, 7: {ReadCapacity: 70}}
	return t
}

func TestOverridesAreChecked(t *testing.T) {
	doc := string(EncodeTable(overriddenTable()))
	const own = `"indexes":{"7":{"readCapacity":70},"9":{"readCapacity":90}}`
	onDemand := strings.NewReplacer(`"PROVISIONED","readCapacity":5,"writeCapacity":10`, `"PAY_PER_REQUEST"`, `,"readCapacity":3,"writeCapacity":4`, ``, `,"readCapacity":1,"writeCapacity":1`, ``).Replace(doc)
	for name, c := range map[string]struct {
		doc, own string
		right    bool
	}{
		"none":                       {doc, `"indexes":{}`, true},
		"a local index":              {doc, `"indexes":{"1":{"readCapacity":70}}`, false},
		"an index that is not there": {doc, `"indexes":{"8":{"readCapacity":70}}`, false},
		"nothing of an index":        {doc, `"indexes":{"7":{}}`, false},
		"below zero":                 {doc, `"indexes":{"7":{"readCapacity":-1}}`, false},
		"a maximum, provisioned":     {doc, `"indexes":{"7":{"onDemandMaxRead":70}}`, false},
		"both, provisioned":          {doc, `"indexes":{"7":{"readCapacity":70,"onDemandMaxRead":70}}`, false},
		"a maximum, on demand":       {onDemand, `"indexes":{"7":{"onDemandMaxRead":70}}`, true},
		"a capacity, on demand":      {onDemand, `"indexes":{"7":{"readCapacity":70}}`, false},
		"both, on demand":            {onDemand, `"indexes":{"7":{"readCapacity":70,"onDemandMaxRead":70}}`, false},
	} {
		if _, err := DecodeTable([]byte(strings.Replace(c.doc, own, c.own, 1))); (err == nil) != c.right || err != nil && (KindOf(err) != Corrupt || !strings.Contains(err.Error(), "replica 3")) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := DecodeTable([]byte(strings.Replace(doc, `"7":{`, `"7":{"warmRead":1,`, 1))); KindOf(err) != Unavailable {
		t.Errorf("what only a newer release knows: %v", err)
	}
	// A clone shares nothing.
	a := overriddenTable()
	b := a.Clone()
	b.Replicas[3].Own.Indexes[7] = ReadUnits{ReadCapacity: 1}
	if a.Replicas[3].Own.Indexes[7].ReadCapacity != 70 {
		t.Error("a clone shares the units of indexes")
	}
}

// TestOverridesAreBounded: a table with all that it may have for its indexes, in as many replicas as there can be, still has a document that is far below an item.
func TestOverridesAreBounded(t *testing.T) {
	table := overriddenTable()
	table.Indexes, table.Replicas = nil, nil
	own := &Own{Indexes: map[IndexID]ReadUnits{}}
	for i := range IndexID(MaxGlobalIndexes) {
		id := math.MaxUint32 - MaxGlobalIndexes + i + 1
		table.Indexes = append(table.Indexes, Index{ID: id, Name: fmt.Sprint("index-", i), Partition: []KeyAttribute{{"mayor", item.S}}, Projection: ProjectAll, Throughput: Throughput{1, 1}})
		own.Indexes[id] = ReadUnits{ReadCapacity: 1_000_000_000_000}
	}
	table.LastIndex = math.MaxUint32
	for i := range MaxReplicas {
		table.Replicas = append(table.Replicas, Replica{Region: fmt.Sprintf("region-%02d", i), Origin: hlc.Origin(i + 1), Status: Active, Since: table.Version, Own: own})
	}
	doc := EncodeTable(table)
	if _, err := DecodeTable(doc); err != nil {
		t.Fatal(err)
	}
	if len(doc) > item.MaxItemSize/4 {
		t.Errorf("the document has %d bytes", len(doc))
	}
}

func TestUnitsOver(t *testing.T) {
	declared, most := Throughput{3, 4}, Throughput{30, 40}
	for _, c := range []struct {
		units          ReadUnits
		mode           BillingMode
		declared, most Throughput
	}{
		{ReadUnits{}, Provisioned, declared, most},
		{ReadUnits{ReadCapacity: 5, OnDemandRead: 50}, Provisioned, Throughput{5, 4}, most},
		{ReadUnits{ReadCapacity: 5, OnDemandRead: 50}, PayPerRequest, declared, Throughput{50, 40}},
	} {
		if d, m := c.units.Over(declared, most, c.mode); d != c.declared || m != c.most {
			t.Errorf("%+v, %s: %v, %v", c.units, c.mode, d, m)
		}
	}
}

func TestSettingsAreChecked(t *testing.T) {
	doc := string(EncodeTable(settingsTable()))
	for name, c := range map[string]string{
		"stream view":             strings.Replace(doc, `"NEW_AND_OLD_IMAGES"`, `"ALL"`, 1),
		"stream without start":    strings.Replace(doc, `"streamSince":1700000001000,`, ``, 1),
		"class of one replica":    strings.Replace(doc, `"class":"STANDARD",`, `"class":"FAST",`, 1),
		"shared tag of a replica": strings.Replace(doc, `{"team":"other"}`, `{"concordat:x":"other"}`, 1),
		"maximum on demand":       strings.Replace(doc, `"warmRead"`, `"onDemandMaxRead":1,"warmRead"`, 1),
		"units below zero":        strings.Replace(doc, `"readCapacity":7`, `"readCapacity":-7`, 1),
		"time below zero":         strings.Replace(doc, `"inaccessibleSince":`, `"inaccessibleSince":-`, 1),
		"one tag too long":        strings.Replace(doc, `{"team":"other"}`, `{"team":"`+strings.Repeat("x", MaxTagValueLen+1)+`"}`, 1),
	} {
		if c == doc {
			t.Fatalf("%s: the case changes nothing", name)
		}
		if _, err := DecodeTable([]byte(c)); KindOf(err) != Corrupt {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Each replica may have fifty tags, all together not more than a document holds.
	full := settingsTable()
	for i := range full.Replicas {
		tags := map[string]string{}
		for n := range MaxTags {
			tags[strings.Repeat("k", MaxTagKeyLen-2)+string(rune('a'+n/10))+string(rune('0'+n%10))] = strings.Repeat("v", MaxTagValueLen)
		}
		full.Replicas[i].Own = &Own{Tags: tags}
	}
	if err := full.Validate(); KindOf(err) != Invalid || !strings.Contains(err.Error(), "the tags of all replicas") {
		t.Error(err)
	}
}

// TestOwnSettings: a replica without settings of its own has the table's; the shared tags are everybody's.
func TestOwnSettings(t *testing.T) {
	table := settingsTable()
	with, without := table.ReplicaNamed("us-east-1"), table.ReplicaNamed("eu-central-1")
	if own := table.OwnOf(without); !own.DeletionProtection || own.Class != ClassInfrequentAccess || !maps.Equal(own.Tags, map[string]string{"team": "maps", "a": ""}) {
		t.Errorf("%+v", own)
	}
	if own := table.OwnOf(with); own.Class != ClassStandard || own.ReadCapacity != 7 || own.OnDemandRead != 8 || own.Tags["team"] != "other" {
		t.Errorf("%+v", own)
	}
	with.Own.Class = ""
	if own := table.OwnOf(with); own.Class != ClassInfrequentAccess {
		t.Errorf("%+v", own)
	}
	if tags := table.TagsOf(with); !maps.Equal(tags, map[string]string{"team": "other", AcknowledgeTag: "peers:2"}) {
		t.Error(tags)
	}
	if tags := table.TagsOf(without); !maps.Equal(tags, map[string]string{"team": "maps", "a": "", AcknowledgeTag: "peers:2"}) {
		t.Error(tags)
	}
}

func TestStreamLabel(t *testing.T) {
	table := settingsTable()
	for region, want := range map[string]string{"eu-central-1": "2023-11-14T22:13:21.000", "us-east-1": "2023-11-14T22:13:22.000"} {
		if got := table.StreamLabel(table.ReplicaNamed(region)); got != want {
			t.Errorf("%s: %s", region, got)
		}
	}
	table.Stream.View = ""
	if table.StreamLabel(&table.Replicas[1]) == "" {
		t.Error("a stream that was switched off has no label any more")
	}
	table.Stream = Stream{}
	if got := table.StreamLabel(&table.Replicas[1]); got != "" {
		t.Error(got)
	}
}
