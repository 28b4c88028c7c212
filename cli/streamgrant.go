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
		Usage:     "let somebody read the events of tables, or hear subjects, in the region's NATS",
		ArgsUsage: "NAME",
		Description: "Makes an nkey, and has the region make a durable pull consumer named NAME on the JetStream stream of each table, which the holder of the key can read with any client of NATS, and nothing else. The events are\n" +
			"CloudEvents in JSON. With --subject the holder can also subscribe to what triggers with a target nats publish to the subject, as long as it is connected: nothing is kept for it. It can publish to nothing. Only what may be in\n" +
			"this region is told in it, so no policy is asked: a grant is one region's. The seed of the key is written once, and kept nowhere. With an external NATS, install its accounts anew when the grant has ended, or have its user revoked: until then subjects are heard.",
		Flags: []ucli.Flag{
			&ucli.StringSliceFlag{Name: "table", Usage: "`NAME` of a table; may be given again"},
			&ucli.StringSliceFlag{Name: "subject", Usage: "`SUBJECT` that triggers publish to, like orders.paid or orders.>; may be given again"},
			&ucli.StringFlag{Name: "expires", Usage: "end the grant after `TIME`: 30d, 12h; default: never"},
			&ucli.StringFlag{Name: "since", Usage: "begin with the tables' events of the last `TIME`; default: from now on"},
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
	q := admin.NewGrant{Name: names[0], Tables: each(c, "table"), Subjects: each(c, "subject")}
	switch err := globaltable.ValidateHeard(q.Subjects); {
	case len(q.Tables)+len(q.Subjects) == 0:
		return wrongUsage(c, "grant needs --table or --subject")
	case err != nil:
		return wrongUsage(c, "--subject: %v", err)
	case len(q.Tables) == 0 && c.IsSet("since"):
		return wrongUsage(c, "--since is of tables: what was told at a subject is not kept")
	}
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

// each returns the values of a flag, sorted, each once: there are all of them twice if they follow the NAME.
func each(c *ucli.Context, flag string) []string {
	return slices.Compact(slices.Sorted(slices.Values(c.StringSlice(flag))))
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
	if len(g.Tables) > 0 {
		fmt.Fprintf(w, "Grant %s: its key reads the events of these tables %s.\n", g.Name, until)
		t := newTable("table", "stream", "durable consumer")
		for _, x := range g.Tables {
			t.AppendRow(table.Row{x.Table, x.Stream, x.Durable})
		}
		if err := render(w, t); err != nil {
			return err
		}
	}
	if len(g.Subjects) > 0 {
		fmt.Fprintf(w, "Grant %s: its key hears these subjects %s, while it is connected: %s\n", g.Name, until, strings.Join(g.Subjects, "  "))
	}
	file := g.SeedFile
	if file == "" {
		file = g.Name + ".nk"
		fmt.Fprintf(w, "The seed of its key, shown this once; keep it in a file %s that only its holder can read:\n\n   %s\n\n", file, g.Seed)
	} else {
		fmt.Fprintf(w, "The seed of its key is in %s.\n", file)
	}
	writeUse(w, g, file)
	switch {
	case g.Operator:
		_, err := fmt.Fprintf(w, "\nThe region's NATS is in operator mode: the key is let in when whoever makes its accounts has made one for the grant, with the user %s. Have that user revoked when the grant has ended.\n", g.PublicKey)
		return err
	case g.External:
		_, err := fmt.Fprintf(w, "\nThe region's NATS is a cluster of its own: %s; then the key is let in. Do so again when the grant has ended.\n", installAccounts)
		return err
	case !g.Ready:
		_, err := fmt.Fprintf(w, "\nThe consumers are not there yet: the region's NATS is being filled. `concordat stream list` shows how far it is.\n")
		return err
	}
	return nil
}

// installAccounts is how the accounts of an external NATS come into force that follow from the node's grants.
const installAccounts = "print its accounts anew with `concordat nats accounts --live`, put them on every server, and reload each twice (`nats-server --signal reload`)"

// writeUse shows how the holder of a grant reads one of its tables and hears one of its subjects.
func writeUse(w io.Writer, g *granted, file string) {
	servers := strings.Join(g.URLs, ",")
	fmt.Fprint(w, "With the nats tool:\n\n")
	for _, x := range g.Tables[:min(1, len(g.Tables))] {
		fmt.Fprintf(w, "   nats --server %s --nkey %s consumer next %s %s --ack --count 10\n", servers, file, x.Stream, x.Durable)
	}
	for _, subject := range g.Subjects[:min(1, len(g.Subjects))] {
		fmt.Fprintf(w, "   nats --server %s --nkey %s sub %s\n", servers, file, shellWord(subject))
	}
	fmt.Fprintf(w, "\nWith nats.go:\n\n   key, _ := nats.NkeyOptionFromSeed(%q)\n   nc, _ := nats.Connect(%q, key)\n", file, servers)
	for _, x := range g.Tables[:min(1, len(g.Tables))] {
		fmt.Fprintf(w, "   js, _ := jetstream.New(nc)\n"+
			"   events, _ := js.Consumer(ctx, %q, %q)\n"+
			"   events.Consume(func(m jetstream.Msg) { fmt.Println(string(m.Data())); m.Ack() })\n", x.Stream, x.Durable)
	}
	for _, subject := range g.Subjects[:min(1, len(g.Subjects))] {
		fmt.Fprintf(w, "   nc.Subscribe(%q, func(m *nats.Msg) { fmt.Println(string(m.Data)) })\n", subject)
	}
}

// shellWord quotes s for a shell.
func shellWord(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

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
		t := newTable("grant", "table or subject", "has read until", "not delivered", "expires")
		alignRight(t, 4)
		for _, g := range list.Grants {
			expires := localTime(g.Expires)
			if expires == "" {
				expires = "never"
			}
			for _, x := range g.Tables {
				t.AppendRow(table.Row{g.Name, x.Table, x.Read.Local().Format(time.DateTime), x.Pending, expires})
			}
			for _, subject := range g.Subjects {
				t.AppendRow(table.Row{g.Name, "subject " + subject, "", "", expires})
			}
		}
		return render(w, t)
	})
}
