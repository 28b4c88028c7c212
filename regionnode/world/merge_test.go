package world

import (
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/globaltable"
)

// declared are the merge types of the table in the tests here.
var declared = map[string]string{"likes": "counter", "labels": "set", "doc": "map", "best": "max", "least": "min", "note": "register"}

// setMode gives the table a conflict mode by its tags, asked in a region that need not own it, and waits until all regions record by it.
func (r *running) setMode(region string, mode conflict.Mode) {
	r.t.Helper()
	table, err := r.db[region].DescribeTable(r.t.Context(), &dynamodb.DescribeTableInput{TableName: aws.String(tableName)})
	if err != nil {
		r.t.Fatal(err)
	}
	if mode == conflict.LWW {
		_, err = r.db[region].UntagResource(r.t.Context(), &dynamodb.UntagResourceInput{ResourceArn: table.Table.TableArn, TagKeys: []string{globaltable.MergeTag}})
	} else {
		_, err = r.db[region].TagResource(r.t.Context(), &dynamodb.TagResourceInput{ResourceArn: table.Table.TableArn, Tags: []types.Tag{{Key: aws.String(globaltable.MergeTag), Value: aws.String(mode.String())}}})
	}
	if err != nil {
		r.t.Fatal(err)
	}
	r.until("all regions record in mode "+mode.String(), func() bool {
		for _, region := range r.ready.Regions {
			if st := r.status(region); len(st.Tables) != 1 || st.Tables[0].Merge.Mode != mode.String() || !maps.Equal(st.Tables[0].Merge.Types, declared) {
				return false
			}
		}
		return true
	})
}

func (r *running) makeMerging(first string, others ...string) {
	r.t.Helper()
	tags := []types.Tag{{Key: aws.String("team"), Value: aws.String("maps")}}
	for name, typ := range declared {
		tags = append(tags, types.Tag{Key: aws.String(globaltable.TypeTagPrefix + name), Value: &typ})
	}
	r.createTable(&dynamodb.CreateTableInput{TableName: aws.String(tableName), BillingMode: types.BillingModePayPerRequest, Tags: tags,
		KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String("id"), KeyType: types.KeyTypeHash}},
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String("id"), AttributeType: types.ScalarAttributeTypeS}}}, first, others...)
}

// does is something that a client does to the item with an id.
type does func(r *running, region, id string) error

func updates(expression string, values attributes) does {
	return func(r *running, region, id string) error {
		_, err := r.db[region].UpdateItem(r.t.Context(), &dynamodb.UpdateItemInput{TableName: aws.String(tableName), Key: attributes{"id": str(id)}, UpdateExpression: &expression, ExpressionAttributeValues: values})
		return err
	}
}

func legacyAdd(name string, n int) does {
	return func(r *running, region, id string) error {
		_, err := r.db[region].UpdateItem(r.t.Context(), &dynamodb.UpdateItemInput{TableName: aws.String(tableName), Key: attributes{"id": str(id)},
			AttributeUpdates: map[string]types.AttributeValueUpdate{name: {Action: types.AttributeActionAdd, Value: num(n)}}})
		return err
	}
}

func executes(set string) does {
	return func(r *running, region, id string) error {
		_, err := r.db[region].ExecuteStatement(r.t.Context(), &dynamodb.ExecuteStatementInput{Statement: aws.String("UPDATE \"" + tableName + "\" " + set + " WHERE id = '" + id + "'")})
		return err
	}
}

func deletes(r *running, region, id string) error {
	_, err := r.db[region].DeleteItem(r.t.Context(), &dynamodb.DeleteItemInput{TableName: aws.String(tableName), Key: attributes{"id": str(id)}})
	return err
}

func strs(of ...string) types.AttributeValue { return &types.AttributeValueMemberSS{Value: of} }

func document(of attributes) types.AttributeValue { return &types.AttributeValueMemberM{Value: of} }

// meeting is what two regions do to one item without having heard of each other, and what becomes of it in each mode: attributes but the id; "gone": there is no item.
type meeting struct {
	name                   string
	before                 attributes
	first, second          does // in two regions, second a little later
	lww, attribute, vector string
}

var meetings = []meeting{
	{"different attributes", attributes{"a": num(0)}, updates("SET a = :v", attributes{":v": num(1)}), updates("SET b = :v", attributes{":v": num(2)}), "a=0 b=2", "a=1 b=2", "a=1 b=2"},
	{"ADD and ADD", attributes{"likes": num(10)}, updates("ADD likes :v", attributes{":v": num(5)}), updates("ADD likes :v", attributes{":v": num(7)}), "likes=17", "likes=17", "likes=22"},
	{"ADD without a type", attributes{"n": num(10)}, updates("ADD n :v", attributes{":v": num(5)}), legacyAdd("n", 7), "n=17", "n=17", "n=22"},
	{"a counter in other words", attributes{"likes": num(10)}, updates("SET likes = likes + :v", attributes{":v": num(5)}), updates("SET likes = likes - :v", attributes{":v": num(7)}), "likes=3", "likes=3", "likes=8"},
	{"a counter by a statement", attributes{"likes": num(10)}, executes("SET likes = likes + 5"), legacyAdd("likes", 7), "likes=17", "likes=17", "likes=22"},
	{"a counter's beginning", attributes{"a": num(0)}, updates("SET likes = if_not_exists(likes, :z) + :v", attributes{":z": num(100), ":v": num(5)}),
		updates("SET likes = if_not_exists(likes, :z) + :v", attributes{":z": num(100), ":v": num(7)}), "a=0 likes=107", "a=0 likes=107", "a=0 likes=112"},
	{"ADD and SET of a counter", attributes{"likes": num(10)}, updates("ADD likes :v", attributes{":v": num(5)}), updates("SET likes = :v", attributes{":v": num(100)}), "likes=100", "likes=100", "likes=105"},
	{"ADD and a deletion", attributes{"likes": num(10), "a": num(1)}, updates("ADD likes :v, labels :l", attributes{":v": num(5), ":l": strs("x")}), deletes, "gone", "gone", "labels=set[x] likes=5"},
	{"an update after a deletion", attributes{"a": num(1), "b": num(1)}, deletes, updates("SET a = :v", attributes{":v": num(2)}), "a=2 b=1", "a=2", "a=2"},
	{"a deletion after an update", attributes{"a": num(1)}, updates("SET a = :v", attributes{":v": num(2)}), deletes, "gone", "gone", "gone"},
	{"an element comes, another goes", attributes{"labels": strs("a", "b")}, updates("ADD labels :v", attributes{":v": strs("x")}), updates("DELETE labels :v", attributes{":v": strs("a")}),
		"labels=set[b]", "labels=set[b]", "labels=set[b x]"},
	{"an element comes and goes", attributes{"labels": strs("a", "b")}, updates("ADD labels :v", attributes{":v": strs("a")}), updates("DELETE labels :v", attributes{":v": strs("a")}),
		"labels=set[b]", "labels=set[b]", "labels=set[a b]"},
	{"an element by a statement", attributes{"labels": strs("a")}, executes("SET labels = set_add(labels, <<'x'>>)"), executes("SET labels = set_add(labels, <<'y'>>)"), "labels=set[a y]", "labels=set[a y]", "labels=set[a x y]"},
	{"a maximum and a minimum", attributes{"best": num(10), "least": num(10)}, updates("SET best = :b, least = :l", attributes{":b": num(50), ":l": num(1)}),
		updates("SET best = :b, least = :l", attributes{":b": num(40), ":l": num(2)}), "best=40 least=2", "best=40 least=2", "best=50 least=1"},
	{"entries of a map", attributes{"doc": document(attributes{"a": num(1), "b": num(1), "c": num(1)})}, updates("SET doc.a = :v REMOVE doc.c", attributes{":v": num(2)}), updates("SET doc.b = :v", attributes{":v": num(2)}),
		"doc={a=1 b=2 c=1}", "doc={a=1 b=2 c=1}", "doc={a=2 b=2}"},
	{"a map and its entry", attributes{"doc": document(attributes{"a": num(1)})}, updates("SET doc = :v", attributes{":v": document(attributes{"z": num(9)})}), updates("SET doc.b = :v", attributes{":v": num(2)}),
		"doc={a=1 b=2}", "doc={a=1 b=2}", "doc={b=2 z=9}"},
	{"a register", attributes{"note": str("")}, updates("SET note = :v", attributes{":v": str("x")}), updates("SET note = :v", attributes{":v": str("y")}), `note="y"`, `note="y"`, `note="y"`},
	{"everything", attributes{"likes": num(0), "note": str("")}, updates("SET note = :s ADD likes :v, labels :l", attributes{":s": str("x"), ":v": num(1), ":l": strs("x")}),
		updates("SET best = :v ADD likes :v, labels :l", attributes{":v": num(1), ":l": strs("y")}), `best=1 labels=set[y] likes=1 note=""`, `best=1 labels=set[y] likes=1 note="x"`, `best=1 labels=set[x y] likes=2 note="x"`},
}

// TestRegionsMeet: what two regions write to one item while they do not hear of each other, in each mode of one table that changes its mode while it is there.
func TestRegionsMeet(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	cfg.Regions = cfg.Regions[:2]
	w := runWorld(t, cfg)
	us, eu := cfg.Regions[0].Name, cfg.Regions[1].Name
	w.makeMerging(us, eu)
	for _, mode := range []conflict.Mode{conflict.LWW, conflict.Vector, conflict.Attribute, conflict.LWW} {
		if mode != conflict.LWW {
			w.setMode(eu, mode)
		} else {
			w.setMode(us, mode)
		}
		id := func(m *meeting) string { return mode.String() + " " + m.name }
		for i := range meetings {
			m := &meetings[i]
			it := maps.Clone(m.before)
			it["id"] = str(id(m))
			if _, err := w.db[us].PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String(tableName), Item: it}); err != nil {
				t.Fatal(err)
			}
		}
		w.meet(us, eu, "before")
		w.Cut(us)
		do := func(region string, of func(m *meeting) does) {
			for i := range meetings {
				if err := of(&meetings[i])(w, region, id(&meetings[i])); err != nil {
					t.Fatalf("%s, %s: %v", mode, meetings[i].name, err)
				}
			}
		}
		do(us, func(m *meeting) does { return m.first })
		last := time.Now().UnixMilli()
		w.until("the clock goes on", func() bool { return time.Now().UnixMilli() > last })
		do(eu, func(m *meeting) does { return m.second })
		w.Heal(us)
		w.meet(us, eu, "after")
		for i := range meetings {
			m := &meetings[i]
			want := map[conflict.Mode]string{conflict.LWW: m.lww, conflict.Attribute: m.attribute, conflict.Vector: m.vector}[mode]
			for _, region := range []string{us, eu} {
				if got := w.shown(region, id(m)); got != want {
					t.Errorf("%s, mode %s, %s: %s, not %s", region, mode, m.name, got, want)
				}
			}
		}
	}
}

// meet waits until both regions have all that each of them has written so far.
func (r *running) meet(one, other, when string) {
	r.t.Helper()
	at := fmt.Sprint(when, " ", time.Now().UnixNano())
	r.put(one, "mark of "+one, at)
	r.put(other, "mark of "+other, at)
	r.until("both regions have everything", func() bool { return r.get(other, "mark of "+one) == at && r.get(one, "mark of "+other) == at })
}

// shown is an item without its id, which it must have; "gone" if there is none.
func (r *running) shown(region, id string) string {
	r.t.Helper()
	out, err := r.db[region].GetItem(r.t.Context(), &dynamodb.GetItemInput{TableName: aws.String(tableName), ConsistentRead: aws.Bool(true), Key: attributes{"id": str(id)}})
	if err != nil {
		r.t.Fatal(err)
	}
	if out.Item == nil {
		return "gone"
	}
	if !is(out.Item, "id", id) {
		r.t.Errorf("%s shows %s as %s", region, id, text(out.Item))
	}
	delete(out.Item, "id")
	return text(out.Item)
}

// TestMergedValueIsSeen: conditions, images and sizes are those of the merged item, also of one that is too large to be written.
func TestMergedValueIsSeen(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	cfg.Regions = cfg.Regions[:2]
	w := runWorld(t, cfg)
	us, eu := cfg.Regions[0].Name, cfg.Regions[1].Name
	w.makeMerging(us, eu)
	w.setMode(eu, conflict.Vector)
	w.put(us, "x", "v")
	w.meet(us, eu, "before")
	w.Cut(us)
	half := func(name string) types.AttributeValue { return strs(name, strings.Repeat(name, 250<<10)) }
	for region, does := range map[string]does{us: updates("ADD likes :n, labels :l", attributes{":n": num(5), ":l": half("u")}), eu: updates("ADD likes :n, labels :l", attributes{":n": num(7), ":l": half("e")})} {
		if err := does(w, region, "x"); err != nil {
			t.Fatal(err)
		}
	}
	w.Heal(us)
	w.meet(us, eu, "after")
	for _, region := range []string{us, eu} {
		if got := w.shown(region, "x"); len(got) < 500<<10 || !strings.Contains(got, "likes=12") {
			t.Errorf("%s: the merged item has %d bytes: %.40s…", region, len(got), got)
		}
	}
	const tooLarge = "Item size to update has exceeded the maximum allowed size"
	expectFailure(t, updates("SET a = :n", attributes{":n": num(1)})(w, us, "x"), http.StatusBadRequest, "ValidationException", tooLarge)
	expectFailure(t, updates("ADD likes :n", attributes{":n": num(1)})(w, us, "x"), http.StatusBadRequest, "ValidationException", tooLarge)
	update := func(expression, condition string, values attributes, show types.ReturnValue) (attributes, error) {
		out, err := w.db[us].UpdateItem(t.Context(), &dynamodb.UpdateItemInput{TableName: aws.String(tableName), Key: attributes{"id": str("x")}, UpdateExpression: &expression,
			ConditionExpression: &condition, ExpressionAttributeValues: values, ReturnValues: show})
		if err != nil {
			return nil, err
		}
		return out.Attributes, nil
	}
	_, err := update("REMOVE labels", "likes = :n", attributes{":n": num(5)}, types.ReturnValueNone)
	expectFailure(t, err, http.StatusBadRequest, "ConditionalCheckFailedException")
	got, err := update("DELETE labels :l ADD likes :n", "likes = :was AND contains(labels, :e) AND contains(labels, :u)",
		attributes{":l": half("u"), ":n": num(1), ":was": num(12), ":e": str("e"), ":u": str("u")}, types.ReturnValueUpdatedOld)
	if was := text(got); err != nil || !strings.Contains(was, "likes=12") || len(was) < 500<<10 {
		t.Errorf("%v: %.40s…", err, was)
	}
	got, err = update("DELETE labels :l SET likes = likes + :n", "likes = :was", attributes{":l": strs(strings.Repeat("e", 250<<10)), ":n": num(1), ":was": num(13)}, types.ReturnValueAllNew)
	if text(got) != `id="x" labels=set[e] likes=14 v="v"` || err != nil {
		t.Errorf("%v: %.80s", err, text(got))
	}
	w.meet(us, eu, "at the end")
	if got := w.shown(eu, "x"); got != `labels=set[e] likes=14 v="v"` {
		t.Errorf("%.80s", got)
	}
}
