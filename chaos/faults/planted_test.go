//go:build linux && planted

package faults

import (
	"fmt"
	"strings"
	"testing"
)

// tags are those with which the program is built.
const tags = "planted"

// TestPlanted plants a fault in all regions, and sees that the canary test finds what leaks, where it is to be found.
func TestPlanted(t *testing.T) {
	for fault, where := range map[string]string{
		"policies": "files of",
		"scrub":    "files of",
		// The items have gone, what was told of them has not.
		"kept telling": "files of",
	} {
		t.Run(fault, func(t *testing.T) {
			t.Setenv("CONCORDAT_PLANT", fault)
			s := newSovereign(t)
			var found []string
			s.complaint = func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
			s.open()
			stop := s.startWriters()
			s.awaitWrites(3)
			s.pinAll()
			s.awaitWrites(3)
			stop()
			s.turn("end", s.now.may)
			s.look("at the end")
			for _, f := range found {
				if strings.Contains(f, where) {
					t.Logf("found, among %d: %s", len(found), f)
					return
				}
			}
			t.Errorf("not found in %s; found: %q", where, found[:min(len(found), 5)])
		})
	}
}
