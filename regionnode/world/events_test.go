package world

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/regionnode/admin"
)

// makeStreamed makes the table with a stream.
func (r *running) makeStreamed(first string, others ...string) {
	r.t.Helper()
	r.createTable(&dynamodb.CreateTableInput{TableName: aws.String(tableName), BillingMode: types.BillingModePayPerRequest,
		KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String("id"), KeyType: types.KeyTypeHash}},
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String("id"), AttributeType: types.ScalarAttributeTypeS}},
		StreamSpecification:  &types.StreamSpecification{StreamEnabled: aws.Bool(true), StreamViewType: types.StreamViewTypeNewAndOldImages}}, first, others...)
}

// granted makes a grant in a region, and connects as its holder.
func (r *running) granted(region ReadyRegion, q admin.NewGrant) (*nats.Conn, admin.GrantMade) {
	r.t.Helper()
	key, err := nkeys.CreateUser()
	if err != nil {
		r.t.Fatal(err)
	}
	public, err := key.PublicKey()
	if err != nil {
		r.t.Fatal(err)
	}
	q.PublicKey = public
	body, err := json.Marshal(q)
	if err != nil {
		r.t.Fatal(err)
	}
	answer, err := http.Post(region.Admin+"/v1/grants", "application/json", bytes.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	var made admin.GrantMade
	if err != nil || json.Unmarshal(text, &made) != nil || !made.Ready {
		r.t.Fatalf("%v: %s", err, text)
	}
	nc, err := nats.Connect(region.NATS, nats.Nkey(public, key.Sign))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(nc.Close)
	return nc, made
}

// grantIn makes a grant to read the table's events in a region, with all that was told in the last hour, and returns the consumer.
func (r *running) grantIn(region ReadyRegion, name string) jetstream.Consumer {
	r.t.Helper()
	nc, made := r.granted(region, admin.NewGrant{Name: name, Tables: []string{tableName}, SinceSeconds: 3600})
	js, err := jetstream.New(nc)
	if err != nil {
		r.t.Fatal(err)
	}
	c, err := js.Consumer(r.t.Context(), made.Tables[0].Stream, name)
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

// told fetches n events and acknowledges them: event, key and origin of each.
func (r *running) told(c jetstream.Consumer, n int) (out []string) {
	r.t.Helper()
	r.until(fmt.Sprint(n, " events came"), func() bool {
		batch, err := c.Fetch(n-len(out), jetstream.FetchMaxWait(time.Second))
		if err != nil {
			return false
		}
		for m := range batch.Messages() {
			var e struct {
				Type, Origin, Kind string
				Data               struct {
					Keys struct{ ID struct{ S string } }
				}
			}
			if err := json.Unmarshal(m.Data(), &e); err != nil {
				r.t.Fatal(err)
			}
			out = append(out, strings.TrimPrefix(e.Type, "concordat.item.")+" "+e.Data.Keys.ID.S+" of "+e.Origin)
			if err := m.Ack(); err != nil {
				r.t.Error(err)
			}
		}
		return len(out) == n
	})
	return out
}

// TestEventsGoWithTheirItems: events of items that a policy does not let be in a region go from its NATS, to the last byte, before it says that it has carried the policy out; a grant there sees only the others.
func TestEventsGoWithTheirItems(t *testing.T) {
	t.Parallel()
	r := runWorld(t, config(t))
	r.makeStreamed(us, eu, ap)
	var secrets []string
	for i := range 20 {
		s := secret()
		secrets = append(secrets, s)
		r.put(us, fmt.Sprintf("EU#%d %s", i, s), s)
		r.put(us, fmt.Sprint("any", i), "x")
	}
	files := filepath.Join(us, "jetstream")
	r.until("the events are in the region's files", func() bool { return len(r.holds(files, secrets)) > 0 })
	usAt, euAt := r.ready.Regions[0], r.ready.Regions[1]
	before := r.grantIn(usAt, "before")
	if got := r.told(before, 40); got[0] != "insert EU#0 "+secrets[0]+" of us-east-1" || got[39] != "insert any19 of us-east-1" {
		t.Errorf("%q", got)
	}
	r.repin(us, catalog.PinChange{Set: []globaltable.Pin{pinTo("eu", "EU#", "EU")}})
	r.settled(us, eu, ap)
	if in := r.holds(files, secrets); len(in) > 0 {
		t.Errorf("the region's NATS has events of items that may not be there, in %v", in)
	}
	for i, s := range secrets {
		r.put(eu, fmt.Sprintf("EU#%d %s", i, s), "again")
	}
	r.put(eu, "any", "x")
	got := r.told(r.grantIn(usAt, "after"), 21)
	if slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, "EU#") }) || got[20] != "insert any of eu-central-1" {
		t.Errorf("%q", got)
	}
	inEU := r.told(r.grantIn(euAt, "there"), 61)
	if n := len(slices.DeleteFunc(inEU, func(s string) bool { return !strings.Contains(s, "EU#") })); n != 40 {
		t.Errorf("%d events of the pinned items where they may be", n)
	}
	if found, sum := r.residency(usAt); len(found) > 0 || sum.Events < 21 {
		t.Errorf("%+v in %+v", found, sum)
	}
}

// TestHeardWhereItMayBe: triggers tell subjects in each region of what may be in it; who hears one there hears of nothing else.
func TestHeardWhereItMayBe(t *testing.T) {
	t.Parallel()
	r := runWorld(t, config(t))
	r.makeStreamed(us, eu, ap)
	r.repin(us, catalog.PinChange{Set: []globaltable.Pin{pinTo("eu", "EU#", "EU")}})
	r.settled(us, eu, ap)
	r.applyTrigger(us, "tell", "fire: everywhere, target: {nats: {subject: orders.all}}, batch: {window: 1ms}", eu, ap)
	heard := map[string]chan *nats.Msg{}
	for _, region := range r.ready.Regions[:2] {
		nc, _ := r.granted(region, admin.NewGrant{Name: "mailer", Subjects: []string{"orders.*"}})
		got := make(chan *nats.Msg, 64)
		_, err := nc.ChanSubscribe("orders.all", got)
		if err == nil {
			err = nc.Flush()
		}
		if err != nil {
			t.Fatal(err)
		}
		heard[region.Name] = got
	}
	r.put(eu, "EU#1", "x")
	r.put(eu, "any", "x")
	for region, want := range map[string]int{us: 0, eu: 1} {
		pinned, any := 0, false
		r.until("the item is heard in "+region, func() bool { // events of several keys come in any order
			select {
			case m := <-heard[region]:
				var e hooked
				if err := json.Unmarshal(m.Data, &e); err != nil {
					t.Fatal(err)
				}
				switch e.name() {
				case "insert any x":
					any = true
				case "insert EU#1 x":
					pinned = 1
				}
			default:
			}
			return any && pinned >= want
		})
		if pinned != want {
			t.Errorf("in %s the pinned item was heard %d times", region, pinned)
		}
	}
	// What comes after it in the same region is heard, and still not the pinned item.
	r.put(eu, "last", "x")
	r.until("the last one is heard", func() bool {
		select {
		case m := <-heard[us]:
			if bytes.Contains(m.Data, []byte("EU#")) {
				t.Errorf("heard %s", m.Subject)
			}
			return bytes.Contains(m.Data, []byte(`"last"`))
		default:
			return false
		}
	})
}
