package dynamodb

import (
	"slices"
	"strconv"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/commit"
)

// building reports whether an index of t is being built in this region.
func (c *call) building(t *globaltable.Table) bool {
	return slices.ContainsFunc(t.Indexes, func(x globaltable.Index) bool {
		status, ok := c.server.config.Shard.Index(t.ID, x.ID)
		return !ok || !status.Ready
	})
}

// appendIndexes appends the descriptions of t's indexes, as they are in a replica with the settings given. made is the name of one that the request has just made, which is shown so whatever has become of it; empty for none.
func (c *call) appendIndexes(b []byte, t *globaltable.Table, own globaltable.Own, made string) []byte {
	for _, list := range [...]struct {
		field string
		local bool
	}{{"LocalSecondaryIndexes", true}, {"GlobalSecondaryIndexes", false}} {
		n := 0
		for i := range t.Indexes {
			x := &t.Indexes[i]
			if x.Local != list.local {
				continue
			}
			if n++; n == 1 {
				b = append(append(append(b, `,"`...), list.field...), `":[`...)
			} else {
				b = append(b, ',')
			}
			b = c.appendIndex(b, t, x, own.Indexes[x.ID], x.Name == made)
		}
		if n > 0 {
			b = append(b, ']')
		}
	}
	return b
}

func (c *call) appendIndex(b []byte, t *globaltable.Table, x *globaltable.Index, units globaltable.ReadUnits, made bool) []byte {
	status, ok := c.server.config.Shard.Index(t.ID, x.ID)
	b = append(b, `{"IndexName":`...)
	b = item.AppendJSONString(b, x.Name)
	b = appendKeySchema(b, x.Partition, x.Sort)
	b = append(b, `,"Projection":{"ProjectionType":`...)
	b = item.AppendJSONString(b, string(x.Projection))
	for i, name := range x.NonKey {
		if i == 0 {
			b = append(b, `,"NonKeyAttributes":[`...)
		} else {
			b = append(b, ',')
		}
		b = item.AppendJSONString(b, name)
	}
	if len(x.NonKey) > 0 {
		b = append(b, ']')
	}
	b = append(b, `},"IndexSizeBytes":`...)
	b = strconv.AppendInt(b, status.Bytes, 10)
	b = append(b, `,"ItemCount":`...)
	b = strconv.AppendInt(b, status.Entries, 10)
	b = append(b, `,"IndexArn":`...)
	b = item.AppendJSONString(b, arn(c.server.config.Region, t.Name)+"/index/"+x.Name)
	if x.Local {
		return append(b, '}')
	}
	shown := c.indexStatus(t, status, ok && !made)
	b = append(append(append(b, `,"IndexStatus":"`...), shown...), '"')
	if shown == globaltable.Creating {
		b = append(b, `,"Backfilling":`...)
		b = strconv.AppendBool(b, ok && !status.Ready)
	}
	declared, most := units.Over(x.Throughput, x.OnDemandMax, t.Billing)
	b = append(b, `,"ProvisionedThroughput":{"NumberOfDecreasesToday":0,"ReadCapacityUnits":`...)
	b = strconv.AppendInt(b, declared.Read, 10)
	b = append(b, `,"WriteCapacityUnits":`...)
	b = strconv.AppendInt(b, declared.Write, 10)
	b = append(b, '}')
	b = appendUnitsOf(b, "OnDemandThroughput", "MaxReadRequestUnits", "MaxWriteRequestUnits", most)
	if x.Warm != (globaltable.Throughput{}) {
		b = appendUnitsOf(b, "WarmThroughput", "ReadUnitsPerSecond", "WriteUnitsPerSecond", x.Warm)
		b = append(b[:len(b)-1], `,"Status":"ACTIVE"}`...)
	}
	return append(b, '}')
}

// indexStatus returns IndexStatus of an index of t in this region. known is false when the shard has not heard of it yet, or is not to be asked.
func (c *call) indexStatus(t *globaltable.Table, status commit.IndexStatus, known bool) globaltable.Status {
	switch here := t.StatusIn(c.server.config.Origin); {
	case here == globaltable.Deleting || here == "": // the shard may have forgotten it already
		return globaltable.Deleting
	case known && status.Ready:
		return globaltable.Active
	}
	return globaltable.Creating
}

// appendReplicaIndexes appends the global indexes that each replica of t has, all of t's, with the units that it has of its own.
func appendReplicaIndexes(b []byte, t *globaltable.Table, units map[globaltable.IndexID]globaltable.ReadUnits) []byte {
	n := 0
	for i := range t.Indexes {
		if t.Indexes[i].Local {
			continue
		}
		if n++; n == 1 {
			b = append(b, `,"GlobalSecondaryIndexes":[`...)
		} else {
			b = append(b, ',')
		}
		b = append(b, `{"IndexName":`...)
		b = item.AppendJSONString(b, t.Indexes[i].Name)
		b = appendOverrides(b, units[t.Indexes[i].ID])
		b = append(b, '}')
	}
	if n > 0 {
		b = append(b, ']')
	}
	return b
}
