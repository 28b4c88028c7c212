package globaltable

import (
	"bytes"
	"encoding/base64"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nkeys"

	"github.com/concordat-db/concordat/conflict/hlc"
)

// signedRegion makes a region whose key is always the same for its number.
func signedRegion(t testing.TB, name string, origin hlc.Origin) (SignedRegion, nkeys.KeyPair) {
	t.Helper()
	key, err := nkeys.FromRawSeed(nkeys.PrefixByteUser, bytes.Repeat([]byte{byte(origin)}, 32))
	if err != nil {
		t.Fatal(err)
	}
	public, err := key.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	d := Descriptor{Name: name, Jurisdiction: "EU", Origin: origin, NATS: []string{"nats://10.0.0.1:4222"}, PublicKey: public}
	token, err := Sign(&d, key)
	if err != nil {
		t.Fatal(err)
	}
	return SignedRegion{d, token}, key
}

// exampleInvitation is for region 9, by region 1, and is valid for an hour.
func exampleInvitation(t testing.TB) (*Invitation, nkeys.KeyPair) {
	t.Helper()
	us, key := signedRegion(t, "us-east-1", 1)
	eu, _ := signedRegion(t, "eu-central-1", 2)
	sa, _ := signedRegion(t, "sa-east-1", 9)
	issued := time.Unix(1_700_000_000, 0)
	return &Invitation{Region: sa.Descriptor, Members: []SignedRegion{eu, us}, World: MakeVersion(3, 4), Issuer: "us-east-1", Issued: issued, Expires: issued.Add(time.Hour)}, key
}

func TestInvitationGolden(t *testing.T) {
	i, key := exampleInvitation(t)
	token, err := SignInvitation(i, key)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("testdata", "invitation.txt")
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if token+"\n" != string(want) {
		t.Errorf("the token differs from %s:\n%s", path, token)
	}
	got, err := ParseInvitation(strings.TrimSpace(string(want)))
	if err != nil || !reflect.DeepEqual(got, i) {
		t.Errorf("got %+v, %v; want %+v", got, err, i)
	}
}

func TestInvitationCheck(t *testing.T) {
	i, _ := exampleInvitation(t)
	d := i.Region
	d.NATS = nil // addresses move
	if err := i.Check(&d, i.Issued); err != nil {
		t.Error(err)
	}
	if err := i.Check(&d, i.Expires); KindOf(err) != Denied || !strings.Contains(err.Error(), "expired at 2023-11-14T23:13:20Z") {
		t.Errorf("expired: %v", err)
	}
	for field, change := range map[string]func(*Descriptor){
		"name":         func(d *Descriptor) { d.Name = "other" },
		"number":       func(d *Descriptor) { d.Origin = 10 },
		"jurisdiction": func(d *Descriptor) { d.Jurisdiction = "US" },
		"key":          func(d *Descriptor) { d.PublicKey = i.Members[0].Descriptor.PublicKey },
	} {
		other := i.Region
		change(&other)
		if err := i.Check(&other, i.Issued); KindOf(err) != Denied {
			t.Errorf("another %s: %v", field, err)
		}
	}
}

func TestInvitationInvalid(t *testing.T) {
	for name, change := range map[string]func(*Invitation){
		"no members":            func(i *Invitation) { i.Members = nil },
		"too many members":      func(i *Invitation) { i.Members = make([]SignedRegion, MaxMembers+1) },
		"a member twice":        func(i *Invitation) { i.Members[0] = i.Members[1] },
		"number of a member":    func(i *Invitation) { i.Region.Origin = 1 },
		"key of a member":       func(i *Invitation) { i.Region.PublicKey = i.Members[0].Descriptor.PublicKey },
		"name of a member":      func(i *Invitation) { i.Region.Name = "eu-central-1" },
		"issuer is no member":   func(i *Invitation) { i.Issuer = "sa-east-1" },
		"no version":            func(i *Invitation) { i.World = 0 },
		"expires before issued": func(i *Invitation) { i.Expires = i.Issued },
		"valid too long":        func(i *Invitation) { i.Expires = i.Issued.Add(MaxInvitationTime + time.Second) },
		"bad region":            func(i *Invitation) { i.Region.Name = "No" },
	} {
		i, key := exampleInvitation(t)
		change(i)
		if _, err := SignInvitation(i, key); KindOf(err) != Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	i, _ := exampleInvitation(t)
	_, other := signedRegion(t, "eu-central-1", 2)
	if _, err := SignInvitation(i, other); KindOf(err) != Invalid {
		t.Errorf("another member's key: %v", err)
	}
}

func TestParseInvitationRefuses(t *testing.T) {
	i, key := exampleInvitation(t)
	token, err := SignInvitation(i, key)
	if err != nil {
		t.Fatal(err)
	}
	head, tail, _ := strings.Cut(token, ".")
	enc := base64.RawURLEncoding
	payload, err := enc.DecodeString(head)
	if err != nil {
		t.Fatal(err)
	}
	resigned := func(from, to string, key nkeys.KeyPair) string {
		text := strings.Replace(string(payload), from, to, 1)
		if text == string(payload) {
			t.Fatalf("%s is not in the payload", from)
		}
		token, err := sealToken(invitationContext, []byte(text), key)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	_, stranger := signedRegion(t, "x", 77)
	descriptorContext, err := sealToken(signingContext, payload, key)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		token string
		kind  Kind
	}{
		"nothing":                    {"", Invalid},
		"a descriptor":               {i.Members[0].Token, Invalid},
		"no dot":                     {head + tail, Invalid},
		"not base64":                 {head + "!." + tail, Invalid},
		"payload changed":            {enc.EncodeToString(bytes.Replace(payload, []byte(`"epoch":3`), []byte(`"epoch":4`), 1)) + "." + tail, Denied},
		"signed by a stranger":       {resigned(`"epoch":3`, `"epoch":4`, stranger), Denied},
		"signed as something else":   {descriptorContext, Denied},
		"issuer is not the signer":   {resigned(`"issuer":"us-east-1"`, `"issuer":"eu-central-1"`, key), Denied},
		"unknown field":              {resigned(`"format":1`, `"format":1,"more":true`, key), Unavailable},
		"later format":               {resigned(`"format":1`, `"format":2`, key), Unavailable},
		"number out of range":        {resigned(`"number":4`, `"number":2199023255552`, key), Invalid},
		"member's descriptor broken": {resigned(i.Members[0].Token, i.Members[0].Token[:len(i.Members[0].Token)-8]+"AAAAAAAA", key), Denied},
		"too long":                   {strings.Repeat("A", maxInvitationLen+1), Invalid},
	} {
		if got, err := ParseInvitation(c.token); err == nil || KindOf(err) != c.kind || got != nil {
			t.Errorf("%s: %v, want kind %v", name, err, c.kind)
		}
	}
}

// FuzzParseInvitation checks that whatever is parsed is valid, and that what is valid and signed can be parsed again.
func FuzzParseInvitation(f *testing.F) {
	i, key := exampleInvitation(f)
	token, err := SignInvitation(i, key)
	if err != nil {
		f.Fatal(err)
	}
	payload, _, err := openToken(token)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(payload)
	f.Add([]byte(`{"format":1}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		token, err := sealToken(invitationContext, payload, key)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseInvitation(token)
		if err != nil {
			return
		}
		if err := got.Validate(); err != nil {
			t.Fatal(err)
		}
		again, err := SignInvitation(got, key)
		if err != nil {
			t.Fatal(err)
		}
		if second, err := ParseInvitation(again); err != nil || !reflect.DeepEqual(second, got) {
			t.Fatalf("%+v became %+v, %v", got, second, err)
		}
	})
}
