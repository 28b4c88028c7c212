package dynamodb

import (
	"strconv"
	"time"

	"github.com/valyala/fastjson"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/globaltable/item"
)

// tableSettings are the settings that CreateTable and UpdateTable take in one form, indexes and keys aside.
type tableSettings struct {
	billing    text
	class      text
	throughput *throughput
	onDemand   *units
	warm       *units
	stream     *streamSpecification
	protected  *bool // nil: not given
	idle       bool  // something was given that is so anyway: see the rows with one value in parameters
}

func (r *tableSettings) set(name []byte, v *fastjson.Value) error {
	switch string(name) {
	case "BillingMode":
		return parseText(&r.billing, v)
	case "TableClass":
		return parseText(&r.class, v)
	case "ProvisionedThroughput":
		return parseThroughput(&r.throughput, v)
	case "OnDemandThroughput":
		return parseUnits(&r.onDemand, v, "OnDemandThroughput", "MaxReadRequestUnits", "MaxWriteRequestUnits")
	case "WarmThroughput":
		return parseUnits(&r.warm, v, "WarmThroughput", "ReadUnitsPerSecond", "WriteUnitsPerSecond")
	case "StreamSpecification":
		return parseStream(&r.stream, v)
	case "DeletionProtectionEnabled":
		if !given(v) {
			return nil
		}
		r.protected = new(bool)
		return parseBool(r.protected, v)
	case "SSESpecification":
		return r.setEncryption(v)
	case "GlobalTableSettingsReplicationMode":
		var mode text
		err := parseText(&mode, v)
		r.idle = r.idle || mode != nil
		return err
	}
	return nil
}

// setEncryption takes an SSESpecification. What is refused of it is refused already.
func (r *tableSettings) setEncryption(v *fastjson.Value) error {
	var o *fastjson.Object
	if err := parseObject(&o, v, className("SSESpecification")); err != nil || o == nil {
		return err
	}
	var on bool
	r.idle = true
	return parseBool(&on, o.Get("Enabled"))
}

// given reports whether any of the settings was.
func (r *tableSettings) given() bool {
	return r.billing != nil || r.class != nil || r.throughput != nil || r.onDemand != nil || r.warm != nil || r.stream != nil || r.protected != nil || r.idle
}

// check checks constraints of single parameters.
func (r *tableSettings) check(check *constraints) {
	check.billing(r.billing, r.class)
	r.throughput.check(check)
	r.onDemand.check(check, -1, "onDemandThroughput.maxReadRequestUnits", "onDemandThroughput.maxWriteRequestUnits")
	r.warm.check(check, 1, "warmThroughput.readUnitsPerSecond", "warmThroughput.writeUnitsPerSecond")
	r.stream.check(check)
}

// units is a structure of two numbers of units.
type units struct{ read, write integer }

func parseUnits(dst **units, v *fastjson.Value, structure, read, write string) error {
	var o *fastjson.Object
	if err := parseObject(&o, v, className(structure)); err != nil || o == nil {
		return err
	}
	*dst = &units{}
	if err := parseInteger(&(*dst).read, o.Get(read), "Long"); err != nil {
		return err
	}
	return parseInteger(&(*dst).write, o.Get(write), "Long")
}

func (u *units) check(check *constraints, least int64, read, write string) {
	if u == nil {
		return
	}
	check.atLeast(u.read, least, read)
	check.atLeast(u.write, least, write)
	if least < 0 { // minus one takes a maximum away, zero would be one that lets nothing through
		check.notZero(u.read, read)
		check.notZero(u.write, write)
	}
}

func (c *constraints) notZero(v integer, path string) {
	if v.given && v.value == 0 {
		c.fail("'0'", path, "Member must have value greater than or equal to 1")
	}
}

// declared returns what a table declares: minus one, which says "no maximum", is zero there. nil: not given.
func (u *units) declared() (read, write *int64, err error) {
	if u == nil {
		return nil, nil, nil
	}
	if !u.read.given && !u.write.given {
		return nil, nil, invalid("One or more parameter values were invalid: At least one of the units for reads and for writes must be specified")
	}
	value := func(n integer) *int64 {
		if !n.given {
			return nil
		}
		v := min(max(n.value, 0), maxCapacityUnits)
		return &v
	}
	return value(u.read), value(u.write), nil
}

// streamSpecification is a StreamSpecification.
type streamSpecification struct {
	enabled *bool
	view    text
}

func parseStream(dst **streamSpecification, v *fastjson.Value) error {
	var o *fastjson.Object
	if err := parseObject(&o, v, className("StreamSpecification")); err != nil || o == nil {
		return err
	}
	s := &streamSpecification{}
	*dst = s
	if enabled := o.Get("StreamEnabled"); given(enabled) {
		s.enabled = new(bool)
		if err := parseBool(s.enabled, enabled); err != nil {
			return err
		}
	}
	return parseText(&s.view, o.Get("StreamViewType"))
}

func (s *streamSpecification) check(check *constraints) {
	if s == nil {
		return
	}
	check.present(s.enabled != nil, "streamSpecification.streamEnabled")
	check.oneOf(s.view, "streamSpecification.streamViewType", "NEW_IMAGE, OLD_IMAGE, NEW_AND_OLD_IMAGES, KEYS_ONLY",
		"NEW_IMAGE", "OLD_IMAGE", "NEW_AND_OLD_IMAGES", "KEYS_ONLY")
}

// wanted returns the view that the stream is to have; empty: the stream is to be off. s has been checked.
func (s *streamSpecification) wanted() (globaltable.StreamView, error) {
	switch {
	case *s.enabled && s.view == nil:
		return "", invalid("One or more parameter values were invalid: StreamViewType must be specified when StreamEnabled is true")
	case !*s.enabled && s.view != nil:
		return "", invalid("One or more parameter values were invalid: StreamViewType must not be specified when StreamEnabled is false")
	}
	return globaltable.StreamView(s.view), nil
}

// create fills in what a new table is to have.
func (r *tableSettings) create(spec *catalog.Spec) (err error) {
	spec.Class = globaltable.ClassStandard
	if r.class != nil {
		spec.Class = globaltable.TableClass(r.class)
	}
	spec.DeletionProtection = r.protected != nil && *r.protected
	if err := r.createBilling(spec); err != nil {
		return err
	}
	if r.stream != nil {
		spec.Stream, err = r.stream.wanted()
	}
	return err
}

func (r *tableSettings) createBilling(spec *catalog.Spec) (err error) {
	read, write, err := r.onDemand.declared()
	if err != nil {
		return err
	}
	if spec.Warm, err = r.warm.throughput(); err != nil {
		return err
	}
	if string(r.billing) != string(globaltable.PayPerRequest) {
		spec.Billing = globaltable.Provisioned
		switch {
		case r.throughput == nil:
			return invalid(errUnitsNeeded)
		case read != nil || write != nil:
			return invalid(errOnDemandOnly)
		}
		spec.Throughput, err = r.throughput.declared()
		return err
	}
	if r.throughput != nil {
		return invalid(errNoUnitsAllowed)
	}
	spec.Billing = globaltable.PayPerRequest
	spec.OnDemandMax, err = r.onDemand.throughput()
	return err
}

const errOnDemandOnly = "One or more parameter values were invalid: OnDemandThroughput can only be specified when BillingMode is PAY_PER_REQUEST"

// throughput returns declared units; what is not given is zero.
func (u *units) throughput() (t globaltable.Throughput, err error) {
	read, write, err := u.declared()
	if read != nil {
		t.Read = *read
	}
	if write != nil {
		t.Write = *write
	}
	return t, err
}

// change fills in what a table is to become.
func (r *tableSettings) change(change *catalog.Change) (err error) {
	if r.billing != nil {
		mode := globaltable.BillingMode(r.billing)
		if mode == globaltable.PayPerRequest && r.throughput != nil {
			return invalid(errNoUnitsAllowed)
		}
		if mode == globaltable.Provisioned && r.throughput == nil {
			return invalid(errUnitsNeeded)
		}
		change.Billing = &mode
	}
	if r.throughput != nil {
		units, err := r.throughput.declared()
		if err != nil {
			return err
		}
		change.Throughput = &units
	}
	if change.OnDemandMaxRead, change.OnDemandMaxWrite, err = r.onDemand.declared(); err != nil {
		return err
	}
	if change.WarmRead, change.WarmWrite, err = r.warm.declared(); err != nil {
		return err
	}
	if r.class != nil {
		class := globaltable.TableClass(r.class)
		change.Class = &class
	}
	change.DeletionProtection = r.protected
	if r.stream != nil {
		view, err := r.stream.wanted()
		if err != nil {
			return err
		}
		change.Stream = &view
	}
	return nil
}

// appendSettings appends the settings of t as they are in the replica given.
func (c *call) appendSettings(b []byte, t *globaltable.Table, r *globaltable.Replica) []byte {
	own := t.OwnOf(r)
	b = appendBilling(b, t, own)
	b = append(b, `,"TableClassSummary":{"TableClass":`...)
	b = item.AppendJSONString(b, string(own.Class))
	b = append(b, `},"DeletionProtectionEnabled":`...)
	b = strconv.AppendBool(b, own.DeletionProtection)
	if label := t.StreamLabel(r); label != "" {
		if t.Stream.View != "" {
			b = append(b, `,"StreamSpecification":{"StreamEnabled":true,"StreamViewType":`...)
			b = item.AppendJSONString(b, string(t.Stream.View))
			b = append(b, '}')
		}
		b = append(b, `,"LatestStreamLabel":`...)
		b = item.AppendJSONString(b, label)
		b = append(b, `,"LatestStreamArn":`...)
		b = item.AppendJSONString(b, streamARN(c.server.config.Region, t.Name, label))
	}
	return b
}

func appendBilling(b []byte, t *globaltable.Table, own globaltable.Own) []byte {
	declared, most := own.Over(t.Throughput, t.OnDemandMax, t.Billing)
	b = append(b, `,"ProvisionedThroughput":{"NumberOfDecreasesToday":0,"ReadCapacityUnits":`...)
	b = strconv.AppendInt(b, declared.Read, 10)
	b = append(b, `,"WriteCapacityUnits":`...)
	b = strconv.AppendInt(b, declared.Write, 10)
	b = append(b, '}')
	if t.Billing == globaltable.PayPerRequest || t.OnDemandSince > 0 {
		b = append(b, `,"BillingModeSummary":{"BillingMode":`...)
		b = item.AppendJSONString(b, string(t.Billing))
		b = append(b, `,"LastUpdateToPayPerRequestDateTime":`...)
		b = appendSeconds(b, time.UnixMilli(max(t.OnDemandSince, t.CreatedAt)))
		b = append(b, '}')
	}
	if t.Billing == globaltable.PayPerRequest {
		b = appendUnitsOf(b, "OnDemandThroughput", "MaxReadRequestUnits", "MaxWriteRequestUnits", most)
	}
	if t.Warm != (globaltable.Throughput{}) {
		b = appendUnitsOf(b, "WarmThroughput", "ReadUnitsPerSecond", "WriteUnitsPerSecond", t.Warm)
		b = append(b[:len(b)-1], `,"Status":"ACTIVE"}`...)
	}
	return b
}

// appendUnitsOf appends a structure of two numbers of units, without those that are zero; nothing if both are.
func appendUnitsOf(b []byte, structure, read, write string, t globaltable.Throughput) []byte {
	if t == (globaltable.Throughput{}) {
		return b
	}
	b = append(append(b, `,"`...), structure...)
	b = append(b, `":{`...)
	for _, u := range []struct {
		name  string
		value int64
	}{{read, t.Read}, {write, t.Write}} {
		if u.value == 0 {
			continue
		}
		if b[len(b)-1] != '{' {
			b = append(b, ',')
		}
		b = append(append(append(b, '"'), u.name...), `":`...)
		b = strconv.AppendInt(b, u.value, 10)
	}
	return append(b, '}')
}
