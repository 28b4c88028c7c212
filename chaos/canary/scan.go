package canary

import (
	"fmt"
	"slices"
	"strings"
	"sync"
)

// Finding is a canary that was found.
type Finding struct {
	Canary string // its name
	Form   Form
	In     Container
	Place  string // where, as the caller named it, and what in it
}

func (f Finding) String() string {
	return fmt.Sprintf("%s, %s, in %s: %s", f.Canary, f.Form, f.In, f.Place)
}

// Container is a kind of what bytes are in.
type Container string

// The containers.
const (
	Plain       Container = "bytes"            // as they are
	FileName    Container = "file name"        //
	SSTKey      Container = "sstable key"      // put together by Pebble: blocks have parts of keys only
	SSTBlock    Container = "sstable block"    // decompressed: data, values, indexes, filters, ranges, properties
	BlobBlock   Container = "blob block"       // decompressed values
	WALRecord   Container = "log record"       // put together
	StreamValue Container = "change stream"    // values of a region's change streams, in a write-ahead log
	Manifest    Container = "manifest record"  // put together
	Gzip        Container = "gzip"             // decompressed
	Zstd        Container = "zstd"             //
	S2          Container = "s2 stream"        //
	NATSLine    Container = "NATS line"        // subjects, the exchange at the beginning
	NATSPayload Container = "NATS payload"     // headers included
	Entry       Container = "log entry"        // of a change message, decoded: decompressed and put together
	Compressed  Container = "compressed entry" // the same, of one that was carried compressed
)

// maxFindings bounds what one scan keeps: the first say enough.
const maxFindings = 10_000

// Scanner searches. It is safe for concurrent use.
type Scanner struct {
	*searcher
}

// NewScanner returns a scanner that knows no canary yet.
func NewScanner() *Scanner { return &Scanner{newSearcher()} }

// Add makes the canaries be searched for from now on.
func (s *Scanner) Add(canaries ...Canary) {
	for _, c := range canaries {
		s.add(c)
	}
}

// Report is what a scan found, and what it read: a scan that has read nothing found nothing. It is safe for concurrent use.
type Report struct {
	mu       sync.Mutex
	findings map[Finding]int
	read     map[Container]int64
	unread   []string
}

// NewReport returns an empty one.
func NewReport() *Report { return &Report{findings: map[Finding]int{}, read: map[Container]int64{}} }

// Findings returns what was found, each once, in order.
func (r *Report) Findings() []Finding {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]Finding, 0, len(r.findings))
	for f := range r.findings {
		all = append(all, f)
	}
	slices.SortFunc(all, func(a, b Finding) int { return strings.Compare(a.String(), b.String()) })
	return all
}

// Read returns how many bytes of a container were searched.
func (r *Report) Read(c Container) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.read[c]
}

// Unread names what should have been understood and was not.
func (r *Report) Unread() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.unread)
}

// Has reports whether the canary of that name was found in such a container.
func (r *Report) Has(name string, in Container) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for f := range r.findings {
		if f.Canary == name && f.In == in {
			return true
		}
	}
	return false
}

func (r *Report) cannotRead(place string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unread = append(r.unread, fmt.Sprintf("%s: %v", place, err))
}

// Bytes searches b as it is, and what is compressed in it.
func (s *Scanner) Bytes(r *Report, place string, b []byte) { s.within(r, Plain, place, b, 0) }

// within searches b, and what is compressed in it, at a depth of that many compressions.
func (s *Scanner) within(r *Report, in Container, place string, b []byte, depth int) {
	s.only(r, in, place, b)
	if depth == maxDepth {
		return
	}
	eachFrame(b, func(kind Container, at int, unpacked []byte) {
		s.within(r, kind, fmt.Sprintf("%s, %s at %d", place, kind, at), unpacked, depth+1)
	})
}

// only searches b as it is.
func (s *Scanner) only(r *Report, in Container, place string, b []byte) {
	var found []Finding
	s.search(b, func(c *Canary, form Form) { found = append(found, Finding{c.Name, form, in, place}) })
	r.mu.Lock()
	defer r.mu.Unlock()
	r.read[in] += int64(len(b))
	for _, f := range found {
		if len(r.findings) < maxFindings || r.findings[f] > 0 {
			r.findings[f]++
		}
	}
}
