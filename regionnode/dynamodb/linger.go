package dynamodb

import (
	"io"
	"net"
	"sync/atomic"
	"time"
)

// A connection that is closed while the system holds bytes of it that nobody has read is reset, and a reset may overtake the answer on its way: the client sees an
// error instead. Where the server gives up in the middle of a request it therefore closes its own direction first, and reads on for a while.

const (
	lingerTime  = time.Second
	lingerBytes = 1 << 20
)

// lingering is a listener of connections that can linger.
type lingering struct{ net.Listener }

// Accept implements net.Listener.
func (l lingering) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if tcp, ok := c.(*net.TCPConn); ok {
		return &lingeringConn{TCPConn: tcp}, err
	}
	return c, err
}

type lingeringConn struct {
	*net.TCPConn
	lingers atomic.Bool
}

// Close implements net.Conn.
func (c *lingeringConn) Close() error {
	if c.lingers.Swap(false) && c.CloseWrite() == nil && c.SetReadDeadline(time.Now().Add(lingerTime)) == nil {
		// Whatever ends it: the connection is closed now.
		_, _ = io.CopyN(io.Discard, c.TCPConn, lingerBytes)
	}
	return c.TCPConn.Close()
}

// linger has a connection linger when it is closed.
func linger(c net.Conn) {
	if l, ok := c.(*lingeringConn); ok {
		l.lingers.Store(true)
	}
}
