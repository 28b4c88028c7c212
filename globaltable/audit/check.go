package audit

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
)

// Head is how far a chain goes.
type Head struct {
	Origin hlc.Origin        `json:"origin"`
	Region string            `json:"region"`
	Seq    uint64            `json:"seq"`
	Hash   globaltable.Chain `json:"hash"` // of entry Seq
}

// Problem is something that a right chain has not.
type Problem struct {
	Region string `json:"region"`
	Seq    uint64 `json:"seq"`
	What   string `json:"what"`
}

// maxProblems bounds what a Checker remembers; the others are counted.
const maxProblems = 1000

// Checker checks chains, entry by entry, in bounded memory. It is given the entries of each chain together, in the order of their sequences.
type Checker struct {
	keys  map[string]string // region → public key
	known []Head

	now      hlc.Origin // the chain that is being checked; 0: none yet
	region   string
	seq      uint64
	hashes   []globaltable.Chain // of the entries that claim to be entry seq: one, but for a fork
	lost     bool                // of one of these the hash is not known
	heads    []Head
	entries  uint64
	problems []Problem
	found    uint64
}

// NewChecker returns a Checker. keys has the regions' public keys by name; an entry of another region is a problem. known are entries that the chains must have: noted before, or heads elsewhere; their Region counts, not Origin.
func NewChecker(keys map[string]string, known []Head) *Checker {
	return &Checker{keys: keys, known: slices.Clone(known)}
}

// Place is where an entry lies: in which chain, under which number.
type Place struct {
	Origin hlc.Origin `json:"origin"`
	Region string     `json:"region,omitempty"` // whose chain that is; empty: not known
	Seq    uint64     `json:"seq"`
}

// Add checks the next entry. It returns the entry, nil for one that cannot be read.
func (c *Checker) Add(s *globaltable.Sealed) *Entry {
	e, err := Open(s)
	if err != nil {
		c.AddUnreadable(Place{c.now, c.region, c.seq + 1}, s, err.Error())
		return nil
	}
	c.add(Place{e.Origin, e.Region, e.Seq}, &e.Previous, s)
	return e
}

// AddUnreadable takes note of an entry that cannot be read where it lies, and why; the zero Place is of none of the chains. s is nil unless there are a text and a signature, which are checked. The check goes on after it: what a later entry names as its hash is
// right if it is the text's, and cannot be told without one.
func (c *Checker) AddUnreadable(at Place, s *globaltable.Sealed, why string) {
	c.problem(at.Region, at.Seq, "an entry that cannot be read: "+why)
	if at.Origin == 0 {
		c.entries++
		return
	}
	c.add(at, nil, s)
}

// add checks an entry's place in its chain, its previous hash and its signature; those that are known.
func (c *Checker) add(at Place, previous *globaltable.Chain, s *globaltable.Sealed) {
	c.entries++
	if at.Origin != c.now {
		c.end()
		c.now, c.region = at.Origin, at.Region
	}
	c.region = cmp.Or(c.region, at.Region)
	at.Region = cmp.Or(at.Region, c.region)
	if fork := c.checkPlace(at, previous); !fork {
		c.seq, c.hashes, c.lost = at.Seq, nil, false
	}
	if at.Region != c.region {
		c.problem(at.Region, at.Seq, "it names another region than the entries before in its chain")
	}
	if s == nil {
		c.lost = true
		return
	}
	if at.Region == c.region {
		c.checkSignature(at, s)
	}
	hash := s.Hash()
	c.hashes = append(c.hashes, hash)
	c.known = slices.DeleteFunc(c.known, func(h Head) bool { return h.Region == at.Region && h.Seq == at.Seq && h.Hash == hash })
}

func (c *Checker) checkSignature(at Place, s *globaltable.Sealed) {
	switch key, ok := c.keys[at.Region]; {
	case !ok:
		c.problem(at.Region, at.Seq, "no key of the region is known: its signature cannot be checked")
	case CheckSignature(s, key) != nil:
		c.problem(at.Region, at.Seq, "wrong signature: it is not signed with the region's key, or was changed")
	}
}

// checkPlace checks sequence and previous hash, if that is known, and reports whether another entry has the number.
func (c *Checker) checkPlace(at Place, previous *globaltable.Chain) (fork bool) {
	switch {
	case at.Seq == c.seq:
		c.problem(at.Region, at.Seq, "fork: two entries with this number")
		return true
	case at.Seq < c.seq:
		c.problem(at.Region, at.Seq, "out of order")
	case at.Seq > c.seq+1:
		c.problem(at.Region, at.Seq, fmt.Sprintf("gap: %d entries before it are missing", at.Seq-c.seq-1))
	case previous == nil:
	case c.seq == 0 && *previous != globaltable.Chain{}:
		c.problem(at.Region, at.Seq, "wrong hash: the first entry names one before it")
	case c.seq > 0 && !c.lost && !slices.Contains(c.hashes, *previous):
		c.problem(at.Region, at.Seq, "wrong hash: the entry before it is not the one that it names")
	}
	return false
}

// end closes the chain that is being checked.
func (c *Checker) end() {
	if c.now != 0 && len(c.hashes) > 0 {
		c.heads = append(c.heads, Head{Origin: c.now, Region: c.region, Seq: c.seq, Hash: c.hashes[0]})
	}
	c.now, c.region, c.seq, c.hashes, c.lost = 0, "", 0, nil, false
}

func (c *Checker) problem(region string, seq uint64, what string) {
	if c.found++; len(c.problems) < maxProblems {
		c.problems = append(c.problems, Problem{region, seq, what})
	}
}

// Result is what a Checker has found.
type Result struct {
	Entries  uint64    `json:"entries"`
	Heads    []Head    `json:"heads"`    // of the chains, by region's number: what to note
	Problems []Problem `json:"problems"` // the first thousand
	Found    uint64    `json:"found"`    // how many there are
}

// Result ends the check.
func (c *Checker) Result() Result {
	c.end()
	for _, h := range c.known {
		c.problem(h.Region, h.Seq, "the entry known with hash "+fmt.Sprintf("%x", h.Hash[:])+" is not there")
	}
	c.known = nil
	slices.SortFunc(c.heads, func(a, b Head) int { return cmp.Compare(a.Origin, b.Origin) })
	return Result{Entries: c.entries, Heads: c.heads, Problems: c.problems, Found: c.found}
}
