package regionnode

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/feed"
	"github.com/concordat-db/concordat/regionnode/commit"
	"github.com/concordat-db/concordat/regionnode/metrics"
)

// While a region saves its records its admin API tells how far it is, and why it can do nothing else: whatever it is asked of all that it describes.
func TestSavingAdminAnswersAll(t *testing.T) {
	n := &Node{metrics: metrics.New("eu")}
	n.cfg.Region = globaltable.Descriptor{Name: "eu", Jurisdiction: "EU", Origin: 1}
	n.rebuild.state = commit.Rebuild{Step: commit.RebuildSaving, Reason: commit.Fenced, Saved: 7}
	api := n.savingAdmin()
	ask := func(method, path, body string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		api.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body)))
		return w
	}
	var described struct {
		Paths map[string]map[string]json.RawMessage `json:"paths"`
	}
	if err := json.Unmarshal(ask(http.MethodGet, "/v1/openapi.json", "").Body.Bytes(), &described); err != nil || len(described.Paths) < 20 {
		t.Fatal(err, len(described.Paths))
	}
	answers := map[string]string{ // what the region can tell
		"get /v1/status": `"saved": 7`, "get /v1/rebuild": `"step": "saving"`, "post /v1/rebuild": `"step": "saving"`,
		"get /v1/openapi.json": "openapi", "get /healthz": "ok", "get /metrics": "concordat_", "get /": "<html",
	}
	bodies := map[string]string{
		"patch /v1/tables/{name}": `{"acknowledge": "local"}`, "post /v1/tables/{name}/replicas": `{"regions": ["us"]}`,
		"post /v1/regions": `{"descriptor": "x"}`, "post /v1/saved/{id}": `{}`, "put /v1/tables/{name}/tails/{tail}": `{"position": "100000000000000000005"}`,
	}
	fill := strings.NewReplacer("{name}", "orders", "{region}", "us", "{id}", feed.ID{Table: 1, Dot: hlc.Stamp{Time: 1, Origin: 1}}.String())
	for path, methods := range described.Paths {
		for method := range methods {
			op := method + " " + path
			body, some := bodies[op]
			if !some && method != "get" {
				body = "{}"
			}
			w := ask(strings.ToUpper(method), fill.Replace(path), body)
			if want, tells := answers[op]; tells {
				if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), want) {
					t.Errorf("%s: %d %s", op, w.Code, w.Body)
				}
			} else if w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "region eu is being rebuilt") {
				t.Errorf("%s: %d %s", op, w.Code, w.Body)
			}
		}
	}
}
