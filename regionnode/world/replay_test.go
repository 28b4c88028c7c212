package world

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/regionnode/admin"
)

// counted is the item whose counter and set the test here writes.
const counted = "counted"

// adds has a region add to the counter and the set of the item.
func (r *running) adds(region string, n int, label string) {
	r.t.Helper()
	if err := updates("ADD likes :n, labels :l", attributes{":n": num(n), ":l": strs(label)})(r, region, counted); err != nil {
		r.t.Fatal(err)
	}
}

// showIt waits until regions show the item as it is given.
func (r *running) showIt(want string, regions ...string) {
	r.t.Helper()
	got := ""
	defer func() {
		if r.t.Failed() {
			r.t.Logf("the last one shows %s, not %s", got, want)
		}
	}()
	r.until("they have "+want, func() bool {
		for _, region := range regions {
			if got = r.shown(region, counted); got != want {
				return false
			}
		}
		return true
	})
}

// inDoubt reports whether the region lists the item as saved.
func (r *running) inDoubt(region string) bool {
	r.t.Helper()
	var list admin.SavedList
	if code := r.admin(http.MethodGet, region, "/v1/saved", &list); code != http.StatusOK || len(list.Records) > 1 {
		r.t.Errorf("%d %+v", code, list)
	}
	return len(list.Records) == 1
}

// TestReplayedContributionsAreExact: a region is cut off and fenced, and comes back when the others have set and collected what it goes on from; then its store is replaced by an old copy, which it writes on. What all show is exact: each
// of its writes counts once, or is listed as in doubt, and nothing of what was taken back is there again. Which of its last writes are in doubt depends on how far the others' purge frontier is when it is back.
func TestReplayedContributionsAreExact(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	r := runWorld(t, cfg)
	r.makeMerging(us, eu, ap)
	r.setMode(us, conflict.Vector)
	if _, err := r.db[us].PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String(tableName), Item: attributes{"id": str(counted), "likes": num(10)}}); err != nil {
		t.Fatal(err)
	}
	r.showIt("likes=10", us, eu, ap)
	r.adds(ap, 3, "before")
	r.showIt("labels=set[before] likes=13", us, eu, ap)

	r.Cut(ap)
	r.adds(ap, 1000, "apart")
	r.adds(eu, 5, "eu")
	r.showIt("labels=set[before eu] likes=18", us, eu)
	if err := updates("SET likes = :n DELETE labels :l", attributes{":n": num(100), ":l": strs("before")})(r, us, counted); err != nil {
		t.Fatal(err)
	}
	if _, fault := r.regions(http.MethodPost, us, "/"+ap+"/fence"); fault != "" {
		t.Fatal(fault)
	}
	r.until("the others have collected it", func() bool {
		a, b := r.collection(r.ready.Regions[0]), r.collection(r.ready.Regions[1])
		return r.shown(eu, counted) == "labels=set[eu] likes=100" && a.Waiting == 0 && b.Waiting == 0
	})
	r.Heal(ap)
	r.until("the region knows that it is fenced", func() bool {
		world, _ := r.regions(http.MethodGet, ap, "")
		m := world.Member(ap)
		return m != nil && m.State == "fenced"
	})
	r.comeBack(ap)
	want := "labels=set[eu] likes=100"
	if !r.inDoubt(ap) {
		t.Error("a write that the others' frontier has passed is not listed")
	}
	r.showIt(want, us, eu, ap)
	r.converged(1)
	r.adds(ap, 1, "again")
	r.showIt("labels=set[again eu] likes=101", us, eu, ap)
	var list admin.SavedList
	r.admin(http.MethodGet, ap, "/v1/saved", &list)
	var dropped map[string]any
	if len(list.Records) != 1 || r.admin(http.MethodPost, ap, "/v1/saved/"+list.Records[0].ID+"/drop", &dropped) != http.StatusOK || r.inDoubt(ap) {
		t.Fatalf("%+v is not dropped", list.Records)
	}

	r.stop()
	dir, backup := filepath.Join(cfg.DataDir, ap, "shard-0"), filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(backup, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	r = runWorld(t, cfg)
	r.adds(ap, 7, "forgotten")
	r.adds(eu, 50, "eu too")
	r.showIt("labels=set[again eu eu too forgotten] likes=158", us, eu, ap)
	r.stop()
	if err := errors.Join(os.RemoveAll(dir), os.CopyFS(dir, os.DirFS(backup))); err != nil {
		t.Fatal(err)
	}
	r = runWorld(t, cfg, func(w *World) { w.Cut(ap) })
	r.adds(ap, 2000, "another history")
	r.Heal(ap)
	r.rebuild(ap, "regressed")
	want = "labels=set[again another history eu eu too forgotten] likes=2158"
	if r.inDoubt(ap) {
		want = "labels=set[again eu eu too forgotten] likes=158"
	}
	r.showIt(want, us, eu, ap)
	r.converged(1)
}
