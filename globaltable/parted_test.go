package globaltable

import (
	"strings"
	"testing"
)

// TestPartedIsShown: a replica that becomes a table of its own serves, and one that has become one is there no more.
func TestPartedIsShown(t *testing.T) {
	table := partedTable()
	if r := table.Disassociating(); r == nil || r.Region != "ap-south-1" || r.Disassociated() {
		t.Errorf("on its way: %+v", r)
	}
	for origin, want := range map[int]Status{9: Updating, 7: Updating, 4: ""} {
		if got := table.StatusIn(table.Replicas[map[int]int{9: 0, 7: 1, 4: 2}[origin]].Origin); got != want {
			t.Errorf("region %d: %q, want %q", origin, got, want)
		}
	}
	if !table.HasParted(0x018bcfe568020004) || table.HasParted(0x018bcfe568030009) {
		t.Error("which tables replicas have become")
	}
	c := table.Clone()
	c.Parted[0]++
	if table.Parted[0] == c.Parted[0] {
		t.Error("a clone shares what it must not")
	}
}

func TestPartedRefuses(t *testing.T) {
	doc := string(EncodeTable(partedTable()))
	for name, c := range map[string][2]string{
		"successor of one that serves":     {`"status":"UPDATING"`, `"status":"ACTIVE"`},
		"gone, and not among them":         {`"018bcfe568020004"]`, `"018bcfe568020005"]`},
		"twice":                            {`["018bcfe568010003",`, `["018bcfe568020004",`},
		"out of order":                     {`["018bcfe568010003",`, `["018bcfe568990003",`},
		"not an id":                        {`["018bcfe568010003",`, `["18",`},
		"successor is not an id":           {`"successor":"018bcfe568030009"`, `"successor":"x"`},
		"succeeds itself":                  {`"018bcfe560000007"`, `"` + partedTable().ID.String() + `"`},
		"succeeds nothing since a version": {`"table":"018bcfe560000007"`, `"table":"0000000000000000"`},
	} {
		if !strings.Contains(doc, c[0]) {
			t.Fatalf("%s: the document has no %s", name, c[0])
		}
		if _, err := DecodeTable([]byte(strings.Replace(doc, c[0], c[1], 1))); KindOf(err) != Corrupt {
			t.Errorf("%s: %v", name, err)
		}
	}
}
