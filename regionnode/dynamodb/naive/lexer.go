package naive

import (
	"regexp"
	"strings"
)

// token is a word of an expression.
type token struct {
	kind     string // "word", "name" (#a), "value" (:a), "number", "end", or for a symbol the symbol itself
	text     string
	from, to int // where it stands
}

var tokenForm = regexp.MustCompile(`^(?:[A-Za-z_][A-Za-z0-9_]*|#[A-Za-z0-9_]+|:[A-Za-z0-9_]+|[0-9]+|<>|<=|>=|[=<>()\[\].,+-])`)

// tokenize splits an expression. A character that begins no token is a token of its own, of a kind that no grammar has.
func tokenize(text string) []token {
	var out []token
	for at := 0; at < len(text); {
		if strings.ContainsRune(" \t\r\n", rune(text[at])) {
			at++
			continue
		}
		found := tokenForm.FindString(text[at:])
		kind := found
		switch {
		case found == "":
			kind = "unknown"
			for _, r := range text[at:] {
				found = string(r)
				break
			}
		case strings.ContainsRune("#", rune(found[0])):
			kind = "name"
		case found[0] == ':':
			kind = "value"
		case found[0] >= '0' && found[0] <= '9':
			kind = "number"
		case found[0] == '_' || found[0] >= 'A' && found[0] <= 'Z' || found[0] >= 'a' && found[0] <= 'z':
			kind = "word"
		}
		out = append(out, token{kind, found, at, at + len(found)})
		at += len(found)
	}
	return append(out, token{"end", "<EOF>", len(text), len(text)})
}

// parser goes through the tokens of one expression.
type parser struct {
	text   string
	tokens []token
	at     int
	// keywords are no attributes and no functions, wherever they stand.
	keywords []string
}

func (p *parser) next() token { return p.tokens[p.at] }

// accept takes the next token if it is of the kind given.
func (p *parser) accept(kind string) bool {
	if p.next().kind != kind {
		return false
	}
	p.at++
	return true
}

// acceptWord takes the next token if it is the keyword given, in any case.
func (p *parser) acceptWord(keyword string) bool {
	if !p.isWord(keyword) {
		return false
	}
	p.at++
	return true
}

func (p *parser) isWord(keyword string) bool {
	return p.next().kind == "word" && strings.EqualFold(p.next().text, keyword)
}

func (p *parser) expect(kind string) error {
	if !p.accept(kind) {
		return p.fault()
	}
	return nil
}

// fault says that the next token does not fit. It is quoted with the tokens beside it.
func (p *parser) fault() error {
	from, to := p.at, p.at
	if from > 0 {
		from--
	}
	if to < len(p.tokens)-1 {
		to++
	}
	return invalid(`Syntax error; token: "%s", near: "%s"`, p.next().text, p.text[p.tokens[from].from:p.tokens[to].to])
}
