package commit

import (
	"fmt"
	"runtime"
	"strings"

	"github.com/concordat-db/concordat/globaltable"
)

// PanicError says that the plan of a write panicked. Nothing of the write was done. It carries nothing of the keys and items that the plan was given: what a panic says itself may quote them, so of
// a panic that is not the runtime's there is the type alone.
type PanicError struct {
	Cause string
	Stack string // functions and lines, the innermost first; at most maxFrames
}

func (e *PanicError) Error() string { return "the plan of a write panicked: " + e.Cause }

const maxFrames = 32

// panicked turns what was recovered from a plan into the write's error, and reports it. It is called by the function that recovered, deferred.
func (r *rules) panicked(p any) error {
	e := &PanicError{Cause: fmt.Sprintf("%T", p), Stack: frames()}
	if bug, ok := p.(runtime.Error); ok {
		e.Cause = bug.Error()
	}
	if report := r.panic; report != nil {
		report(e)
	}
	return fault(globaltable.Internal, opWrite, "", e)
}

// frames returns the stack of a panic. Unlike debug.Stack it has no arguments, which may be parts of an item.
func frames() string {
	var callers [maxFrames]uintptr
	const own = 4 // runtime.Callers, this function, panicked, and the deferred one that calls it
	all := runtime.CallersFrames(callers[:runtime.Callers(own, callers[:])])
	var b strings.Builder
	for more := true; more; {
		var f runtime.Frame
		if f, more = all.Next(); !strings.HasPrefix(f.Function, "runtime.") {
			fmt.Fprintf(&b, "%s:%d\n", f.Function, f.Line)
		}
	}
	return b.String()
}
