package demo

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/concordat-db/concordat/cli/demodata"
)

func TestFingerprint(t *testing.T) {
	text := func(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }
	number := func(s string) types.AttributeValue { return &types.AttributeValueMemberN{Value: s} }
	base := attributes{"country": text("IS"), "id": text("IS-001"), "lat": number("64.1")}
	key, print, err := fingerprint(base)
	if err != nil || key != "IS\x00IS-001" {
		t.Fatalf("%q, %v", key, err)
	}
	for name, other := range map[string]attributes{
		"another value":      {"country": text("IS"), "id": text("IS-001"), "lat": number("64.2")},
		"another type":       {"country": text("IS"), "id": text("IS-001"), "lat": text("64.1")},
		"another name":       {"country": text("IS"), "id": text("IS-001"), "lng": number("64.1")},
		"one more":           {"country": text("IS"), "id": text("IS-001"), "lat": number("64.1"), "z": text("")},
		"one less":           {"country": text("IS"), "id": text("IS-001")},
		"borders that moved": {"country": text("IS"), "id": text("IS-001"), "la": text("tN64.1")},
	} {
		if _, p, err := fingerprint(other); err != nil || p == print {
			t.Errorf("%s: the same fingerprint (%v)", name, err)
		}
	}
	for name, bad := range map[string]attributes{
		"no key":       {"country": text("IS")},
		"foreign type": {"country": text("IS"), "id": text("1"), "x": &types.AttributeValueMemberBOOL{Value: true}},
	} {
		if _, _, err := fingerprint(bad); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func twoRegions() *story {
	return newStory(Config{Regions: []Region{{Name: "a"}, {Name: "b"}}, Out: &bytes.Buffer{}})
}

func TestDifferences(t *testing.T) {
	s := twoRegions()
	same := snapshot{items: map[string]string{"k": "1", "l": "2"}, sum: "x"}
	if err := differences(s.clients, []snapshot{same, same}); err != nil {
		t.Error(err)
	}
	err := differences(s.clients, []snapshot{same, {items: map[string]string{"k": "9"}, sum: "y"}})
	if err == nil || !strings.Contains(err.Error(), "a has 2 items, b has 1: 1 of the first are missing in the second, 1 differ") {
		t.Error(err)
	}
}

func TestNothingLost(t *testing.T) {
	s := twoRegions()
	written := []attributes{note("k", "one"), note("k", "two"), note("l", "three")}
	if err := s.acknowledged(written...); err != nil {
		t.Fatal(err)
	}
	shot := func(items ...attributes) snapshot {
		out := snapshot{items: map[string]string{}}
		for _, item := range items {
			key, print, err := fingerprint(item)
			if err != nil {
				t.Fatal(err)
			}
			out.items[key] = print
		}
		return out
	}
	for _, winner := range written[:2] {
		if err := s.nothingLost(shot(winner, written[2])); err != nil {
			t.Errorf("either write to a key may win: %v", err)
		}
	}
	for name, tc := range map[string]struct {
		shot snapshot
		want string
	}{
		"lost":    {shot(written[0]), "1 acknowledged items are missing, 0 hold what nobody wrote, 0 were never"},
		"wrong":   {shot(note("k", "zero"), written[2]), "0 acknowledged items are missing, 1 hold"},
		"foreign": {shot(written[0], written[2], note("m", "")), "0 hold what nobody wrote, 1 were never written"},
	} {
		if err := s.nothingLost(tc.shot); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Every place becomes an item that can be told from all others, and what is empty is left out.
func TestPlaceItems(t *testing.T) {
	places, err := demodata.Places()
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]bool{}
	for _, p := range places {
		item := placeItem(p)
		key, _, err := fingerprint(item)
		if err != nil || keys[key] {
			t.Fatalf("%s: %v, there before: %v", p.ID, err, keys[key])
		}
		keys[key] = true
		if _, there := item["admin2"]; there != (p.Admin2 != "") {
			t.Errorf("%s: admin2 %q, in the item: %v", p.ID, p.Admin2, there)
		}
	}
}

func TestProgressInLines(t *testing.T) {
	var out bytes.Buffer
	p := newProgress(&out, false)
	b := p.add("north", 10)
	for range 10 {
		b.add(1)
	}
	p.add("empty", 0)
	p.end(true)
	const want = "   north          3 of 10\n   north          5 of 10\n   north          8 of 10\n   north          10 of 10\n"
	if out.String() != want {
		t.Errorf("%q", out.String())
	}
}

// On a screen, bars end whether or not they got full.
func TestProgressOnAScreen(t *testing.T) {
	for _, done := range []int{4, 2} {
		var out bytes.Buffer
		p := newProgress(&out, true)
		b := p.add("north", 4)
		b.add(done)
		p.end(done == 4)
	}
}

func TestPatienceSaysWhatDidNotHappen(t *testing.T) {
	s := twoRegions()
	s.cfg.Wait = time.Millisecond
	wait := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	if err := s.patient(t.Context(), "the sun rises", wait); err == nil || !strings.Contains(err.Error(), "the sun rises: not within 1ms") {
		t.Error(err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.patient(cancelled, "the sun rises", wait); !errors.Is(err, context.Canceled) || strings.Contains(err.Error(), "sun") {
		t.Errorf("an interrupt is not impatience: %v", err)
	}
	broken := errors.New("broken")
	if err := s.patient(t.Context(), "the sun rises", func(context.Context) error { return broken }); err != broken {
		t.Error(err)
	}
}

func TestOneRegionIsNoDemo(t *testing.T) {
	if _, err := Run(t.Context(), Config{Regions: []Region{{Name: "a"}}}); err == nil {
		t.Error("ran with one region")
	}
}
