package trigger

import (
	"context"
	"time"

	"golang.org/x/sys/unix"
)

// limit bounds what a program may use: as much processor time as it has time, few files, and no core dump, which would have items in it.
func limit(ctx context.Context, pid int) {
	seconds := uint64(1)
	if deadline, ok := ctx.Deadline(); ok {
		seconds += uint64(max(0, time.Until(deadline)/time.Second))
	}
	for resource, most := range map[int]uint64{unix.RLIMIT_CORE: 0, unix.RLIMIT_CPU: seconds, unix.RLIMIT_NOFILE: 1024} {
		_ = unix.Prlimit(pid, resource, &unix.Rlimit{Cur: most, Max: most}, nil) // it may have ended
	}
}
