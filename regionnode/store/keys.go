package store

import (
	"encoding/binary"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
)

// Space is the first byte of every key: what the key is about. The numbers are part of the format.
type Space byte

// The key spaces.
const (
	SpaceRecord   Space = 0x01 // table(8) ‖ item.Key → conflict record
	SpaceLog      Space = 0x02 // lane(8) ‖ seq(8) → change.Entry, stored form
	SpaceLane     Space = 0x03 // lane(8) → placement, trimmed-to
	SpacePosition Space = 0x04 // origin(2) ‖ shard(2) ‖ lane(8) → incarnation, seq, chain
	SpaceDigest   Space = 0x05 // table(8) ‖ bucket(2) → sum(8) ‖ count(8) ‖ bytes(8)
	SpaceAdoption Space = 0x06 // table(8) ‖ version(8) → outcome
	SpaceMeta     Space = 0x07 // see the Meta constants
	SpaceGarbage  Space = 0x08 // table(8) ‖ P(8) ‖ item.Key → empty: something of the record goes when the table's purge frontier has reached P
	SpaceSaved    Space = 0x09 // table(8) ‖ item.Key → what a region keeps of a record over its rebuilding; see package commit
	SpaceEntry    Space = 0x0a // table(8) ‖ index(4) ‖ item.AppendIndexKey's key → length(2) of what is before the table's key in it
	SpaceToken    Space = 0x0b // window(8) ‖ token(16) → when(8) and what(32) was done; see package commit
	SpaceReplay   Space = 0x0c // table(8) ‖ item.Key ‖ dot(10) → a write of the region's own log that it keeps over its rebuilding; see package commit
	SpaceStream   Space = 0x0d // table(8) ‖ since(8) ‖ lane(8) ‖ position(8) → a record of a change stream: cdc.Record, stored form
	SpaceLetter   Space = 0x0f // table(8) ‖ born(8) ‖ length(1) ‖ name of a trigger ‖ position(8) → a dead letter of it: cdc.Letter, stored form
	SpaceLedger   Space = 0x10 // kind(1) ‖ … → what has left the region; see package egress
)

// Meta is the second byte of a key in SpaceMeta.
type Meta byte

// The meta keys.
const (
	MetaIdentity  Meta = 0x01 // → format version, origin, shard, incarnation
	MetaClock     Meta = 0x02 // → HLC bound(8): no stamp of this shard is above it
	MetaRevoked   Meta = 0x03 // origin(2) → incarnation(8): it and all before it are dead
	MetaConfirmed Meta = 0x04 // peer(2) ‖ lane(8) → seq(8) that the peer has confirmed
	MetaJoin      Meta = 0x05 // table(8) ‖ source(2) → how far a new replica here has got with what the source holds
	MetaPurge     Meta = 0x06 // table(8) → purge frontier(8) ‖ number of the table's keys in SpaceGarbage(8)
	MetaCatchUp   Meta = 0x08 // origin(2) → the exchange that brings what lanes begun anew have missed
	MetaCaught    Meta = 0x09 // origin(2) ‖ table(8) → how far that exchange has got
	MetaRebuild   Meta = 0x0a // → how far this region is with being rebuilt
	MetaIndex     Meta = 0x0b // table(8) ‖ index(4) → how far an index is built, and what it has
	MetaKept      Meta = 0x0c // table(8) → purge frontier(8) that the table had here before the store was emptied
	MetaMirror    Meta = 0x0d // table(8) → into which table its records are copied, and how far
	MetaPlacing   Meta = 0x0e // table(8) → what carrying out its locality policies has come to here
	MetaRoll      Meta = 0x0f // → a number: Scrub writes it to have something to flush
	MetaSent      Meta = 0x10 // lane(8) → how much has been put into the lane so far; see package commit
	MetaStream    Meta = 0x11 // table(8) ‖ since(8) → what a change stream has, and from where on; see package commit
	MetaTrigger   Meta = 0x14 // table(8) ‖ born(8) ‖ name of a trigger → how far it is; see package trigger
	MetaLetters   Meta = 0x15 // likewise → how many dead letters it has here; see package commit
	MetaReader    Meta = 0x20 // name → somebody who reads change streams, and whose place is kept: reader.Reader
)

const (
	tablePrefixLen = 1 + 8
	logKeyLen      = 1 + 8 + 8
)

// AppendRecordKey appends the key of the record at key in table.
func AppendRecordKey(dst []byte, table globaltable.TableID, key []byte) []byte {
	dst = append(dst, byte(SpaceRecord))
	dst = binary.BigEndian.AppendUint64(dst, uint64(table))
	return append(dst, key...)
}

// RecordKeySuffix returns the item.Key in a record's store key: a view.
func RecordKeySuffix(storeKey []byte) []byte { return storeKey[tablePrefixLen:] }

// RecordKeyTable returns the table in a record's store key.
func RecordKeyTable(storeKey []byte) globaltable.TableID {
	return globaltable.TableID(binary.BigEndian.Uint64(storeKey[1:tablePrefixLen]))
}

// RecordRange returns the range of all records of table.
func RecordRange(table globaltable.TableID) (lower, upper []byte) {
	return tableRange(SpaceRecord, table)
}

// AppendLogKey appends the key of a log entry.
func AppendLogKey(dst []byte, lane globaltable.LaneID, seq uint64) []byte {
	dst = append(dst, byte(SpaceLog))
	dst = binary.BigEndian.AppendUint64(dst, uint64(lane))
	return binary.BigEndian.AppendUint64(dst, seq)
}

// LogRange returns the range of the lane's entries with sequences in [from, to). A zero to has no end.
func LogRange(lane globaltable.LaneID, from, to uint64) (lower, upper []byte) {
	lower = AppendLogKey(nil, lane, from)
	if to != 0 {
		return lower, AppendLogKey(nil, lane, to)
	}
	return lower, successor(lower[:1+8])
}

// DecodeLogKey is the inverse of AppendLogKey.
func DecodeLogKey(storeKey []byte) (lane globaltable.LaneID, seq uint64, ok bool) {
	if seq, ok = DecodeLogSeq(storeKey); !ok {
		return 0, 0, false
	}
	return globaltable.LaneID(binary.BigEndian.Uint64(storeKey[1:])), seq, true
}

// DecodeLogSeq returns the sequence in the key of a log entry.
func DecodeLogSeq(storeKey []byte) (seq uint64, ok bool) {
	if len(storeKey) != logKeyLen || Space(storeKey[0]) != SpaceLog {
		return 0, false
	}
	return binary.BigEndian.Uint64(storeKey[9:]), true
}

// AppendLaneKey appends the key of a lane's head.
func AppendLaneKey(dst []byte, lane globaltable.LaneID) []byte {
	dst = append(dst, byte(SpaceLane))
	return binary.BigEndian.AppendUint64(dst, uint64(lane))
}

// DecodeLaneKey is the inverse of AppendLaneKey.
func DecodeLaneKey(storeKey []byte) (lane globaltable.LaneID, ok bool) {
	if len(storeKey) != 9 || Space(storeKey[0]) != SpaceLane {
		return 0, false
	}
	return globaltable.LaneID(binary.BigEndian.Uint64(storeKey[1:])), true
}

// AppendPositionKey appends the key of the position in a lane of another region's shard.
func AppendPositionKey(dst []byte, origin hlc.Origin, shard uint16, lane globaltable.LaneID) []byte {
	dst = append(dst, byte(SpacePosition))
	dst = binary.BigEndian.AppendUint16(dst, uint16(origin))
	dst = binary.BigEndian.AppendUint16(dst, shard)
	return binary.BigEndian.AppendUint64(dst, uint64(lane))
}

// DecodePositionKey is the inverse of AppendPositionKey.
func DecodePositionKey(storeKey []byte) (origin hlc.Origin, shard uint16, lane globaltable.LaneID, ok bool) {
	if len(storeKey) != 13 || Space(storeKey[0]) != SpacePosition {
		return 0, 0, 0, false
	}
	return hlc.Origin(binary.BigEndian.Uint16(storeKey[1:])), binary.BigEndian.Uint16(storeKey[3:]),
		globaltable.LaneID(binary.BigEndian.Uint64(storeKey[5:])), true
}

// AppendDigestKey appends the key of a digest bucket.
func AppendDigestKey(dst []byte, table globaltable.TableID, bucket uint16) []byte {
	dst = append(dst, byte(SpaceDigest))
	dst = binary.BigEndian.AppendUint64(dst, uint64(table))
	return binary.BigEndian.AppendUint16(dst, bucket)
}

// DecodeDigestKey is the inverse of AppendDigestKey.
func DecodeDigestKey(storeKey []byte) (table globaltable.TableID, bucket uint16, ok bool) {
	if len(storeKey) != 11 || Space(storeKey[0]) != SpaceDigest {
		return 0, 0, false
	}
	return globaltable.TableID(binary.BigEndian.Uint64(storeKey[1:])), binary.BigEndian.Uint16(storeKey[9:]), true
}

// DigestRange returns the range of table's digest buckets.
func DigestRange(table globaltable.TableID) (lower, upper []byte) {
	return tableRange(SpaceDigest, table)
}

// AppendAdoptionKey appends the key of the outcome of adopting a version of a table's document.
func AppendAdoptionKey(dst []byte, table globaltable.TableID, version globaltable.Version) []byte {
	dst = append(dst, byte(SpaceAdoption))
	dst = binary.BigEndian.AppendUint64(dst, uint64(table))
	return binary.BigEndian.AppendUint64(dst, uint64(version))
}

// DecodeAdoptionKey is the inverse of AppendAdoptionKey.
func DecodeAdoptionKey(storeKey []byte) (table globaltable.TableID, version globaltable.Version, ok bool) {
	if len(storeKey) != 17 || Space(storeKey[0]) != SpaceAdoption {
		return 0, 0, false
	}
	return globaltable.TableID(binary.BigEndian.Uint64(storeKey[1:])), globaltable.Version(binary.BigEndian.Uint64(storeKey[9:])), true
}

// AppendMetaKey appends a meta key without a suffix.
func AppendMetaKey(dst []byte, m Meta) []byte { return append(dst, byte(SpaceMeta), byte(m)) }

// AppendRevokedKey appends the meta key of origin's revoked incarnations.
func AppendRevokedKey(dst []byte, origin hlc.Origin) []byte {
	return binary.BigEndian.AppendUint16(AppendMetaKey(dst, MetaRevoked), uint16(origin))
}

// DecodeRevokedKey is the inverse of AppendRevokedKey.
func DecodeRevokedKey(storeKey []byte) (origin hlc.Origin, ok bool) {
	if len(storeKey) != 4 || Space(storeKey[0]) != SpaceMeta || Meta(storeKey[1]) != MetaRevoked {
		return 0, false
	}
	return hlc.Origin(binary.BigEndian.Uint16(storeKey[2:])), true
}

// AppendConfirmedKey appends the meta key of what peer has confirmed of a lane of this shard.
func AppendConfirmedKey(dst []byte, peer hlc.Origin, lane globaltable.LaneID) []byte {
	dst = binary.BigEndian.AppendUint16(AppendMetaKey(dst, MetaConfirmed), uint16(peer))
	return binary.BigEndian.AppendUint64(dst, uint64(lane))
}

// DecodeConfirmedKey is the inverse of AppendConfirmedKey.
func DecodeConfirmedKey(storeKey []byte) (peer hlc.Origin, lane globaltable.LaneID, ok bool) {
	if len(storeKey) != 12 || Space(storeKey[0]) != SpaceMeta || Meta(storeKey[1]) != MetaConfirmed {
		return 0, 0, false
	}
	return hlc.Origin(binary.BigEndian.Uint16(storeKey[2:])), globaltable.LaneID(binary.BigEndian.Uint64(storeKey[4:])), true
}

// AppendJoinKey appends the meta key of how far a new replica of table has got with what source holds.
func AppendJoinKey(dst []byte, table globaltable.TableID, source hlc.Origin) []byte {
	dst = binary.BigEndian.AppendUint64(AppendMetaKey(dst, MetaJoin), uint64(table))
	return binary.BigEndian.AppendUint16(dst, uint16(source))
}

// JoinRange returns the range of AppendJoinKey's keys of one table.
func JoinRange(table globaltable.TableID) (lower, upper []byte) {
	lower = binary.BigEndian.AppendUint64(AppendMetaKey(nil, MetaJoin), uint64(table))
	return lower, successor(lower)
}

// AppendPurgeKey appends the meta key of the purge frontier of table.
func AppendPurgeKey(dst []byte, table globaltable.TableID) []byte {
	return binary.BigEndian.AppendUint64(AppendMetaKey(dst, MetaPurge), uint64(table))
}

// AppendKeptKey appends the meta key of the purge frontier that a table had before the store was emptied.
func AppendKeptKey(dst []byte, table globaltable.TableID) []byte {
	return binary.BigEndian.AppendUint64(AppendMetaKey(dst, MetaKept), uint64(table))
}

// DecodePurgeKey is the inverse of AppendPurgeKey.
func DecodePurgeKey(storeKey []byte) (table globaltable.TableID, ok bool) {
	if len(storeKey) != 2+8 || Space(storeKey[0]) != SpaceMeta || Meta(storeKey[1]) != MetaPurge {
		return 0, false
	}
	return globaltable.TableID(binary.BigEndian.Uint64(storeKey[2:])), true
}

// AppendGarbageKey appends the key that says that something of the record at key in table goes at the purge frontier at.
func AppendGarbageKey(dst []byte, table globaltable.TableID, at hlc.Timestamp, key []byte) []byte {
	dst = append(dst, byte(SpaceGarbage))
	dst = binary.BigEndian.AppendUint64(dst, uint64(table))
	dst = binary.BigEndian.AppendUint64(dst, uint64(at))
	return append(dst, key...)
}

// DecodeGarbageKey is the inverse of AppendGarbageKey. key is a view.
func DecodeGarbageKey(storeKey []byte) (table globaltable.TableID, at hlc.Timestamp, key []byte, ok bool) {
	const head = tablePrefixLen + 8
	if len(storeKey) <= head || Space(storeKey[0]) != SpaceGarbage {
		return 0, 0, nil, false
	}
	return globaltable.TableID(binary.BigEndian.Uint64(storeKey[1:])), hlc.Timestamp(binary.BigEndian.Uint64(storeKey[tablePrefixLen:])), storeKey[head:], true
}

// GarbageRange returns the range of the keys of table in SpaceGarbage.
func GarbageRange(table globaltable.TableID) (lower, upper []byte) {
	return tableRange(SpaceGarbage, table)
}

// AppendIndexKey appends the meta key of how far an index of table is built.
func AppendIndexKey(dst []byte, table globaltable.TableID, index globaltable.IndexID) []byte {
	dst = binary.BigEndian.AppendUint64(AppendMetaKey(dst, MetaIndex), uint64(table))
	return binary.BigEndian.AppendUint32(dst, uint32(index))
}

// DecodeIndexKey is the inverse of AppendIndexKey.
func DecodeIndexKey(storeKey []byte) (table globaltable.TableID, index globaltable.IndexID, ok bool) {
	if len(storeKey) != 2+8+4 || Space(storeKey[0]) != SpaceMeta || Meta(storeKey[1]) != MetaIndex {
		return 0, 0, false
	}
	return globaltable.TableID(binary.BigEndian.Uint64(storeKey[2:])), globaltable.IndexID(binary.BigEndian.Uint32(storeKey[10:])), true
}

// AppendMirrorKey appends the meta key of how far the records of table are copied into another one.
func AppendMirrorKey(dst []byte, table globaltable.TableID) []byte {
	return binary.BigEndian.AppendUint64(AppendMetaKey(dst, MetaMirror), uint64(table))
}

// DecodeMirrorKey is the inverse of AppendMirrorKey.
func DecodeMirrorKey(storeKey []byte) (table globaltable.TableID, ok bool) {
	if len(storeKey) != 2+8 || Space(storeKey[0]) != SpaceMeta || Meta(storeKey[1]) != MetaMirror {
		return 0, false
	}
	return globaltable.TableID(binary.BigEndian.Uint64(storeKey[2:])), true
}

// AppendSentKey appends the meta key of how much has been put into a lane.
func AppendSentKey(dst []byte, lane globaltable.LaneID) []byte {
	return binary.BigEndian.AppendUint64(AppendMetaKey(dst, MetaSent), uint64(lane))
}

// DecodeSentKey is the inverse of AppendSentKey.
func DecodeSentKey(storeKey []byte) (lane globaltable.LaneID, ok bool) {
	if len(storeKey) != 2+8 || Space(storeKey[0]) != SpaceMeta || Meta(storeKey[1]) != MetaSent {
		return 0, false
	}
	return globaltable.LaneID(binary.BigEndian.Uint64(storeKey[2:])), true
}

// AppendPlacingKey appends the meta key of what carrying out the locality policies of table has come to.
func AppendPlacingKey(dst []byte, table globaltable.TableID) []byte {
	return binary.BigEndian.AppendUint64(AppendMetaKey(dst, MetaPlacing), uint64(table))
}

// DecodePlacingKey is the inverse of AppendPlacingKey.
func DecodePlacingKey(storeKey []byte) (table globaltable.TableID, ok bool) {
	if len(storeKey) != 2+8 || Space(storeKey[0]) != SpaceMeta || Meta(storeKey[1]) != MetaPlacing {
		return 0, false
	}
	return globaltable.TableID(binary.BigEndian.Uint64(storeKey[2:])), true
}

// AppendCatchUpKey appends the meta key of the exchange that brings what lanes of origin have missed.
func AppendCatchUpKey(dst []byte, origin hlc.Origin) []byte {
	return binary.BigEndian.AppendUint16(AppendMetaKey(dst, MetaCatchUp), uint16(origin))
}

// DecodeCatchUpKey is the inverse of AppendCatchUpKey.
func DecodeCatchUpKey(storeKey []byte) (origin hlc.Origin, ok bool) {
	if len(storeKey) != 4 || Space(storeKey[0]) != SpaceMeta || Meta(storeKey[1]) != MetaCatchUp {
		return 0, false
	}
	return hlc.Origin(binary.BigEndian.Uint16(storeKey[2:])), true
}

// AppendCaughtKey appends the meta key of how far that exchange has got with a table.
func AppendCaughtKey(dst []byte, origin hlc.Origin, table globaltable.TableID) []byte {
	dst = binary.BigEndian.AppendUint16(AppendMetaKey(dst, MetaCaught), uint16(origin))
	return binary.BigEndian.AppendUint64(dst, uint64(table))
}

// CaughtRange returns the range of AppendCaughtKey's keys of one origin.
func CaughtRange(origin hlc.Origin) (lower, upper []byte) {
	lower = binary.BigEndian.AppendUint16(AppendMetaKey(nil, MetaCaught), uint16(origin))
	return lower, successor(lower)
}

// AppendSavedKey appends the key of what is saved of the record at key in table.
func AppendSavedKey(dst []byte, table globaltable.TableID, key []byte) []byte {
	dst = append(dst, byte(SpaceSaved))
	dst = binary.BigEndian.AppendUint64(dst, uint64(table))
	return append(dst, key...)
}

// DecodeSavedKey is the inverse of AppendSavedKey. key is a view.
func DecodeSavedKey(storeKey []byte) (table globaltable.TableID, key []byte, ok bool) {
	if len(storeKey) <= tablePrefixLen || Space(storeKey[0]) != SpaceSaved {
		return 0, nil, false
	}
	return globaltable.TableID(binary.BigEndian.Uint64(storeKey[1:])), storeKey[tablePrefixLen:], true
}

// SavedRange returns the range of what is saved of table.
func SavedRange(table globaltable.TableID) (lower, upper []byte) {
	return tableRange(SpaceSaved, table)
}

// AppendReplayKey appends the key of what is kept of a write of the record at key in table.
func AppendReplayKey(dst []byte, table globaltable.TableID, key []byte, dot hlc.Stamp) []byte {
	return dot.Append(appendReplayPrefix(dst, table, key))
}

func appendReplayPrefix(dst []byte, table globaltable.TableID, key []byte) []byte {
	dst = append(dst, byte(SpaceReplay))
	dst = binary.BigEndian.AppendUint64(dst, uint64(table))
	return append(dst, key...)
}

// ReplayRange returns the range of AppendReplayKey's keys of one record with dots after the one given. A key of another record may be in it: see DecodeReplayKey.
func ReplayRange(table globaltable.TableID, key []byte, after hlc.Stamp) (lower, upper []byte) {
	lower = appendReplayPrefix(nil, table, key)
	return append(after.Append(lower), 0), successor(lower)
}

// DecodeReplayKey is the inverse of AppendReplayKey. key is a view.
func DecodeReplayKey(storeKey []byte) (table globaltable.TableID, key []byte, dot hlc.Stamp, ok bool) {
	at := len(storeKey) - hlc.StampLen
	if at <= tablePrefixLen || Space(storeKey[0]) != SpaceReplay {
		return 0, nil, hlc.Stamp{}, false
	}
	dot, ok = hlc.DecodeStamp(storeKey[at:])
	return globaltable.TableID(binary.BigEndian.Uint64(storeKey[1:])), storeKey[tablePrefixLen:at], dot, ok
}

// AppendTokenKey appends the key of what was done with a token in a window of time.
func AppendTokenKey(dst []byte, window uint64, token []byte) []byte {
	dst = append(dst, byte(SpaceToken))
	dst = binary.BigEndian.AppendUint64(dst, window)
	return append(dst, token...)
}

// DecodeTokenWindow returns the window in a token's key.
func DecodeTokenWindow(storeKey []byte) (window uint64, ok bool) {
	if len(storeKey) <= 9 || Space(storeKey[0]) != SpaceToken {
		return 0, false
	}
	return binary.BigEndian.Uint64(storeKey[1:]), true
}

// TokenRange returns the range of the tokens of all windows before the one given.
func TokenRange(before uint64) (lower, upper []byte) {
	return []byte{byte(SpaceToken)}, AppendTokenKey(nil, before, nil)
}

// AppendEntryKey appends the key of an entry of an index of table.
func AppendEntryKey(dst []byte, table globaltable.TableID, index globaltable.IndexID, key []byte) []byte {
	return append(appendEntryPrefix(dst, table, index), key...)
}

func appendEntryPrefix(dst []byte, table globaltable.TableID, index globaltable.IndexID) []byte {
	dst = append(dst, byte(SpaceEntry))
	dst = binary.BigEndian.AppendUint64(dst, uint64(table))
	return binary.BigEndian.AppendUint32(dst, uint32(index))
}

// EntryKeySuffix returns the key in an entry's store key: a view.
func EntryKeySuffix(storeKey []byte) []byte { return storeKey[tablePrefixLen+4:] }

// EntryKeyIndex returns the table and the index in an entry's store key.
func EntryKeyIndex(storeKey []byte) (globaltable.TableID, globaltable.IndexID) {
	return globaltable.TableID(binary.BigEndian.Uint64(storeKey[1:])), globaltable.IndexID(binary.BigEndian.Uint32(storeKey[tablePrefixLen:]))
}

// ReplaySpace returns the range of all keys of AppendReplayKey of one table.
func ReplaySpace(table globaltable.TableID) (lower, upper []byte) {
	return tableRange(SpaceReplay, table)
}

// EntryRange returns the range of the entries of one index.
func EntryRange(table globaltable.TableID, index globaltable.IndexID) (lower, upper []byte) {
	lower = appendEntryPrefix(nil, table, index)
	return lower, successor(lower)
}

// AppendEntry appends the value of an entry in whose key the table's key begins at byte at.
func AppendEntry(dst []byte, at int) []byte { return binary.BigEndian.AppendUint16(dst, uint16(at)) }

// DecodeEntry is the inverse of AppendEntry.
func DecodeEntry(value []byte) (at int, ok bool) {
	if len(value) != 2 {
		return 0, false
	}
	return int(binary.BigEndian.Uint16(value)), true
}

const streamPrefixLen = 1 + 8 + 8 + 8

// AppendStreamKey appends the key of a record of the change stream of table that began at since.
func AppendStreamKey(dst []byte, table globaltable.TableID, since int64, lane globaltable.LaneID, at hlc.Timestamp) []byte {
	return binary.BigEndian.AppendUint64(appendStreamPrefix(dst, table, since, lane), uint64(at))
}

func appendStreamPrefix(dst []byte, table globaltable.TableID, since int64, lane globaltable.LaneID) []byte {
	dst = binary.BigEndian.AppendUint64(append(dst, byte(SpaceStream)), uint64(table))
	dst = binary.BigEndian.AppendUint64(dst, uint64(since))
	return binary.BigEndian.AppendUint64(dst, uint64(lane))
}

// StreamRange returns the range of the records of one lane of a change stream with positions after the one given, up to and with the other.
func StreamRange(table globaltable.TableID, since int64, lane globaltable.LaneID, after, upTo hlc.Timestamp) (lower, upper []byte) {
	return append(AppendStreamKey(nil, table, since, lane, after), 0), append(AppendStreamKey(nil, table, since, lane, upTo), 0)
}

// StreamsRange returns the range of the records of all change streams of table.
func StreamsRange(table globaltable.TableID) (lower, upper []byte) {
	return tableRange(SpaceStream, table)
}

// DecodeStreamKey is the inverse of AppendStreamKey.
func DecodeStreamKey(storeKey []byte) (table globaltable.TableID, since int64, lane globaltable.LaneID, at hlc.Timestamp, ok bool) {
	if len(storeKey) != streamPrefixLen+8 || Space(storeKey[0]) != SpaceStream {
		return 0, 0, 0, 0, false
	}
	return globaltable.TableID(binary.BigEndian.Uint64(storeKey[1:])), int64(binary.BigEndian.Uint64(storeKey[9:])),
		globaltable.LaneID(binary.BigEndian.Uint64(storeKey[17:])), hlc.Timestamp(binary.BigEndian.Uint64(storeKey[25:])), true
}

// AppendStreamStateKey appends the meta key of what a change stream has.
func AppendStreamStateKey(dst []byte, table globaltable.TableID, since int64) []byte {
	dst = binary.BigEndian.AppendUint64(AppendMetaKey(dst, MetaStream), uint64(table))
	return binary.BigEndian.AppendUint64(dst, uint64(since))
}

// DecodeStreamStateKey is the inverse of AppendStreamStateKey.
func DecodeStreamStateKey(storeKey []byte) (table globaltable.TableID, since int64, ok bool) {
	if len(storeKey) != 2+8+8 || Space(storeKey[0]) != SpaceMeta || Meta(storeKey[1]) != MetaStream {
		return 0, 0, false
	}
	return globaltable.TableID(binary.BigEndian.Uint64(storeKey[2:])), int64(binary.BigEndian.Uint64(storeKey[10:])), true
}

// AppendTriggerKey appends the meta key, MetaTrigger or MetaLetters, of a trigger.
func AppendTriggerKey(dst []byte, m Meta, id globaltable.TriggerID) []byte {
	dst = binary.BigEndian.AppendUint64(AppendMetaKey(dst, m), uint64(id.Table))
	return append(binary.BigEndian.AppendUint64(dst, uint64(id.Born)), id.Name...)
}

// DecodeTriggerKey is the inverse of AppendTriggerKey.
func DecodeTriggerKey(storeKey []byte) (id globaltable.TriggerID, ok bool) {
	const head = 2 + 8 + 8
	if len(storeKey) <= head || Space(storeKey[0]) != SpaceMeta {
		return id, false
	}
	return globaltable.TriggerID{Table: globaltable.TableID(binary.BigEndian.Uint64(storeKey[2:])), Born: globaltable.Version(binary.BigEndian.Uint64(storeKey[10:])), Name: string(storeKey[head:])}, true
}

// TriggerRange returns the range of the meta keys of all triggers of table.
func TriggerRange(m Meta, table globaltable.TableID) (lower, upper []byte) {
	lower = binary.BigEndian.AppendUint64(AppendMetaKey(nil, m), uint64(table))
	return lower, successor(lower)
}

// AppendLetterKey appends the key of a dead letter.
func AppendLetterKey(dst []byte, id globaltable.TriggerID, at hlc.Timestamp) []byte {
	return binary.BigEndian.AppendUint64(appendLetterPrefix(dst, id), uint64(at))
}

func appendLetterPrefix(dst []byte, id globaltable.TriggerID) []byte {
	dst = binary.BigEndian.AppendUint64(append(dst, byte(SpaceLetter)), uint64(id.Table))
	dst = binary.BigEndian.AppendUint64(dst, uint64(id.Born))
	return append(append(dst, byte(len(id.Name))), id.Name...)
}

// LetterRange returns the range of a trigger's dead letters with positions after the one given.
func LetterRange(id globaltable.TriggerID, after hlc.Timestamp) (lower, upper []byte) {
	return append(AppendLetterKey(nil, id, after), 0), successor(appendLetterPrefix(nil, id))
}

// LettersRange returns the range of all dead letters of table.
func LettersRange(table globaltable.TableID) (lower, upper []byte) {
	return tableRange(SpaceLetter, table)
}

// DecodeLetterKey is the inverse of AppendLetterKey.
func DecodeLetterKey(storeKey []byte) (id globaltable.TriggerID, at hlc.Timestamp, ok bool) {
	const head = 1 + 8 + 8 + 1
	if len(storeKey) < head+8 || Space(storeKey[0]) != SpaceLetter || len(storeKey) != head+int(storeKey[head-1])+8 {
		return id, 0, false
	}
	id = globaltable.TriggerID{Table: globaltable.TableID(binary.BigEndian.Uint64(storeKey[1:])), Born: globaltable.Version(binary.BigEndian.Uint64(storeKey[9:])), Name: string(storeKey[head : len(storeKey)-8])}
	return id, hlc.Timestamp(binary.BigEndian.Uint64(storeKey[len(storeKey)-8:])), true
}

// SpaceRange returns the range of a whole key space.
func SpaceRange(s Space) (lower, upper []byte) { return []byte{byte(s)}, []byte{byte(s) + 1} }

// MetaRange returns the range of all keys of one meta kind.
func MetaRange(m Meta) (lower, upper []byte) {
	lower = AppendMetaKey(nil, m)
	return lower, successor(lower)
}

func tableRange(s Space, table globaltable.TableID) (lower, upper []byte) {
	lower = binary.BigEndian.AppendUint64([]byte{byte(s)}, uint64(table))
	return lower, successor(lower)
}

// successor returns the least key after every key that begins with prefix. prefix must not be all 0xff, which the space byte ensures.
func successor(prefix []byte) []byte {
	out := append([]byte(nil), prefix...)
	for i := len(out) - 1; ; i-- {
		out[i]++
		if out[i] != 0 {
			return out[:i+1]
		}
	}
}
