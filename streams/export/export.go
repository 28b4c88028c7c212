package export

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"strings"

	"gocloud.dev/blob"
	_ "gocloud.dev/blob/fileblob" // file://
	_ "gocloud.dev/blob/s3blob"   // s3://, of whoever offers the interface
	"gocloud.dev/gcerrors"
)

// Manifest says what an export is, what it has, and where it goes on. Its JSON is part of the format.
type Manifest struct {
	Version  int    `json:"version"` // 1
	Kind     Kind   `json:"kind"`
	Format   Format `json:"format"`
	Table    string `json:"table"`
	TableID  string `json:"tableId,omitempty"`
	Region   string `json:"region"`             // whose stream, or store, it is of
	Snapshot string `json:"snapshot,omitempty"` // its id; of a snapshot
	// From is the sequence after which changes are told, or that of the snapshot's moment: changes after it complete the snapshot. Time is the snapshot's.
	From     string   `json:"from"`
	Time     string   `json:"time,omitempty"`
	Parts    []Part   `json:"parts"`
	Rows     int64    `json:"rows"`
	Gaps     []string `json:"gaps,omitempty"` // sequences after which changes are missing: the stream had them no more
	Withheld int64    `json:"withheld"`       // items, or changes, that policies do not let go to this place
	Next     string   `json:"next,omitempty"` // where it goes on: the sequence of the last change that was looked at, or the snapshot's next page
	Done     bool     `json:"done"`           // a snapshot: it has all; changes: it had all when it was last continued
}

// Kind says what an export is of.
type Kind string

// The kinds.
const (
	Changes  Kind = "changes"
	Snapshot Kind = "snapshot"
)

// Part is one object of an export.
type Part struct {
	Name   string `json:"name"` // beside the manifest
	Rows   int    `json:"rows"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
	First  string `json:"first,omitempty"` // sequence, of changes
	Last   string `json:"last,omitempty"`
}

const (
	manifestName    = "manifest.json"
	manifestVersion = 1
	// MaxPartBytes is about how much of rows a part has: they are in memory until it is written.
	MaxPartBytes = 32 << 20
)

// Place is where an export lies: a directory, or a prefix of a bucket.
type Place struct{ bucket *blob.Bucket }

// URLOf returns the URL of a destination as people write it: a directory stands for its file URL.
func URLOf(destination string) (string, error) {
	if strings.Contains(destination, "://") {
		u, err := url.Parse(destination)
		if err != nil || u.User != nil {
			return "", fmt.Errorf("%q is no URL of a bucket, or has a password, which belongs into the environment", destination)
		}
		if u.Scheme != "file" && strings.Trim(u.Path, "/") != "" {
			return "", fmt.Errorf("%q has a path, which buckets have not: say ?prefix=%s/", destination, strings.Trim(u.Path, "/"))
		}
		return u.String(), nil
	}
	path, err := filepath.Abs(destination)
	if err != nil || destination == "" {
		return "", errors.New("the destination is a directory or the URL of a bucket, like s3://name?prefix=exports/")
	}
	return "file://" + filepath.ToSlash(path), nil
}

// Open opens a place, by a URL of URLOf. A directory is made, if there is none.
func Open(ctx context.Context, destination string) (*Place, error) {
	if strings.HasPrefix(destination, "file://") && !strings.Contains(destination, "?") {
		destination += "?create_dir=true&metadata=skip&no_tmp_dir=true"
	}
	bucket, err := blob.OpenBucket(ctx, destination)
	if err != nil {
		return nil, fmt.Errorf("open the destination: %w", err)
	}
	return &Place{bucket}, nil
}

// In returns the place below p with that name. It is in p's place: p is not used any more.
func (p *Place) In(name string) *Place {
	return &Place{blob.PrefixedBucket(p.bucket, name+"/")}
}

// Close closes the place.
func (p *Place) Close() error { return p.bucket.Close() }

// Manifest reads the manifest; nil if there is none.
func (p *Place) Manifest(ctx context.Context) (*Manifest, error) {
	b, err := p.bucket.ReadAll(ctx, manifestName)
	if gcerrors.Code(err) == gcerrors.NotFound {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the manifest: %w", err)
	}
	var m Manifest
	if err := json.Unmarshal(b, &m); err != nil || m.Version != manifestVersion {
		return nil, errors.New("the manifest there is of no export that this version can continue")
	}
	return &m, nil
}

func (p *Place) put(ctx context.Context, m *Manifest) error {
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	if err := p.bucket.WriteAll(ctx, manifestName, append(b, '\n'), &blob.WriterOptions{ContentType: "application/json"}); err != nil {
		return fmt.Errorf("write the manifest: %w", err)
	}
	return nil
}

// Page is what a source gives: rows in order, and where to go on.
type Page[T any] struct {
	Rows     []T
	Bytes    int // about
	Withheld int64
	Next     string // becomes Manifest.Next; where the next page begins
	Done     bool   // there is no next page now
}

// Source gives the page that begins at next, which is what Manifest.Next was.
type Source[T any] func(ctx context.Context, next string) (Page[T], error)

// Run continues the export m at a place until the source is done. m is of the place, or new; it is changed as the export goes on. Progress is told the rows that are in parts, after each part. What is done is done when an error is returned.
func Run[T any](ctx context.Context, p *Place, m *Manifest, source Source[T], sequence func(*T) string, progress func(*Manifest)) error {
	m.Version, m.Done = manifestVersion, false
	for !m.Done {
		var rows []T
		next, size, withheld, done := m.Next, 0, int64(0), false
		for !done && size < MaxPartBytes {
			page, err := source(ctx, next)
			if err != nil {
				return err
			}
			rows = append(rows, page.Rows...)
			size += page.Bytes
			withheld += page.Withheld
			next, done = page.Next, page.Done
		}
		if len(rows) > 0 {
			part := Part{Name: fmt.Sprintf("part-%05d.%s", len(m.Parts)+1, m.Format), Rows: len(rows)}
			if sequence != nil {
				part.First, part.Last = sequence(&rows[0]), sequence(&rows[len(rows)-1])
			}
			if err := putPart(ctx, p, m.Format, &part, rows); err != nil {
				return err
			}
			m.Parts = append(m.Parts, part)
			m.Rows += int64(len(rows))
		}
		m.Next, m.Done = next, done
		m.Withheld += withheld
		if err := p.put(ctx, m); err != nil {
			return err
		}
		progress(m)
	}
	return nil
}

// putPart writes a part, wholly or not at all.
func putPart[T any](ctx context.Context, p *Place, f Format, part *Part, rows []T) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	contentType := "application/vnd.apache.parquet"
	if f == NDJSON {
		contentType = "application/x-ndjson"
	}
	w, err := p.bucket.NewWriter(ctx, part.Name, &blob.WriterOptions{ContentType: contentType})
	if err != nil {
		return fmt.Errorf("write %s: %w", part.Name, err)
	}
	sum := sha256.New()
	counted := &counter{w: io.MultiWriter(w, sum)}
	if err := write(counted, f, rows); err != nil {
		cancel() // Close then drops what was written
		return fmt.Errorf("write %s: %w", part.Name, errors.Join(err, w.Close()))
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("write %s: %w", part.Name, err)
	}
	part.Bytes, part.SHA256 = counted.n, hex.EncodeToString(sum.Sum(nil))
	return nil
}

// counter counts what goes through it.
type counter struct {
	w io.Writer
	n int64
}

// Write implements io.Writer.
func (c *counter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	return n, err
}
