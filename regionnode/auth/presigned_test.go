package auth_test

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/concordat-db/concordat/regionnode/auth"
)

// presign signs r with the SDK's signer in its query. expires is X-Amz-Expires; empty: none.
func presign(t testing.TB, r *http.Request, body []byte, s signing, expires string) *auth.Request {
	t.Helper()
	sum := sha256.Sum256(body)
	if expires != "" {
		q := r.URL.Query()
		q.Set("X-Amz-Expires", expires)
		r.URL.RawQuery = q.Encode()
	}
	url, header, err := v4.NewSigner().PresignHTTP(t.Context(), aws.Credentials{AccessKeyID: s.key, SecretAccessKey: s.secret}, r,
		hex.EncodeToString(sum[:]), s.service, s.region, s.at, func(o *v4.SignerOptions) { o.DisableHeaderHoisting = true })
	if err != nil {
		t.Fatal(err)
	}
	out, err := http.NewRequest(r.Method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	out.Header = header
	out.Host = r.Host
	return received(out, body)
}

func TestPresigned(t *testing.T) {
	body := []byte(`{"TableName":"people"}`)
	request := func() *http.Request {
		r := unsigned(t, "/", body)
		r.ContentLength = 0
		return r
	}
	replace := func(old, new string) func(*auth.Request) {
		return func(r *auth.Request) { r.Target = []byte(strings.Replace(string(r.Target), old, new, 1)) }
	}
	nothing := func(*auth.Request) {}
	const mismatch = "The request signature we calculated does not match"
	for name, c := range map[string]struct {
		signing signing
		expires string
		later   time.Duration // that it arrives
		change  func(*auth.Request)
		want    string // name and beginning of the message; empty: accepted
	}{
		"good":              {good(), "", 0, nothing, ""},
		"within its time":   {good(), "3600", 59 * time.Minute, nothing, ""},
		"no expiry, skew":   {good(), "", 14 * time.Minute, nothing, ""},
		"after its time":    {good(), "60", 62 * time.Second, nothing, "InvalidSignatureException: Signature expired: 20261122T180000Z is now earlier than 20261122T180002Z (20261122T180102Z - 1 min.)"},
		"no expiry, late":   {good(), "", 16 * time.Minute, nothing, "InvalidSignatureException: Signature expired: 20261122T180000Z is now earlier than 20261122T180100Z (20261122T181600Z - 15 min.)"},
		"too early":         {good(), "3600", -16 * time.Minute, nothing, "InvalidSignatureException: Signature not yet current"},
		"a year":            {good(), "31536000", 0, nothing, "IncompleteSignatureException: X-Amz-Expires must be between 1 and 604800 seconds."},
		"no number":         {good(), "x", 0, nothing, "IncompleteSignatureException: X-Amz-Expires"},
		"longer than said":  {good(), "60", 0, replace("X-Amz-Expires=60", "X-Amz-Expires=6000"), "InvalidSignatureException: " + mismatch},
		"other body":        {good(), "", 0, func(r *auth.Request) { r.Body = []byte("{}") }, "InvalidSignatureException: " + mismatch},
		"other target":      {good(), "", 0, func(r *auth.Request) { r.Header.(header)["X-Amz-Target"] = []string{"DynamoDB_20120810.Scan"} }, "InvalidSignatureException: " + mismatch},
		"one more":          {good(), "", 0, func(r *auth.Request) { r.Target = append(r.Target, "&a=b"...) }, "InvalidSignatureException: " + mismatch},
		"unknown key":       {signing{"AKIDNOBODY", secret, region, "dynamodb", now}, "", 0, nothing, "UnrecognizedClientException: "},
		"other region":      {signing{accessKey, secret, "us-east-1", "dynamodb", now}, "", 0, nothing, "InvalidSignatureException: Credential should be scoped to a valid region."},
		"twice":             {good(), "", 0, func(r *auth.Request) { r.Target = append(r.Target, "&X-Amz-Date=20261122T180000Z"...) }, "IncompleteSignatureException: AWS query-string parameters must be given once"},
		"other algorithm":   {good(), "", 0, replace("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"), "IncompleteSignatureException: Unsupported AWS 'algorithm': 'AWS4-ECDSA-P256-SHA256'."},
		"no signature":      {good(), "", 0, replace("X-Amz-Signature=", "x="), "IncompleteSignatureException: AWS query-string parameters must include 'X-Amz-Signature'. Re-examine the query-string parameters."},
		"target not signed": {good(), "", 0, replace("%3Bx-amz-target", ""), "InvalidSignatureException: 'x-amz-target' must be a 'SignedHeader'"},
		"header too": {good(), "", 0, func(r *auth.Request) { r.Header.(header)["Authorization"] = []string{"AWS4-HMAC-SHA256 x"} },
			"InvalidSignatureException: Found both 'X-Amz-Algorithm' as a query-string param and 'Authorization' as HTTP header."},
		"credential": {good(), "", 0, replace("%2Faws4_request", ""), "IncompleteSignatureException: Credential must have exactly 5 slash-delimited elements"},
	} {
		t.Run(name, func(t *testing.T) {
			v := newVerifier(t, auth.Config{Now: func() time.Time { return now.Add(c.later) }})
			r := presign(t, request(), body, c.signing, c.expires)
			before := string(r.Target)
			c.change(r)
			_, err := verify(t, v, r)
			switch {
			case c.want == "" && err != nil:
				t.Errorf("%s: %v", before, err)
			case c.want != "" && (err == nil || !strings.HasPrefix(err.Error(), c.want)):
				t.Errorf("%v, want %s", err, c.want)
			}
		})
	}
}

// TestQueryWithoutSignature: such a request carries its signature in the header, as all others, and the query is signed there.
func TestQueryWithoutSignature(t *testing.T) {
	r := sign(t, unsigned(t, "/?b=2&a=1", nil), nil, good())
	if _, err := verify(t, newVerifier(t, auth.Config{}), r); err != nil {
		t.Error(err)
	}
}
