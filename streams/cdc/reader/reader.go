// Package reader keeps who reads the change streams of a region, and how far: the holders of grants, who read events from the region's NATS, and tails that were given a name.
//
// A place is a position in the streams of a table (hlc.Timestamp): what is at or below it has been read. It lies in the region's store, so it outlives the region's NATS, and a restart; a reader may get again what it had read a moment before.
package reader

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
)

// Kind says what a reader is. The texts are part of the stored form.
type Kind string

// The kinds.
const (
	Grant Kind = "grant" // it reads events from the region's NATS
	Tail  Kind = "tail"  // it reads records by the admin API
)

// Bounds.
const (
	MaxGrants = 256
	MaxTails  = 256
	MaxTables = 32 // of one reader
)

// unused is how long it is not noted that a reader is there that gets no further.
const unused = time.Hour

const format = 1

// Place is how far a reader is in a table's streams.
type Place struct {
	Table globaltable.TableID `json:"table"`
	At    hlc.Timestamp       `json:"at"`
}

// Reader is one who reads. Names are unique among those of a kind.
type Reader struct {
	Format  int     `json:"format"`
	Kind    Kind    `json:"kind"`
	Name    string  `json:"name"`          // as region names are
	Key     string  `json:"key,omitempty"` // of a grant: the public nkey of its holder
	Created int64   `json:"created"`       // this and the next two are Unix milliseconds
	Expires int64   `json:"expires"`       // 0: never
	Used    int64   `json:"used"`          // when a place was last set
	Places  []Place `json:"places"`        // by table
}

// At returns how far the reader is in a table's streams.
func (r *Reader) At(table globaltable.TableID) (at hlc.Timestamp, reads bool) {
	i, found := slices.BinarySearchFunc(r.Places, table, func(p Place, id globaltable.TableID) int { return cmp.Compare(p.Table, id) })
	if !found {
		return 0, false
	}
	return r.Places[i].At, true
}

func (r *Reader) clone() Reader {
	out := *r
	out.Places = slices.Clone(r.Places)
	return out
}

func (r *Reader) validate() error {
	switch {
	case r.Kind != Grant && r.Kind != Tail:
		return invalid(r.Name, "a reader is a grant or a tail")
	case globaltable.ValidateRegionName(r.Name) != nil:
		return invalid(r.Name, "a name has 1 to 32 lower-case letters, digits and hyphens, begins with a letter and does not end with a hyphen")
	case len(r.Places) == 0 || len(r.Places) > MaxTables:
		return invalid(r.Name, fmt.Sprintf("it is of %d tables; it can be of 1 to %d", len(r.Places), MaxTables))
	case !slices.IsSortedFunc(r.Places, func(a, b Place) int { return cmp.Compare(a.Table, b.Table) }):
		return invalid(r.Name, "its tables are not in order")
	}
	return nil
}

func invalid(name, message string) error {
	return &globaltable.Error{Op: "keep reader of streams", Resource: name, Kind: globaltable.Invalid, Message: message}
}

// Batch takes what is written together.
type Batch interface {
	Set(name string, value []byte)
	Delete(name string)
}

// Store is where readers are kept.
type Store interface {
	UpdateReaders(ctx context.Context, f func(b Batch) error) error // durable when it returns
	Readers(f func(name string, value []byte) error) error
}

// Readers are those of a region. Their methods may be called from several goroutines.
type Readers struct {
	store Store

	change sync.Mutex // one change at a time, so that what is kept and what is known are the same
	mu     sync.Mutex
	all    map[string]*Reader // by kept name
	news   chan struct{}      // closed when grants come or go
}

// Open reads what is kept.
func Open(store Store) (*Readers, error) {
	out := &Readers{store: store, all: map[string]*Reader{}, news: make(chan struct{})}
	return out, store.Readers(func(name string, value []byte) error {
		r, err := decode(value)
		if err != nil {
			return err
		}
		out.all[name] = r
		return nil
	})
}

func kept(kind Kind, name string) string { return string(kind) + "/" + name }

func (r *Reader) encode() []byte {
	r.Format = format
	b, err := json.Marshal(r)
	if err != nil {
		panic(err) // strings and numbers
	}
	return b
}

func decode(b []byte) (*Reader, error) {
	r := &Reader{}
	err := json.Unmarshal(b, r)
	switch {
	case err == nil && r.Format > format:
		return nil, &globaltable.Error{Op: "read reader of streams", Kind: globaltable.Unavailable, Message: "it was written by a newer version of concordat"}
	case err == nil && r.Format != format:
		err = fmt.Errorf("format %d", r.Format)
	case err == nil:
		err = r.validate()
	}
	if err != nil {
		return nil, &globaltable.Error{Op: "read reader of streams", Kind: globaltable.Corrupt, Err: err}
	}
	return r, nil
}

// List returns the readers of a kind, by name.
func (s *Readers) List(kind Kind) (out []Reader) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.all {
		if r.Kind == kind {
			out = append(out, r.clone())
		}
	}
	slices.SortFunc(out, func(a, b Reader) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// Get returns a reader.
func (s *Readers) Get(kind Kind, name string) (Reader, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.all[kept(kind, name)]
	if r == nil {
		return Reader{}, false
	}
	return r.clone(), true
}

// Changed returns a channel that is closed when a reader comes or goes.
func (s *Readers) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.news
}

// Add keeps a new reader. It is there, durably, when Add returns. The error is of kind Exists if there is one of that name, LimitExceeded if there are too many.
func (s *Readers) Add(ctx context.Context, r Reader) error {
	if err := r.validate(); err != nil {
		return err
	}
	s.change.Lock()
	defer s.change.Unlock()
	s.mu.Lock()
	count, there := 0, s.all[kept(r.Kind, r.Name)] != nil
	for _, other := range s.all {
		if other.Kind == r.Kind {
			count++
		}
	}
	s.mu.Unlock()
	limit := MaxTails
	if r.Kind == Grant {
		limit = MaxGrants
	}
	switch {
	case there:
		return &globaltable.Error{Op: "keep reader of streams", Resource: r.Name, Kind: globaltable.Exists, Message: fmt.Sprintf("there is a %s named %s already", r.Kind, r.Name)}
	case count >= limit:
		return &globaltable.Error{Op: "keep reader of streams", Resource: r.Name, Kind: globaltable.LimitExceeded, Message: fmt.Sprintf("there are %d %ss, at most", limit, r.Kind)}
	}
	own := r.clone()
	return s.write(ctx, map[string]*Reader{kept(r.Kind, r.Name): &own})
}

// Remove forgets a reader. there is false if there is none.
func (s *Readers) Remove(ctx context.Context, kind Kind, name string) (there bool, err error) {
	s.change.Lock()
	defer s.change.Unlock()
	if _, there = s.Get(kind, name); !there {
		return false, nil
	}
	return true, s.write(ctx, map[string]*Reader{kept(kind, name): nil})
}

// Move is how far a reader has got in a table's streams.
type Move struct {
	Kind Kind
	Name string
	Place
}

// Set notes how far readers are. Those that are not there, or do not read the table, are passed over, and the holders of grants do not go back: theirs is what JetStream says. What is no news costs nothing.
func (s *Readers) Set(ctx context.Context, moves []Move, now time.Time) error {
	s.change.Lock()
	defer s.change.Unlock()
	changed := map[string]*Reader{}
	for _, m := range moves {
		name := kept(m.Kind, m.Name)
		r := changed[name]
		if r == nil {
			own, there := s.Get(m.Kind, m.Name)
			if !there {
				continue
			}
			r = &own
		}
		at, reads := r.At(m.Table)
		if !reads || m.Kind == Grant && m.At < at || at == m.At && now.UnixMilli()-r.Used < unused.Milliseconds() {
			continue
		}
		for i := range r.Places {
			if r.Places[i].Table == m.Table {
				r.Places[i].At = m.At
			}
		}
		r.Used, changed[name] = now.UnixMilli(), r
	}
	if len(changed) == 0 {
		return nil
	}
	return s.write(ctx, changed)
}

// write keeps readers, nil: forgets them, and then knows them so. The caller holds change.
func (s *Readers) write(ctx context.Context, changed map[string]*Reader) error {
	err := s.store.UpdateReaders(ctx, func(b Batch) error {
		for _, name := range slices.Sorted(maps.Keys(changed)) {
			if r := changed[name]; r != nil {
				b.Set(name, r.encode())
			} else {
				b.Delete(name)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	came := false
	for name, r := range changed {
		came = came || r == nil || s.all[name] == nil
		if r == nil {
			delete(s.all, name)
		} else {
			s.all[name] = r
		}
	}
	if came {
		close(s.news)
		s.news = make(chan struct{})
	}
	return nil
}
