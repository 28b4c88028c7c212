package bench

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/valyala/fasthttp"
)

// Shape of an item: partition key, one attribute, 1 KB in all by DynamoDB's count of names and values.
const (
	itemBytes       = 1024
	keyName         = "pk"
	valueName       = "v"
	keyDigits       = 16
	valueBytes      = itemBytes - len(keyName) - len(valueName) - keyDigits
	contentType     = "application/x-amz-json-1.0"
	requestPatience = 30 * time.Second // for one answer
)

// texts gives the values: pieces of random text that overlap with none of the next 8,000, so that no group of changes gets smaller by compression.
type texts []byte

const textStep = 1031 // from a value to the next; above valueBytes, and prime

func newTexts() (texts, error) {
	raw := make([]byte, 6<<20)
	if _, err := rand.NewChaCha8([32]byte{1}).Read(raw); err != nil {
		return nil, err
	}
	return base64.RawURLEncoding.AppendEncode(nil, raw), nil
}

// value returns that of item i: a view.
func (t texts) value(i int64) []byte {
	at := int(i * textStep % int64(len(t)-valueBytes))
	return t[at : at+valueBytes]
}

// door is the way to one endpoint. It asks with prepared headers, because the AWS SDK would take more of the processor than the region that it
// asks. Without credentials it signs nothing: the endpoint must take any, as those of `concordat dev` do.
type door struct {
	name        string
	region      string
	url         string
	credentials Credentials
	http        *fasthttp.HostClient
	texts       texts
}

func newDoor(name, region, endpoint string, cfg Config, connections int, t texts) (*door, error) {
	u, err := url.Parse(endpoint)
	if err != nil {
		return nil, err
	}
	tls := u.Scheme == "https"
	return &door{name: name, region: region, url: endpoint, credentials: cfg.Credentials, texts: t, http: &fasthttp.HostClient{
		Addr: fasthttp.AddMissingPort(u.Host, tls), IsTLS: tls, MaxConns: connections, ReadTimeout: requestPatience, WriteTimeout: requestPatience,
		NoDefaultUserAgentHeader: true, ReadBufferSize: 16 << 10, WriteBufferSize: 16 << 10,
	}}, nil
}

func (d *door) close() { d.http.CloseIdleConnections() }

// session asks one request at a time. It belongs to one goroutine.
type session struct {
	door   *door
	req    *fasthttp.Request
	resp   *fasthttp.Response
	body   []byte
	signed *http.Request // what the signer signs, as the SDK has it; nil when nothing is signed
	signer *v4.Signer
}

// authorization has the form of a signature, for endpoints that look at no more than that.
const authorization = "AWS4-HMAC-SHA256 Credential=bench/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host;x-amz-date;x-amz-target, " +
	"Signature=0000000000000000000000000000000000000000000000000000000000000000"

func (d *door) session() (*session, error) {
	s := &session{door: d, req: new(fasthttp.Request), resp: new(fasthttp.Response)}
	s.req.Header.SetMethod(http.MethodPost)
	s.req.SetRequestURI(d.url)
	s.req.Header.SetContentType(contentType)
	if d.credentials == (Credentials{}) {
		s.req.Header.Set("Authorization", authorization)
		s.req.Header.Set("X-Amz-Date", time.Now().UTC().Format("20060102T150405Z"))
		return s, nil
	}
	var err error
	if s.signed, err = http.NewRequest(http.MethodPost, d.url, nil); err != nil {
		return nil, err
	}
	s.signed.Header.Set("Content-Type", contentType)
	s.signer = v4.NewSigner()
	return s, nil
}

// sign signs the body for the target.
func (s *session) sign(target string) error {
	sum := sha256.Sum256(s.body)
	s.signed.ContentLength = int64(len(s.body))
	s.signed.Header.Set("X-Amz-Target", target)
	s.signed.Header.Del("Authorization")
	keys := aws.Credentials{AccessKeyID: s.door.credentials.AccessKey, SecretAccessKey: s.door.credentials.SecretKey}
	err := s.signer.SignHTTP(context.Background(), keys, s.signed, hex.EncodeToString(sum[:]), "dynamodb", s.door.region, time.Now())
	if err != nil {
		return fmt.Errorf("%s: sign: %w", s.door.name, err)
	}
	for _, name := range []string{"Authorization", "X-Amz-Date"} {
		s.req.Header.Set(name, s.signed.Header.Get(name))
	}
	return nil
}

// sessions returns n of them.
func (d *door) sessions(n int) ([]*session, error) {
	all := make([]*session, n)
	for i := range all {
		var err error
		if all[i], err = d.session(); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// asker puts and gets items, one request at a time.
type asker interface {
	put(ctx context.Context, i int64) error
	get(ctx context.Context, i int64) (found bool, err error)
}

// tableAsker asks for items of one table. Requests end by their own patience, not by contexts.
type tableAsker struct {
	*session
	table string
}

func (a tableAsker) put(_ context.Context, i int64) error         { return a.session.put(a.table, i) }
func (a tableAsker) get(_ context.Context, i int64) (bool, error) { return a.session.get(a.table, i) }

// askers returns n of them.
func (d *door) askers(table string, n int) ([]asker, error) {
	sessions, err := d.sessions(n)
	all := make([]asker, 0, n)
	for _, s := range sessions {
		all = append(all, tableAsker{s, table})
	}
	return all, err
}

// put writes item i.
func (s *session) put(table string, i int64) error {
	s.body = appendPut(s.body[:0], table, i, s.door.texts)
	return s.ask("DynamoDB_20120810.PutItem")
}

func appendPut(b []byte, table string, i int64, t texts) []byte {
	b = append(b, `{"TableName":"`...)
	b = append(b, table...)
	b = append(b, `","Item":{"`+keyName+`":{"S":"`...)
	b = appendKey(b, i)
	b = append(b, `"},"`+valueName+`":{"S":"`...)
	b = append(b, t.value(i)...)
	return append(b, `"}}}`...)
}

// get reads item i. found is false where there is none.
func (s *session) get(table string, i int64) (found bool, err error) {
	b := append(s.body[:0], `{"TableName":"`...)
	b = append(b, table...)
	b = append(b, `","Key":{"`+keyName+`":{"S":"`...)
	b = appendKey(b, i)
	s.body = append(b, `"}}}`...)
	if err := s.ask("DynamoDB_20120810.GetItem"); err != nil {
		return false, err
	}
	return len(s.resp.Body()) > valueBytes, nil
}

func appendKey(b []byte, i int64) []byte { return fmt.Appendf(b, "%0*x", keyDigits, i) }

// ask sends body and checks that the answer is a success.
func (s *session) ask(target string) error {
	if s.signed != nil {
		if err := s.sign(target); err != nil {
			return err
		}
	}
	s.req.Header.Set("X-Amz-Target", target)
	s.req.SetBodyRaw(s.body)
	if err := s.door.http.Do(s.req, s.resp); err != nil {
		return fmt.Errorf("%s: %w", s.door.name, err)
	}
	if code := s.resp.StatusCode(); code != fasthttp.StatusOK {
		// What it says is about the table or the credentials: items of a benchmark carry nothing to keep back.
		return fmt.Errorf("%s: answers %d: %.300s", s.door.name, code, s.resp.Body())
	}
	return nil
}
