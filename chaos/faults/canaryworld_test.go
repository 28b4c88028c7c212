//go:build linux

package faults

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"

	"github.com/concordat-db/concordat/chaos/canary"
)

// sovereign is a cluster whose items are canaries: it writes them everywhere, changes where they may be, and looks for them where they may not.
type sovereign struct {
	*cluster
	v       *vault
	scanner *canary.Scanner
	journal *journal
	random  *rand.Rand
	control string // the name of a table: what has this word in it was read
	dir     string // of logs and files of policies

	began     time.Time
	complaint func(format string, args ...any) // of what is where it may not be

	mu      sync.Mutex
	now     *window // what is heard
	windows []*window
	clients map[string]*sdk.Client // by region, overheard

	turns int             // of writers
	seen  map[string]bool // what was found where it may be: the scan reads it
}

func newSovereign(t *testing.T) *sovereign {
	t.Helper()
	random := newRandom(t)
	scanner := canary.NewScanner()
	s := &sovereign{v: newVault(rand.New(rand.NewPCG(random.Uint64(), 1)), scanner), scanner: scanner, journal: &journal{keys: map[class][]attributes{}}, random: random, dir: t.TempDir(),
		clients: map[string]*sdk.Client{}, seen: map[string]bool{}}
	control := canary.New(random, canary.Word, "control")
	scanner.Add(control)
	s.control = control.Bytes
	s.began, s.complaint = time.Now(), t.Errorf
	s.cluster = newClusterHeard(t, 0, canary.NewCapture(scanner))
	for _, n := range s.nodes {
		n.log = filepath.Join(s.dir, n.name+".log")
		s.clients[n.name] = s.client(n)
	}
	s.now = s.newWindow("before policies", s.everywhere())
	return s
}

// everywhere is where items may be without policies.
func (s *sovereign) everywhere() places {
	p := places{}
	for _, table := range canaryTables {
		for _, law := range []string{"EU", "IN"} {
			for _, n := range s.nodes {
				p[class{table, law}] = append(p[class{table, law}], n.name)
			}
		}
	}
	return p
}

// client returns a client of a region whose answers are heard.
func (s *sovereign) client(n *node) *sdk.Client {
	transport := &http.Transport{MaxIdleConnsPerHost: 16}
	s.t.Cleanup(transport.CloseIdleConnections)
	heard := roundTrip(func(r *http.Request) (*http.Response, error) {
		resp, err := (wholeBodies{transport}).RoundTrip(r)
		if err != nil {
			return nil, err
		}
		return resp, s.hear(n.name, r, resp)
	})
	return sdk.New(sdk.Options{BaseEndpoint: n.api.Options().BaseEndpoint, Region: n.name, RetryMaxAttempts: 1, HTTPClient: &http.Client{Transport: heard},
		Credentials: credentials.NewStaticCredentialsProvider(accessKey, secretKey, "")})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// hear searches a whole answer.
func (s *sovereign) hear(region string, r *http.Request, resp *http.Response) error {
	body, err := io.ReadAll(resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return err
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	var head bytes.Buffer
	if err := resp.Header.Write(&head); err != nil {
		return err
	}
	s.mu.Lock()
	report := s.now.api[region]
	s.mu.Unlock()
	place := fmt.Sprintf("%s, status %d", r.Header.Get("X-Amz-Target"), resp.StatusCode)
	s.scanner.Bytes(report, place+", header", head.Bytes())
	s.scanner.Bytes(report, place, body)
	return nil
}

func (s *sovereign) newWindow(name string, may places) *window {
	w := &window{name: name, may: may, api: map[string]*canary.Report{}}
	for _, n := range s.nodes {
		w.api[n.name] = canary.NewReport()
	}
	return w
}

// turn ends the window and begins the next one. What was heard is judged, now and at the end once more: what has begun may still be heard.
func (s *sovereign) turn(name string, may places) {
	s.t.Helper()
	s.t.Logf("%.1f s: %s", time.Since(s.began).Seconds(), name)
	s.mu.Lock()
	old := s.now
	old.links = s.heard.Cut()
	s.now = s.newWindow(name, may)
	s.windows = append(s.windows, old)
	s.mu.Unlock()
	s.judge(old)
}

func (s *sovereign) judge(w *window) {
	s.t.Helper()
	s.complain(w.name, w.faults(s.v))
	for d, r := range w.links {
		s.remember("link", r, func(c class) bool { return w.may.allow(c, d.From) && w.may.allow(c, d.To) })
	}
	for region, r := range w.api {
		s.remember("answer", r, func(c class) bool { return w.may.allow(c, region) })
	}
}

// remember notes what was found where it may be.
func (s *sovereign) remember(where string, r *canary.Report, may func(class) bool) {
	for _, f := range r.Findings() {
		if c, ok := s.v.of(f); ok && may(c) || !ok {
			s.seen[where+", "+string(f.In)] = true
			s.seen[where+", "+string(f.Form)] = true
		}
	}
}

// createTables makes the tables, each in all regions, with an index and a time to live, and one of which the name is all that matters.
func (s *sovereign) createTables() {
	s.t.Helper()
	var making sync.WaitGroup
	for _, name := range append([]string{s.control}, canaryTables...) {
		making.Go(func() {
			mustCreateKeyed(s.t, name, s.regions()...)
			mustCommand(s.t, "table", "set", name, "--ttl", "ttl", "--admin", s.nodes[0].admin)
		})
	}
	making.Wait()
	if _, err := s.nodes[0].api.PutItem(s.t.Context(), &sdk.PutItemInput{TableName: &s.control, Item: keyOfClass(class{s.control, "US"}, "k", "k")}); err != nil {
		s.t.Fatal(err)
	}
}

// mustCreateKeyed makes a table with pk, sk, an index by g and a change stream.
func mustCreateKeyed(t testing.TB, name string, regions ...*region) {
	str := func(name string) types.AttributeDefinition {
		return types.AttributeDefinition{AttributeName: aws.String(name), AttributeType: types.ScalarAttributeTypeS}
	}
	_, err := regions[0].api.CreateTable(t.Context(), &sdk.CreateTableInput{
		TableName: &name, BillingMode: types.BillingModePayPerRequest,
		StreamSpecification:  &types.StreamSpecification{StreamEnabled: aws.Bool(true), StreamViewType: types.StreamViewTypeNewAndOldImages},
		AttributeDefinitions: []types.AttributeDefinition{str("pk"), str("sk"), str("g")},
		KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String("pk"), KeyType: types.KeyTypeHash}, {AttributeName: aws.String("sk"), KeyType: types.KeyTypeRange}},
		GlobalSecondaryIndexes: []types.GlobalSecondaryIndex{{IndexName: aws.String("by-g"), Projection: &types.Projection{ProjectionType: types.ProjectionTypeAll},
			KeySchema: []types.KeySchemaElement{{AttributeName: aws.String("g"), KeyType: types.KeyTypeHash}}}},
	})
	if err != nil {
		t.Errorf("create %s: %v", name, err)
		return
	}
	args := []string{"table", "replica", "add", name}
	for _, r := range regions[1:] {
		args = append(args, r.name)
	}
	mustCommand(t, append(args, "--admin", regions[0].admin)...)
}

// aTurn is more than a writer sends requests of each kind for a class before it ends.
const aTurn = 1_000_000

// startWriters has a client of each region send requests for each class, whether they may be answered there or not.
func (s *sovereign) startWriters() (stop func()) {
	s.turns++
	from := s.turns * aTurn
	ctx, cancel := context.WithCancel(s.t.Context())
	var writers sync.WaitGroup
	for _, n := range s.nodes {
		for _, table := range canaryTables {
			writers.Go(func() {
				for i := from; ctx.Err() == nil; i++ {
					for _, law := range []string{"EU", "IN"} {
						q := requests{v: s.v, c: class{table, law}, api: s.clients[n.name], region: n.name, n: i, log: s.journal}
						q.all(ctx)
					}
					pause(ctx.Done(), 40*thinking)
				}
			})
		}
	}
	stop = sync.OnceFunc(func() { cancel(); writers.Wait() })
	s.t.Cleanup(stop)
	return stop
}

// awaitWrites waits until n more writes of each class are acknowledged.
func (s *sovereign) awaitWrites(n int) {
	s.t.Helper()
	want := map[class]int{} // of all of them now: they are written side by side
	for c := range s.now.may {
		want[c] = len(s.journal.of(c)) + n
	}
	for c, want := range want {
		eventually(s.t, fmt.Sprintf("%d writes of %v", n, c), func() string {
			if got := len(s.journal.of(c)); got < want {
				return fmt.Sprintf("%d are missing", want-got)
			}
			return ""
		})
	}
}

// look searches all regions' files, logs and interfaces.
func (s *sovereign) look(when string) {
	s.t.Helper()
	for _, n := range s.nodes {
		s.lookAtFiles(when, n)
		s.lookAtLog(when, n)
		if n.proc.running() {
			s.lookAtAdmin(when, n)
		}
	}
}

func (s *sovereign) lookAtFiles(when string, n *node) {
	s.t.Helper()
	may := func(c class) bool { return s.now.may.allow(c, n.name) }
	eventually(s.t, when+": all files of "+n.name+" are read", func() string {
		r := canary.NewReport()
		if err := s.scanner.Tree(r, n.data); err != nil {
			s.t.Fatal(err)
		}
		s.complain(when+": files of "+n.name, s.v.leaks(r, func(c class, _ canary.Finding) bool { return may(c) }))
		s.remember("file", r, may)
		return strings.Join(r.Unread(), "\n") // a store that runs has files that are not complete
	})
}

func (s *sovereign) complain(where string, leaks []string) {
	s.t.Helper()
	for i, l := range leaks {
		if i == 10 {
			s.complaint("%s: %d more", where, len(leaks)-i)
			break
		}
		s.complaint("%s: %s", where, l)
	}
}

// nowhere is for what has no item in it, wherever it may be.
func nowhere(class, canary.Finding) bool { return false }

func (s *sovereign) lookAtLog(when string, n *node) {
	s.t.Helper()
	b, err := os.ReadFile(n.log)
	if err != nil {
		s.t.Fatal(err)
	}
	r := canary.NewReport()
	s.scanner.Bytes(r, n.log, b)
	s.complain(when+": log of "+n.name, s.v.leaks(r, nowhere))
	s.remember("log", r, func(class) bool { return false })
}

// lookAtAdmin searches what the interface for operators says. Only conflicts are about items, and are shown where these may be.
func (s *sovereign) lookAtAdmin(when string, n *node) {
	s.t.Helper()
	paths := []string{"/metrics", "/v1/status", "/v1/tables", "/v1/regions", "/v1/saved", "/v1/policies",
		"/v1/audit/log", "/v1/audit/egress", "/v1/audit/egress/checkpoints", "/v1/audit/receipts", "/v1/openapi.json", "/"}
	for _, table := range canaryTables {
		paths = append(paths, "/v1/conflicts?limit=1000&table="+table, "/v1/conflicts/stats?table="+table)
	}
	for _, path := range paths {
		kind, _, items := strings.Cut(path, "?limit")
		r := canary.NewReport()
		s.scanner.Bytes(r, path, s.ask(n, path))
		may := func(c class) bool { return items && s.now.may.allow(c, n.name) }
		s.complain(when+": admin API of "+n.name, s.v.leaks(r, func(c class, _ canary.Finding) bool { return may(c) }))
		s.remember(kind, r, may)
	}
}

// reports are the commands by which an operator, or an auditor, convinces himself. None of them shows an item, and all find nothing wrong.
var reports = [][]string{{"verify"}, {"audit", "residency"}, {"audit", "check"}, {"audit", "log"}, {"audit", "egress", "--verify"}, {"policy", "list"}, {"policy", "history"}, {"policy", "receipts"}}

// mustReport asks each region for all reports, and searches what they say.
func (s *sovereign) mustReport(when string) {
	s.t.Helper()
	for _, n := range s.nodes {
		for _, args := range reports {
			name := strings.Join(args, " ")
			got := command(s.t, append(slices.Clone(args), "--admin", n.admin)...)
			if got.status != 0 {
				s.t.Errorf("%s: %s in %s: status %d: %s%s", when, name, n.name, got.status, got.out, got.err)
			}
			r := canary.NewReport()
			s.scanner.Bytes(r, name, []byte(got.out+got.err))
			s.complain(when+": "+n.name, s.v.leaks(r, nowhere))
			s.remember(name, r, func(class) bool { return false })
		}
	}
}

func (s *sovereign) ask(n *node, path string) []byte {
	s.t.Helper()
	resp, err := http.Get(n.admin + path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return body
}

// mustHold waits until every acknowledged write is in each region where it may be.
func (s *sovereign) mustHold() {
	s.t.Helper()
	for c, regions := range s.now.may {
		for _, region := range regions {
			missing := s.journal.of(c)
			total := len(missing)
			eventually(s.t, fmt.Sprintf("%s has all %d writes of %v", region, total, c), func() string {
				var err error
				if missing, err = s.missing(region, c, missing); err != nil {
					return err.Error()
				}
				if len(missing) > 0 {
					return fmt.Sprintf("%d are missing, one is %v", len(missing), missing[0])
				}
				return ""
			})
		}
	}
}

// missing returns those keys that a region has no item of.
func (s *sovereign) missing(region string, c class, keys []attributes) (missing []attributes, err error) {
	name := func(key attributes) string {
		return key["pk"].(*types.AttributeValueMemberS).Value + "\x00" + key["sk"].(*types.AttributeValueMemberS).Value
	}
	for page := range slices.Chunk(keys, 50) {
		found := map[string]bool{}
		for rest := map[string]types.KeysAndAttributes{c.table: {Keys: page, ProjectionExpression: aws.String("pk, sk"), ConsistentRead: aws.Bool(true)}}; len(rest) > 0; {
			out, err := s.clients[region].BatchGetItem(s.t.Context(), &sdk.BatchGetItemInput{RequestItems: rest})
			if err != nil {
				return keys, err
			}
			for _, item := range out.Responses[c.table] {
				found[name(item)] = true
			}
			rest = out.UnprocessedKeys
		}
		for _, key := range page {
			if !found[name(key)] {
				missing = append(missing, key)
			}
		}
	}
	return missing, nil
}

// mustRefuseForeign checks what a region says to a request for an item that may not be there: the policy and where to ask, and nothing else.
func (s *sovereign) mustRefuseForeign() {
	s.t.Helper()
	for c, regions := range s.now.may {
		for _, n := range s.nodes {
			if slices.Contains(regions, n.name) || forwards(c) {
				continue
			}
			_, err := s.clients[n.name].GetItem(s.t.Context(), &sdk.GetItemInput{TableName: &c.table, Key: keyOfClass(c, "k", "k")})
			var api smithy.APIError
			if !errors.As(err, &api) || api.ErrorCode() != "AccessDeniedException" || !strings.Contains(api.ErrorMessage(), policyOf(c)) || !strings.Contains(api.ErrorMessage(), regions[0]) {
				s.t.Errorf("%s answers a request for %v with %v", n.name, c, err)
			}
		}
	}
}

// mustHaveSeen checks that the scan finds what is there: in each kind of file, of message, and of answer.
func (s *sovereign) mustHaveSeen(what ...string) {
	s.t.Helper()
	for _, w := range what {
		if !s.seen[w] {
			s.t.Errorf("nothing was found in: %s; the search proves nothing there", w)
		}
	}
	if s.t.Failed() {
		s.t.Logf("found: %v", slices.Sorted(func(yield func(string) bool) {
			for w := range s.seen {
				if !yield(w) {
					return
				}
			}
		}))
	}
}
