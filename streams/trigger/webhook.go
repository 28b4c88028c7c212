package trigger

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/concordat-db/concordat/globaltable"
)

const (
	batchType      = "application/cloudevents-batch+json"
	maxAnswer      = 64 << 10 // bytes of an answer that are read, so that the connection can be used again
	idleConnection = time.Minute
)

// webhook is a Target: a URL that batches are posted to.
type webhook struct {
	url    string
	ref    string
	secret func(name string) ([]byte, bool)
	client *http.Client
	now    func() time.Time
}

func newWebhook(w *globaltable.Webhook, secret func(string) ([]byte, bool)) *webhook {
	dialer := &net.Dialer{}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, DialContext: dialer.DialContext, ForceAttemptHTTP2: true, IdleConnTimeout: idleConnection, MaxIdleConnsPerHost: globaltable.MaxParallel,
		TLSHandshakeTimeout: 10 * time.Second}
	if strings.HasPrefix(w.URL, "http:") {
		transport.Proxy, dialer.Control = nil, loopbackOnly
	}
	return &webhook{url: w.URL, ref: w.SecretRef, secret: secret, now: time.Now,
		client: &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

var errNotHere = errors.New("without TLS only this machine is told")

// loopbackOnly refuses connections to other machines, whatever the host's name says.
func loopbackOnly(_, address string, _ syscall.RawConn) error {
	if at, err := netip.ParseAddrPort(address); err != nil || !at.Addr().Unmap().IsLoopback() {
		return errNotHere
	}
	return nil
}

func (w *webhook) Deliver(ctx context.Context, events []Event) error {
	body := bodyOf(events)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, bytes.NewReader(body))
	if err != nil {
		return &failure{text: "the URL cannot be used"}
	}
	r.Header.Set("Content-Type", batchType)
	r.Header.Set("User-Agent", "concordat")
	if err := w.sign(r.Header, batchID(events), body); err != nil {
		return err
	}
	answer, err := w.client.Do(r)
	if err != nil {
		return &failure{text: describe(err)}
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, maxAnswer)) // the status is all that counts
	if answer.StatusCode/100 == 2 {
		return nil
	}
	return &failure{text: "HTTP status " + strconv.Itoa(answer.StatusCode), after: retryAfter(answer.Header.Get("Retry-After"), w.now())}
}

func (w *webhook) Close() { w.client.CloseIdleConnections() }

// bodyOf returns the events as a JSON array.
func bodyOf(events []Event) []byte {
	size := 2
	for i := range events {
		size += len(events[i].JSON) + 1
	}
	body := append(make([]byte, 0, size), '[')
	for i := range events {
		if i > 0 {
			body = append(body, ',')
		}
		body = append(body, events[i].JSON...)
	}
	return append(body, ']')
}

// batchID is the same for the same events, at each try.
func batchID(events []Event) string {
	h := sha256.New()
	for i := range events {
		_, _ = io.WriteString(h, events[i].ID+"\n")
	}
	return "batch_" + hex.EncodeToString(h.Sum(nil)[:16])
}

// sign sets the headers of Standard Webhooks; without a key no signature.
func (w *webhook) sign(h http.Header, id string, body []byte) error {
	now := w.now()
	h.Set(standardwebhooks.HeaderWebhookID, id)
	h.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(now.Unix(), 10))
	if w.ref == "" {
		return nil
	}
	key, ok := w.secret(w.ref)
	if !ok {
		return &failure{text: "this region's configuration has no secret of the name " + w.ref}
	}
	signer, err := standardwebhooks.NewWebhookRaw(key)
	if err == nil {
		var signature string
		if signature, err = signer.Sign(id, now, body); err == nil {
			h.Set(standardwebhooks.HeaderWebhookSignature, signature)
			return nil
		}
	}
	return &failure{text: "the body cannot be signed with the secret " + w.ref}
}

// retryAfter reads the header of that name: seconds, or a date.
func retryAfter(text string, now time.Time) time.Duration {
	if seconds, err := strconv.Atoi(text); err == nil && seconds > 0 {
		return min(time.Duration(seconds), 24*60*60) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}
