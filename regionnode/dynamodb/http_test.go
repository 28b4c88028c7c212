package dynamodb_test

import (
	"bufio"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/concordat-db/concordat/regionnode/dynamodb"
)

// packed returns body in the encoding named; "bare" is deflate without the frame of zlib.
func packed(t testing.TB, encoding string, body []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser
	switch encoding {
	case "gzip":
		w = gzip.NewWriter(&b)
	case "deflate":
		w = zlib.NewWriter(&b)
	case "bare":
		w, _ = flate.NewWriter(&b, flate.BestCompression)
	}
	if _, err := w.Write(body); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// request is a request to be written by hand.
type request struct {
	method, path, operation, header, body string // header: lines, each with its end
}

func (r request) String() string {
	head := r.header
	if r.operation != "" {
		head += "X-Amz-Target: DynamoDB_20120810." + r.operation + "\r\nContent-Type: application/x-amz-json-1.0\r\n"
	}
	if r.body != "" && !strings.Contains(head, "Transfer-Encoding") {
		head += fmt.Sprintf("Content-Length: %d\r\n", len(r.body))
	}
	return fmt.Sprintf("%s %s HTTP/1.1\r\nHost: x\r\n%s\r\n%s", r.method, r.path, head, r.body)
}

// converse sends all requests in one go on one connection, and returns the answers. methods of the requests tell which have bodies.
func converse(t testing.TB, r *region, requests ...request) []answer {
	t.Helper()
	conn, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	sent := make(chan error, 1)
	go func() {
		var all strings.Builder
		for _, q := range requests {
			all.WriteString(q.String())
		}
		_, err := io.WriteString(conn, all.String())
		sent <- err
	}()
	var out []answer
	in := bufio.NewReader(conn)
	for _, q := range requests {
		res, err := http.ReadResponse(in, &http.Request{Method: q.method})
		for err == nil && res.StatusCode == http.StatusContinue {
			res, err = http.ReadResponse(in, &http.Request{Method: q.method})
		}
		if err != nil {
			t.Fatalf("after %d answers: %v", len(out), err)
		}
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		if crc := res.Header.Get("X-Amz-Crc32"); q.method != "HEAD" && crc != fmt.Sprint(crc32.ChecksumIEEE(b)) {
			t.Errorf("%v: crc %s of %q", q, crc, b)
		}
		out = append(out, answer{res.StatusCode, res.Header, string(b)})
	}
	conn.Close()
	<-sent
	return out
}

// TestCompressedRequests: bodies in each encoding, what cannot be unpacked, and what would be too large; the connection goes on after all of them.
func TestCompressedRequests(t *testing.T) {
	r := startRegion(t, memory(t), open)
	const list = `{"Limit":7}`
	ask := func(encoding string, body []byte) request {
		return request{"POST", "/", "ListTables", "Content-Encoding: " + encoding + "\r\n", string(body)}
	}
	bomb := packed(t, "gzip", make([]byte, dynamodb.MaxBody+1))
	full := packed(t, "gzip", append([]byte(`{}`), bytes.Repeat([]byte(" "), dynamodb.MaxBody-2)...))
	cut := packed(t, "gzip", []byte(list))
	damaged := bytes.Clone(cut)
	damaged[len(damaged)-5] ^= 1 // of the checksum
	unreadable := `{"__type":"com.amazon.coral.service#SerializationException"}`
	cases := []struct {
		name    string
		request request
		status  int
		want    string
	}{
		{"gzip", ask("gzip", packed(t, "gzip", []byte(list))), 200, `{"TableNames":[]}`},
		{"x-gzip", ask("x-gzip", packed(t, "gzip", []byte(list))), 200, `{"TableNames":[]}`},
		{"deflate", ask("deflate", packed(t, "deflate", []byte(list))), 200, `{"TableNames":[]}`},
		{"bare deflate", ask("deflate", packed(t, "bare", []byte(list))), 200, `{"TableNames":[]}`},
		{"identity", ask("identity", []byte(list)), 200, `{"TableNames":[]}`},
		{"at the limit", ask("gzip", full), 200, `{"TableNames":[]}`},
		{"bomb", ask("gzip", bomb), 413, `{"__type":"com.amazon.coral.service#RequestEntityTooLargeException","Message":"Request size exceeded the maximum allowed size of 16777216 bytes"}`},
		{"not compressed", ask("gzip", []byte(list)), 400, unreadable},
		{"not deflated", ask("deflate", []byte(list)), 400, unreadable},
		{"cut off", ask("gzip", cut[:len(cut)-9]), 400, unreadable},
		{"damaged", ask("gzip", damaged), 400, unreadable},
		{"wrong within", ask("gzip", packed(t, "gzip", []byte("{"))), 400, unreadable},
		{"other", ask("br", []byte(list)), 400, `{"__type":"com.amazon.coral.service#SerializationException","Message":"The Content-Encoding of the request is not supported"}`},
		{"afterwards", ask("gzip", packed(t, "gzip", []byte(list))), 200, `{"TableNames":[]}`},
	}
	var requests []request
	for _, c := range cases {
		requests = append(requests, c.request)
	}
	for i, a := range converse(t, r, requests...) {
		if a.status != cases[i].status || a.body != cases[i].want {
			t.Errorf("%s: %d %s", cases[i].name, a.status, a.body)
		}
	}
}

// TestSignatureCoversWhatIsSent: the signature is of the compressed bytes, and it is checked before anything is unpacked.
func TestSignatureCoversWhatIsSent(t *testing.T) {
	r := startRegion(t, memory(t), nil)
	client := httpClient(t)
	body := packed(t, "gzip", []byte(`{}`))
	for name, c := range map[string]struct {
		signed []byte
		want   int
	}{"as sent": {body, 200}, "unpacked": {[]byte(`{}`), 400}} {
		req, err := http.NewRequestWithContext(t.Context(), "POST", "http://"+r.addr+"/", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Amz-Target", "DynamoDB_20120810.ListTables")
		req.Header.Set("Content-Type", "application/x-amz-json-1.0")
		req.Header.Set("Content-Encoding", "gzip")
		sum := sha256.Sum256(c.signed)
		if err := v4.NewSigner().SignHTTP(t.Context(), aws.Credentials{AccessKeyID: testKey, SecretAccessKey: testSecret}, req,
			hex.EncodeToString(sum[:]), "dynamodb", testRegion, time.Now()); err != nil {
			t.Fatal(err)
		}
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if res.StatusCode != c.want || c.want == 400 && !strings.Contains(string(b), "InvalidSignatureException") {
			t.Errorf("%s: %d %s", name, res.StatusCode, b)
		}
	}
}

// watching notes how the answers came.
type watching struct {
	http.RoundTripper
	encodings []string
}

func (w *watching) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := w.RoundTripper.RoundTrip(r)
	if err == nil {
		w.encodings = append(w.encodings, res.Header.Get("Content-Encoding"))
	}
	return res, err
}

// TestCompressedAnswersThroughTheSDK: the SDK asks for them, checks x-amz-crc32 over the bytes that it got, and unpacks them.
func TestCompressedAnswersThroughTheSDK(t *testing.T) {
	r := startRegion(t, memory(t), nil)
	plain := r.client(t)
	createTable(t, plain, "hash", false)
	value := strings.Repeat("value ", 1000)
	if _, err := plain.PutItem(t.Context(), &sdk.PutItemInput{TableName: aws.String("hash"), Item: attributes{"pk": s("a"), "v": s(value)}}); err != nil {
		t.Fatal(err)
	}
	watch := &watching{RoundTripper: httpClient(t).Transport}
	c := sdk.New(sdk.Options{Region: testRegion, BaseEndpoint: aws.String("http://" + r.addr), RetryMaxAttempts: 1, EnableAcceptEncodingGzip: true,
		Credentials: credentials.NewStaticCredentialsProvider(testKey, testSecret, ""), HTTPClient: &http.Client{Transport: watch}})
	got, err := c.GetItem(t.Context(), &sdk.GetItemInput{TableName: aws.String("hash"), Key: attributes{"pk": s("a")}})
	if err != nil || len(got.Item) != 2 {
		t.Fatal(got, err)
	}
	if _, err := c.ListTables(t.Context(), &sdk.ListTablesInput{}); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(watch.encodings) != "[gzip ]" { // the long one, and not the short one
		t.Errorf("encodings %q", watch.encodings)
	}
}

func TestCompressedAnswers(t *testing.T) {
	r := startRegion(t, memory(t), open)
	createTable(t, r.client(t), "hash", false)
	get := `{"TableName":"hash","Key":{"pk":{"S":"a"}}}`
	long := strings.Repeat("x", 100_000)
	put := request{"POST", "/", "PutItem", "", `{"TableName":"hash","Item":{"pk":{"S":"a"},"v":{"S":"` + long + `"}}}`}
	accept := func(encodings string) request {
		return request{"POST", "/", "GetItem", "Accept-Encoding: " + encodings + "\r\n", get}
	}
	answers := converse(t, r, put, accept("gzip"), accept("br;q=1.0, GZIP;q=0.5"), accept("gzip;q=0"), accept("identity"), accept("*"),
		request{"POST", "/", "GetItem", "Accept-Encoding: gzip\r\n", `{"TableName":"` + strings.Repeat("a", 2000) + `"}`})
	for i, want := range []string{"", "gzip", "gzip", "", "", "", "gzip"} {
		a := answers[i]
		body := a.body
		if got := a.header.Get("Content-Encoding"); got != want {
			t.Errorf("answer %d: encoding %q, want %q", i, got, want)
		} else if got == "gzip" {
			from, err := gzip.NewReader(strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(from)
			if err != nil || len(body) >= len(b) {
				t.Errorf("answer %d: %v, %d bytes instead of %d", i, err, len(body), len(b))
			}
			body = string(b)
		}
		if i > 0 && i < 6 && !strings.Contains(body, long) {
			t.Errorf("answer %d: %.100s", i, body)
		}
		if i == 6 && (a.status != 400 || !strings.Contains(body, "ValidationException")) {
			t.Errorf("answer %d: %d %.100s", i, a.status, body)
		}
	}
}

// TestPipelining: whatever is answered, errors of each layer included, the next request on the connection is read where it begins.
func TestPipelining(t *testing.T) {
	r := startRegion(t, memory(t), open)
	createTable(t, r.client(t), "hash", false)
	list := request{"POST", "/", "ListTables", "", "{}"}
	requests := []request{
		list,
		{"POST", "/", "ListTables", "", "{"},
		{"POST", "/", "Nothing", "", `{"a":1}`},
		{"POST", "/", "", "Content-Type: text/plain\r\n", "what is this"},
		{"GET", "/", "", "", "a body that nobody wants"},
		{"PUT", "/", "", "", strings.Repeat("x", 1<<20)},
		{"POST", "/elsewhere", "ListTables", "", strings.Repeat("y", 100_000)},
		{"OPTIONS", "/", "", "Origin: http://example.com\r\n", ""},
		{"HEAD", "/", "", "", ""},
		{"POST", "/", "GetItem", "", `{"TableName":"hash","Key":{}}`},
		{"POST", "/", "ListTables", "Transfer-Encoding: chunked\r\n", "1\r\n{\r\n1\r\n}\r\n0\r\n\r\n"},
		{"POST", "/", "ListTables", "Transfer-Encoding: chunked\r\n", "3\r\n{}x\r\n0\r\n\r\n"},
		{"POST", "/", "ListTables", "Expect: 100-continue\r\n", "{}"},
		{"POST", "/", "ListTables", "", ""},
		list,
	}
	want := []int{200, 400, 400, 404, 200, 404, 404, 200, 200, 400, 200, 400, 200, 400, 200}
	for i, a := range converse(t, r, requests...) {
		if a.status != want[i] {
			t.Errorf("%d, %s %s: %d %s", i, requests[i].method, requests[i].operation, a.status, a.body)
		}
	}
}

// TestRefusedRequestsKeepTheConnection: a request that finds no room is not worked on, but read.
func TestRefusedRequestsKeepTheConnection(t *testing.T) {
	b := blocked{arrived: make(chan struct{}, 1), let: make(chan struct{})}
	r := startRegion(t, memory(t), func(c *dynamodb.Config) {
		open(c)
		c.MaxRequests = 1
		b.Shard = c.Shard
		c.Shard = b
	})
	createTable(t, r.client(t), "hash", false)
	first := make(chan answer, 1)
	go func() { first <- r.post(t, httpClient(t), "PutItem", putA) }()
	<-b.arrived
	for _, a := range converse(t, r, request{"POST", "/", "ListTables", "", strings.Repeat(" ", 200_000) + "{}"}, request{"POST", "/", "ListTables", "", "{}"}) {
		if a.status != 503 {
			t.Errorf("%d %s", a.status, a.body)
		}
	}
	close(b.let)
	<-first
}

func TestContentTypes(t *testing.T) {
	r := startRegion(t, memory(t), open)
	for kind, want := range map[string]int{"application/x-amz-json-1.0": 200, "application/x-amz-json-1.1": 200, "application/json": 200,
		"application/x-amz-json-1.1; charset=utf-8": 200, "application/x-amz-json-1.2": 404, "application/xml": 404, "": 404} {
		a := r.send(t, httpClient(t), "POST", "DynamoDB_20120810.ListTables", kind, []byte("{}"))
		kind, _, _ = strings.Cut(kind, ";")
		if a.status != want || want == 200 && a.header.Get("Content-Type") != kind {
			t.Errorf("%s: %d %s %s", kind, a.status, a.header.Get("Content-Type"), a.body)
		}
	}
}

// TestBrowsers: what a page of another origin may do.
func TestBrowsers(t *testing.T) {
	r := startRegion(t, memory(t), nil) // nobody signs a preflight
	const origin = "Origin: https://example.com\r\n"
	answers := converse(t, r,
		request{"OPTIONS", "/", "", origin + "Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: authorization,x-amz-target\r\n", ""},
		request{"POST", "/", "ListTables", origin, "{}"},
		request{"GET", "/", "", origin, ""},
		request{"POST", "/", "ListTables", "", "{}"})
	pre := answers[0]
	for name, want := range map[string]string{"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Headers": "authorization,x-amz-target",
		"Access-Control-Allow-Methods": "GET, HEAD, POST, OPTIONS", "Access-Control-Max-Age": "172800"} {
		if got := pre.header.Get(name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	if pre.status != 200 || pre.body != "" {
		t.Errorf("%d %q", pre.status, pre.body)
	}
	for i, a := range answers[1:] {
		allowed, shown := a.header.Get("Access-Control-Allow-Origin"), a.header.Get("Access-Control-Expose-Headers")
		if asked := i < 2; asked != (allowed == "*") || asked != strings.Contains(shown, "x-amzn-RequestId") {
			t.Errorf("answer %d: %q, %q", i, allowed, shown)
		}
	}
}

// TestNamesGivenTwice: of parameters the last counts; that one hides behind the other does not help it.
func TestNamesGivenTwice(t *testing.T) {
	r := startRegion(t, memory(t), open)
	client := httpClient(t)
	if a := r.post(t, client, "ListTables", `{"Limit":0,"Limit":1}`); a.status != 200 {
		t.Errorf("%d %s", a.status, a.body)
	}
	for _, body := range []string{`{"TableName":"abc","ResourcePolicy":null,"ResourcePolicy":"{}"}`, `{"TableName":"abc","ResourcePolicy":"{}","ResourcePolicy":null}`} {
		if a := r.post(t, client, "CreateTable", body); !strings.Contains(a.body, "Unsupported parameter: ResourcePolicy") {
			t.Errorf("%d %s", a.status, a.body)
		}
	}
}
