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
				Usage:  "list who may read events of tables, and hear subjects, in the region's NATS",
				Action: func(c *ucli.Context) error { return listGrants(c, s) },
			},
			{
				Name:      "revoke",
				Usage:     "take a grant back: its holder is disconnected, and not let in any more",
				ArgsUsage: "NAME",
				Description: "Its consumers are removed. With the embedded NATS its connections end at once. With an external one they end when the accounts are installed anew without the grant, or, in operator mode, when its\n" +
					"user is revoked: until then the key is let in and hears the grant's subjects. The same goes for a grant that has expired.",
				Action: func(c *ucli.Context) error { return revokeGrant(c, s) },
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
	name, _, err := endReader[struct{}](c, "forget tail", "/v1/tails/")
	if err != nil {
		return err
	}
	v := struct {
		Name string `json:"name"`
	}{name}
	return emit(c, s.Out, v, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "The place of tail %s is forgotten.\n", name)
		return err
	})
}

func revokeGrant(c *ucli.Context, s Streams) error {
	name, ended, err := endReader[admin.GrantEnded](c, "revoke grant", "/v1/grants/")
	if err != nil {
		return err
	}
	v := struct {
		Name string `json:"name"`
		admin.GrantEnded
	}{name, ended}
	return emit(c, s.Out, v, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "Grant %s is revoked.\n", name)
		switch {
		case err != nil || !ended.External:
		case ended.Operator:
			_, err = fmt.Fprintf(w, "The region's NATS is in operator mode: have its user %s revoked (`nsc revocations add-user`, `nsc push`). Until then the key is let in, finds no consumer, but hears the grant's subjects.\n", ended.PublicKey)
		default:
			_, err = fmt.Fprintf(w, "The region's NATS is a cluster of its own: %s. That ends its connections. Until then the key is let in, finds no consumer, but hears the grant's subjects.\n", installAccounts)
		}
		return err
	})
}

// endReader deletes what the word names, and returns that and what the region says.
func endReader[T any](c *ucli.Context, what, path string) (name string, out T, err error) {
	base, err := adminURL(c)
	if err != nil {
		return "", out, err
	}
	names, err := words(c)
	if err != nil {
		return "", out, err
	}
	out, err = askAdmin[T](c.Context, what, adminPatience, http.MethodDelete, base, path+url.PathEscape(names[0]), nil)
	return names[0], out, err
}
