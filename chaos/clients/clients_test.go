// Package clients has programs as applications write them, in several languages, do every operation of the API against real regions.
package clients

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/concordat-db/concordat/regionnode/world"
)

// patience bounds a program. It is reached only by one that hangs.
const patience = 5 * time.Minute

// startWorld runs two regions in this process.
func startWorld(t *testing.T) world.Ready {
	t.Helper()
	w, err := world.Open(world.Config{Regions: world.DefaultRegions()[:2], DataDir: t.TempDir(), Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ready, ended := make(chan world.Ready, 1), make(chan error, 1)
	go func() { ended <- w.Run(ctx, func(r world.Ready) { ready <- r }) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the world ended with %v", err)
		}
	})
	select {
	case r := <-ready:
		return r
	case err := <-ended:
		ended <- err
		t.FailNow()
		return world.Ready{}
	}
}

// run runs a program and fails with what it printed.
func run(t *testing.T, dir string, env []string, program string, args ...string) string {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), patience)
	defer stop()
	c := exec.CommandContext(ctx, program, args...)
	c.Dir, c.Env = dir, append(os.Environ(), env...)
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	if err := c.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, out.String())
	}
	return out.String()
}

// needs skips the test where a program is missing.
func needs(t *testing.T, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("%s is not installed", p)
		}
	}
}

// The AWS SDK for JavaScript v3 is installed for the test; where it cannot be had, the test is skipped.
func TestJavaScript(t *testing.T) {
	needs(t, "node", "npm")
	dir := t.TempDir()
	for _, name := range []string{"every-operation.mjs", "package.json"} {
		b, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	install := exec.CommandContext(t.Context(), "npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline")
	install.Dir = dir
	if out, err := install.CombinedOutput(); err != nil {
		t.Skipf("the AWS SDK for JavaScript cannot be installed: %v\n%s", err, out)
	}
	r := startWorld(t).Regions
	out := run(t, dir, nil, "node", "every-operation.mjs", r[0].Name, r[0].DynamoDB, r[1].Name, r[1].DynamoDB)
	t.Log(out)
}

// The AWS CLI does every operation, as a shell script.
func TestCommandLine(t *testing.T) {
	needs(t, "aws", "bash")
	script, err := filepath.Abs(filepath.Join("testdata", "every-operation.sh"))
	if err != nil {
		t.Fatal(err)
	}
	r := startWorld(t).Regions
	env := []string{"AWS_ACCESS_KEY_ID=app", "AWS_SECRET_ACCESS_KEY=secret", "AWS_PAGER=", "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null"}
	t.Log(run(t, t.TempDir(), env, "bash", script, r[0].Name, r[0].DynamoDB, r[1].Name, r[1].DynamoDB))
}
