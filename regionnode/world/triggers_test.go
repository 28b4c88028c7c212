package world

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/trigger"
	"github.com/concordat-db/concordat/regionnode"
	"github.com/concordat-db/concordat/regionnode/admin"
)

var hookKey = []byte("a key of thirty-two bytes, or so")

// hooked is an event as a hook gets it.
type hooked struct {
	ID, Type, Origin, Region, Sequence, Kind string
	KeyHash                                  string
	Data                                     struct {
		Keys, Old, New map[string]map[string]string
	}
}

// name says what happened to which item.
func (e *hooked) name() string {
	return strings.TrimPrefix(e.Type, "concordat.item.") + " " + e.Data.Keys["id"]["S"] + " " + e.Data.New["v"]["S"]
}

// hook is a webhook: it keeps what it was told.
type hook struct {
	*httptest.Server
	t *testing.T

	mu     sync.Mutex
	events []hooked
	status int                   // what it answers instead; 0: success
	refuse func(e *hooked) bool  // batches with such an event are refused; nil: none
	before func(r *http.Request) // nil: nothing
}

func newHook(t *testing.T) *hook {
	h := &hook{t: t}
	h.Server = httptest.NewServer(h)
	t.Cleanup(h.Close)
	return h
}

func (h *hook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // whoever asked has gone
	}
	verifier, _ := standardwebhooks.NewWebhookRaw(hookKey)
	if err := verifier.Verify(body, r.Header); err != nil || r.Header.Get("Content-Type") != "application/cloudevents-batch+json" {
		h.t.Errorf("%v: %v", err, r.Header)
	}
	var events []hooked
	if err := json.Unmarshal(body, &events); err != nil {
		h.t.Errorf("%s: %v", body, err)
	}
	h.mu.Lock()
	before := h.before
	h.mu.Unlock()
	if before != nil {
		before(r)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.status != 0 || h.refuse != nil && slices.ContainsFunc(events, func(e hooked) bool { return h.refuse(&e) }) {
		w.WriteHeader(max(h.status, http.StatusServiceUnavailable))
		return
	}
	h.events = append(h.events, events...)
}

func (h *hook) set(f func(h *hook)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f(h)
}

// told returns what it was told, and how often it was told an event that it had been told.
func (h *hook) told() (events []hooked, again int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	seen := map[string]bool{}
	for _, e := range h.events {
		if seen[e.ID] {
			again++
		}
		seen[e.ID] = true
	}
	return slices.Clone(h.events), again
}

// names returns how often it was told what.
func (h *hook) names() map[string]int {
	events, _ := h.told()
	out := map[string]int{}
	for _, e := range events {
		out[e.name()]++
	}
	return out
}

// ordered checks that of the events of a key that a region tells none is told first after a later one.
func (h *hook) ordered() {
	h.t.Helper()
	events, _ := h.told()
	newest, seen := map[string]string{}, map[string]bool{}
	for _, e := range events {
		at := e.Region + e.KeyHash
		if !seen[e.ID] && newest[at] > e.Sequence {
			h.t.Errorf("%s was told after a later one of its key", e.name())
		}
		seen[e.ID], newest[at] = true, max(newest[at], e.Sequence)
	}
}

// post sends a body to a region's admin API.
func (r *running) post(region, path string, body, into any) {
	r.t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, g := range r.ready.Regions {
		if g.Name != region {
			continue
		}
		answer, err := r.http.Post(g.Admin+path, "application/json", bytes.NewReader(b))
		if err != nil {
			r.t.Fatal(err)
		}
		text, err := io.ReadAll(answer.Body)
		if err = errors.Join(err, answer.Body.Close()); err != nil || answer.StatusCode != http.StatusOK {
			r.t.Fatalf("%s: %d %s %v", path, answer.StatusCode, text, err)
		}
		if err := json.Unmarshal(text, into); err != nil {
			r.t.Fatal(err)
		}
	}
}

// stream switches the table's stream on, and waits until all regions know.
func (r *running) stream(region string, others ...string) {
	r.t.Helper()
	r.until("the stream can be switched on", func() bool {
		return r.update(region, dynamodb.UpdateTableInput{StreamSpecification: &types.StreamSpecification{StreamEnabled: aws.Bool(true), StreamViewType: types.StreamViewTypeNewAndOldImages}}) == nil
	})
	r.until("the stream is on", func() bool {
		return !slices.ContainsFunc(append(others, region), func(g string) bool {
			d := r.describe(g)
			return d.StreamSpecification == nil || d.TableStatus != types.TableStatusActive
		})
	})
}

// applyTrigger applies a trigger of the table in a region, and waits until the regions work on it.
func (r *running) applyTrigger(region, name, spec string, others ...string) {
	r.t.Helper()
	documents, err := trigger.Parse([]byte(fmt.Sprintf("apiVersion: concordat/v1\nkind: Trigger\nmetadata: {name: %s}\nspec: {table: %s, %s}\n", name, tableName, spec)))
	if err != nil {
		r.t.Fatal(err)
	}
	var steps admin.TriggerSteps
	r.post(region, "/v1/triggers/apply", admin.TriggerRequest{Documents: documents, Author: "me"}, &steps)
	for _, g := range append(others, region) {
		r.until(g+" works on the trigger", func() bool { return len(r.triggerStats(g, name).Feeds) > 0 })
	}
}

func (r *running) triggerStats(region, name string) admin.TriggerRun {
	r.t.Helper()
	var stats admin.TriggerStats
	if r.admin(http.MethodGet, region, "/v1/triggers/stats", &stats) != http.StatusOK {
		return admin.TriggerRun{}
	}
	for _, run := range stats.Triggers {
		if run.Name == name {
			return run
		}
	}
	return admin.TriggerRun{}
}

// fires returns which regions say that they fire a trigger.
func (r *running) fires(name string) (out []string) {
	for _, g := range r.ready.Regions {
		if slices.ContainsFunc(r.triggerStats(g.Name, name).Feeds, func(f admin.TriggerRow) bool { return f.Fires }) {
			out = append(out, g.Name)
		}
	}
	return out
}

func triggersConfig(t testing.TB) Config {
	cfg := config(t)
	cfg.Triggers = regionnode.TriggersConfig{Secrets: map[string][]byte{"hook-key": hookKey}, Reach: 2 * time.Second}
	return cfg
}

func webhookTo(h *hook, more string) string {
	return "target: {webhook: {url: '" + h.URL + "/hook', secretRef: hook-key}}" + more
}

// TestTriggerFiresWhereItWasWritten: once for each write over three regions, deletes and expiry too.
func TestTriggerFiresWhereItWasWritten(t *testing.T) {
	t.Parallel()
	w, h := runWorld(t, triggersConfig(t)), newHook(t)
	w.makeTable(us, eu, ap)
	w.stream(us, eu, ap)
	w.put(us, "early", "not told")
	_, err := w.db[us].UpdateTimeToLive(t.Context(), &dynamodb.UpdateTimeToLiveInput{TableName: aws.String(tableName),
		TimeToLiveSpecification: &types.TimeToLiveSpecification{AttributeName: aws.String("until"), Enabled: aws.Bool(true)}})
	if err != nil {
		t.Fatal(err)
	}
	w.applyTrigger(eu, "search", webhookTo(h, ", fire: origin, batch: {size: 7, window: 20ms}"), us, ap)
	want := map[string]string{} // what is to be told → where it was written
	var mu sync.Mutex
	expect := func(name, region string) {
		mu.Lock()
		defer mu.Unlock()
		want[name] = region
	}
	var writers sync.WaitGroup
	for _, region := range []string{us, eu, ap} {
		writers.Go(func() {
			for i := range 40 {
				id := fmt.Sprint(region, i%10)
				v := strconv.Itoa(i)
				w.put(region, id, v)
				switch {
				case i < 10:
					expect("insert "+id+" "+v, region)
				default:
					expect("modify "+id+" "+v, region)
				}
			}
			w.remove(region, region+"3")
			expect("remove "+region+"3 ", region)
			_, err := w.db[region].PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String(tableName), Item: map[string]types.AttributeValue{
				"id": &types.AttributeValueMemberS{Value: region + " mortal"}, "until": &types.AttributeValueMemberN{Value: strconv.FormatInt(time.Now().Unix()+1, 10)}}})
			if err != nil {
				t.Error(err)
			}
			expect("insert "+region+" mortal ", region)
			expect("remove "+region+" mortal ", region)
		})
	}
	writers.Wait()
	w.until("all is told", func() bool {
		got := h.names()
		for name := range want {
			if got[name] == 0 {
				return false
			}
		}
		return true
	})
	events, again := h.told()
	if again > 0 {
		t.Errorf("%d events were told again", again)
	}
	for _, e := range events {
		if want[e.name()] != e.Region || e.Origin != e.Region {
			t.Errorf("%+v", e)
		}
		if mortal := strings.HasSuffix(e.Data.Keys["id"]["S"], "mortal"); mortal && e.Type == "concordat.item.remove" && e.Kind != "expiry" {
			t.Errorf("%+v", e)
		}
	}
	if len(events) != len(want) {
		t.Errorf("%d events, %d writes", len(events), len(want))
	}
	h.ordered()
	for _, region := range []string{us, eu, ap} {
		if s := w.triggerStats(region, "search"); len(s.Feeds) != 1 || s.Feeds[0].Origin != region || s.Feeds[0].Delivered != uint64(len(want)/3) || s.Feeds[0].Filtered == 0 || s.Letters.Count != 0 {
			t.Errorf("%s: %+v", region, s)
		}
	}
	if text := w.metricsOf(us); !strings.Contains(text, `concordat_trigger_events_delivered_total{region="us-east-1",table="orders",trigger="search"}`) && !strings.Contains(text, `concordat_trigger_events_delivered_total{table="orders",trigger="search"}`) {
		t.Error("no metric of the trigger")
	}
}

// TestTriggerOneMoves: one region fires for all, another one when it is cut off, and nothing is skipped.
func TestTriggerOneMoves(t *testing.T) {
	t.Parallel()
	w, h := runWorld(t, triggersConfig(t)), newHook(t)
	w.makeTable(us, eu, ap)
	w.stream(us, eu, ap)
	w.applyTrigger(us, "index", webhookTo(h, ", fire: one, batch: {size: 10, window: 10ms}"), eu, ap)
	w.until("the first one fires", func() bool { return slices.Equal(w.fires("index"), []string{ap}) })
	written := map[string]bool{}
	write := func(when string, regions ...string) {
		t.Helper()
		for i := range 20 {
			for _, region := range regions {
				id := fmt.Sprint(when, " ", region, i)
				w.put(region, id, when)
				written["insert "+id+" "+when] = true
			}
		}
	}
	told := func(when string) {
		t.Helper()
		w.until("all is told that was written "+when, func() bool {
			got := h.names()
			for name := range written {
				if got[name] == 0 {
					return false
				}
			}
			return true
		})
	}
	write("before", us, eu, ap)
	told("before")
	if events, again := h.told(); again > 0 || slices.ContainsFunc(events, func(e hooked) bool { return e.Region != ap }) {
		t.Errorf("%d told again; not all by %s", again, ap)
	}
	w.Cut(ap)
	write("cut", us, eu)
	began := time.Now()
	told("cut")
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("it took %v to move", took)
	}
	if got := w.fires("index"); !slices.Equal(got, []string{eu, ap}) && !slices.Equal(got, []string{ap, eu}) {
		t.Errorf("in the partition these fire: %v", got)
	}
	write("alone", ap) // its own side
	told("alone")
	w.Heal(ap)
	w.until("the first one fires alone again", func() bool { return slices.Equal(w.fires("index"), []string{ap}) })
	write("after", us, eu, ap)
	told("after")
	h.ordered()
}

// TestTriggerDeadLetters: what a target refuses does not hold up the rest, becomes dead letters, and is told after all; pausing, replay, and a restart in between.
func TestTriggerDeadLetters(t *testing.T) {
	t.Parallel()
	cfg := triggersConfig(t)
	cfg.Regions = cfg.Regions[:1]
	w, h := runWorld(t, cfg), newHook(t)
	w.makeTable(us)
	w.stream(us)
	h.set(func(h *hook) { h.refuse = func(e *hooked) bool { return e.Data.Keys["id"]["S"] == "bad" } })
	w.applyTrigger(us, "mail", webhookTo(h, ", batch: {size: 1, window: 1ms}, retry: {attempts: 3, first: 1ms, most: 2ms}"))
	w.put(us, "good", "1")
	w.put(us, "bad", "1")
	w.put(us, "good", "2")
	w.until("the rest is told, and the bad one buried", func() bool {
		s := w.triggerStats(us, "mail")
		return h.names()["modify good 2"] == 1 && s.Letters.Count == 1 && s.Feeds[0].Buried == 1
	})
	s := w.triggerStats(us, "mail")
	if f := s.Feeds[0]; f.Failed != 3 || f.LastError == nil || f.LastError.Error != "HTTP status 503" || f.Delivered != 2 {
		t.Errorf("%+v", f)
	}
	var list admin.DeadLetterList
	if w.admin(http.MethodGet, us, "/v1/triggers/letters?table=orders&trigger=mail&events=true", &list); len(list.Letters) != 1 || list.Letters[0].Attempts != 3 || !strings.Contains(string(list.Letters[0].Event), `"bad"`) {
		t.Fatalf("%+v", list)
	}
	request := admin.DeadLetterRequest{Table: tableName, Trigger: "mail"}
	var redriven admin.Redriven
	if w.post(us, "/v1/triggers/letters/redrive", request, &redriven); redriven != (admin.Redriven{Failed: 1, Error: "HTTP status 503"}) {
		t.Errorf("%+v", redriven)
	}

	// Paused, it keeps what comes; over a restart, too.
	change := admin.TriggerRequest{Pause: []admin.TriggerName{{Table: tableName, Name: "mail"}}, Author: "me"}
	var steps admin.TriggerSteps
	w.post(us, "/v1/triggers/apply", change, &steps)
	w.until("it is paused", func() bool { return len(w.fires("mail")) == 0 })
	w.put(us, "kept", "1")
	w.stop()
	w = runWorld(t, cfg)
	if got := w.fires("mail"); len(got) > 0 || h.names()["insert kept 1"] > 0 {
		t.Errorf("a paused trigger fires in %v", got)
	}
	h.set(func(h *hook) { h.refuse = nil })
	redriven = admin.Redriven{}
	if w.post(us, "/v1/triggers/letters/redrive", request, &redriven); redriven != (admin.Redriven{Delivered: 1}) || h.names()["insert bad 1"] != 1 {
		t.Errorf("%+v, %v", redriven, h.names())
	}
	w.post(us, "/v1/triggers/apply", admin.TriggerRequest{Resume: change.Pause, Author: "me"}, &steps)
	w.until("it goes on", func() bool { return h.names()["insert kept 1"] == 1 })
	if s := w.triggerStats(us, "mail"); s.Letters.Count != 0 {
		t.Errorf("%+v", s)
	}
	if _, again := h.told(); again > 0 {
		t.Errorf("%d events were told again", again)
	}
	w.post(us, "/v1/triggers/apply", admin.TriggerRequest{Replay: []admin.TriggerReplay{{TriggerName: change.Pause[0], Since: time.Now().Add(-time.Hour)}}, Author: "me"}, &steps)
	// Events of different items go at once, in no order.
	w.until("all is told once more", func() bool {
		return maps.Equal(h.names(), map[string]int{"insert good 1": 2, "insert bad 1": 2, "modify good 2": 2, "insert kept 1": 2})
	})

	// What is not wanted any more.
	h.set(func(h *hook) { h.status = http.StatusGone })
	w.put(us, "late", "1")
	w.until("it is a dead letter", func() bool { return w.triggerStats(us, "mail").Letters.Count == 1 })
	var purged admin.Purged
	if w.post(us, "/v1/triggers/letters/purge", request, &purged); purged.Dropped != 1 || w.triggerStats(us, "mail").Letters.Count != 0 {
		t.Errorf("%+v", purged)
	}
	w.post(us, "/v1/triggers/apply", admin.TriggerRequest{Delete: change.Pause, Author: "me"}, &steps)
	w.until("it is gone", func() bool { return w.triggerStats(us, "mail").Name == "" })
}

// TestSlowTriggerDoesNotSlowWrites: a target that does not answer holds up nothing but itself.
func TestSlowTriggerDoesNotSlowWrites(t *testing.T) {
	t.Parallel()
	cfg := triggersConfig(t)
	cfg.Regions = cfg.Regions[:1]
	w, h := runWorld(t, cfg), newHook(t)
	w.makeTable(us)
	w.stream(us)
	free := make(chan struct{})
	h.set(func(h *hook) {
		h.before = func(r *http.Request) {
			select {
			case <-free:
			case <-r.Context().Done():
			}
		}
	})
	w.applyTrigger(us, "slow", webhookTo(h, ", batch: {size: 50, window: 1ms}, parallel: 2"))
	const writes = 1000
	var writers sync.WaitGroup
	for worker := range 4 {
		writers.Go(func() {
			for i := range writes / 4 {
				w.put(us, fmt.Sprint(worker, " ", i), "x") // each returns though nothing is delivered
			}
		})
	}
	writers.Wait()
	if f := w.triggerStats(us, "slow").Feeds[0]; f.Delivered != 0 || f.Backlog.Records != writes || f.Backlog.AgeMillis == 0 {
		t.Errorf("%+v", f)
	}
	close(free)
	w.until("all is told", func() bool { events, _ := h.told(); return len(events) >= writes })
	w.until("nothing waits", func() bool { return w.triggerStats(us, "slow").Feeds[0].Backlog.Records == 0 })
	if _, again := h.told(); again > 0 {
		t.Errorf("%d events were told again", again)
	}
}

// TestTriggerRunsCommandEverywhere: a program gets the events that match, in each region, and only a program that the configuration names.
func TestTriggerRunsCommandEverywhere(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	program := filepath.Join(dir, "program")
	if err := os.WriteFile(program, []byte("#!/bin/sh\ncat >> \""+dir+"/$CONCORDAT_REGION\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	cfg := triggersConfig(t)
	cfg.Regions, cfg.Triggers.Commands = cfg.Regions[:2], []string{program}
	w := runWorld(t, cfg)
	w.makeTable(us, eu)
	w.stream(us, eu)
	w.applyTrigger(us, "run", `fire: everywhere, filter: {data: {new: {v: {S: [yes]}}}}, target: {command: {path: `+program+`}}, batch: {window: 1ms}`, eu)
	w.applyTrigger(us, "other", `fire: everywhere, target: {command: {path: /bin/cat}}, retry: {attempts: 1}`, eu)
	w.put(us, "a", "yes")
	w.put(eu, "b", "no")
	w.put(eu, "c", "yes")
	for _, region := range []string{us, eu} {
		w.until("the program of "+region+" has two events", func() bool {
			b, err := os.ReadFile(filepath.Join(dir, region))
			return err == nil && bytes.Count(b, []byte("\n")) == 2
		})
		b, _ := os.ReadFile(filepath.Join(dir, region))
		for line := range strings.Lines(string(b)) {
			var e hooked
			if err := json.Unmarshal([]byte(line), &e); err != nil || e.Region != region || e.Data.New["v"]["S"] != "yes" {
				t.Errorf("%s: %v", line, err)
			}
		}
		w.until("another program is refused", func() bool {
			s := w.triggerStats(region, "other")
			return s.Letters.Count == 3 && strings.Contains(s.Feeds[0].LastError.Error, "does not allow the program")
		})
	}
}

// TestTriggerOfAFencedRegion: what was made in a region, and not delivered when it was fenced, another one delivers; when it is back it fires again what is made in it.
func TestTriggerOfAFencedRegion(t *testing.T) {
	t.Parallel()
	w, h := runWorld(t, triggersConfig(t)), newHook(t)
	w.makeTable(us, eu, ap)
	w.stream(us, eu, ap)
	h.set(func(h *hook) {
		h.refuse = func(e *hooked) bool { return e.Region == ap && e.Data.New["v"]["S"] == "held" }
	})
	// As many attempts as it takes to outlast every wait of the test: what its region has given up nobody delivers.
	w.applyTrigger(us, "search", webhookTo(h, ", fire: origin, batch: {size: 5, window: 1ms}, retry: {attempts: 100, first: 50ms, most: 5s}"), eu, ap)
	for i := range 20 {
		w.put(ap, fmt.Sprint("first ", i), "told")
		w.put(us, fmt.Sprint("us ", i), "told")
	}
	w.until("all of that is told", func() bool { events, _ := h.told(); return len(events) == 40 })
	for i := range 20 {
		w.put(ap, fmt.Sprint("second ", i), "held")
	}
	w.until("the others have it", func() bool { return w.get(us, "second 19") == "held" && w.get(eu, "second 19") == "held" })
	w.until("its region has tried", func() bool { return w.triggerStats(ap, "search").Feeds[0].Failed > 0 })
	if got := h.names()["insert second 0 held"]; got > 0 {
		t.Fatal("it was taken all the same")
	}
	w.Cut(ap)
	if _, fault := w.regions(http.MethodPost, us, "/"+ap+"/fence"); fault != "" {
		t.Fatal(fault)
	}
	w.until("another region has told it", func() bool {
		got := h.names()
		for i := range 20 {
			if got[fmt.Sprintf("insert second %d held", i)] == 0 {
				return false
			}
		}
		return true
	})
	events, _ := h.told()
	for _, e := range events {
		if strings.Contains(e.name(), "second") && (e.Origin != ap || e.Region != eu) {
			t.Errorf("%+v", e)
		}
	}
	w.put(us, "meanwhile", "told")
	w.until("the rest goes on", func() bool { return h.names()["insert meanwhile told"] == 1 })
	w.Heal(ap)
	w.until("the region knows that it is fenced", func() bool {
		world, _ := w.regions(http.MethodGet, ap, "")
		m := world.Member(ap)
		return m != nil && m.State == "fenced"
	})
	w.comeBack(ap)
	w.until("it can be written there", func() bool { return w.tryPut(ap) == nil })
	w.until("it has its replica", func() bool { return len(w.fires("search")) == 3 })
	w.put(ap, "third", "told")
	w.until("it fires again", func() bool {
		events, _ := h.told()
		return slices.ContainsFunc(events, func(e hooked) bool { return e.name() == "insert third told" && e.Region == ap })
	})
	h.ordered()
}

// TestTriggerTellsOutsidersNothingOfPinnedItems: a webhook that the policy does not name is not told, and one that it names is.
func TestTriggerTellsOutsidersNothingOfPinnedItems(t *testing.T) {
	t.Parallel()
	cfg := triggersConfig(t)
	cfg.Regions = cfg.Regions[:2]
	w, h, named := runWorld(t, cfg), newHook(t), newHook(t)
	w.makeTable(us, eu)
	w.stream(us, eu)
	w.pin(us, globaltable.Pin{Name: "eu-only", Match: globaltable.Match{KeyPrefix: "EU#"}, Jurisdictions: []string{"EU"}, Foreign: globaltable.Reject, SingleCopy: true, Targets: []string{named.URL}})
	w.applyTrigger(us, "outside", webhookTo(h, ", fire: one, batch: {window: 1ms}"), eu)
	w.applyTrigger(us, "named", webhookTo(named, ", fire: one, batch: {window: 1ms}"), eu)
	w.put(eu, "EU#1", "pinned")
	w.put(eu, "free", "open")
	w.put(us, "other", "open")
	w.until("who is named has all", func() bool { return len(named.names()) == 3 })
	w.until("the other one has the rest", func() bool { return len(h.names()) == 2 })
	w.until("the pinned one is withheld", func() bool {
		withheld := uint64(0)
		for _, f := range w.triggerStats(eu, "outside").Feeds {
			withheld += f.Withheld
		}
		return withheld == 1
	})
	if got := h.names()["insert EU#1 pinned"]; got > 0 {
		t.Errorf("%v", h.names())
	}
	for _, e := range func() []hooked { events, _ := named.told(); return events }() {
		if e.name() == "insert EU#1 pinned" && e.Region != eu {
			t.Errorf("%+v", e)
		}
	}
}
