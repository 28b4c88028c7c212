package dynamodb

import (
	"bytes"
	"slices"

	"github.com/valyala/fastjson"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/expr"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/globaltable/partiql"
	"github.com/concordat-db/concordat/globaltable/plan"
)

// maxStatementText is how long a statement may be.
const maxStatementText = 8192

// statement is a statement of PartiQL, alone, of a batch or of a transaction. As for a request on items, its faults are found in DynamoDB's order: parse, check, settle, and then the table.
type statement struct {
	text               text
	values             []*fastjson.Value // Parameters; nil: none
	consistent         bool
	onConditionFailure text

	parameters []item.Value
	held       error // what is wrong with a parameter's value
	*partiql.Statement
}

// set takes one parameter. Which of them a statement may have is the same wherever it stands, but for ConsistentRead.
func (s *statement) set(name []byte, v *fastjson.Value) error {
	switch string(name) {
	case "Statement":
		return parseText(&s.text, v)
	case "Parameters":
		if err := parseList(&s.values, v); err != nil {
			return err
		}
		return s.decode()
	case "ConsistentRead":
		return parseBool(&s.consistent, v)
	case "ReturnValuesOnConditionCheckFailure":
		return parseText(&s.onConditionFailure, v)
	}
	return nil
}

// decode decodes the parameters. As for attributes, a wrong value is held back.
func (s *statement) decode() error {
	s.parameters, s.held = s.parameters[:0], nil
	for _, v := range s.values {
		var value item.Value
		held, now := hold(func() (err error) {
			value, err = item.DecodeValueJSON(nil, v)
			return err
		}())
		if now != nil {
			return now
		}
		if s.held == nil {
			s.held = held
		}
		s.parameters = append(s.parameters, value)
	}
	return nil
}

// check notes the violated constraints of single parameters.
func (s *statement) check(c *constraints) {
	if c.present(s.text != nil, "statement") {
		c.length(s.text, 1, maxStatementText, "statement")
	}
	if s.values != nil && len(s.values) == 0 {
		c.fail("'[]'", "parameters", "Member must have length greater than or equal to 1")
	}
	c.oneOf(s.onConditionFailure, "returnValuesOnConditionCheckFailure", "ALL_OLD, NONE", failureImages...)
}

// settle parses the statement.
func (s *statement) settle() (err error) {
	if s.held != nil {
		return s.held
	}
	s.Statement, err = partiql.Parse(string(s.text), s.parameters)
	return err
}

// write returns a statement that writes as a write to the table, and its key.
func (s *statement) write(t *globaltable.Table) (p planned, key item.Key, err error) {
	p.Table, p.named = t, text(s.Table)
	p.onFailure = string(s.onConditionFailure) == "ALL_OLD"
	var where *partiql.Where
	switch {
	case s.Insert != nil:
		p.Action, p.Item, p.Presence = plan.Put, s.Insert.Item, plan.Absent
		if err = item.CheckSize(p.Item); err != nil {
			return p, nil, err
		}
		if key, err = plan.ItemKey(nil, &t.KeySchema, p.Item); err == nil {
			err = plan.CheckIndexKeys(t, p.Item)
		}
		return p, key, err
	case s.Update != nil:
		p.Action, p.Update, p.Presence, p.Returns = plan.Update, s.Update.Update, plan.Present, returned[s.Update.Returning]
		where = s.Update.Where
	case s.Delete != nil:
		p.Action, p.Returns = plan.Delete, returned[s.Delete.Returning]
		where = s.Delete.Where
	default:
		p.Action, p.Presence = plan.Check, plan.Present
		where = s.Exists.Where
	}
	if p.Item, key, p.Condition, err = keyIn(where, t); err != nil {
		return p, nil, err
	}
	if s.Delete != nil && p.Condition != nil {
		p.Presence = plan.IfPresent // what is not there is deleted, whatever is asked of it
	}
	if p.Update != nil {
		err = plan.CheckUpdate(&t.KeySchema, p.Update)
	}
	return p, key, err
}

// returned says which image a RETURNING clause asks for.
var returned = [...]plan.Image{
	partiql.ReturningNone: plan.NoImage, partiql.ReturningAllOld: plan.AllOld, partiql.ReturningAllNew: plan.AllNew,
	partiql.ReturningModifiedOld: plan.UpdatedOld, partiql.ReturningModifiedNew: plan.UpdatedNew,
}

// keyIn returns the key that a WHERE clause names: its attributes, the key, and the condition that is left.
func keyIn(where *partiql.Where, t *globaltable.Table) (names item.Item, key item.Key, rest *expr.Condition, err error) {
	schema := &t.KeySchema
	attributes := []string{schema.Partition.Name}
	if schema.Sort != nil {
		attributes = append(attributes, schema.Sort.Name)
	}
	values, rest, err := where.Key(attributes...)
	if err != nil {
		return nil, nil, nil, err
	}
	var b item.Builder
	for i, name := range attributes {
		b.Add([]byte(name), values[i])
	}
	if names, err = b.AppendItem(nil); err != nil {
		return nil, nil, nil, err
	}
	key, err = plan.Key(nil, schema, names)
	return names, key, rest, err
}

// spans returns what a SELECT reads, one part after the other, and what filters it.
func (s *statement) spans(server *Server, t *globaltable.Table) (spans []*plan.Span, filter *expr.Condition, err error) {
	var x *globaltable.Index
	partition, sort := []globaltable.KeyAttribute{t.KeySchema.Partition}, []globaltable.KeyAttribute(nil)
	if t.KeySchema.Sort != nil {
		sort = append(sort, *t.KeySchema.Sort)
	}
	if s.Index != "" {
		if x, err = server.readable(t, s.Index, s.consistent); err != nil {
			return nil, nil, err
		}
		partition, sort = x.Partition, x.Sort
	}
	var ranges []expr.KeyCondition
	if s.Select.Where != nil {
		if ranges, filter, err = s.Select.Where.Query(namesOf(partition), namesOf(sort)); err != nil {
			return nil, nil, err
		}
	}
	backward, err := orderOf(s.Select.OrderBy, ranges, partition, sort)
	if err != nil {
		return nil, nil, err
	}
	if ranges == nil {
		return []*plan.Span{plan.Scan(t, x, 0, 1)}, filter, nil
	}
	for _, r := range ranges {
		span, err := plan.Query(t, x, r.Terms, backward)
		if err != nil {
			return nil, nil, err
		}
		// A partition that is named twice is read once.
		if !slices.ContainsFunc(spans, func(other *plan.Span) bool { return bytes.Equal(other.Lower, span.Lower) }) {
			spans = append(spans, span)
		}
	}
	return spans, filter, nil
}

func namesOf(attributes []globaltable.KeyAttribute) (names []string) {
	for _, a := range attributes {
		names = append(names, a.Name)
	}
	return names
}

// orderOf checks an ORDER BY, which may name attributes of the key in their order. It sorts the ranges, in place, by the partition key if that is asked for, and says whether each is read backward.
func orderOf(by []partiql.Order, ranges []expr.KeyCondition, partition, sort []globaltable.KeyAttribute) (backward bool, err error) {
	if len(by) == 0 {
		return false, nil
	}
	for _, b := range by {
		if !slices.Contains(namesOf(partition), b.Name) && !slices.Contains(namesOf(sort), b.Name) {
			return false, invalid("Variable reference " + b.Name + " in ORDER BY clause must be part of the primary key")
		}
	}
	if ranges == nil {
		return false, invalid("Must have at least one non-optional hash key condition in WHERE clause when using ORDER BY clause.")
	}
	whole := len(ranges) == 1
	for ; len(by) > 0 && slices.Contains(namesOf(partition), by[0].Name); by = by[1:] {
		name, sign := by[0].Name, 1
		if by[0].Descending {
			sign = -1
		}
		slices.SortStableFunc(ranges, func(a, b expr.KeyCondition) int { return sign * compareTerms(name, a, b) })
		whole = true
	}
	if len(by) == 0 {
		return false, nil
	}
	// What is left orders each partition; so it has to be the order, or the other way round, in which its items lie.
	if !whole {
		return false, notOffered("ORDER BY a sort key over several partitions", "")
	}
	backward = by[0].Descending
	for i, b := range by {
		if i >= len(sort) || b.Name != sort[i].Name || b.Descending != backward {
			return false, notOffered("ORDER BY in another order than that of the sort key", "")
		}
	}
	return backward, nil
}

// compareTerms compares two ranges by their values of an attribute of the partition key.
func compareTerms(name string, a, b expr.KeyCondition) int {
	value := func(k expr.KeyCondition) item.Value {
		i := slices.IndexFunc(k.Terms, func(t expr.KeyTerm) bool { return string(t.Name) == name })
		return k.Terms[i].Values[0]
	}
	order, _ := value(a).Compare(value(b))
	return order
}
