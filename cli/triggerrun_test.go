package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/concordat-db/concordat/regionnode/admin"
)

// TestTriggerRun: what becomes of events is seen by commands, and dead letters are dealt with by them.
func TestTriggerRun(t *testing.T) {
	d := startDev(t)
	us := d.ready.Regions[0].Admin
	run := func(status int, out, diagnostics string, args ...string) result {
		t.Helper()
		got := command(t, append([]string{"--admin", us, "trigger"}, args...)...)
		if got.status != status || !strings.Contains(got.out, out) || !strings.Contains(got.err, diagnostics) {
			t.Fatalf("concordat trigger %s: status %d, want %d, %q and %q\n%s\n%s", strings.Join(args, " "), got.status, status, out, diagnostics, got.out, got.err)
		}
		return got
	}
	run(0, "There are no triggers.", "", "stats")
	run(1, "", "no such trigger", "stats", "search")
	createTable(t, d.client(0), "things", "k", "at")
	if got := command(t, "--admin", us, "policy", "apply", "-f", replicationFile(t, "stream: NEW_AND_OLD_IMAGES"), "--reason", "triggers", "--yes"); got.status != 0 {
		t.Fatalf("%+v", got)
	}
	var refuse atomic.Bool
	refuse.Store(true)
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if refuse.Load() {
			w.WriteHeader(http.StatusTeapot)
		}
	}))
	defer hook.Close()
	run(0, "created", "", "apply", "-f", triggersIn(t, "search things: target: {webhook: {url: \""+hook.URL+"\"}}, batch: {window: 1ms}, retry: {attempts: 1}"), "--yes")
	for i := range 3 {
		_, err := d.client(0).PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String("things"), Item: map[string]types.AttributeValue{
			"k": &types.AttributeValueMemberS{Value: fmt.Sprint("item", i)}, "at": &types.AttributeValueMemberS{Value: "x"}}})
		if err != nil {
			t.Fatal(err)
		}
	}
	letters := func() (list admin.DeadLetterList) {
		if err := json.Unmarshal([]byte(run(0, "", "", "dlq", "list", "search", "--output", "json").out), &list); err != nil {
			t.Fatal(err)
		}
		return list
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for len(letters().Letters) < 3 {
		if ctx.Err() != nil {
			t.Fatalf("never three dead letters: %s", run(0, "", "", "stats").out)
		}
	}
	run(0, "HTTP status 418", "", "stats", "search", "--table", "things")
	run(0, "made in us-east-1", "", "stats")
	run(0, "There is more: --after ", "", "dlq", "list", "search", "--limit", "2")
	run(2, "", "--limit is 0", "dlq", "list", "search", "--limit", "0")
	first := letters().Letters[0].ID
	run(0, `"item0"`, "", "dlq", "show", "search", first)
	run(1, "", "has no dead letter", "dlq", "show", "search", strings.Repeat("1", 21))
	run(2, "", "needs NAME ID", "dlq", "show", "search")
	run(1, "0 delivered, 3 failed", "not all were delivered: HTTP status 418", "dlq", "redrive", "search")
	refuse.Store(false)
	run(0, "1 delivered, 0 failed", "", "dlq", "redrive", "search", "--id", first)
	run(2, "", "give --yes to do it", "dlq", "purge", "search")
	second := letters().Letters[0].ID
	run(0, "1 dropped.", "", "dlq", "purge", "search", "--yes", "--id", second, "--author", "you", "--reason", "spam")
	run(0, "1 delivered, 0 failed", "", "dlq", "redrive", "search", "--author", "you")
	run(0, "0 delivered, 0 failed", "", "dlq", "redrive", "search", "--author", "you") // nothing was done
	run(0, "", "", "pause", "search", "--author", "you")
	run(0, "", "", "resume", "search", "--author", "you")
	run(0, "", "", "replay", "search", "--since", "1h", "--author", "you")
	if got := auditedBy(t, us, "you"); !slices.Equal(got, []string{
		"letters.purged things purge dead letters (spam): trigger=search dropped=1 letter=" + second,
		"letters.redriven things redrive dead letters (): trigger=search delivered=1 refused by the target=0",
		"trigger.changed things pause trigger (): ", "trigger.changed things resume trigger (): ", "trigger.changed things replay trigger (): "}) {
		t.Errorf("in the audit log is %q", got)
	}
	run(0, "There are no dead letters in us-east-1.", "", "dlq", "list", "search")
	run(1, "", "there is no trigger nothing here", "dlq", "list", "nothing")
}

// auditedBy returns what the audit log has of an author: what was done with dead letters in detail.
func auditedBy(t *testing.T, region, author string) (out []string) {
	t.Helper()
	var log admin.AuditLog
	got := command(t, "--admin", region, "audit", "log", "--output", "json")
	if err := json.Unmarshal([]byte(got.out), &log); err != nil {
		t.Fatalf("%v: %+v", err, got)
	}
	for i := range log.Entries {
		e := log.Entries[i].Entry
		if e.Author != author {
			continue
		}
		var said []string
		for _, c := range e.Changes {
			if strings.HasPrefix(string(e.Kind), "letters") {
				said = append(said, c.What+"="+c.Now)
			}
		}
		out = append(out, fmt.Sprintf("%s %s %s (%s): %s", e.Kind, e.Subject, e.Op, e.Reason, strings.Join(said, " ")))
	}
	return out
}

func TestTriggerConfiguration(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "hook.key")
	if err := os.WriteFile(file, []byte("whsec_MDEyMzQ1Njc4OWFiY2RlZg==\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("HOOK_KEY", "a plain key of some length")
	cfg, err := worldOf(t, "--trigger-secret", "hook-key="+file, "--trigger-command", "/usr/bin/reindex")
	if err != nil || string(cfg.Triggers.Secrets["hook-key"]) != "0123456789abcdef" || cfg.Triggers.Commands[0] != "/usr/bin/reindex" {
		t.Errorf("%+v, %v", cfg.Triggers, err)
	}
	for _, args := range [][]string{{"--trigger-secret", "hook-key"}, {"--trigger-secret", "Hook=" + file}, {"--trigger-secret", "x=" + dir + "/none"}, {"--trigger-command", "reindex"}} {
		if _, err := worldOf(t, args...); err == nil {
			t.Errorf("%v was taken", args)
		}
	}
	path := writeNode(t, goodNode+"  triggers: {secrets: [{name: hook-key, file: "+file+"}, {name: other, env: HOOK_KEY}], commands: [/usr/bin/reindex], reach: 5s}\n")
	if got := command(t, "node", "--config", path, "--check"); got.status != 0 {
		t.Errorf("%+v", got)
	}
	path = writeNode(t, goodNode+"  triggers: {secrets: [{name: hook-key}, {name: Wrong, env: HOOK_KEY}, {name: none, env: NO_SUCH_VARIABLE}, {name: both, env: A, file: b}]}\n")
	got := command(t, "node", "--config", path, "--check")
	for _, want := range []string{"secrets[0]: give one of file and env", "secrets[1].name: it is missing", "secrets[2]: the secret is missing, or has less than 16 bytes", "secrets[3]: give one of"} {
		if got.status != 1 || !strings.Contains(got.err, want) {
			t.Errorf("no %q in %+v", want, got)
		}
	}
	path = writeNode(t, goodNode+"  triggers: {commands: [reindex]}\n")
	if got := command(t, "node", "--config", path, "--check"); got.status != 1 || !strings.Contains(got.err, "command 1 is no absolute path") {
		t.Errorf("%+v", got)
	}
}
