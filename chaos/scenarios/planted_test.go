//go:build planted

package scenarios

import "testing"

// TestPlanted plays the stories of testdata/planted, in which simpler rules than PROTOCOL.md's show what they do. `plant NAME` plants one, from there to the end of the file.
func TestPlanted(t *testing.T) { playAll(t, "testdata/planted") }
