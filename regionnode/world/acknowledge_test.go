package world

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
)

// setAcknowledge sets the table's tag in a region, which need not own it, and waits until all regions know.
func (r *running) setAcknowledge(region, value string) {
	r.t.Helper()
	change := catalog.Change{Tag: map[string]string{globaltable.AcknowledgeTag: value}}
	if _, err := r.Node(region).ChangeTable(r.t.Context(), tableName, change); err != nil {
		r.t.Fatal(err)
	}
	r.until("all regions know what writes wait for", func() bool {
		for _, region := range r.ready.Regions {
			st := r.status(region)
			if len(st.Tables) != 1 || st.Tables[0].Acknowledge != value {
				return false
			}
		}
		return true
	})
}

// putItem is put with the error that the client got, nil for none.
func (r *running) putItem(region, id string) error {
	_, err := r.db[region].PutItem(r.t.Context(), &dynamodb.PutItemInput{TableName: aws.String(tableName), Item: map[string]types.AttributeValue{
		"id": &types.AttributeValueMemberS{Value: id}, "v": &types.AttributeValueMemberS{Value: id}}})
	return err
}

// expectFailure checks the exception that a client got.
func expectFailure(t *testing.T, err error, status int, name string, texts ...string) {
	t.Helper()
	var api smithy.APIError
	var answer *awshttp.ResponseError
	if !errors.As(err, &api) || !errors.As(err, &answer) || answer.HTTPStatusCode() != status || api.ErrorCode() != name {
		t.Errorf("%v; want %d %s", err, status, name)
		return
	}
	for _, text := range texts {
		if !strings.Contains(api.ErrorMessage(), text) {
			t.Errorf("the message is %q; want %q in it", api.ErrorMessage(), text)
		}
	}
}

// TestWritesWaitForPeers: a table whose writes are acknowledged by peers, while regions come and go.
func TestWritesWaitForPeers(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	cfg.Limits.AcknowledgeTimeout = 2 * time.Second
	w := runWorld(t, cfg)
	const us, eu, ap = "us-east-1", "eu-central-1", "ap-south-1"
	w.makeTable(us, eu, ap)
	w.put(eu, "before", "x")

	// With every region up, what is acknowledged is in one other region at least, at once.
	w.setAcknowledge(eu, "peers:1")
	for i := range 20 {
		w.put(us, fmt.Sprint("one ", i), "x")
		if w.get(eu, fmt.Sprint("one ", i)) == "" && w.get(ap, fmt.Sprint("one ", i)) == "" {
			t.Fatalf("write %d was acknowledged, and no peer has it", i)
		}
	}
	w.setAcknowledge(us, "peers:2")
	for i := range 20 {
		w.put(eu, fmt.Sprint("two ", i), "x")
		if w.get(us, fmt.Sprint("two ", i)) == "" || w.get(ap, fmt.Sprint("two ", i)) == "" {
			t.Fatalf("write %d was acknowledged, and not both peers have it", i)
		}
	}
	batch := map[string][]types.WriteRequest{}
	for i := range 25 { // of several commits
		batch[tableName] = append(batch[tableName], types.WriteRequest{PutRequest: &types.PutRequest{Item: map[string]types.AttributeValue{
			"id": &types.AttributeValueMemberS{Value: fmt.Sprint("batch ", i)}, "v": &types.AttributeValueMemberS{Value: strings.Repeat("v", 100<<10)}}}})
	}
	if out, err := w.db[us].BatchWriteItem(t.Context(), &dynamodb.BatchWriteItemInput{RequestItems: batch}); err != nil || len(out.UnprocessedItems) != 0 {
		t.Fatal(err)
	}
	for _, region := range w.ready.Regions {
		if n := w.status(region).Tables[0].Items; n != 1+20+20+25 {
			t.Fatalf("the batch was acknowledged, and %s has %d items", region.Name, n)
		}
	}

	// One peer is away: one is enough for peers:1, and not for peers:2.
	w.Cut(ap)
	unknown := func(peers string) string {
		return "The write is durable in us-east-1, and " + peers + " peers that the table asks for confirmed it in time. " +
			"Its outcome is unknown to the client: it may still reach the other regions"
	}
	expectFailure(t, w.putItem(us, "half"), http.StatusInternalServerError, "InternalServerError", unknown("1 of the 2"))
	if _, err := w.Node(us).ChangeTable(t.Context(), tableName, catalog.Change{Tag: map[string]string{globaltable.AcknowledgeTag: "peers:1"}}); err != nil {
		t.Fatal(err)
	}
	w.put(us, "other", "x")
	if w.get(eu, "other") == "" {
		t.Error("acknowledged, and the peer that is there does not have it")
	}

	// All are away.
	w.Cut(us)
	expectFailure(t, w.putItem(us, "lonely"), http.StatusInternalServerError, "InternalServerError", unknown("0 of the 1"))
	if w.get(us, "lonely") == "" {
		t.Error("the write is not even here")
	}
	w.Heal(us)
	w.Heal(ap)
	w.until("what nobody acknowledged is everywhere", func() bool {
		return w.get(eu, "lonely") != "" && w.get(ap, "lonely") != "" && w.get(ap, "half") != ""
	})

	// Without the tag nobody waits.
	if _, err := w.Node(ap).ChangeTable(t.Context(), tableName, catalog.Change{Untag: []string{globaltable.AcknowledgeTag}}); err != nil {
		t.Fatal(err)
	}
	w.until("us does not wait any more", func() bool { return w.status(w.ready.Regions[0]).Tables[0].Acknowledge == globaltable.AcknowledgeLocal })
	w.Cut(us)
	w.put(us, "alone", "x")
	w.Heal(us)
	w.converge(1 + 20 + 20 + 25 + 4)
}

// TestTooFewPeers: a table that wants more peers than it has takes no write, from the beginning, and takes them as soon as it has.
func TestTooFewPeers(t *testing.T) {
	t.Parallel()
	w := runWorld(t, config(t))
	const us, eu = "us-east-1", "eu-central-1"
	create := func(value string) error {
		_, err := w.db[us].CreateTable(t.Context(), &dynamodb.CreateTableInput{TableName: aws.String(tableName), BillingMode: types.BillingModePayPerRequest,
			KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String("id"), KeyType: types.KeyTypeHash}},
			AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String("id"), AttributeType: types.ScalarAttributeTypeS}},
			Tags:                 []types.Tag{{Key: aws.String(globaltable.AcknowledgeTag), Value: aws.String(value)}}})
		return err
	}
	expectFailure(t, create("peers:4"), http.StatusBadRequest, "ValidationException", `Tag concordat:acknowledge: "peers:4" is not known; it can be local, or peers:1 to peers:3`)
	if err := create("peers:1"); err != nil {
		t.Fatal(err)
	}
	const says = "Table orders wants its writes acknowledged by 1 of the other regions, and has 0 active replicas there. Nothing was done"
	expectFailure(t, w.putItem(us, "a"), http.StatusBadRequest, "ValidationException", says)
	_, err := w.db[us].BatchWriteItem(t.Context(), &dynamodb.BatchWriteItemInput{RequestItems: map[string][]types.WriteRequest{tableName: {{
		DeleteRequest: &types.DeleteRequest{Key: map[string]types.AttributeValue{"id": &types.AttributeValueMemberS{Value: "a"}}}}}}})
	expectFailure(t, err, http.StatusBadRequest, "ValidationException", says)
	if got := w.get(us, "a"); got != "" {
		t.Errorf("it was written: %q", got)
	}
	w.until("a replica can be made", func() bool { // the owner has to hear the others once
		_, err := w.Node(us).ChangeTable(t.Context(), tableName, catalog.Change{Create: []string{eu}})
		return err == nil
	})
	w.until("writes are taken", func() bool { return w.putItem(us, "a") == nil })
	if w.get(eu, "a") == "" {
		t.Error("acknowledged, and the only peer does not have it")
	}
}
