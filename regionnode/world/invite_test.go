package world

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode"
	"github.com/concordat-db/concordat/regionnode/admin"
)

// newcomer prepares a region that is not of the world: a key, a descriptor with an address, a configuration without peers.
func newcomer(t *testing.T, name string, origin hlc.Origin, dir string) *region {
	t.Helper()
	r := &region{Region: Region{name, "BR"}}
	if err := r.generate(); err != nil {
		t.Fatal(err)
	}
	port, err := choosePort(0, 0, map[int]bool{})
	if err != nil {
		t.Fatal(err)
	}
	r.descriptor.Origin, r.descriptor.NATS = origin, []string{fmt.Sprintf("nats://127.0.0.1:%d", port)}
	if err := r.save(dir); err != nil {
		t.Fatal(err)
	}
	r.config = regionnode.Config{
		Region: r.descriptor, KeySeed: r.key, DataDir: dir,
		DynamoDB: regionnode.DynamoDBConfig{Listen: "127.0.0.1:0", AcceptAny: true}, Admin: regionnode.AdminConfig{Listen: "127.0.0.1:0"},
		Bus:    regionnode.BusConfig{Embedded: &regionnode.EmbeddedBus{Listen: fmt.Sprintf("127.0.0.1:%d", port)}},
		Limits: regionnode.Limits{CacheBytes: 8 << 20, FreeBytes: 1},
	}
	return r
}

// start runs the newcomer beside the world until stop is called, or the test ends.
func (r *running) start(n *region) (stop func()) {
	r.t.Helper()
	node, err := regionnode.Open(n.config)
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan regionnode.Endpoints, 1), make(chan error, 1)
	go func() { ended <- node.Run(ctx, func(e regionnode.Endpoints) { ready <- e }) }()
	stop = sync.OnceFunc(func() {
		r.http.CloseIdleConnections()
		cancel()
		if err := <-ended; err != nil {
			r.t.Error(err)
		}
	})
	select {
	case e := <-ready:
		n.node = node
		r.World.regions = append(r.World.regions, n)
		r.ready.Regions = append(r.ready.Regions, ReadyRegion{Name: n.Name, DynamoDB: e.DynamoDB, Admin: e.Admin, NATS: e.NATS})
		r.db[n.Name] = dynamodb.New(dynamodb.Options{BaseEndpoint: aws.String(e.DynamoDB), Region: n.Name, HTTPClient: r.http, RetryMaxAttempts: 1,
			Credentials: credentials.NewStaticCredentialsProvider("any", "thing", "")})
	case err := <-ended:
		cancel()
		r.t.Fatal(err)
	}
	r.t.Cleanup(stop)
	return stop
}

// invite has a region of the world add the newcomer, as soon as it can: the members must have heard each other.
func (r *running) invite(by string, n *region) *globaltable.Invitation {
	r.t.Helper()
	var written admin.Invitation
	r.until("the region is invited", func() bool {
		var err error
		written, err = r.Node(by).AddRegion(r.t.Context(), n.token, time.Hour)
		if err != nil && globaltable.KindOf(err) != globaltable.Unavailable {
			r.t.Fatal(err)
		}
		return err == nil
	})
	i, err := globaltable.ParseInvitation(written.Invitation)
	if err != nil {
		r.t.Fatal(err)
	}
	return i
}

func (r *running) addReplica(owner, region string) {
	r.t.Helper()
	r.until("a replica can be made", func() bool {
		_, err := r.db[owner].UpdateTable(r.t.Context(), &dynamodb.UpdateTableInput{TableName: aws.String(tableName),
			ReplicaUpdates: []types.ReplicationGroupUpdate{{Create: &types.CreateReplicationGroupMemberAction{RegionName: aws.String(region)}}}})
		return err == nil
	})
}

// TestFourthRegionByInvitation adds a region to a running world while all others write, gives it a replica, and starts everything again without the invitation.
func TestFourthRegionByInvitation(t *testing.T) {
	t.Parallel()
	const sa = "sa-east-1"
	cfg := config(t)
	var err error
	if cfg.NATSPort, err = choosePort(0, 0, map[int]bool{}); err != nil { // addresses are the same after the restart
		t.Fatal(err)
	}
	r := runWorld(t, cfg)
	r.makeTable(us, eu, ap)
	stopWriting, written := make(chan struct{}), [3]int64{}
	var writers sync.WaitGroup
	for w, region := range []string{us, eu, ap} {
		writers.Go(func() {
			for i := int64(0); ; i++ {
				select {
				case <-stopWriting:
					written[w] = i
					return
				default:
				}
				_, err := r.db[region].PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String(tableName), Item: map[string]types.AttributeValue{
					"id": &types.AttributeValueMemberS{Value: fmt.Sprint(region, i)}}})
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	n := newcomer(t, sa, 9, filepath.Join(t.TempDir(), sa))
	n.config.Invitation = r.invite(ap, n)
	if len(n.config.Invitation.Members) != 3 {
		t.Errorf("the invitation lists %d members", len(n.config.Invitation.Members))
	}
	stop := r.start(n)
	r.addReplica(us, sa)
	r.until("the new replica is active", func() bool {
		for _, region := range []string{us, eu, ap, sa} {
			out, err := r.db[region].DescribeTable(t.Context(), &dynamodb.DescribeTableInput{TableName: aws.String(tableName)})
			if err != nil || out.Table.TableStatus != types.TableStatusActive || len(out.Table.Replicas) != 3 {
				return false
			}
		}
		return true
	})
	close(stopWriting)
	writers.Wait()
	r.put(sa, "from the new one", "sa")
	items := written[0] + written[1] + written[2] + 1
	r.converge(items)
	for _, region := range []string{us, eu, ap} {
		if r.get(region, "from the new one") != "sa" {
			t.Errorf("%s lacks what the new region wrote", region)
		}
	}
	stop()
	r.stop()

	n.config.Invitation = nil
	r = runWorld(t, cfg)
	r.start(n)
	r.put(sa, "again", "sa")
	r.put(eu, "again too", "eu")
	r.converge(items + 2)
	for _, region := range r.ready.Regions {
		r.until("each region follows the others", func() bool {
			pairs := 0
			for _, p := range r.status(region).Pairs {
				if p.To == region.Name && (p.State == admin.StateLive || p.State == admin.StateIdle) {
					pairs++
				}
			}
			return pairs == 3
		})
	}
}

// TestRegionIsAddedOnce has regions that cannot be added: each has something that a member has already.
func TestRegionIsAddedOnce(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	cfg.Regions = cfg.Regions[:2]
	r := runWorld(t, cfg)
	first, second := r.World.regions[0], r.World.regions[1]
	n := newcomer(t, "sa-east-1", 9, t.TempDir())
	invitation := r.invite(first.Name, n)
	if again := r.invite(second.Name, n); again.World != invitation.World || again.Issuer != second.Name {
		t.Errorf("asked again: version %v by %s, it was %v", again.World, again.Issuer, invitation.World)
	}
	sign := func(change func(*region)) string {
		other := newcomer(t, "other", 10, t.TempDir())
		change(other)
		if err := other.save(t.TempDir()); err != nil {
			t.Fatal(err)
		}
		return other.token
	}
	for name, c := range map[string]struct {
		token string
		kind  globaltable.Kind
	}{
		"name of a member":   {sign(func(o *region) { o.descriptor.Name = second.Name }), globaltable.Exists},
		"number of a member": {sign(func(o *region) { o.descriptor.Origin = second.descriptor.Origin }), globaltable.Exists},
		"number of the new":  {sign(func(o *region) { o.descriptor.Origin = 9 }), globaltable.Exists},
		"key of the new":     {sign(func(o *region) { o.key, o.descriptor.PublicKey = n.key, n.descriptor.PublicKey }), globaltable.Exists},
		"without an address": {sign(func(o *region) { o.descriptor.NATS = nil }), globaltable.Invalid},
		"damaged":            {n.token[:len(n.token)-4], globaltable.Invalid},
		"this region's own":  {first.token, globaltable.Invalid},
	} {
		if _, err := r.Node(first.Name).AddRegion(t.Context(), c.token, time.Hour); globaltable.KindOf(err) != c.kind {
			t.Errorf("%s: %v, want kind %v", name, err, c.kind)
		}
	}
}

// TestWrongInvitations has a region that must not start with what it was given.
func TestWrongInvitations(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	cfg.Regions = cfg.Regions[:1]
	r := runWorld(t, cfg)
	n := newcomer(t, "sa-east-1", 9, t.TempDir())
	good := r.invite("us-east-1", n)

	expired := *good
	expired.Issued, expired.Expires = good.Issued.Add(-2*time.Hour), good.Issued.Add(-time.Hour)
	n.config.Invitation = &expired
	if _, err := regionnode.Open(n.config); globaltable.KindOf(err) != globaltable.Denied || !strings.Contains(err.Error(), "expired") {
		t.Errorf("an expired invitation: %v", err)
	}
	other := newcomer(t, "sa-east-2", 10, t.TempDir())
	other.config.Invitation = good
	if _, err := regionnode.Open(other.config); globaltable.KindOf(err) != globaltable.Invalid || !strings.Contains(err.Error(), "another region") {
		t.Errorf("another region's invitation: %v", err)
	}

	n.config.Invitation = good
	stop := r.start(n)
	r.until("the new region follows the first one, whose lane has its stream", func() bool {
		lanes, pairs := r.status(r.ready.Regions[0]).Lanes, r.status(r.ready.Regions[1]).Pairs
		return len(lanes) == 1 && lanes[0].Live && len(pairs) == 2 && pairs[0].State == admin.StateIdle
	})
	stop()
	n.config.Invitation = &expired // it has a store
	node, err := regionnode.Open(n.config)
	if err != nil {
		t.Fatalf("an expired invitation of a region that has started before: %v", err)
	}
	if err := node.Close(); err != nil {
		t.Error(err)
	}
	if response, err := r.http.Post(r.ready.Regions[0].Admin+"/v1/regions", "application/json", strings.NewReader(`{"descriptor":"x"}`)); err != nil || errors.Join(response.Body.Close()) != nil ||
		response.StatusCode != http.StatusBadRequest {
		t.Errorf("a descriptor that is none: %v %v", response, err)
	}
}

// connected returns the gauge of a region's connection to another, empty if there is none.
func (r *running) connected(region, to string) string {
	r.t.Helper()
	at := r.ready.Regions[slices.IndexFunc(r.ready.Regions, func(g ReadyRegion) bool { return g.Name == region })]
	answer, err := r.http.Get(at.Admin + "/metrics")
	if err != nil {
		r.t.Fatal(err)
	}
	text, err := io.ReadAll(answer.Body)
	if err := errors.Join(err, answer.Body.Close()); err != nil {
		r.t.Fatal(err)
	}
	_, value, found := strings.Cut(string(text), fmt.Sprintf("concordat_inbox_connected{origin=%q,region=%q} ", to, region))
	if !found {
		return ""
	}
	value, _, _ = strings.Cut(value, "\n")
	return value
}

// TestConnectionsFollowTheMembers fences a region, which may still knock, and then removes it: it is forgotten by the others, and let in no more.
func TestConnectionsFollowTheMembers(t *testing.T) {
	t.Parallel()
	r := runWorld(t, config(t))
	for _, region := range []string{us, eu, ap} {
		r.until("all are connected", func() bool {
			for _, other := range []string{us, eu, ap} {
				if other != region && r.connected(region, other) != "1" {
					return false
				}
			}
			return true
		})
	}
	r.until("the region can be fenced", func() bool { // the members have heard each other
		_, fault := r.regions(http.MethodPost, us, "/"+ap+"/fence")
		return fault == ""
	})
	for _, region := range []string{us, eu} {
		r.until("the fenced region is forgotten", func() bool { return r.connected(region, ap) == "" })
		for _, p := range r.status(r.ready.Regions[slices.IndexFunc(r.ready.Regions, func(g ReadyRegion) bool { return g.Name == region })]).Pairs {
			if p.From == ap || p.To == ap {
				t.Errorf("%s shows the pair %s to %s", region, p.From, p.To)
			}
		}
		if _, err := r.Node(region).Ask(t.Context(), ap, nil); globaltable.KindOf(err) != globaltable.Unavailable {
			t.Errorf("%s asks the fenced region: %v", region, err)
		}
	}
	r.until("the fenced region still hears the others, and why", func() bool {
		world, _ := r.regions(http.MethodGet, ap, "")
		m := world.Member(ap)
		return m != nil && m.State != "active" && r.connected(ap, us) == "1" && r.connected(ap, eu) == "1"
	})
	r.until("the region can be removed", func() bool { // what else changes the members is done
		_, fault := r.regions(http.MethodPost, us, "/"+ap+"/remove")
		return fault == ""
	})
	r.until("the removed region is let in no more", func() bool { return r.connected(ap, us) == "0" && r.connected(ap, eu) == "0" })
	if r.connected(us, eu) != "1" || r.connected(eu, us) != "1" {
		t.Error("the others have lost each other")
	}
}
