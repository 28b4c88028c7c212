package conflict

import (
	"encoding/binary"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/conflict/vector"
)

// The encodings of changes and records share these parts:
//
//	uvarint   minimal: a longer form of the same number is refused, so that equal values are equal bytes
//	bytes     uvarint length ‖ bytes
//	stamp     10 bytes, big-endian time and origin: orders as stamps do
//	time      zigzag varint of base − time, where base is a stamp near by: 3 to 6 bytes within days of it, any value at all
//	vector    uvarint count ‖ (uvarint origin ‖ time)*, sorted by origin

// reader consumes encoded bytes. The first fault sticks: reads after it return zero values.
type reader struct {
	b       []byte
	kind    error // nil, ErrCorrupt or ErrUnsupported
	message string
}

func (r *reader) fail(kind error, message string) {
	if r.kind == nil {
		r.kind, r.message = kind, message
	}
	r.b = nil
}

// err returns the fault, if there is one, as the outcome of op.
func (r *reader) err(op string) error {
	if r.kind == nil {
		return nil
	}
	return &Error{Op: op, Kind: r.kind, Message: r.message}
}

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.fail(ErrCorrupt, "ends too early")
		return 0
	}
	b := r.b[0]
	r.b = r.b[1:]
	return b
}

func (r *reader) uvarint() uint64 {
	n, size := binary.Uvarint(r.b)
	if size <= 0 || size > 1 && r.b[size-1] == 0 {
		r.fail(ErrCorrupt, "bad number")
		return 0
	}
	r.b = r.b[size:]
	return n
}

// count reads a number of things of which each takes at least size bytes, so that no count can ask for more memory than
// its input justifies.
func (r *reader) count(size int) int {
	n := r.uvarint()
	if n > uint64(len(r.b)/size) {
		r.fail(ErrCorrupt, "count larger than what follows")
		return 0
	}
	return int(n)
}

// bytes returns a view.
func (r *reader) bytes() []byte {
	n := r.count(1)
	b := r.b[:n:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) uint64() uint64 {
	if len(r.b) < 8 {
		r.fail(ErrCorrupt, "ends too early")
		return 0
	}
	n := binary.BigEndian.Uint64(r.b)
	r.b = r.b[8:]
	return n
}

// stamp reads a stamp with a time.
func (r *reader) stamp() hlc.Stamp {
	s, ok := hlc.DecodeStamp(r.b)
	if !ok || s.Time == 0 {
		r.fail(ErrCorrupt, "bad stamp")
		return hlc.Stamp{}
	}
	r.b = r.b[hlc.StampLen:]
	return s
}

func (r *reader) time(base hlc.Timestamp) hlc.Timestamp {
	z := r.uvarint()
	return base - (hlc.Timestamp(z>>1) ^ -hlc.Timestamp(z&1))
}

func (r *reader) vector(base hlc.Timestamp) vector.Vector {
	n := r.count(2)
	if n == 0 {
		r.fail(ErrCorrupt, "empty vector")
		return nil
	}
	v := make(vector.Vector, 0, n)
	last := uint64(0)
	for range n {
		o := r.uvarint()
		s := hlc.Stamp{Time: r.time(base), Origin: hlc.Origin(o)}
		if o <= last || o > 1<<16-1 || s.Time == 0 {
			r.fail(ErrCorrupt, "bad vector entry")
			return nil
		}
		last = o
		v = append(v, s)
	}
	return v
}

// context reads the context and floor of the write with the stamp given, as far as they are there.
func (r *reader) context(stamp hlc.Stamp, hasContext, hasFloor bool) Write {
	w := Write{Stamp: stamp}
	if hasContext {
		w.Context = r.vector(stamp.Time)
	}
	if hasFloor {
		if w.Floor = r.time(stamp.Time); w.Floor == 0 {
			r.fail(ErrCorrupt, "zero floor")
		}
	}
	for _, e := range w.Context {
		if e.Origin == stamp.Origin || e.Time <= w.Floor {
			r.fail(ErrCorrupt, "context holds its own origin, or what its floor covers")
		}
	}
	return w
}

func appendBytes(dst, b []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(b)))
	return append(dst, b...)
}

func appendTime(dst []byte, base, t hlc.Timestamp) []byte {
	return binary.AppendVarint(dst, int64(base-t))
}

func appendVector(dst []byte, base hlc.Timestamp, v vector.Vector) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(v)))
	for _, s := range v {
		dst = binary.AppendUvarint(dst, uint64(s.Origin))
		dst = appendTime(dst, base, s.Time)
	}
	return dst
}

// appendContext appends what reader.context reads.
func appendContext(dst []byte, w *Write) []byte {
	if len(w.Context) > 0 {
		dst = appendVector(dst, w.Stamp.Time, w.Context)
	}
	if w.Floor != 0 {
		dst = appendTime(dst, w.Stamp.Time, w.Floor)
	}
	return dst
}
