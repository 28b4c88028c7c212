package expr

import (
	"strings"
	"unicode/utf8"
)

// kind is what a token is. Operators have their text as well: see symbols.
type kind uint8

const (
	tokenEnd     kind = iota
	tokenWord         // a letter or _, then letters, digits and _: an attribute, a function or a keyword
	tokenName         // #name
	tokenValue        // :value
	tokenInteger      // digits
	tokenSymbol       // ( ) [ ] . , + - and the comparators
	tokenOther        // a character that no expression has
)

// token is a piece of the text. text is empty at the end.
type token struct {
	kind     kind
	text     string
	from, to int // bytes of the expression
}

// is reports whether t is the keyword, given in upper case: keywords have no case.
func (t token) is(keyword string) bool {
	return t.kind == tokenWord && strings.EqualFold(t.text, keyword)
}

// symbol reports whether t is the symbol.
func (t token) symbol(s string) bool { return t.kind == tokenSymbol && t.text == s }

// lexer splits an expression into tokens. It knows the one before and the one after the current token, as syntax errors quote them.
type lexer struct {
	text            string
	prev, cur, next token
}

func newLexer(text string) lexer {
	l := lexer{text: text}
	l.next = l.scan(0)
	l.advance()
	l.prev = token{} // there is none before the first
	return l
}

// advance makes the next token the current one.
func (l *lexer) advance() {
	l.prev, l.cur = l.cur, l.next
	if l.cur.kind != tokenEnd {
		l.next = l.scan(l.cur.to)
	}
}

// scan returns the first token at or after byte i.
func (l *lexer) scan(i int) token {
	for i < len(l.text) && isSpace(l.text[i]) {
		i++
	}
	if i == len(l.text) {
		return token{from: i, to: i}
	}
	k, n := tokenOther, 1
	switch c := l.text[i]; {
	case isLetter(c):
		k, n = tokenWord, wordLen(l.text[i:])
	case isDigit(c):
		k = tokenInteger
		for i+n < len(l.text) && isDigit(l.text[i+n]) {
			n++
		}
	case c == '#' || c == ':':
		if w := wordLen(l.text[i+1:]); w > 0 {
			n = 1 + w
			k = tokenName
			if c == ':' {
				k = tokenValue
			}
		}
	case strings.IndexByte("()[].,+-=<>", c) >= 0:
		k = tokenSymbol
		if rest := l.text[i:]; strings.HasPrefix(rest, "<=") || strings.HasPrefix(rest, ">=") || strings.HasPrefix(rest, "<>") {
			n = 2
		}
	default:
		_, n = utf8.DecodeRuneInString(l.text[i:])
	}
	return token{k, l.text[i : i+n], i, i + n}
}

// wordLen returns how many letters, digits and _ are at the start of s.
func wordLen(s string) int {
	n := 0
	for n < len(s) && (isLetter(s[n]) || isDigit(s[n])) {
		n++
	}
	return n
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' || c == '_' }
func isDigit(c byte) bool  { return '0' <= c && c <= '9' }
func isSpace(c byte) bool  { return c == ' ' || '\t' <= c && c <= '\r' }

// near returns the current token as a syntax error names it, and the text around it: from the token before to the one after.
func (l *lexer) near() (name, around string) {
	name, from, to := l.cur.text, l.cur.from, l.cur.to
	if l.cur.kind == tokenEnd {
		name, to = "<EOF>", l.prev.to
	} else if l.next.kind != tokenEnd {
		to = l.next.to
	}
	if l.prev.kind != tokenEnd {
		from = l.prev.from
	}
	return name, l.text[from:to]
}
