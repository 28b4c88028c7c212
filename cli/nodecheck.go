package cli

import (
	"fmt"
	"net"
	"net/url"
	"strconv"
	"time"

	"github.com/concordat-db/concordat/globaltable"
)

// check adds what is wrong with the values of the document to f, all of it.
func (doc *nodeDocument) check(f *faults) {
	if doc.APIVersion != "concordat/v1" {
		f.addf("apiVersion", "is %q; it must be concordat/v1", doc.APIVersion)
	}
	if doc.Kind != "Node" {
		f.addf("kind", "is %q; it must be Node", doc.Kind)
	}
	s := &doc.Spec
	s.Region.check(f, doc.Metadata.Name)
	if s.Data == "" {
		f.addf("spec.data", "is missing: the directory of the node's store")
	}
	checkListen(f, "spec.dynamodb.listen", s.DynamoDB.Listen)
	s.DynamoDB.Auth.check(f)
	checkListen(f, "spec.admin.listen", s.Admin.Listen)
	s.NATS.check(f)
	for i := range s.Peers {
		s.Peers[i].check(f, fmt.Sprintf("spec.peers[%d]", i))
	}
	if s.PeerTLS != nil {
		s.PeerTLS.check(f, "spec.peerTLS", false)
	}
	if s.Limits.MaxOpenRequests < 0 {
		f.addf("spec.limits.maxOpenRequests", "is %d; it can be 1 or more", s.Limits.MaxOpenRequests)
	}
	if d := time.Duration(s.Limits.MaxClockOffset); d > time.Minute {
		f.addf("spec.limits.maxClockOffset", "is %v; at most 1m makes sense", d)
	}
	if d := time.Duration(s.Limits.Heartbeat); d > time.Minute {
		f.addf("spec.limits.heartbeat", "is %v; at most 1m makes sense", d)
	}
}

func (r *regionSpec) check(f *faults, documentName string) {
	name := r.Name
	switch {
	case name == "" && documentName == "":
		f.addf("metadata.name", "is missing: the name of the region, unless spec.region.name gives it")
	case name == "":
		name = documentName
		fallthrough
	default:
		if err := globaltable.ValidateRegionName(name); err != nil {
			f.addf("spec.region.name", "%q: %v", name, err)
		}
	}
	if err := globaltable.ValidateJurisdiction(r.Jurisdiction); err != nil {
		f.addf("spec.region.jurisdiction", "%q: %v", r.Jurisdiction, err)
	}
	if r.ID < 1 || r.ID > 65535 {
		f.addf("spec.region.id", "is %d; it can be 1 to 65535, unique for ever", r.ID)
	}
	if r.KeyFile == "" {
		f.addf("spec.region.keyFile", "is missing: make one with `concordat region keygen`")
	}
}

func (a *authSpec) check(f *faults) {
	const field = "spec.dynamodb.auth"
	if a.AcceptAny && len(a.Credentials) > 0 {
		f.addf(field, "acceptAny and credentials exclude each other")
	}
	if !a.AcceptAny && len(a.Credentials) == 0 {
		f.addf(field, "needs credentials, or acceptAny: true where everyone who can connect may read and write")
	}
	seen := map[string]bool{}
	for i, c := range a.Credentials {
		at := fmt.Sprintf("%s.credentials[%d]", field, i)
		switch {
		case c.AccessKey == "":
			f.addf(at, "accessKey is missing")
		case seen[c.AccessKey]:
			f.addf(at, "accessKey %q was given before", c.AccessKey)
		}
		seen[c.AccessKey] = true
		if (c.SecretKey == "") == (c.SecretKeyFile == "") {
			f.addf(at, "needs one of secretKey and secretKeyFile")
		}
	}
}

func (n *natsSpec) check(f *faults) {
	if (n.Embedded == nil) == (n.External == nil) {
		f.addf("spec.nats", "needs one of embedded and external")
	}
	checkURLs(f, "spec.nats.advertise", n.Advertise, false)
	if e := n.Embedded; e != nil {
		checkListen(f, "spec.nats.embedded.listen", e.Listen)
		if t := e.TLS; t != nil {
			t.check(f, "spec.nats.embedded.tls", true)
		}
	}
	if e := n.External; e != nil {
		e.check(f)
	}
}

func (e *externalSpec) check(f *faults) {
	const field = "spec.nats.external"
	checkURLs(f, field+".urls", e.URLs, true)
	ways := 0
	for _, given := range []bool{e.CredentialsFile != "", e.User != "", e.NkeySeedFile != ""} {
		if given {
			ways++
		}
	}
	if ways != 1 {
		f.addf(field, "needs one of user with passwordFile, nkeySeedFile and credentialsFile")
	}
	if e.EventsCredentialsFile != "" && e.CredentialsFile == "" {
		f.addf(field+".eventsCredentialsFile", "goes with credentialsFile only")
	}
	if (e.User == "") != (e.PasswordFile == "") {
		f.addf(field, "user and passwordFile belong together")
	}
	if e.Replicas < 0 || e.Replicas > 5 {
		f.addf(field+".replicas", "is %d; it can be 1 to 5", e.Replicas)
	}
	if e.TLS != nil {
		e.TLS.check(f, field+".tls", false)
	}
}

// check wants a certificate for a listener; a client needs one only where the server asks for it.
func (t *tlsSpec) check(f *faults, field string, listener bool) {
	if (t.CertFile == "") != (t.KeyFile == "") {
		f.addf(field, "certFile and keyFile belong together")
	}
	if listener && t.CertFile == "" && t.KeyFile == "" {
		f.addf(field, "needs certFile and keyFile")
	}
}

func (p *peerSpec) check(f *faults, field string) {
	switch {
	case (p.Descriptor == "") == (p.DescriptorFile == ""):
		f.addf(field, "needs one of descriptor and descriptorFile")
	case p.Descriptor != "":
		if _, err := globaltable.ParseDescriptor(p.Descriptor); err != nil {
			f.addf(field+".descriptor", "%v", err)
		}
	}
	checkURLs(f, field+".urls", p.URLs, false)
	if p.TLS != nil {
		p.TLS.check(f, field+".tls", false)
	}
}

func checkListen(f *faults, field, addr string) {
	if addr == "" {
		f.addf(field, "is missing: host:port")
		return
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		f.addf(field, "%q is not host:port", addr)
		return
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		f.addf(field, "%q: the port can be 0 to 65535", addr)
	}
}

func checkURLs(f *faults, field string, urls []string, needed bool) {
	if needed && len(urls) == 0 {
		f.addf(field, "is missing: at least one, like nats://10.0.0.1:4222")
	}
	for i, s := range urls {
		u, err := url.Parse(s)
		switch {
		case err != nil || u.Host == "":
			f.addf(fmt.Sprintf("%s[%d]", field, i), "%q is no URL like nats://10.0.0.1:4222", s)
		case u.Scheme != "nats" && u.Scheme != "tls":
			f.addf(fmt.Sprintf("%s[%d]", field, i), "the scheme %q must be nats or tls", u.Scheme)
		case u.User != nil:
			f.addf(fmt.Sprintf("%s[%d]", field, i), "must carry no user: credentials come from files")
		}
	}
}
