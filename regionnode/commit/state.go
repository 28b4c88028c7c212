package commit

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode/store"
	"github.com/concordat-db/concordat/streams/cdc"
	"github.com/concordat-db/concordat/streams/change"
)

// formatVersion is the version of the store's layout: of the keys in package store and of the values below.
const formatVersion = 1

// identity says whose store this is. It is the first thing ever written.
type identity struct {
	origin      hlc.Origin
	shard       uint16
	incarnation globaltable.Incarnation
}

const identityLen = 1 + 2 + 2 + 8

func (id identity) append(dst []byte) []byte {
	dst = append(dst, formatVersion)
	dst = binary.BigEndian.AppendUint16(dst, uint16(id.origin))
	dst = binary.BigEndian.AppendUint16(dst, id.shard)
	return binary.BigEndian.AppendUint64(dst, uint64(id.incarnation))
}

func decodeIdentity(b []byte) (identity, error) {
	if len(b) > 0 && b[0] != formatVersion {
		return identity{}, errCorruptStore(fmt.Sprintf("store format %d is not known to this version", b[0]), nil)
	}
	if len(b) != identityLen {
		return identity{}, errCorruptStore("identity of a wrong length", nil)
	}
	return identity{
		origin:      hlc.Origin(binary.BigEndian.Uint16(b[1:])),
		shard:       binary.BigEndian.Uint16(b[3:]),
		incarnation: globaltable.Incarnation(binary.BigEndian.Uint64(b[5:])),
	}, nil
}

const positionLen = 8 + 8 + 32

func appendPosition(dst []byte, p globaltable.Position) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(p.Incarnation))
	dst = binary.BigEndian.AppendUint64(dst, p.Seq)
	return append(dst, p.Chain[:]...)
}

func decodePosition(b []byte) (globaltable.Position, error) {
	if len(b) != positionLen {
		return globaltable.Position{}, errCorruptStore("position of a wrong length", nil)
	}
	p := globaltable.Position{Incarnation: globaltable.Incarnation(binary.BigEndian.Uint64(b)), Seq: binary.BigEndian.Uint64(b[8:])}
	copy(p.Chain[:], b[16:])
	return p, nil
}

// A lane's head keeps what its entries do not say. Sequence and chain are read from the newest entry, which is never trimmed.
const laneHeadVersion = 1

func appendLaneHead(dst []byte, trimmed uint64, p globaltable.Placement) []byte {
	dst = append(dst, laneHeadVersion)
	dst = binary.BigEndian.AppendUint64(dst, trimmed)
	for _, o := range p {
		dst = binary.BigEndian.AppendUint16(dst, uint16(o))
	}
	return dst
}

func decodeLaneHead(b []byte) (trimmed uint64, p globaltable.Placement, err error) {
	if len(b) < 9 || len(b)%2 == 0 || b[0] != laneHeadVersion {
		return 0, nil, errCorruptStore("lane head", nil)
	}
	for rest := b[9:]; len(rest) > 0; rest = rest[2:] {
		p = append(p, hlc.Origin(binary.BigEndian.Uint16(rest)))
	}
	return binary.BigEndian.Uint64(b[1:]), p, nil
}

// positionKey names a lane of another region's shard.
type positionKey struct {
	origin hlc.Origin
	shard  uint16
	lane   globaltable.LaneID
}

func positionKeyOf(src change.Source) positionKey {
	return positionKey{src.Origin, src.Shard, src.Lane}
}

// confirmedKey names what a peer confirms.
type confirmedKey struct {
	lane globaltable.LaneID
	peer hlc.Origin
}

// lane is one of this shard's own lanes, as applied.
type lane struct {
	globaltable.Lane
	seq     uint64
	chain   globaltable.Chain
	trimmed uint64
	stored  bool // the head is in the store, with this placement

	sent Sent   // of all its entries
	kept uint64 // sent.Bytes as it is in the store
}

func (l *lane) head() LaneHead {
	return LaneHead{Lane: l.Lane, Seq: l.seq, Chain: l.chain, Trimmed: l.trimmed}
}

// loaded is what a store holds beside records and digests.
type loaded struct {
	identity  identity
	bound     hlc.Timestamp
	lanes     map[globaltable.LaneID]*lane
	sent      map[globaltable.LaneID]Sent // of all lanes that there ever were
	positions map[positionKey]globaltable.Position
	revoked   map[hlc.Origin]globaltable.Incarnation
	confirmed map[confirmedKey]confirmedAt
	purges    map[globaltable.TableID]*tablePurge
	indexes   map[indexKey]*indexState
	mirrors   map[globaltable.TableID]*mirror
	placings  map[globaltable.TableID]Placing
	streams   map[cdc.Stream]*streamState
	letters   map[globaltable.TriggerID]Letters
	catchUps  map[hlc.Origin]*CatchUp
	tokens    map[uint64]int // number of them by window
}

// load reads the store. isNew is true for one without an identity.
func load(r store.Reader) (l *loaded, isNew bool, err error) {
	l = &loaded{
		lanes:     make(map[globaltable.LaneID]*lane),
		sent:      make(map[globaltable.LaneID]Sent),
		positions: make(map[positionKey]globaltable.Position),
		revoked:   make(map[hlc.Origin]globaltable.Incarnation),
		confirmed: make(map[confirmedKey]confirmedAt),
		purges:    make(map[globaltable.TableID]*tablePurge),
		indexes:   make(map[indexKey]*indexState),
		mirrors:   make(map[globaltable.TableID]*mirror),
		placings:  make(map[globaltable.TableID]Placing),
		streams:   make(map[cdc.Stream]*streamState),
		letters:   make(map[globaltable.TriggerID]Letters),
		catchUps:  make(map[hlc.Origin]*CatchUp),
		tokens:    make(map[uint64]int),
	}
	isNew = true
	err = getValue(r, store.AppendMetaKey(nil, store.MetaIdentity), func(b []byte) error {
		isNew = false
		l.identity, err = decodeIdentity(b)
		return err
	})
	if err != nil || isNew {
		return l, isNew, err
	}
	err = getValue(r, store.AppendMetaKey(nil, store.MetaClock), func(b []byte) error {
		n, err := decodeUint64(b)
		l.bound = hlc.Timestamp(n)
		return err
	})
	return l, false, errors.Join(err, l.loadLanes(r), l.loadSent(r), l.loadPositions(r), l.loadPeers(r), l.loadPurges(r), l.loadIndexes(r), l.loadMirrors(r), l.loadPlacings(r), l.loadStreams(r), l.loadLetters(r), l.loadCatchUps(r), l.loadTokens(r))
}

func (l *loaded) loadLanes(r store.Reader) error {
	lower, upper := store.SpaceRange(store.SpaceLane)
	err := store.Each(r, lower, upper, func(key, value []byte) error {
		id, ok := store.DecodeLaneKey(key)
		if !ok {
			return errCorruptStore("lane key", nil)
		}
		trimmed, placement, err := decodeLaneHead(value)
		if err != nil {
			return err
		}
		l.lanes[id] = &lane{Lane: globaltable.Lane{ID: id, Placement: placement}, trimmed: trimmed, stored: true}
		return nil
	})
	if err != nil {
		return err
	}
	for _, ln := range l.lanes {
		if err := ln.loadNewest(r); err != nil {
			return err
		}
	}
	return nil
}

func (l *lane) loadNewest(r store.Reader) (err error) {
	it, err := r.NewIter(store.LogRange(l.ID, 0, 0))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	if !it.Last() {
		return nil
	}
	value, err := it.Value()
	if err != nil {
		return err
	}
	e, err := change.DecodeEntry(value)
	if err != nil {
		return err
	}
	l.seq, l.chain = e.Seq, e.Chain
	return nil
}

func (l *loaded) loadPositions(r store.Reader) error {
	lower, upper := store.SpaceRange(store.SpacePosition)
	return store.Each(r, lower, upper, func(key, value []byte) error {
		origin, shard, id, ok := store.DecodePositionKey(key)
		if !ok {
			return errCorruptStore("position key", nil)
		}
		p, err := decodePosition(value)
		l.positions[positionKey{origin, shard, id}] = p
		return err
	})
}

func (l *loaded) loadPeers(r store.Reader) error {
	lower, upper := store.MetaRange(store.MetaRevoked)
	err := store.Each(r, lower, upper, func(key, value []byte) error {
		origin, ok := store.DecodeRevokedKey(key)
		if !ok {
			return errCorruptStore("key of a revoked incarnation", nil)
		}
		n, err := decodeUint64(value)
		l.revoked[origin] = globaltable.Incarnation(n)
		return err
	})
	if err != nil {
		return err
	}
	lower, upper = store.MetaRange(store.MetaConfirmed)
	return store.Each(r, lower, upper, func(key, value []byte) error {
		peer, id, ok := store.DecodeConfirmedKey(key)
		if !ok {
			return errCorruptStore("key of a confirmed position", nil)
		}
		at, err := decodeConfirmed(value)
		l.confirmed[confirmedKey{id, peer}] = at
		return err
	})
}

func decodeUint64(b []byte) (uint64, error) {
	if len(b) != 8 {
		return 0, errCorruptStore("number of a wrong length", nil)
	}
	return binary.BigEndian.Uint64(b), nil
}

// getValue calls f with the value of key, if there is one.
func getValue(r store.Reader, key []byte, f func(value []byte) error) error {
	value, release, ok, err := r.Get(key)
	if err != nil || !ok {
		return err
	}
	return errors.Join(f(value), release.Close())
}
