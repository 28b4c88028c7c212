package bus

import "errors"

// Errors of homes and links. They come wrapped with what was tried; compare with errors.Is.
var (
	ErrClosed     = errors.New("bus: closed")                                     // the home or link was closed
	ErrLinkLost   = errors.New("bus: link lost")                                  // the connection broke, or nothing was heard for too long
	ErrNoConsumer = errors.New("bus: the lane has no consumer for this region")   // not opened yet, or closed to us
	ErrNoService  = errors.New("bus: the origin does not answer")                 // nobody serves requests there
	ErrBusy       = errors.New("bus: the origin has too many requests in flight") // ask again later
	ErrTooLarge   = errors.New("bus: message larger than MaxMessage")
	ErrNoLane     = errors.New("bus: no such lane")
	ErrGap        = errors.New("bus: an event came without the one before it")
	ErrForbidden  = errors.New("bus: the credential can do more than it should")
)
