package commit

import (
	"encoding/binary"
	"maps"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode/store"
)

// Token makes a write one that is done once, however often it is asked for within TokenAge.
//
// # How
//
// A client that got no answer asks again, with the same token. What a token stood for is written in the batch of its write, so a crash leaves both or neither. The token has a
// latch like a key, so of two requests at the same time one waits and then finds what the other did; and it is in the applied-not-synced set like a key, so
// that is answered when it is durable.
//
// Tokens are kept by windows of TokenAge, and the first write of a new window drops all windows but the last two in one range. Looking a token up takes two reads, forgetting
// takes none, and no token is kept for more than two windows of writes. There are at most Config.MaxTokens; at that bound
// a write with a token is refused, since to forget one early would be to do something twice.
//
// A token is known in this region only, as in DynamoDB. It outlives a rebuilding of the region.
type Token struct {
	ID      [16]byte // a hash of what the client sent
	Content [32]byte // a hash of what it asks for: the same token with another content is refused
}

// TokenAge is for how long a token is known, in the region's time.
const TokenAge = 10 * time.Minute

// ErrTokenReused refuses a write whose token was used for another one. Nothing was done.
var ErrTokenReused = &globaltable.Error{Op: opWrite, Kind: globaltable.Invalid, Message: "the token was used for another write"}

// hash is the token's identity among latches and in the applied-not-synced set.
func (t *Token) hash() uint64 { return xxhash.Sum64(t.ID[:]) ^ uint64(store.SpaceToken)<<56 }

// used is what is stored of a token.
type used struct {
	at      hlc.Timestamp
	content [32]byte
}

const (
	usedVersion = 1
	usedLen     = 1 + 8 + 32
)

func (u *used) append(dst []byte) []byte {
	dst = append(dst, usedVersion)
	dst = binary.BigEndian.AppendUint64(dst, uint64(u.at))
	return append(dst, u.content[:]...)
}

func decodeUsed(b []byte) (u used, err error) {
	if len(b) != usedLen || b[0] != usedVersion {
		return used{}, errCorruptStore("token", nil)
	}
	u.at = hlc.Timestamp(binary.BigEndian.Uint64(b[1:]))
	copy(u.content[:], b[9:])
	return u, nil
}

// windowOf returns the window of time in which t lies.
func windowOf(t hlc.Timestamp) uint64 { return uint64(t.Millis() / TokenAge.Milliseconds()) }

// done reports whether the write with the token has been done. The token is latched. The error is ErrTokenReused when another one has.
func (t *Token) done(r store.Reader, now hlc.Timestamp) (done bool, err error) {
	window := windowOf(now)
	for _, w := range [...]uint64{window, window - 1} {
		found := false
		var u used
		err := getValue(r, store.AppendTokenKey(nil, w, t.ID[:]), func(b []byte) (err error) {
			found = true
			u, err = decodeUsed(b)
			return err
		})
		switch {
		case err != nil:
			return false, fault(globaltable.Internal, opWrite, "", err)
		case !found || now.Millis()-u.at.Millis() >= TokenAge.Milliseconds():
			continue
		case u.content != t.Content:
			return false, ErrTokenReused
		}
		return true, nil
	}
	return false, nil
}

// tokens counts the tokens in the store. The sequencer owns it.
type tokens struct {
	max    int
	counts map[uint64]int // by window
}

func (l *loaded) loadTokens(r store.Reader) error {
	lower, upper := store.SpaceRange(store.SpaceToken)
	return store.Each(r, lower, upper, func(key, _ []byte) error {
		w, ok := store.DecodeTokenWindow(key)
		if !ok {
			return errCorruptStore("key of a token", nil)
		}
		l.tokens[w]++
		return nil
	})
}

// admit refuses a write with a token when there are too many.
func (t *tokens) admit(now hlc.Timestamp) error {
	if w := windowOf(now); t.counts[w]+t.counts[w-1] >= t.max {
		return fault(globaltable.LimitExceeded, opWrite, "too many transactions with a token in the last minutes", nil)
	}
	return nil
}

// commit writes that the token was used at the time given, and drops what no request can ask for any more.
func (t *tokens) commit(b store.Batch, token *Token, at hlc.Timestamp) {
	window := windowOf(at)
	u := used{at: at, content: token.Content}
	b.Set(store.AppendTokenKey(nil, window, token.ID[:]), u.append(nil))
	if t.counts[window]++; t.counts[window] > 1 {
		return
	}
	oldest := max(window, 1) - 1
	maps.DeleteFunc(t.counts, func(w uint64, _ int) bool { return w < oldest })
	b.DeleteRange(store.TokenRange(oldest))
}
