package item

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"strconv"
)

// base64Len returns the number of bytes that the base64 text stands for, if it is well-formed.
func base64Len(text []byte) int {
	n := len(text) / 4 * 3
	for i := len(text) - 1; i >= 0 && i >= len(text)-2 && text[i] == '='; i-- {
		n--
	}
	return n
}

// appendBase64 appends a B from base64 text. The error is an *Error of class Serialization.
func appendBase64(dst, text []byte) ([]byte, error) {
	dst = append(dst, byte(B))
	dst = binary.AppendUvarint(dst, uint64(base64Len(text)))
	return appendBase64Payload(dst, text)
}

// appendBase64Payload appends the bytes that text stands for. It is strict: padding, no line ends, no stray bits.
func appendBase64Payload(dst, text []byte) ([]byte, error) {
	if len(text)%4 != 0 {
		return dst, serialization("Base64 encoded length is expected a multiple of 4 bytes but found: " + strconv.Itoa(len(text)))
	}
	start := len(dst)
	out, err := strictBase64.AppendDecode(dst, text)
	if err == nil && len(out)-start == base64Len(text) {
		return out, nil
	}
	// The decoder skips line ends; they show as a length that is too short.
	at := bytes.IndexAny(text, "\r\n")
	var bad base64.CorruptInputError
	if at < 0 && errors.As(err, &bad) && int(bad) < len(text) && text[bad] != '=' && !isBase64(text[bad]) {
		at = int(bad)
	}
	if at < 0 {
		return dst, serialization("Invalid last non-pad Base64 character dectected")
	}
	return dst, &Error{Class: Serialization, Message: "Invalid Base64 character: " + strconv.QuoteRune(rune(text[at])), bare: "Invalid Base64 character"}
}

var strictBase64 = base64.StdEncoding.Strict()

func isBase64(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '+' || c == '/'
}
