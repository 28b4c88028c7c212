package trigger

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/url"
	"os"
	"syscall"
	"time"

	"github.com/concordat-db/concordat/globaltable"
)

// Target is where a trigger's events go.
type Target interface {
	// Deliver delivers events, which are in order, and returns nil when the target has all of them. What it does after an error is not known: it may have some, or all. Errors say nothing of items. It is called from several goroutines at once.
	Deliver(ctx context.Context, events []Event) error
	// Close releases the target; nothing is under way any more.
	Close()
}

// Publisher publishes to a region's NATS.
type Publisher interface {
	// Publish returns nil when the servers have all messages: where a stream takes the subject, when it has confirmed each.
	Publish(ctx context.Context, subject string, messages []Message) error
}

// Message is an event as it is published.
type Message struct {
	ID   string
	Data []byte
}

// Means are what a node has to deliver with.
type Means struct {
	Secret    func(name string) (key []byte, ok bool) // by which bodies are signed
	Commands  []string                                // the programs that may be run
	Publisher Publisher                               // nil: the region has no NATS to publish to
	Region    string
}

// newTarget returns the target of a trigger of a table.
func (m *Means) newTarget(t *globaltable.Table, g *globaltable.Trigger) Target {
	switch {
	case g.Target.Webhook != nil:
		return newWebhook(g.Target.Webhook, m.Secret)
	case g.Target.Command != nil:
		return &command{spec: *g.Target.Command, allowed: m.Commands, environment: []string{
			"PATH=/usr/local/bin:/usr/bin:/bin", "CONCORDAT_REGION=" + m.Region, "CONCORDAT_TABLE=" + t.Name, "CONCORDAT_TRIGGER=" + g.Name}}
	}
	return &subject{name: g.Target.NATS.Subject, publisher: m.Publisher}
}

// failure is why a batch was not delivered, in words that say nothing of items.
type failure struct {
	text  string
	after time.Duration // the target wants to be left alone for so long; zero: it does not say
}

func (f *failure) Error() string { return f.text }

// describe puts an error of the network or of the system into such words: what it quotes, as a URL, is left out.
func describe(err error) string {
	var dns *net.DNSError
	var op *net.OpError
	var address *url.Error
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return "no answer in time"
	case errors.Is(err, context.Canceled):
		return "given up: the region stops, or does not fire any more"
	case errors.As(err, &dns):
		return "the host's name cannot be resolved"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "connection reset"
	case errors.As(err, &address):
		return describe(address.Err)
	case errors.As(err, &op):
		return op.Op + ": " + op.Err.Error()
	}
	return err.Error()
}

// subject is a Target: a subject of the region's NATS.
type subject struct {
	name      string
	publisher Publisher
}

func (s *subject) Deliver(ctx context.Context, events []Event) error {
	if s.publisher == nil {
		return &failure{text: "the region has no NATS for events"}
	}
	messages := make([]Message, 0, len(events))
	for i := range events {
		messages = append(messages, Message{ID: events[i].ID, Data: events[i].JSON})
	}
	if err := s.publisher.Publish(ctx, s.name, messages); err != nil {
		return &failure{text: describe(err)}
	}
	return nil
}

func (s *subject) Close() {}

// EventID returns the id in an event.
func EventID(event []byte) string {
	var e struct {
		ID string `json:"id"`
	}
	_ = json.Unmarshal(event, &e) // it was made here
	return e.ID
}
