package residency

import (
	"context"

	"github.com/valyala/fastjson"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
)

// events goes through the events of change streams that are in this region's NATS.
func (s *scan) events(ctx context.Context) error {
	var parser fastjson.Parser
	return s.cfg.Events(ctx, func(table globaltable.TableID, position string, event []byte) error {
		if !s.wants(table) {
			return nil
		}
		v := s.cfg.View()
		t, known := v.Table(table)
		if !known {
			return s.found(v, table, nil, s.self, verdict{}, place{InEvents, "at " + position})
		}
		e, err := parser.ParseBytes(event)
		if err != nil {
			return unreadable("an event")
		}
		key, err := keyOfEvent(t, e)
		if err != nil {
			return err
		}
		s.out.Events++
		return s.here(v, table, key, place{InEvents, "at " + position})
	})
}

// keyOfEvent returns the key of the item that an event of a table is about.
func keyOfEvent(t *globaltable.Table, event *fastjson.Value) (item.Key, error) {
	keys, err := item.DecodeItemJSON(nil, event.Get("data", "keys"))
	if err != nil {
		return nil, unreadable("an event")
	}
	partition, ok := keys.GetString(t.KeySchema.Partition.Name)
	var sort item.Value
	if ok && t.KeySchema.Sort != nil {
		sort, ok = keys.GetString(t.KeySchema.Sort.Name)
	}
	if !ok {
		return nil, unreadable("an event")
	}
	key, err := item.AppendKey(nil, partition, sort)
	if err != nil {
		return nil, unreadable("an event")
	}
	return key, nil
}
