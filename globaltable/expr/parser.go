package expr

import (
	"sync"
)

// Parser parses expressions, and keeps parsed ones by their text. It is safe for concurrent use.
//
// What it keeps is bounded by the number of texts and by their bytes: two generations, each of at most half. A text that is used moves
// into the young one; when that is full, the old one goes. So what is asked for again and again stays, and there is no order to keep at
// each use. Only texts that are right are kept.
type Parser struct {
	limit int // texts of a generation

	mu         sync.RWMutex
	young, old map[source]*parsed
	bytes      int // of the young texts
}

// meanText is how many bytes the texts of a full generation have on average, at most. Parsed, a byte takes about 60.
const meanText = 256

// source is what a parsed expression is kept by.
type source struct {
	grammar grammar
	text    string
}

// grammar is what a text is parsed by.
type grammar uint8

const (
	conditions grammar = iota
	projections
	updates
)

var rules = [...]func(*parser) error{conditions: parseCondition, projections: parseProjection, updates: parseUpdate}

// NewParser returns a Parser that keeps up to maxEntries parsed texts, fewer if they have more than 256 bytes on average: about 16 KB of
// memory for each. With 0 it keeps none.
func NewParser(maxEntries int) *Parser {
	return &Parser{limit: (maxEntries + 1) / 2, young: map[source]*parsed{}}
}

// The parameters that Condition may be asked for.
const (
	ConditionParameter = "ConditionExpression"
	FilterParameter    = "FilterExpression"
)

// Condition parses and binds a condition. parameter is ConditionParameter or FilterParameter: errors name it.
func (p *Parser) Condition(parameter string, text []byte, b *Bindings) (*Condition, error) {
	parsed, err := p.parsed(conditions, parameter, text)
	if err != nil {
		return nil, err
	}
	bound, err := b.bind(parameter, parsed)
	if err != nil {
		return nil, err
	}
	return newCondition(parameter, parsed.root, bound)
}

// KeyCondition parses and binds a KeyConditionExpression.
func (p *Parser) KeyCondition(text []byte, b *Bindings) (*KeyCondition, error) {
	parsed, err := p.parsed(conditions, keyConditionParameter, text)
	if err != nil {
		return nil, err
	}
	bound, err := b.bind(keyConditionParameter, parsed)
	if err != nil {
		return nil, err
	}
	return newKeyCondition(parsed.root, bound)
}

// Projection parses and binds a ProjectionExpression.
func (p *Parser) Projection(text []byte, b *Bindings) (*Projection, error) {
	parsed, err := p.parsed(projections, projectionParameter, text)
	if err != nil {
		return nil, err
	}
	bound, err := b.bind(projectionParameter, parsed)
	if err != nil {
		return nil, err
	}
	start := len(b.targets)
	for _, path := range parsed.paths {
		b.target(bound, path, len(b.targets)-start)
	}
	return newProjection(projectionParameter, b.targets[start:len(b.targets):len(b.targets)])
}

// Update parses and binds an UpdateExpression.
func (p *Parser) Update(text []byte, b *Bindings) (*Update, error) {
	parsed, err := p.parsed(updates, updateParameter, text)
	if err != nil {
		return nil, err
	}
	bound, err := b.bind(updateParameter, parsed)
	if err != nil {
		return nil, err
	}
	start := len(b.targets)
	for i := range parsed.actions {
		b.target(bound, parsed.actions[i].path, i)
	}
	return newUpdate(parsed.actions, bound, b.targets[start:len(b.targets):len(b.targets)])
}

// target adds a target at a parsed path.
func (b *Bindings) target(bound bound, path []step, place int) {
	start := len(b.steps)
	b.steps = bound.appendSteps(b.steps, path)
	b.targets = append(b.targets, target{b.steps[start:len(b.steps):len(b.steps)], place})
}

// parsed returns the parsed text, from what is kept if it is there.
func (p *Parser) parsed(g grammar, parameter string, text []byte) (*parsed, error) {
	p.mu.RLock()
	found, ok := p.young[source{g, string(text)}]
	p.mu.RUnlock()
	if ok {
		return found, nil
	}
	p.mu.RLock()
	found, ok = p.old[source{g, string(text)}]
	p.mu.RUnlock()
	own := string(text)
	if !ok {
		var err error
		if found, err = parse(parameter, own, rules[g]); err != nil {
			return nil, err
		}
	}
	p.keep(source{g, own}, found)
	return found, nil
}

// keep moves a parsed text into the young generation.
func (p *Parser) keep(s source, x *parsed) {
	if p.limit == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.young[s]; ok {
		return // another request was faster
	}
	if len(p.young) >= p.limit || p.bytes > p.limit*meanText {
		p.old, p.young, p.bytes = p.young, make(map[source]*parsed, p.limit), 0
	}
	p.young[s] = x
	p.bytes += len(s.text)
}
