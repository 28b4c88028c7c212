package naive

import (
	"math/big"
	"slices"
	"time"
)

var updateTimeToLiveInput = structure("UpdateTimeToLiveInput", required("TableName", tableName),
	required("TimeToLiveSpecification", structure("TimeToLiveSpecification", required("Enabled", boolean), required("AttributeName", within(1, 255, text)))))

// period is a time in which a table's items expire by one attribute.
type period struct {
	attribute string
	from      time.Time
	until     time.Time // zero: it has no end yet
}

// sweep deletes what has expired by now. It is done before each request, so nothing that has expired is ever seen.
func (db *DB) sweep() {
	now := db.config.Now()
	for _, t := range db.tables {
		for _, x := range t.periods {
			at := now
			if x.over(now) {
				at = x.until
			}
			if at.Before(x.from) {
				continue
			}
			for _, p := range t.partitions {
				n := len(p.items)
				p.items = slices.DeleteFunc(p.items, func(it item) bool { return expired(it[x.attribute], at) })
				t.swept = t.swept || len(p.items) < n
			}
		}
		t.periods = slices.DeleteFunc(t.periods, func(x period) bool { return x.over(now) })
	}
}

func (x period) over(now time.Time) bool { return !x.until.IsZero() && !now.Before(x.until) }

// current returns the attribute that items expire by, or are about to; empty: none.
func (t *table) current() string {
	if n := len(t.periods); n > 0 && t.periods[n-1].until.IsZero() {
		return t.periods[n-1].attribute
	}
	return ""
}

// expired reports whether the time is over that a value tells. The documentation: a Number, seconds since the epoch; an item with a time more than five years
// ago does not expire. A fraction is cut off.
func expired(v value, at time.Time) bool {
	if v.kind != "N" {
		return false
	}
	const fiveYears = 5 * 365 * 24 * 60 * 60
	seconds := new(big.Int).Quo(v.number.Num(), v.number.Denom())
	return seconds.Cmp(big.NewInt(at.Unix())) <= 0 && seconds.Cmp(big.NewInt(at.Unix()-fiveYears)) >= 0
}

func (db *DB) updateTimeToLive(p object) (object, error) {
	t, err := db.namedTable(p)
	if err != nil {
		return nil, err
	}
	spec := p["TimeToLiveSpecification"].(object)
	name, enabled := spec["AttributeName"].(string), spec["Enabled"].(bool)
	current := t.current()
	switch {
	case enabled && current == name:
		return nil, invalid("TimeToLive is already enabled")
	case !enabled && current == "":
		return nil, invalid("TimeToLive is already disabled")
	case current != "" && current != name:
		return nil, invalid("TimeToLive is active on a different AttributeName: current AttributeName is %s", current)
	}
	at := db.config.Now().Add(db.config.TimeToLiveLead)
	if n := len(t.periods); n > 0 && at.Before(t.periods[n-1].from) {
		at = t.periods[n-1].from
	}
	if enabled {
		t.periods = append(t.periods, period{attribute: name, from: at})
	} else {
		t.periods[len(t.periods)-1].until = at
	}
	t.expires = true
	return object{"TimeToLiveSpecification": object{"AttributeName": name, "Enabled": enabled}}, nil
}

// describeTimeToLive tells the state, which is on its way for the lead of a change.
func (db *DB) describeTimeToLive(p object) (object, error) {
	t, err := db.namedTable(p)
	if err != nil {
		return nil, err
	}
	if len(t.periods) == 0 {
		return object{"TimeToLiveDescription": object{"TimeToLiveStatus": "DISABLED"}}, nil
	}
	x := t.periods[len(t.periods)-1]
	status := "ENABLED"
	switch {
	case !x.until.IsZero():
		status = "DISABLING"
	case db.config.Now().Before(x.from):
		status = "ENABLING"
	}
	return object{"TimeToLiveDescription": object{"TimeToLiveStatus": status, "AttributeName": x.attribute}}, nil
}
