package auth_test

import (
	"github.com/valyala/fasthttp"

	"github.com/concordat-db/concordat/regionnode/auth"
)

// fast returns h as the server has it.
func fast(h header) auth.Header {
	f := &fasthttp.RequestHeader{}
	for name, values := range h {
		for _, v := range values {
			f.Add(name, v)
		}
	}
	return f
}
