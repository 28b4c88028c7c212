package bus

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"text/template"
	"time"

	"github.com/nats-io/nkeys"

	"github.com/concordat-db/concordat/globaltable"
)

// Names on the wire between a region's servers and its peers. They are part of what operators install: changing one needs new accounts everywhere.
const (
	homeAccount    = "CONCORDAT"
	eventsAccount  = "CONCORDAT-EVENTS"
	eventsUser     = "-events" // what the name of the region's own user has behind it there
	streamPrefix   = "LANE_"
	lanePrefix     = "concordat.lane."
	servicePrefix  = "concordat.peer."
	inboxPrefix    = "_INBOX_"
	fetchPrefix    = "$JS.API.CONSUMER.MSG.NEXT."
	infoPrefix     = "$JS.API.CONSUMER.INFO."
	importedReply  = "_R_." // what the server makes of the reply subject of a request that came from another account
	fetchedReplies = "$JS.ACK."
)

// answerLimit is how long the servers keep the way back of one request, so an answer may take no longer.
const answerLimit = 10 * time.Minute

// Peer is a region that may dial this one.
type Peer struct {
	Name      string // the region's name
	PublicKey string // from its descriptor
}

// AccountsConfig is what ServerConfig needs to know. The region's own user has either a key or a name and password. In the account of the events it has another key or, with the
// same password, its name with "-events" behind it.
type AccountsConfig struct {
	Region    string
	Peers     []Peer
	Grants    []Grant
	UserKey   string // public nkey of the region's own user, and
	EventsKey string // that of its user of the events: EventsKey; or:
	User      string // name of the region's own user
	Password  string // its password, in clear or as a bcrypt hash
}

// peerAccount is the name of the account of a peer.
func peerAccount(peer string) string { return "PEER-" + peer }

// peerServices lists the subjects that a peer's account imports: all that it can do.
//
// The durable consumer of a peer has the same name on every lane's stream, so wildcards stand for the lanes, and accounts stay as they are while
// lanes come and go. The acknowledgement subjects have an exact number of tokens each: with a loose "$JS.ACK.*.*.*.<peer>.>" a peer could
// acknowledge for another one, by its own name in the place of the stream sequence of the short form. That names begin with a
// letter keeps out the reverse, a name that reads as a number.
func peerServices(peer string) []service {
	return []service{
		{Subject: fetchPrefix + "*." + peer, Stream: true},                    // stream, consumer
		{Subject: "$JS.ACK.*." + peer + ".*.*.*.*.*"},                         // stream, consumer, 5 numbers
		{Subject: "$JS.ACK.*.*.*." + peer + ".*.*.*.*.>"},                     // domain, account, stream, consumer, 5 numbers or more
		{Subject: servicePrefix + peer, Stream: true, Threshold: answerLimit}, // requests, and what keeps an answer flowing
	}
}

type service struct {
	Subject   string // as the exporting account has it, and clients use it
	Local     string // what it is in the importing account, if that is another one: the servers map it
	Stream    bool
	Threshold time.Duration // how long servers keep the way back of an answer; 0: their default
}

var accountsTemplate = template.Must(template.New("accounts").Funcs(template.FuncMap{
	"quote": quoteConfig, "account": peerAccount, "services": peerServices, "grantAccount": grantAccount, "grantServices": grantServices, "eventsUser": func(user string) string { return user + eventsUser },
}).Parse(`# NATS accounts of Concordat region {{.Region}}. Servers also need, outside this section:
#
#   jetstream { domain: {{quote .Region}}, store_dir: ... }   the domain is the region's name
#   write_deadline: "60s"      a thin link takes long to write what a peer has asked for
#   max_pending: 512MB         more than all that one peer may have asked for
#
# Do not set no_auth_user, and do not let leaf nodes or gateways into these accounts.
accounts {
  CONCORDAT {
    jetstream: enabled
    users: [
{{- if .UserKey}}
      { nkey: {{quote .UserKey}} }
{{- else}}
      { user: {{quote .User}}, password: {{quote .Password}} }
{{- end}}
    ]
    exports: [
{{- range $p := .Peers}}{{range services $p.Name}}
      { service: {{quote .Subject}}, accounts: [ {{quote (account $p.Name)}} ]{{if .Stream}}, response_type: stream{{end}}{{if .Threshold}}, threshold: {{quote .Threshold.String}}{{end}} }
{{- end}}{{end}}
    ]
  }
  CONCORDAT-EVENTS {
    jetstream: enabled
    users: [
{{- if .UserKey}}
      { nkey: {{quote .EventsKey}} }
{{- else}}
      { user: {{quote (eventsUser .User)}}, password: {{quote .Password}} }
{{- end}}
    ]
    exports: [
{{- range $g := .Grants}}{{range grantServices $g}}
      { service: {{quote .Subject}}, accounts: [ {{quote (grantAccount $g)}} ]{{if .Stream}}, response_type: stream{{end}} }
{{- end}}{{end}}
    ]
  }
{{- range $p := .Peers}}
  {{account $p.Name}} {
    users: [
      {
        nkey: {{quote $p.PublicKey}}
        allowed_connection_types: [ "STANDARD", "IN_PROCESS" ]
        permissions {
          publish: { allow: [{{range $i, $s := services $p.Name}}{{if $i}}, {{end}}{{quote $s.Subject}}{{end}}] }
          subscribe: { allow: [ "_INBOX_{{$p.Name}}.>" ] }
        }
      }
    ]
    imports: [
{{- range services $p.Name}}
      { service: { account: CONCORDAT, subject: {{quote .Subject}} } }
{{- end}}
    ]
  }
{{- end}}
{{- range $g := .Grants}}
  {{grantAccount $g}} {  # {{$g.Name}}
    users: [
      {
        nkey: {{quote $g.PublicKey}}
        allowed_connection_types: [ "STANDARD", "IN_PROCESS" ]
        permissions {
          publish: { allow: [{{range $i, $s := grantServices $g}}{{if $i}}, {{end}}{{quote $s.Subject}}{{if $s.Local}}, {{quote $s.Local}}{{end}}{{end}}] }
          subscribe: { allow: [ "_INBOX.>" ] }
        }
      }
    ]
    imports: [
{{- range grantServices $g}}
      { service: { account: CONCORDAT-EVENTS, subject: {{quote .Subject}} }{{if .Local}}, to: {{quote .Local}}{{end}} }
{{- end}}
    ]
    mappings: {
{{- range grantServices $g}}{{if .Local}}
      {{quote .Subject}}: {{quote .Local}}
{{- end}}{{end}}
    }
  }
{{- end}}
}
`))

// quoteConfig returns s as a string of nats-server's configuration language.
func quoteConfig(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", `\r`, "\t", `\t`).Replace(s) + `"`
}

// Validate reports all faults at once.
func (c *AccountsConfig) Validate() error {
	faults := append(validatePeers(c.Region, c.Peers), validateGrants(c.Grants, c.Peers)...)
	switch {
	case c.UserKey != "" && (c.User != "" || c.Password != ""):
		faults = append(faults, errors.New("the region's own user has a key and a name"))
	case c.UserKey != "" && !nkeys.IsValidPublicUserKey(c.UserKey):
		faults = append(faults, errors.New("the key of the region's own user is not an nkey of kind User"))
	case c.UserKey != "" && (!nkeys.IsValidPublicUserKey(c.EventsKey) || c.EventsKey == c.UserKey):
		faults = append(faults, errors.New("the key of the region's user of the events is not another nkey of kind User"))
	case c.UserKey == "" && (c.User == "" || c.Password == ""):
		faults = append(faults, errors.New("the region's own user needs a key, or a name and a password"))
	}
	if c.UserKey != "" {
		for _, p := range c.Peers {
			if p.PublicKey == c.UserKey {
				faults = append(faults, fmt.Errorf("peer %s has the key of the region's own user", p.Name))
			}
		}
	}
	return joinInvalid("check NATS accounts", c.Region, faults)
}

func validatePeers(region string, peers []Peer) (faults []error) {
	if err := globaltable.ValidateRegionName(region); err != nil {
		faults = append(faults, err)
	}
	names, keys := map[string]bool{region: true}, map[string]bool{}
	for i, p := range peers {
		if err := globaltable.ValidateRegionName(p.Name); err != nil {
			faults = append(faults, fmt.Errorf("peer %d: %w", i, err))
			continue
		}
		if names[p.Name] {
			faults = append(faults, fmt.Errorf("peer %s is named twice, or is the region itself", p.Name))
		}
		if keys[p.PublicKey] {
			faults = append(faults, fmt.Errorf("peer %s has the key of another peer", p.Name))
		}
		if !nkeys.IsValidPublicUserKey(p.PublicKey) {
			faults = append(faults, fmt.Errorf("the key of peer %s is not an nkey of kind User", p.Name))
		}
		names[p.Name], keys[p.PublicKey] = true, true
	}
	return faults
}

func joinInvalid(op, resource string, faults []error) error {
	if len(faults) == 0 {
		return nil
	}
	return &globaltable.Error{Op: op, Resource: resource, Kind: globaltable.Invalid, Err: errors.Join(faults...)}
}

// ServerConfig returns the accounts section of a nats-server configuration for the region: account CONCORDAT with JetStream, one account for
// each peer, which may fetch, acknowledge and ask, nothing else, account CONCORDAT-EVENTS with the JetStream of the events, and one account for each grant, which may ask for its own consumers, fetch from them and
// acknowledge. The embedded server uses the same text.
func ServerConfig(cfg AccountsConfig) (string, error) {
	if err := cfg.Validate(); err != nil {
		return "", err
	}
	var b strings.Builder
	if err := accountsTemplate.Execute(&b, &cfg); err != nil {
		return "", &globaltable.Error{Op: "write NATS accounts", Resource: cfg.Region, Err: err}
	}
	return b.String(), nil
}

// streamName and laneSubject name a lane's stream and the one subject that it takes.
func streamName(id globaltable.LaneID) string  { return streamPrefix + id.String() }
func laneSubject(id globaltable.LaneID) string { return lanePrefix + id.String() }

// laneOf is the inverse of streamName; ok is false for another stream.
func laneOf(stream string) (id globaltable.LaneID, ok bool) {
	digits, ok := strings.CutPrefix(stream, streamPrefix)
	n, err := strconv.ParseUint(digits, 16, 64)
	id = globaltable.LaneID(n)
	return id, ok && err == nil && streamName(id) == stream
}
