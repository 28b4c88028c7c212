package catalog

import (
	"fmt"
	"strings"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/globaltable/policy"
)

// The items of the system table have a partition key only, a string: what it is about, a slash, and which one.
const (
	attributeKey      = "pk"
	attributeDocument = "doc"
	attributeEpoch    = "epoch"
	attributeReceipt  = "receipt"

	prefixTable   = "table/"
	prefixOwner   = "owner/"
	prefixPolicy  = "policy/"
	prefixAudit   = "audit/" // these have a sort key, too: see AuditKey
	prefixReceipt = "receipt/"

	nameWorld = "world" // there is one
)

// DocumentKey returns the key, in the system table, of the document of a table, or of the world's for globaltable.WorldTable.
func DocumentKey(id globaltable.TableID) item.Key {
	if id == globaltable.WorldTable {
		return systemKey(nameWorld)
	}
	return systemKey(prefixTable + id.String())
}

// EpochKey returns the key, in the system table, of the epoch of an owner. It is kept beside the documents, so that a region that lost its
// store hears of it from the others.
func EpochKey(owner hlc.Origin) item.Key { return systemKey(epochName(owner)) }

func epochName(owner hlc.Origin) string { return fmt.Sprintf("%s%04x", prefixOwner, uint16(owner)) }

func systemKey(name string) item.Key {
	k, err := item.AppendKey(nil, item.AppendString(nil, name), nil)
	if err != nil {
		panic(err) // a short string, not empty
	}
	return k
}

// EncodeDocument returns the item, of the system table, that holds t.
func EncodeDocument(t *globaltable.Table) item.Item {
	return systemItem(prefixTable+t.ID.String(), attributeDocument, item.AppendString(nil, globaltable.EncodeTable(t)))
}

// DecodeDocument is the inverse of EncodeDocument. Its errors are DecodeTable's.
func DecodeDocument(it item.Item) (*globaltable.Table, error) {
	doc, ok := it.GetString(attributeDocument)
	if !ok || doc.Type() != item.S {
		return nil, corrupt("an item of the system table has no document")
	}
	t, err := globaltable.DecodeTable(doc.Bytes())
	if err != nil {
		return nil, err
	}
	if systemName(it) != prefixTable+t.ID.String() {
		return nil, corrupt("a table's document lies under another key than its own")
	}
	return t, nil
}

// EncodeWorld returns the item, of the system table, that holds w.
func EncodeWorld(w *globaltable.World) item.Item {
	return systemItem(nameWorld, attributeDocument, item.AppendString(nil, globaltable.EncodeWorld(w)))
}

// DecodeWorld is the inverse of EncodeWorld. Its errors are those of globaltable.DecodeWorld.
func DecodeWorld(it item.Item) (*globaltable.World, error) {
	doc, ok := it.GetString(attributeDocument)
	if !ok || doc.Type() != item.S || systemName(it) != nameWorld {
		return nil, corrupt("an item of the system table has no document of the world")
	}
	return globaltable.DecodeWorld(doc.Bytes())
}

// EncodeEpoch returns the item, of the system table, that holds an owner's epoch.
func EncodeEpoch(owner hlc.Origin, epoch uint32) item.Item {
	return systemItem(epochName(owner), attributeEpoch, item.AppendInt(nil, int64(epoch)))
}

// DecodeEpoch is the inverse of EncodeEpoch. A nil item is epoch zero: there was none yet.
func DecodeEpoch(it item.Item) (uint32, error) {
	if it == nil {
		return 0, nil
	}
	if v, ok := it.GetString(attributeEpoch); ok && v.Type() == item.N {
		if n, ok := v.Number().Int64(); ok && n > 0 && n < 1<<24 {
			return uint32(n), nil
		}
	}
	return 0, corrupt("an owner's epoch is not a number from 1 to 2^24-1")
}

// PolicyKey returns the key, in the system table, of the version of a table's policies with the sequence given. MaxPolicyVersions later another one has it: what is older goes.
func PolicyKey(table globaltable.TableID, sequence uint64) item.Key {
	return systemKey(policyName(table, sequence))
}

func policyName(table globaltable.TableID, sequence uint64) string {
	return fmt.Sprintf("%s%s/%03x", prefixPolicy, table, sequence%MaxPolicyVersions)
}

// EncodePolicy returns the item, of the system table, that holds v.
func EncodePolicy(v *policy.Version) item.Item {
	return systemItem(policyName(v.Table, v.Sequence), attributeDocument, item.AppendString(nil, v.Encode()))
}

// DecodePolicy is the inverse of EncodePolicy. Its errors are those of policy.DecodeVersion.
func DecodePolicy(it item.Item) (*policy.Version, error) {
	doc, ok := it.GetString(attributeDocument)
	if !ok || doc.Type() != item.S {
		return nil, corrupt("an item of the system table has no version of a policy")
	}
	v, err := policy.DecodeVersion(doc.Bytes())
	if err != nil {
		return nil, err
	}
	if systemName(it) != policyName(v.Table, v.Sequence) {
		return nil, corrupt("a version of a policy lies under another key than its own")
	}
	return v, nil
}

// KeptReceipts is how many receipts of one region are kept of one table: the newest, at one for each version.
const KeptReceipts = 256

// Receipt is a region's signed receipt.
type Receipt struct {
	globaltable.Receipt
	Token string // as it was signed
}

// ReceiptKey returns the key, in the system table, of a receipt. One takes the place of another that is KeptReceipts versions older.
func ReceiptKey(r *globaltable.Receipt) item.Key { return systemKey(receiptName(r)) }

func receiptName(r *globaltable.Receipt) string {
	return fmt.Sprintf("%s%s/%04x/%02x", prefixReceipt, r.Table, uint16(r.Origin), r.Version.Number()%KeptReceipts)
}

// EncodeReceipt returns the item, of the system table, that holds a receipt.
func EncodeReceipt(r *Receipt) item.Item {
	return systemItem(receiptName(&r.Receipt), attributeReceipt, item.AppendString(nil, []byte(r.Token)))
}

// DecodeReceipt is the inverse of EncodeReceipt. Whether the signature is right is not looked at: the owner has, and whoever audits does again.
func DecodeReceipt(it item.Item) (*Receipt, error) {
	token, ok := it.GetString(attributeReceipt)
	if !ok || token.Type() != item.S {
		return nil, corrupt("an item of the system table has no receipt")
	}
	r := &Receipt{Token: string(token.Bytes())}
	var err error
	if r.Receipt, err = globaltable.ReadReceipt(r.Token); err != nil {
		return nil, err
	}
	if systemName(it) != receiptName(&r.Receipt) {
		return nil, corrupt("a receipt lies under another key than its own")
	}
	return r, nil
}

func systemItem(name, attribute string, v item.Value) item.Item {
	var b item.Builder
	b.Add([]byte(attributeKey), item.AppendString(nil, name))
	b.Add([]byte(attribute), v)
	it, err := b.AppendItem(nil)
	if err != nil {
		panic(err) // two different names, not empty
	}
	return it
}

func systemName(it item.Item) string {
	v, _ := it.GetString(attributeKey)
	return string(v.Bytes())
}

// systemDocument is what an item of the system table holds: one of these, or none, of an epoch or an entry of the audit log.
type systemDocument struct {
	table   *globaltable.Table
	world   *globaltable.World
	policy  *policy.Version
	receipt *Receipt
}

// decodeSystem decodes one item of the system table.
func decodeSystem(it item.Item) (d systemDocument, err error) {
	switch name := systemName(it); {
	case name == nameWorld:
		d.world, err = DecodeWorld(it)
	case strings.HasPrefix(name, prefixTable):
		d.table, err = DecodeDocument(it)
	case strings.HasPrefix(name, prefixPolicy):
		d.policy, err = DecodePolicy(it)
	case strings.HasPrefix(name, prefixReceipt):
		d.receipt, err = DecodeReceipt(it)
	case strings.HasPrefix(name, prefixOwner):
		_, err = DecodeEpoch(it)
	case strings.HasPrefix(name, prefixAudit): // nothing to adopt
	default:
		err = &globaltable.Error{Op: "adopt catalog", Kind: globaltable.Unavailable,
			Message: "the catalog has a document of a kind that only a newer version of concordat knows; upgrade this region"}
	}
	return d, err
}

func corrupt(message string) error {
	return &globaltable.Error{Op: "adopt catalog", Kind: globaltable.Corrupt, Message: message}
}
