package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/concordat-db/concordat/globaltable/policy"
	"github.com/concordat-db/concordat/regionnode/admin"
)

func policyFileOf(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "policy.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func replicationFile(t *testing.T, spec string) string {
	t.Helper()
	return policyFileOf(t, "apiVersion: concordat/v1\nkind: ReplicationPolicy\nmetadata: {name: everywhere}\nspec: {table: things, "+spec+"}\n")
}

func localityFile(t *testing.T, name, match, rest string) string {
	t.Helper()
	return policyFileOf(t, "apiVersion: concordat/v1\nkind: LocalityPolicy\nmetadata: {name: "+name+"}\nspec: {match: {table: things"+match+"}, "+rest+"}\n")
}

// TestPolicy leads policies of a real world through their life by commands.
func TestPolicy(t *testing.T) {
	d := startDev(t)
	us, eu := d.ready.Regions[0].Admin, d.ready.Regions[1].Admin
	expect := func(admin string, status int, out, diagnostics string, args ...string) result {
		t.Helper()
		got := command(t, append([]string{"--admin", admin, "policy"}, args...)...)
		if got.status != status || !strings.Contains(got.out, out) || !strings.Contains(got.err, diagnostics) {
			t.Fatalf("concordat policy %s: status %d, want %d, %q and %q\n%s\n%s", strings.Join(args, " "), got.status, status, out, diagnostics, got.out, got.err)
		}
		return got
	}
	expect(us, 0, "There are no policies", "", "list")
	expect(us, 0, "No policy has ever been applied.", "", "history")
	file := replicationFile(t, "regions: [us-east-1, eu-central-1], merge: attribute, attributes: {likes: counter}")
	expect(us, 1, "", "Table: things not found", "plan", "-f", file)
	createTable(t, d.client(0), "things", "k", "at")
	for i := range 4 {
		if _, err := d.client(0).PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String("things"), Item: map[string]types.AttributeValue{
			"k": &types.AttributeValueMemberS{Value: []string{"EU#", "US#"}[i%2] + fmt.Sprint(i)}, "at": &types.AttributeValueMemberS{Value: "1"}}}); err != nil {
			t.Fatal(err)
		}
	}

	// A plan, for people and for programs, changes nothing.
	expect(us, 0, "replica in eu-central-1 │ none   │ created", "", "plan", "-f", file)
	got := expect(us, 0, "", "", "plan", "-f", file, "--output", "json")
	var plan admin.PolicyPlan
	if err := json.Unmarshal([]byte(got.out), &plan); err != nil || len(plan.Tables) != 1 || len(plan.Tables[0].Regions) != 2 || plan.Tables[0].Regions[0].Copied.Items != 4 || plan.Tables[0].Regions[1].Held.Items != 4 {
		t.Errorf("%v: %s", err, got.out)
	}
	// It is asked before it is done.
	expect(us, 2, "", "give --yes to do it", "apply", "-f", file, "--reason", "closer to customers")
	answer := func(said string) result {
		var out, errs bytes.Buffer
		status := Run(t.Context(), []string{"concordat", "--admin", us, "policy", "apply", "-f", file, "--reason", "closer to customers", "--author", "ops"}, Streams{Out: &out, Err: &errs, In: strings.NewReader(said)}, "test")
		return result{status, out.String(), errs.String()}
	}
	if got := answer("y\n"); got.status != 1 || !strings.Contains(got.err, "nothing was changed") {
		t.Errorf("%+v", got)
	}
	expect(us, 0, "There are no policies", "", "list")
	if got := answer("yes\n"); got.status != 0 || !strings.Contains(got.out, "version 1: in force, and carried out in every region") || !strings.Contains(got.err, "eu-central-1: carried out") {
		t.Errorf("%+v", got)
	}
	// Either region knows it, and nothing is left to do.
	expect(eu, 0, "regions [eu-central-1, us-east-1]", "", "list")
	expect(eu, 0, "by ops: closer to customers\napiVersion: concordat/v1\n", "", "get", "everywhere")
	expect(eu, 0, "version 1: in force", "No item is copied or erased.", "apply", "-f", file, "--reason", "again")
	expect(eu, 0, "in force", "", "history", "everywhere", "--table", "things")
	expect(eu, 0, "version 2: in force", "", "apply", "-f", replicationFile(t, "merge: vector"), "--reason", "counters", "--yes")
	shown := expect(us, 0, "merge: attribute", "", "show", "everywhere", "--version", "1")
	if docs, err := policy.Parse([]byte(shown.out)); err != nil || len(docs) != 1 {
		t.Errorf("what is shown cannot be applied: %v", err)
	}
	expect(us, 0, "merge: vector", "", "show", "everywhere")
	expect(us, 1, "", "has no version 3 here; there are 1 to 2", "show", "everywhere", "--version", "3")
	expect(us, 1, "", "there is no policy nothing here", "get", "nothing")
	got = expect(us, 0, "", "", "delete", "everywhere", "--reason", "by hand from now on", "--yes", "--output", "yaml")
	if !strings.Contains(got.out, "done: true\n") || !strings.Contains(got.out, "deleted: true") {
		t.Error(got.out)
	}
	expect(us, 0, "deleted, which every region has carried out", "", "delete", "everywhere", "--reason", "again")
	expect(us, 1, "", "there is no policy nothing here", "delete", "nothing", "--reason", "why", "--yes")

	// Locality: what a plan counts and refuses.
	pin := localityFile(t, "eu", `, keyPrefix: "EU#"`, "pin: {jurisdictions: [EU]}, singleCopy: allowed")
	got = expect(us, 0, "", "", "plan", "-f", pin, "--output", "json")
	if err := json.Unmarshal([]byte(got.out), &plan); err != nil || plan.Tables[0].Regions[0].Erased.Items != 0 || plan.Tables[0].Regions[1].Erased.Items != 2 {
		t.Errorf("%v: %s", err, got.out)
	}
	expect(us, 1, "", "leaves one copy of its items, in eu-central-1", "plan", "-f", localityFile(t, "eu", `, keyPrefix: "EU#"`, "pin: {jurisdictions: [EU]}"))
	expect(us, 1, "", "its items could be nowhere", "apply", "--yes", "--reason", "why", "-f", localityFile(t, "eu", "", "pin: {jurisdictions: [IN]}"))
	expect(us, 2, "", "line 4: spec.pins: this field is not known", "plan", "-f", localityFile(t, "eu", "", "pins: {}"))

	// Where would it live?
	expect(us, 0, "The item may be in eu-central-1, us-east-1: no policy matches it.\nRegion us-east-1 serves it.\n", "", "test", "--table", "things", "EU#1", "--sort", "1")
	expect(us, 0, "serves it", "", "test", "--table", "things", `{"k":{"S":"EU#1"},"at":{"S":"1"}}`)
	expect(us, 1, "", "the key of table things is k (S) and at (S)", "test", "--table", "things", "EU#1")
	expect(us, 1, "", "the key does not fit the table's", "test", "--table", "things", `{"k":{"S":"EU#1"}}`)
	r := admin.PolicyRequest{Author: "ops", Reason: "law"}
	for _, file := range []string{pin, localityFile(t, "all", "", "pin: {regions: [eu-central-1, us-east-1]}"), localityFile(t, "part", `, key: {delimiter: "#", component: 1, equals: US}`, "pin: {jurisdictions: [EU]}, singleCopy: allowed, foreign: forward"),
		localityFile(t, "first", `, sortKeyPrefix: "1"`, "pin: {jurisdictions: [EU, US]}")} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		docs, err := policy.Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		r.Documents = append(r.Documents, docs...)
	}
	p, err := askAdmin[admin.PolicyProgress](t.Context(), "apply", time.Minute, http.MethodPost, us, "/v1/policies/apply", r)
	if err != nil || len(p.Tables) != 1 {
		t.Fatal(p, err)
	}
	expect(us, 0, "policy eu matches partition keys that begin with \"EU#\".\nRegion us-east-1 refuses requests for it.", "", "test", "--table", "things", "EU#1", "--sort", "2")
	got = expect(us, 0, "policy part matches partition keys whose component 1, split at \"#\", is \"US\".\nRegion us-east-1 forwards requests for it.", "", "test", "--table", "things", "US#1", "--sort", "2")
	if !strings.Contains(got.out, "│ all          │ every key of the table │ less specific: it does not look at a component of the partition key") {
		t.Error(got.out)
	}
	got = expect(us, 0, `"policy": "first"`, "", "test", "--table", "things", "EU#1", "--sort", "12", "--output", "json")
	var place admin.PolicyPlace
	if err := json.Unmarshal([]byte(got.out), &place); err != nil || len(place.Others) != 2 || place.Others[0].Policy != "eu" || place.Others[0].Why != "less specific: it does not look at the sort key" || len(place.Permitted) != 2 {
		t.Errorf("%v: %s", err, got.out)
	}
}

// What policies a table had can be shown when it is gone: in each region, beside those of others that have, or had, its name.
func TestPolicyOfADeletedTable(t *testing.T) {
	d := startDev(t)
	us, ap := d.ready.Regions[0].Admin, d.ready.Regions[2].Admin
	run := func(admin string, status int, args ...string) result {
		t.Helper()
		got := command(t, append([]string{"--admin", admin, "policy"}, args...)...)
		if got.status != status {
			t.Fatalf("concordat policy %s: status %d\n%s\n%s", strings.Join(args, " "), got.status, got.out, got.err)
		}
		return got
	}
	history := func(base string, args ...string) (list []admin.Policy) {
		t.Helper()
		if err := json.Unmarshal([]byte(run(base, 0, append([]string{"history", "--output", "json"}, args...)...).out), &list); err != nil {
			t.Fatal(err)
		}
		return list
	}
	var ids []string
	for _, merge := range []string{"attribute", "vector", "lww"} {
		createTable(t, d.client(0), "things", "k")
		run(us, 0, "apply", "--yes", "--author", "ops", "--reason", "for "+merge, "-f", replicationFile(t, "merge: "+merge))
		ids = append(ids, history(us, "--table", "things")[0].TableID)
		if merge == "lww" {
			break // this one stays
		}
		if _, err := d.client(0).DeleteTable(t.Context(), &dynamodb.DeleteTableInput{TableName: aws.String("things")}); err != nil {
			t.Fatal(err)
		}
		gone := dynamodb.NewTableNotExistsWaiter(d.client(0), func(o *dynamodb.TableNotExistsWaiterOptions) {
			o.MinDelay, o.MaxDelay = 10*time.Millisecond, 100*time.Millisecond
		})
		if err := gone.Wait(t.Context(), &dynamodb.DescribeTableInput{TableName: aws.String("things")}, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	list := history(us, "--table", "things")
	var got []string
	for _, p := range list {
		got = append(got, fmt.Sprintf("%s %t %t %s", p.TableID, p.TableDeleted, p.InForce, p.Reason))
	}
	want := []string{ids[2] + " false true for lww", ids[1] + " true false for vector", ids[0] + " true false for attribute"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	// The table that is there goes first; a deleted one has its id.
	if got := run(us, 0, "show", "everywhere"); !strings.Contains(got.out, "merge: lww") {
		t.Error(got.out)
	}
	if got := run(us, 0, "show", "everywhere", "--table", ids[0], "--version", "1"); !strings.Contains(got.out, "by ops: for attribute\n") || !strings.Contains(got.out, "merge: attribute") {
		t.Error(got.out)
	}
	if got := run(us, 0, "list"); strings.Contains(got.out, "vector") {
		t.Error(got.out)
	}
	// Another region has it, too; there no table has the name now.
	for begun := time.Now(); len(history(ap)) < 2; { // the catalog's lane is under way
		if time.Since(begun) > time.Minute {
			t.Fatal("the history never came to another region")
		}
	}
	if got := run(ap, 2, "show", "everywhere"); !strings.Contains(got.err, ids[0]+" (things, deleted)") {
		t.Error(got.err)
	}
	if got := run(ap, 0, "history", "--table", ids[1]); !strings.Contains(got.out, "for vector") || strings.Contains(got.out, "for attribute") || strings.Contains(got.out, "in force") {
		t.Error(got.out)
	}
}

func TestPolicySchema(t *testing.T) {
	for _, args := range [][]string{{}, {"LocalityPolicy"}, {"ReplicationPolicy", "--output", "json"}} {
		got := command(t, append([]string{"policy", "schema"}, args...)...)
		var schema map[string]any
		if err := json.Unmarshal([]byte(got.out), &schema); err != nil || got.status != 0 || schema["$schema"] != "https://json-schema.org/draft/2020-12/schema" {
			t.Errorf("%v: %v, %+v", args, err, got)
		}
	}
}

// TestFollowing: an apply waits while something moves, goes on over errors, and says what it waits for.
func TestFollowing(t *testing.T) {
	table := func(version string, replicas ...admin.Replica) admin.PolicyProgress {
		return admin.PolicyProgress{Tables: []admin.Table{{Name: "things", Version: version, Replicas: replicas}}}
	}
	away := admin.Replica{Region: "ap", Status: "ACTIVE", Placing: true, Detail: "Cannot reach ap."}
	here, half := admin.Replica{Region: "eu", Status: "ACTIVE"}, 50
	getting := admin.Replica{Region: "ap", Status: "ACTIVE", Placing: true, Percent: &half}
	done := admin.PolicyProgress{Done: true}
	type said struct {
		p   admin.PolicyProgress
		err error
	}
	gone, refused := &adminFault{"http://x", http.StatusServiceUnavailable, "owned by region us, which cannot be reached"}, &adminFault{"http://x", http.StatusBadRequest, "a tie"}
	for name, c := range map[string]struct {
		says  []said // the last again and again
		stall time.Duration
		want  string // of the error; empty: none
		shown string
	}{
		"done":             {[]said{{table("1.2", here, getting), nil}, {table("1.2", here, away), nil}, {done, nil}}, time.Minute, "", "ap: carried out"},
		"over an error":    {[]said{{table("1.2", here, getting), nil}, {err: gone}, {err: errors.New("connection refused")}, {done, nil}}, time.Minute, "", "ap: 50% done"},
		"refused":          {[]said{{table("1.2", here, getting), nil}, {err: refused}}, time.Minute, "a tie", "ap: 50% done"},
		"pending":          {[]said{{table("1.2", here, away), nil}}, time.Millisecond, "pending is: table things in ap: Cannot reach ap.", "ap: Cannot reach ap."},
		"never heard":      {[]said{{err: gone}}, time.Millisecond, "pending is: http://x answers 503 Service Unavailable: owned by region us", ""},
		"without a detail": {[]said{{table("1.2", here, getting), nil}}, time.Millisecond, "table things in ap: it has not told that it has carried out the change", ""},
	} {
		var out bytes.Buffer
		f := following{show: newJoinProgress(&out, []string{"ap", "eu"}), stall: c.stall}
		f.show.doing, f.show.done = "done", "carried out"
		i := 0
		err := f.follow(t.Context(), func(context.Context) (admin.PolicyProgress, error) {
			s := c.says[min(i, len(c.says)-1)]
			i++
			return s.p, s.err
		})
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) || !strings.Contains(out.String(), c.shown) {
			t.Errorf("%s: %v\n%s", name, err, out.String())
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	f := following{show: newJoinProgress(new(bytes.Buffer), []string{"ap"}), stall: time.Minute}
	err := f.follow(ctx, func(context.Context) (admin.PolicyProgress, error) {
		cancel()
		return table("1.2", getting), nil
	})
	if err == nil || !strings.Contains(err.Error(), "interrupted: what has been begun goes on by itself") {
		t.Error(err)
	}
}

// TestReadmePolicies: the README's policies are ones.
func TestReadmePolicies(t *testing.T) {
	docs, err := policy.Parse([]byte(readmeBlock(t, "yaml", "kind: LocalityPolicy")))
	if err != nil || len(docs) != 2 {
		t.Fatalf("%d documents, %v", len(docs), err)
	}
}
