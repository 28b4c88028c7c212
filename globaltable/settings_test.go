package globaltable

import (
	"maps"
	"strings"
	"testing"
)

// settingsTable has, too, the settings of tables and of single replicas that came with the whole of DynamoDB's API.
func settingsTable() *Table {
	t := laterTable()
	t.Warm, t.OnDemandSince, t.Legacy = Throughput{12_000, 4_000}, 1_700_000_000_500, true
	t.Stream = Stream{View: ViewNewAndOldImages, Since: 1_700_000_001_000}
	t.Replicas[2].InaccessibleSince = 1_700_000_003_000
	t.Replicas[3].CreatedAt = 1_700_000_002_000
	t.Replicas[3].Own = &Own{DeletionProtection: true, Class: ClassStandard, ReadCapacity: 7, OnDemandRead: 8, Tags: map[string]string{"team": "other"}}
	return t
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
