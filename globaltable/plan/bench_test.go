package plan_test

import (
	"testing"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/globaltable/plan"
)

// BenchmarkUpdate plans an update of two attributes in each mode.
func BenchmarkUpdate(b *testing.B) {
	for _, mode := range []conflict.Mode{conflict.LWW, conflict.Attribute, conflict.Vector} {
		b.Run(mode.String(), func(b *testing.B) {
			t := new(testing.T)
			w := plan.Write{Action: plan.Update, Table: typedTable(mode), Item: parse(t, `{"pk":{"S":"a"}}`), Update: expression(t, "SET note = :s ADD likes :n")}
			current := parse(t, stored)
			var m plan.Memory
			b.ReportAllocs()
			for b.Loop() {
				m.Reset(1 << 20)
				if _, err := w.Plan(current, &m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
