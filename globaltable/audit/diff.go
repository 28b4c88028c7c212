package audit

import (
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"strconv"

	"github.com/concordat-db/concordat/globaltable"
)

// OfTable returns what the entry about a new document of a table says: kind, subject, version, the document's hash, and what is different. old is nil for a table's first.
func OfTable(old, next *globaltable.Table) Entry {
	hash := globaltable.HashTable(next)
	e := Entry{Kind: TableChanged, Subject: next.Name, ID: next.ID.String(), Version: next.Version.String(), Document: hex.EncodeToString(hash[:]), Changes: differences(old, next)}
	switch {
	case old == nil:
		e.Kind = TableCreated
	case next.Deleted:
		e.Kind = TableDeleted
	case old.Owner != next.Owner:
		e.Kind = OwnerMoved
	case policiesDiffer(old, next):
		e.Kind = PolicyChanged
	case triggersDiffer(old, next):
		e.Kind = TriggerChanged
	}
	return e
}

func triggersDiffer(old, next *globaltable.Table) bool {
	return string(fields(globaltable.EncodeTable(old))["triggers"]) != string(fields(globaltable.EncodeTable(next))["triggers"])
}

// policiesDiffer reports whether what the policies say is different; who is still gaining by them does not count.
func policiesDiffer(old, next *globaltable.Table) bool {
	said := func(t *globaltable.Table) string {
		var pins []globaltable.Pin
		for _, p := range t.Pins {
			if !p.Released {
				p.Gaining = nil
				pins = append(pins, p)
			}
		}
		b, _ := json.Marshal(pins)
		return string(b)
	}
	return said(old) != said(next)
}

// unsaid are fields of documents that the entry has itself, or that mean nothing alone.
var unsaid = []string{"format", "id", "epoch", "number", "predecessor"}

// lists are fields that are lists of things with a name in the field given.
var lists = map[string]struct{ word, name string }{"replicas": {"replica", "region"}, "pins": {"policy", "name"}, "triggers": {"trigger", "name"}, "indexes": {"index", "name"}}

// differences compares documents field by field, so that no setting can be forgotten here.
func differences(old, next *globaltable.Table) (out []Change) {
	was, now := map[string]json.RawMessage{}, fields(globaltable.EncodeTable(next))
	if old != nil {
		was = fields(globaltable.EncodeTable(old))
	}
	names := slices.Sorted(maps.Keys(now))
	for name := range was {
		if _, still := now[name]; !still {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		list, isList := lists[name]
		switch {
		case slices.Contains(unsaid, name) || string(was[name]) == string(now[name]):
		case isList:
			out = append(out, elements(list.word, list.name, was[name], now[name])...)
		default:
			out = append(out, Change{What: name, Was: string(was[name]), Now: string(now[name])})
		}
	}
	return out
}

func fields(document []byte) map[string]json.RawMessage {
	m := map[string]json.RawMessage{}
	_ = json.Unmarshal(document, &m) // our own encoding, an object
	return m
}

// elements compares two lists by their elements' names. Where more than one has a name, those are compared in their order.
func elements(word, name string, was, now json.RawMessage) (out []Change) {
	a, b := named(name, was), named(name, now)
	keys := slices.Sorted(maps.Keys(a))
	for key := range b {
		if _, also := a[key]; !also {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	for _, key := range keys {
		what := word + " " + key
		switch {
		case a[key] == b[key]:
		case a[key] != "" && b[key] != "" && max(len(a[key]), len(b[key])) > maxChanged: // cut, both sides would look the same
			out = append(out, members(what, a[key], b[key])...)
		default:
			out = append(out, Change{What: what, Was: a[key], Now: b[key]})
		}
	}
	return out
}

// members compares two objects by their fields.
func members(what, was, now string) (out []Change) {
	a, b := fields([]byte(was)), fields([]byte(now))
	names := map[string]bool{}
	for name := range a {
		names[name] = true
	}
	for name := range b {
		names[name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if string(a[name]) != string(b[name]) {
			out = append(out, Change{What: what + ": " + name, Was: string(a[name]), Now: string(b[name])})
		}
	}
	return out
}

func named(name string, list json.RawMessage) map[string]string {
	var all []json.RawMessage
	_ = json.Unmarshal(list, &all) // ours; none: nothing
	out := map[string]string{}
	for _, element := range all {
		var key string
		_ = json.Unmarshal(fields(element)[name], &key)
		for unique, i := key, 2; ; i++ {
			if _, taken := out[unique]; !taken {
				out[unique] = string(element)
				break
			}
			unique = key + " (" + strconv.Itoa(i) + ")"
		}
	}
	return out
}

// OfWorld returns what the entry about a new document of the world says. was is the one before, as configured where there was none.
func OfWorld(was, next *globaltable.World) Entry {
	hash := globaltable.HashWorld(next)
	e := Entry{Kind: WorldChanged, Subject: "world", Version: next.Version.String(), Document: hex.EncodeToString(hash[:])}
	if was.Owner != next.Owner {
		e.Changes = append(e.Changes, Change{What: "owner", Was: strconv.Itoa(int(was.Owner)), Now: strconv.Itoa(int(next.Owner))})
	}
	for i := range next.Members {
		now := &next.Members[i]
		before := was.Member(now.Descriptor.Origin)
		kind, said := memberChange(before, now)
		if said.What == "" {
			continue
		}
		if kind != "" && e.Kind == WorldChanged {
			e.Kind, e.Subject = kind, now.Descriptor.Name
		}
		e.Changes = append(e.Changes, said)
	}
	return e
}

func memberChange(was, now *globaltable.Member) (kind Kind, c Change) {
	c = Change{What: "region " + now.Descriptor.Name, Now: state(now)}
	switch {
	case was == nil:
		c.Now += ", jurisdiction " + now.Descriptor.Jurisdiction + ", key " + now.Descriptor.PublicKey
		return RegionAdded, c
	case was.State == now.State && was.Incarnation == now.Incarnation:
		return "", Change{}
	}
	c.Was = state(was)
	switch {
	case now.State == globaltable.MemberActive:
		kind = RegionAdmitted
	case was.State == now.State:
	case now.State == globaltable.MemberFencing, now.State == globaltable.MemberFenced:
		kind = RegionFenced
	default:
		kind = RegionRemoved
	}
	return kind, c
}

func state(m *globaltable.Member) string {
	s := string(m.State)
	if m.Incarnation != 0 {
		s += ", store " + strconv.FormatUint(uint64(m.Incarnation), 16)
	}
	return s
}
