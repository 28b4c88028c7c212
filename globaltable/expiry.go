package globaltable

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
)

const (
	// MaxPeriods is how often a table can be given a time to live.
	MaxPeriods = 64
	// MaxExpiryAttributeLen bounds the name of the attribute, in bytes.
	MaxExpiryAttributeLen = 255
)

// TimeToLiveStatus is the state of a table's time to live, in DynamoDB's words.
type TimeToLiveStatus string

// The statuses.
const (
	TTLEnabling  TimeToLiveStatus = "ENABLING" // it comes into force in a moment
	TTLEnabled   TimeToLiveStatus = "ENABLED"
	TTLDisabling TimeToLiveStatus = "DISABLING" // it is in force for a moment yet
	TTLDisabled  TimeToLiveStatus = "DISABLED"
)

// TimeToLive returns the state of the table's time to live at a moment, and the attribute that items expire by, or are about to; empty for TTLDisabled.
func (t *Table) TimeToLive(at hlc.Timestamp) (status TimeToLiveStatus, attribute string) {
	if len(t.Expiry) == 0 {
		return TTLDisabled, ""
	}
	switch p := t.Expiry[len(t.Expiry)-1]; {
	case p.To == 0 && at < p.From:
		return TTLEnabling, p.Attribute
	case p.To == 0:
		return TTLEnabled, p.Attribute
	case at < p.To:
		return TTLDisabling, p.Attribute
	}
	return TTLDisabled, ""
}

// Expiring returns the attribute that items are to expire by, by the newest setting, in force already or not; empty: they are not to expire.
func (t *Table) Expiring() (attribute string) {
	if n := len(t.Expiry); n > 0 && t.Expiry[n-1].To == 0 {
		return t.Expiry[n-1].Attribute
	}
	return ""
}

func expiryFaults(x conflict.Expiry) []error {
	var faults []error
	if len(x) > MaxPeriods {
		faults = append(faults, fmt.Errorf("%d periods of a time to live, at most %d", len(x), MaxPeriods))
	}
	for i, p := range x {
		if p.Attribute == "" || len(p.Attribute) > MaxExpiryAttributeLen || !utf8.ValidString(p.Attribute) {
			faults = append(faults, fmt.Errorf("the name of the attribute of a time to live must have 1 to %d bytes of UTF-8", MaxExpiryAttributeLen))
		}
		if p.From == 0 || p.To != 0 && p.To <= p.From || p.To == 0 && i < len(x)-1 || i > 0 && p.From < x[i-1].To {
			faults = append(faults, errors.New("the periods of a time to live are not in order"))
			break
		}
	}
	return faults
}
