package catalog

import (
	"fmt"
	"strings"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
)

// The items of the system table have a partition key only, a string: what it is about, a slash, and which one.
const (
	attributeKey      = "pk"
	attributeDocument = "doc"
	attributeEpoch    = "epoch"
	attributeReceipt  = "receipt"

	prefixTable   = "table/"
	prefixOwner   = "owner/"
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

// system is what an item of the system table says that is of interest here: at most one of it.
type system struct {
	table   *globaltable.Table
	world   *globaltable.World
	receipt *Receipt
}

// decodeSystem decodes one item of the system table.
func decodeSystem(it item.Item) (s system, err error) {
	switch name := systemName(it); {
	case name == nameWorld:
		s.world, err = DecodeWorld(it)
		return s, err
	case strings.HasPrefix(name, prefixTable):
		s.table, err = DecodeDocument(it)
		return s, err
	case strings.HasPrefix(name, prefixReceipt):
		s.receipt, err = DecodeReceipt(it)
		return s, err
	case strings.HasPrefix(name, prefixOwner):
		_, err := DecodeEpoch(it)
		return s, err
	}
	return s, &globaltable.Error{Op: "adopt catalog", Kind: globaltable.Unavailable,
		Message: "the catalog has a document of a kind that only a newer version of concordat knows; upgrade this region"}
}

func corrupt(message string) error {
	return &globaltable.Error{Op: "adopt catalog", Kind: globaltable.Corrupt, Message: message}
}
