package export

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/parquet-go/parquet-go"
)

// Format is the form of the parts.
type Format string

// The formats.
const (
	Parquet Format = "parquet"
	NDJSON  Format = "ndjson" // a JSON object a line
)

// Change is a row of an export of changes: what the event of the same id tells (package cdc).
type Change struct {
	ID          string    `json:"id" parquet:"id"`
	Type        string    `json:"type" parquet:"type,dict"` // cdc.TypeInsert and its like
	Time        time.Time `json:"time" parquet:"time,timestamp(millisecond)"`
	Origin      string    `json:"origin" parquet:"origin,dict"`
	Region      string    `json:"region" parquet:"region,dict"`
	Sequence    string    `json:"sequence" parquet:"sequence"`
	Stamp       string    `json:"stamp" parquet:"stamp"`
	KeyHash     string    `json:"keyhash" parquet:"keyhash"`
	Kind        string    `json:"kind" parquet:"kind,dict"`
	Outcome     string    `json:"outcome" parquet:"outcome,dict"`
	Transaction string    `json:"transaction,omitempty" parquet:"transaction,optional"`
	Keys        JSON      `json:"keys" parquet:"keys"`
	Old         JSON      `json:"old,omitempty" parquet:"old,optional"`
	New         JSON      `json:"new,omitempty" parquet:"new,optional"`
}

// Item is a row of a snapshot.
type Item struct {
	Keys JSON `json:"keys" parquet:"keys"`
	Item JSON `json:"item" parquet:"item"`
}

// JSON is a JSON document: text in Parquet, itself in NDJSON.
type JSON string

// MarshalJSON implements json.Marshaler.
func (j JSON) MarshalJSON() ([]byte, error) {
	if j == "" {
		return []byte("null"), nil
	}
	return []byte(j), nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (j *JSON) UnmarshalJSON(b []byte) error {
	*j = JSON(b)
	return nil
}

// ParseEvent reads an event as cdc.Teller.AppendEvent writes it. size is what it takes in a part, about.
func ParseEvent(event []byte) (row Change, size int, err error) {
	var e struct {
		Change
		Data struct {
			Keys JSON `json:"keys"`
			Old  JSON `json:"old"`
			New  JSON `json:"new"`
		} `json:"data"`
	}
	if err := json.Unmarshal(event, &e); err != nil || e.ID == "" || e.Sequence == "" {
		return Change{}, 0, fmt.Errorf("export: an event that cannot be read: %w", err)
	}
	row = e.Change
	row.Keys, row.Old, row.New = e.Data.Keys, e.Data.Old, e.Data.New
	return row, len(event), nil
}

// write writes rows in a format.
func write[T any](w io.Writer, f Format, rows []T) error {
	if f == Parquet {
		p := parquet.NewGenericWriter[T](w, parquet.Compression(&parquet.Zstd))
		if _, err := p.Write(rows); err != nil {
			return err
		}
		return p.Close()
	}
	buffered := bufio.NewWriter(w)
	e := json.NewEncoder(buffered)
	e.SetEscapeHTML(false)
	for i := range rows {
		if err := e.Encode(&rows[i]); err != nil {
			return err
		}
	}
	return buffered.Flush()
}
