package auth

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"sync"
)

// signingKey is a derived key with what it was derived for.
type signingKey struct {
	accessKey string
	secret    string
	key       [sha256.Size]byte
}

// derive computes the signing key of a secret for s's scope, which has been checked.
func (v *Verifier) derive(accessKey, secret string, s *signed) *signingKey {
	k := &signingKey{accessKey: accessKey, secret: secret}
	first := append([]byte("AWS4"), secret...)
	k.key = hmac(nil, first, s.date)
	for _, part := range [...]string{v.config.Region, v.config.Service, terminator} {
		k.key = hmac(nil, k.key[:], []byte(part))
	}
	return k
}

// keyCache keeps signing keys by "accessKey/date". Only known access keys and the dummy enter it.
type keyCache struct {
	mu   sync.RWMutex
	max  int
	keys map[string]*signingKey
}

func (c *keyCache) get(name []byte) *signingKey {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.keys[string(name)]
}

// put makes room, if it must, by dropping the keys of other days, then any one key.
func (c *keyCache) put(name string, k *signingKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.keys[name]; !ok && len(c.keys) >= c.max {
		date := name[len(name)-dateLen:]
		for n := range c.keys {
			if n[len(n)-dateLen:] != date {
				delete(c.keys, n)
			}
		}
		for n := range c.keys {
			if len(c.keys) < c.max {
				break
			}
			delete(c.keys, n)
		}
	}
	c.keys[name] = k
}

// signature appends the hexadecimal signature of r to dst. It works in buf, which it returns, grown perhaps.
func signature(dst, buf []byte, key *signingKey, s *signed, r *Request) []byte {
	buf = appendCanonicalRequest(buf, s, r)
	hash := sha256.Sum256(buf)
	buf = append(buf[:0], algorithm...)
	buf = append(buf, '\n')
	buf = append(buf, s.time...)
	buf = append(buf, '\n')
	buf = append(buf, s.scope...)
	buf = append(buf, '\n')
	buf = hex.AppendEncode(buf, hash[:])
	sum := hmac(buf[len(buf):], key.key[:], buf)
	hex.AppendEncode(dst, sum[:])
	return buf
}

// appendCanonicalRequest appends what is hashed and signed: method, path, query, signed headers and the hash of the body.
func appendCanonicalRequest(dst []byte, s *signed, r *Request) []byte {
	path, query, _ := bytes.Cut(r.Target, []byte{'?'})
	dst = append(dst, r.Method...)
	dst = append(dst, '\n')
	dst = appendCanonicalPath(dst, path)
	dst = append(dst, '\n')
	dst = appendCanonicalQuery(dst, query, s.inQuery)
	dst = append(dst, '\n')
	for rest := s.headers; len(rest) > 0; {
		var name []byte
		name, rest, _ = bytes.Cut(rest, semicolon)
		dst = append(dst, name...)
		dst = append(dst, ':')
		for i, value := range r.Header.PeekAll(headerName(name)) {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendSqueezed(dst, value)
		}
		dst = append(dst, '\n')
	}
	dst = append(dst, '\n')
	dst = append(dst, s.headers...)
	dst = append(dst, '\n')
	hash := sha256.Sum256(r.Body)
	return hex.AppendEncode(dst, hash[:])
}

// headerName returns name as a string. The names that SDKs sign cost no allocation.
func headerName(name []byte) string {
	switch string(name) {
	case "host":
		return "Host"
	case "x-amz-date":
		return "X-Amz-Date"
	case "x-amz-target":
		return "X-Amz-Target"
	case "x-amz-security-token":
		return "X-Amz-Security-Token"
	case "content-type":
		return "Content-Type"
	case "content-length":
		return "Content-Length"
	case "accept-encoding":
		return "Accept-Encoding"
	case "amz-sdk-invocation-id":
		return "Amz-Sdk-Invocation-Id"
	case "amz-sdk-request":
		return "Amz-Sdk-Request"
	}
	return string(name)
}

// appendSqueezed appends a header's value without spaces at its ends and with single spaces inside.
func appendSqueezed(dst, value []byte) []byte {
	value = bytes.TrimSpace(value)
	if !bytes.Contains(value, []byte("  ")) {
		return append(dst, value...)
	}
	for i, c := range value {
		if c != ' ' || value[i-1] != ' ' {
			dst = append(dst, c)
		}
	}
	return dst
}

// appendCanonicalPath appends the path, escaped once more than on the wire: the rule for all services but S3.
func appendCanonicalPath(dst, path []byte) []byte {
	if len(path) == 0 {
		return append(dst, '/')
	}
	for _, c := range path {
		if c == '/' || unreserved(c) {
			dst = append(dst, c)
		} else {
			dst = appendEscaped(dst, c)
		}
	}
	return dst
}

// appendCanonicalQuery appends the query's parameters with each byte escaped in one way, sorted by escaped name, then value; without the signature, if it is there.
// DynamoDB's requests have none, so this may allocate.
func appendCanonicalQuery(dst, query []byte, signed bool) []byte {
	type parameter struct{ name, value []byte }
	var parameters []parameter
	for rest := query; len(rest) > 0; {
		var part []byte
		part, rest, _ = bytes.Cut(rest, []byte{'&'})
		if len(part) == 0 {
			continue
		}
		name, value, _ := bytes.Cut(part, []byte{'='})
		if signed && string(unescape(name)) == signatureName {
			continue
		}
		parameters = append(parameters, parameter{escaped(name), escaped(value)})
	}
	slices.SortFunc(parameters, func(a, b parameter) int {
		if c := bytes.Compare(a.name, b.name); c != 0 {
			return c
		}
		return bytes.Compare(a.value, b.value)
	})
	for i, p := range parameters {
		if i > 0 {
			dst = append(dst, '&')
		}
		dst = append(dst, p.name...)
		dst = append(dst, '=')
		dst = append(dst, p.value...)
	}
	return dst
}

// escaped returns a part of a query in its canonical form.
func escaped(part []byte) []byte {
	out := make([]byte, 0, len(part))
	for _, c := range unescape(part) {
		if unreserved(c) {
			out = append(out, c)
		} else {
			out = appendEscaped(out, c)
		}
	}
	return out
}

func appendEscaped(dst []byte, c byte) []byte {
	const digits = "0123456789ABCDEF"
	return append(dst, '%', digits[c>>4], digits[c&15])
}

// unescape decodes %XX and +. What is no escape stays as it is: the signature then fails, which is answer enough.
func unescape(b []byte) []byte {
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		var x [1]byte
		switch {
		case b[i] == '+':
			out = append(out, ' ')
		case b[i] == '%' && i+2 < len(b):
			if _, err := hex.Decode(x[:], b[i+1:i+3]); err != nil {
				out = append(out, '%')
				continue
			}
			out = append(out, x[0])
			i += 2
		default:
			out = append(out, b[i])
		}
	}
	return out
}

func unreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.' || c == '~'
}

// hmac returns HMAC-SHA256 of message under key (RFC 2104). It is written out because crypto/hmac allocates its two hashes for
// every message, and each request needs one; a test compares the two. buf is memory to work in.
func hmac(buf, key, message []byte) [sha256.Size]byte {
	var block [sha256.BlockSize]byte
	if len(key) > len(block) {
		sum := sha256.Sum256(key)
		key = sum[:]
	}
	copy(block[:], key)
	for i := range block {
		block[i] ^= 0x36
	}
	buf = append(append(buf[:0], block[:]...), message...)
	inner := sha256.Sum256(buf)
	for i := range block {
		block[i] ^= 0x36 ^ 0x5c
	}
	var outer [sha256.BlockSize + sha256.Size]byte
	copy(outer[:], block[:])
	copy(outer[sha256.BlockSize:], inner[:])
	return sha256.Sum256(outer[:])
}
