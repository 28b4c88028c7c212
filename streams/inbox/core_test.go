package inbox

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/streams/change"
)

// history is an origin's lane: entries with bodies of 10 bytes. Two histories with different seeds have different chains.
func history(seed byte, n int) []change.Entry {
	var out []change.Entry
	var chain globaltable.Chain
	for i := range n {
		body := []byte{seed, byte(i), 0, 0, 0, 0, 0, 0, 0, 0}
		h := change.Seal(chain, uint64(i+1), body, 1, hlc.Timestamp(i+1))
		chain = h.Chain
		out = append(out, change.Entry{Header: h, Body: body})
	}
	return out
}

// TestScenarios runs the stories in testdata: region 2 follows lane 7 of region 1.
func TestScenarios(t *testing.T) {
	const lane = globaltable.LaneID(7)
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		histories := map[string][]change.Entry{"main": history(1, 50), "other": history(2, 50)}
		var c *Core
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			number := func(key string, otherwise int) int {
				if !d.HasArg(key) {
					return otherwise
				}
				var s string
				d.ScanArgs(t, key, &s)
				n, err := strconv.Atoi(s)
				if err != nil {
					t.Fatal(err)
				}
				return n
			}
			which := "main"
			if d.HasArg("history") {
				d.ScanArgs(t, "history", &which)
			}
			entries := histories[which]
			inc := globaltable.Incarnation(number("incarnation", 1))
			position := func(seq int) globaltable.Position {
				p := globaltable.Position{Incarnation: inc, Seq: uint64(seq)}
				if seq > 0 {
					p.Chain = entries[seq-1].Chain
				}
				return p
			}
			var effects []Effect
			switch d.Cmd {
			case "start":
				positions := map[globaltable.LaneID]globaltable.Position{}
				if at := number("at", 0); at > 0 {
					positions[lane] = position(at)
				}
				c = NewCore(1, 0, Limits{BatchBytes: 25, QueueBytes: 45}, globaltable.Incarnation(number("known", 0)), positions)
				effects = c.Connected()
			case "connected":
				effects = c.Connected()
			case "heartbeat":
				head := number("head", 0)
				heads := []Head{{Lane: lane, Seq: uint64(head), Chain: position(head).Chain}}
				if d.HasArg("none") {
					heads = nil
				}
				effects = c.Heartbeat(Heartbeat{Incarnation: inc, HLC: hlc.Timestamp(number("hlc", 1000)), Heads: heads})
			case "message":
				for seq := number("from", number("seq", 1)); seq <= number("to", number("seq", 1)); seq++ {
					effects = append(effects, c.Message(message(t, inc, lane, entries[seq-1]))...)
				}
			case "page":
				from, to := number("from", 1), number("to", 0)
				effects = c.LogPage(lane, inc, entries[from-1:max(to, from-1)], d.HasArg("done"))
			case "log-failed":
				effects = c.LogFailed(lane, d.HasArg("trimmed"))
			case "applied":
				effects = c.Applied(lane, position(number("to", 0)), Running)
			case "apply-failed":
				reasons := map[string]Stop{"clock-ahead": ClockAhead, "catalog-behind": CatalogBehind, "refused": Refused, "apply-failed": ApplyFailed}
				var s string
				d.ScanArgs(t, "reason", &s)
				effects = c.Applied(lane, globaltable.Position{}, reasons[s])
			case "started":
				head := number("head", 0)
				effects = c.Started([]Head{{Lane: lane, Seq: uint64(head), Chain: position(head).Chain}}, uint64(number("id", 1)))
			case "resume":
				c.Resume(Hold{ID: uint64(number("id", 1)), Lanes: []globaltable.LaneID{lane}})
			case "release":
				effects = c.Release(uint64(number("id", 1)))
			case "positions":
				var b strings.Builder
				for _, p := range c.Positions() {
					fmt.Fprintf(&b, "%d, told: %v\n", p.Position.Seq, !p.Held)
				}
				return b.String()
			case "status":
				var b strings.Builder
				for _, p := range c.Positions() {
					fmt.Fprintf(&b, "at %d of %d: %s\n", p.Position.Seq, p.Head, p.Stop)
				}
				return b.String()
			case "tick":
				effects = c.Tick()
			case "wants":
				return fmt.Sprintln(c.Wants(lane))
			default:
				t.Fatalf("unknown command %s", d.Cmd)
			}
			var b strings.Builder
			for _, e := range effects {
				fmt.Fprintln(&b, describe(e))
			}
			return b.String()
		})
	})
}

func message(t *testing.T, inc globaltable.Incarnation, lane globaltable.LaneID, e change.Entry) (m change.Message) {
	t.Helper()
	src := change.Source{Origin: 1, Incarnation: inc, Lane: lane}
	_, err := change.AppendMessages(src, &e, 0, 1<<20, nil, func(b []byte) (err error) {
		m, err = change.DecodeMessage(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func describe(e Effect) string {
	switch e.Kind {
	case OpenLane:
		return "open lane"
	case CloseLanes:
		return "close lanes"
	case Revoke:
		return fmt.Sprintf("revoke before %d", e.Incarnation)
	case Apply:
		return fmt.Sprintf("apply %d to %d", e.Entries[0].Seq, e.Position.Seq)
	case ReadLog:
		return fmt.Sprintf("read log from %d", e.Seq)
	case Acknowledge:
		return fmt.Sprintf("acknowledge %d", e.Seq)
	case FetchCatalog:
		return "fetch catalog"
	case Stopped:
		return "stopped: " + e.Reason.String()
	case Mark:
		return fmt.Sprintf("mark %d", e.HLC)
	case StartLanes:
		return fmt.Sprintf("start lane at %d", e.Heads[0].Seq)
	}
	return "?"
}
