package admin_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/regionnode/admin"
)

// tables is a region with one table, orders. It keeps what it was asked to change.
type tables struct {
	changed []string
	fault   error
}

func (s *tables) Tables(context.Context) (admin.TableList, error) {
	return admin.TableList{Region: "us-east-1", Tables: fullStatus().Tables}, s.fault
}

func (s *tables) Table(_ context.Context, name string) (admin.Table, error) {
	if name != "orders" {
		return admin.Table{}, catalog.NotFound("inspect table", name)
	}
	return fullStatus().Tables[0], s.fault
}

func (s *tables) ChangeTable(ctx context.Context, name string, change catalog.Change) (admin.Table, error) {
	b, err := json.Marshal(change)
	if err != nil {
		return admin.Table{}, err
	}
	s.changed = append(s.changed, name+" "+string(b))
	return s.Table(ctx, name)
}

func TestTables(t *testing.T) {
	const orders = "/v1/tables/orders"
	for _, c := range []struct {
		method, path, body string
		status             int
		changed, says      string
	}{
		{"GET", "/v1/tables", "", 200, "", `"us-east-1"`},
		{"GET", orders, "", 200, "", `"peers:1"`},
		{"GET", "/v1/tables/nothing", "", 404, "", "Table: nothing not found"},
		{"PATCH", orders, `{"acknowledge":"peers:2"}`, 200, `orders {"tag":{"concordat:acknowledge":"peers:2"}}`, ""},
		{"PATCH", orders, `{"acknowledge":"peers:4"}`, 400, "", `"peers:4\" is not known; it can be local, or peers:1 to peers:3`},
		{"PATCH", orders, `{"timeToLive":{"attribute":"until"}}`, 200, `orders {"timeToLive":{"attribute":"until","enabled":true}}`, ""},
		{"PATCH", orders, `{"timeToLive":{"attribute":""},"acknowledge":"local"}`, 200, `orders {"tag":{"concordat:acknowledge":"local"},"timeToLive":{"enabled":false}}`, ""},
		{"PATCH", orders, `{"merge":{"mode":"vector","types":{"likes":"counter","old":"none"}},"acknowledge":"local"}`, 200,
			`orders {"tag":{"concordat:acknowledge":"local","concordat:merge":"vector","concordat:type:likes":"counter"},"untag":["concordat:type:old"]}`, ""},
		{"PATCH", orders, `{"merge":{"types":{"old":"none"}}}`, 200, `orders {"untag":["concordat:type:old"]}`, `"likes"`},
		{"PATCH", orders, `{"merge":{"mode":"last","types":{"a":"list"}}}`, 400, "", `mode: \"last\" is not known; it can be lww, attribute or vector; type of \"a\": \"list\" is not known`},
		{"PATCH", orders, `{"merge":{"types":{"a":5}}}`, 400, "", "cannot be read"},
		{"PATCH", orders, `{"merge":{}}`, 400, "", "changes nothing"},
		{"PATCH", orders, `{"conflicts":{"age":"30d","bytes":"default"}}`, 200, `orders {"tag":{"concordat:conflict-age":"30d"},"untag":["concordat:conflict-bytes"]}`, `"keepSeconds"`},
		{"PATCH", orders, `{"conflicts":{"bytes":"128MiB"},"merge":{"types":{"old":"none"}}}`, 200, `orders {"tag":{"concordat:conflict-bytes":"128MiB"},"untag":["concordat:type:old"]}`, ""},
		{"PATCH", orders, `{"conflicts":{"age":"1s","bytes":"1"}}`, 400, "", `conflicts' age: \"1s\" is not known; it can be a time from 1m to 366d in whole seconds, like 30d or 36h, or default; conflicts' bytes: \"1\"`},
		{"PATCH", orders, `{"streamRecords":{"age":"35d","bytes":"default"}}`, 200, `orders {"tag":{"concordat:stream-age":"35d"},"untag":["concordat:stream-bytes"]}`, `"streamRecords"`},
		{"PATCH", orders, `{"streamRecords":{"age":"36d"}}`, 400, "", `stream records' age: \"36d\" is not known; it can be a time from 1m to 35d in whole seconds`},
		{"PATCH", orders, `{"streamRecords":{}}`, 400, "", "changes nothing"},
		{"PATCH", orders, `{"conflicts":{}}`, 400, "", "changes nothing"},
		{"PATCH", orders, `{"conflicts":{"count":"5"}}`, 400, "", "count"},
		{"PATCH", orders, `{"timeToLive":{"attr":"x"}}`, 400, "", "attr"},
		{"PATCH", orders, `{}`, 400, "", "changes nothing"},
		{"PATCH", orders, `{"acknowledged":"local"}`, 400, "", "acknowledged"},
		{"PATCH", orders, `{"acknowledge":"local"} {}`, 400, "", "goes on after its end"},
		{"PATCH", orders, ``, 400, "", "cannot be read"},
		{"PATCH", orders, `{"acknowledge":"` + strings.Repeat("x", 1<<17) + `"}`, 400, "", "too large"},
		{"POST", orders + "/replicas", `{"regions":["eu","ap"],"joinBytesPerSecond":5}`, 200, `orders {"create":["eu","ap"],"joinBytesPerSecond":5}`, ""},
		{"POST", orders + "/replicas", `{"regions":[]}`, 400, "", "no regions"},
		{"POST", orders + "/replicas", `{"regions":["eu"],"joinBytesPerSecond":-1}`, 400, "", "negative"},
		{"DELETE", orders + "/replicas/eu", "", 200, `orders {"delete":["eu"]}`, ""},
		{"POST", orders + "/replicas/us-east-1/disassociate", "", 200, `orders {"disassociate":{"region":"us-east-1","successor":0,"confirmed":true}}`, ""},
		{"PUT", orders, "", 405, "", "PUT is not allowed"},
		{"GET", orders + "/replicas", "", 405, "", "these are: POST"},
	} {
		cfg, s := config(), new(tables)
		cfg.Tables = s
		r := ask(t, cfg, c.method, c.path, c.body)
		if got := body(t, r); r.StatusCode != c.status || !strings.Contains(got, c.says) || strings.Join(s.changed, ",") != c.changed {
			t.Errorf("%s %s %.80s: %d, changed %v: %s", c.method, c.path, c.body, r.StatusCode, s.changed, got)
		}
	}
	if r := get(t, config(), http.MethodPut, orders); r.Header.Get("Allow") != "GET, HEAD, PATCH" {
		t.Errorf("allowed: %s", r.Header.Get("Allow"))
	}
	for kind, status := range map[globaltable.Kind]int{globaltable.Invalid: 400, globaltable.NotFound: 404, globaltable.InUse: 409, globaltable.Denied: 403,
		globaltable.LimitExceeded: 429, globaltable.Unavailable: 503, globaltable.Unknown: 500} {
		cfg := config()
		cfg.Tables = &tables{fault: &globaltable.Error{Op: "update table", Kind: kind, Message: "why"}}
		if r := get(t, cfg, http.MethodDelete, orders+"/replicas/eu"); r.StatusCode != status || message(t, r) != "why" {
			t.Errorf("%v: %d", kind, r.StatusCode)
		}
	}
}
