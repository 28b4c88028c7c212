package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/valyala/fasthttp"
	"github.com/valyala/fasthttp/fasthttputil"

	"github.com/concordat-db/concordat/regionnode/auth"
)

func TestQuantiles(t *testing.T) {
	var s samples
	if p50, p99 := s.quantiles(); p50 != nil || p99 != nil {
		t.Errorf("of nothing: %v, %v", p50, p99)
	}
	s.add(7 * time.Millisecond)
	if p50, p99 := s.quantiles(); *p50 != 7 || *p99 != 7 {
		t.Errorf("of one: %v, %v", *p50, *p99)
	}
	s = samples{}
	for i := 200; i > 0; i-- {
		s.add(time.Duration(i) * time.Millisecond)
	}
	if p50, p99 := s.quantiles(); *p50 != 100 || *p99 != 198 {
		t.Errorf("of 1 to 200: %v, %v", *p50, *p99)
	}
	s = samples{}
	s.add(0, time.Nanosecond, 1000*time.Hour)
	if p50, p99 := s.quantiles(); *p50 != 0.001 || *p99 != float64(1<<32-1)/1000 {
		t.Errorf("at the ends: %v, %v", *p50, *p99)
	}
}

// An item has the size that the report claims, and its request is what a DynamoDB endpoint reads.
func TestItem(t *testing.T) {
	values, err := newTexts()
	if err != nil {
		t.Fatal(err)
	}
	var body struct {
		TableName string
		Item      map[string]struct{ S string }
	}
	for _, i := range []int64{0, 1, 8137, MaxItems, 1 << 40} {
		if err := json.Unmarshal(appendPut(nil, "things", i, values), &body); err != nil || body.TableName != "things" || len(body.Item) != 2 {
			t.Fatalf("item %d: %+v, %v", i, body, err)
		}
		size := 0
		for name, value := range body.Item {
			size += len(name) + len(value.S)
		}
		if size != itemBytes {
			t.Errorf("item %d has %d bytes", i, size)
		}
	}
	if a, b := values.value(1), values.value(2); bytes.Equal(a, b) || !bytes.Equal(a, values.value(1)) {
		t.Error("values are not as they should be: different for different items, always the same for one")
	}
}

// A group of changes does not get smaller on its way: else the bench would measure the compression.
func TestValuesDoNotCompress(t *testing.T) {
	values, err := newTexts()
	if err != nil {
		t.Fatal(err)
	}
	var group []byte
	for i := range int64(4096) {
		group = append(group, values.value(i)...)
	}
	if c := s2.Encode(nil, group); len(c) < len(group)-len(group)/8 {
		t.Errorf("%d bytes became %d", len(group), len(c))
	}
}

func TestLoad(t *testing.T) {
	var mu sync.Mutex
	var seen []int64
	s, err := load(t.Context(), 4, time.Hour, 1000, func(worker int, i int64) error {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, i)
		if worker < 0 || worker > 3 {
			t.Errorf("worker %d", worker)
		}
		return nil
	})
	slices.Sort(seen)
	if err != nil || len(s.all) != 1000 || len(seen) != 1000 || seen[0] != 0 || seen[999] != 999 || len(slices.Compact(seen)) != 1000 {
		t.Errorf("%d samples of %d operations, %v", len(s.all), len(seen), err)
	}
	if s, err := load(t.Context(), 4, time.Millisecond, 0, func(int, int64) error { return nil }); err != nil || len(s.all) == 0 {
		t.Errorf("until the time is over: %d samples, %v", len(s.all), err)
	}
	if s, err := load(t.Context(), 4, 0, 0, func(int, int64) error { return nil }); err != nil || len(s.all) != 4 {
		t.Errorf("without time: %d samples, %v, want one of each worker", len(s.all), err)
	}
	failure := errors.New("failure")
	if _, err := load(t.Context(), 4, time.Hour, 0, func(_ int, i int64) error {
		if i == 10 {
			return failure
		}
		return nil
	}); !errors.Is(err, failure) {
		t.Errorf("%v, want the operation's error", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := load(ctx, 4, time.Hour, 0, func(int, int64) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want the context's error", err)
	}
}

func TestPaced(t *testing.T) {
	var mu sync.Mutex
	var seen []int64
	note := func(_ context.Context, i int64) error {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, i)
		return nil
	}
	n, err := paced(t.Context(), 1000, 20*time.Millisecond, note)
	slices.Sort(seen)
	if err != nil || n != 20 || len(seen) != 20 || seen[0] != 0 || seen[19] != 19 {
		t.Errorf("%d, %v, %v", n, seen, err)
	}
	if n, err := paced(t.Context(), 1, time.Nanosecond, note); n != 1 || err != nil {
		t.Errorf("%d, %v, want one operation at least", n, err)
	}
	failure := errors.New("failure")
	if _, err := paced(t.Context(), 1000, time.Hour, func(context.Context, int64) error { return failure }); !errors.Is(err, failure) {
		t.Errorf("%v, want the operation's error", err)
	}
}

func TestPatiently(t *testing.T) {
	never := func() (bool, error) { return false, nil }
	if err := patiently(t.Context(), time.Millisecond, time.Microsecond, "the end", never); err == nil || !strings.Contains(err.Error(), "the end: not within 1ms") {
		t.Error(err)
	}
	failure := errors.New("failure")
	if err := patiently(t.Context(), time.Hour, time.Hour, "it", func() (bool, error) { return false, failure }); !errors.Is(err, failure) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := patiently(ctx, time.Hour, time.Hour, "it", never); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func valid() Config {
	return Config{Regions: []Region{{"a", "http://127.0.0.1:1"}, {"b", "http://127.0.0.1:2"}}, Items: 1, Connections: 1, Duration: time.Second,
		Count: func(context.Context, string, string) (int64, error) { return 0, nil }, Dir: ".", Wait: time.Second, Tell: io.Discard}
}

func TestConfig(t *testing.T) {
	c := valid()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	for _, name := range Measures() {
		if can := name != Drain && name != Scale; c.takes(name) != can {
			t.Errorf("%s with two regions, which cannot be cut off, and nothing asked for: %v", name, !can)
		}
	}
	c.Cut, c.Heal, c.Only = func(string) {}, func(string) {}, []string{Drain}
	if !c.takes(Drain) || c.takes(Put) {
		t.Error("drain only")
	}
	c.Only = []string{Scale}
	if !c.takes(Scale) || c.takes(Put) {
		t.Error("scale only")
	}
	c.Regions, c.Only = c.Regions[:1], nil
	if !c.takes(Put) || !c.takes(Get) || c.takes(Join) || c.takes(Replicated) || c.takes(Drain) || c.takes(Lag) {
		t.Error("one region")
	}
	for want, change := range map[string]func(*Config){
		"no regions":                       func(c *Config) { c.Regions = nil },
		`"127.0.0.1:1" is not a URL`:       func(c *Config) { c.Regions[0].DynamoDB = "127.0.0.1:1" },
		"against dynamodb":                 func(c *Config) { c.Against = []Target{{Kind: DynamoDB, At: "ftp://y"}} },
		"against mongo: no such kind":      func(c *Config) { c.Against = []Target{{Kind: "mongo", At: "http://y"}} },
		`"y" is not HOST:PORT`:             func(c *Config) { c.Against = []Target{{Kind: Redis, At: "y"}} },
		"against etcd":                     func(c *Config) { c.Against = []Target{{Kind: Etcd, At: "127.0.0.1:2379"}} },
		"not a connection string":          func(c *Config) { c.Against = []Target{{Kind: Postgres, At: "port=none"}} },
		"the replica's is not":             func(c *Config) { c.Against = []Target{{Kind: Postgres, At: "host=a", Replica: "port=none"}} },
		"0 items: it can be 1 to":          func(c *Config) { c.Items = 0 },
		"5000 connections: it can be 1 to": func(c *Config) { c.Connections = 5000 },
		"duration 1h0m0s":                  func(c *Config) { c.Duration = time.Hour },
		`no measure "speed"`:               func(c *Config) { c.Only = []string{"speed"} },
		"one of access key and secret":     func(c *Config) { c.Credentials.AccessKey = "a" },
		"one of Cut and Heal is missing":   func(c *Config) { c.Cut = func(string) {} },
		"Count, Tell, Dir or Wait":         func(c *Config) { c.Count = nil },
	} {
		c := valid()
		change(&c)
		if _, err := Run(t.Context(), c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// What is signed passes the regions' own check, as does what is signed after it in the same session; with another secret it does not.
func TestSign(t *testing.T) {
	values, err := newTexts()
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := auth.NewVerifier(auth.Config{Region: "north", Credentials: func(string) (string, bool) { return "secret", true }})
	if err != nil {
		t.Fatal(err)
	}
	answers := make(chan error, 1)
	ln := fasthttputil.NewInmemoryListener()
	server := &fasthttp.Server{Handler: func(c *fasthttp.RequestCtx) {
		h := &c.Request.Header
		_, err := verifier.Verify(&auth.Request{Method: h.Method(), Target: h.RequestURI(), Header: h, Body: c.Request.Body()})
		answers <- err
	}}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ln) }()
	defer func() {
		if err := errors.Join(server.Shutdown(), <-ended); err != nil {
			t.Error(err)
		}
	}()
	for secret, valid := range map[string]bool{"secret": true, "another": false} {
		cfg := Config{Credentials: Credentials{"key", secret}}
		d, err := newDoor("north", "north", "http://127.0.0.1:8000", cfg, 1, values)
		if err != nil {
			t.Fatal(err)
		}
		d.http.Dial = func(string) (net.Conn, error) { return ln.Dial() }
		s, err := d.session()
		if err != nil {
			t.Fatal(err)
		}
		for i := range int64(2) {
			if err := s.put("things", i); err != nil {
				t.Fatal(err)
			}
			if err := <-answers; (err == nil) != valid {
				t.Errorf("signed with %q: %v", secret, err)
			}
			if _, err := s.get("things", i); err != nil {
				t.Fatal(err)
			}
			if err := <-answers; (err == nil) != valid {
				t.Errorf("signed with %q: %v", secret, err)
			}
		}
		d.close()
	}
}
