package globaltable

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/concordat-db/concordat/conflict/hlc"
)

// triggeringTable has a trigger with each kind of target: one that says everything, one that says nothing but what it must, and one that was paused and replayed.
func triggeringTable() *Table {
	t := laterTable()
	t.Stream = Stream{View: ViewNewAndOldImages, Since: 1_700_000_000_000, Secret: []byte(strings.Repeat("s", StreamSecretLen))}
	t.Triggers = []Trigger{
		{Name: "archive", Born: MakeVersion(3, 1), Number: 1, TriggerSpec: TriggerSpec{Fire: FireEverywhere, Target: Target{NATS: &NATSTarget{Subject: "archive.places"}}}},
		{Name: "mail.2", Born: MakeVersion(4, 2), Number: 3, Paused: true, Replay: Replay{Number: 2, From: hlc.Timestamp(1_700_000_000_000 << 16)},
			TriggerSpec: TriggerSpec{Fire: FireOne, Target: Target{Command: &CommandSpec{Path: "/usr/bin/mail", Args: []string{"-s", "<places>"}, Timeout: time.Minute}}}},
		{Name: "search", Born: MakeVersion(4, 2), Number: 1, TriggerSpec: TriggerSpec{Fire: FireOrigin, Filter: json.RawMessage(`{"type":["INSERT"]}`),
			Target: Target{Webhook: &Webhook{URL: "https://search.example/hook?a=b&c=d", SecretRef: "hook-key", Timeout: 3 * time.Second}},
			Batch:  Batch{Size: 10, Window: time.Second}, Parallel: 4, Retry: Retry{Attempts: 3, First: time.Second, Most: time.Hour}}},
	}
	return t
}

func TestTriggerDefaults(t *testing.T) {
	table := triggeringTable()
	plain, full := table.Trigger("archive"), table.Trigger("search")
	if table.Trigger("other") != nil || plain.ID(table.ID) != (TriggerID{table.ID, "archive", MakeVersion(3, 1)}) {
		t.Error("triggers are not found, or not identified, by their names")
	}
	type said struct {
		size, workers, attempts   int
		window, first, most, each time.Duration
	}
	of := func(g *Trigger) said {
		first, most := g.Delays()
		return said{g.BatchSize(), g.Workers(), g.Attempts(), g.BatchWindow(), first, most, g.Target.TimeLimit()}
	}
	if got, want := of(plain), (said{100, 8, 8, 200 * time.Millisecond, 500 * time.Millisecond, time.Minute, 10 * time.Second}); got != want {
		t.Errorf("defaults %+v, want %+v", got, want)
	}
	if got, want := of(full), (said{10, 4, 3, time.Second, time.Second, time.Hour, 3 * time.Second}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := table.Trigger("mail.2").Target.TimeLimit(); got != time.Minute {
		t.Errorf("a command has %v", got)
	}
	// A first delay beyond the default greatest one raises that.
	slow := TriggerSpec{Retry: Retry{First: 10 * time.Minute}}
	if first, most := slow.Delays(); first != most {
		t.Errorf("%v, %v", first, most)
	}
	for name, want := range map[string]string{"archive": "nats", "mail.2": "command", "search": "webhook"} {
		if got := table.Trigger(name).Target.Kind(); got != want {
			t.Errorf("%s goes to %s", name, got)
		}
	}
}

// TestTriggerFaults: each fault is told, with its field, and what is at the ends of the ranges is none.
func TestTriggerFaults(t *testing.T) {
	right := func() TriggerSpec { return triggeringTable().Trigger("search").TriggerSpec }
	subject := func(s string) func(*TriggerSpec) {
		return func(x *TriggerSpec) { x.Target = Target{NATS: &NATSTarget{Subject: s}} }
	}
	address := func(s string) func(*TriggerSpec) { return func(x *TriggerSpec) { x.Target.Webhook.URL = s } }
	command := func(path string, args ...string) func(*TriggerSpec) {
		return func(x *TriggerSpec) { x.Target = Target{Command: &CommandSpec{Path: path, Args: args}} }
	}
	for name, c := range map[string]struct {
		field  string // empty: no fault
		change func(*TriggerSpec)
	}{
		"as it is":         {"", func(*TriggerSpec) {}},
		"fire":             {"fire", func(x *TriggerSpec) { x.Fire = "" }},
		"filter of a list": {"filter", func(x *TriggerSpec) { x.Filter = json.RawMessage(`[]`) }},
		"filter, no JSON":  {"filter", func(x *TriggerSpec) { x.Filter = json.RawMessage(`{"a":`) }},
		"no target":        {"target", func(x *TriggerSpec) { x.Target = Target{} }},
		"two targets":      {"target", func(x *TriggerSpec) { x.Target.NATS = &NATSTarget{Subject: "a"} }},
		"greatest": {"", func(x *TriggerSpec) {
			x.Batch, x.Parallel, x.Retry = Batch{1000, time.Minute}, 64, Retry{100, time.Hour, time.Hour}
		}},
		"least": {"", func(x *TriggerSpec) {
			x.Batch, x.Parallel, x.Retry = Batch{1, time.Millisecond}, 1, Retry{1, time.Millisecond, time.Millisecond}
		}},
		"size":              {"batch.size", func(x *TriggerSpec) { x.Batch.Size = 1001 }},
		"size below zero":   {"batch.size", func(x *TriggerSpec) { x.Batch.Size = -1 }},
		"window":            {"batch.window", func(x *TriggerSpec) { x.Batch.Window = time.Minute + 1 }},
		"window below":      {"batch.window", func(x *TriggerSpec) { x.Batch.Window = time.Millisecond - 1 }},
		"parallel":          {"parallel", func(x *TriggerSpec) { x.Parallel = 65 }},
		"attempts":          {"retry.attempts", func(x *TriggerSpec) { x.Retry.Attempts = 101 }},
		"first delay":       {"retry.first", func(x *TriggerSpec) { x.Retry = Retry{First: -1} }},
		"delays crosswise":  {"retry.most", func(x *TriggerSpec) { x.Retry = Retry{First: time.Minute, Most: time.Second} }},
		"below the default": {"retry.most", func(x *TriggerSpec) { x.Retry = Retry{Most: time.Millisecond} }},
		"timeout":           {"target.webhook.timeout", func(x *TriggerSpec) { x.Target.Webhook.Timeout = 5*time.Minute + 1 }},
		"timeout below":     {"target.webhook.timeout", func(x *TriggerSpec) { x.Target.Webhook.Timeout = 99 * time.Millisecond }},
		"secret":            {"target.webhook.secretRef", func(x *TriggerSpec) { x.Target.Webhook.SecretRef = "a/b" }},
		"http":              {"target.webhook.url", address("http://search.example/")},
		"http here":         {"", address("http://localhost:8080/a")},
		"http here, v4":     {"", address("http://127.9.0.1/a")},
		"http here, v6":     {"", address("http://[::1]:8080/a")},
		"not quite here":    {"target.webhook.url", address("http://localhost.example/")},
		"scheme":            {"target.webhook.url", address("ftp://search.example/")},
		"no scheme":         {"target.webhook.url", address("search.example/a")},
		"no host":           {"target.webhook.url", address("https:///a")},
		"port of nothing":   {"target.webhook.url", address("https://a:/b")},
		"port":              {"target.webhook.url", address("https://a:65536/")},
		"user":              {"target.webhook.url", address("https://a:b@c/")},
		"fragment":          {"target.webhook.url", address("https://a/#")},
		"long URL":          {"target.webhook.url", address("https://a/" + strings.Repeat("b", MaxTargetURLBytes))},
		"subject":           {"", subject("a.b-c.D")},
		"ours":              {"target.nats.subject", subject("concordat.peer.a")},
		"ours alone":        {"target.nats.subject", subject("concordat")},
		"not ours":          {"", subject("concordata.b")},
		"of NATS":           {"target.nats.subject", subject("$JS.API.a")},
		"an inbox":          {"target.nats.subject", subject("_INBOX.a")},
		"wildcard":          {"target.nats.subject", subject("a.*")},
		"wildcard for all":  {"target.nats.subject", subject("a.>")},
		"empty token":       {"target.nats.subject", subject("a..b")},
		"space":             {"target.nats.subject", subject("a b")},
		"no subject":        {"target.nats.subject", subject("")},
		"long subject":      {"target.nats.subject", subject(strings.Repeat("a", MaxSubjectLen+1))},
		"path":              {"", command("/bin/a")},
		"relative":          {"target.command.path", command("bin/a")},
		"not clean":         {"target.command.path", command("/bin/../a")},
		"no file":           {"target.command.path", command("/")},
		"NUL":               {"target.command.args", command("/a", "b\x00")},
		"empty argument":    {"target.command.args", command("/a", "")},
		"args":              {"target.command.args", command("/a", strings.Fields(strings.Repeat("b ", MaxCommandArgs+1))...)},
		"too much":          {"all of it together", command("/a", strings.Repeat("b", MaxTriggerBytes))},
	} {
		spec := right()
		c.change(&spec)
		faults := spec.Faults()
		switch {
		case c.field == "" && len(faults) > 0:
			t.Errorf("%s: %v", name, faults)
		case c.field != "" && (len(faults) != 1 || !strings.HasPrefix(faults[0].Error(), c.field)):
			t.Errorf("%s: %v, want one of %s", name, faults, c.field)
		}
	}
	if got := (&TriggerSpec{Batch: Batch{Size: -1}, Parallel: -1}).Faults(); len(got) != 4 { // and fire, and target
		t.Errorf("not all faults at once: %v", got)
	}
}

func TestTriggersOfATable(t *testing.T) {
	if err := triggeringTable().Validate(); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*Table){
		"in the order of their names": func(t *Table) { t.Triggers[0].Name = "z" },
		"each once":                   func(t *Table) { t.Triggers[1].Name = "archive" },
		"its name is wrong":           func(t *Table) { t.Triggers[2].Name = "Search" },
		"of version 4.3":              func(t *Table) { t.Triggers[0].Born = t.Version + 1 },
		"it is form 0":                func(t *Table) { t.Triggers[0].Number = 0 },
		"has no number":               func(t *Table) { t.Triggers[0].Replay.From = 5 },
		"a subject has":               func(t *Table) { t.Triggers[0].Target.NATS = &NATSTarget{} },
		"33 triggers, at most 32":     func(t *Table) { t.Triggers = make([]Trigger, 33) },
	} {
		table := triggeringTable()
		change(table)
		if err := table.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", want, err)
		}
	}
}

// TestLargestTriggers: a table with as much of triggers as it can have is still far from the size that an item can have.
func TestLargestTriggers(t *testing.T) {
	table := triggeringTable()
	arg := strings.Repeat("<", (MaxTriggerBytes-100)/6) // each takes six bytes
	table.Triggers = nil
	for i := range MaxTriggers {
		table.Triggers = append(table.Triggers, Trigger{Name: strings.Repeat("a", MaxPinNameLen-1) + string("0123456789abcdefghijklmnopqrstuv"[i]), Born: table.Version, Number: 1 << 40,
			TriggerSpec: TriggerSpec{Fire: FireEverywhere, Target: Target{Command: &CommandSpec{Path: "/a", Args: []string{arg}}}}})
	}
	if err := table.Validate(); err != nil {
		t.Fatal(err)
	}
	if n := len(EncodeTable(table)); n > 160<<10 {
		t.Errorf("%d bytes", n)
	}
}

// TestTriggerDocumentRoundTrip: what is valid comes back as it was.
func TestTriggerDocumentRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := triggeringTable()
		g := a.Trigger("search")
		g.Number = rapid.Uint64Range(1, 1<<50).Draw(t, "number")
		g.Paused = rapid.Bool().Draw(t, "paused")
		g.Replay = Replay{Number: rapid.Uint64Range(1, 9).Draw(t, "replay"), From: hlc.Timestamp(rapid.Uint64Range(0, 1<<62).Draw(t, "from"))}
		filter, err := json.Marshal(rapid.MapOf(rapid.String(), rapid.SliceOf(rapid.String())).Draw(t, "filter"))
		if err != nil {
			t.Fatal(err)
		}
		g.Filter = filter
		g.Batch = Batch{rapid.IntRange(0, MaxBatchSize).Draw(t, "size"), time.Duration(rapid.IntRange(0, 60_000).Draw(t, "window")) * time.Millisecond}
		if a.Validate() != nil {
			t.Skip("a filter that is too large")
		}
		doc := EncodeTable(a)
		b, err := DecodeTable(doc)
		if err != nil {
			t.Fatal(err)
		}
		if got := b.Trigger("search"); got.Number != g.Number || got.Paused != g.Paused || got.Replay != g.Replay || string(got.Filter) != string(g.Filter) || got.Batch != g.Batch || string(doc) != string(EncodeTable(b)) {
			t.Fatalf("%+v came back as %+v", g, got)
		}
	})
}
