package world

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/regionnode/admin"
	"github.com/concordat-db/concordat/streams/egress"
)

// pin gives the table locality policies, and waits until all regions know of them.
func (r *running) pin(region string, pins ...globaltable.Pin) {
	r.t.Helper()
	r.change(region, catalog.Change{Pins: &catalog.PinChange{Set: pins}})
}

func european(prefix string, foreign globaltable.Foreign) globaltable.Pin {
	return globaltable.Pin{Name: "european", Match: globaltable.Match{KeyPrefix: prefix}, Jurisdictions: []string{"EU"}, Foreign: foreign, SingleCopy: true}
}

// header returns a header of an answer.
func header(t *testing.T, m middleware.Metadata, name string) string {
	t.Helper()
	answer, ok := awsmiddleware.GetRawResponse(m).(*smithyhttp.Response)
	if !ok {
		t.Fatal("no answer")
	}
	return answer.Header.Get(name)
}

// canary is a value that occurs nowhere else.
func canary(t *testing.T) string {
	t.Helper()
	var b [32]byte
	if _, err := rand.Read(b[:]); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(b[:])
}

// files returns how many files of a region have the text in them.
func (r *running) files(region, text string) (n int) {
	r.t.Helper()
	err := filepath.WalkDir(filepath.Join(r.cfg.DataDir, region), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if bytes.Contains(b, []byte(text)) {
			n++
		}
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return n
}

// TestForward: clients of two regions work on items that are pinned to a third one. Each request is done there and nowhere else; with the region out of reach they hear so, and what it was that kept them.
func TestForward(t *testing.T) {
	t.Parallel()
	w := runWorld(t, config(t))
	const us, eu, ap = "us-east-1", "eu-central-1", "ap-south-1"
	w.makeTable(us, eu, ap)
	w.put(us, "free", "x")
	w.converge(1)
	w.pin(ap, european("EU#", globaltable.Forward))
	ctx, tab, secret := t.Context(), aws.String(tableName), canary(t)

	put, err := w.db[us].PutItem(ctx, &dynamodb.PutItemInput{TableName: tab, Item: attributes{"id": str("EU#1"), "v": str(secret)}})
	if err != nil || header(t, put.ResultMetadata, "x-concordat-forwarded") != eu {
		t.Fatal(err)
	}
	for _, region := range []string{us, ap, eu} {
		got, err := w.db[region].GetItem(ctx, &dynamodb.GetItemInput{TableName: tab, Key: attributes{"id": str("EU#1")}})
		if by := header(t, got.ResultMetadata, "x-concordat-forwarded"); err != nil || got.Item["v"].(*types.AttributeValueMemberS).Value != secret || (by == eu) != (region != eu) {
			t.Errorf("%s: by %q, %v, %v", region, by, got.Item, err)
		}
	}
	// As large as an item can be, and a transaction that does not go into one message.
	noise := make([]byte, 390<<10)
	if _, err := rand.Read(noise); err != nil {
		t.Fatal(err)
	}
	var writes []types.TransactWriteItem
	for i := range 9 {
		writes = append(writes, types.TransactWriteItem{Put: &types.Put{TableName: tab, Item: attributes{"id": str(fmt.Sprint("EU#large", i)), "v": &types.AttributeValueMemberB{Value: noise}}}})
	}
	writes = append(writes, types.TransactWriteItem{Delete: &types.Delete{TableName: tab, Key: attributes{"id": str("free")}}})
	if _, err := w.db[us].TransactWriteItems(ctx, &dynamodb.TransactWriteItemsInput{TransactItems: writes, ClientRequestToken: aws.String("once")}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.db[us].TransactWriteItems(ctx, &dynamodb.TransactWriteItemsInput{TransactItems: writes, ClientRequestToken: aws.String("once")}); err != nil {
		t.Fatal(err)
	}
	var reads []types.TransactGetItem
	for i := range 9 {
		reads = append(reads, types.TransactGetItem{Get: &types.Get{TableName: tab, Key: attributes{"id": str(fmt.Sprint("EU#large", i))}}})
	}
	moment, err := w.db[ap].TransactGetItems(ctx, &dynamodb.TransactGetItemsInput{TransactItems: reads})
	if err != nil || len(moment.Responses) != 9 || !bytes.Equal(moment.Responses[8].Item["v"].(*types.AttributeValueMemberB).Value, noise) {
		t.Fatalf("%v", err)
	}
	statement, err := w.db[us].ExecuteStatement(ctx, &dynamodb.ExecuteStatementInput{Statement: aws.String("SELECT v FROM " + tableName + " WHERE id = 'EU#1'")})
	if err != nil || len(statement.Items) != 1 {
		t.Errorf("%v, %v", statement, err)
	}
	w.until("what the transaction deleted is gone here, too", func() bool { return w.get(us, "free") == "" })
	scan, err := w.db[us].Scan(ctx, &dynamodb.ScanInput{TableName: tab})
	if err != nil || scan.Count != 0 || scan.ScannedCount != 0 || header(t, scan.ResultMetadata, "x-concordat-partial") != "european" {
		t.Errorf("%d of %d, %v", scan.Count, scan.ScannedCount, err)
	}
	page, err := w.db[eu].Query(ctx, &dynamodb.QueryInput{TableName: tab, KeyConditionExpression: aws.String("id = :id"), ExpressionAttributeValues: attributes{":id": str("EU#1")}})
	if err != nil || page.Count != 1 || header(t, page.ResultMetadata, "x-concordat-partial") != "" {
		t.Errorf("%d, %v", page.Count, err)
	}
	if text := w.metricsOf(us); !strings.Contains(text, `concordat_forwarded_requests_total{answered="true",peer="eu-central-1",region="us-east-1",side="asked"}`) {
		t.Error("what was forwarded is not counted")
	}
	if text := w.metricsOf(eu); !strings.Contains(text, `concordat_forwarded_bytes_total{peer="us-east-1",region="eu-central-1",side="served",way="out"}`) {
		t.Error("what was served is not counted")
	}
	// And in both ledgers: the large requests went one way, the large answers the other.
	const large = 9 * 390 << 10
	if a := w.egress(w.ready.Regions[0], eu, egress.Forward); a.Count < 4 || a.Bytes < large {
		t.Errorf("the ledger of %s: %d, %d bytes", us, a.Count, a.Bytes)
	}
	if a := w.egress(w.ready.Regions[1], ap, egress.Forward); a.Count < 2 || a.Bytes < large {
		t.Errorf("the ledger of %s: %d, %d bytes", eu, a.Count, a.Bytes)
	}

	w.Cut(eu)
	w.until("eu is out of reach", func() bool { return w.pair(us, eu).State == admin.StateDisconnected })
	gone := "Locality policy european has the request forwarded, and none of the regions that may serve it answers: eu-central-1. Nothing was done; a retry may succeed"
	expectFailure(t, w.putItem(us, "EU#2"), http.StatusServiceUnavailable, "ServiceUnavailableException", gone)
	_, err = w.db[us].GetItem(ctx, &dynamodb.GetItemInput{TableName: tab, Key: attributes{"id": str("EU#1")}})
	expectFailure(t, err, http.StatusServiceUnavailable, "ServiceUnavailableException", gone)
	w.put(us, "here", "x") // what is not pinned goes on
	w.Heal(eu)
	w.until("eu can be reached again", func() bool { return w.putItem(us, "EU#3") == nil })

	for _, region := range w.ready.Regions {
		if alarms := w.status(region).Alarms; len(alarms) > 0 {
			t.Errorf("%s: %v", region.Name, alarms)
		}
	}
	w.stop()
	if w.files(us, secret)+w.files(ap, secret) > 0 || w.files(eu, secret) == 0 {
		t.Errorf("the value is in files of us %d, ap %d, eu %d", w.files(us, secret), w.files(ap, secret), w.files(eu, secret))
	}
}

// metricsOf returns what a region exports.
func (r *running) metricsOf(region string) string {
	r.t.Helper()
	for _, one := range r.ready.Regions {
		if one.Name != region {
			continue
		}
		answer, err := r.http.Get(one.Admin + "/metrics")
		if err != nil {
			r.t.Fatal(err)
		}
		defer answer.Body.Close()
		b, err := io.ReadAll(answer.Body)
		if err != nil {
			r.t.Fatal(err)
		}
		return string(b)
	}
	r.t.Fatal("no region ", region)
	return ""
}

// pair returns what region says of the replication from origin.
func (r *running) pair(region, origin string) admin.Pair {
	r.t.Helper()
	for _, one := range r.ready.Regions {
		if one.Name != region {
			continue
		}
		for _, p := range r.status(one).Pairs {
			if p.From == origin && p.To == region {
				return p
			}
		}
	}
	return admin.Pair{}
}

// TestForwardOfUnknownOutcome: the region is cut off with the request on its way: nobody knows, and nobody else is asked.
func TestForwardOfUnknownOutcome(t *testing.T) {
	t.Parallel()
	w := runWorld(t, config(t))
	const us, eu, ap = "us-east-1", "eu-central-1", "ap-south-1"
	w.makeTable(us, eu, ap)
	abroad := globaltable.Pin{Name: "abroad", Match: globaltable.Match{KeyPrefix: "X#"}, Regions: []string{ap, eu}, Foreign: globaltable.Forward}
	w.pin(us, abroad)
	w.until("it is forwarded", func() bool { return w.putItem(us, "X#1") == nil })
	w.Cut(ap) // the first in the order of the document; us has not noticed yet
	err := w.putItem(us, "X#2")
	if w.pair(us, ap).State != admin.StateDisconnected {
		expectFailure(t, err, http.StatusInternalServerError, "InternalServerError", "The request was forwarded to ap-south-1, as locality policy abroad says, and no answer came. Its outcome is unknown: it may have been done there or not")
	}
	// A read is asked of the other one, and so is everything as soon as it is known that the first one cannot be reached.
	w.until("us knows", func() bool { return w.pair(us, ap).State == admin.StateDisconnected })
	began := time.Now()
	out, err := w.db[us].PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String(tableName), Item: attributes{"id": str("X#3")}})
	if err != nil || header(t, out.ResultMetadata, "x-concordat-forwarded") != eu {
		t.Errorf("after %v: %v", time.Since(began), err)
	}
}

// TestAcknowledgeWhereTheItemMayBe: a write waits for the regions that may have it, and for no other.
func TestAcknowledgeWhereTheItemMayBe(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	cfg.Limits.AcknowledgeTimeout = 2 * time.Second
	w := runWorld(t, cfg)
	const us, eu, ap = "us-east-1", "eu-central-1", "ap-south-1"
	w.makeTable(us, eu, ap)
	w.setAcknowledge(us, "peers:1")
	w.pin(us, globaltable.Pin{Name: "two", Match: globaltable.Match{KeyPrefix: "X#"}, Regions: []string{ap, eu}, Foreign: globaltable.Reject}, european("EU#", globaltable.Reject))
	for i := range 10 {
		w.put(eu, fmt.Sprint("X#", i), "x")
		if w.get(ap, fmt.Sprint("X#", i)) == "" {
			t.Fatalf("write %d was acknowledged, and ap does not have it", i)
		}
	}
	expectFailure(t, w.putItem(eu, "EU#1"), http.StatusBadRequest, "ValidationException", "wants its writes acknowledged by 1 of the other regions, and locality policy european lets the item be in 0 of them")
	w.Cut(ap)
	// us is there, and may not have it: it does not count.
	expectFailure(t, w.putItem(eu, "X#lonely"), http.StatusInternalServerError, "InternalServerError", "0 of the 1 peers")
	w.put(eu, "free", "x")
	w.Heal(ap)
	w.until("what nobody acknowledged comes", func() bool { return w.get(ap, "X#lonely") != "" })
}

// TestConflictsOfPinnedItems: where an item may not be, nothing is told of its conflicts, by no command.
func TestConflictsOfPinnedItems(t *testing.T) {
	t.Parallel()
	w := runWorld(t, config(t))
	const us, eu, ap = "us-east-1", "eu-central-1", "ap-south-1"
	w.makeTable(us, eu, ap)
	w.Cut(eu)
	w.put(eu, "EU#1", "theirs")
	w.put(us, "EU#1", "mine")
	w.put(eu, "free", "theirs")
	w.put(us, "free", "mine")
	w.Heal(eu)
	all := w.listed(2, w.ready.Regions...)
	w.pin(us, european("EU#", globaltable.Reject))
	for _, region := range w.ready.Regions {
		want := 1
		if region.Name == eu {
			want = 2
		}
		got := w.listed(want, region)
		if _, shown := got["EU#1"]; shown != (region.Name == eu) {
			t.Errorf("%s lists %v", region.Name, got)
		}
		answer, err := w.http.Get(region.Admin + "/v1/conflicts/" + all["EU#1"].ID)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		if (answer.StatusCode == http.StatusOK) != (region.Name == eu) || strings.Contains(string(b), "theirs") != (region.Name == eu) {
			t.Errorf("%s shows %d %s", region.Name, answer.StatusCode, b)
		}
		if _, status := w.restore(region, all["EU#1"].ID, admin.RestoreConflict{Write: true}); (status == http.StatusOK) != (region.Name == eu) {
			t.Errorf("%s restores: %d", region.Name, status)
		}
		stats := w.conflicts(region, "/stats")
		if strings.Contains(stats, `"listed": 2`) != (region.Name == eu) {
			t.Errorf("%s: %s", region.Name, stats)
		}
		tail := w.conflicts(region, "/tail?after=1&wait=0")
		if strings.Contains(tail, "EU#1") != (region.Name == eu) || !strings.Contains(tail, "free") {
			t.Errorf("%s: %s", region.Name, tail)
		}
	}
}
