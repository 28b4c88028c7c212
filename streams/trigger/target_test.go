package trigger

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
)

func eventsOf(ids ...string) (out []Event) {
	for i, id := range ids {
		out = append(out, Event{Position: 1, ID: id, Key: item.Key("secret key"), JSON: []byte(`{"id":"` + id + `","n":` + strconv.Itoa(i) + `}`)})
	}
	return out
}

var secrets = map[string][]byte{"hook": []byte("a key of some length")}

func secretOf(name string) ([]byte, bool) { key, ok := secrets[name]; return key, ok }

func TestWebhook(t *testing.T) {
	var asked []*http.Request
	var bodies []string
	answer := func(w http.ResponseWriter) {}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		asked, bodies = append(asked, r), append(bodies, string(b))
		answer(w)
	}))
	defer server.Close()
	w := newWebhook(&globaltable.Webhook{URL: server.URL + "/hook", SecretRef: "hook"}, secretOf)
	defer w.Close()
	ctx := t.Context()
	for range 2 {
		if err := w.Deliver(ctx, eventsOf("a", "b")); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Deliver(ctx, eventsOf("a")); err != nil {
		t.Fatal(err)
	}
	verifier, _ := standardwebhooks.NewWebhookRaw(secrets["hook"])
	for i, r := range asked {
		if err := verifier.Verify([]byte(bodies[i]), r.Header); err != nil || r.Method != http.MethodPost || r.URL.Path != "/hook" || r.Header.Get("Content-Type") != "application/cloudevents-batch+json" {
			t.Errorf("%v: %v", err, r)
		}
	}
	if bodies[0] != `[{"id":"a","n":0},{"id":"b","n":1}]` {
		t.Error(bodies[0])
	}
	ids := []string{asked[0].Header.Get("webhook-id"), asked[1].Header.Get("webhook-id"), asked[2].Header.Get("webhook-id")}
	if ids[0] != ids[1] || ids[0] == ids[2] {
		t.Errorf("ids of batches: %v", ids)
	}

	fails := func(want string, after time.Duration, f func(w http.ResponseWriter)) {
		t.Helper()
		answer = f
		var got *failure
		if err := w.Deliver(ctx, eventsOf("a")); !errors.As(err, &got) || got.text != want || got.after != after {
			t.Errorf("%+v, not %q after %v", got, want, after)
		}
	}
	status := func(code int, header ...string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			for i := 0; i < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			w.WriteHeader(code)
		}
	}
	n := len(asked)
	fails("HTTP status 307", 0, status(307, "Location", server.URL+"/elsewhere"))
	if len(asked) != n+1 {
		t.Error("a redirect was followed")
	}
	fails("HTTP status 410", 0, status(410))
	fails("HTTP status 429", 7*time.Second, status(429, "Retry-After", "7"))
	fails("HTTP status 503", 0, status(503, "Retry-After", "soon"))
	w.now = func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }
	fails("HTTP status 503", 55*time.Second, status(503, "Retry-After", "Fri, 02 Jan 2026 03:05:00 GMT"))
	fails("HTTP status 503", 0, status(503, "Retry-After", "Fri, 02 Jan 2026 03:00:00 GMT"))
	w.ref = "other"
	n = len(asked)
	fails("this region's configuration has no secret of the name other", 0, status(200))
	if len(asked) != n {
		t.Error("it was told without a signature")
	}
	w.ref = ""
	answer = func(http.ResponseWriter) {}
	if err := w.Deliver(ctx, eventsOf("a")); err != nil || asked[len(asked)-1].Header.Get("webhook-signature") != "" {
		t.Errorf("%v", err)
	}
}

func TestWebhookThatDoesNotAnswer(t *testing.T) {
	gone := httptest.NewServer(nil)
	gone.Close()
	stuck := make(chan struct{})
	silent := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-stuck }))
	defer silent.Close()
	defer close(stuck)
	for url, want := range map[string]string{gone.URL: "connection refused", silent.URL: "no answer in time", "http://192.0.2.1:9/": "without TLS only this machine is told"} {
		w := newWebhook(&globaltable.Webhook{URL: url + "/path?token=secret"}, secretOf)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		err := w.Deliver(ctx, eventsOf("a"))
		cancel()
		w.Close()
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, not %q", url, err, want)
		}
	}
}

func TestCommand(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "program")
	script := "#!/bin/sh\ncase $1 in\n" +
		"fail) exit 3;;\nhang) sleep 300 & echo $! > " + dir + "/child; wait;;\n" +
		"leave) sleep 300 & echo $! > " + dir + "/child; cat > /dev/null;;\n" +
		"*) cat > " + dir + "/got; echo noise; env > " + dir + "/env;;\nesac\n"
	if err := os.WriteFile(program, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	means := Means{Commands: []string{program}, Region: "eu"}
	run := func(ctx context.Context, args ...string) error {
		target := means.newTarget(&globaltable.Table{Name: "orders"}, &globaltable.Trigger{Name: "search", TriggerSpec: globaltable.TriggerSpec{Target: globaltable.Target{Command: &globaltable.CommandSpec{Path: program, Args: args}}}})
		defer target.Close()
		return target.Deliver(ctx, eventsOf("a", "b"))
	}
	t.Setenv("SECRET_OF_THE_NODE", "x")
	if err := run(t.Context(), "take"); err != nil {
		t.Fatal(err)
	}
	got, _ := os.ReadFile(filepath.Join(dir, "got"))
	env, _ := os.ReadFile(filepath.Join(dir, "env"))
	if string(got) != "{\"id\":\"a\",\"n\":0}\n{\"id\":\"b\",\"n\":1}\n" || strings.Contains(string(env), "SECRET") || !strings.Contains(string(env), "CONCORDAT_TRIGGER=search\n") {
		t.Errorf("%q with %q", got, env)
	}
	if err := run(t.Context(), "fail"); err == nil || err.Error() != "exit status 3" {
		t.Errorf("%v", err)
	}
	means.Commands = nil
	if err := run(t.Context(), "take"); err == nil || !strings.Contains(err.Error(), "does not allow the program") {
		t.Errorf("%v", err)
	}
	means.Commands = []string{program}
	dead := func(what string) {
		t.Helper()
		b, err := os.ReadFile(filepath.Join(dir, "child"))
		if err != nil {
			t.Fatal(err)
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
		if err != nil {
			t.Fatal(err)
		}
		for range 1_000_000 { // it was killed before Deliver has returned, and has to be taken from the system by who adopts it
			if err := syscall.Kill(pid, 0); errors.Is(err, syscall.ESRCH) || zombie(pid) {
				return
			}
			runtime.Gosched()
		}
		t.Errorf("%s: its child lives", what)
	}
	if err := run(t.Context(), "leave"); err != nil {
		t.Errorf("%v", err)
	}
	dead("a program that leaves a child behind")
	if err := os.Remove(filepath.Join(dir, "child")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- run(ctx, "hang") }()
	for {
		if b, err := os.ReadFile(filepath.Join(dir, "child")); err == nil && len(b) > 1 {
			break
		}
		runtime.Gosched()
	}
	cancel()
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "given up") {
		t.Errorf("%v", err)
	}
	dead("a program that hangs")
}

// zombie reports whether a process has ended, and nobody has taken note.
func zombie(pid int) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return strings.HasPrefix(rest, "Z")
}
