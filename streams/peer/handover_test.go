package peer_test

import (
	"context"
	"testing"

	"github.com/cespare/xxhash/v2"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/streams/handover"
	"github.com/concordat-db/concordat/streams/repair"
)

func (r *region) handOver(_ context.Context, asker globaltable.Descriptor, o *handover.Offer) error {
	if *o != (handover.Offer{Table: 42, Version: 3, Incarnation: 4, Page: 1<<63 + 1}) || asker.Name != "us" {
		return &globaltable.Error{Op: "take over records", Resource: asker.Name, Kind: globaltable.Unavailable, Message: "another version"}
	}
	return nil
}

func (r *region) offered(asker globaltable.Descriptor, p *handover.Pull) ([]byte, repair.End, error) {
	if p.Page != 7 {
		return nil, repair.End{}, &globaltable.Error{Op: "hand over", Resource: asker.Name, Kind: globaltable.NotFound, Message: "no such page"}
	}
	b := stored()
	return b, repair.End{Incarnation: 4, Done: true, Sum: xxhash.Sum64(b)}, nil
}

func TestHandOver(t *testing.T) {
	onEachBus(t, func(t *testing.T, s *story) {
		s.connect()
		if err := s.client().HandOver(t.Context(), &handover.Offer{Table: 42, Version: 3, Incarnation: 4, Page: 1<<63 + 1}); err != nil {
			t.Error(err)
		}
		err := s.client().HandOver(t.Context(), &handover.Offer{Table: 42, Version: 4})
		expectKind(t, err, globaltable.Unavailable, "another version")
		page, err := s.client().Offered(t.Context(), &handover.Offer{Table: 42, Page: 7})
		if err != nil || len(page.Records) != 4 || page.Size() != 8+10+1<<20+5<<19 || page.Incarnation != 4 {
			t.Errorf("%+v, %v", page, err)
		}
		_, err = s.client().Offered(t.Context(), &handover.Offer{Table: 42, Page: 8})
		expectKind(t, err, globaltable.NotFound, "no such page")
	})
}
