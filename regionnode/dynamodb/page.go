package dynamodb

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/valyala/fastjson"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/expr"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/globaltable/plan"
	"github.com/concordat-db/concordat/regionnode/commit"
)

const (
	// maxPageBytes is the size of items at which a page ends, before the filter.
	maxPageBytes = 1 << 20
	// maxSkippedBytes is the size of items that are passed over, since they may not be shown here, at which a page ends.
	maxSkippedBytes = 16 << 20
	maxSegments     = 1_000_000
)

func (c *call) query(p *fastjson.Object) error { return c.readPage(queryParameters, p) }
func (c *call) scan(p *fastjson.Object) error  { return c.readPage(scanParameters, p) }

// readPage answers a Query or a Scan.
func (c *call) readPage(may parameterSet, p *fastjson.Object) error {
	r := &c.request
	if err := c.read(r, may, p); err != nil {
		return err
	}
	table, err := c.table(r.table)
	if err != nil {
		return err
	}
	span, err := r.span(c.server, table)
	if err != nil {
		return err
	}
	pg := page{named: r.table, span: span, where: r.where, shown: r.shown, consistent: r.consistent, limit: math.MaxInt32, list: string(r.selects) != "COUNT", fetch: r.fetches(span)}
	pg.whole = pg.fetch && (r.shown != nil || string(r.selects) == "ALL_ATTRIBUTES")
	if r.limit.given {
		pg.limit = int(min(r.limit.value, math.MaxInt32))
	}
	return c.answerPage(&pg)
}

// combinePages checks what Select, Segment and their like mean together.
func (r *itemRequest) combinePages() error {
	selects := string(r.selects)
	projection := "ProjectionExpression"
	if r.has(pAttributesToGet) {
		projection = "AttributesToGet"
	}
	switch {
	case r.segment.given && !r.segments.given:
		return invalid("The TotalSegments parameter is required but was not present in the request when Segment parameter is present")
	case r.segments.given && !r.segment.given:
		return invalid("The Segment parameter is required but was not present in the request when parameter TotalSegments is present")
	case r.segment.given && r.segment.value >= r.segments.value:
		return invalidf("The Segment parameter is zero-based and must be less than parameter TotalSegments: Segment: %d is not less than TotalSegments: %d",
			r.segment.value, r.segments.value)
	case r.has(pProjectionExpression|pAttributesToGet) && selects == "COUNT":
		return invalid("Cannot specify the " + projection + " when choosing to get only the Count")
	case r.has(pProjectionExpression|pAttributesToGet) && selects != "" && selects != "SPECIFIC_ATTRIBUTES":
		return invalid("Cannot specify the " + projection + " when choosing to get " + selects)
	case !r.has(pProjectionExpression|pAttributesToGet) && selects == "SPECIFIC_ATTRIBUTES":
		return invalid("Must specify the AttributesToGet or ProjectionExpression when choosing to get SPECIFIC_ATTRIBUTES")
	case selects == "ALL_PROJECTED_ATTRIBUTES" && r.index == nil:
		return invalid("ALL_PROJECTED_ATTRIBUTES can be used only when Querying using an IndexName")
	case r.may&pKeyConditions != 0 && !r.has(pKeyConditionExpression|pKeyConditions):
		return invalid("Either the KeyConditions or KeyConditionExpression parameter must be specified in the request.")
	}
	return nil
}

// span finds what the request reads, and checks what its parameters mean for that.
func (r *itemRequest) span(server *Server, t *globaltable.Table) (s *plan.Span, err error) {
	var x *globaltable.Index
	if r.index != nil {
		if x, err = server.readable(t, string(r.index), r.consistent); err != nil {
			return nil, err
		}
	}
	if r.which != nil {
		if s, err = plan.Query(t, x, r.which.Terms, r.backward); err != nil {
			return nil, err
		}
		if r.where != nil {
			if err := s.CheckFilter(r.filterName(), r.where.Names); err != nil {
				return nil, err
			}
		}
	} else {
		s = plan.Scan(t, x, uint64(r.segment.value), uint64(max(1, r.segments.value)))
	}
	if x != nil && !x.Local {
		if err := r.checkGlobal(s); err != nil {
			return nil, err
		}
	}
	if r.start != nil {
		return s, r.startFault(s.StartAfter(r.attributes))
	}
	return s, nil
}

// filterName is what messages call the filter.
func (r *itemRequest) filterName() string {
	if r.has(pQueryFilter) {
		return "QueryFilter"
	}
	return "Filter Expression"
}

// readable returns the index with the name, if it may be read.
func (s *Server) readable(t *globaltable.Table, name string, consistent bool) (*globaltable.Index, error) {
	x := t.IndexNamed(name)
	if x == nil {
		return nil, invalid("The table does not have the specified index: " + name)
	}
	if consistent && !x.Local {
		return nil, invalid("Consistent reads are not supported on global secondary indexes")
	}
	if status, ok := s.config.Shard.Index(t.ID, x.ID); !ok || !status.Ready {
		return nil, invalid("Cannot read from backfilling global secondary index: " + x.Name)
	}
	return x, nil
}

// checkGlobal refuses to get from a global index what it does not have.
func (r *itemRequest) checkGlobal(s *plan.Span) error {
	if string(r.selects) == "ALL_ATTRIBUTES" && !s.ShowsAll() {
		return invalid("One or more parameter values were invalid: Select type ALL_ATTRIBUTES is not supported for global secondary index " + s.Index.Name +
			" because its projection type is not ALL")
	}
	return checkProjected(s, r.shown)
}

// checkProjected refuses a projection of what a global index does not project.
func checkProjected(s *plan.Span, p *expr.Projection) error {
	if s.Index == nil || s.Index.Local || p == nil {
		return nil
	}
	if names := s.Unshown(p.Names); names != nil {
		slices.Sort(names)
		return invalid("One or more parameter values were invalid: Global secondary index " + s.Index.Name + " does not project [" + strings.Join(names, ", ") + "]")
	}
	return nil
}

// fetches reports whether a read of a local index gets items whole, since it asks for more than the index has.
func (r *itemRequest) fetches(s *plan.Span) bool {
	return string(r.selects) == "ALL_ATTRIBUTES" && s.Index != nil && s.Index.Local && !s.ShowsAll() || needsMore(s, r.shown, r.where)
}

// needsMore reports whether a projection or a filter on a local index is about what it does not project.
func needsMore(s *plan.Span, p *expr.Projection, where *expr.Condition) bool {
	if s.Index == nil || !s.Index.Local {
		return false
	}
	return p != nil && s.Unshown(p.Names) != nil || where != nil && s.Unshown(where.Names) != nil
}

const startIsInvalid = "The provided starting key is invalid"

// badStart is the fault of an ExclusiveStartKey with a wrong value.
func badStart(err error) error { return invalid(startIsInvalid + ": " + translate(err, false).message) }

// startFault is what DynamoDB says to an ExclusiveStartKey.
func (r *itemRequest) startFault(f plan.StartFault) error {
	query := r.which != nil
	switch {
	case f == plan.StartOK:
		return nil
	case f == plan.StartSize && query && r.index == nil:
		return invalid("Exclusive Start Key must have same size as table's key schema")
	case f == plan.StartSize && query, f == plan.StartSchema && r.index != nil:
		return invalid(startIsInvalid)
	case f == plan.StartSingle:
		return invalid("The query can return at most one row and cannot be restarted")
	case f == plan.StartRange:
		return invalid("The provided starting key does not match the range key predicate")
	case f == plan.StartOutside && query:
		return invalid("The provided starting key is outside query boundaries based on provided conditions")
	case f == plan.StartOutside:
		return invalid(startIsInvalid + ": Invalid ExclusiveStartKey. Please use ExclusiveStartKey with correct Segment. " +
			"TotalSegments: " + strconv.FormatInt(r.segments.value, 10) + " Segment: " + strconv.FormatInt(r.segment.value, 10))
	}
	return invalid(startIsInvalid + ": The provided key element does not match the schema")
}

// page is a page of a Query or a Scan as it grows.
type page struct {
	named      text // the table, as the request names it
	span       *plan.Span
	where      *expr.Condition  // nil: all items
	shown      *expr.Projection // nil: whole items
	consistent bool
	limit      int  // of items scanned
	list       bool // items are listed, not only counted
	fetch      bool // items are read whole although the index has less
	whole      bool // and shown whole, or as far as the projection asks, rather than as far as the index projects

	scanned, count int
	bytes          int     // of what was scanned, in the table or the index
	read           int     // of that and of what was read beside it: what a page's size is about
	fetched        float64 // units of what was read beside the index
	skipped        int     // bytes of what may not be shown
	ended          bool    // there may be more after last
	last           item.Key
}

// answerPage reads one page and appends the answer.
func (c *call) answerPage(pg *page) error {
	c.out = append(c.out, '{')
	if pg.list {
		c.out = append(c.out, `"Items":[`...)
	}
	if err := c.readSpan(pg); err != nil {
		return err
	}
	if pg.list {
		c.out = append(c.out, "],"...)
	}
	c.out = append(c.out, `"Count":`...)
	c.out = strconv.AppendInt(c.out, int64(pg.count), 10)
	c.out = append(c.out, `,"ScannedCount":`...)
	c.out = strconv.AppendInt(c.out, int64(pg.scanned), 10)
	return c.endPage(pg, capacityOf(c.request.capacity))
}

// endPage appends where the page ended and what it consumed.
func (c *call) endPage(pg *page, what capacity) error {
	if pg.ended {
		at, err := pg.span.AppendPosition(nil, pg.last)
		if err != nil {
			return err
		}
		c.out = at.AppendJSON(append(c.field(), `"LastEvaluatedKey":`...))
	}
	if what != capacityNone {
		spent := consumed{pg.named, pg.span.Table, pg.units()}
		c.out = spent.append(append(c.field(), `"ConsumedCapacity":`...), what, "")
	}
	c.out = append(c.out, '}')
	return nil
}

// readSpan reads what is in the page's span, until the span or the page ends, and appends the items.
func (c *call) readSpan(pg *page) error {
	s := pg.span
	span := commit.Range{Table: s.Table.ID, Lower: s.Lower, Upper: s.Upper, Backward: s.Backward}
	if s.Index != nil {
		span.Index = s.Index.ID
	}
	pg.last = c.request.itemKey[:0]
	c.partial = withheld(s.Table, c.server.config.Origin)
	err := c.door.walk(pg, span, func(key item.Key, current commit.Current) (more bool) { return c.scanOne(pg, key, current.Item) })
	c.request.itemKey = pg.last
	return err
}

// skip passes over an item that may not be shown here, and reports whether to go on. Many of them end the page, but not before there is a position that may be told.
func (pg *page) skip(size int) (more bool) {
	pg.skipped += size
	pg.ended = pg.scanned > 0 && pg.skipped > maxSkippedBytes
	return !pg.ended
}

// scanOne takes the next item into the page, and reports whether there is to be another one.
func (c *call) scanOne(pg *page, key item.Key, it item.Item) (more bool) {
	seen, shown := it, it // by the filter and by the client
	size, beside := 0, 0
	if !pg.span.ShowsAll() {
		c.projected = pg.span.AppendShown(c.projected[:0], it)
		if size = c.projected.Size(); pg.fetch {
			beside = it.Size()
		} else {
			seen = c.projected
		}
		if !pg.whole {
			shown = c.projected
		}
	} else {
		size = it.Size()
	}
	shows := pg.where == nil || pg.where.Holds(seen)
	if pg.scanned > 0 && (pg.read+size+beside > maxPageBytes || shows && pg.list && !c.reserve(int64(max(size, beside)))) {
		pg.ended = true
		return false
	}
	if shows {
		if pg.list {
			if pg.count > 0 {
				c.out = append(c.out, ',')
			}
			c.out = c.show(c.out, shown, pg.shown)
		}
		pg.count++
	}
	if pg.fetch {
		pg.fetched += plan.ReadUnits(beside, pg.consistent)
	}
	pg.scanned++
	pg.bytes += size
	pg.read += size + beside
	pg.last = append(pg.last[:0], key...)
	pg.ended = pg.scanned >= pg.limit
	return !pg.ended
}

// units is what the page consumed.
func (pg *page) units() plan.Units {
	units := plan.ReadUnits(pg.bytes, pg.consistent)
	if pg.span.Index == nil {
		return plan.Units{Table: units}
	}
	u := plan.Units{Table: pg.fetched, Indexes: make([]float64, len(pg.span.Table.Indexes))}
	for i := range pg.span.Table.Indexes {
		if &pg.span.Table.Indexes[i] == pg.span.Index {
			u.Indexes[i] = units
		}
	}
	return u
}
