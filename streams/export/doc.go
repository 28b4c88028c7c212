// Package export writes a table for analysis: its changes, or a snapshot of it, as Parquet or NDJSON files, into a directory or a bucket, from where Spark, DuckDB and the like read them.
//
// # An export is a manifest and parts
//
// A part is an object that is written once, whole; the manifest, manifest.json beside the parts, names them, with rows and checksum, and says where the export goes on. It is written after each part. So who reads the parts that it names reads each change, or item, once; an export that was broken off goes on after the last one that is named, and a part that is not is
// written anew. Nothing is remembered elsewhere.
//
// Items are in columns of text, as the DynamoDB API's JSON: tables have no schema but their key.
package export
