package cli

import (
	"fmt"
	"io"
	"runtime"

	ucli "github.com/urfave/cli/v2"
)

func versionCommand(s Streams, version string) *ucli.Command {
	return &ucli.Command{
		Name:  "version",
		Usage: "print the version of this program",
		Action: func(c *ucli.Context) error {
			v := struct {
				Version  string `json:"version"`
				Go       string `json:"go"`
				Platform string `json:"platform"`
			}{version, runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}
			return emit(c, s.Out, v, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "concordat %s (%s, %s)\n", v.Version, v.Go, v.Platform)
				return err
			})
		},
	}
}
