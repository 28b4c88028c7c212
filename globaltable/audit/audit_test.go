package audit

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nkeys"
	"pgregory.net/rapid"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
)

var rewrite = flag.Bool("rewrite", false, "write golden files")

func keyOf(t testing.TB, n byte) (nkeys.KeyPair, string) {
	key, err := nkeys.FromRawSeed(nkeys.PrefixByteUser, bytes.Repeat([]byte{n}, 32))
	if err != nil {
		t.Fatal(err)
	}
	public, err := key.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return key, public
}

// chainOf returns n entries of a region's chain.
func chainOf(t testing.TB, origin hlc.Origin, region string, n int) (out []globaltable.Sealed) {
	key, _ := keyOf(t, byte(origin))
	var previous globaltable.Chain
	for i := range n {
		s, err := Entry{Origin: origin, Region: region, Seq: uint64(i + 1), Previous: previous, At: 1700000000000 + int64(i), Clock: hlc.Timestamp(i + 1), Kind: TableChanged, Subject: "orders", Op: "update table", Asked: "eu",
			Author: "ops", Reason: "because", Changes: []Change{{"merge", `"lww"`, `"attribute"`}}}.Seal(key)
		if err != nil {
			t.Fatal(err)
		}
		previous = s.Hash()
		out = append(out, s)
	}
	return out
}

func keysOf(t testing.TB) map[string]string {
	_, us := keyOf(t, 1)
	_, eu := keyOf(t, 2)
	return map[string]string{"us": us, "eu": eu}
}

func check(t testing.TB, known []Head, chains ...[]globaltable.Sealed) Result {
	c := NewChecker(keysOf(t), known)
	for _, chain := range chains {
		for i := range chain {
			c.Add(&chain[i])
		}
	}
	return c.Result()
}

func TestGoldenEntry(t *testing.T) {
	s := chainOf(t, 1, "us", 2)[1]
	got := []byte(s.Payload + "\n")
	path := filepath.Join("testdata", "entry.golden.json")
	if *rewrite {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("the form has changed, %v:\n%s", err, got)
	}
	key := keysOf(t)["us"]
	if err := CheckSignature(&globaltable.Sealed{Payload: strings.TrimSuffix(string(want), "\n"), Signature: s.Signature}, key); err != nil {
		t.Error(err)
	}
}

func TestSoundChains(t *testing.T) {
	us, eu := chainOf(t, 1, "us", 5), chainOf(t, 2, "eu", 3)
	r := check(t, []Head{{Region: "us", Seq: 3, Hash: us[2].Hash()}}, us, eu)
	if r.Found != 0 || r.Entries != 8 || len(r.Heads) != 2 || r.Heads[0].Seq != 5 || r.Heads[0].Hash != us[4].Hash() || r.Heads[1].Region != "eu" {
		t.Errorf("%+v", r)
	}
}

func TestWhatIsWrongIsNamed(t *testing.T) {
	us := chainOf(t, 1, "us", 4)
	key, _ := keyOf(t, 1)
	other, _ := keyOf(t, 9)
	reseal := func(s globaltable.Sealed, key globaltable.Signer, f func(*Entry)) globaltable.Sealed {
		e, err := Open(&s)
		if err != nil {
			t.Fatal(err)
		}
		f(e)
		out, err := e.Seal(key)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	without := func(i int) []globaltable.Sealed { return slices.Delete(slices.Clone(us), i, i+1) }
	with := func(i int, s globaltable.Sealed) []globaltable.Sealed {
		out := slices.Clone(us)
		out[i] = s
		return out
	}
	edited := us[1]
	edited.Payload = strings.Replace(edited.Payload, "because", "no cause", 1)
	for name, c := range map[string]struct {
		chain []globaltable.Sealed
		known []Head
		want  string
	}{
		"left out":           {without(1), nil, "us 3 gap: 1 entries before it are missing"},
		"first cut off":      {without(0), nil, "us 2 gap: 1 entries before it are missing"},
		"newest cut off":     {without(3), []Head{{Region: "us", Seq: 4, Hash: us[3].Hash()}}, "us 4 the entry known"},
		"edited":             {with(1, edited), nil, "us 2 wrong signature"},
		"edited and sealed":  {with(1, reseal(us[1], key, func(e *Entry) { e.Reason = "another" })), nil, "us 3 wrong hash"},
		"by another key":     {with(3, reseal(us[3], other, func(*Entry) {})), nil, "us 4 wrong signature"},
		"fork":               {slices.Insert(slices.Clone(us), 3, reseal(us[2], key, func(e *Entry) { e.Reason = "another" })), nil, "us 3 fork"},
		"region not known":   {with(3, reseal(us[3], key, func(e *Entry) { e.Region = "xx" })), nil, "xx 4 it names another region"},
		"names one before":   {with(0, reseal(us[0], key, func(e *Entry) { e.Previous = us[1].Hash() })), nil, "us 1 wrong hash: the first"},
		"not an entry":       {with(2, globaltable.Sealed{Payload: "{}"}), nil, "us 3 an entry that cannot be read"},
		"of a newer release": {with(2, globaltable.Sealed{Payload: `{"format":2}`}), nil, "us 3 an entry that cannot be read"},
	} {
		r := check(t, c.known, c.chain)
		found := slices.ContainsFunc(r.Problems, func(p Problem) bool {
			return strings.HasPrefix(p.Region+" "+string(rune('0'+p.Seq))+" "+p.What, c.want)
		})
		if !found {
			t.Errorf("%s: %v; want %s", name, r.Problems, c.want)
		}
	}
}

// An entry that cannot be read ends nothing: what comes after it is checked, and named if it is wrong; what is right is not taken for wrong because of it.
func TestTheCheckGoesOn(t *testing.T) {
	us, eu := chainOf(t, 1, "us", 5), chainOf(t, 2, "eu", 3)
	unsigned := us[3]
	unsigned.Signature = nil
	for name, c := range map[string]struct {
		lost *globaltable.Sealed // entry 2 of us, as far as it is there
		next globaltable.Sealed  // entry 3
		want []string
	}{
		"nothing is left of it": {nil, us[2], []string{"us 2 an entry that cannot be read: why", "us 4 wrong signature"}},
		"its text is there":     {&us[1], us[2], []string{"us 2 an entry that cannot be read: why", "us 4 wrong signature"}},
		"of another hash": {&globaltable.Sealed{Payload: "{}"}, us[2],
			[]string{"us 2 an entry that cannot be read: why", "us 2 wrong signature", "us 3 wrong hash", "us 4 wrong signature"}},
		"and one after it": {nil, globaltable.Sealed{Payload: "{}"},
			[]string{"us 2 an entry that cannot be read: why", "us 3 an entry that cannot be read", "us 3 wrong signature", "us 4 wrong hash", "us 4 wrong signature"}},
	} {
		k := NewChecker(keysOf(t), []Head{{Region: "eu", Seq: 3, Hash: eu[2].Hash()}})
		k.Add(&us[0])
		k.AddUnreadable(Place{1, "us", 2}, c.lost, "why")
		for _, s := range []globaltable.Sealed{c.next, unsigned, us[4]} {
			k.Add(&s)
		}
		k.AddUnreadable(Place{2, "eu", 1}, &eu[0], "why")
		for i := range eu[1:] {
			k.Add(&eu[1+i])
		}
		r := k.Result()
		want := append(slices.Clone(c.want), "eu 1 an entry that cannot be read: why")
		same := slices.EqualFunc(r.Problems, want, func(p Problem, want string) bool {
			return strings.HasPrefix(fmt.Sprintf("%s %d %s", p.Region, p.Seq, p.What), want)
		})
		if !same || r.Found != uint64(len(want)) || r.Entries != 8 || len(r.Heads) != 2 || r.Heads[0].Seq != 5 {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// Whatever byte of a chain is another one, something is wrong with it.
func TestEveryByteCounts(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		chain := chainOf(t, 1, "us", 3)
		i := rapid.IntRange(0, 2).Draw(r, "entry")
		b := []byte(chain[i].Payload)
		at := rapid.IntRange(0, len(b)-1).Draw(r, "byte")
		b[at] ^= byte(rapid.IntRange(1, 255).Draw(r, "bits"))
		chain[i].Payload = string(b)
		if res := check(t, nil, chain); res.Found == 0 {
			r.Fatal("taken for sound")
		}
	})
}

// An entry keeps within its bound, says what it left out, and can be read again.
func TestEntriesAreBounded(t *testing.T) {
	key, public := keyOf(t, 1)
	rapid.Check(t, func(r *rapid.T) {
		text := rapid.StringN(0, 400, 2000)
		e := Entry{Origin: 1, Region: "us", Seq: 1, Kind: PolicyChanged, Subject: text.Draw(r, "subject"), Author: text.Draw(r, "author"), Reason: text.Draw(r, "reason")}
		n := rapid.IntRange(0, 60).Draw(r, "changes")
		for range n {
			e.Changes = append(e.Changes, Change{text.Draw(r, "what"), text.Draw(r, "was"), text.Draw(r, "now")})
		}
		s, err := e.Seal(key)
		if err != nil {
			r.Fatal(err)
		}
		got, err := Open(&s)
		if err != nil || CheckSignature(&s, public) != nil {
			r.Fatal(err)
		}
		if len(s.Payload) > MaxEntry || len(got.Changes)+got.Omitted != n {
			r.Fatalf("%d bytes, %d changes and %d omitted of %d", len(s.Payload), len(got.Changes), got.Omitted, n)
		}
	})
}

func FuzzOpen(f *testing.F) {
	for _, s := range chainOf(f, 1, "us", 2) {
		f.Add([]byte(s.Payload))
	}
	f.Add([]byte(`{"format":1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := globaltable.Sealed{Payload: string(b)}
		if e, err := Open(&s); err == nil && string(e.encode()) != s.Payload {
			t.Error("another text than the one that was opened")
		}
	})
}
