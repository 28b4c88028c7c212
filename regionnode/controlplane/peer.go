package controlplane

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/regionnode/commit"
	"github.com/concordat-db/concordat/regionnode/placing"
)

// Bounds of requests and answers. An answer fits a message of the bus: documents are at most 200 KB, and base64 adds a third.
const (
	maxQuestions     = 256
	maxVersions      = 4096
	maxDocuments     = 256
	maxDocumentBytes = 384 << 10 // of records in one answer, one oversize record aside
)

// request is what one region asks another. Exactly one field is set.
type request struct {
	Update    *updateRequest   `json:"update,omitempty"`
	Delete    *deleteRequest   `json:"delete,omitempty"`
	Progress  []question       `json:"progress,omitempty"`
	Versions  *versionsRequest `json:"versions,omitempty"`
	Documents []string         `json:"documents,omitempty"` // tables
	World     *worldRequest    `json:"world,omitempty"`
	Inspect   *inspectRequest  `json:"inspect,omitempty"`
	Anew      *anewRequest     `json:"anew,omitempty"`
	Audit     *auditRequest    `json:"audit,omitempty"`
	Policies  *policiesRequest `json:"policies,omitempty"`
	Triggers  *triggersRequest `json:"triggers,omitempty"`
	History   *historyRequest  `json:"history,omitempty"`
	Receipts  *receiptsRequest `json:"receipts,omitempty"`
	Census    *censusRequest   `json:"census,omitempty"`
}

type updateRequest struct {
	Table  string         `json:"table"`
	Change catalog.Change `json:"change"`
}

// deleteRequest is about the asker's replica.
type deleteRequest struct {
	Table string `json:"table"`
}

// question asks what became of the version Since of a table, and of a replica that it deletes; and whether the region has carried out the policies of version Placing, if that is not zero.
type question struct {
	Table   string `json:"table"`
	Since   uint64 `json:"since"`
	Placing uint64 `json:"placing,omitempty"`
}

// versionsRequest asks for versions of documents, in the order of ids.
type versionsRequest struct {
	After string `json:"after"` // table
}

// anewRequest asks for a document again that the asker has got and cannot adopt.
type anewRequest struct {
	Table   string              `json:"table"`
	Version globaltable.Version `json:"version"`
	Passed  bool                `json:"passed,omitempty"` // on, to the owner
}

// answer is what the other region says.
type answer struct {
	Error     *errorAnswer     `json:"error,omitempty"`
	Table     string           `json:"table,omitempty"` // a document
	World     string           `json:"world,omitempty"` // a document
	Pending   []string         `json:"pending,omitempty"`
	Percent   map[string]int   `json:"percent,omitempty"`
	Progress  []reply          `json:"progress,omitempty"`
	Clock     hlc.Timestamp    `json:"clock,omitempty"` // of who answers, read after what Progress says was so
	Versions  []versionAnswer  `json:"versions,omitempty"`
	More      bool             `json:"more,omitempty"` // of versions, history or receipts
	Documents []documentAnswer `json:"documents,omitempty"`
	Audit     [][]byte         `json:"audit,omitempty"`    // encoded conflict records of entries; More: there are others
	History   [][]byte         `json:"history,omitempty"`  // encoded conflict records
	Receipts  [][]byte         `json:"receipts,omitempty"` // likewise
	Census    *censusAnswer    `json:"census,omitempty"`
}

type errorAnswer struct {
	Op       string           `json:"op"`
	Resource string           `json:"resource"`
	Kind     globaltable.Kind `json:"kind"`
	Message  string           `json:"message"`
}

type reply struct {
	Outcome catalog.Outcome `json:"outcome,omitempty"`
	Joined  bool            `json:"joined,omitempty"`
	ToPlace bool            `json:"toPlace,omitempty"` // with Joined
	Percent int             `json:"percent,omitempty"`
	Dropped bool            `json:"dropped,omitempty"`
	Filled  bool            `json:"filled,omitempty"`
	Placed  bool            `json:"placed,omitempty"`
	Receipt string          `json:"receipt,omitempty"` // with Placed
	Waiting string          `json:"waiting,omitempty"`
}

type versionAnswer struct {
	Table    string `json:"table"`
	Version  uint64 `json:"version"`
	Policies uint64 `json:"policies,omitempty"` // sequence of the newest version of the table's policies
	Receipts int    `json:"receipts,omitempty"` // how many there are of the table
	Sum      uint64 `json:"sum,omitempty"`      // of these; see View.ReceiptSum
}

type documentAnswer struct {
	Table  string `json:"table"`
	Record []byte `json:"record"` // encoded conflict record: stamps travel with the document
}

var errAnswer = &globaltable.Error{Op: "ask region", Kind: globaltable.Corrupt, Message: "the answer does not fit the question"}

// answerError is the other region's own error, told from one of the way there.
type answerError struct{ err *globaltable.Error }

func (e *answerError) Error() string { return e.err.Error() }
func (e *answerError) Unwrap() error { return e.err }

// ask asks a region. The error is an *answerError when the region answered with one.
func (p *Plane) ask(ctx context.Context, region string, r *request) (*answer, error) {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.AskTimeout)
	defer cancel()
	b, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	raw, err := p.cfg.Peers.Ask(ctx, region, b)
	if err != nil {
		return nil, err
	}
	var a answer
	if err := json.Unmarshal(raw, &a); err != nil {
		return nil, errAnswer
	}
	if e := a.Error; e != nil {
		return nil, &answerError{&globaltable.Error{Op: e.Op, Resource: e.Resource, Kind: globaltable.KnownKind(e.Kind), Message: e.Message}}
	}
	return &a, nil
}

// HandlePeer answers a request of the region named peer. What goes wrong is part of the answer; an error means that there is none.
func (p *Plane) HandlePeer(ctx context.Context, peer string, raw []byte) ([]byte, error) {
	a, err := p.handle(ctx, peer, raw)
	if err != nil {
		a = &answer{Error: &errorAnswer{Kind: globaltable.KindOf(err), Message: err.Error()}}
		var e *globaltable.Error
		if errors.As(err, &e) {
			a.Error.Op, a.Error.Resource = e.Op, e.Resource
			if e.Message != "" {
				a.Error.Message = e.Message
			}
		}
	}
	return json.Marshal(a)
}

func (p *Plane) handle(ctx context.Context, peer string, raw []byte) (*answer, error) {
	var r request
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&r); err != nil {
		return nil, badRequest("the request cannot be read, or is of a newer version")
	}
	from, known := p.cfg.Catalog.View().Region(peer)
	if !known {
		return nil, &globaltable.Error{Op: "answer region", Resource: peer, Kind: globaltable.Denied, Message: "the region is not known"}
	}
	// A region that nobody hears any more may learn why, so that it can, and ask to come back.
	if !p.cfg.Catalog.View().Active(from.Origin) && r.Versions == nil && r.Documents == nil && r.Anew == nil && r.History == nil && r.Receipts == nil && r.Audit == nil && !r.World.admits(from.Name) {
		return nil, &globaltable.Error{Op: "answer region", Resource: peer, Kind: globaltable.Fenced, Message: "region " + peer + " is fenced or removed"}
	}
	switch {
	case r.World != nil:
		return p.answerWorld(ctx, r.World, from)
	case r.Inspect != nil:
		return p.answerInspect(r.Inspect, from)
	case r.Policies != nil:
		return p.answerPolicies(ctx, r.Policies, from)
	case r.Triggers != nil:
		return p.answerTriggers(ctx, r.Triggers, from)
	case r.Receipts != nil:
		return p.answerReceipts(ctx, r.Receipts)
	case r.History != nil:
		return p.answerHistory(ctx, r.History)
	case r.Census != nil:
		return p.answerCensus(r.Census)
	case r.Update != nil:
		id, err := p.asked(r.Update.Table, from)
		if err != nil {
			return nil, err
		}
		r.Update.Change.Region = from.Name
		return tableAnswer(p.update(ctx, id, &r.Update.Change))
	case r.Delete != nil:
		id, err := p.asked(r.Delete.Table, from)
		if err != nil {
			return nil, err
		}
		return tableAnswer(p.remove(ctx, id, from.Name))
	case len(r.Progress) > 0 && len(r.Progress) <= maxQuestions:
		replies, err := p.answerProgress(r.Progress)
		return &answer{Progress: replies, Clock: p.cfg.Clock.Last()}, err
	case r.Versions != nil:
		return p.answerVersions(r.Versions)
	case r.Anew != nil:
		return p.answerAnew(ctx, r.Anew)
	case len(r.Documents) > 0 && len(r.Documents) <= maxDocuments:
		return p.answerDocuments(ctx, r.Documents)
	case r.Audit != nil:
		return p.answerAudit(ctx, r.Audit)
	}
	return nil, badRequest("the request asks nothing, or too much")
}

func badRequest(message string) error {
	return &globaltable.Error{Op: "answer region", Kind: globaltable.Invalid, Message: message}
}

// asked returns the table that a region wants changed. Only a region where the table exists may ask.
func (p *Plane) asked(table string, from globaltable.Descriptor) (globaltable.TableID, error) {
	id, err := globaltable.ParseTableID(table)
	if err != nil {
		return 0, err
	}
	t, ok := p.cfg.Catalog.View().Table(id)
	if ok {
		if r := t.Replica(from.Origin); r != nil && r.Disassociated() {
			return 0, catalog.InUse("answer region", t.Name, "updated") // it has not heard yet that the table there is another one
		}
	}
	if !ok || t.StatusIn(from.Origin) == "" {
		return 0, &globaltable.Error{Op: "answer region", Resource: table, Kind: globaltable.NotFound, Message: "Requested resource not found"}
	}
	return id, nil
}

func tableAnswer(t *globaltable.Table, err error) (*answer, error) {
	if err != nil {
		return nil, err
	}
	return &answer{Table: string(globaltable.EncodeTable(t))}, nil
}

func (p *Plane) answerProgress(questions []question) ([]reply, error) {
	v := p.cfg.Catalog.View()
	out := make([]reply, 0, len(questions))
	for _, q := range questions {
		id, err := globaltable.ParseTableID(q.Table)
		if err != nil {
			return nil, err
		}
		var r reply
		r.Outcome, _ = v.Outcome(id, globaltable.Version(q.Since))
		if progress, ok := p.cfg.Joins.Progress(id, globaltable.Version(q.Since)); ok {
			r.Joined, r.Percent, r.Waiting = progress.Done, progress.Percent, progress.Waiting
			r.ToPlace = progress.Done && progress.ToPlace
		}
		p.mu.Lock()
		if l := p.leaving[id]; l != nil && l.since == globaltable.Version(q.Since) {
			r.Dropped, r.Waiting = l.dropped, l.waiting
		}
		if d, ok := p.parting[id]; ok && d.since == globaltable.Version(q.Since) {
			r.Filled, r.Percent, r.Waiting = d.filled, d.percent, d.waiting
		}
		p.mu.Unlock()
		if t, known := v.Table(id); known && q.Placing != 0 {
			is := p.placing(t, globaltable.Version(q.Placing))
			r.Placed, r.Receipt = is.Done, is.Receipt
			if r.Waiting == "" {
				r.Waiting, r.Percent = is.Waiting, max(r.Percent, is.Percent)
			}
		}
		out = append(out, r)
	}
	return out, nil
}

// placing returns how far this region is with a version's policies: what goes, and what comes.
func (p *Plane) placing(t *globaltable.Table, version globaltable.Version) placing.Progress {
	is := p.cfg.Places.Progress(t.ID, version)
	if !catalog.Gains(t, p.self.Origin) {
		return is
	}
	joined, _ := p.cfg.Joins.Progress(t.ID, version)
	is.Percent = min(is.Percent, joined.Percent)
	if is.Done && !joined.Done {
		is.Done, is.Receipt, is.Waiting = false, "", cmp.Or(joined.Waiting, p.self.Name+" to get what it may have now")
	}
	return is
}

func (p *Plane) answerVersions(r *versionsRequest) (*answer, error) {
	after, err := globaltable.ParseTableID(r.After)
	if err != nil {
		return nil, err
	}
	a := new(answer)
	v := p.cfg.Catalog.View()
	if w, ok := v.World(); ok && after < globaltable.WorldTable {
		a.Versions = append(a.Versions, versionAnswer{Table: globaltable.WorldTable.String(), Version: uint64(w.Version)})
	}
	v.TablesAfter(after, func(t *globaltable.Table) bool {
		if len(a.Versions) == maxVersions {
			a.More = true
			return false
		}
		receipts, sum := v.ReceiptSum(t.ID)
		a.Versions = append(a.Versions, versionAnswer{t.ID.String(), uint64(t.Version), v.NewestPolicy(t.ID), receipts, sum})
		return true
	})
	return a, nil
}

func (p *Plane) answerDocuments(ctx context.Context, tables []string) (*answer, error) {
	a, size := new(answer), 0
	for _, table := range tables {
		id, err := globaltable.ParseTableID(table)
		if err != nil {
			return nil, err
		}
		err = p.cfg.Door.Get(ctx, commit.Key{Table: globaltable.SystemTable, Bytes: catalog.DocumentKey(id)}, func(c commit.Current) error {
			if c.Record != nil {
				a.Documents = append(a.Documents, documentAnswer{table, bytes.Clone(c.Record)})
				size += len(c.Record)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		if size >= maxDocumentBytes {
			break
		}
	}
	return a, nil
}

// Fetch brings this region's catalog up to that of the region given. The inbox calls it too, when it meets a newer version there.
func (p *Plane) Fetch(ctx context.Context, region string) error { return p.fetch(ctx, region, false) }

// fetch is Fetch. all: what lies beside documents may have got to that region and not to this one although nothing newer has; else it comes by the catalog's lane.
func (p *Plane) fetch(ctx context.Context, region string, all bool) error {
	p.mu.Lock()
	wish, wanted := p.unheard[region]
	p.mu.Unlock()
	for after, more := globaltable.TableID(0), true; more; {
		a, err := p.ask(ctx, region, &request{Versions: &versionsRequest{after.String()}})
		if err != nil {
			return err
		}
		var want []string
		var history, receipts []globaltable.TableID
		for _, v := range a.Versions {
			id, err := globaltable.ParseTableID(v.Table)
			if err != nil || id <= after {
				return errAnswer
			}
			after = id
			if globaltable.Version(v.Version) > p.cfg.Catalog.Version(id) {
				want = append(want, v.Table)
			}
			if v.Policies > p.cfg.Catalog.View().NewestPolicy(id) || all && v.Policies > 0 {
				history = append(history, id)
			}
			if _, sum := p.cfg.Catalog.View().ReceiptSum(id); v.Receipts > 0 && v.Sum != sum {
				receipts = append(receipts, id)
			}
		}
		if more = a.More; more && len(a.Versions) == 0 {
			return errAnswer
		}
		if err := p.fetchDocuments(ctx, region, want); err != nil {
			return err
		}
		for _, v := range a.Versions {
			if id, err := globaltable.ParseTableID(v.Table); err == nil && p.cfg.Catalog.Version(id) < globaltable.Version(v.Version) {
				return p.askAnew(ctx, region, v)
			}
		}
		for _, id := range history {
			if err := p.fetchItems(ctx, region, p.historyOf(id, all)); err != nil {
				return err
			}
		}
		for _, id := range receipts {
			if err := p.fetchItems(ctx, region, receiptsOf(id)); err != nil {
				return err
			}
		}
	}
	if wanted || all { // else entries come by the catalog's lane, like the documents that were missed
		if err := p.fetchAudit(ctx, region); err != nil {
			return err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.unheard[region] == wish {
		delete(p.unheard, region)
	}
	return nil
}

// askAnew asks a region to have a document issued again of which this region has got that version: it did not come into force, since there is one here with a greater stamp, of an owner that had been put out and did not know. Who goes by a void
// document must not take himself for informed. The error says so.
func (p *Plane) askAnew(ctx context.Context, region string, v versionAnswer) error {
	if _, err := p.ask(ctx, region, &request{Anew: &anewRequest{Table: v.Table, Version: globaltable.Version(v.Version)}}); err != nil {
		return err
	}
	return &globaltable.Error{Op: "fetch catalog", Resource: v.Table, Kind: globaltable.Unavailable,
		Message: "The document has to be issued again: the one that is in force in " + p.self.Name + " is void, and of a later time."}
}

// answerAnew has a document issued again, if it is still of that version: by this region, or by the owner as this region knows it.
func (p *Plane) answerAnew(ctx context.Context, r *anewRequest) (*answer, error) {
	id, err := globaltable.ParseTableID(r.Table)
	if err != nil {
		return nil, err
	}
	v := p.cfg.Catalog.View()
	owner := hlc.Origin(0)
	if t, ok := v.Table(id); ok {
		owner = t.Owner
	} else if w, ok := v.World(); ok && id == globaltable.WorldTable {
		owner = w.Owner
	}
	switch d, known := v.RegionOf(owner); {
	case owner == p.self.Origin && id == globaltable.WorldTable:
		p.reissueWorld(r.Version)
	case owner == p.self.Origin:
		err = p.reissueTable(ctx, id, r.Version)
	case known && !r.Passed:
		_, err = p.ask(ctx, d.Name, &request{Anew: &anewRequest{r.Table, r.Version, true}})
	}
	return &answer{}, err
}

// fetchDocuments gets the documents of tables, as many in one answer as fit, and merges them.
func (p *Plane) fetchDocuments(ctx context.Context, region string, tables []string) error {
	from, known := p.cfg.Catalog.View().Region(region)
	if !known {
		return &globaltable.Error{Op: "fetch catalog", Resource: region, Kind: globaltable.Denied, Message: "the region is not known"}
	}
	for len(tables) > 0 {
		page := tables[:min(len(tables), maxDocuments)]
		if page[0] == globaltable.WorldTable.String() {
			// Alone: a table's document that cannot be adopted must not keep a region from hearing that it was fenced.
			page = page[:1]
		}
		a, err := p.ask(ctx, region, &request{Documents: page})
		if err != nil {
			return err
		}
		// The answer begins like the question: what did not fit is asked for again.
		if len(a.Documents) == 0 || len(a.Documents) > len(page) {
			return errAnswer
		}
		records := make([]commit.RecordAt, 0, len(a.Documents))
		for i, d := range a.Documents {
			if d.Table != page[i] {
				return errAnswer
			}
			id, owner, err := checkDocument(d)
			if err != nil {
				return err
			}
			if owner == p.self.Origin {
				// This store had lost what its region issued: the next version is of an epoch above all of that.
				p.mu.Lock()
				p.epoch = 0
				p.mu.Unlock()
			}
			records = append(records, commit.RecordAt{
				Key:    commit.Key{Table: globaltable.SystemTable, Bytes: catalog.DocumentKey(id)},
				Record: d.Record,
			})
		}
		if err := p.cfg.Door.MergeFrom(ctx, from.Origin, 0, records); err != nil {
			return err
		}
		tables = tables[len(records):]
	}
	return nil
}

// checkDocument makes sure that a record that came from a peer is the document of its table, or of the world, written by its owner.
func checkDocument(d documentAnswer) (id globaltable.TableID, owner hlc.Origin, err error) {
	if err := conflict.CheckRecord(d.Record); err != nil {
		return 0, 0, err
	}
	r, err := conflict.DecodeRecord(d.Record)
	if err != nil {
		return 0, 0, err
	}
	it, live, err := conflict.ItemOf(d.Record, nil)
	if err != nil {
		return 0, 0, err
	}
	if !live {
		return 0, 0, errAnswer
	}
	if d.Table == globaltable.WorldTable.String() {
		w, err := catalog.DecodeWorld(it)
		if err != nil {
			return 0, 0, err
		}
		id, owner = globaltable.WorldTable, w.Owner
	} else {
		t, err := catalog.DecodeDocument(it)
		if err != nil {
			return 0, 0, err
		}
		id, owner = t.ID, t.Owner
	}
	if id.String() != d.Table || r.Reset.Stamp.Origin != owner {
		return 0, 0, errAnswer
	}
	return id, owner, nil
}
