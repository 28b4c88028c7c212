package dynamodb

// reason is why one write of a transaction was refused.
type reason struct {
	code, message string
	item          []byte
}

func reasonOf(err error) reason  { return reason{} }
func cancelled(r []reason) error { return nil }
