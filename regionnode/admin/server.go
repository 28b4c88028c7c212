package admin

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"strings"
	"time"
)

//go:embed openapi.json
var openAPI []byte

//go:embed console.html
var console []byte

// Config configures a Server. All fields are needed.
type Config struct {
	Status func(ctx context.Context) (Status, error)
	// Verify compares the table named, or all, with the other regions; Repair exchanges what has diverged first.
	Verify func(ctx context.Context, table string) (Verification, error)
	Repair func(ctx context.Context, table string) (Verification, error)
	// Rebuild begins to rebuild the region; RebuildState tells how far that is.
	Rebuild      func(ctx context.Context) (Rebuild, error)
	RebuildState func() Rebuild
	Saved        Saved
	Conflicts    Conflicts
	Snapshots    Snapshots
	Audit        Audit
	// Regions returns the members; Fence and Remove change them, and return before all of it is done. AddRegion makes the region of a signed descriptor a member, and invites it.
	Regions   func(ctx context.Context) (Regions, error)
	Fence     func(ctx context.Context, region string) error
	Remove    func(ctx context.Context, region string, force bool) error
	AddRegion func(ctx context.Context, descriptor string, valid time.Duration) (Invitation, error)
	Tables    Tables
	Policies  Policies
	Triggers  Triggers
	Streams   Streams
	// TriggerRuns shows how triggers are fired.
	TriggerRuns TriggerRuns
	Ready       func() error // nil: serves reads and writes
	Metrics     http.Handler
}

// Server is the admin API.
type Server struct {
	cfg Config
	mux *http.ServeMux
	// A page of another site, in the browser of somebody who reaches this server, must not act here.
	guarded http.Handler
	ending  chan struct{} // closed when Serve lets open requests end: nobody waits for news any more
}

// New returns a Server. It starts nothing.
func New(cfg Config) *Server {
	s := &Server{cfg: cfg, mux: http.NewServeMux(), ending: make(chan struct{})}
	s.mux.HandleFunc("GET /v1/status", s.status)
	s.mux.HandleFunc("GET /v1/verify", compare(cfg.Verify))
	s.mux.HandleFunc("POST /v1/repair", compare(cfg.Repair))
	s.rebuildRoutes()
	s.mux.HandleFunc("GET /v1/regions", s.regions)
	s.mux.HandleFunc("POST /v1/regions", s.addRegion)
	s.mux.HandleFunc("POST /v1/regions/{name}/fence", s.fence)
	s.mux.HandleFunc("POST /v1/regions/{name}/remove", s.remove)
	s.handleTables()
	s.policyRoutes()
	s.triggerRoutes()
	s.triggerRunRoutes()
	s.conflictRoutes()
	s.snapshotRoutes()
	s.auditRoutes()
	s.streamRoutes()
	s.mux.HandleFunc("GET /v1/openapi.json", static("application/json", openAPI))
	s.mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]string{"status": "ok"})
	})
	s.mux.HandleFunc("GET /readyz", s.ready)
	s.mux.Handle("GET /metrics", cfg.Metrics)
	s.mux.HandleFunc("GET /{$}", static("text/html; charset=utf-8", console))
	s.mux.HandleFunc(elsewhere, s.nothing)
	guard := http.NewCrossOriginProtection()
	guard.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fail(w, http.StatusForbidden, "a page of another site cannot do this")
	}))
	s.guarded = guard.Handler(s.mux)
	return s
}

// elsewhere is the pattern of all that nothing else matches, whatever the method.
const elsewhere = "/"

func (s *Server) nothing(w http.ResponseWriter, r *http.Request) {
	var allowed []string
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		other := &http.Request{Method: method, URL: r.URL, Host: r.Host}
		if _, pattern := s.mux.Handler(other); pattern != elsewhere {
			allowed = append(allowed, method)
		}
	}
	if len(allowed) > 0 {
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		fail(w, http.StatusMethodNotAllowed, r.Method+" is not allowed at "+r.URL.Path+"; these are: "+strings.Join(allowed, ", "))
		return
	}
	fail(w, http.StatusNotFound, "there is nothing at "+r.Method+" "+r.URL.Path+"; see /v1/openapi.json")
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; frame-ancestors 'none'")
	s.guarded.ServeHTTP(w, r)
}

// Serve, which is called once, answers on ln until ctx is done, then lets open requests end for at most patience.
func (s *Server) Serve(ctx context.Context, ln net.Listener, patience time.Duration) error {
	server := &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ln) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	close(s.ending)
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	err := server.Shutdown(stopping)
	if err != nil {
		err = server.Close()
	}
	if served := <-ended; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

func (s *Server) status(w http.ResponseWriter, r *http.Request) {
	st, err := s.cfg.Status(r.Context())
	if err != nil {
		fail(w, http.StatusServiceUnavailable, err.Error())
		return
	}
	answer(w, http.StatusOK, st)
}

func compare(f func(ctx context.Context, table string) (Verification, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, err := f(r.Context(), r.URL.Query().Get("table"))
		reply(w, v, err)
	}
}

func (s *Server) ready(w http.ResponseWriter, _ *http.Request) {
	if err := s.cfg.Ready(); err != nil {
		fail(w, http.StatusServiceUnavailable, err.Error())
		return
	}
	answer(w, http.StatusOK, map[string]string{"status": "ready"})
}

func static(contentType string, body []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		_, _ = w.Write(body) // the client's loss
	}
}

// Error is the body of every answer that is not a success.
type Error struct {
	Message string `json:"message"`
}

func fail(w http.ResponseWriter, status int, message string) {
	answer(w, status, Error{Message: message})
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	_ = e.Encode(body) // the client's loss
}
