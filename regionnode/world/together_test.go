package world

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/globaltable"
)

var (
	seedFlag  = flag.Uint64("seed", 1, "the seed of what the clients of TestTwoRegionsWriteTheSameKeys do")
	stepsFlag = flag.Int("steps", 120, "how many requests each of its writers makes")
)

// TestTwoRegionsWriteTheSameKeys has clients in two regions write the same few keys at the same time, with every operation of the API, while others query and scan. What holds whatever the other region does is
// looked at in every answer. In the end both regions have the same items, and all indexes are what the items make of them (I14), by the API and in the store.
//
// What each client asks for follows from the seed alone; how the requests of the clients come to lie in time does not.
func TestTwoRegionsWriteTheSameKeys(t *testing.T) {
	t.Parallel()
	for _, mode := range []conflict.Mode{conflict.LWW, conflict.Attribute, conflict.Vector} {
		t.Run(mode.String(), func(t *testing.T) { writeTheSameKeys(t, mode) })
	}
}

// mergedTypes are those that mode vector declares of the attributes that clients write.
var mergedTypes = map[string]string{"hits": "counter", "count": "counter", "tags": "set", "m": "map", "width": "max", "version": "register", "note": "min"}

func writeTheSameKeys(t *testing.T, mode conflict.Mode) {
	cfg := config(t)
	cfg.Regions = cfg.Regions[:2]
	cfg.Latency = map[Pair]time.Duration{{cfg.Regions[0].Name, cfg.Regions[1].Name}: 10 * time.Millisecond} // so that more writes have not seen each other
	r := runWorld(t, cfg)
	s := &shared{running: r, mode: mode, covered: map[string]int{}}
	for _, region := range cfg.Regions {
		s.regions = append(s.regions, region.Name)
	}
	s.make()
	s.putFixed()
	t.Logf("seed %d (replay: go test ./regionnode/world -run '^%s$' -args -seed=%d)", *seedFlag, t.Name(), *seedFlag)

	var writers, readers sync.WaitGroup
	written := make(chan struct{})
	for i, region := range s.regions {
		for n := range 3 {
			c := s.client(region, uint64(10*i+n))
			if i+n == 0 {
				c.rounds = map[int]func(){2: func() { r.Cut(region) }, 4: func() { r.Heal(region) }}
			}
			writers.Go(c.write)
		}
		c := s.client(region, uint64(10*i+9))
		readers.Go(func() { c.read(written) })
	}
	writers.Wait()
	close(written)
	readers.Wait()
	s.expectCovered()
	if t.Failed() {
		return
	}
	s.settle()
	r.stop()
	for _, region := range s.regions {
		s.checkStore(region)
	}
}

// The table, its indexes, and the attributes that have a meaning. Keys are strings, but for the sort key of the table and of byColor.
const (
	sharedTable = "shared"
	byColor     = "by-color" // global: color, width; all attributes
	byShape     = "by-shape" // global: shape; note besides
	byGrade     = "by-grade" // local: grade; keys only
)

var (
	partitions = []string{"p0", "p1", "p2"}
	sorts      = 3 // sort keys of each partition
	colors     = []string{"red", "green", "blue"}
	shapes     = []string{"round", "square"}
	grades     = []string{"a", "b", "c"}
)

// attributes is an item, or a part of one.
type attributes = map[string]types.AttributeValue

func str(v string) types.AttributeValue { return &types.AttributeValueMemberS{Value: v} }
func num(v int) types.AttributeValue    { return &types.AttributeValueMemberN{Value: fmt.Sprint(v)} }

// shared is the table, and what its clients found.
type shared struct {
	*running
	mode    conflict.Mode
	regions []string

	mu      sync.Mutex
	covered map[string]int // what happened → how often
}

func (s *shared) cover(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.covered[what]++
}

func (s *shared) make() {
	s.t.Helper()
	key := func(partition, sort string) (out []types.KeySchemaElement) {
		out = append(out, types.KeySchemaElement{AttributeName: &partition, KeyType: types.KeyTypeHash})
		if sort != "" {
			out = append(out, types.KeySchemaElement{AttributeName: &sort, KeyType: types.KeyTypeRange})
		}
		return out
	}
	var definitions []types.AttributeDefinition
	for name, kind := range map[string]types.ScalarAttributeType{"pk": "S", "sk": "N", "color": "S", "width": "N", "shape": "S", "grade": "S"} {
		definitions = append(definitions, types.AttributeDefinition{AttributeName: &name, AttributeType: kind})
	}
	tags := []types.Tag{{Key: aws.String(globaltable.MergeTag), Value: aws.String(s.mode.String())}}
	if s.mode == conflict.Vector {
		for name, typ := range mergedTypes {
			tags = append(tags, types.Tag{Key: aws.String(globaltable.TypeTagPrefix + name), Value: &typ})
		}
	}
	s.createTable(&dynamodb.CreateTableInput{TableName: aws.String(sharedTable), Tags: tags, BillingMode: types.BillingModePayPerRequest, AttributeDefinitions: definitions, KeySchema: key("pk", "sk"),
		GlobalSecondaryIndexes: []types.GlobalSecondaryIndex{
			{IndexName: aws.String(byColor), KeySchema: key("color", "width"), Projection: &types.Projection{ProjectionType: types.ProjectionTypeAll}},
			{IndexName: aws.String(byShape), KeySchema: key("shape", ""), Projection: &types.Projection{ProjectionType: types.ProjectionTypeInclude, NonKeyAttributes: []string{"note"}}}},
		LocalSecondaryIndexes: []types.LocalSecondaryIndex{
			{IndexName: aws.String(byGrade), KeySchema: key("pk", "grade"), Projection: &types.Projection{ProjectionType: types.ProjectionTypeKeysOnly}}},
	}, s.regions[0], s.regions[1:]...)
	ctx := s.t.Context()
	if _, err := s.db[s.regions[0]].UpdateTimeToLive(ctx, &dynamodb.UpdateTimeToLiveInput{TableName: aws.String(sharedTable),
		TimeToLiveSpecification: &types.TimeToLiveSpecification{AttributeName: aws.String("expires"), Enabled: aws.Bool(true)}}); err != nil {
		s.t.Fatal(err)
	}
	s.until("items expire in both regions", func() bool {
		for _, region := range s.regions {
			out, err := s.db[region].DescribeTimeToLive(ctx, &dynamodb.DescribeTimeToLiveInput{TableName: aws.String(sharedTable)})
			if err != nil || out.TimeToLiveDescription.TimeToLiveStatus != types.TimeToLiveStatusEnabled {
				return false
			}
		}
		return true
	})
}

// fixed are items that nobody changes, among those that change: what a query or a scan may never miss.
func fixed() (items []attributes) {
	for i, partition := range partitions {
		items = append(items, attributes{"pk": str(partition), "sk": num(10 + i), "color": str(colors[i]), "width": num(i), "shape": str(shapes[i%2]), "grade": str(grades[i]), "note": str("fixed")})
	}
	return items
}

// putFixed puts them, and waits until both regions have them.
func (s *shared) putFixed() {
	s.t.Helper()
	for _, it := range fixed() {
		if _, err := s.db[s.regions[0]].PutItem(s.t.Context(), &dynamodb.PutItemInput{TableName: aws.String(sharedTable), Item: it}); err != nil {
			s.t.Fatal(err)
		}
	}
	s.until("the other region has the fixed items", func() bool { return len(s.all(s.regions[1], "")) == len(fixed()) })
}

// expectCovered fails a run in which something did not happen that the test is about.
func (s *shared) expectCovered() {
	s.t.Helper()
	var wanted []string
	for _, list := range [][]operation{writes, reads} {
		for _, o := range list {
			wanted = append(wanted, o.name)
		}
	}
	for _, what := range append(wanted, "a condition failed and showed its item", "a transaction was cancelled", "a page led to the next", "an item of the other region was read") {
		if s.covered[what] == 0 {
			s.t.Errorf("never: %s", what)
		}
	}
	s.t.Logf("%v", s.covered)
}

// operation is something that a client does.
type operation struct {
	name string
	may  []string // errors that it may meet: CODE, or CODE: PART OF THE MESSAGE
	do   func(*client) error
}

// client is one client, in one region. Its methods report what is wrong by themselves; the error that operations return is the API's.
type client struct {
	*shared
	*rand.Rand
	region, name string
	api          *dynamodb.Client
	counted      int // transactions that succeeded
	step         int
	rounds       map[int]func() // what else happens before a round of writes
}

func (s *shared) client(region string, n uint64) *client {
	return &client{shared: s, Rand: rand.New(rand.NewPCG(*seedFlag, n)), region: region, name: fmt.Sprint(region, "-", n), api: s.db[region]}
}

func (c *client) ctx() context.Context { return c.t.Context() }

func (c *client) fault(format string, args ...any) {
	c.t.Errorf("%s, step %d: %s", c.name, c.step, fmt.Sprintf(format, args...))
}

// run does one operation.
func (c *client) run(o *operation) {
	err := o.do(c)
	if err == nil {
		c.cover(o.name)
		return
	}
	for _, may := range o.may {
		if meets(err, may) {
			code, _, _ := strings.Cut(may, ": ")
			c.cover(o.name + ": " + code)
			return
		}
	}
	c.fault("%s: %v", o.name, err)
}

// meets reports whether an error is one that an operation may meet.
func meets(err error, may string) bool {
	code, part, _ := strings.Cut(may, ": ")
	var answer smithy.APIError
	return errors.As(err, &answer) && answer.ErrorCode() == code && strings.Contains(answer.ErrorMessage(), part)
}

// write does as many operations as the test wants of a client, each of the kinds about equally often.
func (c *client) write() {
	expiring := c.item(attributes{"pk": str("own " + c.name), "sk": num(1)}) // nobody overwrites it: it has to go by itself
	expiring["expires"] = num(int(time.Now().Unix()) + 1)
	if err := c.putItem(expiring); err != nil {
		c.fault("%v", err)
	}
	for round := 0; c.step < *stepsFlag && !c.t.Failed(); round++ {
		if also := c.rounds[round]; also != nil {
			also()
		}
		for _, i := range c.Perm(len(writes)) {
			c.run(&writes[i])
			c.step++
		}
	}
	own, err := c.get(c.own())
	if err != nil {
		c.fault("%v", err)
	}
	if got, _ := own["count"].(*types.AttributeValueMemberN); c.counted > 0 && (got == nil || got.Value != fmt.Sprint(c.counted)) {
		c.fault("%d transactions with a token succeeded, each sent twice, and the counter is %v", c.counted, own["count"])
	}
}

// read reads until all is written, and once more.
func (c *client) read(written <-chan struct{}) {
	for last := false; !last && !c.t.Failed(); {
		select {
		case <-written:
			last = true
		default:
		}
		for _, i := range c.Perm(len(reads)) {
			c.run(&reads[i])
			c.step++
		}
	}
}

func (c *client) get(key attributes) (attributes, error) {
	out, err := c.api.GetItem(c.ctx(), &dynamodb.GetItemInput{TableName: aws.String(sharedTable), Key: key, ConsistentRead: aws.Bool(true)})
	if err != nil {
		return nil, err
	}
	return out.Item, nil
}

// key is one of the few.
func (c *client) key() attributes {
	return attributes{"pk": str(pick(c, partitions)), "sk": num(c.IntN(sorts))}
}

// keys are n of the few, all different.
func (c *client) keys(n int) (out []attributes) {
	for _, i := range c.Perm(len(partitions) * sorts)[:n] {
		out = append(out, attributes{"pk": str(partitions[i/sorts]), "sk": num(i % sorts)})
	}
	return out
}

// own is a key that nobody else writes.
func (c *client) own() attributes { return attributes{"pk": str("own " + c.name), "sk": num(0)} }

// pair are two keys that are always written together, in one region.
func pair(region string) []attributes {
	return []attributes{{"pk": str("pair " + region), "sk": num(1)}, {"pk": str("pair " + region), "sk": num(2)}}
}

func pick[T any](c *client, of []T) T { return of[c.IntN(len(of))] }

// item is an item with some of what may be in one.
func (c *client) item(key attributes) attributes {
	it := attributes{"pk": key["pk"], "sk": key["sk"], "writer": str(c.region), "version": num(c.IntN(5))}
	for name, v := range map[string]types.AttributeValue{"color": str(pick(c, colors)), "shape": str(pick(c, shapes)), "grade": str(pick(c, grades)), "note": str(fmt.Sprint(c.name, c.IntN(100)))} {
		it[name] = v
	}
	it["width"] = num(c.IntN(20) - 10)
	for _, name := range []string{"color", "width", "shape", "grade", "note"} {
		if c.IntN(4) == 0 {
			delete(it, name) // indexes are sparse
		}
	}
	if c.IntN(2) == 0 {
		it["m"] = &types.AttributeValueMemberM{Value: attributes{"x": num(c.IntN(9)), "list": &types.AttributeValueMemberL{Value: []types.AttributeValue{str("y")}}}}
	}
	return it
}

// text is an item, or its key, for comparison: the same for the same attributes.
func text(it attributes) string {
	var parts []string
	for name, v := range it {
		parts = append(parts, name+"="+valueText(v))
	}
	slices.Sort(parts)
	return strings.Join(parts, " ")
}

func valueText(v types.AttributeValue) string {
	switch v := v.(type) {
	case *types.AttributeValueMemberS:
		return fmt.Sprintf("%q", v.Value)
	case *types.AttributeValueMemberN:
		return v.Value
	case *types.AttributeValueMemberSS:
		return fmt.Sprint("set", slices.Sorted(slices.Values(v.Value)))
	case *types.AttributeValueMemberM:
		return "{" + text(v.Value) + "}"
	case *types.AttributeValueMemberL:
		var parts []string
		for _, e := range v.Value {
			parts = append(parts, valueText(e))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	default:
		return fmt.Sprintf("%T", v)
	}
}

func keyText(it attributes) string { return text(attributes{"pk": it["pk"], "sk": it["sk"]}) }

// number is an attribute's number; ok is false if it has none.
func number(it attributes, name string) (n int, ok bool) {
	v, is := it[name].(*types.AttributeValueMemberN)
	if !is {
		return 0, false
	}
	_, err := fmt.Sscan(v.Value, &n)
	return n, err == nil
}

// is reports whether an attribute is this string.
func is(it attributes, name, v string) bool {
	got, ok := it[name].(*types.AttributeValueMemberS)
	return ok && got.Value == v
}
