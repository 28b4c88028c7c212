// Package imports checks that the packages of this module import in one direction only:
//
//	item → {expr, locality, conflict} → globaltable → {catalog, plan} → streams → regionnode → {cli, chaos}
//
// The direction is what keeps the cores pure and the simulator able to drive the very code that production runs, and
// nothing in the language enforces it. Imports of tests are not looked at: a test may use what lies above.
package imports

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/concordat-db/concordat"

// A layer is a folder with everything below it, but for folders that are layers themselves.
type layer struct {
	dir  string
	rank int // a package imports lower ranks and its own layer, nothing else
	// tests says that it is for tests: no package imports it.
	tests bool
}

// layers fixes the direction. Layers of one rank do not know each other. The clock and the vector lie below conflict because
// globaltable speaks of origins and times; locality lies above globaltable because it decides on its documents.
var layers = []layer{
	{dir: "globaltable/item", rank: 0}, {dir: "globaltable/manifest", rank: 0},
	{dir: "conflict/hlc", rank: 1},
	{dir: "conflict/vector", rank: 2}, {dir: "conflict/crdt", rank: 2},
	{dir: "conflict", rank: 3}, {dir: "globaltable/expr", rank: 3},
	{dir: "globaltable", rank: 4}, {dir: "globaltable/partiql", rank: 4},
	{dir: "globaltable/locality", rank: 5}, {dir: "globaltable/policy", rank: 5}, {dir: "globaltable/trigger", rank: 5},
	{dir: "globaltable/catalog", rank: 6}, {dir: "globaltable/plan", rank: 6},
	{dir: "streams", rank: 7},
	{dir: "regionnode", rank: 8},
	{dir: "cli", rank: 9}, {dir: "chaos", rank: 9},
	{dir: "deployments", rank: 0},                            // examples are applications: they know nothing of ours
	{dir: "regionnode/dynamodb/naive", rank: 0, tests: true}, // the examiner shares nothing with what it examines
}

// layerOf returns the layer of a package of this module: the longest that holds it.
func layerOf(path string) (found layer, ok bool) {
	dir, inside := strings.CutPrefix(path, module+"/")
	if !inside {
		return layer{}, false
	}
	for _, l := range layers {
		if (dir == l.dir || strings.HasPrefix(dir, l.dir+"/")) && len(l.dir) > len(found.dir) {
			found, ok = l, true
		}
	}
	return found, ok
}

// check returns a sentence for each import that goes the wrong way and each package outside every layer, sorted.
func check(graph map[string][]string) []string {
	var faults []string
	for pkg, imported := range graph {
		from, ok := layerOf(pkg)
		if !ok {
			faults = append(faults, pkg+" is in no layer: add it to the list, or put it into a folder that is there")
			continue
		}
		for _, path := range imported {
			if path != module && !strings.HasPrefix(path, module+"/") {
				continue
			}
			to, ok := layerOf(path)
			switch {
			case !ok:
				faults = append(faults, fmt.Sprintf("%s imports %s, which is in no layer", pkg, path))
			case to.tests && from.dir != to.dir:
				faults = append(faults, fmt.Sprintf("%s imports %s, which is for tests", pkg, path))
			case from.dir != to.dir && from.rank == to.rank:
				faults = append(faults, fmt.Sprintf("%s imports %s: %s and %s do not know each other", pkg, path, from.dir, to.dir))
			case from.rank < to.rank:
				faults = append(faults, fmt.Sprintf("%s imports %s: %s lies below %s", pkg, path, from.dir, to.dir))
			}
		}
	}
	slices.Sort(faults)
	return faults
}

// TestImportDirection checks the module as it is.
func TestImportDirection(t *testing.T) {
	graph, err := load()
	if err != nil {
		t.Fatal(err)
	}
	if len(graph) < 5 {
		t.Fatalf("go list found %d packages only: %v", len(graph), graph)
	}
	for _, fault := range check(graph) {
		t.Error(fault)
	}
}

// load asks the go command for the module's packages and their imports.
func load() (map[string][]string, error) {
	var stderr bytes.Buffer
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Imports", module+"/...")
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w: %s", err, stderr.String())
	}
	graph := map[string][]string{}
	dec := json.NewDecoder(bytes.NewReader(out))
	for {
		var p struct {
			ImportPath string
			Imports    []string
		}
		switch err := dec.Decode(&p); {
		case errors.Is(err, io.EOF):
			return graph, nil
		case err != nil:
			return nil, fmt.Errorf("go list: %w", err)
		}
		graph[p.ImportPath] = p.Imports
	}
}

// TestImportCheckerFindsPlantedFaults makes sure that the checker can fail.
func TestImportCheckerFindsPlantedFaults(t *testing.T) {
	for _, tc := range []struct {
		from, to string
		want     string // part of the fault; "" for none
	}{
		{"globaltable/item", "conflict", "globaltable/item lies below conflict"},
		{"conflict", "globaltable/item", ""},
		{"conflict", "conflict/hlc", ""},
		{"conflict/hlc", "conflict", "conflict/hlc lies below conflict"},
		{"globaltable", "conflict/hlc", ""},
		{"globaltable", "globaltable/catalog", "globaltable lies below globaltable/catalog"},
		{"globaltable/plan", "globaltable/catalog", "do not know each other"},
		{"globaltable/expr", "conflict", "do not know each other"},
		{"streams/outbox", "streams/change", ""},
		{"streams/outbox", "regionnode/store", "streams lies below regionnode"},
		{"regionnode/commit", "streams/change", ""},
		{"cli", "chaos/sim", "do not know each other"},
		{"chaos/faults", "cli/concordat", "do not know each other"},
		{"cli/concordat", "cli", ""},
		{"regionnode/dynamodb", "regionnode/dynamodb/naive", "which is for tests"},
		{"regionnode/dynamodb/naive", "globaltable/item", "do not know each other"},
		{"regionnode", "util", "which is in no layer"},
		{"util", "regionnode", "util is in no layer"},
		{"streamsextra", "conflict", "streamsextra is in no layer"},
	} {
		faults := check(map[string][]string{module + "/" + tc.from: {"fmt", module + "x/other", module + "/" + tc.to}})
		switch {
		case tc.want == "" && len(faults) != 0:
			t.Errorf("%s → %s: %v", tc.from, tc.to, faults)
		case tc.want != "" && (len(faults) != 1 || !strings.Contains(faults[0], tc.want)):
			t.Errorf("%s → %s: got %q, want one fault with %q", tc.from, tc.to, faults, tc.want)
		}
	}
}
