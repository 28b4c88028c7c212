package bus

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// TestSilentOrigin has a handler that works without a word at an origin that does not say so: the asker gives up, and the handler learns of that.
func TestSilentOrigin(t *testing.T) {
	keys, peers := newPeerKeys(t, "us")
	home := startEmbedded(t, EmbeddedConfig{Peers: peers, DontListen: true})
	home.desk.timing = timing{alive: time.Hour, silence: time.Hour}
	w := &world{home: home, dial: func(t testing.TB, region string) Link {
		l := dialLink(t, DialConfig{Region: region, InProcess: home.Server(), Key: keys[region]})
		l.timing = timing{alive: time.Millisecond, silence: 200 * time.Millisecond}
		return l
	}}
	cause := make(chan error, 1)
	w.serve(t, func(ctx context.Context, _ string, request []byte, _ func([]byte) error) error {
		if string(request) == "ping" {
			return nil
		}
		<-ctx.Done()
		cause <- context.Cause(ctx)
		return ctx.Err()
	})
	if err := w.dial(t, "us").Request(testContext(t), nil, nil); !errors.Is(err, ErrLinkLost) {
		t.Fatalf("the asker: %v", err)
	}
	if err := <-cause; !errors.Is(err, errAskerGone) {
		t.Fatalf("the handler: %v", err)
	}
}

// TestSilentAsker has an asker that takes nothing and says nothing: the handler is held back by the window, then ended.
func TestSilentAsker(t *testing.T) {
	keys, peers := newPeerKeys(t, "us")
	home := startEmbedded(t, EmbeddedConfig{Peers: peers})
	home.desk.timing = timing{alive: time.Millisecond, silence: 200 * time.Millisecond}
	w := &world{home: home, dial: func(t testing.TB, region string) Link {
		return dialLink(t, DialConfig{Region: region, InProcess: home.Server(), Key: keys[region]})
	}}
	type outcome struct {
		sent int
		err  error
	}
	ended := make(chan outcome, 1)
	w.serve(t, func(_ context.Context, _ string, request []byte, reply func([]byte) error) error {
		if string(request) == "ping" {
			return nil
		}
		for sent := 0; ; sent++ {
			if err := reply(nil); err != nil {
				ended <- outcome{sent, err}
				return err
			}
		}
	})
	us := intrude(t, home.URL(), keys["us"], "_INBOX_us")
	inbox := us.nc.NewInbox()
	answers, err := us.nc.SubscribeSync(inbox)
	if err != nil {
		t.Fatal(err)
	}
	if err := us.nc.PublishMsg(framed(servicePrefix+"us", inbox, frame{verb: verbAsk, id: "x"}, nil)); err != nil {
		t.Fatal(err)
	}
	if got := <-ended; got.sent != answerWindowParts || !errors.Is(got.err, errAskerSilent) {
		t.Errorf("the handler sent %d parts and ended with %v", got.sent, got.err)
	}
	alive := 0
	for {
		m, err := answers.NextMsgWithContext(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		f, err := frameOf(m)
		if err != nil {
			t.Fatal(err)
		}
		if f.verb == verbAlive {
			alive++
		}
		if f.verb == verbFail {
			break
		}
	}
	if alive == 0 {
		t.Error("the origin gave no sign of life")
	}
}

// TestAnswerWithHoles feeds an asker with what a lossy way back may leave of an answer.
func TestAnswerWithHoles(t *testing.T) {
	link := &natsLink{cfg: DialConfig{Peer: "eu"}}
	part := func(n uint64) frame { return frame{verb: verbPart, n: n} }
	for name, test := range map[string]struct {
		frames []frame
		want   error
	}{
		"whole":          {[]frame{part(1), {verb: verbAlive}, part(2), {verb: verbEnd, n: 2}}, nil},
		"a hole":         {[]frame{part(1), part(3)}, ErrLinkLost},
		"no first":       {[]frame{part(2)}, ErrLinkLost},
		"twice":          {[]frame{part(1), part(1)}, ErrLinkLost},
		"no last":        {[]frame{part(1), {verb: verbEnd, n: 2}}, ErrLinkLost},
		"no last, fails": {[]frame{part(1), {verb: verbFail, n: 2}}, ErrLinkLost},
		"busy":           {[]frame{{verb: verbBusy}}, ErrBusy},
		"idle":           {[]frame{{verb: verbIdle}}, ErrNoService},
		"a request":      {[]frame{{verb: verbAsk, id: "x"}}, errFrame},
	} {
		a := &asking{link: link, id: "x", each: func([]byte) error { return nil }}
		var done bool
		var err error
		for _, f := range test.frames {
			if done {
				t.Errorf("%s: over too early", name)
			}
			done, err = a.take(framed("", "", f, nil))
		}
		if !done && err == nil || !errors.Is(err, test.want) {
			t.Errorf("%s: %v, %v", name, done, err)
		}
	}
}

// TestPullStatuses checks what each status of the server does to the request that it is about.
func TestPullStatuses(t *testing.T) {
	header := func(status, description, unused string) nats.Header {
		h := nats.Header{"Status": {status}, "Description": {description}}
		if unused != "" {
			h["Nats-Pending-Messages"] = []string{unused}
		}
		return h
	}
	for name, test := range map[string]struct {
		header nats.Header
		late   bool
		left   int // messages that may still come
		err    bool
		is     error
	}{
		"heartbeat":                   {header: header("100", "Idle Heartbeat", ""), left: 10},
		"heartbeat of an overdue one": {header: header("100", "Idle Heartbeat", ""), late: true, left: 0},
		"timeout":                     {header: header("408", "Request Timeout", "10"), left: 0},
		"timeout before the messages": {header: header("408", "Request Timeout", "7"), left: 3},
		"no messages":                 {header: header("404", "No Messages", ""), left: 0},
		"batch completed":             {header: header("409", "Batch Completed", "0"), left: 10},
		"too large for what is left":  {header: header("409", "Message Size Exceeds MaxBytes", "8"), left: 2},
		"consumer deleted":            {header: header("409", "Consumer Deleted", ""), left: 10, err: true, is: ErrNoConsumer},
		"no responders yet":           {header: header("503", "", ""), left: 0},
		"leadership change":           {header: header("409", "Leadership Change", ""), left: 10, err: true},
		"bad request":                 {header: header("400", "Bad Request", ""), left: 10, err: true},
	} {
		one := &pull{messages: 10, bytes: 1, deadline: time.Now().Add(time.Hour)}
		if test.late {
			one.deadline = time.Now().Add(-time.Hour)
		}
		err := (&puller{}).status(one, test.header.Get("Status"), test.header)
		if (err != nil) != test.err || test.is != nil && !errors.Is(err, test.is) || one.messages != test.left {
			t.Errorf("%s: %v, %d messages may come", name, err, one.messages)
		}
	}
	p := &puller{unheard: maxUnheard}
	if err := p.status(&pull{messages: 10}, "503", nil); !errors.Is(err, ErrNoConsumer) {
		t.Errorf("no responders for long: %v", err)
	}
}

// TestLostMessages has messages that the consumer gave and nobody got.
func TestLostMessages(t *testing.T) {
	p := &puller{deliver: func(Message) {}, pulls: []*pull{{messages: 100, bytes: 1 << 20}}}
	give := func(count string) error {
		return p.take(&nats.Msg{Reply: "$JS.ACK.LANE_1.us.1.42." + count + ".1700000000.3"})
	}
	if err := give("1"); err != nil {
		t.Fatal(err)
	}
	if err := give("3"); !errors.Is(err, errMessagesLost) || !errors.Is(err, ErrLinkLost) {
		t.Errorf("message 3 after 1: %v", err)
	}
	beat := func(count string) error { return p.heartbeat(nats.Header{"Nats-Last-Consumer": {count}}) }
	p.count = 5
	for _, count := range []string{"5", "4", "", "7", "7", "8"} { // ahead, but not for long
		if err := beat(count); err != nil {
			t.Errorf("heartbeat %q: %v", count, err)
		}
	}
	p.since = p.since.Add(-pullHeartbeat)
	if err := beat("8"); !errors.Is(err, errMessagesLost) {
		t.Errorf("ahead for long: %v", err)
	}
	p.count = 7 // what was missing has come
	if err := beat("9"); err != nil {
		t.Errorf("ahead anew: %v", err)
	}
}

// TestTLS has a listener that takes TLS only.
func TestTLS(t *testing.T) {
	keys, peers := newPeerKeys(t, "us")
	serverTLS, clientTLS := selfSigned(t)
	home := startEmbedded(t, EmbeddedConfig{Peers: peers, TLS: serverTLS})
	w := &world{home: home, dial: func(t testing.TB, region string) Link {
		return dialLink(t, DialConfig{Region: region, URLs: []string{home.URL()}, Key: keys[region], TLS: clientTLS})
	}}
	spec := LaneSpec{ID: 1, Peers: []string{"us"}, MaxBytes: 1 << 20}
	if err := errors.Join(home.ResetLane(testContext(t), spec), home.OpenLane(testContext(t), spec)); err != nil {
		t.Fatal(err)
	}
	w.publish(t, 1, 0, 10, 100)
	link := w.dial(t, "us")
	wantRange(t, pullTo(t, link, 1, 9, always), 0, 10)
	if err := link.Probe(testContext(t)); err != nil {
		t.Error(err)
	}
	if _, err := Dial(testContext(t), DialConfig{Region: "us", Peer: "eu", URLs: []string{home.URL()}, Key: keys["us"], TLS: &tls.Config{RootCAs: x509.NewCertPool()}}); err == nil {
		t.Error("a certificate of an unknown authority was taken")
	}
}

func selfSigned(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, &tls.Config{RootCAs: pool}
}
