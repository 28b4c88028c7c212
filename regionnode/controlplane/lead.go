package controlplane

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
)

// maxAsks bounds the peers that are asked at once.
const maxAsks = 8

// hear fetches the catalog of each region that was not heard yet. To a region that is not an active member no lane brings anything: it asks the owner of the world again and again.
func (p *Plane) hear(ctx context.Context) {
	regions := p.Unheard()
	v := p.cfg.Catalog.View()
	if w, ok := v.World(); ok && !v.Active(p.self.Origin) {
		if owner, known := v.RegionOf(w.Owner); known && !slices.Contains(regions, owner.Name) {
			regions = append(regions, owner.Name)
		}
	}
	var g errgroup.Group
	g.SetLimit(maxAsks)
	for _, region := range regions {
		g.Go(func() error {
			if err := p.Fetch(ctx, region); err != nil {
				p.failed(ctx, "hear catalog", region, err)
			}
			return nil
		})
	}
	_ = g.Wait() // its functions return nil
}

// lead brings the tables that this region owns one step on, where the regions concerned allow it.
func (p *Plane) lead(ctx context.Context) {
	p.follow(ctx)
	questions, tables := p.questions()
	p.mu.Lock()
	for id := range p.progress {
		if tables[id] == nil {
			delete(p.progress, id)
		}
	}
	p.mu.Unlock()
	if len(tables) == 0 {
		return
	}
	progress := p.gather(ctx, questions)
	for _, id := range slices.Sorted(maps.Keys(tables)) {
		t, got := tables[id], progress[id]
		p.mu.Lock()
		p.progress[id] = got
		p.mu.Unlock()
		if _, ok := catalog.Advance(t, got.Answers, t.Version.Epoch()); !ok {
			continue
		}
		_, err := p.issueWith(ctx, p.own("advance table"), id, func(now *globaltable.Table, epoch uint32) (*globaltable.Table, []systemItem, error) {
			// The answers are about what was asked. If the table has changed since, the next look asks again.
			next, ok := catalog.Advance(now, got.Answers, epoch)
			if now.Version != t.Version || !ok {
				return nil, nil, errChanged
			}
			return next, receipts(now, next, got.Answers), nil
		})
		if err != nil && !errors.Is(err, errChanged) {
			p.failed(ctx, "advance table "+id.String(), "", err)
		}
	}
}

var errChanged = errors.New("the table has changed meanwhile")

// follow issues what the members' states demand of the tables that this region owns.
func (p *Plane) follow(ctx context.Context) {
	v := p.cfg.Catalog.View()
	w, ok := v.World()
	if !ok {
		return
	}
	at := p.cfg.Now().UnixMilli()
	v.Tables(func(t *globaltable.Table) bool {
		if t.Owner != p.self.Origin {
			return true
		}
		if _, ok := catalog.Follow(t, w, t.Version.Epoch(), at); !ok {
			return true
		}
		_, err := p.issue(ctx, p.own("follow members"), t.ID, func(now *globaltable.Table, epoch uint32) (*globaltable.Table, error) {
			next, ok := catalog.Follow(now, w, epoch, at)
			if !ok {
				return nil, errChanged
			}
			return next, nil
		})
		if err != nil && !errors.Is(err, errChanged) {
			p.failed(ctx, "follow members in table "+t.ID.String(), "", err)
		}
		return ctx.Err() == nil
	})
}

// questions returns, by region, what is to be asked about the unfinished tables that this region owns, and those tables.
func (p *Plane) questions() (map[hlc.Origin][]question, map[globaltable.TableID]*globaltable.Table) {
	asked := map[hlc.Origin][]question{}
	tables := map[globaltable.TableID]*globaltable.Table{}
	p.cfg.Catalog.View().Tables(func(t *globaltable.Table) bool {
		if t.Owner != p.self.Origin || t.Settled() {
			return true
		}
		tables[t.ID] = t
		of := map[hlc.Origin]question{}
		for i := range t.Replicas {
			r := &t.Replicas[i]
			if !catalog.Unfinished(r) || r.Disassociating() && t.Closing() != 0 {
				continue
			}
			// All replicas that are being created or closed have the same Since: see catalog.Update and catalog.Follow.
			for _, o := range catalog.Asked(t, r) {
				if _, once := of[o]; !once {
					of[o] = question{Table: t.ID.String(), Since: uint64(r.Since)}
				}
			}
		}
		for i := range t.Replicas {
			if r := &t.Replicas[i]; r.Placing != 0 {
				q, once := of[r.Origin]
				if !once {
					q = question{Table: t.ID.String(), Since: uint64(r.Placing)}
				}
				q.Placing = uint64(r.Placing)
				of[r.Origin] = q
			}
		}
		for o, q := range of {
			asked[o] = append(asked[o], q)
		}
		return true
	})
	return asked, tables
}

// gather asks the regions, all at once, and returns what they said by table.
func (p *Plane) gather(ctx context.Context, asked map[hlc.Origin][]question) map[globaltable.TableID]catalog.Progress {
	out := map[globaltable.TableID]catalog.Progress{}
	var mu sync.Mutex
	note := func(id string, f func(*catalog.Progress)) {
		n, _ := globaltable.ParseTableID(id) // our own question's
		mu.Lock()
		defer mu.Unlock()
		got, ok := out[n]
		if !ok {
			got = catalog.Progress{Answers: catalog.Answers{}, Unreachable: map[hlc.Origin]bool{}, Waiting: map[hlc.Origin]string{}}
			out[n] = got
		}
		f(&got)
	}
	var g errgroup.Group
	g.SetLimit(maxAsks)
	for o, questions := range asked {
		g.Go(func() error {
			for len(questions) > 0 {
				page := questions[:min(len(questions), maxQuestions)]
				questions = questions[len(page):]
				replies, err := p.askProgress(ctx, o, page)
				for i, q := range page {
					note(q.Table, func(got *catalog.Progress) {
						if err != nil {
							got.Unreachable[o] = true
							return
						}
						got.Answers[o] = catalog.Answer{Outcome: replies[i].Outcome, Joined: replies[i].Joined, ToPlace: replies[i].ToPlace, Percent: replies[i].Percent,
							Dropped: replies[i].Dropped, Filled: replies[i].Filled}
						if replies[i].Placed {
							got.Answers[o] = p.placed(ctx, o, q, replies[i].Receipt, got.Answers[o])
						}
						got.Waiting[o] = replies[i].Waiting
					})
				}
			}
			return nil
		})
	}
	_ = g.Wait() // its functions return nil
	return out
}

// placed adds to a region's answer that it has carried out policies, if its receipt says so.
func (p *Plane) placed(ctx context.Context, o hlc.Origin, q question, receipt string, a catalog.Answer) catalog.Answer {
	region, ok := p.cfg.Catalog.View().RegionOf(o)
	if !ok {
		return a
	}
	r, err := globaltable.ParseReceipt(receipt, &region)
	if err == nil && (r.Table.String() != q.Table || r.Version != globaltable.Version(q.Placing)) {
		err = errAnswer
	}
	if err != nil {
		p.failed(ctx, "check receipt", region.Name, err)
		return a
	}
	a.Placed, a.Receipt = true, receipt
	return a
}

// receipts are those with which next follows t: of the replicas that have carried out their policies.
func receipts(t, next *globaltable.Table, answers catalog.Answers) (out []systemItem) {
	for i := range t.Replicas {
		r := &t.Replicas[i]
		if now := next.Replica(r.Origin); r.Placing == 0 || now == nil || now.Placing != 0 {
			continue
		}
		token := answers[r.Origin].Receipt
		if read, err := globaltable.ReadReceipt(token); err == nil {
			out = append(out, systemItem{catalog.ReceiptKey(&read), catalog.EncodeReceipt(&catalog.Receipt{Receipt: read, Token: token})})
		}
	}
	return out
}

// askProgress asks one region. What a document is issued on the strength of lies before it, by the clock of every region: what a region has written before it had what it says it has got a smaller stamp
// than the document (commit.Shard.RaisePurge relies on it). So the answer of one that is too far ahead is none.
func (p *Plane) askProgress(ctx context.Context, o hlc.Origin, questions []question) ([]reply, error) {
	if o == p.self.Origin {
		return p.answerProgress(questions)
	}
	region, ok := p.cfg.Catalog.View().RegionOf(o)
	if !ok {
		return nil, errors.New("no descriptor of the region is configured")
	}
	a, err := p.ask(ctx, region.Name, &request{Progress: questions})
	if err == nil && len(a.Progress) != len(questions) {
		err = errAnswer
	}
	if err == nil {
		err = p.cfg.Clock.Observe(a.Clock)
	}
	if err != nil {
		p.failed(ctx, "ask for progress", region.Name, err)
		return nil, err
	}
	return a.Progress, nil
}
