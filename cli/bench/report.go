package bench

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// Report is what was measured, for tables and machines.
type Report struct {
	Started     time.Time `json:"started"`
	Seconds     float64   `json:"seconds"` // all of it
	Machine     Machine   `json:"machine"`
	Regions     []string  `json:"regions"`
	Own         bool      `json:"own"` // the regions ran in the process of the client
	Connections int       `json:"connections"`
	Items       int       `json:"items"`
	ItemBytes   int       `json:"item_bytes"`
	Measures    []Measure `json:"measures"`
	Limits      []Limit   `json:"limits"`
	Against     []Against `json:"against"`
}

// Machine is where it was measured: client and regions shared it.
type Machine struct {
	Cores int    `json:"cores"`
	OS    string `json:"os"`
	Arch  string `json:"arch"`
	// Load is how many threads ran or waited, over the minute before the run and over that before its end; null where the system does not tell. What is
	// above zero at the beginning took part of the machine away.
	LoadBefore *float64 `json:"load_before"`
	LoadAfter  *float64 `json:"load_after"`
}

// Figures are those of one measure or limit. Null is: not known here, or there is no such thing.
type Figures struct {
	Operations int64    `json:"operations"`
	Seconds    float64  `json:"seconds"`
	PerSecond  float64  `json:"per_second"`
	P50Millis  *float64 `json:"p50_millis"` // latency
	P99Millis  *float64 `json:"p99_millis"`
	CPUMicros  *float64 `json:"cpu_micros_per_operation"` // of the whole process, client included
	DiskBytes  *float64 `json:"disk_bytes_per_operation"` // given to the disk meanwhile: compactions of what was written before count, those still to come do not
}

// Measure is one row.
type Measure struct {
	Name string `json:"name"`
	What string `json:"what"`
	Figures
	Shares []Share `json:"shares"`
}

// Limit is the raw limit of something below.
type Limit struct {
	Name string `json:"name"`
	What string `json:"what"`
	Figures
}

// Share is how much of a limit was reached: 1 is all of it.
type Share struct {
	Limit string `json:"limit"` // its name
	// Of is what was compared: "per_second", the measure's over the limit's, or "p50", the limit's over the measure's.
	Of    string  `json:"of"`
	Ratio float64 `json:"ratio"`
	// CPU is the limit's processor time per operation over the measure's, null where one of them is not known. A machine that others use too blurs it
	// less than the rates.
	CPU *float64 `json:"cpu_ratio"`
	// Disk is the same of the bytes that were written.
	Disk *float64 `json:"disk_ratio"`
}

// What a Share compares.
const (
	ofRate    = "per_second"
	ofLatency = "p50"
)

// Against is the figures of something else.
type Against struct {
	Kind     string   `json:"kind"`
	At       string   `json:"at"`       // without passwords
	Settings []string `json:"settings"` // of its durability, as found
	Rows     []Side   `json:"rows"`
}

// Side is one measure on both sides.
type Side struct {
	Measure string  `json:"measure"`
	Theirs  Figures `json:"theirs"`
	Ours    Figures `json:"ours"`
	Times   float64 `json:"times"` // our rate over theirs; for Lag, their p50 over ours
}

func newReport(cfg Config) Report {
	r := Report{Started: time.Now().UTC(), Own: cfg.Own, Connections: cfg.Connections, Items: cfg.Items, ItemBytes: itemBytes,
		Machine:  Machine{Cores: runtime.NumCPU(), OS: runtime.GOOS, Arch: runtime.GOARCH, LoadBefore: loadAverage()},
		Measures: []Measure{}, Limits: []Limit{}, Against: []Against{}}
	for _, g := range cfg.Regions {
		r.Regions = append(r.Regions, g.Name)
	}
	return r
}

func (r *Report) finish() {
	r.Seconds = time.Since(r.Started).Seconds()
	r.Machine.LoadAfter = loadAverage()
}

// limit returns the limit of that name, nil if it was not taken yet.
func (r *Report) limit(name string) *Limit {
	for i := range r.Limits {
		if r.Limits[i].Name == name {
			return &r.Limits[i]
		}
	}
	return nil
}

// measure returns the measure of that name, nil if it was not taken.
func (r *Report) measure(name string) *Measure {
	for i := range r.Measures {
		if r.Measures[i].Name == name {
			return &r.Measures[i]
		}
	}
	return nil
}

// rateShare compares rates, processor times and bytes.
func rateShare(f Figures, l *Limit) Share {
	return Share{Limit: l.Name, Of: ofRate, Ratio: f.PerSecond / l.PerSecond, CPU: ratio(l.CPUMicros, f.CPUMicros), Disk: ratio(l.DiskBytes, f.DiskBytes)}
}

func ratio(a, b *float64) *float64 {
	if a == nil || b == nil || *b <= 0 {
		return nil
	}
	r := *a / *b
	return &r
}

// latencyShare compares medians. Both must have one.
func latencyShare(f Figures, l *Limit) Share {
	return Share{Limit: l.Name, Of: ofLatency, Ratio: *l.P50Millis / *f.P50Millis}
}

// loadAverage returns that of the last minute, nil where it is not known.
func loadAverage() *float64 {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return nil
	}
	first, _, _ := strings.Cut(string(b), " ")
	load, err := strconv.ParseFloat(first, 64)
	if err != nil {
		return nil
	}
	return &load
}
