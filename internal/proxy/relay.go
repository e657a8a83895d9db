package proxy

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/scrub"
)

// How long one side of a WebSocket may go on after the other has ended.
const closing = 5 * time.Second

// upgrade takes the app's connection and gives it the destination's 101. Then it relays what both send, in constant memory, until both have ended,
// the use is taken away, or the handler is closed; and finishes the use. It takes over resp. Outside a tunnel, whose connection it is, it does so in a
// goroutine: a request that never ends would keep the configuration that serves it. There is no limit to silence: pings are for apps, and a peer that is
// gone is found by TCP's keep-alive.
func (h *Handler) upgrade(w http.ResponseWriter, r *http.Request, p *Pass, resp *response) *keybearer.Error {
	var here net.Conn
	var rw *bufio.ReadWriter
	there, ok := resp.Body.(io.ReadWriteCloser)
	err := errors.ErrUnsupported // of a transport that gives no connection
	if ok {
		here, rw, err = http.NewResponseController(w).Hijack()
	}
	if err != nil {
		resp.Body.Close()
		resp.release()
		return &keybearer.Error{Code: keybearer.Internal, Op: "hijack", Err: err}
	}
	release := resp.release
	resp.ctx, resp.release = p.Hold(context.WithoutCancel(r.Context())) // which ends when the handler returns
	release()
	run := func() {
		result := h.relay(p, resp, here, rw.Reader, there)
		if result.Err != nil {
			h.proxy.logFailure(p, result.Err)
		}
		p.Finish(result)
	}
	if h.tunnel != nil {
		run()
	} else {
		p.introduce()
		h.tunnels.group.Go(run)
	}
	return nil
}

// relay serves a WebSocket between the app here and the destination there.
func (h *Handler) relay(p *Pass, resp *response, here net.Conn, read *bufio.Reader, there io.ReadWriteCloser) (result Result) {
	defer resp.release()
	result.Status = resp.StatusCode
	ctx, cut := context.WithCancel(resp.ctx)
	defer cut()
	done := make(chan struct{})
	defer close(done)
	if !h.tunnels.add(here, func(context.Context) { cut(); <-done }) {
		cut()
	}
	defer h.tunnels.remove(here)
	defer context.AfterFunc(ctx, func() {
		here.Close()
		there.Close()
	})()
	defer here.Close()
	defer there.Close()
	app := &impatient{Conn: here, limit: h.proxy.stall}
	if err := h.switched(app, p, resp); err != nil {
		result.Err = &keybearer.Error{Code: keybearer.CallerGone, Op: "write answer", Err: err}
	} else {
		var sent, received atomic.Int64
		result.Err = relay(&side{read, app, here.Close}, &side{p.Frames(there), there, there.Close}, &sent, &received)
		result.BytesOut, result.BytesIn = sent.Load(), received.Load()
	}
	if own := ended(ctx); own != nil {
		result.Err = own
	}
	return result
}

// switched writes the answer of 101.
func (h *Handler) switched(conn net.Conn, p *Pass, resp *response) error {
	header := http.Header{}
	h.fields(header, p, resp)
	header.Del("Content-Length")
	header.Set("Connection", "Upgrade")
	header.Set("Upgrade", "websocket")
	w := bufio.NewWriter(conn)
	_, _ = w.WriteString("HTTP/1.1 101 Switching Protocols\r\n")
	_ = header.Write(w)
	_, _ = w.WriteString("\r\n")
	return w.Flush()
}

// side is one end of a WebSocket.
type side struct {
	io.Reader
	io.Writer
	close func() error
}

// closeWrite tells the side that no more comes.
func (s *side) closeWrite() {
	if c, ok := s.Writer.(interface{ CloseWrite() error }); !ok || c.CloseWrite() != nil {
		s.close()
	}
}

// CloseWrite is that of the connection.
func (b *buffered) CloseWrite() error { return closeWrite(b.Conn) }

func closeWrite(conn net.Conn) error {
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// end is how one direction ended: reading found the end of the stream when both are nil.
type end struct{ read, write error }

// relay copies both ways until both have ended, and closes both. Nil says that the destination ended in order, so that all it sent went back.
func relay(app, destination *side, out, in *atomic.Int64) *keybearer.Error {
	forth, back := make(chan end, 1), make(chan end, 1)
	go func() { forth <- pump(destination, app, out) }()
	go func() { back <- pump(app, destination, in) }()
	var err *keybearer.Error
	patience := time.NewTimer(closing)
	defer patience.Stop()
	select {
	case e := <-back:
		if err = returned(e); err == nil {
			app.closeWrite()
			patience.Reset(closing)
			select {
			case e := <-forth:
				forth <- e
			case <-patience.C:
			}
		}
		back <- e
	case e := <-forth:
		err = left(e)
		if e.read == nil { // what the destination still sends may be all that it had to say
			if e.write == nil {
				destination.closeWrite()
			}
			patience.Reset(closing)
			select {
			case last := <-back:
				back <- last
				if last == (end{}) {
					err = nil
				}
			case <-patience.C:
			}
		}
		forth <- e
	}
	app.close()
	destination.close()
	<-forth
	<-back
	return err
}

// returned is the failure of the way back; nil: the destination ended in order.
func returned(e end) *keybearer.Error {
	switch {
	case e.write != nil:
		return &keybearer.Error{Code: keybearer.CallerGone, Op: "write to the app", Err: e.write}
	case errors.Is(e.read, scrub.ErrFrames):
		return &keybearer.Error{
			Code: keybearer.DestinationUnreachable, Op: "read from the destination",
			Detail: "what the destination sends are no frames in which the secret can be looked for", Err: e.read,
		}
	case e.read != nil:
		return &keybearer.Error{Code: keybearer.DestinationUnreachable, Op: "read from the destination", Err: e.read}
	}
	return nil
}

// left is the failure of the way there, when nothing more came back.
func left(e end) *keybearer.Error {
	if e.write != nil {
		return &keybearer.Error{Code: keybearer.DestinationUnreachable, Op: "write to the destination", Err: e.write}
	}
	return &keybearer.Error{Code: keybearer.CallerGone, Op: "read from the app", Err: e.read}
}

// pump copies until one side ends, and counts.
func pump(to io.Writer, from io.Reader, n *atomic.Int64) end {
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	for {
		k, rerr := from.Read(*buf)
		if k > 0 {
			m, werr := to.Write((*buf)[:k])
			n.Add(int64(m))
			if werr != nil {
				return end{write: werr}
			}
		}
		if errors.Is(rerr, io.EOF) {
			return end{}
		}
		if rerr != nil {
			return end{read: rerr}
		}
	}
}
