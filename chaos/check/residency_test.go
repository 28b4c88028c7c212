package check

import (
	"strings"
	"testing"
)

func TestResidency(t *testing.T) {
	here, pinned := Key{Table: 7, Bytes: "US#1"}, Key{Table: 7, Bytes: "EU#1"}
	may := func(k Key) bool { return !strings.HasPrefix(k.Bytes, "EU#") }
	find(t, Residency(1, nil, may), "")
	find(t, Residency(1, []Kept{{here, "a record"}, {here, "a log"}}, may), "")
	find(t, Residency(1, []Kept{{here, "a record"}, {pinned, "a log"}}, may), "keeps something of "+pinned.String()+" in a log")
	if found := Residency(1, []Kept{{pinned, "a log"}, {pinned, "a record"}, {pinned, "a log"}}, may); len(found) != 2 || found[0].Region != 1 || found[0].Invariant != "I18" {
		t.Errorf("each place is one finding: %v", found)
	}
}

func TestSending(t *testing.T) {
	k := Key{Table: 7, Bytes: "EU#1"}
	may := func(to uint16, _ Key) bool { return to == 2 }
	find(t, Sending(1, []Given{{Kept{k, "a stream"}, 2}}, may), "")
	find(t, Sending(1, []Given{{Kept{k, "a stream"}, 2}, {Kept{k, "a stream"}, 3}}, may), "gives region 3 something of "+k.String()+" in a stream")
}
