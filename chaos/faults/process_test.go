//go:build linux

package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// process is a running program. It ends with its test at the latest.
type process struct {
	t     testing.TB
	name  string
	cmd   *exec.Cmd
	log   *logLines
	ended chan struct{}
	err   error // valid once ended is closed
}

// start runs the program with args. The name tells it apart in what a failing test prints.
func start(t testing.TB, name string, args ...string) *process {
	t.Helper()
	p := &process{t: t, name: name, cmd: exec.Command(program, args...), log: newLogLines(), ended: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	// A test that is ended by force must not leave programs behind.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		p.err = p.cmd.Wait()
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("last lines of %s:\n%s", p.name, p.log.tail())
		}
	})
	return p
}

// signal sends s, unless the process has ended.
func (p *process) signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Errorf("signal %v to %s: %v", s, p.name, err)
	}
}

// kill ends the process as `kill -9` does, and waits until it is gone.
func (p *process) kill() {
	p.signal(syscall.SIGKILL)
	<-p.ended
}

// wait waits for the end and returns the exit status, -1 after a signal.
func (p *process) wait() int {
	p.t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	select {
	case <-p.ended:
	case <-deadline.C:
		p.t.Fatalf("%s does not end", p.name)
	}
	return p.cmd.ProcessState.ExitCode()
}

// stop asks the process to end, and fails the test if it does not end cleanly.
func (p *process) stop() {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	if status := p.wait(); status != 0 {
		p.t.Errorf("%s ended with status %d (%v) after SIGTERM; want 0", p.name, status, p.err)
	}
}

func (p *process) running() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// peakMemory returns the greatest resident set of the running process, in bytes.
func (p *process) peakMemory() int64 {
	p.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if kb, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(kb), " kB"), 10, 64)
			if err != nil {
				p.t.Fatal(err)
			}
			return n << 10
		}
	}
	p.t.Fatalf("%s: no VmHWM", p.name)
	return 0
}

// logLine is what the tests read of a line of a node's log.
type logLine struct {
	Message string `json:"message"`
}

// logLines takes what a process writes, keeps the newest lines, and knows which messages were there.
type logLines struct {
	mu       sync.Mutex
	part     []byte // of a line that is not complete
	last     []string
	messages map[string]int
}

const keptLines = 60

func newLogLines() *logLines { return &logLines{messages: map[string]int{}} }

// Write implements io.Writer.
func (l *logLines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.part = append(l.part, b...)
	for {
		line, rest, ok := bytes.Cut(l.part, []byte{'\n'})
		if !ok {
			return len(b), nil
		}
		l.add(string(line))
		l.part = append([]byte(nil), rest...)
	}
}

func (l *logLines) add(line string) {
	var parsed logLine
	if json.Unmarshal([]byte(line), &parsed) == nil {
		l.messages[parsed.Message]++
	}
	l.last = append(l.last, line)
	if len(l.last) > keptLines {
		l.last = l.last[len(l.last)-keptLines:]
	}
}

// has reports whether the log has a line with this message.
func (l *logLines) has(message string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.messages[message] > 0
}

func (l *logLines) tail() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(append(l.last[:len(l.last):len(l.last)], string(l.part)), "\n")
}

// answer is what a command gave.
type answer struct {
	status   int
	out, err string
}

// command runs the program to its end.
func command(t testing.TB, args ...string) answer {
	t.Helper()
	return commandWithin(t, patience, args...)
}

// commandWithin is command for what may take longer.
func commandWithin(t testing.TB, patience time.Duration, args ...string) answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	var out, diagnostics bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &diagnostics
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if ctx.Err() != nil {
		t.Fatalf("concordat %s: does not end", strings.Join(args, " "))
	}
	return answer{cmd.ProcessState.ExitCode(), out.String(), diagnostics.String()}
}

// mustCommand returns what the program printed, without white space at the ends.
func mustCommand(t testing.TB, args ...string) string {
	t.Helper()
	got := command(t, args...)
	if got.status != 0 {
		t.Fatalf("concordat %s: status %d: %s", strings.Join(args, " "), got.status, got.err)
	}
	return strings.TrimSpace(got.out)
}
