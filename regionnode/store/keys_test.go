package store

import (
	"bytes"
	"math"
	"testing"

	"pgregory.net/rapid"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
)

func TestKeysRoundTripAndOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Uint64().Draw(t, "n")
		m := rapid.Uint64().Draw(t, "m")
		o := hlc.Origin(rapid.Uint16().Draw(t, "origin"))
		shard := rapid.Uint16().Draw(t, "shard")
		lane := globaltable.LaneID(n)
		if seq, ok := DecodeLogSeq(AppendLogKey(nil, lane, m)); !ok || seq != m {
			t.Fatal("log key")
		}
		if l, ok := DecodeLaneKey(AppendLaneKey(nil, lane)); !ok || l != lane {
			t.Fatal("lane key")
		}
		if o2, s2, l2, ok := DecodePositionKey(AppendPositionKey(nil, o, shard, lane)); !ok || o2 != o || s2 != shard || l2 != lane {
			t.Fatal("position key")
		}
		if id, b, ok := DecodeDigestKey(AppendDigestKey(nil, globaltable.TableID(n), shard)); !ok || uint64(id) != n || b != shard {
			t.Fatal("digest key")
		}
		if id, v, ok := DecodeAdoptionKey(AppendAdoptionKey(nil, globaltable.TableID(n), globaltable.Version(m))); !ok || uint64(id) != n || uint64(v) != m {
			t.Fatal("adoption key")
		}
		if o2, ok := DecodeRevokedKey(AppendRevokedKey(nil, o)); !ok || o2 != o {
			t.Fatal("revoked key")
		}
		if o2, l2, ok := DecodeConfirmedKey(AppendConfirmedKey(nil, o, lane)); !ok || o2 != o || l2 != lane {
			t.Fatal("confirmed key")
		}
		jk := AppendJoinKey(nil, globaltable.TableID(n), o)
		if lower, upper := JoinRange(globaltable.TableID(n)); bytes.Compare(lower, jk) > 0 || bytes.Compare(jk, upper) >= 0 {
			t.Fatal("a join outside its table's range")
		}
		if lower, upper := JoinRange(globaltable.TableID(m)); n != m && bytes.Compare(lower, jk) <= 0 && bytes.Compare(jk, upper) < 0 {
			t.Fatal("a join in another table's range")
		}
		if o2, ok := DecodeCatchUpKey(AppendCatchUpKey(nil, o)); !ok || o2 != o {
			t.Fatal("key of an exchange")
		}
		ck := AppendCaughtKey(nil, o, globaltable.TableID(n))
		if lower, upper := CaughtRange(o); bytes.Compare(lower, ck) > 0 || bytes.Compare(ck, upper) >= 0 {
			t.Fatal("an exchange's progress outside its origin's range")
		}
		if lower, upper := CaughtRange(o + 1); bytes.Compare(lower, ck) <= 0 && bytes.Compare(ck, upper) < 0 {
			t.Fatal("an exchange's progress in another origin's range")
		}
		trigger := globaltable.TriggerID{Table: globaltable.TableID(n), Born: globaltable.Version(m), Name: rapid.StringMatching(`[a-z0-9][a-z0-9.-]{0,8}`).Draw(t, "trigger")}
		if id, ok := DecodeTriggerKey(AppendTriggerKey(nil, MetaTrigger, trigger)); !ok || id != trigger {
			t.Fatal("key of a trigger")
		}
		lk := AppendLetterKey(nil, trigger, hlc.Timestamp(m))
		if id, at, ok := DecodeLetterKey(lk); !ok || id != trigger || at != hlc.Timestamp(m) {
			t.Fatal("key of a dead letter")
		}
		for _, table := range []uint64{n, n + 1} {
			if lower, upper := LettersRange(globaltable.TableID(table)); (bytes.Compare(lower, lk) <= 0 && bytes.Compare(lk, upper) < 0) != (table == n) {
				t.Fatal("a dead letter in another table's range, or not in its own")
			}
		}
		longer := trigger
		longer.Name += "a"
		if lower, upper := LetterRange(trigger, 0); m != 0 && (bytes.Compare(lower, lk) > 0 || bytes.Compare(lk, upper) >= 0) || bytes.Compare(lower, AppendLetterKey(nil, longer, 1)) <= 0 && bytes.Compare(AppendLetterKey(nil, longer, 1), upper) < 0 {
			t.Fatal("a dead letter in another trigger's range, or not in its own")
		}
		k := rapid.SliceOf(rapid.Byte()).Draw(t, "key")
		if id, k2, ok := DecodeSavedKey(AppendSavedKey(nil, globaltable.TableID(n), append(k, 0))); !ok || uint64(id) != n || !bytes.Equal(k2, append(k, 0)) {
			t.Fatal("saved key")
		}
		rk := AppendRecordKey(nil, globaltable.TableID(n), k)
		if !bytes.Equal(RecordKeySuffix(rk), k) {
			t.Fatal("record key")
		}
		if id, ok := DecodePurgeKey(AppendPurgeKey(nil, globaltable.TableID(n))); !ok || uint64(id) != n {
			t.Fatal("purge key")
		}
		gk := AppendGarbageKey(nil, globaltable.TableID(n), hlc.Timestamp(m), append(k, 1))
		if id, at, k2, ok := DecodeGarbageKey(gk); !ok || uint64(id) != n || uint64(at) != m || !bytes.Equal(k2, append(k, 1)) {
			t.Fatal("garbage key")
		}
		if lower, upper := GarbageRange(globaltable.TableID(n)); bytes.Compare(lower, gk) > 0 || bytes.Compare(gk, upper) >= 0 {
			t.Fatal("garbage outside its table's range")
		}
		ek := AppendEntryKey(nil, globaltable.TableID(n), globaltable.IndexID(m), k)
		if id, x := EntryKeyIndex(ek); uint64(id) != n || x != globaltable.IndexID(m) || !bytes.Equal(EntryKeySuffix(ek), k) {
			t.Fatal("entry key")
		}
		if lower, upper := EntryRange(globaltable.TableID(n), globaltable.IndexID(m)); bytes.Compare(lower, ek) > 0 || bytes.Compare(ek, upper) >= 0 {
			t.Fatal("an entry outside its index's range")
		}
		if at, ok := DecodeEntry(AppendEntry(nil, int(m&0xffff))); !ok || at != int(m&0xffff) {
			t.Fatal("entry")
		}
		if id, x, ok := DecodeIndexKey(AppendIndexKey(nil, globaltable.TableID(n), globaltable.IndexID(m))); !ok || uint64(id) != n || x != globaltable.IndexID(m) {
			t.Fatal("index key")
		}
		since := int64(rapid.Uint64Max(math.MaxInt64).Draw(t, "since"))
		streamKeysHold(t, globaltable.TableID(n), since, globaltable.LaneID(m), hlc.Timestamp(rapid.Uint64().Draw(t, "position")))
		lower, upper := RecordRange(globaltable.TableID(n))
		if bytes.Compare(lower, rk) > 0 || bytes.Compare(rk, upper) >= 0 {
			t.Fatal("a record outside its table's range")
		}
		if a, b := AppendLogKey(nil, lane, n), AppendLogKey(nil, lane, m); bytes.Compare(a, b) < 0 != (n < m) {
			t.Fatal("log keys do not order as sequences")
		}
	})
}

// streamKeysHold checks the keys of change streams: they round trip, lie in the range of their stream's lane from the position after on, and of their table, and not in those of others.
func streamKeysHold(t *rapid.T, table globaltable.TableID, since int64, lane globaltable.LaneID, at hlc.Timestamp) {
	key := AppendStreamKey(nil, table, since, lane, at)
	if table2, since2, lane2, at2, ok := DecodeStreamKey(key); !ok || table2 != table || since2 != since || lane2 != lane || at2 != at {
		t.Fatal("stream key")
	}
	if table2, since2, ok := DecodeStreamStateKey(AppendStreamStateKey(nil, table, since)); !ok || table2 != table || since2 != since {
		t.Fatal("key of a stream's state")
	}
	within := func(lower, upper []byte) bool { return bytes.Compare(lower, key) <= 0 && bytes.Compare(key, upper) < 0 }
	other := hlc.Timestamp(rapid.Uint64().Draw(t, "another position"))
	switch {
	case within(StreamRange(table, since, lane, other, math.MaxUint64)) != (at > other):
		t.Fatal("what is after a position")
	case within(StreamRange(table, since, lane, 0, other)) != (at != 0 && at <= other):
		t.Fatal("what is up to a position")
	case within(StreamRange(table, since, lane+1, 0, math.MaxUint64)), within(StreamRange(table, since^1, lane, 0, math.MaxUint64)), within(StreamRange(table+1, since, lane, 0, math.MaxUint64)):
		t.Fatal("a record in another stream's range")
	case !within(StreamsRange(table)), within(StreamsRange(table + 1)):
		t.Fatal("a record outside its table's range")
	}
	if lower, upper := MetaRange(MetaStream); within(lower, upper) || !within(SpaceRange(SpaceStream)) {
		t.Fatal("a record outside its space")
	}
}

func TestRangesEnd(t *testing.T) {
	lower, upper := RecordRange(math.MaxUint64)
	if bytes.Compare(lower, upper) >= 0 || upper[0] != byte(SpaceRecord)+1 {
		t.Errorf("last table: [%x, %x)", lower, upper)
	}
	_, upper = LogRange(math.MaxUint64, 1, 0)
	if last := AppendLogKey(nil, math.MaxUint64, math.MaxUint64); bytes.Compare(last, upper) >= 0 {
		t.Errorf("last entry %x is not before %x", last, upper)
	}
	lower, upper = LogRange(7, 3, 5)
	for seq, in := range map[uint64]bool{2: false, 3: true, 4: true, 5: false} {
		k := AppendLogKey(nil, 7, seq)
		if got := bytes.Compare(k, lower) >= 0 && bytes.Compare(k, upper) < 0; got != in {
			t.Errorf("sequence %d: %v", seq, got)
		}
	}
}

// FuzzKeys: no decoder panics, and what one accepts it would have made.
func FuzzKeys(f *testing.F) {
	f.Add(AppendPositionKey(nil, 1, 2, 3))
	f.Add(AppendDigestKey(nil, 1, 2))
	f.Add(AppendConfirmedKey(nil, 1, 2))
	f.Add(AppendLogKey(nil, 1, 2))
	f.Add(AppendReplayKey(nil, 1, []byte("key"), hlc.Stamp{Time: 2, Origin: 3}))
	f.Add(AppendStreamKey(nil, 1, 2, 3, 4))
	f.Add(AppendStreamStateKey(nil, 1, 2))
	f.Fuzz(func(t *testing.T, b []byte) {
		check := func(ok bool, again []byte) {
			if ok && !bytes.Equal(again, b) {
				t.Fatalf("%x decodes to what encodes as %x", b, again)
			}
		}
		o, s, l, ok := DecodePositionKey(b)
		check(ok, AppendPositionKey(nil, o, s, l))
		id, bucket, ok := DecodeDigestKey(b)
		check(ok, AppendDigestKey(nil, id, bucket))
		peer, lane, ok := DecodeConfirmedKey(b)
		check(ok, AppendConfirmedKey(nil, peer, lane))
		id, v, ok := DecodeAdoptionKey(b)
		check(ok, AppendAdoptionKey(nil, id, v))
		o, ok = DecodeRevokedKey(b)
		check(ok, AppendRevokedKey(nil, o))
		id, index, ok := DecodeIndexKey(b)
		check(ok, AppendIndexKey(nil, id, index))
		lane, ok = DecodeLaneKey(b)
		check(ok, AppendLaneKey(nil, lane))
		table, key, dot, ok := DecodeReplayKey(b)
		check(ok, AppendReplayKey(nil, table, key, dot))
		lane, seq, ok := DecodeLogKey(b)
		check(ok, AppendLogKey(nil, lane, seq))
		trigger, at, ok := DecodeLetterKey(b)
		check(ok, AppendLetterKey(nil, trigger, at))
		table, since, lane, at, ok := DecodeStreamKey(b)
		check(ok, AppendStreamKey(nil, table, since, lane, at))
		table, since, ok = DecodeStreamStateKey(b)
		check(ok, AppendStreamStateKey(nil, table, since))
	})
}
