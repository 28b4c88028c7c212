package pattern

import (
	"strings"
	"testing"

	"github.com/concordat-db/concordat/globaltable"
)

const event = `{"specversion":"1.0","id":"x","type":"concordat.item.modify","origin":"eu-central-1","data":{"table":"orders","keys":{"id":{"S":"EU#1"}},"old":{"status":{"S":"NEW"}},"new":{"status":{"S":"PAID"},"total":{"N":"12.5"},"tags":{"SS":["a","b"]}}}}`

func TestMatch(t *testing.T) {
	for pattern, want := range map[string]bool{
		``:                                   true,
		`null`:                               true,
		`{}`:                                 true,
		`{"type":["concordat.item.modify"]}`: true,
		`{"type":["concordat.item.insert"]}`: false,
		`{"type":["concordat.item.insert","concordat.item.modify"]}`:                 true,
		`{"data":{"new":{"status":{"S":["PAID"]}},"old":{"status":{"S":["NEW"]}}}}`:  true,
		`{"data":{"new":{"status":{"S":["PAID"]}},"old":{"status":{"S":["PAID"]}}}}`: false,
		`{"data":{"keys":{"id":{"S":[{"prefix":"EU#"}]}}}}`:                          true,
		`{"data":{"keys":{"id":{"S":[{"wildcard":"*#2"}]}}}}`:                        false,
		`{"data":{"new":{"gone":{"S":[{"exists":false}]}}}}`:                         true,
		`{"data":{"new":{"status":{"S":[{"exists":true}]}}}}`:                        true,
		`{"data":{"new":{"status":{"S":[{"anything-but":["PAID"]}]}}}}`:              false,
		`{"data":{"new":{"total":{"N":["12.5"]}}}}`:                                  true,
		`{"data":{"new":{"tags":{"SS":["b"]}}}}`:                                     true,
		`{"origin":[{"equals-ignore-case":"EU-central-1"}]}`:                         true,
	} {
		p, err := Compile([]byte(pattern))
		if err != nil {
			t.Errorf("%s: %v", pattern, err)
			continue
		}
		for _, p := range []*Pattern{p, p.Clone()} {
			if got, err := p.Match([]byte(event)); err != nil || got != want {
				t.Errorf("%s: %v, %v", pattern, got, err)
			}
		}
	}
}

func TestCompileRefuses(t *testing.T) {
	for _, source := range []string{`[]`, `"a"`, `{"a":1}`, `{"a":["b"`, `{"a":[{"numeric":["<",5]}]}`, `{"a":[{"prefix":5}]}`, `{"a":[{}]}`, `{"a":"` + strings.Repeat("b", MaxLen) + `"}`} {
		if _, err := Compile([]byte(source)); globaltable.KindOf(err) != globaltable.Invalid {
			t.Errorf("%.40s: %v", source, err)
		}
	}
}

// FuzzCompile: no source makes it panic, and what it takes matches or does not.
func FuzzCompile(f *testing.F) {
	for _, source := range []string{`{}`, `{"type":["a"]}`, `{"a":[{"wildcard":"*a*"}]}`, `{"a":{"b":[{"anything-but":["x"]}]}}`, `{"a":[{"exists":true}]}`, `{"a":[1,2.5,null,true]}`} {
		f.Add([]byte(source))
	}
	f.Fuzz(func(t *testing.T, source []byte) {
		p, err := Compile(source)
		if err != nil {
			return
		}
		if _, err := p.Match([]byte(event)); err != nil {
			t.Error(err)
		}
	})
}
