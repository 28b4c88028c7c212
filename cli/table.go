package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	ucli "github.com/urfave/cli/v2"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode/admin"
)

func tableCommand(s Streams) *ucli.Command {
	return &ucli.Command{
		Name:  "table",
		Usage: "show tables and change them: their replicas, what their writes wait for, when items expire, how they merge",
		Subcommands: []*ucli.Command{
			{
				Name:   "list",
				Usage:  "list the tables that a region has a replica of",
				Action: func(c *ucli.Context) error { return listTables(c, s) },
			},
			{
				Name:      "show",
				Usage:     "show a table and its replicas",
				ArgsUsage: "NAME",
				Action:    func(c *ucli.Context) error { return showTable(c, s) },
			},
			{
				Name:      "set",
				Usage:     "change what a table's writes wait for, when its items expire, and how long its conflicts and the records of its change streams are kept",
				ArgsUsage: "NAME",
				Description: "A write is answered when it is on the disk of the region that takes it, and with peers:N on those of N other regions, too. If they do not confirm it in time\n" +
					"the client gets an error that says that the outcome is unknown. It is the tag " + globaltable.AcknowledgeTag + " of the table.\n" +
					"An item expires at the second, since 1970, that the attribute of --ttl has; off ends that. To take another attribute, switch it off first. It is in force, in all regions, two seconds later.\n" +
					"Conflicts (`concordat conflict list`) are listed for --conflict-age, and when they take more than --conflict-bytes the oldest go. A change of the age is for those that are listed from then on.\n" +
					"These are the tags " + globaltable.Conflicts.AgeTag + " and " + globaltable.Conflicts.BytesTag + " of the table.\n" +
					"Records of change streams are kept for --stream-age, and when they take more than --stream-bytes the oldest go, in each region. These are the tags " + globaltable.StreamRecords.AgeTag + " and " + globaltable.StreamRecords.BytesTag + ".",
				Flags: []ucli.Flag{
					&ucli.StringFlag{Name: "acknowledge", Usage: fmt.Sprintf("`WHAT` writes wait for: local, or peers:1 to peers:%d", globaltable.MaxAcknowledgePeers)},
					&ucli.StringFlag{Name: "ttl", Usage: "`ATTRIBUTE` by whose value items expire, or off"},
					&ucli.StringFlag{Name: "conflict-age", Usage: "how long conflicts are listed, a `TIME` like 30d or 36h, or default: " + globaltable.FormatAge(globaltable.Conflicts.DefaultAge)},
					&ucli.StringFlag{Name: "conflict-bytes", Usage: "most `BYTES` of conflicts in each region, like 128MiB, or default: " + globaltable.FormatSize(globaltable.Conflicts.DefaultBytes)},
					&ucli.StringFlag{Name: "stream-age", Usage: "how long records of change streams are kept, a `TIME` from " + globaltable.FormatAge(globaltable.MinRetention) + " to " + globaltable.FormatAge(globaltable.StreamRecords.MaxAge) + ", or default: " + globaltable.FormatAge(globaltable.StreamRecords.DefaultAge)},
					&ucli.StringFlag{Name: "stream-bytes", Usage: "most `BYTES` of records of change streams in each region, like 64GiB, or default: " + globaltable.FormatSize(globaltable.StreamRecords.DefaultBytes)},
				},
				Action: func(c *ucli.Context) error { return setTable(c, s) },
			},
			mergeCommand(s),
			replicaCommand(s),
		},
	}
}

func replicaCommand(s Streams) *ucli.Command {
	return &ucli.Command{
		Name:  "replica",
		Usage: "add and remove regions of a table, or have one keep its data as a table of its own",
		Subcommands: []*ucli.Command{
			{
				Name:      "add",
				Usage:     "put a table into more regions",
				ArgsUsage: "NAME REGION...",
				Description: "The table may hold items, and is read and written all the time. A new replica gets what each of the others holds; a region that is out of reach holds it up and is named.\n" +
					"Ctrl-C ends the command and not the join; the same command again shows how far it is.",
				Flags: []ucli.Flag{
					waitFlag("wait until the replicas serve"),
					&ucli.StringFlag{Name: "throttle", Usage: "most `BYTES` of records a second, about, for each new replica: 20MiB; default: what its node allows"},
				},
				Action: func(c *ucli.Context) error { return addReplicas(c, s) },
			},
			{
				Name:      "remove",
				Usage:     "take a table out of a region, with its data there",
				ArgsUsage: "NAME REGION",
				Description: "The replica goes when the others have confirmed all that was written there; until then the region that keeps it from going is named. What was counted on it\n" +
					"when writes were acknowledged by peers goes with it.",
				Flags:  []ucli.Flag{&ucli.BoolFlag{Name: "yes", Usage: "do it"}, waitFlag("wait until the data is gone")},
				Action: func(c *ucli.Context) error { return removeReplica(c, s) },
			},
			{
				Name:      "disassociate",
				Usage:     "have a region keep its replica of a table as a table of its own",
				ArgsUsage: "NAME REGION",
				Description: "The region that leaves is asked. Its replica becomes a table of the same name in that region alone, with its items, indexes and settings; the other regions keep theirs. It is read and written all\n" +
					"the time. What was written before is everywhere when it leaves: a region that is out of reach holds it up and is named. Nothing else of the table can be changed meanwhile.\n" +
					"Ctrl-C ends the command and not the disassociation; the same command again shows how far it is.",
				Flags:  []ucli.Flag{&ucli.BoolFlag{Name: "yes", Usage: "do it"}, waitFlag("wait until it is a table of its own")},
				Action: func(c *ucli.Context) error { return disassociateReplica(c, s) },
			},
		},
	}
}

func waitFlag(usage string) ucli.Flag { return &ucli.BoolFlag{Name: "wait", Usage: usage, Value: true} }

func listTables(c *ucli.Context, s Streams) error {
	base, err := adminURL(c)
	if err != nil {
		return err
	}
	list, err := askAdmin[admin.TableList](c.Context, "ask for tables", 3*adminPatience, http.MethodGet, base, "/v1/tables", nil)
	if err != nil {
		return err
	}
	return emit(c, s.Out, list, func(w io.Writer) error {
		if len(list.Tables) == 0 {
			_, err := fmt.Fprintf(w, "Region %s has no tables.\n", list.Region)
			return err
		}
		t := newTable("table", "status", "owner", "acknowledge", "merge", "items", "bytes", "replicas")
		alignRight(t, 6, 7)
		for _, b := range list.Tables {
			t.AppendRow(table.Row{b.Name, b.Status, b.Owner, b.Acknowledge, strings.Join(append([]string{b.Merge.Mode}, typeLines(b.Merge)...), "\n"), b.Items, humanBytes(b.Bytes), strings.Join(replicaLines(b.Replicas), "\n")})
		}
		return render(w, t)
	})
}

// replicaLines has a line for each replica.
func replicaLines(replicas []admin.Replica) (out []string) {
	for _, r := range replicas {
		line := r.Region + " " + r.Status
		if r.Percent != nil {
			line += fmt.Sprintf(" %d%%", *r.Percent)
		}
		if r.Detail != "" {
			line += ": " + r.Detail
		}
		out = append(out, line)
	}
	return out
}

// tableAt is a table of the region that the flags name.
type tableAt struct{ base, name string }

func tableOf(c *ucli.Context) (at tableAt, rest []string, err error) {
	if at.base, err = adminURL(c); err != nil {
		return at, nil, err
	}
	given, err := words(c)
	if err != nil {
		return at, nil, err
	}
	at.name = given[0]
	return at, given[1:], nil
}

// ask sends a request about the table; path is what follows its name.
func (at tableAt) ask(ctx context.Context, what, method, path string, body any) (admin.Table, error) {
	return askAdmin[admin.Table](ctx, what, 3*adminPatience, method, at.base, "/v1/tables/"+url.PathEscape(at.name)+path, body)
}

func (at tableAt) get(ctx context.Context) (admin.Table, error) {
	return at.ask(ctx, "ask for table "+at.name, http.MethodGet, "", nil)
}

func showTable(c *ucli.Context, s Streams) error {
	at, _, err := tableOf(c)
	if err != nil {
		return err
	}
	t, err := at.get(c.Context)
	if err != nil {
		return err
	}
	return emitTable(c, s, t)
}

// emitTable writes a table, and says what is strange about it.
func emitTable(c *ucli.Context, s Streams, t admin.Table) error {
	if err := emit(c, s.Out, t, func(w io.Writer) error { return writeTable(w, t) }); err != nil {
		return err
	}
	return warnTooFew(s.Err, t)
}

// warnTooFew tells when the table takes no writes because it wants more peers than it has.
func warnTooFew(w io.Writer, t admin.Table) error {
	want, err := globaltable.ParseAcknowledge(t.Acknowledge)
	if err != nil {
		return nil // of a newer region
	}
	active := 0
	for _, r := range t.Replicas {
		if r.Status == string(globaltable.Active) {
			active++
		}
	}
	if active > want {
		return nil
	}
	if _, err := fmt.Fprintf(w, "Writes are refused until the table has %d active replicas; it has %d.\n", want+1, active); err != nil {
		return err
	}
	return nil
}

func writeTable(w io.Writer, t admin.Table) error {
	if t.Status == "" {
		_, err := fmt.Fprintf(w, "Table %s is not in this region any more; it is in %s.\n", t.Name, strings.Join(replicaRegions(&t), ", "))
		return err
	}
	wait := "are answered when they are durable in their region"
	if t.Acknowledge != globaltable.AcknowledgeLocal {
		wait = "wait for " + t.Acknowledge
	}
	fmt.Fprintf(w, "Table %s (%s): %s, %d items, %s. Owner %s, version %s. Writes %s.\n", t.Name, t.ID, t.Status, t.Items, humanBytes(t.Bytes), t.Owner, t.Version, wait)
	fmt.Fprintf(w, "Conflict mode %s.", t.Merge.Mode)
	if types := typeLines(t.Merge); len(types) > 0 {
		fmt.Fprintf(w, " Declared types: %s.", strings.Join(types, ", "))
	}
	fmt.Fprintln(w)
	x := t.Conflicts
	fmt.Fprintf(w, "Conflicts are listed for %s, up to %s; %d are, %s.\n", globaltable.FormatAge(time.Duration(x.KeepSeconds)*time.Second), globaltable.FormatSize(x.Limit), x.Listed, humanBytes(x.Bytes))
	if s := t.Streams; s.View != "" || s.Streams > 0 {
		fmt.Fprintf(w, "Change stream: %s. Its records are kept for %s, up to %s; %d are, %s.\n", cmp.Or(s.View, "off"), globaltable.FormatAge(time.Duration(s.KeepSeconds)*time.Second), globaltable.FormatSize(s.Limit), s.Records, humanBytes(s.Bytes))
	}
	if ttl := t.TimeToLive; ttl.Attribute != "" {
		fmt.Fprintf(w, "Items expire by %q (%s); %d have such a time, or have expired and are not erased yet.\n", ttl.Attribute, ttl.Status, t.Collection.Expiring)
	}
	rows := newTable("replica", "status", "done", "detail")
	alignRight(rows, 3)
	for _, r := range t.Replicas {
		percent := ""
		if r.Percent != nil {
			percent = fmt.Sprintf("%d%%", *r.Percent)
		}
		rows.AppendRow(table.Row{r.Region, r.Status, percent, r.Detail})
	}
	if err := render(w, rows); err != nil || len(t.Indexes) == 0 {
		return err
	}
	fmt.Fprintln(w)
	return render(w, indexesTable([]admin.Table{t}, false))
}

// indexesTable lists the indexes of tables as the region has them: all, or those only that are being built.
func indexesTable(tables []admin.Table, unbuilt bool) table.Writer {
	rows := newTable("table", "index", "kind", "built", "entries", "size")
	alignRight(rows, 4, 5, 6)
	for _, t := range tables {
		for _, x := range t.Indexes {
			if unbuilt && x.Ready {
				continue
			}
			kind := "global"
			if x.Local {
				kind = "local"
			}
			rows.AppendRow(table.Row{t.Name, x.Name, kind, fmt.Sprintf("%d%%", x.Percent), x.Entries, humanBytes(x.Bytes)})
		}
	}
	return rows
}

func setTable(c *ucli.Context, s Streams) error {
	at, _, err := tableOf(c)
	if err != nil {
		return err
	}
	var patch admin.TablePatch
	if c.IsSet("acknowledge") {
		acknowledge := c.String("acknowledge")
		if _, err := globaltable.ParseAcknowledge(acknowledge); err != nil {
			return wrongUsage(c, "--acknowledge is %q; it can be local, or peers:1 to peers:%d", acknowledge, globaltable.MaxAcknowledgePeers)
		}
		patch.Acknowledge = &acknowledge
	}
	if c.IsSet("ttl") {
		patch.TimeToLive = &admin.SetTimeToLive{Attribute: c.String("ttl")}
		switch n := len(patch.TimeToLive.Attribute); {
		case n == 0 || n > globaltable.MaxExpiryAttributeLen:
			return wrongUsage(c, "--ttl is an attribute's name, 1 to %d bytes, or off", globaltable.MaxExpiryAttributeLen)
		case patch.TimeToLive.Attribute == "off":
			patch.TimeToLive.Attribute = ""
		}
	}
	if patch.Conflicts, err = limits(c, "conflict", globaltable.Conflicts); err != nil {
		return err
	}
	if patch.Streams, err = limits(c, "stream", globaltable.StreamRecords); err != nil {
		return err
	}
	if patch == (admin.TablePatch{}) {
		return wrongUsage(c, "give --acknowledge, --ttl, --conflict-age, --conflict-bytes, --stream-age or --stream-bytes")
	}
	t, err := at.ask(c.Context, "change table "+at.name, http.MethodPatch, "", patch)
	if err != nil {
		return err
	}
	return emitTable(c, s, t)
}

// limits reads the flags --WHAT-age and --WHAT-bytes; nil: neither is given.
func limits(c *ucli.Context, what string, kept *globaltable.Kept) (*admin.SetRetention, error) {
	age, bytes := what+"-age", what+"-bytes"
	set := &admin.SetRetention{Age: c.String(age), Bytes: c.String(bytes)}
	for name, parse := range map[string]func(string) (int64, error){age: kept.ParseAge, bytes: kept.ParseBytes} {
		if !c.IsSet(name) {
			continue
		}
		var fault *globaltable.Error
		if _, err := parse(c.String(name)); errors.As(err, &fault) {
			return nil, wrongUsage(c, "--%s: %s", name, fault.Message)
		}
	}
	if *set == (admin.SetRetention{}) {
		return nil, nil
	}
	return set, nil
}

func addReplicas(c *ucli.Context, s Streams) error {
	at, regions, err := tableOf(c)
	if err != nil {
		return err
	}
	var rate int64
	if text := c.String("throttle"); text != "" {
		if rate, err = globaltable.ParseSize(text); err != nil {
			return wrongUsage(c, "--throttle: %v", err)
		}
	}
	slices.Sort(regions)
	if regions = slices.Compact(regions); len(regions) > globaltable.MaxReplicas {
		return wrongUsage(c, "%d regions, at most %d", len(regions), globaltable.MaxReplicas)
	}
	t, err := at.get(c.Context)
	if err != nil {
		return err
	}
	missing := slices.DeleteFunc(slices.Clone(regions), func(region string) bool {
		r := replicaOf(&t, region)
		return r != nil && (r.Status == string(globaltable.Active) || r.Status == string(globaltable.Creating))
	})
	switch {
	case len(missing) > 0:
		if t, err = at.ask(c.Context, "add replicas", http.MethodPost, "/replicas", admin.NewReplicas{Regions: missing, JoinBytesPerSecond: rate}); err != nil {
			return err
		}
	case rate > 0:
		fmt.Fprintln(s.Err, "The replicas are there, or on their way: --throttle changes nothing.")
	}
	if c.Bool("wait") {
		if t, err = watchJoins(c.Context, s.Err, at, t, regions); err != nil {
			return err
		}
	}
	return emitTable(c, s, t)
}

func replicaOf(t *admin.Table, region string) *admin.Replica {
	if i := slices.IndexFunc(t.Replicas, func(r admin.Replica) bool { return r.Region == region }); i >= 0 {
		return &t.Replicas[i]
	}
	return nil
}

func removeReplica(c *ucli.Context, s Streams) error {
	at, regions, err := tableOf(c)
	if err != nil {
		return err
	}
	region := regions[0]
	t, err := at.get(c.Context)
	if err != nil {
		return err
	}
	r := replicaOf(&t, region)
	if r == nil {
		return fmt.Errorf("table %s has no replica in %s; it has some in %s", at.name, region, strings.Join(replicaRegions(&t), ", "))
	}
	if !c.Bool("yes") {
		fmt.Fprintf(s.Err, "The replica of table %s in %s (%s) would be removed with all its data there. %d replicas stay.\n", at.name, region, r.Status, len(t.Replicas)-1)
		return wrongUsage(c, "give --yes to remove it")
	}
	if r.Status != string(globaltable.Deleting) { // else the command was interrupted
		if t, err = at.ask(c.Context, "remove the replica", http.MethodDelete, "/replicas/"+url.PathEscape(region), nil); err != nil {
			return err
		}
	}
	if c.Bool("wait") {
		if t, err = watchLeave(c.Context, s.Err, at, t, region); err != nil {
			return err
		}
	}
	return emitTable(c, s, t)
}

func disassociateReplica(c *ucli.Context, s Streams) error {
	at, regions, err := tableOf(c)
	if err != nil {
		return err
	}
	region := regions[0]
	t, err := at.get(c.Context)
	if err != nil {
		return err
	}
	r := replicaOf(&t, region)
	switch {
	case r == nil:
		return fmt.Errorf("table %s has no replica in %s; it has some in %s", at.name, region, strings.Join(replicaRegions(&t), ", "))
	case len(t.Replicas) == 1:
		fmt.Fprintf(s.Err, "Table %s is in %s alone.\n", at.name, region)
		return emitTable(c, s, t)
	case !c.Bool("yes"):
		fmt.Fprintf(s.Err, "The replica of table %s in %s (%s) would become a table of its own. %d replicas stay together.\n", at.name, region, r.Status, len(t.Replicas)-1)
		return wrongUsage(c, "give --yes to disassociate it")
	}
	was := t.ID
	if r.Status != string(globaltable.Updating) { // else the command was interrupted
		if t, err = at.ask(c.Context, "disassociate the replica", http.MethodPost, "/replicas/"+url.PathEscape(region)+"/disassociate", nil); err != nil {
			return err
		}
	}
	if c.Bool("wait") {
		if t, err = watchDisassociation(c.Context, s.Err, at, t, was, region); err != nil {
			return err
		}
	}
	return emitTable(c, s, t)
}

func replicaRegions(t *admin.Table) (out []string) {
	for _, r := range t.Replicas {
		out = append(out, r.Region)
	}
	return out
}
