package plan

import (
	"strconv"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/expr"
	"github.com/concordat-db/concordat/globaltable/item"
)

// CheckIndexKeys checks the attributes of a whole item, as a client is about to write it, that are in keys of the table's indexes: an item may be without them, but not have them in another
// type, empty or too large. The error is a *globaltable.Error of kind Invalid, with DynamoDB's words.
func CheckIndexKeys(t *globaltable.Table, it item.Item) error {
	for i := range t.Indexes {
		x := &t.Indexes[i]
		for _, a := range x.Partition {
			if err := checkIndexKey(x, &a, it, item.MaxPartitionKeySize); err != nil {
				return err
			}
		}
		for _, a := range x.Sort {
			if err := checkIndexKey(x, &a, it, item.MaxSortKeySize); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkUpdated is CheckIndexKeys for what an update has made of the attributes that it names.
func checkUpdated(t *globaltable.Table, cells []expr.Cell) error {
	for i := range t.Indexes {
		x := &t.Indexes[i]
		for j := range cells {
			c := &cells[j]
			limit := item.MaxPartitionKeySize
			for _, list := range [...][]globaltable.KeyAttribute{x.Partition, x.Sort} {
				for _, a := range list {
					if err := checkUpdatedKey(x, &a, c, limit); err != nil {
						return err
					}
				}
				limit = item.MaxSortKeySize
			}
		}
	}
	return nil
}

func checkUpdatedKey(x *globaltable.Index, a *globaltable.KeyAttribute, c *expr.Cell, limit int) error {
	switch {
	case c.Value == nil || a.Name != string(c.Name):
		return nil
	case c.Value.Type() != a.Type:
		return invalid("The update expression attempted to update the secondary index key to unsupported type")
	case a.Type != item.N && c.Value.Len() == 0:
		return invalid("One or more parameter values are not valid. The update expression attempted to update a secondary index key to a value that is not supported. " +
			"The AttributeValue for a key attribute cannot contain an empty " + kindOf(a.Type) + " value. IndexName: " + x.Name + ", IndexKey: " + a.Name)
	case a.Type != item.N && c.Value.Len() > limit:
		return invalid("The update expression attempted to update the secondary index key beyond allowed size limits.")
	}
	return nil
}

func checkIndexKey(x *globaltable.Index, a *globaltable.KeyAttribute, it item.Item, limit int) error {
	v, ok := it.GetString(a.Name)
	switch {
	case !ok:
		return nil
	case v.Type() != a.Type:
		return invalid("One or more parameter values were invalid: Type mismatch for Index Key " + a.Name + " Expected: " + a.Type.String() + " Actual: " + v.Type().String() + " IndexName: " + x.Name)
	case a.Type == item.N:
		return nil
	case v.Len() == 0:
		return invalid("One or more parameter values are not valid. A value specified for a secondary index key is not supported. " +
			"The AttributeValue for a key attribute cannot contain an empty " + kindOf(a.Type) + " value. IndexName: " + x.Name + ", IndexKey: " + a.Name)
	case v.Len() > limit:
		return invalid("One or more parameter values were invalid: Size limit exceeded for Index Key " + a.Name + " Actual Size: " + strconv.Itoa(v.Len()) +
			" bytes Max Size: " + strconv.Itoa(limit) + " bytes IndexName: " + x.Name)
	}
	return nil
}

// kindOf is what messages about empty values call an S or a B.
func kindOf(t item.Type) string {
	if t == item.B {
		return "binary"
	}
	return "string"
}
