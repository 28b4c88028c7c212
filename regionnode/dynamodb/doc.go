// Package dynamodb serves the DynamoDB API: JSON 1.0 over HTTP, for the AWS SDKs as they are.
//
// # The way of a request
//
//	limits of header and body → body → who sends it (regionnode/auth) → which operation → strict JSON → parameters
//	→ constraints → the operation: catalog view, plan, shard → answer, request id, CRC → out
//
// Nothing is parsed before its size is known to be allowed and its sender to be permitted. Each operation checks in DynamoDB's order:
// types of the parameters (SerializationException), constraints of single parameters (all together in one ValidationException,
// "2 validation errors detected: …"), then what they mean together, then the table, then keys and items. A parameter of DynamoDB's that is not offered
// yet gets a ValidationException that says so; it is never ignored, for a condition that is not checked loses data.
//
// # Memory
//
// A call holds everything that a request needs: body, JSON parser, item, key and answer buffers. Calls are pooled, and one that has grown
// beyond a bound is left to the collector. A request becomes an item's bytes directly, and an item's bytes the answer; no tree of maps
// lies between. What a call lends to the shard (keys, items, operations) stays unchanged until the shard's call returns; what the
// shard lends (the current item) is copied into the answer within the callback.
//
// # Bounds
//
// Connections, requests in flight, memory for large requests and answers, header bytes, body bytes and all times of waiting have limits in
// Config. A request over a limit gets an answer that the SDKs repeat (503), or the connection is closed.
//
// # Why fasthttp
//
// On two cores an echo of 1.2 KB reaches 33,000 to 45,000 requests per second with net/http and 72,000 with fasthttp: a get
// is so cheap here that the HTTP server would be most of it. The price is care: everything reached through a *fasthttp.RequestCtx is reused
// after the handler returns, so nothing of it is kept, and a panic in a handler would end the process, so the handler recovers.
package dynamodb
