package admin_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode/admin"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func config() admin.Config {
	return admin.Config{
		Status: func(context.Context) (admin.Status, error) { return fullStatus(), nil },
		Verify: func(_ context.Context, table string) (admin.Verification, error) { return fullVerification(table), nil },
		Repair: func(_ context.Context, table string) (admin.Verification, error) {
			return fullVerification("repaired " + table), nil
		},
		Regions:  func(context.Context) (admin.Regions, error) { return fullRegions(), nil },
		Fence:    func(context.Context, string) error { return nil },
		Remove:   func(context.Context, string, bool) error { return nil },
		Tables:   new(tables),
		Policies: &policies{}, Triggers: &triggers{},
		AddRegion: func(_ context.Context, descriptor string, valid time.Duration) (admin.Invitation, error) {
			switch descriptor {
			case "known":
				return admin.Invitation{}, &globaltable.Error{Kind: globaltable.Exists, Message: "the number is taken"}
			case "damaged":
				return admin.Invitation{}, &globaltable.Error{Kind: globaltable.Invalid, Message: "no descriptor"}
			}
			return admin.Invitation{Region: "sa-east-1", Origin: 9, World: "1.2", Expires: "2026-01-02T03:04:05Z", Invitation: descriptor + " for " + valid.String()}, nil
		},
		Rebuild:      func(context.Context) (admin.Rebuild, error) { return fullRebuild(), nil },
		RebuildState: fullRebuild,
		Saved:        saved{},
		Conflicts:    &conflicts{},
		Snapshots:    snapshots{},
		TriggerRuns:  triggerRuns{},
		Audit:        new(auditor),
		Streams:      told{},
		Ready:        func() error { return nil },
		Metrics:      http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "concordat_up 1\n") }),
	}
}

// get is ask without a body.
func get(t *testing.T, cfg admin.Config, method, path string) *http.Response {
	t.Helper()
	return ask(t, cfg, method, path, "")
}

// ask asks the server and checks what holds for every answer.
func ask(t *testing.T, cfg admin.Config, method, path, body string) *http.Response {
	t.Helper()
	w := httptest.NewRecorder()
	admin.New(cfg).ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(body)))
	r := w.Result()
	for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"} {
		if got := r.Header.Get(name); got != want {
			t.Errorf("%s %s: %s is %q, want %q", method, path, name, got, want)
		}
	}
	if policy := r.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "default-src 'none'") || !strings.Contains(policy, "frame-ancestors 'none'") {
		t.Errorf("%s %s: content security policy %q", method, path, policy)
	}
	return r
}

func body(t *testing.T, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func message(t *testing.T, r *http.Response) string {
	t.Helper()
	var e admin.Error
	if err := json.Unmarshal([]byte(body(t, r)), &e); err != nil {
		t.Error(err)
	}
	return e.Message
}

func TestPaths(t *testing.T) {
	for path, want := range map[string]struct{ contentType, text string }{
		"/v1/status":       {"application/json", `"us-east-1"`},
		"/v1/verify":       {"application/json", `"diverged"`},
		"/v1/regions":      {"application/json", `"ap-south-1"`},
		"/v1/openapi.json": {"application/json", `"openapi": "3.1.0"`},
		"/healthz":         {"application/json", `"ok"`},
		"/readyz":          {"application/json", `"ready"`},
		"/metrics":         {"text/plain; charset=utf-8", "concordat_up 1"},
		"/":                {"text/html; charset=utf-8", "<html"},
	} {
		r := get(t, config(), http.MethodGet, path)
		if got := body(t, r); r.StatusCode != http.StatusOK || !strings.Contains(got, want.text) {
			t.Errorf("%s: %d %.200s", path, r.StatusCode, got)
		}
		if got := r.Header.Get("Content-Type"); got != want.contentType && path != "/metrics" {
			t.Errorf("%s: content type %q, want %q", path, got, want.contentType)
		}
		if r := get(t, config(), http.MethodHead, path); r.StatusCode != http.StatusOK {
			t.Errorf("HEAD %s: %d", path, r.StatusCode)
		}
		wrong, allowed := []string{http.MethodPost, http.MethodPut, http.MethodDelete, "TRACE"}, "GET, HEAD"
		if path == "/v1/regions" {
			wrong, allowed = wrong[1:], "GET, HEAD, POST"
		}
		for _, method := range wrong {
			r := get(t, config(), method, path)
			if got := message(t, r); r.StatusCode != http.StatusMethodNotAllowed || r.Header.Get("Allow") != allowed || !strings.Contains(got, method) {
				t.Errorf("%s %s: %d %v %s", method, path, r.StatusCode, r.Header, got)
			}
		}
	}
	for _, path := range []string{"/v1", "/v1/status/", "/v2/status", "/favicon.ico", "/metrics/x"} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			r := get(t, config(), method, path)
			if got := message(t, r); r.StatusCode != http.StatusNotFound || !strings.Contains(got, method+" "+path) || !strings.Contains(got, "/v1/openapi.json") {
				t.Errorf("%s %s: %d %s", method, path, r.StatusCode, got)
			}
		}
	}
}

func TestVerifyAndRepair(t *testing.T) {
	if got := body(t, get(t, config(), http.MethodGet, "/v1/verify?table=a.b-c")); !strings.Contains(got, `"a.b-c"`) {
		t.Error(got)
	}
	if got := body(t, get(t, config(), http.MethodPost, "/v1/repair?table=abc")); !strings.Contains(got, `"repaired abc"`) {
		t.Error(got)
	}
	r := get(t, config(), http.MethodGet, "/v1/repair")
	if r.StatusCode != http.StatusMethodNotAllowed || r.Header.Get("Allow") != "POST" {
		t.Error(r.StatusCode, r.Header)
	}
	for kind, want := range map[globaltable.Kind]int{globaltable.NotFound: 404, globaltable.InUse: 409, globaltable.Unavailable: 503} {
		cfg := config()
		cfg.Verify = func(context.Context, string) (admin.Verification, error) {
			return admin.Verification{}, &globaltable.Error{Op: "verify", Kind: kind, Message: "why"}
		}
		if r := get(t, cfg, http.MethodGet, "/v1/verify"); r.StatusCode != want || message(t, r) != "why" {
			t.Errorf("%v: %d", kind, r.StatusCode)
		}
	}
	// A page of another site cannot repair.
	w, q := httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/v1/repair", nil)
	q.Header.Set("Sec-Fetch-Site", "cross-site")
	admin.New(config()).ServeHTTP(w, q)
	if got := w.Result(); got.StatusCode != http.StatusForbidden || !strings.Contains(message(t, got), "another site") {
		t.Error(got.StatusCode)
	}
}

func TestFenceAndRemove(t *testing.T) {
	var asked []string
	cfg := config()
	cfg.Fence = func(_ context.Context, region string) error {
		asked = append(asked, "fence "+region)
		return nil
	}
	cfg.Remove = func(_ context.Context, region string, force bool) error {
		asked = append(asked, fmt.Sprint("remove ", region, force))
		return nil
	}
	for _, path := range []string{"ap-south-1/fence", "eu-central-1/remove", "eu-central-1/remove?force=true"} {
		if got := body(t, get(t, cfg, http.MethodPost, "/v1/regions/"+path)); !strings.Contains(got, `"pending"`) {
			t.Error(got)
		}
	}
	if !slices.Equal(asked, []string{"fence ap-south-1", "remove eu-central-1false", "remove eu-central-1true"}) {
		t.Error(asked)
	}
	if r := get(t, cfg, http.MethodPost, "/v1/regions/eu-central-1/remove?force=perhaps"); r.StatusCode != http.StatusBadRequest || len(asked) != 3 {
		t.Error(r.StatusCode, asked)
	}
	if r := get(t, cfg, http.MethodGet, "/v1/regions/eu-central-1/fence"); r.StatusCode != http.StatusMethodNotAllowed || r.Header.Get("Allow") != "POST" {
		t.Error(r.StatusCode, r.Header)
	}
	for kind, want := range map[globaltable.Kind]int{globaltable.Invalid: 400, globaltable.Denied: 403, globaltable.Fenced: 403, globaltable.NotFound: 404, globaltable.InUse: 409,
		globaltable.Exists: 409, globaltable.Unavailable: 503} {
		cfg.Fence = func(context.Context, string) error {
			return &globaltable.Error{Op: "fence region", Kind: kind, Message: "why"}
		}
		if r := get(t, cfg, http.MethodPost, "/v1/regions/x/fence"); r.StatusCode != want || message(t, r) != "why" {
			t.Errorf("%v: %d", kind, r.StatusCode)
		}
	}
}

func TestNotReady(t *testing.T) {
	cfg := config()
	fault := errors.New("the node is starting or stopping")
	cfg.Ready = func() error { return fault }
	cfg.Status = func(context.Context) (admin.Status, error) { return admin.Status{}, fault }
	for _, path := range []string{"/readyz", "/v1/status"} {
		r := get(t, cfg, http.MethodGet, path)
		if got := message(t, r); r.StatusCode != http.StatusServiceUnavailable || got != fault.Error() {
			t.Errorf("%s: %d %s", path, r.StatusCode, got)
		}
	}
	if r := get(t, cfg, http.MethodGet, "/healthz"); r.StatusCode != http.StatusOK {
		t.Errorf("a node that is not ready lives: %d", r.StatusCode)
	}
}

// serve runs a server; stop ends it as a node does, and returns what Serve returned.
func serve(t *testing.T, cfg admin.Config, patience time.Duration) (url string, stop context.CancelFunc, ended <-chan error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- admin.New(cfg).Serve(ctx, ln, patience) }()
	return "http://" + ln.Addr().String(), cancel, done
}

func TestServeLetsOpenRequestsEnd(t *testing.T) {
	cfg := config()
	asked, release := make(chan struct{}), make(chan struct{})
	cfg.Status = func(context.Context) (admin.Status, error) {
		close(asked)
		<-release
		return fullStatus(), nil
	}
	url, stop, ended := serve(t, cfg, time.Minute)
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	answers := make(chan error, 1)
	go func() {
		r, err := client.Get(url + "/v1/status")
		if err == nil {
			_, err = io.Copy(io.Discard, r.Body)
			err = errors.Join(err, r.Body.Close())
		}
		answers <- err
	}()
	<-asked
	stop()
	select {
	case err := <-ended:
		t.Errorf("ended with a request open: %v", err)
	default:
	}
	close(release)
	if err := errors.Join(<-answers, <-ended); err != nil {
		t.Error(err)
	}
	if _, err := client.Get(url + "/healthz"); err == nil {
		t.Error("it still answers")
	}
}

func TestServeLosesPatience(t *testing.T) {
	cfg := config()
	asked := make(chan struct{})
	cfg.Status = func(ctx context.Context) (admin.Status, error) {
		close(asked)
		<-ctx.Done() // the connection's end
		return admin.Status{}, ctx.Err()
	}
	url, stop, ended := serve(t, cfg, time.Millisecond)
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	answers := make(chan error, 1)
	go func() {
		r, err := client.Get(url + "/v1/status")
		if err == nil {
			err = r.Body.Close()
		}
		answers <- err
	}()
	<-asked
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	<-answers // whatever it got
}

func TestServeFailsWithItsListener(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	if err := admin.New(config()).Serve(t.Context(), ln, 0); !errors.Is(err, net.ErrClosed) {
		t.Errorf("error %v", err)
	}
}

func TestAddRegion(t *testing.T) {
	for name, c := range map[string]struct {
		body   string
		status int
		text   string
	}{
		"good":            {`{"descriptor":"new"}`, http.StatusOK, "new for 24h0m0s"},
		"for an hour":     {`{"descriptor":"new","validSeconds":3600}`, http.StatusOK, "new for 1h0m0s"},
		"known":           {`{"descriptor":"known"}`, http.StatusConflict, "the number is taken"},
		"damaged":         {`{"descriptor":"damaged"}`, http.StatusBadRequest, "no descriptor"},
		"no body":         {``, http.StatusBadRequest, "the body must be"},
		"no descriptor":   {`{}`, http.StatusBadRequest, "the body must be"},
		"unknown field":   {`{"descriptor":"new","by":"me"}`, http.StatusBadRequest, "the body must be"},
		"too long a time": {`{"descriptor":"new","validSeconds":2592001}`, http.StatusBadRequest, "the body must be"},
		"negative time":   {`{"descriptor":"new","validSeconds":-1}`, http.StatusBadRequest, "the body must be"},
		"too long a body": {`{"descriptor":"` + strings.Repeat("x", 64<<10) + `"}`, http.StatusBadRequest, "the body must be"},
	} {
		w := httptest.NewRecorder()
		admin.New(config()).ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/v1/regions", strings.NewReader(c.body)))
		if r := w.Result(); r.StatusCode != c.status || !strings.Contains(body(t, r), c.text) {
			t.Errorf("%s: %d %s", name, r.StatusCode, w.Body)
		}
	}
}
