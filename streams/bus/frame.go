package bus

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/concordat-db/concordat/globaltable"
)

// Requests and answers are framed in one NATS header. A peer sends to the subject that only its account has:
//
//	ask <id>          a request; the answer goes to the reply subject
//	took <id> <n>     the first n parts of the answer were consumed: the sender may go on; also the sign of life of the asker
//	stop <id>         the asker has gone
//	rewind <lane>     deliver the lane again from its first unacknowledged message
//	reply             answer with the reply subject as it arrived (Probe)
//
// and the origin answers:
//
//	part <n>          part n of the answer, from 1
//	end <n>           the answer is complete with n parts
//	fail <n>          the handler failed after n parts; the body is its message
//	busy 0, idle 0    too many requests are in flight; nobody serves
//	alive 0           the handler is still at work
//
// NATS delivers in order but at most once, so parts are numbered and a hole ends the request with an error.
const frameHeader = "Concordat"

const (
	verbAsk, verbTook, verbStop, verbRewind, verbReply         = "ask", "took", "stop", "rewind", "reply"
	verbPart, verbEnd, verbFail, verbBusy, verbIdle, verbAlive = "part", "end", "fail", "busy", "idle", "alive"
)

// Bounds of an answer in flight: what was sent and not yet consumed. The asker's buffer holds as much.
const (
	answerWindowBytes = 8 << 20
	answerWindowParts = 512
	maxRequestID      = 32
)

var errFrame = errors.New("bus: malformed frame")

// frame is a decoded header: the verb and what it needs.
type frame struct {
	verb string
	id   string
	n    uint64
	lane globaltable.LaneID
}

func (f frame) String() string {
	switch f.verb {
	case verbAsk, verbStop:
		return f.verb + " " + f.id
	case verbTook:
		return f.verb + " " + f.id + " " + strconv.FormatUint(f.n, 10)
	case verbRewind:
		return f.verb + " " + f.lane.String()
	case verbReply:
		return f.verb
	default:
		return f.verb + " " + strconv.FormatUint(f.n, 10)
	}
}

// parseFrame decodes a header's value. Ids are letters and digits.
func parseFrame(s string) (frame, error) {
	if len(s) > 2*maxRequestID+32 {
		return frame{}, errFrame
	}
	fields := strings.Split(s, " ")
	f := frame{verb: fields[0]}
	bad := fmt.Errorf("%w: %q", errFrame, f.verb)
	want := 2
	switch f.verb {
	case verbReply:
		want = 1
	case verbTook:
		want = 3
	}
	if len(fields) != want {
		return frame{}, bad
	}
	var err error
	switch f.verb {
	case verbReply:
	case verbAsk, verbStop, verbTook:
		f.id = fields[1]
		if !validRequestID(f.id) {
			return frame{}, bad
		}
		if f.verb == verbTook {
			f.n, err = strconv.ParseUint(fields[2], 10, 64)
		}
	case verbRewind:
		var n uint64
		n, err = strconv.ParseUint(fields[1], 16, 64)
		f.lane = globaltable.LaneID(n)
		if f.lane.String() != fields[1] {
			return frame{}, bad
		}
	case verbPart, verbEnd, verbFail, verbBusy, verbIdle, verbAlive:
		f.n, err = strconv.ParseUint(fields[1], 10, 64)
	default:
		return frame{}, bad
	}
	if err != nil {
		return frame{}, bad
	}
	return f, nil
}

func validRequestID(id string) bool {
	if id == "" || len(id) > maxRequestID {
		return false
	}
	for i := range len(id) {
		c := id[i]
		if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z') {
			return false
		}
	}
	return true
}

// frameOf decodes the frame of a message.
func frameOf(m *nats.Msg) (frame, error) { return parseFrame(m.Header.Get(frameHeader)) }

// framed returns a message with a frame.
func framed(subject, reply string, f frame, data []byte) *nats.Msg {
	return &nats.Msg{Subject: subject, Reply: reply, Header: nats.Header{frameHeader: {f.String()}}, Data: data}
}
