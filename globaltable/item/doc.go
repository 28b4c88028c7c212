// Package item has attribute values, items, numbers and keys as bytes: the only binary encoding of items, the only wire
// JSON, DynamoDB's size rules, and keys whose bytes order as their values do.
package item
