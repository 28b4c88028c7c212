package dynamodb

import (
	"errors"
	"strings"

	"github.com/concordat-db/concordat/globaltable/expr"
	"github.com/concordat-db/concordat/globaltable/item"
)

// expressions are what a request's expressions, or the parameters that stood for them before, come to. They live until the request's reset.
type expressions struct {
	bindings expr.Bindings
	where    *expr.Condition // a condition, or a filter
	change   *expr.Update
	shown    *expr.Projection
	which    *expr.KeyCondition
}

// reset ends what was bound.
func (e *expressions) reset() {
	e.bindings.Reset()
	e.where, e.change, e.shown, e.which = nil, nil, nil, nil
}

// named are parameters with their names, in the order in which DynamoDB lists them.
type named []struct {
	parameter parameterSet
	name      string
}

var (
	expressionParameters = named{
		{pUpdateExpression, "UpdateExpression"}, {pConditionExpression, "ConditionExpression"},
		{pProjectionExpression, "ProjectionExpression"}, {pFilterExpression, "FilterExpression"}, {pKeyConditionExpression, "KeyConditionExpression"},
	}
	legacyParameters = named{
		{pAttributeUpdates, "AttributeUpdates"}, {pExpected, "Expected"}, {pAttributesToGet, "AttributesToGet"},
		{pQueryFilter, "QueryFilter"}, {pScanFilter, "ScanFilter"}, {pConditionalOperator, "ConditionalOperator"}, {pKeyConditions, "KeyConditions"},
	}
)

// in returns the names of those in the set.
func (n named) in(set parameterSet) (names []string) {
	for _, p := range n {
		if set&p.parameter != 0 {
			names = append(names, p.name)
		}
	}
	return names
}

func (n named) all() (set parameterSet) {
	for _, p := range n {
		set |= p.parameter
	}
	return set
}

// substitutions are what stands for something in expressions.
const substitutions = pExpressionAttributeNames | pExpressionAttributeValues

var (
	allExpressions = expressionParameters.all()
	allLegacy      = legacyParameters.all()
	// withValues are the expressions that may have values.
	withValues = allExpressions &^ pProjectionExpression
)

// settle checks what the parameters mean together and binds the expressions.
func (r *itemRequest) settle(p *expr.Parser) error {
	expressive := r.has(allExpressions | allLegacy | substitutions)
	if expressive {
		if err := r.mix(); err != nil {
			return err
		}
		if err := r.substitute(); err != nil {
			return err
		}
	}
	if r.held != nil {
		if r.start != nil {
			return badStart(r.held)
		}
		return r.held
	}
	if err := r.combine(); err != nil {
		return err
	}
	if !expressive {
		return nil
	}
	return r.bind(p)
}

// parseLegacy reads the parameters that expressions replace. As for attributes, JSON of a wrong shape is an error at once, for first; the first other one is held back.
func (r *itemRequest) parseLegacy(first *misshapen) {
	hold := func(p parameterSet, wrong error) {
		var e *item.Error
		var v expr.Violations
		switch {
		case wrong == nil:
		case errors.As(wrong, &v):
			r.violations = append(r.violations, v...)
		case errors.As(wrong, &e) && e.Class == item.Serialization:
			r.note(first, p, wrong)
		case r.heldLegacy == nil:
			r.heldLegacy = wrong
		}
	}
	var wrong error
	if r.has(pAttributeUpdates) {
		r.change, wrong = expr.AttributeUpdates(r.updates)
		hold(pAttributeUpdates, wrong)
	}
	operator := string(r.operator)
	switch {
	case r.has(pQueryFilter):
		r.where, wrong = expr.Filter("QueryFilter", r.queryFilter, operator)
		hold(pQueryFilter, wrong)
	case r.has(pScanFilter):
		r.where, wrong = expr.Filter("ScanFilter", r.scanFilter, operator)
		hold(pScanFilter, wrong)
	case r.has(pExpected | pConditionalOperator):
		r.where, wrong = expr.Expected(r.expected, operator)
		hold(pExpected, wrong)
	}
	if r.has(pAttributesToGet) {
		r.shown, wrong = expr.AttributesToGet(r.attributesToGet)
		hold(pAttributesToGet, wrong)
	}
	if r.has(pKeyConditions) {
		r.which, wrong = expr.KeyConditions(r.keyConditions)
		hold(pKeyConditions, wrong)
	}
}

// parseSubstitutions takes the names and values that expressions refer to. As for attributes, JSON of a wrong shape is an error at once, for first, and the rest is held back.
func (r *itemRequest) parseSubstitutions(first *misshapen) {
	var now error
	if r.names != nil {
		r.heldNames, now = hold(r.bindings.SetNames(r.names))
		r.note(first, pExpressionAttributeNames, now)
	}
	if r.values != nil {
		r.heldValues, now = hold(r.bindings.SetValues(r.values))
		r.note(first, pExpressionAttributeValues, now)
	}
}

// mix refuses expressions beside what they replace.
func (r *itemRequest) mix() error {
	legacy := r.given & allLegacy
	if !r.has(pKeyConditionExpression) {
		legacy &^= pKeyConditions // which may go with a filter or a projection that is an expression
	}
	if legacy == 0 || !r.has(allExpressions) {
		return nil
	}
	return invalid("Can not use both expression and non-expression parameters in the same request: Non-expression parameters: {" +
		strings.Join(legacyParameters.in(legacy), ", ") + "} Expression parameters: {" + strings.Join(expressionParameters.in(r.given), ", ") + "}")
}

// substitute checks that names and values are given only with expressions, and as they may be.
func (r *itemRequest) substitute() error {
	if r.has(pExpressionAttributeNames) {
		if !r.has(allExpressions) {
			return invalid("ExpressionAttributeNames can only be specified when using expressions")
		}
		if r.heldNames != nil {
			return r.heldNames
		}
	}
	if !r.has(pExpressionAttributeValues) {
		return nil
	}
	if !r.has(withValues) {
		missing := expressionParameters.in(r.may & withValues)
		verb := " is null"
		if len(missing) > 1 {
			verb = " are null"
		}
		return invalid("ExpressionAttributeValues can only be specified when using expressions: " + strings.Join(missing, " and ") + verb)
	}
	return r.heldValues
}

// combine checks what other parameters mean together.
func (r *itemRequest) combine() error {
	if r.has(pReturnValues) && r.may&pUpdateExpression == 0 {
		switch string(r.returnValues) {
		case "NONE", "ALL_OLD":
		default:
			return invalid("ReturnValues can only be ALL_OLD or NONE")
		}
	}
	if r.item != nil {
		if err := item.CheckSize(r.attributes); err != nil {
			return err
		}
	}
	if r.may&pSelect != 0 {
		return r.combinePages()
	}
	return nil
}

// bind parses the expressions.
func (r *itemRequest) bind(p *expr.Parser) (err error) {
	if r.heldLegacy != nil {
		return r.heldLegacy
	}
	if r.has(pUpdateExpression) {
		if r.change, err = p.Update(r.update, &r.bindings); err != nil {
			return err
		}
	}
	if r.has(pConditionExpression) {
		if r.where, err = p.Condition(expr.ConditionParameter, r.condition, &r.bindings); err != nil {
			return err
		}
	}
	if r.has(pKeyConditionExpression) {
		if r.which, err = p.KeyCondition(r.keyCondition, &r.bindings); err != nil {
			return err
		}
	}
	if r.has(pFilterExpression) {
		if r.where, err = p.Condition(expr.FilterParameter, r.filter, &r.bindings); err != nil {
			return err
		}
	}
	if r.has(pProjectionExpression) {
		if r.shown, err = p.Projection(r.projection, &r.bindings); err != nil {
			return err
		}
	}
	return r.bindings.CheckUsed()
}
