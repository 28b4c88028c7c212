package regionnode

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/valyala/fastjson"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/globaltable/locality"
	"github.com/concordat-db/concordat/globaltable/manifest"
	"github.com/concordat-db/concordat/globaltable/plan"
	"github.com/concordat-db/concordat/globaltable/policy"
	"github.com/concordat-db/concordat/regionnode/admin"
	"github.com/concordat-db/concordat/regionnode/controlplane"
)

// policies is the node's policies for operators: admin.Policies.
type policies struct{ n *Node }

const opPolicies = "policies"

// tablesNamed returns the tables that have their name here, by name; only the one named, if one is.
func (n *Node) tablesNamed(op, name string) (out []*globaltable.Table, err error) {
	v := n.catalog.View()
	if name != "" {
		t, ok := v.Lookup(name)
		if !ok {
			return nil, catalog.NotFound(op, name)
		}
		return []*globaltable.Table{t}, nil
	}
	for after, more := "", true; more; {
		var names []string
		names, more = v.Names(after, 1000)
		for _, name := range names {
			t, _ := v.Lookup(name)
			out, after = append(out, t), name
		}
	}
	return out, nil
}

// Policies implements admin.Policies.
func (p policies) Policies(_ context.Context, table string) (admin.PolicyList, error) {
	out := admin.PolicyList{Region: p.n.cfg.Region.Name, Policies: []admin.Policy{}}
	tables, err := p.n.tablesNamed(opPolicies, table)
	for _, t := range tables {
		for _, one := range catalog.PoliciesOf(t, p.n.catalog.View().Policies(t.ID)) {
			row := rowOf(t, &one.Document)
			row.InForce = true
			p.describe(&row, one.Version)
			out.Policies = append(out.Policies, row)
		}
	}
	return out, err
}

// describe adds what a version says.
func (p policies) describe(row *admin.Policy, v *policy.Version) {
	if v == nil {
		return
	}
	at := time.UnixMilli(v.At).UTC()
	row.Version, row.Sequence, row.Deleted, row.Author, row.Reason, row.At = v.Number, v.Sequence, v.Deleted, v.Author, v.Reason, &at
	row.TableVersion, row.By = v.In.String(), p.n.regionName(v.By)
}

// past returns the tables that have their name here, and those that were deleted, in any region; only those with the name or id, if one is given. They are sorted by name; of those with one name, what is there now comes first,
// then what was deleted, the newest first.
func (p policies) past(name string) (out []*globaltable.Table, err error) {
	v := p.n.catalog.View()
	v.Tables(func(t *globaltable.Table) bool {
		here, _ := v.Lookup(t.Name)
		if (t.Deleted || here == t) && (name == "" || t.Name == name || t.ID.String() == name) {
			out = append(out, t)
		}
		return true
	})
	if name != "" && len(out) == 0 {
		return nil, catalog.NotFound(opPolicies, name)
	}
	deleted := func(t *globaltable.Table) int {
		if t.Deleted {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(out, func(a, b *globaltable.Table) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(deleted(a), deleted(b)), cmp.Compare(b.CreatedAt, a.CreatedAt))
	})
	return out, nil
}

// PolicyHistory implements admin.Policies. A table's document stays in the catalog when it is deleted, and so does what it had of policies.
func (p policies) PolicyHistory(_ context.Context, table, name string) (admin.PolicyList, error) {
	out := admin.PolicyList{Region: p.n.cfg.Region.Name, Policies: []admin.Policy{}}
	tables, err := p.past(table)
	for _, t := range tables {
		history := p.n.catalog.View().Policies(t.ID)
		var inForce []catalog.PolicyInForce
		if !t.Deleted {
			inForce = catalog.PoliciesOf(t, history)
		}
		for _, v := range slices.Backward(history) {
			if name != "" && v.Document.Name != name {
				continue
			}
			row := rowOf(t, &v.Document)
			row.InForce = slices.ContainsFunc(inForce, func(one catalog.PolicyInForce) bool { return one.Version == v })
			p.describe(&row, v)
			out.Policies = append(out.Policies, row)
		}
	}
	return out, err
}

func rowOf(t *globaltable.Table, d *policy.Document) admin.Policy {
	return admin.Policy{Table: t.Name, TableID: t.ID.String(), TableDeleted: t.Deleted, Name: d.Name, Kind: d.Kind, Document: *d}
}

// tableChange is what a request wants of one table.
type tableChange struct {
	table  string
	change catalog.PolicyChange
}

// byTable divides a request, in the order in which it names tables.
func byTable(r *admin.PolicyRequest) (out []tableChange, err error) {
	if err := policy.CheckWords(r.Author, r.Reason); err != nil {
		return nil, err
	}
	of := func(table string) *catalog.PolicyChange {
		i := slices.IndexFunc(out, func(c tableChange) bool { return c.table == table })
		if i < 0 {
			i = len(out)
			out = append(out, tableChange{table, catalog.PolicyChange{Author: r.Author, Reason: r.Reason}})
		}
		return &out[i].change
	}
	for _, d := range r.Documents {
		c := of(d.Table())
		c.Set = append(c.Set, d)
	}
	for _, name := range r.Delete {
		c := of(name.Table)
		c.Delete = append(c.Delete, name.Name)
	}
	if len(out) == 0 || len(r.Documents)+len(r.Delete) > manifest.MaxDocuments {
		return nil, &globaltable.Error{Op: opPolicies, Kind: globaltable.Invalid, Message: fmt.Sprintf("name 1 to %d policies", manifest.MaxDocuments)}
	}
	return out, nil
}

// PlanPolicies implements admin.Policies. What is wrong is told of all tables at once.
func (p policies) PlanPolicies(ctx context.Context, r admin.PolicyRequest) (admin.PolicyPlan, error) {
	out := admin.PolicyPlan{Region: p.n.cfg.Region.Name, Tables: []controlplane.Plan{}}
	changes, err := byTable(&r)
	if err != nil {
		return out, err
	}
	var wrong faults
	for _, c := range changes {
		one, err := p.n.plane.PlanPolicies(ctx, c.table, c.change)
		if wrong.add(err) {
			continue
		}
		if err != nil {
			return out, err
		}
		out.Tables = append(out.Tables, one)
	}
	return out, wrong.err()
}

// faults are what is wrong with a request, table by table.
type faults []*globaltable.Error

// add takes a fault; it reports whether err is one.
func (f *faults) add(err error) bool {
	var fault *globaltable.Error
	if errors.As(err, &fault) {
		*f = append(*f, fault)
	}
	return fault != nil
}

// err returns all faults as one error, of the first one's kind; nil without any.
func (f faults) err() error {
	if len(f) == 0 {
		return nil
	}
	all := *f[0]
	for _, more := range f[1:] {
		all.Message += "\n" + more.Message
	}
	return &all
}

// ApplyPolicies implements admin.Policies. The tables go on side by side.
func (p policies) ApplyPolicies(ctx context.Context, r admin.PolicyRequest) (admin.PolicyProgress, error) {
	out := admin.PolicyProgress{Done: true, Tables: []admin.Table{}}
	changes, err := byTable(&r)
	if err != nil {
		return out, err
	}
	for _, c := range changes {
		t, done, err := p.n.plane.ApplyPolicies(ctx, c.table, c.change)
		if err != nil {
			return out, err
		}
		known, err := p.n.plane.Inspect(ctx, t.Name)
		if err != nil {
			return out, err
		}
		row, err := p.n.tableStatus(ctx, known)
		if err != nil {
			return out, err
		}
		out.Done = out.Done && done
		out.Tables = append(out.Tables, row)
	}
	return out, nil
}

// TestPolicies implements admin.Policies.
func (p policies) TestPolicies(_ context.Context, test admin.PolicyTest) (admin.PolicyPlace, error) {
	tables, err := p.n.tablesNamed(opPolicies, test.Table)
	if err != nil || test.Table == "" {
		return admin.PolicyPlace{}, cmp.Or[error](err, &globaltable.Error{Op: opPolicies, Kind: globaltable.Invalid, Message: "no table is named"})
	}
	t := tables[0]
	key, err := keyOf(t, &test)
	if err != nil {
		return admin.PolicyPlace{}, err
	}
	pins, _ := locality.Matching(t, key)
	out := admin.PolicyPlace{Table: t.Name, Region: p.n.cfg.Region.Name, Match: "no policy matches", Permitted: catalog.Regions(t, locality.Place(t, key)), Others: []admin.PolicyLoser{}}
	foreign := globaltable.Reject
	for i, pin := range pins {
		if i == 0 {
			out.Policy, out.Match, foreign = pin.Name, policy.Describe(&pin.Match), pin.Foreign
			continue
		}
		out.Others = append(out.Others, admin.PolicyLoser{Policy: pin.Name, Match: policy.Describe(&pin.Match), Why: lost(&pin.Match, &pins[0].Match)})
	}
	switch d := locality.Decide(t, key, p.n.cfg.Region.Origin, locality.Admit); {
	case d == locality.Permit:
		out.Here = admin.HereServes
	case d == locality.NotYet:
		out.Here = admin.HereGets
	case foreign == globaltable.Forward:
		out.Here = admin.HereForwards
	default:
		out.Here = admin.HereRejects
	}
	return out, nil
}

// lost says why a policy is less specific than the one that decides.
func lost(m, winner *globaltable.Match) string {
	a, b := m.Rank(), winner.Rank()
	switch {
	case a[0] != b[0] && a[0] == 0:
		return "less specific: it does not look at the sort key"
	case a[0] != b[0]:
		return "less specific: its prefix of the sort key is shorter"
	case a[1] != b[1]:
		return "less specific: it does not look at a component of the partition key"
	case a[2] == 0:
		return "less specific: it does not look at the partition key"
	}
	return "less specific: its prefix of the partition key is shorter"
}

// keyOf returns the key that a test names.
func keyOf(t *globaltable.Table, test *admin.PolicyTest) (item.Key, error) {
	wrong := func(format string, args ...any) error {
		return &globaltable.Error{Op: opPolicies, Resource: t.Name, Kind: globaltable.Invalid, Message: fmt.Sprintf(format, args...)}
	}
	s := &t.KeySchema
	if test.Key != nil {
		if test.Partition != "" || test.Sort != "" {
			return nil, wrong("give the key as JSON or as texts, not both")
		}
		v, err := fastjson.ParseBytes(test.Key)
		if err != nil {
			return nil, wrong("the key is not JSON")
		}
		it, err := item.DecodeItemJSON(nil, v)
		if err != nil {
			return nil, wrong("the key is not an item: %v", err)
		}
		key, err := plan.Key(nil, s, it)
		if err != nil {
			return nil, wrong("the key does not fit the table's, which is %s", keyText(s))
		}
		return key, nil
	}
	if (s.Sort != nil) != (test.Sort != "") {
		return nil, wrong("the key of table %s is %s", t.Name, keyText(s))
	}
	partition, err := valueOf(s.Partition.Type, test.Partition)
	var sort item.Value
	if err == nil && s.Sort != nil {
		sort, err = valueOf(s.Sort.Type, test.Sort)
	}
	var key item.Key
	if err == nil {
		key, err = item.AppendKey(nil, partition, sort)
	}
	if err != nil {
		return nil, wrong("the key does not fit the table's, which is %s", keyText(s))
	}
	return key, nil
}

func valueOf(typ item.Type, text string) (item.Value, error) {
	switch typ {
	case item.N:
		return item.AppendNumberText(nil, text)
	case item.B:
		b, err := base64.StdEncoding.DecodeString(text)
		return item.AppendBinary(nil, b), err
	}
	return item.AppendString(nil, text), nil
}

func keyText(s *globaltable.KeySchema) string {
	parts := []string{fmt.Sprintf("%s (%s)", s.Partition.Name, s.Partition.Type)}
	if s.Sort != nil {
		parts = append(parts, fmt.Sprintf("%s (%s)", s.Sort.Name, s.Sort.Type))
	}
	return strings.Join(parts, " and ")
}
