// Command concordat runs regions of Concordat and asks them things. `concordat help` lists what it can do.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/mattn/go-isatty"

	"github.com/concordat-db/concordat/cli"
	"github.com/concordat-db/concordat/regionnode"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// The second signal kills: whoever sends it does not want to wait for a clean end.
	context.AfterFunc(ctx, stop)
	streams := cli.Streams{Out: os.Stdout, Err: os.Stderr}
	if isatty.IsTerminal(os.Stdin.Fd()) {
		streams.In = os.Stdin
	}
	status := cli.Run(ctx, os.Args, streams, regionnode.Version)
	stop()
	os.Exit(status)
}
