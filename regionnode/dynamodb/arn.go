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
	parts := strings.SplitN(s, ":", 6)
	if len(parts) != 6 || parts[0] != "arn" || parts[1] == "" || parts[2] != "dynamodb" || parts[3] != region || len(parts[4]) != len(account) {
		return "", false
	}
	if strings.Trim(parts[4], "0123456789") != "" {
		return "", false
	}
	name, ok = strings.CutPrefix(parts[5], "table/")
	return name, ok && globaltable.ValidTableName(name)
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
