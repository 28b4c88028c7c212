// Command orders-search is an example from end to end: a table of orders in three regions, written in all of them, and a search index that a trigger keeps in step with it. It starts a world of its own with `concordat dev`, makes
// table and trigger, changes orders, waits until the index has what the table has, and searches.
//
//	go run ./deployments/examples/orders-search -concordat bin/concordat
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

const (
	table   = "orders"
	webhook = "127.0.0.1:8099" // as in trigger.yaml
)

func main() {
	concordat := flag.String("concordat", "bin/concordat", "the program")
	documents := flag.String("documents", "deployments/examples/orders-search/trigger.yaml", "the trigger")
	orders := flag.Int("orders", 300, "how many to make")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *concordat, *documents, *orders); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, concordat, documents string, orders int) (err error) {
	x := &index{orders: map[string]entry{}}
	ln, err := net.Listen("tcp", webhook)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: x, ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(ln) }()
	defer func() {
		err = errors.Join(err, server.Close())
		<-served
	}()

	w, err := startWorld(ctx, concordat)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.stop()) }()
	if err := w.makeTable(ctx); err != nil {
		return err
	}
	apply := exec.CommandContext(ctx, concordat, "--admin", w.regions[0].Admin, "trigger", "apply", "-f", documents, "--yes")
	apply.Stdout, apply.Stderr = os.Stdout, os.Stderr
	if err := apply.Run(); err != nil {
		return fmt.Errorf("apply the trigger: %w", err)
	}
	if err := w.change(ctx, orders); err != nil {
		return err
	}
	want, err := w.texts(ctx, orders)
	if err != nil {
		return err
	}
	fmt.Printf("%d orders are in the table of every region; waiting for the index\n", len(want))
	began := time.Now()
	for !maps.Equal(want, x.texts()) {
		if time.Since(began) > time.Minute {
			return errors.New("the index is not in step with the table")
		}
		time.Sleep(20 * time.Millisecond)
	}
	fmt.Printf("the index is in step: %d events\n", x.events)
	for _, word := range []string{"tea", "paid", "cancelled"} {
		ids := x.search(word)
		fmt.Printf("search %q: %d orders, %s …\n", word, len(ids), strings.Join(ids[:min(3, len(ids))], ", "))
	}
	return nil
}

// world is a `concordat dev` of this program's own.
type world struct {
	interrupt func() error // ends the process, and waits for it
	dir       string
	regions   []region
}

type region struct {
	Name, DynamoDB, Admin string
	db                    *dynamodb.Client
}

// startWorld returns when all regions serve.
func startWorld(ctx context.Context, concordat string) (*world, error) {
	dir, err := os.MkdirTemp("", "orders-search-")
	if err != nil {
		return nil, err
	}
	ready := filepath.Join(dir, "ready.json")
	process := exec.Command(concordat, "dev", "--data", filepath.Join(dir, "data"), "--ready-file", ready)
	process.Stderr = os.Stderr
	if err := process.Start(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	ended := make(chan error, 1)
	go func() { ended <- process.Wait() }()
	w := &world{dir: dir, interrupt: func() error { return errors.Join(process.Process.Signal(os.Interrupt), <-ended) }}
	for {
		b, err := os.ReadFile(ready)
		var f struct{ Regions []region }
		if err == nil && json.Unmarshal(b, &f) == nil {
			w.regions = f.Regions
			break
		}
		select {
		case err := <-ended:
			return nil, errors.Join(fmt.Errorf("the world did not start: %w", err), os.RemoveAll(dir))
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), w.stop())
		case <-time.After(50 * time.Millisecond):
		}
	}
	for i := range w.regions {
		r := &w.regions[i]
		cfg, err := config.LoadDefaultConfig(ctx, config.WithRegion(r.Name), config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider("dev", "dev", "")))
		if err != nil {
			return nil, errors.Join(err, w.stop())
		}
		r.db = dynamodb.NewFromConfig(cfg, func(o *dynamodb.Options) { o.BaseEndpoint = aws.String(r.DynamoDB) })
	}
	return w, nil
}

func (w *world) stop() error { return errors.Join(w.interrupt(), os.RemoveAll(w.dir)) }

// makeTable makes the table, with its stream, in all regions.
func (w *world) makeTable(ctx context.Context) error {
	first := w.regions[0].db
	_, err := first.CreateTable(ctx, &dynamodb.CreateTableInput{
		TableName: aws.String(table), BillingMode: types.BillingModePayPerRequest,
		KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String("id"), KeyType: types.KeyTypeHash}},
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String("id"), AttributeType: types.ScalarAttributeTypeS}},
		StreamSpecification:  &types.StreamSpecification{StreamEnabled: aws.Bool(true), StreamViewType: types.StreamViewTypeNewAndOldImages},
		Tags:                 []types.Tag{{Key: aws.String("concordat:merge"), Value: aws.String("attribute")}},
	})
	for _, r := range w.regions[1:] {
		for err == nil {
			var out *dynamodb.DescribeTableOutput
			out, err = first.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: aws.String(table)})
			if err == nil && out.Table.TableStatus == types.TableStatusActive {
				break
			}
		}
		if err == nil {
			_, err = first.UpdateTable(ctx, &dynamodb.UpdateTableInput{TableName: aws.String(table),
				ReplicaUpdates: []types.ReplicationGroupUpdate{{Create: &types.CreateReplicationGroupMemberAction{RegionName: aws.String(r.Name)}}}})
		}
	}
	for _, r := range w.regions {
		if err == nil {
			err = dynamodb.NewTableExistsWaiter(r.db, func(o *dynamodb.TableExistsWaiterOptions) { o.MinDelay = 100 * time.Millisecond }).
				Wait(ctx, &dynamodb.DescribeTableInput{TableName: aws.String(table)}, time.Minute)
		}
	}
	return err
}

// change makes orders, each in another region than the one before, changes them in the next ones, and deletes some.
func (w *world) change(ctx context.Context, orders int) error {
	s := func(v string) types.AttributeValue { return &types.AttributeValueMemberS{Value: v} }
	goods := []string{"tea", "coffee", "cocoa"}
	for i := range orders {
		id := orderID(i)
		home, other := w.regions[i%len(w.regions)], w.regions[(i+1)%len(w.regions)]
		_, err := home.db.PutItem(ctx, &dynamodb.PutItemInput{TableName: aws.String(table), Item: map[string]types.AttributeValue{"id": s(id), "text": s(goods[i%3] + " ordered")}})
		if err == nil && i%2 == 0 {
			_, err = home.db.UpdateItem(ctx, &dynamodb.UpdateItemInput{TableName: aws.String(table), Key: map[string]types.AttributeValue{"id": s(id)},
				UpdateExpression: aws.String("SET #t = :t"), ExpressionAttributeNames: map[string]string{"#t": "text"}, ExpressionAttributeValues: map[string]types.AttributeValue{":t": s(goods[i%3] + " paid")}})
		}
		if err == nil && i%5 == 0 { // in another region, perhaps at the same time
			_, err = other.db.UpdateItem(ctx, &dynamodb.UpdateItemInput{TableName: aws.String(table), Key: map[string]types.AttributeValue{"id": s(id)},
				UpdateExpression: aws.String("SET #t = :t"), ExpressionAttributeNames: map[string]string{"#t": "text"}, ExpressionAttributeValues: map[string]types.AttributeValue{":t": s(goods[i%3] + " cancelled")}})
		}
		if err == nil && i%7 == 0 {
			_, err = home.db.DeleteItem(ctx, &dynamodb.DeleteItemInput{TableName: aws.String(table), Key: map[string]types.AttributeValue{"id": s(id)}})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func orderID(i int) string { return fmt.Sprintf("order-%04d", i) }

// texts returns the texts of the orders, by id, once all regions have the same.
func (w *world) texts(ctx context.Context, orders int) (map[string]string, error) {
	for began := time.Now(); time.Since(began) < time.Minute; {
		var all []map[string]string
		for _, r := range w.regions {
			texts := map[string]string{}
			pages := dynamodb.NewScanPaginator(r.db, &dynamodb.ScanInput{TableName: aws.String(table)})
			for pages.HasMorePages() {
				page, err := pages.NextPage(ctx)
				if err != nil {
					return nil, err
				}
				for _, it := range page.Items {
					texts[it["id"].(*types.AttributeValueMemberS).Value] = it["text"].(*types.AttributeValueMemberS).Value
				}
			}
			all = append(all, texts)
		}
		if maps.Equal(all[0], all[1]) && maps.Equal(all[0], all[2]) && len(all[0]) >= orders/2 {
			return all[0], nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return nil, errors.New("the regions do not have the same")
}
