package manifest

import (
	"bytes"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
)

// EncodeYAML returns the documents as one file, which Parse reads. Whatever does not look like a plain word is in quotes, so that no reader takes it for something else.
func EncodeYAML[D json.Marshaler](docs []D) ([]byte, error) {
	var out bytes.Buffer
	for i, d := range docs {
		if i > 0 {
			out.WriteString("---\n")
		}
		b, err := json.Marshal(d)
		if err != nil {
			return nil, err
		}
		dec := json.NewDecoder(bytes.NewReader(b))
		dec.UseNumber()
		if err := writeYAML(&out, dec, ""); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), nil
}

// writeYAML writes the value that dec comes to: after "name:" or "-", whose fields and entries are indented by indent.
func writeYAML(out *bytes.Buffer, dec *json.Decoder, indent string) error {
	token, err := dec.Token()
	if err != nil {
		return err
	}
	switch token := token.(type) {
	case json.Delim:
		if token == '[' {
			return writeList(out, dec)
		}
		if !dec.More() {
			out.WriteString(" {}\n")
		} else if out.Len() > 0 && !bytes.HasSuffix(out.Bytes(), []byte("\n")) {
			out.WriteByte('\n')
		}
		for dec.More() {
			name, err := dec.Token()
			if err != nil {
				return err
			}
			out.WriteString(indent + scalar(name) + ":")
			if err := writeYAML(out, dec, indent+"  "); err != nil {
				return err
			}
		}
		_, err = dec.Token()
		return err
	default:
		out.WriteString(" " + scalar(token) + "\n")
		return nil
	}
}

// writeList writes a list in one line: words as they are, whatever has parts as JSON.
func writeList(out *bytes.Buffer, dec *json.Decoder) error {
	var elements []string
	for dec.More() {
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return err
		}
		if raw[0] == '{' || raw[0] == '[' {
			elements = append(elements, string(raw))
			continue
		}
		var token any
		if err := unmarshalNumbers(raw, &token); err != nil {
			return err
		}
		elements = append(elements, scalar(token))
	}
	out.WriteString(" [" + strings.Join(elements, ", ") + "]\n")
	_, err := dec.Token()
	return err
}

func unmarshalNumbers(b []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	return dec.Decode(into)
}

var plain = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_./:-]*[A-Za-z0-9]$|^[A-Za-z]$`)

// reserved are words that some reader of YAML takes for a truth value, or for nothing.
var reserved = []string{"y", "n", "yes", "no", "on", "off", "true", "false", "null"}

// scalar writes a token of JSON. JSON's text in quotes is YAML's, too.
func scalar(token json.Token) string {
	s, ok := token.(string)
	if ok && plain.MatchString(s) && !slices.Contains(reserved, strings.ToLower(s)) {
		return s
	}
	b, _ := json.Marshal(token) // text, a number, a truth value or null
	return string(b)
}
