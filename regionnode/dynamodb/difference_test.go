package dynamodb_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/concordat-db/concordat/regionnode/dynamodb/naive"
)

// The differential test sends random requests, valid and invalid, to a real region over HTTP and to the naive package's DynamoDB, and compares every
// answer. A seed makes all requests of a run before the first is sent, so that a run replays, and a failing run can be made short by leaving requests out.

var (
	seedsFlag = flag.Int("seeds", 24, "how many seeds the differential test plays")
	seedFlag  = flag.Uint64("seed", 1, "the first seed of the differential test")
	stepsFlag = flag.Int("steps", 400, "how many requests the differential test makes of each seed")
)

// step is one request.
type step struct {
	operation string
	body      map[string]any
	// pages says that the request is repeated from LastEvaluatedKey until there is none.
	pages bool
	// reads is a table whose streams are read, in pages of so many records, instead of sending a request; empty: none.
	reads string
	limit int
	// wait is how far the clock of both goes on before the request.
	wait time.Duration
}

func (s step) String() string {
	b, _ := json.Marshal(s.body)
	text := s.operation + " " + string(b)
	if s.reads != "" {
		text = fmt.Sprintf("read the streams of %s, %d at a time", s.reads, s.limit)
	}
	if s.wait > 0 {
		text = fmt.Sprintf("after %s: %s", s.wait, text)
	}
	return text
}

// TestDifference plays seeds. A difference is shown with the fewest requests that were found to make it.
func TestDifference(t *testing.T) {
	answers := map[string]int{}
	for seed := *seedFlag; seed < *seedFlag+uint64(*seedsFlag); seed++ {
		steps := newGenerator(seed).steps(*stepsFlag)
		at, _ := playSteps(t, steps, answers)
		if at < 0 {
			continue
		}
		short := shorten(t, steps[:at+1])
		_, difference := playSteps(t, short, nil)
		var story strings.Builder
		for _, s := range short[:len(short)-1] {
			fmt.Fprintln(&story, s)
		}
		t.Fatalf("seed %d, step %d (replay: make difference SEED=%d SEEDS=1 STEPS=%d)\n%s%s", seed, at, seed, *stepsFlag, &story, difference)
	}
	t.Log(census(answers))
}

// TestOffered sees that nothing that the examiner knows is left out of the differential test.
func TestOffered(t *testing.T) {
	p := newPair(t)
	for _, operation := range naive.Operations() {
		if made := slices.ContainsFunc(weights, func(w weight) bool { return w.operation == operation }); !made {
			t.Errorf("the generator does not make requests for %s", operation)
		}
		if strings.Contains(p.post(operation, `{}`).body, "UnknownOperationException") {
			t.Errorf("%s, which the examiner knows, is not offered", operation)
		}
	}
}

// TestReservedWords asks for an attribute by each of the words that are reserved.
func TestReservedWords(t *testing.T) {
	words, err := os.ReadFile("naive/reserved.txt")
	if err != nil {
		t.Fatal(err)
	}
	p := newPair(t)
	for _, word := range strings.Fields(string(words)) {
		for _, spelling := range []string{word, strings.ToLower(word), word + "_"} {
			s := step{operation: "GetItem", body: tree{"TableName": "hash", "Key": tree{"pk": tree{"S": "a"}}, "ProjectionExpression": spelling}}
			if difference := p.compare(t, s, nil); difference != "" {
				t.Error(difference)
			}
		}
	}
}

// census says how many answers of each kind there were.
func census(answers map[string]int) string {
	var lines []string
	for what, n := range answers {
		lines = append(lines, fmt.Sprintf("%6d %s", n, what))
	}
	slices.Sort(lines)
	slices.Reverse(lines)
	return "answers that were the same:\n" + strings.Join(lines, "\n")
}

// playSteps sends steps to a new region and a new examiner until the answers differ. It returns the step at which they do, -1 if at none, and a text that
// shows how. answers, if it is not nil, counts the answers by operation and exception.
func playSteps(t *testing.T, steps []step, answers map[string]int) (at int, difference string) {
	at = -1
	t.Run("play", func(t *testing.T) {
		p := newPair(t)
		for i, s := range steps {
			p.clock.advance(s.wait)
			if difference = p.compare(t, s, answers); difference != "" {
				at = i
				return
			}
		}
	})
	return at, difference
}

// shorten leaves steps out while the last one still makes a difference.
func shorten(t *testing.T, steps []step) []step {
	differs := func(steps []step) bool {
		at, _ := playSteps(t, steps, nil)
		return at >= 0
	}
	for size := len(steps) / 2; size > 0; size /= 2 {
		for from := 0; from+size < len(steps); {
			fewer := slices.Delete(slices.Clone(steps), from, from+size)
			if differs(fewer) {
				steps = fewer
			} else {
				from += size
			}
		}
	}
	return steps
}

// clock is the time that both sides see. It goes on when it is told to.
type clock struct{ now atomic.Int64 } // Unix milliseconds

func (c *clock) advance(d time.Duration) { c.now.Add(d.Milliseconds()) }

func (c *clock) time() time.Time { return time.UnixMilli(c.now.Load()) }

// firstSecond is when a run begins, in Unix seconds.
const firstSecond = 1_800_000_000

// timeToLiveLead is how long a region takes to put a change of a time to live into force.
const timeToLiveLead = 2 * time.Second

// pair is a region and its examiner.
type pair struct {
	region   *region
	post     func(operation, body string) answer
	examiner *naive.DB
	clock    *clock
}

func newPair(t *testing.T) *pair {
	p := &pair{clock: &clock{}}
	p.clock.now.Store(firstSecond * 1000)
	p.region = startRegionAt(t, memory(t), p.clock.time, open)
	client := httpClient(t)
	p.post = func(operation, body string) answer { return p.region.post(t, client, operation, body) }
	p.examiner = naive.New(naive.Config{Region: testRegion, Account: "000000000000", Now: p.clock.time, TimeToLiveLead: timeToLiveLead, Hash: hashOf(t)})
	return p
}

// maxPages bounds how often a request is repeated for its next page.
const maxPages = 200

// compare sends a step, all pages of it, to both sides and returns how the answers differ, or nothing.
func (p *pair) compare(t *testing.T, s step, answers map[string]int) string {
	if s.reads != "" {
		return p.compareStreams(t, s, answers)
	}
	body, asked := s.body, s.body // of the region and of the examiner: the token of a page is each side's own
	for range maxPages {
		p.clock.advance(time.Millisecond) // what is written is older than what is read, as it is on a real clock
		text := jsonOf(body)
		want := p.examiner.Do(s.operation, []byte(jsonOf(asked)))
		got := p.post(s.operation, text)
		decoded, difference := compareAnswers(got, want)
		if difference != "" {
			return fmt.Sprintf("%s %s\n%s\nthe region: %d %s\nDynamoDB:   %s", s.operation, text, difference, got.status, got.body, shown(want))
		}
		if answers != nil {
			answers[s.operation+" "+want.Type]++
		}
		if got.status == 200 {
			p.settle(t, s)
		}
		begin, after := "ExclusiveStartKey", "LastEvaluatedKey"
		if s.operation == "ExecuteStatement" {
			begin, after = "NextToken", "NextToken"
		}
		if !s.pages || decoded[after] == nil {
			return ""
		}
		body, asked = maps.Clone(body), maps.Clone(asked)
		body[begin], asked[begin] = decoded[after], decoded[after]
		if token, ok := want.Body[after].(naive.Token); ok {
			asked[begin] = string(token)
		}
	}
	return fmt.Sprintf("%s has more than %d pages", s, maxPages)
}

// settle waits until a table is there, changed or gone, as clients do.
func (p *pair) settle(t *testing.T, s step) {
	name, _ := s.body["TableName"].(string)
	if s.operation == "UpdateTable" {
		p.region.build(t) // nobody else builds indexes here
	}
	for {
		a := p.post("DescribeTable", jsonOf(tree{"TableName": name}))
		switch s.operation {
		case "CreateTable", "UpdateTable":
			if strings.Contains(a.body, `"TableStatus":"ACTIVE"`) {
				return
			}
		case "DeleteTable":
			if a.status != 200 {
				return
			}
		default:
			return
		}
	}
}

// newGenerator makes the requests of a seed.
func newGenerator(seed uint64) *generator {
	return &generator{Rand: rand.New(rand.NewPCG(seed, 0))}
}
