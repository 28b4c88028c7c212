package dynamodb

import (
	"bytes"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/globaltable/plan"
)

// capacity is what ReturnConsumedCapacity asks for.
type capacity uint8

const (
	capacityNone capacity = iota
	capacityTotal
	capacityIndexes
)

// capacityOf reads a ReturnConsumedCapacity that has been checked.
func capacityOf(v text) capacity {
	switch {
	case bytes.Equal(v, []byte("TOTAL")):
		return capacityTotal
	case bytes.Equal(v, []byte("INDEXES")):
		return capacityIndexes
	}
	return capacityNone
}

// transactional is how much more a transaction consumes: it prepares, then it commits.
const transactional = 2

// consumed is what a request consumed of one table.
type consumed struct {
	name  text // as the request names the table: by its name or its ARN
	table *globaltable.Table
	plan.Units
}

// consumption is what a request of several consumed, in the order of first use.
type consumption []consumed

// add adds units, n times.
func (c *consumption) add(name text, t *globaltable.Table, u plan.Units, n float64) {
	for i := range *c {
		if (*c)[i].table == t {
			(*c)[i].Add(u, n)
			return
		}
	}
	*c = append(*c, consumed{name: name, table: t})
	(*c)[len(*c)-1].Add(u, n)
}

// append appends ConsumedCapacity as a list. kind is appendConsumed's.
func (c consumption) append(dst []byte, what capacity, kind string) []byte {
	dst = append(dst, `"ConsumedCapacity":[`...)
	for i := range c {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = c[i].append(dst, what, kind)
	}
	return append(dst, ']')
}

// append appends a ConsumedCapacity. kind is Read or Write where the answer of a transaction tells which; else empty.
func (c *consumed) append(dst []byte, what capacity, kind string) []byte {
	dst = append(dst, `{"TableName":`...)
	dst = item.AppendJSONString(dst, c.name)
	dst = append(dst, ',')
	dst = appendSpent(dst, c.Sum(), kind)
	if what == capacityIndexes {
		dst = append(dst, `,"Table":{`...)
		dst = appendSpent(dst, c.Units.Table, kind)
		dst = append(dst, '}')
		dst = c.appendIndexes(dst, "LocalSecondaryIndexes", true, kind)
		dst = c.appendIndexes(dst, "GlobalSecondaryIndexes", false, kind)
	}
	return append(dst, '}')
}

// appendIndexes appends what the local, or the global, indexes consumed, if they did.
func (c *consumed) appendIndexes(dst []byte, field string, local bool, kind string) []byte {
	first := true
	for i, u := range c.Indexes {
		x := &c.table.Indexes[i]
		if u == 0 || x.Local != local {
			continue
		}
		if first {
			dst = append(append(append(dst, `,"`...), field...), `":{`...)
		} else {
			dst = append(dst, ',')
		}
		first = false
		dst = item.AppendJSONString(dst, x.Name)
		dst = append(dst, `:{`...)
		dst = append(appendSpent(dst, u, kind), '}')
	}
	if first {
		return dst
	}
	return append(dst, '}')
}

func appendSpent(dst []byte, units float64, kind string) []byte {
	dst = append(dst, `"CapacityUnits":`...)
	dst = appendUnits(dst, units)
	if kind != "" {
		dst = append(append(append(dst, `,"`...), kind...), `CapacityUnits":`...)
		dst = appendUnits(dst, units)
	}
	return dst
}
