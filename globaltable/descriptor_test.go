package globaltable

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"github.com/nats-io/nkeys"
)

func newDescriptor(t testing.TB) (Descriptor, nkeys.KeyPair) {
	t.Helper()
	key, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, err := key.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return Descriptor{Name: "eu-central-1", Jurisdiction: "EU", Origin: 2, NATS: []string{"nats://10.0.0.1:4222"}, PublicKey: public}, key
}

func TestDescriptorRoundTrip(t *testing.T) {
	d, key := newDescriptor(t)
	token, err := Sign(&d, key)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseDescriptor(token)
	if err != nil {
		t.Fatal(err)
	}
	if got.Name != d.Name || got.Jurisdiction != d.Jurisdiction || got.Origin != d.Origin || got.PublicKey != d.PublicKey || len(got.NATS) != 1 || got.NATS[0] != d.NATS[0] {
		t.Errorf("got %+v, want %+v", got, d)
	}
	if again, err := Sign(&d, key); err != nil || again != token {
		t.Errorf("a second signature differs: %v", err)
	}
}

func TestDescriptorTampered(t *testing.T) {
	d, key := newDescriptor(t)
	token, err := Sign(&d, key)
	if err != nil {
		t.Fatal(err)
	}
	head, tail, _ := strings.Cut(token, ".")
	payload, err := base64.RawURLEncoding.DecodeString(head)
	if err != nil {
		t.Fatal(err)
	}
	encode := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	other, otherKey := newDescriptor(t)
	otherToken, err := Sign(&other, otherKey)
	if err != nil {
		t.Fatal(err)
	}
	_, otherTail, _ := strings.Cut(otherToken, ".")
	bare, err := key.Sign(payload) // without the context, as the key signs a server's challenge
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		token string
		kind  Kind
	}{
		"another jurisdiction":     {encode(strings.Replace(string(payload), `"EU"`, `"US"`, 1)) + "." + tail, Denied},
		"another key":              {encode(strings.Replace(string(payload), d.PublicKey, other.PublicKey, 1)) + "." + tail, Denied},
		"another signature":        {head + "." + otherTail, Denied},
		"no signature":             {head + ".", Denied},
		"signed without context":   {head + "." + base64.RawURLEncoding.EncodeToString(bare), Denied},
		"one part":                 {head, Invalid},
		"empty":                    {"", Invalid},
		"not base64":               {head + "!." + tail, Invalid},
		"not base64 signature":     {head + "." + tail + "=", Invalid},
		"not JSON":                 {encode("{") + "." + tail, Invalid},
		"an unknown field":         {encode(strings.Replace(string(payload), `{`, `{"x":1,`, 1)) + "." + tail, Invalid},
		"bytes after the document": {encode(string(payload)+"{}") + "." + tail, Invalid},
		"no name":                  {encode(strings.Replace(string(payload), d.Name, "", 1)) + "." + tail, Invalid},
		"too long":                 {strings.Repeat("a", maxTokenLen+1), Invalid},
	} {
		if _, err := ParseDescriptor(test.token); KindOf(err) != test.kind || err == nil {
			t.Errorf("%s: %v, want kind %v", name, err, test.kind)
		}
	}
}

func TestSignRefusesAnotherKey(t *testing.T) {
	d, _ := newDescriptor(t)
	_, other := newDescriptor(t)
	if _, err := Sign(&d, other); KindOf(err) != Invalid {
		t.Errorf("signed with another key: %v", err)
	}
	account, err := nkeys.CreateAccount()
	if err != nil {
		t.Fatal(err)
	}
	if d.PublicKey, err = account.PublicKey(); err != nil {
		t.Fatal(err)
	}
	if _, err := Sign(&d, account); KindOf(err) != Invalid {
		t.Errorf("signed with an account's key: %v", err)
	}
}

func TestDescriptorValidate(t *testing.T) {
	valid, _ := newDescriptor(t)
	for name, change := range map[string]func(*Descriptor){
		"name empty":            func(d *Descriptor) { d.Name = "" },
		"name upper case":       func(d *Descriptor) { d.Name = "Eu" },
		"name with a dot":       func(d *Descriptor) { d.Name = "eu.west" },
		"name a wildcard":       func(d *Descriptor) { d.Name = "*" },
		"name a number":         func(d *Descriptor) { d.Name = "5" },
		"name begins hyphen":    func(d *Descriptor) { d.Name = "-eu" },
		"name ends hyphen":      func(d *Descriptor) { d.Name = "eu-" },
		"name too long":         func(d *Descriptor) { d.Name = strings.Repeat("a", 33) },
		"jurisdiction empty":    func(d *Descriptor) { d.Jurisdiction = "" },
		"jurisdiction lower":    func(d *Descriptor) { d.Jurisdiction = "eu" },
		"jurisdiction too long": func(d *Descriptor) { d.Jurisdiction = strings.Repeat("A", 17) },
		"origin zero":           func(d *Descriptor) { d.Origin = 0 },
		"address empty":         func(d *Descriptor) { d.NATS = []string{""} },
		"address with a space":  func(d *Descriptor) { d.NATS = []string{"nats://a b"} },
		"addresses too many":    func(d *Descriptor) { d.NATS = make([]string, 17) },
		"key empty":             func(d *Descriptor) { d.PublicKey = "" },
		"key broken":            func(d *Descriptor) { d.PublicKey = d.PublicKey[:55] + "!" },
	} {
		d := valid
		change(&d)
		if err := d.Validate(); KindOf(err) != Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"a", "eu-central-1", strings.Repeat("a", 32)} {
		d := valid
		d.Name, d.NATS = name, nil
		if err := d.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	err := (&Descriptor{}).Validate()
	if err == nil || strings.Count(err.Error(), "\n") != 3 {
		t.Errorf("not all four faults are reported: %v", err)
	}
}

func TestDescriptorMatches(t *testing.T) {
	d, _ := newDescriptor(t)
	other, _ := newDescriptor(t)
	moved := d
	moved.NATS = []string{"nats://10.0.0.2:4222"}
	if err := d.Matches(&moved); err != nil {
		t.Errorf("another address: %v", err)
	}
	for field, change := range map[string]func(*Descriptor){
		"name":         func(d *Descriptor) { d.Name = "us" },
		"jurisdiction": func(d *Descriptor) { d.Jurisdiction = "US" },
		"origin":       func(d *Descriptor) { d.Origin = 3 },
		"key":          func(d *Descriptor) { d.PublicKey = other.PublicKey },
	} {
		claim := d
		change(&claim)
		var e *Error
		if err := d.Matches(&claim); !errors.As(err, &e) || e.Kind != Denied || !strings.Contains(e.Message, "the "+field+" ") {
			t.Errorf("another %s: %v", field, err)
		}
	}
}

func FuzzParseDescriptor(f *testing.F) {
	d, key := newDescriptor(f)
	token, err := Sign(&d, key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(token)
	f.Add("e30.AA")
	f.Fuzz(func(t *testing.T, token string) {
		d, err := ParseDescriptor(token)
		if err != nil {
			return
		}
		if err := d.Validate(); err != nil {
			t.Errorf("accepted, but %v", err)
		}
	})
}
