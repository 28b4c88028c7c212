package cli

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/goccy/go-yaml"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	ucli "github.com/urfave/cli/v2"
)

// format is how a result is written.
type format string

const (
	formatTable format = "table" // for people
	formatJSON  format = "json"  // one document, the value's JSON
	formatYAML  format = "yaml"  // the same as YAML
)

func formatOf(c *ucli.Context) (format, error) {
	switch f := format(common(c, flagOutput)); f {
	case formatTable, formatJSON, formatYAML:
		return f, nil
	default:
		return "", wrongUsage(c, "--output is %q; it can be table, json or yaml", string(f))
	}
}

// emit writes v as the flags say. people writes the table form.
func emit(c *ucli.Context, w io.Writer, v any, people func(io.Writer) error) error {
	f, err := formatOf(c)
	if err != nil {
		return err
	}
	if f == formatTable {
		return people(w)
	}
	return write(w, f, v)
}

// write writes one document, in a format that is not for people.
func write(w io.Writer, f format, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	if f == formatYAML {
		// By way of JSON, so that names and forms of fields are the same in both.
		if b, err = yaml.JSONToYAML(b); err != nil {
			return fmt.Errorf("write result: %w", err)
		}
	} else {
		b = append(b, '\n')
	}
	_, err = w.Write(b)
	return err
}

// emitLine writes v as one of many, while they come: a line for people, one of JSON, or a document of YAML.
func emitLine(w io.Writer, f format, v any, people string) error {
	switch f {
	case formatTable:
		_, err := fmt.Fprintln(w, people)
		return err
	case formatYAML:
		if _, err := io.WriteString(w, "---\n"); err != nil {
			return err
		}
		return write(w, f, v)
	}
	b, err := json.Marshal(v)
	if err == nil {
		_, err = w.Write(append(b, '\n'))
	}
	return err
}

// newTable returns a table in the house's style: light, left as it is typed.
func newTable(header ...any) table.Writer {
	t := table.NewWriter()
	style := table.StyleLight
	style.Format.Header = text.FormatDefault
	style.Options.SeparateRows = false
	t.SetStyle(style)
	t.AppendHeader(header)
	return t
}

// render writes t with a line feed at its end.
func render(w io.Writer, t table.Writer) error {
	_, err := fmt.Fprintln(w, t.Render())
	return err
}
