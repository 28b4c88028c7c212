package globaltable

import (
	"maps"
	"strings"
	"testing"
	"time"
)

// listingTable has limits of its own for its conflicts.
func listingTable() *Table {
	t := settingsTable()
	maps.Copy(t.Tags, map[string]string{ConflictAgeTag: "30d", ConflictBytesTag: "128MiB"})
	if err := t.FollowTags(); err != nil {
		panic(err)
	}
	return t
}

func TestRetentionFollowsTags(t *testing.T) {
	for i, c := range []struct {
		age, bytes string // empty: no tag
		want       Retention
		fault      string
	}{
		{"", "", Retention{}, ""},
		{"default", "default", Retention{}, ""},
		{"30d", "128MiB", Retention{30 * 86400, 128 << 20}, ""},
		{"1m", "1048576", Retention{60, 1 << 20}, ""},
		{"366d", "1TiB", Retention{366 * 86400, 1 << 40}, ""},
		{"59s", "", Retention{}, `Tag concordat:conflict-age: "59s" is not known; it can be a time from 1m to 366d in whole seconds, like 30d or 36h, or default`},
		{"367d", "", Retention{}, `"367d" is not known`},
		{"90.5s", "", Retention{}, `"90.5s" is not known`},
		{"", "1MB", Retention{}, `Tag concordat:conflict-bytes: "1MB" is not known; it can be a size from 1MiB to 1TiB, like 128MiB, or default`},
		{"", "2TiB", Retention{}, `"2TiB" is not known`},
		{"0d", "1", Retention{}, `"0d" is not known; it can be a time from 1m to 366d in whole seconds, like 30d or 36h, or default; Tag concordat:conflict-bytes: "1" is not known`},
	} {
		table := exampleTable()
		table.Tags, table.Conflicts = map[string]string{}, Retention{Seconds: 99}
		for key, value := range map[string]string{ConflictAgeTag: c.age, ConflictBytesTag: c.bytes} {
			if value != "" {
				table.Tags[key] = value
			}
		}
		err := table.FollowTags()
		switch {
		case c.fault != "":
			if KindOf(err) != Invalid || !strings.Contains(err.Error(), c.fault) || table.Conflicts.Seconds != 99 {
				t.Errorf("case %d: %v, %+v", i, err, table.Conflicts)
			}
		case err != nil || table.Conflicts != c.want || table.Validate() != nil:
			t.Errorf("case %d: %v, %+v, %v", i, err, table.Conflicts, table.Validate())
		}
	}
	if r := (Retention{}); r.Age() != 7*24*time.Hour || r.Size() != 64<<20 {
		t.Error(r.Age(), r.Size())
	}
	for _, bad := range []Retention{{Seconds: 59}, {Seconds: -1}, {Seconds: 367 * 86400}, {Seconds: 1 << 62}, {Bytes: 1}, {Bytes: -1}, {Bytes: 1<<40 + 1}} {
		table := exampleTable()
		table.Conflicts = bad
		if table.Validate() == nil {
			t.Errorf("%+v is valid", bad)
		}
	}
}

func TestRetentionTags(t *testing.T) {
	tag, untag, err := RetentionTags("36h", "default")
	if err != nil || len(tag) != 1 || tag[ConflictAgeTag] != "36h" || len(untag) != 1 || untag[0] != ConflictBytesTag {
		t.Errorf("%v %v %v", tag, untag, err)
	}
	if _, _, err := RetentionTags("x", "y"); KindOf(err) != Invalid || !strings.Contains(err.Error(), `conflicts' age: "x"`) || !strings.Contains(err.Error(), `conflicts' bytes: "y"`) {
		t.Error(err)
	}
}

// TestAgesAndSizes writes and reads again.
func TestAgesAndSizes(t *testing.T) {
	for text, d := range map[string]time.Duration{"7d": 7 * day, "36h": 36 * time.Hour, "1m": time.Minute, "1m30s": 90 * time.Second, "1h1m": 61 * time.Minute, "45s": 45 * time.Second} {
		if got, err := ParseAge(text); err != nil || got != d || FormatAge(d) != text {
			t.Errorf("%s: %v %v %s", text, got, err, FormatAge(d))
		}
	}
	for _, bad := range []string{"", "d", "0d", "-1d", "1.5d", "1d2h", "0s", "-5m", "106752d", "seven"} {
		if d, err := ParseAge(bad); err == nil {
			t.Errorf("%q was taken as %v", bad, d)
		}
	}
	for text, n := range map[string]int64{"1": 1, "1KiB": 1 << 10, "1025": 1025, "64MiB": 64 << 20, "1TiB": 1 << 40, "2048TiB": 2 << 50, "1025KiB": 1025 << 10} {
		if got, err := ParseSize(text); err != nil || got != n || FormatSize(n) != text {
			t.Errorf("%s: %v %v %s", text, got, err, FormatSize(n))
		}
	}
	for _, bad := range []string{"", "0", "-1", "1.5GiB", "9223372036854775807KiB", "GiB", "1 GB"} {
		if n, err := ParseSize(bad); err == nil {
			t.Errorf("%q was taken as %d", bad, n)
		}
	}
}
