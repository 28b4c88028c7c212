package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/concordat-db/concordat/cli/bench"
)

// tinyBench is a run that shows that everything is measured. Its figures mean nothing.
var tinyBench = []string{"bench", "--output", "json", "--items", "300", "--connections", "8", "--duration", "200ms"}

func TestBenchFlagFaults(t *testing.T) {
	for args, wants := range map[string][]string{
		"--items 0":                   {"0 items: it can be 1 to"},
		"--connections 0":             {"0 connections: it can be 1 to"},
		"--duration 0s":               {"duration 0s"},
		"--duration 1h":               {"at most 5m0s"},
		"--regions 4":                 {"--regions is 4; it can be 1 to 3"},
		"--only speed":                {`no measure "speed"; there are put, get, replicated, join, drain, lag`},
		"--against dynalite=http://x": {`"dynalite=http://x" is not KIND=WHERE with a kind of dynamodb, redis`},
		"--against dynamodb=x":        {`"x" is not a URL`},
		"--against redis=x":           {`"x" is not HOST:PORT`},
		"--against postgres=host=a,replica=port=x": {"the replica's is not a connection string"},
		"--endpoint http://x":                      {`"http://x" is not DYNAMODB=ADMIN`},
		"--endpoint http://x --regions 2":          {"--regions is for a world of its own"},
		"--endpoint a=b --ready-file x":            {"exclude each other", `"a=b"`},
		"--items -1 --regions 0 --only no":         {"-1 items", "--regions is 0", `"no"`}, // all at once
	} {
		got := command(t, append([]string{"bench"}, strings.Fields(args)...)...)
		if got.status != 2 {
			t.Errorf("%s: %+v", args, got)
		}
		for _, want := range wants {
			if !strings.Contains(got.err, want) {
				t.Errorf("%s: no %q in %s", args, want, got.err)
			}
		}
	}
}

func TestBenchRefusesWhatItCannotDo(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ready.json")
	if err := os.WriteFile(file, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	for args, want := range map[string]string{
		"--ready-file " + file:        "is no ready file",
		"--ready-file " + file + ".x": "no such file",
		"--data " + file:              "not a directory",
	} {
		if got := command(t, append([]string{"bench"}, strings.Fields(args)...)...); got.status != 1 || !strings.Contains(got.err, want) || got.out != "" {
			t.Errorf("%s: %+v", args, got)
		}
	}
}

// checkBench checks that the report has these measures and limits, and that no figure is impossible.
func checkBench(t *testing.T, got result, measures, limits string) (r bench.Report) {
	t.Helper()
	if got.status != 0 {
		t.Fatal(got.err)
	}
	if err := json.Unmarshal([]byte(got.out), &r); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range r.Measures {
		names = append(names, m.Name)
		checkFigures(t, m.Name, m.Figures)
		for _, s := range m.Shares {
			if hasCPU := m.CPUMicros != nil; hasCPU != (s.CPU != nil) || hasCPU && *s.CPU <= 0 {
				t.Errorf("%s: %+v", m.Name, s)
			}
			if s.Ratio <= 0 || !strings.Contains(limits, s.Limit) {
				t.Errorf("%s: %+v", m.Name, s)
			}
		}
	}
	if list := strings.Join(names, " "); list != measures {
		t.Errorf("measures %s, want %s", list, measures)
	}
	names = nil
	for _, l := range r.Limits {
		names = append(names, l.Name)
		checkFigures(t, l.Name, l.Figures)
		if ofWorld := strings.HasSuffix(l.Name, "-none"); (!ofWorld || r.Own) && (l.CPUMicros == nil || *l.CPUMicros <= 0) {
			t.Errorf("%s: no processor time", l.Name)
		}
	}
	if list := strings.Join(names, " "); list != limits {
		t.Errorf("limits %s, want %s", list, limits)
	}
	if r.Seconds <= 0 || r.Machine.Cores < 1 || r.ItemBytes != 1024 || r.Items != 300 || r.Connections != 8 {
		t.Errorf("%+v", r)
	}
	return r
}

func checkFigures(t *testing.T, name string, f bench.Figures) {
	t.Helper()
	if f.Operations <= 0 || f.Seconds <= 0 || f.PerSecond <= 0 {
		t.Errorf("%s: %+v", name, f)
	}
	if (f.P50Millis == nil) != (f.P99Millis == nil) || f.P50Millis != nil && (*f.P50Millis <= 0 || *f.P99Millis < *f.P50Millis) {
		t.Errorf("%s: latencies %v, %v", name, f.P50Millis, f.P99Millis)
	}
}

// A world of its own: every measure, every limit, and nothing left behind.
func TestBenchOwnWorld(t *testing.T) {
	dir := t.TempDir()
	profile := filepath.Join(t.TempDir(), "cpu")
	r := checkBench(t, command(t, append(tinyBench, "--data", dir, "--cpu-profile", profile)...),
		"put get put-replicated replicated join drain put-steady lag ycsb-a ycsb-b ycsb-c ycsb-f ycsb-d stream stream-replicated", "pebble-commit http-echo jetstream pebble-apply-pages pebble-apply jetstream-delivery stream-none stream-replicated-none")
	if !r.Own || len(r.Regions) != 2 || len(r.Against) != 0 {
		t.Errorf("%+v", r)
	}
	for _, m := range r.Measures {
		switch m.Name {
		case "put-replicated", "lag": // their work is told with the rows that follow and precede them
		default:
			if m.CPUMicros == nil || *m.CPUMicros <= 0 {
				t.Errorf("%s: no processor time", m.Name)
			}
		}
		if hasLatency := m.Name != "replicated" && m.Name != "stream-replicated" && m.Name != "join" && m.Name != "drain"; hasLatency != (m.P50Millis != nil) {
			t.Errorf("%s: %v", m.Name, m.P50Millis)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if info, err := os.Stat(profile); err != nil || info.Size() == 0 {
		t.Errorf("profile: %v, %v", info, err)
	}
}

// A running world, by its ready file and by its endpoints, beside another endpoint. Its tables go again.
func TestBenchRunningWorld(t *testing.T) {
	d := startDev(t, "--region", "north=NO", "--region", "south=ZA")
	north, south := d.ready.Regions[0], d.ready.Regions[1]
	r := checkBench(t, command(t, append(tinyBench, "--ready-file", d.file, "--against", "dynamodb="+south.DynamoDB)...),
		"put get put-replicated replicated join put-steady lag ycsb-a ycsb-b ycsb-c ycsb-f ycsb-d stream stream-replicated", "pebble-commit http-echo jetstream pebble-apply-pages jetstream-delivery stream-none stream-replicated-none")
	if r.Own || len(r.Regions) != 2 || r.Regions[0] != "north" || len(r.Against) != 1 || len(r.Against[0].Rows) != 7 || r.Against[0].At != south.DynamoDB {
		t.Fatalf("%+v", r)
	}
	for i, row := range r.Against[0].Rows {
		checkFigures(t, row.Measure, row.Theirs)
		if want := strings.Fields("put get ycsb-a ycsb-b ycsb-c ycsb-f ycsb-d")[i]; row.Measure != want || row.Times <= 0 {
			t.Errorf("%+v", row)
		}
	}
	for _, m := range r.Measures {
		if m.CPUMicros != nil || m.DiskBytes != nil {
			t.Errorf("%s: this process's work is not the regions'", m.Name)
		}
	}

	only := append(tinyBench, "--only", "lag", "--no-limits", "--endpoint", south.DynamoDB+"="+south.Admin, "--endpoint", north.DynamoDB+"="+north.Admin)
	if r := checkBench(t, command(t, only...), "put-steady lag", ""); len(r.Regions) != 2 || r.Regions[0] != "south" {
		t.Errorf("%+v", r.Regions)
	}

	for i := range d.ready.Regions {
		out, err := d.client(i).ListTables(t.Context(), &dynamodb.ListTablesInput{})
		if err != nil || len(out.TableNames) != 0 {
			t.Errorf("tables left in %s: %v, %v", d.ready.Regions[i].Name, out.TableNames, err)
		}
	}
}

// A large table beside a small one: only where it is asked for.
func TestBenchScale(t *testing.T) {
	r := checkBench(t, command(t, append(tinyBench, "--regions", "1", "--only", "scale")...), "scale-put scale-get", "put-of-3 get-of-3")
	for _, m := range r.Measures {
		if len(m.Shares) != 1 || m.Shares[0].Ratio <= 0 || m.Shares[0].CPU == nil {
			t.Errorf("%s: %+v", m.Name, m.Shares)
		}
	}
}

// People get a table with the same rows.
func TestBenchTable(t *testing.T) {
	got := command(t, "bench", "--regions", "1", "--items", "300", "--duration", "100ms", "--only", "put,get")
	if got.status != 0 {
		t.Fatal(got.err)
	}
	for _, want := range []string{"us-east-1: 64 connections, items of 1024 bytes", "load average", "share one process", "PutItem, table of one region",
		"GetItem", "of pebble-commit", "of http-echo"} {
		if !strings.Contains(got.out, want) {
			t.Errorf("no %q in\n%s", want, got.out)
		}
	}
}
