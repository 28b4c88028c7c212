package dynamodb

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
)

// recorded is a connection on which everything has been sent already.
type recorded struct {
	in  *bytes.Reader
	out bytes.Buffer
}

func (c *recorded) Read(b []byte) (int, error)     { return c.in.Read(b) }
func (c *recorded) Write(b []byte) (int, error)    { return c.out.Write(b) }
func (*recorded) Close() error                     { return nil }
func (*recorded) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (*recorded) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (*recorded) SetDeadline(time.Time) error      { return nil }
func (*recorded) SetReadDeadline(time.Time) error  { return nil }
func (*recorded) SetWriteDeadline(time.Time) error { return nil }

// httpSeeds are conversations: requests as they are, wrong in each layer, and several on one connection.
func httpSeeds() []string {
	post := func(operation, header, body string) string {
		return "POST / HTTP/1.1\r\nHost: x\r\nX-Amz-Target: DynamoDB_20120810." + operation + "\r\nContent-Type: application/x-amz-json-1.0\r\n" + header +
			fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body)
	}
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	_, _ = w.Write([]byte(`{"TableName":"people","Key":{"pk":{"S":"a"}}}`))
	_ = w.Close()
	seeds := []string{
		post("PutItem", "", `{"TableName":"people","Item":{"pk":{"S":"a"},"v":{"S":"`+strings.Repeat("v", 2000)+`"}}}`) +
			post("GetItem", "Accept-Encoding: gzip\r\n", `{"TableName":"people","Key":{"pk":{"S":"a"}}}`) + "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		post("GetItem", "Content-Encoding: gzip\r\n", zipped.String()),
		post("GetItem", "Content-Encoding: deflate\r\nOrigin: http://x\r\n", "x\x9c\xab\xae\x05\x00\x01u\x00\xf9"),
		post("ListTables", "Expect: 100-continue\r\n", "{}"),
		post("TagResource", "", `{"ResourceArn":"arn:aws:dynamodb:eu:000000000000:table/people","Tags":[{"Key":"a","Value":"b"}]}`),
		post("UpdateTable", "", `{"TableName":"people","StreamSpecification":{"StreamEnabled":true,"StreamViewType":"NEW_IMAGE"},"ReplicaUpdates":[{"Create":{"RegionName":"us","TableClassOverride":"STANDARD"}}]}`),
		strings.Replace(post("ListStreams", "", `{"TableName":"people","Limit":1}`), "DynamoDB_", "DynamoDBStreams_", 1),
		post("CreateGlobalTable", "", `{"GlobalTableName":"people","ReplicationGroup":[{"RegionName":"eu"},{"RegionName":"us"}]}`),
		"POST / HTTP/1.1\r\nHost: x\r\nX-Amz-Target: DynamoDB_20120810.ListTables\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n",
		"OPTIONS / HTTP/1.1\r\nHost: x\r\nOrigin: http://x\r\nAccess-Control-Request-Headers: a\r\n\r\nPUT /x HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
		"GET / HTTP/1.0\r\n\r\n", "POST /?X-Amz-Signature=a HTTP/1.1\r\nHost: x\r\n\r\n", "POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", "\r\n\r\n", "{}",
	}
	return seeds
}

// FuzzHTTP sends whatever bytes on a connection: no panic, and all that comes back is answers, each of them whole, with its checksum, and in JSON where it says so.
func FuzzHTTP(f *testing.F) {
	for _, s := range httpSeeds() {
		f.Add([]byte(s))
	}
	servers := map[bool]*direct{false: newDirect(f, false), true: newDirect(f, true)}
	f.Fuzz(func(t *testing.T, sent []byte) {
		for signed, d := range servers {
			conn := &recorded{in: bytes.NewReader(sent)}
			// The error says how the connection ended.
			_ = d.http().ServeConn(conn)
			if bytes.Contains(sent, []byte("HEAD")) {
				continue // its answer has a length and no body: which of the answers it is cannot be told
			}
			if err := checkAnswers(&conn.out); err != nil {
				t.Fatalf("signed %v, %q: %v", signed, sent, err)
			}
		}
	})
}

// checkAnswers reads answers to their end.
func checkAnswers(r io.Reader) error {
	in := bufio.NewReader(r)
	for {
		if _, err := in.Peek(1); errors.Is(err, io.EOF) {
			return nil
		}
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			return err
		}
		if res.StatusCode == http.StatusContinue {
			continue
		}
		body, err := io.ReadAll(res.Body)
		if err != nil {
			return err
		}
		if err := checkAnswer(res, body); err != nil {
			return fmt.Errorf("%d %v %q: %w", res.StatusCode, res.Header, body, err)
		}
	}
}

func checkAnswer(res *http.Response, body []byte) error {
	switch res.StatusCode {
	case 200, 400, 404, 408, 413, 431:
	default:
		return errors.New("no such status is to be expected")
	}
	if res.Header.Get("X-Amz-Crc32") != fmt.Sprint(crc32.ChecksumIEEE(body)) {
		return errors.New("the checksum is wrong")
	}
	if res.Header.Get("Content-Encoding") == "gzip" {
		from, err := gzip.NewReader(bytes.NewReader(body))
		if err != nil {
			return err
		}
		if body, err = io.ReadAll(from); err != nil {
			return err
		}
	}
	if strings.HasSuffix(res.Header.Get("Content-Type"), "json-1.0") && len(body) > 0 && !json.Valid(body) {
		return errors.New("it is no JSON")
	}
	return nil
}
