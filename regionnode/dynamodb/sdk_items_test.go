package dynamodb_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/concordat-db/concordat/globaltable/item"
)

func at(pk, sk string) attributes { return attributes{"pk": s(pk), "sk": n(sk)} }

// TestExceptionsAsTheSDKReadsThem looks at what has fields of its own.
func TestExceptionsAsTheSDKReadsThem(t *testing.T) {
	c := startRegion(t, memory(t), nil).client(t)
	ctx := t.Context()
	createTable(t, c, "people", true)
	old := attributes{"pk": s("a"), "sk": n("1"), "v": s("old")}
	if _, err := c.PutItem(ctx, &sdk.PutItemInput{TableName: aws.String("people"), Item: old}); err != nil {
		t.Fatal(err)
	}
	same := func(got attributes) bool {
		return len(got) == 3 && got["v"].(*types.AttributeValueMemberS).Value == "old"
	}

	_, err := c.UpdateItem(ctx, &sdk.UpdateItemInput{TableName: aws.String("people"), Key: at("a", "1"), UpdateExpression: aws.String("SET v = :v"),
		ConditionExpression: aws.String("v = :v"), ExpressionAttributeValues: attributes{":v": s("new")}, ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld})
	var failed *types.ConditionalCheckFailedException
	if !errors.As(err, &failed) || !same(failed.Item) {
		t.Errorf("a condition: %v, %v", err, failed)
	}

	put := func(v string) types.TransactWriteItem {
		return types.TransactWriteItem{Put: &types.Put{TableName: aws.String("people"), Item: attributes{"pk": s("b"), "sk": n("1"), "v": s(v)}}}
	}
	_, err = c.TransactWriteItems(ctx, &sdk.TransactWriteItemsInput{TransactItems: []types.TransactWriteItem{put("x"), {ConditionCheck: &types.ConditionCheck{TableName: aws.String("people"), Key: at("a", "1"),
		ConditionExpression: aws.String("attribute_not_exists(pk)"), ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld}}}})
	var cancelled *types.TransactionCanceledException
	if !errors.As(err, &cancelled) || len(cancelled.CancellationReasons) != 2 || *cancelled.CancellationReasons[0].Code != "None" ||
		*cancelled.CancellationReasons[1].Code != "ConditionalCheckFailed" || !same(cancelled.CancellationReasons[1].Item) {
		t.Errorf("a transaction: %v, %+v", err, cancelled)
	}

	for v, want := range map[string]bool{"x": false, "y": true} {
		_, err := c.TransactWriteItems(ctx, &sdk.TransactWriteItemsInput{ClientRequestToken: aws.String("token"), TransactItems: []types.TransactWriteItem{put("x")}})
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.TransactWriteItems(ctx, &sdk.TransactWriteItemsInput{ClientRequestToken: aws.String("token"), TransactItems: []types.TransactWriteItem{put(v)}})
		var mismatch *types.IdempotentParameterMismatchException
		if errors.As(err, &mismatch) != want || !want && err != nil {
			t.Errorf("a token for %s: %v", v, err)
		}
	}

	_, err = c.ExecuteStatement(ctx, &sdk.ExecuteStatementInput{Statement: aws.String("INSERT INTO people VALUE {'pk':'a','sk':1}")})
	var duplicate *types.DuplicateItemException
	if !errors.As(err, &duplicate) {
		t.Errorf("an insert: %v", err)
	}
}

// TestLargeItems has the limits that need much to be reached.
func TestLargeItems(t *testing.T) {
	c := startRegion(t, memory(t), nil).client(t)
	ctx := t.Context()
	createTable(t, c, "people", true)
	large := s(strings.Repeat("x", 210_000))
	set := func(sk, names string) error {
		_, err := c.UpdateItem(ctx, &sdk.UpdateItemInput{TableName: aws.String("people"), Key: at("a", sk), UpdateExpression: aws.String("SET " + names),
			ExpressionAttributeValues: attributes{":v": large}})
		return err
	}
	if err := set("1", "v = :v"); err != nil {
		t.Fatal(err)
	}
	wantError(t, set("1", "w = :v"), "ValidationException", "Item size to update has exceeded the maximum allowed size")
	var puts []types.TransactWriteItem
	var gets []types.TransactGetItem
	for i := range 20 {
		key := at("t", strconv.Itoa(i))
		gets = append(gets, types.TransactGetItem{Get: &types.Get{TableName: aws.String("people"), Key: key}})
		puts = append(puts, types.TransactWriteItem{Put: &types.Put{TableName: aws.String("people"), Item: attributes{"pk": key["pk"], "sk": key["sk"], "v": large}}})
	}
	_, err := c.TransactWriteItems(ctx, &sdk.TransactWriteItemsInput{TransactItems: puts})
	wantError(t, err, "ValidationException", "The aggregate size of the items in the transaction exceeds 4 MB")
	for _, half := range [][]types.TransactWriteItem{puts[:10], puts[10:]} {
		if _, err := c.TransactWriteItems(ctx, &sdk.TransactWriteItemsInput{TransactItems: half}); err != nil {
			t.Fatal(err)
		}
	}
	_, err = c.TransactGetItems(ctx, &sdk.TransactGetItemsInput{TransactItems: gets})
	wantError(t, err, "ValidationException", "The aggregate size of the items in the transaction exceeds 4 MB")
	if got, err := c.TransactGetItems(ctx, &sdk.TransactGetItemsInput{TransactItems: gets[:19]}); err != nil || len(got.Responses) != 19 || got.Responses[18].Item == nil {
		t.Errorf("19 items of 210 KB: %v", err)
	}
	// A page ends at 1 MB, before the filter.
	pages, found := 0, 0
	query := sdk.NewQueryPaginator(c, &sdk.QueryInput{TableName: aws.String("people"), KeyConditionExpression: aws.String("pk = :t"), FilterExpression: aws.String("attribute_not_exists(v)"),
		ExpressionAttributeValues: attributes{":t": s("t")}})
	for query.HasMorePages() {
		page, err := query.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if page.ScannedCount > int32(1<<20/210_000) {
			t.Errorf("a page of %d items", page.ScannedCount)
		}
		pages, found = pages+1, found+int(page.ScannedCount)
	}
	if pages != 5 || found != 20 {
		t.Errorf("%d items in %d pages", found, pages)
	}
	key := attributes{"pk": s(strings.Repeat("k", item.MaxPartitionKeySize+1)), "sk": n("1")}
	_, err = c.GetItem(ctx, &sdk.GetItemInput{TableName: aws.String("people"), Key: key})
	wantError(t, err, "ValidationException", "One or more parameter values were invalid: Size of hashkey has exceeded the maximum size limit of2048 bytes")
}

// TestPagesAreWhole reads a partition, and several, in pages of every size, forward and backward, by Query and by PartiQL.
func TestPagesAreWhole(t *testing.T) {
	c := startRegion(t, memory(t), nil).client(t)
	ctx := t.Context()
	createTable(t, c, "people", true)
	var forward []string
	for i := range 13 {
		sk := strconv.Itoa(i*i - 30)
		forward = append(forward, sk)
		for _, pk := range []string{"a", "b"} {
			if _, err := c.PutItem(ctx, &sdk.PutItemInput{TableName: aws.String("people"), Item: at(pk, sk)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	sortKeys := func(items []map[string]types.AttributeValue) (out []string) {
		for _, it := range items {
			out = append(out, it["sk"].(*types.AttributeValueMemberN).Value)
		}
		return out
	}
	for _, backward := range []bool{false, true} {
		want := slices.Clone(forward)
		if backward {
			slices.Reverse(want)
		}
		for limit := int32(1); limit < 15; limit++ {
			var got []string
			query := sdk.NewQueryPaginator(c, &sdk.QueryInput{TableName: aws.String("people"), KeyConditionExpression: aws.String("pk = :a"), ScanIndexForward: aws.Bool(!backward),
				ExpressionAttributeValues: attributes{":a": s("a")}, Limit: &limit})
			for query.HasMorePages() {
				page, err := query.NextPage(ctx)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, sortKeys(page.Items)...)
			}
			if !slices.Equal(got, want) {
				t.Fatalf("limit %d, backward %v: %v", limit, backward, got)
			}
			statement := &sdk.ExecuteStatementInput{Statement: aws.String("SELECT sk FROM people WHERE pk IN ['b', 'a'] ORDER BY pk, sk"), Limit: &limit}
			if backward {
				*statement.Statement += " DESC"
			}
			for got = nil; ; {
				page, err := c.ExecuteStatement(ctx, statement)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, sortKeys(page.Items)...)
				if statement.NextToken = page.NextToken; statement.NextToken == nil {
					break
				}
			}
			if !slices.Equal(got, slices.Concat(want, want)) {
				t.Fatalf("PartiQL, limit %d, backward %v: %v", limit, backward, got)
			}
		}
	}
}

// TestMoneyIsNeitherMadeNorLost has many clients move money between few accounts, by each way of writing several items, or one on a condition, while others look at all of them in one moment.
func TestMoneyIsNeitherMadeNorLost(t *testing.T) {
	c := startRegion(t, memory(t), nil).client(t)
	ctx := t.Context()
	createTable(t, c, "bank", true)
	const accounts, each, clients, moves = 4, 50, 8, 40
	var all []types.TransactGetItem
	for i := range accounts {
		key := at("account", strconv.Itoa(i))
		all = append(all, types.TransactGetItem{Get: &types.Get{TableName: aws.String("bank"), Key: key}})
		if _, err := c.PutItem(ctx, &sdk.PutItemInput{TableName: aws.String("bank"), Item: attributes{"pk": key["pk"], "sk": key["sk"], "n": n(strconv.Itoa(each))}}); err != nil {
			t.Fatal(err)
		}
	}
	move := func(random *rand.Rand) error {
		from := random.IntN(accounts)
		to := (from + 1 + random.IntN(accounts-1)) % accounts
		x := attributes{":x": n(strconv.Itoa(1 + random.IntN(30)))}
		change := func(i int, update string, condition *string) types.TransactWriteItem {
			return types.TransactWriteItem{Update: &types.Update{TableName: aws.String("bank"), Key: at("account", strconv.Itoa(i)), UpdateExpression: &update, ConditionExpression: condition, ExpressionAttributeValues: x}}
		}
		var err error
		if random.IntN(2) == 0 {
			_, err = c.TransactWriteItems(ctx, &sdk.TransactWriteItemsInput{TransactItems: []types.TransactWriteItem{
				change(from, "SET n = n - :x", aws.String("n >= :x")), change(to, "ADD n :x", nil)}})
		} else {
			statement := func(i int, sign, condition string) types.ParameterizedStatement {
				text := fmt.Sprintf("UPDATE bank SET n = n %s ? WHERE pk = 'account' AND sk = %d%s", sign, i, condition)
				return types.ParameterizedStatement{Statement: &text, Parameters: slices.Repeat([]types.AttributeValue{x[":x"]}, strings.Count(text, "?"))}
			}
			_, err = c.ExecuteTransaction(ctx, &sdk.ExecuteTransactionInput{TransactStatements: []types.ParameterizedStatement{statement(from, "-", " AND n >= ?"), statement(to, "+", "")}})
		}
		var cancelled *types.TransactionCanceledException
		if errors.As(err, &cancelled) && *cancelled.CancellationReasons[0].Code == "ConditionalCheckFailed" {
			return nil // not enough money
		}
		return err
	}
	done := make(chan struct{})
	var movers, auditors sync.WaitGroup
	for client := range clients {
		movers.Go(func() {
			random := rand.New(rand.NewPCG(uint64(client), 1))
			for range moves {
				if err := move(random); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 2 {
		auditors.Go(func() {
			for running := true; running; {
				select {
				case <-done:
					running = false // and once more, at rest
				default:
				}
				got, err := c.TransactGetItems(ctx, &sdk.TransactGetItemsInput{TransactItems: all})
				if err != nil {
					t.Error(err)
					return
				}
				sum := 0
				for _, r := range got.Responses {
					balance, err := strconv.Atoi(r.Item["n"].(*types.AttributeValueMemberN).Value)
					if sum += balance; err != nil || balance < 0 {
						t.Errorf("a balance of %d, %v", balance, err)
					}
				}
				if sum != accounts*each {
					t.Errorf("the bank has %d, not %d", sum, accounts*each)
					return
				}
			}
		})
	}
	movers.Wait()
	close(done)
	auditors.Wait()
}
