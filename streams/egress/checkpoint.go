package egress

import (
	"encoding/json"
	"fmt"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
)

const (
	checkpointFormat = 1
	signedAs         = "concordat egress checkpoint v1\x00"

	// maxAccounts bounds the accounts in one checkpoint; the others go into the next.
	maxAccounts = 64
	// KeepCheckpoints is how many checkpoints are kept: a week and more, if every minute has one.
	KeepCheckpoints = 10_000
)

// Checkpoint is one entry of the ledger's chain.
type Checkpoint struct {
	Format      int                     `json:"format"`
	Origin      hlc.Origin              `json:"origin"`
	Region      string                  `json:"region"`
	Number      uint64                  `json:"number"` // 1 for the first, dense
	Previous    globaltable.Chain       `json:"previous"`
	At          int64                   `json:"at"`          // Unix milliseconds
	Incarnation globaltable.Incarnation `json:"incarnation"` // the life of the store that First and Last are of
	Accounts    []Account               `json:"accounts"`
}

func (c *Checkpoint) seal(key globaltable.Signer) (globaltable.Sealed, error) {
	b, err := json.Marshal(c)
	if err != nil {
		panic(err) // strings and numbers
	}
	return globaltable.Seal(signedAs, b, key)
}

// Open decodes a checkpoint. Whether it is signed, a Checker says.
func Open(s *globaltable.Sealed) (*Checkpoint, error) {
	var c Checkpoint
	if err := s.Open(&c); err != nil {
		return nil, err
	}
	if c.Format != checkpointFormat || c.Number == 0 || len(c.Accounts) > maxAccounts {
		return nil, corrupt("a checkpoint of a form that is not known")
	}
	return &c, nil
}

// Head is the newest checkpoint.
type Head struct {
	Number uint64            `json:"number"` // 0: there is none yet
	Hash   globaltable.Chain `json:"hash"`
}

// Checker checks a region's checkpoints, one after the other from the oldest that is there.
type Checker struct {
	region, key string
	head        Head
	began       bool
	first       uint64
	sums        map[accountKey]Account
	problems    []string
}

// NewChecker returns a Checker of the checkpoints of a region, whose public key is given. after is one known before: the first that is given to Add follows it. Zero: whichever is first.
func NewChecker(region, key string, after Head) *Checker {
	return &Checker{region: region, key: key, head: after, began: after.Number > 0, sums: map[accountKey]Account{}}
}

// Add checks the next one.
func (c *Checker) Add(s *globaltable.Sealed) {
	p, err := Open(s)
	if err != nil {
		c.problem(c.head.Number+1, "cannot be read: "+err.Error())
		return
	}
	switch {
	case !c.began && p.Number == 1 && p.Previous != globaltable.Chain{}:
		c.problem(p.Number, "wrong hash: the first one names one before it")
	case !c.began:
	case p.Number != c.head.Number+1:
		c.problem(p.Number, fmt.Sprintf("does not follow number %d: some are missing", c.head.Number))
	case p.Previous != c.head.Hash:
		c.problem(p.Number, "wrong hash: the one before it is not the one that it names")
	}
	if c.first == 0 {
		c.first = p.Number
	}
	if p.Region != c.region {
		c.problem(p.Number, "is of region "+p.Region)
	}
	if s.Check(signedAs, c.key) != nil {
		c.problem(p.Number, "wrong signature")
	}
	c.began, c.head = true, Head{p.Number, s.Hash()}
	for i := range p.Accounts {
		c.grow(p.Number, &p.Accounts[i])
	}
}

// grow checks that the sums of an account have not fallen.
func (c *Checker) grow(number uint64, a *Account) {
	before, known := c.sums[a.key()]
	if known && (a.Count < before.Count || a.Bytes < before.Bytes) {
		c.problem(number, fmt.Sprintf("the account of %s, %s %s%s, has less than before", a.Region, a.Kind, a.Lane, a.Table))
	}
	c.sums[a.key()] = *a
}

// Accounts checks what the region says now against its checkpoints.
func (c *Checker) Accounts(now []Account, head Head) {
	if head != c.head {
		c.problem(head.Number, "the region names this as its newest checkpoint, and it is not the last one given")
	}
	have := map[accountKey]bool{}
	for i := range now {
		c.grow(head.Number, &now[i])
		have[now[i].key()] = true
	}
	for key, a := range c.sums {
		if !have[key] {
			c.problem(head.Number, fmt.Sprintf("the account of %s, %s %s%s, is not there any more", a.Region, a.Kind, a.Lane, a.Table))
		}
	}
}

// maxProblems bounds what a Checker remembers.
const maxProblems = 1000

func (c *Checker) problem(number uint64, what string) {
	if len(c.problems) < maxProblems {
		c.problems = append(c.problems, fmt.Sprintf("checkpoint %d: %s", number, what))
	}
}

// Result returns the first number checked, the newest checkpoint, and what is wrong: nothing of a sound chain.
func (c *Checker) Result() (first uint64, head Head, problems []string) {
	return c.first, c.head, c.problems
}
