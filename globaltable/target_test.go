package globaltable

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestNamesTarget(t *testing.T) {
	for _, c := range []struct {
		prefix, address string
		named           bool
	}{
		{"https://a.example", "https://a.example/x/y?z", true},
		{"https://a.example", "https://a.example", true},
		{"https://a.example/", "https://a.example", true},
		{"https://a.example", "HTTPS://A.EXAMPLE:443/x", true},
		{"https://a.example:443/x", "https://a.example/x", true},
		{"https://a.example", "https://a.example./x", true},
		{"https://a.example/x", "https://a.example/x/", true},
		{"https://a.example/x/", "https://a.example/x/y", true},
		{"https://a.example/x", "https://a.example/x?y=/../z", true},
		{"http://127.0.0.1:80/x", "http://127.0.0.1/x", true},
		{"s3://bucket/eu?region=eu-1", "s3://bucket/eu/orders?region=eu-1", true},
		{"file:///data/eu", "file:///data/eu/orders", true},

		{"https://a.example", "http://a.example", false},
		{"https://a.example", "https://a.example.org", false},
		{"https://a.example", "https://b.a.example", false},
		{"https://a.example", "https://a.example:8443", false},
		{"https://a.example:8443", "https://a.example", false},
		{"https://a.example/x", "https://a.example", false},
		{"https://a.example/x", "https://a.example/xy", false},
		{"https://a.example/x", "https://a.example/X", false},
		{"https://a.example/x", "https://a.example//x", false},
		{"https://a.example/x", "https://a.example/y/x", false},
		{"https://a.example/x", "https://a.example/%78", false}, // the same to a server, perhaps; as it is written it is another
		{"https://a.example/x", "https://a.example/x/../y", false},
		{"https://a.example/x", "https://a.example/x/./y", false},
		{"https://a.example/x", "https://a.example/x/%2e%2E/y", false},
		{"https://a.example/x", "https://a.example/x/%2e%2e%2fy", false},
		{"https://a.example/x", "https://a.example/x/..%5cy", false},
		{"https://a.example/x", "https://a.example/x/..\\y", false},
		{"https://a.example", "https://u@a.example/x", false},
		{"https://a.example", "https://a.example@b.example/x", false},
		{"https://a.example", "https://a.example#/x", false},
		{"https://a.example", "//a.example/x", false},
		{"https://a.example", "https:a.example", false},
		{"https://a.example", "", false},
		{"s3://bucket/eu", "s3://bucket/eu?endpoint=https://b.example", false},
		{"s3://bucket/eu", "s3://bucket?prefix=eu/", false},
		{"s3://bucket", "gs://bucket", false},
		{"file:///data/eu", "file:///data/eu2", false},
		{"file:///data/eu", "file:///data/eu/../us", false},
		{"file:///data/eu", "file://host/data/eu", false},
		{"file:///data/eu", "/data/eu", false},
	} {
		if err := ValidatePinTarget(c.prefix); err != nil {
			t.Errorf("%s: %v", c.prefix, err)
		}
		p := Pin{Targets: []string{"https://other.example", c.prefix}}
		if got := p.NamesTarget(c.address); got != c.named {
			t.Errorf("%s names %s: %v", c.prefix, c.address, got)
		}
	}
	if (&Pin{}).NamesTarget("https://a.example") {
		t.Error("a policy that names nothing names something")
	}
}

func TestValidatePinTarget(t *testing.T) {
	for _, bad := range []string{"", "a.example", "https://", "https:///x", "https://a:0", "https://a:65536", "https://a:", "https://u:p@a", "https://a/#x", "https://a/../b", "https://a/%2E", "https://a/b?c", "http://a.example", "mailto:a@b",
		"file://host/x", "file:x", "https://a b", "https://a/b c", "https://" + strings.Repeat("a", MaxPinTargetLen)} {
		if err := ValidatePinTarget(bad); KindOf(err) != Invalid {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// TestTargetsBelow: what is made by adding to a target is below it, and what is made by changing its host or a segment of it is not.
func TestTargetsBelow(t *testing.T) {
	segments := rapid.SliceOfN(rapid.StringMatching(`[a-z0-9%]{1,6}`), 0, 4)
	rapid.Check(t, func(t *rapid.T) {
		path := segments.Draw(t, "path")
		prefix := strings.Join(append([]string{"https://a.example"}, path...), "/")
		if ValidatePinTarget(prefix) != nil {
			t.Skip("a wrong escape, or a dot")
		}
		p := Pin{Targets: []string{prefix}}
		below := strings.Join(append([]string{prefix}, rapid.SliceOfN(rapid.StringMatching(`[a-z]{1,6}`), 0, 3).Draw(t, "more")...), "/")
		if !p.NamesTarget(below) {
			t.Fatalf("%s does not name %s", prefix, below)
		}
		other := strings.Replace(below, "a.example", rapid.SampledFrom([]string{"a.example.org", "b.example", "a.example:444", "a@b.example"}).Draw(t, "host"), 1)
		if p.NamesTarget(other) {
			t.Fatalf("%s names %s", prefix, other)
		}
		if i := rapid.IntRange(0, len(path)).Draw(t, "segment"); i < len(path) {
			changed := append([]string{"https://a.example"}, path...)
			changed[i+1] += "x"
			if other := strings.Join(changed, "/"); p.NamesTarget(other) {
				t.Fatalf("%s names %s", prefix, other)
			}
		}
	})
}

// FuzzNamesTarget: no address panics, and one that is named is one that a policy may name, of the same host.
func FuzzNamesTarget(f *testing.F) {
	f.Add("https://a.example/x/../y")
	f.Add("https://a.example/x/y?z")
	f.Add("https://[::1]:x/")
	f.Fuzz(func(t *testing.T, address string) {
		p := Pin{Targets: []string{"https://a.example/x"}}
		if p.NamesTarget(address) && (!strings.HasPrefix(strings.ToLower(address), "https://a.example") || !strings.Contains(address, "/x")) {
			t.Fatalf("%q is named", address)
		}
	})
}
