package bus

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"
)

// BenchmarkPublishFetch publishes and fetches with one acknowledgement for 256 messages, over loopback TCP.
func BenchmarkPublishFetch(b *testing.B) {
	for _, size := range []int{1 << 10, 64 << 10} {
		b.Run(fmt.Sprintf("%dKB", size>>10), func(b *testing.B) {
			keys, peers := newPeerKeys(b, "us", "in")
			home := startEmbedded(b, EmbeddedConfig{Peers: peers})
			benchmarkFetch(b, home, dialLink(b, DialConfig{Region: "us", URLs: []string{home.URL()}, Key: keys["us"]}), size, 16<<20)
		})
	}
}

// BenchmarkLongLink fetches 64 KB messages over a link of 100 ms each way, with a window of 64 MiB: the rate is bounded by the window over the round trip, and
// by no more than that.
func BenchmarkLongLink(b *testing.B) {
	keys, peers := newPeerKeys(b, "us", "in")
	home := startEmbedded(b, EmbeddedConfig{Peers: peers})
	address := delay(b, home.URL(), 100*time.Millisecond)
	benchmarkFetch(b, home, dialLink(b, DialConfig{Region: "us", URLs: []string{address}, Key: keys["us"]}), 64<<10, 64<<20)
}

func benchmarkFetch(b *testing.B, home Home, link Link, size, window int) {
	w := &world{home: home}
	w.openLane(b, 1, 8<<30)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	msg := make([]byte, size)
	b.SetBytes(int64(size))
	b.ReportAllocs()
	b.ResetTimer()
	var wg sync.WaitGroup
	wg.Go(func() {
		n := 0
		err := link.Pull(ctx, 1, window, func(m Message) {
			if n++; n%256 == 0 {
				if err := m.Ack(); err != nil {
					b.Error(err)
				}
			}
			if n == b.N {
				cancel()
			}
		})
		if ctx.Err() == nil {
			b.Error(err)
			cancel()
		}
	})
	for range b.N {
		wg.Add(1)
		err := home.Publish(ctx, 1, msg, func(err error) {
			if err != nil {
				b.Error(err)
			}
			wg.Done()
		})
		if err != nil {
			b.Error(err)
			wg.Done()
			break
		}
	}
	wg.Wait()
}

// BenchmarkAnswer streams parts of 64 KB.
func BenchmarkAnswer(b *testing.B) {
	keys, peers := newPeerKeys(b, "us", "in")
	home := startEmbedded(b, EmbeddedConfig{Peers: peers})
	w := &world{home: home, dial: func(t testing.TB, region string) Link {
		return dialLink(t, DialConfig{Region: region, URLs: []string{home.URL()}, Key: keys[region]})
	}}
	part := make([]byte, 64<<10)
	w.serve(b, func(_ context.Context, _ string, request []byte, reply func([]byte) error) error {
		for i := 0; string(request) == "go" && i < b.N; i++ {
			if err := reply(part); err != nil {
				return err
			}
		}
		return nil
	})
	link := w.dial(b, "us")
	b.SetBytes(int64(len(part)))
	b.ReportAllocs()
	b.ResetTimer()
	if err := link.Request(context.Background(), []byte("go"), func([]byte) error { return nil }); err != nil {
		b.Fatal(err)
	}
}

// delay forwards TCP to the address given; every byte takes d, each way.
func delay(b *testing.B, address string, d time.Duration) string {
	u, err := url.Parse(address)
	if err != nil {
		b.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	var wg sync.WaitGroup
	b.Cleanup(func() {
		l.Close()
		wg.Wait()
	})
	wg.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", u.Host)
			if err != nil {
				in.Close()
				return
			}
			wg.Go(func() { slowly(out, in, d) })
			wg.Go(func() { slowly(in, out, d) })
		}
	})
	return "nats://" + l.Addr().String()
}

// slowly copies until either side closes.
func slowly(dst io.WriteCloser, src io.ReadCloser, d time.Duration) {
	type chunk struct {
		data []byte
		due  time.Time
	}
	chunks := make(chan chunk, 1<<14)
	var wg sync.WaitGroup
	wg.Go(func() {
		for c := range chunks {
			time.Sleep(time.Until(c.due))
			if _, err := dst.Write(c.data); err != nil {
				src.Close()
			}
		}
		dst.Close()
	})
	for {
		buf := make([]byte, 64<<10)
		n, err := src.Read(buf)
		if n > 0 {
			chunks <- chunk{buf[:n], time.Now().Add(d)}
		}
		if err != nil {
			break
		}
	}
	close(chunks)
	wg.Wait()
}

// BenchmarkAppendEvents puts events of 1 KB into files, in pages of 256.
func BenchmarkAppendEvents(b *testing.B) {
	home := startEmbedded(b, EmbeddedConfig{DontListen: true})
	stream := streamOf(ordersTable, "orders")
	stream.MaxBytes = 1 << 30
	if err := home.Events().Make(testContext(b), stream); err != nil {
		b.Fatal(err)
	}
	page := make([]Event, 256)
	for i := range page {
		page[i] = testEvent("orders", i)
		page[i].Data = make([]byte, 1<<10)
	}
	last := uint64(0)
	b.SetBytes(1 << 10)
	for b.Loop() {
		i := int(last % uint64(len(page)))
		page[i].ID = fmt.Sprint(last)
		if last++; i == len(page)-1 {
			if err := home.Events().Append(b.Context(), stream.Name, last-uint64(len(page)), page); err != nil {
				b.Fatal(err)
			}
		}
	}
}
