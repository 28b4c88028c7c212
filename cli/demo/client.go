package demo

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

const (
	poll         = 2 * time.Millisecond // between looks at a region
	maxBatch     = 25                   // items of one BatchWriteItem, DynamoDB's limit
	batchRetries = 10                   // for what a region did not get to in a batch
)

// The table's keys.
const (
	partitionKey = "country"
	sortKey      = "id"
)

// attributes is an item as the SDK has it.
type attributes = map[string]types.AttributeValue

// client speaks to one region.
type client struct {
	region string
	db     *dynamodb.Client
	http   *http.Client
}

func newClient(r Region, connections int) *client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = connections
	h := &http.Client{Transport: transport}
	return &client{region: r.Name, http: h, db: dynamodb.New(dynamodb.Options{
		BaseEndpoint: aws.String(r.DynamoDB),
		Region:       r.Name,
		Credentials:  credentials.NewStaticCredentialsProvider("demo", "demo", ""),
		HTTPClient:   h,
	})}
}

func (c *client) close() { c.http.CloseIdleConnections() }

func (c *client) put(ctx context.Context, item attributes) error {
	_, err := c.db.PutItem(ctx, &dynamodb.PutItemInput{TableName: aws.String(TableName), Item: item})
	if err != nil {
		return fmt.Errorf("%s: %w", c.region, err)
	}
	return nil
}

// putBatch puts up to maxBatch items. A region may leave some undone: those are sent again.
func (c *client) putBatch(ctx context.Context, items []attributes) error {
	requests := make([]types.WriteRequest, 0, len(items))
	for _, item := range items {
		requests = append(requests, types.WriteRequest{PutRequest: &types.PutRequest{Item: item}})
	}
	for range batchRetries {
		out, err := c.db.BatchWriteItem(ctx, &dynamodb.BatchWriteItemInput{RequestItems: map[string][]types.WriteRequest{TableName: requests}})
		if err != nil {
			return fmt.Errorf("%s: %w", c.region, err)
		}
		if requests = out.UnprocessedItems[TableName]; len(requests) == 0 {
			return nil
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
	return fmt.Errorf("%s: %d items of a batch stay undone after %d tries", c.region, len(requests), batchRetries)
}

// get returns the item with the key of like, nil if there is none.
func (c *client) get(ctx context.Context, like attributes) (attributes, error) {
	out, err := c.db.GetItem(ctx, &dynamodb.GetItemInput{
		TableName: aws.String(TableName), ConsistentRead: aws.Bool(true),
		Key: attributes{partitionKey: like[partitionKey], sortKey: like[sortKey]},
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.region, err)
	}
	return out.Item, nil
}

// until looks at the item with the key of like until ok likes what it sees, and returns that.
func (c *client) until(ctx context.Context, like attributes, ok func(attributes) bool) (attributes, error) {
	for {
		item, err := c.get(ctx, like)
		if err != nil {
			return nil, err
		}
		if ok(item) {
			return item, nil
		}
		if err := pause(ctx, poll); err != nil {
			return item, err
		}
	}
}

// snapshot is all that a region shows of the table.
type snapshot struct {
	items map[string]string // key → fingerprint
	sum   string            // of all, in order of keys
}

// scan reads the whole table.
func (c *client) scan(ctx context.Context) (snapshot, error) {
	s := snapshot{items: map[string]string{}}
	pages := dynamodb.NewScanPaginator(c.db, &dynamodb.ScanInput{TableName: aws.String(TableName), ConsistentRead: aws.Bool(true)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return s, fmt.Errorf("%s: %w", c.region, err)
		}
		for _, item := range page.Items {
			key, print, err := fingerprint(item)
			if err != nil {
				return s, fmt.Errorf("%s: %w", c.region, err)
			}
			if _, again := s.items[key]; again {
				return s, fmt.Errorf("%s: a scan gave one item twice", c.region)
			}
			s.items[key] = print
		}
	}
	h := sha256.New()
	for _, key := range slices.Sorted(maps.Keys(s.items)) {
		write(h, key)
		write(h, s.items[key])
	}
	s.sum = hex.EncodeToString(h.Sum(nil))
	return s, nil
}

// fingerprint returns the key of an item and a hash over all of it. The story's items hold strings and numbers only.
func fingerprint(item attributes) (key, print string, err error) {
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(item)) {
		write(h, name)
		switch v := item[name].(type) {
		case *types.AttributeValueMemberS:
			write(h, "S"+v.Value)
		case *types.AttributeValueMemberN:
			write(h, "N"+v.Value)
		default:
			return "", "", fmt.Errorf("an item has an attribute of type %T, which was never written", v)
		}
	}
	country, ok := item[partitionKey].(*types.AttributeValueMemberS)
	id, ok2 := item[sortKey].(*types.AttributeValueMemberS)
	if !ok || !ok2 {
		return "", "", errors.New("an item came without its key")
	}
	return country.Value + "\x00" + id.Value, hex.EncodeToString(h.Sum(nil)), nil
}

// write hashes s so that no two sequences of strings hash the same bytes.
func write(h hash.Hash, s string) {
	fmt.Fprintf(h, "%d:", len(s))
	_, _ = io.WriteString(h, s) // a hash never fails
}

// pause waits for d.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
