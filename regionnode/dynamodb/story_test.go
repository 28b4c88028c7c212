package dynamodb_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/concordat-db/concordat/globaltable"
)

// TestStories plays the requests under testdata/stories one after the other against a region and compares the answers, word by word. A request is an operation's name, its body on the lines after it,
// and after ---- the status and the body of the answer, before it the header that says that it is partial, if it has that. The command policies gives a table, whose other regions are us-east-1 and ap-south-1, its locality policies. With -rewrite the answers are written anew: each is to be read before it is believed.
func TestStories(t *testing.T) {
	datadriven.Walk(t, "testdata/stories", func(t *testing.T, path string) {
		r := startRegion(t, memory(t), open)
		client := httpClient(t)
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			if d.Cmd == "policies" {
				var table string
				d.ScanArgs(t, "table", &table)
				var pins []globaltable.Pin
				if err := json.Unmarshal([]byte(d.Input), &pins); err != nil {
					t.Fatal(err)
				}
				r.pin(t, table, pins...)
				return "ok\n"
			}
			a := r.post(t, client, d.Cmd, d.Input)
			if partial := a.header.Get("x-concordat-partial"); partial != "" {
				return fmt.Sprintf("%d x-concordat-partial: %s\n%s\n", a.status, partial, a.body)
			}
			if d.Cmd == "CreateTable" && a.status == 200 {
				return "200\n" // the description has times and ids
			}
			return fmt.Sprintf("%d %s\n", a.status, a.body)
		})
	})
}
