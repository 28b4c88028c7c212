package export

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"
)

func change(n int) Change {
	c := Change{ID: fmt.Sprint("id", n), Type: "concordat.item.insert", Time: time.UnixMilli(1_700_000_000_000 + int64(n)).UTC(), Origin: "eu", Region: "us", Sequence: fmt.Sprintf("1%020d", n),
		Stamp: "s", KeyHash: "h", Kind: "write", Outcome: "applied", Keys: JSON(fmt.Sprintf(`{"id":{"S":"%d"}}`, n)), New: JSON(fmt.Sprintf(`{"id":{"S":"%d"},"v":{"N":"1"}}`, n))}
	if n%3 == 0 {
		c.Old, c.Transaction = c.New, "t"
	}
	return c
}

// source gives the changes 1 to n, in pages; it fails once, after some, if fails is not zero.
func source(n, page, fails int) Source[Change] {
	return func(_ context.Context, next string) (Page[Change], error) {
		at, _ := strconv.Atoi(next)
		if fails > 0 && at >= fails {
			fails = 0
			return Page[Change]{}, errors.New("broken off")
		}
		var out Page[Change]
		for ; at < n && len(out.Rows) < page; at++ {
			out.Rows = append(out.Rows, change(at+1))
			out.Bytes += MaxPartBytes / 25
		}
		out.Next, out.Done = strconv.Itoa(at), at == n
		out.Withheld = 1
		return out, nil
	}
}

func sequence(c *Change) string { return c.Sequence }

func TestExportIsContinued(t *testing.T) {
	for _, format := range []Format{Parquet, NDJSON} {
		dir := filepath.Join(t.TempDir(), "new", "here")
		where, err := URLOf(dir)
		if err != nil {
			t.Fatal(err)
		}
		place, err := Open(t.Context(), where)
		if err != nil {
			t.Fatal(err)
		}
		m := &Manifest{Kind: Changes, Format: format, Table: "orders"}
		told := 0
		progress := func(m *Manifest) { told = int(m.Rows) }
		if err := Run(t.Context(), place, m, source(100, 10, 60), sequence, progress); err == nil || told == 0 || told >= 100 {
			t.Fatalf("%v after %d rows", err, told)
		}
		// What a broken attempt has left is written over.
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("part-%05d.%s", len(m.Parts)+1, format)), []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
		m, err = place.Manifest(t.Context())
		if err != nil || m == nil || m.Done {
			t.Fatalf("%+v, %v", m, err)
		}
		if err := Run(t.Context(), place, m, source(100, 10, 0), sequence, progress); err != nil || told != 100 || !m.Done || m.Withheld != 10 {
			t.Fatalf("%v after %d rows: %+v", err, told, m)
		}
		// More has come.
		if err := Run(t.Context(), place, m, source(105, 10, 0), sequence, progress); err != nil || told != 105 {
			t.Fatalf("%v after %d rows", err, told)
		}
		if err := place.Close(); err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, part := range m.Parts {
			b, err := os.ReadFile(filepath.Join(dir, part.Name))
			sum := sha256.Sum256(b)
			if err != nil || int64(len(b)) != part.Bytes || hex.EncodeToString(sum[:]) != part.SHA256 {
				t.Fatalf("%s: %v, %d bytes of %+v", part.Name, err, len(b), part)
			}
			for _, row := range rowsOf(t, format, b) {
				if n++; row != change(n) {
					t.Fatalf("row %d is %+v, want %+v", n, row, change(n))
				}
			}
			if part.Last != change(n).Sequence {
				t.Errorf("%+v", part)
			}
		}
		if n != 105 || len(m.Parts) < 4 {
			t.Errorf("%d rows in %d parts", n, len(m.Parts))
		}
	}
}

func rowsOf(t *testing.T, f Format, b []byte) (rows []Change) {
	t.Helper()
	if f == Parquet {
		rows, err := parquet.Read[Change](bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		for i := range rows {
			rows[i].Time = rows[i].Time.UTC()
		}
		return rows
	}
	for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
		var c Change
		if err := json.Unmarshal(s.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		rows = append(rows, c)
	}
	return rows
}

func TestDestinations(t *testing.T) {
	for _, bad := range []string{"", "s3://key:secret@bucket", "s3://bucket/prefix", "://"} {
		if got, err := URLOf(bad); err == nil {
			t.Errorf("%q became %q", bad, got)
		}
	}
	if got, err := URLOf("/var/exports"); err != nil || got != "file:///var/exports" {
		t.Error(got, err)
	}
	if _, err := Open(t.Context(), "ftp://somewhere"); err == nil {
		t.Error("nobody knows ftp")
	}
	place, err := Open(t.Context(), "file://"+t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	below := place.In("t")
	if m, err := below.Manifest(t.Context()); m != nil || err != nil {
		t.Error(m, err)
	}
	if err := below.Close(); err != nil {
		t.Error(err)
	}
}

func TestParseEvent(t *testing.T) {
	const event = `{"specversion":"1.0","id":"x","source":"concordat:t","type":"concordat.item.remove","time":"2026-01-02T03:04:05.006Z","origin":"eu","region":"us","sequence":"1","stamp":"s","keyhash":"k","kind":"expiry","outcome":"applied","data":{"table":"t","keys":{"a":{"S":"<&>"}},"old":{"a":{"S":"<&>"}}}}`
	c, size, err := ParseEvent([]byte(event))
	if err != nil || size != len(event) || c.Kind != "expiry" || c.Keys != `{"a":{"S":"<&>"}}` || c.Old != c.Keys || c.New != "" || c.Time.UnixMilli()%1000 != 6 {
		t.Errorf("%+v, %v", c, err)
	}
	for _, bad := range []string{"", "{}", `{"id":"x"}`, `{"id":5,"sequence":"1"}`} {
		if _, _, err := ParseEvent([]byte(bad)); err == nil {
			t.Error(bad)
		}
	}
}
