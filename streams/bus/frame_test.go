package bus

import (
	"errors"
	"testing"

	"github.com/concordat-db/concordat/globaltable"
)

func TestFrameRoundTrip(t *testing.T) {
	for _, f := range []frame{
		{verb: verbAsk, id: "aZ09"}, {verb: verbTook, id: "x", n: 1 << 40}, {verb: verbStop, id: "x"}, {verb: verbRewind, lane: 0xabcdef},
		{verb: verbReply}, {verb: verbPart, n: 7}, {verb: verbEnd}, {verb: verbFail, n: 1}, {verb: verbBusy}, {verb: verbIdle}, {verb: verbAlive},
	} {
		got, err := parseFrame(f.String())
		if err != nil || got != f {
			t.Errorf("%q: got %+v, %v", f, got, err)
		}
	}
}

func TestFrameMalformed(t *testing.T) {
	for _, s := range []string{"", "ask", "ask ", "ask a b", "ask a.b", "ask >", "took x", "took x y", "took x -1", "stop", "rewind 1", "rewind 00000000000000AB",
		"rewind 00000000000000001", "reply x", "part", "part x", "part 18446744073709551616", "end", "ask\n", "nothing 1",
		"ask aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"} {
		if f, err := parseFrame(s); !errors.Is(err, errFrame) {
			t.Errorf("%q gave %+v, %v", s, f, err)
		}
	}
}

func FuzzParseFrame(f *testing.F) {
	for _, s := range []string{"ask a", "took a 1", "rewind 00000000000000ab", "part 1", "reply"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		frame, err := parseFrame(s)
		if err != nil {
			return
		}
		if again, err := parseFrame(frame.String()); err != nil || again != frame {
			t.Errorf("%q: %+v came back as %+v, %v", s, frame, again, err)
		}
	})
}

func TestAckNumbers(t *testing.T) {
	for _, test := range []struct {
		subject string
		want    uint64
		ok      bool
	}{
		{"$JS.ACK.LANE_1.us.1.42.7.1700000000.3", 42, true},
		{"$JS.ACK.eu.hash.LANE_1.us.1.42.7.1700000000.3", 42, true},
		{"$JS.ACK.eu.hash.LANE_1.us.1.42.7.1700000000.3.random", 42, true},
		{"$JS.ACK.LANE_1.us.1.42.7.1700000000", 0, false},
		{"$JS.ACK.LANE_1.us.1.x.7.1700000000.3", 0, false},
		{"$JS.ACK.LANE_1.us.1.42.x.1700000000.3", 0, false},
		{"$JS.FC.LANE_1.us.1.42.7.1700000000.3", 0, false},
		{"", 0, false},
	} {
		if got, count, ok := ackNumbers(test.subject); ok != test.ok || ok && (got != test.want || count != 7) {
			t.Errorf("%q: got %d, %v", test.subject, got, ok)
		}
	}
}

func TestAccountsConfigFaults(t *testing.T) {
	_, peers := newPeerKeys(t, "us", "in")
	valid := AccountsConfig{Region: "eu", Peers: peers, User: "u", Password: "p"}
	if _, err := ServerConfig(valid); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*AccountsConfig){
		"no region":           func(c *AccountsConfig) { c.Region = "" },
		"region a wildcard":   func(c *AccountsConfig) { c.Region = "*" },
		"itself as peer":      func(c *AccountsConfig) { c.Region = "us" },
		"twice the name":      func(c *AccountsConfig) { c.Peers = []Peer{peers[0], {Name: "us", PublicKey: peers[1].PublicKey}} },
		"twice the key":       func(c *AccountsConfig) { c.Peers = []Peer{peers[0], {Name: "in", PublicKey: peers[0].PublicKey}} },
		"a peer's bad name":   func(c *AccountsConfig) { c.Peers = []Peer{{Name: `x" }`, PublicKey: peers[0].PublicKey}} },
		"a peer's bad key":    func(c *AccountsConfig) { c.Peers = []Peer{{Name: "us", PublicKey: "U"}} },
		"no user":             func(c *AccountsConfig) { c.User = "" },
		"no password":         func(c *AccountsConfig) { c.Password = "" },
		"key and name":        func(c *AccountsConfig) { c.UserKey = peers[0].PublicKey },
		"a bad key":           func(c *AccountsConfig) { c.User, c.Password, c.UserKey = "", "", "x" },
		"a peer's key as own": func(c *AccountsConfig) { c.User, c.Password, c.UserKey = "", "", peers[0].PublicKey },
	} {
		c := valid
		change(&c)
		if _, err := ServerConfig(c); globaltable.KindOf(err) != globaltable.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestConfigFaults(t *testing.T) {
	ctx := testContext(t)
	keys, peers := newPeerKeys(t, "us")
	for name, c := range map[string]EmbeddedConfig{
		"nothing":        {},
		"no directory":   {Region: "eu", Peers: peers},
		"a bad port":     {Region: "eu", Dir: "x", Port: 70000},
		"a bad MaxStore": {Region: "eu", Dir: "x", MaxStore: -1},
	} {
		if _, err := StartEmbedded(ctx, c); globaltable.KindOf(err) != globaltable.Invalid {
			t.Errorf("embedded, %s: %v", name, err)
		}
	}
	for name, c := range map[string]ExternalConfig{
		"nothing":       {},
		"no address":    {Region: "eu", User: "u"},
		"no credential": {Region: "eu", URLs: []string{"x"}},
		"two":           {Region: "eu", URLs: []string{"x"}, User: "u", Seed: []byte("s")},
		"a bad seed":    {Region: "eu", URLs: []string{"x"}, Seed: []byte("s")},
		"replicas":      {Region: "eu", URLs: []string{"x"}, User: "u", Replicas: 6},
	} {
		if _, err := ConnectExternal(ctx, c); globaltable.KindOf(err) != globaltable.Invalid {
			t.Errorf("external, %s: %v", name, err)
		}
	}
	for name, c := range map[string]DialConfig{
		"nothing":    {},
		"no address": {Region: "us", Peer: "eu", Key: keys["us"]},
		"no key":     {Region: "us", Peer: "eu", URLs: []string{"x"}},
	} {
		if _, err := Dial(ctx, c); globaltable.KindOf(err) != globaltable.Invalid {
			t.Errorf("dial, %s: %v", name, err)
		}
	}
}
