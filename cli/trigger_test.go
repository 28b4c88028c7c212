package cli

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/concordat-db/concordat/globaltable/trigger"
	"github.com/concordat-db/concordat/regionnode/admin"
)

// triggersIn writes a file of triggers, each "name table: rest of the spec".
func triggersIn(t *testing.T, triggers ...string) string {
	t.Helper()
	var docs []string
	for _, one := range triggers {
		head, spec, _ := strings.Cut(one, ": ")
		name, table, _ := strings.Cut(head, " ")
		docs = append(docs, "apiVersion: concordat/v1\nkind: Trigger\nmetadata: {name: "+name+"}\nspec: {table: "+table+", "+spec+"}\n")
	}
	path := filepath.Join(t.TempDir(), "triggers.yaml")
	if err := os.WriteFile(path, []byte(strings.Join(docs, "---\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestTrigger leads triggers of a real world through their life by commands.
func TestTrigger(t *testing.T) {
	d := startDev(t)
	us, eu := d.ready.Regions[0].Admin, d.ready.Regions[1].Admin
	expectOf := func(noun, admin string, status int, out, diagnostics string, args ...string) result {
		t.Helper()
		got := command(t, append([]string{"--admin", admin, noun}, args...)...)
		if got.status != status || !strings.Contains(got.out, out) || !strings.Contains(got.err, diagnostics) {
			t.Fatalf("concordat %s %s: status %d, want %d, %q and %q\n%s\n%s", noun, strings.Join(args, " "), got.status, status, out, diagnostics, got.out, got.err)
		}
		return got
	}
	expect := func(admin string, status int, out, diagnostics string, args ...string) result {
		t.Helper()
		return expectOf("trigger", admin, status, out, diagnostics, args...)
	}
	const hook, mail = "search things: target: {webhook: {url: \"https://search.example/hook\"}}, filter: {type: [concordat.item.insert]}", "mail things: fire: one, target: {nats: {subject: mail}}"
	expect(us, 0, "There are no triggers.", "", "list")
	file := triggersIn(t, hook)
	expect(us, 1, "", "Table: things not found", "apply", "-f", file, "--yes")
	createTable(t, d.client(0), "things", "k", "at")
	expect(us, 1, "", "Table things has no change stream, whose events fire triggers. Switch it on first", "apply", "-f", file, "--yes")
	expectOf("policy", us, 0, "in force", "", "apply", "-f", replicationFile(t, "regions: [us-east-1, eu-central-1], stream: NEW_IMAGE"), "--reason", "triggers", "--yes")

	// What is wrong is told at once, with its lines.
	bad := triggersIn(t, strings.Replace(hook, "https:", "http:", 1)+", batch: {size: 0}", "mail things: fire: twice, target: {}")
	expect(us, 2, "", "document 1, line 4: spec.batch.size: it is 0", "apply", "-f", bad, "--yes")
	expect(us, 2, "", "document 2, line 9: spec.fire: it is \"twice\"", "apply", "-f", bad, "--yes")
	expect(us, 2, "", "apply needs --file", "apply")

	// It is asked before it is done.
	expect(us, 2, "", "give --yes to do it", "apply", "-f", file)
	answer := func(said string) result {
		var out, errs bytes.Buffer
		status := Run(t.Context(), []string{"concordat", "--admin", us, "trigger", "apply", "-f", file, "--reason", "search", "--author", "ops"}, Streams{Out: &out, Err: &errs, In: strings.NewReader(said)}, "test")
		return result{status, out.String(), errs.String()}
	}
	if got := answer("y\n"); got.status != 1 || !strings.Contains(got.err, "nothing was changed") || !strings.Contains(got.err, "create │ origin │ webhook https://search.example/hook") || !strings.Contains(got.err, "search: The stream of table things shows NEW_IMAGE: its events have no old image of the item.") {
		t.Errorf("%+v", got)
	}
	expect(us, 0, "There are no triggers.", "", "list")
	if got := answer("yes\n"); got.status != 0 || got.out != "Trigger search of table things: created.\n" {
		t.Errorf("%+v", got)
	}
	// Either region knows it, and changes it; what is in force makes no version.
	d.waitFor(t, eu, "search")
	expect(eu, 0, "Trigger search of table things: as it was.\n", "keep", "apply", "-f", file)
	got := expect(eu, 0, "", "parallel: default → 2", "apply", "-f", triggersIn(t, mail, hook+", parallel: 2"), "--yes", "--output", "json")
	var steps admin.TriggerSteps
	if err := json.Unmarshal([]byte(got.out), &steps); err != nil || len(steps.Triggers) != 2 || steps.Triggers[0].Action != admin.TriggerCreate || steps.Triggers[1].Action != admin.TriggerUpdate || steps.Triggers[1].Before.Spec.Parallel != 0 {
		t.Errorf("%v: %s", err, got.out)
	}
	expect(eu, 0, "Trigger mail of table things: paused.", "", "pause", "mail")
	expect(eu, 0, "The trigger is paused.", "", "list", "--table", "things")
	expect(eu, 0, "Trigger mail of table things: goes on.", "", "resume", "mail", "--table", "things")
	expect(eu, 0, "begins again", "", "replay", "search", "--since", "10m", "--reason", "the index was lost")
	expect(eu, 0, "begins again", "", "replay", "search", "--since", "2020-01-02T03:04:05Z")
	expect(eu, 1, "", "that is not in the past", "replay", "search", "--since", "2999-01-02T03:04:05Z")
	expect(eu, 2, "", "it is how long ago it was, like 90m", "replay", "search", "--since", "yesterday")
	expect(eu, 2, "", "replay needs --since", "replay", "search")
	got = expect(eu, 0, "fires", "", "list")
	if !strings.Contains(got.out, "Replayed since 2020-01-0") || !strings.Contains(got.out, "all events") {
		t.Error(got.out)
	}
	shown := expect(us, 0, "# form 2, since version ", "", "show", "search")
	if docs, err := trigger.Parse([]byte(shown.out)); err != nil || len(docs) != 1 || docs[0].Spec.Parallel != 2 {
		t.Errorf("what is shown cannot be applied: %v\n%s", err, shown.out)
	}

	// A name that two tables' triggers have needs the table.
	createTable(t, d.client(0), "others", "k", "at")
	expectOf("policy", us, 0, "in force", "", "apply", "-f", policyFileOf(t, "apiVersion: concordat/v1\nkind: ReplicationPolicy\nmetadata: {name: all}\nspec: {table: others, stream: NEW_AND_OLD_IMAGES}\n"), "--reason", "triggers", "--yes")
	expect(us, 0, "created", "", "apply", "-f", triggersIn(t, "mail others: target: {command: {path: /usr/bin/mail, args: [-s, x]}}"), "--yes")
	expect(us, 2, "", "give --table, which can be others, things", "show", "mail")
	expect(us, 0, "command /usr/bin/mail -s x", "", "list", "--table", "others")
	expect(us, 1, "", "there is no trigger nothing here", "pause", "nothing")
	expect(us, 2, "", "give --yes to do it", "delete", "mail", "--table", "things")
	expect(us, 0, "Trigger mail of table things: deleted.", "delete", "delete", "mail", "--table", "things", "--yes", "--reason", "no more mail")
	expect(us, 1, "", "there is no trigger mail here", "delete", "mail", "--table", "things", "--yes")

	// A policy that pins, and does not name the webhook, keeps items from it, and that is said.
	expectOf("policy", us, 0, "in force", "", "apply", "-f", localityFile(t, "eu-only", `, keyPrefix: "EU#"`, "pin: {jurisdictions: [EU]}, singleCopy: allowed"), "--reason", "law", "--yes")
	expect(us, 0, "as it was", "The webhook is told nothing of items that are pinned by eu-only: these policies do not name it (spec.targets).", "apply", "-f", triggersIn(t, hook+", parallel: 2"), "--yes")
	expectOf("policy", us, 0, "in force", "", "apply", "-f", localityFile(t, "eu-only", `, keyPrefix: "EU#"`, `pin: {jurisdictions: [EU]}, singleCopy: allowed, targets: ["https://search.example"]`), "--reason", "law", "--yes")
	if got := expect(us, 0, "as it was", "", "apply", "-f", triggersIn(t, hook+", parallel: 2"), "--yes"); strings.Contains(got.err, "pinned") {
		t.Error(got.err)
	}

	// Each change is in the audit log, with who made it and why.
	got = expectOf("audit", us, 0, "", "", "log", "--kind", "trigger.changed", "--output", "json")
	for _, part := range []string{`"apply triggers"`, `"pause trigger"`, `"replay trigger"`, `"the index was lost"`, `"no more mail"`, `"ops"`, `"trigger search"`} {
		if !strings.Contains(got.out, part) {
			t.Errorf("no %s in the audit log: %s", part, got.out)
		}
	}
}

// waitFor waits until a region lists a trigger.
func (d *dev) waitFor(t *testing.T, admin, name string) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; {
		if got := command(t, "--admin", admin, "trigger", "list"); strings.Contains(got.out, name) {
			return
		} else if time.Now().After(end) {
			t.Fatalf("no trigger %s: %+v", name, got)
		}
	}
}

func TestTriggerSchema(t *testing.T) {
	for _, args := range [][]string{{}, {"--output", "json"}} {
		got := command(t, append([]string{"trigger", "schema"}, args...)...)
		var schema map[string]any
		if err := json.Unmarshal([]byte(got.out), &schema); err != nil || got.status != 0 || schema["title"] != "Trigger" {
			t.Errorf("%v: %v, %+v", args, err, got)
		}
	}
}

// TestReadmeTriggers: the README's triggers are ones, and those of the examples.
func TestReadmeTriggers(t *testing.T) {
	examples, err := filepath.Glob("../deployments/examples/*/trigger*.yaml")
	if err != nil || len(examples) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	for _, path := range examples {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := trigger.Parse(b); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	docs, err := trigger.Parse([]byte(readmeBlock(t, "yaml", "kind: Trigger")))
	if err != nil || len(docs) != 1 {
		t.Fatalf("%d documents, %v", len(docs), err)
	}
}
