package regionnode

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/globaltable/manifest"
	"github.com/concordat-db/concordat/globaltable/policy"
	"github.com/concordat-db/concordat/regionnode/admin"
)

// TestWhyPoliciesLose: the words are about the first thing in which the other one is more specific.
func TestWhyPoliciesLose(t *testing.T) {
	sort, component, prefix := globaltable.Match{SortKeyPrefix: "ab"}, globaltable.Match{Delimiter: "#", Component: 1}, globaltable.Match{KeyPrefix: "ab"}
	for _, c := range []struct {
		m, winner globaltable.Match
		want      string
	}{
		{component, sort, "does not look at the sort key"}, {globaltable.Match{SortKeyPrefix: "a", KeyPrefix: "ab"}, sort, "prefix of the sort key is shorter"},
		{prefix, component, "does not look at a component"}, {globaltable.Match{}, prefix, "does not look at the partition key"}, {globaltable.Match{KeyPrefix: "a"}, prefix, "prefix of the partition key is shorter"},
	} {
		if got := lost(&c.m, &c.winner); !strings.Contains(got, c.want) || c.m.Rank().Compare(c.winner.Rank()) >= 0 {
			t.Errorf("%+v, %+v: %s", c.m, c.winner, got)
		}
	}
}

// TestKeysOfTests: a key can be given in DynamoDB's JSON or as texts, of every type.
func TestKeysOfTests(t *testing.T) {
	table := func(partition item.Type, sort ...item.Type) *globaltable.Table {
		out := &globaltable.Table{Name: "orders", KeySchema: globaltable.KeySchema{Partition: globaltable.KeyAttribute{Name: "id", Type: partition}}}
		for _, typ := range sort {
			out.KeySchema.Sort = &globaltable.KeyAttribute{Name: "at", Type: typ}
		}
		return out
	}
	for _, c := range []struct {
		table        *globaltable.Table
		texts, asked admin.PolicyTest
	}{
		{table(item.S), admin.PolicyTest{Partition: "ü"}, admin.PolicyTest{Key: json.RawMessage(`{"id":{"S":"ü"}}`)}},
		{table(item.N), admin.PolicyTest{Partition: "1e1"}, admin.PolicyTest{Key: json.RawMessage(`{"id":{"N":"10"}}`)}},
		{table(item.B, item.S), admin.PolicyTest{Partition: "AAE=", Sort: "a"}, admin.PolicyTest{Key: json.RawMessage(`{"at":{"S":"a"},"id":{"B":"AAE="}}`)}},
	} {
		a, err := keyOf(c.table, &c.texts)
		b, jerr := keyOf(c.table, &c.asked)
		if err != nil || jerr != nil || len(a) == 0 || string(a) != string(b) {
			t.Errorf("%x and %x, %v, %v", a, b, err, jerr)
		}
	}
	for _, c := range []struct {
		table *globaltable.Table
		test  admin.PolicyTest
		want  string
	}{
		{table(item.S), admin.PolicyTest{Partition: "a", Sort: "b"}, "the key of table orders is id (S)"},
		{table(item.S, item.S), admin.PolicyTest{Partition: "a"}, "is id (S) and at (S)"},
		{table(item.S), admin.PolicyTest{}, "does not fit"},
		{table(item.N), admin.PolicyTest{Partition: "a"}, "does not fit"},
		{table(item.B), admin.PolicyTest{Partition: "?"}, "does not fit"},
		{table(item.S), admin.PolicyTest{Key: json.RawMessage(`{"id":{"N":"1"}}`)}, "does not fit"},
		{table(item.S), admin.PolicyTest{Key: json.RawMessage(`{"id":{"X":"1"}}`)}, "is not an item"},
		{table(item.S), admin.PolicyTest{Key: json.RawMessage(`{`)}, "is not JSON"},
		{table(item.S), admin.PolicyTest{Key: json.RawMessage(`{}`), Partition: "a"}, "not both"},
	} {
		if _, err := keyOf(c.table, &c.test); globaltable.KindOf(err) != globaltable.Invalid || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c.test, err)
		}
	}
}

// TestByTable: a request is divided by tables, in its order.
func TestByTable(t *testing.T) {
	doc := func(table, name string) policy.Document {
		return policy.Document{Kind: policy.ReplicationPolicy, Name: name, Replication: &policy.Replication{Table: table}}
	}
	got, err := byTable(&admin.PolicyRequest{Author: "me", Reason: "why", Documents: []policy.Document{doc("b", "1"), doc("a", "2"), doc("b", "3")}, Delete: []admin.PolicyName{{Table: "c", Name: "4"}, {Table: "a", Name: "5"}}})
	if err != nil || len(got) != 3 {
		t.Fatal(got, err)
	}
	for i, want := range []struct {
		table       string
		set, remove int
	}{{"b", 2, 0}, {"a", 1, 1}, {"c", 0, 1}} {
		c := got[i]
		if c.table != want.table || len(c.change.Set) != want.set || len(c.change.Delete) != want.remove || c.change.Author != "me" || c.change.Reason != "why" {
			t.Errorf("%+v", c)
		}
	}
	for _, bad := range []admin.PolicyRequest{{Author: "me"}, {Documents: []policy.Document{doc("a", "1")}}, {Author: "me", Documents: make([]policy.Document, manifest.MaxDocuments+1)}} {
		if _, err := byTable(&bad); globaltable.KindOf(err) != globaltable.Invalid {
			t.Errorf("%v", err)
		}
	}
}
