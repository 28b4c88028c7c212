package world

import (
	"bytes"
	"io"
	"net/http"
)

// wholeBodies gives net/http the body of a request in memory, as a type that it knows. For the SDK's own type it looks behind the end of the body after it was sent; when the answer
// was faster than that, the SDK has closed the body, net/http takes this for a failure, and closes the connection while the answer is being read.
type wholeBodies struct{ *http.Transport }

func (w wholeBodies) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body == nil {
		return w.Transport.RoundTrip(r)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	if err := r.Body.Close(); err != nil {
		return nil, err
	}
	r = r.WithContext(r.Context()) // a copy: a RoundTripper may not change what it is given
	r.Body = io.NopCloser(bytes.NewReader(body))
	return w.Transport.RoundTrip(r)
}
