package regionnode

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"time"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/audit"
	"github.com/concordat-db/concordat/globaltable/policy"
	"github.com/concordat-db/concordat/regionnode/admin"
	"github.com/concordat-db/concordat/streams/cdc"
	"github.com/concordat-db/concordat/streams/trigger"
)

// triggerRuns is the firing of the node's triggers for operators: admin.TriggerRuns.
type triggerRuns struct{ n *Node }

// TriggerStats implements admin.TriggerRuns.
func (x triggerRuns) TriggerStats(_ context.Context, table, name string) (admin.TriggerStats, error) {
	out := admin.TriggerStats{Region: x.n.cfg.Region.Name, Triggers: []admin.TriggerRun{}}
	stats, err := x.n.triggers.Stats(table, name)
	if err != nil {
		return out, err
	}
	if len(stats) == 0 && (table != "" || name != "") {
		return out, noTrigger(name)
	}
	for i := range stats {
		s := &stats[i]
		letters := x.n.shard.Letters(s.ID)
		run := admin.TriggerRun{Table: s.Table.Name, Name: s.ID.Name, Fire: string(s.Spec.Fire), Target: s.Spec.Target.Kind(), Paused: s.Spec.Paused, Feeds: []admin.TriggerRow{},
			Letters: admin.LetterCount{Count: letters.Count, Bytes: letters.Bytes, Dropped: letters.Dropped}}
		for j := range s.Feeds {
			run.Feeds = append(run.Feeds, x.row(&s.Feeds[j], time.Now()))
		}
		out.Triggers = append(out.Triggers, run)
	}
	return out, nil
}

func noTrigger(name string) error {
	return &globaltable.Error{Op: "find trigger", Resource: name, Kind: globaltable.NotFound, Message: "this region has no such trigger"}
}

func (x triggerRuns) row(f *trigger.FeedStats, now time.Time) admin.TriggerRow {
	row := admin.TriggerRow{Fires: f.Fires, Ready: f.Ready, Position: cdc.Sequence(f.Position), CursorAgeMillis: max(0, now.Sub(f.Position.Time()).Milliseconds()), By: x.names(f.By), Regions: x.names(f.Regions),
		Delivered: f.Delivered, Filtered: f.Filtered, Covered: f.Covered, Failed: f.Failed, Withheld: f.Withheld, Gaps: f.Gaps, Buried: f.Buried,
		Backlog: admin.TriggerQueue{Records: f.Waiting, Bytes: f.WaitingBytes, More: f.WaitingMore}}
	if f.Feed.Origin != 0 {
		row.Origin = x.n.regionName(f.Feed.Origin)
	}
	if f.Oldest != 0 {
		row.Backlog.AgeMillis = max(0, now.Sub(f.Oldest.Time()).Milliseconds())
	}
	if f.LastError != "" {
		row.LastError = &admin.TriggerError{At: f.LastAt.UTC(), Error: f.LastError}
	}
	return row
}

func (x triggerRuns) names(regions []hlc.Origin) (out []string) {
	for _, o := range regions {
		out = append(out, x.n.regionName(o))
	}
	return out
}

// triggerStates returns how triggers do, in short.
func (n *Node) triggerStates(now time.Time) (out []admin.TriggerState) {
	for _, s := range n.triggers.States(now) {
		out = append(out, admin.TriggerState{Table: s.Table, Name: s.ID.Name, Paused: s.Paused, Fires: s.Fires, BehindMillis: s.Behind.Milliseconds(), Letters: n.shard.Letters(s.ID).Count, Gaps: s.Gaps})
	}
	return out
}

// DeadLetters implements admin.TriggerRuns.
func (x triggerRuns) DeadLetters(_ context.Context, q admin.DeadLetterQuery) (admin.DeadLetterList, error) {
	out := admin.DeadLetterList{Region: x.n.cfg.Region.Name, Letters: []admin.DeadLetter{}}
	id, ok := x.n.triggers.ID(q.Table, q.Trigger)
	if !ok {
		return out, noTrigger(q.Trigger)
	}
	var after, only hlc.Timestamp
	for text, into := range map[string]*hlc.Timestamp{q.After: &after, q.ID: &only} {
		if text == "" {
			continue
		}
		if *into, ok = cdc.ParseSequence(text); !ok {
			return out, noLetter(text)
		}
	}
	if only != 0 {
		after = only - 1
	}
	bytes := 0
	err := x.n.triggers.Letters(id, after, func(l *cdc.Letter) bool {
		if out.More = len(out.Letters) >= q.Limit || bytes > maxLettersBytes; out.More || only != 0 && l.Position != only {
			out.More = out.More && only == 0
			return false
		}
		letter := admin.DeadLetter{ID: cdc.Sequence(l.Position), Buried: time.UnixMilli(l.Buried).UTC(), Attempts: int(l.Attempts), Error: l.Error, Bytes: len(l.Event), EventID: trigger.EventID(l.Event)}
		if q.Event {
			letter.Event = json.RawMessage(slices.Clone(l.Event))
			bytes += len(l.Event)
		}
		out.Letters = append(out.Letters, letter)
		return true
	})
	if err == nil && only != 0 && len(out.Letters) == 0 {
		err = noLetter(q.ID)
	}
	return out, err
}

// maxLettersBytes bounds the events of one list, and one event.
const maxLettersBytes = 8 << 20

func noLetter(id string) error {
	return &globaltable.Error{Op: "find dead letter", Resource: id, Kind: globaltable.NotFound, Message: "the trigger has no dead letter " + id + " in this region"}
}

// letters reads a request.
func (x triggerRuns) letters(r *admin.DeadLetterRequest) (id globaltable.TriggerID, only []hlc.Timestamp, err error) {
	if err := policy.CheckWords(r.Author, r.Reason); err != nil {
		return id, nil, err
	}
	id, ok := x.n.triggers.ID(r.Table, r.Trigger)
	if !ok {
		return id, nil, noTrigger(r.Trigger)
	}
	for _, text := range r.IDs {
		at, ok := cdc.ParseSequence(text)
		if !ok {
			return id, nil, noLetter(text)
		}
		only = append(only, at)
	}
	return id, only, nil
}

// Redrive implements admin.TriggerRuns.
func (x triggerRuns) Redrive(ctx context.Context, r admin.DeadLetterRequest) (admin.Redriven, error) {
	id, only, err := x.letters(&r)
	if err != nil {
		return admin.Redriven{}, err
	}
	out, err := x.n.triggers.Redrive(ctx, id, only)
	if out.Delivered+out.Failed > 0 {
		err = cmpErr(err, x.note(ctx, audit.LettersRedriven, "redrive dead letters", &r, []audit.Change{{What: "delivered", Now: strconv.Itoa(out.Delivered)}, {What: "refused by the target", Now: strconv.Itoa(out.Failed)}}))
	}
	return admin.Redriven{Delivered: out.Delivered, Failed: out.Failed, Withheld: out.Withheld, More: out.More, Error: out.Error}, err
}

// Purge implements admin.TriggerRuns.
func (x triggerRuns) Purge(ctx context.Context, r admin.DeadLetterRequest) (admin.Purged, error) {
	id, only, err := x.letters(&r)
	if err != nil {
		return admin.Purged{}, err
	}
	dropped, err := x.n.triggers.Purge(ctx, id, only)
	if dropped > 0 {
		err = cmpErr(err, x.note(ctx, audit.LettersPurged, "purge dead letters", &r, []audit.Change{{What: "dropped", Now: strconv.Itoa(dropped)}}))
	}
	return admin.Purged{Dropped: dropped}, err
}

// note writes into the audit log what was done with dead letters. It is done then: whoever asked is told if it could not be written.
func (x triggerRuns) note(ctx context.Context, kind audit.Kind, op string, r *admin.DeadLetterRequest, changes []audit.Change) error {
	e := audit.Entry{Kind: kind, Subject: r.Table, Op: op, Asked: x.n.cfg.Region.Name, Author: r.Author, Reason: r.Reason, Changes: append([]audit.Change{{What: "trigger", Now: r.Trigger}}, changes...)}
	for _, id := range r.IDs {
		e.Changes = append(e.Changes, audit.Change{What: "letter", Now: id})
	}
	return x.n.plane.Note(context.WithoutCancel(ctx), e)
}
