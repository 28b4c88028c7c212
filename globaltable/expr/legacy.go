package expr

import (
	"slices"
	"strings"

	"github.com/valyala/fastjson"

	"github.com/concordat-db/concordat/globaltable/item"
)

// invalidValues begins the texts of faults in legacy parameters.
const invalidValues = "One or more parameter values were invalid: "

// comparison is a ComparisonOperator of the legacy parameters.
type comparison struct {
	least, most int         // how many values it takes
	types       []item.Type // what they may be; nil: anything
	same        bool        // they all have one type
	build       func(b *Builder, path Node, values []Node) Node
}

// simple is the comparison that is the operator o on the attribute and the values.
func simple(o Op) func(*Builder, Node, []Node) Node {
	return func(b *Builder, path Node, values []Node) Node { return b.Node(o, append([]Node{path}, values...)...) }
}

var scalars = []item.Type{item.S, item.N, item.B}

var comparisons = map[string]comparison{
	"EQ":          {1, 1, nil, false, simple(OpEQ)},
	"NE":          {1, 1, nil, false, simple(OpNE)},
	"LE":          {1, 1, scalars, false, simple(OpLE)},
	"LT":          {1, 1, scalars, false, simple(OpLT)},
	"GE":          {1, 1, scalars, false, simple(OpGE)},
	"GT":          {1, 1, scalars, false, simple(OpGT)},
	"BETWEEN":     {2, 2, scalars, true, simple(OpBetween)},
	"IN":          {1, maxOperands, scalars, true, simple(OpIn)},
	"NULL":        {0, 0, nil, false, simple(OpAttributeNotExists)},
	"NOT_NULL":    {0, 0, nil, false, simple(OpAttributeExists)},
	"BEGINS_WITH": {1, 1, []item.Type{item.S, item.B}, false, simple(OpBeginsWith)},
	"CONTAINS":    {1, 1, []item.Type{item.S, item.N, item.B, item.BOOL, item.NULL}, false, simple(OpContains)},
	// An attribute that is not there does not contain a value, and fails all the same.
	"NOT_CONTAINS": {1, 1, []item.Type{item.S, item.N, item.B, item.BOOL, item.NULL}, false, func(b *Builder, path Node, values []Node) Node {
		return b.Node(OpAnd, b.Node(OpAttributeExists, path), b.Node(OpNot, simple(OpContains)(b, path, values)))
	}},
}

// check checks the values of a comparison.
func (c *comparison) check(operator string, values []item.Value) error {
	if len(values) < c.least || len(values) > c.most {
		return fault(invalidValues+"Invalid number of argument(s) for the "+operator+" ComparisonOperator", "")
	}
	for _, v := range values {
		if c.types != nil && !slices.Contains(c.types, v.Type()) {
			return fault(invalidValues+"ComparisonOperator "+operator+" is not valid for "+v.Type().String()+" AttributeValue type", "")
		}
		if c.same && v.Type() != values[0].Type() {
			return fault(invalidValues+"AttributeValues inside AttributeValueList must be of same type", "")
		}
	}
	if operator == "BETWEEN" {
		if order, _ := values[0].Compare(values[1]); order > 0 {
			return fault("The BETWEEN condition was provided a range where the lower bound is greater than the upper bound", "")
		}
	}
	return nil
}

// legacyCondition is a member of Expected, KeyConditions, QueryFilter or ScanFilter: what is asked of the attribute name.
type legacyCondition struct {
	name     []byte
	operator string // of comparisons; "" if there is none
	values   []item.Value
	hasList  bool // values are AttributeValueList
	hasValue bool // values are Value
	exists   *bool
}

// parseLegacy parses a member. parameter names it in errors, with a lower-case first letter, as in "expected".
func parseLegacy(parameter string, name []byte, v *fastjson.Value) (legacyCondition, error) {
	c := legacyCondition{name: name}
	class := "Condition"
	if parameter == expectedMember {
		class = "ExpectedAttributeValue"
	}
	o, err := objectOf(v, class)
	if err != nil {
		return c, err
	}
	var wrong verdict
	given := false // ComparisonOperator
	o.Visit(func(key []byte, v *fastjson.Value) {
		if v.Type() != fastjson.TypeNull {
			wrong.add(c.set(parameter, string(key), v))
			given = given || string(key) == "ComparisonOperator"
		}
	})
	if !given && parameter != expectedMember {
		wrong.add(nullMember(parameter, name, "comparisonOperator"))
	}
	return c, wrong.err()
}

func (c *legacyCondition) set(parameter, key string, v *fastjson.Value) error {
	switch {
	case key == "ComparisonOperator":
		operator, err := item.DecodeStringJSON(v)
		if err != nil {
			return err
		}
		if _, ok := comparisons[string(operator)]; !ok {
			return notInEnum(string(operator), parameter, c.name, "comparisonOperator",
				"IN, NULL, BETWEEN, LT, NOT_CONTAINS, EQ, GT, NOT_NULL, NE, LE, BEGINS_WITH, GE, CONTAINS")
		}
		c.operator = string(operator)
	case key == "AttributeValueList":
		list, err := item.DecodeListJSON(v)
		if err != nil {
			return err
		}
		c.hasList = true
		var wrong verdict
		for _, e := range list {
			value, err := item.DecodeValueJSON(nil, e)
			wrong.add(err)
			c.values = append(c.values, value)
		}
		return wrong.err()
	case key == "Value" && parameter == expectedMember:
		value, err := item.DecodeValueJSON(nil, v)
		if err != nil {
			return err
		}
		c.hasValue = true
		c.values = append(c.values, value)
	case key == "Exists" && parameter == expectedMember:
		exists, err := item.DecodeBoolJSON(v)
		if err != nil {
			return err
		}
		c.exists = &exists
	}
	return nil
}

// The parameters as messages about their members name them.
const (
	expectedMember      = "expected"
	keyConditionsMember = "keyConditions"
	updatesMember       = "attributeUpdates"
)

// Expected returns the condition that Expected and ConditionalOperator ("AND", "OR" or, if it was not given, "") say; nil if expected
// has nothing. The error is an *item.Error of class Validation, or Serialization for JSON of another shape.
func Expected(expected *fastjson.Object, conditionalOperator string) (*Condition, error) {
	return legacy(expectedMember, "Expected", expected, conditionalOperator)
}

// Filter is Expected for ScanFilter and QueryFilter, of which parameter is one.
func Filter(parameter string, filter *fastjson.Object, conditionalOperator string) (*Condition, error) {
	return legacy(strings.ToLower(parameter[:1])+parameter[1:], parameter, filter, conditionalOperator)
}

func legacy(member, parameter string, conditions *fastjson.Object, conditionalOperator string) (*Condition, error) {
	if conditionalOperator != "" && conditions == nil {
		return nil, fault("ConditionalOperator cannot be used without Filter or Expected", "")
	}
	if conditions == nil {
		return nil, nil
	}
	var b Builder
	var terms []Node
	err := eachMember(conditions, func(name []byte, v *fastjson.Value) error {
		c, err := parseLegacy(member, name, v)
		if err != nil {
			return err
		}
		if member == expectedMember {
			err = c.expect()
		}
		if err != nil {
			return err
		}
		term, err := c.term(&b)
		terms = append(terms, term)
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case conditionalOperator != "" && len(terms) < 2:
		return nil, fault("ConditionalOperator can only be used when Filter or Expected has two or more elements", "")
	case len(terms) == 0:
		return nil, nil
	}
	joint := OpAnd
	if conditionalOperator == OpOr.String() {
		joint = OpOr
	}
	return b.Condition(parameter, b.Node(joint, terms...))
}

// expect checks what may stand together in a member of Expected, and makes a comparison of what is none.
func (c *legacyCondition) expect() error {
	wrong := func(what string) error {
		return fault(invalidValues+what, " for Attribute: "+string(c.name))
	}
	switch {
	case c.hasValue && c.hasList:
		return wrong("Value and AttributeValueList cannot be used together")
	case c.operator != "" && c.exists != nil:
		return wrong("Exists and ComparisonOperator cannot be used together")
	case c.operator != "":
		if op := comparisons[c.operator]; op.least > 0 && !c.hasValue && !c.hasList {
			return wrong("Value or AttributeValueList must be used with ComparisonOperator: " + c.operator)
		}
	case c.hasList:
		return wrong("AttributeValueList can only be used with a ComparisonOperator")
	case c.exists == nil && !c.hasValue:
		return wrong("Value must be provided when Exists is null")
	case c.exists != nil && *c.exists && !c.hasValue:
		return wrong("Value must be provided when Exists is true")
	case c.exists != nil && !*c.exists && c.hasValue:
		return wrong("Value cannot be used when Exists is false")
	case c.hasValue:
		c.operator = "EQ"
	default:
		c.operator = "NULL"
	}
	return nil
}

// term returns the condition that c says.
func (c *legacyCondition) term(b *Builder) (Node, error) {
	op := comparisons[c.operator]
	if err := op.check(c.operator, c.values); err != nil {
		return Node{}, err
	}
	values := make([]Node, len(c.values))
	for i, v := range c.values {
		values[i] = b.Value(v)
	}
	return op.build(b, b.Path(Step{Name: c.name}), values), nil
}

// indexable are the comparisons that KeyConditions may have.
var indexable = map[string]KeyOp{
	"EQ": KeyEqual, "LT": KeyLess, "LE": KeyLessOrEqual, "GT": KeyGreater, "GE": KeyGreaterOrEqual, "BETWEEN": KeyBetween, "BEGINS_WITH": KeyBeginsWith,
}

// KeyConditions returns the key condition that KeyConditions says. The error is that of Expected.
func KeyConditions(conditions *fastjson.Object) (*KeyCondition, error) {
	k := new(KeyCondition)
	err := eachMember(conditions, func(name []byte, v *fastjson.Value) error {
		c, err := parseLegacy(keyConditionsMember, name, v)
		if err != nil {
			return err
		}
		op := comparisons[c.operator]
		if err := op.check(c.operator, c.values); err != nil {
			return err
		}
		t := KeyTerm{Name: name, Op: indexable[c.operator]}
		if t.Op == 0 {
			return fault("Attempted conditional constraint is not an indexable operation", "")
		}
		copy(t.Values[:], c.values)
		k.Terms = append(k.Terms, t)
		return nil
	})
	if err == nil && len(k.Terms) == 0 {
		err = fault("Conditions can be of length 1 or 2 only", "")
	}
	if err != nil {
		return nil, err
	}
	return k, nil
}
