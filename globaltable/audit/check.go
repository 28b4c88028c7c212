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
	heads    []Head
	entries  uint64
	problems []Problem
	found    uint64
}

// NewChecker returns a Checker. keys has the regions' public keys by name; an entry of another region is a problem. known are entries that the chains must have: noted before, or heads elsewhere; their Region counts, not Origin.
func NewChecker(keys map[string]string, known []Head) *Checker {
	return &Checker{keys: keys, known: slices.Clone(known)}
}

// Add checks the next entry. It returns the entry, nil for one that cannot be read.
func (c *Checker) Add(s *globaltable.Sealed) *Entry {
	c.entries++
	e, err := Open(s)
	if err != nil {
		c.problem(c.region, c.seq+1, fmt.Sprintf("an entry that cannot be read: %v", err))
		return nil
	}
	if e.Origin != c.now {
		c.end()
		c.now, c.region = e.Origin, e.Region
	}
	c.checkPlace(e)
	switch key, ok := c.keys[e.Region]; {
	case e.Region != c.region:
		c.problem(e.Region, e.Seq, "it names another region than the entries before in its chain")
	case !ok:
		c.problem(e.Region, e.Seq, "no key of the region is known: its signature cannot be checked")
	case CheckSignature(s, key) != nil:
		c.problem(e.Region, e.Seq, "wrong signature: it is not signed with the region's key, or was changed")
	}
	hash := s.Hash()
	c.hashes = append(c.hashes, hash)
	c.known = slices.DeleteFunc(c.known, func(h Head) bool { return h.Region == e.Region && h.Seq == e.Seq && h.Hash == hash })
	return e
}

// checkPlace checks sequence and previous hash, and makes e's sequence the present one.
func (c *Checker) checkPlace(e *Entry) {
	before := c.hashes
	switch {
	case e.Seq == c.seq:
		c.problem(e.Region, e.Seq, "fork: two entries with this number")
		return
	case e.Seq < c.seq:
		c.problem(e.Region, e.Seq, "out of order")
	case e.Seq > c.seq+1:
		c.problem(e.Region, e.Seq, fmt.Sprintf("gap: %d entries before it are missing", e.Seq-c.seq-1))
	case c.seq == 0 && e.Previous != globaltable.Chain{}:
		c.problem(e.Region, e.Seq, "wrong hash: the first entry names one before it")
	case c.seq > 0 && !slices.Contains(before, e.Previous):
		c.problem(e.Region, e.Seq, "wrong hash: the entry before it is not the one that it names")
	}
	c.seq, c.hashes = e.Seq, nil
}

// end closes the chain that is being checked.
func (c *Checker) end() {
	if c.now != 0 && len(c.hashes) > 0 {
		c.heads = append(c.heads, Head{Origin: c.now, Region: c.region, Seq: c.seq, Hash: c.hashes[0]})
	}
	c.now, c.region, c.seq, c.hashes = 0, "", 0, nil
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
