package naive

import "maps"

// consumed counts capacity units of one table by where they went.
type consumed struct {
	table   float64
	indexes map[string]float64
}

func (c *consumed) add(other consumed) {
	c.table += other.table
	for name, units := range other.indexes {
		c.addIndex(name, units)
	}
}

func (c *consumed) addIndex(name string, units float64) {
	if c.indexes == nil {
		c.indexes = map[string]float64{}
	}
	c.indexes[name] += units
}

// times multiplies: in transactions everything costs twice.
func (c consumed) times(factor float64) consumed {
	out := consumed{table: c.table * factor}
	for name, units := range c.indexes {
		out.addIndex(name, units*factor)
	}
	return out
}

func (c consumed) total() float64 {
	sum := c.table
	for units := range maps.Values(c.indexes) {
		sum += units
	}
	return sum
}

// kilobytes counts blocks of so many kilobytes that are begun, at least one.
func kilobytes(bytes, block int) float64 {
	return float64(max(1, (bytes+block*1024-1)/(block*1024)))
}

// readUnits: one for each 4 KB, half of it without strong consistency.
func readUnits(bytes int, consistent bool) float64 {
	if consistent {
		return kilobytes(bytes, 4)
	}
	return kilobytes(bytes, 4) / 2
}

// writeUnits are those of a write that replaces one item by another, nil for none: by the larger of both; and of each index by what changes there: one
// put for an entry that is new or has another projection, one delete for an entry that goes, and both where its key changes.
func (t *table) writeUnits(old, now item) consumed {
	c := consumed{table: kilobytes(max(old.size(), now.size()), 1)}
	for _, x := range t.indexes {
		before, after := item(nil), item(nil)
		if old != nil && x.holds(old) {
			before = x.entry(t, old)
		}
		if now != nil && x.holds(now) {
			after = x.entry(t, now)
		}
		switch {
		case before == nil && after == nil:
		case before == nil:
			c.addIndex(x.name, kilobytes(after.size(), 1))
		case after == nil:
			c.addIndex(x.name, kilobytes(before.size(), 1))
		case !equalItems(x.keys.keyOf(before), x.keys.keyOf(after)):
			c.addIndex(x.name, kilobytes(before.size(), 1)+kilobytes(after.size(), 1))
		case !equalItems(before, after):
			c.addIndex(x.name, kilobytes(max(before.size(), after.size()), 1))
		}
	}
	return c
}

func equalItems(a, b item) bool { return maps.EqualFunc(a, b, equal) }

// report is ConsumedCapacity as ReturnConsumedCapacity asks for it; nil for none. kind names the units as well where the operation does: "Read" or "Write".
func (c consumed) report(p object, t *table, kind string) object {
	what, _ := p["ReturnConsumedCapacity"].(string)
	if what == "" || what == "NONE" {
		return nil
	}
	units := func(n float64) object {
		out := object{"CapacityUnits": n}
		if kind != "" {
			out[kind+"CapacityUnits"] = n
		}
		return out
	}
	out := units(c.total())
	out["TableName"] = t.name
	if what == "TOTAL" {
		return out
	}
	out["Table"] = units(c.table)
	for _, x := range t.indexes {
		n, ok := c.indexes[x.name]
		if !ok {
			continue
		}
		parameter := "GlobalSecondaryIndexes"
		if x.local {
			parameter = "LocalSecondaryIndexes"
		}
		if out[parameter] == nil {
			out[parameter] = object{}
		}
		out[parameter].(object)[x.name] = units(n)
	}
	return out
}
