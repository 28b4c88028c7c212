package auth

import (
	"bytes"
	"fmt"
	"time"
)

// signed is a parsed Authorization header with the request's time. Its fields are views of the header.
type signed struct {
	accessKey, date, region, service, terminator []byte
	keyAndDate                                   []byte // accessKey/date, as in the credential
	scope                                        []byte // date/region/service/terminator
	headers                                      []byte // as given: lower-case names between semicolons
	signature                                    []byte
	time                                         []byte // of x-amz-date
	inQuery                                      bool   // it is in the query, not in a header
	valid                                        time.Duration
}

// signs reports whether the header with the lower-case name given is among the signed ones.
func (s *signed) signs(name string) bool {
	for rest := s.headers; len(rest) > 0; {
		var h []byte
		h, rest, _ = bytes.Cut(rest, semicolon)
		if string(h) == name {
			return true
		}
	}
	return false
}

var (
	semicolon = []byte{';'}
	slash     = []byte{'/'}
)

// parse reads the signature of r, wherever it is.
func parse(r *Request) (signed, error) {
	if _, query, ok := bytes.Cut(r.Target, []byte{'?'}); ok {
		if s, found, err := presigned(query, r.Header); found {
			return s, err
		}
	}
	return parseAuthorization(r.Header)
}

// parseAuthorization reads the Authorization and X-Amz-Date headers.
func parseAuthorization(h Header) (signed, error) {
	s := signed{valid: Skew}
	lines := h.PeekAll("Authorization")
	if len(lines) == 0 || !bytes.HasPrefix(lines[0], []byte("AWS4-")) {
		return s, &Error{MissingToken, "Request is missing Authentication Token"}
	}
	line := lines[0]
	if len(lines) > 1 || len(line) > maxAuthorization {
		return s, &Error{IncompleteSignature, fmt.Sprintf("Authorization header must be given once and be at most %d bytes long.", maxAuthorization)}
	}
	scheme, rest, _ := bytes.Cut(line, []byte{' '})
	if string(scheme) != algorithm {
		return s, &Error{IncompleteSignature, fmt.Sprintf("Unsupported AWS 'algorithm': '%s'.", scheme)}
	}
	var credential []byte
	for len(rest) > 0 {
		var part []byte
		// SDKs separate the parameters by a comma and a space, some by one of them.
		if i := bytes.IndexAny(rest, ", "); i >= 0 {
			part, rest = rest[:i], rest[i+1:]
		} else {
			part, rest = rest, nil
		}
		name, value, _ := bytes.Cut(part, []byte{'='})
		switch string(name) {
		case "Credential":
			credential = value
		case "SignedHeaders":
			s.headers = value
		case "Signature":
			s.signature = value
		}
	}
	// The slices that PeekAll returned are views of the header, only the list of them is reused.
	if dates := h.PeekAll("X-Amz-Date"); len(dates) == 1 {
		s.time = dates[0]
	}
	if err := s.complete(credential, scheme); err != nil {
		return s, err
	}
	if len(h.PeekAll("X-Amz-Target")) > 1 {
		return s, &Error{InvalidSignature, "X-Amz-Target must be given once."}
	}
	return s, s.splitCredential(credential)
}

func (s *signed) complete(credential, scheme []byte) error {
	var missing []byte
	for _, p := range [...]struct {
		name  string
		value []byte
	}{{"Credential", credential}, {"Signature", s.signature}, {"SignedHeaders", s.headers}} {
		if len(p.value) == 0 {
			missing = fmt.Appendf(missing, "Authorization header requires '%s' parameter. ", p.name)
		}
	}
	if len(s.time) == 0 {
		missing = append(missing, "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. "...)
	}
	if len(missing) > 0 {
		return &Error{IncompleteSignature, fmt.Sprintf("%sAuthorization=%s", missing, scheme)}
	}
	if n := bytes.Count(s.headers, semicolon); n >= maxSignedHeaders {
		return &Error{IncompleteSignature, fmt.Sprintf("SignedHeaders names more than %d headers.", maxSignedHeaders)}
	}
	return nil
}

func (s *signed) splitCredential(c []byte) error {
	fields := [...]*[]byte{&s.accessKey, &s.date, &s.region, &s.service, &s.terminator}
	rest, found := c, true
	for i, f := range fields {
		if !found {
			return &Error{IncompleteSignature, "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '" + string(c) + "'"}
		}
		*f, rest, found = bytes.Cut(rest, slash)
		if i == 1 {
			s.keyAndDate = c[:len(s.accessKey)+1+len(s.date)]
		}
	}
	if found || len(s.accessKey) == 0 {
		return &Error{IncompleteSignature, "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '" + string(c) + "'"}
	}
	s.scope = c[len(s.accessKey)+1:]
	return nil
}

// parseTime reads a time such as 20261122T180000Z.
func parseTime(b []byte) (time.Time, bool) {
	if len(b) != len(timeLayout) || b[8] != 'T' || b[15] != 'Z' {
		return time.Time{}, false
	}
	var fields [6]int
	for i, f := range [...]struct{ from, to int }{{0, 4}, {4, 6}, {6, 8}, {9, 11}, {11, 13}, {13, 15}} {
		for _, c := range b[f.from:f.to] {
			if c < '0' || c > '9' {
				return time.Time{}, false
			}
			fields[i] = fields[i]*10 + int(c-'0')
		}
	}
	t := time.Date(fields[0], time.Month(fields[1]), fields[2], fields[3], fields[4], fields[5], 0, time.UTC)
	// time.Date normalizes: the 31st of February becomes a day in March, which is no time that anybody signed.
	y, m, d := t.Date()
	hh, mm, ss := t.Clock()
	return t, fields == [6]int{y, int(m), d, hh, mm, ss}
}
