package check

import (
	"slices"
	"strings"
	"testing"
)

// tales is what three regions tell of a table: a write of region 2 to k that all tell, one of region 1 that lost in region 3, where nothing is told of it, a copy in region 3, and an expiry in all.
func tales() *Triggers {
	t := NewTriggers()
	k := Key{Table: 1, Bytes: "k"}
	for region := uint16(1); region <= 3; region++ {
		at := uint64(100 * region)
		t.Told(region, "write", Told{Position: at + 1, Key: k, Manner: Wrote, Dot: Stamp{Time: 60, Origin: 2}})
		if region != 3 {
			t.Told(region, "loser", Told{Position: at + 2, Key: k, Manner: Wrote, Dot: Stamp{Time: 61, Origin: 1}})
		} else {
			t.Told(region, "copy", Told{Position: at + 2, Key: k, Manner: Copying, Dot: Stamp{Time: 70, Origin: 2}})
		}
		t.Told(region, "expiry", Told{Position: at + 3, Key: k, Manner: Expiry, Dot: Stamp{Time: 80, Origin: 2}})
	}
	return t
}

var armed = Trigger{Table: 1, Name: "t"}

func deliver(t *Triggers, region uint16, ids ...string) (out []Violation) {
	for _, id := range ids {
		_, found := t.Deliver(Delivery{Trigger: armed, Region: region, Run: string(rune('0' + region)), ID: id})
		out = append(out, found...)
	}
	return out
}

// TestTriggersOwe: of what is told exactly that is missed in the end which somebody owes.
func TestTriggersOwe(t *testing.T) {
	all := []uint16{1, 2, 3}
	each := func(ids ...string) map[uint16][]string { return map[uint16][]string{1: ids, 2: ids, 3: ids} }
	for name, c := range map[string]struct {
		firing  Firing
		holders []uint16
		got     map[uint16][]string
		prepare func(*Triggers)
		begins  uint64
		want    []string // ids, sorted, as often as they are found
	}{
		"everywhere":                      {firing: ByAll, holders: all, got: map[uint16][]string{1: {"write", "loser", "expiry"}, 2: {"write", "loser", "expiry"}, 3: {"write", "copy", "expiry"}}},
		"everywhere, one has not":         {firing: ByAll, holders: all, got: map[uint16][]string{1: {"write", "loser", "expiry"}, 2: {"write", "expiry"}, 3: {"write", "copy"}}, want: []string{"expiry", "loser"}},
		"everywhere, a copy":              {firing: ByAll, holders: []uint16{3}, got: map[uint16][]string{3: {"write", "expiry"}}, want: []string{"copy"}},
		"everywhere, who is out":          {firing: ByAll, holders: []uint16{1}, got: map[uint16][]string{1: {"write", "loser", "expiry"}}},
		"one":                             {firing: ByOne, holders: all, got: map[uint16][]string{3: {"write", "copy"}, 1: {"expiry"}}},
		"one, nobody":                     {firing: ByOne, holders: all, want: []string{"expiry", "write"}},
		"one, what lost somewhere":        {firing: ByOne, holders: []uint16{1, 2}, got: map[uint16][]string{1: {"write", "expiry"}}},
		"one, what had gone":              {firing: ByOne, holders: all, prepare: func(t *Triggers) { t.Missed(armed, 2, 200, 201) }, got: map[uint16][]string{1: {"expiry"}}},
		"one, other records had gone":     {firing: ByOne, holders: all, prepare: func(t *Triggers) { t.Missed(armed, 2, 201, 202) }, got: map[uint16][]string{1: {"expiry"}}, want: []string{"write"}},
		"one, another trigger missed it":  {firing: ByOne, holders: all, prepare: func(t *Triggers) { t.Missed(Trigger{1, "u"}, 2, 0, 300) }, want: []string{"expiry", "write"}},
		"one, before it began":            {firing: ByOne, holders: all, begins: 60, got: map[uint16][]string{1: {"expiry"}}},
		"one, a store was lost":           {firing: ByOne, holders: all, prepare: func(t *Triggers) { t.NewStore(2) }},
		"one, a crash":                    {firing: ByOne, holders: all, prepare: func(t *Triggers) { t.Durable(2, 201); t.Survived(2, map[uint64]uint64{1: 202}) }, want: []string{"write"}},
		"origin":                          {firing: ByOrigin, holders: all, got: map[uint16][]string{1: {"loser"}, 2: {"write", "expiry"}}},
		"origin, though it lost later on": {firing: ByOrigin, holders: all, got: map[uint16][]string{2: {"write", "expiry"}}, want: []string{"loser"}},
		"origin is out":                   {firing: ByOrigin, holders: []uint16{1, 3}, got: map[uint16][]string{1: {"write", "loser"}}, want: []string{"expiry"}},
		"again":                           {firing: ByAll, holders: []uint16{2}, got: each("write", "write", "expiry", "expiry", "write"), want: []string{"loser"}},
	} {
		x := tales()
		if c.prepare != nil {
			c.prepare(x)
		}
		for region, ids := range c.got {
			for _, id := range ids {
				if found := deliver(x, region, id); len(found) > 0 {
					t.Errorf("%s: %v", name, found)
				}
			}
		}
		out := x.Judge(Armed{Trigger: armed, Firing: c.firing, Begins: c.begins, Holders: func(Key) []uint16 { return c.holders }, Away: no, Back: no})
		var ids []string
		for _, v := range out {
			_, rest, _ := strings.Cut(v.Detail, "delivered ")
			ids = append(ids, strings.TrimRight(strings.Fields(rest)[0], ",:"))
		}
		if slices.Sort(ids); !slices.Equal(ids, c.want) {
			t.Errorf("%s: %v, want %v", name, out, c.want)
		}
		if away := x.Judge(Armed{Trigger: armed, Firing: c.firing, Holders: func(Key) []uint16 { return c.holders }, Away: func(Key) bool { return true }, Back: no}); len(away) > 0 {
			t.Errorf("%s: where items may not be everywhere: %v", name, away)
		}
		back := x.Judge(Armed{Trigger: armed, Firing: c.firing, Begins: c.begins, Holders: func(Key) []uint16 { return c.holders }, Away: no, Back: func(Key) bool { return true }})
		if len(back) != len(c.want)-len(slices.DeleteFunc(slices.Clone(c.want), func(id string) bool { return id != "expiry" })) {
			t.Errorf("%s: where the item was logged again, and expired: %v", name, back)
		}
	}
}

func no(Key) bool { return false }

// TestTriggersDeliverWhatIsTold: what is delivered is told, under one id, in the order of its key, and durable.
func TestTriggersDeliverWhatIsTold(t *testing.T) {
	x := tales()
	find := func(out []Violation, want string) {
		t.Helper()
		if want == "" && len(out) > 0 || want != "" && (len(out) != 1 || !strings.Contains(out[0].Detail, want)) {
			t.Errorf("found %v, want %q", out, want)
		}
	}
	find(deliver(x, 3, "loser"), "of which nothing is told")
	find(deliver(x, 1, "loser"), "")
	find(deliver(x, 1, "write"), "after what became of it")
	find(deliver(x, 1, "loser", "write", "expiry"), "")
	find(deliver(x, 2, "write", "loser", "write", "loser"), "")
	k := Key{Table: 1, Bytes: "k"}
	find(x.Told(1, "other", Told{Position: 101, Key: k, Manner: Wrote, Dot: Stamp{Time: 60, Origin: 2}}), "had write")
	find(x.Told(1, "write", Told{Position: 109, Key: k, Manner: Wrote, Dot: Stamp{Time: 65, Origin: 2}}), "was that of")
	find(x.Told(2, "copy", Told{Position: 202, Key: k, Manner: Copying, Dot: Stamp{Time: 70, Origin: 2}}), "was that of")
	if again, _ := x.Deliver(Delivery{Trigger: armed, Region: 3, Run: "3", ID: "write"}); !again {
		t.Error("an event is not known to have been delivered by another region")
	}
	x.Durable(2, 201)
	find(x.Survived(2, map[uint64]uint64{}), "which a crash took")
	find(x.Survived(2, map[uint64]uint64{}), "")
	find(deliver(x, 2, "loser"), "") // it was told, and delivered late
}
