package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// readmeBlock returns the code block of the README in the language given that holds the text.
func readmeBlock(t *testing.T, language, text string) string {
	t.Helper()
	b, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range strings.Split(string(b), "```"+language+"\n")[1:] {
		if block, _, ok := strings.Cut(block, "\n```"); ok && strings.Contains(block, text) {
			return block
		}
	}
	t.Fatalf("the README has no %s block with %q", language, text)
	return ""
}

// The first table of the README works as it is written, but for the ports. Where the AWS CLI is not installed, its part is done through the SDK.
func TestReadmeFirstTable(t *testing.T) {
	d := startDev(t)
	ports := strings.NewReplacer("http://127.0.0.1:8000", d.ready.Regions[0].DynamoDB, "http://127.0.0.1:8001", d.ready.Regions[1].DynamoDB)

	shell := "set -e\n" + ports.Replace(readmeBlock(t, "sh", "create-table"))
	if _, err := exec.LookPath("aws"); err != nil {
		t.Log("the AWS CLI is not here: its part of the README is not tested")
		makeMusic(t, d)
	} else if out, err := exec.CommandContext(t.Context(), "bash", "-c", shell).CombinedOutput(); err != nil || !strings.Contains(string(out), `"1997"`) {
		t.Fatalf("%v:\n%s", err, out)
	}

	// The program stands in the tree too, so that what it imports is in go.mod.
	program := readmeBlock(t, "go", "package main")
	if b, err := os.ReadFile("../deployments/examples/first-table/main.go"); err != nil || strings.TrimSpace(string(b)) != program {
		t.Fatalf("deployments/examples/first-table/main.go is not the README's program (%v)", err)
	}
	main := filepath.Join(t.TempDir(), "main.go")
	if err := os.WriteFile(main, []byte(ports.Replace(program)), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "go", "run", main).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "in us-east-1 after ") {
		t.Errorf("%v:\n%s", err, out)
	}
}

// makeMusic makes the README's table, in two regions.
func makeMusic(t *testing.T, d *dev) {
	t.Helper()
	createTable(t, d.client(0), "music", "artist", "song")
	_, err := d.client(0).UpdateTable(t.Context(), &dynamodb.UpdateTableInput{
		TableName:      aws.String("music"),
		ReplicaUpdates: []types.ReplicationGroupUpdate{{Create: &types.CreateReplicationGroupMemberAction{RegionName: aws.String("eu-central-1")}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	waitForTable(t, d.client(1), "music")
}
