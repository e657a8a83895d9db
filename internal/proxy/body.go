package proxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"sync/atomic"

	"github.com/keybearer/keybearer"
)

// Bodies up to this size are read before sending, so that a request that met a dead idle connection can be sent again.
const replayLimit = 64 << 10

// body is a request's body on its way: small ones of known length whole, everything else as a stream that is counted.
// The zero value is no body.
type body struct {
	whole  []byte
	stream io.ReadCloser
	length int64 // -1: unknown
	sent   atomic.Int64
	state  atomic.Pointer[error] // how reading the stream ended; nil: it has not
}

func (b *body) take(w http.ResponseWriter, r *http.Request) *keybearer.Error {
	switch b.length = r.ContentLength; {
	case r.ContentLength == 0 || r.Body == nil || r.Body == http.NoBody:
		b.length = 0
	case r.ContentLength > 0 && r.ContentLength <= replayLimit:
		b.whole = make([]byte, r.ContentLength)
		if _, err := io.ReadFull(r.Body, b.whole); err != nil {
			return bodyError(r.Context(), err)
		}
	default:
		b.stream = r.Body
		// The answer may begin before the body ends. HTTP/2 does so anyhow, and says that it cannot be asked.
		_ = http.NewResponseController(w).EnableFullDuplex()
	}
	return nil
}

// attach gives the body to an outgoing request.
func (b *body) attach(out *http.Request) {
	out.ContentLength = b.length
	switch {
	case b.whole != nil:
		out.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.whole)), nil }
		out.Body, _ = out.GetBody()
	case b.stream != nil:
		out.Body = b
	}
}

// Read implements [io.Reader] for streams.
func (b *body) Read(p []byte) (int, error) {
	n, err := b.stream.Read(p)
	b.sent.Add(int64(n))
	if err != nil {
		b.state.CompareAndSwap(nil, &err)
	}
	return n, err
}

// delivered notes that a whole body reached the destination, or set out for it.
func (b *body) delivered() { b.sent.Add(int64(len(b.whole))) }

// ended reports whether nothing of the body is left to be read.
func (b *body) ended() bool {
	if b.stream == nil {
		return true
	}
	err := b.state.Load()
	return err != nil && errors.Is(*err, io.EOF)
}

// failure returns why the app's stream could not be read to its end; nil when it could, or was not.
func (b *body) failure() error {
	if err := b.state.Load(); err != nil && !errors.Is(*err, io.EOF) {
		return *err
	}
	return nil
}

// Close implements [io.Closer].
func (b *body) Close() error { return b.stream.Close() }

func bodyError(ctx context.Context, err error) *keybearer.Error {
	if ctx.Err() != nil || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return &keybearer.Error{Code: keybearer.CallerGone, Op: "read body", Err: err}
	}
	return &keybearer.Error{Code: keybearer.BadRequest, Op: "read body", Detail: "the request body cannot be read", Err: err}
}
