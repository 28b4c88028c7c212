package canary

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/concordat-db/concordat/globaltable/item"
)

func newRandom(t testing.TB) *rand.Rand {
	t.Helper()
	return rand.New(rand.NewPCG(1, uint64(len(t.Name()))))
}

// found returns the forms in which the canary is in b.
func found(c Canary, b []byte) (forms []Form) {
	s := NewScanner()
	s.Add(c)
	r := NewReport()
	s.Bytes(r, "here", b)
	for _, f := range r.Findings() {
		forms = append(forms, f.Form)
	}
	return forms
}

// writers are ways in which bytes get written. They are not how this package makes its patterns, wherever there is another way.
var writers = map[string]func(s string) []byte{
	"as it is":          func(s string) []byte { return []byte(s) },
	"hex":               func(s string) []byte { return hex.AppendEncode(nil, []byte(s)) },
	"HEX":               func(s string) []byte { return fmt.Appendf(nil, "%X", s) },
	"base64":            func(s string) []byte { return base64.StdEncoding.AppendEncode(nil, []byte(s)) },
	"base64 +1":         func(s string) []byte { return base64.StdEncoding.AppendEncode(nil, []byte("\xff"+s+"z")) },
	"base64 +2":         func(s string) []byte { return base64.StdEncoding.AppendEncode(nil, []byte("\xfe\xff"+s+"zz")) },
	"base64 URL":        func(s string) []byte { return base64.RawURLEncoding.AppendEncode(nil, []byte(s)) },
	"base64 URL +1":     func(s string) []byte { return base64.RawURLEncoding.AppendEncode(nil, []byte("\xff"+s)) },
	"base64 in JSON":    func(s string) []byte { b, _ := json.Marshal(map[string][]byte{"v": []byte("ab" + s)}); return b },
	"%v":                func(s string) []byte { return fmt.Appendf(nil, "%v", []byte("a"+s+"b")) },
	"%q":                func(s string) []byte { return fmt.Appendf(nil, "%q", s) },
	"%x in a struct":    func(s string) []byte { return fmt.Appendf(nil, "%x", struct{ B []byte }{[]byte(s)}) },
	"%+v of a key":      func(s string) []byte { return fmt.Appendf(nil, "%+v", item.Key(s)) },
	"numbers in JSON":   func(s string) []byte { b, _ := json.Marshal([]uint16{1}); return append(b, ints(s)...) },
	"query":             func(s string) []byte { return []byte(url.Values{"key": {s}}.Encode()) },
	"path":              func(s string) []byte { return []byte((&url.URL{Path: "/" + s}).EscapedPath()) },
	"a log's hex":       func(s string) []byte { return logged(func(e *zerolog.Event) { e.Hex("h", []byte(s)) }) },
	"a part of a key":   func(s string) []byte { k, _ := item.AppendKey(nil, item.AppendBinary(nil, s), nil); return k },
	"a value":           func(s string) []byte { return item.AppendBinary(nil, s) },
	"a value's JSON":    func(s string) []byte { return item.AppendJSON(nil, item.AppendBinary(nil, "b"+s)) },
	"one half, cut off": func(s string) []byte { return []byte(s[:len(s)-3]) },
	"the other half":    func(s string) []byte { return []byte(s[3:]) },
}

func ints(s string) []byte {
	var list []uint16 // not bytes: these would be base64
	for i := range len(s) {
		list = append(list, uint16(s[i]))
	}
	b, _ := json.Marshal(list)
	return b
}

func logged(f func(*zerolog.Event)) []byte {
	var b bytes.Buffer
	log := zerolog.New(&b)
	e := log.Info()
	f(e)
	e.Send()
	return b.Bytes()
}

// textWriters write valid UTF-8 only.
var textWriters = map[string]func(s string) []byte{
	"JSON":            func(s string) []byte { b, _ := json.Marshal(s); return b },
	"a log's text":    func(s string) []byte { return logged(func(e *zerolog.Event) { e.Str("s", s) }) },
	"a log's bytes":   func(s string) []byte { return logged(func(e *zerolog.Event) { e.Bytes("s", []byte(s)) }) },
	"our JSON":        func(s string) []byte { return item.AppendJSON(nil, item.AppendString(nil, s)) },
	"JSON with \\/":   func(s string) []byte { return []byte(strings.ReplaceAll(jsonString(s, false), "/", `\/`)) },
	"JSON with \\u":   func(s string) []byte { return fmt.Appendf(nil, "%s", eachByte(s, `\u00%02X`)) },
	"an error's text": func(s string) []byte { return []byte(fmt.Errorf("no item %q", s).Error()) },
}

// Each canary is found in whatever writes it, and nothing is found in what another one wrote.
func TestEveryFormIsFound(t *testing.T) {
	random := newRandom(t)
	for _, kind := range []Kind{Word, Text, Binary, Number} {
		c, other := New(random, kind, "it"), New(random, kind, "another")
		check := func(name string, write func(string) []byte) {
			t.Run(fmt.Sprintf("%d/%s", kind, name), func(t *testing.T) {
				if len(found(c, write(c.Bytes))) == 0 {
					t.Errorf("not found in %q", write(c.Bytes))
				}
				if got := found(c, write(other.Bytes)); len(got) > 0 {
					t.Errorf("found as %v in what is another", got)
				}
			})
		}
		for name, write := range writers {
			check(name, write)
		}
		for name, write := range textWriters {
			if kind != Binary {
				check(name, write)
			}
		}
	}
}

// Every form that is searched for is found where it is, wherever it begins.
func TestEveryPatternIsFound(t *testing.T) {
	random := newRandom(t)
	for _, kind := range []Kind{Word, Text, Binary, Number} {
		c := New(random, kind, "it")
		for _, p := range c.patterns() {
			if len(p.bytes) <= keyBytes {
				t.Errorf("%s of kind %d has %d bytes", p.form, kind, len(p.bytes))
			}
			for shift := range 9 {
				b := append(bytes.Repeat([]byte{p.bytes[0]}, shift), p.bytes...)
				if got := found(c, b); !slices.Contains(got, p.form) {
					t.Errorf("%s of kind %d, after %d bytes: found as %v", p.form, kind, shift, got)
				}
			}
		}
	}
}

// A number is found in what the store makes of it.
func TestStoredNumber(t *testing.T) {
	c := New(newRandom(t), Number, "it")
	n, err := item.ParseNumber(c.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range [][]byte{item.AppendNumber(nil, n), fmt.Appendf(nil, "%x", []byte(n)), base64.StdEncoding.AppendEncode(nil, n), item.AppendJSON(nil, item.AppendNumber(nil, n))} {
		if len(found(c, b)) == 0 {
			t.Errorf("not found in %q", b)
		}
	}
}

func BenchmarkSearch(b *testing.B) {
	random := newRandom(b)
	s := NewScanner()
	for i := range 200 {
		s.Add(New(random, Kind(i%4), fmt.Sprint(i)))
	}
	data := make([]byte, 1<<20)
	for i := range data {
		data[i] = byte(random.Uint32())
	}
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		s.only(NewReport(), Plain, "", data)
	}
}
