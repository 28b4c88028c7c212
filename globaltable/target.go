package globaltable

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Limits of what a locality policy names outside of its regions.
const (
	MaxPinTargets   = 8
	MaxPinTargetLen = 256 // bytes
)

// NamesTarget reports whether p names where data may go outside of the table's regions: address, a URL, is below one of p.Targets. See ValidatePinTarget for what one is.
//
// It is below if scheme, host and port are the same (the scheme's own port is the same as none), and the segments of the one's path begin those of the other's: https://a/b is above https://a/b and https://a/b/c?d, and not above
// https://a/bc. Segments are compared as they are written. A query means nothing under http and https; elsewhere, where it may say where to, it must be the same. Whoever might be led astray is refused: addresses with a user, or
// with segments "." and ".." in them, however they are written, are below nothing.
func (p *Pin) NamesTarget(address string) bool {
	if len(p.Targets) == 0 {
		return false
	}
	to, ok := parsePlace(address)
	return ok && slices.ContainsFunc(p.Targets, func(prefix string) bool {
		above, ok := parsePlace(prefix)
		return ok && above.holds(&to)
	})
}

// ValidatePinTarget checks what a policy can name as a target: a URL of a host or, for file, of an absolute path; http of this machine only. Kind Invalid.
func ValidatePinTarget(target string) error {
	to, ok := parsePlace(target)
	switch {
	case !ok || len(target) > MaxPinTargetLen:
		return &Error{Op: "check target", Kind: Invalid, Message: fmt.Sprintf("a target is a URL of a host, or file:///path, of at most %d bytes, without user, fragment and segments . and ..", MaxPinTargetLen)}
	case to.scheme == "http" && !loopback(to.host):
		return &Error{Op: "check target", Kind: Invalid, Message: "http is for targets on the same machine; elsewhere it is https"}
	case to.query != "" && to.web():
		return &Error{Op: "check target", Kind: Invalid, Message: "the target of a webhook has no query: what follows its path is below it"}
	}
	return nil
}

// place is where a URL leads, in parts that can be compared.
type place struct {
	scheme, host string // in lower case
	port         uint16 // 0: none, and the scheme has none of its own
	path         []string
	query        string
}

func (p *place) web() bool { return p.scheme == "http" || p.scheme == "https" }

// holds reports whether o is at or below p.
func (p *place) holds(o *place) bool {
	return p.scheme == o.scheme && p.host == o.host && p.port == o.port && (p.web() || p.query == o.query) &&
		len(p.path) <= len(o.path) && slices.Equal(p.path, o.path[:len(p.path)])
}

// parsePlace takes a URL apart. ok is false for one that says not for certain where it leads.
func parsePlace(text string) (p place, ok bool) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme == "" || u.Opaque != "" || u.User != nil || strings.Contains(text, "#") || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r == '\\' || r == 0x7f }) {
		return p, false
	}
	p = place{scheme: strings.ToLower(u.Scheme), host: strings.TrimSuffix(strings.ToLower(u.Hostname()), "."), query: u.RawQuery}
	if p.scheme == "file" {
		if u.Host != "" || !strings.HasPrefix(u.Path, "/") {
			return p, false
		}
	} else if p.host == "" || !validAuthority(u) {
		return p, false
	}
	switch {
	case u.Port() != "":
		port, _ := strconv.ParseUint(u.Port(), 10, 16) // it is valid
		p.port = uint16(port)
	case p.scheme == "https":
		p.port = 443
	case p.scheme == "http":
		p.port = 80
	}
	for segment := range strings.FieldsFuncSeq(u.Path, func(r rune) bool { return r == '/' || r == '\\' }) {
		if segment == "." || segment == ".." {
			return p, false
		}
	}
	if written := strings.TrimSuffix(strings.TrimPrefix(u.EscapedPath(), "/"), "/"); written != "" {
		p.path = strings.Split(written, "/")
	}
	return p, true
}
