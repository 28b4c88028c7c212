package world

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/regionnode/admin"
	"github.com/concordat-db/concordat/streams/repair"
)

// change changes the table, in the region given, and waits until all know of the version, or of a later one: policies are carried out in several.
func (r *running) change(region string, c catalog.Change) {
	r.t.Helper()
	now, err := r.Node(region).ChangeTable(r.t.Context(), tableName, c)
	if err != nil {
		r.t.Fatal(err)
	}
	r.until("all regions know of the change", func() bool {
		for _, region := range r.ready.Regions {
			st := r.status(region)
			if len(st.Tables) == 1 && !atLeast(r.t, st.Tables[0].Version, now.Version) {
				return false
			}
		}
		return true
	})
}

// atLeast compares versions of documents as they are shown.
func atLeast(t testing.TB, shown, version string) bool {
	t.Helper()
	parse := func(s string) globaltable.Version {
		var epoch uint32
		var number uint64
		if _, err := fmt.Sscanf(s, "%d.%d", &epoch, &number); err != nil {
			t.Fatal(err)
		}
		return globaltable.MakeVersion(epoch, number)
	}
	return parse(shown) >= parse(version)
}

// set updates attributes of an item: expressions of an UpdateItem, with one value, :v.
func (r *running) set(region, id, expression string, v types.AttributeValue) {
	r.t.Helper()
	_, err := r.db[region].UpdateItem(r.t.Context(), &dynamodb.UpdateItemInput{TableName: aws.String(tableName), Key: map[string]types.AttributeValue{"id": str(id)},
		UpdateExpression: aws.String(expression), ExpressionAttributeValues: map[string]types.AttributeValue{":v": v}})
	if err != nil {
		r.t.Fatal(err)
	}
}

// item returns an item, and the number of siblings that the answer tells; empty for none.
func (r *running) item(region, id string) (it map[string]types.AttributeValue, siblings string) {
	r.t.Helper()
	out, err := r.db[region].GetItem(r.t.Context(), &dynamodb.GetItemInput{TableName: aws.String(tableName), ConsistentRead: aws.Bool(true), Key: map[string]types.AttributeValue{"id": str(id)}})
	if err != nil {
		r.t.Fatal(err)
	}
	answer, ok := awsmiddleware.GetRawResponse(out.ResultMetadata).(*smithyhttp.Response)
	if !ok {
		r.t.Fatal("no answer")
	}
	return out.Item, answer.Header.Get("x-concordat-siblings")
}

// conflicts returns what a region lists, as JSON.
func (r *running) conflicts(region ReadyRegion, query string) string {
	r.t.Helper()
	answer, err := r.http.Get(region.Admin + "/v1/conflicts" + query)
	if err != nil {
		r.t.Fatal(err)
	}
	b, err := io.ReadAll(answer.Body)
	if err := errors.Join(err, answer.Body.Close()); err != nil || answer.StatusCode != http.StatusOK {
		r.t.Fatalf("%d %s %v", answer.StatusCode, b, err)
	}
	return string(b)
}

// listed waits until all regions given list the same n conflicts, and returns them by the id of the item.
func (r *running) listed(n int, regions ...ReadyRegion) map[string]admin.Conflict {
	r.t.Helper()
	var first string
	var list admin.ConflictList
	r.until(fmt.Sprintf("%d conflicts are listed in every region", n), func() bool {
		for i, region := range regions {
			text := r.conflicts(region, "")
			if i == 0 {
				first = text
			}
			if text != first {
				return false
			}
		}
		list = admin.ConflictList{}
		if err := json.Unmarshal([]byte(first), &list); err != nil {
			r.t.Fatal(err)
		}
		return len(list.Conflicts) == n
	})
	out := map[string]admin.Conflict{}
	for _, c := range list.Conflicts {
		var key struct{ ID struct{ S string } }
		if err := json.Unmarshal(c.Key, &key); err != nil {
			r.t.Fatal(err)
		}
		out[key.ID.S] = c
	}
	return out
}

// restore restores a conflict in a region.
func (r *running) restore(region ReadyRegion, id string, body admin.RestoreConflict) (out admin.ConflictChange, status int) {
	r.t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		r.t.Fatal(err)
	}
	answer, err := r.http.Post(region.Admin+"/v1/conflicts/"+id+"/restore", "application/json", bytes.NewReader(b))
	if err != nil {
		r.t.Fatal(err)
	}
	if err := errors.Join(json.NewDecoder(answer.Body).Decode(&out), answer.Body.Close()); err != nil {
		r.t.Fatal(err)
	}
	return out, answer.StatusCode
}

// itemIs waits until each region has what is expected of an item.
func (r *running) itemIs(id, what string, is func(it map[string]types.AttributeValue, siblings string) bool) {
	r.t.Helper()
	for _, region := range r.ready.Regions {
		r.until(fmt.Sprintf("%s of %s in %s", what, id, region.Name), func() bool { return is(r.item(region.Name, id)) })
	}
}

// nextMoment waits until the clock of all regions shows another time than it does: what one of them writes then has a greater stamp than what any has written.
func (r *running) nextMoment() {
	r.t.Helper()
	now := time.Now().Add(2 * time.Millisecond)
	r.until("the clock goes on", func() bool { return time.Now().After(now) })
}

// contested makes a table of all regions in mode vector, cuts the second region off, and has both sides write the same items, the second first: so the others win. It returns what they are.
func (r *running) contested(replicas ...string) {
	const us, eu = "us-east-1", "eu-central-1"
	r.makeTable(us, replicas...)
	r.change(us, catalog.Change{Tag: map[string]string{"concordat:merge": "vector", "concordat:type:m": "map"}})
	for _, id := range []string{"whole", "attribute", "gone", "inside", "different", "counter"} {
		r.put(us, id, "before")
		r.set(us, id, "SET m = :v", &types.AttributeValueMemberM{Value: map[string]types.AttributeValue{"a": num(1), "b": num(1)}})
	}
	r.same(6, append(replicas, us)...)
	r.put(eu, "whole", "seen") // over what it has seen: no conflict
	r.until("that is there", func() bool { return r.get(us, "whole") == "seen" })
	r.Cut(eu)
	for _, region := range []string{eu, us} {
		r.put(region, "whole", "secret of "+region)
		r.set(region, "attribute", "SET v = :v, "+region[:2]+" = :v", str("secret of "+region))
		r.set(region, "inside", "SET m.a = :v, m."+region[:2]+" = :v", str("secret of "+region))
		r.set(region, "different", "SET "+region[:2]+" = :v", str("secret of "+region))
		r.set(region, "counter", "ADD n :v", num(1))
		if region == eu {
			r.remove(eu, "gone")
			r.nextMoment()
		}
	}
	r.put(us, "gone", "secret of us, again")
	r.put(us, "big", large())
	r.nextMoment()
	r.put(eu, "big", large())
	r.Heal(eu)
}

// TestConflictFeed: two sides of a cut write the same items. Every region lists the same: what was discarded, and nothing that its writer had seen, nor what was merged.
func TestConflictFeed(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	cfg.Limits.SweepEvery = time.Second // counts what is listed, too
	r := runWorld(t, cfg)
	us, eu, ap := r.ready.Regions[0], r.ready.Regions[1], r.ready.Regions[2]
	tail := make(chan string, 1)
	go func() {
		answer, err := http.Get(ap.Admin + "/v1/conflicts/tail?after=1") // from the first
		if err != nil {
			tail <- err.Error()
			return
		}
		b, err := io.ReadAll(answer.Body)
		tail <- fmt.Sprint(string(b), errors.Join(err, answer.Body.Close()))
	}()
	r.contested(eu.Name, ap.Name)
	r.converge(7)
	got := r.listed(5, us, eu, ap)
	for id, want := range map[string]struct {
		rule, lost, won string
		discarded       []string
		deleted         bool
	}{
		"whole":     {"item", `{"id":{"S":"whole"},"v":{"S":"secret of eu-central-1"}}`, `{"id":{"S":"whole"},"v":{"S":"secret of us-east-1"}}`, []string{"v"}, false},
		"attribute": {"attribute", `{"v":{"S":"secret of eu-central-1"}}`, `{"v":{"S":"secret of us-east-1"}}`, []string{"v"}, false},
		"inside":    {"attribute", `{"m":{"M":{"a":{"S":"secret of eu-central-1"}}}}`, `{"m":{"M":{"a":{"S":"secret of us-east-1"}}}}`, []string{"m.a"}, false},
		"gone":      {"item", ``, `{"id":{"S":"gone"},"v":{"S":"secret of us, again"}}`, []string{}, true},
		"big":       {"item", "", "", []string{"v"}, false},
	} {
		c := got[id]
		winner, loser := us.Name, eu.Name
		if id == "big" {
			winner, loser = loser, winner
		} else if compact(c.Loser.Values) != want.lost || compact(c.Winner.Values) != want.won {
			t.Errorf("%s: %s lost, %s won", id, c.Loser.Values, c.Winner.Values)
		}
		if c.Rule != want.rule || c.Loser.Region != loser || c.Winner.Region != winner || !slices.Equal(c.Discarded, want.discarded) || c.Loser.Deleted != want.deleted || !c.Open || c.Table != tableName {
			t.Errorf("%s: %+v", id, c)
		}
	}
	if v := len(got["big"].Loser.Values) + len(got["big"].Winner.Values); v < 2*len(large()) {
		t.Errorf("%d bytes of the big ones are listed", v)
	}
	if text := <-tail; !strings.Contains(text, `"conflicts": [`) || !strings.Contains(text, `"stamp"`) {
		t.Errorf("who follows got %.200s", text)
	}
	for id, want := range map[string]string{"whole": "1", "attribute": "1", "inside": "1", "gone": "1", "big": "1", "different": "", "counter": "", "nobody": ""} {
		for _, region := range r.ready.Regions {
			if _, n := r.item(region.Name, id); n != want {
				t.Errorf("%s: %s has %q siblings, want %q", region.Name, id, n, want)
			}
		}
	}
	r.expectQuiet()
	r.closeAndRestore(got)

	// Beyond the table's limit of bytes the oldest go, everywhere.
	r.change(us.Name, catalog.Change{Tag: map[string]string{globaltable.Conflicts.BytesTag: "1MiB"}})
	r.Cut(eu.Name)
	r.put(us.Name, "big", large())
	r.nextMoment()
	r.put(eu.Name, "big", large())
	r.Heal(eu.Name)
	if c := r.listed(1, us, eu, ap)["big"]; c.ID == got["big"].ID || !c.Open {
		t.Errorf("%+v", c.Loser.Stamp)
	}
}

func compact(b json.RawMessage) string {
	var out bytes.Buffer
	if len(b) > 0 && json.Compact(&out, b) != nil {
		return "no JSON"
	}
	return out.String()
}

// expectQuiet: feeds are shown where replicas are compared and counted, to no client, and no key or value of what is in them.
func (r *running) expectQuiet() {
	r.t.Helper()
	for _, region := range r.ready.Regions {
		var v admin.Verification
		if status := r.admin(http.MethodGet, region.Name, "/v1/verify", &v); status != http.StatusOK || v.State != repair.Converged || len(v.Tables) != 2 || v.Tables[1].Table != tableName+"/conflicts" || v.Tables[1].Items != 5 {
			r.t.Errorf("%d %+v", status, v)
		}
		var b []byte
		r.until("the conflicts are counted", func() bool {
			answer, err := r.http.Get(region.Admin + "/metrics")
			if err != nil {
				r.t.Fatal(err)
			}
			if b, err = io.ReadAll(answer.Body); errors.Join(err, answer.Body.Close()) != nil {
				r.t.Fatal(err)
			}
			return strings.Contains(string(b), fmt.Sprintf("concordat_conflicts{region=%q,table=%q} 5", region.Name, tableName+"/conflicts"))
		})
		if text := string(b); strings.Contains(text, "secret") || strings.Contains(text, "attribute\"") {
			r.t.Error("a key or a value is in the metrics")
		}
		out, err := r.db[region.Name].ListTables(r.t.Context(), &dynamodb.ListTablesInput{})
		if err != nil || !slices.Equal(out.TableNames, []string{tableName}) {
			r.t.Errorf("%v %v", out, err)
		}
		_, err = r.db[region.Name].DescribeTable(r.t.Context(), &dynamodb.DescribeTableInput{TableName: aws.String(tableName + "/conflicts")})
		expectFailure(r.t, err, 400, "ValidationException")
		_, err = r.db[region.Name].Scan(r.t.Context(), &dynamodb.ScanInput{TableName: aws.String("arn:aws:dynamodb:" + region.Name + ":000000000000:table/" + tableName + "/conflicts")})
		if err == nil {
			r.t.Error("a client reads a feed")
		}
		var stats []admin.ConflictStats
		if status := r.admin(http.MethodGet, region.Name, "/v1/conflicts/stats", &stats); status != http.StatusOK || len(stats) != 1 || stats[0].Listed != 5 || stats[0].Open != 5 ||
			!reflect.DeepEqual(stats[0].ByRule, map[string]int{"item": 3, "attribute": 2}) || !reflect.DeepEqual(stats[0].ByLoser, map[string]int{"us-east-1": 1, "eu-central-1": 4}) {
			r.t.Errorf("%+v", stats)
		}
	}
}

// closeAndRestore: whoever writes later has seen both, and closes the conflict. What was discarded is written back from any region.
func (r *running) closeAndRestore(got map[string]admin.Conflict) {
	t, us, eu, ap := r.t, r.ready.Regions[0], r.ready.Regions[1], r.ready.Regions[2]
	r.put(ap.Name, "big", "small again")
	r.itemIs("big", "the conflict is closed", func(it map[string]types.AttributeValue, siblings string) bool {
		return reflect.DeepEqual(it["v"], str("small again")) && siblings == ""
	})
	if c := r.listed(5, us, eu, ap)["big"]; c.Open {
		t.Errorf("%+v", c)
	}
	// To ask what it would do does nothing.
	out, status := r.restore(us, got["whole"].ID, admin.RestoreConflict{})
	if status != http.StatusOK || out.Written || !strings.Contains(string(out.Now), "secret of us-east-1") || !strings.Contains(string(out.Then), "secret of eu-central-1") || r.get(us.Name, "whole") != "secret of us-east-1" {
		t.Errorf("%d %+v", status, out)
	}
	for _, c := range []struct {
		region ReadyRegion
		id     string
		body   admin.RestoreConflict
		is     func(it map[string]types.AttributeValue) bool
	}{
		{ap, "whole", admin.RestoreConflict{Write: true}, func(it map[string]types.AttributeValue) bool {
			return reflect.DeepEqual(it, map[string]types.AttributeValue{"id": str("whole"), "v": str("secret of eu-central-1")})
		}},
		{us, "attribute", admin.RestoreConflict{Write: true, Attributes: []string{"v"}}, func(it map[string]types.AttributeValue) bool {
			return reflect.DeepEqual(it["v"], str("secret of eu-central-1")) && reflect.DeepEqual(it["us"], str("secret of us-east-1")) && reflect.DeepEqual(it["eu"], str("secret of eu-central-1"))
		}},
		{eu, "inside", admin.RestoreConflict{Write: true, Attributes: []string{"m.a"}}, func(it map[string]types.AttributeValue) bool {
			return reflect.DeepEqual(it["m"], &types.AttributeValueMemberM{Value: map[string]types.AttributeValue{"a": str("secret of eu-central-1"), "b": num(1), "us": str("secret of us-east-1"), "eu": str("secret of eu-central-1")}})
		}},
		{us, "gone", admin.RestoreConflict{Write: true}, func(it map[string]types.AttributeValue) bool { return it == nil }},
	} {
		out, status := r.restore(c.region, got[c.id].ID, c.body)
		if status != http.StatusOK || !out.Written || (out.Then == nil) != (c.id == "gone") {
			t.Errorf("%s: %d %+v", c.id, status, out)
		}
		r.itemIs(c.id, "what was discarded is there again", func(it map[string]types.AttributeValue, siblings string) bool { return c.is(it) && siblings == "" })
	}
	for body, want := range map[string]int{`{"write":true,"attributes":["nothing"]}`: 400, `{"write":true,"attributes":["id"]}`: 400} {
		var b admin.RestoreConflict
		if err := json.Unmarshal([]byte(body), &b); err != nil {
			t.Fatal(err)
		}
		if _, status := r.restore(us, got["whole"].ID, b); status != want {
			t.Errorf("%s: %d", body, status)
		}
	}
	if _, status := r.restore(us, got["gone"].ID, admin.RestoreConflict{Write: true, Attributes: []string{"v"}}); status != 400 {
		t.Errorf("an attribute of a deletion: %d", status)
	}
	if _, status := r.restore(us, got["gone"].ID[:17]+"0000000000000001"+got["gone"].ID[33:], admin.RestoreConflict{Write: true}); status != 404 {
		t.Errorf("a conflict that is not listed: %d", status)
	}
	var list admin.ConflictList
	if err := json.Unmarshal([]byte(r.conflicts(ap, "?open=true")), &list); err != nil || len(list.Conflicts) != 0 {
		t.Errorf("open are %+v", list)
	}
	// Page by page it is the same, newest first.
	var ids []string
	for before := ""; ; {
		query := "?limit=2"
		if before != "" {
			query += "&before=" + before
		}
		list = admin.ConflictList{}
		if err := json.Unmarshal([]byte(r.conflicts(ap, query)), &list); err != nil {
			t.Fatal(err)
		}
		for _, c := range list.Conflicts {
			ids = append(ids, c.ID)
		}
		if !list.More {
			break
		}
		before = ids[len(ids)-1]
	}
	if len(slices.Compact(ids)) != 5 || !slices.IsSortedFunc(ids, func(a, b string) int { return strings.Compare(b, a) }) {
		t.Errorf("%v", ids)
	}
}

// TestFeedComesWithTheTable: a new replica has the conflicts, and one that was left behind gets them by exchange. They go with the table.
func TestFeedComesWithTheTable(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	cfg.Limits.LogBytes, cfg.Limits.StreamBytes = 1<<20, 1<<20
	r := runWorld(t, cfg)
	us, eu, ap := r.ready.Regions[0], r.ready.Regions[1], r.ready.Regions[2]
	r.contested(eu.Name)
	r.listed(5, us, eu)
	r.addReplica(us.Name, ap.Name)
	r.listed(5, us, eu, ap)

	// The third is cut off until the logs of the others are at their limit, with conflicts in what they have dropped.
	r.Cut(ap.Name)
	r.Cut(eu.Name)
	for i := range 5 {
		r.put(eu.Name, fmt.Sprint("late ", i), "eu")
		r.put(us.Name, fmt.Sprint("late ", i), "us")
	}
	r.Heal(eu.Name)
	r.Cut(ap.Name) // its link to the second, too
	r.listed(10, us, eu)
	for i := range 30 {
		r.put(us.Name, fmt.Sprint("item ", i), large())
		r.put(eu.Name, fmt.Sprint("other ", i), large())
	}
	for _, region := range []ReadyRegion{us, eu} {
		r.until(region.Name+" has left the third behind", func() bool {
			return slices.ContainsFunc(r.status(region).Lanes, func(l admin.Lane) bool { return l.Lagging[ap.Name].Entries > 0 })
		})
	}
	r.Heal(ap.Name)
	r.listed(10, us, eu, ap)

	// What it takes to list them is bounded by the table's limit: the oldest go, everywhere.
	r.change(eu.Name, catalog.Change{Tag: map[string]string{"concordat:conflict-bytes": "1MiB", "concordat:conflict-age": "1h"}})
	if st := r.status(ap).Tables[0].Conflicts; st.Limit != 1<<20 || st.KeepSeconds != 3600 || st.Listed != 10 {
		t.Errorf("%+v", st)
	}
	if _, err := r.db[ap.Name].DeleteTable(t.Context(), &dynamodb.DeleteTableInput{TableName: aws.String(tableName)}); err != nil {
		t.Fatal(err)
	}
	r.until("the table is gone there", func() bool { return len(r.status(ap).Tables) == 0 })
	var fault admin.Error
	if status := r.admin(http.MethodGet, ap.Name, "/v1/conflicts?table="+tableName, &fault); status != http.StatusNotFound {
		t.Errorf("%d %+v", status, fault)
	}
	r.listed(10, us, eu)
}
