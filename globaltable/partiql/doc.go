// Package partiql has DynamoDB's dialect of PartiQL. Parse turns a statement and its parameters into what the other operations work
// with: an item, an expr.Update, an expr.Projection, conditions on keys and an expr.Condition.
//
// # What a caller does with a Statement
//
//	Select  With the key attributes of the table or index, Where.Query says which ranges to read, as Query does, and what filters them;
//	        without ranges it is a Scan. Projection and OrderBy are about the answer.
//	Insert  A put of Item on the condition that there is none with its key.
//	Update  With the table's key attributes, Where.Key says which item it is about and what condition is left; an UpdateItem of it
//	        on that condition, and that it exists.
//	Delete  As Update, a DeleteItem.
//	Exists  As Update, a ConditionCheck; only in transactions.
//
// # Grammar
//
//	statement = SELECT ( * | path { , path } ) FROM source [ WHERE condition ] [ ORDER BY name [ ASC | DESC ] { , … } ]
//	          | EXISTS ( SELECT … )
//	          | INSERT INTO table VALUE value
//	          | UPDATE table { SET path = data { , … } | REMOVE path { , … } } WHERE condition [ RETURNING ( ALL | MODIFIED ) ( OLD | NEW ) * ]
//	          | DELETE FROM table WHERE condition [ RETURNING ALL OLD * ]
//	source    = table [ . index ]
//	data      = operand [ ( + | - ) operand ] | list_append( operand , operand ) | set_add( path , value ) | set_delete( path , value )
//	condition = as SQL has it: OR, AND, NOT, comparisons, [ NOT ] BETWEEN, [ NOT ] IN, IS [ NOT ] ( MISSING | NULL | type ), and the functions
//	            attribute_type, begins_with, contains and size
//	value     = 'string' | number | TRUE | FALSE | NULL | ? | [ value , … ] | { 'name' : value , … } | << value , … >>
//
// Keywords and functions have no case, names have. A name is a word, or anything within double quotes.
//
// # Errors
//
// They are *item.Error of class Validation in DynamoDB's words.
package partiql
