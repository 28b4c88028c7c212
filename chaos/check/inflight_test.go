package check

import "testing"

func TestInFlightFinds(t *testing.T) {
	ledger := NewLedger()
	for i, w := range []Write{put("old", at(3, 1)), {Key: key, Kind: Delete, Stamp: at(5, 1)}, set("a", "x", at(9, 2))} {
		find(t, ledger.Add(Logged{Write: w, Lane: 1, Seq: uint64(i + 1)}), "")
	}
	until := func(t uint64) func(Logged) bool { return func(l Logged) bool { return l.Stamp.Time <= t<<16 } }
	for _, tc := range []struct {
		name    string
		purge   uint64
		applied func(Logged) bool
		saw     func(w, d Logged) bool
		want    string
	}{
		{"all is applied", 5, until(9), func(w, d Logged) bool { return false }, ""},
		{"its writer had seen the deletion", 5, until(5), func(w, d Logged) bool { return d.Stamp.Time <= 5<<16 }, ""},
		{"its writer had seen what came before", 5, until(5), func(w, d Logged) bool { return d.Stamp.Time <= 3<<16 }, "on its way"},
		{"the frontier is below the deletion", 4, until(5), func(w, d Logged) bool { return d.Stamp.Time <= 3<<16 }, ""},
		{"its writer had seen nothing", 3, until(5), func(w, d Logged) bool { return false }, "had not seen the one at 3"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			find(t, InFlight(1, key.Table, tc.purge<<16, ledger, tc.applied, tc.saw), tc.want)
		})
	}
}
