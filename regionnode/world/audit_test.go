package world

import (
	"bufio"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/audit"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/admin"
	"github.com/concordat-db/concordat/regionnode/residency"
	"github.com/concordat-db/concordat/regionnode/store"
	"github.com/concordat-db/concordat/streams/egress"
)

// fetch gets a document of a region's admin API.
func fetch[T any](r *running, region ReadyRegion, path string) (out T) {
	r.t.Helper()
	resp, err := r.http.Get(region.Admin + path)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		r.t.Fatalf("%s: %d", path, resp.StatusCode)
	}
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
		r.t.Fatal(err)
	}
	return out
}

// auditLog returns a region's audit log, each entry as "region kind subject", and what is wrong with it.
func (r *running) auditLog(region ReadyRegion) (entries []string, res audit.Result) {
	r.t.Helper()
	list := fetch[admin.AuditLog](r, region, "/v1/audit/log")
	c := audit.NewChecker(list.Keys, nil)
	for _, e := range list.Entries {
		if e.Sealed == nil {
			r.t.Fatal(e.Fault)
		}
		c.Add(e.Sealed)
		entries = append(entries, fmt.Sprint(e.Entry.Region, " ", e.Entry.Kind, " ", e.Entry.Subject))
	}
	return entries, c.Result()
}

// egress returns what a region says has left it to a peer by one way, over all lanes but the catalog's, or over all tables.
func (r *running) egress(region ReadyRegion, peer string, kind egress.Kind) (sum egress.Account) {
	r.t.Helper()
	e := fetch[admin.Egress](r, region, "/v1/audit/egress")
	checker := egress.NewChecker(e.Region, e.PublicKey, egress.Head{})
	list := fetch[admin.EgressCheckpoints](r, region, "/v1/audit/egress/checkpoints")
	for i := range list.Checkpoints {
		if p, err := egress.Open(&list.Checkpoints[i]); err != nil || p.Number > e.Head.Number {
			continue // made since
		}
		checker.Add(&list.Checkpoints[i])
	}
	var now []egress.Account
	for _, a := range e.Accounts {
		now = append(now, a.Account)
		if a.Region == peer && a.Kind == kind && a.Lane != globaltable.CatalogLane.String() {
			sum.Count += a.Count
			sum.Bytes += a.Bytes
			sum.Last = max(sum.Last, a.Last)
		}
	}
	checker.Accounts(now, e.Head)
	if _, _, problems := checker.Result(); len(problems) > 0 {
		r.t.Errorf("the ledger of %s: %v", region.Name, problems)
	}
	return sum
}

// residency scans a region.
func (r *running) residency(region ReadyRegion) (found []residency.Finding, sum *residency.Summary) {
	r.t.Helper()
	resp, err := r.http.Get(region.Admin + "/v1/audit/residency")
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		var line admin.ResidencyLine
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil || line.Fault != "" {
			r.t.Fatal(err, line.Fault)
		}
		if line.Finding != nil {
			found = append(found, *line.Finding)
		}
		sum = line.Summary
	}
	if sum == nil {
		r.t.Fatal("the scan was not completed")
	}
	return found, sum
}

// A world shows what it did: its log is the same everywhere, its ledger has each change for each peer, exactly, also after a restart, and what is planted in a store is found.
func TestAudit(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	r := runWorld(t, cfg)
	const us, eu, ap = "us-east-1", "eu-central-1", "ap-south-1"
	r.makeTable(us, eu)
	const items = 200
	for i := range items {
		r.put(us, fmt.Sprint("item ", i), strings.Repeat("x", 1000))
	}
	usAt, euAt := r.ready.Regions[0], r.ready.Regions[1]

	sent := r.egress(usAt, eu, egress.Lane)
	if sent.Count != items || sent.Bytes < items*1000 || sent.Bytes > items*1500 {
		t.Errorf("%d changes, %d bytes have gone to %s; %d were written", sent.Count, sent.Bytes, eu, items)
	}
	if a := r.egress(usAt, ap, egress.Lane); a.Count != 0 {
		t.Errorf("%d changes have gone to a region without the table", a.Count)
	}
	if a := r.egress(euAt, us, egress.Lane); a.Count != 0 {
		t.Errorf("%d changes have gone back", a.Count)
	}
	if _, sum := r.residency(usAt); sum.Messages == 0 || sum.Changes <= sum.Entries {
		t.Errorf("log and streams were not gone through: %+v", sum)
	}
	r.change(us, catalog.Change{Create: []string{ap}})
	r.converge(items)
	given := r.egress(usAt, ap, egress.Exchange).Count + r.egress(euAt, ap, egress.Exchange).Count
	if given < items {
		t.Errorf("a new replica was given %d records of %d", given, items)
	}

	wanted := []string{us + " table.created " + tableName, us + " table.changed " + tableName, us + " credentials.changed " + us, ap + " credentials.changed " + ap}
	var logs [][]string
	r.until("the regions' audit logs are the same, and have what has happened", func() bool {
		logs = nil
		for _, region := range r.ready.Regions {
			entries, res := r.auditLog(region)
			if res.Found > 0 {
				t.Fatalf("%s: %v", region.Name, res.Problems)
			}
			logs = append(logs, entries)
		}
		return slices.Equal(logs[0], logs[1]) && slices.Equal(logs[1], logs[2]) &&
			!slices.ContainsFunc(wanted, func(entry string) bool { return !slices.Contains(logs[0], entry) })
	})
	for _, region := range r.ready.Regions {
		found, sum := r.residency(region)
		if len(found) > 0 || len(sum.Counts) != 1 || sum.Counts[0].Records != items || len(sum.Files.Unknown) > 0 || sum.Files.WALs.Files == 0 {
			t.Errorf("%s: %+v in %+v", region.Name, found, sum)
		}
	}
	read := fetch[admin.AuditLog](r, r.ready.Regions[2], "/v1/audit/log")
	r.stop()
	plantRecord(t, filepath.Join(cfg.DataDir, eu, "shard-0"), elsewhere, foreignKey)
	plantRecord(t, filepath.Join(cfg.DataDir, eu, "shard-0"), globaltable.SystemTable, catalog.AuditKey(2, 1000, globaltable.Chain{1}))
	r = runWorld(t, cfg)
	usAt, euAt = r.ready.Regions[0], r.ready.Regions[1]
	r.put(us, "another", "x")
	r.until("the write is in the ledger", func() bool { return r.egress(usAt, ap, egress.Lane).Last > 0 })
	if again := r.egress(usAt, eu, egress.Lane); again.Count != sent.Count+1 || again.Bytes <= sent.Bytes {
		t.Errorf("after a restart and one write: %d changes, %d bytes; before %d, %d", again.Count, again.Bytes, sent.Count, sent.Bytes)
	}
	// Whoever follows a region's log goes on where he was, after a restart and in another region.
	r.until("the table is changed", func() bool {
		_, err := r.Node(us).ChangeTable(t.Context(), tableName, catalog.Change{DeletionProtection: new(true)})
		return err == nil // before, its owner has yet to hear the others
	})
	for _, region := range []ReadyRegion{usAt, r.ready.Regions[2]} {
		r.until("the change is in what follows", func() bool {
			log := fetch[admin.AuditLog](r, region, "/v1/audit/log?after="+read.Next)
			for _, e := range log.Entries {
				if slices.ContainsFunc(read.Entries, func(old admin.AuditEntry) bool { return old.Stamp == e.Stamp }) {
					t.Fatalf("%s shows entry %d of %s again", region.Name, e.Entry.Seq, e.Entry.Region)
				}
			}
			return slices.ContainsFunc(log.Entries, func(e admin.AuditEntry) bool { return e.Entry.Kind == audit.TableChanged })
		})
	}
	entries, res := r.auditLog(r.ready.Regions[2]) // one more may have come before the end
	if slices.Sort(entries); res.Found > 0 || len(entries) < len(logs[2]) {
		t.Errorf("after a restart: %v %q", res.Problems, entries)
	}
	for _, entry := range logs[2] {
		if at, there := slices.BinarySearch(entries, entry); there {
			entries = slices.Delete(entries, at, at+1)
		} else {
			t.Errorf("after a restart there is no %q", entry)
		}
	}
	// What cannot be read of a log hides nothing else of it.
	damaged := fetch[admin.AuditLog](r, euAt, "/v1/audit/log")
	at := slices.IndexFunc(damaged.Entries, func(e admin.AuditEntry) bool { return e.Fault != "" })
	if at < 0 || damaged.Entries[at].At == nil || *damaged.Entries[at].At != (audit.Place{Origin: 2, Region: eu, Seq: 1000}) || len(damaged.Entries) <= len(logs[2]) {
		t.Errorf("of the log with an entry that cannot be read: %+v", damaged.Entries)
	}
	found, sum := r.residency(euAt)
	if len(found) != 1 || found[0].Where != residency.InRecord || found[0].Region != eu || found[0].Key != residency.KeyHash(elsewhere, foreignKey) || sum.Findings != 1 {
		t.Errorf("of what was planted, %+v was found", found)
	}
	if found, _ := r.residency(usAt); len(found) > 0 {
		t.Errorf("found in a region where nothing was planted: %+v", found)
	}
}

// What was in the streams of a placement goes when the placement does, and what is written then is delivered.
func TestStreamsGoWithTheirLanes(t *testing.T) {
	t.Parallel()
	r := runWorld(t, config(t))
	const us, eu, ap = "us-east-1", "eu-central-1", "ap-south-1"
	r.makeTable(us, eu, ap)
	for i := range 20 {
		r.put(us, fmt.Sprint("item ", i), "x")
	}
	r.converge(20)
	if _, sum := r.residency(r.ready.Regions[0]); sum.Messages == 0 {
		t.Fatal("nothing was in the streams")
	}
	r.change(us, catalog.Change{Delete: []string{ap}})
	r.until("the stream is gone", func() bool {
		_, sum := r.residency(r.ready.Regions[0])
		return sum.Messages == 0
	})
	r.put(us, "one more", "x")
	r.until("it has arrived", func() bool {
		for _, t := range r.status(r.ready.Regions[1]).Tables {
			if t.Name == tableName {
				return t.Items == 21
			}
		}
		return false
	})
	r.until("it is in the stream of the lane of two", func() bool {
		_, sum := r.residency(r.ready.Regions[0])
		return sum.Messages == 1
	})
}

// elsewhere is a table that no region has.
const elsewhere globaltable.TableID = 77 << 16

var foreignKey = func() item.Key {
	k, err := item.AppendKey(nil, item.AppendString(nil, "foreign"), nil)
	if err != nil {
		panic(err)
	}
	return k
}()

// plantRecord writes a record into a store behind its back.
func plantRecord(t *testing.T, dir string, table globaltable.TableID, key item.Key) {
	t.Helper()
	p, err := store.OpenPebble(store.Config{Dir: dir, OnFatal: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	b := p.NewBatch()
	b.Set(store.AppendRecordKey(nil, table, key), []byte("foreign"))
	wait, err := p.Apply(b)
	if err == nil {
		err = wait()
	}
	if err == nil {
		err = p.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// A policy is carried out, and everything that an auditor can ask agrees on it: receipts, residency, the ledger of what was handed over, the audit log.
func TestAuditOfAPolicy(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	r := runWorld(t, cfg)
	const us, eu, ap = "us-east-1", "eu-central-1", "ap-south-1"
	r.makeTable(us, eu, ap)
	const items = 60
	for i := range items {
		r.put([]string{us, eu, ap}[i%3], fmt.Sprint([]string{"EU#", "US#"}[i%2], i), "v")
	}
	r.converge(items)
	pin := globaltable.Pin{Name: "eu-customers", Match: globaltable.Match{KeyPrefix: "EU#"}, Jurisdictions: []string{"EU"}, Foreign: globaltable.Reject, SingleCopy: true}
	r.change(us, catalog.Change{Pins: &catalog.PinChange{Set: []globaltable.Pin{pin}}})
	r.until("all regions have given a receipt", func() bool {
		for _, region := range r.ready.Regions {
			list := fetch[admin.Receipts](r, region, "/v1/audit/receipts?table="+tableName)
			if len(list.Receipts) != 3 {
				return false
			}
			for _, x := range list.Receipts {
				if x.Fault != "" || x.Region != eu && x.Done.Erased != items/2 {
					t.Fatalf("%+v", x)
				}
			}
		}
		return true
	})
	for _, region := range r.ready.Regions {
		found, sum := r.residency(region)
		want := map[string]uint64{"": items / 2}
		if region.Name == eu {
			want["eu-customers"] = items / 2
		}
		got := map[string]uint64{}
		for _, c := range sum.Counts {
			got[c.Policy] = c.Records
		}
		if len(found) > 0 || !maps.Equal(got, want) {
			t.Errorf("%s: %+v; records %v, want %v", region.Name, found, got, want)
		}
	}
	usAt, euAt := r.ready.Regions[0], r.ready.Regions[1]
	if a := r.egress(usAt, eu, egress.HandOver); a.Count < items/2 {
		t.Errorf("%d records were handed over", a.Count)
	}
	before, handed := r.egress(euAt, us, egress.Lane).Count, r.egress(usAt, ap, egress.Lane)
	for i := range 10 {
		r.put(eu, fmt.Sprint("EU#", 1000+i), "stays")
	}
	if now := r.egress(euAt, us, egress.Lane).Count; now != before {
		t.Errorf("%d changes of pinned items have left", now-before)
	}
	entries, res := r.auditLog(euAt)
	if res.Found > 0 || !slices.Contains(entries, us+" policy.changed "+tableName) {
		t.Errorf("%v %q", res.Problems, entries)
	}
	// What was voided stays counted, over a restart too.
	r.stop()
	r = runWorld(t, cfg)
	if again := r.egress(r.ready.Regions[0], ap, egress.Lane); again.Count != handed.Count || again.Bytes != handed.Bytes {
		t.Errorf("after a restart %d changes, %d bytes; before %d, %d", again.Count, again.Bytes, handed.Count, handed.Bytes)
	}
}
