package egress

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
)

// Batch takes what is written at once.
type Batch interface {
	Set(key, value []byte)
	Drop(from, to []byte) // keys in [from, to)
}

// Store keeps the ledger.
type Store interface {
	// UpdateLedger calls f, one call after the other, in the order of what they write, and returns when that is durable.
	UpdateLedger(ctx context.Context, f func(b Batch) error) error
	// Ledger calls f with what is kept at keys in [from, to), in order, until f returns false. What f gets is a view.
	Ledger(from, to []byte, f func(key, value []byte) (more bool, err error)) error
	// Sent returns what was durably put into each lane.
	Sent() []Sent
}

// Config says what a Ledger works with. All fields are needed, but those with a default.
type Config struct {
	Self        globaltable.Descriptor
	Incarnation globaltable.Incarnation
	Key         globaltable.Signer
	Store       Store
	Name        func(hlc.Origin) string // a region's name
	Out         func(hlc.Origin) bool   // the region is fenced or removed: it is given nothing
	Now         func() time.Time
	Every       time.Duration // between checkpoints; default 1 min
	Keep        uint64        // how many checkpoints are kept; default KeepCheckpoints
	Failed      func(error)   // a checkpoint was not made; it is tried again. May be nil
}

// Ledger is a region's ledger. Its methods may be called from several goroutines.
type Ledger struct {
	cfg Config

	mu       sync.Mutex
	accounts *accounts
	head     Head
	oldest   uint64 // number of the oldest checkpoint that is kept; 0: there is none
}

// The keys: accounts by their names, checkpoints by number.
const (
	prefixAccount    = 'a'
	prefixCheckpoint = 'c'
)

func accountAt(a *Account) []byte {
	key := binary.BigEndian.AppendUint16([]byte{prefixAccount}, uint16(a.Peer))
	return append(key, string(a.Kind)+"/"+a.Lane+a.Table...)
}

func checkpointAt(number uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{prefixCheckpoint}, number)
}

// New returns a ledger with what the store has. It starts nothing.
func New(cfg Config) (*Ledger, error) {
	if cfg.Every == 0 {
		cfg.Every = time.Minute
	}
	if cfg.Keep == 0 {
		cfg.Keep = KeepCheckpoints
	}
	l := &Ledger{cfg: cfg, accounts: newAccounts()}
	err := cfg.Store.Ledger([]byte{prefixAccount}, []byte{prefixAccount + 1}, func(key, value []byte) (bool, error) {
		a, err := decodeAccount(value)
		if err == nil && !bytes.Equal(key, accountAt(a)) {
			err = corrupt("an account lies under another key than its own")
		}
		if err == nil {
			l.accounts.all[a.key()] = a
			l.accounts.changed[a.key()] = true // for what is known: a checkpoint more does no harm
		}
		return true, err
	})
	if err != nil {
		return nil, err
	}
	err = l.checkpoints(0, func(number uint64, s *globaltable.Sealed) bool {
		if l.oldest == 0 {
			l.oldest = number
		}
		l.head = Head{number, s.Hash()}
		return true
	})
	return l, err
}

// checkpoints calls f with the checkpoints after the number given.
func (l *Ledger) checkpoints(after uint64, f func(number uint64, s *globaltable.Sealed) (more bool)) error {
	return l.cfg.Store.Ledger(checkpointAt(after+1), []byte{prefixCheckpoint + 1}, func(key, value []byte) (bool, error) {
		var s globaltable.Sealed
		if len(key) != 9 || json.Unmarshal(value, &s) != nil {
			return false, corrupt("a checkpoint that cannot be read")
		}
		return f(binary.BigEndian.Uint64(key[1:]), &s), nil
	})
}

// Exchange counts records of a table that are about to be given to a peer, by whatever exchange. It returns when that is durable: nothing may leave before. So do HandOver and Forwarded.
func (l *Ledger) Exchange(ctx context.Context, peer hlc.Origin, table globaltable.TableID, records, bytes int) error {
	return l.count(ctx, peer, Exchange, table, records, bytes)
}

// HandOver counts records that are about to be handed over to a peer, because this region may not hold them any more.
func (l *Ledger) HandOver(ctx context.Context, peer hlc.Origin, table globaltable.TableID, records, bytes int) error {
	return l.count(ctx, peer, HandOver, table, records, bytes)
}

// Forwarded counts a client's request that is about to be forwarded to a peer, or its answer.
func (l *Ledger) Forwarded(ctx context.Context, peer hlc.Origin, table globaltable.TableID, bytes int) error {
	return l.count(ctx, peer, Forward, table, 1, bytes)
}

func (l *Ledger) count(ctx context.Context, peer hlc.Origin, kind Kind, table globaltable.TableID, count, bytes int) error {
	return l.cfg.Store.UpdateLedger(ctx, func(b Batch) error {
		l.mu.Lock()
		defer l.mu.Unlock()
		a := l.accounts.add(peer, kind, table, count, bytes)
		a.Region = l.cfg.Name(peer)
		b.Set(accountAt(a), a.encode())
		return nil
	})
}

// Roll takes over what was sent in the lanes until now. It has to be called when a region is put out, or taken in again, so that no more is counted than need be.
func (l *Ledger) Roll(ctx context.Context) error {
	return l.cfg.Store.UpdateLedger(ctx, func(b Batch) error {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.roll(b)
		return nil
	})
}

func (l *Ledger) roll(b Batch) {
	for _, a := range l.accounts.roll(l.cfg.Self.Origin, l.cfg.Store.Sent(), l.cfg.Out) {
		a.Region = l.cfg.Name(a.Peer)
		b.Set(accountAt(a), a.encode())
	}
}

// Checkpoint makes checkpoints of what has changed since the last, if anything has.
func (l *Ledger) Checkpoint(ctx context.Context) error {
	for more := true; more; {
		err := l.cfg.Store.UpdateLedger(ctx, func(b Batch) (err error) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.roll(b)
			more, err = l.checkpoint(b)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// checkpoint makes one, with as many accounts as it has room for. more: there are others.
func (l *Ledger) checkpoint(b Batch) (more bool, err error) {
	changed := l.accounts.list(false)
	if len(changed) == 0 {
		return false, nil
	}
	more = len(changed) > maxAccounts
	changed = changed[:min(len(changed), maxAccounts)]
	c := Checkpoint{Format: checkpointFormat, Origin: l.cfg.Self.Origin, Region: l.cfg.Self.Name, Number: l.head.Number + 1, Previous: l.head.Hash, At: l.cfg.Now().UnixMilli(), Incarnation: l.cfg.Incarnation, Accounts: changed}
	s, err := c.seal(l.cfg.Key)
	if err != nil {
		return false, err
	}
	value, err := json.Marshal(s)
	if err != nil {
		return false, err
	}
	b.Set(checkpointAt(c.Number), value)
	if l.oldest == 0 {
		l.oldest = c.Number
	}
	if c.Number-l.oldest >= l.cfg.Keep {
		b.Drop(checkpointAt(0), checkpointAt(c.Number-l.cfg.Keep+1))
		l.oldest = c.Number - l.cfg.Keep + 1
	}
	l.head = Head{c.Number, s.Hash()}
	for i := range changed {
		delete(l.accounts.changed, changed[i].key())
	}
	return more, nil
}

// State is a ledger as it is now.
type State struct {
	Accounts []Account
	Head     Head
	Oldest   uint64 // the oldest checkpoint that is kept; 0: there is none yet
}

// State returns all accounts, with what was sent in the lanes until now, and makes a checkpoint of that first.
func (l *Ledger) State(ctx context.Context) (State, error) {
	if err := l.Checkpoint(ctx); err != nil {
		return State{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return State{Accounts: l.accounts.list(true), Head: l.head, Oldest: l.oldest}, nil
}

// Checkpoints returns up to limit checkpoints after the number given, oldest first.
func (l *Ledger) Checkpoints(after uint64, limit int) (out []globaltable.Sealed, more bool, err error) {
	err = l.checkpoints(after, func(_ uint64, s *globaltable.Sealed) bool {
		if more = len(out) == limit; !more {
			out = append(out, *s)
		}
		return !more
	})
	return out, more, err
}

// Run makes checkpoints until ctx is done, and then a last one.
func (l *Ledger) Run(ctx context.Context) error {
	tick := time.NewTicker(l.cfg.Every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.cfg.Every)
			defer cancel()
			l.attempt(last)
			return nil
		case <-tick.C:
			l.attempt(ctx)
		}
	}
}

func (l *Ledger) attempt(ctx context.Context) {
	if err := l.Checkpoint(ctx); err != nil && !errors.Is(err, context.Canceled) && l.cfg.Failed != nil {
		l.cfg.Failed(err)
	}
}
