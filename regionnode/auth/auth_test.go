package auth_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"pgregory.net/rapid"

	"github.com/concordat-db/concordat/regionnode/auth"
)

const (
	accessKey = "AKIDEXAMPLE"
	secret    = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
	region    = "eu-central-1"
)

var now = time.Date(2026, 11, 22, 18, 0, 0, 0, time.UTC)

// header is a request's header as net/http has it, with the host among its lines as on the wire.
type header http.Header

func (h header) PeekAll(name string) [][]byte {
	var out [][]byte
	for _, v := range h[textproto.CanonicalMIMEHeaderKey(name)] {
		out = append(out, []byte(v))
	}
	return out
}

func credentials(key string) (string, bool) {
	switch key {
	case accessKey:
		return secret, true
	case "AKIDOTHER":
		return "another secret", true
	}
	return "", false
}

func newVerifier(t testing.TB, c auth.Config) *auth.Verifier {
	t.Helper()
	if c.Region == "" {
		c.Region = region
	}
	if c.Credentials == nil {
		c.Credentials = credentials
	}
	if c.Now == nil {
		c.Now = func() time.Time { return now }
	}
	v, err := auth.NewVerifier(c)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// unsigned returns a request as an SDK makes it, before signing.
func unsigned(t testing.TB, target string, body []byte) *http.Request {
	t.Helper()
	r, err := http.NewRequest("POST", "http://localhost:8000"+target, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Amz-Target", "DynamoDB_20120810.GetItem")
	r.Header.Set("Content-Type", "application/x-amz-json-1.0")
	r.Header.Set("User-Agent", "aws-sdk-go-v2/1.47")
	return r
}

type signing struct {
	key, secret, region, service string
	at                           time.Time
}

// sign signs r with the SDK's signer and returns it as the verifier gets it.
func sign(t testing.TB, r *http.Request, body []byte, s signing) *auth.Request {
	t.Helper()
	sum := sha256.Sum256(body)
	err := v4.NewSigner().SignHTTP(context.Background(), aws.Credentials{AccessKeyID: s.key, SecretAccessKey: s.secret}, r,
		hex.EncodeToString(sum[:]), s.service, s.region, s.at)
	if err != nil {
		t.Fatal(err)
	}
	return received(r, body)
}

func received(r *http.Request, body []byte) *auth.Request {
	h := header(r.Header.Clone())
	h["Host"] = []string{r.Host}
	if len(body) > 0 {
		h["Content-Length"] = []string{fmt.Sprint(len(body))}
	}
	return &auth.Request{Method: []byte(r.Method), Target: []byte(r.URL.RequestURI()), Header: h, Body: body}
}

func good() signing { return signing{accessKey, secret, region, "dynamodb", now} }

func verify(t testing.TB, v *auth.Verifier, r *auth.Request) (auth.Identity, *auth.Error) {
	t.Helper()
	id, err := v.Verify(r)
	if err == nil {
		return id, nil
	}
	var e *auth.Error
	if !errors.As(err, &e) {
		t.Fatalf("error of type %T: %v", err, err)
	}
	return id, e
}

func TestAcceptsTheSDK(t *testing.T) {
	v := newVerifier(t, auth.Config{})
	body := []byte(`{"TableName":"people"}`)
	for range 3 { // the second and third use the cached key
		id, err := verify(t, v, sign(t, unsigned(t, "/", body), body, good()))
		if err != nil || id.AccessKey != accessKey {
			t.Fatalf("got %v, %v", id, err)
		}
	}
}

// TestAgreesWithTheSDK is the property that the canonical request is the SDK's, whatever path, query, headers and body are.
func TestAgreesWithTheSDK(t *testing.T) {
	v := newVerifier(t, auth.Config{})
	headerName := rapid.StringMatching(`X-Amz-Meta-[a-z]{1,8}`)
	headerValue := rapid.StringMatching(`[ -~]{0,20}(  [ -~]{0,5})?`)
	rapid.Check(t, func(rt *rapid.T) {
		body := rapid.SliceOfN(rapid.Byte(), 0, 64).Draw(rt, "body")
		target := "/" + rapid.StringMatching(`([a-zA-Z0-9~_.%-]{0,6}/?){0,3}`).Filter(func(s string) bool { return !strings.Contains(s, "%") && !strings.HasPrefix(s, "/") }).Draw(rt, "path")
		r := unsigned(t, target, body)
		q := r.URL.Query()
		for k, values := range rapid.MapOfN(rapid.StringN(1, 6, -1), rapid.SliceOfN(rapid.StringN(0, 6, -1), 1, 3), 0, 3).Draw(rt, "query") {
			q[k] = values
		}
		r.URL.RawQuery = q.Encode()
		for range rapid.IntRange(0, 3).Draw(rt, "headers") {
			r.Header.Add(headerName.Draw(rt, "name"), strings.TrimSpace(headerValue.Draw(rt, "value")))
		}
		request := sign(t, r, body, good())
		if _, err := verify(t, v, request); err != nil {
			rt.Fatalf("%s %q: %v", r.Header.Get("Authorization"), r.URL.RequestURI(), err)
		}
		// Anything changed after signing is found.
		switch rapid.IntRange(0, 3).Draw(rt, "tamper") {
		case 0:
			request.Body = append(bytes.Clone(body), 'x')
		case 1:
			request.Header.(header)["X-Amz-Target"] = []string{"DynamoDB_20120810.DeleteTable"}
		case 2:
			request.Target = append(bytes.Clone(request.Target), "&a=b?"...)
			if !bytes.ContainsRune(request.Target, '?') {
				request.Target = []byte("/?a=b")
			}
		case 3:
			request.Method = []byte("PUT")
		}
		if _, err := verify(t, v, request); err == nil || err.Name != auth.InvalidSignature {
			rt.Fatalf("a changed request gave %v", err)
		}
	})
}

func TestRefusals(t *testing.T) {
	body := []byte(`{}`)
	signed := func(change func(*signing)) func(t *testing.T) *auth.Request {
		return func(t *testing.T) *auth.Request {
			s := good()
			change(&s)
			return sign(t, unsigned(t, "/", body), body, s)
		}
	}
	authorization := func(value string) func(t *testing.T) *auth.Request {
		return func(t *testing.T) *auth.Request {
			r := sign(t, unsigned(t, "/", body), body, good())
			h := r.Header.(header)
			if value == "" {
				delete(h, "Authorization")
			} else {
				h["Authorization"] = []string{strings.ReplaceAll(value, "$", h["Authorization"][0])}
			}
			return r
		}
	}
	for _, c := range []struct {
		name    string
		request func(t *testing.T) *auth.Request
		want    string
		message string
	}{
		{"no header", authorization(""), auth.MissingToken, "Request is missing Authentication Token"},
		{"another scheme", authorization("Basic abc"), auth.MissingToken, "Request is missing Authentication Token"},
		{"another algorithm", authorization("AWS4-ECDSA-P256-SHA256 Credential=a"), auth.IncompleteSignature, "Unsupported AWS 'algorithm': 'AWS4-ECDSA-P256-SHA256'."},
		{"nothing in it", authorization("AWS4-HMAC-SHA256"), auth.IncompleteSignature, "Authorization header requires 'Credential' parameter. " +
			"Authorization header requires 'Signature' parameter. Authorization header requires 'SignedHeaders' parameter. Authorization=AWS4-HMAC-SHA256"},
		{"short credential", authorization("AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature=c"), auth.IncompleteSignature,
			"Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got 'a/b'"},
		{"long credential", authorization("AWS4-HMAC-SHA256 Credential=a/b/c/d/e/f, SignedHeaders=host, Signature=c"), auth.IncompleteSignature,
			"Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got 'a/b/c/d/e/f'"},
		{"very long", authorization("$" + strings.Repeat(" ", 5000)), auth.IncompleteSignature, "Authorization header must be given once and be at most 4096 bytes long."},
		{"many headers", authorization("AWS4-HMAC-SHA256 Credential=a/b/c/d/e, SignedHeaders=" + strings.Repeat("a;", 70) + "b, Signature=c"), auth.IncompleteSignature,
			"SignedHeaders names more than 64 headers."},
		{"host not signed", authorization("AWS4-HMAC-SHA256 Credential=a/b/c/d/e, SignedHeaders=x-amz-date;x-amz-target, Signature=c"), auth.InvalidSignature,
			"'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization."},
		{"date not signed", authorization("AWS4-HMAC-SHA256 Credential=a/b/c/d/e, SignedHeaders=host;x-amz-target, Signature=c"), auth.InvalidSignature,
			"'x-amz-date' must be a 'SignedHeader' in the AWS Authorization."},
		{"target not signed", authorization("AWS4-HMAC-SHA256 Credential=a/b/c/d/e, SignedHeaders=host;x-amz-date, Signature=c"), auth.InvalidSignature,
			"'x-amz-target' must be a 'SignedHeader' in the AWS Authorization."},
		{"wrong region", signed(func(s *signing) { s.region = "us-east-1" }), auth.InvalidSignature, "Credential should be scoped to a valid region. "},
		{"wrong service", signed(func(s *signing) { s.service = "s3" }), auth.InvalidSignature, "Credential should be scoped to correct service: 'dynamodb'. "},
		{"too old", signed(func(s *signing) { s.at = now.Add(-auth.Skew - time.Second) }), auth.InvalidSignature,
			"Signature expired: 20261122T174459Z is now earlier than 20261122T174500Z (20261122T180000Z - 15 min.)"},
		{"too new", signed(func(s *signing) { s.at = now.Add(auth.Skew + time.Second) }), auth.InvalidSignature,
			"Signature not yet current: 20261122T181501Z is still later than 20261122T181500Z (20261122T180000Z + 15 min.)"},
		{"unknown key", signed(func(s *signing) { s.key = "AKIDNOBODY" }), auth.UnrecognizedClient, "The security token included in the request is invalid."},
		{"wrong secret", signed(func(s *signing) { s.secret = "guess" }), auth.InvalidSignature,
			"The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details."},
		{"secret of another", signed(func(s *signing) { s.secret = "another secret" }), auth.InvalidSignature,
			"The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details."},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := verify(t, newVerifier(t, auth.Config{}), c.request(t))
			if err == nil || err.Name != c.want || err.Message != c.message {
				t.Fatalf("got %v\nwant %s: %s", err, c.want, c.message)
			}
		})
	}
}

func TestEdgesOfTheSkewAreIn(t *testing.T) {
	v := newVerifier(t, auth.Config{})
	body := []byte(`{}`)
	for _, d := range []time.Duration{-auth.Skew, auth.Skew} {
		s := good()
		s.at = now.Add(d)
		if _, err := verify(t, v, sign(t, unsigned(t, "/", body), body, s)); err != nil {
			t.Errorf("%v from now: %v", d, err)
		}
	}
}

func TestScopeDateMustBeThatOfTheRequest(t *testing.T) {
	body := []byte(`{}`)
	r := sign(t, unsigned(t, "/", body), body, good())
	h := r.Header.(header)
	h["Authorization"][0] = strings.Replace(h["Authorization"][0], "/20261122/", "/20261121/", 1)
	_, err := verify(t, newVerifier(t, auth.Config{}), r)
	want := "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '20261121' != '20261122', from '20261122T180000Z'. "
	if err == nil || err.Message != want {
		t.Fatalf("got %v", err)
	}
}

func TestTimesThatAreNone(t *testing.T) {
	v := newVerifier(t, auth.Config{})
	body := []byte(`{}`)
	for _, at := range []string{"20261122T18000Z", "20261122T180000X", "20261122 180000Z", "20261122T250000Z", "2026112aT180000Z", "20261122T180060Z"} {
		r := sign(t, unsigned(t, "/", body), body, good())
		r.Header.(header)["X-Amz-Date"] = []string{at}
		if _, err := verify(t, v, r); err == nil {
			t.Errorf("%s was accepted", at)
		}
	}
}

func TestTwoLinesOfOneKindAreNoChoice(t *testing.T) {
	v := newVerifier(t, auth.Config{})
	body := []byte(`{}`)
	for _, name := range []string{"Authorization", "X-Amz-Date", "X-Amz-Target"} {
		r := sign(t, unsigned(t, "/", body), body, good())
		h := r.Header.(header)
		h[name] = append(h[name], h[name][0])
		if _, err := verify(t, v, r); err == nil {
			t.Errorf("%s given twice was accepted", name)
		}
	}
}

func TestWithdrawnAndReplacedSecretsStopAtOnce(t *testing.T) {
	current, ok := secret, true
	v := newVerifier(t, auth.Config{Credentials: func(string) (string, bool) { return current, ok }})
	body := []byte(`{}`)
	try := func(with string) *auth.Error {
		s := good()
		s.secret = with
		_, err := verify(t, v, sign(t, unsigned(t, "/", body), body, s))
		return err
	}
	if err := try(secret); err != nil {
		t.Fatal(err)
	}
	current = "new"
	if err := try(secret); err == nil || err.Name != auth.InvalidSignature {
		t.Fatalf("old secret: %v", err)
	}
	if err := try("new"); err != nil {
		t.Fatal(err)
	}
	ok = false
	if err := try("new"); err == nil || err.Name != auth.UnrecognizedClient {
		t.Fatalf("withdrawn: %v", err)
	}
}

func TestManyKeysThroughASmallCache(t *testing.T) {
	day := now
	v := newVerifier(t, auth.Config{MaxKeys: 2, Now: func() time.Time { return day },
		Credentials: func(key string) (string, bool) { return "of " + key, true }})
	body := []byte(`{}`)
	for i := range 20 {
		day = now.Add(time.Duration(i/5) * 24 * time.Hour)
		key := fmt.Sprintf("AKID%d", i%4)
		id, err := verify(t, v, sign(t, unsigned(t, "/", body), body, signing{key, "of " + key, region, "dynamodb", day}))
		if err != nil || id.AccessKey != key {
			t.Fatalf("%s: %v, %v", key, id, err)
		}
	}
}

func TestAcceptAny(t *testing.T) {
	v, err := auth.NewVerifier(auth.Config{AcceptAny: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Verify(&auth.Request{Header: header{}}); err != nil {
		t.Fatal(err)
	}
}

func TestValidateNamesAllFaults(t *testing.T) {
	_, err := auth.NewVerifier(auth.Config{MaxKeys: -1})
	for _, want := range []string{"Credentials", "Region", "MaxKeys"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not in %v", want, err)
		}
	}
}

// FuzzVerify looks for a header that panics or passes.
func FuzzVerify(f *testing.F) {
	body := []byte(`{}`)
	r := sign(f, unsigned(f, "/", body), body, good())
	f.Add(r.Header.(header)["Authorization"][0], "20261122T180000Z", "/")
	f.Add("AWS4-HMAC-SHA256 Credential=a/b/c/d/e,SignedHeaders=;host;,Signature=", "", "/?%zz&=&a=%2")
	f.Add("", "", "/?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=aa&X-Amz-Credential=a%2Fb%2Fc%2Fd%2Fe&X-Amz-SignedHeaders=host&X-Amz-Date=x&X-Amz-Expires=1")
	v := newVerifier(f, auth.Config{})
	valid := r.Header.(header)["Authorization"][0]
	f.Fuzz(func(t *testing.T, authorization, date, target string) {
		h := header{"Authorization": {authorization}, "X-Amz-Date": {date}, "X-Amz-Target": {"DynamoDB_20120810.GetItem"}, "Host": {"localhost:8000"},
			"Content-Type": {"application/x-amz-json-1.0"}, "Content-Length": {"2"}}
		_, err := verify(t, v, &auth.Request{Method: []byte("POST"), Target: []byte(target), Header: h, Body: body})
		if err == nil && (!strings.Contains(authorization, valid[strings.Index(valid, "Signature="):]) || date != "20261122T180000Z") {
			t.Fatalf("accepted %q at %q", authorization, date)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	v := newVerifier(b, auth.Config{})
	for _, size := range []int{100, 1200} {
		body := bytes.Repeat([]byte("x"), size)
		r := sign(b, unsigned(b, "/", body), body, good())
		r.Header = fast(r.Header.(header))
		b.Run(fmt.Sprintf("body=%d", size), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Verify(r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
