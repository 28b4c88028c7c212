package cli

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/nats-io/nkeys"
	ucli "github.com/urfave/cli/v2"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
)

// maxKeyFile is the greatest file, in bytes, that a key, a password or a descriptor is read from.
const maxKeyFile = 16 << 10

func regionCommand(s Streams) *ucli.Command {
	return &ucli.Command{
		Name:  "region",
		Usage: "make what identifies a region; list, add, fence, remove and rebuild regions",
		Subcommands: []*ucli.Command{
			regionListCommand(s),
			regionShowCommand(s),
			regionAddCommand(s),
			regionFenceCommand(s),
			regionRemoveCommand(s),
			regionRebuildCommand(s),
			regionSavedCommand(s),
			{
				Name:        "keygen",
				Usage:       "make a region's key",
				Description: "Writes a new secret key to a file that only its owner may read, and prints the public part.\nThe key identifies the region for ever: keep a copy in a safe place.",
				Flags: []ucli.Flag{
					&ucli.StringFlag{Name: "out", Usage: "`FILE` to write; it must not exist"},
				},
				Action: func(c *ucli.Context) error { return regionKeygen(c, s) },
			},
			{
				Name:        "descriptor",
				Usage:       "sign a region's descriptor, which its peers get",
				Description: "Prints a line of text that says who the region is and where its NATS can be reached, signed with its key.\nIt is no secret. Put it into `spec.peers` of every other region's configuration.",
				Flags: []ucli.Flag{
					&ucli.StringFlag{Name: "key", Usage: "`FILE` with the region's key"},
					&ucli.StringFlag{Name: "name", Usage: "`NAME` of the region, for example eu-central-1"},
					&ucli.StringFlag{Name: "jurisdiction", Usage: "whose law holds there, for example EU"},
					&ucli.UintFlag{Name: "id", Usage: "`NUMBER` of the region, 1 to 65535, unique for ever"},
					&ucli.StringSliceFlag{Name: "nats", Usage: "`URL` at which peers reach its NATS (repeatable)"},
				},
				Action: func(c *ucli.Context) error { return regionDescriptor(c, s) },
			},
		},
	}
}

func regionKeygen(c *ucli.Context, s Streams) error {
	if err := required(c, "out"); err != nil {
		return err
	}
	key, err := nkeys.CreateUser()
	if err != nil {
		return fmt.Errorf("make key: %w", err)
	}
	defer key.Wipe()
	seed, err := key.Seed()
	if err != nil {
		return fmt.Errorf("make key: %w", err)
	}
	public, err := key.PublicKey()
	if err != nil {
		return fmt.Errorf("make key: %w", err)
	}
	path := c.String("out")
	if err := writeSecret(path, append(seed, '\n')); err != nil {
		return fmt.Errorf("make key: %w", err)
	}
	v := struct {
		File      string `json:"file"`
		PublicKey string `json:"public_key"`
	}{path, public}
	return emit(c, s.Out, v, func(w io.Writer) error {
		_, err := fmt.Fprintln(w, public)
		return err
	})
}

// writeSecret makes a file that only its owner may read. It never replaces one, and is on disk when writeSecret returns nil.
func writeSecret(path string, secret []byte) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(path)
		}
	}()
	_, err = f.Write(secret)
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

func regionDescriptor(c *ucli.Context, s Streams) error {
	if err := required(c, "key", "name", "jurisdiction", "id"); err != nil {
		return err
	}
	id := c.Uint("id")
	if id == 0 || id > 65535 {
		return wrongUsage(c, "--id is %d; it can be 1 to 65535", id)
	}
	key, err := readKey(c.String("key"))
	if err != nil {
		return err
	}
	defer key.Wipe()
	public, err := key.PublicKey()
	if err != nil {
		return fmt.Errorf("read key: %w", err)
	}
	d := globaltable.Descriptor{
		Name: c.String("name"), Jurisdiction: c.String("jurisdiction"), Origin: hlc.Origin(id),
		NATS: c.StringSlice("nats"), PublicKey: public,
	}
	if err := d.Validate(); err != nil {
		return wrongUsage(c, "%v", err)
	}
	token, err := globaltable.Sign(&d, key)
	if err != nil {
		return err
	}
	v := struct {
		globaltable.Descriptor
		Token string `json:"descriptor"`
	}{d, token}
	return emit(c, s.Out, v, func(w io.Writer) error {
		_, err := fmt.Fprintln(w, token)
		return err
	})
}
