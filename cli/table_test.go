package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"

	"github.com/concordat-db/concordat/regionnode/admin"
)

// TestTable leads a table of a real world through its life by commands.
func TestTable(t *testing.T) {
	d := startDev(t)
	us, eu := d.ready.Regions[0].Admin, d.ready.Regions[1].Admin
	expect := func(admin string, status int, out, diagnostics string, args ...string) result {
		t.Helper()
		got := command(t, append([]string{"--admin", admin}, args...)...)
		if got.status != status || !strings.Contains(got.out, out) || !strings.Contains(got.err, diagnostics) {
			t.Fatalf("concordat %s: %+v; want status %d, %q and %q", strings.Join(args, " "), got, status, out, diagnostics)
		}
		return got
	}
	expect(us, 0, "Region us-east-1 has no tables.", "", "table", "list")
	createTable(t, d.client(0), "things", "k")
	put := func(region int, key string) error {
		_, err := d.client(region).PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String("things"), Item: map[string]types.AttributeValue{
			"k": &types.AttributeValueMemberS{Value: key}}}, func(o *dynamodb.Options) { o.RetryMaxAttempts = 1 })
		return err
	}
	if err := put(0, "a"); err != nil {
		t.Fatal(err)
	}

	// A table that wants a peer takes writes when it has one.
	expect(us, 0, "Writes wait for peers:1.", "Writes are refused until the table has 2 active replicas; it has 1.", "table", "set", "things", "--acknowledge", "peers:1")
	var refused smithy.APIError
	if err := put(0, "b"); !errors.As(err, &refused) || refused.ErrorCode() != "ValidationException" {
		t.Errorf("%v", err)
	}
	got := expect(us, 0, "", "eu-central-1: active", "table", "replica", "add", "things", "eu-central-1", "--output", "json", "--throttle", "64MiB")
	var shown admin.Table
	if err := json.Unmarshal([]byte(got.out), &shown); err != nil || shown.Acknowledge != "peers:1" || len(shown.Replicas) != 2 || shown.Replicas[0].Status != "ACTIVE" {
		t.Errorf("%v: %s", err, got.out)
	}
	if err := put(0, "b"); err != nil {
		t.Error(err)
	}

	// Both regions can be asked; the same command again changes nothing.
	got = expect(eu, 0, "peers:1", "", "table", "list")
	if !strings.Contains(got.out, "eu-central-1 ACTIVE") || !strings.Contains(got.out, "us-east-1 ACTIVE") {
		t.Error(got.out)
	}
	expect(eu, 0, "ACTIVE", "--throttle changes nothing", "table", "replica", "add", "things", "us-east-1", "eu-central-1", "--throttle", "1MiB")
	expect(us, 1, "", "the region is not known: nowhere", "table", "replica", "add", "things", "nowhere")
	expect(us, 1, "", "Table: nothing not found", "table", "show", "nothing")
	expect(us, 0, "USAGE", "", "table", "replica", "remove", "things", "eu-central-1", "--yes", "--help")

	// Removing asks first, and a region that is asked about its own replica says that it is gone.
	expect(us, 2, "", "would be removed with all its data there. 1 replicas stay.", "table", "replica", "remove", "things", "eu-central-1")
	expect(us, 1, "", "has no replica in ap-south-1; it has some in eu-central-1, us-east-1", "table", "replica", "remove", "things", "ap-south-1", "--yes")
	expect(eu, 0, "Writes are answered when they are durable in their region.", "", "table", "set", "things", "--acknowledge=local")

	// Either region says how writes merge, and both show it.
	merge := func(admin string, status int, out, diagnostics string, args ...string) result {
		t.Helper()
		return expect(admin, status, out, diagnostics, append([]string{"table", "merge"}, args...)...)
	}
	merge(eu, 0, `type of "likes" │ none   │ counter`, "Declared types count in mode vector; the mode is lww.", "things", "--type", "likes=counter", "--type", "a=b=max")
	got = merge(us, 0, "", "", "--table", "things", "--mode", "vector", "--type", "likes=set", "--type=a=b=none", "--output", "json")
	var changed mergeChanged
	if err := json.Unmarshal([]byte(got.out), &changed); err != nil || got.err != "" || changed.Table != "things" || changed.Mode != "vector" || !maps.Equal(changed.Types, map[string]string{"likes": "set"}) ||
		!slices.Equal(changed.Changed, []mergeChange{{"", "lww", "vector"}, {"a=b", "max", "none"}, {"likes", "counter", "set"}}) {
		t.Errorf("%v: %+v", err, got)
	}
	merge(us, 0, "nothing has changed; its mode is vector", "", "things", "--mode", "vector", "--type", "likes=set")
	merge(us, 1, "", `attribute "k" is of the table's key, which never changes: it has no merge type`, "things", "--mode", "lww", "--type", "k=max")
	merge(us, 1, "", "Table: nothing not found", "nothing", "--mode", "lww")
	expect(us, 0, `Conflict mode vector. Declared types: "likes"=set.`, "", "table", "show", "things")
	expect(us, 0, "vector", "", "table", "list")

	// Either region says how long conflicts are listed.
	expect(us, 0, "Conflicts are listed for 7d, up to 64MiB; 0 are, 0 B.", "", "table", "show", "things")
	expect(eu, 0, "Conflicts are listed for 30d, up to 128MiB; 0 are, 0 B.", "", "table", "set", "things", "--conflict-age", "30d", "--conflict-bytes", "128MiB")
	expect(us, 0, "Conflicts are listed for 30d, up to 64MiB;", "", "table", "set", "things", "--conflict-bytes", "default")
	expect(us, 0, "No conflict is listed.", "", "conflict", "list", "--table", "things")
	expect(us, 0, "30d", "", "status")

	// Either region says how long records of change streams are kept.
	expect(us, 2, "", `--stream-age: "36d" is not known; it can be a time from 1m to 35d in whole seconds`, "table", "set", "things", "--stream-age", "36d")
	expect(eu, 0, "", "", "table", "set", "things", "--stream-age", "3d", "--stream-bytes", "16GiB")
	got = expect(us, 0, "", "", "table", "show", "things", "--output", "json")
	shown = admin.Table{}
	if err := json.Unmarshal([]byte(got.out), &shown); err != nil || shown.Streams != (admin.Streamed{Limit: 16 << 30, KeepSeconds: 3 * 86400}) {
		t.Errorf("%v: %+v", err, shown.Streams)
	}

	// Either region gives the table a time to live, and takes it away.
	expect(eu, 0, `Items expire by "until" (ENABLING); 0 have such a time`, "", "table", "set", "things", "--ttl", "until")
	expect(us, 1, "", "TimeToLive is already enabled", "table", "set", "things", "--ttl", "until")
	expect(us, 1, "", "TimeToLive is active on a different AttributeName: current AttributeName is until", "table", "set", "things", "--ttl", "other")
	expect(us, 0, `Items expire by "until" (DISABLING)`, "", "table", "set", "things", "--ttl", "off")
	expect(us, 1, "", "TimeToLive is already disabled", "table", "set", "things", "--ttl", "off")
	expect(eu, 0, "Table things is not in this region any more; it is in us-east-1.", "", "table", "replica", "remove", "things", "eu-central-1", "--yes")
	got = expect(us, 0, "ACTIVE", "", "table", "show", "things")
	if strings.Contains(got.out, "eu-central-1") {
		t.Error(got.out)
	}
}

// TestReplicaAddInterrupted: the join goes on without the command that asked for it, and is found again.
func TestReplicaAddInterrupted(t *testing.T) {
	d := startDev(t)
	us := d.ready.Regions[0].Admin
	createTable(t, d.client(0), "things", "k")
	for i := range 40 {
		if _, err := d.client(0).PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String("things"), Item: map[string]types.AttributeValue{
			"k": &types.AttributeValueMemberS{Value: fmt.Sprint(i)}, "v": &types.AttributeValueMemberS{Value: strings.Repeat("v", 100<<10)}}}); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	errs := newSyncBuffer()
	ended := make(chan int, 1)
	go func() {
		ended <- Run(ctx, []string{"concordat", "table", "replica", "add", "things", "eu-central-1", "--admin", us, "--throttle", "2MiB"}, Streams{Out: newSyncBuffer(), Err: errs}, "test")
	}()
	for !strings.Contains(errs.String(), "% joined") {
		select {
		case <-errs.changed:
		case status := <-ended:
			t.Fatalf("ended with %d: %s", status, errs)
		}
	}
	cancel()
	if status := <-ended; status != 1 || !strings.Contains(errs.String(), "it goes on by itself") {
		t.Errorf("status %d: %s", status, errs)
	}
	again := command(t, "table", "replica", "add", "things", "eu-central-1", "--admin", us, "--output", "json")
	var shown admin.Table
	if err := json.Unmarshal([]byte(again.out), &shown); err != nil || again.status != 0 || shown.Replicas[0].Status != "ACTIVE" {
		t.Errorf("%+v", again)
	}
	if strings.Contains(errs.String(), "eu-central-1: active") {
		t.Error("it was there before the interruption: the test shows nothing")
	}
}

// TestReplicaDisassociate: the region that leaves is asked, and has a table of its own in the end.
func TestReplicaDisassociate(t *testing.T) {
	d := startDev(t)
	us, eu := d.ready.Regions[0].Admin, d.ready.Regions[1].Admin
	createTable(t, d.client(0), "things", "k")
	ask := func(admin string, args ...string) result {
		return command(t, append([]string{"table", "replica", args[0], "--admin", admin, "things"}, args[1:]...)...)
	}
	if got := ask(us, "add", "eu-central-1"); got.status != 0 {
		t.Fatalf("%+v", got)
	}
	if _, err := d.client(1).PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String("things"), Item: map[string]types.AttributeValue{"k": &types.AttributeValueMemberS{Value: "a"}}}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		admin, region string
		yes           bool
		status        int
		says          string
	}{
		{eu, "eu-central-1", false, 2, "would become a table of its own. 1 replicas stay together."},
		{eu, "ap-south-1", true, 1, "has no replica in ap-south-1; it has some in eu-central-1, us-east-1"},
		{us, "eu-central-1", true, 1, "the request must be sent to the region of the replica: eu-central-1"},
		{eu, "eu-central-1", true, 0, "eu-central-1: a table of its own"},
		{eu, "eu-central-1", true, 0, "Table things is in eu-central-1 alone."},
	} {
		args := []string{"disassociate", c.region}
		if c.yes {
			args = append(args, "--yes")
		}
		if got := ask(c.admin, args...); got.status != c.status || !strings.Contains(got.err, c.says) || c.status == 0 && !strings.Contains(got.out, "ACTIVE, 1 items") {
			t.Fatalf("%+v: %+v", c, got)
		}
	}
	var tables admin.TableList
	got := command(t, "table", "list", "--admin", eu, "--output", "json")
	if err := json.Unmarshal([]byte(got.out), &tables); err != nil || len(tables.Tables) != 1 || len(tables.Tables[0].Replicas) != 1 || tables.Tables[0].Owner != "eu-central-1" {
		t.Errorf("%v: %s", err, got.out)
	}
}

// TestWatchTellsWhatDisassociationsWaitFor drives the watch with tables as they may come.
func TestWatchTellsWhatDisassociationsWaitFor(t *testing.T) {
	number := func(n int) *int { return &n }
	for name, c := range map[string]struct {
		id       string
		replicas []admin.Replica
		err      string
		told     string
	}{
		"done":       {"2", []admin.Replica{{Region: "eu", Status: "ACTIVE"}}, "", "eu: a table of its own\n"},
		"called off": {"1", []admin.Replica{{Region: "eu", Status: "ACTIVE"}}, "stays in its table", ""},
		"fenced":     {"1", nil, "stays in its table", ""},
		"waits":      {"1", []admin.Replica{{Region: "eu", Status: "UPDATING", Percent: number(100), Detail: "Cannot reach ap."}}, "interrupted", "eu: Cannot reach ap.\neu: 99% copied\n"},
		"not known":  {"1", []admin.Replica{{Region: "eu", Status: "UPDATING"}}, "interrupted", ""},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // one look
		errs := newSyncBuffer()
		_, err := watchDisassociation(ctx, errs, tableAt{}, admin.Table{ID: c.id, Replicas: c.replicas}, "1", "eu")
		if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) || errs.String() != c.told {
			t.Errorf("%s: %v, told %q", name, err, errs)
		}
	}
}

// TestWatchTellsWhatJoinsWaitFor drives the watch with tables as they may come.
func TestWatchTellsWhatJoinsWaitFor(t *testing.T) {
	number := func(n int) *int { return &n }
	for name, c := range map[string]struct {
		replicas []admin.Replica
		err      string
		told     string
	}{
		"joined":     {[]admin.Replica{{Region: "eu", Status: "ACTIVE"}}, "", "eu: active\n"},
		"called off": {nil, "its creation was called off", ""},
		"name taken": {[]admin.Replica{{Region: "eu", Status: "CREATION_FAILED", Detail: "A table named a exists already."}}, "could not be created: A table named a exists", ""},
		"on its way": {[]admin.Replica{{Region: "eu", Status: "CREATING", Percent: number(42), Detail: "Cannot reach ap."}}, "interrupted", "eu: Cannot reach ap.\neu: 42% joined\n"},
		"not known":  {[]admin.Replica{{Region: "eu", Status: "CREATING"}}, "interrupted", ""},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // one look
		told := newSyncBuffer()
		_, err := watchJoins(ctx, told, tableAt{"http://127.0.0.1:1", "a"}, admin.Table{Replicas: c.replicas}, []string{"eu"})
		if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) || told.String() != c.told {
			t.Errorf("%s: %v, told %q", name, err, told)
		}
	}
	p := newJoinProgress(newSyncBuffer(), []string{"eu"})
	for _, percent := range []int{0, 1, 24, 25, 26, 74, 75, 99, 100, 100} {
		p.set("eu", percent, "")
	}
	if got := strings.Split(strings.TrimSpace(p.w.(*syncBuffer).String()), "\n"); !slices.Equal(got, []string{"eu: 0% joined", "eu: 25% joined", "eu: 74% joined", "eu: 75% joined", "eu: active"}) {
		t.Errorf("%q", got)
	}
}
