package globaltable

import (
	"crypto/sha256"

	"github.com/nats-io/nkeys"
)

// Sealed is a text and a region's signature of it: what a region says so that it can be shown to others later. The text is kept as it was signed, byte for byte.
type Sealed struct {
	Payload   string `json:"payload"`
	Signature []byte `json:"signature"`
}

// Seal signs payload. context ends with a zero byte, and says what kind of thing is signed: so a signature of one thing is none of another.
func Seal(context string, payload []byte, key Signer) (Sealed, error) {
	signature, err := key.Sign(append([]byte(context), payload...))
	if err != nil {
		return Sealed{}, &Error{Op: "sign", Kind: Internal, Err: err}
	}
	return Sealed{Payload: string(payload), Signature: signature}, nil
}

// Signer signs with a region's key: an nkeys.KeyPair.
type Signer interface {
	Sign(input []byte) ([]byte, error)
}

// Check says whether s was signed by the key given, an nkey of kind User, in that context. The error is of kind Denied.
func (s *Sealed) Check(context, publicKey string) error {
	key, err := nkeys.FromPublicKey(publicKey)
	if err == nil {
		err = key.Verify(append([]byte(context), s.Payload...), s.Signature)
	}
	if err != nil {
		return &Error{Op: "check signature", Kind: Denied, Err: err}
	}
	return nil
}

// Hash is the SHA-256 of the payload: by it the next one of a chain names it.
func (s *Sealed) Hash() Chain { return sha256.Sum256([]byte(s.Payload)) }

// Open decodes the payload into v, a pointer to a struct, without unknown fields. The error is of kind Corrupt.
func (s *Sealed) Open(v any) error {
	if err := parsePayload([]byte(s.Payload), v); err != nil {
		return &Error{Op: "open sealed text", Kind: Corrupt, Err: err}
	}
	return nil
}
