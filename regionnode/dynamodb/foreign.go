package dynamodb

import (
	"slices"
	"strings"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/locality"
)

// foreign refuses a request on items of which some may not be served in this region. It says nothing of them, nor whether there are any. Its chain has a *globaltable.Error of kind Denied, with DynamoDB's words as far as there are any.
type foreign struct {
	pins    []*globaltable.Pin // by which; each once. The request is forwarded only if all of them say so
	regions []hlc.Origin       // that may serve all items of the request, in the order of the first table's document
	asked   bool               // another region has forwarded the request
	several bool               // it is about several items
	err     *globaltable.Error
}

func (f *foreign) Error() string { return f.err.Error() }

func (f *foreign) Unwrap() error { return f.err }

// forwards reports whether the request may be served by one of regions instead.
func (f *foreign) forwards() bool {
	return !f.asked && len(f.pins) > 0 && !slices.ContainsFunc(f.pins, func(p *globaltable.Pin) bool { return p.Foreign != globaltable.Forward })
}

// refuse returns why a request on n items cannot be served here: one of them at least may not be.
func (d *door) refuse(n int, at items) *foreign {
	f := &foreign{asked: d.asker != 0, several: n > 1}
	var reasons []string
	for i := range n {
		t, key := at(i)
		serving := locality.Serving(t, key)
		if i == 0 {
			f.regions = serving
		} else {
			f.regions = slices.DeleteFunc(f.regions, func(o hlc.Origin) bool { return !slices.Contains(serving, o) })
		}
		if d.may(t, key) {
			continue
		}
		why, pin := d.why(t, key)
		if pin != nil && !slices.Contains(f.pins, pin) {
			f.pins = append(f.pins, pin)
		}
		if !slices.Contains(reasons, why) {
			reasons = append(reasons, why)
		}
	}
	f.err = &globaltable.Error{Op: "serve item", Resource: policies(f.pins, ", "), Kind: globaltable.Denied, Message: strings.Join(reasons, " ")}
	return f
}

// why returns why an item may not be served, and by which policy; nil: by none.
func (d *door) why(t *globaltable.Table, key []byte) (why string, pin *globaltable.Pin) {
	self := d.server.config.Origin
	if locality.Decide(t, key, self, locality.Admit) == locality.Permit {
		r := t.Replica(d.asker)
		if r == nil {
			return "The region that forwards the request has no replica of the table.", nil
		}
		return "The item may not be sent to region " + r.Region + ", not even for a client there.", locality.Refusing(t, key, d.asker)
	}
	pin = locality.Refusing(t, key, self)
	switch {
	case pin == nil:
		return "The item may not be in region " + d.server.config.Region + ".", nil
	case locality.Decide(t, key, self, locality.Admit) == locality.NotYet:
		return "The item is not in region " + d.server.config.Region + " yet: a change of locality policy " + pin.Name + " is being carried out. It is in " +
			names(t, locality.Serving(t, key)) + ".", pin
	}
	return "The item may not be in region " + d.server.config.Region + ": locality policy " + pin.Name + " permits " + names(t, locality.PlaceOf(t, pin)) + ".", pin
}

// names lists regions of t.
func names(t *globaltable.Table, regions []hlc.Origin) string {
	if len(regions) == 0 {
		return "no region that is in use"
	}
	out := make([]string, 0, len(regions))
	for _, o := range regions {
		out = append(out, t.Replica(o).Region)
	}
	return strings.Join(out, ", ")
}
