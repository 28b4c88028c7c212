package dynamodb

import (
	"bytes"
	"strings"

	"github.com/valyala/fastjson"

	"github.com/concordat-db/concordat/globaltable"
)

// account stands in ARNs where AWS has the account's number: there are no accounts here.
const account = "000000000000"

func arn(region, table string) string {
	return "arn:aws:dynamodb:" + region + ":" + account + ":table/" + table
}

// tableOfARN returns the table that an ARN of this region names. There are no accounts: any number is taken.
func tableOfARN(s, region string) (name string, ok bool) {
	of, resource, ok := cutARN(s)
	if !ok || of != region {
		return "", false
	}
	name, ok = strings.CutPrefix(resource, "table/")
	return name, ok && globaltable.ValidTableName(name)
}

// cutARN returns the region of an ARN of DynamoDB's, and what comes after the account.
func cutARN(s string) (region, resource string, ok bool) {
	parts := strings.SplitN(s, ":", 6)
	if len(parts) != 6 || parts[0] != "arn" || parts[1] == "" || parts[2] != "dynamodb" || len(parts[4]) != len(account) {
		return "", "", false
	}
	return parts[3], parts[5], strings.Trim(parts[4], "0123456789") == ""
}

// streamARN is the ARN of a table's stream.
func streamARN(region, table, label string) string { return arn(region, table) + "/stream/" + label }

// streamOfARN returns what the ARN of a stream names. since is when the stream began, in Unix milliseconds.
func streamOfARN(s string) (region, table string, since int64, ok bool) {
	region, resource, ok := cutARN(s)
	if !ok {
		return "", "", 0, false
	}
	name, label, ok := strings.Cut(resource, "/stream/")
	table, isTable := strings.CutPrefix(name, "table/")
	if !ok || !isTable || !globaltable.ValidTableName(table) {
		return "", "", 0, false
	}
	since, ok = globaltable.ParseStreamLabel(label)
	return region, table, since, ok
}

// nameTable replaces a table's ARN by its name, in a request that has one as TableName: DynamoDB takes either. What is no ARN of this region is left to the
// check of names.
func (c *call) nameTable(request *fastjson.Object) {
	v := request.Get("TableName")
	if v == nil || v.Type() != fastjson.TypeString {
		return
	}
	if given := v.GetStringBytes(); bytes.HasPrefix(given, []byte("arn:")) {
		if name, ok := tableOfARN(string(given), c.server.config.Region); ok {
			request.Set("TableName", c.arena.NewString(name))
		}
	}
}
