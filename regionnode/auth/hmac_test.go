package auth

import (
	stdhmac "crypto/hmac"
	"crypto/sha256"
	"testing"

	"pgregory.net/rapid"
)

func TestHMACIsTheStandardOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "key")
		message := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "message")
		h := stdhmac.New(sha256.New, key)
		h.Write(message)
		if got := hmac(nil, key, message); string(got[:]) != string(h.Sum(nil)) {
			t.Fatalf("got %x", got)
		}
	})
}
