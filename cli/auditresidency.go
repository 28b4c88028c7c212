package cli

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	ucli "github.com/urfave/cli/v2"

	"github.com/concordat-db/concordat/regionnode/admin"
	"github.com/concordat-db/concordat/regionnode/residency"
)

func auditResidencyCommand(s Streams) *ucli.Command {
	return &ucli.Command{
		Name:  "residency",
		Usage: "go through all that the region keeps, and list what may not be there",
		Description: "Records, index entries, conflicts, change streams, the region's log and who can read it, what a rebuilding has saved, and the streams in its NATS. Each is judged by the policies in force. The exit status is 1 if anything is found.\n" +
			"Ask it of each region. It reads the whole store, at 64 MiB a second at most.",
		Flags:  []ucli.Flag{&ucli.StringFlag{Name: "table", Usage: "`NAME` or id of the table; default: all"}},
		Action: func(c *ucli.Context) error { return auditResidency(c, s) },
	}
}

// maxListedFindings bounds the findings in JSON and YAML. The table lists all, as they are found.
const maxListedFindings = 10_000

type residencyResult struct {
	Findings []residency.Finding `json:"findings"` // the first ten thousand
	Summary  residency.Summary   `json:"summary"`
}

func auditResidency(c *ucli.Context, s Streams) error {
	base, err := adminURL(c)
	if err != nil {
		return err
	}
	query := url.Values{}
	if name := c.String("table"); name != "" {
		query.Set("table", name)
	}
	f, err := formatOf(c)
	if err != nil {
		return err
	}
	r := residencyResult{Findings: []residency.Finding{}}
	summary, err := askResidency(c, base, query, func(x *residency.Finding) error {
		if f == formatTable {
			_, err := fmt.Fprintln(s.Out, findingText(x))
			return err
		}
		if len(r.Findings) < maxListedFindings {
			r.Findings = append(r.Findings, *x)
		}
		return nil
	})
	if err != nil {
		return err
	}
	r.Summary = *summary
	if err := emit(c, s.Out, r, func(w io.Writer) error { return writeResidency(w, summary) }); err != nil {
		return err
	}
	switch {
	case summary.Findings > 0 && summary.Findings == summary.Pending:
		return fmt.Errorf("%w: %d, all of policies that the region is still carrying out", errFound, summary.Findings)
	case summary.Findings > 0:
		return fmt.Errorf("%w: %d", errFound, summary.Findings)
	}
	return nil
}

// askResidency calls f with each finding. The answer takes as long as the region needs to read its store: it is waited for until the command is ended.
func askResidency(c *ucli.Context, base string, query url.Values, f func(*residency.Finding) error) (*residency.Summary, error) {
	const what = "audit residency"
	req, err := http.NewRequestWithContext(c.Context, http.MethodGet, base+"/v1/audit/residency?"+query.Encode(), nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%s: %w (is a node running there? --admin names another)", what, err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, maxAdminAnswer)
	if resp.StatusCode != http.StatusOK {
		b, err := io.ReadAll(io.LimitReader(resp.Body, maxAdminAnswer))
		var fault admin.Error
		if err != nil || json.Unmarshal(b, &fault) != nil || fault.Message == "" {
			fault.Message = "is this an admin API?"
		}
		return nil, fmt.Errorf("%s: %w", what, &adminFault{base, resp.StatusCode, fault.Message})
	}
	for lines.Scan() {
		var line admin.ResidencyLine
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return nil, fmt.Errorf("%s: %s gave no such answer: %w", what, base, err)
		}
		switch {
		case line.Fault != "":
			return nil, fmt.Errorf("%s: it was not completed: %s", what, line.Fault)
		case line.Summary != nil:
			return line.Summary, nil
		case line.Finding != nil:
			if err := f(line.Finding); err != nil {
				return nil, err
			}
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%s: it was not completed: %w", what, err)
	}
	return nil, fmt.Errorf("%s: it was not completed: %w", what, errors.New("the answer has no end"))
}

func findingText(x *residency.Finding) string {
	name := x.Name
	if name == "" {
		name = x.Table
	}
	why := "the table is not there"
	if x.Policy != "" {
		why = "policy " + x.Policy
	}
	text := fmt.Sprintf("table %s, item %s: in a %s of %s, against %s", name, x.Key, x.Where, x.Region, why)
	if x.Policy == "" {
		text = fmt.Sprintf("table %s, item %s: in a %s of %s, and %s", name, x.Key, x.Where, x.Region, why)
	}
	if x.Detail != "" {
		text += " (" + x.Detail + ")"
	}
	if x.Pending {
		text += "; the region is still carrying that out"
	}
	return text
}

func writeResidency(w io.Writer, sum *residency.Summary) error {
	if len(sum.Counts) == 0 {
		fmt.Fprintf(w, "Region %s has no items of tables.\n", sum.Region)
	} else {
		fmt.Fprintf(w, "What region %s has:\n", sum.Region)
		t := newTable("table", "policy", "may be in", "jurisdictions", "records", "conflicts", "size", "stream records", "their size")
		alignRight(t, 5, 6, 7, 8, 9)
		for _, x := range sum.Counts {
			policy := x.Policy
			if policy == "" {
				policy = "(none matches)"
			}
			t.AppendRow(table.Row{x.Name, policy, strings.Join(x.Regions, ", "), strings.Join(x.Jurisdictions, ", "), x.Records, x.Conflicts, humanBytes(int64(x.Bytes)), x.Told, humanBytes(int64(x.ToldBytes))})
		}
		if err := render(w, t); err != nil {
			return err
		}
	}
	fmt.Fprintf(w, "Gone through as well: %d index entries, %d changes in %d entries of the log, %d messages of streams, %d events, %d saved.\n", sum.Indexed, sum.Changes, sum.Entries, sum.Messages, sum.Events, sum.Saved)
	f := &sum.Files
	fmt.Fprintf(w, "Files of the store: %d tables, %d of values, %d of the newest writes, %d others; %d are obsolete and not erased yet.\n", f.Tables.Files, f.Blobs.Files, f.WALs.Files, f.Others.Files, f.Obsolete.Files)
	for _, name := range f.Unknown {
		fmt.Fprintf(w, "A file that is none of the store's: %s\n", name)
	}
	if sum.Findings == 0 {
		_, err := fmt.Fprintln(w, "Nothing is where it may not be.")
		return err
	}
	return nil
}
