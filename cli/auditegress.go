package cli

import (
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	ucli "github.com/urfave/cli/v2"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode/admin"
	"github.com/concordat-db/concordat/streams/egress"
)

func auditEgressCommand(s Streams) *ucli.Command {
	return &ucli.Command{
		Name:  "egress",
		Usage: "show what has left the region, by peer and placement",
		Description: "What was put into a lane counts for each of its peers from the moment on at which they can read it, whether they have or not; exchanged and handed-over records, and forwarded requests, before they go.\n" +
			"So what is not here has not left. It counts items' changes only: no heartbeats, digests, documents.",
		Flags: []ucli.Flag{
			&ucli.StringFlag{Name: "peer", Usage: "only what went to the region `NAME`"},
			&ucli.BoolFlag{Name: "verify", Usage: "check the chain of signed checkpoints as well; exit status 1 if it is not sound"},
			&ucli.StringFlag{Name: "key", Usage: "with --verify: the region's public `KEY`, in place of the one that it tells"},
			&ucli.StringFlag{Name: "head", Usage: "with --verify: `NUMBER:HASH` of a checkpoint known before, that has to be there"},
		},
		Action: func(c *ucli.Context) error { return showEgress(c, s) },
	}
}

// egressResult is what the command shows.
type egressResult struct {
	admin.Egress
	Verified *verified `json:"verified,omitempty"` // with --verify
}

type verified struct {
	From     uint64   `json:"from"`
	To       uint64   `json:"to"`
	Problems []string `json:"problems"`
}

func showEgress(c *ucli.Context, s Streams) error {
	base, err := adminURL(c)
	if err != nil {
		return err
	}
	if !c.Bool("verify") && (c.IsSet("key") || c.IsSet("head")) {
		return wrongUsage(c, "--key and --head go with --verify")
	}
	known, err := checkpointKnown(c)
	if err != nil {
		return err
	}
	e, err := askAdmin[admin.Egress](c.Context, "show egress", 3*adminPatience, http.MethodGet, base, "/v1/audit/egress", nil)
	if err != nil {
		return err
	}
	result := egressResult{Egress: e}
	if c.Bool("verify") {
		if result.Verified, err = verifyEgress(c, base, &e, known); err != nil {
			return err
		}
	}
	if peer := c.String("peer"); peer != "" {
		result.Accounts = slices.DeleteFunc(slices.Clone(e.Accounts), func(a admin.EgressAccount) bool { return a.Region != peer })
	}
	if err := emit(c, s.Out, result, func(w io.Writer) error { return writeEgress(w, &result) }); err != nil {
		return err
	}
	if v := result.Verified; v != nil && len(v.Problems) > 0 {
		return fmt.Errorf("the egress ledger of %s is not sound: %d problems", e.Region, len(v.Problems))
	}
	return nil
}

func checkpointKnown(c *ucli.Context) (h egress.Head, err error) {
	text := c.String("head")
	if text == "" {
		return h, nil
	}
	number, hash, _ := strings.Cut(text, ":")
	if h.Number, err = strconv.ParseUint(number, 10, 64); err == nil {
		err = h.Hash.UnmarshalText([]byte(hash))
	}
	if err != nil || h.Number == 0 {
		return h, wrongUsage(c, "--head is %q; it is NUMBER:HASH, as `concordat audit egress` shows it", text)
	}
	return h, nil
}

// verifyEgress checks the checkpoints that the region keeps, and what it says now against them. The one that is known is among them, or the one before the oldest.
func verifyEgress(c *ucli.Context, base string, e *admin.Egress, known egress.Head) (*verified, error) {
	key := e.PublicKey
	if given := c.String("key"); given != "" {
		key = given
	}
	checker := egress.NewChecker(e.Region, key, egress.Head{})
	if known.Number > 0 && known.Number+1 == e.Oldest {
		checker = egress.NewChecker(e.Region, key, known)
		known = egress.Head{}
	}
	found := known.Number == 0
	after := uint64(0)
	for more := true; more && after < e.Head.Number; {
		page, err := askAdmin[admin.EgressCheckpoints](c.Context, "read checkpoints", 3*adminPatience, http.MethodGet, base, "/v1/audit/egress/checkpoints?"+url.Values{"after": {strconv.FormatUint(after, 10)}}.Encode(), nil)
		if err != nil {
			return nil, err
		}
		for i := range page.Checkpoints {
			p, err := egress.Open(&page.Checkpoints[i])
			if err == nil && p.Number > e.Head.Number {
				break // made since
			}
			if err == nil {
				after = p.Number
				found = found || p.Number == known.Number && page.Checkpoints[i].Hash() == known.Hash
			}
			checker.Add(&page.Checkpoints[i])
		}
		more = page.More
	}
	now := make([]egress.Account, 0, len(e.Accounts))
	for i := range e.Accounts {
		now = append(now, e.Accounts[i].Account)
	}
	checker.Accounts(now, e.Head)
	first, head, problems := checker.Result()
	v := &verified{From: first, To: head.Number, Problems: append([]string{}, problems...)}
	if !found {
		v.Problems = append(v.Problems, fmt.Sprintf("checkpoint %d with the hash known is not there", known.Number))
	}
	return v, nil
}

func writeEgress(w io.Writer, r *egressResult) error {
	fmt.Fprintf(w, "What has left region %s.\n", r.Region)
	if len(r.Accounts) == 0 {
		fmt.Fprintln(w, "Nothing.")
	} else {
		t := newTable("to", "by", "placement, or table", "first", "last", "times", "changes or records", "size")
		alignRight(t, 4, 5, 6, 7, 8)
		for i := range r.Accounts {
			a := &r.Accounts[i]
			of := strings.Join(a.Regions, ", ")
			first, last := any(a.First), any(a.Last)
			if a.Kind != egress.Lane {
				of, first, last = a.TableName, "", ""
				if of == "" {
					of = a.Table
				}
			} else if a.Lane == globaltable.CatalogLane.String() {
				of = "catalog, no items"
			}
			t.AppendRow(table.Row{a.Region, a.Kind, of, first, last, a.Events, a.Count, humanBytes(int64(a.Bytes))})
		}
		if err := render(w, t); err != nil {
			return err
		}
	}
	if r.Head.Number > 0 {
		fmt.Fprintf(w, "Checkpoint %d:%s\n", r.Head.Number, hex.EncodeToString(r.Head.Hash[:]))
	}
	if v := r.Verified; v != nil {
		for _, p := range v.Problems {
			fmt.Fprintln(w, p)
		}
		if len(v.Problems) == 0 {
			fmt.Fprintf(w, "Checkpoints %d to %d: every hash and every signature is right, and no sum is less than before.\n", v.From, v.To)
		}
	}
	return nil
}
