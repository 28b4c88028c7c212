package dynamodb_test

import (
	"fmt"
	"testing"

	"github.com/cockroachdb/datadriven"
)

// TestStories plays the requests under testdata/stories one after the other against a region and compares the answers, word by word. A request is an operation's name, its body on the lines after it,
// and after ---- the status and the body of the answer. With -rewrite the answers are written anew: each is to be read before it is believed.
func TestStories(t *testing.T) {
	datadriven.Walk(t, "testdata/stories", func(t *testing.T, path string) {
		r := startRegion(t, memory(t), open)
		client := httpClient(t)
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			a := r.post(t, client, d.Cmd, d.Input)
			if d.Cmd == "CreateTable" && a.status == 200 {
				return "200\n" // the description has times and ids
			}
			return fmt.Sprintf("%d %s\n", a.status, a.body)
		})
	})
}
