package export

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http/httptest"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
)

// TestExportToBucket: an export into a bucket of an S3 server, as its URL and the environment say, is continued where it was broken off, and its objects are what the manifest says.
func TestExportToBucket(t *testing.T) {
	backend := s3mem.New()
	if err := backend.CreateBucket("lake"); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(gofakes3.New(backend, gofakes3.WithLogger(gofakes3.DiscardLog())).Server())
	defer server.Close()
	t.Setenv("AWS_ACCESS_KEY_ID", "key")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	t.Setenv("AWS_CONFIG_FILE", "/dev/null")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	for _, format := range []Format{Parquet, NDJSON} {
		where, err := URLOf("s3://lake?prefix=exports/" + string(format) + "/&region=eu-central-1&use_path_style=true&endpoint=" + server.URL)
		if err != nil {
			t.Fatal(err)
		}
		open := func() *Place {
			place, err := Open(t.Context(), where)
			if err != nil {
				t.Fatal(err)
			}
			return place.In("orders").In("daily")
		}
		place := open()
		m := &Manifest{Kind: Changes, Format: format, Table: "orders"}
		told := func(*Manifest) {}
		if err := Run(t.Context(), place, m, source(100, 10, 60), sequence, told); err == nil || len(m.Parts) == 0 || m.Rows >= 100 {
			t.Fatalf("%v after %d rows", err, m.Rows)
		}
		if err := place.Close(); err != nil {
			t.Fatal(err)
		}
		place = open()
		if m, err = place.Manifest(t.Context()); err != nil || m == nil || m.Done {
			t.Fatalf("%+v, %v", m, err)
		}
		if err := Run(t.Context(), place, m, source(100, 10, 0), sequence, told); err != nil || m.Rows != 100 || !m.Done {
			t.Fatalf("%v: %+v", err, m)
		}
		if err := place.Close(); err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, part := range m.Parts {
			b := object(t, backend, "exports/"+string(format)+"/orders/daily/"+part.Name)
			if sum := sha256.Sum256(b); int64(len(b)) != part.Bytes || hex.EncodeToString(sum[:]) != part.SHA256 {
				t.Fatalf("%d bytes of %+v", len(b), part)
			}
			for _, row := range rowsOf(t, format, b) {
				if n++; row != change(n) {
					t.Fatalf("row %d is %+v, want %+v", n, row, change(n))
				}
			}
		}
		if n != 100 || len(object(t, backend, "exports/"+string(format)+"/orders/daily/manifest.json")) == 0 {
			t.Errorf("%d rows", n)
		}
	}
	nowhere, err := Open(t.Context(), "s3://none?region=eu-central-1&use_path_style=true&endpoint="+server.URL)
	if err != nil {
		t.Fatal(err)
	}
	if err := Run(t.Context(), nowhere, &Manifest{Format: NDJSON}, source(1, 1, 0), sequence, func(*Manifest) {}); err == nil {
		t.Error("there is no such bucket, and it was written to")
	}
	if err := nowhere.Close(); err != nil {
		t.Error(err)
	}
}

// object returns what is in a bucket.
func object(t *testing.T, backend gofakes3.Backend, name string) []byte {
	t.Helper()
	o, err := backend.GetObject("lake", name, nil)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	b, err := io.ReadAll(o.Contents)
	if err = errors.Join(err, o.Contents.Close()); err != nil {
		t.Fatal(err)
	}
	return b
}
