package partiql

import (
	"strings"
	"unicode/utf8"
)

// kind is what a token is.
type kind uint8

const (
	tokenEnd    kind = iota
	tokenWord        // a keyword, a function or a name
	tokenQuoted      // a name within double quotes
	tokenString      // within single quotes
	tokenNumber
	tokenSymbol
	tokenWrong // what no statement has: another character, or a quote without its end
)

// token is a piece of a statement. text has no quotes, and what was doubled in them is single.
type token struct {
	kind kind
	text string
}

// is reports whether t is the keyword, given in upper case.
func (t token) is(keyword string) bool {
	return t.kind == tokenWord && strings.EqualFold(t.text, keyword)
}

// symbol reports whether t is the symbol.
func (t token) symbol(s string) bool { return t.kind == tokenSymbol && t.text == s }

// lexer splits a statement into tokens.
type lexer struct {
	rest      string // what follows next
	cur, next token
}

func newLexer(text string) lexer {
	l := lexer{rest: text}
	l.advance()
	l.advance()
	return l
}

// advance makes the next token the current one.
func (l *lexer) advance() { l.cur, l.next = l.next, l.scan() }

// symbols of two characters; all others are single.
var pairs = []string{"<<", ">>", "<>", "<=", ">=", "!="}

// scan takes the first token of rest.
func (l *lexer) scan() token {
	l.skip()
	if l.rest == "" {
		return token{}
	}
	for _, s := range pairs {
		if strings.HasPrefix(l.rest, s) {
			return l.take(tokenSymbol, len(s))
		}
	}
	switch c := l.rest[0]; {
	case c == '\'':
		return l.quoted(tokenString)
	case c == '"':
		return l.quoted(tokenQuoted)
	case isLetter(c):
		n := 1
		for n < len(l.rest) && (isLetter(l.rest[n]) || isDigit(l.rest[n])) {
			n++
		}
		return l.take(tokenWord, n)
	case isDigit(c), c == '.' && len(l.rest) > 1 && isDigit(l.rest[1]) && !l.follows():
		return l.take(tokenNumber, numberLen(l.rest))
	case strings.IndexByte("()[]{},.:;*=<>+-?", c) >= 0:
		return l.take(tokenSymbol, 1)
	}
	_, n := utf8.DecodeRuneInString(l.rest)
	return l.take(tokenWrong, n)
}

// follows reports whether the token before may be part of a path, so that a point goes on with it. It is called while that is next.
func (l *lexer) follows() bool {
	return l.next.kind == tokenWord || l.next.kind == tokenQuoted || l.next.symbol("]")
}

// take returns the first n bytes of rest as a token.
func (l *lexer) take(k kind, n int) token {
	t := token{k, l.rest[:n]}
	l.rest = l.rest[n:]
	return t
}

// skip drops space and comments.
func (l *lexer) skip() {
	for {
		l.rest = strings.TrimLeft(l.rest, " \t\r\n\f\v")
		end := ""
		switch {
		case strings.HasPrefix(l.rest, "--"):
			end = "\n"
		case strings.HasPrefix(l.rest, "/*"):
			end = "*/"
		default:
			return
		}
		_, after, found := strings.Cut(l.rest[2:], end)
		if !found && end == "*/" {
			return // what is there is no token
		}
		l.rest = after
	}
}

// quoted takes a text within quotes of one kind. A doubled quote in it is a quote.
func (l *lexer) quoted(k kind) token {
	quote := l.rest[:1]
	rest := l.rest[1:]
	var text strings.Builder
	for {
		part, after, found := strings.Cut(rest, quote)
		if !found {
			return l.take(tokenWrong, len(l.rest))
		}
		text.WriteString(part)
		if !strings.HasPrefix(after, quote) {
			l.rest = after
			return token{k, text.String()}
		}
		text.WriteString(quote)
		rest = after[1:]
	}
}

// numberLen returns the length of the number at the start of s: digits with a point and an exponent. Whether it is one is found when
// it is converted.
func numberLen(s string) int {
	n := 0
	for n < len(s) && (isDigit(s[n]) || s[n] == '.') {
		n++
	}
	if n < len(s) && s[n]|0x20 == 'e' {
		e := n + 1
		if e < len(s) && (s[e] == '+' || s[e] == '-') {
			e++
		}
		if e < len(s) && isDigit(s[e]) {
			for n = e; n < len(s) && isDigit(s[n]); n++ {
			}
		}
	}
	return n
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' || c == '_' || c == '$' }
func isDigit(c byte) bool  { return '0' <= c && c <= '9' }
