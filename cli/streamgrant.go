package cli

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/nats-io/nkeys"
	ucli "github.com/urfave/cli/v2"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode/admin"
)

func streamGrantCommand(s Streams) *ucli.Command {
	return &ucli.Command{
		Name:      "grant",
		Usage:     "let somebody read the events of tables from the region's NATS",
		ArgsUsage: "NAME",
		Description: "Makes an nkey, and has the region make a durable pull consumer named NAME on the JetStream stream of each table, which the holder of the key can read with any client of NATS, and nothing else. The events are\n" +
			"CloudEvents in JSON. Only what may be in this region is told in it: a grant is one region's. The seed of the key is written once, and kept nowhere.",
		Flags: []ucli.Flag{
			&ucli.StringSliceFlag{Name: "table", Usage: "`NAME` of a table; may be given again"},
			&ucli.StringFlag{Name: "expires", Usage: "end the grant after `TIME`: 30d, 12h; default: never"},
			&ucli.StringFlag{Name: "since", Usage: "begin with the events of the last `TIME`; default: from now on"},
			&ucli.StringFlag{Name: "seed-file", Usage: "write the seed to `FILE`, which must not be there, instead of showing it"},
		},
		Action: func(c *ucli.Context) error { return grantStream(c, s) },
	}
}

// granted is a grant with its key.
type granted struct {
	admin.GrantMade
	Seed     string `json:"seed,omitempty"`
	SeedFile string `json:"seedFile,omitempty"`
}

func grantStream(c *ucli.Context, s Streams) error {
	base, err := adminURL(c)
	if err != nil {
		return err
	}
	names, err := words(c)
	if err != nil {
		return err
	}
	if err := required(c, "table"); err != nil {
		return err
	}
	tables := c.StringSlice("table") // twice, if they follow the NAME
	slices.Sort(tables)
	q := admin.NewGrant{Name: names[0], Tables: slices.Compact(tables)}
	for flag, into := range map[string]*int64{"expires": &q.ExpiresSeconds, "since": &q.SinceSeconds} {
		if text := c.String(flag); c.IsSet(flag) {
			d, err := globaltable.ParseAge(text)
			if err != nil || d < time.Second {
				return wrongUsage(c, "--%s: %q is no time of a second or more, like 30d or 1h30m", flag, text)
			}
			*into = int64(d / time.Second)
		}
	}
	key, err := nkeys.CreateUser()
	if err != nil {
		return err
	}
	defer key.Wipe()
	if q.PublicKey, err = key.PublicKey(); err != nil {
		return err
	}
	seed, err := key.Seed()
	if err != nil {
		return err
	}
	out := granted{SeedFile: c.String("seed-file")}
	if out.SeedFile == "" {
		out.Seed = string(seed)
	} else if err := writeNewFile(out.SeedFile, append(seed, '\n')); err != nil { // before there is a grant for it
		return err
	}
	if out.GrantMade, err = askAdmin[admin.GrantMade](c.Context, "grant", 3*adminPatience, http.MethodPost, base, "/v1/grants", q); err != nil {
		if out.SeedFile != "" {
			_ = os.Remove(out.SeedFile) // a key to nothing
		}
		return err
	}
	return emit(c, s.Out, out, func(w io.Writer) error { return writeGrant(w, &out) })
}

// writeNewFile writes a file that only its owner can read.
func writeNewFile(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if closed := f.Close(); err == nil {
		err = closed
	}
	return err
}

func writeGrant(w io.Writer, g *granted) error {
	until := "until it is revoked"
	if g.Expires != nil {
		until = "until " + g.Expires.Local().Format(time.DateTime)
	}
	fmt.Fprintf(w, "Grant %s: its key reads the events of these tables %s.\n", g.Name, until)
	t := newTable("table", "stream", "durable consumer")
	for _, x := range g.Tables {
		t.AppendRow(table.Row{x.Table, x.Stream, x.Durable})
	}
	if err := render(w, t); err != nil {
		return err
	}
	file := g.SeedFile
	if file == "" {
		file = g.Name + ".nk"
		fmt.Fprintf(w, "The seed of its key, shown this once; keep it in a file %s that only its holder can read:\n\n   %s\n\n", file, g.Seed)
	} else {
		fmt.Fprintf(w, "The seed of its key is in %s.\n", file)
	}
	servers, x := strings.Join(g.URLs, ","), g.Tables[0]
	fmt.Fprintf(w, "With the nats tool:\n\n   nats --server %s --nkey %s consumer next %s %s --ack --count 10\n\n", servers, file, x.Stream, x.Durable)
	fmt.Fprintf(w, "With nats.go:\n\n"+
		"   key, _ := nats.NkeyOptionFromSeed(%q)\n"+
		"   nc, _ := nats.Connect(%q, key)\n"+
		"   js, _ := jetstream.New(nc)\n"+
		"   events, _ := js.Consumer(ctx, %q, %q)\n"+
		"   events.Consume(func(m jetstream.Msg) { fmt.Println(string(m.Data())); m.Ack() })\n", file, servers, x.Stream, x.Durable)
	switch {
	case g.External:
		_, err := fmt.Fprintf(w, "\nThe region's NATS is a cluster of its own: print its accounts anew with `concordat nats accounts --live`, and install them; then the key is let in.\n")
		return err
	case !g.Ready:
		_, err := fmt.Fprintf(w, "\nThe consumers are not there yet: the region's NATS is being filled. `concordat stream list` shows how far it is.\n")
		return err
	}
	return nil
}

func listGrants(c *ucli.Context, s Streams) error {
	base, err := adminURL(c)
	if err != nil {
		return err
	}
	list, err := askAdmin[admin.GrantList](c.Context, "list grants", adminPatience, http.MethodGet, base, "/v1/grants", nil)
	if err != nil {
		return err
	}
	return emit(c, s.Out, list, func(w io.Writer) error {
		if len(list.Grants) == 0 {
			_, err := fmt.Fprintf(w, "Nobody has a grant in region %s.\n", list.Region)
			return err
		}
		t := newTable("grant", "table", "has read until", "not delivered", "expires")
		alignRight(t, 4)
		for _, g := range list.Grants {
			expires := localTime(g.Expires)
			if expires == "" {
				expires = "never"
			}
			for _, x := range g.Tables {
				t.AppendRow(table.Row{g.Name, x.Table, x.Read.Local().Format(time.DateTime), x.Pending, expires})
			}
		}
		return render(w, t)
	})
}
