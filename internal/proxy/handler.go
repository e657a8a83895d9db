package proxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/keybearer/keybearer"
)

// Handler is the wire engine on net/http for one route.
type Handler struct {
	proxy   *Proxy
	route   *Route
	tunnel  *Tunnel
	tunnels *tunnels
}

// Leave has each tunnel of this route end with its next answer, which says so (RFC 9112 section 9.6): whoever asks for more opens another, and
// finds the configuration that serves by then. It may be called once or more, and before or after Close.
func (h *Handler) Leave() { h.tunnels.leaving.Store(true) }

// Close lets requests inside the tunnels of this route finish, for 10 s at most, and ends them. It is to be called when the
// listener is gone: tunnels are connections that its server knows nothing of any more.
func (h *Handler) Close() error {
	h.tunnels.drain(drainTime)
	h.proxy.mu.Lock()
	defer h.proxy.mu.Unlock()
	delete(h.proxy.handlers, h)
	return nil
}

var fieldsPool = sync.Pool{New: func() any { s := make([]Field, 0, 32); return &s }}

// ServeHTTP implements [http.Handler].
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	delete(w.Header(), "Server") // the frame's; the destination's comes back instead
	if last(r) || h.tunnel != nil && h.tunnels.leaving.Load() {
		w.Header().Set("Connection", "close")
	}
	fields := fieldsPool.Get().(*[]Field)
	defer func() {
		clear(*fields)
		*fields = (*fields)[:0]
		fieldsPool.Put(fields)
	}()
	for name, values := range r.Header {
		for _, v := range values {
			*fields = append(*fields, Field{name, v})
		}
	}
	call := &Call{
		Method: r.Method, Target: r.RequestURI, Host: r.Host, Fields: *fields,
		Route: h.route, Tunnel: h.tunnel, TLS: r.TLS, Peer: h.proxy.peer(r), Multiplexed: r.ProtoMajor > 1,
		Upgradable: r.ProtoMajor == 1 && r.ProtoMinor >= 1, Body: r.ContentLength != 0,
	}
	if r.Method == http.MethodConnect && h.tunnel == nil {
		h.connect(w, r, call)
		return
	}
	p, err := h.proxy.gate.Admit(r.Context(), call)
	if err != nil {
		h.refuse(w, r, call, p.ID(), err)
		return
	}
	h.forward(w, r, call, p)
}

// last reports whether nothing that stands behind a request on its connection is to be read. net/http takes Transfer-Encoding and drops a
// Content-Length beside it, and in HTTP/1.0 the other way round, before anybody can see that there were both: who stands
// before us may have read the other one, and takes what we would read next for a body (RFC 9112 sections 6.1 and 9.3). And who opens a
// tunnel for somebody may send what is meant for its inside before it knows whether there is one.
func last(r *http.Request) bool {
	return r.ProtoMajor == 1 && (r.ProtoMinor == 0 || len(r.TransferEncoding) > 0 || r.Method == http.MethodConnect)
}

// forward sends the request and streams the answer.
func (h *Handler) forward(w http.ResponseWriter, r *http.Request, call *Call, p *Pass) {
	var result Result
	var sending body
	upgraded := false // the use goes on, and is finished when it has ended
	defer func() {
		if upgraded {
			return
		}
		result.BytesOut = sending.sent.Load()
		p.Finish(result)
	}()
	resp, err := h.send(w, r, call, p, &sending)
	if err == nil && resp.StatusCode == http.StatusSwitchingProtocols {
		if err = h.upgrade(w, r, p, resp); err == nil {
			upgraded = true
			return
		}
	}
	if err == nil {
		defer resp.release()
		if r.ProtoMajor == 1 && !sending.ended() {
			// What is left of the body would be read as the next request.
			w.Header().Set("Connection", "close")
		}
		h.answer(w, p, resp, &result)
		return
	}
	result.Err = err
	h.proxy.logFailure(p, err)
	h.refuse(w, r, call, p.ID(), err)
}

// response is an answer and the hold on its request.
type response struct {
	*http.Response
	ctx     context.Context
	release func()
}

// send takes the body, asks once more whether the pass holds, and sends.
func (h *Handler) send(w http.ResponseWriter, r *http.Request, call *Call, p *Pass, sending *body) (*response, *keybearer.Error) {
	if err := sending.take(w, r); err != nil {
		return nil, err
	}
	if err := p.Renew(r.Context()); err != nil {
		return nil, err
	}
	header := make(http.Header, len(call.Fields)+2)
	for _, f := range call.Fields {
		if v, ok := p.Keep(f.Name, f.Value); ok {
			header[f.Name] = append(header[f.Name], v)
		}
	}
	for _, f := range slices.Concat(p.Plain(), p.Upgrade()) {
		header[f.Name] = []string{f.Value}
	}
	if _, sent := header["User-Agent"]; !sent {
		header["User-Agent"] = nil // or net/http writes its own
	}
	ctx, release := p.Hold(r.Context())
	resp, err := h.proxy.transports.send(ctx, p, r.Method, header, sending)
	if err != nil {
		release()
		if read := sending.failure(); read != nil && err.Code != keybearer.CallerGone {
			err = bodyError(r.Context(), read)
		}
		return nil, err
	}
	return &response{resp, ctx, release}, nil
}

// answer sends the destination's answer back.
func (h *Handler) answer(w http.ResponseWriter, p *Pass, resp *response, result *Result) {
	defer resp.Body.Close()
	result.Status = resp.StatusCode
	header := w.Header()
	nominated := h.fields(header, p, resp)
	if _, ok := header["Content-Type"]; !ok {
		header["Content-Type"] = nil // or net/http guesses one
	}
	for name := range resp.Trailer {
		// A name that is a header too would come back as both.
		if _, twice := header[name]; !twice && p.comesBack(name, nominated) {
			header.Add("Trailer", name)
		}
	}
	if len(resp.Trailer) > 0 {
		header.Del("Content-Length") // over HTTP/1.1 trailers need the chunked form
	}
	w.WriteHeader(resp.StatusCode)

	resp.Body = struct {
		io.Reader
		io.Closer
	}{p.Body(resp.Body), resp.Body}
	n, err := h.stream(w, resp)
	result.BytesIn = n
	if err != nil {
		result.Err = err
		h.proxy.logFailure(p, err)
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler) // the only way to tell the app that the answer is cut short
	}
	h.trailers(w, p, resp, nominated)
}

// fields writes those of an answer that come back, and returns the names that its own Connection fields strip.
func (h *Handler) fields(into http.Header, p *Pass, resp *response) (nominated map[string]bool) {
	nominated = connectionNames(resp.Header)
	for name, values := range resp.Header {
		if p.comesBack(name, nominated) {
			into[name] = scrubbed(p, values)
		}
	}
	if len(into["Content-Length"]) > 1 || resp.ContentLength < 0 {
		delete(into, "Content-Length") // of HTTP/2, where it need not be one
	}
	status := proxyName + "; received-status=" + strconv.Itoa(resp.StatusCode)
	if foreign := foreignStatus(resp.Header["Proxy-Status"]); foreign != "" {
		status = p.Scrub(foreign) + ", " + status
	}
	into["Proxy-Status"] = []string{status}
	into["Keybearer-Request-Id"] = []string{p.ID()}
	return nominated
}

// stream copies the answer's body in constant memory. Answers without a length, and server-sent events, go out as they come in.
func (h *Handler) stream(w http.ResponseWriter, resp *response) (n int64, _ *keybearer.Error) {
	flush := func() error { return nil }
	if resp.ContentLength < 0 || strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		c := http.NewResponseController(w)
		flush = c.Flush
		if err := flush(); err != nil {
			return 0, &keybearer.Error{Code: keybearer.CallerGone, Op: "flush", Err: err}
		}
	}
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	for {
		k, rerr := resp.Body.Read(*buf)
		if k > 0 {
			m, werr := w.Write((*buf)[:k])
			n += int64(m)
			if werr == nil {
				werr = flush()
			}
			if werr != nil {
				return n, &keybearer.Error{Code: keybearer.CallerGone, Op: "write answer", Err: werr}
			}
		}
		if errors.Is(rerr, io.EOF) {
			return n, nil
		}
		if rerr != nil {
			if ended := ended(resp.ctx); ended != nil {
				return n, ended
			}
			return n, &keybearer.Error{Code: keybearer.DestinationUnreachable, Op: "read answer", Err: rerr}
		}
	}
}

var buffers = sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}

func (h *Handler) trailers(w http.ResponseWriter, p *Pass, resp *response, nominated map[string]bool) {
	for name, values := range resp.Trailer {
		if p.comesBack(name, nominated) && name != "Content-Length" && len(values) > 0 {
			w.Header()[http.TrailerPrefix+name] = scrubbed(p, values)
		}
	}
}

// refuse answers for ourselves. A body that nobody will read must not hold the answer back: the connection is closed after it.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, call *Call, id string, err *keybearer.Error) {
	if err.Code == keybearer.CallerGone {
		panic(http.ErrAbortHandler)
	}
	a := Refuse(call, id, err)
	header := w.Header()
	for _, f := range a.Fields {
		header[f.Name] = append(header[f.Name], f.Value)
	}
	if r.ProtoMajor == 1 && r.ContentLength != 0 {
		header.Set("Connection", "close")
	}
	w.WriteHeader(a.Status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(a.Body)
	}
}

func scrubbed(p *Pass, values []string) []string {
	for i, v := range values {
		values[i] = p.Scrub(v)
	}
	return values
}
