package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode/admin"
)

const (
	// tablePoll is how often a command that watches a table looks again.
	tablePoll = 250 * time.Millisecond
	// tablePatience is how long the region asked may give no answer: it may be starting again.
	tablePatience = 30 * time.Second
)

// watch calls look with the table as it is, first with t, then again and again, until look is done or fails. When the region does not have the table any more, gone says whether that is the end. It does not
// change anything, so it can be ended at any time. Gone may correct the table that is returned then.
func watch(ctx context.Context, at tableAt, t admin.Table, look func(admin.Table) (done bool, err error), gone func(*admin.Table) bool) (admin.Table, error) {
	heard := time.Now()
	for {
		if done, err := look(t); done || err != nil {
			return t, err
		}
		select {
		case <-ctx.Done():
			return t, errors.New("interrupted: it goes on by itself, and the same command again shows how far it is")
		case <-time.After(tablePoll):
		}
		next, err := at.get(ctx)
		var answered *adminFault
		switch {
		case err == nil:
			t, heard = next, time.Now()
		case errors.As(err, &answered) && answered.status == http.StatusNotFound && gone(&t):
			return t, nil
		case answered != nil && answered.status == http.StatusNotFound, ctx.Err() == nil && time.Since(heard) > tablePatience:
			return t, err
		}
	}
}

// watchJoins returns when the replicas in the regions named serve.
func watchJoins(ctx context.Context, w io.Writer, at tableAt, t admin.Table, regions []string) (admin.Table, error) {
	show := newJoinProgress(w, regions)
	t, err := watch(ctx, at, t, func(t admin.Table) (bool, error) {
		joined := 0
		for _, region := range regions {
			r := replicaOf(&t, region)
			switch {
			case r == nil:
				return false, fmt.Errorf("the replica in %s is gone: its creation was called off", region)
			case r.Status == string(globaltable.CreationFailed):
				return false, fmt.Errorf("the replica in %s could not be created: %s", region, r.Detail)
			case r.Status == string(globaltable.Active):
				joined++
				show.set(region, 100, "")
			case r.Percent != nil:
				show.set(region, *r.Percent, r.Detail)
			default:
				show.set(region, -1, r.Detail)
			}
		}
		return joined == len(regions), nil
	}, func(*admin.Table) bool { return false })
	show.end(err == nil)
	return t, err
}

// watchDisassociation returns when the table that has the name in the region is another than the one with the id given.
func watchDisassociation(ctx context.Context, w io.Writer, at tableAt, t admin.Table, was, region string) (admin.Table, error) {
	show := newJoinProgress(w, []string{region})
	show.doing, show.done = "copied", "a table of its own"
	t, err := watch(ctx, at, t, func(t admin.Table) (bool, error) {
		r := replicaOf(&t, region)
		switch {
		case t.ID != was:
			show.set(region, 100, "")
			return true, nil
		case r == nil || r.Status != string(globaltable.Updating):
			return false, fmt.Errorf("the replica in %s stays in its table: the disassociation was called off", region)
		case r.Percent != nil:
			show.set(region, min(*r.Percent, 99), r.Detail) // what is copied waits for the others
		default:
			show.set(region, -1, r.Detail)
		}
		return false, nil
	}, func(*admin.Table) bool { return false })
	show.end(err == nil)
	return t, err
}

// watchLeave returns when the region's replica is gone. What it waits for is told when it changes.
func watchLeave(ctx context.Context, w io.Writer, at tableAt, t admin.Table, region string) (admin.Table, error) {
	said := ""
	return watch(ctx, at, t, func(t admin.Table) (bool, error) {
		r := replicaOf(&t, region)
		if r == nil {
			return true, nil
		}
		if r.Detail != said && r.Detail != "" {
			fmt.Fprintf(w, "%s: %s\n", region, r.Detail)
		}
		said = r.Detail
		return false, nil
	}, func(t *admin.Table) bool { // the region that was asked is the one whose replica goes
		t.Status, t.Items, t.Bytes = "", 0, 0
		t.Replicas = slices.DeleteFunc(t.Replicas, func(r admin.Replica) bool { return r.Region == region })
		return true
	})
}

// joinProgress shows how far joins are, or what else becomes of replicas: a bar for each on a screen, lines elsewhere.
type joinProgress struct {
	w    io.Writer
	all  *mpb.Progress // nil: lines
	each map[string]*joinBar

	doing, done string // what becomes of a replica, in lines
}

type joinBar struct {
	bar     *mpb.Bar
	detail  atomic.Pointer[string]
	percent int // told last; -1: nothing yet
}

func newJoinProgress(w io.Writer, regions []string) *joinProgress {
	p := &joinProgress{w: w, each: map[string]*joinBar{}, doing: "joined", done: "active"}
	if isTerminal(w) {
		p.all = mpb.New(mpb.WithOutput(w), mpb.WithWidth(48))
	}
	for _, region := range regions {
		b := &joinBar{percent: -1}
		b.detail.Store(new(string))
		if p.all != nil {
			b.bar = p.all.AddBar(100,
				mpb.PrependDecorators(decor.Name("   "+region, decor.WCSyncSpaceR)),
				mpb.AppendDecorators(decor.Percentage(decor.WCSyncSpace), decor.Any(func(decor.Statistics) string { return "  " + *b.detail.Load() })))
		}
		p.each[region] = b
	}
	return p
}

// set shows how far a region's join is, in percent, -1 for not known, and what it waits for.
func (p *joinProgress) set(region string, percent int, detail string) {
	b := p.each[region]
	before := *b.detail.Load()
	b.detail.Store(&detail)
	if b.bar != nil {
		b.bar.SetCurrent(int64(max(percent, 0)))
		return
	}
	if detail != before && detail != "" {
		fmt.Fprintf(p.w, "%s: %s\n", region, detail)
	}
	if percent >= 0 && (b.percent < 0 || percent/25 > b.percent/25) {
		b.percent = percent
		fmt.Fprintf(p.w, "%s: %s\n", region, p.text(percent))
	}
}

func (p *joinProgress) text(percent int) string {
	if percent == 100 {
		return p.done
	}
	return fmt.Sprintf("%d%% %s", percent, p.doing)
}

// end stops showing. Bars that are not full stay as they are.
func (p *joinProgress) end(complete bool) {
	switch {
	case p.all == nil:
	case complete:
		p.all.Wait()
	default:
		p.all.Shutdown()
	}
}
