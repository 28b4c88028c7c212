package naive

import "slices"

// write returns what a statement writes, or of an EXISTS or a SELECT of one item which item it is about.
func (s *statement) write(p object, t *table) (*write, error) {
	w := &write{table: s.table, returns: s.returning, isUpdate: s.verb == "UPDATE", update: s.actions}
	w.onFailure, _ = p["ReturnValuesOnConditionCheckFailure"].(string)
	if s.verb == "INSERT" {
		w.put = s.item
		if w.put.size() > maxItemSize {
			return nil, errItemSize
		}
		return w, w.checkKey(t)
	}
	left := conjuncts(s.where)
	w.key = item{}
	for _, a := range t.keys.all() {
		i := slices.IndexFunc(left, func(n *node) bool { return n.op == "=" && n.keyTerm(a.name) != nil })
		if i < 0 {
			return nil, errNoKey
		}
		w.key[a.name] = left[i].keyTerm(a.name).values[0]
		left = slices.Delete(slices.Clone(left), i, i+1)
	}
	w.condition = conjunction(left)
	return w, w.checkKey(t)
}

// planStatement is plan with what a statement demands of the item: INSERT that there is none, UPDATE and EXISTS that there is one. A DELETE of what is not
// there succeeds, whatever its condition.
func (db *DB) planStatement(t *table, s *statement, w *write) (old, now item, err error) {
	old = t.get(w.key)
	switch {
	case s.verb == "INSERT" && old != nil:
		return nil, nil, &fault{kind: "DuplicateItemException", message: "Duplicate primary key exists in table"}
	case s.verb == "DELETE" && old == nil:
		return nil, nil, nil
	case s.verb != "INSERT" && old == nil:
		return nil, nil, w.conditionFailed(nil)
	}
	old, now, err = db.plan(t, w)
	if s.verb == "EXISTS" {
		now = old
	}
	return old, now, err
}
