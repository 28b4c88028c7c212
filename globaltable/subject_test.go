package globaltable

import (
	"fmt"
	"strings"
	"testing"
)

func TestValidateHeard(t *testing.T) {
	for _, good := range [][]string{nil, {"orders"}, {"orders.paid"}, {"orders.>"}, {"orders.*"}, {"orders.*.eu.>"}, {"Concordat.x"}, {"concordats"}, {"a.concordat.$x._y"}, {"bestellung.größe", `a"b\c.d`},
		{"orders.paid", "orders.paid.late", "orders", "order.*"}, {strings.Repeat("a", MaxSubjectLen)}} {
		if err := ValidateHeard(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	many := make([]string, MaxHeardSubjects+1)
	for i := range many {
		many[i] = fmt.Sprint("s", i)
	}
	if err := ValidateHeard(many[1:]); err != nil {
		t.Error(err)
	}
	for _, bad := range [][]string{many, {""}, {">"}, {"*"}, {"*.paid"}, {"*.>"}, {"concordat"}, {"concordat.>"}, {"concordat.events.orders.>"}, {"$JS.API.>"}, {"$SYS.>"}, {"$x"}, {"_INBOX.>"}, {"_R_.>"}, {"_"}, {".a"}, {"a."}, {"a..b"}, {"a.>.b"}, {"a.b>"}, {"a.b*"},
		{"a b"}, {"a\tb"}, {"a\u00a0b"}, {"a\u2028b"}, {"a\x00"}, {"a\xff"}, {"orders.paid queue"}, {strings.Repeat("a", MaxSubjectLen+1)}, {"a." + strings.Repeat("*.", 127) + "*"},
		{"a", "a"}, {"a.>", "a.b"}, {"a.b", "a.>"}, {"a.*", "a.b"}, {"a.*.c", "a.b.*"}, {"a.>", "a.*"}, {"x", "a.>", "y", "a.b.c"}} {
		if err := ValidateHeard(bad); KindOf(err) != Invalid {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
