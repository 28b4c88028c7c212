package bench

import (
	"bytes"
	"encoding/binary"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestEtcdCalls: what is sent is what etcd's protocol says, as it lies on the wire, and refusals are seen wherever gRPC puts them.
func TestEtcdCalls(t *testing.T) {
	values, err := newTexts()
	if err != nil {
		t.Fatal(err)
	}
	var asked []byte
	var path string
	answer := func(w http.ResponseWriter) {
		w.Header().Set("Trailer", "Grpc-Status")
		_, _ = w.Write(append([]byte{0, 0, 0, 0, 3}, "abc"...))
		w.Header().Set("Grpc-Status", "0")
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path, asked = r.URL.Path, nil
		if b, err := io.ReadAll(r.Body); err == nil && r.ProtoMajor == 2 && r.Header.Get("Content-Type") == "application/grpc" && r.Header.Get("Te") == "trailers" {
			asked = b
		}
		answer(w)
	}))
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	defer s.Close()
	d := newEtcd(s.URL+"/", "bench", &run{texts: values})
	all, err := d.askers(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	message := func(fields ...[]byte) []byte {
		m := bytes.Join(fields, nil)
		return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(m))), m...)
	}
	const key = "bench/0000000000000007"
	if err := all[0].put(t.Context(), 7); err != nil || path != "/etcdserverpb.KV/Put" ||
		!bytes.Equal(asked, message([]byte("\x0a\x16"+key), []byte("\x12\xed\x07"), values.value(7))) {
		t.Errorf("%s %.60x, %v", path, asked, err)
	}
	if found, err := all[1].get(t.Context(), 7); err != nil || found || path != "/etcdserverpb.KV/Range" || !bytes.Equal(asked, message([]byte("\x0a\x16"+key))) {
		t.Errorf("%s %x, %v", path, asked, err)
	}
	answer = func(w http.ResponseWriter) {
		w.Header().Set("Grpc-Status", "14")
		w.Header().Set("Grpc-Message", "no leader")
	}
	if err := all[0].put(t.Context(), 7); err == nil || !strings.Contains(err.Error(), "gRPC status 14: no leader") {
		t.Error(err)
	}
	answer = func(w http.ResponseWriter) { w.WriteHeader(http.StatusNotFound) }
	if err := all[0].put(t.Context(), 7); err == nil || !strings.Contains(err.Error(), "404") {
		t.Error(err)
	}
	answer = func(w http.ResponseWriter) { w.Header().Set("Grpc-Status", "0") }
	if err := d.remove(t.Context(), 10); err == nil || path != "/etcdserverpb.KV/DeleteRange" || !bytes.Equal(asked, message([]byte("\x0a\x06bench/"), []byte("\x12\x06bench0"))) {
		t.Errorf("%s %x, %v", path, asked, err)
	}
}
