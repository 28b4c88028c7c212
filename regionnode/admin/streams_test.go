package admin_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode/admin"
)

// told is a region's streams, with something in every field.
type told struct{}

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func (told) List(context.Context) (admin.StreamList, error) {
	return admin.StreamList{Region: "us-east-1", Streams: []admin.Stream{{Table: "orders", TableID: "0000000000000001", View: "KEYS_ONLY", Label: "l", Records: 1, Bytes: 2, Oldest: &noon, Newest: &noon,
		Events: &admin.Events{Stream: "s", Subjects: "x.>", Ready: true, LagMillis: 1, Refills: 1, Pending: map[string]uint64{"search": 1}, Error: "why"}, Tails: []admin.TailAt{{Name: "mine", Position: "1", Time: noon, Used: noon}}}}}, nil
}

func (told) Events(_ context.Context, q admin.EventQuery) (admin.EventPage, error) {
	if q.Table != "orders" {
		return admin.EventPage{}, &globaltable.Error{Kind: globaltable.NotFound, Message: "no table"}
	}
	return admin.EventPage{Next: "1", Missed: true, Events: []json.RawMessage{json.RawMessage(`{"specversion":"1.0","id":"i","source":"s","type":"concordat.item.insert","time":"2026-01-02T12:00:00Z","origin":"us-east-1","region":"us-east-1",
		"sequence":"1","stamp":"1","keyhash":"1","kind":"write","outcome":"applied","transaction":"1","datacontenttype":"application/json","data":{"table":"orders","keys":{"id":{"S":"a"}},"old":{"id":{"S":"a"},"l":{"L":[]}},"new":{"id":{"S":"a"}}}}`)}}, nil
}

func (told) SetTail(context.Context, string, string, hlc.Timestamp) error { return nil }
func (told) ForgetTail(context.Context, string) error                     { return nil }

func (told) grant() admin.Grant {
	return admin.Grant{Name: "search", PublicKey: "U", Created: noon, Expires: &noon, Tables: []admin.GrantedTable{{Table: "orders", Stream: "s", Durable: "search", Read: noon, Pending: 1}}, Subjects: []string{"mail.>"}}
}

func (s told) Grants(context.Context) (admin.GrantList, error) {
	return admin.GrantList{Region: "us-east-1", Grants: []admin.Grant{s.grant()}}, nil
}

func (s told) Grant(context.Context, admin.NewGrant) (admin.GrantMade, error) {
	return admin.GrantMade{Grant: s.grant(), URLs: []string{"nats://a:1"}, Ready: true}, nil
}

func (told) Revoke(_ context.Context, name string) (admin.GrantEnded, error) {
	if name == "nobody" {
		return admin.GrantEnded{}, &globaltable.Error{Kind: globaltable.NotFound, Message: "no grant"}
	}
	return admin.GrantEnded{PublicKey: "U1", External: true, Operator: true}, nil
}

func TestStreamFaults(t *testing.T) {
	for _, c := range []struct {
		method, path, body string
		status             int
		text               string
	}{
		{http.MethodGet, "/v1/tables/others/events", "", http.StatusNotFound, "no table"},
		{http.MethodGet, "/v1/tables/orders/events?after=5", "", http.StatusBadRequest, "after is not a position"},
		{http.MethodGet, "/v1/tables/orders/events?since=noon", "", http.StatusBadRequest, "since is a time"},
		{http.MethodGet, "/v1/tables/orders/events?limit=1001", "", http.StatusBadRequest, "1 to 1000"},
		{http.MethodGet, "/v1/tables/orders/events?wait=61", "", http.StatusBadRequest, "0 to 60"},
		{http.MethodGet, "/v1/tables/orders/events?filter=x", "", http.StatusBadRequest, ""},
		{http.MethodPut, "/v1/tables/orders/tails/mine", `{"position":"x"}`, http.StatusBadRequest, "position is not one"},
		{http.MethodPut, "/v1/tables/orders/tails/mine", `{"at":1}`, http.StatusBadRequest, "cannot be read"},
		{http.MethodPost, "/v1/grants", `{"seed":"S"}`, http.StatusBadRequest, "cannot be read"},
		{http.MethodDelete, "/v1/grants/nobody", "", http.StatusNotFound, "no grant"},
		{http.MethodPut, "/v1/grants", "", http.StatusMethodNotAllowed, "GET, HEAD, POST"},
		{http.MethodGet, "/v1/tables/orders/tails/mine", "", http.StatusMethodNotAllowed, "these are: PUT"},
	} {
		r := ask(t, config(), c.method, c.path, c.body)
		if text := body(t, r); r.StatusCode != c.status || !strings.Contains(text, c.text) {
			t.Errorf("%s %s: %d %s", c.method, c.path, r.StatusCode, text)
		}
	}
	not := config()
	not.Streams = admin.NoStreams{Err: &globaltable.Error{Kind: globaltable.Unavailable, Message: "not now"}}
	for method, paths := range map[string][]string{http.MethodGet: {"/v1/streams", "/v1/tables/orders/events", "/v1/grants"}, http.MethodDelete: {"/v1/tails/mine", "/v1/grants/search"}} {
		for _, path := range paths {
			if r := ask(t, not, method, path, ""); r.StatusCode != http.StatusServiceUnavailable {
				t.Errorf("%s %s: %d", method, path, r.StatusCode)
			}
		}
	}
}
