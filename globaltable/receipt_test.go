package globaltable

import (
	"reflect"
	"testing"

	"github.com/nats-io/nkeys"
)

func receiptOf(t testing.TB) (Receipt, Descriptor, nkeys.KeyPair) {
	t.Helper()
	key, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, err := key.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	d := Descriptor{Name: "us-east-1", Jurisdiction: "US", Origin: 2, PublicKey: public}
	r := Receipt{Table: 77, Name: "customers", Version: MakeVersion(1, 4), Region: d.Name, Jurisdiction: d.Jurisdiction, Origin: d.Origin, Incarnation: 9,
		Done: Placed{Erased: 3, ErasedBytes: 300, Handed: map[string]int64{"eu-central-1": 3}, Voided: 2, Relogged: 1}, Started: 1000, Finished: 2000}
	return r, d, key
}

func TestReceiptIsSigned(t *testing.T) {
	r, d, key := receiptOf(t)
	token, err := SignReceipt(&r, key)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseReceipt(token, &d)
	if err != nil || !reflect.DeepEqual(got, r) {
		t.Fatalf("%+v, %v", got, err)
	}
	payload, _, err := openToken(token)
	const golden = `{"table":77,"name":"customers","version":1099511627780,"region":"us-east-1","jurisdiction":"US","origin":2,"incarnation":9,` +
		`"done":{"erased":3,"erasedBytes":300,"handed":{"eu-central-1":3},"voided":2,"relogged":1},"started":1000,"finished":2000}`
	if err != nil || string(payload) != golden {
		t.Errorf("%s %v", payload, err)
	}
	other, _, _ := receiptOf(t)
	_, stranger, _ := receiptOf(t)
	if _, err := ParseReceipt(token, &stranger); KindOf(err) != Denied {
		t.Errorf("by another key: %v", err)
	}
	moved := d
	moved.Jurisdiction = "EU"
	if _, err := ParseReceipt(token, &moved); KindOf(err) != Denied {
		t.Errorf("of another jurisdiction: %v", err)
	}
	other.Done.Erased = -1
	if _, err := SignReceipt(&other, key); KindOf(err) != Invalid {
		t.Errorf("a negative count: %v", err)
	}
	// A token of another kind, by the same key, is no receipt.
	foreign, err := sealToken(signingContext, payload, key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParseReceipt(foreign, &d); KindOf(err) != Denied {
		t.Errorf("signed as something else: %v", err)
	}
}

func TestPlacedAdds(t *testing.T) {
	var sum Placed
	one := Placed{Erased: 1, ErasedBytes: 10, Handed: map[string]int64{"eu": 1}, Voided: 2, Relogged: 3, Saved: 4}
	sum.Add(&one)
	sum.Add(&one)
	if want := (Placed{Erased: 2, ErasedBytes: 20, Handed: map[string]int64{"eu": 2}, Voided: 4, Relogged: 6, Saved: 8}); !reflect.DeepEqual(sum, want) {
		t.Errorf("%+v", sum)
	}
}

func FuzzReadReceipt(f *testing.F) {
	r, _, key := receiptOf(f)
	token, err := SignReceipt(&r, key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(token)
	f.Add("e30.e30")
	f.Fuzz(func(t *testing.T, token string) {
		if r, err := ReadReceipt(token); err == nil && r.Validate() != nil {
			t.Error("an invalid receipt was read")
		}
	})
}
