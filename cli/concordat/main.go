// Command concordat runs regions of Concordat and asks them things. `concordat help` lists what it can do.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/concordat-db/concordat/cli"
)

// version is set by the linker (see the Makefile).
var version = "unknown"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// The second signal kills: whoever sends it does not want to wait for a clean end.
	context.AfterFunc(ctx, stop)
	status := cli.Run(ctx, os.Args, cli.Streams{Out: os.Stdout, Err: os.Stderr}, version)
	stop()
	os.Exit(status)
}
