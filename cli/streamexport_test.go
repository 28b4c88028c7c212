package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/concordat-db/concordat/streams/export"
)

// lake is an S3 server with a bucket, whose keys are in the environment.
type lake struct {
	gofakes3.Backend
	url string
}

func newLake(t *testing.T) *lake {
	t.Helper()
	l := &lake{Backend: s3mem.New()}
	if err := l.CreateBucket("lake"); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(gofakes3.New(l.Backend, gofakes3.WithLogger(gofakes3.DiscardLog())).Server())
	t.Cleanup(server.Close)
	l.url = server.URL
	for name, value := range map[string]string{"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null", "AWS_EC2_METADATA_DISABLED": "true"} {
		t.Setenv(name, value)
	}
	return l
}

// text returns what is in the bucket under a name.
func (l *lake) text(t *testing.T, name string) []byte {
	t.Helper()
	o, err := l.GetObject("lake", name, nil)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	b, err := io.ReadAll(o.Contents)
	if err = errors.Join(err, o.Contents.Close()); err != nil {
		t.Fatal(err)
	}
	return b
}

// rows returns the rows that the manifest of an export as NDJSON names, and the manifest.
func (l *lake) rows(t *testing.T, folder string) (lines []string, m export.Manifest) {
	t.Helper()
	if err := json.Unmarshal(l.text(t, folder+"/manifest.json"), &m); err != nil {
		t.Fatal(err)
	}
	for _, part := range m.Parts {
		for line := range bytes.Lines(l.text(t, folder+"/"+part.Name)) {
			lines = append(lines, string(line))
		}
	}
	return lines, m
}

// TestStreamExportToBucket: changes and a snapshot of a real region go into a bucket, further changes into further parts, and pinned items only where their policy names the bucket.
func TestStreamExportToBucket(t *testing.T) {
	l, d := newLake(t), startDev(t)
	us, eu := d.ready.Regions[0].Admin, d.ready.Regions[1].Admin
	to := "s3://lake?prefix=daily/&region=eu-central-1&use_path_style=true&endpoint=" + l.url
	run := func(admin, out, diagnostics string, args ...string) {
		t.Helper()
		if got := command(t, append([]string{"--admin", admin}, args...)...); got.status != 0 || !strings.Contains(got.out, out) || !strings.Contains(got.err, diagnostics) {
			t.Fatalf("concordat %s: %q and %q are not in %+v", strings.Join(args, " "), out, diagnostics, got)
		}
	}
	put := func(region int, key string) {
		t.Helper()
		_, err := d.client(region).PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String("things"), Item: map[string]types.AttributeValue{
			"k": &types.AttributeValueMemberS{Value: key}, "at": &types.AttributeValueMemberS{Value: "x"}}})
		if err != nil {
			t.Fatal(err)
		}
	}
	createTable(t, d.client(0), "things", "k", "at")
	run(us, "in force", "", "policy", "apply", "-f", replicationFile(t, "stream: NEW_AND_OLD_IMAGES, regions: [us-east-1, eu-central-1]"), "--reason", "export", "--yes")
	pin := func(targets string) {
		t.Helper()
		run(us, "in force", "", "policy", "apply", "-f", localityFile(t, "eu-only", `, keyPrefix: "EU#"`, "pin: {jurisdictions: [EU]}, singleCopy: allowed"+targets), "--reason", "law", "--yes")
	}
	pin("")
	for i := range 3 {
		put(1, fmt.Sprint("free", i))
	}
	put(1, "EU#1")
	exported := func(name string, changes bool, rows int, withheld int64, parts int) {
		t.Helper()
		args := []string{"stream", "export", "--table", "things", "--to", to, "--format", "ndjson", "--name", name}
		if !changes {
			args = append(args, "--snapshot")
		}
		run(eu, fmt.Sprintf("%d rows", rows), "", args...)
		lines, m := l.rows(t, "daily/things/"+name)
		if len(lines) != rows || m.Rows != int64(rows) || m.Withheld != withheld || len(m.Parts) != parts || !m.Done || strings.Contains(strings.Join(lines, ""), "EU#") == (withheld > 0) {
			t.Errorf("%s: %q, %+v", name, lines, m)
		}
	}
	exported("changes", true, 3, 1, 1)
	exported("items", false, 3, 1, 1)
	pin(`, targets: ["` + to + `"]`)
	put(1, "EU#2")
	exported("all", true, 5, 0, 1)
	exported("allitems", false, 5, 0, 1)
	put(1, "free3")
	exported("all", true, 6, 0, 2)

	if got := command(t, "--admin", eu, "stream", "export", "--table", "things", "--to", strings.Replace(to, "lake", "none", 1)); got.status != 1 || !strings.Contains(got.err, "NoSuchBucket") {
		t.Errorf("into a bucket that there is not: %+v", got)
	}
	if got := command(t, "--admin", eu, "stream", "export", "--table", "things", "--to", "s3://lake/daily"); got.status != 2 || !strings.Contains(got.err, "say ?prefix=daily/") {
		t.Errorf("%+v", got)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	if got := command(t, "--admin", eu, "stream", "export", "--table", "things", "--to", to, "--name", "keyless"); got.status != 1 || !strings.Contains(got.err, "credentials") {
		t.Errorf("without a key: %+v", got)
	}
}
