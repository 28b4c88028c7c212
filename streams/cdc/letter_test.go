package cdc

import (
	"bytes"
	"encoding/hex"
	"testing"
)

// goldenLetter is a letter in its stored form: a changed one is a changed format.
const goldenLetter = "010000018bcfe56800" + "0008" + "036b6579" + "03626164" + "7b7d"

func TestLetterGolden(t *testing.T) {
	l := Letter{Buried: 1700000000000, Attempts: 8, Key: []byte("key"), Error: "bad", Event: []byte("{}")}
	if got := hex.EncodeToString(l.Append(nil)); got != goldenLetter {
		t.Errorf("%s, not %s", got, goldenLetter)
	}
	b, _ := hex.DecodeString(goldenLetter)
	var got Letter
	if err := got.Decode(b); err != nil || got.Buried != l.Buried || got.Attempts != 8 || string(got.Key) != "key" || got.Error != "bad" || string(got.Event) != "{}" {
		t.Errorf("%+v, %v", got, err)
	}
	for i := range 17 {
		if err := new(Letter).Decode(b[:i]); err == nil {
			t.Errorf("%d bytes were read as a letter", i)
		}
	}
}

func FuzzLetter(f *testing.F) {
	b, _ := hex.DecodeString(goldenLetter)
	f.Add(b)
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, b []byte) {
		var l Letter
		if l.Decode(b) != nil {
			return
		}
		var again Letter
		if err := again.Decode(l.Append(nil)); err != nil || !bytes.Equal(again.Key, l.Key) || !bytes.Equal(again.Event, l.Event) || again.Error != l.Error {
			t.Fatalf("%+v became %+v, %v", l, again, err)
		}
	})
}
