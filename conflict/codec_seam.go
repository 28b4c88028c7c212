package conflict

// Append appends the encoding of c to dst.
func (c *Change) Append(dst []byte) []byte { panic("unfinished") }

// DecodeChange decodes b, all of it, into c, reusing c.Ops. c's slices are views of b.
func DecodeChange(b []byte, c *Change) error { panic("unfinished") }
