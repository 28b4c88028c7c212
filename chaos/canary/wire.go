package canary

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/concordat-db/concordat/streams/change"
)

const (
	maxLine    = 1 << 20 // bytes of a line of NATS; the longest is what a server says of itself
	maxPayload = 8 << 20 // bytes of a message
	maxParts   = 1024    // entries of which fragments are missing, at once
	partEntry  = 2       // before a change message in the answer of a peer
)

// Wire searches what one connection of NATS carries in one direction, as it comes: lines and payloads as they are, and what change messages carry, decoded. It is an io.WriteCloser that never fails. It is used by one
// goroutine.
type Wire struct {
	scanner *Scanner
	report  func() *Report // where to, asked at the beginning of each message
	place   string

	at      int64   // offset of buf
	buf     []byte  // what has not been understood yet
	to      *Report // of the message that buf begins with; nil: it has not begun
	payload int     // bytes of the payload that buf begins with, its end of line included; 0: a line
	lost    bool    // what came was not NATS's: everything since is searched as it comes
	entries map[string]*change.Assembler
}

// NewWire returns a wire that reports to whatever report returns when a message begins.
func (s *Scanner) NewWire(place string, report func() *Report) *Wire {
	return &Wire{scanner: s, report: report, place: place, entries: map[string]*change.Assembler{}}
}

// Write implements io.Writer.
func (w *Wire) Write(b []byte) (int, error) {
	w.buf = append(w.buf, b...)
	if w.to == nil && len(w.buf) > 0 {
		w.to = w.report()
	}
	for w.step() {
	}
	return len(b), nil
}

// Close implements io.Closer: nothing more comes. What has not come to its end is searched as it is.
func (w *Wire) Close() error {
	if len(w.buf) > 0 {
		w.scanner.within(w.to, Plain, w.where(), w.buf, 0)
		w.buf = nil
	}
	return nil
}

// step takes a line or a payload from the buffer, if there is a whole one.
func (w *Wire) step() bool {
	if w.lost {
		w.raw()
		return false
	}
	if w.payload > 0 {
		if len(w.buf) < w.payload {
			return false
		}
		w.message(w.buf[:w.payload-len(crlf)])
		w.take(w.payload)
		w.payload = 0
		return len(w.buf) > 0
	}
	end := bytes.Index(w.buf, []byte(crlf))
	if end < 0 {
		if len(w.buf) > maxLine {
			w.lose(errors.New("a line has no end"))
		}
		return w.lost
	}
	line := w.buf[:end]
	w.scanner.within(w.to, NATSLine, w.where(), line, 0)
	n, err := payloadOf(string(line))
	if err != nil {
		w.lose(err)
		return true
	}
	to := w.to
	w.take(end + len(crlf))
	if n >= 0 {
		w.payload, w.to = n+len(crlf), to // the message began with its line
	}
	return len(w.buf) > 0
}

const crlf = "\r\n"

// take removes what has been understood.
func (w *Wire) take(n int) {
	w.at += int64(n)
	w.buf = w.buf[n:]
	w.to = nil
	if len(w.buf) == 0 {
		w.buf = nil
		return
	}
	w.to = w.report()
}

func (w *Wire) where() string { return fmt.Sprintf("%s, byte %d", w.place, w.at) }

func (w *Wire) lose(err error) {
	w.lost = true
	w.to.cannotRead(w.where(), err)
}

// raw searches all but the last bytes, with which a canary may begin.
func (w *Wire) raw() {
	w.scanner.only(w.to, Plain, w.where(), w.buf)
	keep := min(len(w.buf), 16*Length)
	w.at += int64(len(w.buf) - keep)
	w.buf = bytes.Clone(w.buf[len(w.buf)-keep:])
	w.to = w.report()
}

// payloadOf returns how many bytes of payload follow a line; -1: it has none.
func payloadOf(line string) (int, error) {
	fields := strings.Fields(line)
	if len(fields) == 0 {
		return -1, nil
	}
	switch strings.ToUpper(fields[0]) {
	case "PUB", "HPUB", "MSG", "HMSG":
		n, err := strconv.Atoi(fields[len(fields)-1])
		if err != nil || n < 0 || n > maxPayload {
			return 0, errors.New("a message has no length")
		}
		return n, nil
	case "INFO", "CONNECT", "PING", "PONG", "+OK", "-ERR", "SUB", "UNSUB":
		return -1, nil
	}
	return 0, errors.New("this is not NATS")
}

// message searches a payload: its headers, if it has some, and what follows.
func (w *Wire) message(b []byte) {
	w.scanner.within(w.to, NATSPayload, w.where(), b, 0)
	if bytes.HasPrefix(b, []byte("NATS/1.0")) {
		if end := bytes.Index(b, []byte(crlf+crlf)); end >= 0 {
			b = b[end+2*len(crlf):]
		}
	}
	of := "stream"
	m, err := change.DecodeMessage(b)
	if err != nil && len(b) > 0 && b[0] == partEntry {
		of = "answer"
		if m, err = change.DecodeMessage(b[1:]); err != nil {
			w.to.cannotRead(w.where(), err)
		}
	}
	if err == nil {
		w.fragment(fmt.Sprintf("%s %v %d", of, m.Source, m.Seq), m)
	}
}

// fragment puts entries together and searches them. Several of different lanes may be under way, and the same one in a stream and in an answer.
func (w *Wire) fragment(of string, m change.Message) {
	a := w.entries[of]
	if a == nil {
		if a = new(change.Assembler); len(w.entries) == maxParts {
			clear(w.entries)
			w.to.cannotRead(w.where(), errors.New("too many entries are in parts"))
		}
		w.entries[of] = a
	}
	e, whole, err := a.Add(m)
	if err != nil {
		w.to.cannotRead(w.where(), err)
	}
	if whole || err != nil {
		delete(w.entries, of)
	}
	if whole {
		in := Entry
		if m.Compressed {
			in = Compressed
		}
		w.scanner.within(w.to, in, fmt.Sprintf("%s, lane %v, entry %d", w.where(), m.Lane, m.Seq), e.Body, 0)
	}
}

// Direction is from whom bytes come and to whom they go: names of regions.
type Direction struct{ From, To string }

// Capture is all that goes between regions, searched as it goes. It is safe for concurrent use.
type Capture struct {
	scanner *Scanner

	mu      sync.Mutex
	reports map[Direction]*Report
}

// NewCapture returns a capture that searches with s.
func NewCapture(s *Scanner) *Capture { return &Capture{scanner: s, reports: map[Direction]*Report{}} }

// Wire returns the wire of a connection in one direction.
func (c *Capture) Wire(d Direction, connection uint64) *Wire {
	return c.scanner.NewWire(fmt.Sprintf("%s to %s, connection %d", d.From, d.To, connection), func() *Report { return c.of(d) })
}

func (c *Capture) of(d Direction) *Report {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reports[d] == nil {
		c.reports[d] = NewReport()
	}
	return c.reports[d]
}

// Cut returns the reports since the last call, and begins new ones: what begins from now on is in those. A message that has begun is in the old ones, even if it ends later.
func (c *Capture) Cut() map[Direction]*Report {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.reports
	c.reports = map[Direction]*Report{}
	return old
}
