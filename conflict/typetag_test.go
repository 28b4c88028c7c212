package conflict

import "testing"

// TestTypeTagNames pins the names that documents have.
func TestTypeTagNames(t *testing.T) {
	for tag, name := range map[TypeTag]string{0: "register", 1: "counter", 2: "set", 3: "map", 4: "max", 5: "min"} {
		if got, err := ParseTypeTag(name); err != nil || got != tag || tag.String() != name {
			t.Errorf("%s: %d, %v; %d is %s", name, got, err, tag, tag)
		}
	}
	for _, name := range []string{"", "Counter", "none", "list", "type(6)", TypeTag(6).String()} {
		if _, err := ParseTypeTag(name); err == nil {
			t.Errorf("%q is taken for a type", name)
		}
	}
}
