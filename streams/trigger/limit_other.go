//go:build !linux

package trigger

import "context"

// limit does nothing: on this system a running program cannot be limited from outside. The timeout holds.
func limit(context.Context, int) {}
