package globaltable

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/globaltable/item"
)

// MergeTag is the tag of a table that says in which conflict mode its writes are recorded: a conflict.Mode's text. No tag is conflict.LWW. Table.Mode follows from it.
const MergeTag = "concordat:merge"

// TypeTagPrefix begins the keys of the tags that declare merge types: an attribute's name comes after it, and the value is a conflict.TypeTag's text. Table.Types follows from them.
const TypeTagPrefix = "concordat:type:"

// TypeNone is what an attribute without a declared type is said to have.
const TypeNone = "none"

// Limits of declared types.
const (
	MaxTypes       = 50
	MaxTypeNameLen = MaxTagKeyLen - len(TypeTagPrefix) // characters of the attribute's name
)

// ParseMergeMode returns the mode that a text names. The error is of kind Invalid.
func ParseMergeMode(s string) (conflict.Mode, error) {
	m, err := conflict.ParseMode(s)
	if err != nil || s == "" {
		return 0, notKnown("parse conflict mode", s, "lww, attribute or vector")
	}
	return m, nil
}

// ParseMergeType returns the type that a text names; declared is false for TypeNone. The error is of kind Invalid.
func ParseMergeType(s string) (t conflict.TypeTag, declared bool, err error) {
	if s == TypeNone {
		return 0, false, nil
	}
	if t, err = conflict.ParseTypeTag(s); err != nil {
		return 0, false, notKnown("parse merge type", s, "counter, set, map, max, min, register or none")
	}
	return t, true, nil
}

// MergeTags returns the change of tags that gives a table the mode and the types given, by attribute; an empty mode and types that are not named stay as they are. untag is sorted.
// The error names all faults and is of kind Invalid.
func MergeTags(mode string, types map[string]string) (tag map[string]string, untag []string, err error) {
	tag = map[string]string{}
	var faults []error
	if mode != "" {
		_, err := ParseMergeMode(mode)
		faults = append(faults, about("mode", err))
		tag[MergeTag] = mode
	}
	for _, name := range slices.Sorted(maps.Keys(types)) {
		_, declared, err := ParseMergeType(types[name])
		faults = append(faults, about(fmt.Sprintf("type of %q", clip(name)), err))
		if err == nil && !validTypeName(name) {
			faults = append(faults, errTypeName)
		}
		if declared {
			tag[TypeTagPrefix+name] = types[name]
		} else {
			untag = append(untag, TypeTagPrefix+name)
		}
	}
	if err := errors.Join(faults...); err != nil {
		return nil, nil, &Error{Op: "declare merge types", Kind: Invalid, Message: oneLine(err)}
	}
	return tag, untag, nil
}

var errTypeName = fmt.Errorf("the name of an attribute with a merge type has 1 to %d characters of UTF-8", MaxTypeNameLen)

func validTypeName(name string) bool {
	return validAttributeName(name) && len([]rune(name)) <= MaxTypeNameLen
}

// TypeNames returns types with their texts; nil if there are none.
func TypeNames(types map[string]conflict.TypeTag) map[string]string {
	if len(types) == 0 {
		return nil
	}
	names := make(map[string]string, len(types))
	for name, t := range types {
		names[name] = t.String()
	}
	return names
}

// parseTypes is the inverse of TypeNames.
func parseTypes(names map[string]string) (map[string]conflict.TypeTag, error) {
	if len(names) == 0 {
		return nil, nil
	}
	types := make(map[string]conflict.TypeTag, len(names))
	for name, text := range names {
		var err error
		if types[name], err = conflict.ParseTypeTag(text); err != nil {
			return nil, err
		}
	}
	return types, nil
}

// TypeOf returns the declared merge type of an attribute.
func (t *Table) TypeOf(name []byte) (tag conflict.TypeTag, declared bool) {
	tag, declared = t.Types[string(name)]
	return tag, declared
}

// mergeFaults is Validate for what lies in this file.
//
// An attribute of the table's key never changes, so there is nothing to merge in it. One of an index's key is an S, N or B in every write, so it can have any type whose values these are.
func (t *Table) mergeFaults() []error {
	var faults []error
	fault := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	_, err := conflict.ParseMode(t.Mode.String())
	fault(err == nil, "merge mode is not known")
	fault(len(t.Types) <= MaxTypes, "%d attributes have merge types, at most %d", len(t.Types), MaxTypes)
	keys := t.KeyAttributes()
	for _, name := range slices.Sorted(maps.Keys(t.Types)) {
		typ := t.Types[name]
		_, err := conflict.ParseTypeTag(typ.String())
		fault(err == nil, "the merge type of attribute %q is not known", clip(name))
		if !validTypeName(name) {
			faults = append(faults, errTypeName)
		}
		fault(!t.KeySchema.Has([]byte(name)), "attribute %q is of the table's key, which never changes: it has no merge type", clip(name))
		for _, a := range keys[keyLen(&t.KeySchema):] {
			fault(a.Name != name || fitsKey(typ, a.Type), "attribute %q is of an index's key, in type %s, which a %s never has", clip(name), a.Type, typ)
		}
	}
	return faults
}

func keyLen(s *KeySchema) int {
	if s.Sort == nil {
		return 1
	}
	return 2
}

// fitsKey reports whether values of a merge type can be of a type that keys have.
func fitsKey(t conflict.TypeTag, key item.Type) bool {
	switch t {
	case conflict.TypeCounter:
		return key == item.N
	case conflict.TypeSet, conflict.TypeMap:
		return false
	}
	return true
}

// FollowTags makes t's settings follow its tags. A setting is a field of the document beside its tag: a release that does not know it refuses the document instead of writing otherwise than the tag says. The error,
// of kind Invalid, names all tags that are wrong, and t is as it was then.
func (t *Table) FollowTags() error {
	peers, mode := 0, conflict.LWW
	var conflicts, streams Retention
	var types map[string]conflict.TypeTag
	var faults []error
	for _, key := range slices.Sorted(maps.Keys(t.Tags)) {
		value := t.Tags[key]
		var err error
		switch name, isType := strings.CutPrefix(key, TypeTagPrefix); {
		case key == AcknowledgeTag:
			peers, err = ParseAcknowledge(value)
		case key == MergeTag:
			mode, err = ParseMergeMode(value)
		case key == Conflicts.AgeTag:
			conflicts.Seconds, err = Conflicts.ParseAge(value)
		case key == Conflicts.BytesTag:
			conflicts.Bytes, err = Conflicts.ParseBytes(value)
		case key == StreamRecords.AgeTag:
			streams.Seconds, err = StreamRecords.ParseAge(value)
		case key == StreamRecords.BytesTag:
			streams.Bytes, err = StreamRecords.ParseBytes(value)
		case isType:
			if types == nil {
				types = map[string]conflict.TypeTag{}
			}
			var declared bool
			if types[name], declared, err = ParseMergeType(value); err == nil && !declared {
				delete(types, name)
			}
		}
		faults = append(faults, about("Tag "+clip(key), err))
	}
	if err := errors.Join(faults...); err != nil {
		return &Error{Op: "follow tags", Resource: t.ID.String(), Kind: Invalid, Message: oneLine(err)}
	}
	if len(types) == 0 {
		types = nil
	}
	t.AcknowledgePeers, t.Mode, t.Types, t.Conflicts, t.Streams = peers, mode, types, conflicts, streams
	return nil
}

// settingTags are the tags that are settings, but for those that declare types.
var settingTags = []string{AcknowledgeTag, Conflicts.AgeTag, Conflicts.BytesTag, MergeTag, StreamRecords.AgeTag, StreamRecords.BytesTag}

// CheckShared returns an error, of kind Invalid, if tags has one that would be a setting but is none that there is: whoever sets it believes that it does something.
func CheckShared(tags map[string]string) error {
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		name, isType := strings.CutPrefix(key, TypeTagPrefix)
		if !IsSharedTag(key) || slices.Contains(settingTags, key) || isType && name != "" {
			continue
		}
		return &Error{Op: "check tags", Kind: Invalid, Message: fmt.Sprintf("Tag %s is not known; tags that begin with %s are settings of the table: %s, %sATTRIBUTE",
			clip(key), SharedTagPrefix, strings.Join(settingTags, ", "), TypeTagPrefix)}
	}
	return nil
}

func notKnown(op, text, known string) error {
	return &Error{Op: op, Kind: Invalid, Message: fmt.Sprintf("%q is not known; it can be %s", clip(text), known)}
}

// about says what an *Error's message is about; nil stays nil.
func about(what string, err error) error {
	var e *Error
	if errors.As(err, &e) {
		return errors.New(what + ": " + e.Message)
	}
	return err
}

// oneLine returns the texts of joined errors in one line.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }
