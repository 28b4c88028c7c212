package bench

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// etcdRival asks etcd over gRPC: three unary calls with messages of two fields, which net/http's HTTP/2 carries. etcd's own client would bring a dozen modules for that; its JSON gateway
// would cost etcd more of the processor than the puts.
type etcdRival struct {
	url     string
	prefix  string
	texts   texts
	clients []*http.Client
}

func newEtcd(endpoint, name string, r *run) *etcdRival {
	return &etcdRival{url: strings.TrimRight(endpoint, "/"), prefix: name + "/", texts: r.texts}
}

func (d *etcdRival) at() string { return d.url }

// prepare makes nothing: etcd syncs every put before it answers, unless it was started with --unsafe-no-fsync, which it does not tell.
func (d *etcdRival) prepare(ctx context.Context) ([]string, error) {
	all, err := d.askers(ctx, 1)
	if err != nil {
		return nil, err
	}
	if _, err := all[0].get(ctx, 0); err != nil {
		return nil, err
	}
	return []string{"every put is synced, unless it runs with --unsafe-no-fsync"}, nil
}

// askers have a connection each.
func (d *etcdRival) askers(_ context.Context, n int) (all []asker, err error) {
	u, err := url.Parse(d.url)
	if err != nil {
		return nil, err
	}
	for range n {
		t := &http.Transport{Protocols: new(http.Protocols)}
		if u.Scheme == "https" {
			t.Protocols.SetHTTP2(true)
		} else {
			t.Protocols.SetUnencryptedHTTP2(true)
		}
		c := &http.Client{Transport: t, Timeout: requestPatience}
		d.clients = append(d.clients, c)
		all = append(all, &etcdAsker{rival: d, client: c})
	}
	return all, nil
}

func (d *etcdRival) remove(ctx context.Context, _ int64) error {
	if len(d.clients) == 0 {
		return nil
	}
	a := &etcdAsker{rival: d, client: d.clients[0]}
	end := []byte(d.prefix)
	end[len(end)-1]++
	_, err := a.call(ctx, "DeleteRange", field(1, []byte(d.prefix)), field(2, end))
	for _, c := range d.clients {
		c.CloseIdleConnections()
	}
	return err
}

// etcdAsker belongs to one goroutine.
type etcdAsker struct {
	rival  *etcdRival
	client *http.Client
}

func (a *etcdAsker) key(i int64) []byte { return appendKey([]byte(a.rival.prefix), i) }

// put sends PutRequest{key = 1, value = 2}.
func (a *etcdAsker) put(ctx context.Context, i int64) error {
	_, err := a.call(ctx, "Put", field(1, a.key(i)), field(2, a.rival.texts.value(i)))
	return err
}

// get sends RangeRequest{key = 1}; the answer has the item in it, or is short.
func (a *etcdAsker) get(ctx context.Context, i int64) (bool, error) {
	answer, err := a.call(ctx, "Range", field(1, a.key(i)))
	return len(answer) > valueBytes, err
}

// field encodes a field of bytes as protobuf does.
func field(number int, value []byte) []byte {
	b := binary.AppendUvarint(nil, uint64(number)<<3|2)
	return append(binary.AppendUvarint(b, uint64(len(value))), value...)
}

// grpcHeader is a flag and a length of 4 bytes, before each message.
const grpcHeader = 5

// call makes a unary call of etcdserverpb.KV and returns the answer's message.
func (a *etcdAsker) call(ctx context.Context, method string, fields ...[]byte) ([]byte, error) {
	message := bytes.Join(fields, nil)
	body := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message)))
	body = append(body, message...)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.rival.url+"/etcdserverpb.KV/"+method, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("Te", "trailers")
	resp, err := a.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	status, text := resp.Trailer.Get("Grpc-Status"), resp.Trailer.Get("Grpc-Message")
	if status == "" { // an answer without a message has it in its header
		status, text = resp.Header.Get("Grpc-Status"), resp.Header.Get("Grpc-Message")
	}
	switch {
	case resp.StatusCode != http.StatusOK || status == "":
		return nil, fmt.Errorf("%s: answers %s, not as etcd does", method, resp.Status)
	case status != "0":
		return nil, fmt.Errorf("%s: gRPC status %s: %.300s", method, status, text)
	case len(answer) < grpcHeader:
		return nil, errors.New(method + ": an answer without a message")
	}
	return answer[grpcHeader:], nil
}
