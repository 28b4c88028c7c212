package watermark

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
)

// TestStories plays what is told in testdata/stories: regions with a clock that counts, one lane, one item each key, and the real matrix, merge and collection. Nothing moves by itself:
//
//	regions a b c        the regions, all in one placement
//	put a k v            region a writes the item k
//	set a k attribute    region a sets one attribute of it
//	delete a k           region a deletes it
//	beat a               region a makes a heartbeat: its clock, how much it has logged, and the rows that it knows
//	hear b a             region b gets a's latest heartbeat, with all that was logged before it
//	frontier a           F and P of the placement as region a knows them; P moves if it may
//	collect a [at=F]     region a collects at P; at=F is the simpler rule
//	show a k             what region a has of the item
func TestStories(t *testing.T) {
	datadriven.Walk(t, "testdata/stories", func(t *testing.T, path string) {
		s := &story{}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			var out []string
			for line := range strings.Lines(d.Input) {
				if words := strings.Fields(line); len(words) > 0 {
					if said := s.do(t, words); said != "" {
						out = append(out, said)
					}
				}
			}
			return strings.Join(out, "\n") + "\n"
		})
	})
}

type story struct{ regions []*place }

// place is a region of a story.
type place struct {
	name    string
	origin  hlc.Origin
	clock   hlc.Timestamp
	matrix  *Matrix
	log     []conflict.Change
	records map[string][]byte
	heard   map[hlc.Origin]int // entries applied of each origin
	beat    beat
}

// beat is a heartbeat on its way.
type beat struct {
	at    hlc.Timestamp
	heads int
	rows  []Row
}

func (s *story) placement() globaltable.Placement {
	var out []hlc.Origin
	for _, r := range s.regions {
		out = append(out, r.origin)
	}
	return globaltable.NewPlacement(out...)
}

func (s *story) region(t *testing.T, name string) *place {
	i := slices.IndexFunc(s.regions, func(r *place) bool { return r.name == name })
	if i < 0 {
		t.Fatalf("no region %s", name)
	}
	return s.regions[i]
}

func (s *story) do(t *testing.T, words []string) string {
	if words[0] == "regions" {
		for i, name := range words[1:] {
			s.regions = append(s.regions, &place{name: name, origin: hlc.Origin(i + 1), matrix: New(), records: map[string][]byte{}, heard: map[hlc.Origin]int{}})
		}
		return ""
	}
	r := s.region(t, words[1])
	switch words[0] {
	case "put":
		var b item.Builder
		b.Add([]byte("v"), item.AppendString(nil, words[3]))
		it, err := b.AppendItem(nil)
		if err != nil {
			t.Fatal(err)
		}
		return r.write(t, words[2], conflict.RecordPut(nil, it))
	case "set":
		return r.write(t, words[2], []conflict.Op{{Kind: conflict.OpSetCell, Name: []byte(words[3]), Value: item.AppendString(nil, "set")}})
	case "delete":
		return r.write(t, words[2], conflict.RecordDelete(nil))
	case "beat":
		r.clock++
		r.matrix.Beat(r.origin, r.clock)
		r.beat = beat{r.clock, len(r.log), r.matrix.Rows()}
		return ""
	case "hear":
		return r.hear(t, s.region(t, words[2]))
	case "frontier":
		return fmt.Sprintf("%s at %d by its clock: F %d, P %d", r.name, r.clock, r.matrix.Applied(s.placement()), r.matrix.Advance(s.placement().Lane(), r.matrix.Applied(s.placement()), r.clock))
	case "collect":
		p := r.matrix.Purge(s.placement().Lane())
		if len(words) > 2 && words[2] == "at=F" {
			p = r.matrix.Applied(s.placement())
		}
		return r.collect(t, p)
	case "show":
		return fmt.Sprintf("%s has of %s: %s", r.name, words[2], describe(t, r.records[words[2]]))
	}
	t.Fatalf("what is %v?", words)
	return ""
}

func (r *place) write(t *testing.T, key string, ops []conflict.Op) string {
	r.clock++
	context, err := conflict.ContextOf(r.records[key], r.origin, 0)
	if err != nil {
		t.Fatal(err)
	}
	c := conflict.Change{Table: 9, Key: []byte(key), Dot: hlc.Stamp{Time: r.clock, Origin: r.origin}, Context: context, Ops: ops}
	r.log = append(r.log, c)
	next, _, err := conflict.ApplyLocal(nil, r.records[key], &c)
	if err != nil {
		t.Fatal(err)
	}
	r.records[key] = next
	return fmt.Sprintf("%s writes %s at %d", r.name, key, r.clock)
}

// hear applies what was logged before the other's heartbeat, and then uses that.
func (r *place) hear(t *testing.T, from *place) string {
	var out []string
	for ; r.heard[from.origin] < from.beat.heads; r.heard[from.origin]++ {
		c := &from.log[r.heard[from.origin]]
		next, result, err := conflict.Apply(nil, r.records[string(c.Key)], c)
		if err != nil {
			t.Fatal(err)
		}
		r.records[string(c.Key)] = next
		out = append(out, fmt.Sprintf("%s merges the write of %s made by %s at %d: %s", r.name, c.Key, from.name, c.Dot.Time, result.Class))
	}
	r.clock = max(r.clock, from.beat.at)
	for _, row := range from.beat.rows {
		if row.Region != r.origin {
			r.matrix.Update(row)
		}
	}
	r.matrix.Mark(r.origin, from.origin, from.beat.at)
	return strings.Join(out, "\n")
}

func (r *place) collect(t *testing.T, p hlc.Timestamp) string {
	var out []string
	for _, key := range slices.Sorted(func(yield func(string) bool) {
		for k := range r.records {
			if !yield(k) {
				return
			}
		}
	}) {
		next, gone, changed, err := conflict.Collect(nil, r.records[key], p)
		switch {
		case err != nil:
			t.Fatal(err)
		case gone:
			delete(r.records, key)
			out = append(out, fmt.Sprintf("%s has collected %s at %d", r.name, key, p))
		case changed:
			r.records[key] = next
			out = append(out, fmt.Sprintf("%s has collected removed attributes of %s at %d", r.name, key, p))
		}
	}
	if out == nil {
		return fmt.Sprintf("%s has nothing to collect at %d", r.name, p)
	}
	return strings.Join(out, "\n")
}

func describe(t *testing.T, record []byte) string {
	if len(record) == 0 {
		return "nothing"
	}
	rec, err := conflict.DecodeRecord(record)
	if err != nil {
		t.Fatal(err)
	}
	if !rec.Live() {
		return fmt.Sprintf("deleted at %d", rec.Reset.Stamp.Time)
	}
	var names []string
	for _, c := range rec.Cells {
		if len(c.Name) > 0 && !c.Removed {
			names = append(names, fmt.Sprintf("%s of %d", c.Name, c.Stamp.Time))
		}
	}
	return strings.Join(names, ", ")
}
