package dynamodb

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable/expr"
	"github.com/concordat-db/concordat/regionnode/auth"
)

// MaxBody is the greatest request body in bytes, as DynamoDB's.
const MaxBody = 16 << 20

// maxExpressions is how many parsed expressions are kept: an application has some hundreds of texts.
const maxExpressions = 4096

// Config says what a Server works with. Zero limits and times mean the defaults.
type Config struct {
	Region   string         // name, for example "eu-central-1"
	Origin   hlc.Origin     // number
	Verifier *auth.Verifier // who may send requests
	Shard    Shard
	Streams  Streams
	View     func() View // the tables in force now
	Control  Control
	Confirm  Confirmer
	Forward  Forwarder        // nil: nothing is forwarded
	Refused  func() error     // why no items are read or written now; nil, or an answer of nil: they are
	Now      func() time.Time // clock for the answers' times; time.Now if nil
	Events   Events

	MaxConnections int           // at once; further ones are closed with 503. 8,192
	MaxRequests    int           // in work at once; further ones get 503. 4,096
	MaxMemory      int64         // bytes of bodies, parsed requests and long answers, about; see memory.go. 512 MiB; at least 64 MiB
	MaxHeader      int           // bytes of a request's header; each connection has a buffer of this size. 16 KiB
	ReadTimeout    time.Duration // from the first byte of a request to its last. 30 s
	WriteTimeout   time.Duration // of an answer. 30 s
	IdleTimeout    time.Duration // of a connection between requests. 5 min
	ForwardTimeout time.Duration // for a request that another region does. 10 s
	DrainTimeout   time.Duration // for requests in work when the server stops; then their contexts are cancelled. 10 s
}

// Events are callbacks. Any may be nil. They are called by the goroutine of the request and must be fast.
type Events struct {
	// Request reports each answered request: the operation ("" if it was not known), status code and time taken.
	Request func(operation string, status int, took time.Duration)
	// Failed reports an answer with a status of 500 or above and its cause; that to a request of another region's client has no id here. The error carries no keys and no values of items.
	Failed func(operation, requestID string, err error)
	// Forwarded reports each request that was forwarded, or done for another region.
	Forwarded func(Forwarding)
}

// Validate reports all faults of c.
func (c *Config) Validate() error {
	var errs []error
	missing := func(name string, is bool) {
		if is {
			errs = append(errs, fmt.Errorf("dynamodb: %s is missing", name))
		}
	}
	missing("Region", c.Region == "")
	missing("Origin", c.Origin == 0)
	missing("Verifier", c.Verifier == nil)
	missing("Shard", c.Shard == nil)
	missing("Streams", c.Streams == nil)
	missing("View", c.View == nil)
	missing("Control", c.Control == nil)
	missing("Confirm", c.Confirm == nil)
	for _, n := range []struct {
		name  string
		value int64
	}{
		{"MaxConnections", int64(c.MaxConnections)}, {"MaxRequests", int64(c.MaxRequests)}, {"MaxMemory", c.MaxMemory}, {"MaxHeader", int64(c.MaxHeader)},
		{"ReadTimeout", int64(c.ReadTimeout)}, {"WriteTimeout", int64(c.WriteTimeout)}, {"IdleTimeout", int64(c.IdleTimeout)}, {"DrainTimeout", int64(c.DrainTimeout)},
		{"ForwardTimeout", int64(c.ForwardTimeout)},
	} {
		if n.value < 0 {
			errs = append(errs, fmt.Errorf("dynamodb: %s is negative", n.name))
		}
	}
	if c.MaxMemory > 0 && c.MaxMemory < minMemory {
		errs = append(errs, fmt.Errorf("dynamodb: MaxMemory is below %d bytes", minMemory))
	}
	return errors.Join(errs...)
}

func (c Config) withDefaults() Config {
	orInt := func(n *int, d int) {
		if *n == 0 {
			*n = d
		}
	}
	orTime := func(t *time.Duration, d time.Duration) {
		if *t == 0 {
			*t = d
		}
	}
	orInt(&c.MaxConnections, 8192)
	orInt(&c.MaxRequests, 4096)
	orInt(&c.MaxHeader, 16<<10)
	orTime(&c.ReadTimeout, 30*time.Second)
	orTime(&c.WriteTimeout, 30*time.Second)
	orTime(&c.IdleTimeout, 5*time.Minute)
	orTime(&c.DrainTimeout, 10*time.Second)
	orTime(&c.ForwardTimeout, 10*time.Second)
	if c.MaxMemory == 0 {
		c.MaxMemory = 512 << 20
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// Server serves the API of one region. Make it with New.
type Server struct {
	config      Config
	operations  map[string]*operation
	expressions *expr.Parser
	calls       sync.Pool // of *call

	packers packers

	requests atomic.Int64 // in work
	memory   atomic.Int64 // bytes reserved: see memory.go

	// base is the context of every request's work: done when a drain took too long. It is set before the first request and not a request's own
	// context, because one per request would cost allocations and the shard bounds its waiting itself.
	base   context.Context
	cancel context.CancelFunc
}

// New returns a server that serves nothing yet.
func New(c Config) (*Server, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	s := &Server{config: c.withDefaults(), operations: operations(), expressions: expr.NewParser(maxExpressions)}
	s.base, s.cancel = context.WithCancel(context.Background())
	s.calls.New = func() any { return newCall(s) }
	return s, nil
}

// Serve answers requests on ln until ctx is done, then takes no more, waits for those in work, at most the drain time, and returns nil. It
// closes ln. When ln fails it stops likewise and returns the error. It is called once.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	defer s.cancel()
	h := s.http()
	done := make(chan error, 1)
	go func() { done <- h.Serve(lingering{ln}) }()
	var failed error
	select {
	case err := <-done:
		failed = fmt.Errorf("dynamodb: listener of %s: %w", s.config.Region, err)
		done <- nil
	case <-ctx.Done():
	}
	err := s.stop(h)
	// When ctx was done before fasthttp knew the listener, nothing has closed it; otherwise this is an error that says nothing.
	_ = ln.Close()
	<-done
	if err != nil {
		err = fmt.Errorf("dynamodb: stop %s: %w", s.config.Region, err)
	}
	return errors.Join(failed, err)
}

// http returns what speaks HTTP for s.
func (s *Server) http() *fasthttp.Server {
	return &fasthttp.Server{
		Handler:                      s.handle,
		ErrorHandler:                 s.refuse,
		Name:                         "Server",
		Concurrency:                  s.config.MaxConnections,
		ReadBufferSize:               s.config.MaxHeader,
		ReadTimeout:                  s.config.ReadTimeout,
		WriteTimeout:                 s.config.WriteTimeout,
		IdleTimeout:                  s.config.IdleTimeout,
		MaxRequestBodySize:           MaxBody,
		DisablePreParseMultipartForm: true,
		NoDefaultContentType:         true,
		CloseOnShutdown:              true,
		SecureErrorLogMessage:        true,
		Logger:                       silent{},
		// The handler reads bodies itself: it reserves their memory first, and fasthttp would take it before anything was checked.
		StreamRequestBody: true,
	}
}

// stop ends the connections: idle ones at once, others after their request.
func (s *Server) stop(h *fasthttp.Server) error {
	drain, stop := context.WithTimeout(context.Background(), s.config.DrainTimeout)
	defer stop()
	err := h.ShutdownWithContext(drain)
	if !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	// Cancelled requests answer at once; what remains then is a client that does not read, and the write timeout ends it.
	s.cancel()
	last, stop := context.WithTimeout(context.Background(), s.config.WriteTimeout+time.Second)
	defer stop()
	return h.ShutdownWithContext(last)
}

// silent drops fasthttp's log: its lines are about clients' connections and may quote requests.
type silent struct{}

func (silent) Printf(string, ...any) {}
