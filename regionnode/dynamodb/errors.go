package dynamodb

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/globaltable/plan"
	"github.com/concordat-db/concordat/regionnode/auth"
	"github.com/concordat-db/concordat/regionnode/commit"
)

// The prefixes of DynamoDB's exception names, by the layer of AWS that throws them.
const (
	prefixDynamoDB     = "com.amazonaws.dynamodb.v20120810#"
	prefixValidate     = "com.amazon.coral.validate#"
	prefixService      = "com.amazon.coral.service#"
	prefixAvailability = "com.amazon.coral.availability#"
)

// exception is an answer that is an error.
type exception struct {
	status  int
	name    string // with prefix
	message string
	// capital says that the field is spelled "Message", as the layers in front of DynamoDB do.
	capital bool
	// bare says that there is no message at all, as for JSON that cannot be read.
	bare bool
	// fields are further fields of the answer, as JSON: "Name":value,…
	fields []byte
	// cause is what the operator should see; the client does not.
	cause error
}

func (e *exception) Error() string {
	if e.cause != nil {
		return e.name + ": " + e.cause.Error()
	}
	return e.name + ": " + e.message
}

func (e *exception) Unwrap() error { return e.cause }

func invalidf(format string, args ...any) *exception {
	return &exception{status: http.StatusBadRequest, name: prefixValidate + "ValidationException", message: fmt.Sprintf(format, args...)}
}

func invalid(message string) *exception {
	return &exception{status: http.StatusBadRequest, name: prefixValidate + "ValidationException", message: message}
}

// notOffered is the refusal of a parameter. why may be empty.
func notOffered(what, why string) *exception {
	if why != "" {
		why = ": " + why
	}
	return invalid("Unsupported parameter: " + what + " is not offered by this version of Concordat" + why)
}

func serialization(message string) *exception {
	return &exception{status: http.StatusBadRequest, name: prefixService + "SerializationException", message: message, capital: true}
}

func unreadable() *exception {
	return &exception{status: http.StatusBadRequest, name: prefixService + "SerializationException", bare: true}
}

func unknownOperation(message string) *exception {
	return &exception{status: http.StatusBadRequest, name: prefixService + "UnknownOperationException", message: message, bare: message == ""}
}

func resourceNotFound(message string) *exception {
	return &exception{status: http.StatusBadRequest, name: prefixDynamoDB + "ResourceNotFoundException", message: message}
}

// conditionFailed is what a write says whose condition does not hold for the item that was there, if that is asked for.
func conditionFailed(before item.Item) *exception {
	x := translate(plan.ErrCondition, false)
	x.fields = before.AppendJSON([]byte(`"Item":`))
	return x
}

// tableNotFound is what the operations on items say; those on tables name the table.
func tableNotFound() *exception { return resourceNotFound("Requested resource not found") }

func unavailable(message string) *exception {
	return &exception{status: http.StatusServiceUnavailable, name: prefixService + "ServiceUnavailableException", message: message}
}

func internal(message string, cause error) *exception {
	return &exception{status: http.StatusInternalServerError, name: prefixDynamoDB + "InternalServerError", message: message, cause: cause}
}

const internalMessage = "The request processing has failed because of an unknown error, exception or failure."

// translate turns any error of the layers below into DynamoDB's, here and nowhere else. control says that the operation is one on tables.
func translate(err error, control bool) *exception {
	var x *exception
	if errors.As(err, &x) {
		return x
	}
	var a *auth.Error
	if errors.As(err, &a) {
		return &exception{status: http.StatusBadRequest, name: prefixService + a.Name, message: a.Message}
	}
	var i *item.Error
	if errors.As(err, &i) {
		return translateItem(i)
	}
	if errors.Is(err, plan.ErrDuplicate) {
		return &exception{status: http.StatusBadRequest, name: prefixDynamoDB + "DuplicateItemException", message: "Duplicate primary key exists in table"}
	}
	if errors.Is(err, commit.ErrTokenReused) {
		return &exception{status: http.StatusBadRequest, name: prefixDynamoDB + "IdempotentParameterMismatchException", capital: true,
			message: "DynamoDB rejected the request because you retried a request with a different payload but with an idempotent token that was already used."}
	}
	var g *globaltable.Error
	if errors.As(err, &g) {
		return translateKind(g, control)
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return internal("The server is stopping, and the outcome of the request is unknown.", err)
	}
	return internal(internalMessage, err)
}

func translateItem(e *item.Error) *exception {
	switch e.Class {
	case item.Validation, item.SizeExceeded:
		return invalid(e.Message)
	case item.Serialization:
		if e.Message == "" {
			return unreadable()
		}
		return serialization(e.Message)
	}
	return internal(internalMessage, e)
}

func translateKind(e *globaltable.Error, control bool) *exception {
	or := func(message string) string {
		if e.Message != "" {
			return e.Message
		}
		return message
	}
	bad := func(name, message string) *exception {
		return &exception{status: http.StatusBadRequest, name: name, message: or(message), cause: e}
	}
	switch e.Kind {
	case globaltable.Invalid:
		return bad(prefixValidate+"ValidationException", "The request is not valid")
	case globaltable.NotFound:
		if !control {
			x := tableNotFound()
			x.cause = e
			return x
		}
		return bad(prefixDynamoDB+"ResourceNotFoundException", "Requested resource not found")
	case globaltable.Exists, globaltable.InUse:
		return bad(prefixDynamoDB+"ResourceInUseException", "The resource is in use")
	case globaltable.ConditionFailed:
		return bad(prefixDynamoDB+"ConditionalCheckFailedException", "The conditional request failed")
	case globaltable.LimitExceeded:
		if control {
			return bad(prefixDynamoDB+"LimitExceededException", "A limit was reached")
		}
		return bad(prefixDynamoDB+"ProvisionedThroughputExceededException", "The region takes no more requests at this moment. Try again, with a growing delay")
	case globaltable.Unavailable, globaltable.Fenced:
		x := unavailable(or("The service is unavailable at this moment. Nothing was done; a retry may succeed"))
		x.cause = e
		return x
	case globaltable.Unknown:
		return internal(or("The outcome of the request is unknown: it may have been done or not"), e)
	case globaltable.Denied:
		x := bad(prefixService+"AccessDeniedException", "Access is denied")
		x.capital = true
		return x
	}
	return internal(internalMessage, e)
}

// appendBody appends the JSON body of x.
func (x *exception) appendBody(dst []byte) []byte {
	dst = append(dst, `{"__type":`...)
	dst = item.AppendJSONString(dst, x.name)
	if x.fields != nil {
		dst = append(append(dst, ','), x.fields...)
	}
	switch {
	case x.bare:
	case x.capital:
		dst = append(dst, `,"Message":`...)
		dst = item.AppendJSONString(dst, x.message)
	default:
		dst = append(dst, `,"message":`...)
		dst = item.AppendJSONString(dst, x.message)
	}
	return append(dst, '}')
}
