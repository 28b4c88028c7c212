package demo

import (
	"fmt"
	"io"
	"sync"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// progress shows how far several loads are: bars that move on a screen, a line at each quarter elsewhere.
type progress struct {
	out  io.Writer
	bars *mpb.Progress // nil: lines
	mu   sync.Mutex    // of out, and of the counts of lines
}

func newProgress(out io.Writer, screen bool) *progress {
	p := &progress{out: out}
	if screen {
		p.bars = mpb.New(mpb.WithOutput(out), mpb.WithWidth(48))
	}
	return p
}

// bar is one load.
type bar struct {
	p     *progress
	name  string
	total int
	done  int
	bar   *mpb.Bar // nil: lines
}

func (p *progress) add(name string, total int) *bar {
	b := &bar{p: p, name: name, total: total}
	if p.bars != nil {
		b.bar = p.bars.AddBar(int64(total),
			mpb.PrependDecorators(decor.Name("   "+name, decor.WCSyncSpaceR)),
			mpb.AppendDecorators(decor.CountersNoUnit("%d of %d", decor.WCSyncSpace)))
	}
	return b
}

// add notes n more. It may be called from several goroutines.
func (b *bar) add(n int) {
	if b.bar != nil {
		b.bar.IncrBy(n)
		return
	}
	b.p.mu.Lock()
	defer b.p.mu.Unlock()
	before := b.done * 4 / max(b.total, 1)
	b.done += n
	if after := b.done * 4 / max(b.total, 1); after > before {
		fmt.Fprintf(b.p.out, "   %-14s %d of %d\n", b.name, b.done, b.total)
	}
}

// end stops showing. Bars that are not full stay as they are.
func (p *progress) end(complete bool) {
	switch {
	case p.bars == nil:
	case complete:
		p.bars.Wait()
	default:
		p.bars.Shutdown()
	}
}
