package item

import (
	"strings"
	"testing"

	"github.com/valyala/fastjson"
)

// typical is a 1 KB item of 8 attributes.
var typical = `{"pk":{"S":"customer#8f14e45f"},"sk":{"N":"1763834400123"},"name":{"S":"Ada Lovelace"},"active":{"BOOL":true},"score":{"N":"-12.75"},` +
	`"tags":{"SS":["gold","early","eu"]},"address":{"M":{"city":{"S":"London"},"zip":{"S":"W1J 7NT"},"lat":{"N":"51.50853"}}},"notes":{"S":"` + strings.Repeat("lorem ipsum dolor sit amet ", 26) + `"}}`

func BenchmarkCheckJSON(b *testing.B) {
	text := []byte(typical)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if err := CheckJSON(text); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeItemJSON(b *testing.B) {
	v := fastjson.MustParse(typical)
	buf := make([]byte, 0, 2048)
	b.SetBytes(int64(len(typical)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeItemJSON(buf, v); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRequest is check, parse and decode together.
func BenchmarkRequest(b *testing.B) {
	text := []byte(typical)
	var p fastjson.Parser
	buf := make([]byte, 0, 2048)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if err := CheckJSON(text); err != nil {
			b.Fatal(err)
		}
		v, err := p.ParseBytes(text)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := DecodeItemJSON(buf, v); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncodeItemJSON(b *testing.B) {
	it := mustItem(b, typical)
	buf := make([]byte, 0, 2048)
	b.SetBytes(int64(len(typical)))
	b.ReportAllocs()
	for b.Loop() {
		buf = it.AppendJSON(buf[:0])
	}
}

func BenchmarkCheckItem(b *testing.B) {
	it := mustItem(b, typical)
	b.SetBytes(int64(len(it)))
	b.ReportAllocs()
	for b.Loop() {
		if err := CheckItem(it); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkGet(b *testing.B) {
	it := mustItem(b, typical)
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := it.GetString("score"); !ok {
			b.Fatal("missing")
		}
	}
}

func BenchmarkSize(b *testing.B) {
	it := mustItem(b, typical)
	b.ReportAllocs()
	for b.Loop() {
		if it.Size() == 0 {
			b.Fatal("empty")
		}
	}
}

func BenchmarkAppendKey(b *testing.B) {
	p, s := Value(AppendString(nil, "customer#8f14e45f")), Value(AppendInt(nil, 1763834400123))
	buf := make([]byte, 0, 256)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := AppendKey(buf, p, s); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeKey(b *testing.B) {
	k, err := AppendKey(nil, AppendString(nil, "customer#8f14e45f"), AppendInt(nil, 1763834400123))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := DecodeKey(k, true); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseNumber(b *testing.B) {
	for name, text := range map[string]string{"int": "1763834400123", "fraction": "-12.75", "long": "3.1415926535897932384626433832795028841"} {
		b.Run(name, func(b *testing.B) {
			buf := make([]byte, 0, 64)
			raw := []byte(text)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := AppendNumberText(buf, raw); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkFormatNumber(b *testing.B) {
	n, err := ParseNumber("1763834400123")
	if err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, 0, 256)
	b.ReportAllocs()
	for b.Loop() {
		buf = n.AppendText(buf[:0])
	}
}

func BenchmarkAppendSum(b *testing.B) {
	for name, text := range map[string]string{"ints": "1763834400123", "fractions": "12.75"} {
		b.Run(name, func(b *testing.B) {
			n, err := ParseNumber(text)
			if err != nil {
				b.Fatal(err)
			}
			buf := make([]byte, 0, 64)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := AppendSum(buf, n, n); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestReadingAllocatesNothing: the views, the sizes and the JSON of an item are made without garbage.
func TestReadingAllocatesNothing(t *testing.T) {
	it := mustItem(t, allTypes)
	v, _ := it.GetString("s")
	buf := make([]byte, 0, 4096)
	name := strings.Repeat("long", 100) // a copy of it would not fit a frame
	for what, f := range map[string]func(){
		"AppendJSON":       func() { it.AppendJSON(buf) },
		"AppendJSONString": func() { AppendJSONString(buf, name) },
		"GetString":        func() { it.GetString(name) },
		"Size":             func() { it.Size() },
		"CheckItem":        func() { _ = CheckItem(it) },
		"AppendKey":        func() { _, _ = AppendKey(buf, v, nil) },
		"AppendNumberText": func() { _, _ = AppendNumberText(buf, name[:0]+"12.5") },
	} {
		if n := testing.AllocsPerRun(100, f); n > 0 {
			t.Errorf("%s: %v allocations", what, n)
		}
	}
}
