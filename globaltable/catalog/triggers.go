package catalog

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/locality"
	"github.com/concordat-db/concordat/globaltable/policy"
	"github.com/concordat-db/concordat/globaltable/trigger"
)

// TriggerChange is what is to become of a table's triggers, by one author for one reason. A trigger is named once at most.
type TriggerChange struct {
	Set    []trigger.Document `json:"set,omitempty"`    // made, or in place of those of the same names, which stay paused if they are
	Delete []string           `json:"delete,omitempty"` // by name, as all that follow
	Pause  []string           `json:"pause,omitempty"`
	Resume []string           `json:"resume,omitempty"`
	Replay []TriggerReplay    `json:"replay,omitempty"`
	Author string             `json:"author"`
	Reason string             `json:"reason,omitempty"`
	// Region is where the change was asked for, and At when the owner was, in Unix milliseconds. The control plane sets them.
	Region string `json:"region,omitempty"`
	At     int64  `json:"at,omitempty"`
}

// TriggerReplay asks for the events of a trigger since a moment, once more.
type TriggerReplay struct {
	Name  string `json:"name"`
	Since int64  `json:"since"` // Unix milliseconds, at or before the change's At
}

// Names returns the names of all triggers that c is about, in its order.
func (c *TriggerChange) Names() (names []string) {
	for i := range c.Set {
		names = append(names, c.Set[i].Name)
	}
	names = append(append(append(names, c.Delete...), c.Pause...), c.Resume...)
	for i := range c.Replay {
		names = append(names, c.Replay[i].Name)
	}
	return names
}

// ChangeTriggers returns the document of t after change; nil if there is nothing to do: a trigger that is as it is to be makes no version. It is pure, and decides in the owner's region; elsewhere it tells what the owner would say.
func ChangeTriggers(t *globaltable.Table, change *TriggerChange, epoch uint32) (*globaltable.Table, error) {
	if t.Deleted {
		return nil, NotFound("change triggers", t.Name)
	}
	if err := policy.CheckWords(change.Author, change.Reason); err != nil {
		return nil, invalid(t, messageOf(err))
	}
	if t.Disassociating() != nil {
		return nil, InUse("change triggers", t.Name, "updated")
	}
	names := change.Names()
	slices.Sort(names)
	for i := range names {
		if i > 0 && names[i] == names[i-1] {
			return nil, invalid(t, fmt.Sprintf("Trigger %s is there twice.", names[i]))
		}
	}
	next := successor(t, epoch)
	for i := range change.Set {
		if err := setTrigger(t, next, &change.Set[i], change.At); err != nil {
			return nil, err
		}
	}
	if err := actOnTriggers(next, change); err != nil {
		return nil, err
	}
	slices.SortFunc(next.Triggers, func(a, b globaltable.Trigger) int { return cmp.Compare(a.Name, b.Name) })
	if sameSettings(t, next) {
		return nil, nil
	}
	return finish(t, next)
}

// setTrigger puts what d says into next. A trigger that is made then begins at that moment, in Unix milliseconds.
func setTrigger(t, next *globaltable.Table, d *trigger.Document, at int64) error {
	switch {
	case d.Table != t.Name:
		return invalid(t, fmt.Sprintf("Trigger %s is about table %s.", d.Name, d.Table))
	case t.Stream.View == "":
		return invalid(t, fmt.Sprintf("Table %s has no change stream, whose events fire triggers. Switch it on first: with a ReplicationPolicy that says stream: %s, or with UpdateTable (StreamSpecification).", t.Name, globaltable.ViewNewAndOldImages))
	}
	if now := next.Trigger(d.Name); now != nil {
		if was := trigger.Of(t.Name, now); !was.Equal(d) {
			now.TriggerSpec = d.Spec
			now.Number++
		}
		return nil
	}
	next.Triggers = append(next.Triggers, globaltable.Trigger{Name: d.Name, Born: next.Version, Begins: hlc.FromTime(time.UnixMilli(at)), Number: 1, TriggerSpec: d.Spec})
	return nil
}

// actOnTriggers carries out in next what change wants of triggers that there are.
func actOnTriggers(next *globaltable.Table, change *TriggerChange) error {
	each := func(names []string, act func(*globaltable.Trigger)) error {
		for _, name := range names {
			g := next.Trigger(name)
			if g == nil {
				return &globaltable.Error{Op: "change triggers", Resource: name, Kind: globaltable.NotFound, Message: "Table " + next.Name + " has no trigger " + name + "."}
			}
			act(g)
		}
		return nil
	}
	for _, r := range change.Replay {
		if r.Since < 0 || r.Since > change.At {
			return invalid(next, fmt.Sprintf("Trigger %s cannot be replayed since %s: that is not in the past.", r.Name, time.UnixMilli(r.Since).UTC().Format(time.RFC3339)))
		}
		err := each([]string{r.Name}, func(g *globaltable.Trigger) {
			g.Replay = globaltable.Replay{Number: g.Replay.Number + 1, From: hlc.FromTime(time.UnixMilli(r.Since))}
		})
		if err != nil {
			return err
		}
	}
	if err := each(change.Pause, func(g *globaltable.Trigger) { g.Paused = true }); err != nil {
		return err
	}
	if err := each(change.Resume, func(g *globaltable.Trigger) { g.Paused = false }); err != nil {
		return err
	}
	if err := each(change.Delete, func(*globaltable.Trigger) {}); err != nil {
		return err
	}
	next.Triggers = slices.DeleteFunc(next.Triggers, func(g globaltable.Trigger) bool { return slices.Contains(change.Delete, g.Name) })
	if len(next.Triggers) == 0 {
		next.Triggers = nil
	}
	return nil
}

// TriggerNotes says what somebody who applies g, a trigger of t, may not expect: events that it does not get, or that have less in them. Each is a sentence.
func TriggerNotes(t *globaltable.Table, g *globaltable.Trigger) (notes []string) {
	note := func(format string, args ...any) { notes = append(notes, fmt.Sprintf(format, args...)) }
	switch lacks := lacking(t.Stream.View); {
	case t.Stream.View == "":
		note("Table %s has no change stream any more: nothing fires its triggers until it is switched on.", t.Name)
	case len(lacks) > 0:
		note("The stream of table %s shows %s: its events have no %s image of the item.", t.Name, t.Stream.View, strings.Join(lacks, " and no "))
		for _, image := range lacks {
			if asksFor(g.Filter, image) {
				note("The filter asks for the %s image.", image)
			}
		}
	}
	var kept []string
	for i := range t.Pins {
		if p := &t.Pins[i]; !p.Released && !locality.Tells(p, &g.Target) {
			kept = append(kept, p.Name)
		}
	}
	if len(kept) > 0 {
		slices.Sort(kept)
		note("The webhook is told nothing of items that are pinned by %s: these policies do not name it (spec.targets).", strings.Join(kept, ", "))
	}
	if g.Paused {
		note("The trigger is paused.")
	}
	return notes
}

// lacking returns the images that the records of a stream do not show.
func lacking(view globaltable.StreamView) []string {
	switch view {
	case globaltable.ViewNewImage:
		return []string{"old"}
	case globaltable.ViewOldImage:
		return []string{"new"}
	case globaltable.ViewKeysOnly:
		return []string{"new", "old"}
	}
	return nil
}

// asksFor reports whether a filter looks at an image of the item.
func asksFor(filter []byte, image string) bool {
	var shape struct {
		Data map[string]json.RawMessage `json:"data"`
	}
	if json.NewDecoder(bytes.NewReader(filter)).Decode(&shape) != nil {
		return false
	}
	return shape.Data[image] != nil
}
