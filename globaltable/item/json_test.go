package item

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/valyala/fastjson"
	"pgregory.net/rapid"
)

func nest(levels int, open, leaf, end string) string {
	return strings.Repeat(open, levels-1) + leaf + strings.Repeat(end, levels-1)
}

func TestDecodeFaults(t *testing.T) {
	for _, c := range []struct {
		value string // of the attribute a
		class Class
		text  string
	}{
		{`{}`, Validation, errEmptyValue.Message},
		{`null`, Validation, errEmptyValue.Message},
		{`{"S":null}`, Validation, errEmptyValue.Message},
		{`{"X":"unknown"}`, Validation, errEmptyValue.Message},
		{`{"L":[{}]}`, Validation, errEmptyValue.Message},
		{`{"M":{"b":{"b":{}}}}`, Validation, errEmptyValue.Message},
		{`{"S":"a","N":"1"}`, Validation, errManyTypes.Message},
		{`{"S":"a","S":"b"}`, Serialization, errDuplicateMember.Message},
		{`{"M":{"x":{"S":"a"},"x":{"S":"a"}}}`, Serialization, errDuplicateMember.Message},
		{`{"M":{"\u0078":{"S":"a"},"x":{"S":"a"}}}`, Serialization, errDuplicateMember.Message},
		{`{"M":{"":{"S":"a"}}}`, Validation, errEmptyName.Message},
		{`{"NULL":false}`, Validation, errNullNotTrue.Message},
		{`{"NULL":"no"}`, Validation, errNullNotTrue.Message},
		{`{"SS":[]}`, Validation, "One or more parameter values were invalid: An string set  may not be empty"},
		{`{"NS":[]}`, Validation, "One or more parameter values were invalid: An number set  may not be empty"},
		{`{"BS":[]}`, Validation, "One or more parameter values were invalid: Binary sets should not be empty"},
		{`{"SS":["b","a","b"]}`, Validation, "One or more parameter values were invalid: Input collection [b, a, b] contains duplicates."},
		{`{"NS":["1","1.0"]}`, Validation, "Input collection contains duplicates"},
		{`{"BS":["Yg==","Yg=="]}`, Validation, "One or more parameter values were invalid: Input collection [Yg==, Yg==]of type BS contains duplicates."},
		{`{"N":""}`, Validation, "The parameter cannot be converted to a numeric value"},
		{`{"N":"b"}`, Validation, "The parameter cannot be converted to a numeric value: b"},
		{`{"NS":["1","b"]}`, Validation, "The parameter cannot be converted to a numeric value: b"},
		{`{"N":"1e126"}`, Validation, errOverflow.Message},
		{`{"S":23}`, Serialization, "NUMBER_VALUE cannot be converted to String"},
		{`{"N":3.5}`, Serialization, "DECIMAL_VALUE cannot be converted to String"},
		{`{"SS":[true]}`, Serialization, "TRUE_VALUE cannot be converted to String"},
		{`{"SS":[null]}`, Serialization, "Unexpected token received from parser"},
		{`{"NS":[1]}`, Serialization, "NUMBER_VALUE cannot be converted to String"},
		{`{"S":[]}`, Serialization, "Unrecognized collection type class java.lang.String"},
		{`{"S":{}}`, Serialization, "Start of structure or map found where not expected."},
		{`{"BOOL":"true"}`, Serialization, "Unexpected token received from parser"},
		{`{"BOOL":1}`, Serialization, "NUMBER_VALUE cannot be converted to Boolean"},
		{`{"B":1}`, Serialization, "only base-64-encoded strings are convertible to bytes"},
		{`{"BS":[1]}`, Serialization, "only base-64-encoded strings are convertible to bytes"},
		{`{"B":"abc"}`, Serialization, "Base64 encoded length is expected a multiple of 4 bytes but found: 3"},
		{`{"B":"$YWJ"}`, Serialization, "Invalid Base64 character: '$'"},
		{`{"B":"YWJ\n"}`, Serialization, `Invalid Base64 character: '\n'`},
		{`{"B":"YW==YW=="}`, Serialization, "Invalid last non-pad Base64 character dectected"},
		{`{"B":"YX=="}`, Serialization, "Invalid last non-pad Base64 character dectected"},
		{`{"B":"===="}`, Serialization, "Invalid last non-pad Base64 character dectected"},
		{`{"L":"a"}`, Serialization, "Unexpected field type"},
		{`{"L":{}}`, Serialization, "Start of structure or map found where not expected."},
		{`{"SS":"a"}`, Serialization, "Unexpected field type"},
		{`{"M":"a"}`, Serialization, "Unexpected field type"},
		{`{"M":[]}`, Serialization, mapKinds.list},
		{`"a"`, Serialization, "Unexpected value type in payload"},
		// JSON of a wrong shape comes before a wrong value, wherever it stands.
		{`{"L":[{"N":"b"},{"S":1}]}`, Serialization, "NUMBER_VALUE cannot be converted to String"},
		{`{"M":{"a":{"L":[{}]},"b":{"S":1}}}`, Serialization, "NUMBER_VALUE cannot be converted to String"},
		{`{"NS":["b",1]}`, Serialization, "NUMBER_VALUE cannot be converted to String"},
		{`{"N":"b"},"b":{"S":1}`, Serialization, "NUMBER_VALUE cannot be converted to String"},
		{`{"L":[{"N":"b"},{"SS":[]},{"S":"a"}]}`, Validation, "The parameter cannot be converted to a numeric value: b"},
		{`[]`, Serialization, valueKinds.list},
		{nest(MaxNesting+1, `{"M":{"a":`, `{"S":"x"}`, `}}`), Validation, errNesting.Message},
		{nest(100, `{"L":[`, `{"S":"x"}`, `]}`), Validation, errNesting.Message},
	} {
		_, err := decodeItem([]byte(`{"a":` + c.value + `}`))
		var e *Error
		if !errors.As(err, &e) || e.Class != c.class || e.Message != c.text {
			t.Errorf("%.80s: %v, want %s: %s", c.value, err, c.class, c.text)
		}
	}
	for text, want := range map[string]string{
		`[]`: mapKinds.list, `"a"`: "Unexpected field type", `{"a":{"S":"x"},"a":{"S":"x"}}`: errDuplicateMember.Message, `{"":{"S":"x"}}`: errEmptyName.Message,
		`{"` + strings.Repeat("n", MaxNameSize+1) + `":{"S":"x"}}`: errNameSize.Message,
	} {
		if _, err := decodeItem([]byte(text)); messageOf(err) != want {
			t.Errorf("%.40s: %v, want %s", text, err, want)
		}
	}
}

func TestDecodeAccepts(t *testing.T) {
	for in, want := range map[string]string{
		`{}`:                                     `{}`,
		`{"a":{"S":"x","N":null,"Unknown":[1]}}`: `{"a":{"S":"x"}}`,
		`{"a":{"S":"\ud83d\ude00\u0000\u001f\/\u20ac"}}`:              `{"a":{"S":"😀\u0000\u001f/€"}}`,
		`{"\u0061\n":{"S":""}}`:                                       `{"a\n":{"S":""}}`,
		`{"b":{"B":""},"a":{"M":{}}}`:                                 `{"a":{"M":{}},"b":{"B":""}}`,
		`{"a":{"SS":["x"]}}`:                                          `{"a":{"SS":["x"]}}`,
		`{"a":{"N":"1e3"},"c":{"NS":["3","-0"]}}`:                     `{"a":{"N":"1000"},"c":{"NS":["0","3"]}}`,
		`{"a":` + nest(MaxNesting, `{"L":[`, `{"S":"x"}`, `]}`) + `}`: `{"a":` + nest(MaxNesting, `{"L":[`, `{"S":"x"}`, `]}`) + `}`,
	} {
		it, err := decodeItem([]byte(in))
		if err != nil || CheckItem(it) != nil {
			t.Errorf("%.80s: %v", in, err)
			continue
		}
		if got := string(it.AppendJSON(nil)); got != want {
			t.Errorf("%.80s: %s, want %s", in, got, want)
		}
	}
}

func TestDecodeWithoutCheckJSONRefusesBadUTF8(t *testing.T) {
	for _, text := range []string{"{\"a\":{\"S\":\"\xff\"}}", "{\"\xff\":{\"S\":\"a\"}}", "{\"a\":{\"SS\":[\"\xff\"]}}"} {
		if _, err := DecodeItemJSON(nil, fastjson.MustParse(text)); err != errNotUTF8 {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestDecodeReusesMemory(t *testing.T) {
	buf := make([]byte, 7, 4096)
	v, err := DecodeValueJSON(buf, fastjson.MustParse(`{"S":"abc"}`))
	if err != nil || string(v.Bytes()) != "abc" || &v[0] != &buf[0] {
		t.Errorf("% x, %v", []byte(v), err)
	}
	if _, err := DecodeValueJSON(nil, fastjson.MustParse(`{"S":1}`)); err == nil {
		t.Error("a wrong value is taken")
	}
}

func TestCheckJSON(t *testing.T) {
	for _, text := range []string{
		`0`, `-0`, `1.5e+3`, `""`, ` [ ] `, "{\"a\" : [1 , {\"b\":null}, true, false]\r\n\t}", `"\ud83d\ude00\"\\\/\b\f\n\r\t\u00e9"`, `[[],{},[{}]]`, `"é\u007f"`,
		strings.Repeat("[", maxJSONDepth) + strings.Repeat("]", maxJSONDepth), strings.Repeat(`{"a":`, 130) + "1" + strings.Repeat("}", 130),
	} {
		if err := CheckJSON([]byte(text)); err != nil || !json.Valid([]byte(text)) {
			t.Errorf("%.60s: %v", text, err)
		}
	}
	for _, text := range []string{
		``, ` `, `{`, `[`, `[1`, `[1,`, `[1,]`, `{"a"}`, `{"a":}`, `{"a":1,}`, `{a:1}`, `{"a" 1}`, `{"a":1]`, `[1}`, `1 2`, `[]]`, `}`, `,`, `:`, `01`, `-`, `+1`, `.5`, `1.`, `1e`, `1e+`, `0x1`,
		`NaN`, `inf`, `nul`, `tru`, `True`, `"`, `"a`, "\"\n\"", "\"\x00\"", `"\`, `"\x"`, `"\u12"`, `"\u12g4"`, `"\ud800"`, `"\ud800a"`, `"\ud800\n"`, `"\ud800\ud800"`, `"\udc00"`, "\"\xff\"", `'a'`,
		"\ufeff1", strings.Repeat("[", maxJSONDepth+1) + strings.Repeat("]", maxJSONDepth+1), strings.Repeat("[", 1<<20), strings.Repeat(`{"a":`, 1<<18),
	} {
		var e *Error
		if err := CheckJSON([]byte(text)); !errors.As(err, &e) || e.Class != Serialization {
			t.Errorf("%.60q: %v", text, err)
		}
	}
}

func TestJSONStrings(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.OneOf(rapid.String(), rapid.StringOf(rapid.RuneFrom([]rune{'a', '"', '\\', 0, 31, 32, 127, 128, 0x2028, 0x10ffff}))).Draw(t, "s")
		quoted := AppendJSONString(nil, s)
		if !bytes.Equal(quoted, AppendJSONString(nil, []byte(s))) {
			t.Fatal("string and bytes differ")
		}
		var back string
		if err := json.Unmarshal(quoted, &back); err != nil || back != s {
			t.Fatalf("%q is quoted as %s: %v", s, quoted, err)
		}
		if err := CheckJSON(quoted); err != nil {
			t.Fatalf("%s: %v", quoted, err)
		}
		n := plainPrefix([]byte(s))
		if want := strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r == '"' || r == '\\' }); want >= 0 && n != want || want < 0 && n != len(s) {
			t.Fatalf("%q: plain up to %d, want %d", s, n, want)
		}
	})
}

func FuzzItemJSON(f *testing.F) {
	f.Add([]byte(allTypes))
	f.Add([]byte(`{"a":{"L":[{"M":{"b":{"NULL":true}}},{"NS":["1","0.1"]}]}}`))
	f.Add([]byte(`{"a":{"S":"\ud83d\ude00\\"},"\u0061":{"S":""}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		ok := CheckJSON(text) == nil
		if ok && !json.Valid(text) {
			t.Fatalf("%q is no JSON", text)
		}
		it, err := decodeItem(text)
		if err != nil {
			var e *Error
			if ok && !errors.As(err, &e) {
				t.Fatalf("%q: the parser refuses what CheckJSON takes: %v", text, err)
			}
			return
		}
		if err := CheckItem(it); err != nil {
			t.Fatalf("%q: % x: %v", text, []byte(it), err)
		}
		out := it.AppendJSON(nil)
		again, err := decodeItem(out)
		if err != nil || !bytes.Equal(again, it) {
			t.Fatalf("%q: prints %s: %v", text, out, err)
		}
		var want, got map[string]map[string]any
		if json.Unmarshal(out, &got) != nil || json.Unmarshal(text, &want) != nil {
			t.Fatalf("%q and %q: encoding/json refuses one", text, out)
		}
		for name, v := range want {
			if s, isString := v["S"]; isString && s != nil && !reflect.DeepEqual(got[name]["S"], s) {
				t.Fatalf("%q: %s is %q, want %q", text, name, got[name]["S"], s)
			}
		}
	})
}
