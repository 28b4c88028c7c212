package check

import (
	"strings"
	"testing"
)

var both = View{Old: true, New: true}

func toldOnce(position uint64, event string, was, is Image) Told {
	return Told{Position: position, Key: Key{Table: 1, Bytes: "k"}, Manner: Wrote, Event: event, Dot: Stamp{Time: position - 1, Origin: 2}, Old: was, New: is}
}

// TestStreamsFindWhatIsWrong: of each tale exactly what is wrong with it is found.
func TestStreamsFindWhatIsWrong(t *testing.T) {
	a, b, c := Image{"v": "a"}, Image{"v": "b"}, Image{"v": "c"}
	one := func(at uint64, event string, was, is Image) []Told { return []Told{toldOnce(at, event, was, is)} }
	for name, x := range map[string]struct {
		before, after Image
		view          View
		foreign       bool
		told          []Told
		want          string // empty: nothing
	}{
		"insert":              {nil, a, both, false, one(9, "INSERT", nil, a), ""},
		"remove":              {a, nil, both, false, one(9, "REMOVE", a, nil), ""},
		"nothing":             {a, a, both, false, nil, ""},
		"two":                 {a, c, both, false, []Told{toldOnce(9, "MODIFY", a, b), toldOnce(10, "MODIFY", b, c)}, ""},
		"there and back":      {a, a, both, false, []Told{toldOnce(9, "REMOVE", a, nil), toldOnce(10, "INSERT", nil, a)}, ""},
		"keys only":           {a, b, View{}, false, one(9, "MODIFY", nil, nil), ""},
		"new only":            {nil, b, View{New: true}, false, []Told{toldOnce(9, "INSERT", nil, a), toldOnce(10, "MODIFY", nil, b)}, ""},
		"handed over":         {a, nil, both, true, nil, ""},
		"foreign told":        {a, b, both, true, one(9, "MODIFY", a, b), "may not be here"},
		"untold":              {a, b, both, false, nil, "it is not told"},
		"told, the same":      {a, a, both, false, one(9, "MODIFY", a, a), "nothing is told"},
		"keys only, the same": {a, a, View{}, false, one(9, "MODIFY", nil, nil), "has not changed"},
		"wrong event":         {nil, a, both, false, one(9, "MODIFY", nil, a), "an event MODIFY"},
		"wrong old":           {a, b, both, false, one(9, "MODIFY", c, b), "an old image is not"},
		"wrong new":           {a, b, both, false, one(9, "MODIFY", a, c), "the last new image is not"},
		"a gap":               {a, c, both, false, []Told{toldOnce(9, "MODIFY", a, b), toldOnce(10, "MODIFY", a, c)}, "an old image is not"},
		"missing image":       {a, b, both, false, one(9, "MODIFY", a, nil), "an image is missing"},
	} {
		s := NewStreams(1)
		out := s.Batch([]Changed{{Key: Key{Table: 1, Bytes: "k"}, Before: x.before, After: x.after, View: x.view, Foreign: x.foreign, Told: x.told}}, func(Key, Stamp) (Write, bool) { return Write{}, false })
		if x.want == "" && len(out) > 0 || x.want != "" && (len(out) != 1 || !strings.Contains(out[0].Detail, x.want)) {
			t.Errorf("%s: %v, want %q", name, out, x.want)
		}
	}
}

func batch(s *Streams, write Write, told ...Told) []Violation {
	changed := []Changed{{Key: told[0].Key, Before: told[0].Old, After: told[len(told)-1].New, View: both, Told: told}}
	return s.Batch(changed, func(Key, Stamp) (Write, bool) { return write, write.Kind != 0 })
}

// TestStreamsKnowTheWrite: what is told of a write is what it wrote.
func TestStreamsKnowTheWrite(t *testing.T) {
	was, is := Image{"a": "1", "b": "1", "c": "1"}, Image{"a": "2", "b": "1"}
	for name, c := range map[string]struct {
		write Write
		want  bool
	}{
		"it":         {Write{Kind: Update, Set: map[string]string{"a": "2"}, Remove: []string{"c"}}, true},
		"a put":      {Write{Kind: Put, Set: map[string]string{"a": "2", "b": "1"}}, true},
		"less":       {Write{Kind: Update, Set: map[string]string{"a": "2"}}, false},
		"else":       {Write{Kind: Update, Set: map[string]string{"a": "3"}, Remove: []string{"c"}}, false},
		"not known":  {Write{}, true},
		"typed":      {Write{Kind: Update, Typed: &Typed{}}, true},
		"not at all": {Write{Kind: Update}, false},
	} {
		if out := batch(NewStreams(1), c.write, toldOnce(9, "MODIFY", was, is)); (len(out) == 0) != c.want {
			t.Errorf("%s: %v", name, out)
		}
	}
}

// TestStreamsKnowPositions: they ascend, are never given twice, over a crash either, and each change has one.
func TestStreamsKnowPositions(t *testing.T) {
	a := Image{"v": "a"}
	insert := func(at uint64) Told { return toldOnce(at, "INSERT", nil, a) }
	s := NewStreams(1)
	if out := batch(s, Write{}, insert(9)); len(out) > 0 {
		t.Fatal(out)
	}
	if out := batch(s, Write{}, insert(9)); len(out) != 2 { // the position, and the change
		t.Error(out)
	}
	early := insert(11)
	early.Dot.Time = 11
	if out := batch(s, Write{}, early); len(out) != 1 || !strings.Contains(out[0].Detail, "not after its change") {
		t.Error(out)
	}
	if out := batch(s, Write{}, insert(22)); len(out) > 0 {
		t.Error(out)
	}
	s.Survived(map[uint64]uint64{1: 9}) // those at 11 and 22 are gone
	again := insert(20)
	again.Dot.Time = 11
	if out := batch(s, Write{}, again); len(out) > 0 {
		t.Error(out)
	}
	s.Mark(30)
	if out := batch(s, Write{}, insert(25)); len(out) != 1 || !strings.Contains(out[0].Detail, "up to which all was read") {
		t.Error(out)
	}
	two := []Told{insert(40), toldOnce(41, "MODIFY", a, Image{"v": "b"})}
	two[0].Dot.Origin, two[1].Dot.Origin = 1, 1
	if out := batch(s, Write{}, two...); len(out) != 1 || !strings.Contains(out[0].Detail, "2 writes of one batch") {
		t.Error(out)
	}
	copied := []Told{insert(50), toldOnce(51, "MODIFY", a, Image{"v": "b"})}
	copied[0].Manner, copied[1].Manner, copied[1].Dot = Copying, Copying, copied[0].Dot
	if out := batch(s, Write{}, copied...); len(out) > 0 {
		t.Errorf("copies may bring the same newest write: %v", out)
	}
}

// TestStreamsKnowReaders: who has read something finds it again.
func TestStreamsKnowReaders(t *testing.T) {
	of := Stream{Table: 1, Since: 5}
	one, two := Read{Position: 9, What: "one"}, Read{Position: 12, What: "two"}
	never := func(Read) bool { return false }
	s := NewStreams(1)
	s.Durable(9)
	if out := s.Read(of, 0, 15, []Read{one, two}); len(out) != 1 || !strings.Contains(out[0].Detail, "before that was durable") {
		t.Error(out)
	}
	s = NewStreams(1)
	s.Durable(15)
	if out := s.Read(of, 0, 15, []Read{one, two}); len(out) > 0 {
		t.Error(out)
	}
	for name, got := range map[string][]Read{"not in order": {two, one}, "before where he was": {{Position: 3}}, "after the end": {{Position: 16}}} {
		s := NewStreams(1)
		s.Durable(99)
		if out := s.Read(of, 3, 15, got); len(out) == 0 {
			t.Errorf("%s: nothing is found", name)
		}
	}
	if out := s.Still(of, true, 0, []Read{one, two, {Position: 20}}, never); len(out) > 0 {
		t.Error(out)
	}
	if out := s.Still(of, true, 9, []Read{two}, never); len(out) > 0 {
		t.Errorf("trimmed: %v", out)
	}
	if out := s.Still(of, true, 0, []Read{two}, func(r Read) bool { return r == one }); len(out) > 0 {
		t.Errorf("erased: %v", out)
	}
	if out := s.Still(of, true, 0, []Read{two}, never); len(out) != 1 {
		t.Errorf("gone: %v", out)
	}
	if out := s.Still(of, true, 0, []Read{one, {Position: 12, What: "three"}}, never); len(out) != 1 {
		t.Errorf("another one: %v", out)
	}
	s.Untold(of)
	if out := s.Still(of, false, 0, []Read{one, two, {Position: 20}}, never); len(out) > 0 {
		t.Errorf("a stream that is not on: %v", out)
	}
	if out := s.Still(of, true, 15, nil, never); len(out) != 1 {
		t.Errorf("a reader at 15 that cannot tell that it has missed something: %v", out)
	}
	if out := s.Still(of, true, 16, nil, never); len(out) > 0 {
		t.Errorf("a reader that can: %v", out)
	}
}
