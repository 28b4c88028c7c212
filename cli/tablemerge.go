package cli

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	ucli "github.com/urfave/cli/v2"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode/admin"
)

func mergeCommand(s Streams) *ucli.Command {
	return &ucli.Command{
		Name:      "merge",
		Usage:     "say how concurrent writes of several regions to a table merge",
		ArgsUsage: "[NAME]",
		Description: "lww: the greater stamp wins the item. attribute: it wins each top-level attribute. vector: ADD to numbers, and ADD to and DELETE from sets, of all regions count, and\n" +
			"attributes with a declared type merge by it: counter, set, map, max, min, register. Types are declared in any mode and count in vector.\n" +
			"The table is read and written all the time: what was written stays as it is, and from the moment at which a region hears of the change it records its writes so. Mode and types are the tags\n" +
			globaltable.MergeTag + " and " + globaltable.TypeTagPrefix + "ATTRIBUTE of the table.",
		Flags: []ucli.Flag{
			&ucli.StringFlag{Name: "table", Usage: "`NAME` of the table, instead of the word"},
			&ucli.StringFlag{Name: "mode", Usage: "`MODE`: lww, attribute or vector"},
			&ucli.StringSliceFlag{Name: "type", Usage: "`ATTRIBUTE=TYPE` (repeatable): counter, set, map, max, min or register; none: no longer declared"},
		},
		Action: func(c *ucli.Context) error { return mergeTable(c, s) },
	}
}

// mergeChanged is the result of `table merge`.
type mergeChanged struct {
	Table string `json:"table"`
	admin.Merge
	Changed []mergeChange `json:"changed"` // the mode first, then attributes in order; empty: all was so already
}

// mergeChange is one setting that is another one than before.
type mergeChange struct {
	Attribute string `json:"attribute,omitempty"` // whose declared type has changed; empty: the mode has
	From      string `json:"from"`
	To        string `json:"to"`
}

func mergeTable(c *ucli.Context, s Streams) error {
	at, err := tableNamed(c)
	if err != nil {
		return err
	}
	set, err := mergeOf(c)
	if err != nil {
		return err
	}
	before, err := at.get(c.Context)
	if err != nil {
		return err
	}
	after, err := at.ask(c.Context, "change table "+at.name, http.MethodPatch, "", admin.TablePatch{Merge: set})
	if err != nil {
		return err
	}
	out := mergeChanged{Table: after.Name, Merge: after.Merge, Changed: mergeChanges(before.Merge, after.Merge)}
	if err := emit(c, s.Out, out, func(w io.Writer) error { return writeMergeChanged(w, out) }); err != nil {
		return err
	}
	if len(after.Merge.Types) > 0 && after.Merge.Mode != conflict.Vector.String() {
		fmt.Fprintf(s.Err, "Declared types count in mode vector; the mode is %s.\n", after.Merge.Mode)
	}
	return nil
}

// tableNamed returns the table that a word or --table names.
func tableNamed(c *ucli.Context) (at tableAt, err error) {
	if at.base, err = adminURL(c); err != nil {
		return at, err
	}
	given, err := words(c)
	if err != nil {
		return at, err
	}
	at.name = c.String("table")
	switch {
	case len(given) == 0 && at.name == "":
		return at, wrongUsage(c, "merge needs a NAME, or --table")
	case len(given) > 0 && at.name != "":
		return at, wrongUsage(c, "give NAME or --table, not both")
	case len(given) > 0:
		at.name = given[0]
	}
	return at, nil
}

// mergeOf reads what the flags want.
func mergeOf(c *ucli.Context) (*admin.SetMerge, error) {
	set := &admin.SetMerge{Mode: c.String("mode"), Types: map[string]string{}}
	if c.IsSet("mode") {
		if _, err := globaltable.ParseMergeMode(set.Mode); err != nil {
			return nil, wrongUsage(c, "--mode is %q; it can be lww, attribute or vector", set.Mode)
		}
	}
	for _, text := range c.StringSlice("type") {
		i := strings.LastIndexByte(text, '=')
		if i < 1 {
			return nil, wrongUsage(c, "--type is %q; it is ATTRIBUTE=TYPE", text)
		}
		name, typ := text[:i], text[i+1:]
		if _, _, err := globaltable.ParseMergeType(typ); err != nil {
			return nil, wrongUsage(c, "--type is %q; the type can be counter, set, map, max, min, register or none", text)
		}
		if was, twice := set.Types[name]; twice && was != typ {
			return nil, wrongUsage(c, "--type gives %q two types", name)
		}
		set.Types[name] = typ
	}
	if set.Mode == "" && len(set.Types) == 0 {
		return nil, wrongUsage(c, "give --mode, --type or both")
	}
	return set, nil
}

// mergeChanges says what is another one than before.
func mergeChanges(before, after admin.Merge) []mergeChange {
	out := []mergeChange{}
	if before.Mode != after.Mode {
		out = append(out, mergeChange{From: before.Mode, To: after.Mode})
	}
	all := maps.Clone(before.Types)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, after.Types)
	typeIn := func(m admin.Merge, name string) string {
		if typ, ok := m.Types[name]; ok {
			return typ
		}
		return globaltable.TypeNone
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if from, to := typeIn(before, name), typeIn(after, name); from != to {
			out = append(out, mergeChange{Attribute: name, From: from, To: to})
		}
	}
	return out
}

func writeMergeChanged(w io.Writer, m mergeChanged) error {
	if len(m.Changed) == 0 {
		_, err := fmt.Fprintf(w, "Table %s: nothing has changed; its mode is %s.\n", m.Table, m.Mode)
		return err
	}
	fmt.Fprintf(w, "Table %s:\n", m.Table)
	rows := newTable("setting", "before", "now")
	for _, c := range m.Changed {
		what := "mode"
		if c.Attribute != "" {
			what = fmt.Sprintf("type of %q", c.Attribute)
		}
		rows.AppendRow(table.Row{what, c.From, c.To})
	}
	return render(w, rows)
}

// typeLines has a text for each declared type, in the order of attributes.
func typeLines(m admin.Merge) (out []string) {
	for _, name := range slices.Sorted(maps.Keys(m.Types)) {
		out = append(out, fmt.Sprintf("%q=%s", name, m.Types[name]))
	}
	return out
}
