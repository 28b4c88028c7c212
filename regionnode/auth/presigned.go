package auth

import (
	"bytes"
	"fmt"
	"strconv"
	"time"
)

// A signature may be in the query of the request's target instead of in a header: "presigned". It covers the same, with the query but for the signature itself; so
// all headers that count, but the date, which is in the query, are signed there too.

// maxExpires is how long a presigned request may be valid, in seconds: a week.
const maxExpires = 7 * 24 * 60 * 60

// presignedNames are the parameters that a presigned request has, in the order in which AWS names those that are missing.
var presignedNames = [...]string{"X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature", "X-Amz-SignedHeaders", "X-Amz-Date"}

const signatureName = "X-Amz-Signature"

// presigned reads a signature from the query of a target. found is false when there is nothing of one.
func presigned(query []byte, h Header) (s signed, found bool, err error) {
	values := map[string][]byte{}
	for rest := query; len(rest) > 0; {
		var part []byte
		part, rest, _ = bytes.Cut(rest, []byte{'&'})
		name, value, _ := bytes.Cut(part, []byte{'='})
		if key := string(unescape(name)); bytes.HasPrefix([]byte(key), []byte("X-Amz-")) {
			if _, twice := values[key]; twice {
				return s, true, &Error{IncompleteSignature, "AWS query-string parameters must be given once: '" + key + "'."}
			}
			values[key] = unescape(value)
		}
	}
	var missing []byte
	for _, name := range presignedNames {
		if len(values[name]) > 0 {
			found = true
			continue
		}
		missing = fmt.Appendf(missing, "AWS query-string parameters must include '%s'. ", name)
	}
	switch {
	case !found:
		return s, false, nil
	case len(h.PeekAll("Authorization")) > 0:
		return s, true, &Error{InvalidSignature, "Found both 'X-Amz-Algorithm' as a query-string param and 'Authorization' as HTTP header."}
	case len(missing) > 0:
		return s, true, &Error{IncompleteSignature, string(missing) + "Re-examine the query-string parameters."}
	case string(values["X-Amz-Algorithm"]) != algorithm:
		return s, true, &Error{IncompleteSignature, fmt.Sprintf("Unsupported AWS 'algorithm': '%s'.", values["X-Amz-Algorithm"])}
	}
	s = signed{headers: values["X-Amz-SignedHeaders"], signature: values[signatureName], time: values["X-Amz-Date"], inQuery: true, valid: Skew}
	if e, given := values["X-Amz-Expires"]; given {
		seconds, err := strconv.Atoi(string(e))
		if err != nil || seconds < 1 || seconds > maxExpires {
			return s, true, &Error{IncompleteSignature, fmt.Sprintf("X-Amz-Expires must be between 1 and %d seconds.", maxExpires)}
		}
		s.valid = time.Duration(seconds) * time.Second
	}
	if bytes.Count(s.headers, semicolon) >= maxSignedHeaders {
		return s, true, &Error{IncompleteSignature, fmt.Sprintf("SignedHeaders names more than %d headers.", maxSignedHeaders)}
	}
	if len(h.PeekAll("X-Amz-Target")) > 1 {
		return s, true, &Error{InvalidSignature, "X-Amz-Target must be given once."}
	}
	return s, true, s.splitCredential(values["X-Amz-Credential"])
}
