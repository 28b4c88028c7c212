package conflict

import (
	"errors"
	"strings"
	"testing"
)

func TestPath(t *testing.T) {
	path := func(names ...string) (b []byte) {
		for _, name := range names {
			b = AppendPath(b, []byte(name))
		}
		return b
	}
	if got := string(path("a", "", "bc")); got != "\x02a\x01\x03bc" {
		t.Errorf("%q", got)
	}
	seen := map[string]bool{}
	for _, names := range [][]string{{"a", "b"}, {"ab", ""}, {"", "ab"}, {"a", "", "b"}, {"a", "b", ""}, {"\x02", "a"}, {"a\x02", "b"}, {strings.Repeat("x", 200), "y"}, {"y", strings.Repeat("x", 200)}} {
		b := path(names...)
		if !isPath(b) || seen[string(b)] {
			t.Errorf("%q: %q", names, b)
		}
		seen[string(b)] = true
		if isPath(b[:len(b)-1]) && b[len(b)-1] != 1 {
			t.Errorf("%q without its last byte is a path", b)
		}
	}
	for _, wrong := range []string{"", "\x02a", "\x02a\x00", "\x02a\x03b", "\x02a\x82\x00b", "\x80", string(path("a", "b")) + "\xff"} {
		if isPath([]byte(wrong)) {
			t.Errorf("%q is a path", wrong)
		}
	}
	// Until paths are merged a change with one is refused, not skipped.
	c := Change{Key: []byte("k"), Dot: stamp(10, 1), Ops: []Op{{Kind: OpSetPath, Type: TypeMap, Name: path("a", "b"), Value: []byte{0}}}}
	if _, err := c.Delta(); !errors.Is(err, ErrUnsupported) {
		t.Error(err)
	}
	c.Ops = []Op{{Kind: OpRemovePath, Type: TypeMap, Name: []byte("\x02a")}}
	if _, err := c.Delta(); !errors.Is(err, ErrCorrupt) {
		t.Error(err)
	}
}
