package change

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/cespare/xxhash/v2"
	"github.com/klauspost/compress/s2"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
)

const (
	messageVersion = 1
	envelopeLen    = 1 + 2 + 2 + 8 + 8 + 8
	fragmentLen    = 4 + 4 + 2 + 2
	checksumLen    = 8
	overheadLen    = envelopeLen + headerLen + fragmentLen + checksumLen

	// compressFrom is the body length from which compression is tried. Below it a message is smaller than a packet anyway.
	compressFrom = 1 << 10
)

// Source says whose lane an entry belongs to.
type Source struct {
	Origin      hlc.Origin
	Shard       uint16
	Incarnation globaltable.Incarnation
	Lane        globaltable.LaneID
}

// Message is one fragment of an entry on its way to a peer.
type Message struct {
	Source
	Header
	Floor         hlc.Timestamp // the sender's purge frontier when it built the message
	Fragment      uint16        // 0 to Fragments-1
	Fragments     uint16        // 1 for most entries
	Compressed    bool          // the body is carried so
	bodyLen       uint32        // of the whole body, as hashed
	compressedLen uint32        // of the whole body, as carried
	payload       []byte        // this fragment's part
}

// AppendMessages encodes e as one or more messages of at most maxMessage bytes each and calls emit with each, in order. scratch is
// reused for compression; the possibly grown slice is returned. What emit gets is a fresh slice, owned by it.
func AppendMessages(src Source, e *Entry, floor hlc.Timestamp, maxMessage int, scratch []byte, emit func([]byte) error) ([]byte, error) {
	payload, flags := e.Body, byte(0)
	if len(payload) >= compressFrom {
		if n := s2.MaxEncodedLen(len(payload)); cap(scratch) < n {
			scratch = make([]byte, n)
		}
		// An eighth saved is worth the receiver's decoding.
		if c := s2.Encode(scratch[:cap(scratch)], payload); len(c) < len(payload)-len(payload)/8 {
			payload, flags = c, flagS2
		}
	}
	room := maxMessage - overheadLen
	n := max(1, (len(payload)+room-1)/room)
	for i := range n {
		part := payload[i*room : min(len(payload), (i+1)*room)]
		b := make([]byte, 0, overheadLen+len(part))
		b = append(b, messageVersion)
		b = binary.BigEndian.AppendUint16(b, uint16(src.Origin))
		b = binary.BigEndian.AppendUint16(b, src.Shard)
		b = binary.BigEndian.AppendUint64(b, uint64(src.Incarnation))
		b = binary.BigEndian.AppendUint64(b, uint64(src.Lane))
		b = binary.BigEndian.AppendUint64(b, uint64(floor))
		b = appendHeader(b, &e.Header, flags)
		b = binary.BigEndian.AppendUint32(b, uint32(len(e.Body)))
		b = binary.BigEndian.AppendUint32(b, uint32(len(payload)))
		b = binary.BigEndian.AppendUint16(b, uint16(i))
		b = binary.BigEndian.AppendUint16(b, uint16(n))
		b = append(b, part...)
		b = binary.BigEndian.AppendUint64(b, xxhash.Sum64(b))
		if err := emit(b); err != nil {
			return scratch, err
		}
	}
	return scratch, nil
}

// DecodeMessage decodes one message. Its payload is a view of b.
func DecodeMessage(b []byte) (Message, error) {
	if len(b) < overheadLen {
		return Message{}, corrupt("message too short")
	}
	if b[0] != messageVersion {
		return Message{}, corrupt("message version is not known")
	}
	end := len(b) - checksumLen
	if binary.BigEndian.Uint64(b[end:]) != xxhash.Sum64(b[:end]) {
		return Message{}, corrupt("message checksum does not match")
	}
	m := Message{Source: Source{
		Origin:      hlc.Origin(binary.BigEndian.Uint16(b[1:])),
		Shard:       binary.BigEndian.Uint16(b[3:]),
		Incarnation: globaltable.Incarnation(binary.BigEndian.Uint64(b[5:])),
		Lane:        globaltable.LaneID(binary.BigEndian.Uint64(b[13:])),
	}, Floor: hlc.Timestamp(binary.BigEndian.Uint64(b[21:]))}
	h, flags, err := decodeHeader(b[envelopeLen:end])
	if err != nil {
		return Message{}, err
	}
	m.Header, m.Compressed = h, flags&flagS2 != 0
	f := b[envelopeLen+headerLen:]
	m.bodyLen = binary.BigEndian.Uint32(f)
	m.compressedLen = binary.BigEndian.Uint32(f[4:])
	m.Fragment = binary.BigEndian.Uint16(f[8:])
	m.Fragments = binary.BigEndian.Uint16(f[10:])
	m.payload = b[overheadLen-checksumLen : end]
	if m.Fragments == 0 || m.Fragment >= m.Fragments || m.bodyLen > MaxBody || m.compressedLen > MaxBody ||
		uint64(len(m.payload)) > uint64(m.compressedLen) || m.Void != (m.bodyLen == 0) {
		return Message{}, corrupt("message fields out of range")
	}
	return m, nil
}

// Assembler puts the fragments of entries together. It holds at most one entry: fragments come in order, and what comes out of
// order is dropped, to be read from the origin's log. The zero value is ready.
type Assembler struct {
	src  Source
	seq  uint64
	next uint16
	body []byte
}

// Add takes a message. It returns the entry and true when m completes it, and verifies the body against its hash.
// A fragment that does not follow the one before drops what was gathered.
func (a *Assembler) Add(m Message) (Entry, bool, error) {
	if m.Fragments == 1 {
		a.body = nil
		e, err := m.entry(m.payload)
		return e, err == nil, err
	}
	switch {
	case m.Fragment == 0:
		*a = Assembler{src: m.Source, seq: m.Seq, body: make([]byte, 0, m.compressedLen)}
	case a.body == nil || a.src != m.Source || a.seq != m.Seq || a.next != m.Fragment:
		a.body = nil
		return Entry{}, false, nil
	}
	if len(a.body)+len(m.payload) > int(m.compressedLen) {
		a.body = nil
		return Entry{}, false, corrupt("fragments longer than their body")
	}
	a.body = append(a.body, m.payload...)
	a.next = m.Fragment + 1
	if a.next < m.Fragments {
		return Entry{}, false, nil
	}
	body := a.body
	a.body = nil
	e, err := m.entry(body)
	return e, err == nil, err
}

func (m *Message) entry(payload []byte) (Entry, error) {
	e := Entry{Header: m.Header}
	if m.Void {
		return e, nil
	}
	if len(payload) != int(m.compressedLen) {
		return Entry{}, corrupt("body incomplete")
	}
	body := payload
	if m.Compressed {
		n, err := s2.DecodedLen(payload)
		if err != nil || n != int(m.bodyLen) {
			return Entry{}, corrupt("compressed body has another length than it says")
		}
		if body, err = s2.Decode(nil, payload); err != nil {
			return Entry{}, corrupt("body cannot be decompressed")
		}
	}
	if len(body) != int(m.bodyLen) || sha256.Sum256(body) != m.BodyHash {
		return Entry{}, corrupt("body does not match its hash")
	}
	e.Body = body
	return e, nil
}
