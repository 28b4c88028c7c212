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
	maps.Copy(t.Tags, map[string]string{Conflicts.AgeTag: "30d", Conflicts.BytesTag: "128MiB"})
	if err := t.FollowTags(); err != nil {
		panic(err)
	}
	return t
}

// streamingTable has a stream with a secret, and limits of its own for its records.
func streamingTable() *Table {
	t := settingsTable()
	t.Stream.Secret = []byte("0123456789abcdef")
	maps.Copy(t.Tags, map[string]string{StreamRecords.AgeTag: "7d", StreamRecords.BytesTag: "16GiB"})
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
		for key, value := range map[string]string{Conflicts.AgeTag: c.age, Conflicts.BytesTag: c.bytes} {
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
	for _, bad := range []Retention{{Seconds: 59}, {Seconds: -1}, {Seconds: 367 * 86400}, {Seconds: 1 << 62}, {Bytes: 1}, {Bytes: -1}, {Bytes: 1<<40 + 1}} {
		table := exampleTable()
		table.Conflicts = bad
		if table.Validate() == nil {
			t.Errorf("%+v is valid", bad)
		}
		table.Conflicts, table.Streams = Retention{}, bad
		if table.Validate() == nil {
			t.Errorf("%+v is valid for streams", bad)
		}
	}
	table := exampleTable()
	if table.Streams.Seconds = 36 * 86400; table.Validate() == nil {
		t.Error("stream records are kept for 36 days")
	}
}

func TestRetentionDefaults(t *testing.T) {
	for k, want := range map[*Kept]struct {
		age  time.Duration
		size int64
	}{Conflicts: {7 * day, 64 << 20}, StreamRecords: {day, 8 << 30}} {
		if k.Age(Retention{}) != want.age || k.Size(Retention{}) != want.size || k.Age(Retention{Seconds: 61}) != 61*time.Second || k.Size(Retention{Bytes: 7}) != 7 {
			t.Errorf("%s: %v, %d", k.what, k.Age(Retention{}), k.Size(Retention{}))
		}
	}
}

func TestStreamRetentionFollowsTags(t *testing.T) {
	table := exampleTable()
	maps.Copy(table.Tags, map[string]string{StreamRecords.AgeTag: "35d", StreamRecords.BytesTag: "1TiB", Conflicts.AgeTag: "366d"})
	if err := table.FollowTags(); err != nil || table.Streams != (Retention{35 * 86400, 1 << 40}) || table.Conflicts != (Retention{Seconds: 366 * 86400}) || table.Validate() != nil {
		t.Errorf("%v, %+v, %v", err, table.Streams, table.Validate())
	}
	if err := CheckShared(table.Tags); err != nil {
		t.Error(err)
	}
	table.Tags[StreamRecords.AgeTag] = "36d"
	if err := table.FollowTags(); KindOf(err) != Invalid || !strings.Contains(err.Error(), `Tag concordat:stream-age: "36d" is not known; it can be a time from 1m to 35d in whole seconds`) || table.Streams.Seconds != 35*86400 {
		t.Error(err)
	}
}

func TestRetentionTags(t *testing.T) {
	tag, untag, err := StreamRecords.Tags("36h", "default")
	if err != nil || len(tag) != 1 || tag[StreamRecords.AgeTag] != "36h" || len(untag) != 1 || untag[0] != StreamRecords.BytesTag {
		t.Errorf("%v %v %v", tag, untag, err)
	}
	tag, untag, err = Conflicts.Tags("36h", "default")
	if err != nil || len(tag) != 1 || tag[Conflicts.AgeTag] != "36h" || len(untag) != 1 || untag[0] != Conflicts.BytesTag {
		t.Errorf("%v %v %v", tag, untag, err)
	}
	if _, _, err := Conflicts.Tags("x", "y"); KindOf(err) != Invalid || !strings.Contains(err.Error(), `conflicts' age: "x"`) || !strings.Contains(err.Error(), `conflicts' bytes: "y"`) {
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
