package cdc

import (
	"encoding/binary"
	"errors"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable/item"
)

// Letter is a dead letter: an event that a trigger could not deliver.
type Letter struct {
	Position hlc.Timestamp // of its record in the region's stream; from the store's key

	Buried   int64  // when it was given up, Unix milliseconds
	Attempts uint16 // that were made
	Key      item.Key
	Error    string // of the last attempt: says nothing of the item; at most MaxLetterError bytes
	Event    []byte // the CloudEvent
}

// MaxLetterError bounds the text of an error in a letter, in bytes.
const MaxLetterError = 512

const letterVersion = 1

// Append appends the stored form of l.
func (l *Letter) Append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(append(dst, letterVersion), uint64(l.Buried))
	dst = binary.BigEndian.AppendUint16(dst, l.Attempts)
	dst = append(binary.AppendUvarint(dst, uint64(len(l.Key))), l.Key...)
	text := l.Error[:min(len(l.Error), MaxLetterError)]
	dst = append(binary.AppendUvarint(dst, uint64(len(text))), text...)
	return append(dst, l.Event...)
}

var errLetter = errors.New("cdc: a dead letter that cannot be read")

// Decode reads what Append wrote. Key and event are views of b.
func (l *Letter) Decode(b []byte) error {
	const head = 1 + 8 + 2
	if len(b) < head || b[0] != letterVersion {
		return errLetter
	}
	*l = Letter{Position: l.Position, Buried: int64(binary.BigEndian.Uint64(b[1:])), Attempts: binary.BigEndian.Uint16(b[9:])}
	key, b, ok := cut(b[head:])
	if !ok {
		return errLetter
	}
	text, b, ok := cut(b)
	if !ok || len(text) > MaxLetterError {
		return errLetter
	}
	l.Key, l.Error, l.Event = key, string(text), b
	return nil
}
