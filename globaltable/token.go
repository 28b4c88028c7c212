package globaltable

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"strings"

	"github.com/nats-io/nkeys"
)

// A token is a line of text that somebody has signed with an nkey: base64url(payload) "." base64url(ed25519 signature of context and payload). The context, which ends
// with a zero byte, says what kind of thing is signed.

func sealToken(context string, payload []byte, key nkeys.KeyPair) (string, error) {
	signature, err := key.Sign(append([]byte(context), payload...))
	if err != nil {
		return "", err
	}
	enc := base64.RawURLEncoding
	return enc.EncodeToString(payload) + "." + enc.EncodeToString(signature), nil
}

// openToken takes a token apart. Whether the signature is right, checkToken says, when the payload has told whose it must be.
func openToken(token string) (payload, signature []byte, err error) {
	head, tail, ok := strings.Cut(token, ".")
	if !ok {
		return nil, nil, errors.New("not two parts separated by a dot")
	}
	enc := base64.RawURLEncoding.Strict()
	if payload, err = enc.DecodeString(head); err != nil {
		return nil, nil, err
	}
	signature, err = enc.DecodeString(tail)
	return payload, signature, err
}

func checkToken(context string, payload, signature []byte, publicKey string) error {
	key, err := nkeys.FromPublicKey(publicKey)
	if err != nil {
		return err
	}
	return key.Verify(append([]byte(context), payload...), signature)
}

// parsePayload decodes one JSON value without unknown fields.
func parsePayload(payload []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(payload))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return err
	}
	if _, err := dec.Token(); err != io.EOF {
		return errors.New("bytes after the end")
	}
	return nil
}
