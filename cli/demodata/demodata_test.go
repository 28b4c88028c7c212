package demodata

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestPlaces(t *testing.T) {
	places, err := Places()
	if err != nil {
		t.Fatal(err)
	}
	countries := map[string]int{}
	ids := map[string]bool{}
	for _, p := range places {
		switch {
		case ids[p.ID]:
			t.Errorf("%s appears twice", p.ID)
		case p.Name == "" || !utf8.ValidString(p.Name):
			t.Errorf("%s has no proper name: %q", p.ID, p.Name)
		case len(p.Country) != 2 || !strings.HasPrefix(p.ID, p.Country+"-"):
			t.Errorf("%s is in country %q", p.ID, p.Country)
		case p.Lat < -90 || p.Lat > 90 || p.Lng < -180 || p.Lng > 180:
			t.Errorf("%s is at %g, %g", p.ID, p.Lat, p.Lng)
		}
		ids[p.ID] = true
		countries[p.Country]++
	}
	if len(places) != 12065 || len(countries) != 246 {
		t.Errorf("%d places in %d countries, ATTRIBUTION.md says 12,065 in 246", len(places), len(countries))
	}
	if !slices.IsSortedFunc(places, func(a, b Place) int { return strings.Compare(a.ID, b.ID) }) {
		t.Error("not ordered by id")
	}
	for c, n := range countries {
		if n > 69 {
			t.Errorf("%s has %d places", c, n)
		}
	}
}

func TestSizeInTree(t *testing.T) {
	if len(compressed) > 500<<10 {
		t.Errorf("%d bytes in the tree, at most 500 KiB are meant to be", len(compressed))
	}
}

func TestDecodeFaults(t *testing.T) {
	for name, in := range map[string]string{
		"cut off":       `{"id":"DE-001","country":"DE"`,
		"unknown field": `{"id":"DE-001","population":3}`,
		"not JSON":      "DE-001",
	} {
		if _, err := decode(strings.NewReader(in)); err == nil || !strings.Contains(err.Error(), "place 1") {
			t.Errorf("%s: error %v does not name place 1", name, err)
		}
	}
}
