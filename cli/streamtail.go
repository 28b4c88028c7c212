package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	ucli "github.com/urfave/cli/v2"

	"github.com/concordat-db/concordat/globaltable/pattern"
	"github.com/concordat-db/concordat/regionnode/admin"
)

// tailPatience is how long an answer may take that waits for news.
const tailPatience = time.Minute

func streamTailCommand(s Streams) *ucli.Command {
	return &ucli.Command{
		Name:  "tail",
		Usage: "follow what changes in a table, until Ctrl-C",
		Description: "Shows each change as the region has it: when and in which region it was made, what became of the item, and its key; with --values what it was and is. With --output json, one CloudEvent a line;\n" +
			"with yaml, one document each. A filter is an event pattern as of Amazon EventBridge, about the whole event:\n" +
			"   {\"type\": [\"concordat.item.insert\"], \"data\": {\"new\": {\"status\": {\"S\": [\"PAID\"]}}}}\n" +
			"With --durable the region remembers up to where changes were shown: the next tail of that name goes on there. What was shown a moment before the end may be shown again.",
		Flags: []ucli.Flag{
			&ucli.StringFlag{Name: "table", Usage: "`NAME` or id of the table"},
			&ucli.DurationFlag{Name: "since", Usage: "begin with the changes of the last `TIME`; default: from now on"},
			&ucli.StringFlag{Name: "filter", Usage: "only events that match the `PATTERN`"},
			&ucli.StringFlag{Name: "durable", Usage: "go on where the tail of this `NAME` was, and keep its place; `concordat stream forget` forgets it"},
			&ucli.BoolFlag{Name: "values", Usage: "show the item before and after"},
		},
		Action: func(c *ucli.Context) error { return tailStream(c, s) },
	}
}

// tailed is an event as people see it.
type tailed struct {
	Type   string    `json:"type"`
	Time   time.Time `json:"time"`
	Origin string    `json:"origin"`
	Kind   string    `json:"kind"`
	Data   struct {
		Keys json.RawMessage `json:"keys"`
		Old  json.RawMessage `json:"old"`
		New  json.RawMessage `json:"new"`
	} `json:"data"`
}

func tailStream(c *ucli.Context, s Streams) error {
	if err := required(c, "table"); err != nil {
		return err
	}
	base, err := adminURL(c)
	if err != nil {
		return err
	}
	query := url.Values{}
	if c.IsSet("since") {
		since := c.Duration("since")
		if since <= 0 {
			return wrongUsage(c, "--since is %v; it must be above zero", since)
		}
		query.Set("since", time.Now().Add(-since).UTC().Format(time.RFC3339))
	}
	if filter := c.String("filter"); filter != "" {
		if _, err := pattern.Compile([]byte(filter)); err != nil {
			return wrongUsage(c, "--filter: %v", err)
		}
		query.Set("filter", filter)
	}
	f, err := formatOf(c)
	if err != nil {
		return err
	}
	t := tailing{base: base, path: "/v1/tables/" + url.PathEscape(c.String("table")), durable: c.String("durable"), query: query, err: s.Err,
		show: func(event json.RawMessage) error { return showEvent(s.Out, f, event, c.Bool("values")) }}
	return t.run(c.Context)
}

// tailing is one call of the command.
type tailing struct {
	base, path, durable string
	query               url.Values
	err                 io.Writer
	show                func(json.RawMessage) error
	kept                string // the position that the region keeps
}

// run shows events as they come, until ctx is done. A region that does not answer for a while, or cannot, is asked again.
func (t *tailing) run(ctx context.Context) error {
	t.query.Set("wait", "0") // where it begins is kept before it waits for anything
	if t.durable != "" {
		t.query.Set("tail", t.durable)
	}
	for {
		page, err := askAdmin[admin.EventPage](ctx, "follow stream", tailPatience, http.MethodGet, t.base, t.path+"/events?"+t.query.Encode(), nil)
		if err == nil {
			err = t.take(ctx, &page)
		}
		var fault *adminFault
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			continue
		case errors.Is(err, errShow), errors.As(err, &fault) && fault.status < http.StatusInternalServerError:
			return err
		}
		fmt.Fprintf(t.err, "%v; trying again\n", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(memberPoll):
		}
	}
}

// errShow says that what was to be shown could not be.
var errShow = errors.New("show event")

// take shows a page, and has the region keep that it was shown: at the end of the command, too.
func (t *tailing) take(ctx context.Context, page *admin.EventPage) error {
	if page.Missed {
		fmt.Fprintln(t.err, "Some records have gone before they were read: the stream keeps them no longer.")
	}
	for _, event := range page.Events {
		if err := t.show(event); err != nil {
			return fmt.Errorf("%w: %w", errShow, err)
		}
	}
	t.query.Set("after", page.Next)
	t.query.Set("wait", "20")
	t.query.Del("since")
	if t.durable == "" || page.Next == t.kept {
		return nil
	}
	_, err := askAdmin[admin.SetTail](context.WithoutCancel(ctx), "keep place", adminPatience, http.MethodPut, t.base, t.path+"/tails/"+url.PathEscape(t.durable), admin.SetTail{Position: page.Next})
	if err == nil {
		t.kept = page.Next
	}
	return err
}

func showEvent(w io.Writer, f format, event json.RawMessage, values bool) error {
	switch f {
	case formatYAML:
		if _, err := io.WriteString(w, "---\n"); err != nil {
			return err
		}
		return write(w, f, event)
	case formatJSON:
		var line bytes.Buffer
		if err := json.Compact(&line, event); err != nil {
			return err
		}
		_, err := w.Write(append(line.Bytes(), '\n'))
		return err
	}
	var e tailed
	if err := json.Unmarshal(event, &e); err != nil {
		return err
	}
	did := strings.ToUpper(strings.TrimPrefix(e.Type, "concordat.item."))
	if e.Kind != "write" {
		did += " by " + e.Kind
	}
	_, err := fmt.Fprintf(w, "%s  %s  %s  %s\n", e.Time.Local().Format("2006-01-02 15:04:05.000"), e.Origin, did, plainItem(e.Data.Keys))
	if err != nil || !values {
		return err
	}
	for _, image := range []struct {
		what string
		item json.RawMessage
	}{{"was", e.Data.Old}, {"is", e.Data.New}} {
		if len(image.item) > 0 {
			if _, err := fmt.Fprintf(w, "    %-3s  %s\n", image.what, plainItem(image.item)); err != nil {
				return err
			}
		}
	}
	return nil
}
