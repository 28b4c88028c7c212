package cli

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	ucli "github.com/urfave/cli/v2"

	"github.com/concordat-db/concordat/regionnode/admin"
)

func streamCommand(s Streams) *ucli.Command {
	return &ucli.Command{
		Name:  "stream",
		Usage: "follow what changes in tables, and let others follow it",
		Description: "A table whose stream is on (UpdateTable with StreamSpecification) tells each change of an item, with what it was and is, in each region that may have the item. The DynamoDB Streams API reads it;\n" +
			"so do these commands, and, as CloudEvents, clients of the region's NATS that have a grant.",
		Subcommands: []*ucli.Command{
			{
				Name:   "list",
				Usage:  "list the tables that have a stream in the region",
				Action: func(c *ucli.Context) error { return listStreams(c, s) },
			},
			streamTailCommand(s),
			{
				Name:      "forget",
				Usage:     "forget the place of a tail that has a name",
				ArgsUsage: "NAME",
				Action:    func(c *ucli.Context) error { return forgetTail(c, s) },
			},
			streamExportCommand(s),
			streamGrantCommand(s),
			{
				Name:   "grants",
				Usage:  "list who may read events from the region's NATS",
				Action: func(c *ucli.Context) error { return listGrants(c, s) },
			},
			{
				Name:      "revoke",
				Usage:     "take a grant back: its holder is disconnected, and not let in any more",
				ArgsUsage: "NAME",
				Action:    func(c *ucli.Context) error { return revokeGrant(c, s) },
			},
		},
	}
}

func listStreams(c *ucli.Context, s Streams) error {
	base, err := adminURL(c)
	if err != nil {
		return err
	}
	list, err := askAdmin[admin.StreamList](c.Context, "list streams", adminPatience, http.MethodGet, base, "/v1/streams", nil)
	if err != nil {
		return err
	}
	return emit(c, s.Out, list, func(w io.Writer) error { return writeStreams(w, &list) })
}

func writeStreams(w io.Writer, list *admin.StreamList) error {
	if len(list.Streams) == 0 {
		_, err := fmt.Fprintf(w, "No table has a stream in region %s.\n", list.Region)
		return err
	}
	t := newTable("table", "view", "since", "records", "size", "oldest", "in NATS")
	alignRight(t, 4, 5)
	tails := newTable("tail", "table", "has read until", "last used")
	for i := range list.Streams {
		x := &list.Streams[i]
		view := x.View
		if view == "" {
			view = "off"
		}
		t.AppendRow(table.Row{x.Table, view, x.Label, x.Records, humanBytes(x.Bytes), localTime(x.Oldest), eventsState(x.Events)})
		for _, tail := range x.Tails {
			tails.AppendRow(table.Row{tail.Name, x.Table, tail.Time.Local().Format(time.DateTime), tail.Used.Local().Format(time.DateTime)})
		}
	}
	if err := render(w, t); err != nil || tails.Length() == 0 {
		return err
	}
	return render(w, tails)
}

// eventsState says in words how far a table's events are in the region's NATS.
func eventsState(e *admin.Events) string {
	lag := func() string { return (time.Duration(e.LagMillis) * time.Millisecond).String() + " behind" }
	switch {
	case e == nil:
		return "not published"
	case e.Error != "":
		return lag() + ": " + e.Error
	case !e.Ready:
		return lag() + ", being filled"
	case e.LagMillis > 0:
		return lag()
	}
	return "all"
}

// localTime writes a time that may be missing.
func localTime(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.Local().Format(time.DateTime)
}

func forgetTail(c *ucli.Context, s Streams) error {
	return endReader(c, s, "forget tail", "/v1/tails/", "The place of tail %s is forgotten.\n")
}

func revokeGrant(c *ucli.Context, s Streams) error {
	return endReader(c, s, "revoke grant", "/v1/grants/", "Grant %s is revoked.\n")
}

// endReader deletes what the word names.
func endReader(c *ucli.Context, s Streams, what, path, done string) error {
	base, err := adminURL(c)
	if err != nil {
		return err
	}
	names, err := words(c)
	if err != nil {
		return err
	}
	if _, err := askAdmin[struct{}](c.Context, what, adminPatience, http.MethodDelete, base, path+url.PathEscape(names[0]), nil); err != nil {
		return err
	}
	v := struct {
		Name string `json:"name"`
	}{names[0]}
	return emit(c, s.Out, v, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, done, names[0])
		return err
	})
}
