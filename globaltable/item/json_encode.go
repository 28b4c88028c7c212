package item

import "encoding/base64"

// AppendJSON appends v as wire JSON: {"S":"..."}.
func AppendJSON(dst []byte, v Value) []byte {
	t := v.Type()
	dst = append(dst, '{', '"')
	dst = append(dst, t.String()...)
	dst = append(dst, '"', ':')
	switch t {
	case S, N, B:
		dst = appendScalarJSON(dst, v)
	case BOOL:
		if v.Bool() {
			dst = append(dst, "true"...)
		} else {
			dst = append(dst, "false"...)
		}
	case NULL:
		dst = append(dst, "true"...)
	case M:
		dst = entries(v.body()).appendJSON(dst)
	case L:
		dst = append(dst, '[')
		n := len(dst)
		for e := range v.Elements {
			if len(dst) > n {
				dst = append(dst, ',')
			}
			dst = AppendJSON(dst, e)
		}
		dst = append(dst, ']')
	case SS, NS, BS:
		dst = append(dst, '[')
		n := len(dst)
		for e := range v.Elements {
			if len(dst) > n {
				dst = append(dst, ',')
			}
			dst = appendScalarJSON(dst, e)
		}
		dst = append(dst, ']')
	}
	return append(dst, '}')
}

// appendScalarJSON appends the JSON string that stands for an S, N or B.
func appendScalarJSON(dst []byte, v Value) []byte {
	switch v.Type() {
	case S:
		return AppendJSONString(dst, v.body())
	case N:
		dst = append(dst, '"')
		dst = v.Number().AppendText(dst)
		return append(dst, '"')
	}
	dst = append(dst, '"')
	dst = base64.StdEncoding.AppendEncode(dst, v.body())
	return append(dst, '"')
}

func (e entries) appendJSON(dst []byte) []byte {
	count, w := uvarint(e)
	rest := []byte(e[w:])
	dst = append(dst, '{')
	for i := range count {
		if i > 0 {
			dst = append(dst, ',')
		}
		var name []byte
		var v Value
		name, rest = splitName(rest)
		v, rest = split(rest)
		dst = AppendJSONString(dst, name)
		dst = append(dst, ':')
		dst = AppendJSON(dst, v)
	}
	return append(dst, '}')
}

// AppendJSON appends the item as wire JSON: {"name":{"S":"..."},...}.
func (it Item) AppendJSON(dst []byte) []byte {
	if len(it) == 0 {
		return append(dst, '{', '}')
	}
	return it.entries().appendJSON(dst)
}

// AppendJSONString appends s, UTF-8, as a JSON string with its quotes. Quotes, backslashes and control characters are
// escaped, nothing else.
func AppendJSONString[T string | ~[]byte](dst []byte, s T) []byte {
	return appendQuoted(dst, []byte(s)) // no copy: the compiler sees that it is only read
}

func appendQuoted(dst, s []byte) []byte {
	dst = append(dst, '"')
	for {
		n := plainPrefix(s)
		dst = append(dst, s[:n]...)
		if n == len(s) {
			return append(dst, '"')
		}
		dst = appendEscape(dst, s[n])
		s = s[n+1:]
	}
}

func appendEscape(dst []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\b':
		return append(dst, '\\', 'b')
	case '\f':
		return append(dst, '\\', 'f')
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	}
	const hex = "0123456789abcdef"
	return append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&0xf])
}
