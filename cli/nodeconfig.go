package cli

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/concordat-db/concordat/globaltable"
)

// maxConfigFile is the greatest configuration, in bytes.
const maxConfigFile = 1 << 20

// nodeDocument is the configuration of a node as it is written. Paths in it are relative to the folder of the file.
type nodeDocument struct {
	APIVersion string       `yaml:"apiVersion"`
	Kind       string       `yaml:"kind"`
	Metadata   metadataSpec `yaml:"metadata"`
	Spec       nodeSpec     `yaml:"spec"`

	path string    // of the file
	file *ast.File // for line numbers
}

type metadataSpec struct {
	Name string `yaml:"name"`
}

type nodeSpec struct {
	Region     regionSpec   `yaml:"region"`
	Data       string       `yaml:"data"`
	DynamoDB   dynamoDBSpec `yaml:"dynamodb"`
	Admin      listenSpec   `yaml:"admin"`
	NATS       natsSpec     `yaml:"nats"`
	Peers      []peerSpec   `yaml:"peers"`
	PeerTLS    *tlsSpec     `yaml:"peerTLS"`    // for members that are not in peers
	Invitation string       `yaml:"invitation"` // file
	Triggers   triggersSpec `yaml:"triggers"`
	Limits     limitsSpec   `yaml:"limits"`
}

type triggersSpec struct {
	Secrets  []triggerSecretSpec `yaml:"secrets"`
	Commands []string            `yaml:"commands"` // absolute paths of programs that triggers may run
	Reach    duration            `yaml:"reach"`
}

type triggerSecretSpec struct {
	Name string `yaml:"name"`
	File string `yaml:"file"` // either this
	Env  string `yaml:"env"`  // or the name of an environment variable
}

type regionSpec struct {
	Name         string `yaml:"name"` // default: metadata.name
	Jurisdiction string `yaml:"jurisdiction"`
	ID           int    `yaml:"id"`
	KeyFile      string `yaml:"keyFile"`
}

type listenSpec struct {
	Listen string `yaml:"listen"`
}

type dynamoDBSpec struct {
	Listen string   `yaml:"listen"`
	Auth   authSpec `yaml:"auth"`
}

type authSpec struct {
	AcceptAny   bool             `yaml:"acceptAny"`
	Credentials []credentialSpec `yaml:"credentials"`
}

type credentialSpec struct {
	AccessKey     string `yaml:"accessKey"`
	SecretKey     string `yaml:"secretKey"`
	SecretKeyFile string `yaml:"secretKeyFile"`
}

type natsSpec struct {
	Embedded  *embeddedSpec `yaml:"embedded"`
	External  *externalSpec `yaml:"external"`
	Advertise []string      `yaml:"advertise"` // where peers reach it; told to them
}

type embeddedSpec struct {
	Listen        string   `yaml:"listen"`
	MaxStoreBytes byteSize `yaml:"maxStoreBytes"`
	TLS           *tlsSpec `yaml:"tls"`
}

type externalSpec struct {
	URLs            []string `yaml:"urls"`
	CredentialsFile string   `yaml:"credentialsFile"`
	// EventsCredentialsFile goes with CredentialsFile: without it the region publishes no events.
	EventsCredentialsFile string   `yaml:"eventsCredentialsFile"`
	User                  string   `yaml:"user"`
	PasswordFile          string   `yaml:"passwordFile"`
	NkeySeedFile          string   `yaml:"nkeySeedFile"`
	Replicas              int      `yaml:"replicas"`
	TLS                   *tlsSpec `yaml:"tls"`
}

type tlsSpec struct {
	CertFile string `yaml:"certFile"`
	KeyFile  string `yaml:"keyFile"`
	CAFile   string `yaml:"caFile"`
}

type peerSpec struct {
	Descriptor     string   `yaml:"descriptor"`
	DescriptorFile string   `yaml:"descriptorFile"`
	URLs           []string `yaml:"urls"` // default: those of the descriptor
	TLS            *tlsSpec `yaml:"tls"`
}

type limitsSpec struct {
	MaxClockOffset        duration `yaml:"maxClockOffset"`
	Heartbeat             duration `yaml:"heartbeat"`
	FreeBytes             byteSize `yaml:"freeBytes"`
	CacheBytes            byteSize `yaml:"cacheBytes"`
	WriteBufferBytes      byteSize `yaml:"writeBufferBytes"`
	StreamBytes           byteSize `yaml:"streamBytes"`
	LogBytes              byteSize `yaml:"logBytes"`
	MaxOpenRequests       int      `yaml:"maxOpenRequests"`
	ShutdownPatience      duration `yaml:"shutdownPatience"`
	AcknowledgeTimeout    duration `yaml:"acknowledgeTimeout"`
	JoinBytesPerSecond    byteSize `yaml:"joinBytesPerSecond"` // default: no limit
	CollectPerSecond      int      `yaml:"collectPerSecond"`
	SweepEvery            duration `yaml:"sweepEvery"` // 1s or more
	IndexPerSecond        int      `yaml:"indexPerSecond"`
	CompareEvery          interval `yaml:"compareEvery"`
	CompareBytesPerSecond byteSize `yaml:"compareBytesPerSecond"`
}

// duration is written as Go does: 250ms, 1m30s.
type duration time.Duration

// UnmarshalYAML implements the decoder's interface.
func (d *duration) UnmarshalYAML(b []byte) error {
	var s string
	if err := yaml.Unmarshal(b, &s); err != nil {
		return err
	}
	v, err := time.ParseDuration(s)
	if err != nil || v <= 0 {
		return fmt.Errorf("%q is no duration above zero, like 250ms or 1m30s", s)
	}
	*d = duration(v)
	return nil
}

// interval is a duration, or the word never.
type interval struct {
	duration
	never bool
}

// UnmarshalYAML implements the decoder's interface.
func (i *interval) UnmarshalYAML(b []byte) error {
	if string(bytes.TrimSpace(b)) == "never" {
		i.never = true
		return nil
	}
	return i.duration.UnmarshalYAML(b)
}

// byteSize is written as a number of bytes, or with a unit: 512KiB, 64MiB, 8GiB, 1TiB.
type byteSize int64

// UnmarshalYAML implements the decoder's interface.
func (z *byteSize) UnmarshalYAML(b []byte) error {
	var s string
	if err := yaml.Unmarshal(b, &s); err != nil {
		return err
	}
	v, err := globaltable.ParseSize(s)
	if err != nil {
		return err
	}
	*z = byteSize(v)
	return nil
}

// readNodeDocument reads and checks a node's configuration. It reports all unknown fields at once, else the first value of a wrong type, else
// all faults of the values. Files that the document names are not looked at.
func readNodeDocument(path string) (*nodeDocument, error) {
	b, err := readFile(path, maxConfigFile)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return parseNodeDocument(path, b)
}

func parseNodeDocument(path string, b []byte) (*nodeDocument, error) {
	file, err := parser.ParseBytes(b, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if n := len(file.Docs); n != 1 || file.Docs[0].Body == nil {
		return nil, fmt.Errorf("%s: has %d documents; a node's configuration is one", path, documents(file))
	}
	doc := &nodeDocument{path: path, file: file}
	f := &faults{path: path, file: file}
	unknownFields(f, file.Docs[0].Body, reflect.TypeFor[nodeDocument](), "")
	if err := f.err(); err != nil {
		return nil, err
	}
	if err := yaml.NewDecoder(bytes.NewReader(b), yaml.Strict()).Decode(doc); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	doc.check(f)
	if err := f.err(); err != nil {
		return nil, err
	}
	if doc.Spec.Region.Name == "" {
		doc.Spec.Region.Name = doc.Metadata.Name
	}
	return doc, nil
}

func documents(file *ast.File) (n int) {
	for _, d := range file.Docs {
		if d.Body != nil {
			n++
		}
	}
	return n
}

// resolve returns a path of the document as the process can use it.
func (doc *nodeDocument) resolve(path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(filepath.Dir(doc.path), path)
}

// faults collects what is wrong with a document, with lines.
type faults struct {
	path string
	file *ast.File
	all  []error
}

// addf adds a fault of the field, given as a path from the document's root: spec.region.name.
func (f *faults) addf(field, format string, args ...any) {
	f.addAt(f.line(field), field, format, args...)
}

func (f *faults) addAt(line int, field, format string, args ...any) {
	where := f.path
	if line > 0 {
		where = fmt.Sprintf("%s:%d", f.path, line)
	}
	f.all = append(f.all, fmt.Errorf("%s: %s: %s", where, field, fmt.Sprintf(format, args...)))
}

// line returns the line of the field, or of the nearest that holds it; 0 if there is none.
func (f *faults) line(field string) int {
	for field != "" {
		if p, err := yaml.PathString("$." + field); err == nil {
			if node, err := p.FilterFile(f.file); err == nil && node.GetToken() != nil {
				return node.GetToken().Position.Line
			}
		}
		field = field[:max(0, strings.LastIndexAny(field, ".["))]
	}
	return 0
}

func (f *faults) err() error { return errors.Join(f.all...) }

// unknownFields adds a fault for each field below node that t does not have.
func unknownFields(f *faults, node ast.Node, t reflect.Type, path string) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch n := node.(type) {
	case *ast.SequenceNode:
		if t.Kind() == reflect.Slice {
			for i, v := range n.Values {
				unknownFields(f, v, t.Elem(), fmt.Sprintf("%s[%d]", path, i))
			}
		}
	case ast.MapNode: // a mapping of one entry has a type of its own
		if t.Kind() != reflect.Struct {
			return
		}
		for entries := n.MapRange(); entries.Next(); {
			name := entries.Key().String()
			field := strings.TrimPrefix(path+"."+name, ".")
			if ft, ok := fieldType(t, name); ok {
				unknownFields(f, entries.Value(), ft, field)
			} else {
				f.addAt(entries.Key().GetToken().Position.Line, field, "there is no such field")
			}
		}
	}
}

func fieldType(t reflect.Type, name string) (reflect.Type, bool) {
	for i := range t.NumField() {
		if f := t.Field(i); f.IsExported() && f.Tag.Get("yaml") == name {
			return f.Type, true
		}
	}
	return nil, false
}
