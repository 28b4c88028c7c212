package conflict

import "fmt"

// typeNames are part of the catalog's documents, by their tags.
var typeNames = [...]string{TypeRegister: "register", TypeCounter: "counter", TypeSet: "set", TypeMap: "map", TypeMax: "max", TypeMin: "min"}

// String returns the merge type as documents write it.
func (t TypeTag) String() string {
	if int(t) < len(typeNames) {
		return typeNames[t]
	}
	return fmt.Sprintf("type(%d)", uint8(t))
}

// ParseTypeTag is the inverse of String.
func ParseTypeTag(s string) (TypeTag, error) {
	for t, name := range typeNames {
		if s == name {
			return TypeTag(t), nil
		}
	}
	return 0, fmt.Errorf("merge type must be counter, set, map, max, min or register")
}
