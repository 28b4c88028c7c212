package locality

import (
	"slices"
	"testing"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
)

func TestDecide(t *testing.T) {
	statuses := []globaltable.Status{globaltable.Creating, globaltable.Active, globaltable.Updating, globaltable.Deleting, globaltable.CreationFailed,
		globaltable.StatusFencing, globaltable.StatusFenced, "LATER"}
	var table globaltable.Table
	for i, s := range statuses {
		table.Replicas = append(table.Replicas, globaltable.Replica{Origin: hlc.Origin(len(statuses) - i), Status: s})
	}
	want := map[globaltable.Status][3]Decision{ // admit, send, receive
		globaltable.Creating:       {NotYet, Permit, Permit},
		globaltable.Active:         {Permit, Permit, Permit},
		globaltable.Updating:       {Permit, Permit, Permit},
		globaltable.Deleting:       {NotHere, NotHere, NotHere},
		globaltable.CreationFailed: {NotHere, NotHere, NotHere},
		globaltable.StatusFencing:  {NotHere, NotHere, NotHere},
		globaltable.StatusFenced:   {NotHere, NotHere, NotHere},
		"LATER":                    {NotHere, NotHere, NotHere},
		"":                         {NotHere, NotHere, NotHere}, // no replica
	}
	placement := PlaceOf(&table, nil)
	for o := hlc.Origin(1); o <= 9; o++ {
		var status globaltable.Status
		if r := table.Replica(o); r != nil {
			status = r.Status
		}
		for i, op := range []Operation{Admit, Send, Receive} {
			if got := Decide(&table, nil, o, op); got != want[status][i] {
				t.Errorf("%q: operation %d: %v, want %v", status, op, got, want[status][i])
			}
		}
		if placed := placement.Has(o); placed != (want[status][1] == Permit) {
			t.Errorf("%q: placed: %v, sent: %v: placement and decision differ", status, placed, want[status][1])
		}
		if got := Decide(&table, nil, o, 0); got != NotHere {
			t.Errorf("%q: an operation that is none: %v", status, got)
		}
	}
	if !slices.Equal(placement, globaltable.NewPlacement(6, 7, 8)) {
		t.Error(placement)
	}
	if p := PlaceOf(&globaltable.Table{Deleted: true}, nil); len(p) != 0 {
		t.Error("a dead table is placed:", p)
	}
}
