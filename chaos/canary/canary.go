package canary

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// Length is how many bytes a canary has.
const Length = 32

// Canary is what is searched for.
type Canary struct {
	Name  string // says whose it is and where it was put; it is not secret
	Bytes string
	Kind  Kind
}

// Kind is what a canary is made of.
type Kind uint8

// The kinds.
const (
	Word   Kind = iota // letters and digits: a key, a name, whatever goes everywhere
	Text               // UTF-8 of which JSON, URLs and quotes escape a good part
	Binary             // any bytes, some of them 0x00
	Number             // decimal digits, not beginning or ending with 0: a DynamoDB number
)

// maxDigits is how many digits a DynamoDB number has at most. Both halves of them are beyond chance.
const maxDigits = 38

// New makes a canary. Its halves are random each.
func New(random *rand.Rand, kind Kind, name string) Canary {
	c := Canary{Name: name, Kind: kind}
	switch kind {
	case Word:
		c.Bytes = from(random, Length, letters)
	case Text:
		// Half of the characters are such as are escaped somewhere.
		var b strings.Builder
		for b.Len() < Length {
			b.WriteString(from(random, 1, letters))
			b.WriteString(from(random, 1, `"\<>&/%+ #'=`))
		}
		c.Bytes = b.String()
	case Binary:
		b := make([]byte, Length)
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		b[3], b[Length-3] = 0, 0
		c.Bytes = string(b)
	case Number:
		c.Bytes = from(random, 1, "123456789") + from(random, maxDigits-2, "0123456789") + from(random, 1, "123456789")
	default:
		panic(fmt.Sprintf("no kind of canary: %d", kind))
	}
	return c
}

const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

func from(random *rand.Rand, n int, alphabet string) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = alphabet[random.IntN(len(alphabet))]
	}
	return string(b)
}

// halves returns what is searched for.
func (c *Canary) halves() [2]string {
	half := len(c.Bytes) / 2
	return [2]string{c.Bytes[:half], c.Bytes[half:]}
}
