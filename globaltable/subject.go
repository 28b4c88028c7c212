package globaltable

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of the subjects of the region's NATS that triggers publish to, and that others hear.
const (
	MaxSubjectLen    = 256 // bytes
	MaxHeardSubjects = 32  // of one grant
)

// validSubject reports whether events may be published to s: it is none of those that the regions, NATS itself, or the answers to requests have.
func validSubject(s string) bool {
	if s == "" || len(s) > MaxSubjectLen || !utf8.ValidString(s) || s[0] == '$' || s[0] == '_' || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '*' || r == '>' }) {
		return false
	}
	tokens := strings.Split(s, ".")
	return tokens[0] != "concordat" && !slices.Contains(tokens, "")
}

// ValidateHeard checks subjects that somebody is to hear, 0 to MaxHeardSubjects. Each takes in nothing but what triggers can publish to: it is such a subject, in which * may stand for a token, and > for the last ones, but never for the
// first. None has anything of another one, since a server would tell that twice. The error is of kind Invalid.
func ValidateHeard(subjects []string) error {
	invalid := func(format string, args ...any) error {
		return &Error{Op: "check subjects", Kind: Invalid, Message: fmt.Sprintf(format, args...)}
	}
	if len(subjects) > MaxHeardSubjects {
		return invalid("%d subjects, at most %d", len(subjects), MaxHeardSubjects)
	}
	for i, s := range subjects {
		if !validHeard(s) {
			return invalid("%q is no subject that can be heard: it has 1 to %d bytes, in parts that are split at dots, none of them empty, without spaces; * can stand for a part, and > for the last ones, but not for the first; it does not begin with %q, %q or %q",
				clip(s), MaxSubjectLen, "concordat.", "$", "_")
		}
		for _, other := range subjects[:i] {
			if subjectsMeet(s, other) {
				return invalid("the subjects %q and %q have something in common, which would be told twice", clip(other), clip(s))
			}
		}
	}
	return nil
}

// validHeard knows more spaces than validSubject does: NATS would take what follows one for the name of a queue.
func validHeard(s string) bool {
	tokens := strings.Split(s, ".")
	for i, token := range tokens {
		if i > 0 && (token == "*" || token == ">" && i == len(tokens)-1) {
			tokens[i] = "x"
		}
	}
	return len(s) <= MaxSubjectLen && validSubject(strings.Join(tokens, ".")) && !strings.ContainsFunc(s, unicode.IsSpace)
}

// subjectsMeet reports whether some subject matches both.
func subjectsMeet(a, b string) bool {
	x, y := strings.Split(a, "."), strings.Split(b, ".")
	for i := 0; ; i++ {
		switch {
		case i == len(x) || i == len(y):
			return len(x) == len(y)
		case x[i] == ">" || y[i] == ">":
			return true
		case x[i] != y[i] && x[i] != "*" && y[i] != "*":
			return false
		}
	}
}
