package cli

import (
	"fmt"
	"io"
	"net/http"
	"time"

	ucli "github.com/urfave/cli/v2"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode/admin"
)

func regionAddCommand(s Streams) *ucli.Command {
	return &ucli.Command{
		Name:  "add",
		Usage: "make a new region a member of the running world",
		Description: "Asks a member, by --admin, to make the region of a descriptor a member too, and writes an invitation: a line of text that the new region's configuration names as\n" +
			"`spec.invitation` at its first start. It is no secret. The members reach the new region at the addresses in its descriptor. A name, a number and a key that a region\n" +
			"ever had cannot be used again; to ask again with the same descriptor writes another invitation.",
		Flags: []ucli.Flag{
			&ucli.StringFlag{Name: "descriptor", Usage: "`FILE` with the new region's descriptor"},
			&ucli.DurationFlag{Name: "expires", Usage: "how long the invitation allows the first start, `TIME`", Value: 24 * time.Hour},
			&ucli.StringFlag{Name: "out", Usage: "`FILE` to write the invitation to; it must not exist. Default: standard output"},
		},
		Action: func(c *ucli.Context) error { return regionAdd(c, s) },
	}
}

func regionAdd(c *ucli.Context, s Streams) error {
	if err := required(c, "descriptor"); err != nil {
		return err
	}
	valid := c.Duration("expires")
	if valid < time.Second || valid > globaltable.MaxInvitationTime {
		return wrongUsage(c, "--expires is %v; it can be 1s to %v", valid, globaltable.MaxInvitationTime)
	}
	base, err := adminURL(c)
	if err != nil {
		return err
	}
	descriptor, err := readSecret(c.String("descriptor"))
	if err != nil {
		return fmt.Errorf("read descriptor: %w", err)
	}
	if _, err := globaltable.ParseDescriptor(string(descriptor)); err != nil {
		return fmt.Errorf("%s: %w", c.String("descriptor"), err)
	}
	i, err := askAdmin[admin.Invitation](c.Context, "add region", 3*adminPatience, http.MethodPost, base, "/v1/regions",
		admin.NewRegion{Descriptor: string(descriptor), ValidSeconds: int64(valid / time.Second)})
	if err != nil {
		return err
	}
	out := c.String("out")
	if out != "" {
		if err := writeSecret(out, []byte(i.Invitation+"\n")); err != nil {
			return fmt.Errorf("region %s is a member; write its invitation: %w", i.Region, err)
		}
	}
	return emit(c, s.Out, i, func(w io.Writer) error {
		if out == "" {
			_, err := fmt.Fprintln(w, i.Invitation)
			return err
		}
		_, err := fmt.Fprintf(w, "Region %s, number %d, is a member. It can start with %s until %s.\n", i.Region, i.Origin, out, i.Expires)
		return err
	})
}
