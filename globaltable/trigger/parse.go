package trigger

import (
	"time"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/manifest"
)

// documents is what manifest has to know of triggers.
var documents = manifest.Form[Document]{
	Kinds: []string{Kind},
	Read: func(r *manifest.Reader, h manifest.Head, spec manifest.Node) Document {
		f := readSpec(r, spec)
		return f.document(h.Name)
	},
	Check: (*Document).check,
	Is: func(d *Document) string {
		return Kind + " " + manifest.Clip(d.Name) + " of table " + manifest.Clip(d.Table)
	},
}

// Parse reads a file of triggers. Its errors are those of manifest.Parse.
func Parse(b []byte) ([]Document, error) { return manifest.Parse(b, &documents) }

func readSpec(r *manifest.Reader, n manifest.Node) (f form) {
	fields := r.Fields(n, "spec", []string{"table", "fire", "filter", "target", "batch", "parallel", "retry"}, "table", "target")
	f.Table = r.Text(fields["table"], "spec.table", true)
	f.Fire = globaltable.Fire(r.Text(fields["fire"], "spec.fire", false))
	f.Filter = r.JSON(fields["filter"], "spec.filter")
	f.Parallel = r.Count(fields["parallel"], "spec.parallel")
	if n := fields["target"]; n != nil {
		f.Target = readTarget(r, n)
	}
	if n := fields["batch"]; n != nil {
		b := r.Fields(n, "spec.batch", []string{"size", "window"})
		f.Batch = batch{r.Count(b["size"], "spec.batch.size"), readDuration(r, b["window"], "spec.batch.window")}
	}
	if n := fields["retry"]; n != nil {
		b := r.Fields(n, "spec.retry", []string{"attempts", "first", "most"})
		f.Retry = retry{r.Count(b["attempts"], "spec.retry.attempts"), readDuration(r, b["first"], "spec.retry.first"), readDuration(r, b["most"], "spec.retry.most")}
	}
	return f
}

func readTarget(r *manifest.Reader, n manifest.Node) (t target) {
	fields := r.Fields(n, "spec.target", []string{"webhook", "nats", "command"})
	if n := fields["webhook"]; n != nil {
		const at = "spec.target.webhook"
		w := r.Fields(n, at, []string{"url", "secretRef", "timeout"}, "url")
		t.Webhook = &webhook{r.Text(w["url"], at+".url", true), r.Text(w["secretRef"], at+".secretRef", false), readDuration(r, w["timeout"], at+".timeout")}
	}
	if n := fields["nats"]; n != nil {
		const at = "spec.target.nats"
		w := r.Fields(n, at, []string{"subject"}, "subject")
		t.NATS = &globaltable.NATSTarget{Subject: r.Text(w["subject"], at+".subject", true)}
	}
	if n := fields["command"]; n != nil {
		const at = "spec.target.command"
		w := r.Fields(n, at, []string{"path", "args", "timeout"}, "path")
		t.Command = &command{r.Text(w["path"], at+".path", true), r.List(w["args"], at+".args"), readDuration(r, w["timeout"], at+".timeout")}
	}
	return t
}

// readDuration returns the value of a field that is a time, above zero; zero, if it is not there.
func readDuration(r *manifest.Reader, n manifest.Node, path string) duration {
	text := r.Text(n, path, true)
	if n == nil {
		return 0
	}
	d, err := time.ParseDuration(text)
	switch {
	case err != nil:
		r.Fault(n, path, "it is %q; %s", manifest.Clip(text), noDuration)
	case d <= 0:
		r.Fault(n, path, "it is %q; it must be above zero", manifest.Clip(text))
	}
	return duration(d)
}
