package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	ucli "github.com/urfave/cli/v2"

	"github.com/concordat-db/concordat/regionnode/world"
)

// worldOf reads flags as dev does.
func worldOf(t *testing.T, args ...string) (cfg world.Config, err error) {
	t.Helper()
	app := &ucli.App{Flags: worldFlags(), ExitErrHandler: func(*ucli.Context, error) {}, Action: func(c *ucli.Context) (err error) {
		cfg, err = worldConfig(c)
		return err
	}}
	err = app.RunContext(t.Context(), append([]string{"dev"}, args...))
	return cfg, err
}

func TestWorldFlags(t *testing.T) {
	cfg, err := worldOf(t)
	if err != nil || len(cfg.Regions) != 3 || cfg.Port != 8000 || cfg.AdminPort != 8080 || cfg.NATSPort != 4222 || len(cfg.Latency) != 0 || cfg.DataDir != "" {
		t.Errorf("defaults: %+v, %v", cfg, err)
	}
	cfg, err = worldOf(t, "--region", "north=NO", "--region", "south=ZA", "--latency", "south:north=80ms", "--data", "d", "--port", "0", "--admin-port", "0", "--nats-port", "0")
	want := world.Region{Name: "north", Jurisdiction: "NO"}
	if err != nil || len(cfg.Regions) != 2 || cfg.Regions[0] != want || cfg.Latency[world.Pair{A: "south", B: "north"}] != 80*time.Millisecond || cfg.DataDir != "d" {
		t.Errorf("%+v, %v", cfg, err)
	}
	cfg.DataDir = t.TempDir()
	if err := cfg.Validate(); err != nil {
		t.Errorf("what the flags say is refused by the world: %v", err)
	}
}

func TestWorldFlagFaults(t *testing.T) {
	for args, wants := range map[string][]string{
		"--region north":                           {`"north" is not NAME=JURISDICTION`},
		"--region North=NO":                        {`"North=NO"`},
		"--region north=no":                        {`"north=no"`, "jurisdiction has"},
		"--region a=X --region a=Y":                {"a is given twice"},
		"--latency us-east-1:eu-central-1":         {"is not A:B=DELAY"},
		"--latency us-east-1=1ms":                  {"is not A:B=DELAY"},
		"--latency us-east-1:us-east-1=1ms":        {"is not A:B=DELAY"},
		"--latency us-east-1:mars=1ms":             {"the regions are ap-south-1, eu-central-1, us-east-1"},
		"--latency us-east-1:eu-central-1=-1ms":    {"0s to 1m"},
		"--latency us-east-1:eu-central-1=soon":    {"0s to 1m"},
		"--port 65534":                             {"--port is 65534"},
		"--port -1":                                {"--port is -1"},
		"--port 8079":                              {"--port 8079 and --admin-port 8080: their 3 ports overlap"},
		"--port 99999 --latency x --region north=": {"--port is 99999", `"x" is not`, `"north="`}, // all at once
	} {
		_, err := worldOf(t, strings.Fields(args)...)
		if err == nil {
			t.Errorf("%s: no error", args)
			continue
		}
		for _, want := range wants {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: no %q in %v", args, want, err)
			}
		}
		if got := command(t, append([]string{"dev"}, strings.Fields(args)...)...); got.status != 2 {
			t.Errorf("dev %s: status %d", args, got.status)
		}
	}
}

func TestWriteWhole(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "ready.json")
	for _, text := range []string{"first", "second"} {
		if err := writeWhole(file, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(file); err != nil || string(b) != text {
			t.Errorf("%q, %v", b, err)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
	if err := writeWhole(filepath.Join(dir, "no", "ready.json"), nil); err == nil {
		t.Error("wrote into a folder that does not exist")
	}
}
