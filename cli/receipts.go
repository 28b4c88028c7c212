package cli

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	ucli "github.com/urfave/cli/v2"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode/admin"
)

func receiptsCommand(s Streams) *ucli.Command {
	return &ucli.Command{
		Name:  "receipts",
		Usage: "list what regions have signed: that they have carried out locality policies",
		Description: "Every signature is checked; the exit status is 1 if one is wrong. Every region has the receipts of all. Of one region and table the newest 256 are kept.\n" +
			"From the time at which it has finished a region holds no byte of an item that the version does not let it have, in its store, its log, its streams, change streams too, and its files.",
		Flags: []ucli.Flag{
			&ucli.StringFlag{Name: "table", Usage: "`NAME` or id of the table; default: all"},
			&ucli.StringSliceFlag{Name: "key", Usage: "`REGION=KEY`: the region's public key, in place of the one that the region asked tells"},
		},
		Action: func(c *ucli.Context) error { return listReceipts(c, s) },
	}
}

func listReceipts(c *ucli.Context, s Streams) error {
	base, err := adminURL(c)
	if err != nil {
		return err
	}
	given, err := regionKeys(c)
	if err != nil {
		return err
	}
	query := url.Values{}
	if name := c.String("table"); name != "" {
		query.Set("table", name)
	}
	list, err := askAdmin[admin.Receipts](c.Context, "list receipts", 3*adminPatience, http.MethodGet, base, "/v1/audit/receipts?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	for region, key := range given {
		list.Keys[region] = key
	}
	wrong := 0
	for i := range list.Receipts {
		r := &list.Receipts[i]
		if r.Fault = receiptFault(&list, r); r.Fault != "" {
			wrong++
		}
	}
	if err := emit(c, s.Out, list, func(w io.Writer) error { return writeReceipts(w, list.Receipts) }); err != nil {
		return err
	}
	if wrong > 0 {
		return fmt.Errorf("%d receipts are not worth anything", wrong)
	}
	return nil
}

// receiptFault checks a receipt's token here, whatever the region asked says of it, and that what is shown is what was signed.
func receiptFault(list *admin.Receipts, r *admin.Receipt) string {
	i := slices.IndexFunc(list.Regions, func(x admin.ReceiptRegion) bool { return x.Name == r.Region })
	if i < 0 || list.Keys[r.Region] == "" {
		return "the region is not known"
	}
	by := globaltable.Descriptor{Name: r.Region, Jurisdiction: list.Regions[i].Jurisdiction, Origin: hlc.Origin(list.Regions[i].Origin), PublicKey: list.Keys[r.Region]}
	signed, err := globaltable.ParseReceipt(r.Token, &by)
	if err != nil {
		return "the signature is not the region's"
	}
	if signed.Table.String() != r.TableID || signed.Version.String() != r.Version || signed.Done.Erased != r.Done.Erased || signed.Done.Streamed != r.Done.Streamed || signed.Finished != r.Finished.UnixMilli() {
		return "what the region asked shows is not what was signed"
	}
	return ""
}

func writeReceipts(w io.Writer, receipts []admin.Receipt) error {
	if len(receipts) == 0 {
		_, err := fmt.Fprintln(w, "There are no receipts.")
		return err
	}
	t := newTable("table", "version", "region", "jurisdiction", "finished", "erased", "size", "handed over to", "log entries voided", "stream records erased", "signature")
	alignRight(t, 6, 7, 9, 10)
	for i := range receipts {
		r := &receipts[i]
		handed := map[string]int{}
		for region, n := range r.Done.Handed {
			handed[region] = int(n)
		}
		signature := "right"
		if r.Fault != "" {
			signature = r.Fault
		}
		t.AppendRow(table.Row{r.Table, r.Version, r.Region, r.Jurisdiction, r.Finished.Local().Format(time.DateTime), r.Done.Erased, humanBytes(r.Done.ErasedBytes), counts(handed), r.Done.Voided, r.Done.Streamed, signature})
	}
	return render(w, t)
}
