package outbox

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/streams/change"
)

// TestScenarios runs the stories in testdata. A command is an event; the effects are printed. All are about one lane of region 1 with the peers 2 and 3.
func TestScenarios(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		if _, err := os.Stat(path); err != nil {
			t.Fatal(err)
		}
		used := true
		c := NewCore(1, Limits{FreshBytes: 40, FlightBytes: 30, PageBytes: 20, RefillEntries: 5, TrimEvery: 3}, func(globaltable.LaneID) bool { return used })
		lane := globaltable.Lane{Placement: globaltable.NewPlacement(1, 2, 3)}
		lane.ID = lane.Placement.Lane()
		turn := uint64(0)
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			number := func(key string) uint64 {
				var s string
				d.ScanArgs(t, key, &s)
				n, err := strconv.ParseUint(s, 10, 64)
				if err != nil {
					t.Fatal(err)
				}
				return n
			}
			var effects []Effect
			switch d.Cmd {
			case "add-lane":
				effects = c.AddLane(lane, number("head"), number("trimmed"))
			case "alone":
				lane.Placement = globaltable.NewPlacement(1)
				lane.ID = lane.Placement.Lane()
				effects = c.AddLane(lane, number("head"), number("trimmed"))
			case "fresh":
				effects = c.Fresh(lane.ID, entries(number("from"), number("to")))
			case "loaded":
				effects = c.Loaded(lane.ID, turn, entries(number("from"), number("to")))
			case "reset":
				effects = c.StreamReset(lane.ID, turn)
			case "opened":
				effects = c.StreamOpened(lane.ID, turn)
			case "published":
				for seq := number("from"); seq <= number("to"); seq++ {
					effects = append(effects, c.Published(lane.ID, turn, seq)...)
				}
			case "late-published":
				effects = c.Published(lane.ID, turn-1, number("seq"))
			case "failed":
				effects = c.Failed(lane.ID, turn)
			case "bus-reset":
				effects = c.BusReset()
			case "tick":
				effects = c.Tick()
			case "use":
				used = d.HasArg("yes")
			case "removed":
				effects = c.StreamRemoved(lane.ID, turn)
			case "renew":
				effects = c.Renew(lane.ID)
			case "found":
				effects = c.Found([]globaltable.LaneID{lane.ID, 7})
			case "live":
				return fmt.Sprintln(c.Live(lane.ID))
			case "exceeded":
				effects = c.Exceeded(lane.ID, number("to"), time.Unix(int64(number("at")), 0))
			case "exclude":
				var excluded []hlc.Origin
				for _, a := range d.CmdArgs {
					for _, v := range a.Vals {
						n, err := strconv.Atoi(v)
						if err != nil {
							t.Fatal(err)
						}
						excluded = append(excluded, hlc.Origin(n))
					}
				}
				effects = c.Exclude(func(globaltable.Lane) []hlc.Origin { return excluded })
			case "lagging":
				var b strings.Builder
				for _, backlog := range c.Status() {
					for _, peer := range []hlc.Origin{2, 3} {
						if lag, lags := backlog.Lagging[peer]; lags {
							fmt.Fprintf(&b, "peer %d: %d entries, since %d\n", peer, lag.Dropped, max(0, lag.Since.Unix()))
						}
					}
				}
				return b.String()
			case "confirmed":
				effects = c.Confirmed(lane.ID, hlc.Origin(number("peer")), number("seq"))
			default:
				t.Fatalf("unknown command %s", d.Cmd)
			}
			var b strings.Builder
			for _, e := range effects {
				turn = max(turn, e.Turn)
				fmt.Fprintln(&b, describe(e))
			}
			return b.String()
		})
	})
}

// entries have bodies of 10 bytes.
func entries(from, to uint64) (out []change.Entry) {
	for seq := from; seq <= to; seq++ {
		out = append(out, change.Entry{Header: change.Header{Seq: seq}, Body: make([]byte, 10)})
	}
	return out
}

// exceptFor tells the peers of a stream if one is missing.
func exceptFor(e Effect) string {
	if len(e.Peers) == len(e.Lane.Placement)-1 {
		return ""
	}
	return fmt.Sprint(" for peers ", e.Peers)
}

func describe(e Effect) string {
	switch e.Kind {
	case ResetStream:
		return "reset stream" + exceptFor(e)
	case OpenStream:
		return "open stream" + exceptFor(e)
	case RemoveStream:
		if len(e.Lane.Placement) == 0 {
			return "remove stream of lane " + e.Lane.ID.String()
		}
		return "remove stream"
	case Publish:
		return fmt.Sprintf("publish %d", e.Entry.Seq)
	case Load:
		return fmt.Sprintf("load from %d", e.Seq)
	case Trim:
		return fmt.Sprintf("trim to %d", e.Seq)
	case LeftBehind:
		return fmt.Sprintf("left behind: peer %d", e.Peer)
	case CaughtUp:
		return fmt.Sprintf("caught up: peer %d", e.Peer)
	}
	return "?"
}
