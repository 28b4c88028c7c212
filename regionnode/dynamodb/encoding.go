package dynamodb

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"sync"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"
)

// Bodies may come compressed, and go compressed to clients that accept it. Signatures and checksums are about the bytes as they are sent, in both directions: a body is
// decompressed after its signature has been checked, so only who may send requests can have one unpacked here, and x-amz-crc32 is computed after compression.

const (
	// leastCompressed is a length in bytes from which on an answer is compressed: a shorter one goes in one packet anyway.
	leastCompressed = 1 << 10
	// unpackStep is how much memory is reserved at a time for a body that is being decompressed, in bytes: its length shows only at the end.
	unpackStep = 256 << 10
)

// packers keeps what compresses and decompresses: each has tables of some hundred kilobytes.
type packers struct {
	readers sync.Pool // of *gunzip
	writers sync.Pool // of *gzip.Writer
}

// gunzip is a reader of gzip with what it reads from.
type gunzip struct {
	gzip.Reader
	from bytes.Reader
}

// unpack replaces a body that came compressed by what it says.
func (c *call) unpack(encoding []byte) error {
	switch string(encoding) {
	case "", "identity":
		return nil
	case "gzip", "x-gzip":
		return c.unpackGzip()
	case "deflate":
		from, err := inflater(c.body)
		if err != nil {
			return unreadable()
		}
		return c.unpackFrom(from)
	}
	return serialization("The Content-Encoding of the request is not supported")
}

func (c *call) unpackGzip() error {
	r, _ := c.server.packers.readers.Get().(*gunzip)
	if r == nil {
		r = new(gunzip)
	}
	r.from.Reset(c.body)
	defer func() {
		r.from.Reset(nil) // the pool keeps no bodies
		c.server.packers.readers.Put(r)
	}()
	if err := r.Reset(&r.from); err != nil {
		return unreadable()
	}
	return c.unpackFrom(r)
}

// inflater returns a reader of a deflated body. The encoding's name means zlib's form (RFC 9110), but many send it bare.
func inflater(body []byte) (io.Reader, error) {
	if len(body) >= 2 && body[0]&0x0f == 8 && (int(body[0])<<8|int(body[1]))%31 == 0 {
		return zlib.NewReader(bytes.NewReader(body))
	}
	return flate.NewReader(bytes.NewReader(body)), nil
}

// unpackFrom reads the body anew, up to MaxBody.
func (c *call) unpackFrom(from io.Reader) error {
	to := make([]byte, 0, min(4*len(c.body)+512, unpackStep))
	for reserved := 0; ; {
		if len(to) >= reserved {
			if !c.reserve(unpackStep) {
				return unavailable(errNoMemory)
			}
			reserved += unpackStep
		}
		if len(to) == cap(to) {
			to = slices.Grow(to, 1)
		}
		n, err := from.Read(to[len(to):min(cap(to), reserved)])
		to = to[:len(to)+n]
		switch {
		case len(to) > MaxBody:
			return errTooLarge
		case errors.Is(err, io.EOF):
			c.body = to
			return nil
		case err != nil:
			return unreadable()
		}
	}
}

// pack compresses the answer if that is worth it, and reports whether it did.
func (c *call) pack() bool {
	if len(c.out) < leastCompressed || !c.reserve(int64(len(c.out))) {
		return false
	}
	w, _ := c.server.packers.writers.Get().(*gzip.Writer)
	if w == nil {
		w, _ = gzip.NewWriterLevel(nil, gzip.BestSpeed) // fails for unknown levels only
	}
	var to bytes.Buffer
	to.Grow(len(c.out) / 2)
	w.Reset(&to)
	defer func() {
		w.Reset(nil)
		c.server.packers.writers.Put(w)
	}()
	// A buffer takes everything.
	_, _ = w.Write(c.out)
	_ = w.Close()
	if to.Len() >= len(c.out) {
		return false
	}
	c.out = to.Bytes()
	return true
}

// acceptsGzip reports whether an Accept-Encoding names gzip, and not with a quality of nothing.
func acceptsGzip(accepted []byte) bool {
	for len(accepted) > 0 {
		var coding []byte
		coding, accepted, _ = bytes.Cut(accepted, []byte{','})
		name, quality, _ := bytes.Cut(coding, []byte{';'})
		if !bytes.EqualFold(bytes.TrimSpace(name), []byte("gzip")) {
			continue
		}
		q, weighted := bytes.CutPrefix(bytes.TrimSpace(quality), []byte("q="))
		return !weighted || len(bytes.Trim(q, "0.")) > 0
	}
	return false
}
