// Package auth checks who sends a DynamoDB request: AWS Signature Version 4, as the SDKs make it.
//
// A signature proves that the sender knows the secret of an access key, and that the method, the path, the signed headers
// and the body are those that it signed. So the verifier rebuilds the canonical request from what was received, never
// from what the client says about it: the body that arrived is hashed, and a hash in a header counts for nothing.
//
// What must hold, beside the signature itself:
//
//   - host, x-amz-date and x-amz-target are signed. Otherwise a recorded request could be sent again to another host, at
//     another time, or as another operation. The date is in the query of a request that carries its signature there.
//   - The scope names today's date (of x-amz-date), this region and this service.
//   - The time is within 15 minutes of the verifier's clock, before or after; before, it may be as long ago as a signed query says.
//   - A request with an unknown access key costs the same work as one with a wrong signature, and comparison takes constant time.
//
// The signing key of an access key depends on secret, date, region and service, and costs four HMACs. It is kept, in a bounded
// cache, for as long as the credentials still give the secret that it was derived from: a secret that is withdrawn or
// replaced stops working with the next request.
package auth

import (
	"bytes"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	// Skew is how far a request's time may lie from the verifier's clock, before or after.
	Skew = 15 * time.Minute

	algorithm  = "AWS4-HMAC-SHA256"
	terminator = "aws4_request"
	timeLayout = "20060102T150405Z"
	dateLen    = len("20060102")

	// maxAuthorization bounds the Authorization header in bytes, maxSignedHeaders the number of headers that it names.
	// SDKs sign fewer than ten.
	maxAuthorization = 4 << 10
	maxSignedHeaders = 64
)

// Header gives the lines of a request's header. *fasthttp.RequestHeader is one.
type Header interface {
	// PeekAll returns the values of all lines with the name given, in any case of letters. They are read before the next call.
	PeekAll(name string) [][]byte
}

// Request is what a signature covers. Nothing of it is kept.
type Request struct {
	Method []byte
	Target []byte // request target as received: path, and query after a question mark
	Header Header
	Body   []byte // as received
}

// Identity is who sent a request.
type Identity struct {
	AccessKey string // empty when any credentials are accepted
}

// Config says what a Verifier accepts.
type Config struct {
	// Credentials returns the secret of an access key. It is asked for every request, by several goroutines at once, and answers from memory.
	Credentials func(accessKey string) (secret string, ok bool)
	Region      string           // that the scope must name
	Service     string           // that the scope must name; "dynamodb" if empty
	Now         func() time.Time // clock; time.Now if nil
	AcceptAny   bool             // accept every request unchecked, for development; Credentials is not used then
	MaxKeys     int              // signing keys kept; 1,024 if zero
}

// Validate reports all faults of c.
func (c *Config) Validate() error {
	if c.AcceptAny {
		return nil
	}
	var errs []error
	if c.Credentials == nil {
		errs = append(errs, errors.New("auth: Credentials is missing"))
	}
	if c.Region == "" {
		errs = append(errs, errors.New("auth: Region is empty"))
	}
	if c.MaxKeys < 0 {
		errs = append(errs, fmt.Errorf("auth: MaxKeys %d is negative", c.MaxKeys))
	}
	return errors.Join(errs...)
}

// Error is a refusal: the name of DynamoDB's exception and its message. Its status code is 400 always.
type Error struct {
	Name    string // for example "InvalidSignatureException"
	Message string
}

func (e *Error) Error() string { return e.Name + ": " + e.Message }

// The exceptions of authentication.
const (
	MissingToken        = "MissingAuthenticationTokenException"
	IncompleteSignature = "IncompleteSignatureException"
	UnrecognizedClient  = "UnrecognizedClientException"
	InvalidSignature    = "InvalidSignatureException"
)

// Verifier checks requests. Its methods may be called by several goroutines.
type Verifier struct {
	config  Config
	dummy   string // the secret of unknown access keys: nobody knows it
	keys    keyCache
	scratch sync.Pool // of *[]byte
}

// NewVerifier returns a Verifier for the configuration given.
func NewVerifier(c Config) (*Verifier, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if c.Service == "" {
		c.Service = "dynamodb"
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.MaxKeys == 0 {
		c.MaxKeys = 1024
	}
	v := &Verifier{config: c, dummy: rand.Text(), keys: keyCache{max: c.MaxKeys, keys: map[string]*signingKey{}}}
	v.scratch.New = func() any { b := make([]byte, 0, 2<<10); return &b }
	return v, nil
}

// Verify returns who sent r, or an *Error.
func (v *Verifier) Verify(r *Request) (Identity, error) {
	if v.config.AcceptAny {
		return Identity{}, nil
	}
	s, err := parse(r)
	if err != nil {
		return Identity{}, err
	}
	if err := v.checkScope(&s); err != nil {
		return Identity{}, err
	}
	key, known := v.signingKey(&s)

	scratch := v.scratch.Get().(*[]byte)
	defer v.scratch.Put(scratch)
	var want [64]byte
	*scratch = signature(want[:0], (*scratch)[:0], key, &s, r)
	equal := subtle.ConstantTimeCompare(want[:], s.signature) == 1

	switch {
	case !known:
		return Identity{}, &Error{UnrecognizedClient, "The security token included in the request is invalid."}
	case !equal:
		return Identity{}, &Error{InvalidSignature, "The request signature we calculated does not match the signature you provided. " +
			"Check your AWS Secret Access Key and signing method. Consult the service documentation for details."}
	}
	return Identity{AccessKey: key.accessKey}, nil
}

// checkScope checks everything that needs no secret: signed headers, scope and time.
func (v *Verifier) checkScope(s *signed) error {
	for _, name := range [...]string{"host", "x-amz-date", "x-amz-target"} {
		if name == "x-amz-date" && s.inQuery {
			continue // and so is the query signed
		}
		if !s.signs(name) {
			if name == "host" {
				name = "Host' or ':authority"
			}
			return &Error{InvalidSignature, "'" + name + "' must be a 'SignedHeader' in the AWS Authorization."}
		}
	}
	var faults []byte
	if string(s.region) != v.config.Region {
		faults = append(faults, "Credential should be scoped to a valid region. "...)
	}
	if string(s.service) != v.config.Service {
		faults = fmt.Appendf(faults, "Credential should be scoped to correct service: '%s'. ", v.config.Service)
	}
	if string(s.terminator) != terminator {
		faults = fmt.Appendf(faults, "Credential should be scoped with a valid terminator: '%s', not '%s'. ", terminator, s.terminator)
	}
	if !bytes.HasPrefix(s.time, s.date) || len(s.date) != dateLen {
		faults = fmt.Appendf(faults, "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '%s' != '%.8s', from '%s'. ",
			s.date, s.time, s.time)
	}
	if len(faults) > 0 {
		return &Error{InvalidSignature, string(faults)}
	}
	return v.checkTime(s.time, s.valid)
}

// checkTime checks that a request of the time given, valid for so long after it, is valid now.
func (v *Verifier) checkTime(at []byte, valid time.Duration) error {
	t, ok := parseTime(at)
	if !ok {
		return &Error{IncompleteSignature, fmt.Sprintf("Date must be in ISO-8601 'basic format'. Got '%s'. See http://en.wikipedia.org/wiki/ISO_8601", at)}
	}
	now := v.config.Now().UTC()
	if oldest := now.Add(-valid); t.Before(oldest.Truncate(time.Second)) {
		return &Error{InvalidSignature, fmt.Sprintf("Signature expired: %s is now earlier than %s (%s - %d min.)",
			at, oldest.Format(timeLayout), now.Format(timeLayout), int(valid.Minutes()))}
	}
	if newest := now.Add(Skew); t.After(newest) {
		return &Error{InvalidSignature, fmt.Sprintf("Signature not yet current: %s is still later than %s (%s + 15 min.)",
			at, newest.Format(timeLayout), now.Format(timeLayout))}
	}
	return nil
}

// signingKey returns the key that s must be signed with. For an unknown access key it is one that nobody has, from the same cache.
func (v *Verifier) signingKey(s *signed) (key *signingKey, known bool) {
	key = v.keys.get(s.keyAndDate)
	accessKey := ""
	if key != nil {
		accessKey = key.accessKey
	} else {
		accessKey = string(s.accessKey)
	}
	secret, known := v.config.Credentials(accessKey)
	if known && key != nil && key.secret == secret {
		return key, true
	}
	if known {
		key = v.derive(accessKey, secret, s)
		v.keys.put(string(s.keyAndDate), key)
		return key, true
	}
	// The date was checked to be within the skew of now, so at most two or three dummies are kept.
	name := append(append(make([]byte, 0, 16), '/'), s.date...)
	if key = v.keys.get(name); key == nil {
		key = v.derive("", v.dummy, s)
		v.keys.put(string(name), key)
	}
	return key, false
}
