package cli

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nkeys"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/audit"
	"github.com/concordat-db/concordat/regionnode/admin"
	"github.com/concordat-db/concordat/regionnode/residency"
	"github.com/concordat-db/concordat/streams/egress"
)

// auditor is a region with an audit log of three entries, a page each, an account, a receipt, and findings, behind the real admin API.
type auditor struct {
	admin.NoAudit
	mu       sync.Mutex // for log, where a command follows it
	log      []globaltable.Sealed
	key      string
	findings []residency.Finding
	failed   error // ends the scan
	receipt  admin.Receipt
}

func userKey(t *testing.T, n byte) (nkeys.KeyPair, string) {
	t.Helper()
	key, err := nkeys.FromRawSeed(nkeys.PrefixByteUser, bytes.Repeat([]byte{n}, 32))
	if err != nil {
		t.Fatal(err)
	}
	public, err := key.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return key, public
}

func newAuditor(t *testing.T) (*auditor, string) {
	t.Helper()
	a := new(auditor)
	var key nkeys.KeyPair
	key, a.key = userKey(t, 1)
	var previous globaltable.Chain
	for i := range 3 {
		s, err := audit.Entry{Origin: 1, Region: "us-east-1", Seq: uint64(i + 1), Previous: previous, At: 1700000000000 + int64(i), Kind: audit.PolicyChanged, Subject: fmt.Sprint("table-", i), Asked: "eu-central-1", Author: "ops", Reason: "law",
			Changes: []audit.Change{{What: "policy eu", Was: "a", Now: "b"}}}.Seal(key)
		if err != nil {
			t.Fatal(err)
		}
		a.log, previous = append(a.log, s), s.Hash()
	}
	r := globaltable.Receipt{Table: 1 << 20, Name: "orders", Version: globaltable.MakeVersion(1, 5), Region: "us-east-1", Jurisdiction: "US", Origin: 1, Incarnation: 7, Done: globaltable.Placed{Erased: 4, Handed: map[string]int64{"eu-central-1": 4}}, Started: 1700000000000, Finished: 1700000001000}
	token, err := globaltable.SignReceipt(&r, key)
	if err != nil {
		t.Fatal(err)
	}
	a.receipt = admin.Receipt{Table: r.Name, TableID: r.Table.String(), Version: r.Version.String(), Region: r.Region, Jurisdiction: r.Jurisdiction, Done: r.Done, Started: time.UnixMilli(r.Started), Finished: time.UnixMilli(r.Finished), Token: token}
	s := httptest.NewServer(admin.New(admin.Config{Audit: a, Metrics: http.NotFoundHandler()}))
	t.Cleanup(s.Close)
	return a, s.URL
}

func (a *auditor) Log(_ context.Context, q admin.AuditQuery) (admin.AuditLog, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	i := 0
	if len(q.After) > 0 {
		i = int(q.After[0])
	}
	out := admin.AuditLog{Keys: map[string]string{"us-east-1": a.key}, Entries: []admin.AuditEntry{}}
	if i < len(a.log) {
		one := admin.AuditEntry{Sealed: &a.log[i]}
		if e, err := audit.Open(&a.log[i]); err == nil {
			one.Entry = e
		} else {
			one.Fault, one.At = "it is damaged", &audit.Place{Origin: 1, Region: "us-east-1", Seq: uint64(i + 1)}
		}
		out.Entries = append(out.Entries, one)
		i++
	}
	out.More, out.Next = i < len(a.log), base64.RawURLEncoding.EncodeToString([]byte{byte(i)})
	return out, nil
}

func (a *auditor) Egress(context.Context) (admin.Egress, error) {
	return admin.Egress{Region: "us-east-1", PublicKey: a.key, Head: egress.Head{}, Accounts: []admin.EgressAccount{
		{Account: egress.Account{Peer: 2, Region: "eu-central-1", Kind: egress.Lane, Lane: "0000000000000009", First: 1, Last: 5, Events: 5, Count: 7, Bytes: 2048}, Regions: []string{"us-east-1", "eu-central-1"}},
		{Account: egress.Account{Peer: 3, Region: "ap-south-1", Kind: egress.Exchange, Table: "000000000000000a", Events: 1, Count: 3, Bytes: 10}, TableName: "orders"}}}, nil
}

func (a *auditor) Checkpoints(context.Context, uint64, int) (admin.EgressCheckpoints, error) {
	return admin.EgressCheckpoints{}, nil
}

func (a *auditor) Receipts(context.Context, string) (admin.Receipts, error) {
	return admin.Receipts{Receipts: []admin.Receipt{a.receipt}, Regions: []admin.ReceiptRegion{{Name: "us-east-1", Jurisdiction: "US", Origin: 1}}, Keys: map[string]string{"us-east-1": a.key}}, nil
}

func (a *auditor) Residency(_ context.Context, _ string, report func(residency.Finding) error) (residency.Summary, error) {
	sum := residency.Summary{Region: "us-east-1", Counts: []residency.Count{{Name: "orders", Regions: []string{"us-east-1"}, Jurisdictions: []string{"US"}, Records: 12}}}
	for _, f := range a.findings {
		if err := report(f); err != nil {
			return sum, err
		}
		if sum.Findings++; f.Pending {
			sum.Pending++
		}
	}
	return sum, a.failed
}

func TestAuditLog(t *testing.T) {
	_, url := newAuditor(t)
	got := command(t, "audit", "log", "--admin", url, "--limit", "2")
	if got.status != 0 || strings.Contains(got.out, "table-0") || !strings.Contains(got.out, "table-1") || !strings.Contains(got.out, "policy eu: a → b") || !strings.Contains(got.out, "eu-central-1, ops") {
		t.Errorf("status %d:\n%s%s", got.status, got.out, got.err)
	}
	var list admin.AuditLog
	if got := command(t, "audit", "log", "--admin", url, "--output", "json"); json.Unmarshal([]byte(got.out), &list) != nil || len(list.Entries) != 3 {
		t.Errorf("%s", got.out)
	}
}

// Entries are shown once, those that come while the region is away too.
func TestAuditLogFollow(t *testing.T) {
	a, _ := newAuditor(t)
	all := a.log
	a.log = all[:1]
	api := admin.New(admin.Config{Audit: a, Metrics: http.NotFoundHandler()})
	serve := func(address string) *http.Server {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{Handler: api, Addr: l.Addr().String()}
		go func() { _ = server.Serve(l) }()
		return server
	}
	first := serve("127.0.0.1:0")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, errs := newSyncBuffer(), newSyncBuffer()
	ended := make(chan int, 1)
	go func() {
		ended <- Run(ctx, []string{"concordat", "audit", "log", "--follow", "--since", "1h", "--admin", "http://" + first.Addr, "--output", "json"}, Streams{Out: out, Err: errs}, "test")
	}()
	until := func(b *syncBuffer, text string) {
		t.Helper()
		for !strings.Contains(b.String(), text) {
			select {
			case <-b.changed:
			case status := <-ended:
				t.Fatalf("ended with %d: %s", status, errs)
			}
		}
	}
	until(out, "table-0")
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	until(errs, "trying again")
	a.mu.Lock()
	a.log = all
	a.mu.Unlock()
	again := serve(first.Addr)
	defer again.Close()
	until(out, "table-2")
	cancel()
	if status := <-ended; status != 0 {
		t.Errorf("status %d: %s", status, errs)
	}
	var got []string
	for line := range strings.Lines(out.String()) {
		var e admin.AuditEntry
		if err := json.Unmarshal([]byte(line), &e); err != nil || e.Entry == nil {
			t.Fatalf("%v: %s", err, line)
		}
		got = append(got, e.Entry.Subject)
	}
	if !slices.Equal(got, []string{"table-0", "table-1", "table-2"}) {
		t.Errorf("shown: %q", got)
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestAuditLines(t *testing.T) {
	a, _ := newAuditor(t)
	e, err := audit.Open(&a.log[0])
	if err != nil {
		t.Fatal(err)
	}
	if got := auditLine(&admin.AuditEntry{Entry: e}); !strings.HasSuffix(got, "  us-east-1 1  policy.changed table-0: policy eu: a → b (eu-central-1, ops): law") {
		t.Error(got)
	}
	if got := auditLine(&admin.AuditEntry{Fault: "why"}); got != "an entry that cannot be read: why" {
		t.Error(got)
	}
}

func TestAuditCheck(t *testing.T) {
	a, url := newAuditor(t)
	head := a.log[1].Hash()
	known := "us-east-1=2:" + hex.EncodeToString(head[:])
	got := command(t, "audit", "check", "--admin", url, "--head", known)
	if got.status != 0 || !strings.Contains(got.out, "3 entries: every hash and every signature is right.") {
		t.Errorf("status %d:\n%s%s", got.status, got.out, got.err)
	}
	_, other := userKey(t, 2)
	if got := command(t, "audit", "check", "--admin", url, "--key", "us-east-1="+other); got.status != 1 || !strings.Contains(got.out, "us-east-1, entry 1: wrong signature") {
		t.Errorf("another key: status %d:\n%s", got.status, got.out)
	}
	// One that cannot be read ends neither the check nor the list.
	sound := a.log
	a.log = slices.Clone(sound)
	a.log[0].Payload = "{"
	a.log[2].Signature = nil
	got = command(t, "audit", "check", "--admin", url)
	for _, want := range []string{"us-east-1, entry 1: an entry that cannot be read: it is damaged", "us-east-1, entry 1: wrong signature", "us-east-1, entry 2: wrong hash", "us-east-1, entry 3: wrong signature"} {
		if got.status != 1 || !strings.Contains(got.out, want) {
			t.Errorf("status %d, no %q in:\n%s", got.status, want, got.out)
		}
	}
	if got := command(t, "audit", "log", "--admin", url); got.status != 0 || !strings.Contains(got.out, "an entry that cannot be read: it is damaged") || !strings.Contains(got.out, "table-2") {
		t.Errorf("status %d:\n%s%s", got.status, got.out, got.err)
	}
	a.log = sound[:1]
	if got := command(t, "audit", "check", "--admin", url, "--head", known, "--output", "json"); got.status != 1 || !strings.Contains(got.out, `"found": 1`) || !strings.Contains(got.err, "not sound: 1 problems") {
		t.Errorf("cut off: status %d:\n%s%s", got.status, got.out, got.err)
	}
}

func TestAuditEgress(t *testing.T) {
	_, url := newAuditor(t)
	got := command(t, "audit", "egress", "--admin", url)
	for _, want := range []string{"eu-central-1", "us-east-1, eu-central-1", "2.0 KiB", "orders"} {
		if !strings.Contains(got.out, want) {
			t.Errorf("no %q in:\n%s", want, got.out)
		}
	}
	if got := command(t, "audit", "egress", "--admin", url, "--peer", "ap-south-1"); got.status != 0 || strings.Contains(got.out, "2.0 KiB") {
		t.Errorf("status %d:\n%s", got.status, got.out)
	}
	// There are no checkpoints, and none is claimed: sound. One that is known is missing.
	if got := command(t, "audit", "egress", "--admin", url, "--verify"); got.status != 0 {
		t.Errorf("status %d:\n%s%s", got.status, got.out, got.err)
	}
	if got := command(t, "audit", "egress", "--admin", url, "--verify", "--head", "9:"+strings.Repeat("ab", 32)); got.status != 1 || !strings.Contains(got.out, "checkpoint 9 with the hash known is not there") {
		t.Errorf("status %d:\n%s%s", got.status, got.out, got.err)
	}
}

func TestAuditResidency(t *testing.T) {
	a, url := newAuditor(t)
	if got := command(t, "audit", "residency", "--admin", url); got.status != 0 || !strings.Contains(got.out, "Nothing is where it may not be.") || !strings.Contains(got.out, "12") {
		t.Errorf("status %d:\n%s%s", got.status, got.out, got.err)
	}
	a.findings = []residency.Finding{{Table: "0a", Name: "orders", Policy: "eu", Key: "00ff", Region: "us-east-1", Where: residency.InLog, Detail: "lane 1, entry 2", Pending: true}}
	if got := command(t, "audit", "residency", "--admin", url); got.status != 1 || !strings.Contains(got.out, "table orders, item 00ff: in a log of us-east-1, against policy eu (lane 1, entry 2); the region is still carrying that out") ||
		!strings.Contains(got.err, "still carrying out") {
		t.Errorf("status %d:\n%s%s", got.status, got.out, got.err)
	}
	a.findings = append(a.findings, residency.Finding{Table: "0b", Key: "00fe", Region: "us-east-1", Where: residency.InRecord})
	var r residencyResult
	if got := command(t, "audit", "residency", "--admin", url, "--output", "json"); got.status != 1 || json.Unmarshal([]byte(got.out), &r) != nil || len(r.Findings) != 2 || !strings.Contains(got.err, "where they may not be: 2") {
		t.Errorf("status %d:\n%s%s", got.status, got.out, got.err)
	}
	a.failed = errors.New("the disk is gone")
	if got := command(t, "audit", "residency", "--admin", url); got.status != 1 || !strings.Contains(got.err, "not completed: the disk is gone") {
		t.Errorf("status %d:\n%s%s", got.status, got.out, got.err)
	}
}

func TestReceipts(t *testing.T) {
	a, url := newAuditor(t)
	if got := command(t, "policy", "receipts", "--admin", url); got.status != 0 || !strings.Contains(got.out, "eu-central-1 4") || !strings.Contains(got.out, "right") {
		t.Errorf("status %d:\n%s%s", got.status, got.out, got.err)
	}
	a.receipt.Done.Erased = 3
	if got := command(t, "policy", "receipts", "--admin", url); got.status != 1 || !strings.Contains(got.out, "not what was signed") {
		t.Errorf("status %d:\n%s%s", got.status, got.out, got.err)
	}
	_, a.key = userKey(t, 2)
	if got := command(t, "policy", "receipts", "--admin", url); got.status != 1 || !strings.Contains(got.out, "the signature is not the region's") {
		t.Errorf("status %d:\n%s%s", got.status, got.out, got.err)
	}
}

// The commands work on a world as it is.
func TestAuditOfAWorld(t *testing.T) {
	d := startDev(t)
	for _, args := range [][]string{{"audit", "log"}, {"audit", "check"}, {"audit", "egress", "--verify"}, {"audit", "residency"}, {"policy", "receipts"}} {
		if got := command(t, append(args, "--admin", d.ready.Regions[0].Admin)...); got.status != 0 || got.out == "" {
			t.Errorf("%v: status %d:\n%s%s", args, got.status, got.out, got.err)
		}
	}
}
