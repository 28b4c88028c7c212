package globaltable

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nkeys"

	"github.com/concordat-db/concordat/conflict/hlc"
)

// Receipt is a region's word that it has carried out a version of a table's locality policies: from Finished on it holds, keeps in its log and its streams, and has in its files no byte of an item that
// the version does not let it have. It is made in the region, signed with the region's key, and kept by all regions.
type Receipt struct {
	Table        TableID     `json:"table"`
	Name         string      `json:"name"` // of the table
	Version      Version     `json:"version"`
	Region       string      `json:"region"`
	Jurisdiction string      `json:"jurisdiction"`
	Origin       hlc.Origin  `json:"origin"`
	Incarnation  Incarnation `json:"incarnation"` // of the region's store
	Done         Placed      `json:"done"`
	Started      int64       `json:"started"`  // Unix milliseconds, of the region
	Finished     int64       `json:"finished"` // likewise
}

// Placed counts what carrying out a version has come to in one region.
type Placed struct {
	Erased      int64            `json:"erased"`             // records: of items, deleted ones too, and of listed conflicts
	ErasedBytes int64            `json:"erasedBytes"`        // of their keys and records
	Handed      map[string]int64 `json:"handed,omitempty"`   // region → records that it took over before they were erased
	Voided      int64            `json:"voided"`             // entries of the region's log whose changes were erased
	Relogged    int64            `json:"relogged"`           // changes of them that were logged again, for where the item is now
	Saved       int64            `json:"saved,omitempty"`    // erased of what the region had saved before it was rebuilt
	Streamed    int64            `json:"streamed,omitempty"` // erased records of change streams
}

// Add adds o to p.
func (p *Placed) Add(o *Placed) {
	p.Erased += o.Erased
	p.ErasedBytes += o.ErasedBytes
	p.Voided += o.Voided
	p.Relogged += o.Relogged
	p.Saved += o.Saved
	p.Streamed += o.Streamed
	for region, n := range o.Handed {
		if p.Handed == nil {
			p.Handed = map[string]int64{}
		}
		p.Handed[region] += n
	}
}

const receiptContext = "concordat placement receipt v1\x00"

// Validate reports all faults of r at once.
func (r *Receipt) Validate() error {
	var faults []error
	fault := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	fault(r.Table != 0 && r.Version != 0, "no table, or no version of it")
	fault(ValidateRegionName(r.Region) == nil && ValidateJurisdiction(r.Jurisdiction) == nil && r.Origin != 0, "no region")
	fault(r.Incarnation != 0, "no incarnation of the region's store")
	fault(r.Started > 0 && r.Finished >= r.Started, "it ends before it begins")
	fault(min(r.Done.Erased, r.Done.ErasedBytes, r.Done.Voided, r.Done.Relogged, r.Done.Saved) >= 0, "a negative count")
	if len(faults) == 0 {
		return nil
	}
	return &Error{Op: "check receipt", Kind: Invalid, Err: errors.Join(faults...)}
}

// SignReceipt returns r as a token; the key is the region's.
func SignReceipt(r *Receipt, key nkeys.KeyPair) (string, error) {
	const op = "sign receipt"
	if err := r.Validate(); err != nil {
		return "", err
	}
	payload, err := json.Marshal(r)
	if err != nil {
		return "", &Error{Op: op, Resource: r.Region, Err: err}
	}
	token, err := sealToken(receiptContext, payload, key)
	if err != nil {
		return "", &Error{Op: op, Resource: r.Region, Err: err}
	}
	if len(token) > maxTokenLen {
		return "", &Error{Op: op, Resource: r.Region, Kind: LimitExceeded, Message: fmt.Sprintf("longer than %d bytes", maxTokenLen)}
	}
	return token, nil
}

// ParseReceipt decodes a token and verifies that the region by signed it, and speaks of itself. Errors are of kind Invalid, or Denied when it is not by's.
func ParseReceipt(token string, by *Descriptor) (Receipt, error) {
	r, err := ReadReceipt(token)
	if err != nil {
		return Receipt{}, err
	}
	denied := func(message string, err error) (Receipt, error) {
		return Receipt{}, &Error{Op: "parse receipt", Resource: by.Name, Kind: Denied, Message: message, Err: err}
	}
	if r.Region != by.Name || r.Origin != by.Origin || r.Jurisdiction != by.Jurisdiction {
		return denied("the receipt is of another region", nil)
	}
	payload, signature, err := openToken(token)
	if err == nil {
		err = checkToken(receiptContext, payload, signature, by.PublicKey)
	}
	if err != nil {
		return denied("the signature is not by the region", err)
	}
	return r, nil
}

// ReadReceipt decodes a token without looking at its signature: who reads one that is the region's own, or does not know the region any more. Errors are of kind Invalid.
func ReadReceipt(token string) (Receipt, error) {
	const op = "parse receipt"
	invalid := func(err error) (Receipt, error) { return Receipt{}, &Error{Op: op, Kind: Invalid, Err: err} }
	if len(token) > maxTokenLen {
		return invalid(fmt.Errorf("longer than %d bytes", maxTokenLen))
	}
	payload, _, err := openToken(token)
	if err != nil {
		return invalid(err)
	}
	var r Receipt
	if err := parsePayload(payload, &r); err != nil {
		return invalid(err)
	}
	if err := r.Validate(); err != nil {
		return Receipt{}, err
	}
	return r, nil
}
