package store

// Flush writes what is in memory to tables.
func (p *Pebble) Flush() error { return p.db.Flush() }
