package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// result is what a command left.
type result struct {
	status   int
	out, err string
}

// command runs the program in this process.
func command(t *testing.T, args ...string) result {
	t.Helper()
	return commandContext(t, t.Context(), args...)
}

func commandContext(t *testing.T, ctx context.Context, args ...string) result {
	t.Helper()
	var out, err bytes.Buffer
	status := Run(ctx, append([]string{"concordat"}, args...), Streams{Out: &out, Err: &err}, "1.2.3-test")
	return result{status, out.String(), err.String()}
}

func TestWrongUsage(t *testing.T) {
	for _, tc := range []struct {
		args string
		want string // in standard error
	}{
		{"bogus", `there is no command "bogus" here` + "\n"},
		{"stats", `there is no command "stats" here; did you mean "status"?`},
		{"help bogus", "bogus"},
		{"region", `after "region" one of these must follow: `},
		{"region show", "show needs a NAME"},
		{"region show a b", `show takes one NAME, not also "b"`},
		{"region show a --oputput json", "there is no flag --oputput; did you mean --output?"},
		{"region fence a --timeout", "flag needs an argument: --timeout"},
		{"region fence a --timeout soon", `invalid value "soon" for --timeout`},
		{"region fence a --timeout -1s", "--timeout is -1s"},
		{"region saved restore --yes", "give the ID of one saved record"},
		{"region saved restore --yes --all 1", "give --all or an ID, not both"},
		{"region saved drop 1", "give --yes to drop it"},
		{"region saved drop 1 2 --yes", `drop takes one ID, not also "2"`},
		{"region keygn", `did you mean "keygen"?`},
		{"region keygen", "keygen needs --out"},
		{"region add", "add needs --descriptor"},
		{"region add --descriptor d --expires 0s", "--expires is 0s; it can be 1s to 720h0m0s"},
		{"region add --descriptor d --expires 721h", "--expires is 721h0m0s"},
		{"region add --descriptor d --admin nowhere", "--admin (or CONCORDAT_ADMIN)"},
		{"region descriptor", "descriptor needs --key, --name, --jurisdiction, --id"},
		{"region descriptor --key k --name a --jurisdiction B --id 0", "--id is 0; it can be 1 to 65535"},
		{"region descriptor --key k --name a --jurisdiction B --id 65536", "--id is 65536"},
		{"region descriptor --key k --name a --jurisdiction B --id -1", "invalid value"},
		{"table", `after "table" one of these must follow: list, show, set, merge, replica`},
		{"table list orders", `list takes flags only, not "orders"`},
		{"table show", "show needs a NAME"},
		{"table show orders places", `show takes one NAME, not also "places"`},
		{"table show orders --bogus", "there is no flag --bogus"},
		{"table show orders --output", "flag needs an argument: --output"},
		{"table show orders --output xml", `--output is "xml"`},
		{"table merge", "merge needs a NAME, or --table"},
		{"table merge orders --table orders --mode lww", "give NAME or --table, not both"},
		{"table merge orders", "give --mode, --type or both"},
		{"table merge --table orders", "give --mode, --type or both"},
		{"table merge orders --mode=", `--mode is ""; it can be lww, attribute or vector`},
		{"table merge orders --mode last", `--mode is "last"; it can be lww, attribute or vector`},
		{"table merge orders --type likes", `--type is "likes"; it is ATTRIBUTE=TYPE`},
		{"table merge orders --type =set", `--type is "=set"; it is ATTRIBUTE=TYPE`},
		{"table merge orders --type likes=list", `--type is "likes=list"; the type can be counter, set, map, max, min, register or none`},
		{"table merge orders --type likes=set --type likes=none", `--type gives "likes" two types`},
		{"table set orders", "give --acknowledge, --ttl, --conflict-age, --conflict-bytes, --stream-age or --stream-bytes"},
		{"table set orders --conflict-age 1s", `--conflict-age: "1s" is not known; it can be a time from 1m to 366d`},
		{"table set orders --conflict-age=", `--conflict-age: "" is not known`},
		{"table set orders --conflict-bytes 5TiB", `--conflict-bytes: "5TiB" is not known; it can be a size from 1MiB to 1TiB`},
		{"audit", `after "audit" one of these must follow: log, check, egress, residency`},
		{"audit log --limit 0", "--limit is 0"},
		{"audit log --kind x", `--kind is "x"; it can be table.created`},
		{"audit log --since -1h", "--since is -1h0m0s"},
		{"audit log orders", "takes flags only"},
		{"audit check --key x", `--key is "x"; it is REGION=KEY`},
		{"audit check --head us=x", `--head is "us=x"`},
		{"audit egress --key UX", "--key and --head go with --verify"},
		{"audit egress --verify --head 1", `--head is "1"`},
		{"audit residency orders", "takes flags only"},
		{"policy receipts --key x", `--key is "x"`},
		{"stream", `after "stream" one of these must follow: list, tail, forget, export, grant, grants, revoke`},
		{"stream revoke", "revoke needs a NAME"},
		{"conflict", `after "conflict" one of these must follow: list, show, tail, stats, restore`},
		{"conflict lst", `did you mean "list"?`},
		{"conflict list orders", `list takes flags only, not "orders"`},
		{"conflict list --limit 0", "--limit is 0; it can be 1 to 1000"},
		{"conflict list --limit 1001", "--limit is 1001"},
		{"conflict list --since -1h", "--since is -1h0m0s; it must be above zero"},
		{"conflict list --since yesterday", `invalid value "yesterday" for flag -since`},
		{"conflict list --output xml", `--output is "xml"`},
		{"conflict list --admin nowhere", "--admin (or CONCORDAT_ADMIN)"},
		{"conflict show", "show needs a"},
		{"conflict show 1 2", `show takes one ID, not also "2"`},
		{"conflict tail orders", `tail takes flags only, not "orders"`},
		{"conflict tail --since 0s", "--since is 0s"},
		{"conflict tail --output xml", `--output is "xml"`},
		{"conflict stats orders", `stats takes flags only, not "orders"`},
		{"conflict restore", "restore needs a"},
		{"conflict restore 1 --attribute x", "there is no flag --attribute; did you mean --attributes?"},
		{"table set orders --ttl=", "--ttl is an attribute's name, 1 to 255 bytes, or off"},
		{"table set orders --acknowledge peers:4", `--acknowledge is "peers:4"; it can be local, or peers:1 to peers:3`},
		{"table replica", `after "replica" one of these must follow: add, remove`},
		{"table replica add orders", "add needs NAME REGION..."},
		{"table replica add --throttle=fast orders eu", `--throttle: "fast" is no size above zero`},
		{"table replica add orders eu --wait=perhaps", `invalid value "perhaps" for --wait`},
		{"table replica remove orders", "remove needs NAME REGION"},
		{"table replica disassociate orders", "disassociate needs NAME REGION"},
		{"table replica remove orders eu us", `remove takes NAME REGION, not also "us"`},
		{"policy", `after "policy" one of these must follow: plan, apply, get, list, delete, test, history, show, receipts, schema`},
		{"policy plan", "plan needs --file"},
		{"policy plan -f nowhere.yaml", "nowhere.yaml: no such file"},
		{"policy plan -f app_test.go", "app_test.go:\nline"},
		{"policy apply --reason why", "apply needs --file"},
		{"policy get", "get needs a NAME"},
		{"policy delete a", "delete needs --reason"},
		{"policy test EU#1", "test needs --table"},
		{"policy test --table orders {x", "KEY begins like JSON and is none"},
		{"policy test --table orders --sort 1 {}", "KEY has the whole key: leave out --sort"},
		{"policy schema Policy", `KIND is "Policy"; it can be LocalityPolicy or ReplicationPolicy`},
		{"policy list orders", `list takes flags only, not "orders"`},
		{"nats", `after "nats" one of these must follow: accounts`},
		{"nats accounts", "accounts needs --config"},
		{"node", "node needs --config"},
		{"node --config x --log-level loud", `--log-level is "loud"`},
		{"status extra", `status takes flags only, not "extra"`},
		{"status --oputput json", "there is no flag --oputput; did you mean --output?"},
		{"status -q", "there is no flag --q\n"},
		{"--bogus status", "there is no flag --bogus"},
		{"status --output", "flag needs an argument"},
		{"status --output xml", `--output is "xml"; it can be table, json or yaml`},
		{"--output xml status", `--output is "xml"`},
		{"status --admin 127.0.0.1:8080", "--admin (or CONCORDAT_ADMIN)"},
		{"status --interval 1ms", "--interval is 1ms"},
		{"demo --region one=X", "at least two regions"},
	} {
		got := command(t, strings.Fields(tc.args)...)
		if got.status != 2 || !strings.Contains(got.err, tc.want) {
			t.Errorf("concordat %s: status %d, want 2; said %q, want %q in it", tc.args, got.status, got.err, tc.want)
		}
		if got.out != "" {
			t.Errorf("concordat %s: wrote to standard output: %q", tc.args, got.out)
		}
	}
}

func TestFailuresHaveStatusOne(t *testing.T) {
	for _, args := range []string{
		"status --admin http://127.0.0.1:1",
		"node --config /does/not/exist.yaml",
		"nats accounts --config /does/not/exist.yaml",
		"conflict list --admin http://127.0.0.1:1",
		"conflict restore 1 --yes --admin http://127.0.0.1:1",
		"region descriptor --key /does/not/exist --name a --jurisdiction B --id 1",
		"region keygen --out /does/not/exist/key",
	} {
		got := command(t, strings.Fields(args)...)
		if got.status != 1 || got.out != "" || !strings.HasPrefix(got.err, "concordat: ") {
			t.Errorf("concordat %s: %+v, want status 1 and a message", args, got)
		}
	}
}

func TestHelpNamesEveryCommand(t *testing.T) {
	for _, args := range [][]string{nil, {"help"}, {"--help"}} {
		got := command(t, args...)
		if got.status != 0 || got.err != "" {
			t.Errorf("concordat %v: status %d, %q", args, got.status, got.err)
		}
		for _, name := range []string{"demo", "dev", "node", "status", "verify", "repair", "table", "conflict", "stream", "region", "nats", "version"} {
			if !strings.Contains(got.out, "\n   "+name+" ") {
				t.Errorf("concordat %v does not name %s", args, name)
			}
		}
	}
	if got := command(t, "dev", "--help"); got.status != 0 || !strings.Contains(got.out, "--latency") {
		t.Errorf("concordat dev --help: %+v", got)
	}
}

func TestOutputFormats(t *testing.T) {
	type versions struct {
		Version string `json:"version" yaml:"version"`
	}
	for _, args := range [][]string{
		{"version", "--output", "json"},
		{"--output", "json", "version"},
		{"--output", "yaml", "version", "--output=json"}, // the nearest counts
	} {
		got := command(t, args...)
		var v versions
		if err := json.Unmarshal([]byte(got.out), &v); err != nil || v.Version != "1.2.3-test" || got.err != "" || got.status != 0 {
			t.Errorf("concordat %v: %+v, %v", args, got, err)
		}
	}
	var v versions
	if got := command(t, "--output", "yaml", "version"); yaml.Unmarshal([]byte(got.out), &v) != nil || v.Version != "1.2.3-test" || strings.HasPrefix(got.out, "{") {
		t.Errorf("yaml: %+v", got)
	}
	if got := command(t, "version"); !strings.HasPrefix(got.out, "concordat 1.2.3-test (go") {
		t.Errorf("table: %+v", got)
	}
}

func TestAdminFromEnvironment(t *testing.T) {
	t.Setenv("CONCORDAT_ADMIN", "nonsense")
	if got := command(t, "status"); got.status != 2 || !strings.Contains(got.err, `"nonsense"`) {
		t.Errorf("the environment was not looked at: %+v", got)
	}
	for _, args := range [][]string{
		{"status", "--admin", "http://127.0.0.1:1"},
		{"--admin", "http://127.0.0.1:1", "status"},
	} {
		if got := command(t, args...); got.status != 1 || !strings.Contains(got.err, "http://127.0.0.1:1/v1/status") {
			t.Errorf("%v: a flag goes before the environment: %+v", args, got)
		}
	}
}
