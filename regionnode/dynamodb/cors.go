package dynamodb

import "github.com/valyala/fasthttp"

// A browser asks before it lets a page of another origin send requests, and shows the page only those headers of an answer that are named. All origins may: what
// gives access is the signature, which no browser adds by itself.

// exposed are the headers of answers that pages may read.
const exposed = "x-amzn-RequestId,x-amzn-ErrorType,x-amz-request-id,x-amz-id-2,x-amzn-ErrorMessage,x-amz-crc32," + siblingsHeader + "," + partialHeader + "," + forwardedHeader + ",Date"

// allowOrigin adds to an answer what a browser looks for, if one asked.
func allowOrigin(ctx *fasthttp.RequestCtx) {
	if len(ctx.Request.Header.Peek("Origin")) == 0 {
		return
	}
	h := &ctx.Response.Header
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Access-Control-Expose-Headers", exposed)
}

// preflight answers OPTIONS.
func (s *Server) preflight(ctx *fasthttp.RequestCtx) {
	s.send(ctx, &call{server: s}, nil)
	h := &ctx.Response.Header
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Access-Control-Allow-Methods", "GET, HEAD, POST, OPTIONS")
	if asked := ctx.Request.Header.Peek("Access-Control-Request-Headers"); len(asked) > 0 {
		h.SetBytesV("Access-Control-Allow-Headers", asked)
	}
	h.Set("Access-Control-Max-Age", "172800")
}
