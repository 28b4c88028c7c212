package catalog

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
)

// Whoever reads a log that grows, from position to position, sees each entry once.
func TestAuditPositionSeesEachEntryOnce(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		var p AuditPosition
		length := map[hlc.Origin]uint64{}
		var log, seen []string
		for range rapid.IntRange(1, 10).Draw(r, "looks") {
			for range rapid.IntRange(0, 5).Draw(r, "entries") {
				origin := hlc.Origin(rapid.IntRange(1, 3).Draw(r, "chain"))
				length[origin]++
				log = append(log, string(AuditKey(origin, length[origin], globaltable.Chain{byte(length[origin])})))
			}
			slices.Sort(log)
			for _, key := range log {
				if _, passed := p.Passed(item.Key(key)); !passed {
					seen = append(seen, key)
					p.Pass(item.Key(key))
				}
			}
			var err error
			if p, err = ParseAuditPosition(p.Encode()); err != nil {
				r.Fatal(err)
			}
		}
		if slices.Sort(seen); !slices.Equal(seen, log) {
			r.Fatalf("%d entries were seen of %d", len(seen), len(log))
		}
	})
}

func TestWrongAuditPositions(t *testing.T) {
	for _, text := range []string{"x", `{}`, `[""]`, `[1]`, `["` + strings.Repeat("a", item.MaxSortKeySize+1) + `"]`} {
		if _, err := ParseAuditPosition([]byte(text)); globaltable.KindOf(err) != globaltable.Invalid {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func FuzzParseAuditPosition(f *testing.F) {
	var p AuditPosition
	f.Add(p.Encode())
	p.Pass(AuditKey(1, 7, globaltable.Chain{1}))
	p.Pass(AuditKey(2, 1, globaltable.Chain{2}))
	f.Add(p.Encode())
	f.Add([]byte(`["a","a/b",""]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParseAuditPosition(b)
		if err != nil {
			return
		}
		again, err := ParseAuditPosition(p.Encode())
		if err != nil || string(again.Encode()) != string(p.Encode()) {
			t.Errorf("%q is read as another position: %v", p.Encode(), err)
		}
	})
}
