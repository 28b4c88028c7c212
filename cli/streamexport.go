package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"time"

	ucli "github.com/urfave/cli/v2"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/concordat-db/concordat/regionnode/admin"
	"github.com/concordat-db/concordat/streams/export"
)

func streamExportCommand(s Streams) *ucli.Command {
	return &ucli.Command{
		Name:  "export",
		Usage: "write a table's changes, or a snapshot of it, as Parquet or NDJSON",
		Description: "The files go to TO/TABLE/NAME: parts, and manifest.json, which names them. The same command goes on where an export was broken off, and, for changes, where it was at its end: what has come since is in\n" +
			"further parts. Changes are told by the table's stream, as far back as it reaches. A snapshot shows the table as it was at one moment; changes after its sequence complete it.\n" +
			"Items are columns of text, as the DynamoDB API's JSON. What policies pin goes only to where they name the place, or a URL that it lies below (spec.targets); the rest is withheld, and counted. Of a bucket they name the whole URL, as it is written here.\n\n" +
			"A bucket is one of Amazon S3, or of a server that speaks its protocol: s3://NAME?region=REGION. Further parameters: prefix=FOLDER/ puts all below it; endpoint=https://HOST:PORT and use_path_style=true are for servers\n" +
			"that are not Amazon's; profile=NAME and role=ARN say whose keys are used; ssetype=AES256 or aws:kms, with kmskeyid=ID, has the server encrypt. Keys are found as the AWS command line finds them: AWS_ACCESS_KEY_ID,\n" +
			"AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or AWS_PROFILE and its files, or the role of the machine; AWS_REGION stands in for region. The key needs s3:GetObject (for the manifest), s3:PutObject, s3:AbortMultipartUpload,\n" +
			"and s3:ListBucket, without which a manifest that there is not is a refusal.",
		Flags: []ucli.Flag{
			&ucli.StringFlag{Name: "table", Usage: "the table's `NAME`", Required: true},
			&ucli.StringFlag{Name: "to", Usage: "a directory, or a bucket's `URL`: s3://bucket?region=eu-central-1; see above", Required: true},
			&ucli.BoolFlag{Name: "snapshot", Usage: "the items as they are now, instead of changes"},
			&ucli.StringFlag{Name: "format", Usage: "parquet or ndjson", Value: string(export.Parquet)},
			&ucli.DurationFlag{Name: "since", Usage: "changes of the last `TIME`, as 6h; without: from the stream's beginning, or where the export ended"},
			&ucli.StringFlag{Name: "name", Usage: "the export's `NAME`; without: changes, or snapshot"},
		},
		Action: func(c *ucli.Context) error { return streamExport(c, s) },
	}
}

// exportName is what can be the name of a folder, and of nothing above it.
var exportName = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}$`)

// exporting is one call of the command.
type exporting struct {
	base, table, destination string
	out                      io.Writer
	place                    *export.Place
	m                        *export.Manifest
	bar                      *exportBar
}

func streamExport(c *ucli.Context, s Streams) (err error) {
	base, err := adminURL(c)
	if err != nil {
		return err
	}
	kind := export.Changes
	if c.Bool("snapshot") {
		kind = export.Snapshot
	}
	format, name := export.Format(c.String("format")), c.String("name")
	if name == "" {
		name = string(kind)
	}
	destination, derr := export.URLOf(c.String("to"))
	switch {
	case c.Args().Present():
		return wrongUsage(c, "this takes no arguments")
	case format != export.Parquet && format != export.NDJSON:
		return wrongUsage(c, "--format is parquet or ndjson")
	case !exportName.MatchString(name):
		return wrongUsage(c, "--name has letters, digits, -, _ and .")
	case c.IsSet("since") && kind == export.Snapshot:
		return wrongUsage(c, "a snapshot is of now: --since is for changes")
	case c.Duration("since") < 0:
		return wrongUsage(c, "--since is a time back from now, like 6h")
	case derr != nil:
		return wrongUsage(c, "--to: %v", derr)
	}
	root, err := export.Open(c.Context, destination)
	if err != nil {
		return err
	}
	e := &exporting{base: base, table: c.String("table"), destination: destination, out: s.Err}
	e.place = root.In(e.table + "/" + name)
	defer func() { err = errors.Join(err, e.place.Close()) }()
	if e.m, err = e.place.Manifest(c.Context); err != nil {
		return err
	}
	if e.m != nil && (e.m.Kind != kind || e.m.Format != format || e.m.Table != e.table) {
		return fmt.Errorf("%s/%s there is an export of %s of table %s as %s: give this one another --name", e.table, name, e.m.Kind, e.m.Table, e.m.Format)
	}
	if e.m == nil {
		e.m = &export.Manifest{Kind: kind, Format: format, Table: e.table}
	}
	e.bar = newExportBar(s.Err)
	if kind == export.Snapshot {
		err = e.snapshot(c.Context)
	} else {
		err = e.changes(c.Context, c.Duration("since"))
	}
	e.bar.end(err == nil)
	if err != nil {
		if len(e.m.Parts) > 0 && !e.m.Done {
			fmt.Fprintf(s.Err, "%d rows are written; the same command goes on from there.\n", e.m.Rows)
		}
		return err
	}
	if e.m.Withheld > 0 {
		fmt.Fprintf(s.Err, "%d rows were withheld: policies pin them, and do not name %s.\n", e.m.Withheld, destination)
	}
	return emit(c, s.Out, e.m, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "%d rows, parts: %d, in %s, %s/%s\n", e.m.Rows, len(e.m.Parts), destination, e.table, name)
		return err
	})
}

// snapshot writes the table as it is at one moment: that of the snapshot which the export began with, as long as the region has it.
func (e *exporting) snapshot(ctx context.Context) error {
	if e.m.Done {
		return errors.New("this snapshot is complete; give a further one another --name")
	}
	total := int64(0)
	if e.m.Snapshot != "" {
		_, err := e.page(ctx, e.m.Snapshot, e.m.Next)
		var fault *adminFault
		if errors.As(err, &fault) && fault.status == http.StatusNotFound {
			fmt.Fprintln(e.out, "The region has that snapshot no more; a new one is begun, from the beginning.")
			*e.m = export.Manifest{Kind: e.m.Kind, Format: e.m.Format, Table: e.m.Table}
		} else if err != nil {
			return err
		}
	}
	if e.m.Snapshot == "" {
		snap, err := askAdmin[admin.Snapshot](ctx, "open snapshot", 3*adminPatience, http.MethodPost, e.base, "/v1/tables/"+url.PathEscape(e.table)+"/snapshots", map[string]string{"destination": e.destination})
		if err != nil {
			return err
		}
		e.m.Snapshot, e.m.Region, e.m.TableID, e.m.From, e.m.Time, total = snap.ID, snap.Region, snap.TableID, snap.Sequence, snap.Time, snap.Items
	}
	source := func(ctx context.Context, next string) (out export.Page[export.Item], err error) {
		page, err := e.page(ctx, e.m.Snapshot, next)
		if err != nil {
			return out, err
		}
		for _, it := range page.Items {
			out.Rows = append(out.Rows, export.Item{Keys: export.JSON(it.Keys), Item: export.JSON(it.Item)})
			out.Bytes += len(it.Item) + len(it.Keys)
		}
		out.Next, out.Done, out.Withheld = page.Next, page.Next == "", page.Withheld
		e.bar.read(int64(len(page.Items))+page.Withheld, total)
		return out, nil
	}
	if err := export.Run(ctx, e.place, e.m, source, nil, func(*export.Manifest) {}); err != nil {
		return err
	}
	// The region drops it by itself if this does not get through.
	_, _ = askAdmin[struct{}](ctx, "close snapshot", adminPatience, http.MethodDelete, e.base, "/v1/snapshots/"+url.PathEscape(e.m.Snapshot), nil)
	return nil
}

func (e *exporting) page(ctx context.Context, id, next string) (admin.SnapshotPage, error) {
	return askAdmin[admin.SnapshotPage](ctx, "read snapshot", 3*adminPatience, http.MethodGet, e.base, "/v1/snapshots/"+url.PathEscape(id)+"?after="+url.QueryEscape(next), nil)
}

// changes writes what the table's stream tells, from where the export ended up to now.
func (e *exporting) changes(ctx context.Context, since time.Duration) error {
	source := func(ctx context.Context, next string) (out export.Page[export.Change], err error) {
		query := url.Values{"destination": {e.destination}, "limit": {"1000"}, "wait": {"0"}}
		switch {
		case next != "":
			query.Set("after", next)
		case since > 0:
			query.Set("since", time.Now().Add(-since).UTC().Format(time.RFC3339))
		default:
			query.Set("since", time.Unix(1, 0).UTC().Format(time.RFC3339))
		}
		page, err := askAdmin[admin.EventPage](ctx, "read changes", 3*adminPatience, http.MethodGet, e.base, "/v1/tables/"+url.PathEscape(e.table)+"/events?"+query.Encode(), nil)
		if err != nil {
			return out, err
		}
		if page.Missed {
			e.m.Gaps = append(e.m.Gaps, next)
			fmt.Fprintf(e.out, "The stream has no more all that came after %s; the manifest says so.\n", next)
		}
		for _, event := range page.Events {
			row, size, err := export.ParseEvent(event)
			if err != nil {
				return out, err
			}
			e.m.Region = row.Region
			out.Rows, out.Bytes = append(out.Rows, row), out.Bytes+size
		}
		out.Next, out.Done, out.Withheld = page.Next, page.End, page.Withheld
		e.bar.read(int64(len(page.Events))+page.Withheld, 0)
		return out, nil
	}
	return export.Run(ctx, e.place, e.m, source, func(c *export.Change) string { return c.Sequence }, func(*export.Manifest) {})
}

// exportBar shows how far an export is: a bar on a screen, a line every few seconds elsewhere.
type exportBar struct {
	w    io.Writer
	all  *mpb.Progress // nil: lines
	bar  *mpb.Bar
	rows int64
	told time.Time
}

func newExportBar(w io.Writer) *exportBar {
	b := &exportBar{w: w, told: time.Now()}
	if isTerminal(w) {
		b.all = mpb.New(mpb.WithOutput(w), mpb.WithWidth(48))
		b.bar = b.all.AddBar(0, mpb.PrependDecorators(decor.Name("   read", decor.WCSyncSpaceR)), mpb.AppendDecorators(decor.CountersNoUnit("%d of about %d rows", decor.WCSyncSpace)))
	}
	return b
}

// read notes that rows have come, of about total; 0: not known.
func (b *exportBar) read(rows, total int64) {
	b.rows += rows
	if b.bar != nil {
		b.bar.SetTotal(max(total, b.rows+1), false)
		b.bar.SetCurrent(b.rows)
		return
	}
	if now := time.Now(); now.Sub(b.told) > 5*time.Second {
		b.told = now
		of := ""
		if total > 0 {
			of = " of about " + strconv.FormatInt(total, 10)
		}
		fmt.Fprintf(b.w, "%d%s rows read\n", b.rows, of)
	}
}

func (b *exportBar) end(ok bool) {
	if b.all == nil {
		return
	}
	if ok {
		b.bar.SetTotal(b.rows, true)
	} else {
		b.bar.Abort(false)
	}
	b.all.Wait()
}
