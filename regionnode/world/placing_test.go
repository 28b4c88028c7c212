package world

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
)

// secret returns a text that is nowhere else.
func secret() string {
	b := make([]byte, 36)
	_, _ = rand.Read(b)
	return base64.RawURLEncoding.EncodeToString(b)
}

// holds returns the files of a region that have a half of one of the secrets: a block's compression, or a key that begins like another one, may take one apart.
func (r *running) holds(region string, secrets []string) (in []string) {
	r.t.Helper()
	needles := [][]byte{}
	for _, s := range secrets {
		needles = append(needles, []byte(s[4:len(s)/2]), []byte(s[len(s)/2:]))
	}
	err := filepath.WalkDir(filepath.Join(r.cfg.DataDir, region), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil // a file that has just gone
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return nil
		}
		for _, n := range needles {
			if bytes.Contains(b, n) {
				in = append(in, filepath.Base(path))
				break
			}
		}
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return in
}

// pinned writes items of a jurisdiction, each with a secret in its key and one in its value, until it is stopped.
type pinned struct {
	mu      sync.Mutex
	acked   map[string]string // id → the newest value that was acknowledged
	secrets []string
	refused int
}

func (r *running) writePinned(p *pinned, region, prefix string, writer int, stop <-chan struct{}) {
	ids := make([]string, 20)
	for i := range ids {
		s := secret()
		ids[i] = fmt.Sprintf("%s#%d %s", prefix, writer, s)
		p.mu.Lock()
		p.secrets = append(p.secrets, s)
		p.mu.Unlock()
	}
	for i := 0; ; i++ {
		select {
		case <-stop:
			return
		default:
		}
		id, s := ids[i%len(ids)], secret()
		_, err := r.db[region].PutItem(r.t.Context(), &dynamodb.PutItemInput{TableName: aws.String(tableName), Item: map[string]types.AttributeValue{
			"id": &types.AttributeValueMemberS{Value: id}, "v": &types.AttributeValueMemberS{Value: s}}})
		p.mu.Lock()
		if err == nil {
			p.acked[id] = s
			p.secrets = append(p.secrets, s)
		} else {
			p.refused++
		}
		p.mu.Unlock()
		if i%10 == 0 { // two regions write this one
			_, err = r.db[region].PutItem(r.t.Context(), &dynamodb.PutItemInput{TableName: aws.String(tableName), Item: map[string]types.AttributeValue{
				"id": &types.AttributeValueMemberS{Value: prefix + "#contested"}, "v": &types.AttributeValueMemberS{Value: s}}})
			_ = err // what becomes of it, conflicts tell
		}
	}
}

// table returns the table's document in a region.
func (r *running) document(region string) *globaltable.Table {
	r.t.Helper()
	t, ok := r.Node(region).Document(tableName)
	if !ok {
		r.t.Fatalf("%s has no such table", region)
	}
	return t
}

// repin changes policies.
func (r *running) repin(region string, c catalog.PinChange) {
	r.t.Helper()
	r.until("the policies can be changed", func() bool {
		_, err := r.Node(region).ChangeTable(r.t.Context(), tableName, catalog.Change{Pins: &c})
		if err != nil && globaltable.KindOf(err) != globaltable.InUse && globaltable.KindOf(err) != globaltable.Unavailable {
			r.t.Fatal(err)
		}
		return err == nil
	})
}

// settled waits until all regions have carried the policies out, and know that.
func (r *running) settled(regions ...string) {
	r.t.Helper()
	r.until("the policies are carried out", func() bool {
		first := r.document(regions[0])
		for _, region := range regions {
			if t := r.document(region); !t.Settled() || t.Version != first.Version {
				return false
			}
		}
		return true
	})
}

func pinTo(name, prefix string, jurisdictions ...string) globaltable.Pin {
	return globaltable.Pin{Name: name, Match: globaltable.Match{KeyPrefix: prefix}, Jurisdictions: jurisdictions, Foreign: globaltable.Reject, SingleCopy: len(jurisdictions) == 1}
}

// makeIndexed makes the table with an index of the values, so that they are keys, too.
func (r *running) makeIndexed(first string, others ...string) {
	r.t.Helper()
	s := types.ScalarAttributeTypeS
	r.createTable(&dynamodb.CreateTableInput{TableName: aws.String(tableName), BillingMode: types.BillingModePayPerRequest,
		KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String("id"), KeyType: types.KeyTypeHash}},
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String("id"), AttributeType: s}, {AttributeName: aws.String("v"), AttributeType: s}},
		GlobalSecondaryIndexes: []types.GlobalSecondaryIndex{{IndexName: aws.String("by-v"), Projection: &types.Projection{ProjectionType: types.ProjectionTypeAll},
			KeySchema: []types.KeySchemaElement{{AttributeName: aws.String("v"), KeyType: types.KeyTypeHash}}}}}, first, others...)
}

// TestPinUnderLoad pins items by a prefix to one region while all regions write: none that was acknowledged is lost, and where they may not be any more there is no byte of them. Then they may be everywhere again.
func TestPinUnderLoad(t *testing.T) {
	t.Parallel()
	r := runWorld(t, config(t))
	r.makeIndexed(us, eu, ap)
	european, other := &pinned{acked: map[string]string{}}, &pinned{acked: map[string]string{}}
	stop, writers := make(chan struct{}), sync.WaitGroup{}
	for i, region := range []string{us, eu, ap} {
		writers.Go(func() { r.writePinned(european, region, "EU", i, stop) })
		writers.Go(func() { r.writePinned(other, region, "any", i, stop) })
	}
	r.until("there is something of everybody everywhere", func() bool {
		european.mu.Lock()
		defer european.mu.Unlock()
		return len(european.acked) == 60
	})
	if len(r.holds(us, european.secrets)) == 0 || len(r.holds(ap, european.secrets)) == 0 {
		t.Error("control: no region has what is to go")
	}
	r.repin(us, catalog.PinChange{Set: []globaltable.Pin{pinTo("eu", "EU#", "EU")}})
	r.settled(us, eu, ap)
	close(stop)
	writers.Wait()
	if european.refused == 0 || other.refused > 0 {
		t.Errorf("%d writes of items that may not be there were refused, %d of others", european.refused, other.refused)
	}
	for id, v := range european.acked {
		if got := r.get(eu, id); got != v {
			t.Errorf("eu has %q, %q was acknowledged", got, v)
		}
	}
	for _, region := range []string{us, ap} {
		if in := r.holds(region, european.secrets); len(in) > 0 {
			t.Errorf("%s has some of it in %v", region, in)
		}
	}
	if len(r.holds(eu, european.secrets)) == 0 {
		t.Error("control: eu has nothing of it")
	}
	for _, region := range []string{us, eu, ap} {
		receipts := r.Node(region).Receipts(tableName)
		if len(receipts) != 3 {
			t.Fatalf("%s has %d receipts", region, len(receipts))
		}
		for _, got := range receipts {
			if lost := got.Region != eu; (got.Done.Erased > 0) != lost || lost && got.Done.Handed[eu] != got.Done.Erased {
				t.Errorf("receipt of %s: %+v", got.Region, got.Done)
			}
		}
	}
	r.until("what is not pinned is everywhere", func() bool {
		for id, v := range other.acked {
			if r.get(us, id) != v || r.get(eu, id) != v || r.get(ap, id) != v {
				return false
			}
		}
		return true
	})

	r.repin(eu, catalog.PinChange{Remove: []string{"eu"}})
	r.settled(us, eu, ap)
	r.until("all have all again", func() bool {
		for id, v := range european.acked {
			if r.get(us, id) != v || r.get(ap, id) != v {
				return false
			}
		}
		return true
	})
	r.converge(int64(len(european.acked)+len(other.acked)) + 2)
}

// TestMoveOverCutsAndRestarts moves items from one region to another that is out of reach, restarts all in the middle, and then changes its mind in quick succession.
func TestMoveOverCutsAndRestarts(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	r := runWorld(t, cfg)
	r.makeIndexed(us, eu, ap)
	items, secrets := map[string]string{}, []string{}
	write := func(region string, n int) {
		for range n {
			id, v := "EU#"+secret(), secret()
			r.put(region, id, v)
			items[id] = v
			secrets = append(secrets, id[3:], v)
		}
	}
	write(us, 30)
	write(eu, 30)
	r.converge(60)
	r.repin(us, catalog.PinChange{Set: []globaltable.Pin{pinTo("eu", "EU#", "EU")}})
	r.settled(us, eu, ap)
	write(eu, 10)
	r.Cut(ap)
	r.repin(us, catalog.PinChange{Set: []globaltable.Pin{pinTo("eu", "EU#", "IN")}})
	r.until("eu says for whom it waits", func() bool {
		d := r.replica(us, eu)
		return aws.ToString(d.ReplicaStatusDescription) == "Waiting for "+ap+" to be reached, to take over what may not be in "+eu+"."
	})
	if len(r.holds(eu, secrets)) == 0 {
		t.Error("eu erased what nobody else has")
	}
	r.stop()

	r = runWorld(t, cfg) // the cut has gone with the links
	r.settled(us, eu, ap)
	expect := func(in string, gone ...string) {
		t.Helper()
		for id, v := range items {
			if got := r.get(in, id); got != v {
				t.Errorf("%s has %q of an item that was acknowledged", in, got)
			}
		}
		for _, region := range gone {
			if found := r.holds(region, secrets); len(found) > 0 {
				t.Errorf("%s has some of it in %v", region, found)
			}
		}
	}
	expect(ap, us, eu)

	// Each as soon as the one before is carried out.
	r.repin(us, catalog.PinChange{Set: []globaltable.Pin{pinTo("eu", "EU#", "US")}})
	r.repin(eu, catalog.PinChange{Set: []globaltable.Pin{pinTo("eu", "EU#", "EU", "US")}})
	r.repin(ap, catalog.PinChange{Set: []globaltable.Pin{pinTo("eu", "EU#", "EU")}})
	r.settled(us, eu, ap)
	expect(eu, us, ap)
	gave := false
	for _, receipt := range r.Node(eu).Receipts(tableName) {
		gave = gave || receipt.Region == us && receipt.Done.Handed[eu] > 0
	}
	if !gave {
		t.Error("eu knows of no receipt by which us handed anything over to it")
	}
}
