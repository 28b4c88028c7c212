package admin_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode/admin"
)

// snapshots has one of every table, with one item on each of two pages.
type snapshots struct{ fault error }

func (s snapshots) Open(_ context.Context, table, destination string) (admin.Snapshot, error) {
	return admin.Snapshot{ID: "00aa", Table: table, TableID: "0000000000000001", Region: "us-east-1", Sequence: "100000000000000000001", Time: "2026-01-02T03:04:05Z", Stream: true, Items: 2, Destination: destination}, s.fault
}

func (s snapshots) Read(_ context.Context, id string, after []byte, limit int) (admin.SnapshotPage, error) {
	if s.fault != nil {
		return admin.SnapshotPage{}, s.fault
	}
	it := json.RawMessage(fmt.Sprintf(`{"id":{"S":"%s %x %d"}}`, id, after, limit))
	page := admin.SnapshotPage{Items: []admin.SnapshotItem{{Keys: it, Item: it}}, Withheld: 3}
	if after == nil {
		page.Next = "AAE"
	}
	return page, nil
}

func (s snapshots) Close(string) error { return s.fault }

func TestSnapshots(t *testing.T) {
	c := config()
	asks := func(method, path, text string, status int, want string) {
		t.Helper()
		r := ask(t, c, method, path, text)
		if got := body(t, r); r.StatusCode != status || !strings.Contains(got, want) {
			t.Errorf("%s %s: %d %s", method, path, r.StatusCode, got)
		}
	}
	asks(http.MethodPost, "/v1/tables/orders/snapshots", `{"destination":"file:///x"}`, http.StatusOK, `"destination": "file:///x"`)
	asks(http.MethodGet, "/v1/snapshots/00aa", "", http.StatusOK, `00aa  1000`)
	asks(http.MethodGet, "/v1/snapshots/00aa", "", http.StatusOK, `"next": "AAE"`)
	asks(http.MethodGet, "/v1/snapshots/00aa?after=AAE&limit=7", "", http.StatusOK, `00aa 0001 7`)
	asks(http.MethodDelete, "/v1/snapshots/00aa", "", http.StatusOK, `{}`)
	for _, bad := range []string{"after=*", "limit=0", "limit=1001", "limit=x"} {
		asks(http.MethodGet, "/v1/snapshots/00aa?"+bad, "", http.StatusBadRequest, "message")
	}
	for _, s := range []admin.Snapshots{snapshots{&globaltable.Error{Kind: globaltable.NotFound, Message: "gone"}}, admin.NoSnapshots{Err: &globaltable.Error{Kind: globaltable.NotFound, Message: "gone"}}} {
		c.Snapshots = s
		asks(http.MethodPost, "/v1/tables/orders/snapshots", `{"destination":"file:///x"}`, http.StatusNotFound, "gone")
		asks(http.MethodGet, "/v1/snapshots/00aa", "", http.StatusNotFound, "gone")
		asks(http.MethodDelete, "/v1/snapshots/00aa", "", http.StatusNotFound, "gone")
	}
}
