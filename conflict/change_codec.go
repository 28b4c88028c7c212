package conflict

import (
	"encoding/binary"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable/item"
)

// The encoding of a change, version 1:
//
//	version ‖ flags ‖ dot ‖ table (8) ‖ key (bytes) ‖ [context] ‖ [floor] ‖ catalog version (uvarint) ‖ [transaction (time)] ‖
//	count of operations ‖ (kind ‖ type ‖ name (bytes) ‖ value (bytes))*
const (
	changeVersion = 1

	changeContext     = 1 << 0 // flags: the part is there
	changeFloor       = 1 << 1
	changeTransaction = 1 << 2
	changeFlags       = changeContext | changeFloor | changeTransaction

	minOpLen = 4
)

// Append appends the encoding of c to dst.
func (c *Change) Append(dst []byte) []byte {
	var flags byte
	if len(c.Context) > 0 {
		flags |= changeContext
	}
	if c.Floor != 0 {
		flags |= changeFloor
	}
	if c.Transaction != 0 {
		flags |= changeTransaction
	}
	dst = append(dst, changeVersion, flags)
	dst = c.Dot.Append(dst)
	dst = binary.BigEndian.AppendUint64(dst, c.Table)
	dst = appendBytes(dst, c.Key)
	w := c.write()
	dst = appendContext(dst, &w)
	dst = binary.AppendUvarint(dst, c.CatalogVersion)
	if c.Transaction != 0 {
		dst = appendTime(dst, c.Dot.Time, c.Transaction)
	}
	dst = binary.AppendUvarint(dst, uint64(len(c.Ops)))
	for i := range c.Ops {
		op := &c.Ops[i]
		dst = append(dst, byte(op.Kind), byte(op.Type))
		dst = appendBytes(dst, op.Name)
		dst = appendBytes(dst, op.Value)
	}
	return dst
}

// MaxLen returns a length in bytes that the encoding of c does not exceed. It is cheap: nothing is encoded.
func (c *Change) MaxLen() int {
	const number = binary.MaxVarintLen64
	n := 2 + hlc.StampLen + 8 + number + len(c.Key) + number + 2*number*len(c.Context) + 4*number
	for i := range c.Ops {
		n += 2 + 2*number + len(c.Ops[i].Name) + len(c.Ops[i].Value)
	}
	return n
}

// DecodeChange decodes b, all of it, into c, reusing c.Ops. c's slices are views of b, its context apart. It checks the
// structure; Check checks the rest, for changes from peers. On an error, ErrCorrupt or ErrUnsupported, c is undefined.
func DecodeChange(b []byte, c *Change) error {
	r := reader{b: b}
	if v := r.byte(); r.kind == nil && v != changeVersion {
		r.fail(ErrUnsupported, "version of the encoding is not known")
	}
	flags := r.byte()
	if flags&^changeFlags != 0 {
		r.fail(ErrUnsupported, "flag is not known")
	}
	ops := c.Ops[:0]
	*c = Change{Dot: r.stamp(), Table: r.uint64(), Key: r.bytes()}
	if c.Dot.Origin == 0 || len(c.Key) == 0 {
		r.fail(ErrCorrupt, "no origin or no key")
	}
	w := r.context(c.Dot, flags&changeContext != 0, flags&changeFloor != 0)
	c.Context, c.Floor = w.Context, w.Floor
	c.CatalogVersion = r.uvarint()
	if flags&changeTransaction != 0 {
		if c.Transaction = r.time(c.Dot.Time); c.Transaction == 0 {
			r.fail(ErrCorrupt, "zero transaction")
		}
	}
	n := r.count(minOpLen)
	if n == 0 {
		r.fail(ErrCorrupt, "no operation")
	}
	for range n {
		op := Op{Kind: OpKind(r.byte()), Type: TypeTag(r.byte()), Name: r.bytes(), Value: r.bytes()}
		if r.kind != nil {
			break
		}
		if err := op.check("decode change"); err != nil {
			return err
		}
		ops = append(ops, op)
	}
	c.Ops = ops
	if len(r.b) > 0 {
		r.fail(ErrCorrupt, "bytes after the end")
	}
	return r.err("decode change")
}

// check checks the shape of the operation, not its value. The error says that it was found in doing what.
func (op *Op) check(what string) error {
	corrupt := func(message string) error { return &Error{Op: what, Kind: ErrCorrupt, Message: message} }
	named, valued := len(op.Name) > 0, len(op.Value) > 0
	if op.Type > TypeMin {
		return &Error{Op: what, Kind: ErrUnsupported, Message: "type of an operation is not known"}
	}
	switch op.Kind {
	case OpReset:
		if named || op.Type != TypeRegister {
			return corrupt("reset with a name or a type")
		}
	case OpSetCell:
		if named != valued {
			return corrupt("set of a cell without a name or without a value")
		}
	case OpRemoveCell:
		if !named || valued {
			return corrupt("removal of a cell without a name or with a value")
		}
	case OpAddNumber, OpAddElements, OpDeleteElements, OpIncrement, OpObserve:
		if !named || !valued {
			return corrupt("contribution without a name or without a value")
		}
	case OpSetPath, OpRemovePath:
		set := op.Kind == OpSetPath
		if !checkPath(op.Name, set) || valued != (set && !isPresence(op.Name)) {
			return corrupt("not a path inside an attribute, or one that does not fit its value")
		}
	default:
		return &Error{Op: what, Kind: ErrUnsupported, Message: "kind of an operation is not known"}
	}
	return nil
}

// Check checks what DecodeChange leaves: that items and values are what package item encodes, and that the change saw
// nothing later than itself. It is for changes from peers, before they are applied.
func (c *Change) Check() error {
	fail := func(message string, cause error) error {
		return &Error{Op: "check change", Kind: ErrCorrupt, Message: message, Err: cause}
	}
	// A clock is ahead of all that its region has seen. A context from the future would class later writes as seen.
	if c.Floor >= c.Dot.Time {
		return fail("floor not before the change itself", nil)
	}
	for _, s := range c.Context {
		if s.Time >= c.Dot.Time {
			return fail("context not before the change itself", nil)
		}
	}
	for i := range c.Ops {
		op := &c.Ops[i]
		if err := op.check("check change"); err != nil {
			return err
		}
		check := checkName
		if op.Kind == OpSetPath || op.Kind == OpRemovePath {
			check = checkNames
		}
		if err := check(op.Name); err != nil {
			return fail("name of an operation", err)
		}
		if err := op.checkValue(c.Dot); err != nil {
			return fail("value of an operation", err)
		}
	}
	return nil
}

// checkValue checks the value of an operation of the change with the dot given.
func (op *Op) checkValue(dot hlc.Stamp) error {
	if len(op.Value) == 0 {
		return nil
	}
	r := reader{b: op.Value}
	switch op.Kind {
	case OpReset:
		return item.CheckItem(op.Value)
	case OpIncrement:
		_, by := r.increment(dot)
		if len(by) > 0 && by.Type() != item.N {
			r.fail(ErrCorrupt, "increment by what is not a number")
		}
		if r.kind != nil || len(by) == 0 {
			return r.err("increment")
		}
		return item.CheckValue(by)
	case OpObserve:
		seen := r.observation(op.Name, dot)
		if r.kind != nil {
			return r.err("observe")
		}
		return seen.checkValues()
	}
	if err := item.CheckValue(op.Value); err != nil {
		return err
	}
	if op.Kind == OpSetPath {
		return item.CheckNesting(op.Value, depth(op.Name))
	}
	t := item.Value(op.Value).Type()
	switch op.Kind {
	case OpAddNumber:
		if t != item.N {
			return &Error{Op: "add number", Kind: ErrCorrupt, Message: "not a number"}
		}
	case OpAddElements, OpDeleteElements:
		if !t.IsSet() {
			return &Error{Op: "add or delete elements", Kind: ErrCorrupt, Message: "not a set"}
		}
	}
	return nil
}

// write returns what records keep of the write that c is.
func (c *Change) write() Write { return Write{Stamp: c.Dot, Context: c.Context, Floor: c.Floor} }
