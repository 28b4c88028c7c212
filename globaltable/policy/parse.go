package policy

import (
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/manifest"
)

// form is what manifest has to know of policies.
var form = manifest.Form[Document]{
	Kinds: []string{string(LocalityPolicy), string(ReplicationPolicy)},
	Read: func(r *manifest.Reader, h manifest.Head, spec manifest.Node) Document {
		d := Document{Kind: Kind(h.Kind), Name: h.Name}
		if d.Kind == LocalityPolicy {
			d.Locality = readLocality(r, spec)
		} else {
			d.Replication = readReplication(r, spec)
		}
		return d
	},
	Check: func(d *Document) []manifest.Fault {
		d.normalize()
		return d.faults()
	},
	Is: func(d *Document) string {
		return string(d.Kind) + " " + manifest.Clip(d.Name) + " of table " + manifest.Clip(d.Table())
	},
}

// Parse reads a file of policies. Its errors are those of manifest.Parse.
func Parse(b []byte) ([]Document, error) { return manifest.Parse(b, &form) }

func readLocality(p *manifest.Reader, n manifest.Node) *Locality {
	l := new(Locality)
	f := p.Fields(n, "spec", []string{"match", "pin", "foreign", "singleCopy", "targets"}, "match", "pin")
	if f["match"] != nil {
		const at = "spec.match"
		m := p.Fields(f["match"], at, []string{"table", "keyPrefix", "key", "sortKeyPrefix"}, "table")
		l.Match.Table = p.Text(m["table"], at+".table", true)
		l.Match.KeyPrefix = p.Text(m["keyPrefix"], at+".keyPrefix", false)
		l.Match.SortKeyPrefix = p.Text(m["sortKeyPrefix"], at+".sortKeyPrefix", false)
		if m["key"] != nil {
			k := p.Fields(m["key"], at+".key", []string{"delimiter", "component", "equals"}, "delimiter", "component", "equals")
			l.Match.Key = &Component{Delimiter: p.Text(k["delimiter"], at+".key.delimiter", true), Component: p.Number(k["component"], at+".key.component"), Equals: p.Text(k["equals"], at+".key.equals", true)}
		}
	}
	if f["pin"] != nil {
		places := p.Fields(f["pin"], "spec.pin", []string{"jurisdictions", "regions"})
		l.Pin = Places{Jurisdictions: p.List(places["jurisdictions"], "spec.pin.jurisdictions"), Regions: p.List(places["regions"], "spec.pin.regions")}
	}
	l.Foreign = globaltable.Foreign(p.Text(f["foreign"], "spec.foreign", false))
	l.SingleCopy = p.Text(f["singleCopy"], "spec.singleCopy", false)
	l.Targets = p.List(f["targets"], "spec.targets")
	return l
}

func readReplication(p *manifest.Reader, n manifest.Node) *Replication {
	f := p.Fields(n, "spec", []string{"table", "regions", "merge", "attributes", "acknowledge", "stream", "streamRecords", "conflicts"}, "table")
	r := &Replication{Table: p.Text(f["table"], "spec.table", true), Regions: p.List(f["regions"], "spec.regions"), Merge: p.Text(f["merge"], "spec.merge", false),
		Acknowledge: p.Text(f["acknowledge"], "spec.acknowledge", false), Stream: p.Text(f["stream"], "spec.stream", false)}
	if f["attributes"] != nil {
		r.Attributes = map[string]string{}
		for name, v := range p.Fields(f["attributes"], "spec.attributes", nil) {
			r.Attributes[name] = p.Text(v, manifest.Join("spec.attributes", manifest.Clip(name)), false)
		}
	}
	r.Streams, r.Conflicts = readKept(p, f["streamRecords"], "spec.streamRecords"), readKept(p, f["conflicts"], "spec.conflicts")
	return r
}

func readKept(p *manifest.Reader, n manifest.Node, at string) *Kept {
	if n == nil {
		return nil
	}
	f := p.Fields(n, at, []string{"age", "bytes"})
	return &Kept{Age: p.Text(f["age"], at+".age", false), Bytes: p.Text(f["bytes"], at+".bytes", false)}
}
