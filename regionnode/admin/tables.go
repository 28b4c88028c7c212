package admin

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
)

// Tables shows and changes tables. A region knows those that it has a replica of. Errors are *globaltable.Error.
type Tables interface {
	Tables(ctx context.Context) (TableList, error)
	// Table returns the table that has the name here, with what its owner knows of unfinished replicas.
	Table(ctx context.Context, name string) (Table, error)
	// ChangeTable changes it, for every region, and returns it as it is then.
	ChangeTable(ctx context.Context, name string, change catalog.Change) (Table, error)
}

// NoTables are those of a region that cannot tell.
type NoTables struct{ Err error }

// Tables implements Tables.
func (n NoTables) Tables(context.Context) (TableList, error) { return TableList{}, n.Err }

// Table implements Tables.
func (n NoTables) Table(context.Context, string) (Table, error) { return Table{}, n.Err }

// ChangeTable implements Tables.
func (n NoTables) ChangeTable(context.Context, string, catalog.Change) (Table, error) {
	return Table{}, n.Err
}

// TableList is the body of GET /v1/tables.
type TableList struct {
	Region string  `json:"region"` // that was asked
	Tables []Table `json:"tables"` // by name
}

// NewReplicas is the body of POST /v1/tables/{name}/replicas.
type NewReplicas struct {
	Regions []string `json:"regions"`
	// JoinBytesPerSecond bounds the records that each of them takes from the others, about, beside what its node is bounded to; 0: nothing else.
	JoinBytesPerSecond int64 `json:"joinBytesPerSecond,omitempty"`
}

// TablePatch is the body of PATCH /v1/tables/{name}. What is null stays as it is.
type TablePatch struct {
	Acknowledge *string        `json:"acknowledge,omitempty"` // "local", or "peers:1" to "peers:3"
	TimeToLive  *SetTimeToLive `json:"timeToLive,omitempty"`
	Merge       *SetMerge      `json:"merge,omitempty"`
	Conflicts   *SetRetention  `json:"conflicts,omitempty"` // the age is for those that are listed from then on
	Streams     *SetRetention  `json:"streamRecords,omitempty"`
}

// SetRetention says how long, and up to which size, the table keeps something. What is empty stays as it is; "default" is the default.
type SetRetention struct {
	Age   string `json:"age,omitempty"`   // 30d, 36h
	Bytes string `json:"bytes,omitempty"` // 128MiB
}

// SetMerge says how writes to the table are to be recorded. What it does not name stays as it is.
type SetMerge struct {
	Mode  string            `json:"mode,omitempty"`  // lww, attribute or vector
	Types map[string]string `json:"types,omitempty"` // by attribute: counter, set, map, max, min or register; none: no longer declared
}

// SetTimeToLive says by what the table's items are to expire.
type SetTimeToLive struct {
	Attribute string `json:"attribute"` // empty: they do not expire any more
}

// maxBody is the greatest request body, in bytes.
const maxBody = 64 << 10

func (s *Server) handleTables() {
	s.mux.HandleFunc("GET /v1/tables", func(w http.ResponseWriter, r *http.Request) {
		list, err := s.cfg.Tables.Tables(r.Context())
		reply(w, list, err)
	})
	s.mux.HandleFunc("GET /v1/tables/{name}", func(w http.ResponseWriter, r *http.Request) {
		t, err := s.cfg.Tables.Table(r.Context(), r.PathValue("name"))
		reply(w, t, err)
	})
	s.mux.HandleFunc("PATCH /v1/tables/{name}", s.changeTable(patchTable))
	s.mux.HandleFunc("POST /v1/tables/{name}/replicas", s.changeTable(addReplicas))
	s.mux.HandleFunc("DELETE /v1/tables/{name}/replicas/{region}", s.changeTable(func(r *http.Request) (catalog.Change, error) {
		return catalog.Change{Delete: []string{r.PathValue("region")}}, nil
	}))
	s.mux.HandleFunc("POST /v1/tables/{name}/replicas/{region}/disassociate", s.changeTable(func(r *http.Request) (catalog.Change, error) {
		return catalog.Change{Disassociate: &catalog.Disassociation{Region: r.PathValue("region"), Confirmed: true}}, nil
	}))
}

// changeTable makes the change that a request asks for.
func (s *Server) changeTable(change func(*http.Request) (catalog.Change, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c, err := change(r)
		var t Table
		if err == nil {
			t, err = s.cfg.Tables.ChangeTable(r.Context(), r.PathValue("name"), c)
		}
		reply(w, t, err)
	}
}

func patchTable(r *http.Request) (c catalog.Change, err error) {
	var p TablePatch
	if err := readBody(r, &p); err != nil {
		return c, err
	}
	set := func(tag map[string]string, untag []string, err error) error {
		maps.Copy(c.Tag, tag)
		c.Untag = append(c.Untag, untag...)
		return err
	}
	c.Tag = map[string]string{}
	if p.Merge != nil {
		err = set(globaltable.MergeTags(p.Merge.Mode, p.Merge.Types))
	}
	if p.Conflicts != nil && err == nil {
		err = set(globaltable.Conflicts.Tags(p.Conflicts.Age, p.Conflicts.Bytes))
	}
	if p.Streams != nil && err == nil {
		err = set(globaltable.StreamRecords.Tags(p.Streams.Age, p.Streams.Bytes))
	}
	if p.Acknowledge != nil && err == nil {
		_, err = globaltable.ParseAcknowledge(*p.Acknowledge)
		c.Tag[globaltable.AcknowledgeTag] = *p.Acknowledge
	}
	if p.TimeToLive != nil {
		c.TimeToLive = &catalog.TimeToLive{Attribute: p.TimeToLive.Attribute, Enabled: p.TimeToLive.Attribute != ""}
	}
	if err == nil && c.TimeToLive == nil && len(c.Tag)+len(c.Untag) == 0 {
		err = invalid("the patch changes nothing")
	}
	return c, err
}

func addReplicas(r *http.Request) (c catalog.Change, err error) {
	var n NewReplicas
	if err := readBody(r, &n); err != nil {
		return c, err
	}
	switch {
	case len(n.Regions) == 0 || len(n.Regions) > globaltable.MaxReplicas:
		return c, invalid("no regions are named, or too many")
	case n.JoinBytesPerSecond < 0:
		return c, invalid("joinBytesPerSecond is negative")
	}
	return catalog.Change{Create: n.Regions, JoinBytesPerSecond: n.JoinBytesPerSecond}, nil
}

// readBody reads a request's JSON. What it does not know is an error: the request would not do what it says.
func readBody(r *http.Request, into any) error { return readUpTo(r, maxBody, into) }

// readUpTo is readBody for a body of so many bytes at most.
func readUpTo(r *http.Request, most int64, into any) error {
	dec := json.NewDecoder(http.MaxBytesReader(nil, r.Body, most))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return invalid("the body cannot be read: " + err.Error())
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return invalid("the body goes on after its end")
	}
	return nil
}

func invalid(message string) error {
	return &globaltable.Error{Op: "admin", Kind: globaltable.Invalid, Message: message}
}

// reply answers with body, or with what went wrong.
func reply(w http.ResponseWriter, body any, err error) {
	if err != nil {
		failWith(w, err)
		return
	}
	answer(w, http.StatusOK, body)
}
