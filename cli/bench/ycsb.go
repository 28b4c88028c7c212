package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync/atomic"
)

// The core workloads of YCSB (Cooper et al., "Benchmarking cloud serving systems with YCSB", SoCC 2010), but for E, which scans: items of ten attributes of 100 bytes, read whole,
// updated one attribute at a time by an UpdateItem.
const (
	ycsbFields     = 10
	ycsbFieldBytes = 100
	ycsbTheta      = 0.99 // skew of the popularity of items
)

// workload is a mix of operations, in percent.
type workload struct {
	name, what                    string
	reads, updates, inserts, both int  // both: a read, then an update of what was read
	latest                        bool // what is newest is read most, else a fixed choice of items
}

// workloads are in the order in which YCSB has them run over one table: D inserts.
var workloads = []workload{
	{name: "ycsb-a", what: "half reads, half updates", reads: 50, updates: 50},
	{name: "ycsb-b", what: "95 % reads, 5 % updates", reads: 95, updates: 5},
	{name: "ycsb-c", what: "reads", reads: 100},
	{name: "ycsb-f", what: "half reads, half read, then update", reads: 50, both: 50},
	{name: "ycsb-d", what: "95 % reads of the latest, 5 % inserts", reads: 95, inserts: 5, latest: true},
}

// ycsb runs all workloads over one table in one region.
func (r *run) ycsb(ctx context.Context) error {
	table, err := r.makeTable(ctx, YCSB, false)
	if err != nil {
		return err
	}
	mixes, err := r.mixes(ctx, r.doors[0], table, r.cfg.Own)
	if err != nil {
		return err
	}
	for i, w := range workloads {
		if err := r.measured(ctx, w.name, w.what, mixes[i], limitEcho); err != nil {
			return err
		}
	}
	return nil
}

// mixes writes the items, and returns the figures of each workload.
func (r *run) mixes(ctx context.Context, d *door, table string, alone bool) ([]Figures, error) {
	sessions, err := d.sessions(r.cfg.Connections)
	if err != nil {
		return nil, err
	}
	u := &users{table: table, sessions: sessions, begun: make([]atomic.Int64, len(sessions)), popular: newZipfian(int64(r.cfg.Items), ycsbTheta)}
	r.say("ycsb at %s: %d items, then %v for each workload", d.name, r.cfg.Items, r.cfg.Duration)
	err = inSteps(ctx, len(sessions), 0, int64(r.cfg.Items), func(w int, i int64) error { return u.insert(w, i) })
	if err != nil {
		return nil, err
	}
	u.next.Store(int64(r.cfg.Items))
	all := make([]Figures, len(workloads))
	for i := range workloads {
		m := startMeter()
		s, err := load(ctx, len(sessions), r.cfg.Duration, 0, func(w int, _ int64) error { return u.one(w, &workloads[i]) })
		if err != nil {
			return nil, fmt.Errorf("%s: %w", workloads[i].name, err)
		}
		all[i] = m.figures(int64(len(s.all)), s, alone)
	}
	return all, nil
}

// users are the items of YCSB and who works on them: one session for each worker.
type users struct {
	table    string
	sessions []*session
	popular  *zipfian
	next     atomic.Int64   // number of the next insert
	begun    []atomic.Int64 // by worker: 1 + the number that it is inserting; 0: none
}

// one does one operation of the workload.
func (u *users) one(worker int, w *workload) error {
	dice := rand.IntN(100)
	switch {
	case dice < w.reads:
		return u.read(worker, u.choose(w.latest))
	case dice < w.reads+w.updates:
		return u.update(worker, u.choose(w.latest))
	case dice < w.reads+w.updates+w.both:
		i := u.choose(w.latest)
		if err := u.read(worker, i); err != nil {
			return err
		}
		return u.update(worker, i)
	}
	return u.insertNext(worker)
}

// choose picks an item that is there.
func (u *users) choose(latest bool) int64 {
	rank := u.popular.next()
	if !latest {
		// The popular ones are spread over all, as YCSB's scrambled choice does.
		return int64(uint64(rank) * 0x9e3779b97f4a7c15 % uint64(u.popular.items))
	}
	newest := u.next.Load()
	for i := range u.begun {
		if n := u.begun[i].Load(); n > 0 {
			newest = min(newest, n-1)
		}
	}
	return newest - 1 - rank
}

// insertNext inserts an item after all others. Others read it when it has been acknowledged.
func (u *users) insertNext(worker int) error {
	i := u.begin(worker)
	defer u.begun[worker].Store(0)
	return u.insert(worker, i)
}

// begin takes a number for an insert. The worker says which one it takes before it does, so that nobody takes the number for an item that is there.
func (u *users) begin(worker int) int64 {
	for {
		i := u.next.Load()
		u.begun[worker].Store(i + 1)
		if u.next.CompareAndSwap(i, i+1) {
			return i
		}
	}
}

func (u *users) insert(worker int, i int64) error {
	s := u.sessions[worker]
	b := append(s.body[:0], `{"TableName":"`...)
	b = append(b, u.table...)
	b = append(b, `","Item":{"`+keyName+`":{"S":"`...)
	b = appendKey(b, i)
	b = append(b, `"}`...)
	for f := range ycsbFields {
		b = append(b, `,"field`...)
		b = strconv.AppendInt(b, int64(f), 10)
		b = append(b, `":{"S":"`...)
		b = append(b, s.field(i+int64(f))...)
		b = append(b, `"}`...)
	}
	s.body = append(b, `}}`...)
	return s.ask("DynamoDB_20120810.PutItem")
}

func (u *users) read(worker int, i int64) error {
	s := u.sessions[worker]
	found, err := s.get(u.table, i)
	if err == nil && (!found || len(s.resp.Body()) < ycsbFields*ycsbFieldBytes) {
		err = errors.New("an item that was put is not there, or not whole")
	}
	return err
}

func (u *users) update(worker int, i int64) error {
	s := u.sessions[worker]
	b := append(s.body[:0], `{"TableName":"`...)
	b = append(b, u.table...)
	b = append(b, `","Key":{"`+keyName+`":{"S":"`...)
	b = appendKey(b, i)
	b = append(b, `"}},"UpdateExpression":"SET field`...)
	b = strconv.AppendInt(b, rand.Int64N(ycsbFields), 10)
	b = append(b, ` = :v","ExpressionAttributeValues":{":v":{"S":"`...)
	b = append(b, s.field(rand.Int64())...)
	s.body = append(b, `"}}}`...)
	return s.ask("DynamoDB_20120810.UpdateItem")
}

// field returns the text of an attribute: a view.
func (s *session) field(i int64) []byte { return s.door.texts.value(i & (1<<40 - 1))[:ycsbFieldBytes] }
