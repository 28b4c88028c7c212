package world

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/concordat-db/concordat/regionnode/admin"
	"github.com/concordat-db/concordat/streams/repair"
)

// TestLaggingRegionCatchesUpByExchange: a region stays away until the logs of the others have reached their limit. They trim them and show it as left behind. When it is back it
// gets all that it has missed, deletions too, although the world is stopped on the way; writes made in it meanwhile are not lost.
func TestLaggingRegionCatchesUpByExchange(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	cfg.Limits.LogBytes, cfg.Limits.StreamBytes = 1<<20, 1<<20
	cfg.Limits.JoinBytesPerSecond = 8 << 20 // so that it takes its time
	r := runWorld(t, cfg)
	const us, eu, ap = "us-east-1", "eu-central-1", "ap-south-1"
	r.makeTable(us, eu, ap)
	for i := range 50 {
		r.put(us, fmt.Sprint("old ", i), "here")
	}
	r.converge(50)
	r.Cut(ap)
	for i := range 30 { // more than a peer has asked of the stream before it was cut
		r.put(us, fmt.Sprint("item ", i), large())
		r.put(eu, fmt.Sprint("other ", i), large())
	}
	for i := range 25 {
		r.remove(us, fmt.Sprint("old ", i))
	}
	for i := range 20 {
		r.put(ap, fmt.Sprint("alone ", i), "z")
	}
	for _, region := range r.ready.Regions[:2] {
		r.until(region.Name+" has trimmed its log and shows who was left behind", func() bool {
			return slices.ContainsFunc(r.status(region).Lanes, func(l admin.Lane) bool {
				lag, lags := l.Lagging[ap]
				return lags && lag.Entries > 0 && lag.Since != nil && l.Bytes <= 2*cfg.Limits.LogBytes && l.Lagging[us] == admin.Lag{} && l.Lagging[eu] == admin.Lag{}
			})
		})
	}
	r.Heal(ap)
	r.until("the region catches up by exchange", func() bool {
		return slices.ContainsFunc(r.status(r.ready.Regions[2]).Pairs, func(p admin.Pair) bool {
			return p.To == ap && p.State == admin.StateCatchingUp && strings.Contains(p.Detail, "catching up by exchange")
		})
	})
	r.stop()
	cfg.Limits.JoinBytesPerSecond = 0
	r = runWorld(t, cfg)
	const items = 30 + 30 + 25 + 20
	r.converge(items)
	r.until("nobody is left behind any more", func() bool {
		for _, region := range r.ready.Regions {
			st := r.status(region)
			if slices.ContainsFunc(st.Lanes, func(l admin.Lane) bool { return len(l.Lagging) > 0 }) ||
				slices.ContainsFunc(st.Pairs, func(p admin.Pair) bool { return strings.Contains(p.Detail, "exchange") }) {
				return false
			}
		}
		return true
	})
	for _, v := range r.verify("/v1/verify") {
		if v.State != repair.Converged || v.Tables[0].Items != items {
			t.Errorf("%s: %+v", v.Region, v)
		}
	}
	r.put(us, "afterwards", "by the lanes")
	r.converge(items + 1)
}

// large returns a value of almost the greatest size that does not get smaller on its way.
func large() string {
	b := make([]byte, 195<<10)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

func (r *running) remove(region, id string) {
	r.t.Helper()
	_, err := r.db[region].DeleteItem(r.t.Context(), &dynamodb.DeleteItemInput{TableName: aws.String(tableName),
		Key: map[string]types.AttributeValue{"id": &types.AttributeValueMemberS{Value: id}}})
	if err != nil {
		r.t.Error(err)
	}
}
