package world

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/concordat-db/concordat/regionnode/admin"
	"github.com/concordat-db/concordat/streams/repair"
)

// indexed is what an index is a function of.
type indexed struct {
	name, partition, sort string
	values                []string                 // of partition
	keyed                 func(it attributes) bool // the item is in it
	projected             func(it attributes) attributes
}

func (s *shared) indexes() []indexed {
	has := func(names ...string) func(attributes) bool {
		return func(it attributes) bool { return len(project(it, names...)) == len(names) }
	}
	return []indexed{
		{byColor, "color", "width", colors, has("color", "width"), func(it attributes) attributes { return it }},
		{byShape, "shape", "", shapes, has("shape"), func(it attributes) attributes { return project(it, "pk", "sk", "shape", "note") }},
		{byGrade, "pk", "grade", partitions, has("grade"), func(it attributes) attributes { return project(it, "pk", "sk", "grade") }},
	}
}

// settle waits until the regions are the same and nothing is about to expire, and compares each index with its table.
func (s *shared) settle() {
	s.t.Helper()
	s.until("both regions have converged", func() bool {
		for _, region := range s.ready.Regions {
			if s.verify(region) != repair.Converged {
				return false
			}
		}
		return true
	})
	soon := int(time.Now().Unix()) + 1800
	s.until("what expires soon is gone, and swept, everywhere", func() bool {
		for _, region := range s.regions {
			items := s.all(region, "")
			if slices.ContainsFunc(items, func(it attributes) bool { at, ok := number(it, "expires"); return ok && at < soon }) || !s.counted(region, items) {
				return false
			}
		}
		return true
	})
	var first []string
	for i, region := range s.regions {
		items := s.all(region, "")
		if texts := textsOf(items); i == 0 {
			first = texts
		} else if !slices.Equal(texts, first) {
			s.t.Errorf("%s has\n%q\n%s has\n%q", s.regions[0], first, region, texts)
		}
		for _, x := range s.indexes() {
			s.compare(region, &x, items)
		}
	}
	if len(first) < 3 {
		s.t.Errorf("only %d items are left to compare", len(first))
	}
}

func textsOf(items []attributes) (out []string) {
	for _, it := range items {
		out = append(out, text(it))
	}
	slices.Sort(out)
	return out
}

// verify is what the region finds when it compares itself with the others.
func (s *shared) verify(region ReadyRegion) string {
	s.t.Helper()
	answer, err := s.http.Get(region.Admin + "/v1/verify?table=" + sharedTable)
	if err != nil {
		s.t.Fatal(err)
	}
	var v admin.Verification
	if err := errors.Join(json.NewDecoder(answer.Body).Decode(&v), answer.Body.Close()); err != nil || answer.StatusCode != http.StatusOK {
		s.t.Fatalf("verify %d: %v", answer.StatusCode, err)
	}
	if v.State == repair.Diverged {
		s.t.Fatalf("%s: %+v", region.Name, v)
	}
	return v.State
}

// all scans the table, or an index.
func (s *shared) all(region, index string) (items []attributes) {
	s.t.Helper()
	in := &dynamodb.ScanInput{TableName: aws.String(sharedTable)}
	if index != "" {
		in.IndexName = &index
	}
	pages := dynamodb.NewScanPaginator(s.db[region], in)
	for pages.HasMorePages() {
		out, err := pages.NextPage(s.t.Context())
		if err != nil {
			s.t.Fatal(err)
		}
		items = append(items, out.Items...)
	}
	return items
}

// counted reports whether the table and its indexes count what they have.
func (s *shared) counted(region string, items []attributes) bool {
	s.t.Helper()
	out, err := s.db[region].DescribeTable(s.t.Context(), &dynamodb.DescribeTableInput{TableName: aws.String(sharedTable)})
	if err != nil {
		s.t.Fatal(err)
	}
	counts := map[string]int64{}
	for _, x := range out.Table.GlobalSecondaryIndexes {
		counts[*x.IndexName] = *x.ItemCount
	}
	for _, x := range out.Table.LocalSecondaryIndexes {
		counts[*x.IndexName] = *x.ItemCount
	}
	for _, x := range s.indexes() {
		if counts[x.name] != int64(len(x.entries(items))) {
			return false
		}
	}
	return *out.Table.ItemCount == int64(len(items))
}

// entries are what an index of these items has to have.
func (x *indexed) entries(items []attributes) (out []attributes) {
	for _, it := range items {
		if x.keyed(it) {
			out = append(out, x.projected(it))
		}
	}
	return out
}

// compare checks that a region's index is the function of its items: as a whole, and each of its partitions, in both directions, in pages.
func (s *shared) compare(region string, x *indexed, items []attributes) {
	s.t.Helper()
	want := x.entries(items)
	if got := textsOf(s.all(region, x.name)); !slices.Equal(got, textsOf(want)) {
		s.t.Errorf("%s, %s has\n%q\nthe table makes\n%q", region, x.name, got, textsOf(want))
	}
	if len(want) == 0 {
		s.t.Errorf("%s, %s: no entry is left to compare", region, x.name)
	}
	seen := 0
	own := slices.Clone(x.values)
	if x.partition == "pk" {
		own = nil
		for _, it := range want {
			if v := it["pk"].(*types.AttributeValueMemberS).Value; !slices.Contains(own, v) {
				own = append(own, v)
			}
		}
	}
	for _, value := range own {
		part := slices.DeleteFunc(slices.Clone(want), func(it attributes) bool { return !is(it, x.partition, value) })
		seen += len(part)
		for _, forward := range []bool{true, false} {
			in := &dynamodb.QueryInput{IndexName: &x.name, KeyConditionExpression: aws.String("#p = :p"), ExpressionAttributeNames: map[string]string{"#p": x.partition},
				ExpressionAttributeValues: attributes{":p": str(value)}, ScanIndexForward: &forward, Limit: aws.Int32(2)}
			c := s.client(region, 99)
			got, err := c.query(fmt.Sprint(x.name, " in the end"), in)
			if err != nil {
				s.t.Error(err)
			}
			if !slices.Equal(textsOf(got), textsOf(part)) {
				s.t.Errorf("%s, %s, %s, forward %v has\n%q\nthe table makes\n%q", region, x.name, value, forward, textsOf(got), textsOf(part))
			}
			switch x.sort {
			case "width":
				c.sorted(x.name, got, forward, false, byNumber(x.sort))
			case "grade":
				c.sorted(x.name, got, forward, false, byText(x.sort))
			}
		}
	}
	if seen != len(want) {
		s.t.Errorf("%s, %s: partitions of %d entries, %d are there", region, x.name, seen, len(want))
	}
}
