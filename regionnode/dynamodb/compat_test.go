package dynamodb

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams"
	"github.com/valyala/fasthttp"
)

// rewriting reports whether -rewrite was given, the flag of package datadriven: then the part of COMPATIBILITY.md that is generated is written.
func rewriting() bool {
	f := flag.Lookup("rewrite")
	return f != nil && f.Value.String() == "true"
}

// The tests in this file hold the rows of parameters.go against three things: the SDK's model of the API, the decoders, and COMPATIBILITY.md.

// modelled is a parameter of the SDK's model.
type modelled struct {
	path string
	typ  reflect.Type
}

// model returns the input type of each operation of the SDK, of both APIs.
func model() map[string]reflect.Type {
	out := modelOf(&sdk.Client{})
	maps.Copy(out, modelOf(&dynamodbstreams.Client{}))
	return out
}

func modelOf(client any) map[string]reflect.Type {
	out := map[string]reflect.Type{}
	methods := reflect.TypeOf(client)
	for i := range methods.NumMethod() {
		m := methods.Method(i)
		if m.Type.NumIn() < 3 || m.Type.In(2).Kind() != reflect.Pointer {
			continue
		}
		if in := m.Type.In(2).Elem(); in.Name() == m.Name+"Input" {
			out[m.Name] = in
		}
	}
	return out
}

// within returns the structure that lies in a parameter of the type given, behind pointers, lists and maps, and the way to its members.
func within(t reflect.Type) (structure reflect.Type, way string) {
	for {
		switch {
		case t.Kind() == reflect.Map:
			way += ".*"
			t = t.Elem()
		case t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice:
			t = t.Elem()
		case t.Kind() == reflect.Struct && t != reflect.TypeFor[time.Time]():
			return t, way
		default:
			return nil, ""
		}
	}
}

// flatten returns the parameters in a structure and below, except below those that stop names.
func flatten(structure reflect.Type, prefix string, stop func(path string) bool) []modelled {
	var out []modelled
	for i := range structure.NumField() {
		f := structure.Field(i)
		if !f.IsExported() || f.Name == "ResultMetadata" {
			continue
		}
		path := prefix + f.Name
		out = append(out, modelled{path, f.Type})
		if inner, way := within(f.Type); inner != nil && !stop(path) {
			out = append(out, flatten(inner, path+way+".", stop)...)
		}
	}
	return out
}

// expanded returns the rows of an operation by path.
func expanded(rows []parameter) map[string]parameter {
	out := map[string]parameter{}
	for _, r := range rows {
		if !strings.HasSuffix(r.at, "*") {
			out[r.at] = r
		}
		for _, member := range strings.Fields(r.has) {
			inner := r
			inner.at, inner.only = r.at+"."+member, ""
			out[inner.at] = inner
		}
	}
	return out
}

// ofModel returns the parameters of the model for which an operation must have rows.
func ofModel(in reflect.Type, rows map[string]parameter) []modelled {
	return flatten(in, "", func(path string) bool { return rows[path].state == refused })
}

func TestEveryOperationOfTheModelHasAState(t *testing.T) {
	want := slices.Sorted(maps.Keys(model()))
	have := slices.Sorted(maps.Keys(operations()))
	if rows := slices.Sorted(maps.Keys(parameters)); !slices.Equal(rows, have) {
		t.Errorf("parameters has rows of %v\nthe dispatch table has      %v", rows, have)
	}
	for name := range later {
		if slices.Contains(have, name) {
			t.Errorf("%s is offered, and said to be offered later", name)
		}
		have = append(have, name)
	}
	slices.Sort(have)
	for _, name := range want {
		if !slices.Contains(have, name) {
			t.Errorf("the model has %s: offer it in operations, or list it in later", name)
		}
	}
	for _, name := range have {
		if !slices.Contains(want, name) {
			t.Errorf("the model does not have %s", name)
		}
	}
	streams := modelOf(&dynamodbstreams.Client{})
	for name, o := range operations() {
		if _, ok := streams[name]; ok != o.streams {
			t.Errorf("%s is, or is not, one of the DynamoDB Streams API", name)
		}
	}
}

func TestEveryParameterOfTheModelHasAState(t *testing.T) {
	for name, in := range model() {
		rows := expanded(parameters[name])
		if _, offered := parameters[name]; !offered {
			continue
		}
		known := map[string]bool{}
		for _, m := range ofModel(in, rows) {
			known[m.path] = true
			if _, ok := rows[m.path]; !ok {
				t.Errorf("%s: there is no row for %s. Decode it and add {at: %q}, or {at: %q, state: refused}", name, m.path, m.path, m.path)
			}
		}
		for path := range rows {
			if !known[path] {
				t.Errorf("%s: the model has no parameter %s, or it lies below one that is refused", name, path)
			}
		}
	}
}

// nested returns a request's JSON in which the parameter at path has the value given, and nothing else is.
func nested(t reflect.Type, path []string, value string) string {
	switch {
	case t.Kind() == reflect.Pointer:
		return nested(t.Elem(), path, value)
	case len(path) == 0:
		return value
	case t.Kind() == reflect.Slice:
		return "[" + nested(t.Elem(), path, value) + "]"
	case t.Kind() == reflect.Map:
		return `{"people":` + nested(t.Elem(), path[1:], value) + "}"
	}
	f, _ := t.FieldByName(path[0])
	return `{"` + path[0] + `":` + nested(f.Type, path[1:], value) + "}"
}

// samples returns JSON for a parameter: of its type, and of another one.
func samples(t reflect.Type) (right, wrong string) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.String:
		return `"x"`, `{}`
	case reflect.Int32, reflect.Int64, reflect.Float64:
		return `1`, `{}`
	case reflect.Bool:
		return `true`, `{}`
	case reflect.Slice:
		inner, _ := samples(t.Elem())
		return "[" + inner + "]", `"x"`
	case reflect.Map:
		inner, _ := samples(t.Elem())
		return `{"a":` + inner + "}", `"x"`
	case reflect.Interface: // an attribute value
		return `{"S":"x"}`, `"x"`
	}
	return `{}`, `"x"`
}

// TestStatesAreTrue sends each parameter: one that is refused is refused, in so many words; another one is not, and its decoder knows its type.
func TestStatesAreTrue(t *testing.T) {
	d := newDirect(t, false)
	ask := func(name, body string) string {
		var ctx fasthttp.RequestCtx
		d.ask(&ctx, name, bytes.NewReader([]byte(body)))
		return string(ctx.Response.Body())
	}
	for name, in := range model() {
		rows := expanded(parameters[name])
		if later[name] != "" {
			if got, want := ask(name, "{}"), name+" is not offered"; !strings.Contains(got, "UnknownOperationException") || !strings.Contains(got, want) {
				t.Errorf("%s: %s", name, got)
			}
			continue
		}
		for _, m := range ofModel(in, rows) {
			row := rows[m.path]
			right, wrong := samples(m.typ)
			refusal := "Unsupported parameter: " + m.path
			body := func(value string) string { return nested(in, strings.Split(m.path, "."), value) }
			switch got := ask(name, body(right)); {
			case row.state == refused:
				if !strings.Contains(got, refusal+" is not offered") {
					t.Errorf("%s: %s is refused by its row, and gets %s", name, m.path, got)
				}
				continue
			case row.only != "":
				if other := ask(name, body(cmp.Or(map[string]string{"false": "true", "true": "false"}[row.only], right))); !strings.Contains(other, refusal+" ") {
					t.Errorf("%s: %s takes %s only by its row, and another value gets %s", name, m.path, row.only, other)
				}
				if got := ask(name, body(row.only)); strings.Contains(got, "Unsupported parameter") {
					t.Errorf("%s: %s takes %s by its row, and it gets %s", name, m.path, row.only, got)
				}
			case strings.Contains(got, "Unsupported parameter"):
				t.Errorf("%s: %s is offered by its row, and gets %s", name, m.path, got)
			}
			if got := ask(name, body(wrong)); !strings.Contains(got, "SerializationException") {
				t.Errorf("%s: nobody reads %s: a value of a wrong type gets %s", name, m.path, got)
			}
		}
	}
}

const (
	compatibility  = "../../COMPATIBILITY.md"
	generatedBegin = "<!-- generated: make compat -->\n"
	generatedEnd   = "<!-- end of what is generated -->\n"
)

// TestCompatibilityIsGenerated compares the generated part of COMPATIBILITY.md with what the rows say.
func TestCompatibilityIsGenerated(t *testing.T) {
	page, err := os.ReadFile(compatibility)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(page), generatedBegin)
	_, after, ended := strings.Cut(rest, generatedEnd)
	if !ok || !ended {
		t.Fatal("the marks of the generated part are missing")
	}
	want := before + generatedBegin + compatibilityTables(t) + generatedEnd + after
	if rewriting() {
		if err := os.WriteFile(compatibility, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if want != string(page) {
		t.Error("COMPATIBILITY.md does not say what is: run make compat")
	}
}

// compatibilityTables returns the generated part.
func compatibilityTables(t *testing.T) string {
	t.Helper()
	mod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	version := func(service string) []byte {
		found := regexp.MustCompile(`aws-sdk-go-v2/service/` + service + ` (v\S+)`).FindSubmatch(mod)
		if found == nil {
			t.Fatalf("go.mod does not name the SDK of %s", service)
		}
		return found[1]
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\nThe model is that of `aws-sdk-go-v2/service/dynamodb` %s, %d operations, and of `aws-sdk-go-v2/service/dynamodbstreams` %s, %d.\n",
		version("dynamodb"), len(modelOf(&sdk.Client{})), version("dynamodbstreams"), len(modelOf(&dynamodbstreams.Client{})))
	var notOffered []string
	for _, name := range slices.Sorted(maps.Keys(model())) {
		rows, ok := parameters[name]
		if !ok {
			notOffered = append(notOffered, name)
			continue
		}
		fmt.Fprintf(&b, "\n### %s\n\n", name)
		if len(rows) == 0 {
			b.WriteString("It has no parameters.\n")
			continue
		}
		b.WriteString("| parameter | state | |\n| --- | --- | --- |\n")
		for _, r := range slices.SortedFunc(slices.Values(rows), func(a, b parameter) int { return strings.Compare(a.at, b.at) }) {
			b.WriteString("| `" + r.at + "`")
			if members := strings.Fields(r.has); len(members) > 0 {
				b.WriteString(" with `" + strings.Join(members, "`, `") + "`")
			}
			state := [...]string{offered: "offered", kept: "kept and shown", refused: "refused"}[r.state]
			if r.only != "" {
				state += ", `" + r.only + "` only"
			}
			fmt.Fprintf(&b, " | %s | %s |\n", state, r.note)
		}
	}
	b.WriteString("\n### Operations that are not offered\n\n| operation | its parameters, not offered either |\n| --- | --- |\n")
	for _, name := range notOffered {
		var names []string
		for _, m := range flatten(model()[name], "", func(string) bool { return true }) {
			names = append(names, "`"+m.path+"`")
		}
		fmt.Fprintf(&b, "| `%s` | %s |\n", name, strings.Join(names, ", "))
	}
	return b.String() + "\n"
}
