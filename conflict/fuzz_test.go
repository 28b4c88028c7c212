package conflict

import (
	"bytes"
	"testing"
)

func FuzzDecodeChange(f *testing.F) {
	full := fullChange(f)
	f.Add(full.Append(nil))
	full.Ops = loggedOps(f, full.Dot)
	f.Add(full.Append(nil))
	one := put(f, stamp(5, 1), nil, "a", "1")
	f.Add(one.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		var c Change
		if DecodeChange(b, &c) != nil {
			return
		}
		if again := c.Append(nil); !bytes.Equal(again, b) {
			t.Fatalf("decoded and encoded again:\n%x\n%x", again, b)
		}
		// What Check lets pass is applied without fault, or is of a later version.
		if c.Check() != nil {
			return
		}
		d, err := c.Delta()
		if err != nil {
			return
		}
		if err := CheckRecord(AppendRecord(nil, &d)); err != nil {
			t.Fatalf("delta of a checked change: %v", err)
		}
	})
}

func FuzzDecodeRecord(f *testing.F) {
	for _, r := range goldenRecords(f) {
		f.Add(AppendRecord(nil, &r))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if CheckRecord(b) != nil {
			return
		}
		r := mustDecode(t, b)
		if _, live, err := Digest(nil, b); err != nil || live != r.Live() {
			t.Fatalf("digest: live %t, %v", live, err)
		}
		if _, live, err := ItemOf(b, nil); err != nil || live != r.Live() {
			t.Fatalf("item: live %t, %v", live, err)
		}
		x := Expiry{{Attribute: "a", From: 1, To: 1 << 40}, {Attribute: "b", From: 1 << 40}}
		due, ok, err := x.Due(b)
		if err != nil || ok && !r.Live() {
			t.Fatalf("due at %s: %v, %v", due, ok, err)
		}
		switch next, expired, err := x.Expire(nil, b, due); {
		case err != nil || expired != ok:
			t.Fatalf("expired %v at its time: %v", expired, err)
		case expired:
			left := mustDecode(t, next)
			if left.Reset.Stamp.Time < due || CheckRecord(next) != nil {
				t.Fatalf("expired to %x", next)
			}
		}
		if v, err := VectorOf(b); err != nil || !v.Equal(r.Vector) {
			t.Fatalf("vector %v (%v), want %v", v, err, r.Vector)
		}
	})
}

func FuzzApply(f *testing.F) {
	one, two := put(f, stamp(5, 1), nil, "a", "1"), set(f, stamp(6, 2), nil, "b", "1")
	logged := fullChange(f)
	logged.Ops = loggedOps(f, logged.Dot)
	for _, r := range goldenRecords(f) {
		f.Add(AppendRecord(nil, &r), one.Append(nil), two.Append(nil))
		f.Add(AppendRecord(nil, &r), logged.Append(nil), two.Append(nil))
	}
	f.Fuzz(func(t *testing.T, rec, a, b []byte) {
		var x, y Change
		if DecodeChange(a, &x) != nil || DecodeChange(b, &y) != nil {
			return
		}
		if CheckRecord(rec) != nil || x.Check() != nil || y.Check() != nil {
			return
		}
		xy, errXY := applyAll(rec, &x, &y)
		yx, errYX := applyAll(rec, &y, &x)
		if (errXY == nil) != (errYX == nil) {
			t.Fatalf("%v, and in the other order %v", errXY, errYX)
		}
		if errXY != nil {
			return
		}
		if !bytes.Equal(xy, yx) {
			t.Fatalf("order matters:\n%x\n%x", xy, yx)
		}
		if again, err := applyAll(xy, &x, &y); err != nil || !bytes.Equal(again, xy) {
			t.Fatalf("repetition matters (%v):\n%x\n%x", err, again, xy)
		}
		if err := CheckRecord(xy); err != nil {
			t.Fatal(err)
		}
	})
}

func applyAll(rec []byte, changes ...*Change) ([]byte, error) {
	for _, c := range changes {
		var err error
		if rec, _, err = Apply(nil, rec, c); err != nil {
			return nil, err
		}
	}
	return rec, nil
}
