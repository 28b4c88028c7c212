//go:build linux

package faults

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// TestIsolation kills a region among conditional writes, transactions and consistent reads of many clients on few keys. What they were told must be one order (I1), and no answer may have shown
// what the crash undid.
func TestIsolation(t *testing.T) {
	c := newCluster(t)
	c.launch()
	createTable(t, table, c.regions()[:1]...)
	r := newRecorder(t, c.nodes[0].region)
	random := newRandom(t)
	for range *rounds {
		r.answers(t, 300+random.IntN(300))
		c.nodes[0].proc.kill()
		c.nodes[0].launch()
	}
	r.answers(t, 300)
	r.stop()
	history := r.history
	if result := porcupine.CheckOperationsTimeout(pairs, history, patience); result != porcupine.Ok {
		t.Errorf("%d operations: %s", len(history), result)
	}
	t.Logf("%d operations, %d of them with an unknown outcome, over %d kills", len(history), r.unknown.Load(), *rounds)
	plantBadRead(t, history)
}

// plantBadRead shows that the judge of this history would have found a read of what was not there.
func plantBadRead(t *testing.T, history []porcupine.Operation) {
	t.Helper()
	planted := slices.Clone(history)
	for i := len(planted) - 1; i >= 0; i-- {
		in, out := planted[i].Input.(pairInput), planted[i].Output.(pairOutput)
		if in.kind != readOne || out.unknown {
			continue
		}
		// The value of an earlier operation on the same register that a later one has replaced.
		for _, op := range planted[:i] {
			old := op.Input.(pairInput)
			if old.kind == setOne && old.pair == in.pair && old.register == in.register && old.value != out.values[in.register] && op.Return < planted[i].Call {
				out.values[in.register] = old.value
				planted[i].Output = out
				if porcupine.CheckOperationsTimeout(pairs, planted, patience) == porcupine.Ok {
					t.Error("a planted stale read was not found")
				}
				return
			}
		}
	}
	t.Error("there is no read to plant a fault in")
}

// recorder is clients that work on pairs of registers and record what they were told.
type recorder struct {
	region  *region
	began   time.Time
	stop    func()
	unknown atomic.Int64

	mu      sync.Mutex
	history []porcupine.Operation
}

const (
	pairsCount    = 4
	pairClients   = 8
	pairsThinking = 3 * time.Millisecond
)

func newRecorder(t *testing.T, of *region) *recorder {
	r := &recorder{region: of, began: time.Now()}
	done := make(chan struct{})
	var workers sync.WaitGroup
	seed := newRandom(t).Uint64()
	for client := range pairClients {
		workers.Go(func() {
			random := rand.New(rand.NewPCG(seed, uint64(client)))
			var seen [pairsCount][2]string // what this client knows of the registers: conditions on it hold now and then
			for i := 0; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				in := pairInput{pair: random.IntN(pairsCount), kind: pairKind(random.IntN(5)), value: fmt.Sprintf("%d.%d", client, i)}
				if in.kind != readBoth && in.kind != casBoth {
					in.register = random.IntN(2)
				}
				in.expected = seen[in.pair][in.register]
				if in.kind == setOne && random.IntN(8) == 0 {
					in.value = "" // a delete
				}
				if r.operate(t, client, in, &seen[in.pair]) {
					pause(done, pairsThinking)
				} else {
					pause(done, sulking)
				}
			}
		})
	}
	r.stop = sync.OnceFunc(func() { close(done); workers.Wait() })
	t.Cleanup(r.stop)
	return r
}

// answers waits until n more operations have been answered.
func (r *recorder) answers(t *testing.T, n int) {
	t.Helper()
	count := func() int {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.history)
	}
	target := count() + n
	eventually(t, fmt.Sprintf("%d operations are answered", n), func() string {
		if got := count(); got < target {
			return fmt.Sprintf("%d are missing", target-got)
		}
		return ""
	})
}

// operate does one operation, records it, and notes what it tells of the pair. It reports whether it was answered.
func (r *recorder) operate(t *testing.T, client int, in pairInput, seen *[2]string) bool {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	call := time.Since(r.began).Nanoseconds()
	out, err := r.region.doPair(ctx, in)
	end := time.Since(r.began).Nanoseconds()
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return false // it was never sent
	case err != nil && (in.kind == readOne || in.kind == readBoth):
		return false // it told nothing
	case err != nil:
		out.unknown = true
		r.unknown.Add(1)
	}
	r.mu.Lock()
	r.history = append(r.history, operationOf(client, in, out, call, end))
	r.mu.Unlock()
	switch {
	case in.kind == readOne:
		seen[in.register] = out.values[in.register]
	case in.kind == readBoth:
		*seen = out.values
	case in.kind == setOne, in.kind == casOne && out.done:
		seen[in.register] = in.value
	case in.kind == casBoth && out.done:
		*seen = [2]string{in.value, in.value}
	}
	return err == nil
}

// doPair does one operation on a pair. An error means that its outcome is unknown.
func (r *region) doPair(ctx context.Context, in pairInput) (out pairOutput, err error) {
	key := func(register int) string { return fmt.Sprintf("pair/%d/%d", in.pair, register) }
	// The first one that nobody has written yet, and one that was deleted, have no id.
	condition, values := aws.String("id = :old"), attributes{":old": text(in.expected)}
	if in.expected == "" {
		condition, values = aws.String("attribute_not_exists(id)"), nil
	}
	switch in.kind {
	case readOne:
		got, err := r.api.GetItem(ctx, &sdk.GetItemInput{TableName: aws.String(table), Key: keyOf(key(in.register)), ConsistentRead: aws.Bool(true)})
		if err == nil {
			out.values[in.register], err = idIn(got.Item)
		}
		return out, err
	case readBoth:
		got, err := r.api.TransactGetItems(ctx, &sdk.TransactGetItemsInput{TransactItems: []types.TransactGetItem{
			{Get: &types.Get{TableName: aws.String(table), Key: keyOf(key(0))}}, {Get: &types.Get{TableName: aws.String(table), Key: keyOf(key(1))}}}})
		for i := range out.values {
			if err == nil {
				out.values[i], err = idIn(got.Responses[i].Item)
			}
		}
		return out, err
	case setOne:
		if in.value == "" {
			_, err = r.api.DeleteItem(ctx, &sdk.DeleteItemInput{TableName: aws.String(table), Key: keyOf(key(in.register))})
			return out, err
		}
		_, err = r.api.PutItem(ctx, &sdk.PutItemInput{TableName: aws.String(table), Item: itemOf(key(in.register), in.value)})
		return out, err
	case casOne:
		_, err = r.api.PutItem(ctx, &sdk.PutItemInput{TableName: aws.String(table), Item: itemOf(key(in.register), in.value),
			ConditionExpression: condition, ExpressionAttributeValues: values})
	case casBoth:
		_, err = r.api.TransactWriteItems(ctx, &sdk.TransactWriteItemsInput{TransactItems: []types.TransactWriteItem{
			{Put: &types.Put{TableName: aws.String(table), Item: itemOf(key(0), in.value), ConditionExpression: condition, ExpressionAttributeValues: values}},
			{Put: &types.Put{TableName: aws.String(table), Item: itemOf(key(1), in.value)}}}})
	}
	out.done = err == nil
	var failed *types.ConditionalCheckFailedException
	var cancelled *types.TransactionCanceledException
	if errors.As(err, &failed) || errors.As(err, &cancelled) && aws.ToString(cancelled.CancellationReasons[0].Code) == "ConditionalCheckFailed" {
		err = nil
	}
	return out, err
}

// idIn returns the id of a whole item, empty for none.
func idIn(item attributes) (string, error) {
	if item == nil {
		return "", nil
	}
	_, id, err := idOf(item)
	return id, err
}

// Accounts of a bank, and lists that transactions append to.
const (
	accounts = 6
	opening  = 100
	lists    = 3
)

func accountKey(i int) attributes { return keyOf("account/" + strconv.Itoa(i)) }
func listKey(i int) attributes    { return keyOf("list/" + strconv.Itoa(i)) }

// TestTransactions kills a region among transactions that move money between accounts and append their id to two lists, and repeats with its token whatever was not answered. The sum of all accounts is
// the same whenever somebody looks (I15), in another region too, each id is in its two lists once, and the lists agree on the order.
func TestTransactions(t *testing.T) {
	c := newCluster(t)
	c.launch()
	createTable(t, table, c.regions()[:2]...)
	home, away := c.nodes[0], c.nodes[1]
	b := newBank(t, home.region)
	// Whole in another region as soon as the first transaction, which makes everything, is there.
	eventually(t, "the bank is in "+away.name, func() string {
		got, err := away.api.GetItem(t.Context(), &sdk.GetItemInput{TableName: aws.String(table), Key: accountKey(0)})
		if err != nil || got.Item == nil {
			return fmt.Sprint("no account: ", err)
		}
		return ""
	})
	b.run(t, home.region, away.region)
	random := newRandom(t)
	for range *rounds {
		b.moves(t, 50+random.IntN(100))
		home.proc.kill()
		home.launch()
	}
	b.moves(t, 50)
	b.stop()
	for _, r := range []*region{home.region, away.region} {
		if r == away.region {
			awaitEven(t, c.regions()...)
		}
		if err := b.audit(t.Context(), r); err != nil {
			t.Errorf("%s: %v", r.name, err)
		}
		if err := b.inLists(t.Context(), r); err != nil {
			t.Errorf("%s: %v", r.name, err)
		}
	}
	t.Logf("%d transactions, %d repeated, %d audits, over %d kills", b.done.Load(), b.repeated.Load(), b.audits.Load(), *rounds)
}

// bank moves money.
type bank struct {
	stop                   func()
	done, repeated, audits atomic.Int64

	mu   sync.Mutex
	sure map[string][2]int // the transactions that were acknowledged, by id, and their lists
}

// newBank opens the accounts in one transaction.
func newBank(t *testing.T, r *region) *bank {
	var all []types.TransactWriteItem
	open := func(key attributes, name string, v types.AttributeValue) {
		key[name] = v
		all = append(all, types.TransactWriteItem{Put: &types.Put{TableName: aws.String(table), Item: key}})
	}
	for i := range accounts {
		open(accountKey(i), "balance", &types.AttributeValueMemberN{Value: strconv.Itoa(opening)})
	}
	for i := range lists {
		open(listKey(i), "ids", &types.AttributeValueMemberL{Value: []types.AttributeValue{}})
	}
	if _, err := r.api.TransactWriteItems(t.Context(), &sdk.TransactWriteItemsInput{TransactItems: all}); err != nil {
		t.Fatal(err)
	}
	return &bank{sure: map[string][2]int{}}
}

// run starts clients that move money in one region, and auditors in both.
func (b *bank) run(t *testing.T, home, away *region) {
	done := make(chan struct{})
	var workers sync.WaitGroup
	seed := newRandom(t).Uint64()
	for client := range clients {
		workers.Go(func() {
			random := rand.New(rand.NewPCG(seed, uint64(client)))
			for i := 0; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				b.move(t, home, random, fmt.Sprintf("%d.%d", client, i), done)
				pause(done, thinking)
			}
		})
	}
	for _, r := range []*region{home, away} {
		workers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if err := b.audit(t.Context(), r); err != nil {
					t.Errorf("%s: %v", r.name, err)
					return
				}
				pause(done, thinking)
			}
		})
	}
	b.stop = sync.OnceFunc(func() { close(done); workers.Wait() })
	t.Cleanup(b.stop)
}

// moves waits until n more transactions are done.
func (b *bank) moves(t *testing.T, n int) {
	t.Helper()
	target := b.done.Load() + int64(n)
	eventually(t, fmt.Sprintf("%d transactions are done", n), func() string {
		if got := b.done.Load(); got < target {
			return fmt.Sprintf("%d are missing", target-got)
		}
		return ""
	})
}

// move moves some money and appends the transaction's id to two lists. What is not answered is repeated, with the same token, until it is.
func (b *bank) move(t *testing.T, r *region, random *rand.Rand, id string, done <-chan struct{}) {
	from, to := random.IntN(accounts), random.IntN(accounts-1)
	if to >= from {
		to++
	}
	first := random.IntN(lists)
	into := [2]int{first, (first + 1 + random.IntN(lists-1)) % lists}
	amount := attributes{":x": &types.AttributeValueMemberN{Value: strconv.Itoa(1 + random.IntN(40))}}
	change := func(key attributes, update string, condition *string, values attributes) types.TransactWriteItem {
		return types.TransactWriteItem{Update: &types.Update{TableName: aws.String(table), Key: key, UpdateExpression: &update, ConditionExpression: condition, ExpressionAttributeValues: values}}
	}
	ids := attributes{":id": &types.AttributeValueMemberL{Value: []types.AttributeValue{text(id)}}}
	in := &sdk.TransactWriteItemsInput{ClientRequestToken: &id, TransactItems: []types.TransactWriteItem{
		change(accountKey(from), "SET balance = balance - :x", aws.String("balance >= :x"), amount),
		change(accountKey(to), "SET balance = balance + :x", nil, amount),
		change(listKey(into[0]), "SET ids = list_append(ids, :id)", nil, ids),
		change(listKey(into[1]), "SET ids = list_append(ids, :id)", nil, ids),
	}}
	for attempt := 0; ; attempt++ {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		_, err := r.api.TransactWriteItems(ctx, in)
		cancel()
		var cancelled *types.TransactionCanceledException
		switch {
		case err == nil:
			b.mu.Lock()
			b.sure[id] = into
			b.mu.Unlock()
			b.done.Add(1)
			if attempt > 0 {
				b.repeated.Add(1)
			}
			return
		case errors.As(err, &cancelled):
			return // not enough money
		case t.Context().Err() != nil:
			return
		}
		pause(done, sulking)
	}
}

// audit looks at all accounts and lists in one moment.
func (b *bank) audit(ctx context.Context, r *region) error {
	var all []types.TransactGetItem
	for i := range accounts {
		all = append(all, types.TransactGetItem{Get: &types.Get{TableName: aws.String(table), Key: accountKey(i)}})
	}
	for i := range lists {
		all = append(all, types.TransactGetItem{Get: &types.Get{TableName: aws.String(table), Key: listKey(i)}})
	}
	got, err := r.api.TransactGetItems(ctx, &sdk.TransactGetItemsInput{TransactItems: all})
	if err != nil {
		return nil // the region is down: it tells nothing
	}
	b.audits.Add(1)
	sum := 0
	for _, a := range got.Responses[:accounts] {
		n, err := strconv.Atoi(a.Item["balance"].(*types.AttributeValueMemberN).Value)
		if err != nil || n < 0 {
			return fmt.Errorf("a balance of %d: %w", n, err)
		}
		sum += n
	}
	if sum != accounts*opening {
		return fmt.Errorf("the bank has %d, not %d", sum, accounts*opening)
	}
	var logs [lists][]string
	for i, l := range got.Responses[accounts:] {
		logs[i] = idsOf(l.Item)
	}
	return judgeLists(logs[:])
}

// idsOf returns the ids in a list.
func idsOf(item attributes) (ids []string) {
	list, _ := item["ids"].(*types.AttributeValueMemberL)
	if list == nil {
		return nil
	}
	for _, v := range list.Value {
		ids = append(ids, v.(*types.AttributeValueMemberS).Value)
	}
	return ids
}

// judgeLists says what is wrong with lists to which each transaction has appended its id, to two of them: one has it once, or not at all; or two lists tell another order of transactions.
func judgeLists(all [][]string) error {
	times := map[string]int{}
	for _, ids := range all {
		for _, id := range ids {
			times[id]++
		}
	}
	for id, n := range times {
		if n != 2 {
			return fmt.Errorf("transaction %s is in the lists %d times, not twice", id, n)
		}
	}
	in := func(ids []string) func(string) bool { return func(id string) bool { return !slices.Contains(ids, id) } }
	for i, a := range all {
		for _, b := range all[:i] {
			if x, y := slices.DeleteFunc(slices.Clone(a), in(b)), slices.DeleteFunc(slices.Clone(b), in(a)); !slices.Equal(x, y) {
				return fmt.Errorf("two lists have the same transactions in another order: %v, %v", x, y)
			}
		}
	}
	return nil
}

// The judge finds what it is there for.
func TestJudgeLists(t *testing.T) {
	for name, c := range map[string]struct {
		lists [][]string
		right bool
	}{
		"nothing":       {[][]string{nil, nil, nil}, true},
		"whole":         {[][]string{{"a", "c"}, {"a", "b"}, {"b", "c"}}, true},
		"half":          {[][]string{{"a"}, nil, nil}, false},
		"twice":         {[][]string{{"a", "a"}, {"a"}, nil}, false},
		"another order": {[][]string{{"a", "b"}, {"b", "a"}, nil}, false},
	} {
		if err := judgeLists(c.lists); (err == nil) != c.right {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// inLists checks, at rest, that all acknowledged transactions are in their lists.
func (b *bank) inLists(ctx context.Context, r *region) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	missing := maps.Clone(b.sure)
	found := map[string]int{}
	for i := range lists {
		got, err := r.api.GetItem(ctx, &sdk.GetItemInput{TableName: aws.String(table), Key: listKey(i), ConsistentRead: aws.Bool(true)})
		if err != nil {
			return err
		}
		for _, id := range idsOf(got.Item) {
			if into, ok := b.sure[id]; ok && !slices.Contains(into[:], i) {
				return fmt.Errorf("transaction %s is in list %d", id, i)
			}
			if found[id]++; found[id] == 2 {
				delete(missing, id)
			}
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("%d acknowledged transactions are not in their lists", len(missing))
	}
	return nil
}
