package expr

import (
	"strings"
	"testing"

	"github.com/valyala/fastjson"

	"github.com/concordat-db/concordat/globaltable/item"
)

// typical is a 1 KB item of 8 attributes.
var typical = `{"pk":{"S":"customer#8f14e45f"},"sk":{"N":"1763834400123"},"name":{"S":"Ada Lovelace"},"active":{"BOOL":true},"score":{"N":"-12.75"},` +
	`"tags":{"SS":["gold","early","eu"]},"address":{"M":{"city":{"S":"London"},"zip":{"S":"W1J 7NT"},"lat":{"N":"51.50853"}}},"notes":{"S":"` + strings.Repeat("lorem ipsum dolor sit amet ", 26) + `"}}`

// The expressions of the benchmarks, with what they are bound to.
const (
	benchCondition  = "attribute_exists(pk) AND #active = :true AND (score BETWEEN :low AND :high OR contains(tags, :tag)) AND size(notes) < :size"
	benchUpdate     = "SET score = score + :low, address.city = :tag, notes = if_not_exists(notes, :tag) REMOVE active ADD sk :size"
	benchProjection = "pk, address.city, tags, score"
	benchKey        = "pk = :tag AND sk BETWEEN :low AND :high"
	benchNames      = `{"#active":"active"}`
	benchValues     = `{":true":{"BOOL":true},":low":{"N":"-20"},":high":{"N":"20"},":tag":{"S":"gold"},":size":{"N":"1000"}}`
)

func BenchmarkParse(b *testing.B) {
	for name, bench := range map[string]struct {
		text string
		rule func(*parser) error
	}{"condition": {benchCondition, parseCondition}, "update": {benchUpdate, parseUpdate}, "projection": {benchProjection, parseProjection}} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := parse("", bench.text, bench.rule); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkBindings is what the placeholders of a request take.
func BenchmarkBindings(b *testing.B) {
	var binds Bindings
	names, values := parseJSON(b, benchNames).GetObject(), parseJSON(b, benchValues).GetObject()
	b.ReportAllocs()
	for b.Loop() {
		set(b, &binds, names, values)
	}
}

func set(b testing.TB, binds *Bindings, names, values *fastjson.Object) {
	binds.Reset()
	if err := binds.SetNames(names); err != nil {
		b.Fatal(err)
	}
	if err := binds.SetValues(values); err != nil {
		b.Fatal(err)
	}
}

// benchBinders bind each kind of expression, parsed before.
func benchBinders(p *Parser, binds *Bindings) map[string]func() error {
	condition, update, projection, key := []byte(benchCondition), []byte(benchUpdate), []byte(benchProjection), []byte(benchKey)
	return map[string]func() error{
		"condition":  func() error { _, err := p.Condition(ConditionParameter, condition, binds); return err },
		"update":     func() error { _, err := p.Update(update, binds); return err },
		"projection": func() error { _, err := p.Projection(projection, binds); return err },
		"key":        func() error { _, err := p.KeyCondition(key, binds); return err },
	}
}

// BenchmarkBind is what an expression takes whose text is kept.
func BenchmarkBind(b *testing.B) {
	var binds Bindings
	names, values := parseJSON(b, benchNames).GetObject(), parseJSON(b, benchValues).GetObject()
	for name, bind := range benchBinders(NewParser(100), &binds) {
		b.Run(name, func(b *testing.B) {
			set(b, &binds, names, values)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if i%1000 == 999 { // what is bound lives until then
					set(b, &binds, names, values)
				}
				if err := bind(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkHolds(b *testing.B) {
	c, err := NewParser(0).Condition(ConditionParameter, []byte(benchCondition), bindings(b, benchNames, benchValues))
	if err != nil {
		b.Fatal(err)
	}
	it := parseItem(b, typical)
	b.ReportAllocs()
	for b.Loop() {
		if !c.Holds(it) {
			b.Fatal("does not hold")
		}
	}
}

func BenchmarkApply(b *testing.B) {
	it := parseItem(b, typical)
	buf := make([]byte, 0, 4096)
	for name, text := range map[string]string{"several": benchUpdate, "counter": "ADD sk :size", "set": "SET notes = :tag"} {
		b.Run(name, func(b *testing.B) {
			u, err := NewParser(0).Update([]byte(text), bindings(b, "", benchValues))
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := u.Apply(buf, it); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkProject(b *testing.B) {
	x, err := NewParser(0).Projection([]byte(benchProjection), new(Bindings))
	if err != nil {
		b.Fatal(err)
	}
	it := parseItem(b, typical)
	buf := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		if item.Item(x.Append(buf, it)).Len() != 4 {
			b.Fatal("wrong")
		}
	}
}

// TestEvaluationAllocatesNothing: what is done for each item makes no garbage.
func TestEvaluationAllocatesNothing(t *testing.T) {
	it := parseItem(t, typical)
	buf := make([]byte, 0, 4096)
	p := NewParser(0)
	c, err := p.Condition(ConditionParameter, []byte(benchCondition), bindings(t, benchNames, benchValues))
	if err != nil {
		t.Fatal(err)
	}
	// Sums of integers: those of fractions take an allocation.
	u, err := p.Update([]byte("SET address.city = :tag, c = sk + :size REMOVE active ADD sk :size"), bindings(t, "", benchValues))
	if err != nil {
		t.Fatal(err)
	}
	x, err := p.Projection([]byte(benchProjection), new(Bindings))
	if err != nil {
		t.Fatal(err)
	}
	for what, f := range map[string]func(){
		"Holds":      func() { c.Holds(it) },
		"Apply":      func() { _, _ = u.Apply(buf, it) },
		"projection": func() { x.Append(buf, it) },
	} {
		if n := testing.AllocsPerRun(100, f); n > 0 {
			t.Errorf("%s: %v allocations", what, n)
		}
	}
}
