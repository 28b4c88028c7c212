package canary

import (
	"bytes"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
)

const (
	maxDepth    = 3        // of what is compressed in what is compressed
	maxUnpacked = 64 << 20 // bytes of one frame
)

// framing is a compression whose beginning is known by its bytes.
type framing struct {
	kind   Container
	magic  string
	unpack func(io.Reader) (io.Reader, func(), error)
}

// framings are what is looked for. Compressed bytes that do not say what they are, as blocks of Pebble and bodies of change messages, are understood where they occur.
func framings() []framing {
	s2Stream := func(r io.Reader) (io.Reader, func(), error) { return s2.NewReader(r), func() {}, nil }
	return []framing{
		{Gzip, "\x1f\x8b\x08", func(r io.Reader) (io.Reader, func(), error) {
			z, err := gzip.NewReader(r)
			return z, func() {}, err
		}},
		{Zstd, "\x28\xb5\x2f\xfd", func(r io.Reader) (io.Reader, func(), error) {
			z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxUnpacked))
			if err != nil {
				return nil, nil, err
			}
			return z, z.Close, nil
		}},
		{S2, "\xff\x06\x00\x00S2sTwO", s2Stream},
		{S2, "\xff\x06\x00\x00sNaPpY", s2Stream},
	}
}

// eachFrame calls f with what is compressed in b, as far as it can be decompressed: the end of a frame may be missing, or what looks like its beginning none.
func eachFrame(b []byte, f func(kind Container, at int, unpacked []byte)) {
	for _, framing := range framings() {
		magic := []byte(framing.magic)
		for from := 0; ; {
			i := bytes.Index(b[from:], magic)
			if i < 0 {
				break
			}
			at := from + i
			from = at + 1
			if unpacked := unpack(framing, b[at:]); len(unpacked) > 0 {
				f(framing.kind, at, unpacked)
			}
		}
	}
}

func unpack(f framing, b []byte) []byte {
	r, end, err := f.unpack(bytes.NewReader(b))
	if err != nil {
		return nil
	}
	defer end()
	var out bytes.Buffer
	_, _ = io.Copy(&out, io.LimitReader(r, maxUnpacked)) // what came before an error counts
	return out.Bytes()
}
