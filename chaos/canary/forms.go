package canary

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/concordat-db/concordat/globaltable/item"
)

// Form names an encoding.
type Form string

// The encodings. An encoding that is not a byte string for each byte of what it encodes, such as base64, has a form for each alignment.
const (
	Raw         Form = "raw"
	HexLower    Form = "hex"
	HexUpper    Form = "HEX"
	Base64      Form = "base64" // of the standard alphabet; +1, +2: with so many bytes before it
	Base64URL   Form = "base64url"
	JSON        Form = "JSON"         // as package json writes it, with < > & escaped
	JSONPlain   Form = "JSON plain"   // without that
	JSONSlash   Form = "JSON slash"   // with \/
	JSONUnicode Form = "JSON unicode" // each character \u00xx, of either case
	Quoted      Form = "quoted"       // as %q of package fmt
	Query       Form = "URL query"
	Path        Form = "URL path"
	Percent     Form = "URL lower" // each byte %xx, of lower case
	Bytes       Form = "bytes"     // as %v of package fmt prints a []byte
	BytesComma  Form = "bytes comma"
	KeyPart     Form = "key part"      // item.Key: 0x00 is 0x00 0xff
	Stored      Form = "stored number" // item.Number, of a Number
	StoredHex   Form = "stored number hex"
	StoredB64   Form = "stored number base64"
)

// pattern is a byte string by which a canary is recognized.
type pattern struct {
	form  Form
	bytes string
}

// patterns returns what half a canary looks like, each byte string once. All are longer than keyBytes.
func (c *Canary) patterns() (all []pattern) {
	seen := map[string]bool{}
	add := func(form Form, b string) {
		if !seen[b] {
			seen[b] = true
			all = append(all, pattern{form, b})
		}
	}
	for _, half := range c.halves() {
		eachForm(half, add)
	}
	if c.Kind == Number {
		for _, piece := range storedNumber(c.Bytes) {
			add(Stored, piece)
			add(StoredHex, hex.EncodeToString([]byte(piece)))
			for shift := range 3 {
				add(StoredB64, base64Inside(base64.StdEncoding, piece, shift))
			}
		}
	}
	return all
}

// eachForm calls add with every form of s.
func eachForm(s string, add func(Form, string)) {
	add(Raw, s)
	add(HexLower, hex.EncodeToString([]byte(s)))
	add(HexUpper, strings.ToUpper(hex.EncodeToString([]byte(s))))
	for shift := range 3 {
		suffix := Form("")
		if shift > 0 {
			suffix = Form(fmt.Sprintf("+%d", shift))
		}
		add(Base64+suffix, base64Inside(base64.StdEncoding, s, shift))
		add(Base64URL+suffix, base64Inside(base64.URLEncoding, s, shift))
	}
	add(JSON, jsonString(s, true))
	add(JSONPlain, jsonString(s, false))
	add(JSONSlash, strings.ReplaceAll(jsonString(s, false), "/", `\/`))
	add(JSONUnicode, eachByte(s, `\u00%02x`))
	add(JSONUnicode, eachByte(s, `\u00%02X`))
	quoted := strconv.Quote(s)
	add(Quoted, quoted[1:len(quoted)-1])
	add(Query, url.QueryEscape(s))
	add(Path, url.PathEscape(s))
	add(Path, (&url.URL{Path: s, RawPath: ""}).EscapedPath())
	add(Percent, eachByte(s, "%%%02x"))
	add(Percent, eachByte(s, "%%%02X"))
	list := strings.Trim(fmt.Sprint([]byte(s)), "[]")
	add(Bytes, list)
	add(BytesComma, strings.ReplaceAll(list, " ", ","))
	add(KeyPart, strings.ReplaceAll(s, "\x00", "\x00\xff"))
}

// base64Inside returns those characters of an encoding that s alone decides, when shift bytes are before it and any after it.
func base64Inside(e *base64.Encoding, s string, shift int) string {
	encoded := e.EncodeToString(append(make([]byte, shift, shift+len(s)), s...))
	return encoded[(shift*8+5)/6 : (shift+len(s))*8/6]
}

func jsonString(s string, html bool) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(html)
	_ = e.Encode(s) // a string: cannot fail
	return strings.Trim(b.String(), "\"\n")
}

func eachByte(s, format string) string {
	var b strings.Builder
	for i := range len(s) {
		fmt.Fprintf(&b, format, s[i])
	}
	return b.String()
}

// storedNumber returns two pieces of what the store makes of a number's digits.
func storedNumber(text string) [2]string {
	n, err := item.ParseNumber(text)
	if err != nil {
		panic("a canary of kind Number is no number: " + err.Error())
	}
	digits := string(n[2:])
	half := len(digits) / 2
	return [2]string{digits[:half], digits[half : 2*half]}
}
