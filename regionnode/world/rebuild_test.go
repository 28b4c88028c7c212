package world

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/concordat-db/concordat/regionnode/admin"
	"github.com/concordat-db/concordat/streams/repair"
)

// admin asks a region's admin API, and decodes the answer into into.
func (r *running) admin(method, region, path string, into any) int {
	r.t.Helper()
	for _, g := range r.ready.Regions {
		if g.Name != region {
			continue
		}
		req, err := http.NewRequestWithContext(r.t.Context(), method, g.Admin+path, nil)
		if err != nil {
			r.t.Fatal(err)
		}
		answer, err := r.http.Do(req)
		if err != nil {
			return 0 // it is being opened again
		}
		if err := errors.Join(json.NewDecoder(answer.Body).Decode(into), answer.Body.Close()); err != nil {
			r.t.Fatal(err)
		}
		return answer.StatusCode
	}
	r.t.Fatalf("no region %s", region)
	return 0
}

// rebuild has a region rebuilt that has to be for the reason given, and waits until it serves.
func (r *running) rebuild(region, reason string) (saved uint64) {
	r.t.Helper()
	var state admin.Rebuild
	r.until(region+" knows that it has to be rebuilt", func() bool {
		return r.admin(http.MethodGet, region, "/v1/rebuild", &state) == http.StatusOK && state.Step == "needed" && state.Reason == reason
	})
	for what, err := range map[string]error{"read": r.tryGet(region), "write": r.tryPut(region)} {
		if err == nil || !strings.Contains(err.Error(), "concordat region rebuild") {
			r.t.Errorf("a %s in %s before it was rebuilt: %v", what, region, err)
		}
	}
	return r.comeBack(region)
}

// comeBack has a region rebuilt, and waits until it serves.
func (r *running) comeBack(region string) (saved uint64) {
	r.t.Helper()
	var state admin.Rebuild
	if code := r.admin(http.MethodPost, region, "/v1/rebuild", &state); code != http.StatusOK {
		r.t.Fatalf("%d %+v", code, state)
	}
	r.until(region+" is rebuilt", func() bool {
		code := r.admin(http.MethodGet, region, "/v1/rebuild", &state)
		if state.Saved > 0 {
			saved = state.Saved
		}
		return code == http.StatusOK && state.Step == "none"
	})
	return saved
}

func (r *running) tryGet(region string) error {
	_, err := r.db[region].GetItem(r.t.Context(), &dynamodb.GetItemInput{TableName: aws.String(tableName), Key: map[string]types.AttributeValue{"id": &types.AttributeValueMemberS{Value: "x"}}})
	return err
}

func (r *running) tryPut(region string) error {
	_, err := r.db[region].PutItem(r.t.Context(), &dynamodb.PutItemInput{TableName: aws.String(tableName), Item: map[string]types.AttributeValue{"id": &types.AttributeValueMemberS{Value: "x"}}})
	return err
}

// converged waits until all regions have the items, and compares them record by record.
func (r *running) converged(items int64) {
	r.t.Helper()
	r.converge(items)
	for _, v := range r.verify("/v1/verify") {
		if v.State != repair.Converged || v.Tables[0].Items != uint64(items) || len(v.Tables[0].Replicas) != 2 {
			r.t.Errorf("%s: %+v", v.Region, v)
		}
	}
}

// TestLostStoreIsRebuilt: a region's store is gone. It serves nobody before it is rebuilt, and has everything afterwards.
func TestLostStoreIsRebuilt(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	const us, eu, ap = "us-east-1", "eu-central-1", "ap-south-1"
	r := runWorld(t, cfg)
	r.makeTable(us, eu, ap)
	for i := range 20 {
		r.put(us, fmt.Sprint("item ", i), "a")
		r.put(ap, fmt.Sprint("theirs ", i), "b")
	}
	r.remove(us, "item 0")
	r.converge(39)
	r.stop()
	for _, dir := range []string{"shard-0", "jetstream"} {
		if err := os.RemoveAll(filepath.Join(cfg.DataDir, ap, dir)); err != nil {
			t.Fatal(err)
		}
	}
	r = runWorld(t, cfg)
	r.put(us, "meanwhile", "c")
	r.rebuild(ap, "replaced")
	r.converged(40)
	r.put(ap, "afterwards", "d")
	r.put(eu, "afterwards too", "e")
	r.converged(42)
	r.stop()
	r = runWorld(t, cfg) // and nothing of it is left
	r.converged(42)
}

// TestOldCopyIsRebuilt: a region's store is replaced by an old copy of itself. What it wrote after the copy was made, and what was deleted, stays so.
func TestOldCopyIsRebuilt(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	const us, eu, ap = "us-east-1", "eu-central-1", "ap-south-1"
	r := runWorld(t, cfg)
	r.makeTable(us, eu, ap)
	for i := range 10 {
		r.put(ap, fmt.Sprint("item ", i), "old")
	}
	r.converge(10)
	r.stop()
	dir, backup := filepath.Join(cfg.DataDir, ap, "shard-0"), filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(backup, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	r = runWorld(t, cfg)
	for i := range 10 {
		r.put(ap, fmt.Sprint("later ", i), "x")
		r.put(us, fmt.Sprint("item ", i), "new")
	}
	r.remove(us, "item 0")
	r.remove(ap, "item 1")
	r.converge(18)
	r.stop()
	if err := errors.Join(os.RemoveAll(dir), os.CopyFS(dir, os.DirFS(backup))); err != nil {
		t.Fatal(err)
	}
	r = runWorld(t, cfg)
	r.rebuild(ap, "regressed")
	r.converged(18)
	if got := r.get(ap, "item 2") + r.get(ap, "item 0") + r.get(eu, "item 1"); got != "new" {
		t.Errorf("%q", got)
	}
	var list admin.SavedList
	if code := r.admin(http.MethodGet, ap, "/v1/saved", &list); code != http.StatusOK || list.More {
		t.Errorf("%d %+v", code, list)
	}
	for _, s := range list.Records {
		if s.Deleted || s.Table != tableName {
			t.Errorf("in doubt: %+v", s)
		}
	}
}
