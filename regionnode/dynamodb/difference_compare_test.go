package dynamodb_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/valyala/fastjson"

	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/dynamodb/naive"
)

// compareAnswers returns the body of got and in what it differs from what the examiner wants, or nothing.
func compareAnswers(got answer, want naive.Answer) (body map[string]any, difference string) {
	for _, other := range want.Or {
		if body, d := compareAnswers(got, other); d == "" {
			return body, ""
		}
	}
	if got.body == "" && want.Type == "" && want.Body == nil {
		return nil, ""
	}
	if err := json.Unmarshal([]byte(got.body), &body); err != nil {
		return nil, "the body is no JSON object: " + err.Error()
	}
	if got.status != want.Status {
		return nil, fmt.Sprintf("status %d, not %d", got.status, want.Status)
	}
	if want.Type == "" {
		return body, differenceOf("", body, want.Body)
	}
	kind, _ := body["__type"].(string)
	if _, name, _ := strings.Cut(kind, "#"); name != want.Type {
		return nil, fmt.Sprintf("exception %s, not %s", name, want.Type)
	}
	message, _ := body["message"].(string)
	if capital, ok := body["Message"].(string); ok {
		message = capital
	}
	for _, name := range []string{"__type", "message", "Message"} {
		delete(body, name)
	}
	if !isOneOf(message, want.Messages) {
		return nil, fmt.Sprintf("message %q, not %q", message, want.Messages)
	}
	return body, differenceOf("", body, want.Body)
}

// isOneOf reports whether a message is one of those that may come. One that ends in … has only its beginning.
func isOneOf(message string, of []string) bool {
	return slices.ContainsFunc(of, func(m string) bool {
		if begin, open := strings.CutSuffix(m, "…"); open {
			return strings.HasPrefix(message, begin)
		}
		return normalMessage(m) == normalMessage(message)
	})
}

// collections are values of parameters as a message prints them: DynamoDB prints Java objects.
var collections = regexp.MustCompile(`Value '[\[{].*?[\]}]' at`)

// normalMessage returns a message in a form in which those that say the same are equal: violated constraints are listed in no certain order.
func normalMessage(m string) string {
	head, list, found := strings.Cut(m, " detected: ")
	if !found {
		return m
	}
	violations := strings.Split(collections.ReplaceAllString(list, "Value '…' at"), "; Value ")
	for i := range violations {
		violations[i] = strings.TrimPrefix(violations[i], "Value ")
	}
	slices.Sort(violations)
	return head + " detected: " + strings.Join(violations, "; ")
}

// unordered are lists whose order says nothing.
var unordered = []string{"SS", "NS", "BS", "ConsumedCapacity", "Tags", "AttributeDefinitions", "GlobalSecondaryIndexes", "LocalSecondaryIndexes", "NonKeyAttributes"}

// differenceOf returns how two trees of JSON differ, at the path of the first difference, or nothing. got is decoded JSON, want what the examiner made.
func differenceOf(path string, got, want any) string {
	switch want := want.(type) {
	case map[string]any:
		o, ok := got.(map[string]any)
		if !ok {
			return fmt.Sprintf("%s is %s, not an object", path, jsonOf(got))
		}
		for _, name := range slices.Sorted(maps.Keys(o)) {
			if _, ok := want[name]; !ok {
				return fmt.Sprintf("%s.%s should not be there", path, name)
			}
		}
		for _, name := range slices.Sorted(maps.Keys(want)) {
			if want[name] == any(naive.Open) {
				continue
			}
			if _, ok := o[name]; !ok {
				return fmt.Sprintf("%s.%s is missing", path, name)
			}
			if d := differenceOf(path+"."+name, o[name], want[name]); d != "" {
				return d
			}
		}
		return ""
	case naive.Token:
		if text, ok := got.(string); !ok || text == "" {
			return fmt.Sprintf("%s is %s, not a token", path, jsonOf(got))
		}
		return ""
	case naive.AnyOf:
		if text, ok := got.(string); !ok || !isOneOf(text, want) {
			return fmt.Sprintf("%s is %s, not one of %q", path, jsonOf(got), []string(want))
		}
		return ""
	case []any:
		list, ok := got.([]any)
		if !ok || len(list) != len(want) {
			return fmt.Sprintf("%s is %s, not %s", path, jsonOf(got), jsonOf(want))
		}
		if name := path[strings.LastIndexByte(path, '.')+1:]; slices.Contains(unordered, name) || strings.HasPrefix(path, ".Responses.") {
			list, want = sorted(list), sorted(want)
		}
		for i := range want {
			if d := differenceOf(path+"["+strconv.Itoa(i)+"]", list[i], want[i]); d != "" {
				return d
			}
		}
		return ""
	}
	if want == any(naive.Anything) || got == want || reflect.DeepEqual(number(got), number(want)) {
		return ""
	}
	return fmt.Sprintf("%s is %s, not %s", path, jsonOf(got), jsonOf(want))
}

// number returns v as a float64 if it is a number.
func number(v any) any {
	switch v := v.(type) {
	case int:
		return float64(v)
	case int64:
		return float64(v)
	}
	return v
}

// sorted sorts a list by what its elements are: indexes by their names, for what else they have may be left open.
func sorted(list []any) []any {
	key := func(e any) string {
		if o, ok := e.(map[string]any); ok && o["IndexName"] != nil {
			return jsonOf(o["IndexName"])
		}
		return jsonOf(e)
	}
	return slices.SortedFunc(slices.Values(list), func(a, b any) int { return strings.Compare(key(a), key(b)) })
}

func jsonOf(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// shown is what the examiner says.
func shown(a naive.Answer) string {
	if a.Type != "" {
		return fmt.Sprintf("%d %s %q %s", a.Status, a.Type, a.Messages, jsonOf(a.Body))
	}
	return fmt.Sprintf("%d %s", a.Status, jsonOf(a.Body))
}

// hashOf tells the examiner in which order a scan goes, which is each implementation's own affair: by the hash that begins our keys.
func hashOf(t testing.TB) func(partition []any) uint64 {
	return func(partition []any) uint64 {
		var values []item.Value
		for _, v := range partition {
			parsed, err := fastjson.Parse(jsonOf(v))
			if err != nil {
				t.Fatal(err)
			}
			value, err := item.DecodeValueJSON(nil, parsed)
			if err != nil {
				t.Fatal(err)
			}
			values = append(values, value)
		}
		key, err := item.AppendIndexKey(nil, values, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		return key.Hash()
	}
}
