package conflict

import (
	"bytes"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/concordat-db/concordat/conflict/hlc"
)

// TestChangesOfARecordAreTheRecord: whatever writes have left in a record, its changes, in any order, lead to the same reset and cells, and each is what a peer takes.
func TestChangesOfARecordAreTheRecord(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		record := genRecord(t, "changes")
		want := mustDecode(t, record)
		changes, err := ChangesOf(record)
		if err != nil {
			t.Fatal(err)
		}
		var last hlc.Stamp
		for i := range changes {
			c := &changes[i]
			if c.Dot.Less(last) {
				t.Fatalf("the changes are not ascending: %v after %v", c.Dot, last)
			}
			last = c.Dot
			if added, err := Adds(record, c); err != nil || added {
				t.Fatalf("the record has its own change %v, and it adds something: %v", c.Dot, err)
			}
		}
		if newest, err := NewestOf(record); err != nil || newest != last {
			t.Fatalf("newest write %v, %v; the last change is %v", newest, err, last)
		}
		var got []byte
		for _, c := range shuffled(t, changes, "order") {
			c.Key = []byte("key")
			again := new(Change)
			if err := DecodeChange(c.Append(nil), again); err != nil {
				t.Fatal(err)
			}
			got = mustApply(t, got, again)
		}
		have := mustDecode(t, got)
		have.Vector, want.Vector = nil, nil
		have.Vector, want.Vector = have.settle(0, hlc.Stamp{}).Vector, want.settle(0, hlc.Stamp{}).Vector
		if !bytes.Equal(AppendRecord(nil, &have), AppendRecord(nil, &want)) {
			t.Fatalf("joined again:\n%+v\nwant\n%+v", have, want)
		}
	})
}

// TestAdds compares with the canonical bytes and stamps: what adds nothing leaves them, in any record; what adds something changes the record.
func TestAdds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		record, c := genRecord(t, "changes"), genChange(t)
		adds, err := Adds(record, &c)
		if err != nil {
			t.Fatal(err)
		}
		before, after := mustDecode(t, record), mustDecode(t, mustApply(t, record, &c))
		before.Vector, after.Vector = nil, nil
		same := bytes.Equal(stampsOf(&before), stampsOf(&after))
		if adds == same {
			t.Fatalf("adds: %v, but the same: %v\n%+v\n%+v", adds, same, before, after)
		}
	})
}

// stampsOf writes down what a record says, without what its writes had seen.
func stampsOf(r *Record) (b []byte) {
	b = r.Reset.Stamp.Append(b)
	for _, c := range slices.Concat(r.Cells, r.Nested) {
		b = append(appendBytes(b, c.Name), 0)
		if c.Removed {
			b[len(b)-1] = 1
		}
		b = appendBytes(c.Stamp.Append(b), c.Value)
	}
	if len(r.Typed) > 0 {
		b = appendTyped(b, 0, r.Typed)
	}
	return b
}

func TestChangesOfRefuses(t *testing.T) {
	for name, record := range map[string][]byte{"no record": {0xff}, "an unknown version": {recordVersion + 1, 0}} {
		if _, err := ChangesOf(record); err == nil {
			t.Errorf("%s was split", name)
		}
		if _, err := Adds(record, &Change{}); err == nil {
			t.Errorf("a change was compared with %s", name)
		}
	}
	removed := Record{Cells: []Cell{{Write: Write{Stamp: hlc.Stamp{Time: 5, Origin: 1}}, Removed: true}}}
	if _, err := ChangesOf(AppendRecord(nil, &removed)); err == nil {
		t.Error("no operation removes a presence, and yet there was one")
	}
}
