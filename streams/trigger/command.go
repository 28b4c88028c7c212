package trigger

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"slices"
	"syscall"
	"time"

	"github.com/concordat-db/concordat/globaltable"
)

// command is a Target: a program that is run for each batch. It gets the events on its standard input, a JSON document a line, and has done with all of them when it ends with exit status 0.
//
// Whoever may change a table may name a program, in any region. So a region runs only those that its node's configuration lists.
type command struct {
	spec        globaltable.CommandSpec
	allowed     []string
	environment []string
}

// afterKill is how long the pipe of a program that was killed may stay open.
const afterKill = time.Second

func (c *command) Deliver(ctx context.Context, events []Event) error {
	if !slices.Contains(c.allowed, c.spec.Path) {
		return &failure{text: "this region's configuration does not allow the program"}
	}
	size := 0
	for i := range events {
		size += len(events[i].JSON) + 1
	}
	input := make([]byte, 0, size)
	for i := range events {
		input = append(append(input, events[i].JSON...), '\n')
	}
	// What it prints goes nowhere: it may be items.
	x := exec.CommandContext(ctx, c.spec.Path, c.spec.Args...)
	x.Env, x.Dir, x.Stdin, x.WaitDelay = c.environment, "/", bytes.NewReader(input), afterKill
	x.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	x.Cancel = func() error { return syscall.Kill(-x.Process.Pid, syscall.SIGKILL) }
	if err := x.Start(); err != nil {
		return &failure{text: "the program cannot be started: " + cause(err)}
	}
	limit(ctx, x.Process.Pid)
	err := x.Wait()
	_ = syscall.Kill(-x.Process.Pid, syscall.SIGKILL) // what it has left behind, if anything
	var exit *exec.ExitError
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return &failure{text: describe(ctx.Err())}
	case errors.As(err, &exit):
		return &failure{text: exit.String()} // the status, or the signal
	}
	return &failure{text: cause(err)}
}

func (c *command) Close() {}

// cause returns what a system call said, without the path.
func cause(err error) string {
	var number syscall.Errno
	if errors.As(err, &number) {
		return number.Error()
	}
	return describe(err)
}
