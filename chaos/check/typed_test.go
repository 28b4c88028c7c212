package check

import "testing"

// TestMerge: what writes of regions 1 and 2 to one item come to where attributes merge by types.
func TestMerge(t *testing.T) {
	number := func(text string) Value { return Value{Type: "N", Text: text} }
	text := func(s string) Value { return Value{Type: "S", Text: s} }
	set := func(elements ...string) Value { return Value{Type: "SS", Elements: elements} }
	at := func(time uint64, origin uint16) Stamp { return Stamp{Time: time, Origin: origin} }
	update := func(s Stamp, effects ...Effect) Write {
		return Write{Kind: Update, Stamp: s, Typed: &Typed{Effects: effects}}
	}
	seeing := func(w Write, name string, seen Seen) Write {
		w.Typed.Seen = map[string]Seen{name: seen}
		return w
	}
	add := func(run uint64, by string) Effect {
		return Effect{Kind: Add, Path: []string{"n"}, Value: number(by), Run: run}
	}
	whole := func(v Value, path ...string) Effect { return Effect{Kind: SetWhole, Path: path, Value: v} }
	insert := func(elements ...string) Effect {
		return Effect{Kind: Insert, Path: []string{"s"}, Value: set(elements...)}
	}
	bid := func(v string, least bool) Effect {
		return Effect{Kind: Bid, Path: []string{"b"}, Value: number(v), Least: least}
	}
	ranked := func(rank string, elements ...string) Effect {
		v := set(elements...)
		v.Rank = rank
		return Effect{Kind: Bid, Path: []string{"b"}, Value: v}
	}
	dropped := Write{Kind: Delete, Stamp: at(9, 2)}
	due := func(w Write, when uint64) Write {
		w.Due = func(attribute string) uint64 {
			if attribute == "t" {
				return when
			}
			return 0
		}
		return w
	}
	for name, tc := range map[string]struct {
		writes []Write
		purge  uint64
		want   string
	}{
		"increments":                 {[]Write{update(at(1, 1), add(1, "1")), update(at(2, 2), add(2, "-3.5")), update(at(3, 1), add(1, "2"))}, 0, "{n=N -0.5}"},
		"a set beside an increment":  {[]Write{update(at(1, 1), add(1, "1")), update(at(2, 2), whole(number("10"), "n"))}, 0, "{n=N 11}"},
		"a set that has seen one":    {[]Write{update(at(1, 1), add(1, "1")), update(at(2, 1), add(1, "5")), seeing(update(at(3, 2), whole(number("10"), "n")), "n", Seen{Runs: map[uint16]uint64{1: 1}})}, 0, "{n=N 15}"},
		"text hides increments":      {[]Write{update(at(1, 1), add(1, "1")), update(at(2, 2), whole(text("x"), "n"))}, 0, "{n=S x}"},
		"a delete that has not seen": {[]Write{update(at(1, 1), add(1, "1"), whole(text("x"), "a")), dropped}, 0, "{n=N 1}"},
		"a delete":                   {[]Write{update(at(1, 1), whole(text("x"), "a")), dropped}, 0, "nothing"},
		"elements":                   {[]Write{update(at(1, 1), insert("a", "b")), seeing(update(at(2, 2)), "s", Seen{Elements: map[string]map[uint16]uint64{"SSa": {1: 1}}})}, 0, "{s=SS[b]}"},
		"an element added unseen":    {[]Write{update(at(1, 1), insert("a")), update(at(3, 1), insert("a")), seeing(update(at(4, 2)), "s", Seen{Elements: map[string]map[uint16]uint64{"SSa": {1: 1}}})}, 0, "{s=SS[a]}"},
		"an element of a base":       {[]Write{update(at(1, 1), whole(set("a", "b"), "s")), seeing(update(at(4, 2)), "s", Seen{Elements: map[string]map[uint16]uint64{"SSb": {1: 1}}})}, 0, "{s=SS[a]}"},
		"bids":                       {[]Write{update(at(1, 1), bid("5", false)), update(at(2, 2), bid("3", false))}, 0, "{b=N 5}"},
		"a bid that has seen one":    {[]Write{update(at(1, 1), bid("5", false)), seeing(update(at(2, 2), bid("3", false)), "b", Seen{Bids: map[uint16]uint64{1: 1}})}, 0, "{b=N 3}"},
		"the least":                  {[]Write{update(at(1, 1), bid("5", true)), update(at(2, 2), bid("3", true)), update(at(3, 3), whole(number("4"), "b"))}, 0, "{b=N 3}"},
		"sets that bid":              {[]Write{update(at(1, 1), ranked("2", "a")), update(at(2, 2), ranked("1", "b", "c"))}, 0, "{b=SS[a]}"},
		"a set that bids with text":  {[]Write{update(at(1, 1), ranked("1", "a")), update(at(2, 2), Effect{Kind: Bid, Path: []string{"b"}, Value: text("x")})}, 0, "{b=SS[a]}"},
		"entries":                    {[]Write{update(at(1, 1), whole(text("1"), "m", "x")), update(at(2, 2), whole(text("2"), "m", "y", "z"))}, 0, "{m={x=S 1 y={z=S 2}}}"},
		"an entry under a whole":     {[]Write{update(at(1, 1), whole(text("1"), "m", "x")), update(at(2, 2), whole(Value{Type: "M", Fields: map[string]Value{"k": text("2")}}, "m"))}, 0, "{m={k=S 2}}"},
		"an entry over a whole":      {[]Write{update(at(3, 1), whole(text("1"), "m", "x")), update(at(2, 2), whole(Value{Type: "M", Fields: map[string]Value{"k": text("2")}}, "m"))}, 0, "{m={k=S 2 x=S 1}}"},
		"an entry removed":           {[]Write{update(at(1, 1), whole(Value{Type: "M", Fields: map[string]Value{"k": text("2")}}, "m")), update(at(2, 2), Effect{Kind: RemoveWhole, Path: []string{"m", "k"}})}, 0, "{m={}}"},
		"not expired yet":            {[]Write{due(update(at(1, 1), whole(number("4"), "t"), add(1, "1")), 4)}, 3, "{n=N 1 t=N 4}"},
		"expired":                    {[]Write{due(update(at(1, 1), whole(number("4"), "t"), add(1, "1")), 4)}, 4, "nothing"},
		"a run that goes on":         {[]Write{due(update(at(1, 1), whole(number("4"), "t"), add(1, "1")), 4), update(at(6, 1), add(1, "2"))}, 9, "{n=N 3}"},
		"a run that begins after":    {[]Write{due(update(at(1, 1), whole(number("4"), "t"), add(1, "1")), 4), update(at(6, 1), add(6, "2"))}, 9, "{n=N 2}"},
		"gone where somebody wrote": {[]Write{due(update(at(1, 1), whole(number("4"), "t"), whole(text("x"), "a")), 4),
			{Kind: Update, Stamp: at(9, 2), Floor: 5, Typed: &Typed{Effects: []Effect{whole(text("y"), "c")}}}}, 0, "{c=S y}"},
		"a put in time": {[]Write{due(update(at(1, 1), whole(number("4"), "t"), add(1, "1")), 4),
			{Kind: Put, Stamp: at(9, 2), Typed: &Typed{Effects: []Effect{add(9, "2")}}}}, 9, "{n=N 3}"},
		"a put that came late": {[]Write{due(update(at(1, 1), whole(number("4"), "t"), add(1, "1")), 4),
			{Kind: Put, Stamp: at(9, 2), Late: 6, Typed: (&Typed{Effects: []Effect{add(2, "2")}}).Anew(map[string]uint64{"n": 9})}}, 9, "{n=N 2}"},
	} {
		if got := showText(merge(tc.writes, tc.purge)); got != tc.want {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
	}
}

// TestMergedInPart: of a write that may be missing there may be its increment, in the sum that a later one of its run says, and in no other.
func TestMergedInPart(t *testing.T) {
	k, number := Key{Table: 1, Bytes: "k"}, func(text string) Value { return Value{Type: "N", Text: text} }
	of := func(time uint64, effects ...Effect) Operation {
		return Operation{Outcome: OK, Writes: []Write{{Key: k, Kind: Update, Stamp: Stamp{Time: time, Origin: 2}, Typed: &Typed{Effects: effects}}}}
	}
	add := func(by string) Effect { return Effect{Kind: Add, Path: []string{"n"}, Value: number(by), Run: 1} }
	bid := Effect{Kind: Bid, Path: []string{"b"}, Value: number("7")}
	another := add("10")
	another.Run = 2
	goesOn, anew, alone := []Operation{of(1, add("1"), bid), of(2, add("10"))}, []Operation{of(1, add("1"), bid), of(2, another)}, []Operation{of(1, add("1"), bid)}
	elsewhere := []Operation{of(1, add("1"), bid), of(2, Effect{Kind: Add, Path: []string{"o"}, Value: number("10"), Run: 1})}
	both := []Operation{of(1, add("1"), bid), of(3, add("10"))} // both may be missing
	for _, tc := range []struct {
		history    []Operation
		items      map[string]Value
		violations int
	}{
		{goesOn, map[string]Value{"n": number("11"), "b": number("7")}, 0},
		{goesOn, map[string]Value{"n": number("11")}, 0},
		{goesOn, map[string]Value{"n": number("10")}, 0},
		{goesOn, map[string]Value{"n": number("10"), "b": number("7")}, 1},
		{goesOn, map[string]Value{"n": number("1")}, 1},
		{anew, map[string]Value{"n": number("10")}, 0},
		{anew, map[string]Value{"n": number("11")}, 1},
		{alone, nil, 0},
		{alone, map[string]Value{"n": number("1")}, 1},
		{elsewhere, map[string]Value{"o": number("10")}, 0},
		{elsewhere, map[string]Value{"n": number("1"), "o": number("10")}, 1},
		{both, nil, 0},
		{both, map[string]Value{"n": number("1")}, 1},
		{both, map[string]Value{"n": number("1"), "b": number("7")}, 0},
		{both, map[string]Value{"n": number("11")}, 0},
	} {
		shown := []Shown{{Region: 1, Items: map[Key]map[string]Value{k: tc.items}}}
		found := Merged(tc.history, shown, func(Key) []uint16 { return []uint16{1} }, nil, func(w Write) bool { return w.Stamp.Time != 2 }, func(uint64) bool { return true })
		if len(found) != tc.violations {
			t.Errorf("%v: %v", tc.items, found)
		}
	}
}

// TestMergedApart: an increment that was not logged again with the rest of its write may be missing, if it stays saved; the rest is there.
func TestMergedApart(t *testing.T) {
	k, number := Key{Table: 1, Bytes: "k"}, func(text string) Value { return Value{Type: "N", Text: text} }
	typed := &Typed{Effects: []Effect{{Kind: SetWhole, Path: []string{"lo"}, Value: number("5")}, {Kind: Add, Path: []string{"n"}, Value: number("-5"), Run: 1}}}
	all, rest := map[string]Value{"lo": number("5"), "n": number("-5")}, map[string]Value{"lo": number("5")}
	for name, tc := range map[string]struct {
		logged     map[string]uint64
		saved      bool
		items      map[string]Value
		violations int
	}{
		"all of it":         {map[string]uint64{}, true, all, 0},
		"the rest":          {map[string]uint64{}, true, rest, 0},
		"the increment":     {map[string]uint64{}, true, map[string]Value{"n": number("-5")}, 1},
		"it is not saved":   {map[string]uint64{}, false, rest, 1},
		"it was logged too": {map[string]uint64{"n": 9}, true, rest, 1},
	} {
		w := Write{Key: k, Kind: Update, Stamp: Stamp{Time: 9, Origin: 2}, Typed: typed.Anew(tc.logged).Whole(func(string) bool { return tc.saved })}
		shown := []Shown{{Region: 1, Items: map[Key]map[string]Value{k: tc.items}}}
		found := Merged([]Operation{{Outcome: OK, Writes: []Write{w}}}, shown, func(Key) []uint16 { return []uint16{1} }, nil, nil, func(uint64) bool { return true })
		if len(found) != tc.violations {
			t.Errorf("%s: %v", name, found)
		}
	}
}

// TestMergedForgotten: of a run that a store goes on with after it forgot a part that somebody had seen, that part may be missing from what came since. It is not if it had not been seen, or if nobody went on with the run.
func TestMergedForgotten(t *testing.T) {
	k, number := Key{Table: 1, Bytes: "k"}, func(text string) Value { return Value{Type: "N", Text: text} }
	add := func(time uint64, by string, forgotten bool) Operation {
		return Operation{Outcome: OK, Writes: []Write{{Key: k, Kind: Update, Stamp: Stamp{Time: time, Origin: 2}, Forgotten: forgotten,
			Typed: &Typed{Effects: []Effect{{Kind: Add, Path: []string{"n"}, Value: number(by), Run: 1}}}}}}
	}
	set := func(seen map[uint16]uint64) Operation {
		return Operation{Outcome: OK, Writes: []Write{{Key: k, Kind: Update, Stamp: Stamp{Time: 5, Origin: 1},
			Typed: &Typed{Effects: []Effect{{Kind: SetWhole, Path: []string{"n"}, Value: number("100")}}, Seen: map[string]Seen{"n": {Runs: seen}}}}}}
	}
	for name, tc := range map[string]struct {
		history []Operation
		shows   map[string]int // violations, by what is shown
	}{
		"gone on with":       {[]Operation{add(1, "1", false), add(2, "10", true), set(map[uint16]uint64{2: 2}), add(9, "4", false)}, map[string]int{"104": 0, "94": 0, "114": 1, "93": 1}},
		"nothing came since": {[]Operation{add(1, "1", false), add(2, "10", true), set(map[uint16]uint64{2: 2})}, map[string]int{"100": 0, "90": 1}},
		"not seen":           {[]Operation{add(1, "1", false), add(2, "10", true), set(map[uint16]uint64{2: 1}), add(9, "4", false)}, map[string]int{"104": 0, "114": 0, "94": 1}},
		"not forgotten":      {[]Operation{add(1, "1", false), add(2, "10", false), set(map[uint16]uint64{2: 2}), add(9, "4", false)}, map[string]int{"104": 0, "94": 1}},
	} {
		for n, violations := range tc.shows {
			shown := []Shown{{Region: 1, Items: map[Key]map[string]Value{k: {"n": number(n)}}}}
			found := Merged(tc.history, shown, func(Key) []uint16 { return []uint16{1} }, nil, func(w Write) bool { return w.Stamp.Time == 2 }, func(uint64) bool { return true })
			if len(found) != violations {
				t.Errorf("%s, shows %s: %v", name, n, found)
			}
		}
	}
}

// TestMerged: each region shows what all writes come to, or all with some of those that may be missing.
func TestMerged(t *testing.T) {
	k := Key{Table: 1, Bytes: "k"}
	add := func(time uint64, origin uint16, by string) Operation {
		return Operation{Outcome: OK, Writes: []Write{{Key: k, Kind: Update, Stamp: Stamp{Time: time, Origin: origin},
			Typed: &Typed{Effects: []Effect{{Kind: Add, Path: []string{"n"}, Value: Value{Type: "N", Text: by}, Run: time}}}}}}
	}
	history := []Operation{add(1, 1, "1"), add(2, 2, "10")}
	for text, violations := range map[string]int{"11": 0, "1": 0, "10": 1, "12": 1} {
		shown := []Shown{{Region: 1, Items: map[Key]map[string]Value{k: {"n": {Type: "N", Text: text}}}}}
		found := Merged(history, shown, func(Key) []uint16 { return []uint16{1} }, nil, func(w Write) bool { return w.Stamp.Origin == 2 }, func(uint64) bool { return true })
		if len(found) != violations {
			t.Errorf("%s: %v", text, found)
		}
	}
}
