package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/rs/zerolog"
	ucli "github.com/urfave/cli/v2"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode"
	"github.com/concordat-db/concordat/streams/bus"
)

func nodeCommand(s Streams, version string) *ucli.Command {
	return &ucli.Command{
		Name:  "node",
		Usage: "run one node of a region",
		Description: "Runs until it gets SIGINT or SIGTERM, then finishes open requests and ends with status 0.\n" +
			"Commented configurations are in the folder deployments of the source.",
		Flags: []ucli.Flag{
			configFlag(),
			&ucli.BoolFlag{Name: "check", Usage: "only check the configuration and the files that it names"},
			logLevelFlag("info"),
		},
		Action: func(c *ucli.Context) error { return runNode(c, s, version) },
	}
}

func runNode(c *ucli.Context, s Streams, version string) error {
	if err := required(c, "config"); err != nil {
		return err
	}
	log, err := newLog(c, s.Err)
	if err != nil {
		return err
	}
	doc, err := readNodeDocument(c.String("config"))
	if err != nil {
		return err
	}
	cfg, err := doc.config()
	if err != nil {
		return err
	}
	cfg.Log = log
	if c.Bool("check") {
		if err := cfg.CheckInvitation(time.Now()); err != nil {
			return fmt.Errorf("%s: %w", doc.path, err)
		}
		v := struct {
			Region string `json:"region"`
			Valid  bool   `json:"valid"`
		}{cfg.Region.Name, true}
		return emit(c, s.Out, v, func(w io.Writer) error {
			_, err := fmt.Fprintf(w, "%s: the configuration of region %s is valid\n", doc.path, v.Region)
			return err
		})
	}
	node, err := regionnode.Open(cfg)
	if err != nil {
		return err
	}
	log.Info().Str("version", version).Str("region", cfg.Region.Name).Msg("starting")
	return stopped(c.Context, regionnode.RunOn(c.Context, node, func(e regionnode.Endpoints) {
		log.Info().Str("dynamodb", e.DynamoDB).Str("admin", e.Admin).Str("nats", e.NATS).Msg("serving")
	}, func(*regionnode.Node) {}))
}

// stopped turns the error that comes of being asked to stop into none.
func stopped(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}

func logLevelFlag(level string) ucli.Flag {
	return &ucli.StringFlag{Name: "log-level", Usage: "least level to log: debug, info, warn, error or disabled", Value: level, EnvVars: []string{"CONCORDAT_LOG_LEVEL"}}
}

// newLog returns the log of a running node: lines for people on a terminal, JSON elsewhere.
func newLog(c *ucli.Context, w io.Writer) (zerolog.Logger, error) {
	level, err := zerolog.ParseLevel(c.String("log-level"))
	if err != nil || level == zerolog.NoLevel {
		return zerolog.Logger{}, wrongUsage(c, "--log-level is %q; it can be debug, info, warn, error or disabled", c.String("log-level"))
	}
	if isTerminal(w) {
		w = zerolog.ConsoleWriter{Out: w, TimeFormat: time.TimeOnly}
	}
	return zerolog.New(w).Level(level).With().Timestamp().Logger(), nil
}

// isTerminal reports whether w goes to a screen.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}

// config translates the document, with the files that it names, into what a node takes. It reports all faults at once. Log is not set.
func (doc *nodeDocument) config() (regionnode.Config, error) {
	s := &doc.Spec
	b := &configBuilder{doc: doc, f: &faults{path: doc.path, file: doc.file}}
	cfg := regionnode.Config{
		Region:  globaltable.Descriptor{Name: s.Region.Name, Jurisdiction: s.Region.Jurisdiction, Origin: hlc.Origin(s.Region.ID), NATS: s.NATS.Advertise},
		DataDir: doc.resolve(s.Data),
		DynamoDB: regionnode.DynamoDBConfig{
			Listen: s.DynamoDB.Listen, AcceptAny: s.DynamoDB.Auth.AcceptAny, Credentials: b.credentials(),
		},
		Admin: regionnode.AdminConfig{Listen: s.Admin.Listen},
		Limits: regionnode.Limits{
			MaxClockOffset:        time.Duration(s.Limits.MaxClockOffset),
			Heartbeat:             time.Duration(s.Limits.Heartbeat),
			FreeBytes:             uint64(s.Limits.FreeBytes),
			CacheBytes:            int64(s.Limits.CacheBytes),
			WriteBufferBytes:      int64(s.Limits.WriteBufferBytes),
			StreamBytes:           int64(s.Limits.StreamBytes),
			LogBytes:              int64(s.Limits.LogBytes),
			MaxOpenRequests:       s.Limits.MaxOpenRequests,
			ShutdownPatience:      time.Duration(s.Limits.ShutdownPatience),
			AcknowledgeTimeout:    time.Duration(s.Limits.AcknowledgeTimeout),
			JoinBytesPerSecond:    int64(s.Limits.JoinBytesPerSecond),
			CollectPerSecond:      s.Limits.CollectPerSecond,
			SweepEvery:            time.Duration(s.Limits.SweepEvery),
			IndexPerSecond:        s.Limits.IndexPerSecond,
			CompareEvery:          time.Duration(s.Limits.CompareEvery.duration),
			NoCompare:             s.Limits.CompareEvery.never,
			CompareBytesPerSecond: int64(s.Limits.CompareBytesPerSecond),
		},
	}
	cfg.Triggers = regionnode.TriggersConfig{Secrets: b.triggerSecrets(), Commands: s.Triggers.Commands, Reach: time.Duration(s.Triggers.Reach)}
	cfg.KeySeed, cfg.Region.PublicKey = b.key("spec.region.keyFile", s.Region.KeyFile)
	if e := s.NATS.Embedded; e != nil {
		cfg.Bus.Embedded = &regionnode.EmbeddedBus{
			Listen: e.Listen, MaxStoreBytes: int64(e.MaxStoreBytes), TLS: b.tls("spec.nats.embedded.tls", e.TLS),
		}
	}
	if e := s.NATS.External; e != nil {
		cfg.Bus.External = b.external(e)
	}
	cfg.PeerTLS = b.tls("spec.peerTLS", s.PeerTLS)
	invitation, err := doc.invitation()
	if err != nil {
		b.f.all = append(b.f.all, err)
	}
	cfg.Invitation = invitation
	descriptors, err := doc.peers()
	if err != nil {
		b.f.all = append(b.f.all, err)
	} else {
		for i, peer := range descriptors {
			p := s.Peers[i]
			cfg.Peers = append(cfg.Peers, regionnode.PeerConfig{
				Descriptor: peer.Descriptor, Token: peer.token, URLs: p.URLs, TLS: b.tls(fmt.Sprintf("spec.peers[%d].tls", i), p.TLS),
			})
		}
	}
	if err := b.f.err(); err != nil {
		return regionnode.Config{}, err
	}
	if err := cfg.Validate(); err != nil {
		return regionnode.Config{}, fmt.Errorf("%s: %w", doc.path, err)
	}
	return cfg, nil
}

// configBuilder reads the files that a document names and collects what is wrong with them.
type configBuilder struct {
	doc *nodeDocument
	f   *faults
}

// triggerSecrets reads the keys by which the bodies of webhooks are signed.
func (b *configBuilder) triggerSecrets() map[string][]byte {
	out := map[string][]byte{}
	for i, x := range b.doc.Spec.Triggers.Secrets {
		field := fmt.Sprintf("spec.triggers.secrets[%d]", i)
		var text []byte
		switch {
		case !globaltable.ValidPolicyName(x.Name) || out[x.Name] != nil:
			b.f.addf(field+".name", "it is missing, there twice, or not of lower-case letters, digits, hyphens and dots")
			continue
		case (x.File == "") == (x.Env == ""):
			b.f.addf(field, "give one of file and env")
			continue
		case x.File != "":
			text = b.secret(field+".file", x.File)
		default:
			text = []byte(os.Getenv(x.Env))
		}
		key, err := webhookKey(string(text))
		if err != nil {
			b.f.addf(field, "%v", err)
			continue
		}
		out[x.Name] = key
	}
	return out
}

// webhookKey reads a key as Standard Webhooks write it, whsec_ and base64; what does not begin so is the key itself.
func webhookKey(text string) ([]byte, error) {
	text = strings.TrimSpace(text)
	encoded, is := strings.CutPrefix(text, "whsec_")
	key := []byte(text)
	if is {
		var err error
		if key, err = base64.StdEncoding.DecodeString(encoded); err != nil {
			return nil, errors.New("the secret is not base64 after whsec_")
		}
	}
	if len(key) < 16 {
		return nil, errors.New("the secret is missing, or has less than 16 bytes")
	}
	return key, nil
}

func (b *configBuilder) secret(field, path string) []byte {
	if path == "" {
		return nil
	}
	s, err := readSecret(b.doc.resolve(path))
	if err != nil {
		b.f.addf(field, "%v", err)
	}
	return s
}

// key returns the seed in the file and its public key.
func (b *configBuilder) key(field, path string) (seed []byte, public string) {
	key, err := readKey(b.doc.resolve(path))
	if err != nil {
		b.f.addf(field, "%v", err)
		return nil, ""
	}
	defer key.Wipe()
	// A copy: the pair's own is wiped. Neither call fails on a pair made from a seed.
	if seed, err = key.Seed(); err == nil {
		seed = append([]byte(nil), seed...)
		public, err = key.PublicKey()
	}
	if err != nil {
		b.f.addf(field, "%v", err)
	}
	return seed, public
}

func (b *configBuilder) credentials() map[string]string {
	out := map[string]string{}
	for i, c := range b.doc.Spec.DynamoDB.Auth.Credentials {
		secret := c.SecretKey
		if c.SecretKeyFile != "" {
			secret = string(b.secret(fmt.Sprintf("spec.dynamodb.auth.credentials[%d].secretKeyFile", i), c.SecretKeyFile))
		}
		out[c.AccessKey] = secret
	}
	return out
}

func (b *configBuilder) external(e *externalSpec) *bus.ExternalConfig {
	const field = "spec.nats.external"
	cfg := &bus.ExternalConfig{
		URLs: e.URLs, User: e.User, Replicas: e.Replicas,
		Password:  string(b.secret(field+".passwordFile", e.PasswordFile)),
		CredsFile: b.doc.resolve(e.CredentialsFile), EventsCredsFile: b.doc.resolve(e.EventsCredentialsFile),
		TLS: b.tls(field+".tls", e.TLS),
	}
	if e.NkeySeedFile != "" {
		cfg.Seed, _ = b.key(field+".nkeySeedFile", e.NkeySeedFile)
	}
	if e.CredentialsFile != "" {
		b.secret(field+".credentialsFile", e.CredentialsFile) // only that it can be read: the client reads it again at each connection
	}
	if e.EventsCredentialsFile != "" {
		b.secret(field+".eventsCredentialsFile", e.EventsCredentialsFile)
	}
	return cfg
}

// tls returns the configuration that t describes; nil for none. An empty one trusts the machine's authorities.
func (b *configBuilder) tls(field string, t *tlsSpec) *tls.Config {
	if t == nil {
		return nil
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if t.CertFile != "" {
		cert, err := tls.LoadX509KeyPair(b.doc.resolve(t.CertFile), b.doc.resolve(t.KeyFile))
		if err != nil {
			b.f.addf(field, "%v", err)
		}
		cfg.Certificates = []tls.Certificate{cert}
	}
	if t.CAFile != "" {
		pem, err := readFile(b.doc.resolve(t.CAFile), maxConfigFile)
		pool := x509.NewCertPool()
		switch {
		case err != nil:
			b.f.addf(field+".caFile", "%v", err)
		case !pool.AppendCertsFromPEM(pem):
			b.f.addf(field+".caFile", "%s: no certificate in it", t.CAFile)
		}
		cfg.RootCAs = pool
	}
	return cfg
}
