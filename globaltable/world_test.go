package globaltable

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/nats-io/nkeys"

	"github.com/concordat-db/concordat/conflict/hlc"
)

// exampleWorld has a member in every state. Keys and signatures of ed25519 are the same each time.
func exampleWorld(t testing.TB) *World {
	t.Helper()
	v1, v2 := MakeVersion(3, 1), MakeVersion(4, 2)
	w := &World{Owner: 1, Version: v2, Predecessor: Hash{1, 2, 3}}
	for i, m := range []struct {
		name  string
		state MemberState
	}{{"ap-south-1", MemberActive}, {"eu-central-1", MemberFencing}, {"me-south-1", MemberRemoved}, {"sa-east-1", MemberFenced}, {"us-east-1", MemberRemoving}} {
		key, err := nkeys.FromRawSeed(nkeys.PrefixByteUser, bytes.Repeat([]byte{byte(i + 1)}, 32))
		if err != nil {
			t.Fatal(err)
		}
		public, err := key.PublicKey()
		if err != nil {
			t.Fatal(err)
		}
		d := Descriptor{Name: m.name, Jurisdiction: "XX", Origin: hlc.Origin(i + 1), NATS: []string{"nats://10.0.0.1:4222"}, PublicKey: public}
		token, err := Sign(&d, key)
		if err != nil {
			t.Fatal(err)
		}
		w.Members = append(w.Members, Member{Descriptor: d, Token: token, State: m.state, Since: []Version{v1, v2}[i%2], Incarnation: Incarnation(i % 3)})
	}
	return w
}

// TestWorldDocumentGolden pins the document's bytes: regions of different releases must agree on their hash.
func TestWorldDocumentGolden(t *testing.T) {
	want, err := os.ReadFile("testdata/world.json")
	if err != nil {
		t.Fatal(err)
	}
	want = bytes.TrimSpace(want)
	if got := EncodeWorld(exampleWorld(t)); !bytes.Equal(got, want) {
		t.Errorf("encoding differs:\n got %s\nwant %s", got, want)
	}
	back, err := DecodeWorld(want)
	if err != nil {
		t.Fatal(err)
	}
	if got := EncodeWorld(back); !bytes.Equal(got, want) {
		t.Errorf("decoding loses something: %s", got)
	}
	if HashWorld(back) != HashWorld(exampleWorld(t)) {
		t.Error("hashes of equal worlds differ")
	}
}

func TestDecodeWorldRefuses(t *testing.T) {
	w := exampleWorld(t)
	doc := string(EncodeWorld(w))
	for name, c := range map[string]struct {
		doc  string
		kind Kind
	}{
		"unknown field":           {strings.Replace(doc, `"format":1`, `"format":1,"witness":true`, 1), Unavailable},
		"unknown field within":    {strings.Replace(doc, `"state":"active"`, `"state":"active","witness":true`, 1), Unavailable},
		"later format":            {`{"format":2,"owner":"x"}`, Unavailable},
		"no format":               {strings.Replace(doc, `"format":1,`, ``, 1), Corrupt},
		"nothing":                 {``, Corrupt},
		"more after it":           {doc + `{}`, Corrupt},
		"unknown state":           {strings.Replace(doc, `"removed"`, `"gone"`, 1), Corrupt},
		"owner is fenced":         {strings.Replace(doc, `"owner":1`, `"owner":4`, 1), Corrupt},
		"owner is nobody":         {strings.Replace(doc, `"owner":1`, `"owner":9`, 1), Corrupt},
		"signature of another":    {strings.Replace(doc, w.Members[0].Token, w.Members[0].Token[:len(w.Members[0].Token)-8]+"AAAAAAAA", 1), Corrupt},
		"a member twice":          {strings.Replace(doc, w.Members[1].Token, w.Members[0].Token, 1), Corrupt},
		"out of order":            {strings.Replace(strings.Replace(strings.Replace(doc, w.Members[0].Token, "?", 1), w.Members[1].Token, w.Members[0].Token, 1), "?", w.Members[1].Token, 1), Corrupt},
		"state of a later one":    {strings.Replace(doc, `"sinceEpoch":4`, `"sinceEpoch":5`, 1), Corrupt},
		"number out of range":     {strings.Replace(doc, `"number":2`, `"number":2199023255552`, 1), Corrupt},
		"first has a predecessor": {strings.Replace(doc, `"number":2`, `"number":1`, 1), Corrupt},
		"bad predecessor":         {strings.Replace(doc, `"predecessor":"01`, `"predecessor":"0`, 1), Corrupt},
	} {
		if c.doc == doc {
			t.Fatalf("%s: the case changes nothing", name)
		}
		if got, err := DecodeWorld([]byte(c.doc)); err == nil || KindOf(err) != c.kind || got != nil {
			t.Errorf("%s: %v, %v; want kind %v", name, got, err, c.kind)
		}
	}
}

func TestWorldIsBounded(t *testing.T) {
	w := exampleWorld(t)
	for range MaxMembers {
		w.Members = append(w.Members, w.Members[0])
	}
	if err := w.Validate(); err == nil || !strings.Contains(err.Error(), "at most 256") {
		t.Error(err)
	}
	w = exampleWorld(t)
	w.Members[0].Token = strings.Repeat("x", maxMemberBytes)
	if err := w.Validate(); err == nil || !strings.Contains(err.Error(), "bytes, at most") {
		t.Error(err)
	}
}

// FuzzDecodeWorld: no panic, and whatever is accepted is valid and encodes to something that is accepted and equal.
func FuzzDecodeWorld(f *testing.F) {
	f.Add(EncodeWorld(exampleWorld(f)))
	f.Add([]byte(`{"format":1}`))
	f.Add([]byte(`{"format":2}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := DecodeWorld(b)
		if err != nil {
			return
		}
		doc := EncodeWorld(a)
		again, err := DecodeWorld(doc)
		if err != nil || !bytes.Equal(doc, EncodeWorld(again)) {
			t.Fatalf("accepted %q, but not %q: %v", b, doc, err)
		}
	})
}
