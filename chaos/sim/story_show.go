package sim

import (
	"maps"
	"slices"
	"strings"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/store"
)

// keyName is the string that a story's key is made of: it stands after the hash and its type, and before the mark of its end.
func keyName(k item.Key) string { return string(k[9 : len(k)-2]) }

// recordIn returns the record that a region has of a key; nil if there is none.
func recordIn(r *region, table globaltable.TableID, key item.Key) (encoded []byte) {
	value, release, ok, err := r.disk.Get(store.AppendRecordKey(nil, table, key))
	if err != nil {
		panic(err)
	}
	if ok {
		encoded = slices.Clone(value)
		if err := release.Close(); err != nil {
			panic(err)
		}
	}
	return encoded
}

// attributesOf returns the attributes of an item as a region has it, encoded; nil if there is no item.
func attributesOf(r *region, table globaltable.TableID, key item.Key) map[string]string {
	return attributesIn(recordIn(r, table, key))
}

// attributesIn returns the attributes that a record holds, encoded.
func attributesIn(encoded []byte) map[string]string {
	if encoded == nil {
		return nil
	}
	rec, err := conflict.DecodeRecord(encoded)
	if err != nil {
		panic(err)
	}
	out := map[string]string{}
	for i := range rec.Cells {
		if c := &rec.Cells[i]; len(c.Name) > 0 && !c.Removed {
			out[string(c.Name)] = string(c.Value)
		}
	}
	return out
}

func sortedNames(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }

// watch returns what a region has of the items of the table that is watched.
func (r *region) watch() string {
	var parts []string
	lower, upper := store.RecordRange(r.watched)
	eachKV(r.disk, lower, upper, func(key, _ []byte) {
		k := item.Key(store.RecordKeySuffix(key))
		parts = append(parts, keyName(k)+" "+text(recordIn(r, r.watched, k), attributesOf(r, r.watched, k)))
	})
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

// text says in words what a record is.
func text(encoded []byte, attributes map[string]string) string {
	if encoded == nil {
		return "nothing"
	}
	if _, live, err := conflict.ItemOf(encoded, nil); err != nil || !live {
		return "deleted"
	}
	var parts []string
	for _, name := range sortedNames(attributes) {
		parts = append(parts, name+"="+string(item.Value(attributes[name]).Bytes()))
	}
	return strings.Join(parts, " ")
}

// show: `show t k` shows the item in every region.
func (s *Story) show(args []string) error {
	t, key := s.tableNamed(args[0]), storyKey(args[1])
	for _, r := range s.w.regions {
		s.w.tell("%s has of %s: %s", r.name(), args[1], text(recordIn(r, t.id, key), attributesOf(r, t.id, key)))
	}
	return nil
}

// replicas: `replicas t` shows the replicas as each region knows them.
func (s *Story) replicas(args []string) error {
	t := s.tableNamed(args[0])
	for _, r := range s.w.regions {
		doc, known := r.catalog.View().Table(t.id)
		if !known {
			s.w.tell("%s knows nothing of %s", r.name(), t.name)
			continue
		}
		var parts []string
		for _, replica := range doc.Replicas {
			part := letter(replica.Region) + " " + string(replica.Status)
			if replica.Placing != 0 {
				part += ", placing " + replica.Placing.String()
			}
			parts = append(parts, part)
		}
		s.w.tell("%s knows version %s: %s", r.name(), doc.Version, strings.Join(parts, ", "))
	}
	return nil
}
