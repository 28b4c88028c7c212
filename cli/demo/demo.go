// Package demo is the story that `concordat demo` tells: three regions take a real data set from all sides, merge concurrent writes to
// one key, lose a region, take it back, and converge. It speaks to the regions as any application does, through the AWS SDK, and
// believes nothing that it has not read back.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// TableName is the table that the story makes.
const TableName = "places"

// Region is one region of the world, as an application reaches it.
type Region struct {
	Name     string
	DynamoDB string // URL
}

// Digest is what a region says of its table's contents without sending them.
type Digest struct {
	Items int64
	Sum   string
}

// Config is what the story needs. All fields but Terminal are needed.
type Config struct {
	Regions []Region            // two or more; the last one is cut off
	Cut     func(region string) // separates the region from all others
	Heal    func(region string) // ends that
	Digest  func(ctx context.Context, region string) (Digest, error)
	Out     io.Writer     // where the story is told
	Screen  bool          // Out is a terminal: progress bars move
	Wait    time.Duration // how long regions may take to converge before the story fails
	CutFor  time.Duration // how long the last region is cut off at least
}

// Report is what happened, for tables and machines.
type Report struct {
	Load    LoadReport     `json:"load"`
	Lag     []PairLag      `json:"lag"`
	Race    RaceReport     `json:"race"`
	Cut     CutReport      `json:"cut"`
	Regions []RegionReport `json:"regions"`
	Seconds float64        `json:"seconds"` // all of it
}

// LoadReport is how the places came in.
type LoadReport struct {
	Places    int     `json:"places"`
	Countries int     `json:"countries"`
	Seconds   float64 `json:"seconds"` // until the last was acknowledged
	PerSecond float64 `json:"per_second"`
}

// PairLag is the time from the acknowledgement of a write in one region to the moment at which another showed it, polled.
type PairLag struct {
	From   string  `json:"from"`
	To     string  `json:"to"`
	Millis float64 `json:"millis"`
}

// RaceReport is what came of concurrent writes to one key.
type RaceReport struct {
	Writes []RaceWrite `json:"writes"`
	Winner string      `json:"winner"` // the region whose write all regions kept
	Millis float64     `json:"millis"` // from the last acknowledgement until all showed the same
}

// RaceWrite is one of them.
type RaceWrite struct {
	Region string `json:"region"`
	Wrote  string `json:"wrote"`
	Saw    string `json:"saw"`  // there, at once
	Kept   string `json:"kept"` // there, after the merge
}

// CutReport is what happened around the cut.
type CutReport struct {
	Region    string  `json:"region"`
	Seconds   float64 `json:"seconds"`   // for which it was cut off
	Inside    int     `json:"inside"`    // writes acknowledged by the region alone
	Outside   int     `json:"outside"`   // and by the others
	Contested int     `json:"contested"` // keys written on both sides
	Millis    float64 `json:"millis"`    // from the healing until all regions showed all of it
}

// RegionReport is how a region ended.
type RegionReport struct {
	Region string `json:"region"`
	Items  int    `json:"items"`
	Sum    string `json:"sum"`    // SHA-256 of all items as read, in order of their keys
	Digest string `json:"digest"` // the region's own, from its store
}

// Run tells the story. It returns an error if anything is lost or does not converge.
func Run(ctx context.Context, cfg Config) (Report, error) {
	if len(cfg.Regions) < 2 {
		return Report{}, errors.New("the demo needs at least two regions")
	}
	s := newStory(cfg)
	defer s.close()
	began := time.Now()
	for _, chapter := range []struct {
		title string
		tell  func(context.Context) error
	}{
		{"A table in every region", s.table},
		{"The places of the world, from all sides at once", s.load},
		{"One key, written everywhere in the same moment", s.race},
		{"A region is cut off, and goes on", s.cut},
		{"Do all regions hold the same?", s.compare},
	} {
		fmt.Fprintf(s.cfg.Out, "\n== %s\n", chapter.title)
		if err := chapter.tell(ctx); err != nil {
			return s.report, fmt.Errorf("%s: %w", chapter.title, err)
		}
	}
	s.report.Seconds = time.Since(began).Seconds()
	return s.report, nil
}

// say tells one line.
func (s *story) say(format string, args ...any) {
	fmt.Fprintf(s.cfg.Out, "   "+format+"\n", args...)
}
