package peer

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/streams/bus"
	"github.com/concordat-db/concordat/streams/change"
	"github.com/concordat-db/concordat/streams/handover"
	"github.com/concordat-db/concordat/streams/repair"
	"github.com/concordat-db/concordat/streams/trigger"
)

// Client asks an origin's service over a link.
type Client struct {
	link bus.Link
}

// NewClient returns a Client. It does not own the link.
func NewClient(link bus.Link) Client { return Client{link: link} }

// Hello introduces this region and returns the origin's introduction, which the caller checks.
func (c Client) Hello(ctx context.Context, h Hello) (answer Hello, err error) {
	err = c.document(ctx, request{Hello: &h}, &answer)
	return answer, err
}

// Positions exchanges heartbeats.
func (c Client) Positions(ctx context.Context, p Positions) (pulse Pulse, err error) {
	err = c.document(ctx, request{Positions: &p}, &pulse)
	return pulse, err
}

// Confirm tells how far this region has durably applied some of the origin's lanes.
func (c Client) Confirm(ctx context.Context, r Confirm) error {
	var done struct{}
	return c.document(ctx, request{Confirm: &r}, &done)
}

// Triggers tells how far triggers are here.
func (c Client) Triggers(ctx context.Context, g *trigger.Gossip) error {
	var done struct{}
	return c.document(ctx, request{Triggers: g}, &done)
}

// Control asks the origin's control plane.
func (c Client) Control(ctx context.Context, body []byte) ([]byte, error) {
	var answer json.RawMessage
	err := c.document(ctx, request{Control: body}, &answer)
	return answer, err
}

// ReadLog returns a page of a lane's log: consecutive entries from r.From on. The error is change.ErrTrimmed when the log begins after r.From.
func (c Client) ReadLog(ctx context.Context, r ReadLog) (entries []change.Entry, end LogEnd, err error) {
	var assembly change.Assembler
	size := 0
	err = c.ask(ctx, request{ReadLog: &r}, func(kind byte, body []byte) error {
		if kind == partDocument {
			return decodeDocument(body, &end)
		}
		m, err := change.DecodeMessage(body)
		if err != nil {
			return err
		}
		if m.Lane != r.Lane || r.Incarnation != 0 && m.Incarnation != r.Incarnation {
			return &globaltable.Error{Op: "read log", Kind: globaltable.Corrupt, Message: "the answer is of another lane"}
		}
		e, complete, err := assembly.Add(m)
		if err != nil || !complete {
			return err
		}
		if size += len(e.Body); size > maxPage+change.MaxBody {
			return &globaltable.Error{Op: "read log", Kind: globaltable.Corrupt, Message: "the answer is larger than a page"}
		}
		entries = append(entries, e)
		return nil
	})
	return entries, end, err
}

// Exchange returns a page of a table's records.
func (c Client) Exchange(ctx context.Context, r *repair.Request) (*repair.Page, error) {
	records, end, err := c.records(ctx, request{Exchange: r})
	if err != nil {
		return nil, err
	}
	return repair.DecodePage(r, records, end)
}

// HandOver has the origin take over a page of records that this region offers, and returns the origin's clock of after that.
func (c Client) HandOver(ctx context.Context, o *handover.Offer) (taken hlc.Timestamp, err error) {
	var done handedOver
	err = c.document(ctx, request{HandOver: o}, &done)
	return done.Clock, err
}

// Offered returns the page of records that the origin has offered.
func (c Client) Offered(ctx context.Context, o *handover.Offer) (*repair.Page, error) {
	records, end, err := c.records(ctx, request{Offered: &handover.Pull{Page: o.Page}})
	if err != nil {
		return nil, err
	}
	return repair.DecodePage(&repair.Request{Table: o.Table}, records, end)
}

// records asks for records, and what follows them.
func (c Client) records(ctx context.Context, r request) (records []byte, end repair.End, err error) {
	done := false
	err = c.ask(ctx, r, func(kind byte, body []byte) error {
		switch {
		case done || kind != partDocument && kind != partRecords:
			return &globaltable.Error{Op: "exchange", Kind: globaltable.Corrupt, Message: "the answer has another form than asked for"}
		case kind == partDocument:
			done = true
			return decodeDocument(body, &end)
		case len(records)+len(body) > repair.MaxAnswer:
			return &globaltable.Error{Op: "exchange", Kind: globaltable.Corrupt, Message: "the answer is larger than a page"}
		}
		records = append(records, body...)
		return nil
	})
	if err == nil && !done {
		err = &globaltable.Error{Op: "exchange", Kind: globaltable.Corrupt, Message: "the answer has no end"}
	}
	return records, end, err
}

// Repair has the origin take this region's records of some buckets of a table.
func (c Client) Repair(ctx context.Context, r *repair.RepairRequest) error {
	var done struct{}
	return c.document(ctx, request{Repair: r}, &done)
}

// Digests returns what the origin has in some buckets of a table.
func (c Client) Digests(ctx context.Context, r *repair.DigestsRequest) (*repair.Digests, error) {
	answer := new(repair.Digests)
	if err := c.document(ctx, request{Digests: r}, answer); err != nil {
		return nil, err
	}
	return answer, nil
}

func (c Client) document(ctx context.Context, r request, answer any) error {
	got := false
	err := c.ask(ctx, r, func(kind byte, body []byte) error {
		if kind != partDocument || got {
			return &globaltable.Error{Op: "ask peer", Kind: globaltable.Corrupt, Message: "the answer has another form than asked for"}
		}
		got = true
		return decodeDocument(body, answer)
	})
	if err == nil && !got {
		return &globaltable.Error{Op: "ask peer", Kind: globaltable.Corrupt, Message: "the answer is empty"}
	}
	return err
}

func decodeDocument(body []byte, into any) error {
	if err := json.Unmarshal(body, into); err != nil {
		return &globaltable.Error{Op: "ask peer", Kind: globaltable.Corrupt, Message: "the answer cannot be read", Err: err}
	}
	return nil
}

// ask sends r and calls each with the kind and body of every part but errors, which it returns. Bodies may be kept.
func (c Client) ask(ctx context.Context, r request, each func(kind byte, body []byte) error) error {
	r.Version = protocolVersion
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	err = c.link.Request(ctx, b, func(part []byte) error {
		if len(part) == 0 {
			return &globaltable.Error{Op: "ask peer", Kind: globaltable.Corrupt, Message: "empty part"}
		}
		if part[0] == partError {
			return decodeError(part[1:])
		}
		return each(part[0], part[1:])
	})
	var known *globaltable.Error
	if err != nil && !errors.As(err, &known) {
		return &globaltable.Error{Op: "ask peer", Kind: globaltable.Unavailable, Err: err}
	}
	return err
}
